//! ListTransactions, versions 0 to 2: the transactional ids of this broker (KIP-664).
//!
//! | version | what it added |
//! |---|---|
//! | 1 | for how long a transaction runs (KIP-994) |
//! | 2 | a pattern for transactional ids (KIP-1152) |
//!
//! Patterns are read in the syntax of RE2; Apache Kafka reads them in that of Java, which can do more. Source:
//! `TransactionStateManager.listTransactionStates` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::transactions::ask_partition;
use crate::group::WholePattern;
use crate::model::{ErrorCode, ProducerId};
use crate::txn::{Command, ListFilter, Listed, Reply, State};
use crate::wire::Text;
use crate::wire::messages::list_transactions_response::TransactionState;
use crate::wire::messages::{
    ListTransactionsRequest, ListTransactionsResponse, WireProducerId, WireTransactionalId,
};

pub(super) fn start(
    context: RequestContext,
    request: ListTransactionsRequest,
) -> Answer<ListTransactionsResponse> {
    let mut response = ListTransactionsResponse::default();
    let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(|pattern| WholePattern::new(&pattern)).transpose() else {
        response.error_code = ErrorCode::InvalidRegularExpression.code();
        return Answer::Now(response);
    };
    let (states, unknown) = states_of(request.state_filters);
    response.unknown_state_filters = unknown;
    let filter = ListFilter {
        states,
        producer_ids: request.producer_id_filters.iter().map(|id| ProducerId(id.0)).collect(),
        duration_ms: request.duration_filter,
    };
    let partitions = context.services.transactions.partitions().into_iter();
    let started: Vec<_> = partitions
        .map(|at| ask_partition(&context, at, Command::List { filter: filter.clone() }))
        .collect();
    Answer::later(async move {
        for asked in started {
            match asked.await {
                Ok(Reply::Listed(listed)) => {
                    let listed = listed.into_iter().filter(|listed| {
                        let id = listed.id.as_str();
                        pattern.as_ref().is_none_or(|pattern| pattern.matches(id))
                            && context.authorize(Operation::Describe, Resource::TransactionalId(id))
                    });
                    response.transaction_states.extend(listed.map(state));
                }
                Ok(other) => unreachable!("List was answered with {other:?}"),
                // Another broker lists those.
                Err(ErrorCode::NotCoordinator) => {}
                Err(code) => {
                    response.transaction_states.clear();
                    response.error_code = code.code();
                    return response;
                }
            }
        }
        response
    })
}

/// The states that are asked for, if any are, and the names that are none.
fn states_of(filters: Vec<Text>) -> (Option<Vec<State>>, Vec<Text>) {
    if filters.is_empty() {
        return (None, Vec::new());
    }
    let (mut states, mut unknown) = (Vec::new(), Vec::new());
    for name in filters {
        match State::from_name(&name) {
            Some(state) => states.push(state),
            None => unknown.push(name),
        }
    }
    (Some(states), unknown)
}

fn state(listed: Listed) -> TransactionState {
    let mut state = TransactionState::default();
    state.transactional_id = WireTransactionalId(Text::from_string(listed.id.as_str().to_owned()));
    state.producer_id = WireProducerId(listed.producer_id.0);
    state.transaction_state = Text::from_static_str(listed.state.name());
    state
}
