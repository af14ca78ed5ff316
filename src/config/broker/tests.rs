//! The typed view of a broker: defaults, fields, rules, and what alterations change.

use super::super::{
    Bounded, ConsumerGroupSettings, DynamicConfig, MigrationPolicy, Notice, Overrides,
    SecurityProtocol, Sources, load,
};
use super::*;
use crate::config::{OffsetsTopicConfig, TransactionSettings, TransactionsTopicConfig};

fn broker(options: &[&str]) -> Result<BrokerConfig, String> {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    let sources = Sources { options: &options, ..Sources::default() };
    load(sources).map(|loaded| loaded.broker).map_err(|error| error.to_string())
}

fn listener(name: &str, host: Option<&str>, port: u16) -> Listener {
    Listener {
        name: name.to_owned(),
        protocol: SecurityProtocol::Plaintext,
        host: host.map(str::to_owned),
        port,
    }
}

fn bounded(default_ms: i32, min_ms: i32, max_ms: i32) -> Bounded {
    Bounded { default_ms, min_ms, max_ms }
}

#[test]
fn defaults_are_those_of_kafka_or_listed_as_ours() {
    assert_eq!(
        broker(&[]).unwrap(),
        BrokerConfig {
            node_id: BrokerId(1),
            roles: Roles::Both,
            quorum: None,
            inter_broker_listener: "PLAINTEXT".into(),
            rack: None,
            cluster_id: None,
            listeners: vec![listener("PLAINTEXT", None, 9092)],
            controller_listeners: vec![],
            controller_listener_name: "CONTROLLER".to_owned(),
            advertised_listeners: None,
            advertised_controller: None,
            external: External::At { host: "localhost".into(), port: None },
            http: HttpListener::Unset,
            partition_level: PartitionLevel::Auto,
            start_topics: vec![],
            log_dirs: vec!["./ottla-data".into()],
            cordoned_log_dirs: Vec::new(),
            log_dir_failure_timeout: Duration::from_secs(30),
            metadata_dir: None,
            move_bytes_per_second_max: i64::MAX as u64,
            auto_create_topics: true,
            delete_topics: true,
            partition_count: 1,
            replication_factor: 1,
            request_bytes_max: 100 << 20,
            request_memory_bytes: None,
            listen_backlog: 50,
            connections_max: i32::MAX as u32,
            connections_per_ip_max: i32::MAX as u32,
            connections_per_ip_overrides: BTreeMap::new(),
            connection_idle_max: Some(Duration::from_secs(600)),
            fetch_bytes_max: 55 << 20,
            fetch_session_slots: 1000,
            described_partitions_max: 2000,
            producer_expiration: Duration::from_secs(24 * 3600),
            producer_expiration_check_interval: Duration::from_secs(600),
            recovery_threads_per_dir: 2,
            groups: Arc::new(GroupSettings {
                initial_rebalance_delay: Duration::ZERO,
                session_timeout_ms_min: 6000,
                session_timeout_ms_max: 1_800_000,
                member_count_max: i32::MAX as usize,
                offset_metadata_length_max: 4096,
                offsets_retention: Duration::from_secs(7 * 24 * 3600),
                offsets_retention_check_interval: Duration::from_secs(600),
                consumer: ConsumerGroupSettings {
                    session_timeout: bounded(45_000, 45_000, 60_000),
                    heartbeat_interval: bounded(5000, 5000, 15_000),
                    assignment_interval: bounded(1000, 0, 15_000),
                    member_count_max: i32::MAX as usize,
                    assignors: vec!["uniform".to_owned(), "range".to_owned()],
                    migration: MigrationPolicy::Bidirectional,
                    regex_refresh_interval: Duration::from_secs(600),
                },
            }),
            consumer_protocol: true,
            offsets_topic: OffsetsTopicConfig {
                partition_count: 50,
                replication_factor: 1,
                segment_bytes: 100 << 20,
                compression_codec: 0,
                load_bytes: 5 << 20,
            },
            transactions: Arc::new(TransactionSettings {
                timeout_ms_max: 900_000,
                id_expiration: Duration::from_secs(7 * 24 * 3600),
                timeout_check_interval: Duration::from_secs(10),
                expiration_check_interval: Duration::from_secs(3600),
                verifies_partitions: true,
                retry_pause: Duration::from_millis(20),
                retry_max: Duration::from_millis(100),
            }),
            transactions_topic: TransactionsTopicConfig {
                partition_count: 50,
                replication_factor: 1,
                segment_bytes: 100 << 20,
                min_insync_replicas: 1,
                load_bytes: 5 << 20,
            },
            replication: ReplicationConfig {
                fetchers: 1,
                lag_max: Duration::from_secs(30),
                fetch_wait_max: Duration::from_millis(500),
                fetch_bytes_min: 1,
                partition_bytes_max: 1 << 20,
                response_bytes_max: 10 << 20,
                backoff_max: Duration::from_secs(1),
                high_watermark_checkpoint_interval: Duration::from_secs(5),
                socket_timeout: Duration::from_secs(30),
                leader_bytes_per_second_max: i64::MAX as u64,
                follower_bytes_per_second_max: i64::MAX as u64,
                reads_in_rack: false,
            },
            cleaner: CleanerConfig {
                enabled: true,
                backoff: Duration::from_secs(15),
                dedupe_bytes: 128 << 20,
                load_factor: 0.9,
                io_bytes: 512 << 10,
                io_bytes_per_second_max: f64::MAX,
            },
            initial_task_delay: Duration::from_secs(30),
            retention_check_interval: Duration::from_secs(300),
            recovery_point_checkpoint_interval: Duration::from_secs(60),
            log_start_checkpoint_interval: Duration::from_secs(60),
            flush_check_interval: Duration::from_millis(i64::MAX as u64),
        }
    );
}

#[test]
fn values_reach_their_fields() {
    let config = broker(&[
        "node.id=9",
        "broker.rack=r1",
        "ottla.cluster.id=abc",
        "log.dirs=/a, /b",
        "log.dir=/c",
        "auto.create.topics.enable=false",
        "connections.max.idle.ms=-1",
        "ottla.request.memory.bytes=1000000",
        "max.connections.per.ip=0",
        "max.connections.per.ip.overrides=127.0.0.1:5, ::1:6 ,host.example:7,",
    ])
    .unwrap();
    assert_eq!(config.node_id, BrokerId(9));
    assert_eq!(config.rack.as_deref(), Some("r1"));
    assert_eq!(config.cluster_id.as_deref(), Some("abc"));
    assert_eq!(config.log_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert!(!config.auto_create_topics);
    assert_eq!(config.connection_idle_max, None);
    assert_eq!(config.request_memory_bytes, Some(1_000_000));
    let limits = [("127.0.0.1", 5), ("::1", 6), ("host.example", 7)];
    let limits = limits.map(|(host, max)| (host.to_owned(), max));
    assert_eq!(config.connections_per_ip_overrides, BTreeMap::from(limits));
}

#[test]
fn listeners_are_read_with_tolerance() {
    let config = broker(&[
        "listeners=,PLAINTEXT://0.0.0.0:9092,,BROKER://:9093,CONTROLLER://localhost:9094,",
        "advertised.listeners=BROKER://:9093,PLAINTEXT://localhost:32768,",
        "listener.security.protocol.map=broker:PLAINTEXT,,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,",
        "controller.listener.names=CONTROLLER",
    ])
    .unwrap();
    assert_eq!(
        config.listeners,
        [listener("PLAINTEXT", Some("0.0.0.0"), 9092), listener("BROKER", None, 9093)]
    );
    assert_eq!(config.controller_listeners, [listener("CONTROLLER", Some("localhost"), 9094)]);
    assert_eq!(
        config.advertised_listeners,
        Some(vec![listener("BROKER", None, 9093), listener("PLAINTEXT", Some("localhost"), 32768)])
    );
}

/// What Apache Kafka 4.3.1 lets a controller have as listeners, and that these may be left out.
#[test]
fn a_controller_has_no_listeners_for_clients() {
    let roles = ["process.roles=controller", "controller.quorum.voters=1@a:7,2@b:7"];
    let of = |options: &[&str]| broker(&[&roles, options].concat());
    let config = of(&["listeners=CONTROLLER://:9093", "inter.broker.listener.name=PLAINTEXT"]);
    let config = config.unwrap();
    assert_eq!(config.roles, Roles::Controller);
    assert_eq!(config.listeners, []);
    assert_eq!(config.controller_listeners, [listener("CONTROLLER", None, 9093)]);
    assert_eq!(config.controller_listener_name, "CONTROLLER");
    let config = of(&[]).unwrap();
    assert_eq!((config.listeners, config.controller_listeners), (vec![], vec![]));
    for (options, words) in [
        (&["listeners=CONTROLLER://:9093,PLAINTEXT://:9092"][..], "and has PLAINTEXT"),
        (&["listeners=PLAINTEXT://:9092"], "must only have listeners of controller.listener.names"),
        (
            &["listeners=CONTROLLER://:1", "controller.listener.names=CONTROLLER,OTHER"],
            "has OTHER, which is not in listeners",
        ),
        (
            &["listeners=CONTROLLER://:1", "advertised.listeners=PLAINTEXT://a:1"],
            "has listener PLAINTEXT, which is not in listeners",
        ),
    ] {
        let error = of(options).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_contradicts_is_refused() {
    for (options, expected) in [
        (
            &["listeners=X://:1"][..],
            "invalid value `X://:1` for `listeners` (option -o): has listener X, for which \
             listener.security.protocol.map has no protocol; add X:PLAINTEXT there, or use one of its names",
        ),
        (
            &["listeners=CONTROLLER://:1"],
            "invalid value `CONTROLLER://:1` for `listeners` (option -o): must have a listener for clients",
        ),
        (
            &["listeners=SSL://:1"],
            "invalid value `SSL://:1` for `listeners` (option -o): has listener SSL with protocol SSL, which is \
             not supported yet",
        ),
        (
            &["listener.security.protocol.map=A:B"],
            "invalid value `A:B` for `listener.security.protocol.map` (option -o): has B for listener A, which is \
             no security protocol",
        ),
        (
            &["listener.security.protocol.map=A:PLAINTEXT"],
            "invalid value `PLAINTEXT://:9092` for `listeners` (default): has listener PLAINTEXT, for which \
             listener.security.protocol.map has no protocol; add PLAINTEXT:PLAINTEXT there, or use one of its names",
        ),
        (
            &["inter.broker.listener.name=A"],
            "invalid value `A` for `inter.broker.listener.name` (option -o): must be one of listeners, which has \
             PLAINTEXT",
        ),
        (
            &["inter.broker.listener.name=PLAINTEXT", "security.inter.broker.protocol=PLAINTEXT"],
            "invalid value `PLAINTEXT` for `inter.broker.listener.name` (option -o): must not be set together with \
             security.inter.broker.protocol",
        ),
        (
            &["inter.broker.listener.name=controller", "controller.listener.names=CONTROLLER"],
            "invalid value `controller` for `inter.broker.listener.name` (option -o): must not be one of \
             controller.listener.names",
        ),
        (
            &["advertised.listeners=PLAINTEXT://0.0.0.0:1"],
            "invalid value `PLAINTEXT://0.0.0.0:1` for `advertised.listeners` (option -o): has 0.0.0.0, which no \
             client can reach",
        ),
        (
            &[
                "advertised.listeners=A://h:1",
                "listener.security.protocol.map=A:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            ],
            "invalid value `A://h:1` for `advertised.listeners` (option -o): has listener A, which is not in \
             listeners",
        ),
        (
            &["max.connections.per.ip=0"],
            "invalid value `0` for `max.connections.per.ip` (option -o): must not be 0 without \
             max.connections.per.ip.overrides",
        ),
        (
            &["max.connections.per.ip.overrides=a"],
            "invalid value `a` for `max.connections.per.ip.overrides` (option -o): has `a`, which is not host:count",
        ),
        (&["log.roll.ms=0"], "invalid value `0` for `log.roll.ms` (option -o): must be at least 1"),
        (
            &["log.retention.minutes=0", "log.retention.hours=5"],
            "invalid value `0` for `log.retention.minutes` (option -o): must be positive, or negative for no limit",
        ),
        (
            &["log.cleaner.dedupe.buffer.size=3145728", "log.cleaner.threads=3"],
            "invalid value `3145728` for `log.cleaner.dedupe.buffer.size` (option -o): must be more than 1 MiB for \
             each of log.cleaner.threads",
        ),
        (
            &["log.cleaner.max.compaction.lag.ms=5", "log.cleaner.min.compaction.lag.ms=6"],
            "invalid value `6` for `log.cleaner.min.compaction.lag.ms` (option -o): must be at most that of \
             log.cleaner.max.compaction.lag.ms",
        ),
    ] {
        assert_eq!(broker(options).unwrap_err(), expected);
    }
}

#[test]
fn a_retention_that_does_not_count_is_not_checked() {
    assert!(broker(&["log.retention.ms=1", "log.retention.hours=0"]).is_ok());
}

#[test]
fn alterations_lie_over_what_was_set() {
    let overrides = |pairs: &[(&str, &str)]| -> Overrides {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let loaded = load(Sources {
        options: &["max.connections=5".to_owned(), "num.partitions=3".to_owned()],
        ..Sources::default()
    })
    .unwrap();
    let (dynamic, unapplied) = DynamicConfig::new(
        &overrides(&[
            ("max.connections", "6"),
            ("max.connections.per.ip", "7"),
            ("cordoned.log.dirs", "x"),
            ("unknown", "x"),
        ]),
        &overrides(&[
            ("listeners", "PLAINTEXT://:1"),
            ("max.connections", "8"),
            ("num.partitions", "9"),
            ("producer.id.expiration.ms", "never"),
            ("ssl.keystore.type", "PEM"),
        ]),
    );
    let reasons: Vec<String> = unapplied.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "Cannot update these configs at default cluster level, broker id must be specified: \
             [cordoned.log.dirs]",
            "`listeners` cannot be changed while the broker runs",
            "`num.partitions` cannot be changed while the broker runs",
            "invalid value `never` for `producer.id.expiration.ms` (altered at run time): must be a whole number \
             of 32 bits",
            "`ssl.keystore.type` can only be changed for one listener, with a listener.name.<name>. prefix",
        ]
    );
    let layers = Layers { fixed: &loaded.config, dynamic: &dynamic };
    assert_eq!(
        layers.broker().unwrap(),
        BrokerConfig { connections_max: 8, connections_per_ip_max: 7, ..loaded.broker }
    );
}

/// As Testcontainers starts Kafka's own image.
#[test]
fn the_variables_of_a_container_are_understood() {
    let environment = [
        ("PATH", "/usr/bin"),
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9094"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        (
            "KAFKA_LISTENERS",
            "PLAINTEXT://0.0.0.0:9092,BROKER://0.0.0.0:9093,CONTROLLER://0.0.0.0:9094",
        ),
        ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://localhost:32768,BROKER://:9093,"),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER"),
        ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", "9223372036854775807"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
    ];
    let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let loaded = load(Sources { environment: &environment, ..Sources::default() }).unwrap();
    assert!(loaded.config.is_single_node());
    let config = loaded.broker;
    assert_eq!(config.cluster_id.as_deref(), Some("4L6g3nShT-eMCtK--X86sw"));
    let ports = |listeners: &[Listener]| -> Vec<u16> { listeners.iter().map(|l| l.port).collect() };
    assert_eq!(ports(&config.listeners), [9092, 9093]);
    assert_eq!(ports(&config.controller_listeners), [9094]);
    assert_eq!(ports(&config.advertised_listeners.unwrap()), [32768, 9093]);
    let unknown = |notice: &Notice| matches!(notice, Notice::UnknownKey { .. });
    assert!(!loaded.notices.iter().any(unknown), "{:?}", loaded.notices);
}

#[test]
fn only_log_directories_can_be_cordoned() {
    let paths = |dirs: &[&str]| Ok(dirs.iter().map(PathBuf::from).collect::<Vec<_>>());
    let failed = |reason: &str| Err(format!("requirement failed: {reason}"));
    let of = |value: &str| {
        let options = ["log.dirs=/a,/b".to_owned(), format!("cordoned.log.dirs={value}")];
        broker(&options.each_ref().map(String::as_str)).map(|config| config.cordoned_log_dirs)
    };
    assert_eq!(of(""), paths(&[]));
    assert_eq!(of("/b"), paths(&["/b"]));
    assert_eq!(of("/b,/a"), paths(&["/b", "/a"]));
    assert_eq!(of("*"), paths(&["/a", "/b"]));
    assert_eq!(
        of("*,/a"),
        failed("When cordoned.log.dirs is set to *, it must not contain other values")
    );
    assert_eq!(
        of("/x,/a,/y"),
        failed(
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : /x, /y"
        )
    );
}
