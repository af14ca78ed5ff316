//! What members of the classic protocol say and are told inside its messages: the protocol type `consumer`.
//!
//! | subscription | type | versions |
//! |---|---|---|
//! | version | i16, not negative | |
//! | topics | i32 count, strings with i16 lengths | |
//! | user data | i32 length or -1, bytes | |
//! | owned partitions | i32 count of: topic (string), i32 count of i32 | 1 on |
//! | generation | i32 | 2 on |
//! | rack | nullable string | 3 on |
//!
//! An assignment is the version, topics and partitions like the owned ones, and user data. Source: the schemas
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`. Later versions only add to the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::ClusterImage;
use crate::group::records::consumer::{Assignment, Owned};
use crate::model::{PartitionId, TopicId};
use crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions;

const VERSION_MAX: i16 = 3;

/// What a member subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) version: i16,
    pub(super) topics: BTreeSet<Arc<str>>,
    pub(super) owned: Vec<(Box<str>, Vec<i32>)>,
    pub(super) rack: Option<Arc<str>>,
}

impl Subscription {
    /// None if the bytes are no subscription.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let version = reader.version()?;
        let topic_count = reader.count()?;
        let topics =
            (0..topic_count).map(|_| reader.string().map(Arc::from)).collect::<Option<_>>()?;
        reader.user_data()?;
        let owned = if version >= 1 { reader.partitions()? } else { Vec::new() };
        if version >= 2 {
            reader.i32()?;
        }
        let rack = if version >= 3 { reader.nullable_string()? } else { None };
        let rack = rack.filter(|rack| !rack.is_empty()).map(Arc::from);
        Some(Self { version, topics, owned, rack })
    }

    /// What the member says it owns, of topics that exist.
    pub(super) fn owned(&self, image: &ClusterImage) -> Vec<TopicPartitions> {
        let known = self.owned.iter().filter_map(|(topic, partitions)| {
            let mut wire = TopicPartitions::default();
            wire.topic_id = image.topic(topic)?.id.0;
            wire.partitions.clone_from(partitions);
            Some(wire)
        });
        known.collect()
    }
}

/// The version of a subscription, which its answer has as well.
pub(super) fn version_of(subscription: &[u8]) -> i16 {
    Reader(subscription).version().unwrap_or(0)
}

/// Why an assignment cannot be carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotCarried {
    Malformed,
    /// It has data of an assignor that only the leader knows.
    UserData,
}

/// Reads an assignment. Topics that do not exist are left out.
pub(super) fn read_assignment(
    bytes: &[u8],
    image: &ClusterImage,
) -> Result<Assignment, NotCarried> {
    if bytes.is_empty() {
        return Ok(Assignment::new());
    }
    let mut reader = Reader(bytes);
    let read = reader.version().and_then(|_| Some((reader.partitions()?, reader.user_data()?)));
    let (topics, user_data) = read.ok_or(NotCarried::Malformed)?;
    if !user_data.is_empty() {
        return Err(NotCarried::UserData);
    }
    let mut assignment = Assignment::new();
    for (name, partitions) in topics {
        if let Some(topic) = image.topic(&name)
            && !partitions.is_empty()
        {
            assignment.insert(topic.id, partitions.into_iter().map(PartitionId).collect());
        }
    }
    Ok(assignment)
}

/// Writes an assignment. Topics that do not exist any more are left out.
pub(super) fn write_assignment<'a, P: ExactSizeIterator<Item = &'a PartitionId>>(
    version: i16,
    topics: impl Iterator<Item = (&'a TopicId, P)>,
    image: &ClusterImage,
) -> Bytes {
    let mut bytes = version.min(VERSION_MAX).to_be_bytes().to_vec();
    let named = topics
        .filter_map(|(id, partitions)| Some((image.topic_by_id(*id)?.name.as_str(), partitions)));
    let named: Vec<_> = named.collect();
    let length = |length: usize| i32::try_from(length).expect("assignments are small");
    bytes.extend_from_slice(&length(named.len()).to_be_bytes());
    for (name, partitions) in named {
        let name_length = i16::try_from(name.len()).expect("names of topics are short");
        bytes.extend_from_slice(&name_length.to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&length(partitions.len()).to_be_bytes());
        partitions.for_each(|partition| bytes.extend_from_slice(&partition.0.to_be_bytes()));
    }
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

/// Writes what a member owns.
pub(super) fn write_owned(version: i16, owned: &Owned, image: &ClusterImage) -> Bytes {
    write_assignment(version, owned.iter().map(|(topic, it)| (topic, it.keys())), image)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn version(&mut self) -> Option<i16> {
        self.i16().filter(|version| *version >= 0)
    }

    /// How many elements follow, each of at least two bytes.
    fn count(&mut self) -> Option<usize> {
        usize::try_from(self.i32()?).ok().filter(|count| *count <= self.0.len() / 2)
    }

    fn nullable_string(&mut self) -> Option<Option<&'a str>> {
        let length = self.i16()?;
        if length == -1 {
            return Some(None);
        }
        let bytes = self.take(usize::try_from(length).ok()?)?;
        Some(Some(std::str::from_utf8(bytes).ok()?))
    }

    fn string(&mut self) -> Option<&'a str> {
        self.nullable_string()?
    }

    fn user_data(&mut self) -> Option<&'a [u8]> {
        let length = self.i32()?;
        self.take(usize::try_from(length.max(0)).ok()?)
    }

    fn partitions(&mut self) -> Option<Vec<(Box<str>, Vec<i32>)>> {
        let count = self.count()?;
        let topic = |_| {
            let name = self.string()?.into();
            let count = self.count()?;
            Some((name, (0..count).map(|_| self.i32()).collect::<Option<_>>()?))
        };
        (0..count).map(topic).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let bytes = (0..text.len()).step_by(2);
        bytes.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// As Apache Kafka's own class writes it in version 3.
    const SUBSCRIPTION: &str = "00030000000100066f7264657273ffffffff0000000100066f726465727300000002\
        00000000000000020000000400027231";

    #[test]
    fn subscriptions_of_all_versions_are_read() {
        let bytes = unhex(&SUBSCRIPTION.replace(' ', ""));
        let full = Subscription {
            version: 3,
            topics: ["orders".into()].into(),
            owned: vec![("orders".into(), vec![0, 2])],
            rack: Some("r1".into()),
        };
        assert_eq!(Subscription::read(&bytes), Some(full.clone()));
        for length in 0..bytes.len() {
            assert_eq!(Subscription::read(&bytes[..length]), None, "cut to {length}");
        }
        let mut oldest = bytes[..18].to_vec();
        oldest[1] = 0;
        let expected = Subscription { version: 0, owned: Vec::new(), rack: None, ..full };
        assert_eq!(Subscription::read(&oldest), Some(expected));
        assert_eq!(Subscription::read(&unhex("000000ffffff")), None);
    }

    #[test]
    fn assignments_are_written_as_kafka_writes_them_and_read() {
        let mut world = ClusterImage::default();
        let incarnation = crate::model::UuidText(uuid::Uuid::from_u128(1));
        let broker = crate::cluster::Command::RegisterBroker(crate::cluster::Registration::new(
            crate::model::BrokerId(1),
            incarnation,
        ));
        world.apply(1, &broker).0.unwrap();
        let topic = crate::cluster::NewTopic {
            name: crate::model::TopicName::new("orders").unwrap(),
            id: TopicId(uuid::Uuid::from_u128(1)),
            assignments: vec![vec![crate::model::BrokerId(1)]; 3],
            configs: std::collections::BTreeMap::new(),
        };
        world.apply(1, &crate::cluster::Command::CreateTopic(topic)).0.unwrap();
        let id = TopicId(uuid::Uuid::from_u128(1));
        let assignment: Assignment = [(id, [PartitionId(0), PartitionId(2)].into())].into();
        let topics = || assignment.iter().map(|(topic, it)| (topic, it.iter()));
        let bytes = write_assignment(3, topics(), &world);
        let golden = "00030000000100066f7264657273000000020000000000000002ffffffff";
        assert_eq!(bytes, unhex(golden));
        assert_eq!(read_assignment(&bytes, &world), Ok(assignment.clone()));
        assert_eq!(read_assignment(&[], &world), Ok(Assignment::new()));
        assert_eq!(read_assignment(&bytes[..9], &world), Err(NotCarried::Malformed));
        let with_data = unhex("0000000000000000000107");
        assert_eq!(read_assignment(&with_data, &world), Err(NotCarried::UserData));
    }
}
