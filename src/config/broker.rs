//! The typed view of a broker's values.
//!
//! Owns the fields that the broker reads and the rules between broker keys (`KafkaConfig.validateValues` of Kafka, as
//! far as the keys act here). What topics inherit is `topic.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::BrokerId;

use super::ConfigError;
use super::advertised::External;
use super::cleaner::CleanerConfig;
use super::groups::GroupSettings;
use super::http::HttpListener;
use super::layers::Layers;
use super::listeners::{self, Listener, ListenerError, ProtocolMap};
use super::metrics::PartitionLevel;
use super::offsets_topic::OffsetsTopicConfig;
use super::quorum::{QuorumConfig, Roles};
use super::registry::is_host;
use super::replication::ReplicationConfig;
use super::sources::Origin;
use super::start_topics::StartTopic;
use super::transactions::{TransactionSettings, TransactionsTopicConfig};

/// The values of a broker. Key names stand behind each field.
#[derive(Clone, PartialEq, Debug)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: BrokerId,
    /// `process.roles`.
    pub roles: Roles,
    /// The nodes that agree on the cluster's state; none on a single node.
    pub quorum: Option<QuorumConfig>,
    /// `inter.broker.listener.name`, or the first of `listeners`: how other brokers reach this one.
    pub inter_broker_listener: String,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `ottla.cluster.id`: the id that a new cluster gets; none means a random one.
    pub cluster_id: Option<String>,
    /// `listeners` without those of the controller; at least one, unless the node is only a controller: then none.
    pub listeners: Vec<Listener>,
    /// Those of `listeners` that `controller.listener.names` names.
    pub controller_listeners: Vec<Listener>,
    /// The first of `controller.listener.names`: as what the address of a controller is told.
    pub controller_listener_name: String,
    /// `advertised.listeners` without those of the controller; none if nothing is advertised. Each has the name of
    /// one in `listeners`.
    pub advertised_listeners: Option<Vec<Listener>>,
    /// The one of `advertised.listeners` that is the controller's; none if it is not advertised.
    pub advertised_controller: Option<Listener>,
    /// `ottla.advertised.external`.
    pub external: External,
    /// `ottla.http.listener`.
    pub http: HttpListener,
    /// `ottla.metrics.partition.level`.
    pub partition_level: PartitionLevel,
    /// `ottla.create.topics`.
    pub start_topics: Vec<StartTopic>,
    /// `log.dirs` or `log.dir`; at least one.
    pub log_dirs: Vec<PathBuf>,
    /// Those of `log_dirs` that `cordoned.log.dirs` names: they take no new partitions.
    pub cordoned_log_dirs: Vec<PathBuf>,
    /// `log.dir.failure.timeout.ms`, at least 1 ms.
    pub log_dir_failure_timeout: Duration,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `num.partitions`, at least 1.
    pub partition_count: i32,
    /// `default.replication.factor`; Kafka sets no bounds.
    pub replication_factor: i32,
    /// `socket.request.max.bytes`, at least 1.
    pub request_bytes_max: u32,
    /// `ottla.request.memory.bytes`; none leaves it to the caller.
    pub request_memory_bytes: Option<u64>,
    /// `socket.listen.backlog.size`, at least 1.
    pub listen_backlog: u32,
    /// `max.connections`.
    pub connections_max: u32,
    /// `max.connections.per.ip`.
    pub connections_per_ip_max: u32,
    /// `max.connections.per.ip.overrides`: limits by address or host name, as written.
    pub connections_per_ip_overrides: BTreeMap<String, u32>,
    /// `connections.max.idle.ms`; none means that connections may be idle for ever.
    pub connection_idle_max: Option<Duration>,
    /// `fetch.max.bytes`, at least 1024.
    pub fetch_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_slots: u32,
    /// `max.request.partition.size.limit`, at least 1.
    pub described_partitions_max: u32,
    /// `producer.id.expiration.ms`, at least 1 ms.
    pub producer_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`, at least 1 ms.
    pub producer_expiration_check_interval: Duration,
    /// `metadata.log.dir`: where the metadata log is, if not in the first of `log_dirs`.
    pub metadata_dir: Option<PathBuf>,
    /// `replica.alter.log.dirs.io.max.bytes.per.second`, at least 0.
    pub move_bytes_per_second_max: u64,
    /// `num.recovery.threads.per.data.dir`, at least 1.
    pub recovery_threads_per_dir: u32,
    /// Keys about groups.
    pub groups: Arc<GroupSettings>,
    /// Whether `group.coordinator.rebalance.protocols` names the consumer protocol.
    pub consumer_protocol: bool,
    /// Keys about the topic that holds groups.
    pub offsets_topic: OffsetsTopicConfig,
    /// Keys about transactions.
    pub transactions: Arc<TransactionSettings>,
    /// Keys about the topic that holds transactions.
    pub transactions_topic: TransactionsTopicConfig,
    /// Keys about replication.
    pub replication: ReplicationConfig,
    /// Keys about compaction.
    pub cleaner: CleanerConfig,
    /// `log.initial.task.delay.ms`.
    pub initial_task_delay: Duration,
    /// `log.retention.check.interval.ms`, at least 1 ms.
    pub retention_check_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`, at least 1 ms.
    pub recovery_point_checkpoint_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`, at least 1 ms.
    pub log_start_checkpoint_interval: Duration,
    /// `log.flush.scheduler.interval.ms`, at least 1 ms.
    pub flush_check_interval: Duration,
}

/// The listeners as they are configured.
struct Configured {
    /// What is bound, the controller's listeners included.
    bound: Vec<Listener>,
    /// What is advertised to clients.
    advertised_listeners: Option<Vec<Listener>>,
    /// What is advertised as the controller.
    advertised_controller: Option<Listener>,
}

impl Layers<'_> {
    /// The typed view of this broker's values.
    ///
    /// # Errors
    /// When values contradict each other. With alterations that [`check_broker`](Self::check_broker) accepted this
    /// does not happen; otherwise go on with the view from before.
    pub fn broker(self) -> Result<BrokerConfig, ConfigError> {
        self.check_log_rules()?;
        let controller_names = self.list("controller.listener.names").unwrap_or_default();
        let Configured { bound: listeners, advertised_listeners, advertised_controller } =
            self.listeners(&controller_names)?;
        let roles = self.roles();
        if roles.is_broker() {
            let advertised = advertised_listeners.as_deref();
            self.check_inter_broker(&listeners, advertised, &controller_names)?;
        }
        let (controller_listeners, mut listeners): (Vec<_>, Vec<_>) =
            listeners.into_iter().partition(|listener| is_named(listener, &controller_names));
        match roles {
            Roles::Both | Roles::Broker if listeners.is_empty() => {
                return Err(self.against("listeners", "must have a listener for clients"));
            }
            Roles::Both | Roles::Broker => {}
            Roles::Controller => {
                self.check_controller_listeners(&listeners, &controller_listeners)?;
                listeners.clear();
            }
        }
        let idle_max = self.integer("connections.max.idle.ms");
        let request_memory = self.integer("ottla.request.memory.bytes");
        let node_id = BrokerId(self.number("node.id"));
        let log_dirs = self.log_dirs();
        let quorum = self.quorum(node_id, roles)?;
        // Nothing else says where it is.
        if roles.is_controller()
            && controller_listeners.is_empty()
            && quorum.as_ref().is_some_and(QuorumConfig::is_dynamic)
        {
            let rule = "must have a listener of controller.listener.names, since no controller.quorum.voters says where this one is";
            return Err(self.against("listeners", rule));
        }
        Ok(BrokerConfig {
            node_id,
            roles,
            quorum,
            inter_broker_listener: self.inter_broker_listener(&listeners),
            rack: self.text("broker.rack"),
            cluster_id: self.text("ottla.cluster.id"),
            listeners,
            controller_listeners,
            controller_listener_name: controller_names
                .first()
                .map(|name| name.to_uppercase())
                .unwrap_or_default(),
            advertised_listeners,
            advertised_controller,
            external: self.external(),
            http: self.http(),
            partition_level: self.partition_level(),
            start_topics: self.start_topics(),
            cordoned_log_dirs: self.cordoned_log_dirs(&log_dirs)?,
            log_dirs,
            log_dir_failure_timeout: self.millis("log.dir.failure.timeout.ms"),
            metadata_dir: self.text("metadata.log.dir").map(PathBuf::from),
            move_bytes_per_second_max: self
                .number("replica.alter.log.dirs.io.max.bytes.per.second"),
            auto_create_topics: self.boolean("auto.create.topics.enable"),
            delete_topics: self.boolean("delete.topic.enable"),
            partition_count: self.number("num.partitions"),
            replication_factor: self.number("default.replication.factor"),
            request_bytes_max: self.number("socket.request.max.bytes"),
            request_memory_bytes: u64::try_from(request_memory).ok(),
            listen_backlog: self.number("socket.listen.backlog.size"),
            connections_max: self.number("max.connections"),
            connections_per_ip_max: self.number("max.connections.per.ip"),
            connections_per_ip_overrides: self.connections_per_ip_overrides()?,
            connection_idle_max: u64::try_from(idle_max).ok().map(Duration::from_millis),
            fetch_bytes_max: self.number("fetch.max.bytes"),
            fetch_session_slots: self.number("max.incremental.fetch.session.cache.slots"),
            described_partitions_max: self.number("max.request.partition.size.limit"),
            producer_expiration: self.millis("producer.id.expiration.ms"),
            producer_expiration_check_interval: self
                .millis("producer.id.expiration.check.interval.ms"),
            recovery_threads_per_dir: self.number("num.recovery.threads.per.data.dir"),
            groups: Arc::new(self.groups()),
            consumer_protocol: self
                .list("group.coordinator.rebalance.protocols")
                .is_some_and(|protocols| protocols.iter().any(|name| name == "consumer")),
            offsets_topic: self.offsets_topic()?,
            transactions: Arc::new(self.transactions()),
            transactions_topic: self.transactions_topic(),
            replication: self.replication(),
            cleaner: self.cleaner(),
            initial_task_delay: self.millis("log.initial.task.delay.ms"),
            retention_check_interval: self.millis("log.retention.check.interval.ms"),
            recovery_point_checkpoint_interval: self
                .millis("log.flush.offset.checkpoint.interval.ms"),
            log_start_checkpoint_interval: self
                .millis("log.flush.start.offset.checkpoint.interval.ms"),
            flush_check_interval: self.millis("log.flush.scheduler.interval.ms"),
        })
    }

    fn listeners(self, controller_names: &[String]) -> Result<Configured, ConfigError> {
        const MAP: &str = "listener.security.protocol.map";
        let blame = |key| move |error: ListenerError| self.against(key, error);
        let map = self.text(MAP).unwrap_or_default();
        let mut protocols = ProtocolMap::parse(&map).map_err(blame(MAP))?;
        protocols.add_plaintext(controller_names);

        let items = self.list("listeners").unwrap_or_default();
        let bound = listeners::parse_bound(&items, &protocols).map_err(blame("listeners"))?;

        const ADVERTISED: &str = "advertised.listeners";
        let Some(items) = self.list(ADVERTISED) else {
            return Ok(Configured {
                bound,
                advertised_listeners: None,
                advertised_controller: None,
            });
        };
        let advertised =
            listeners::parse_advertised(&items, &protocols).map_err(blame(ADVERTISED))?;
        for listener in &advertised {
            if !bound.iter().any(|other| other.name == listener.name) {
                let rule = format!("has listener {}, which is not in listeners", listener.name);
                return Err(self.against(ADVERTISED, rule));
            }
            if listener.host.as_deref() == Some("0.0.0.0") {
                return Err(self.against(ADVERTISED, "has 0.0.0.0, which no client can reach"));
            }
        }
        let (controller, advertised): (Vec<_>, Vec<_>) =
            advertised.into_iter().partition(|listener| is_named(listener, controller_names));
        Ok(Configured {
            bound,
            advertised_listeners: (!advertised.is_empty()).then_some(advertised),
            advertised_controller: controller.into_iter().next(),
        })
    }

    /// A node that is only a controller has no listener but those of `controller.listener.names`, and all of these. (Kafka asks for
    /// one in any case; where nothing is said, the address in `controller.quorum.voters` is listened on.)
    fn check_controller_listeners(
        self,
        others: &[Listener],
        own: &[Listener],
    ) -> Result<(), ConfigError> {
        const LISTENERS: &str = "listeners";
        const NAMES: &str = "controller.listener.names";
        if self.text_and_origin(LISTENERS).1 == Origin::Default {
            return Ok(());
        }
        if let Some(other) = others.first() {
            let rule = format!(
                "must only have listeners of {NAMES} with process.roles=controller, and has {}",
                other.name
            );
            return Err(self.against(LISTENERS, rule));
        }
        let names = self.list(NAMES).unwrap_or_default();
        let is_missing =
            |name: &&String| !own.iter().any(|listener| listener.name.eq_ignore_ascii_case(name));
        match names.iter().find(is_missing) {
            Some(name) => {
                Err(self.against(NAMES, format!("has {name}, which is not in {LISTENERS}")))
            }
            None => Ok(()),
        }
    }

    /// The listener between brokers is one that is advertised, and not the controller's (`KafkaConfig.validateValues` and
    /// `interBrokerListenerNameAndSecurityProtocol` of Kafka). Kafka asks for one in any case; here it may be left out.
    fn check_inter_broker(
        self,
        bound: &[Listener],
        advertised: Option<&[Listener]>,
        controller_names: &[String],
    ) -> Result<(), ConfigError> {
        const KEY: &str = "inter.broker.listener.name";
        const PROTOCOL: &str = "security.inter.broker.protocol";
        let Some(name) = self.text(KEY) else { return Ok(()) };
        let refuse = |rule: String| Err(self.against(KEY, rule));
        if self.text_and_origin(PROTOCOL).1 != Origin::Default {
            return refuse(format!("must not be set together with {PROTOCOL}"));
        }
        if controller_names.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            return refuse("must not be one of controller.listener.names".to_owned());
        }
        let (listeners, key) = match advertised {
            Some(advertised) => (advertised, "advertised.listeners"),
            None => (bound, "listeners"),
        };
        if listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(&name)) {
            return Ok(());
        }
        let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
        refuse(format!("must be one of {key}, which has {}", names.join(", ")))
    }

    fn inter_broker_listener(self, listeners: &[Listener]) -> String {
        let named = self.text("inter.broker.listener.name").map(|name| name.to_uppercase());
        let first = || listeners.first().map(|listener| listener.name.clone());
        named.or_else(first).unwrap_or_default()
    }

    fn log_dirs(self) -> Vec<PathBuf> {
        let dirs = self.list("log.dirs").or_else(|| self.list("log.dir"));
        dirs.unwrap_or_default().into_iter().map(PathBuf::from).collect()
    }

    /// Which of `dirs` are cordoned (`KafkaConfig.validateCordonedLogDirs`).
    fn cordoned_log_dirs(self, dirs: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
        let entries = self.list("cordoned.log.dirs").unwrap_or_default();
        if entries.iter().any(|entry| entry == "*") {
            if entries.len() > 1 {
                let rule = "When cordoned.log.dirs is set to *, it must not contain other values";
                return Err(ConfigError::Requirement(rule.to_owned()));
            }
            return Ok(dirs.to_vec());
        }
        let is_missing =
            |entry: &&String| !dirs.iter().any(|dir| dir.as_os_str() == entry.as_str());
        let missing: Vec<&str> = entries.iter().filter(is_missing).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(ConfigError::Requirement(format!(
                "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}",
                missing.join(", ")
            )));
        }
        Ok(entries.into_iter().map(PathBuf::from).collect())
    }

    fn connections_per_ip_overrides(self) -> Result<BTreeMap<String, u32>, ConfigError> {
        const KEY: &str = "max.connections.per.ip.overrides";
        let text = self.text(KEY).unwrap_or_default();
        let mut overrides = BTreeMap::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let limit = item.rsplit_once(':').and_then(|(host, max)| {
                let (host, max) = (host.trim(), max.trim().parse().ok()?);
                is_host(host).then(|| (host.to_owned(), max))
            });
            let Some((host, max)) = limit else {
                return Err(self.against(KEY, format!("has `{item}`, which is not host:count")));
            };
            overrides.insert(host, max);
        }
        if overrides.is_empty() && self.integer("max.connections.per.ip") == 0 {
            return Err(
                self.against("max.connections.per.ip", format!("must not be 0 without {KEY}"))
            );
        }
        Ok(overrides)
    }

    /// Rules on the keys from which topics inherit that their bounds do not tell.
    fn check_log_rules(self) -> Result<(), ConfigError> {
        let set =
            |name| self.setting(name).and_then(|setting| setting.value.as_ref()?.as_integer());
        for (name, min) in [
            ("log.roll.ms", 1),
            ("log.roll.jitter.ms", 0),
            ("log.flush.interval.ms", 0),
            // Kafka takes 0 for these, and then fails to start: nothing can be done that often.
            ("log.flush.scheduler.interval.ms", 1),
            ("log.flush.offset.checkpoint.interval.ms", 1),
            ("log.flush.start.offset.checkpoint.interval.ms", 1),
        ] {
            if set(name).is_some_and(|number| number < min) {
                return Err(self.against(name, format!("must be at least {min}")));
            }
        }
        let retention = ["log.retention.ms", "log.retention.minutes", "log.retention.hours"]
            .into_iter()
            .find(|name| set(name).is_some());
        if let Some(name) = retention
            && set(name) == Some(0)
        {
            return Err(self.against(name, "must be positive, or negative for no limit"));
        }
        let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
        if self.integer(min) > self.integer(max) {
            return Err(self.against(min, format!("must be at most that of {max}")));
        }
        let (dedupe, threads) = ("log.cleaner.dedupe.buffer.size", "log.cleaner.threads");
        if self.integer(dedupe) / self.integer(threads).max(1) <= DEDUPE_BYTES_MIN {
            let rule = format!("must be more than 1 MiB for each of {threads}");
            return Err(self.against(dedupe, rule));
        }
        Ok(())
    }

    /// The error that the value of `key` breaks a rule.
    pub(super) fn against(self, key: &str, rule: impl ToString) -> ConfigError {
        let (text, origin) = self.text_and_origin(key);
        ConfigError::rule(key, &text, origin, rule)
    }
}

/// More than this is needed for each thread of Kafka's that compacts.
const DEDUPE_BYTES_MIN: i64 = 1 << 20;

fn is_named(listener: &Listener, names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(&listener.name))
}

#[cfg(test)]
mod tests;
