//! DescribeTransactions, version 0: the state of transactional ids (KIP-664).
//!
//! Source: `KafkaApis.handleDescribeTransactionsRequest`, `TransactionCoordinator.handleDescribeTransactions` of Apache
//! Kafka.

use std::collections::BTreeMap;

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::transactions::ask;
use crate::model::ErrorCode;
use crate::txn::{Command, Description, Reply};
use crate::wire::Text;
use crate::wire::messages::describe_transactions_response::{TopicData, TransactionState};
use crate::wire::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, WireProducerId, WireTopicName,
    WireTransactionalId,
};

pub(super) fn start(
    context: RequestContext,
    request: DescribeTransactionsRequest,
) -> Answer<DescribeTransactionsResponse> {
    let started: Vec<_> = request
        .transactional_ids
        .into_iter()
        .map(|id| {
            let allowed = context.authorize(Operation::Describe, Resource::TransactionalId(&id));
            let command = || Command::Describe { id: id.as_str().into() };
            let asked = allowed.then(|| ask(&context, &id, command()));
            (id, asked)
        })
        .collect();
    Answer::later(async move {
        let mut response = DescribeTransactionsResponse::default();
        for (id, asked) in started {
            let described = match asked {
                None => Err(ErrorCode::TransactionalIdAuthorizationFailed),
                Some(asked) => match asked.await {
                    Ok(Reply::Described(described)) => described,
                    Ok(other) => unreachable!("Describe was answered with {other:?}"),
                    Err(code) => Err(code),
                },
            };
            response.transaction_states.push(state(&context, id, described));
        }
        response
    })
}

fn state(
    context: &RequestContext,
    id: WireTransactionalId,
    described: Result<Description, ErrorCode>,
) -> TransactionState {
    let mut state = TransactionState::default();
    state.transactional_id = id;
    match described {
        Err(code) => state.error_code = code.code(),
        Ok(described) => {
            state.transaction_state = Text::from_static_str(described.state.name());
            state.transaction_timeout_ms = described.timeout_ms;
            state.transaction_start_time_ms = described.started_at.0;
            state.producer_id = WireProducerId(described.producer.id.0);
            state.producer_epoch = described.producer.epoch.0;
            state.topics = topics(context, &described);
        }
    }
    state
}

/// The partitions that the client may know of.
fn topics(context: &RequestContext, described: &Description) -> Vec<TopicData> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &described.partitions {
        topics.entry(topic).or_default().push(partition.0);
    }
    topics.retain(|topic, _| context.authorize(Operation::Describe, Resource::Topic(topic)));
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let mut data = TopicData::default();
        data.topic = WireTopicName(Text::from_string(topic.to_owned()));
        data.partitions = partitions;
        data
    });
    topics.collect()
}
