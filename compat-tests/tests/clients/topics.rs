//! Topics: created, described, enlarged, deleted, refused.

use anyhow::{Result, ensure};
use ottla_compat_tests::client::{At, ProduceOptions};
use ottla_compat_tests::{ClientKind, Record, Skill, wait_until};

use crate::records::{admin, assert_refused, assert_same};
use crate::{Bench, Scenario, create, wait_for_partitions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "describes_a_topic", needs: &[Skill::Metadata], run: describe },
    Scenario { name: "adds_partitions", needs: &[Skill::Topics], run: add_partitions },
    Scenario {
        name: "deletes_and_creates_again",
        needs: &[Skill::Topics, Skill::Replies],
        run: recreate,
    },
    Scenario { name: "is_refused_bad_topics", needs: &[Skill::Topics], run: bad_topics },
    Scenario {
        name: "has_a_topic_created_by_writing",
        needs: &[Skill::AutoCreation],
        run: auto_creation,
    },
];

fn describe(bench: &mut Bench<'_>) -> Result<()> {
    create(&mut admin(bench)?, &bench.topic, 3, &[])?;
    wait_for_partitions(&mut bench.client, &bench.topic, 3)?;
    ensure!(bench.client.list_topics()?.contains(&bench.topic), "not in the list");
    for partition in bench.client.describe_topic(&bench.topic)? {
        assert_eq!(partition.replicas, [partition.leader]);
        assert_eq!(partition.isr, [partition.leader]);
    }
    Ok(())
}

fn add_partitions(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(1, &[])?;
    bench.client.create_partitions(&bench.topic, 4)?;
    wait_for_partitions(&mut bench.client, &bench.topic, 4)?;
    bench.client.produce(
        &bench.topic,
        &[Record::new(3, "in a new one")],
        ProduceOptions::default(),
    )?;
    assert_eq!(bench.client.offsets(&bench.topic, 4, At::Latest)?, [0, 0, 0, 1]);
    assert_refused(bench.client.create_partitions(&bench.topic, 2), INVALID_PARTITIONS)
}

fn recreate(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(2, &[])?;
    let old = [Record::new(0, "old"), Record::new(1, "old")];
    bench.client.produce(&bench.topic, &old, ProduceOptions::default())?;
    bench.client.delete_topic(&bench.topic)?;
    wait_until("the topic is gone", || {
        Ok((!bench.client.list_topics()?.contains(&bench.topic)).then_some(()))
    })?;
    bench.create(1, &[])?;
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Latest)?, [0]);
    let new = [Record::new(0, "new")];
    assert_eq!(bench.client.produce(&bench.topic, &new, ProduceOptions::default())?, [Some(0)]);
    let mut reader = ClientKind::Java.connect(bench.server.bootstrap())?;
    assert_same(&new, &reader.consume(&bench.topic, 1, 1)?);
    Ok(())
}

fn bad_topics(bench: &mut Bench<'_>) -> Result<()> {
    for name in ["with a blank", "sl/ash", "..", &"x".repeat(250)] {
        let refused = bench.client.create_topic(name, 1, &[]);
        if bench.kind == ClientKind::Krafka {
            // By itself, without asking.
            ensure!(refused.is_err(), "{name} was created");
        } else {
            assert_refused(refused, INVALID_TOPIC_EXCEPTION)?;
        }
    }
    let topic = bench.topic.clone();
    create(&mut bench.client, &format!("{topic}.x"), 1, &[])?;
    assert_refused(
        bench.client.create_topic(&format!("{topic}_x"), 1, &[]),
        INVALID_TOPIC_EXCEPTION,
    )?;
    assert_refused(bench.client.create_topic(&format!("{topic}.x"), 1, &[]), TOPIC_ALREADY_EXISTS)?;
    assert_refused(
        bench.client.create_topic(&topic, 1, &[("retention.ms", "long")]),
        INVALID_CONFIG,
    )?;
    assert_refused(bench.client.create_topic(&topic, 1, &[("no.such.key", "1")]), INVALID_CONFIG)?;
    assert_refused(bench.client.delete_topic(&topic), UNKNOWN_TOPIC_OR_PARTITION)?;
    assert_refused(bench.client.create_partitions(&topic, 2), UNKNOWN_TOPIC_OR_PARTITION)?;
    ensure!(!bench.client.list_topics()?.contains(&topic), "a refused topic is there");
    Ok(())
}

fn auto_creation(bench: &mut Bench<'_>) -> Result<()> {
    let records = [Record::new(0, "the first")];
    bench.client.produce(&bench.topic, &records, ProduceOptions::default())?;
    assert_same(&records, &bench.client.consume(&bench.topic, 1, 1)?);
    wait_for_partitions(&mut bench.client, &bench.topic, 1)
}

pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const INVALID_TOPIC_EXCEPTION: i16 = 17;
pub(crate) const TOPIC_ALREADY_EXISTS: i16 = 36;
pub(crate) const INVALID_PARTITIONS: i16 = 37;
pub(crate) const INVALID_CONFIG: i16 = 40;
