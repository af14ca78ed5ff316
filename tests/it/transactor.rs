//! A transactional producer of a [`Crew`](crate::crew::Crew): it repeats what may be repeated, as clients do, and begins anew
//! where its transaction cannot go on.

use std::collections::BTreeMap;

use ottla::client::{ClientError, Cluster, CoordinatorKind, Refusal, Target, Topics, check};
use ottla::model::{PartitionId, ProducerEpoch, ProducerId, TopicId};
use ottla::record::BatchBuilder;
use ottla::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use ottla::wire::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, WireProducerId,
    WireTransactionalId,
};
use ottla::wire::produce::{ProducePartition, ProduceTopic};
use ottla::wire::{ApiKey, ProduceRequest, Text};

use crate::exactly_once::Epochs;
use crate::history::Value;
use crate::rig::wire_name;

/// An id with its producer, as long as nobody else takes it.
pub(crate) struct Transactor {
    cluster: Cluster,
    id: String,
    producer: (i64, i16),
    epochs: Epochs,
    sequences: BTreeMap<i32, i32>,
}

fn text(value: &str) -> Text {
    Text::from_string(value.to_owned())
}

/// What a lost connection asked may be asked again as well.
fn passing(error: ClientError) -> ClientError {
    if matches!(error, ClientError::Timeout { .. }) {
        return ClientError::NoSuchBroker { node: ottla::model::BrokerId(-1) };
    }
    error
}

impl Transactor {
    /// Begins anew with an id: what it had open before is aborted.
    pub(crate) async fn begin(
        cluster: Cluster,
        id: &str,
        epochs: Epochs,
    ) -> Result<Self, ClientError> {
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = Some(WireTransactionalId(text(id)));
        request.transaction_timeout_ms = 60_000;
        (request.producer_id, request.producer_epoch) = (WireProducerId(-1), -1);
        let response = cluster
            .retry(async || {
                let at = cluster.coordinator(CoordinatorKind::Transaction, id).await?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<InitProducerIdRequest>(Target::Node(at), 5, make)
                    .await
                    .map_err(passing)?;
                ok(ApiKey::InitProducerId, response.error_code)?;
                Ok(response)
            })
            .await?;
        let producer = (response.producer_id.0, response.producer_epoch);
        Ok(Self { cluster, id: id.to_owned(), producer, epochs, sequences: BTreeMap::new() })
    }

    /// Writes a record in the transaction, which is open from the first one on; gives its offset.
    pub(crate) async fn write(
        &mut self,
        topic: &str,
        partition: i32,
        value: Value,
    ) -> Result<i64, ClientError> {
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let records = BatchBuilder::new()
            .producer(ProducerId(self.producer.0), ProducerEpoch(self.producer.1), sequence)
            .transactional()
            .push(self.cluster.env().clock.now(), None, Some(&value.to_be_bytes()))
            .build();
        if self.epochs == Epochs::Kept {
            self.add(topic, partition).await?;
        }
        let version = if self.epochs == Epochs::Raised { 12 } else { 11 };
        let partitions =
            vec![ProducePartition { index: PartitionId(partition), records: Some(records) }];
        let request = ProduceRequest {
            transactional_id: Some(text(&self.id)),
            acks: -1,
            timeout_ms: 5_000,
            topics: vec![ProduceTopic { name: text(topic), topic_id: TopicId::ZERO, partitions }],
        };
        let cluster = &self.cluster;
        let offset = cluster
            .retry(async || {
                let metadata = cluster.metadata(Topics::Named(&[topic])).await?;
                let (leader, _) = metadata.leader_of(topic, PartitionId(partition))?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<ProduceRequest>(Target::Node(leader), version, make)
                    .await
                    .map_err(passing)?;
                let written = &response.topics[0].partitions[0];
                ok(ApiKey::Produce, written.error_code.code())?;
                Ok(written.base_offset.0)
            })
            .await?;
        self.sequences.insert(partition, sequence + 1);
        Ok(offset)
    }

    async fn add(&self, topic: &str, partition: i32) -> Result<(), ClientError> {
        let mut added = AddPartitionsToTxnTopic::default();
        (added.name, added.partitions) = (wire_name(topic), vec![partition]);
        let mut request = AddPartitionsToTxnRequest::default();
        request.v3_and_below_transactional_id = WireTransactionalId(text(&self.id));
        request.v3_and_below_producer_id = WireProducerId(self.producer.0);
        request.v3_and_below_producer_epoch = self.producer.1;
        request.v3_and_below_topics = vec![added];
        let cluster = &self.cluster;
        cluster
            .retry(async || {
                let at = cluster.coordinator(CoordinatorKind::Transaction, &self.id).await?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<AddPartitionsToTxnRequest>(Target::Node(at), 3, make)
                    .await
                    .map_err(passing)?;
                let topic = &response.results_by_topic_v3_and_below[0];
                let code = topic.results_by_partition[0].partition_error_code;
                ok(ApiKey::AddPartitionsToTxn, code).map_err(ClientError::from)
            })
            .await
    }

    /// Commits or aborts.
    pub(crate) async fn end(&mut self, committed: bool) -> Result<(), ClientError> {
        let mut request = EndTxnRequest::default();
        request.transactional_id = WireTransactionalId(text(&self.id));
        request.producer_id = WireProducerId(self.producer.0);
        (request.producer_epoch, request.committed) = (self.producer.1, committed);
        let version = if self.epochs == Epochs::Raised { 5 } else { 4 };
        let cluster = &self.cluster;
        let response = cluster
            .retry(async || {
                let at = cluster.coordinator(CoordinatorKind::Transaction, &self.id).await?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<EndTxnRequest>(Target::Node(at), version, make)
                    .await
                    .map_err(passing)?;
                ok(ApiKey::EndTxn, response.error_code)?;
                Ok(response)
            })
            .await?;
        if self.epochs == Epochs::Raised {
            self.producer = (response.producer_id.0, response.producer_epoch);
            self.sequences.clear();
        }
        Ok(())
    }
}

fn ok(api: ApiKey, code: i16) -> Result<(), Refusal> {
    check(api, code, || "a transaction".to_owned(), None)
}
