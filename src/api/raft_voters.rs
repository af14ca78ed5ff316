//! AddRaftVoter, versions 0 and 1, RemoveRaftVoter and UpdateRaftVoter, version 0: a controller is to vote, or not to vote any more, or is
//! elsewhere (KIP-853).
//!
//! | version | what it added |
//! |---|---|
//! | AddRaftVoter 1 | whether the answer waits until the voters have agreed (KIP-1186) |
//!
//! Any node answers the first two, and has the leader of the quorum do it. UpdateRaftVoter is what controllers of Apache Kafka ask their
//! leader, and only that answers it; ours tell each other where they are by themselves.
//!
//! Source: `KafkaRaftClient.handleAddVoterRequest`, `handleRemoveVoterRequest`, `handleUpdateVoterRequest` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::cluster::Refusal;
use crate::cluster::features::KRAFT_VERSION;
use crate::config::host_and_port;
use crate::controller::{Addition, Answered, QuorumStatus, Voter, VoterChange};
use crate::model::{BrokerId, ErrorCode, UuidText};
use crate::wire::messages::update_raft_voter_response::CurrentLeader;
use crate::wire::messages::{
    RemoveRaftVoterRequest, RemoveRaftVoterResponse, UpdateRaftVoterRequest,
    UpdateRaftVoterResponse, WireBrokerId,
};
use crate::wire::{AddRaftVoterRequest, AddRaftVoterResponse, Text};

pub(super) fn start_add(
    context: RequestContext,
    request: AddRaftVoterRequest,
) -> Answer<AddRaftVoterResponse> {
    let asked = asked_to_add(&context, &request);
    Answer::later(async move {
        let (error_code, error_message) = change(&context, asked).await;
        AddRaftVoterResponse { throttle_time_ms: 0, error_code, error_message }
    })
}

pub(super) fn start_remove(
    context: RequestContext,
    request: RemoveRaftVoterRequest,
) -> Answer<RemoveRaftVoterResponse> {
    let voter = Voter {
        broker: BrokerId(request.voter_id),
        directory: UuidText(request.voter_directory_id),
    };
    let asked = check(&context, request.cluster_id.as_ref(), voter, "Remove")
        .and_then(|()| check_level(&context, "removing"))
        .map(|()| VoterChange::Remove(voter));
    Answer::later(async move {
        let (code, message) = change(&context, asked).await;
        let mut response = RemoveRaftVoterResponse::default();
        response.error_code = code.code();
        response.error_message = message;
        response
    })
}

fn asked_to_add(
    context: &RequestContext,
    request: &AddRaftVoterRequest,
) -> Result<VoterChange, Refusal> {
    let directory = UuidText(request.voter_directory_id);
    let voter = Voter { broker: request.voter_id, directory };
    check(context, request.cluster_id.as_ref(), voter, "Add")?;
    let settings = context.settings();
    let wanted = &settings.broker().controller_listener_name;
    // It has come already, or it will not be added, and has said itself where it is.
    if !request.listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(wanted)) {
        let given = request
            .listeners
            .iter()
            .map(|it| format!("ListenerName({})={}/<unresolved>:{}", it.name, it.host, it.port));
        let given = given.collect::<Vec<_>>().join(", ");
        let message = format!(
            "Add voter request didn't include the endpoint (Endpoints(endpoints={{{given}}})) for the default listener ListenerName({wanted})"
        );
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    }
    check_level(context, "adding")?;
    let answer = match request.ack_when_committed {
        true => Answered::Agreed,
        false => Answered::Written,
    };
    Ok(VoterChange::Add(Addition { voter, answer }))
}

pub(super) fn start_update(
    context: RequestContext,
    request: UpdateRaftVoterRequest,
) -> Answer<UpdateRaftVoterResponse> {
    Answer::later(async move {
        let mut response = UpdateRaftVoterResponse::default();
        if !context.authorize(Operation::ClusterAction, Resource::Cluster) {
            response.error_code = ErrorCode::ClusterAuthorizationFailed.code();
            return response;
        }
        let updated = update(&context, &request).await;
        response.error_code = updated.err().unwrap_or(ErrorCode::None).code();
        response.current_leader = current_leader(&context.services.quorum.status());
        response
    })
}

async fn update(
    context: &RequestContext,
    request: &UpdateRaftVoterRequest,
) -> Result<(), ErrorCode> {
    let (image, quorum) = (context.image(), &context.services.quorum);
    let other = request.cluster_id.as_ref().filter(|meant| ***meant != *image.cluster_id());
    if other.is_some() {
        return Err(ErrorCode::InconsistentClusterId);
    }
    let status = quorum.status();
    if request.current_leader_epoch < status.epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if request.current_leader_epoch > status.epoch {
        return Err(ErrorCode::UnknownLeaderEpoch);
    }
    if status.leader != Some(context.services.broker) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    let voter = Voter {
        broker: BrokerId(request.voter_id),
        directory: UuidText(request.voter_directory_id),
    };
    let settings = context.settings();
    let wanted = &settings.broker().controller_listener_name;
    let mut listeners = request.listeners.iter();
    let listener = listeners.find(|it| it.name.eq_ignore_ascii_case(wanted));
    let versions = &request.k_raft_version_feature;
    let (min, max) = (versions.min_supported_version, versions.max_supported_version);
    let is_valid = voter.broker.0 >= 0 && !voter.directory.0.is_nil();
    let listener = listener.filter(|_| is_valid).ok_or(ErrorCode::InvalidRequest)?;
    // Else it would not understand what it votes on.
    if min < 0 || !(min..=max).contains(&image.feature(KRAFT_VERSION)) {
        return Err(ErrorCode::InvalidRequest);
    }
    quorum.move_voter(voter, host_and_port(&listener.host, listener.port)).await
}

/// Who leads, and where it is.
fn current_leader(status: &QuorumStatus) -> CurrentLeader {
    let mut told = CurrentLeader::default();
    told.leader_id = WireBrokerId(status.leader.map_or(-1, |leader| leader.0));
    told.leader_epoch = status.epoch;
    let leader = status.voters.iter().find(|voter| Some(voter.broker) == status.leader);
    if let Some((host, port)) = leader.and_then(|leader| leader.endpoint.clone()) {
        (told.host, told.port) = (Text::from_string(host), i32::from(port));
    }
    told
}

/// What has to be right whoever leads.
fn check(
    context: &RequestContext,
    cluster_id: Option<&Text>,
    voter: Voter,
    verb: &str,
) -> Result<(), Refusal> {
    if !context.authorize(Operation::Alter, Resource::Cluster) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        let message = error_map::text(code).map(|text| text.to_string()).unwrap_or_default();
        return Err(Refusal { code, message });
    }
    let image = context.image();
    if let Some(meant) = cluster_id.filter(|meant| **meant != *image.cluster_id()) {
        let own = image.cluster_id();
        let message = format!("The given id \"{meant}\" doesn't match the cluster id \"{own}\"");
        return Err(Refusal { code: ErrorCode::InconsistentClusterId, message });
    }
    if voter.broker.0 < 0 || voter.directory.0.is_nil() {
        let message = format!("{verb} voter request didn't include a valid voter");
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    }
    Ok(())
}

/// Voters that are configured stay as they are.
fn check_level(context: &RequestContext, verb: &str) -> Result<(), Refusal> {
    match context.image().feature(KRAFT_VERSION) {
        level @ ..=0 => {
            let message = format!(
                "Cluster doesn't support {verb} voter because the {KRAFT_VERSION} feature is {level}"
            );
            Err(Refusal { code: ErrorCode::UnsupportedVersion, message })
        }
        _ => Ok(()),
    }
}

async fn change(
    context: &RequestContext,
    asked: Result<VoterChange, Refusal>,
) -> (ErrorCode, Option<Text>) {
    let changed = match asked {
        Ok(change) => context.services.quorum.change_voters(change).await,
        Err(refusal) => Err(refusal),
    };
    match changed {
        Ok(()) => (ErrorCode::None, None),
        Err(Refusal { code, message }) => (code, Some(Text::from_string(message))),
    }
}
