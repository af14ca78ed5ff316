//! ListGroups, versions 0 to 5: the groups that this broker coordinates.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | throttle time |
//! | 3 | flexible |
//! | 4 | states, and a filter for them (KIP-518) |
//! | 5 | types, and a filter for them (KIP-848) |
//!
//! Source: `KafkaApis.handleListGroupsRequest`, `GroupCoordinatorService.listGroups` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::groups::ask_partition;
use crate::group::command::ListGroups;
use crate::group::{Command, Reply};
use crate::model::ErrorCode;
use crate::wire::messages::{ListGroupsRequest, ListGroupsResponse};

pub(super) fn start(
    context: RequestContext,
    request: ListGroupsRequest,
) -> Answer<ListGroupsResponse> {
    let filter = ListGroups { states: request.states_filter, types: request.types_filter };
    let partitions = context.services.groups.partitions();
    let asked: Vec<_> = partitions
        .into_iter()
        .map(|partition| {
            let command = Command::ListGroups { request: filter.clone() };
            ask_partition(&context, partition, command)
        })
        .collect();
    if asked.is_empty() {
        return Answer::Now(ListGroupsResponse::default());
    }
    Answer::later(async move {
        let mut response = ListGroupsResponse::default();
        for answer in asked {
            match answer.await {
                Ok(Reply::ListGroups(groups)) => response.groups.extend(groups),
                Ok(other) => unreachable!("ListGroups was answered with {other:?}"),
                // The broker that leads this partition lists its groups.
                Err(ErrorCode::NotCoordinator) => {}
                Err(code) => {
                    let mut refused = ListGroupsResponse::default();
                    refused.error_code = code.code();
                    return refused;
                }
            }
        }
        if !context.authorize(Operation::Describe, Resource::Cluster) {
            response.groups.retain(|group| {
                context.authorize(Operation::Describe, Resource::Group(&group.group_id))
            });
        }
        response
    })
}
