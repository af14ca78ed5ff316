//! A clock that is wrong by years, one way or the other: what was written stays, and writing goes on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::env::{Disk, MemoryDisk};
use ottla::model::{ErrorCode, Offset, ProducerEpoch, ProducerId, UnixMillis};
use ottla::record::{BatchBuilder, scan};

use crate::rig::{Client, DATA, Rig};

const PRESENT: UnixMillis = UnixMillis(1_795_500_000_000);
const YEAR_MS: i64 = 365 * 24 * 3_600_000;
const SMALL: (&str, &str) = ("internal.segment.bytes", "1000");
/// `created` has the time of its producers, `appended` that of the broker, and `kept` is for ever.
const TOPICS: [(&str, &[(&str, &str)]); 3] = [
    ("created", &[SMALL, ("message.timestamp.after.max.ms", "9223372036854775807")]),
    ("appended", &[SMALL, ("message.timestamp.type", "LogAppendTime")]),
    ("kept", &[SMALL, ("retention.ms", "-1"), ("message.timestamp.type", "LogAppendTime")]),
];

/// A batch of an idempotent producer, of a time.
fn batch(sequence: i32, time: UnixMillis) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.producer(ProducerId(7), ProducerEpoch(0), sequence);
    builder.push(time, Some(b"k"), Some(format!("value {sequence} of some length").as_bytes()));
    builder.build()
}

/// Appends so many to all topics, by the clock of the broker.
async fn write(rig: &Rig, client: &mut Client, sequences: std::ops::Range<i32>) {
    for sequence in sequences {
        for (topic, _) in TOPICS {
            let now = rig.broker.env().clock.now();
            let offset = client.append(topic, 0, batch(sequence, now)).await;
            assert_eq!(offset, Offset(sequence.into()), "{topic}");
        }
    }
}

async fn started(disk: &Arc<dyn Disk>, time: UnixMillis) -> (Rig, Client) {
    let rig = Rig::at(time, Arc::clone(disk), Path::new(DATA)).await;
    let client = rig.client().await;
    (rig, client)
}

/// First offset of a topic that ends at 30.
async fn log_start(client: &mut Client, topic: &str) -> Offset {
    client.fetch(topic, 0, 30).await.log_start_offset
}

/// How many records a topic has from an offset on.
async fn count_from(client: &mut Client, topic: &str, mut offset: i64) -> usize {
    let mut records = 0;
    loop {
        let fetched = client.fetch(topic, 0, offset).await;
        assert_eq!(fetched.error_code, ErrorCode::None, "{topic}: {fetched:?}");
        let bytes = fetched.records.concat();
        for batch in scan(&bytes).map(Result::unwrap) {
            records += usize::try_from(batch.header.record_count).unwrap();
            offset = batch.header.next_offset().0;
        }
        if bytes.is_empty() {
            return records;
        }
    }
}

async fn count(client: &mut Client, topic: &str) -> usize {
    count_from(client, topic, 0).await
}

#[tokio::test]
async fn a_clock_that_goes_back_by_years_takes_nothing_away() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (mut rig, mut client) = started(&disk, PRESENT).await;
    for (topic, configs) in TOPICS {
        client.create(topic, 1, configs).await;
    }
    write(&rig, &mut client, 0..30).await;
    for (back, stops) in [(5, true), (30, false)] {
        if stops {
            rig_stop(rig).await
        } else {
            rig.broker.kill().await
        }
        (rig, client) = started(&disk, PRESENT.plus_millis(-back * YEAR_MS)).await;
        let first = if stops { 30 } else { 60 };
        // The producer goes on, and its last batch is known.
        write(&rig, &mut client, first..first + 30).await;
        for (topic, _) in TOPICS {
            let repeated = batch(first + 29, PRESENT);
            assert_eq!(client.append(topic, 0, repeated).await, Offset((first + 29).into()));
        }
        // Retention looks several times, and removes nothing: all is of now or of a time to come.
        rig.broker.env().clock.advance(Duration::from_secs(3_600));
        client.create(&format!("after-{back}"), 1, &[]).await;
        for (topic, _) in TOPICS {
            assert_eq!(count(&mut client, topic).await, first as usize + 30, "{topic}");
        }
    }
    rig_stop(rig).await;
    let (_rig, mut client) = started(&disk, PRESENT.plus_millis(1)).await;
    for (topic, _) in TOPICS {
        assert_eq!(count(&mut client, topic).await, 90, "{topic}");
    }
}

async fn rig_stop(rig: Rig) {
    rig.broker.stop().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_goes_on_by_years_removes_what_is_old_and_no_more() {
    for at_once in [true, false] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let (mut rig, mut client) = started(&disk, PRESENT).await;
        for (topic, configs) in TOPICS {
            client.create(topic, 1, configs).await;
        }
        write(&rig, &mut client, 0..30).await;
        if at_once {
            rig.broker.env().clock.advance(Duration::from_secs(10 * 365 * 24 * 3_600));
        } else {
            rig_stop(rig).await;
            (rig, client) = started(&disk, PRESENT.plus_millis(10 * YEAR_MS)).await;
        }
        for topic in ["created", "appended"] {
            while log_start(&mut client, topic).await < Offset(30) {
                rig.broker.env().clock.advance(Duration::from_secs(60));
                tokio::task::yield_now().await;
            }
        }
        // Offsets go on, and nothing of the present is taken.
        for (topic, _) in TOPICS {
            let now = rig.broker.env().clock.now();
            let mut builder = BatchBuilder::new();
            builder.push(now, Some(b"k"), Some(b"new"));
            assert_eq!(client.append(topic, 0, builder.build()).await, Offset(30), "{topic}");
        }
        rig.broker.env().clock.advance(Duration::from_secs(3_600));
        for topic in ["created", "appended"] {
            assert_eq!(count_from(&mut client, topic, 30).await, 1, "{topic}");
        }
        assert_eq!(count(&mut client, "kept").await, 31);
        // A clock that is put right again finds records of a time to come, which stay.
        rig_stop(rig).await;
        let (_rig, mut client) = started(&disk, PRESENT.plus_millis(1)).await;
        assert_eq!(count(&mut client, "kept").await, 31);
        assert_eq!(count_from(&mut client, "created", 30).await, 1);
    }
}
