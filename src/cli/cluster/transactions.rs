//! `ottla cluster txn`: transactions seen and ended.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output::Table;
use crate::cli::repeat::RepeatArguments;
use crate::cli::topic::Common;
use crate::client::{Cluster, CoordinatorKind, Target, check};
use crate::model::ErrorCode;
use crate::wire::messages::{
    DescribeTransactionsRequest, InitProducerIdRequest, ListTransactionsRequest,
    WireTransactionalId, describe_transactions_response::TransactionState,
};
use crate::wire::{ApiKey, Text};

#[derive(Debug, Args)]
pub(super) struct TransactionArguments {
    #[command(subcommand)]
    verb: TransactionVerb,
}

#[derive(Debug, Subcommand)]
enum TransactionVerb {
    /// List transactional ids with the state of their transactions
    List(ListArguments),
    /// Abort the open transaction of a transactional id and fence its producer; shows it unless --execute is given
    Abort(AbortArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    repeat: RepeatArguments,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct AbortArguments {
    /// The transactional id
    transactional_id: String,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    common: Common,
}

impl TransactionArguments {
    pub(super) const fn common(&self) -> &Common {
        match &self.verb {
            TransactionVerb::List(arguments) => &arguments.common,
            TransactionVerb::Abort(arguments) => &arguments.common,
        }
    }
}

pub(super) fn run(arguments: &TransactionArguments) -> Result<ExitCode, Failure> {
    match &arguments.verb {
        TransactionVerb::List(arguments) => list(arguments),
        TransactionVerb::Abort(arguments) => abort(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result<ExitCode, Failure> {
    arguments.repeat.run(&arguments.common, async |cluster| {
        let mut table = Table::new(&["TRANSACTIONAL-ID", "STATE", "PRODUCER-ID", "COORDINATOR"]);
        let mut rows = Vec::new();
        for node in cluster.known().brokers {
            let request = ListTransactionsRequest::default().with_duration_filter(-1);
            let response = cluster.request(Target::Node(node.id), &request).await?;
            let subject = || format!("the transactions of broker {}", node.id);
            check(ApiKey::ListTransactions, response.error_code, subject, None)?;
            for transaction in &response.transaction_states {
                let id = transaction.transactional_id.0.to_string();
                let state = transaction.transaction_state.to_string();
                let producer = transaction.producer_id.0;
                table.row([id.clone(), state.clone(), producer.to_string(), node.id.to_string()]);
                rows.push(json!({
                    "transactional_id": id, "state": state, "producer_id": producer,
                    "coordinator": node.id.0,
                }));
            }
        }
        arguments.common.output.print(&table, &json!({ "transactions": rows }))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn abort(arguments: &AbortArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let id = arguments.transactional_id.as_str();
        let state = describe(&cluster, id).await?;
        if arguments.execute {
            fence(&cluster, id, &state).await?;
        }
        let mut table = Table::new(&["TRANSACTIONAL-ID", "STATE", "PRODUCER-ID", "PARTITIONS"]);
        let partitions: Vec<_> = state
            .topics
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(|index| format!("{}:{index}", &*topic.topic.0))
            })
            .collect();
        table.row([
            id.to_owned(),
            state.transaction_state.to_string(),
            state.producer_id.0.to_string(),
            crate::cli::output::list(&partitions),
        ]);
        let json = json!({
            "transactional_id": id, "state": &*state.transaction_state,
            "partitions": partitions, "executed": arguments.execute,
        });
        arguments.common.output.print(&table, &json)?;
        match arguments.execute {
            true => note!("its producer is fenced, and what was open is aborted"),
            false => note!("nothing was changed: add --execute to do it"),
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn describe(cluster: &Cluster, id: &str) -> Result<TransactionState, Failure> {
    let request = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![WireTransactionalId(Text::from_string(id.to_owned()))]);
    let described = cluster
        .retry(async || {
            let coordinator = cluster.coordinator(CoordinatorKind::Transaction, id).await?;
            let response = cluster.request(Target::Node(coordinator), &request).await?;
            let state = response.transaction_states.into_iter().next().unwrap_or_default();
            let subject = || format!("transactional id '{id}'");
            check(ApiKey::DescribeTransactions, state.error_code, subject, None)?;
            Ok(state)
        })
        .await;
    described.map_err(|error| {
        let code = error.refusal().map(|refusal| refusal.code);
        let failure = Failure::from(error);
        if code == Some(ErrorCode::TransactionalIdNotFound) {
            return failure.hint("ottla cluster txn list shows all");
        }
        failure
    })
}

/// A new producer of the id: whoever has it now is fenced, and its transaction aborted (`Admin.fenceProducers`).
async fn fence(cluster: &Cluster, id: &str, state: &TransactionState) -> Result<(), Failure> {
    cluster
        .retry(async || {
            let coordinator = cluster.coordinator(CoordinatorKind::Transaction, id).await?;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(WireTransactionalId(Text::from_string(id.to_owned()))))
                .with_transaction_timeout_ms(state.transaction_timeout_ms.max(1))
                .with_producer_id(crate::wire::messages::WireProducerId(-1))
                .with_producer_epoch(-1);
            let response = cluster.request(Target::Node(coordinator), &request).await?;
            let subject = || format!("transactional id '{id}'");
            check(ApiKey::InitProducerId, response.error_code, subject, None)?;
            Ok(())
        })
        .await?;
    Ok(())
}
