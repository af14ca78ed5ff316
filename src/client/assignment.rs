//! What members of consumer groups tell each other through the classic protocol.
//!
//! | subscription | type | | assignment | type |
//! |---|---|---|---|---|
//! | version | int16 | | version | int16 |
//! | topics | array of string | | topics | array of: string, array of int32 |
//! | user data | nullable bytes | | user data | nullable bytes |
//!
//! Later versions add fields at the end, which are not needed here and are passed over. Source:
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment` of Apache Kafka 4.3.1.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::error::ClientError;
use crate::model::PartitionId;

/// The topics that a member wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Their names.
    pub topics: Vec<String>,
}

/// The partitions that a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// By topic.
    pub partitions: BTreeMap<String, Vec<PartitionId>>,
}

impl Subscription {
    /// Its bytes, in version 0, which all members understand.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(0);
        put_count(&mut bytes, self.topics.len());
        for topic in &self.topics {
            put_text(&mut bytes, topic);
        }
        bytes.put_i32(-1);
        bytes.freeze()
    }

    /// Reads one of any version.
    ///
    /// # Errors
    /// [`ClientError::GroupProtocol`] if the bytes end early.
    pub fn read(bytes: &[u8]) -> Result<Self, ClientError> {
        let mut fields = Fields(bytes);
        fields.skip_version()?;
        let mut topics = Vec::new();
        for _ in 0..fields.i32()? {
            topics.push(fields.text()?);
        }
        Ok(Self { topics })
    }
}

impl Assignment {
    /// Its bytes, in version 0.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(0);
        put_count(&mut bytes, self.partitions.len());
        for (topic, partitions) in &self.partitions {
            put_text(&mut bytes, topic);
            put_count(&mut bytes, partitions.len());
            for partition in partitions {
                bytes.put_i32(partition.0);
            }
        }
        bytes.put_i32(-1);
        bytes.freeze()
    }

    /// Reads one of any version; no bytes at all are no partitions.
    ///
    /// # Errors
    /// [`ClientError::GroupProtocol`] if the bytes end early.
    pub fn read(bytes: &[u8]) -> Result<Self, ClientError> {
        let mut partitions: BTreeMap<String, Vec<_>> = BTreeMap::new();
        if bytes.is_empty() {
            return Ok(Self { partitions });
        }
        let mut fields = Fields(bytes);
        fields.skip_version()?;
        for _ in 0..fields.i32()? {
            let entry = partitions.entry(fields.text()?).or_default();
            for _ in 0..fields.i32()? {
                entry.push(PartitionId(fields.i32()?));
            }
        }
        Ok(Self { partitions })
    }

    /// All partitions, with their topics.
    pub fn iter(&self) -> impl Iterator<Item = (&str, PartitionId)> {
        self.partitions.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |partition| (topic.as_str(), *partition))
        })
    }
}

/// Gives each member a range of the partitions of each topic that it wants (`RangeAssignor` of Apache Kafka 4.3.1 without
/// racks): members in the order of their ids, the first ones get one more if it does not come out even.
#[must_use]
pub fn assign_ranges(
    members: &BTreeMap<String, Subscription>,
    counts: &BTreeMap<String, u32>,
) -> BTreeMap<String, Assignment> {
    let mut assignments: BTreeMap<String, Assignment> =
        members.keys().map(|member| (member.clone(), Assignment::default())).collect();
    let topics: BTreeSet<&String> = members.values().flat_map(|wants| &wants.topics).collect();
    for topic in topics {
        let wanting: Vec<&String> = members
            .iter()
            .filter(|(_, wants)| wants.topics.contains(topic))
            .map(|(member, _)| member)
            .collect();
        let count = counts.get(topic).copied().unwrap_or(0);
        let sharing = u32::try_from(wanting.len()).unwrap_or(u32::MAX);
        let mut next = 0;
        for (index, member) in (0..).zip(wanting) {
            let share = count / sharing + u32::from(index < count % sharing);
            let range = (next..next + share).map(|partition| PartitionId(partition.cast_signed()));
            next += share;
            if share > 0
                && let Some(assignment) = assignments.get_mut(member)
            {
                assignment.partitions.insert(topic.clone(), range.collect());
            }
        }
    }
    assignments
}

fn put_count(bytes: &mut BytesMut, count: usize) {
    bytes.put_i32(i32::try_from(count).expect("fewer topics and partitions than 2^31"));
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    bytes.put_i16(i16::try_from(text.len()).expect("a topic's name is short"));
    bytes.put_slice(text.as_bytes());
}

/// Reads field by field.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ClientError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn skip_version(&mut self) -> Result<(), ClientError> {
        self.take::<2>().map(drop)
    }

    fn i32(&mut self) -> Result<i32, ClientError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    fn text(&mut self) -> Result<String, ClientError> {
        let length = i16::from_be_bytes(self.take()?);
        let length = usize::try_from(length).map_err(|_| cut_off())?;
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

fn cut_off() -> ClientError {
    ClientError::GroupProtocol("a subscription or an assignment is cut off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(wants: &[(&str, &[&str])]) -> BTreeMap<String, Subscription> {
        let topics = |topics: &[&str]| topics.iter().map(ToString::to_string).collect();
        let member = |(id, wants): &(&str, &[&str])| {
            ((*id).to_owned(), Subscription { topics: topics(wants) })
        };
        wants.iter().map(member).collect()
    }

    #[test]
    fn ranges_are_kafkas() {
        let members = members(&[("a", &["t", "u"]), ("b", &["t"]), ("c", &["t", "gone"])]);
        let counts = BTreeMap::from([("t".to_owned(), 5), ("u".to_owned(), 1)]);
        let assigned = assign_ranges(&members, &counts);
        let of = |member: &str| {
            let all = assigned[member].iter();
            all.map(|(topic, partition)| format!("{topic}{partition}")).collect::<Vec<_>>()
        };
        assert_eq!(of("a"), ["t0", "t1", "u0"]);
        assert_eq!(of("b"), ["t2", "t3"]);
        assert_eq!(of("c"), ["t4"]);
    }

    #[test]
    fn what_is_written_is_read_and_cuts_are_errors() {
        let subscription = Subscription { topics: vec!["a".into(), "bc".into()] };
        let bytes = subscription.to_bytes();
        assert_eq!(Subscription::read(&bytes).unwrap(), subscription);
        let partitions = BTreeMap::from([("a".to_owned(), vec![PartitionId(3), PartitionId(1)])]);
        let assignment = Assignment { partitions };
        let bytes = assignment.to_bytes();
        assert_eq!(Assignment::read(&bytes).unwrap(), assignment);
        for cut in 1..bytes.len() - 4 {
            assert!(Assignment::read(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}
