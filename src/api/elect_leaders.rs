//! ElectLeaders, versions 0 to 2: giving partitions back to their preferred leader, or to any replica (KIP-183, KIP-460).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | unclean elections, an error for the whole response |
//! | 2 | flexible |
//!
//! Source: `ReplicationControlManager.electLeaders` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::{
    ClusterImage, Command, ELECTION_NOT_NEEDED, PartitionImage, Refusal, TopicImage, refuse,
};
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

/// What is to be done about one partition: a command, or what is said without one.
struct Plan {
    partition: i32,
    what: Result<Command, Refusal>,
}

pub(super) fn start(
    context: RequestContext,
    request: ElectLeadersRequest,
) -> Answer<ElectLeadersResponse> {
    let election = match request.election_type {
        _ if !context.authorize(Operation::Alter, Resource::Cluster) => {
            let message = "Cluster authorization failed.".to_owned();
            Err(Refusal { code: ErrorCode::ClusterAuthorizationFailed, message })
        }
        0 => Ok(Election::Preferred),
        1 => Ok(Election::Unclean),
        other => {
            let message = format!("Unknown election type {other}");
            Err(Refusal { code: ErrorCode::InvalidRequest, message })
        }
    };
    let election = match election {
        Ok(election) => election,
        Err(refusal) => return Answer::Now(refuse_all(&context, request, &refusal)),
    };
    let image = context.image();
    // Of all partitions only those are told that needed an election.
    let only_needy = request.topic_partitions.is_none();
    let planned: Vec<(WireTopicName, Vec<Plan>)> = match request.topic_partitions {
        Some(asked) => asked
            .into_iter()
            .map(|topic| {
                let plans = topic.partitions.iter();
                let plans = plans.map(|index| plan(&image, &topic.topic, *index, election));
                let plans = plans.collect();
                (topic.topic, plans)
            })
            .collect(),
        None => image.topics().map(|topic| plan_needy(&image, topic, election)).collect(),
    };
    Answer::later(async move {
        let plans = planned.iter().flat_map(|(_, plans)| plans);
        let commands: Vec<_> = plans.filter_map(|plan| plan.what.clone().ok()).collect();
        let outcomes = match commands.is_empty() {
            true => Ok(Vec::new()),
            false => context.propose(commands).await,
        };
        let mut outcomes = outcomes.map(Vec::into_iter);
        let mut response = ElectLeadersResponse::default();
        for (topic, plans) in planned {
            let told = plans.into_iter().map(|plan| {
                let refusal = match (plan.what, &mut outcomes) {
                    (Err(refusal), _) => Some(refusal),
                    (Ok(_), Ok(outcomes)) => outcomes.next().and_then(Result::err),
                    (Ok(_), Err(code)) => Some(Refusal { code: *code, message: code.to_string() }),
                };
                (plan.partition, refusal)
            });
            let is_told = |refusal: &Option<Refusal>| {
                let code = refusal.as_ref().map(|refusal| refusal.code);
                !only_needy || code != Some(ErrorCode::ElectionNotNeeded)
            };
            let told = told.filter(|(_, refusal)| is_told(refusal));
            response.replica_election_results.push(result(topic, told));
        }
        response
    })
}

fn refuse_all(
    context: &RequestContext,
    request: ElectLeadersRequest,
    refusal: &Refusal,
) -> ElectLeadersResponse {
    let mut response = ElectLeadersResponse::default();
    // Version 0 has no place for an error of the whole.
    if context.version() > 0 {
        response.error_code = refusal.code.code();
    }
    let topics = request.topic_partitions.unwrap_or_default().into_iter();
    let results = topics.map(|topic| {
        let refused = topic.partitions.into_iter().map(|index| (index, Some(refusal.clone())));
        result(topic.topic, refused)
    });
    response.replica_election_results = results.collect();
    response
}

fn result(
    topic: WireTopicName,
    partitions: impl Iterator<Item = (i32, Option<Refusal>)>,
) -> ReplicaElectionResult {
    let mut result = ReplicaElectionResult::default();
    result.topic = topic;
    let partitions = partitions.map(|(index, refusal)| {
        let mut partition = PartitionResult::default();
        partition.partition_id = index;
        partition.error_code = refusal.as_ref().map_or(0, |refusal| refusal.code.code());
        partition.error_message = refusal.map(|refusal| Text::from_string(refusal.message));
        partition
    });
    result.partition_result = partitions.collect();
    result
}

fn needs(partition: &PartitionImage, election: Election) -> bool {
    match election {
        Election::Preferred => !partition.is_led_as_preferred(),
        Election::Unclean => partition.leader.is_none(),
    }
}

fn plan_needy(
    image: &ClusterImage,
    topic: &TopicImage,
    election: Election,
) -> (WireTopicName, Vec<Plan>) {
    let name = topic.name.as_str();
    let needy = topic.indexed_partitions().filter(|(_, found)| needs(found, election));
    let plans = needy.map(|(index, _)| plan(image, name, index.0, election)).collect();
    (WireTopicName(Text::from_string(name.to_owned())), plans)
}

fn plan(image: &ClusterImage, topic: &str, index: i32, election: Election) -> Plan {
    let unknown = |message| Refusal { code: ErrorCode::UnknownTopicOrPartition, message };
    let partition = PartitionId(index);
    let what = match image.topic(topic).map(|found| (found.id, found.partition(partition))) {
        None => Err(unknown(format!("No such topic as {topic}"))),
        Some((_, None)) => Err(unknown(format!("No such partition as {topic}-{index}"))),
        Some((_, Some(found))) if !needs(found, election) => {
            refuse(ErrorCode::ElectionNotNeeded, ELECTION_NOT_NEEDED)
        }
        Some((topic, Some(_))) => {
            let unclean = matches!(election, Election::Unclean);
            Ok(Command::ElectLeaders { topic, partition, unclean })
        }
    };
    Plan { partition: index, what }
}
