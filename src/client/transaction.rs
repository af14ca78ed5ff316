//! One transaction of a producer: its id, the partitions that are part of it, how it ends.
//!
//! Where the cluster's `transaction.version` is 2 or more (KIP-890), a partition becomes part of the transaction by the first batch
//! that is written to it; below that the coordinator is told before. What the coordinator says is passing, such as
//! CONCURRENT_TRANSACTIONS while an earlier transaction of the id is being ended, is asked again within the time of an operation.
//!
//! **Invariant:** nothing is written to a partition before it is part of the transaction, or becomes so by being written to.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cluster::{Cluster, CoordinatorKind, Target};
use super::error::ClientError;
use super::refusal::check;
use crate::model::{BrokerId, PartitionId, ProducerEpoch, ProducerId};
use crate::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, WireProducerId, WireTopicName,
    WireTransactionalId,
};
use crate::wire::{ApiKey, Text};

/// A transaction that is open, or will be with its first record.
#[derive(Debug)]
pub(super) struct Transaction {
    cluster: Cluster,
    id: String,
    producer: (ProducerId, ProducerEpoch),
    /// Whether brokers add partitions by themselves.
    is_implicit: bool,
    partitions: BTreeSet<PartitionId>,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All that was written counts.
    Commit,
    /// Nothing of it does.
    Abort,
}

impl Transaction {
    /// Takes the id: a transaction that somebody has open with it is aborted, and they can write no more. The broker does the same
    /// to this one when it is not ended within `timeout`.
    ///
    /// # Errors
    /// When the coordinator refuses, or cannot be found.
    pub(super) async fn begin(
        cluster: Cluster,
        id: &str,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(WireTransactionalId(Text::from_string(id.to_owned()))))
            .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1);
        let begin = async || {
            let coordinator = coordinator(&cluster, id).await?;
            let response = cluster.request(coordinator, &request).await?;
            check(ApiKey::InitProducerId, response.error_code, || subject(id), None)?;
            let connection = cluster.connection(coordinator).await?;
            let level = connection.negotiated().features.get(FEATURE).copied().unwrap_or_default();
            let producer =
                (ProducerId(response.producer_id.0), ProducerEpoch(response.producer_epoch));
            Ok((producer, level >= IMPLICIT_SINCE))
        };
        let (producer, is_implicit) = cluster.retry(begin).await?;
        tracing::debug!(id, producer = %producer.0, is_implicit, "the transactional id is ours");
        Ok(Self { id: id.to_owned(), producer, is_implicit, partitions: BTreeSet::new(), cluster })
    }

    /// Who writes.
    pub(super) const fn producer(&self) -> (ProducerId, ProducerEpoch) {
        self.producer
    }

    /// What Produce calls it.
    pub(super) fn id(&self) -> Text {
        Text::from_string(self.id.clone())
    }

    /// The highest version of Produce that means what it does.
    pub(super) const fn produce_version_max(&self) -> i16 {
        if self.is_implicit { i16::MAX } else { LAST_EXPLICIT_PRODUCE }
    }

    /// Makes a partition part of it, before anything is sent there.
    ///
    /// # Errors
    /// When the coordinator refuses, or cannot be found.
    pub(super) async fn add(
        &mut self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<(), ClientError> {
        if self.partitions.contains(&partition) {
            return Ok(());
        }
        if !self.is_implicit {
            let added = AddPartitionsToTxnTopic::default()
                .with_name(WireTopicName(Text::from_string(topic.to_owned())))
                .with_partitions(vec![partition.0]);
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(WireTransactionalId(self.id()))
                .with_v3_and_below_producer_id(WireProducerId(self.producer.0.0))
                .with_v3_and_below_producer_epoch(self.producer.1.0)
                .with_v3_and_below_topics(vec![added]);
            let add = async || {
                let at = coordinator(&self.cluster, &self.id).await?;
                let make = |_| request.clone();
                let response = self.cluster.request_with(at, LAST_EXPLICIT_ADD, make).await?;
                let topics = &response.results_by_topic_v3_and_below;
                for result in topics.iter().flat_map(|topic| &topic.results_by_partition) {
                    let subject =
                        || format!("{topic} partition {partition} in the {}", subject(&self.id));
                    let code = result.partition_error_code;
                    check(ApiKey::AddPartitionsToTxn, code, subject, None)?;
                }
                Ok(())
            };
            self.cluster.retry(add).await?;
        }
        self.partitions.insert(partition);
        Ok(())
    }

    /// Ends it. One that nothing was written in is not open.
    ///
    /// # Errors
    /// When the coordinator refuses, or cannot be found: then it is not known how it ends, until the broker aborts it.
    pub(super) async fn end(&mut self, end: End) -> Result<(), ClientError> {
        if self.partitions.is_empty() {
            return Ok(());
        }
        let request = EndTxnRequest::default()
            .with_transactional_id(WireTransactionalId(self.id()))
            .with_producer_id(WireProducerId(self.producer.0.0))
            .with_producer_epoch(self.producer.1.0)
            .with_committed(end == End::Commit);
        let version_max = if self.is_implicit { i16::MAX } else { LAST_EXPLICIT_END };
        let ask = async || {
            let at = coordinator(&self.cluster, &self.id).await?;
            let response = self.cluster.request_with(at, version_max, |_| request.clone()).await?;
            Ok(check(ApiKey::EndTxn, response.error_code, || subject(&self.id), None)?)
        };
        self.cluster.retry(ask).await?;
        self.partitions.clear();
        Ok(())
    }
}

async fn coordinator(cluster: &Cluster, id: &str) -> Result<Target, ClientError> {
    let found: BrokerId = cluster.find_coordinator(CoordinatorKind::Transaction, id).await?;
    Ok(Target::Node(found))
}

fn subject(id: &str) -> String {
    format!("transaction of '{id}'")
}

/// The feature whose level says how partitions become part of a transaction.
const FEATURE: &str = "transaction.version";
/// Since when brokers add them by themselves.
const IMPLICIT_SINCE: i16 = 2;
/// After these versions requests mean that brokers do, and that each transaction has an epoch of its own.
const LAST_EXPLICIT_PRODUCE: i16 = 11;
const LAST_EXPLICIT_END: i16 = 4;
/// After this version AddPartitionsToTxn is for brokers.
const LAST_EXPLICIT_ADD: i16 = 3;
