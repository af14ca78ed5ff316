//! The tables against the facts about Kafka's keys, and the ways to find a key.

use proptest::prelude::*;

use super::super::bounds::Bounds;
use super::super::facts::{AT_START_ONLY, facts};
use super::super::key::{Literal, OwnDefault, Status};
use super::super::value::Kind;
use super::*;

const SCOPES: [Scope; 3] = [Scope::Broker, Scope::Topic, Scope::Group];

#[test]
fn names_are_unique_even_when_folded() {
    let count: usize = TABLES.iter().map(|table| table.keys.len()).sum();
    assert_eq!(INDEX.len(), count, "two keys of one scope share a name");
    assert_eq!(FOLDED.len(), keys(Scope::Broker).count(), "two keys fold to one name");
}

#[test]
fn tables_are_in_order_and_active_keys_documented() {
    for table in TABLES {
        assert!(table.keys.is_sorted_by_key(|key| key.name), "{}", table.title);
        for key in table.keys {
            let documented = key.documentation().is_some();
            assert_eq!(documented, key.status == Status::Active, "{}", key.name);
        }
    }
}

#[test]
fn defaults_are_allowed_values() {
    for key in INDEX.values() {
        for single_node in [true, false] {
            if let Some(value) = key.default_value(single_node) {
                assert_eq!(key.parse(&value.to_string()), Ok(value), "{}", key.name);
            }
        }
    }
}

#[test]
fn inherited_keys_exist_and_share_type_and_default() {
    for key in keys(Scope::Topic).chain(keys(Scope::Group)) {
        for from in key.inherits {
            assert!(find(Scope::Broker, from.name).is_some(), "{}", from.name);
        }
    }
}

#[test]
fn every_key_of_kafka_is_there_and_no_other() {
    for scope in SCOPES {
        let expected: Vec<&str> = facts(scope).iter().map(|fact| fact.name).collect();
        let ours: Vec<&str> =
            keys(scope).map(|key| key.name).filter(|name| !name.starts_with("ottla.")).collect();
        assert_eq!(ours, expected, "{scope:?}");
    }
}

#[test]
fn types_defaults_bounds_and_updates_are_those_of_kafka() {
    for scope in SCOPES {
        for fact in facts(scope) {
            let key = find(scope, fact.name).unwrap();
            assert_eq!(key.kind.name(), fact.kind, "type of {}", fact.name);
            assert_eq!(key.default.to_string(), fact.default, "default of {}", fact.name);
            assert_eq!(key.listed, fact.listed, "listing of {}", fact.name);
            if fact.name != "internal.segment.bytes" {
                assert_eq!(facts_bounds(key), fact.bounds, "bounds of {}", fact.name);
            }
            let update = match key.update {
                Update::ReadOnly if AT_START_ONLY.contains(&fact.name) => "per-broker",
                Update::ReadOnly => "read-only",
                Update::PerBroker | Update::PerListener => "per-broker",
                Update::ClusterWide => "cluster-wide",
                Update::PerResource => "dynamic",
            };
            assert_eq!(update, fact.update, "update mode of {}", fact.name);
        }
    }
}

/// Our bounds in the notation of the facts.
fn facts_bounds(key: &Key) -> String {
    let sorted = |texts: &[&str]| {
        let mut texts = texts.to_vec();
        texts.sort_unstable();
        texts.join("|")
    };
    match key.bounds {
        Bounds::Any if key.name == "authorizer.class.name" => "special".into(),
        Bounds::Any => "any".into(),
        Bounds::AtLeast(min) => format!(">={min}"),
        Bounds::Between(min, max) => format!("{min}..{max}"),
        Bounds::OneOf(texts) => format!("one of {}", sorted(texts)),
        Bounds::OneOfAnyCase(texts) => format!("one of (any case) {}", sorted(texts)),
        Bounds::NonEmpty => "non-empty".into(),
        Bounds::Items { or_none, of } => {
            let list = if or_none { "list" } else { "non-empty list" };
            if of.is_empty() { list.into() } else { format!("{list} of {}", sorted(of)) }
        }
        Bounds::Special { .. } if key.kind == Kind::Double => "0..0.5".into(),
        Bounds::Special { .. } => "special".into(),
    }
}

#[test]
fn own_defaults_are_these_and_no_others() {
    use Literal::{Integer, Text};
    use OwnDefault::{Always, SingleNode};
    let ours: Vec<(&str, OwnDefault)> = INDEX
        .values()
        .filter_map(|key| key.own_default.map(|default| (key.name, default)))
        .collect();
    assert_eq!(
        ours,
        [
            ("broker.id", Always(Integer(1))),
            ("controller.listener.names", Always(Text("CONTROLLER"))),
            ("group.initial.rebalance.delay.ms", SingleNode(Integer(0))),
            ("log.dir", Always(Text("./ottla-data"))),
            ("node.id", Always(Integer(1))),
            ("offsets.topic.replication.factor", SingleNode(Integer(1))),
            ("process.roles", Always(Text("broker,controller"))),
            ("share.coordinator.state.topic.min.isr", SingleNode(Integer(1))),
            ("share.coordinator.state.topic.replication.factor", SingleNode(Integer(1))),
            ("transaction.state.log.min.isr", SingleNode(Integer(1))),
            ("transaction.state.log.replication.factor", SingleNode(Integer(1))),
        ]
    );
}

#[test]
fn listener_forms_are_recognized() {
    for (name, base) in [
        ("listener.name.external.max.connections", Some("max.connections")),
        ("listener.name.sasl_ssl.plain.sasl.jaas.config", Some("sasl.jaas.config")),
        ("listener.name.external", None),
        ("listeners", None),
    ] {
        assert_eq!(listener_base(name), base, "{name}");
    }
    assert_eq!(find_broker("listener.name.x.ssl.key.password").unwrap().kind, Kind::Password);
    assert!(find_broker("listener.name.x.nonsense").is_none());
}

#[test]
fn near_misses_are_understood() {
    for (name, meant) in [
        ("log.retension.ms", Some("log.retention.ms")),
        ("num_partitions", Some("num.partitions")),
        ("auto.create.topic.enable", Some("auto.create.topics.enable")),
        ("Log.Dirs", Some("log.dirs")),
        ("retention.ms", Some("log.retention.ms")),
        ("max.message.bytes", Some("message.max.bytes")),
        ("completely.different", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(suggest(name), meant, "{name}");
    }
    assert_eq!(suggest(&"x.".repeat(10_000)), None);
}

#[test]
fn retired_names_are_known() {
    for name in
        ["zookeeper.connect", "inter.broker.protocol.version", "port", "advertised.host.name"]
    {
        assert!(is_retired(name), "{name}");
        assert!(find(Scope::Broker, name).is_none(), "{name}");
    }
    assert!(!is_retired("log.dirs"));
}

proptest! {
    #[test]
    fn folding_is_final_and_forgets_only_case_and_separators(name in "[a-zA-Z0-9._-]{0,40}") {
        let folded = fold(&name);
        let letters = |text: &str| text.to_lowercase().replace(['.', '_', '-'], "");
        prop_assert_eq!(letters(&folded), letters(&name));
        prop_assert_eq!(fold(&folded), folded);
    }

    #[test]
    fn distance_is_a_metric(a in "[ab.]{0,8}", b in "[ab.]{0,8}", c in "[ab.]{0,8}") {
        prop_assert_eq!(distance(&a, &b) == 0, a == b);
        prop_assert_eq!(distance(&a, &b), distance(&b, &a));
        prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c));
    }
}
