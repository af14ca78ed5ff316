//! One vocabulary for every client library.
//!
//! A [`Client`] is asked with a [`Request`] and answers with JSON. Most libraries live in a program of their own
//! language below `compat-tests/`, which reads requests as JSON lines and prints `{"ok": …}` or
//! `{"error": {"code": …, "message": …}}` per line; librdkafka is called in this process, kcat is run once per request.
//!
//! | request | answer |
//! |---|---|
//! | `version` | string |
//! | `list-topics` | names |
//! | `describe-topic` | partitions in order: `{leader, replicas, isr}` |
//! | `produce` | an offset per record, in order; null where the client does not tell |
//! | `consume` | the first `count` records of all partitions, assigned from the earliest offset |
//! | `offsets` | an offset per partition; -1 where there is none |
//! | `describe-configs` | value per name |
//! | `delete-records` | the new low watermark |
//! | `describe-cluster` | `{cluster_id, brokers: [{id, host, port}]}` |
//! | `log-dirs` | bytes per partition |
//! | `producers` | `{producer_id, epoch, last_sequence}` of each active producer |
//! | the others | null |

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{Codec, Record};

/// One change of a config, as IncrementalAlterConfigs knows them.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Change<'a> {
    /// Replace the value.
    Set {
        /// The key.
        name: &'a str,
        /// The new value.
        value: &'a str,
    },
    /// Add to a list.
    Append {
        /// The key.
        name: &'a str,
        /// The elements to add.
        value: &'a str,
    },
    /// Take from a list.
    Subtract {
        /// The key.
        name: &'a str,
        /// The elements to take.
        value: &'a str,
    },
    /// Back to the default.
    Delete {
        /// The key.
        name: &'a str,
    },
}

/// The point in a partition that an offset is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The first record that is not older than these milliseconds since 1970.
    Time(i64),
    /// The record with the greatest timestamp.
    MaxTimestamp,
}

/// How to produce.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ProduceOptions {
    /// Compression by the client.
    pub codec: Codec,
    /// 0, 1 or -1 (all).
    pub acks: i16,
    /// Whether the broker is to recognise repeated batches.
    pub idempotent: bool,
}

impl Default for ProduceOptions {
    fn default() -> Self {
        Self { codec: Codec::None, acks: -1, idempotent: false }
    }
}

/// What a client is asked.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the table of this module tells what each one asks for")]
pub enum Request<'a> {
    Version,
    ListTopics,
    DescribeTopic {
        topic: &'a str,
    },
    CreateTopic {
        topic: &'a str,
        partitions: i32,
        configs: BTreeMap<&'a str, &'a str>,
    },
    CreatePartitions {
        topic: &'a str,
        total: i32,
    },
    DeleteTopic {
        topic: &'a str,
    },
    Produce {
        topic: &'a str,
        records: &'a [Record],
        #[serde(flatten)]
        options: ProduceOptions,
    },
    Consume {
        topic: &'a str,
        partitions: i32,
        count: usize,
    },
    Offsets {
        topic: &'a str,
        partitions: i32,
        at: At,
    },
    DescribeConfigs {
        topic: &'a str,
    },
    AlterConfigs {
        topic: &'a str,
        changes: &'a [Change<'a>],
    },
    DeleteRecords {
        topic: &'a str,
        partition: i32,
        before: i64,
    },
    DescribeCluster,
    LogDirs {
        topic: &'a str,
    },
    Producers {
        topic: &'a str,
        partition: i32,
    },
}

/// Why a request had no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The broker refused it.
    Refused {
        /// Kafka's error code.
        code: i16,
        /// What the client made of it.
        message: String,
    },
    /// The client gave up, or died.
    Failed(String),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { code, message } => write!(f, "refused with code {code}: {message}"),
            Self::Failed(message) => write!(f, "the client failed: {message}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// How a request reaches a library.
pub trait Transport {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the library reports, or that it cannot be reached.
    fn call(&mut self, request: &Request<'_>) -> Result<Value, ClientError>;
}

/// A partition as a client describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the protocol's own words")]
pub struct Partition {
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

/// A cluster as a client describes it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's own words")]
pub struct Cluster {
    pub cluster_id: String,
    pub brokers: Vec<Broker>,
}

/// A broker as a client describes it.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's own words")]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: u16,
}

/// An active idempotent producer of a partition.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the protocol's own words")]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub epoch: i32,
    pub last_sequence: i32,
}

/// A client library, connected to one broker.
///
/// Each method sends the request of its name and fails as [`Transport::call`] does.
pub struct Client {
    pub(crate) transport: Box<dyn Transport>,
}

#[expect(clippy::missing_errors_doc, reason = "said once, at the type")]
#[expect(missing_docs, reason = "named as the requests, which the module explains")]
impl Client {
    pub fn version(&mut self) -> Result<String, ClientError> {
        self.ask(&Request::Version)
    }

    pub fn list_topics(&mut self) -> Result<Vec<String>, ClientError> {
        self.ask(&Request::ListTopics)
    }

    pub fn describe_topic(&mut self, topic: &str) -> Result<Vec<Partition>, ClientError> {
        self.ask(&Request::DescribeTopic { topic })
    }

    pub fn create_topic(
        &mut self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        self.ask(&Request::CreateTopic {
            topic,
            partitions,
            configs: configs.iter().copied().collect(),
        })
    }

    pub fn create_partitions(&mut self, topic: &str, total: i32) -> Result<(), ClientError> {
        self.ask(&Request::CreatePartitions { topic, total })
    }

    pub fn delete_topic(&mut self, topic: &str) -> Result<(), ClientError> {
        self.ask(&Request::DeleteTopic { topic })
    }

    pub fn produce(
        &mut self,
        topic: &str,
        records: &[Record],
        options: ProduceOptions,
    ) -> Result<Vec<Option<i64>>, ClientError> {
        self.ask(&Request::Produce { topic, records, options })
    }

    pub fn consume(
        &mut self,
        topic: &str,
        partitions: i32,
        count: usize,
    ) -> Result<Vec<Record>, ClientError> {
        self.ask(&Request::Consume { topic, partitions, count })
    }

    pub fn offsets(
        &mut self,
        topic: &str,
        partitions: i32,
        at: At,
    ) -> Result<Vec<i64>, ClientError> {
        self.ask(&Request::Offsets { topic, partitions, at })
    }

    pub fn describe_configs(
        &mut self,
        topic: &str,
    ) -> Result<BTreeMap<String, Option<String>>, ClientError> {
        self.ask(&Request::DescribeConfigs { topic })
    }

    pub fn alter_configs(
        &mut self,
        topic: &str,
        changes: &[Change<'_>],
    ) -> Result<(), ClientError> {
        self.ask(&Request::AlterConfigs { topic, changes })
    }

    pub fn delete_records(
        &mut self,
        topic: &str,
        partition: i32,
        before: i64,
    ) -> Result<i64, ClientError> {
        self.ask(&Request::DeleteRecords { topic, partition, before })
    }

    pub fn describe_cluster(&mut self) -> Result<Cluster, ClientError> {
        self.ask(&Request::DescribeCluster)
    }

    pub fn log_dirs(&mut self, topic: &str) -> Result<Vec<u64>, ClientError> {
        self.ask(&Request::LogDirs { topic })
    }

    pub fn producers(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<ActiveProducer>, ClientError> {
        self.ask(&Request::Producers { topic, partition })
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &Request<'_>) -> Result<T, ClientError> {
        let answer = self.transport.call(request)?;
        T::deserialize(&answer)
            .map_err(|error| ClientError::Failed(format!("unexpected answer {answer}: {error}")))
    }
}
