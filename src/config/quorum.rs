//! Which nodes agree on the cluster's state, and how fast they notice that one is gone.

use std::time::Duration;

use super::ConfigError;
use super::layers::Layers;
use super::sources::Origin;
use crate::model::BrokerId;

/// The key of [`Roles`].
const ROLES: &str = "process.roles";
/// Between two signs of life of a leader, unless `controller.quorum.election.timeout.ms` is set.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// A leader that is heard of more often than this does little else.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
/// How long a node waits at least and at most for a sign of life, before it wants to lead, unless that is set.
const ELECTION: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(300));
/// Between two heartbeats of a broker, unless `broker.heartbeat.interval.ms` is set or a session is too short for it.
const BROKER_HEARTBEAT: Duration = Duration::from_millis(200);
/// A broker that was not heard of for so long is fenced, unless `broker.session.timeout.ms` is set.
const BROKER_SESSION: Duration = Duration::from_millis(1000);

/// What a node is for (`process.roles`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roles {
    /// It votes on the cluster's state, holds partitions and serves clients.
    Both,
    /// It holds partitions and serves clients.
    Broker,
    /// It votes.
    Controller,
}

impl Roles {
    /// Whether the node holds partitions and serves clients.
    #[must_use]
    pub const fn is_broker(self) -> bool {
        matches!(self, Self::Both | Self::Broker)
    }

    /// Whether the node votes.
    #[must_use]
    pub const fn is_controller(self) -> bool {
        matches!(self, Self::Both | Self::Controller)
    }
}

/// A node that votes (`id@host:port` in `controller.quorum.voters`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Where other nodes reach it, `host:port`.
    pub address: String,
}

/// A cluster of several nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumConfig {
    /// `controller.quorum.voters`, in the order of their ids; none if the nodes of the cluster are found by
    /// `bootstrap_servers`, and its voters added and removed while it runs.
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`, `host:port` each; they are asked only if `voters` is empty.
    pub bootstrap_servers: Vec<String>,
    /// `controller.quorum.auto.join.enable`.
    pub auto_join: bool,
    /// How fast everything goes.
    pub timers: QuorumTimers,
    /// How often partitions go back to their preferred leaders, if they do so by themselves: `auto.leader.rebalance.enable`,
    /// `leader.imbalance.check.interval.seconds`.
    pub balance_interval: Option<Duration>,
}

/// How fast nodes notice that one is gone. The defaults are shorter than Apache Kafka's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumTimers {
    /// Between two signs of life of a leader.
    pub heartbeat: Duration,
    /// How long a node waits at least for one, before it wants to lead.
    pub election_min: Duration,
    /// How long it waits at most.
    pub election_max: Duration,
    /// `broker.heartbeat.interval.ms`.
    pub broker_heartbeat: Duration,
    /// `broker.session.timeout.ms`.
    pub session: Duration,
}

impl QuorumTimers {
    /// For how long whoever leads the quorum counts its own broker as living, after a majority was behind it. The next leader cannot
    /// know how long ago that was, and gives it so much time from its own election on: less than it gives others, for until it was
    /// elected some time has passed.
    #[must_use]
    pub fn leader_session(&self) -> Duration {
        self.session / 2
    }
}

impl QuorumConfig {
    /// Whether voters are added and removed while the cluster runs (KIP-853).
    #[must_use]
    pub const fn is_dynamic(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether a node votes by the configuration.
    #[must_use]
    pub fn is_voter(&self, id: BrokerId) -> bool {
        self.voters.iter().any(|voter| voter.id == id)
    }

    /// The voters but for one node.
    pub fn others(&self, id: BrokerId) -> impl Iterator<Item = &Voter> {
        self.voters.iter().filter(move |voter| voter.id != id)
    }

    /// The address of a voter.
    #[must_use]
    pub fn address(&self, id: BrokerId) -> Option<&str> {
        self.voters.iter().find(|voter| voter.id == id).map(|voter| &*voter.address)
    }

    /// How long a node waits for a sign of life, at least and at most: each voter has a band of its own, so that two do not
    /// want to lead at the same moment.
    #[must_use]
    pub fn election_band(&self, id: BrokerId) -> (Duration, Duration) {
        let bands = u32::try_from(self.voters.len()).unwrap_or(u32::MAX).max(1);
        let rank = self.voters.iter().position(|voter| voter.id == id).unwrap_or(0);
        let rank = u32::try_from(rank).unwrap_or(0);
        let width = (self.timers.election_max - self.timers.election_min) / bands;
        let min = self.timers.election_min + width * rank;
        (min, min + width.max(Duration::from_millis(2)))
    }
}

impl Layers<'_> {
    /// The cluster of several nodes that this one is part of; none if it is alone (`KafkaConfig.validateValues` of Apache
    /// Kafka has these rules).
    pub(super) fn quorum(
        self,
        node: BrokerId,
        roles: Roles,
    ) -> Result<Option<QuorumConfig>, ConfigError> {
        const VOTERS: &str = "controller.quorum.voters";
        const SERVERS: &str = "controller.quorum.bootstrap.servers";
        let mut voters = Vec::new();
        for item in self.list(VOTERS).unwrap_or_default() {
            let parsed = item.split_once('@').and_then(|(id, address)| {
                Some(Voter { id: BrokerId(id.trim().parse().ok()?), address: address.to_owned() })
            });
            let malformed = || self.against(VOTERS, "must be a list of id@host:port");
            voters.push(parsed.ok_or_else(malformed)?);
        }
        voters.sort_by_key(|voter| voter.id);
        let bootstrap_servers = self.list(SERVERS).unwrap_or_default();
        let named = if voters.is_empty() { bootstrap_servers.len() } else { voters.len() };
        match roles {
            // The one that is named is this node.
            Roles::Both if named <= 1 && voters.iter().all(|voter| voter.id == node) => {
                return Ok(None);
            }
            Roles::Broker if named == 0 => {
                let rule = format!("must be broker,controller unless {VOTERS} has other nodes");
                return Err(self.against(ROLES, rule));
            }
            Roles::Controller if named == 0 => {
                let rule = format!("must have broker unless {VOTERS} has node.id {node}");
                return Err(self.against(ROLES, rule));
            }
            // A node that is only a controller is one for others to join, also where no other one votes.
            Roles::Both | Roles::Broker | Roles::Controller => {}
        }
        let is_voter = voters.iter().any(|voter| voter.id == node);
        if !voters.is_empty() && is_voter != roles.is_controller() {
            let rule = match is_voter {
                true => format!("must have controller, since {VOTERS} has node.id {node}"),
                false => {
                    format!("must not have controller, since {VOTERS} does not have node.id {node}")
                }
            };
            return Err(self.against(ROLES, rule));
        }
        let balances = self.boolean("auto.leader.rebalance.enable");
        let seconds = self.integer("leader.imbalance.check.interval.seconds");
        let interval = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
        let balance_interval = balances.then_some(interval);
        Ok(Some(QuorumConfig {
            voters,
            bootstrap_servers,
            auto_join: self.boolean("controller.quorum.auto.join.enable"),
            timers: self.quorum_timers()?,
            balance_interval,
        }))
    }

    /// What the node is for.
    pub(super) fn roles(self) -> Roles {
        let roles = self.list(ROLES).unwrap_or_default();
        let has = |role: &str| roles.iter().any(|other| other == role);
        match (has("broker"), has("controller")) {
            (true, false) => Roles::Broker,
            (false, true) => Roles::Controller,
            // The registry lets nothing else be said, and not nothing.
            (true, true) | (false, false) => Roles::Both,
        }
    }

    fn quorum_timers(self) -> Result<QuorumTimers, ConfigError> {
        let set = |key: &str| {
            let is_set = self.text_and_origin(key).1 != Origin::Default;
            is_set.then(|| self.millis(key))
        };
        let election = set("controller.quorum.election.timeout.ms");
        let (election_min, election_max) = election.map_or(ELECTION, |wanted| (wanted, wanted * 2));
        if election_min < HEARTBEAT_MIN * 3 {
            return Err(
                self.against("controller.quorum.election.timeout.ms", "must be at least 30")
            );
        }
        let session = set("broker.session.timeout.ms");
        let session = session.unwrap_or_else(|| BROKER_SESSION.max(election_max * 2));
        // A leader of the quorum counts its own broker by these.
        let heartbeat = election.map_or(HEARTBEAT, |wanted| wanted / 3);
        let heartbeat = heartbeat.min(session / 8).max(HEARTBEAT_MIN);
        let unset = BROKER_HEARTBEAT.min(session / 2);
        let broker_heartbeat = set("broker.heartbeat.interval.ms").unwrap_or(unset);
        // Kafka asks for no more than half, so that a lost heartbeat costs nothing.
        if broker_heartbeat.is_zero() || broker_heartbeat > session / 2 {
            let rule = "must be at least 1, and at most half of broker.session.timeout.ms";
            return Err(self.against("broker.heartbeat.interval.ms", rule));
        }
        Ok(QuorumTimers { heartbeat, election_min, election_max, broker_heartbeat, session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    const VOTERS: &str = "controller.quorum.voters=3@c:1,1@a:1,2@b:1";

    fn quorum(options: &[&str]) -> Result<Option<QuorumConfig>, String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let loaded = load(Sources { options: &options, ..Sources::default() });
        loaded.map(|loaded| loaded.broker.quorum).map_err(|error| error.to_string())
    }

    #[test]
    fn a_node_is_alone_or_one_of_several() {
        assert_eq!(quorum(&[]), Ok(None));
        assert_eq!(quorum(&["controller.quorum.voters=1@a:1"]), Ok(None));
        let several = quorum(&[VOTERS]).unwrap().unwrap();
        assert_eq!(several.voters.iter().map(|voter| voter.id.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(several.address(BrokerId(2)), Some("b:1"));
        assert!(several.is_voter(BrokerId(3)) && !several.is_voter(BrokerId(4)));
        let listener = quorum(&[VOTERS, "node.id=4", "process.roles=broker"]).unwrap().unwrap();
        assert_eq!(listener.others(BrokerId(4)).count(), 3);
    }

    #[test]
    fn a_node_that_only_votes_is_one_of_several_even_alone() {
        for voters in [VOTERS, "controller.quorum.voters=1@a:1"] {
            let several = quorum(&[voters, "process.roles=controller"]).unwrap().unwrap();
            assert!(several.is_voter(BrokerId(1)));
        }
    }

    #[test]
    fn servers_stand_for_voters() {
        const SERVERS: &str = "controller.quorum.bootstrap.servers=a:1,b:1";
        const LISTENER: &str = "listeners=CONTROLLER://:1,PLAINTEXT://:2";
        const ONE: &str = "controller.quorum.bootstrap.servers=a:1";
        for options in [
            &[SERVERS, LISTENER][..],
            &[SERVERS, "process.roles=broker"],
            &[ONE, "process.roles=broker"],
            &[ONE, "process.roles=controller", "listeners=CONTROLLER://:1"],
        ] {
            let several = quorum(options).unwrap().unwrap();
            assert!(several.is_dynamic() && !several.bootstrap_servers.is_empty(), "{options:?}");
        }
        assert_eq!(quorum(&[ONE]), Ok(None), "itself");
        assert!(!quorum(&[VOTERS, SERVERS]).unwrap().unwrap().is_dynamic());
        let error = quorum(&[SERVERS]).unwrap_err();
        assert!(error.contains("must have a listener of controller.listener.names"), "{error}");
    }

    #[test]
    fn roles_and_voters_agree() {
        for (options, words) in [
            (&[VOTERS, "node.id=4"][..], "must not have controller"),
            (&[VOTERS, "process.roles=broker"], "must have controller"),
            (&["process.roles=broker"], "unless controller.quorum.voters has other nodes"),
            (&["process.roles=controller"], "unless controller.quorum.voters has node.id 1"),
            (&[VOTERS, "process.roles=controller", "node.id=4"], "must not have controller"),
            (&[VOTERS, "broker.heartbeat.interval.ms=600"], "at most half"),
            (&[VOTERS, "controller.quorum.election.timeout.ms=29"], "at least 30"),
        ] {
            let error = quorum(options).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_session_outlasts_an_election_and_several_signs_of_life() {
        const ELECTION: &str = "controller.quorum.election.timeout.ms=1000";
        for (options, [heartbeat, session]) in [
            (&[VOTERS][..], [50, 1000]),
            (&[VOTERS, ELECTION], [333, 4000]),
            (&[VOTERS, ELECTION, "broker.session.timeout.ms=1000"], [125, 1000]),
            (&[VOTERS, "broker.session.timeout.ms=40"], [10, 40]),
        ] {
            let timers = quorum(options).unwrap().unwrap().timers;
            let found = [timers.heartbeat, timers.session].map(|it| it.as_millis());
            assert_eq!(found, [heartbeat, session], "{options:?}");
        }
    }

    #[test]
    fn no_two_voters_wait_equally_long() {
        let several = quorum(&[VOTERS]).unwrap().unwrap();
        let bands: Vec<_> = (1..=3).map(|id| several.election_band(BrokerId(id))).collect();
        assert!(bands.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{bands:?}");
        assert_eq!((bands[0].0, bands[2].1), ELECTION);
        let slower = [VOTERS, "controller.quorum.election.timeout.ms=900"];
        let timers = quorum(&slower).unwrap().unwrap().timers;
        let millis = Duration::from_millis;
        assert_eq!((timers.heartbeat, timers.election_max), (millis(300), millis(1800)));
    }
}
