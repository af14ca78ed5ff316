//! The client libraries, and what each of them can be asked to do.

use anyhow::{Result, bail};

use crate::client::{Client, Transport};
use crate::java::java_class;
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
    /// Python, asynchronous; as member of a group alone.
    Aiokafka,
    /// Go.
    FranzGo,
    /// Go; as member of a group alone.
    KafkaGo,
    /// Go; as member of a group alone.
    Sarama,
    /// Apache Kafka's own.
    Java,
    /// Node.
    KafkaJs,
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
}

impl Skill {
    /// All of them, with the words that the page for users has for them.
    pub const ALL: [(Self, &str); 19] = [
        (Self::Metadata, "list and describe topics"),
        (Self::Topics, "create, enlarge, delete topics"),
        (Self::Produce, "produce, with headers, tombstones, large records"),
        (Self::AllCodecs, "produce with gzip, snappy, lz4, zstd"),
        (Self::Timestamps, "produce with given timestamps"),
        (Self::Replies, "see offsets of what was produced, and errors"),
        (Self::NullHeaders, "produce headers without value"),
        (Self::AutoCreation, "have topics created by the first record"),
        (Self::Consume, "consume by assignment"),
        (Self::Offsets, "look up offsets by time"),
        (Self::MaxTimestamp, "look up the record of the greatest timestamp"),
        (Self::Configs, "describe configs"),
        (Self::AlterConfigs, "alter configs"),
        (Self::DeleteRecords, "delete records"),
        (Self::Cluster, "describe the cluster"),
        (Self::Internals, "describe log directories and producers"),
        (Self::ClassicGroups, "consume as a group, classic protocol"),
        (Self::ConsumerGroups, "consume as a group, `group.protocol=consumer`"),
        (Self::Transactions, "produce and commit offsets in transactions"),
    ];
}

impl ClientKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Kcat,
        Self::Librdkafka,
        Self::KafkaPython,
        Self::ConfluentKafka,
        Self::Aiokafka,
        Self::FranzGo,
        Self::KafkaGo,
        Self::Sarama,
        Self::Java,
        Self::KafkaJs,
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
            Self::KafkaJs => "kafkajs",
        }
    }

    /// Whether the library offers `skill`.
    #[must_use]
    pub fn can(self, skill: Skill) -> bool {
        use Skill::{
            AllCodecs, AlterConfigs, AutoCreation, ClassicGroups, Cluster, Configs, Consume,
            ConsumerGroups, DeleteRecords, Internals, MaxTimestamp, Metadata, NullHeaders, Offsets,
            Produce, Replies, Timestamps, Topics, Transactions,
        };
        let skills: &[Skill] = match self {
            Self::Kcat => {
                &[Metadata, Produce, AllCodecs, AutoCreation, Consume, Offsets, ClassicGroups]
            }
            Self::Librdkafka => &[
                Metadata,
                Topics,
                Produce,
                AllCodecs,
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
            Self::Aiokafka | Self::Sarama => &[ClassicGroups, Transactions],
            Self::KafkaGo => &[ClassicGroups],
            Self::FranzGo => &[
                Metadata,
                Topics,
                Produce,
                AllCodecs,
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
                Timestamps,
                Replies,
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
    /// When its program does not start, and for those that are run as members of groups alone.
    pub fn connect(self, bootstrap: &str) -> Result<Client> {
        let transport: Box<dyn Transport> = match self {
            Self::Kcat => Box::new(Kcat::new(bootstrap)),
            Self::Librdkafka => Box::new(Librdkafka::new(bootstrap)),
            Self::KafkaPython => Box::new(Program::python("kafka_python_client.py", bootstrap)?),
            Self::ConfluentKafka => {
                Box::new(Program::python("confluent_kafka_client.py", bootstrap)?)
            }
            Self::Aiokafka | Self::KafkaGo | Self::Sarama => {
                bail!("{} is run as a member of a group alone", self.name())
            }
            Self::FranzGo => Box::new(Program::go(bootstrap)?),
            Self::Java => Box::new(Program::start(java_class("ClientProgram")?.arg(bootstrap))?),
            Self::KafkaJs => Box::new(Program::node(bootstrap)?),
        };
        Ok(Client { transport })
    }
}
