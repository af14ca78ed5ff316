//! What a consumer group shows of itself, and who may commit and fetch offsets for it.

use std::collections::BTreeMap;

use super::member::Member;
use super::{ConsumerGroup, Scope};
use crate::cluster::ClusterImage;
use crate::group::Settings;
use crate::group::command::OffsetCommit;
use crate::model::{ErrorCode, PartitionId, TopicId};
use crate::wire::Text;
use crate::wire::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::{WireGroupId, WireTopicName};

/// The first version of OffsetCommit that knows of member epochs.
const COMMIT_WITH_EPOCH_FROM: i16 = 9;

impl ConsumerGroup {
    /// The group for ConsumerGroupDescribe.
    #[must_use]
    pub fn describe(&self, scope: &Scope<'_>, settings: &Settings) -> DescribedGroup {
        let preferred = self.assignors.iter().max_by_key(|(_, count)| **count);
        let assignor = preferred.map(|(name, _)| name.to_string());
        let default = || settings.consumer.assignors.first().cloned().unwrap_or_default();
        let mut described = DescribedGroup::default();
        described.group_id = WireGroupId(self.id.to_text());
        described.group_state = Text::from_static_str(self.state().name());
        described.group_epoch = self.epoch;
        described.assignment_epoch = self.target_epoch;
        described.assignor_name = Text::from_string(assignor.unwrap_or_else(default));
        let members = self.members.values();
        described.members = members.map(|it| self.describe_member(it, scope.image)).collect();
        described
    }

    fn describe_member(&self, member: &Member, image: &ClusterImage) -> DescribedMember {
        let text = |text: &str| Text::from_string(text.to_owned());
        let metadata = &member.metadata;
        let target = self.targets.get(&member.id).into_iter().flat_map(|target| target.iter());
        let mut described = DescribedMember::default();
        described.member_id = member.id.to_text();
        described.instance_id = metadata.instance.as_ref().map(|it| it.to_text());
        described.rack_id = metadata.rack.as_deref().map(text);
        described.member_epoch = member.epoch();
        described.client_id = text(&metadata.client_id);
        described.client_host = text(&metadata.client_host);
        let topics = metadata.topics.iter();
        described.subscribed_topic_names = topics.map(|it| WireTopicName(text(it))).collect();
        described.subscribed_topic_regex = metadata.regex.as_deref().map(text);
        let lists = [&member.current.owned, &member.current.revoking].into_iter().flatten();
        let owned = lists.map(|(topic, partitions)| (topic, partitions.keys()));
        described.assignment = wire_assignment(owned, image);
        described.target_assignment =
            wire_assignment(target.map(|(topic, partitions)| (topic, partitions.iter())), image);
        described.member_type = i8::from(!member.is_classic());
        described
    }

    /// The group for ListGroups.
    #[must_use]
    pub fn list(&self) -> ListedGroup {
        let mut listed = ListedGroup::default();
        listed.group_id = WireGroupId(self.id.to_text());
        listed.protocol_type = Text::from_static_str("consumer");
        listed.group_state = Text::from_static_str(self.state().name());
        listed.group_type = Text::from_static_str("consumer");
        listed
    }

    /// Whether a commit is taken (`ConsumerGroup.validateOffsetCommit`). A member may be behind its epoch as long as it
    /// has had the partitions since the epoch it sends (KIP-1251).
    ///
    /// # Errors
    /// The code of the whole request.
    pub fn check_commit(&self, commit: &OffsetCommit, api_version: i16) -> Result<(), ErrorCode> {
        let sent = commit.generation_or_epoch;
        if sent < 0 && self.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&*commit.member).ok_or(ErrorCode::UnknownMemberId)?;
        if !member.is_classic() && api_version < COMMIT_WITH_EPOCH_FROM {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if sent == member.epoch() {
            return Ok(());
        }
        let has_since = |topic: TopicId, partition: PartitionId| {
            member.assigned_in(topic, partition).is_some_and(|since| sent >= since)
        };
        let mut partitions = commit
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|it| (topic.id, it.partition)));
        if sent < member.epoch() && partitions.all(|(topic, it)| has_since(topic, it)) {
            return Ok(());
        }
        Err(stale(member))
    }

    /// Whether these offsets may be committed in a transaction. Producers did not always say for whom they commit.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID` or `ILLEGAL_GENERATION`.
    pub fn check_commit_in_transaction(&self, commit: &OffsetCommit) -> Result<(), ErrorCode> {
        let is_nobody = commit.member.is_empty() && commit.instance.is_none();
        if commit.generation_or_epoch < 0 && is_nobody {
            return Ok(());
        }
        self.check_commit(commit, COMMIT_WITH_EPOCH_FROM).map_err(|error| {
            let is_stale = error == ErrorCode::StaleMemberEpoch;
            if is_stale { ErrorCode::IllegalGeneration } else { error }
        })
    }

    /// Whether offsets are told to who asks (`ConsumerGroup.validateOffsetFetch`).
    ///
    /// # Errors
    /// The code of the group.
    pub fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let known = member.and_then(|id| self.members.get(id));
        let known = known.ok_or(ErrorCode::UnknownMemberId)?;
        if known.epoch() == epoch { Ok(()) } else { Err(stale(known)) }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}

/// Topics that do not exist any more are left out.
fn wire_assignment<'a, P: Iterator<Item = &'a PartitionId>>(
    topics: impl Iterator<Item = (&'a TopicId, P)>,
    image: &ClusterImage,
) -> Assignment {
    let mut by_topic: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, partitions) in topics {
        by_topic.entry(*topic).or_default().extend(partitions.map(|partition| partition.0));
    }
    let named = by_topic.into_iter().filter_map(|(id, partitions)| {
        let topic = image.topic_by_id(id)?;
        let mut wire = TopicPartitions::default();
        wire.topic_id = id.0;
        wire.topic_name = WireTopicName(Text::from_string(topic.name.as_str().to_owned()));
        wire.partitions = partitions;
        Some(wire)
    });
    let mut assignment = Assignment::default();
    assignment.topic_partitions = named.collect();
    assignment
}
