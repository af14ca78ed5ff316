//! A group member of librdkafka, through crate `rdkafka`.
//!
//! A process of its own, so that it can be killed. The protocol is described in `tests/clients/group_member.rs`: options
//! as one JSON argument, events as JSON lines out, `stall` and `go` in, and the end of the input means to leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, stdin};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaResult;
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let options = std::env::args().nth(1).context("no options")?;
    let options: Value = serde_json::from_str(&options)?;
    let orders = Arc::new(Orders::default());
    thread::spawn({
        let orders = Arc::clone(&orders);
        move || orders.listen()
    });
    let topic = options["topic"].as_str().context("no topic")?;
    let mut consumer = join(&options, topic)?;
    while !orders.leaving() {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                tell("failed", error.to_string());
                if consumer.client().fatal_error().is_some() {
                    // Put out for not polling, librdkafka 2.12 leaves a group of KIP-848 and marks that it has to join
                    // anew. If its main thread sees the answer to the leaving before it has acted on the mark, the
                    // answer clears it, and the next heartbeat joins without a subscription: INVALID_REQUEST, which is
                    // fatal, from Apache Kafka too. An application then makes another consumer.
                    drop(consumer);
                    tell("owns", json!([]));
                    consumer = join(&options, topic)?;
                }
                continue;
            }
        };
        let (partition, offset) = (message.partition(), message.offset());
        tell("records", json!([[partition, offset]]));
        orders.wait_while_stalled();
        match commit(&consumer, topic, partition, offset + 1) {
            Ok(()) => tell("committed", json!([[partition, offset + 1]])),
            Err(error) => tell("failed", error.to_string()),
        }
    }
    Ok(())
}

fn join(options: &Value, topic: &str) -> Result<BaseConsumer<Owned>> {
    let consumer: BaseConsumer<Owned> = config(options)?.create_with_context(Owned::default())?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

fn config(options: &Value) -> Result<ClientConfig> {
    let text = |name: &str| match &options[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", text("bootstrap"))
        .set("group.id", text("group"))
        .set("group.protocol", text("protocol"))
        .set("max.poll.interval.ms", text("max_poll_ms"))
        .set("reconnect.backoff.max.ms", "100")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    if !options["instance"].is_null() {
        config.set("group.instance.id", text("instance"));
    }
    if options["protocol"] == "classic" {
        config
            .set("session.timeout.ms", text("session_ms"))
            .set("heartbeat.interval.ms", text("heartbeat_ms"))
            .set("partition.assignment.strategy", text("assignor"));
    } else {
        config.set("group.remote.assignor", text("assignor"));
    }
    Ok(config)
}

fn commit(
    consumer: &BaseConsumer<Owned>,
    topic: &str,
    partition: i32,
    end: i64,
) -> KafkaResult<()> {
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(end))?;
    consumer.commit(&offsets, CommitMode::Sync)
}

/// The partitions that the callbacks gave and did not take back.
#[derive(Default)]
struct Owned(Mutex<BTreeSet<i32>>);

impl ClientContext for Owned {}

impl ConsumerContext for Owned {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut owned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match rebalance {
            Rebalance::Assign(list) => {
                owned.extend(list.elements().iter().map(|element| element.partition()));
            }
            Rebalance::Revoke(list) => {
                for element in list.elements() {
                    owned.remove(&element.partition());
                }
            }
            Rebalance::Error(error) => tell("failed", error.to_string()),
        }
        tell("owns", json!(*owned));
    }
}

/// What the test wants.
#[derive(Default)]
struct Orders {
    now: Mutex<Now>,
    news: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Now {
    stalled: bool,
    leaving: bool,
}

impl Orders {
    fn listen(&self) {
        for line in stdin().lock().lines().map_while(Result::ok) {
            self.set(Now { stalled: line == "stall", leaving: false });
        }
        self.set(Now { stalled: false, leaving: true });
    }

    fn set(&self, now: Now) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.news.notify_all();
    }

    fn leaving(&self) -> bool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).leaving
    }

    fn wait_while_stalled(&self) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.news.wait_while(now, |now| now.stalled));
    }
}

fn tell(what: &str, value: impl Into<Value>) {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let at = u64::try_from(at).unwrap_or(u64::MAX);
    let mut event: BTreeMap<&str, Value> = BTreeMap::from([("at", at.into())]);
    event.insert(what, value.into());
    println!("{}", json!(event));
}
