//! The client libraries, and what each of them can be asked to do.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::client::{Client, Transport};
use crate::java::Library;
use crate::kcat::Kcat;
use crate::librdkafka::Librdkafka;
use crate::program::Program;
use crate::workspace::{
    native_modules, native_node, platformatic, platformatic_folder, rust_client,
};

/// A client library under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Debian's kcat.
    Kcat,
    /// librdkafka through crate `rdkafka`.
    Librdkafka,
    /// Python, pure.
    KafkaPython,
    /// Python, over librdkafka.
    ConfluentKafka,
    /// Python, asynchronous.
    Aiokafka,
    /// Go.
    FranzGo,
    /// Go.
    KafkaGo,
    /// Go.
    Sarama,
    /// Apache Kafka's own.
    Java,
    /// The same, of 2019.
    Java21,
    /// The same, of 2021.
    Java28,
    /// The same, the last ones before 4.0.
    Java39,
    /// Spring's, over Apache Kafka's.
    SpringKafka,
    /// Kafka Streams: it counts words, and is asked for nothing else.
    KafkaStreams,
    /// Node.
    KafkaJs,
    /// Node; `@platformatic/kafka`, which needs a newer Node than the others.
    Platformatic,
    /// Node, over librdkafka.
    NodeRdkafka,
    /// Its successor, `@confluentinc/kafka-javascript`, by the functions that both have and some more.
    KafkaJavascript,
    /// Rust: partitions alone.
    Rskafka,
    /// Rust.
    Krafka,
}

/// What a client library can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skill {
    /// List and describe topics.
    Metadata,
    /// Create, enlarge and delete topics.
    Topics,
    /// Produce, and wait for all replicas.
    Produce,
    /// Produce without waiting, or for the leader alone.
    Acks,
    /// Produce with all four codecs.
    AllCodecs,
    /// Produce so that the broker recognises repeated batches.
    Idempotence,
    /// Produce records with given timestamps.
    Timestamps,
    /// Tell the offsets of produced records and the broker's error code.
    Replies,
    /// Produce headers without value.
    NullHeaders,
    /// Have a topic created by the first record for it.
    AutoCreation,
    /// Consume by assignment.
    Consume,
    /// Look up offsets by time.
    Offsets,
    /// Look up the record with the greatest timestamp.
    MaxTimestamp,
    /// Describe configs.
    Configs,
    /// Set, append to, subtract from and delete configs.
    AlterConfigs,
    /// Delete records.
    DeleteRecords,
    /// Describe the cluster.
    Cluster,
    /// Describe log directories and active producers.
    Internals,
    /// Consume as a member of a group that agrees by the classic protocol.
    ClassicGroups,
    /// The same by the protocol of KIP-848.
    ConsumerGroups,
    /// Produce and commit offsets in transactions.
    Transactions,
    /// Process streams.
    Streams,
}

impl ClientKind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Kcat,
        Self::Librdkafka,
        Self::KafkaPython,
        Self::ConfluentKafka,
        Self::Aiokafka,
        Self::FranzGo,
        Self::KafkaGo,
        Self::Sarama,
        Self::Java,
        Self::Java39,
        Self::Java28,
        Self::Java21,
        Self::SpringKafka,
        Self::KafkaStreams,
        Self::KafkaJs,
        Self::Platformatic,
        Self::NodeRdkafka,
        Self::KafkaJavascript,
        Self::Rskafka,
        Self::Krafka,
    ];

    /// The name that tests and reports use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kcat => "kcat",
            Self::Librdkafka => "librdkafka",
            Self::KafkaPython => "kafka-python",
            Self::ConfluentKafka => "confluent-kafka",
            Self::Aiokafka => "aiokafka",
            Self::FranzGo => "franz-go",
            Self::KafkaGo => "kafka-go",
            Self::Sarama => "sarama",
            Self::Java => "java",
            Self::Java21 => "java-2.1",
            Self::Java28 => "java-2.8",
            Self::Java39 => "java-3.9",
            Self::SpringKafka => "spring-kafka",
            Self::KafkaStreams => "kafka-streams",
            Self::KafkaJs => "kafkajs",
            Self::Platformatic => "platformatic",
            Self::NodeRdkafka => "node-rdkafka",
            Self::KafkaJavascript => "kafka-javascript",
            Self::Rskafka => "rskafka",
            Self::Krafka => "krafka",
        }
    }

    /// Whether `./test` runs it. The others are left to the whole matrix: they differ little from one of these, have few
    /// users, or take long to build.
    #[must_use]
    pub const fn is_run_daily(self) -> bool {
        !matches!(
            self,
            Self::Java28
                | Self::Java39
                | Self::Platformatic
                | Self::NodeRdkafka
                | Self::KafkaJavascript
                | Self::Rskafka
                | Self::Krafka
        )
    }

    /// Whether its program is there, for those that `compat-tests/matrix` builds, which not every machine can.
    ///
    /// # Errors
    /// When the folder for what is built cannot be made.
    pub fn is_there(self) -> Result<bool> {
        Ok(match self {
            Self::Platformatic => platformatic_folder()?.exists(),
            Self::Rskafka | Self::Krafka => rust_client()?.exists(),
            _ => match self.package() {
                Some(package) => native_modules()?.join(package).exists(),
                None => true,
            },
        })
    }

    /// The package that brings librdkafka to Node; none for other clients.
    #[must_use]
    pub const fn package(self) -> Option<&'static str> {
        match self {
            Self::NodeRdkafka => Some("node-rdkafka"),
            Self::KafkaJavascript => Some("@confluentinc/kafka-javascript"),
            _ => None,
        }
    }

    /// What a Java client runs on; none for other languages.
    #[must_use]
    pub const fn java(self) -> Option<Library> {
        match self {
            Self::Java => Some(Library::KAFKA),
            Self::Java21 => Some(Library::CLIENTS_2_1),
            Self::Java28 => Some(Library::CLIENTS_2_8),
            Self::Java39 => Some(Library::CLIENTS_3_9),
            Self::SpringKafka => Some(Library::SPRING),
            Self::KafkaStreams => Some(Library::STREAMS),
            _ => None,
        }
    }

    /// Whether the library offers `skill`.
    #[must_use]
    pub fn can(self, skill: Skill) -> bool {
        use Skill::{
            Acks, AllCodecs, AlterConfigs, AutoCreation, ClassicGroups, Cluster, Configs, Consume,
            ConsumerGroups, DeleteRecords, Idempotence, Internals, MaxTimestamp, Metadata,
            NullHeaders, Offsets, Produce, Replies, Streams, Timestamps, Topics, Transactions,
        };
        let skills: &[Skill] = match self {
            Self::Kcat => &[
                Metadata,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                AutoCreation,
                Consume,
                Offsets,
                ClassicGroups,
            ],
            Self::Librdkafka => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                AutoCreation,
                Consume,
                Offsets,
                Configs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::KafkaPython => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                AutoCreation,
                Consume,
                Offsets,
                MaxTimestamp,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
            ],
            Self::ConfluentKafka => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                AutoCreation,
                Consume,
                Offsets,
                MaxTimestamp,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::Aiokafka => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                Consume,
                Offsets,
                Configs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
                Transactions,
            ],
            Self::Sarama => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                Consume,
                Offsets,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
                Transactions,
            ],
            Self::KafkaGo => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Timestamps,
                Consume,
                Offsets,
                Configs,
                AlterConfigs,
                Cluster,
                ClassicGroups,
            ],
            Self::FranzGo => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                Consume,
                Offsets,
                MaxTimestamp,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                Internals,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::Java => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                AutoCreation,
                Consume,
                Offsets,
                MaxTimestamp,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                Internals,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::Java21 | Self::Java28 | Self::Java39 => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                AutoCreation,
                Consume,
                Offsets,
                Configs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
                Transactions,
            ],
            Self::SpringKafka => &[
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                NullHeaders,
                Consume,
                Offsets,
                ClassicGroups,
            ],
            Self::KafkaStreams => &[Streams],
            Self::Platformatic => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                Consume,
                Offsets,
                MaxTimestamp,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                Transactions,
            ],
            Self::NodeRdkafka => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                AutoCreation,
                Consume,
                Offsets,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::KafkaJavascript => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                AutoCreation,
                Consume,
                Offsets,
                MaxTimestamp,
                DeleteRecords,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::Rskafka => {
                &[Produce, AllCodecs, Timestamps, Replies, Consume, Offsets, DeleteRecords]
            }
            Self::Krafka => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                AllCodecs,
                Idempotence,
                Timestamps,
                Replies,
                NullHeaders,
                AutoCreation,
                Consume,
                Offsets,
                MaxTimestamp,
                Configs,
                AlterConfigs,
                DeleteRecords,
                Cluster,
                Internals,
                ClassicGroups,
                ConsumerGroups,
                Transactions,
            ],
            Self::KafkaJs => &[
                Metadata,
                Topics,
                Produce,
                Acks,
                Idempotence,
                Timestamps,
                Replies,
                Consume,
                Offsets,
                Configs,
                DeleteRecords,
                Cluster,
                ClassicGroups,
            ],
        };
        skills.contains(&skill)
    }

    /// A client of this kind for the broker at `bootstrap`.
    ///
    /// # Errors
    /// When its program does not start, and for Kafka Streams, which is no client of this vocabulary.
    pub fn connect(self, bootstrap: &str) -> Result<Client> {
        let transport: Box<dyn Transport> = match self {
            Self::Kcat => Box::new(Kcat::new(bootstrap)),
            Self::Librdkafka => Box::new(Librdkafka::new(bootstrap)),
            Self::KafkaPython => Box::new(Program::python("kafka_python_client.py", bootstrap)?),
            Self::ConfluentKafka => {
                Box::new(Program::python("confluent_kafka_client.py", bootstrap)?)
            }
            Self::Aiokafka => Box::new(Program::python("aiokafka_client.py", bootstrap)?),
            Self::FranzGo | Self::KafkaGo | Self::Sarama => {
                Box::new(Program::go(self.name(), bootstrap)?)
            }
            Self::Java => Box::new(Program::java(Library::KAFKA, "ClientProgram", bootstrap)?),
            Self::Java21 => Box::new(Program::java(Library::CLIENTS_2_1, "OldClient", bootstrap)?),
            Self::Java28 => Box::new(Program::java(Library::CLIENTS_2_8, "OldClient", bootstrap)?),
            Self::Java39 => Box::new(Program::java(Library::CLIENTS_3_9, "OldClient", bootstrap)?),
            Self::SpringKafka => {
                Box::new(Program::java(Library::SPRING, "SpringClient", bootstrap)?)
            }
            Self::KafkaStreams => bail!("Kafka Streams has programs of its own"),
            Self::KafkaJs => Box::new(Program::node("client.js", bootstrap)?),
            Self::Platformatic => {
                Box::new(Program::start(platformatic("client.js")?.arg(bootstrap))?)
            }
            Self::NodeRdkafka | Self::KafkaJavascript => {
                let package = self.package().context("no package")?;
                Box::new(Program::start(native_node("client.js", package)?.arg(bootstrap))?)
            }
            Self::Rskafka | Self::Krafka => {
                let mut command = Command::new(rust_client()?);
                Box::new(Program::start(command.args([self.name(), bootstrap]))?)
            }
        };
        Ok(Client { transport })
    }
}
