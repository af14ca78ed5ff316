//! The programs of Apache Kafka and of its images, by their names: start scripts and tools that people and other programs call.
//!
//! Owns the list of names. Options are those of the originals, and what is printed on stdout is what they print; what goes
//! to stderr is in our words.

mod admin;
mod broker_api_versions;
mod cluster;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod cub;
mod delete_records;
mod get_offsets;
mod java;
mod log_dirs;
mod options;
mod run_class;
mod server_start;
mod storage;
mod topics;
mod words;
mod zookeeper;

use super::personality::Personality;

/// By name, without `.sh`.
pub(super) const PERSONALITIES: &[(&str, Personality)] = &[
    ("cub", cub::run),
    ("kafka-broker-api-versions", broker_api_versions::run),
    ("kafka-cluster", cluster::run),
    ("kafka-configs", configs::run),
    ("kafka-console-consumer", console_consumer::run),
    ("kafka-console-producer", console_producer::run),
    ("kafka-consumer-groups", consumer_groups::run),
    ("kafka-delete-records", delete_records::run),
    ("kafka-get-offsets", get_offsets::run),
    ("kafka-log-dirs", log_dirs::run),
    ("kafka-run-class", run_class::run),
    ("kafka-server-start", server_start::run),
    ("kafka-storage", storage::run),
    ("kafka-topics", topics::run),
    ("zookeeper-server-start", zookeeper::run),
];

/// What the help of the program says of them.
pub(super) const HELP: &str = "\
Called by another name, or with that name as its first argument, it is that program: kafka-server-start, kafka-storage, \
kafka-run-class, kafka-topics, kafka-configs, kafka-consumer-groups, kafka-console-producer, kafka-console-consumer, kafka-get-offsets, \
kafka-delete-records, kafka-log-dirs, kafka-broker-api-versions, kafka-cluster, cub, redpanda, rpk. Names may end in .sh.";
