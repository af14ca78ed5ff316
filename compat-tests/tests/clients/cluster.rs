//! The cluster: its brokers, their log directories, the producers that write to them.

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::{Record, Skill, wait_until};

use crate::{Bench, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "describes_the_cluster", needs: &[Skill::Cluster], run: describe },
    Scenario { name: "describes_log_dirs", needs: &[Skill::Internals], run: log_dirs },
    Scenario { name: "describes_producers", needs: &[Skill::Internals], run: producers },
];

fn describe(bench: &mut Bench<'_>) -> Result<()> {
    let cluster = bench.client.describe_cluster()?;
    // 16 bytes in base64 for URLs.
    assert_eq!(cluster.cluster_id.len(), 22, "{}", cluster.cluster_id);
    let [broker] = cluster.brokers.as_slice() else {
        anyhow::bail!("not one broker: {:?}", cluster.brokers);
    };
    assert_eq!(format!("{}:{}", broker.host, broker.port), bench.server.bootstrap());
    Ok(())
}

fn log_dirs(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(2, &[])?;
    // The directories may be made a moment after the topic.
    wait_until("both partitions have a directory", || {
        Ok((bench.client.log_dirs(&bench.topic)? == [0, 0]).then_some(()))
    })?;
    bench.client.produce(
        &bench.topic,
        &[Record::new(1, "x".repeat(1000))],
        ProduceOptions::default(),
    )?;
    let sizes = bench.client.log_dirs(&bench.topic)?;
    ensure!(
        sizes.len() == 2 && sizes[0] == 0 && (1000..1200).contains(&sizes[1]),
        "sizes {sizes:?}"
    );
    Ok(())
}

fn producers(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(1, &[])?;
    let records: Vec<_> = (0..3).map(|n| Record::new(0, format!("{n}"))).collect();
    bench.client.produce(&bench.topic, &records, ProduceOptions::default())?;
    ensure!(bench.client.producers(&bench.topic, 0)?.is_empty(), "a producer without id is listed");
    bench.client.produce(
        &bench.topic,
        &records,
        ProduceOptions { idempotent: true, ..Default::default() },
    )?;
    let producers = bench.client.producers(&bench.topic, 0)?;
    let producer = producers.first().context("no producer")?;
    ensure!(producers.len() == 1 && producer.producer_id >= 0, "{producers:?}");
    assert_eq!((producer.epoch, producer.last_sequence), (0, 2));
    Ok(())
}
