//! A member of a classic group, one request at a time: what it asks is asked once, so that whoever notes what happened knows what
//! was asked and what became of it.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::client::{
    Assignment, ClientError, Cluster, CoordinatorKind, Subscription, Target, assign_ranges, check,
};
use ottla::model::{BrokerId, ErrorCode, Offset, PartitionId, TopicId};
use ottla::wire::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest, WireGroupId,
    join_group_request, leave_group_request, sync_group_request,
};
use ottla::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla::wire::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use ottla::wire::{ApiKey, OffsetCommitRequest, OffsetFetchRequest, Text};

/// After how long a silent member is given up, and how long the others wait for one that is to join again.
const SESSION: Duration = Duration::from_secs(3);

/// A member, of a generation or of none as yet.
pub(crate) struct Member {
    pub(crate) cluster: Cluster,
    pub(crate) group: String,
    pub(crate) topic: String,
    partitions: u32,
    /// Empty until the coordinator has given one.
    pub(crate) id: String,
    pub(crate) generation: i32,
}

/// What a member does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// It asks again, perhaps somebody else.
    Again,
    /// It joins again.
    Rejoin,
    /// It joins again as another one.
    Anew,
}

/// What to do about an error of a [`Member`].
pub(crate) fn cure(error: &ClientError) -> Cure {
    match error.refusal().map(|refusal| refusal.code) {
        Some(ErrorCode::RebalanceInProgress | ErrorCode::MemberIdRequired) => Cure::Rejoin,
        Some(
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId,
        ) => Cure::Anew,
        // A transaction that is not decided.
        Some(ErrorCode::UnstableOffsetCommit) => Cure::Again,
        Some(code) => {
            assert!(ottla::client::is_retriable(code), "a member is refused: {error}");
            Cure::Again
        }
        None => Cure::Again,
    }
}

fn text(value: &str) -> Text {
    Text::from_string(value.to_owned())
}

impl Member {
    /// One that wants this topic, which has so many partitions.
    pub(crate) fn new(cluster: Cluster, group: &str, topic: &str, partitions: i32) -> Self {
        Self {
            cluster,
            group: group.to_owned(),
            topic: topic.to_owned(),
            partitions: u32::try_from(partitions).unwrap(),
            id: String::new(),
            generation: -1,
        }
    }

    /// Joins as another one.
    pub(crate) fn forget(&mut self) {
        self.id.clear();
        self.generation = -1;
    }

    fn group_id(&self) -> WireGroupId {
        WireGroupId(text(&self.group))
    }

    fn ok(&self, api: ApiKey, code: i16) -> Result<(), ClientError> {
        Ok(check(api, code, || format!("group '{}'", self.group), None)?)
    }

    /// Who coordinates its group.
    pub(crate) async fn coordinator(&self) -> Result<BrokerId, ClientError> {
        self.cluster.coordinator(CoordinatorKind::Group, &self.group).await
    }

    async fn target(&self) -> Result<Target, ClientError> {
        Ok(Target::Node(self.coordinator().await?))
    }

    /// Joins a generation, and gives the partitions that it has there.
    pub(crate) async fn join(&mut self) -> Result<Vec<i32>, ClientError> {
        let subscription = Subscription { topics: vec![self.topic.clone()] };
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(Text::from_static_str("range"))
            .with_metadata(subscription.to_bytes());
        let millis = i32::try_from(SESSION.as_millis()).unwrap();
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis)
            .with_rebalance_timeout_ms(millis)
            .with_member_id(text(&self.id))
            .with_protocol_type(Text::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let connection = self.cluster.connection(self.target().await?).await?;
        let joined = connection.call(9, &request, 3 * SESSION).await?;
        if joined.error_code == ErrorCode::MemberIdRequired.code() {
            self.id = joined.member_id.to_string();
        }
        self.ok(ApiKey::JoinGroup, joined.error_code)?;
        self.id = joined.member_id.to_string();
        self.generation = joined.generation_id;
        let mut members = BTreeMap::new();
        for member in &joined.members {
            members.insert(member.member_id.to_string(), Subscription::read(&member.metadata)?);
        }
        let counts = BTreeMap::from([(self.topic.clone(), self.partitions)]);
        let assigned = assign_ranges(&members, &counts).into_iter().map(|(member, assignment)| {
            sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(text(&member))
                .with_assignment(assignment.to_bytes())
        });
        let mut request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_assignments(assigned.collect());
        request.protocol_type = Some(Text::from_static_str("consumer"));
        request.protocol_name = joined.protocol_name;
        let synced = connection.call(5, &request, 3 * SESSION).await?;
        self.ok(ApiKey::SyncGroup, synced.error_code)?;
        let assignment = Assignment::read(&synced.assignment)?;
        Ok(assignment.iter().map(|(_, partition)| partition.0).collect())
    }

    /// Tells that it is there.
    pub(crate) async fn beat(&self) -> Result<(), ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id));
        let response = self.cluster.request(self.target().await?, &request).await?;
        self.ok(ApiKey::Heartbeat, response.error_code)
    }

    /// Leaves.
    pub(crate) async fn leave(&self) -> Result<(), ClientError> {
        let member = leave_group_request::MemberIdentity::default().with_member_id(text(&self.id));
        let request =
            LeaveGroupRequest::default().with_group_id(self.group_id()).with_members(vec![member]);
        let response = self.cluster.request(self.target().await?, &request).await?;
        self.ok(ApiKey::LeaveGroup, response.error_code)
    }

    /// Commits offsets of these partitions.
    pub(crate) async fn commit(&self, offsets: &BTreeMap<i32, i64>) -> Result<(), ClientError> {
        let partition = |(partition, offset): (&i32, &i64)| OffsetCommitRequestPartition {
            partition_index: PartitionId(*partition),
            committed_offset: Offset(*offset),
            committed_leader_epoch: -1,
            committed_metadata: Some(Text::default()),
        };
        let request = OffsetCommitRequest {
            group_id: text(&self.group),
            generation_id_or_member_epoch: self.generation,
            member_id: text(&self.id),
            group_instance_id: None,
            retention_time_ms: -1,
            topics: vec![OffsetCommitRequestTopic {
                name: text(&self.topic),
                topic_id: TopicId::ZERO,
                partitions: offsets.iter().map(partition).collect(),
            }],
        };
        let make = |_| request;
        let response = self.cluster.request_with(self.target().await?, 9, make).await?;
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions
            .try_for_each(|partition| self.ok(ApiKey::OffsetCommit, partition.error_code.code()))
    }

    /// The offsets that the group has committed of these partitions, -1 for none, once no open transaction may change them.
    pub(crate) async fn committed(
        &self,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let topic = OffsetFetchRequestTopic {
            name: text(&self.topic),
            topic_id: TopicId::ZERO,
            partition_indexes: partitions.iter().copied().map(PartitionId).collect(),
        };
        let group = OffsetFetchRequestGroup {
            group_id: text(&self.group),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![topic]),
        };
        let request = OffsetFetchRequest {
            group_id: Text::default(),
            topics: None,
            groups: vec![group],
            require_stable: true,
        };
        let make = |_| request;
        let response = self.cluster.request_with(self.target().await?, 9, make).await?;
        let group = &response.groups[0];
        self.ok(ApiKey::OffsetFetch, group.error_code.code())?;
        let mut committed = BTreeMap::new();
        for partition in group.topics.iter().flat_map(|topic| &topic.partitions) {
            self.ok(ApiKey::OffsetFetch, partition.error_code.code())?;
            committed.insert(partition.partition_index.0, partition.committed_offset.0);
        }
        assert_eq!(committed.len(), partitions.len(), "{response:?}");
        Ok(committed)
    }
}
