//! Members of groups: what they send, and how a member of either protocol goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ottla::model::{ErrorCode, Offset, PartitionId, TopicId};
use ottla::wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorRequest,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, MetadataRequest, SyncGroupRequest,
    WireGroupId, WireTopicName, consumer_group_heartbeat_request, join_group_request,
    metadata_request, sync_group_request,
};
use ottla::wire::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla::wire::offset_fetch::OffsetFetchRequestGroup;
use ottla::wire::{OffsetCommitRequest, OffsetFetchRequest, Text};
use uuid::Uuid;

use crate::load::Client;

pub(crate) const JOIN: i16 = 9;
pub(crate) const SYNC: i16 = 5;
pub(crate) const HEARTBEAT: i16 = 4;
pub(crate) const COMMIT: i16 = 9;
pub(crate) const CONSUMER_HEARTBEAT: i16 = 1;
/// Of the classic protocol: longer than any rebalance of these loads.
const SESSION_MS: i32 = 60_000;
const REBALANCE_MS: i32 = 120_000;

pub(crate) fn text(text: &str) -> Text {
    Text::from_string(text.to_owned())
}

fn group(name: &str) -> WireGroupId {
    WireGroupId(text(name))
}

/// Waits until the broker answers for a group.
pub(crate) fn find(client: &mut Client, group: &str) {
    let mut request = FindCoordinatorRequest::default();
    request.coordinator_keys = vec![text(group)];
    while client.call(4, &request).coordinators[0].error_code != 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    wait_for_group(client, group);
}

/// Waits until the group is loaded.
pub(crate) fn wait_for_group(client: &mut Client, group: &str) {
    let groups = vec![OffsetFetchRequestGroup {
        group_id: text(group),
        member_id: None,
        member_epoch: -1,
        topics: None,
    }];
    let request = OffsetFetchRequest {
        group_id: Text::default(),
        topics: None,
        groups,
        require_stable: false,
    };
    while client.call(9, &request).groups[0].error_code != ErrorCode::None {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Id and number of partitions of a topic.
pub(crate) fn topic(client: &mut Client, name: &str) -> (Uuid, usize) {
    let mut topic = metadata_request::MetadataRequestTopic::default();
    topic.name = Some(WireTopicName(text(name)));
    let mut request = MetadataRequest::default();
    request.topics = Some(vec![topic]);
    let topic = &client.call(12, &request).topics[0];
    (topic.topic_id, topic.partitions.len())
}

/// A commit of one offset each for so many partitions.
pub(crate) fn commit(
    group: &str,
    member: &str,
    epoch: i32,
    topic: &str,
    partitions: i32,
    offset: i64,
) -> OffsetCommitRequest {
    let partition = |index| OffsetCommitRequestPartition {
        partition_index: PartitionId(index),
        committed_offset: Offset(offset),
        committed_leader_epoch: 0,
        committed_metadata: None,
    };
    OffsetCommitRequest {
        group_id: text(group),
        generation_id_or_member_epoch: epoch,
        member_id: text(member),
        group_instance_id: None,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: text(topic),
            topic_id: TopicId::ZERO,
            partitions: (0..partitions).map(partition).collect(),
        }],
    }
}

pub(crate) fn join_request(name: &str, member: &str, topic: &str) -> JoinGroupRequest {
    let mut subscription = vec![0, 1, 0, 0, 0, 1, 0, topic.len() as u8];
    subscription.extend_from_slice(topic.as_bytes());
    subscription.extend_from_slice(&[0xff; 4]);
    subscription.extend_from_slice(&[0; 4]);
    let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
    (protocol.name, protocol.metadata) = (text("range"), subscription.into());
    let mut request = JoinGroupRequest::default();
    (request.group_id, request.member_id) = (group(name), text(member));
    (request.session_timeout_ms, request.rebalance_timeout_ms) = (SESSION_MS, REBALANCE_MS);
    (request.protocol_type, request.protocols) = (text("consumer"), vec![protocol]);
    request
}

/// A member's request for its assignment. That of the leader brings those of all: equal shares of the partitions.
pub(crate) fn sync_request(
    name: &str,
    joined: &JoinGroupResponse,
    topic: &str,
    partitions: usize,
) -> SyncGroupRequest {
    let mut request = SyncGroupRequest::default();
    (request.group_id, request.member_id) = (group(name), joined.member_id.clone());
    request.generation_id = joined.generation_id;
    (request.protocol_type, request.protocol_name) = (Some(text("consumer")), Some(text("range")));
    let count = joined.members.len();
    for (index, member) in joined.members.iter().enumerate() {
        let share: Vec<_> = (index..partitions).step_by(count).collect();
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, topic.len() as u8];
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&(share.len() as u32).to_be_bytes());
        bytes.extend(share.iter().flat_map(|partition| (*partition as u32).to_be_bytes()));
        bytes.extend_from_slice(&[0xff; 4]);
        let mut assigned = sync_group_request::SyncGroupRequestAssignment::default();
        (assigned.member_id, assigned.assignment) = (member.member_id.clone(), bytes.into());
        request.assignments.push(assigned);
    }
    request
}

/// How many partitions are in an assignment of [`sync_request`].
fn partitions_in(assignment: &Bytes) -> usize {
    let name = usize::from(assignment[7]);
    u32::from_be_bytes(assignment[8 + name..12 + name].try_into().unwrap()) as usize
}

pub(crate) fn heartbeat_request(name: &str, member: &str, generation: i32) -> HeartbeatRequest {
    let mut request = HeartbeatRequest::default();
    (request.group_id, request.member_id) = (group(name), text(member));
    request.generation_id = generation;
    request
}

/// A member of a classic group.
pub(crate) struct Classic {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) id: String,
    pub(crate) generation: i32,
    pub(crate) leads: bool,
    pub(crate) owned: usize,
}

impl Classic {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            id: String::new(),
            generation: -1,
            leads: false,
            owned: 0,
        }
    }

    pub(crate) fn ask_join(&self, client: &mut Client) {
        client.ask(JOIN, &join_request(&self.group, &self.id, &self.topic));
    }

    /// Takes the answer to a join; none if it gave the id to join with.
    pub(crate) fn joined(&mut self, client: &mut Client) -> Option<JoinGroupResponse> {
        let response = client.answer::<JoinGroupRequest>(JOIN);
        self.id = response.member_id.to_string();
        if response.error_code == ErrorCode::MemberIdRequired.code() {
            return None;
        }
        assert_eq!(response.error_code, 0, "{:?}", response.member_id);
        self.generation = response.generation_id;
        self.leads = response.leader == response.member_id;
        Some(response)
    }

    /// Joins and gets its assignment, again if another rebalance comes between.
    pub(crate) fn rebalance(&mut self, client: &mut Client, partitions: usize) {
        loop {
            self.ask_join(client);
            let Some(joined) = self.joined(client) else { continue };
            let response =
                client.call(SYNC, &sync_request(&self.group, &joined, &self.topic, partitions));
            if response.error_code == 0 {
                self.owned = partitions_in(&response.assignment);
                return;
            }
            assert_eq!(response.error_code, ErrorCode::RebalanceInProgress.code());
        }
    }

    /// Whether the group goes on as it is.
    pub(crate) fn heartbeat(&self, client: &mut Client) -> bool {
        let request = heartbeat_request(&self.group, &self.id, self.generation);
        let code = client.call(HEARTBEAT, &request).error_code;
        let rebalances =
            [ErrorCode::RebalanceInProgress.code(), ErrorCode::IllegalGeneration.code()];
        assert!(code == 0 || rebalances.contains(&code), "error {code}");
        code == 0
    }
}

/// A member of a consumer group (KIP-848).
pub(crate) struct Modern {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) id: String,
    pub(crate) epoch: i32,
    owned: BTreeMap<Uuid, Vec<i32>>,
    /// Whether it has yet to say what it owns.
    has_news: bool,
}

impl Modern {
    pub(crate) fn new(group: &str, topic: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let id = Uuid::from_u64_pair(1, COUNT.fetch_add(1, Ordering::Relaxed)).to_string();
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Self { group, topic, id, epoch: 0, owned: BTreeMap::new(), has_news: true }
    }

    pub(crate) fn owned(&self) -> usize {
        self.owned.values().map(Vec::len).sum()
    }

    pub(crate) fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let mut request = ConsumerGroupHeartbeatRequest::default();
        (request.group_id, request.member_id) = (group(&self.group), text(&self.id));
        (request.member_epoch, request.rebalance_timeout_ms) = (self.epoch, -1);
        (request.subscribed_topic_names, request.topic_partitions) = (None, None);
        if self.epoch == 0 {
            request.rebalance_timeout_ms = REBALANCE_MS;
            request.subscribed_topic_names = Some(vec![WireTopicName(text(&self.topic))]);
        }
        if self.has_news {
            let topics = self.owned.iter().map(|(topic, partitions)| {
                let mut wire = consumer_group_heartbeat_request::TopicPartitions::default();
                (wire.topic_id, wire.partitions) = (*topic, partitions.clone());
                wire
            });
            request.topic_partitions = Some(topics.collect());
        }
        request
    }

    /// Takes up what the answer says. Whether that is news.
    pub(crate) fn take(&mut self, response: ConsumerGroupHeartbeatResponse) -> bool {
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        let mut is_news = response.member_epoch != self.epoch;
        self.epoch = response.member_epoch;
        self.has_news = false;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.into_iter();
            let owned: BTreeMap<_, _> = topics.map(|it| (it.topic_id, it.partitions)).collect();
            self.has_news = owned != self.owned;
            is_news |= self.has_news;
            self.owned = owned;
        }
        is_news
    }

    /// Whether anything changed for it.
    pub(crate) fn heartbeat(&mut self, client: &mut Client) -> bool {
        let response = client.call(CONSUMER_HEARTBEAT, &self.request());
        self.take(response)
    }
}
