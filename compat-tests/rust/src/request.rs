//! What is asked, and records as JSON has them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    Version,
    ListTopics,
    DescribeTopic { topic: String },
    CreateTopic { topic: String, partitions: i32, configs: BTreeMap<String, String> },
    CreatePartitions { topic: String, total: i32 },
    DeleteTopic { topic: String },
    Produce(Produce),
    Consume { topic: String, partitions: i32, count: usize },
    Offsets { topic: String, partitions: i32, at: At },
    DescribeConfigs { topic: String },
    AlterConfigs { topic: String, changes: Vec<Change> },
    DeleteRecords { topic: String, partition: i32, before: i64 },
    DescribeCluster,
    LogDirs { topic: String },
    Producers { topic: String, partition: i32 },
}

#[derive(Debug, Deserialize)]
pub struct Produce {
    pub topic: String,
    pub records: Vec<Record>,
    pub codec: String,
    pub acks: i16,
    pub idempotent: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    Earliest,
    Latest,
    Time(i64),
    MaxTimestamp,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Change {
    Set { name: String, value: String },
    Append { name: String, value: String },
    Subtract { name: String, value: String },
    Delete { name: String },
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub partition: i32,
    pub offset: Option<i64>,
    pub timestamp: Option<i64>,
    pub key: Option<Blob>,
    pub value: Option<Blob>,
    pub headers: Vec<(String, Option<Blob>)>,
}

/// Bytes; base64 in JSON.
#[derive(Debug)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The version of a library that this program was built with.
pub fn version_of(library: &str) -> Result<&'static str> {
    let (_, found) = include_str!("../Cargo.lock")
        .split_once(&format!("name = \"{library}\"\nversion = \""))
        .with_context(|| format!("{library} is not in the lock file"))?;
    found.split('"').next().context("the lock file ends early")
}
