//! The merge of the sources, and what the operator is told about it.

use super::super::{ConfigError, load};
use super::*;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// The settings as `key=value (origin)`, and the notices.
fn merged(
    file: &str,
    environment: &[(&str, &str)],
    options: &[&str],
) -> (Vec<String>, Vec<String>) {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let loaded = load(Sources {
        file: Some(SourceFile { path: "server.properties", bytes: file.as_bytes() }),
        environment: &pairs(environment),
        options: &options,
    })
    .unwrap();
    let settings = loaded.config.settings().iter();
    let settings = settings.map(|(name, s)| format!("{name}={} ({})", s.raw, s.origin)).collect();
    (settings, loaded.notices.iter().map(Notice::to_string).collect())
}

fn error(file: &str, options: &[&str]) -> String {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let file = SourceFile { path: "server.properties", bytes: file.as_bytes() };
    load(Sources { file: Some(file), options: &options, ..Sources::default() })
        .unwrap_err()
        .to_string()
}

#[test]
fn nothing_set_is_a_single_node_with_defaults() {
    let loaded = load(Sources::default()).unwrap();
    assert!(loaded.config.is_single_node());
    assert!(loaded.config.settings().is_empty());
    assert_eq!(loaded.notices, []);
}

#[test]
fn each_source_is_over_the_one_before() {
    let file = "num.partitions=1\nfetch.max.bytes=2000\nmax.connections=5\nmax.connections=6\n";
    let (settings, notices) = merged(
        file,
        &[("KAFKA_NUM_PARTITIONS", "2"), ("KAFKA_FETCH_MAX_BYTES", "3000")],
        &["num.partitions=3", " num.partitions =4"],
    );
    assert_eq!(
        settings,
        [
            "fetch.max.bytes=3000 (variable KAFKA_FETCH_MAX_BYTES)",
            "max.connections=6 (server.properties:4)",
            "num.partitions=4 (option -o)",
        ]
    );
    assert_eq!(notices, [] as [&str; 0]);
}

#[test]
fn unknown_names_are_kept_and_reported() {
    let (settings, notices) = merged(
        "num.partition=3\nnonsense=1\nretention.ms=5\n",
        &[("KAFKA_MY__OWN_KEY", "x"), ("KAFKA_CFG_LOG_DIR_S", "/d")],
        &[],
    );
    assert_eq!(settings.len(), 5);
    assert_eq!(
        notices,
        [
            "unknown key `log.dir.s` (variable KAFKA_CFG_LOG_DIR_S), did you mean `log.dirs`?",
            "unknown key `my_own.key` (variable KAFKA_MY__OWN_KEY)",
            "unknown key `nonsense` (server.properties:2)",
            "unknown key `num.partition` (server.properties:1), did you mean `num.partitions`?",
            "unknown key `retention.ms` (server.properties:3), did you mean `log.retention.ms`?",
        ]
    );
}

#[test]
fn keys_that_do_nothing_are_reported() {
    let (_, notices) = merged(
        "num.io.threads=8\nlog.local.retention.ms=1\nzookeeper.connect=z:1\n",
        &[("KAFKA_LISTENER_NAME_CLIENT_SSL_KEYSTORE_TYPE", "PEM")],
        &[],
    );
    assert_eq!(
        notices,
        [
            "`listener.name.client.ssl.keystore.type` (variable KAFKA_LISTENER_NAME_CLIENT_SSL_KEYSTORE_TYPE) \
             is accepted but does nothing yet",
            "`log.local.retention.ms` (server.properties:2) is accepted but does nothing yet",
            "`num.io.threads` (server.properties:1) is accepted but has no meaning here",
            "`zookeeper.connect` (server.properties:3) is not needed: there is no ZooKeeper here, so take the setting out, and its service too",
        ]
    );
}

#[test]
fn a_cluster_of_one_may_say_so() {
    let combined = "process.roles=controller, broker\ncontroller.listener.names=CONTROLLER\n\
        listeners=PLAINTEXT://:9092,CONTROLLER://:9093\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT\n";
    for membership in [
        "node.id=7\ncontroller.quorum.voters=7@localhost:9093\n",
        "controller.quorum.voters=1@localhost:9093\n",
        "broker.id=2\ncontroller.quorum.bootstrap.servers=localhost:9093\n",
    ] {
        let loaded = load(Sources {
            file: Some(SourceFile {
                path: "f",
                bytes: format!("{combined}{membership}").as_bytes(),
            }),
            ..Sources::default()
        })
        .unwrap();
        assert!(loaded.config.is_single_node(), "{membership}");
        assert_eq!(loaded.notices, [], "{membership}");
    }
}

#[test]
fn a_larger_cluster_is_recognized() {
    let voters = "controller.quorum.voters=1@a:1,2@b:1".to_owned();
    let alone = "controller.quorum.voters=1@a:1".to_owned();
    let roles = "process.roles=broker".to_owned();
    for membership in [vec![voters], vec![alone, roles, "node.id=2".to_owned()]] {
        let loaded = load(Sources { options: &membership, ..Sources::default() }).unwrap();
        assert!(!loaded.config.is_single_node(), "{membership:?}");
    }
}

#[test]
fn node_id_and_broker_id_are_one() {
    for option in ["node.id=5", "broker.id=5"] {
        let (settings, _) = merged("", &[], &[option]);
        assert_eq!(settings, ["broker.id=5 (option -o)", "node.id=5 (option -o)"]);
    }
    assert_eq!(
        error("node.id=1\nbroker.id=2", &[]),
        "invalid value `2` for `broker.id` (server.properties:2): must be that of node.id, 1 (server.properties:1)"
    );
}

#[test]
fn errors_name_key_value_place_and_bound() {
    for (file, options, expected) in [
        (
            "\nnum.partitions=0",
            &[][..],
            "invalid value `0` for `num.partitions` (server.properties:2): must be at least 1",
        ),
        (
            "",
            &["fetch.max.bytes=1k"][..],
            "invalid value `1k` for `fetch.max.bytes` (option -o): must be a whole number of 32 bits",
        ),
        ("a=\\u1", &[], "cannot read server.properties"),
        ("", &["num.partitions"], "option -o `num.partitions` must read key=value"),
        (
            "broker.id=-3",
            &[],
            "invalid value `-3` for `node.id` (server.properties:1): must be at least 0",
        ),
    ] {
        assert_eq!(error(file, options), expected);
    }
}

#[test]
fn secrets_stay_out_of_messages() {
    let (settings, _) = merged("ssl.key.password=hunter2", &[], &[]);
    assert_eq!(settings.len(), 1);
    let loaded =
        load(Sources { options: &["ssl.key.password=hunter2".to_owned()], ..Sources::default() });
    assert!(!format!("{loaded:?}").contains("hunter2"));
    let error =
        ConfigError::rule("listener.name.a.ssl.key.password", "hunter2", Origin::Option, "x");
    assert!(!error.to_string().contains("hunter2"));
}
