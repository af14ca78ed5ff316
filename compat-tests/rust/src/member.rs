//! A group member of krafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use krafka::Kafka;
use krafka::consumer::{
    AutoOffsetReset, ConsumerRebalanceListener, GroupProtocol, OffsetAndMetadata,
    PartitionAssignmentStrategy, TopicPartition,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::watch;

#[derive(Deserialize)]
struct Options {
    bootstrap: String,
    topic: String,
    group: String,
    protocol: String,
    assignor: String,
    session_ms: u64,
    heartbeat_ms: u64,
    max_poll_ms: u64,
}

/// What the test wants.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Go,
    Stall,
    Leave,
}

pub async fn run(options: &str) -> Result<()> {
    let options: Options = serde_json::from_str(options)?;
    let mut orders = orders();
    let consumer = consumer(&options).await?;
    consumer.subscribe([&options.topic]).await?;
    while *orders.borrow() != Order::Leave {
        let records = match consumer.poll(Duration::from_millis(100)).await {
            Ok(records) => records,
            Err(error) if error.is_fatal() => return Err(error.into()),
            Err(error) => {
                tell("failed", json!(error.to_string()));
                continue;
            }
        };
        if records.is_empty() {
            continue;
        }
        let read: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
        tell("records", json!(read));
        orders.wait_for(|order| *order != Order::Stall).await?;
        let ends: BTreeMap<_, _> =
            read.into_iter().map(|(partition, offset)| (partition, offset + 1)).collect();
        let offsets = ends.iter().map(|(partition, end)| {
            (TopicPartition::new(&options.topic, *partition), OffsetAndMetadata::new(*end))
        });
        match consumer.commit_offsets(offsets).await {
            Ok(()) => tell("committed", json!(ends.into_iter().collect::<Vec<_>>())),
            Err(error) => tell("failed", json!(error.to_string())),
        }
    }
    consumer.close().await?;
    Ok(())
}

async fn consumer(options: &Options) -> Result<krafka::consumer::Consumer> {
    let builder = Kafka::builder(&options.bootstrap)
        .connect()
        .await?
        .consumer(&options.group)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .enable_auto_commit(false)
        .fetch_max_wait(Duration::from_millis(100))
        .max_poll_interval(Duration::from_millis(options.max_poll_ms))
        .rebalance_listener(Owned::default());
    let builder = if options.protocol == "consumer" {
        builder.group_protocol(GroupProtocol::Consumer).group_remote_assignor(&options.assignor)
    } else {
        let strategy = match options.assignor.as_str() {
            "cooperative-sticky" => PartitionAssignmentStrategy::CooperativeSticky,
            "roundrobin" => PartitionAssignmentStrategy::RoundRobin,
            _ => PartitionAssignmentStrategy::Range,
        };
        builder
            .partition_assignment_strategy(strategy)
            .session_timeout(Duration::from_millis(options.session_ms))
            .heartbeat_interval(Duration::from_millis(options.heartbeat_ms))
    };
    Ok(builder.build().await?)
}

/// The latest order; the end of the input means to leave.
fn orders() -> watch::Receiver<Order> {
    let (sender, orders) = watch::channel(Order::Go);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_replace(if line == "stall" { Order::Stall } else { Order::Go });
        }
        sender.send_replace(Order::Leave);
        // Whoever waits for another order than this one would wait for ever.
        sender.closed().await;
    });
    orders
}

/// The partitions that the callbacks gave and did not take back.
#[derive(Default)]
struct Owned(Arc<Mutex<BTreeSet<i32>>>);

impl Owned {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<i32>)) {
        let mut owned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut owned);
        tell("owns", json!(*owned));
    }

    fn gave_up(&self, partitions: &[TopicPartition]) {
        self.change(|owned| owned.retain(|id| partitions.iter().all(|p| p.partition != *id)));
    }
}

impl ConsumerRebalanceListener for Owned {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        self.change(|owned| owned.extend(partitions.iter().map(|p| p.partition)));
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        self.gave_up(partitions);
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        self.gave_up(partitions);
    }
}

fn tell(what: &str, value: Value) {
    let at = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
    println!("{}", json!({ "at": at as u64, what: value }));
}
