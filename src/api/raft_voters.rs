//! AddRaftVoter, versions 0 and 1, and RemoveRaftVoter, version 0: a controller is to vote, or not to vote any more (KIP-853).
//!
//! | version | what it added |
//! |---|---|
//! | AddRaftVoter 1 | whether the answer waits until the voters have agreed (KIP-1186); here it always does |
//!
//! Any node answers, and has the leader of the quorum do it. Source: `KafkaRaftClient.handleAddVoterRequest`,
//! `handleRemoveVoterRequest` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::cluster::Refusal;
use crate::cluster::features::KRAFT_VERSION;
use crate::controller::{Voter, VoterChange};
use crate::model::{BrokerId, ErrorCode, UuidText};
use crate::wire::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
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
    // Where it is said by the controller itself, which has come already.
    if !request.listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(wanted)) {
        let message = format!(
            "Add voter request didn't include the endpoint for the default listener ListenerName({wanted})"
        );
        return Err(Refusal { code: ErrorCode::InvalidRequest, message });
    }
    check_level(context, "adding")?;
    Ok(VoterChange::Add(voter))
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
