//! What is shown of keys, against what a real Kafka showed in the same situation.

use std::collections::BTreeMap;

use super::super::facts::{AT_START_ONLY, Fact, facts};
use super::super::{DynamicConfig, Loaded, Sources, load};
use super::*;

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn loaded(options: &[&str]) -> Loaded {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    load(Sources { options: &options, ..Sources::default() }).unwrap()
}

/// A key as Kafka's tools print it, to compare at a glance.
fn shown(described: &Described) -> String {
    let or_null = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: Vec<String> = described
        .synonyms
        .iter()
        .map(|synonym| format!("{:?}:{}={}", synonym.source, synonym.name, or_null(&synonym.value)))
        .collect();
    format!(
        "{}={} {:?}{}{} [{}]",
        described.name,
        or_null(&described.value),
        described.source,
        if described.read_only { " read-only" } else { "" },
        if described.sensitive { " sensitive" } else { "" },
        synonyms.join(" ")
    )
}

fn find<'a>(all: &'a [Described], name: &str) -> &'a Described {
    all.iter().find(|described| described.name == name).unwrap()
}

fn assert_shown(all: &[Described], expected: &[&str]) {
    for line in expected {
        let (name, _) = line.split_once('=').unwrap();
        assert_eq!(shown(find(all, name)), *line);
    }
}

/// All listed keys of a scope, against what a real Kafka lists. On a cluster, because there the defaults are Kafka's.
fn assert_as_kafka(scope: Scope, all: &[Described]) {
    let ours: BTreeMap<&str, &Described> =
        all.iter().map(|described| (&*described.name, described)).collect();
    let listed: Vec<Fact> = facts(scope).into_iter().filter(|fact| fact.listed).collect();
    let names: Vec<&str> =
        ours.keys().copied().filter(|name| !name.starts_with("ottla.")).collect();
    assert_eq!(names, listed.iter().map(|fact| fact.name).collect::<Vec<_>>());

    for fact in listed {
        let described = ours[fact.name];
        assert_eq!(described.sensitive, fact.sensitive, "{}", fact.name);
        let at_start_only = AT_START_ONLY.contains(&fact.name);
        assert_eq!(described.read_only, fact.read_only || at_start_only, "{}", fact.name);
        assert_eq!(described.kind.map(Kind::name), Some(fact.kind), "{}", fact.name);
        if described.source == ConfigSource::StaticBroker || has_own_default(scope, fact.name) {
            continue;
        }
        assert_eq!(described.source, ConfigSource::Default, "{}", fact.name);
        assert_eq!(described.value.as_deref().unwrap_or("null"), fact.default, "{}", fact.name);
        let synonyms: Vec<String> = described
            .synonyms
            .iter()
            .map(|synonym| format!("{}={}", synonym.name, synonym.value.as_deref().unwrap()))
            .collect();
        assert_eq!(synonyms.join(" "), fact.synonyms, "{}", fact.name);
    }
}

fn has_own_default(scope: Scope, name: &str) -> bool {
    use super::super::OwnDefault;
    let key = registry::find(scope, name).unwrap();
    matches!(key.own_default, Some(OwnDefault::Always(_)))
}

#[test]
fn what_nobody_set_is_shown_as_by_kafka() {
    let loaded = loaded(&["controller.quorum.voters=1@a:1,2@b:1,3@c:1"]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    assert_as_kafka(Scope::Broker, &layers.describe_broker());
    assert_as_kafka(Scope::Topic, &layers.describe_topic(&Overrides::new()));
    assert_as_kafka(Scope::Group, &layers.describe_group(&Overrides::new()));
    assert_eq!(layers.describe_cluster(), []);
}

#[test]
fn a_single_node_shows_its_own_defaults() {
    let loaded = loaded(&[]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    assert_shown(
        &layers.describe_broker(),
        &[
            "offsets.topic.replication.factor=1 Default read-only [Default:offsets.topic.replication.factor=1]",
            "group.initial.rebalance.delay.ms=0 Default read-only [Default:group.initial.rebalance.delay.ms=0]",
            "node.id=1 Default read-only [Default:node.id=1]",
            "log.dir=./ottla-data Default read-only [Default:log.dir=./ottla-data]",
        ],
    );
}

/// What a real Kafka showed for the same settings.
#[test]
fn static_settings_are_shown_as_by_kafka() {
    let loaded = loaded(&[
        "my.unknown.key=hello",
        "log.roll.hours=5",
        "log.retention.minutes=30",
        "compression.type=gzip",
        "listener.name.plaintext.connections.max.reauth.ms=5",
        "listener.name.plaintext.sasl.enabled.mechanisms=PLAIN",
        "sasl.jaas.config=secret",
        "auto.create.topics.enable=TRUE",
        "log.cleanup.policy=compact, delete",
        "max.connections.per.ip=017",
        "producer.id.expiration.check.interval.ms=07",
        "node.id=1",
    ]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let all = layers.describe_broker();
    assert_shown(
        &all,
        &[
            "my.unknown.key=null StaticBroker read-only sensitive [StaticBroker:my.unknown.key=null]",
            "log.roll.hours=5 StaticBroker read-only [StaticBroker:log.roll.hours=5 Default:log.roll.hours=168]",
            "log.roll.ms=null Default []",
            "log.retention.ms=null Default []",
            "log.retention.minutes=30 StaticBroker read-only [StaticBroker:log.retention.minutes=30 \
             Default:log.retention.hours=168]",
            "log.retention.hours=168 Default read-only [Default:log.retention.hours=168]",
            "listener.name.plaintext.connections.max.reauth.ms=5 StaticBroker read-only \
             [StaticBroker:listener.name.plaintext.connections.max.reauth.ms=5 Default:connections.max.reauth.ms=0]",
            "listener.name.plaintext.sasl.enabled.mechanisms=PLAIN StaticBroker read-only \
             [StaticBroker:listener.name.plaintext.sasl.enabled.mechanisms=PLAIN Default:sasl.enabled.mechanisms=GSSAPI]",
            "sasl.jaas.config=null StaticBroker sensitive [StaticBroker:sasl.jaas.config=null]",
            "auto.create.topics.enable=true StaticBroker read-only [StaticBroker:auto.create.topics.enable=TRUE \
             Default:auto.create.topics.enable=true]",
            "log.cleanup.policy=compact,delete StaticBroker [StaticBroker:log.cleanup.policy=compact, delete \
             Default:log.cleanup.policy=delete]",
            "max.connections.per.ip=17 StaticBroker [StaticBroker:max.connections.per.ip=017 \
             Default:max.connections.per.ip=2147483647]",
            "producer.id.expiration.check.interval.ms=07 StaticBroker read-only \
             [StaticBroker:producer.id.expiration.check.interval.ms=07 \
             Default:producer.id.expiration.check.interval.ms=600000]",
            "broker.id=1 StaticBroker read-only [StaticBroker:broker.id=1 Default:broker.id=1]",
        ],
    );
    assert_eq!(find(&all, "my.unknown.key").kind_id(), 0);
    assert_eq!(find(&all, "log.roll.hours").kind_id(), 3);
    let per_listener = find(&all, "listener.name.plaintext.connections.max.reauth.ms");
    assert_eq!((per_listener.kind_id(), per_listener.documentation), (5, None));
    assert!(find(&all, "log.roll.hours").documentation.is_some());

    assert_shown(
        &layers.describe_topic(&Overrides::new()),
        &[
            "segment.ms=18000000 Default []",
            "retention.ms=1800000 Default []",
            "flush.ms=9223372036854775807 Default []",
            "compression.type=gzip StaticBroker [StaticBroker:compression.type=gzip Default:compression.type=producer]",
            "cleanup.policy=compact,delete StaticBroker [StaticBroker:log.cleanup.policy=compact, delete \
             Default:log.cleanup.policy=delete]",
        ],
    );
}

/// What a real Kafka showed after the same alterations.
#[test]
fn alterations_are_shown_as_by_kafka() {
    let loaded = loaded(&["log.retention.minutes=30", "log.flush.scheduler.interval.ms=9"]);
    let (dynamic, unapplied) = DynamicConfig::new(
        &overrides(&[
            ("num.io.threads", "7"),
            ("log.retention.ms", "777777"),
            ("background.threads", "11"),
            ("my.third.unknown", "1"),
        ]),
        &overrides(&[
            ("num.io.threads", " 9 "),
            ("log.retention.ms", "888888"),
            ("my.other.unknown", "1"),
            ("log.flush.interval.ms", "77"),
            ("leader.replication.throttled.rate", "9"),
        ]),
    );
    assert_eq!(unapplied, []);
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let retention = "DynamicBroker:log.retention.ms=888888 DynamicDefaultBroker:log.retention.ms=777777 \
         StaticBroker:log.retention.minutes=30 Default:log.retention.hours=168]";
    let flush = "DynamicBroker:log.flush.interval.ms=77 StaticBroker:log.flush.scheduler.interval.ms=9 \
         Default:log.flush.scheduler.interval.ms=9223372036854775807]";
    assert_shown(
        &layers.describe_broker(),
        &[
            "num.io.threads=9 DynamicBroker [DynamicBroker:num.io.threads= 9  DynamicDefaultBroker:num.io.threads=7 \
             Default:num.io.threads=8]",
            &format!("log.retention.ms=888888 DynamicBroker [{retention}"),
            "log.retention.minutes=null StaticBroker read-only [StaticBroker:log.retention.minutes=30 \
             Default:log.retention.hours=168]",
            &format!("log.flush.interval.ms=77 DynamicBroker [{flush}"),
            "log.flush.scheduler.interval.ms=9223372036854775807 StaticBroker read-only \
             [StaticBroker:log.flush.scheduler.interval.ms=9 \
             Default:log.flush.scheduler.interval.ms=9223372036854775807]",
            "my.other.unknown=null DynamicBroker read-only sensitive [DynamicBroker:my.other.unknown=null]",
            "my.third.unknown=null DynamicDefaultBroker read-only sensitive [DynamicDefaultBroker:my.third.unknown=null]",
            "leader.replication.throttled.rate=9 DynamicBroker [DynamicBroker:leader.replication.throttled.rate=9]",
        ],
    );
    assert_shown(
        &layers.describe_topic(&overrides(&[("retention.ms", " +5 ")])),
        &[
            &format!("retention.ms=5 Topic [Topic:retention.ms=5 {retention}"),
            &format!("flush.ms=77 DynamicBroker [{flush}"),
        ],
    );
    let cluster: Vec<String> = layers.describe_cluster().iter().map(shown).collect();
    assert_eq!(
        cluster,
        [
            "background.threads=11 DynamicDefaultBroker [DynamicDefaultBroker:background.threads=11]",
            "log.retention.ms=777777 DynamicDefaultBroker [DynamicDefaultBroker:log.retention.ms=777777]",
            "my.third.unknown=null DynamicDefaultBroker read-only sensitive [DynamicDefaultBroker:my.third.unknown=null]",
            "num.io.threads=7 DynamicDefaultBroker [DynamicDefaultBroker:num.io.threads=7]",
        ]
    );
}

#[test]
fn overrides_of_topics_and_groups_are_shown_as_by_kafka() {
    let loaded = loaded(&[]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let topic = layers.describe_topic(&overrides(&[
        ("internal.segment.bytes", "5000"),
        ("cleanup.policy", "compact , delete,compact"),
    ]));
    assert_shown(
        &topic,
        &[
            "internal.segment.bytes=5000 Topic [Topic:internal.segment.bytes=5000]",
            "cleanup.policy=compact,delete Topic [Topic:cleanup.policy=compact,delete \
             Default:log.cleanup.policy=delete]",
        ],
    );
    let group = layers.describe_group(&overrides(&[
        ("consumer.session.timeout.ms", "50000"),
        ("share.auto.offset.reset", "by_duration:PT1H"),
    ]));
    assert_shown(
        &group,
        &[
            "consumer.session.timeout.ms=50000 Group [Group:consumer.session.timeout.ms=50000 \
             Default:group.consumer.session.timeout.ms=45000]",
            "share.auto.offset.reset=by_duration:PT1H Group [Group:share.auto.offset.reset=by_duration:PT1H \
             Default:share.auto.offset.reset=latest]",
        ],
    );
}

#[test]
fn numbers_on_the_wire() {
    use ConfigSource::{Default, DynamicBroker, DynamicDefaultBroker, Group, StaticBroker, Topic};
    let sources = [Topic, DynamicBroker, DynamicDefaultBroker, StaticBroker, Default, Group];
    assert_eq!(sources.map(ConfigSource::id), [1, 2, 3, 4, 5, 8]);
}
