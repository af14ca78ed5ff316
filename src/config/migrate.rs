//! A `server.properties` of an older Apache Kafka, made into one for Ottla: what was renamed gets its new name, what went away
//! is left out, and each line that is not as it was says why.
//!
//! Owns what became of the keys of earlier versions. Comments and blank lines stay where they are.

use std::collections::BTreeMap;

use super::key::Status;
use super::properties::{self, Entry, MalformedEscape, Property, written};
use super::registry;

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Other lines come in its place.
    Replaced(String, Vec<(&'static str, String)>),
    LeftOut(String),
}

/// Gives the new file.
///
/// # Errors
/// When an escape in the old one is malformed.
pub fn migrate(bytes: &[u8]) -> Result<String, MalformedEscape> {
    let entries = properties::entries(bytes)?;
    let mut last = BTreeMap::new();
    for entry in &entries {
        if let Entry::Property(property) = entry {
            last.insert(property.key.as_str(), property);
        }
    }
    let old = Old { last };
    let mut out = String::new();
    for entry in &entries {
        let property = match entry {
            Entry::Other(line) => {
                out.push_str(&format!("{line}\n"));
                continue;
            }
            Entry::Property(property) => property,
        };
        let line = written(&property.key, &property.value);
        match old.fate(property) {
            Fate::Kept => out.push_str(&format!("{line}\n")),
            Fate::LeftOut(why) => out.push_str(&format!("# left out: {why}\n#{line}\n")),
            Fate::Replaced(why, lines) => {
                out.push_str(&format!("# changed: {why}\n#{line}\n"));
                for (key, value) in lines {
                    out.push_str(&format!("{}\n", written(key, &value)));
                }
            }
        }
    }
    if old.last.keys().any(|key| key.starts_with("zookeeper.")) {
        out.push_str(ABOUT_SEVERAL_NODES);
    }
    Ok(out)
}

const ABOUT_SEVERAL_NODES: &str = "\
# The nodes of a cluster agree among themselves, without ZooKeeper. This file makes a node that is a cluster of its own; for
# several, add controller.quorum.voters, controller.listener.names and a listener of that name.
";

/// The old file.
struct Old<'a> {
    /// Of each key the line that counts, which is the last one.
    last: BTreeMap<&'a str, &'a Property>,
}

impl Old<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.last.get(key).map(|property| property.value.trim())
    }

    fn fate(&self, property: &Property) -> Fate {
        let Property { line, key, value } = property;
        if let Some(last) = self.last.get(key.as_str()).filter(|last| last.line != *line) {
            return Fate::LeftOut(format!("{key} is set again further down, to {}", last.value));
        }
        match key.as_str() {
            "broker.id" => return self.broker_id(value),
            "host.name" | "port" => {
                return self.address(key, ("host.name", "port"), "listeners", Some(""));
            }
            "advertised.host.name" | "advertised.port" => {
                let names = ("advertised.host.name", "advertised.port");
                return self.address(key, names, "advertised.listeners", self.value("host.name"));
            }
            "log.message.timestamp.difference.max.ms" => return self.difference(value),
            "delegation.token.master.key" => {
                return self.renamed(value, "delegation.token.secret.key");
            }
            "authorizer.class.name" if OLD_AUTHORIZERS.contains(&value.trim()) => {
                let why = "that authorizer kept its rules in ZooKeeper".to_owned();
                return Fate::Replaced(why, vec![("authorizer.class.name", AUTHORIZER.to_owned())]);
            }
            _ => {}
        }
        if let Some(why) = reason(key) {
            return Fate::LeftOut(why.to_owned());
        }
        of_registry(key, value)
    }

    fn broker_id(&self, value: &str) -> Fate {
        if self.value("node.id").is_some() {
            return Fate::LeftOut("node.id says it".to_owned());
        }
        match value.trim().parse::<i32>() {
            Ok(id) if id >= 0 => self.renamed(value, "node.id"),
            Ok(_) | Err(_) => {
                let why =
                    "ids are not given out any more: node.id says it, which is 1 if it is not set";
                Fate::LeftOut(why.to_owned())
            }
        }
    }

    fn renamed(&self, value: &str, name: &'static str) -> Fate {
        if self.value(name).is_some() {
            return Fate::LeftOut(format!("{name} says it"));
        }
        Fate::Replaced(format!("it is called {name} now"), vec![(name, value.to_owned())])
    }

    /// A host and a port of their own are one address now. It stands where the first of them stood.
    fn address(
        &self,
        key: &str,
        (host_key, port_key): (&str, &str),
        name: &'static str,
        host_default: Option<&str>,
    ) -> Fate {
        if self.value(name).is_some() {
            return Fate::LeftOut(format!("{name} says it"));
        }
        let line = |key: &str| self.last.get(key).map(|property| property.line);
        let first = [line(host_key), line(port_key)].into_iter().flatten().min();
        if line(key) != first {
            return Fate::LeftOut(format!("it is part of {name} above"));
        }
        let Some(host) = self.value(host_key).or(host_default) else {
            return Fate::LeftOut(format!("a port alone is none of the addresses in {name}"));
        };
        let port = self.value(port_key).or_else(|| self.value("port")).unwrap_or("9092");
        let address = format!("PLAINTEXT://{host}:{port}");
        Fate::Replaced(format!("host and port are one address in {name}"), vec![(name, address)])
    }

    fn difference(&self, value: &str) -> Fate {
        const NAMES: [&str; 2] =
            ["log.message.timestamp.before.max.ms", "log.message.timestamp.after.max.ms"];
        let free = NAMES.into_iter().filter(|name| self.value(name).is_none());
        let lines: Vec<_> = free.map(|name| (name, value.to_owned())).collect();
        if lines.is_empty() {
            return Fate::LeftOut(format!("{} and {} say it", NAMES[0], NAMES[1]));
        }
        Fate::Replaced("the past and the future have a limit each".to_owned(), lines)
    }
}

/// What the registry says of a key that has its name still.
fn of_registry(key: &str, value: &str) -> Fate {
    let Some(known) = registry::find_broker(key) else {
        if registry::is_retired(key) {
            return Fate::LeftOut(
                "Apache Kafka has it no more, and it has no meaning here".to_owned(),
            );
        }
        return Fate::LeftOut(match registry::suggest(key) {
            Some(meant) => {
                format!("no key has this name, and nothing reads it; is {meant} meant?")
            }
            None => "no key has this name, and nothing reads it".to_owned(),
        });
    };
    if let Err(error) = known.parse(value) {
        return Fate::LeftOut(format!("this value is not allowed any more: it {error}"));
    }
    match known.status {
        Status::Inert => Fate::LeftOut("it has no meaning here".to_owned()),
        Status::Active | Status::NotYet => Fate::Kept,
    }
}

/// Why a key of earlier versions is left out, if there is more to say than that it is gone.
fn reason(key: &str) -> Option<&'static str> {
    Some(match key {
        key if key.starts_with("zookeeper.") => {
            "there is no ZooKeeper here; its service is not needed"
        }
        key if key.starts_with("password.encoder.") => {
            "passwords are not kept in ZooKeeper any more"
        }
        "broker.id.generation.enable" | "reserved.broker.max.id" => {
            "ids are not given out any more: node.id says it"
        }
        "control.plane.listener.name" => {
            "controllers have listeners of their own: see controller.listener.names"
        }
        "inter.broker.protocol.version" => {
            "what nodes speak among each other is a feature of the cluster now, metadata.version"
        }
        "log.message.format.version" => {
            "records are kept in one format only, which all clients since Kafka 0.11 speak"
        }
        "log.message.downconversion.enable" => {
            "records are not converted for clients that are older than Kafka 0.11"
        }
        "offsets.commit.required.acks" => "offsets are always committed to all replicas in sync",
        "quota.consumer.default" | "quota.producer.default" => {
            "quotas are set in the running cluster, not in this file"
        }
        "controlled.shutdown.max.retries" | "controlled.shutdown.retry.backoff.ms" => {
            "a node that stops hands over its partitions as long as that takes"
        }
        "eligible.leader.replicas.enable" => {
            "this is a feature of the cluster now, eligible.leader.replicas.version"
        }
        _ => return None,
    })
}

/// Those of the time of ZooKeeper, and the one that came after them.
const OLD_AUTHORIZERS: [&str; 2] =
    ["kafka.security.authorizer.AclAuthorizer", "kafka.security.auth.SimpleAclAuthorizer"];
const AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Notice, SourceFile, Sources, load};

    /// What a line, alone, becomes, without what stands in comments and the end about ZooKeeper.
    fn settings(old: &str) -> Vec<String> {
        let new = migrate(old.as_bytes()).unwrap();
        let lines = new.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn each_line_says_why_it_is_not_as_it_was() {
        let old = "\
# Our brokers.
broker.id=3

zookeeper.connect=zk:2181
num.partitions=2
num.partitions=4
log.message.format.version=2.8
num.io.threads=8
log.retenion.hours=1
log.retention.minutes=abc
";
        let new = "\
# Our brokers.
# changed: it is called node.id now
#broker.id=3
node.id=3

# left out: there is no ZooKeeper here; its service is not needed
#zookeeper.connect=zk:2181
# left out: num.partitions is set again further down, to 4
#num.partitions=2
num.partitions=4
# left out: records are kept in one format only, which all clients since Kafka 0.11 speak
#log.message.format.version=2.8
# left out: it has no meaning here
#num.io.threads=8
# left out: no key has this name, and nothing reads it; is log.retention.hours meant?
#log.retenion.hours=1
# left out: this value is not allowed any more: it must be a whole number of 32 bits
#log.retention.minutes=abc
";
        assert_eq!(migrate(old.as_bytes()).unwrap(), format!("{new}{ABOUT_SEVERAL_NODES}"));
    }

    #[test]
    fn what_was_renamed_is_set_under_its_new_name() {
        for (old, new) in [
            ("host.name=a\nport=1", &["listeners=PLAINTEXT://a:1"][..]),
            ("port=1\nhost.name=a", &["listeners=PLAINTEXT://a:1"]),
            ("port=1", &["listeners=PLAINTEXT://:1"]),
            ("port=1\nlisteners=PLAINTEXT://b:2", &["listeners=PLAINTEXT://b:2"]),
            ("advertised.host.name=a", &["advertised.listeners=PLAINTEXT://a:9092"]),
            ("advertised.port=1", &[]),
            ("broker.id=-1", &[]),
            ("broker.id=1\nnode.id=1", &["node.id=1"]),
            (
                "log.message.timestamp.difference.max.ms=7",
                &["log.message.timestamp.before.max.ms=7", "log.message.timestamp.after.max.ms=7"],
            ),
            (
                "log.message.timestamp.difference.max.ms=7\nlog.message.timestamp.before.max.ms=8",
                &["log.message.timestamp.after.max.ms=7", "log.message.timestamp.before.max.ms=8"],
            ),
            ("delegation.token.master.key=k", &["delegation.token.secret.key=k"]),
            (
                "authorizer.class.name=kafka.security.authorizer.AclAuthorizer",
                &["authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"],
            ),
            ("log.dirs=a\\\\b, c", &["log.dirs=a\\\\b, c"]),
        ] {
            assert_eq!(settings(old), new, "{old}");
        }
    }

    /// All that Kafka 2.x had in its file, or was told to have in it: a broker starts with what comes out, and knows all of it.
    #[test]
    fn a_broker_takes_what_comes_out() {
        let old = "broker.id=0\nhost.name=localhost\nport=9092\nadvertised.host.name=broker.example\n\
            num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
            log.dirs=/tmp/kafka-logs\nnum.partitions=1\nnum.recovery.threads.per.data.dir=1\n\
            offsets.topic.replication.factor=1\nlog.retention.minutes=168\nlog.segment.bytes=1073741824\n\
            log.cleaner.enable=true\nlog.message.format.version=2.1\ninter.broker.protocol.version=2.1\n\
            zookeeper.connect=localhost:2181\nzookeeper.connection.timeout.ms=18000\n\
            group.initial.rebalance.delay.ms=0\nquota.producer.default=1\nquota.consumer.default=1\n\
            controlled.shutdown.max.retries=3\nauto.include.jmx.reporter=true\nmade.up=1\n";
        let new = migrate(old.as_bytes()).unwrap();
        let file = SourceFile { path: "new", bytes: new.as_bytes() };
        let loaded = load(Sources { file: Some(file), environment: &[], options: &[] }).unwrap();
        let spoken = |notice: &&Notice| !matches!(notice, Notice::NotYet { .. });
        assert_eq!(loaded.notices.iter().find(spoken), None, "{new}");
        assert_eq!(loaded.broker.node_id.0, 0);
        assert_eq!(migrate(new.as_bytes()).unwrap(), new);
    }
}
