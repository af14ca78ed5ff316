//! ElectLeaders, versions 0 to 2: giving partitions back to their preferred leader, or to any replica (KIP-183, KIP-460).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | unclean elections, an error for the whole response |
//! | 2 | flexible |
//!
//! A cluster of one node has nothing to elect: a partition is led by its first replica, or that replica is not there.
//!
//! Source: `ReplicationControlManager.electLeaders` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{ClusterImage, PartitionImage, Refusal};
use crate::model::{ErrorCode, PartitionId};
use crate::wire::Text;
use crate::wire::messages::{
    ElectLeadersRequest, ElectLeadersResponse, WireTopicName,
    elect_leaders_response::{PartitionResult, ReplicaElectionResult},
};

/// Which replica is to lead.
#[derive(Clone, Copy)]
enum Election {
    Preferred,
    Unclean,
}

pub(super) fn start(
    context: RequestContext,
    request: ElectLeadersRequest,
) -> Answer<ElectLeadersResponse> {
    let mut response = ElectLeadersResponse::default();
    let election = match request.election_type {
        _ if !context.authorize(Operation::Alter, Resource::Cluster) => {
            Err(ErrorCode::ClusterAuthorizationFailed)
        }
        0 => Ok(Election::Preferred),
        1 => Ok(Election::Unclean),
        _ => Err(ErrorCode::InvalidRequest),
    };
    let image = context.image();
    match (election, request.topic_partitions) {
        (Err(code), asked) => {
            // Version 0 has no place for an error of the whole.
            if context.version() > 0 {
                response.error_code = code.code();
            }
            let topics = asked.unwrap_or_default().into_iter();
            let results = topics.map(|topic| {
                let refused = |_| Refusal { code, message: code.to_string() };
                result(topic.topic, topic.partitions.into_iter(), refused)
            });
            response.replica_election_results = results.collect();
        }
        (Ok(election), Some(asked)) => {
            let results = asked.into_iter().map(|topic| {
                let name = topic.topic.to_string();
                result(topic.topic, topic.partitions.into_iter(), |index| {
                    elect(&image, &name, PartitionId(index), election)
                })
            });
            response.replica_election_results = results.collect();
        }
        // Of all partitions only those are told that needed an election.
        (Ok(election), None) => {
            let results = image.topics().map(|topic| {
                let needy = topic.indexed_partitions().filter(|(_, found)| needs(found, election));
                let name = WireTopicName(Text::from_string(topic.name.to_string()));
                result(name, needy.map(|(index, _)| index.0), |index| {
                    elect(&image, topic.name.as_str(), PartitionId(index), election)
                })
            });
            response.replica_election_results = results.collect();
        }
    }
    Answer::Now(response)
}

fn result(
    topic: WireTopicName,
    partitions: impl Iterator<Item = i32>,
    elect: impl Fn(i32) -> Refusal,
) -> ReplicaElectionResult {
    let mut result = ReplicaElectionResult::default();
    result.topic = topic;
    result.partition_result = partitions
        .map(|index| {
            let mut partition = PartitionResult::default();
            partition.partition_id = index;
            let Refusal { code, message } = elect(index);
            partition.error_code = code.code();
            partition.error_message = Some(Text::from_string(message));
            partition
        })
        .collect();
    result
}

fn needs(partition: &PartitionImage, election: Election) -> bool {
    match election {
        Election::Preferred => partition.leader != partition.replicas.first().copied(),
        Election::Unclean => partition.leader.is_none(),
    }
}

/// Why a partition gets no other leader.
fn elect(image: &ClusterImage, topic: &str, index: PartitionId, election: Election) -> Refusal {
    let unknown = |message| Refusal { code: ErrorCode::UnknownTopicOrPartition, message };
    let Some(found) = image.topic(topic) else {
        return unknown(format!("No such topic as {topic}"));
    };
    let Some(partition) = found.partition(index) else {
        return unknown(format!("No such partition as {topic}-{index}"));
    };
    let code = match election {
        _ if !needs(partition, election) => ErrorCode::ElectionNotNeeded,
        Election::Preferred => ErrorCode::PreferredLeaderNotAvailable,
        Election::Unclean => ErrorCode::EligibleLeadersNotAvailable,
    };
    Refusal { code, message: code.to_string() }
}
