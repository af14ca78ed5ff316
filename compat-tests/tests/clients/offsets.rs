//! Offsets: looked up by time, moved by deleting records.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use ottla_compat_tests::client::{At, ProduceOptions};
use ottla_compat_tests::{ClientKind, Record, Skill};

use crate::records::{admin, assert_refused};
use crate::{Bench, Scenario, create};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "finds_offsets_by_time", needs: &[Skill::Offsets], run: by_time },
    Scenario {
        name: "finds_the_greatest_timestamp",
        needs: &[Skill::MaxTimestamp],
        run: max_timestamp,
    },
    Scenario { name: "deletes_records", needs: &[Skill::DeleteRecords], run: delete_records },
];

fn by_time(bench: &mut Bench<'_>) -> Result<()> {
    let start = an_hour_ago()?;
    write_at(bench, start, &[1000, 2000, 3000])?;
    let mut found = |millis| bench.client.offsets(&bench.topic, 1, At::Time(start + millis));
    assert_eq!(found(0)?, [0]);
    assert_eq!(found(1000)?, [0]);
    assert_eq!(found(1001)?, [1]);
    assert_eq!(found(3000)?, [2]);
    // kafkajs answers with the end of the log, as if it had been asked for.
    let none = if bench.kind == ClientKind::KafkaJs { 3 } else { -1 };
    assert_eq!(found(3001)?, [none]);
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Earliest)?, [0]);
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Latest)?, [3]);
    Ok(())
}

fn max_timestamp(bench: &mut Bench<'_>) -> Result<()> {
    let start = an_hour_ago()?;
    write_at(bench, start, &[3000, 9000, 9000, 1000])?;
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::MaxTimestamp)?, [1]);
    Ok(())
}

fn delete_records(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(1, &[])?;
    let records: Vec<_> = (0..10).map(|n| Record::new(0, format!("{n}"))).collect();
    bench.client.produce(&bench.topic, &records, ProduceOptions::default())?;
    assert_eq!(bench.client.delete_records(&bench.topic, 0, 4)?, 4);
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Earliest)?, [4]);
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Latest)?, [10]);
    let mut reader = ClientKind::Java.connect(bench.server.bootstrap())?;
    let read = reader.consume(&bench.topic, 1, 6)?;
    assert_eq!(
        read.iter().map(|record| record.offset).collect::<Vec<_>>(),
        (4..10).map(Some).collect::<Vec<_>>()
    );
    assert_eq!(read[0].value, records[4].value);
    if bench.kind != ClientKind::KafkaJs {
        // kafkajs does not send an offset that it knows to be out of range.
        assert_refused(bench.client.delete_records(&bench.topic, 0, 11), OFFSET_OUT_OF_RANGE)?;
    }
    assert_eq!(bench.client.delete_records(&bench.topic, 0, 10)?, 10);
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Earliest)?, [10]);
    Ok(())
}

/// Creates the topic and writes a record `millis` after `start` for each of `times`, each in a batch of its own.
fn write_at(bench: &mut Bench<'_>, start: i64, times: &[i64]) -> Result<()> {
    let mut admin = admin(bench)?;
    create(&mut admin, &bench.topic, 1, &[])?;
    for millis in times {
        let record = Record::new(0, format!("{millis} ms later")).timestamp(start + millis);
        admin.produce(&bench.topic, &[record], ProduceOptions::default())?;
    }
    Ok(())
}

/// Milliseconds since 1970: late enough to be kept.
fn an_hour_ago() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())? - 3_600_000)
}

const OFFSET_OUT_OF_RANGE: i16 = 1;
