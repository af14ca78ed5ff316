//! DescribeAcls, CreateAcls and DeleteAcls, versions 1 to 3: who may do what (KIP-140).
//!
//! The versions differ in the kinds of patterns and principals that they can name. No authorizer can be configured, and
//! without one these are answered with SECURITY_DISABLED, as by Apache Kafka.
//!
//! Source: `AclApis` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse, create_acls_response::AclCreationResult,
    delete_acls_response::DeleteAclsFilterResult,
};

pub(super) fn start_describe(
    context: RequestContext,
    _request: DescribeAclsRequest,
) -> Answer<DescribeAclsResponse> {
    let mut response = DescribeAclsResponse::default();
    (response.error_code, response.error_message) = refusal(&context, Operation::Describe);
    Answer::Now(response)
}

pub(super) fn start_create(
    context: RequestContext,
    request: CreateAclsRequest,
) -> Answer<CreateAclsResponse> {
    let mut response = CreateAclsResponse::default();
    let (error_code, error_message) = refusal(&context, Operation::Alter);
    let results = request.creations.iter().map(|_| {
        let mut result = AclCreationResult::default();
        (result.error_code, result.error_message) = (error_code, error_message.clone());
        result
    });
    response.results = results.collect();
    Answer::Now(response)
}

pub(super) fn start_delete(
    context: RequestContext,
    request: DeleteAclsRequest,
) -> Answer<DeleteAclsResponse> {
    let mut response = DeleteAclsResponse::default();
    let (error_code, error_message) = refusal(&context, Operation::Alter);
    let results = request.filters.iter().map(|_| {
        let mut result = DeleteAclsFilterResult::default();
        (result.error_code, result.error_message) = (error_code, error_message.clone());
        result
    });
    response.filter_results = results.collect();
    Answer::Now(response)
}

/// Why nothing can be said or done.
fn refusal(context: &RequestContext, operation: Operation) -> (i16, Option<Text>) {
    if context.authorize(operation, Resource::Cluster) {
        let message = Text::from_static_str("No Authorizer is configured.");
        (ErrorCode::SecurityDisabled.code(), Some(message))
    } else {
        let code = ErrorCode::ClusterAuthorizationFailed;
        (code.code(), error_map::text(code))
    }
}
