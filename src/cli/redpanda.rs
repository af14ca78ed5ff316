//! `redpanda start` and `rpk redpanda start`: a broker with what Redpanda's options and files say of addresses and topics.
//!
//! What is about processors, memory and disks is passed over: nothing of the machine has to be set up or set aside.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::personality::Personality;
use super::rpk;
use super::serve::{self, ServeArguments, Words};
use super::sources::{self, SourceArguments};
use super::yaml::Yaml;

/// By name.
pub(super) const PERSONALITIES: &[(&str, Personality)] =
    &[("redpanda", start), ("rpk", redpandas_tool)];

/// Where Redpanda looks for its configuration.
const FILE: &str = "/etc/redpanda/redpanda.yaml";
/// What the cluster is to be like, beside that file.
const CLUSTER_FILE: &str = ".bootstrap.yaml";
/// Where Redpanda serves HTTP for those who run it.
const ADMIN: &str = ":9644";
/// Options that stand alone; all others have a value.
const SWITCHES: [&str; 6] =
    ["check", "lock-memory", "overprovisioned", "unsafe-bypass-fsync", "v", "verbose"];

fn redpandas_tool(arguments: &[String]) -> anyhow::Result<ExitCode> {
    match arguments.split_first() {
        Some((first, rest)) if first == "redpanda" => start(rest),
        _ => Ok(rpk::run(arguments)),
    }
}

fn start(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(("start", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    else {
        bail!("say what to do: redpanda start");
    };
    let flags = flags(rest)?;
    let file =
        flags.iter().rfind(|(name, _)| name == "config").map(|(_, path)| PathBuf::from(path));
    let mut settings = Settings::default();
    let path = file.clone().unwrap_or_else(|| FILE.into());
    if let Some(yaml) = read(&path, file.is_some())? {
        settings.of_file(&yaml)?;
    }
    if let Some(yaml) = read(&path.with_file_name(CLUSTER_FILE), false)? {
        settings.of_cluster(&yaml)?;
    }
    settings.of_flags(&flags)?;
    let sources = SourceArguments::of(None, settings.options());
    serve::run(&ServeArguments::of(sources, Words::Redpanda))
}

/// A file, if it is there or has to be.
fn read(path: &Path, needed: bool) -> anyhow::Result<Option<Yaml>> {
    if !needed && !path.exists() {
        return Ok(None);
    }
    let bytes = sources::read(path)?;
    let yaml = Yaml::parse(&String::from_utf8_lossy(&bytes));
    yaml.map(Some).with_context(|| format!("cannot read {}", path.display()))
}

/// Options and their values.
fn flags(arguments: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let mut flags = Vec::new();
    let mut arguments = arguments.iter().peekable();
    while let Some(argument) = arguments.next() {
        let Some(name) = argument.strip_prefix('-') else {
            bail!("{argument} is no option of redpanda start");
        };
        let name = name.strip_prefix('-').unwrap_or(name);
        let value = match name.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None if SWITCHES.contains(&name) => {
                // Both `--check` and `--check false` are seen.
                let value =
                    arguments.next_if(|next| ["true", "false", "1", "0"].contains(&next.as_str()));
                (name.to_owned(), value.cloned().unwrap_or_else(|| "true".to_owned()))
            }
            None => {
                let value = arguments.next().with_context(|| format!("--{name} needs a value"))?;
                (name.to_owned(), value.clone())
            }
        };
        flags.push(value);
    }
    Ok(flags)
}

/// What is known of how to start.
#[derive(Debug, Default)]
struct Settings {
    /// Names and addresses to serve clients on, and to tell them.
    listeners: Vec<(String, String)>,
    advertised: Vec<(String, String)>,
    admin: Option<String>,
    node_id: Option<String>,
    data: Option<String>,
    is_developers: bool,
    /// Whether topics are made when they are first used.
    creates_topics: Option<bool>,
    /// Keys of ours and of Kafka's.
    others: Vec<String>,
}

impl Settings {
    /// `redpanda.yaml`.
    fn of_file(&mut self, yaml: &Yaml) -> anyhow::Result<()> {
        let Some(node) = yaml.get("redpanda") else { return self.of_cluster(yaml) };
        let text = |key: &str| node.get(key).and_then(Yaml::text).map(str::to_owned);
        self.listeners = addresses(node.get("kafka_api"))?;
        self.advertised = addresses(node.get("advertised_kafka_api"))?;
        let admin = addresses(node.get("admin"))?.into_iter().next();
        (self.admin, self.node_id, self.data) =
            (admin.map(|(_, address)| address), text("node_id"), text("data_directory"));
        self.is_developers = text("developer_mode").is_some_and(|on| on == "true");
        self.of_cluster(node)?;
        self.of_cluster(yaml)
    }

    /// `.bootstrap.yaml`, and properties of the cluster elsewhere.
    fn of_cluster(&mut self, yaml: &Yaml) -> anyhow::Result<()> {
        let keys = [
            "auto_create_topics_enabled",
            "default_topic_partitions",
            "kafka_enable_authorization",
            "enable_sasl",
        ];
        for key in keys {
            if let Some(value) = yaml.get(key).and_then(Yaml::text) {
                self.set(key, value)?;
            }
        }
        Ok(())
    }

    /// The options of the command line.
    fn of_flags(&mut self, flags: &[(String, String)]) -> anyhow::Result<()> {
        for (name, value) in flags {
            match name.as_str() {
                "mode" => self.is_developers = value.starts_with("dev"),
                "node-id" => self.node_id = Some(value.clone()),
                "kafka-addr" => self.listeners = list(value),
                "advertise-kafka-addr" => self.advertised = list(value),
                "set" => {
                    let (key, value) = value
                        .split_once('=')
                        .with_context(|| format!("--set {value} must read key=value"))?;
                    self.set(key.strip_prefix("redpanda.").unwrap_or(key), value)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A property of the cluster.
    fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        match key {
            "auto_create_topics_enabled" => self.creates_topics = Some(value == "true"),
            "default_topic_partitions" => self.others.push(format!("num.partitions={value}")),
            "kafka_enable_authorization" | "enable_sasl" if value == "true" => {
                bail!("{key}: security is not there yet")
            }
            key if key.starts_with("ottla.") => self.others.push(format!("{key}={value}")),
            _ => {}
        }
        Ok(())
    }

    /// The same with Kafka's keys.
    fn options(&self) -> Vec<String> {
        let join = |addresses: &[(String, String)]| {
            addresses
                .iter()
                .map(|(name, address)| format!("{name}://{address}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut options = Vec::new();
        if !self.listeners.is_empty() {
            let protocols: Vec<_> =
                self.listeners.iter().map(|(name, _)| format!("{name}:PLAINTEXT")).collect();
            options.push(format!("listeners={}", join(&self.listeners)));
            options.push(format!("listener.security.protocol.map={}", protocols.join(",")));
            options.push(format!("inter.broker.listener.name={}", self.listeners[0].0));
        }
        if !self.advertised.is_empty() {
            options.push(format!("advertised.listeners={}", join(&self.advertised)));
        }
        let admin = self.admin.as_deref().unwrap_or(ADMIN);
        options.push(format!("ottla.http.listener={admin}"));
        options.extend(self.node_id.iter().map(|id| format!("node.id={id}")));
        options.extend(self.data.iter().map(|data| format!("log.dirs={data}")));
        // As Redpanda has it: only developers get topics that they did not ask for, and do not wait for members.
        let creates = self.creates_topics.unwrap_or(self.is_developers);
        options.push(format!("auto.create.topics.enable={creates}"));
        if self.is_developers {
            options.push("group.initial.rebalance.delay.ms=0".to_owned());
        }
        options.extend(self.others.iter().cloned());
        options
    }
}

/// `NAME://HOST:PORT,…`, where names may be left out.
fn list(text: &str) -> Vec<(String, String)> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| item.split_once("://").unwrap_or(("PLAINTEXT", item)))
        .map(|(name, address)| (name.to_uppercase(), address.to_owned()))
        .collect()
}

/// Addresses in a file: one, or a list.
fn addresses(yaml: Option<&Yaml>) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for item in yaml.map_or(&[][..], Yaml::items) {
        let text = |key: &str| item.get(key).and_then(Yaml::text);
        if text("authentication_method").is_some_and(|method| !["", "none"].contains(&method)) {
            bail!("authentication_method: security is not there yet");
        }
        let (Some(address), Some(port)) = (text("address"), text("port")) else {
            bail!("an address lacks `address` or `port`");
        };
        let address =
            if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        found.push((
            text("name").unwrap_or("PLAINTEXT").to_uppercase(),
            format!("{address}:{port}"),
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Sources};

    fn options(file: &str, line: &str) -> anyhow::Result<Vec<String>> {
        let mut settings = Settings::default();
        settings.of_file(&Yaml::parse(file)?)?;
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        settings.of_flags(&flags(&words)?)?;
        let options = settings.options();
        config::load(Sources { options: &options, ..Sources::default() })?;
        Ok(options)
    }

    #[test]
    fn options_as_people_write_them() {
        let found = options(
            "",
            "--mode dev-container --smp 1 --memory=1G --overprovisioned --reserve-memory 0M --check=false --node-id 3 \
             --kafka-addr internal://0.0.0.0:9092,external://0.0.0.0:19092 \
             --advertise-kafka-addr internal://redpanda:9092,external://localhost:19092 --rpc-addr redpanda:33145 \
             --schema-registry-addr internal://0.0.0.0:8081 --set redpanda.default_topic_partitions=4 --set a.b=c",
        );
        let expected = [
            "listeners=INTERNAL://0.0.0.0:9092,EXTERNAL://0.0.0.0:19092",
            "listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT",
            "inter.broker.listener.name=INTERNAL",
            "advertised.listeners=INTERNAL://redpanda:9092,EXTERNAL://localhost:19092",
            "ottla.http.listener=:9644",
            "node.id=3",
            "auto.create.topics.enable=true",
            "group.initial.rebalance.delay.ms=0",
            "num.partitions=4",
        ];
        assert_eq!(found.unwrap(), expected);
        assert_eq!(
            options("", "").unwrap(),
            ["ottla.http.listener=:9644", "auto.create.topics.enable=false"]
        );
    }

    #[test]
    fn a_file_as_test_libraries_write_it() {
        let file = "redpanda:\n  admin:\n    address: 0.0.0.0\n    port: 9644\n  kafka_api:\n    - address: 0.0.0.0\n      name: external\n      \
                    port: 9092\n      authentication_method: none\n  advertised_kafka_api:\n    - address: localhost\n      name: external\n      \
                    port: 40000\nauto_create_topics_enabled: true\n";
        let found = options(file, "--mode=dev-container").unwrap();
        assert!(
            found.contains(&"advertised.listeners=EXTERNAL://localhost:40000".to_owned()),
            "{found:?}"
        );
        assert!(found.contains(&"ottla.http.listener=0.0.0.0:9644".to_owned()), "{found:?}");
        let secured = file.replace("none", "sasl");
        assert!(options(&secured, "").unwrap_err().to_string().contains("not there yet"));
        for wrong in ["--node-id", "start", "--set x"] {
            assert!(options("", wrong).is_err(), "{wrong}");
        }
    }
}
