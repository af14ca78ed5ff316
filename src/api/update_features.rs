//! UpdateFeatures, versions 0 to 2: other levels for the cluster's features (KIP-584, KIP-778).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | downgrades; validation alone |
//! | 2 | no results by feature: all are updated or none (KIP-1022) |
//!
//! `allow_downgrade` of version 0 has no effect, as in Apache Kafka. Of several updates of one feature the last one counts.
//! Source: `ControllerApis.handleUpdateFeatures`, `QuorumController.updateFeatures` of Apache Kafka.

use std::collections::BTreeMap;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use crate::cluster::features::{
    Direction, FeatureUpdate, refusal_to_follow, refusal_to_support, refuse_level,
};
use crate::cluster::{Command, Refusal};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::update_features_request::FeatureUpdateKey;
use crate::wire::messages::update_features_response::UpdatableFeatureResult;
use crate::wire::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

/// First version whose answers have no results by feature.
const NO_RESULTS_SINCE: i16 = 2;

pub(super) fn start(
    context: RequestContext,
    request: UpdateFeaturesRequest,
) -> Answer<UpdateFeaturesResponse> {
    if !context.authorize(Operation::Alter, Resource::Cluster) {
        let mut response = UpdateFeaturesResponse::default();
        response.error_code = ErrorCode::ClusterAuthorizationFailed.code();
        response.error_message = Some(Text::from_static_str("Cluster authorization failed."));
        return Answer::Now(response);
    }
    let has_results = context.version() < NO_RESULTS_SINCE;
    let updates = check_all(&context, &request.feature_updates);
    Answer::later(async move {
        let updated = match updates {
            Ok(updates) if !request.validate_only => update(&context, updates).await,
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        let mut response = UpdateFeaturesResponse::default();
        response.error_message = None;
        match updated {
            Ok(()) if has_results => {
                response.results = request.feature_updates.into_iter().map(done).collect();
            }
            Ok(()) => {}
            Err(refusal) => {
                response.error_code = refusal.code.code();
                let message = refusal.message;
                response.error_message = Some(Text::from_string(format!(
                    "The update failed for all features since the following feature had an error: {message}"
                )));
            }
        }
        response
    })
}

/// The updates by feature, if all of them may be made now.
fn check_all(
    context: &RequestContext,
    asked: &[FeatureUpdateKey],
) -> Result<BTreeMap<String, FeatureUpdate>, Refusal> {
    let image = context.image();
    let by_name: BTreeMap<&str, &FeatureUpdateKey> =
        asked.iter().map(|update| (update.feature.as_str(), update)).collect();
    let mut updates = BTreeMap::new();
    for (name, asked) in by_name {
        let level = asked.max_version_level;
        let Some(direction) = Direction::from_code(asked.upgrade_type) else {
            let reason = "The controller does not support the given upgrade type.";
            return refuse_level(name, level, reason);
        };
        let update = FeatureUpdate { level, direction };
        refusal_to_support(name, level, context.services.broker)?;
        refusal_to_follow(name, image.feature(name), update)?;
        updates.insert(name.to_owned(), update);
    }
    Ok(updates)
}

async fn update(
    context: &RequestContext,
    updates: BTreeMap<String, FeatureUpdate>,
) -> Result<(), Refusal> {
    if updates.is_empty() {
        return Ok(());
    }
    let proposed = context.propose(vec![Command::UpdateFeatures { updates }]).await;
    let outcomes = proposed.map_err(|code| Refusal { code, message: String::new() })?;
    outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
}

/// The result of an update that was made.
fn done(asked: FeatureUpdateKey) -> UpdatableFeatureResult {
    let mut result = UpdatableFeatureResult::default();
    result.feature = asked.feature;
    result.error_message = Some(Text::from_static_str("NONE"));
    result
}
