//! ApiVersions, versions 0 to 4: what this broker speaks, or this controller.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | flexible; the client's software name and version (KIP-511); features |
//! | 4 | features whose lowest level is 0 |
//!
//! A request of an unknown version is answered in version 0 with UNSUPPORTED_VERSION and the versions of this API, so that
//! a newer client can ask again. Source: `ApiVersionsRequest.getErrorResponse`, `ApiVersionsResponse` of Kafka's clients.

use super::context::RequestContext;
use super::dispatch::{Answer, Reply, is_served, send};
use crate::cluster::features::{self, SupportedFeature};
use crate::model::ErrorCode;
use crate::wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, api_versions_response as response,
};
use crate::wire::{ApiEntry, ApiKey, Text};

pub(super) fn start(
    context: RequestContext,
    request: ApiVersionsRequest,
) -> Answer<ApiVersionsResponse> {
    let version = context.version();
    if version >= 3 {
        let (name, software_version) =
            (request.client_software_name, request.client_software_version);
        if !is_software_word(&name) || !is_software_word(&software_version) {
            let mut refused = ApiVersionsResponse::default();
            refused.error_code = ErrorCode::InvalidRequest.code();
            return Answer::Now(refused);
        }
        // A connection keeps the first answer: it is still the same client.
        context.connection.software.get_or_init(|| (name, software_version));
    }
    let mut answer = ApiVersionsResponse::default();
    let here = ApiEntry::ALL.iter().filter(|entry| is_served(entry, context.connection.endpoint));
    answer.api_keys = here.filter_map(|entry| api(entry)).collect();
    let supported = features::SUPPORTED.iter().filter(|it| version >= 4 || it.min > 0);
    answer.supported_features = supported.map(supported_feature).collect();
    let view = context.services.view.borrow().clone();
    answer.finalized_features_epoch = i64::try_from(view.index).unwrap_or(i64::MAX);
    answer.finalized_features = view.image.features().iter().map(finalized_feature).collect();
    Answer::Now(answer)
}

/// Answers a request of a version that does not exist.
pub(super) fn refuse_version(context: &RequestContext) -> Reply {
    let mut answer = ApiVersionsResponse::default();
    answer.error_code = ErrorCode::UnsupportedVersion.code();
    answer.api_keys = api(ApiKey::ApiVersions.entry()).into_iter().collect();
    send(0, context.header.correlation_id, &answer)
}

fn api(entry: &ApiEntry) -> Option<response::ApiVersion> {
    let listed = entry.listed()?;
    let mut api = response::ApiVersion::default();
    api.api_key = entry.key.code();
    api.min_version = listed.min;
    api.max_version = listed.max;
    Some(api)
}

fn supported_feature(feature: &SupportedFeature) -> response::SupportedFeatureKey {
    let mut key = response::SupportedFeatureKey::default();
    key.name = Text::from_static_str(feature.name);
    key.min_version = feature.min;
    key.max_version = feature.max;
    key
}

fn finalized_feature((name, level): (&String, &i16)) -> response::FinalizedFeatureKey {
    let mut key = response::FinalizedFeatureKey::default();
    key.name = Text::from_string(name.clone());
    key.min_version_level = *level;
    key.max_version_level = *level;
    key
}

/// Letters, digits, `-` and `.`, neither of these two at an end (`ApiVersionsRequest.isValid`).
fn is_software_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inner) && ends(text.chars().next()) && ends(text.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_words_are_kafkas() {
        for good in ["apache-kafka-java", "4.3.1", "a", "librdkafka", "2.11.1-RC1"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä", "a_b"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
