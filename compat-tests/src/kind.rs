//! The client libraries, and what each of them can be asked to do.

use anyhow::{Result, bail};

use crate::client::{Client, Transport};
use crate::java::Library;
use crate::kcat::Kcat;
use crate::librdkafka::Librdkafka;
use crate::program::Program;

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
    /// Node; `@platformatic/kafka`.
    Platformatic,
}

/// What a client library can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skill {
    /// List and describe topics.
    Metadata,
    /// Create, enlarge and delete topics.
    Topics,
    /// Produce.
    Produce,
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
    pub const ALL: [Self; 16] = [
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
        }
    }

    /// Whether `./test` runs it. The others are left to the whole matrix: they differ little from one of these, or have few
    /// users.
    #[must_use]
    pub const fn is_run_daily(self) -> bool {
        !matches!(self, Self::Java28 | Self::Java39 | Self::Platformatic)
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
            AllCodecs, AlterConfigs, AutoCreation, ClassicGroups, Cluster, Configs, Consume,
            ConsumerGroups, DeleteRecords, Idempotence, Internals, MaxTimestamp, Metadata,
            NullHeaders, Offsets, Produce, Replies, Streams, Timestamps, Topics, Transactions,
        };
        let skills: &[Skill] = match self {
            Self::Kcat => &[
                Metadata,
                Produce,
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
                AllCodecs,
                Idempotence,
                Timestamps,
                NullHeaders,
                Consume,
                Offsets,
                ClassicGroups,
            ],
            Self::KafkaStreams => &[Streams],
            Self::Platformatic => {
                &[Metadata, Topics, Produce, Idempotence, Timestamps, Consume, Offsets]
            }
            Self::KafkaJs => &[
                Metadata,
                Topics,
                Produce,
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
            Self::Platformatic => Box::new(Program::node("platformatic.js", bootstrap)?),
        };
        Ok(Client { transport })
    }
}
