//! What alterations are accepted, case by case as a real Kafka answered.

use super::super::{DynamicConfig, Loaded, Sources, load};
use super::*;

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn loaded(options: &[&str]) -> Loaded {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    load(Sources { options: &options, ..Sources::default() }).unwrap()
}

/// Calls `check` with the layers of a broker that was started without settings.
fn alone(check: impl FnOnce(Layers<'_>) -> Result<(), AlterError>) -> Result<(), AlterError> {
    let loaded = loaded(&[]);
    let dynamic = DynamicConfig::default();
    check(Layers { fixed: &loaded.config, dynamic: &dynamic })
}

fn topic(pairs: &[(&str, &str)]) -> Result<(), ErrorCode> {
    alone(|layers| layers.check_topic(&overrides(pairs))).map_err(|error| error.code)
}

fn group(pairs: &[(&str, &str)]) -> Result<(), ErrorCode> {
    alone(|layers| layers.check_group(&overrides(pairs))).map_err(|error| error.code)
}

fn broker(target: Target, pairs: &[(&str, &str)]) -> Result<(), ErrorCode> {
    alone(|layers| layers.check_broker(target, &overrides(pairs))).map_err(|error| error.code)
}

const CONFIG: Result<(), ErrorCode> = Err(ErrorCode::InvalidConfig);
const REQUEST: Result<(), ErrorCode> = Err(ErrorCode::InvalidRequest);

#[test]
fn topics_accept_what_kafka_accepts() {
    for (name, value, expected) in [
        ("unknown.key", "1", CONFIG),
        ("retention.ms", "-2", CONFIG),
        ("retention.ms", "-1", Ok(())),
        ("retention.ms", "x", CONFIG),
        ("retention.ms", "9999999999999999999", CONFIG),
        ("retention.ms", " +5 ", Ok(())),
        ("segment.bytes", "10", CONFIG),
        ("segment.bytes", "1048576000000", CONFIG),
        ("min.cleanable.dirty.ratio", "1.5", CONFIG),
        ("cleanup.policy", "bogus", CONFIG),
        ("cleanup.policy", "compact , delete,compact", Ok(())),
        ("cleanup.policy", "compact,,delete", CONFIG),
        ("cleanup.policy", "", Ok(())),
        ("compression.type", "gzipp", CONFIG),
        ("compression.gzip.level", "0", CONFIG),
        ("compression.lz4.level", "18", CONFIG),
        ("compression.zstd.level", "-131072", Ok(())),
        ("preallocate", "maybe", CONFIG),
        ("preallocate", " True ", Ok(())),
        ("message.timestamp.type", "createtime", CONFIG),
        ("leader.replication.throttled.replicas", "0:1, 1:2", Ok(())),
        ("leader.replication.throttled.replicas", "*,0:1", CONFIG),
        ("remote.storage.enable", "true", CONFIG),
        ("remote.storage.enable", "false", Ok(())),
        ("internal.segment.bytes", "5000", Ok(())),
        ("max.compaction.lag.ms", "0", CONFIG),
        ("num.partitions", "3", CONFIG),
    ] {
        assert_eq!(topic(&[(name, value)]), expected, "{name}={value}");
    }
    assert_eq!(topic(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]), CONFIG);
    assert_eq!(topic(&[("retention.ms", &" ".repeat(32_768))]), CONFIG);
}

#[test]
fn a_topic_must_agree_with_what_it_inherits() {
    let loaded = loaded(&["log.cleaner.min.compaction.lag.ms=10"]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let error = layers.check_topic(&overrides(&[("max.compaction.lag.ms", "5")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`min.compaction.lag.ms` (10) is more than `max.compaction.lag.ms` (5)"
    );
}

#[test]
fn groups_accept_what_kafka_accepts() {
    for (name, value, expected) in [
        ("unknown", "1", CONFIG),
        ("consumer.session.timeout.ms", "1", CONFIG),
        ("consumer.session.timeout.ms", "0", CONFIG),
        ("consumer.session.timeout.ms", "50000", Ok(())),
        ("consumer.heartbeat.interval.ms", "50000", CONFIG),
        ("share.auto.offset.reset", "by_duration:PT1H", Ok(())),
        ("share.auto.offset.reset", "EARLIEST", CONFIG),
        ("share.isolation.level", "x", CONFIG),
        ("share.record.lock.duration.ms", "70000", CONFIG),
        ("streams.num.standby.replicas", "2", Ok(())),
        ("streams.num.standby.replicas", "3", CONFIG),
        ("share.assignment.interval.ms", "15001", CONFIG),
    ] {
        assert_eq!(group(&[(name, value)]), expected, "{name}={value}");
    }
}

#[test]
fn limits_of_the_broker_are_named_in_kafkas_order() {
    let message = |pairs: &[(&str, &str)]| {
        alone(|layers| layers.check_group(&overrides(pairs))).unwrap_err().message
    };
    for (pairs, expected) in [
        (
            &[("consumer.session.timeout.ms", "1000")][..],
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            &[("consumer.session.timeout.ms", "60001")],
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
        ),
        (
            &[("consumer.heartbeat.interval.ms", "4999")],
            "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
        ),
        (
            &[("consumer.heartbeat.interval.ms", "15001"), ("consumer.session.timeout.ms", "1")],
            "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        ),
        (
            &[("consumer.assignment.interval.ms", "15001")],
            "consumer.assignment.interval.ms must be less than or equal to group.consumer.max.assignment.interval.ms",
        ),
        (
            &[("share.assignment.interval.ms", "15001"), ("share.delivery.count.limit", "11")],
            "share.delivery.count.limit must be less than or equal to group.share.max.delivery.count.limit",
        ),
        (
            &[("streams.assignment.interval.ms", "15001"), ("streams.num.standby.replicas", "3")],
            "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas",
        ),
    ] {
        assert_eq!(message(pairs), expected, "{pairs:?}");
    }
}

#[test]
fn a_session_must_be_longer_than_a_heartbeat() {
    let loaded = loaded(&["group.consumer.min.session.timeout.ms=1"]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let error = layers.check_group(&overrides(&[("consumer.session.timeout.ms", "5000")]));
    assert_eq!(
        error.unwrap_err().message,
        "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
    );
}

#[test]
fn brokers_accept_what_kafka_accepts() {
    use Target::{Broker, Cluster};
    for (target, name, value, expected) in [
        (Broker, "num.io.threads", "9", Ok(())),
        (Cluster, "num.io.threads", "7", Ok(())),
        (Broker, "num.io.threads", "abc", REQUEST),
        (Broker, "num.io.threads", "0", REQUEST),
        (Broker, "num.partitions", "4", REQUEST),
        (Cluster, "num.partitions", "4", REQUEST),
        (Broker, "producer.id.expiration.check.interval.ms", "1", REQUEST),
        (Broker, "my.unknown", "1", Ok(())),
        (Cluster, "my.unknown", "1", Ok(())),
        (Cluster, "listeners", "PLAINTEXT://:1", REQUEST),
        (Broker, "listeners", "PLAINTEXT://:1", REQUEST),
        (Broker, "listener.security.protocol.map", "A:PLAINTEXT", REQUEST),
        (Cluster, "cordoned.log.dirs", "x", REQUEST),
        (Broker, "ssl.keystore.location", "/x", REQUEST),
        (Broker, "listener.name.plaintext.ssl.keystore.location", "/x", Ok(())),
        (Cluster, "listener.name.plaintext.ssl.keystore.location", "/x", REQUEST),
        (Cluster, "listener.name.plaintext.max.connections", "5", Ok(())),
        (Cluster, "listener.name.plaintext.max.connections", "-1", REQUEST),
        (Broker, "log.cleanup.policy", "bogus", REQUEST),
        (Broker, "log.roll.ms", "0", REQUEST),
        (Broker, "log.retention.ms", "-5", Ok(())),
        (Broker, "max.connections.per.ip", "0", REQUEST),
        (Broker, "max.connections.per.ip.overrides", "127.0.0.1:x", REQUEST),
        (Broker, "max.connections.per.ip.overrides", "127.0.0.1:5,host:6", Ok(())),
        (Broker, "leader.replication.throttled.rate", "9", Ok(())),
        (Broker, "message.max.bytes", "-1", REQUEST),
        (Broker, "ottla.request.memory.bytes", "5", REQUEST),
    ] {
        assert_eq!(broker(target, &[(name, value)]), expected, "{target:?} {name}={value}");
    }
    assert_eq!(broker(Broker, &[("my.unknown", &"x".repeat(32_768))]), CONFIG);
}

#[test]
fn one_target_is_checked_together_with_the_other() {
    let loaded = loaded(&[]);
    let (dynamic, _) = DynamicConfig::new(
        &overrides(&[("max.connections.per.ip.overrides", "host:1")]),
        &overrides(&[("max.connections.per.ip", "0")]),
    );
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let zero = overrides(&[("max.connections.per.ip", "0")]);
    assert_eq!(layers.check_broker(Target::Broker, &zero), Ok(()));
    let error = layers.check_broker(Target::Cluster, &Overrides::new()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidRequest);
}

fn change<'a>(operation: Operation, name: &'a str, value: &'a str) -> Change<'a> {
    Change { name, operation, value: Some(value) }
}

#[test]
fn each_operation_does_what_it_does_in_kafka() {
    use Operation::{Append, Delete, Set, Subtract};
    for (current, operation, value, expected) in [
        (None, Set, "compact", Some("compact")),
        (Some("delete"), Set, "", Some("")),
        (Some("delete"), Delete, "", None),
        (None, Delete, "", None),
        (None, Append, "compact", Some("delete,compact")),
        (Some(""), Append, "compact", Some("compact")),
        (Some("compact"), Append, "compact,delete", Some("compact,delete")),
        (Some("compact"), Append, "delete,delete,", Some("compact,delete")),
        (Some("compact,delete"), Subtract, "compact", Some("delete")),
        (Some("delete"), Subtract, "delete", Some("")),
        (Some("a,a"), Subtract, "a", Some("a")),
        (None, Subtract, "compact", Some("delete")),
    ] {
        let key = "cleanup.policy";
        let current: Overrides =
            current.map(|value| (key.to_owned(), value.to_owned())).into_iter().collect();
        let outcome = apply(Scope::Topic, &current, &[change(operation, key, value)]).unwrap();
        assert_eq!(
            outcome.get(key).map(String::as_str),
            expected,
            "{operation:?} {value} on {current:?}"
        );
    }
}

#[test]
fn operations_that_make_no_sense_are_refused() {
    let code = |changes: &[Change<'_>]| {
        apply(Scope::Topic, &Overrides::new(), changes).map_err(|error| error.code)
    };
    let (set, append) = (Operation::Set, Operation::Append);
    let null = |operation| Change { name: "retention.ms", operation, value: None };
    assert_eq!(code(&[change(append, "retention.ms", "1")]), Err(ErrorCode::InvalidConfig));
    assert_eq!(code(&[change(append, "unknown", "1")]), Err(ErrorCode::InvalidConfig));
    assert_eq!(code(&[null(set)]), Err(ErrorCode::InvalidRequest));
    assert_eq!(code(&[null(Operation::Delete)]), Ok(Overrides::new()));
    let twice = [change(set, "retention.ms", "5"), change(set, "retention.ms", "6")];
    assert_eq!(code(&twice), Err(ErrorCode::InvalidRequest));
}

#[test]
fn a_replacement_has_each_name_once_with_a_value() {
    let replaced = replacement(&[("a", Some("1")), ("b", Some(""))]).unwrap();
    assert_eq!(replaced, overrides(&[("a", "1"), ("b", "")]));
    for pairs in [&[("a", None)][..], &[("a", Some("1")), ("a", Some("1"))]] {
        assert_eq!(replacement(pairs).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn operations_have_their_numbers() {
    let known: Vec<Operation> = (-1..5).filter_map(Operation::from_code).collect();
    use Operation::{Append, Delete, Set, Subtract};
    assert_eq!(known, [Set, Delete, Append, Subtract]);
    assert_eq!(Operation::from_code(0), Some(Set));
}

#[test]
fn what_kafka_refuses_of_cordoned_directories_it_refuses_in_its_words() {
    let loaded = loaded(&["log.dir=/a"]);
    let dynamic = DynamicConfig::default();
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    let refused = |target, value: &str| {
        let error = layers.check_broker(target, &overrides(&[("cordoned.log.dirs", value)]));
        error.unwrap_err()
    };
    let unknown = "requirement failed: All entries in cordoned.log.dirs must be present in log.dirs or log.dir. \
                   Missing entries : /x";
    assert_eq!(refused(Target::Broker, "/x"), AlterError::request(unknown));
    let for_all = "Cannot update these configs at default cluster level, broker id must be specified: \
                   [cordoned.log.dirs]";
    assert_eq!(refused(Target::Cluster, "/a"), AlterError::request(for_all));
}
