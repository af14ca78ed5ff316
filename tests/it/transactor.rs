//! A transactional producer of a [`Crew`](crate::crew::Crew): it repeats what may be repeated, as clients do, and begins anew
//! where its transaction cannot go on.

use std::cell::Cell;
use std::collections::BTreeMap;

use ottla::client::{ClientError, Cluster, CoordinatorKind, Refusal, Target, Topics, check};
use ottla::model::{BrokerId, PartitionId, ProducerEpoch, ProducerId, TopicId};
use ottla::record::BatchBuilder;
use ottla::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use ottla::wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use ottla::wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
    TxnOffsetCommitRequest, WireGroupId, WireProducerId, WireTransactionalId,
};
use ottla::wire::produce::{ProducePartition, ProduceTopic};
use ottla::wire::{ApiKey, ProduceRequest, Text};

use crate::exactly_once::Epochs;
use crate::history::Value;
use crate::member::Member;
use crate::rig::wire_name;

/// An id with its producer, as long as nobody else takes it.
pub(crate) struct Transactor {
    cluster: Cluster,
    id: String,
    producer: (i64, i16),
    epochs: Epochs,
    sequences: BTreeMap<i32, i32>,
    /// Who coordinates its transactions, as far as it knows.
    coordinator: Cell<BrokerId>,
}

fn text(value: &str) -> Text {
    Text::from_string(value.to_owned())
}

/// What a slow connection asked may be asked again as well, if every transaction has its epoch. Else what comes late might be taken
/// for a part of the next transaction, as in Apache Kafka (KAFKA-17754): who does not know begins anew.
fn passing(epochs: Epochs, error: ClientError) -> ClientError {
    if epochs == Epochs::Raised && matches!(error, ClientError::Timeout { .. }) {
        return ClientError::NoSuchBroker { node: BrokerId(-1) };
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
        let coordinator = Cell::new(BrokerId(-1));
        let response = cluster
            .retry(async || {
                let at = cluster.coordinator(CoordinatorKind::Transaction, id).await?;
                coordinator.set(at);
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<InitProducerIdRequest>(Target::Node(at), 5, make)
                    .await
                    .map_err(|error| passing(Epochs::Raised, error))?;
                ok(ApiKey::InitProducerId, response.error_code)?;
                Ok(response)
            })
            .await?;
        let producer = (response.producer_id.0, response.producer_epoch);
        let (id, sequences) = (id.to_owned(), BTreeMap::new());
        Ok(Self { cluster, id, producer, epochs, sequences, coordinator })
    }

    /// Who coordinates its transactions, as far as it knows.
    pub(crate) fn coordinator(&self) -> BrokerId {
        self.coordinator.get()
    }

    async fn find(&self) -> Result<BrokerId, ClientError> {
        let at = self.cluster.coordinator(CoordinatorKind::Transaction, &self.id).await?;
        self.coordinator.set(at);
        Ok(at)
    }

    /// Writes records in the transaction, which is open from the first one on; gives the offset of the first.
    pub(crate) async fn write(
        &mut self,
        topic: &str,
        partition: i32,
        values: &[Value],
    ) -> Result<i64, ClientError> {
        let sequence = self.sequences.get(&partition).copied().unwrap_or(0);
        let mut builder = BatchBuilder::new();
        builder
            .producer(ProducerId(self.producer.0), ProducerEpoch(self.producer.1), sequence)
            .transactional();
        for value in values {
            builder.push(self.cluster.env().clock.now(), None, Some(&value.to_be_bytes()));
        }
        let records = builder.build();
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
                    .map_err(|error| passing(self.epochs, error))?;
                let written = &response.topics[0].partitions[0];
                ok(ApiKey::Produce, written.error_code.code())?;
                Ok(written.base_offset.0)
            })
            .await?;
        self.sequences.insert(partition, sequence + i32::try_from(values.len()).unwrap());
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
                let at = self.find().await?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<AddPartitionsToTxnRequest>(Target::Node(at), 3, make)
                    .await
                    .map_err(|error| passing(self.epochs, error))?;
                let topic = &response.results_by_topic_v3_and_below[0];
                let code = topic.results_by_partition[0].partition_error_code;
                ok(ApiKey::AddPartitionsToTxn, code).map_err(ClientError::from)
            })
            .await
    }

    /// Commits offsets of a group as a part of the transaction, for one of its members.
    pub(crate) async fn commit_offsets(
        &self,
        member: &Member,
        (partition, offset): (i32, i64),
    ) -> Result<(), ClientError> {
        let mut committed = TxnOffsetCommitRequestPartition::default();
        committed.partition_index = partition;
        (committed.committed_offset, committed.committed_leader_epoch) = (offset, -1);
        let mut topic = TxnOffsetCommitRequestTopic::default();
        (topic.name, topic.partitions) = (wire_name(&member.topic), vec![committed]);
        let mut request = TxnOffsetCommitRequest::default();
        request.transactional_id = WireTransactionalId(text(&self.id));
        request.group_id = WireGroupId(text(&member.group));
        request.producer_id = WireProducerId(self.producer.0);
        request.producer_epoch = self.producer.1;
        (request.generation_id, request.member_id) = (member.generation, text(&member.id));
        request.topics = vec![topic];
        let version = if self.epochs == Epochs::Raised { 5 } else { 4 };
        if self.epochs == Epochs::Kept {
            self.add_offsets(&member.group).await?;
        }
        let cluster = &self.cluster;
        cluster
            .retry(async || {
                let at = cluster.coordinator(CoordinatorKind::Group, &member.group).await?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<TxnOffsetCommitRequest>(Target::Node(at), version, make)
                    .await
                    .map_err(|error| passing(self.epochs, error))?;
                let code = response.topics[0].partitions[0].error_code;
                ok(ApiKey::TxnOffsetCommit, code).map_err(ClientError::from)
            })
            .await
    }

    async fn add_offsets(&self, group: &str) -> Result<(), ClientError> {
        let mut request = AddOffsetsToTxnRequest::default();
        request.transactional_id = WireTransactionalId(text(&self.id));
        request.producer_id = WireProducerId(self.producer.0);
        request.producer_epoch = self.producer.1;
        request.group_id = WireGroupId(text(group));
        let cluster = &self.cluster;
        cluster
            .retry(async || {
                let make = |_| request.clone();
                let target = Target::Node(self.find().await?);
                let response = cluster
                    .request_with::<AddOffsetsToTxnRequest>(target, 3, make)
                    .await
                    .map_err(|error| passing(self.epochs, error))?;
                ok(ApiKey::AddOffsetsToTxn, response.error_code).map_err(ClientError::from)
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
                let at = self.find().await?;
                let make = |_| request.clone();
                let response = cluster
                    .request_with::<EndTxnRequest>(Target::Node(at), version, make)
                    .await
                    .map_err(|error| passing(self.epochs, error))?;
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
