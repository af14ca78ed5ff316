//! Crashes at every change of the disk in the life of transactions: afterwards each has ended as it was decided, and the
//! transactional id goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla::env::{Crash, Disk as _, MemoryDisk, WatchedDisk};
use ottla::model::ErrorCode;

use crate::exactly_once::{BOTH, Epochs, Producer, offset, settled};
use crate::groups::find;
use crate::rig::{Client, DATA, Rig};
use crate::transactions::committed_values_of;

/// Nothing that was answered is lost by a power cut, and the internal topics are small.
const OPTIONS: [&str; 3] = [
    "ottla.durability=fsync",
    "transaction.state.log.num.partitions=1",
    "offsets.topic.num.partitions=1",
];
const TOPICS: [&str; 2] = ["t", "u"];

/// Writes the same into both topics, and commits an offset, in the producer's transaction.
async fn write(producer: &mut Producer, value: &str, offset: i64) {
    for topic in TOPICS {
        // Each partition has its own sequence.
        let sequence = producer.sequence;
        assert_eq!(producer.write(topic, value).await, ErrorCode::None);
        producer.sequence = sequence;
    }
    producer.sequence += 1;
    assert_eq!(producer.commit_offset(offset).await, ErrorCode::None);
}

/// What would be found after a crash at each change of the logs while one transaction is committed, one aborted and one left
/// open. The mark of a crash is how many ends were answered before it.
async fn crashes(epochs: Epochs) -> Vec<Crash> {
    let memory = MemoryDisk::with_power_model();
    memory.create_dir_all(Path::new(DATA)).unwrap();
    memory.sync_all();
    let of_logs = |path: &Path| {
        let path = path.to_string_lossy();
        path.ends_with(".log") && !path.contains("ottla-raft") || path.ends_with(".txnindex")
    };
    let disk = WatchedDisk::new(memory, of_logs);
    let rig = Rig::on(Arc::new(disk.clone()), Path::new(DATA), &OPTIONS).await.unwrap();
    let mut client = rig.client().await;
    for topic in TOPICS {
        client.create(topic, 1, &[]).await;
    }
    find(&mut client, "g").await;
    drop(disk.take_crashes());
    let mut producer = Producer::new(&rig, "id", epochs).await;
    for (value, number, commits) in [("a", 1, true), ("b", 2, false)] {
        write(&mut producer, value, number).await;
        assert_eq!(producer.end(commits).await, 0);
        disk.mark(usize::try_from(number).unwrap());
        settled(&mut client, "id").await;
    }
    write(&mut producer, "c", 3).await;
    let crashes = disk.take_crashes();
    rig.broker.kill().await;
    crashes
}

/// How the transaction that is open after a crash comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Another producer of the id begins.
    Begin,
    /// Its time is up.
    Expire,
}

async fn check(crash: &Crash, epochs: Epochs, then: Then) {
    let rig = Rig::on(Arc::new(crash.disk.clone()), Path::new(DATA), &OPTIONS).await.unwrap();
    let mut client = rig.client().await;
    if then == Then::Expire {
        // Until then it may be ongoing; a prepared one is completed by itself.
        while settled(&mut client, "id").await == "Ongoing" {
            rig.broker.env().clock.advance(Duration::from_secs(71));
        }
    }
    let mut producer = Producer::new(&rig, "id", epochs).await;
    let committed = all_or_nothing(&mut client).await;
    assert!(committed.is_empty() || committed == ["a"], "{committed:?}");
    assert!(crash.mark == 0 || committed == ["a"], "a commit that was answered is lost");
    write(&mut producer, "z", 9).await;
    assert_eq!(producer.end(true).await, 0);
    assert_eq!(settled(&mut client, "id").await, "CompleteCommit");
    let after = [committed, vec!["z".to_owned()]].concat();
    for topic in TOPICS {
        assert_eq!(committed_values_of(&mut client, topic).await, after);
    }
    assert_eq!(offset(&mut client).await, Ok(9));
    rig.broker.kill().await;
}

/// What is committed in both topics, which agree with each other and with the group; none has a transaction left open.
async fn all_or_nothing(client: &mut Client) -> Vec<String> {
    let first = committed_values_of(client, TOPICS[0]).await;
    for topic in TOPICS {
        assert_eq!(committed_values_of(client, topic).await, first);
        let read = client.fetch(topic, 0, 0).await;
        assert_eq!(read.last_stable_offset, read.high_watermark, "{topic}");
    }
    let expected = if first.is_empty() { -1 } else { 1 };
    assert_eq!(offset(client).await, Ok(expected));
    first
}

async fn every_crash(epochs: Epochs) {
    let crashes = crashes(epochs).await;
    assert!(crashes.len() > 60, "only {} crashes", crashes.len());
    for (number, crash) in crashes.iter().enumerate() {
        let then = if number % 2 == 0 { Then::Begin } else { Then::Expire };
        check(crash, epochs, then).await;
    }
}

#[tokio::test]
async fn a_transaction_without_epoch_ends_as_decided_wherever_a_crash_hits_it() {
    every_crash(BOTH[0]).await;
}

#[tokio::test]
async fn a_transaction_with_its_epoch_ends_as_decided_wherever_a_crash_hits_it() {
    every_crash(BOTH[1]).await;
}
