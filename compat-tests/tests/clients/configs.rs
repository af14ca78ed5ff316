//! Topic configs: described, and changed key by key.

use anyhow::{Context, Result};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::{Change, Client, Record, Skill, wait_until};

use crate::records::{MESSAGE_TOO_LARGE, assert_refused};
use crate::topics::INVALID_CONFIG;
use crate::{Bench, Scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "describes_configs", needs: &[Skill::Configs, Skill::Topics], run: describe },
    Scenario { name: "changes_configs", needs: &[Skill::AlterConfigs, Skill::Topics], run: change },
    Scenario {
        name: "feels_a_changed_config_at_once",
        needs: &[Skill::AlterConfigs, Skill::Topics, Skill::Replies],
        run: takes_effect,
    },
];

fn describe(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(1, &[("retention.ms", "123456789"), ("cleanup.policy", "compact")])?;
    let configs = bench.client.describe_configs(&bench.topic)?;
    let value =
        |name: &str| configs.get(name).cloned().flatten().with_context(|| format!("no {name}"));
    assert_eq!(value("retention.ms")?, "123456789");
    assert_eq!(value("cleanup.policy")?, "compact");
    assert_eq!(value("max.message.bytes")?, "1048588");
    Ok(())
}

fn change(bench: &mut Bench<'_>) -> Result<()> {
    const POLICY: &str = "cleanup.policy";
    bench.create(1, &[])?;
    let (client, topic) = (&mut bench.client, bench.topic.as_str());
    client.alter_configs(
        topic,
        &[
            Change::Set { name: "retention.ms", value: "60000" },
            Change::Append { name: POLICY, value: "compact" },
        ],
    )?;
    expect(client, topic, "retention.ms", "60000")?;
    expect(client, topic, POLICY, "delete,compact")?;
    client.alter_configs(topic, &[Change::Subtract { name: POLICY, value: "delete" }])?;
    expect(client, topic, POLICY, "compact")?;
    client.alter_configs(topic, &[Change::Delete { name: POLICY }])?;
    expect(client, topic, POLICY, "delete")?;
    expect(client, topic, "retention.ms", "60000")?;
    for (name, value) in
        [("retention.ms", "long"), ("no.such.key", "1"), ("min.cleanable.dirty.ratio", "2")]
    {
        assert_refused(
            client.alter_configs(topic, &[Change::Set { name, value }]),
            INVALID_CONFIG,
        )?;
    }
    assert_refused(
        client.alter_configs(topic, &[Change::Append { name: "retention.ms", value: "1" }]),
        INVALID_CONFIG,
    )
}

fn takes_effect(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(1, &[])?;
    let record = [Record::new(0, "x".repeat(5000))];
    bench.client.produce(&bench.topic, &record, ProduceOptions::default())?;
    bench
        .client
        .alter_configs(&bench.topic, &[Change::Set { name: "max.message.bytes", value: "1000" }])?;
    expect(&mut bench.client, &bench.topic, "max.message.bytes", "1000")?;
    assert_refused(
        bench.client.produce(&bench.topic, &record, ProduceOptions::default()),
        MESSAGE_TOO_LARGE,
    )
}

/// The value may take a moment to reach the broker that is asked.
fn expect(client: &mut Client, topic: &str, name: &str, value: &str) -> Result<()> {
    wait_until(&format!("{name} is {value}"), || {
        let configs = client.describe_configs(topic)?;
        Ok((configs.get(name).and_then(Option::as_deref) == Some(value)).then_some(()))
    })
}
