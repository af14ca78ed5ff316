//! `kafka-broker-api-versions`: `BrokerApiVersionsCommand` of Apache Kafka 4.3.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::admin;
use crate::client::{Cluster, Node, Target};
use crate::model::WithCauses;
use crate::wire::{ApiEntry, VersionRange};

const ABOUT: &str =
    "kafka-broker-api-versions prints the versions of the protocol that brokers speak.";

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, &[], arguments)? else { return Ok(ExitCode::SUCCESS) };
    admin::run(&options, async |cluster| {
        for node in cluster.known().brokers {
            say!("{} -> {}", name(&node), versions(&cluster, &node).await);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// A broker as Java prints it.
fn name(node: &Node) -> String {
    let rack = node.rack.as_deref().unwrap_or("null");
    format!("{} (id: {} rack: {rack} isFenced: false)", node.address, node.id)
}

async fn versions(cluster: &Cluster, node: &Node) -> String {
    match cluster.connection(Target::Node(node.id)).await {
        Ok(connection) => text(&connection.negotiated().versions),
        Err(error) => format!("ERROR: {}", WithCauses(&error)),
    }
}

/// The versions by API; those that a client could ask for and the broker does not have among them.
fn text(versions: &BTreeMap<i16, VersionRange>) -> String {
    let mut lines: BTreeMap<i16, String> = ApiEntry::ALL
        .iter()
        .filter(|entry| entry.key.is_for_brokers())
        .map(|entry| {
            let code = entry.key.code();
            (code, format!("{}({code}): UNSUPPORTED", entry.key))
        })
        .collect();
    lines.extend(versions.iter().map(|(code, theirs)| (*code, line(*code, *theirs))));
    format!("(\n\t{}\n)", lines.into_values().collect::<Vec<_>>().join(",\n\t"))
}

fn line(code: i16, theirs: VersionRange) -> String {
    let Some(entry) = ApiEntry::of(code) else { return format!("UNKNOWN({code}): {theirs}") };
    let ours = entry.kafka;
    let usable = if ours.max < theirs.min {
        "[unusable: node too new]".to_owned()
    } else if theirs.max < ours.min {
        "[unusable: node too old]".to_owned()
    } else {
        format!("[usable: {}]", ours.max.min(theirs.max))
    };
    format!("{}({code}): {theirs} {usable}", entry.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_with_those_of_kafkas_clients() {
        let range = |min, max| VersionRange { min, max };
        for (code, theirs, said) in [
            (3, range(0, 13), "Metadata(3): 0 to 13 [usable: 13]"),
            (3, range(0, 99), "Metadata(3): 0 to 99 [usable: 13]"),
            (3, range(90, 99), "Metadata(3): 90 to 99 [unusable: node too new]"),
            (1, range(0, 3), "Fetch(1): 0 to 3 [unusable: node too old]"),
            (47, range(0, 0), "OffsetDelete(47): 0 [usable: 0]"),
            (999, range(0, 1), "UNKNOWN(999): 0 to 1"),
        ] {
            assert_eq!(line(code, theirs), said);
        }
        assert!(text(&BTreeMap::new()).contains("\n\tProduce(0): UNSUPPORTED,\n"));
    }
}
