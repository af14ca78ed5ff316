//! DescribeQuorum, versions 0 to 2: who agrees on the cluster's metadata (KIP-595).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | times of the last fetch and of being caught up (KIP-836) |
//! | 2 | directory ids, the nodes and their listeners, texts of errors (KIP-853) |
//!
//! The metadata log is asked for by the name that it has in Apache Kafka. Its offsets are the indexes of our log's entries.
//! Of each voter it is told where tools reach it, under the first name of `controller.listener.names`.
//!
//! Source: `KafkaRaftClient.handleDescribeQuorumRequest`, `LeaderState.describeQuorum` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::create_topics::METADATA_TOPIC;
use super::dispatch::Answer;
use super::error_map;
use crate::controller::{QuorumMember, QuorumStatus};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    DescribeQuorumRequest, DescribeQuorumResponse, WireBrokerId,
    describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData},
};

pub(super) fn start(
    context: RequestContext,
    request: DescribeQuorumRequest,
) -> Answer<DescribeQuorumResponse> {
    let mut response = DescribeQuorumResponse::default();
    if !context.authorize(Operation::Describe, Resource::Cluster) {
        response.error_code = ErrorCode::ClusterAuthorizationFailed.code();
        response.error_message = error_map::text(ErrorCode::ClusterAuthorizationFailed);
        return Answer::Now(response);
    }
    if !is_about_metadata(&request) {
        response.topics = refused(request, ErrorCode::UnknownTopicOrPartition);
        return Answer::Now(response);
    }
    Answer::later(async move {
        let status = context.services.quorum.status_of_leader().await;
        describe(&context, &status, response)
    })
}

fn describe(
    context: &RequestContext,
    status: &QuorumStatus,
    mut response: DescribeQuorumResponse,
) -> DescribeQuorumResponse {
    let view = context.services.view.borrow().clone();
    let end = i64::try_from(view.index).unwrap_or(i64::MAX).saturating_add(1);
    let mut partition = PartitionData::default();
    partition.leader_id = WireBrokerId(status.leader.map_or(-1, |leader| leader.0));
    partition.leader_epoch = status.epoch;
    partition.high_watermark = end;
    let now = context.services.env.clock.now().0;
    // Versions below 2 have no place for directories and nodes.
    let with_nodes = context.version() >= 2;
    let listener = &view.settings.broker().controller_listener_name;
    let mut described = |member: &QuorumMember, votes: bool| {
        let mut state = ReplicaState::default();
        state.replica_id = WireBrokerId(member.broker.0);
        if with_nodes {
            state.replica_directory_id = member.directory.0;
            let mut node = Node::default();
            node.node_id = WireBrokerId(member.broker.0);
            let endpoint = member.endpoint.as_ref().filter(|_| votes);
            node.listeners =
                endpoint.map(|endpoint| told(listener, endpoint)).into_iter().collect();
            response.nodes.push(node);
        }
        // A node is as far as the leader has last heard of it; without a leader only the own end is known.
        let own = (member.broker == context.services.broker).then_some(end);
        let known = member.end.and_then(|end| i64::try_from(end).ok());
        state.log_end_offset = own.or(known).unwrap_or(-1);
        let caught_up = if state.log_end_offset >= end { now } else { -1 };
        (state.last_fetch_timestamp, state.last_caught_up_timestamp) = (caught_up, caught_up);
        state
    };
    let voters = status.voters.iter().map(|voter| described(voter, true));
    partition.current_voters = voters.collect();
    let observers = status.observers.iter().map(|observer| described(observer, false));
    partition.observers = observers.collect();
    let mut topic = TopicData::default();
    topic.topic_name.0 = Text::from_static_str(METADATA_TOPIC);
    topic.partitions = vec![partition];
    response.topics = vec![topic];
    response
}

fn told(name: &str, (host, port): &(String, u16)) -> Listener {
    let mut listener = Listener::default();
    listener.name = Text::from_string(name.to_owned());
    listener.host = Text::from_string(host.clone());
    listener.port = *port;
    listener
}

/// Only its one partition can be asked for, and nothing beside it.
fn is_about_metadata(request: &DescribeQuorumRequest) -> bool {
    let [topic] = request.topics.as_slice() else { return false };
    let [partition] = topic.partitions.as_slice() else { return false };
    &*topic.topic_name == METADATA_TOPIC && partition.partition_index == 0
}

fn refused(request: DescribeQuorumRequest, code: ErrorCode) -> Vec<TopicData> {
    let topics = request.topics.into_iter().map(|asked| {
        let partitions = asked.partitions.iter().map(|asked| {
            let mut partition = PartitionData::default();
            partition.partition_index = asked.partition_index;
            partition.error_code = code.code();
            partition.error_message = error_map::text(code);
            partition
        });
        let mut topic = TopicData::default();
        topic.partitions = partitions.collect();
        topic.topic_name = asked.topic_name;
        topic
    });
    topics.collect()
}
