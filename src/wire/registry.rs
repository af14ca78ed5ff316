//! The APIs of the protocol: keys, names, versions, and which header each version uses.
//!
//! Owns the one table that ApiVersions responses, dispatch and docs/COMPATIBILITY.md are made from. It does not know how
//! a message is laid out (`shapes.rs`) or what it means.
//!
//! **Invariant:** `served` lies within `kafka`, and every served version has a codec (tests here and in `messages.rs`).
//!
//! Source: `ApiKeys` and the message schemas of Apache Kafka 4.3.1; the ranges are those that one of its brokers lists, or else one of its
//! controllers.

use std::fmt;

/// An inclusive range of versions of one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// Lowest version.
    pub min: i16,
    /// Highest version; never below `min`.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` lies within.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// All versions, lowest first.
    pub fn iter(self) -> impl Iterator<Item = i16> {
        self.min..=self.max
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// What the broker knows about one API.
#[derive(Debug, PartialEq, Eq)]
pub struct ApiEntry {
    /// The API.
    pub key: ApiKey,
    /// The versions that Apache Kafka 4.3.1 lists for it.
    pub kafka: VersionRange,
    /// The versions answered here; `None` if the API is not served and therefore not listed.
    pub served: Option<VersionRange>,
    /// First version that carries tagged fields and compact lengths; `None` if no version does.
    pub flexible_since: Option<i16>,
}

impl ApiEntry {
    /// All APIs of a client listener and of a controller's, in the order of their keys.
    pub const ALL: &[&Self] = ENTRIES;

    /// The entry for the key of a request header; `None` for a key that no such listener knows.
    #[must_use]
    pub const fn of(key: i16) -> Option<&'static Self> {
        match ApiKey::from_code(key) {
            Some(key) => Some(key.entry()),
            None => None,
        }
    }

    /// The versions to list in an ApiVersions response; `None` if the API is not served.
    ///
    /// They are the served ones but for Produce, which is listed from 0: librdkafka before 2.11.1 gives up compression
    /// when the lowest version is above 0 (KAFKA-18659). Kafka itself closes the connection on Produce 0 to 2.
    #[must_use]
    pub const fn listed(&self) -> Option<VersionRange> {
        match (self.key, self.served) {
            (ApiKey::Produce, Some(served)) => Some(VersionRange { min: 0, ..served }),
            (_, served) => served,
        }
    }

    /// Whether requests and responses of this version carry tagged fields and compact lengths (KIP-482).
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        match self.flexible_since {
            Some(first) => version >= first,
            None => false,
        }
    }

    /// Version of the request header: 2 (with tagged fields) for flexible versions, else 1. Holds for versions nobody
    /// serves too, so that the correlation id of such a request can be read. (Header 0 was ControlledShutdown's.)
    #[must_use]
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the response header: 1 (with tagged fields) for flexible versions, else 0. ApiVersions always
    /// answers with header 0: its client does not yet know what the broker speaks.
    #[must_use]
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self.key, ApiKey::ApiVersions) { 1 } else { 0 }
    }
}

impl ApiKey {
    /// Whether Apache Kafka's controllers answer it on their own listener. (Not Fetch, by which only nodes read the metadata log.)
    #[must_use]
    pub const fn is_for_controllers(self) -> bool {
        matches!(
            self,
            Self::SaslHandshake
                | Self::ApiVersions
                | Self::CreateTopics
                | Self::DeleteTopics
                | Self::DescribeAcls
                | Self::CreateAcls
                | Self::DeleteAcls
                | Self::DescribeConfigs
                | Self::AlterConfigs
                | Self::SaslAuthenticate
                | Self::CreatePartitions
                | Self::CreateDelegationToken
                | Self::RenewDelegationToken
                | Self::ExpireDelegationToken
                | Self::DescribeDelegationToken
                | Self::ElectLeaders
                | Self::IncrementalAlterConfigs
                | Self::AlterPartitionReassignments
                | Self::ListPartitionReassignments
                | Self::AlterClientQuotas
                | Self::DescribeUserScramCredentials
                | Self::AlterUserScramCredentials
                | Self::DescribeQuorum
                | Self::UpdateFeatures
                | Self::DescribeCluster
                | Self::UnregisterBroker
                | Self::AddRaftVoter
                | Self::RemoveRaftVoter
                | Self::UpdateRaftVoter
        )
    }

    /// Whether Apache Kafka's brokers answer it, and not only its controllers on their own listener.
    #[must_use]
    pub const fn is_for_brokers(self) -> bool {
        !matches!(self, Self::UpdateRaftVoter)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! range {
    (-) => {
        None
    };
    ($min:literal..=$max:literal) => {
        Some(VersionRange { min: $min, max: $max })
    };
}

macro_rules! flexible {
    (never) => {
        None
    };
    (since $first:literal) => {
        Some($first)
    };
}

macro_rules! apis {
    ($($code:literal $name:ident $min:literal..=$max:literal [$($served:tt)+] [$($flexible:tt)+],)*) => {
        /// An API of the client listener, or of the controller's.
        #[allow(missing_docs, reason = "the names are the protocol's own")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $code,)*
        }

        impl ApiKey {
            /// The API with this key, if a listener knows one that tools come to.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The key on the wire.
            #[must_use]
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The name that Kafka's tools print.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What the broker knows about this API.
            #[must_use]
            pub const fn entry(self) -> &'static ApiEntry {
                match self {
                    $(Self::$name => const {
                        &ApiEntry {
                            key: Self::$name,
                            kafka: VersionRange { min: $min, max: $max },
                            served: range!($($served)+),
                            flexible_since: flexible!($($flexible)+),
                        }
                    },)*
                }
            }
        }

        const ENTRIES: &[&ApiEntry] = &[$(ApiKey::$name.entry(),)*];
    };
}

apis! {
//  key name                           Kafka    served     flexible
    0   Produce                        0..=13   [3..=13]   [since 9],
    1   Fetch                          4..=18   [4..=18]   [since 12],
    2   ListOffsets                    1..=11   [1..=11]   [since 6],
    3   Metadata                       0..=13   [0..=13]   [since 9],
    8   OffsetCommit                   2..=10   [2..=10]   [since 8],
    9   OffsetFetch                    1..=10   [1..=10]   [since 6],
    10  FindCoordinator                0..=6    [0..=6]    [since 3],
    11  JoinGroup                      0..=9    [0..=9]    [since 6],
    12  Heartbeat                      0..=4    [0..=4]    [since 4],
    13  LeaveGroup                     0..=5    [0..=5]    [since 4],
    14  SyncGroup                      0..=5    [0..=5]    [since 4],
    15  DescribeGroups                 0..=6    [0..=6]    [since 5],
    16  ListGroups                     0..=5    [0..=5]    [since 3],
    17  SaslHandshake                  0..=1    [-]        [never],
    18  ApiVersions                    0..=4    [0..=4]    [since 3],
    19  CreateTopics                   2..=7    [2..=7]    [since 5],
    20  DeleteTopics                   1..=6    [1..=6]    [since 4],
    21  DeleteRecords                  0..=2    [0..=2]    [since 2],
    22  InitProducerId                 0..=5    [0..=5]    [since 2],
    23  OffsetForLeaderEpoch           2..=4    [2..=4]    [since 4],
    24  AddPartitionsToTxn             0..=5    [0..=5]   [since 3],
    25  AddOffsetsToTxn                0..=4    [0..=4]   [since 3],
    26  EndTxn                         0..=5    [0..=5]   [since 3],
    27  WriteTxnMarkers                1..=2    [1..=2]   [since 1],
    28  TxnOffsetCommit                0..=5    [0..=5]   [since 3],
    29  DescribeAcls                   1..=3    [1..=3]    [since 2],
    30  CreateAcls                     1..=3    [1..=3]    [since 2],
    31  DeleteAcls                     1..=3    [1..=3]    [since 2],
    32  DescribeConfigs                1..=4    [1..=4]    [since 4],
    33  AlterConfigs                   0..=2    [0..=2]    [since 2],
    34  AlterReplicaLogDirs            1..=2    [1..=2]    [since 2],
    35  DescribeLogDirs                1..=5    [1..=5]    [since 2],
    36  SaslAuthenticate               0..=2    [-]        [since 2],
    37  CreatePartitions               0..=3    [0..=3]    [since 2],
    38  CreateDelegationToken          1..=3    [-]        [since 2],
    39  RenewDelegationToken           1..=2    [-]        [since 2],
    40  ExpireDelegationToken          1..=2    [-]        [since 2],
    41  DescribeDelegationToken        1..=3    [-]        [since 2],
    42  DeleteGroups                   0..=2    [0..=2]    [since 2],
    43  ElectLeaders                   0..=2    [0..=2]    [since 2],
    44  IncrementalAlterConfigs        0..=1    [0..=1]    [since 1],
    45  AlterPartitionReassignments    0..=1    [0..=1]    [since 0],
    46  ListPartitionReassignments     0..=0    [0..=0]    [since 0],
    47  OffsetDelete                   0..=0    [0..=0]    [never],
    48  DescribeClientQuotas           0..=1    [-]        [since 1],
    49  AlterClientQuotas              0..=1    [-]        [since 1],
    50  DescribeUserScramCredentials   0..=0    [-]        [since 0],
    51  AlterUserScramCredentials      0..=0    [-]        [since 0],
    55  DescribeQuorum                 0..=2    [0..=2]    [since 0],
    57  UpdateFeatures                 0..=2    [0..=2]   [since 0],
    60  DescribeCluster                0..=2    [0..=2]    [since 0],
    61  DescribeProducers              0..=0    [0..=0]    [since 0],
    64  UnregisterBroker               0..=0    [0..=0]    [since 0],
    65  DescribeTransactions           0..=0    [0..=0]   [since 0],
    66  ListTransactions               0..=2    [0..=2]   [since 0],
    68  ConsumerGroupHeartbeat         0..=1    [0..=1]   [since 0],
    69  ConsumerGroupDescribe          0..=1    [0..=1]   [since 0],
    71  GetTelemetrySubscriptions      0..=0    [-]        [since 0],
    72  PushTelemetry                  0..=0    [-]        [since 0],
    74  ListConfigResources            0..=1    [0..=1]    [since 0],
    75  DescribeTopicPartitions        0..=0    [0..=0]    [since 0],
    76  ShareGroupHeartbeat            1..=1    [-]        [since 0],
    77  ShareGroupDescribe             1..=1    [-]        [since 0],
    78  ShareFetch                     1..=2    [-]        [since 0],
    79  ShareAcknowledge               1..=2    [-]        [since 0],
    80  AddRaftVoter                   0..=1    [0..=1]    [since 0],
    81  RemoveRaftVoter                0..=0    [0..=0]    [since 0],
    82  UpdateRaftVoter                0..=0    [0..=0]    [since 0],
    83  InitializeShareGroupState      0..=0    [-]        [since 0],
    84  ReadShareGroupState            0..=0    [-]        [since 0],
    85  WriteShareGroupState           0..=1    [-]        [since 0],
    86  DeleteShareGroupState          0..=0    [-]        [since 0],
    87  ReadShareGroupStateSummary     0..=1    [-]        [since 0],
    88  StreamsGroupHeartbeat          0..=0    [-]        [since 0],
    89  StreamsGroupDescribe           0..=0    [-]        [since 0],
    90  DescribeShareGroupOffsets      0..=1    [-]        [since 0],
    91  AlterShareGroupOffsets         0..=0    [-]        [since 0],
    92  DeleteShareGroupOffsets        0..=0    [-]        [since 0],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a real broker printed.
    const KAFKA: &str = include_str!("../../tests/data/kafka-4.3.1-api-versions.txt");

    #[test]
    fn names_and_versions_are_kafkas() {
        let printed: Vec<&str> = KAFKA.lines().filter(|line| !line.starts_with('#')).collect();
        let brokers = ApiEntry::ALL.iter().filter(|entry| entry.key.is_for_brokers());
        assert_eq!(printed.len(), brokers.clone().count());
        for (line, entry) in printed.iter().zip(brokers) {
            // Kafka lists these two only while a telemetry receiver is configured.
            let telemetry = [ApiKey::GetTelemetrySubscriptions, ApiKey::PushTelemetry];
            let versions = if telemetry.contains(&entry.key) {
                "UNSUPPORTED".to_owned()
            } else {
                entry.kafka.to_string()
            };
            assert_eq!(*line, format!("{}({}): {versions}", entry.key, entry.key.code()));
        }
    }

    #[test]
    fn served_versions_are_listed_as_kafka_lists_them() {
        for entry in ApiEntry::ALL {
            if let Some(served) = entry.served {
                assert!(served.min <= served.max, "{}", entry.key);
                assert_eq!(entry.listed(), Some(entry.kafka), "{}", entry.key);
            } else {
                assert_eq!(entry.listed(), None, "{}", entry.key);
            }
        }
        let produce = ApiKey::Produce.entry();
        assert_eq!(produce.served, Some(VersionRange { min: 3, max: 13 }));
    }

    #[test]
    fn entries_are_found_by_key() {
        for entry in ApiEntry::ALL {
            assert_eq!(ApiEntry::of(entry.key.code()), Some(*entry));
        }
        for unknown in [-1, 4, 52, 93, i16::MAX, i16::MIN] {
            assert_eq!(ApiEntry::of(unknown), None);
        }
    }

    #[test]
    fn header_versions_follow_flexibility() {
        let metadata = ApiKey::Metadata.entry();
        assert_eq!(metadata.request_header_version(8), 1);
        assert_eq!(metadata.request_header_version(9), 2);
        assert_eq!(metadata.response_header_version(8), 0);
        assert_eq!(metadata.response_header_version(9), 1);
        assert_eq!(ApiKey::ApiVersions.entry().request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.entry().response_header_version(3), 0);
        assert_eq!(ApiKey::SaslHandshake.entry().request_header_version(1), 1);
    }
}
