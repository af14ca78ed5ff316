//! Ends of transactions in a partition that this broker leads alone, and whom they wake.

use std::path::Path;

use super::*;
use crate::config::{self, Effective, Overrides, Sources};
use crate::env::{Disk, MemoryDisk, Rng};
use crate::log::{AppendError, LogStart, Opened};
use crate::model::{PartitionId, ProducerEpoch, ProducerId, TopicId};
use crate::record::{BatchBuilder, EndMarker, TransactionOutcome};

const NOW: UnixMillis = UnixMillis(1_000_000);

fn partition() -> Partition {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    disk.create_dir_all(Path::new("data")).unwrap();
    let id = TopicIdPartition { topic: TopicId::ZERO, partition: PartitionId(0) };
    let topic = TopicName::new("t").unwrap();
    let start = LogStart {
        topic: topic.clone(),
        topic_id: id.topic,
        partition: id.partition,
        config: LogConfig::default(),
        clean: true,
        recovery_point: Offset::ZERO,
        log_start: Offset::ZERO,
        high_watermark: None,
        now: NOW,
    };
    let log = Opened::open(&disk, Path::new("data"), start, &Rng::from_seed(1)).unwrap().log;
    let settings = Effective::new(config::load(Sources::default()).unwrap());
    let config = Arc::new(settings.topic(&Overrides::new()));
    let broker = BrokerId(1);
    let state =
        PartitionImage { leader_epoch: LeaderEpoch(3), ..PartitionImage::new(vec![broker]) };
    let steady = crate::env::Env::with_disk(Arc::clone(&disk)).steady;
    let peers = Arc::new(Peers::new(steady, &settings.broker().replication));
    let place = Place { dir: None, log: Ok(Arc::new(log)) };
    Partition::new(id, topic, broker, place, config, state, peers)
}

fn append(partition: &Partition, transactional: bool) -> Appended {
    let mut builder = BatchBuilder::new();
    if transactional {
        builder.producer(ProducerId(7), ProducerEpoch(0), 0).transactional();
    }
    builder.push(NOW, None, Some(&[b'v'; 100]));
    partition.append(ValidBatch::trusted(&builder.build()).unwrap(), true, NOW).unwrap()
}

fn end(coordinator_epoch: i32) -> TransactionEnd {
    TransactionEnd {
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(1),
        marker: EndMarker { outcome: TransactionOutcome::Abort, coordinator_epoch },
        transaction_version: 2,
    }
}

fn fetch(partition: &Partition, offset: i64, isolation: Isolation) -> FetchedRecords {
    let from = FetchFrom {
        offset: Offset(offset),
        current_leader_epoch: None,
        last_fetched_epoch: None,
        replica_start: Offset(-1),
        max_bytes: 10_000,
        whole_first_batch: true,
        isolation,
        reader: Reader::Consumer,
    };
    partition.fetch(&from, Residency::Any).unwrap().unwrap()
}

#[tokio::test]
async fn the_end_of_a_transaction_wakes_readers_of_committed_records() {
    let partition = partition();
    let data = append(&partition, true);
    // More than any marker has, and as much as the transaction.
    let waiters = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
        .map(|isolation| FetchWaiter::new(i64::from(data.size_bytes), isolation));
    for waiter in &waiters {
        partition.add_waiter(waiter);
    }
    append(&partition, false);
    append(&partition, false);
    let [committed, uncommitted] = &waiters;
    uncommitted.done().await;
    let mut waits = std::pin::pin!(committed.done());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waits.as_mut().poll(&mut context).is_pending());
    assert!(fetch(&partition, 0, Isolation::ReadCommitted).records.is_empty());
    partition.append_transaction_end(&end(0), NOW).unwrap();
    waits.await;
    let fetched = fetch(&partition, 0, Isolation::ReadCommitted);
    assert_eq!(fetched.records, fetch(&partition, 0, Isolation::ReadUncommitted).records);
    let aborted: Vec<_> =
        fetched.aborted.iter().map(|it| (it.producer_id.0, it.first_offset.0)).collect();
    assert_eq!(aborted, [(7, 0)]);
    assert_eq!(partition.limit(Isolation::ReadCommitted), Some(fetched.limit));
}

#[test]
fn offsets_for_readers_of_committed_records_end_with_what_is_stable() {
    let partition = partition();
    append(&partition, false);
    append(&partition, true);
    let latest = |isolation| {
        let answer = partition.offset_for(OffsetQuestion::Latest, isolation, None).unwrap();
        (answer.offset.0, answer.leader_epoch.0)
    };
    assert_eq!(latest(Isolation::ReadCommitted), (1, 3));
    assert_eq!(latest(Isolation::ReadUncommitted), (2, 3));
    partition.append_transaction_end(&end(0), NOW).unwrap();
    assert_eq!(latest(Isolation::ReadCommitted), (3, 3));
}

/// The appends of two connections, of which the later one is committed first.
#[test]
fn a_commit_tells_readers_of_all_that_it_commits() {
    let partition = partition();
    let log = partition.log().unwrap();
    let batch = BatchBuilder::new().push(NOW, None, Some(&[b'v'; 100])).build();
    let append = || {
        let batch = ValidBatch::trusted(&batch).unwrap();
        let leader_epoch = LeaderEpoch(3);
        log.append(&Append { batch, leader_epoch, origin: Origin::Client, now: NOW }).unwrap()
    };
    let size = i64::from(append().size_bytes + append().size_bytes);
    let waiter = FetchWaiter::new(size, Isolation::ReadUncommitted);
    partition.add_waiter(&waiter);
    partition.commit(&log, log.end());
    assert!(!waiter.waits());
}

#[test]
fn a_deletion_is_told_to_other_replicas_at_once() {
    let partition = partition();
    append(&partition, false);
    let waiters = [Isolation::Replica, Isolation::ReadUncommitted]
        .map(|isolation| FetchWaiter::new(1_000, isolation));
    waiters.iter().for_each(|waiter| partition.add_waiter(waiter));
    let (deletion, ..) = partition.delete_before(None).unwrap();
    assert_eq!(deletion.before, Offset(1));
    assert_eq!(waiters.map(|waiter| waiter.waits()), [false, true]);
    assert_eq!(partition.log().unwrap().ends().log_start, Offset(1));
}

#[test]
fn an_earlier_coordinator_ends_nothing() {
    let partition = partition();
    append(&partition, true);
    partition.append_transaction_end(&end(5), NOW).unwrap();
    partition.append_transaction_end(&end(5), NOW).expect("the same again");
    let refused = partition.append_transaction_end(&end(4), NOW).unwrap_err();
    assert!(matches!(
        refused,
        PartitionError::Append(AppendError::FencedCoordinator { current: 5, found: 4, .. })
    ));
    partition.abandon();
    let gone = partition.append_transaction_end(&end(5), NOW).unwrap_err();
    assert!(matches!(gone, PartitionError::Gone));
}
