//! What a shard is asked, and what it answers.
//!
//! One command concerns one group; requests that name many are split by `api/`. Where the protocol's own message fits it
//! is used as it is; commits and fetches of offsets have plain types of their own, since their messages differ by version
//! (names or ids of topics, one group or many).

use std::fmt;
use std::sync::Arc;

use crate::coordinator::TransactionWriter;
use crate::model::{ErrorCode, Offset, PartitionId, TopicId};
use crate::wire::Text;
use crate::wire::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use crate::wire::messages::describe_groups_response::DescribedGroup;
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};

/// Who sends a request, and in which version.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `client.id` from the header of the request; empty if there is none.
    pub client_id: Text,
    /// The address of the client, spelled as Kafka does: `/127.0.0.1`.
    pub client_host: Text,
    /// The version of the request.
    pub api_version: i16,
    /// Which topics it may know of.
    pub sees: TopicFilter,
}

/// Tells whether somebody may know of a topic.
#[derive(Clone)]
pub struct TopicFilter(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl TopicFilter {
    /// Asks `may_see` about each topic.
    #[must_use]
    pub fn new(may_see: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(may_see))
    }

    /// Whether this topic may be known.
    #[must_use]
    pub fn lets_pass(&self, topic: &str) -> bool {
        (self.0)(topic)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicFilter").finish_non_exhaustive()
    }
}

/// What a shard is asked.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the request and who sent it")]
pub enum Command {
    /// A member wants to be in the next generation of a classic group. Answered when that generation begins.
    JoinGroup { caller: Caller, request: JoinGroupRequest },
    /// A member asks for its assignment; that of the leader brings all of them.
    SyncGroup { caller: Caller, request: SyncGroupRequest },
    /// A member of a classic group is alive.
    Heartbeat { caller: Caller, request: HeartbeatRequest },
    /// Members go. Version 0 to 2 name one in `member_id`, later ones list them.
    LeaveGroup { caller: Caller, request: LeaveGroupRequest },
    /// A member, or nobody in particular, commits offsets.
    OffsetCommit { caller: Caller, request: OffsetCommit },
    /// A producer commits offsets in its transaction, for a member or for nobody in particular.
    TxnOffsetCommit { writer: TransactionWriter, request: OffsetCommit },
    /// Someone asks for committed offsets.
    OffsetFetch { request: OffsetFetch },
    /// An administrator deletes committed offsets.
    OffsetDelete { request: OffsetDelete },
    /// DescribeGroups, for one group.
    DescribeGroup { group: Text, api_version: i16 },
    /// The groups of this shard.
    ListGroups { request: ListGroups },
    /// DeleteGroups, for one group.
    DeleteGroup { group: Text },
    /// A member of a consumer group joins, lives or leaves (KIP-848).
    ConsumerGroupHeartbeat { caller: Caller, request: ConsumerGroupHeartbeatRequest },
    /// ConsumerGroupDescribe, for one group.
    ConsumerGroupDescribe { group: Text },
}

/// What a shard answers, by command.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each answers the command of its name")]
pub enum Reply {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    /// The topics in the order of the request; or why nothing at all was committed, which is then the code of each partition.
    OffsetCommit(Result<Vec<OffsetCommitResult>, ErrorCode>),
    /// As `OffsetCommit`.
    TxnOffsetCommit(Result<Vec<OffsetCommitResult>, ErrorCode>),
    /// The topics asked for, in their order; or why the group does not tell.
    OffsetFetch(Result<Vec<FetchedTopic>, ErrorCode>),
    /// The topics in the order of the request; or why nothing was deleted: the code of the whole response.
    OffsetDelete(Result<Vec<OffsetDeleteResult>, ErrorCode>),
    /// `authorized_operations` is left at its default.
    DescribeGroup(DescribedGroup),
    ListGroups(Vec<ListedGroup>),
    /// `None` on success.
    DeleteGroup(ErrorCode),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    /// `authorized_operations` is left at its default.
    ConsumerGroupDescribe(DescribedConsumerGroup),
}

/// Offsets to commit for a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommit {
    /// The group.
    pub group: Text,
    /// The generation of a classic group or the epoch of the member; negative for nobody in particular.
    pub generation_or_epoch: i32,
    /// The member; empty for nobody in particular.
    pub member: Text,
    /// The static member's instance.
    pub instance: Option<Text>,
    /// `retention_time_ms` of versions 2 to 4: the offsets expire so long after the commit. None if it is -1.
    pub retention_ms: Option<i64>,
    /// What to commit. The topics exist and may be read by who asks.
    pub topics: Vec<OffsetCommitTopic>,
}

/// A topic in an [`OffsetCommit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommitTopic {
    /// Its name.
    pub name: Text,
    /// Its id; zero if the client named it and its id is not known.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: Vec<OffsetCommitPartition>,
}

/// A partition in an [`OffsetCommit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommitPartition {
    /// Its index.
    pub partition: PartitionId,
    /// The offset to go on from.
    pub offset: Offset,
    /// The epoch of the last record that was read; -1 if not known.
    pub leader_epoch: i32,
    /// What the client wants to remember. Null is the same as empty.
    pub metadata: Option<Text>,
}

/// The partitions of a topic, with the outcome of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResult {
    /// The topic's name, as in the request.
    pub name: Text,
    /// The topic's id, as in the request.
    pub id: TopicId,
    /// The partitions, in the order of the request.
    pub partitions: Vec<(PartitionId, ErrorCode)>,
}

/// A question for committed offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetFetch {
    /// The group.
    pub group: Text,
    /// The member that asks (version 9 on); none for nobody in particular.
    pub member: Option<Text>,
    /// The epoch of that member; negative for nobody in particular.
    pub member_epoch: i32,
    /// Whether offsets of open transactions are refused with UNSTABLE_OFFSET_COMMIT.
    pub require_stable: bool,
    /// The partitions asked for; all that were committed if none.
    pub topics: Option<Vec<OffsetFetchTopic>>,
}

/// A topic in an [`OffsetFetch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetFetchTopic {
    /// Its name.
    pub name: Text,
    /// Its id; zero if it is not known. An offset that was committed for another topic of that name is not found.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: Vec<PartitionId>,
}

/// The offsets of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// The topic's name.
    pub name: Text,
    /// The topic's id as it was asked for; zero in an answer about all topics.
    pub id: TopicId,
    /// The partitions, in the order of the question.
    pub partitions: Vec<FetchedOffset>,
}

/// The offset of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: PartitionId,
    /// -1 if nothing was committed.
    pub offset: Offset,
    /// -1 if not known.
    pub leader_epoch: i32,
    /// Empty if there is none.
    pub metadata: Text,
    /// Why there is no offset.
    pub error: ErrorCode,
}

/// Offsets to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetDelete {
    /// The group.
    pub group: Text,
    /// The topics and partitions. The topics may be read by who asks.
    pub topics: Vec<(Text, Vec<PartitionId>)>,
}

/// The partitions of a topic, with the outcome of a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteResult {
    /// The topic's name.
    pub name: Text,
    /// The partitions, in the order of the request.
    pub partitions: Vec<(PartitionId, ErrorCode)>,
}

/// Which groups to list. Empty filters let everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroups {
    /// Names of states, in any case.
    pub states: Vec<Text>,
    /// Names of types, in any case.
    pub types: Vec<Text>,
}
