//! Transactions over the wire: what readers of committed records see, whoever is fenced, and what survives the end of the
//! broker, for clients with and without an epoch for each transaction.

use std::time::Duration;

use ottla::model::{ErrorCode, PartitionId, ProducerEpoch, ProducerId, TopicId};
use ottla::record::BatchBuilder;
use ottla::wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use ottla::wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use ottla::wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DeleteTopicsRequest,
    DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListTransactionsRequest, TxnOffsetCommitRequest, WireGroupId, WireProducerId,
    WireTransactionalId, delete_topics_request,
};
use ottla::wire::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use ottla::wire::{ApiKey, ProduceResponse, Text};

use crate::groups::{find, offsets};
use crate::rig::{Client, Rig, now, produce, wire_name};
use crate::transactions::committed_values;

const NONE: i16 = ErrorCode::None.code();
/// Codes upon which a client asks again.
const AGAIN: [i16; 3] = [
    ErrorCode::ConcurrentTransactions.code(),
    ErrorCode::CoordinatorLoadInProgress.code(),
    ErrorCode::NotEnoughReplicas.code(),
];

fn text(value: &str) -> Text {
    Text::from_string(value.to_owned())
}

/// Whether every transaction has an epoch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epochs {
    Kept,
    Raised,
}

pub(crate) const BOTH: [Epochs; 2] = [Epochs::Kept, Epochs::Raised];

/// A transactional producer.
pub(crate) struct Producer {
    client: Client,
    id: Text,
    pub(crate) producer: (i64, i16),
    pub(crate) sequence: i32,
    pub(crate) epochs: Epochs,
}

async fn init(client: &mut Client, id: &str) -> (i64, i16) {
    let mut request = InitProducerIdRequest::default();
    request.transactional_id = Some(WireTransactionalId(text(id)));
    request.transaction_timeout_ms = 60_000;
    request.producer_id = WireProducerId(-1);
    request.producer_epoch = -1;
    loop {
        let response = client.call(5, &request).await;
        if !AGAIN.contains(&response.error_code) {
            assert_eq!(response.error_code, NONE);
            return (response.producer_id.0, response.producer_epoch);
        }
    }
}

fn addition(id: &Text, producer: (i64, i16), topic: &str) -> AddPartitionsToTxnRequest {
    let mut added = AddPartitionsToTxnTopic::default();
    (added.name, added.partitions) = (wire_name(topic), vec![0]);
    let mut request = AddPartitionsToTxnRequest::default();
    request.v3_and_below_transactional_id = WireTransactionalId(id.clone());
    request.v3_and_below_producer_id = WireProducerId(producer.0);
    request.v3_and_below_producer_epoch = producer.1;
    request.v3_and_below_topics = vec![added];
    request
}

fn offsets_addition(id: &Text, producer: (i64, i16)) -> AddOffsetsToTxnRequest {
    let mut request = AddOffsetsToTxnRequest::default();
    request.transactional_id = WireTransactionalId(id.clone());
    request.producer_id = WireProducerId(producer.0);
    request.producer_epoch = producer.1;
    request.group_id = WireGroupId(text("g"));
    request
}

fn offset_commit(id: &Text, producer: (i64, i16), offset: i64) -> TxnOffsetCommitRequest {
    let mut partition = TxnOffsetCommitRequestPartition::default();
    (partition.committed_offset, partition.committed_leader_epoch) = (offset, -1);
    let mut topic = TxnOffsetCommitRequestTopic::default();
    (topic.name, topic.partitions) = (wire_name("t"), vec![partition]);
    let mut request = TxnOffsetCommitRequest::default();
    request.transactional_id = WireTransactionalId(id.clone());
    request.group_id = WireGroupId(text("g"));
    request.producer_id = WireProducerId(producer.0);
    request.producer_epoch = producer.1;
    request.generation_id = -1;
    request.topics = vec![topic];
    request
}

fn ending(id: &Text, producer: (i64, i16), committed: bool) -> EndTxnRequest {
    let mut request = EndTxnRequest::default();
    request.transactional_id = WireTransactionalId(id.clone());
    request.producer_id = WireProducerId(producer.0);
    request.producer_epoch = producer.1;
    request.committed = committed;
    request
}

/// Makes sure that transactional id `tx` is known.
pub(crate) async fn prepare(client: &mut Client) -> (i64, i16) {
    let mut find = FindCoordinatorRequest::default();
    find.key_type = 1;
    find.coordinator_keys = vec![text("tx")];
    client.call(4, &find).await;
    init(client, "tx").await
}

/// Sends a request about transactional id `tx`, which [`prepare`] has made this producer for, and gives its codes.
#[expect(clippy::wildcard_enum_match_arm, reason = "others are not about transactions")]
pub(crate) async fn codes(client: &mut Client, key: ApiKey, producer: (i64, i16)) -> Vec<i16> {
    let id = text("tx");
    match key {
        ApiKey::AddPartitionsToTxn => {
            let response = client.call(3, &addition(&id, producer, "t")).await;
            let topics = response.results_by_topic_v3_and_below;
            vec![topics[0].results_by_partition[0].partition_error_code]
        }
        ApiKey::AddOffsetsToTxn => {
            vec![client.call(3, &offsets_addition(&id, producer)).await.error_code]
        }
        ApiKey::EndTxn => vec![client.call(5, &ending(&id, producer, false)).await.error_code],
        ApiKey::TxnOffsetCommit => {
            let response = client.call(5, &offset_commit(&id, producer, 1)).await;
            vec![response.topics[0].partitions[0].error_code]
        }
        ApiKey::DescribeTransactions => {
            let mut request = DescribeTransactionsRequest::default();
            request.transactional_ids = vec![WireTransactionalId(id)];
            vec![client.call(0, &request).await.transaction_states[0].error_code]
        }
        ApiKey::ListTransactions => {
            let mut request = ListTransactionsRequest::default();
            request.duration_filter = -1;
            vec![client.call(2, &request).await.error_code]
        }
        _ => panic!("{key}"),
    }
}

impl Producer {
    pub(crate) async fn new(rig: &Rig, id: &str, epochs: Epochs) -> Self {
        let mut client = rig.client().await;
        let mut find = FindCoordinatorRequest::default();
        find.key_type = 1;
        find.coordinator_keys = vec![text(id)];
        assert_eq!(client.call(4, &find).await.coordinators[0].error_code, NONE);
        let producer = init(&mut client, id).await;
        Self { client, id: text(id), producer, sequence: 0, epochs }
    }

    /// Goes on with another broker, as it was.
    pub(crate) async fn reconnected(self, rig: &Rig) -> Self {
        Self { client: rig.client().await, ..self }
    }

    async fn add(&mut self, topic: &str) -> i16 {
        let request = addition(&self.id, self.producer, topic);
        let response = self.client.call(3, &request).await;
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    /// Sends a record to partition 0, once.
    async fn send(&mut self, version: i16, topic: &str, value: &str) -> ErrorCode {
        let (id, epoch) = self.producer;
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(id), ProducerEpoch(epoch), self.sequence).transactional();
        builder.push(now(), None, Some(value.as_bytes()));
        let mut request = produce(topic, 0, builder.build());
        request.transactional_id = Some(self.id.clone());
        let response: ProduceResponse = self.client.call(version, &request).await;
        response.topics[0].partitions[0].error_code
    }

    /// Does what a client does to write a record in its transaction.
    pub(crate) async fn write(&mut self, topic: &str, value: &str) -> ErrorCode {
        let version = match self.epochs {
            Epochs::Raised => 12,
            Epochs::Kept => loop {
                let code = self.add(topic).await;
                if !AGAIN.contains(&code) {
                    if code != NONE {
                        return ErrorCode::from_code(code).unwrap();
                    }
                    break 11;
                }
            },
        };
        loop {
            let code = self.send(version, topic, value).await;
            if !AGAIN.contains(&code.code()) {
                self.sequence += i32::from(code.is_none());
                return code;
            }
        }
    }

    pub(crate) async fn end(&mut self, committed: bool) -> i16 {
        let request = ending(&self.id, self.producer, committed);
        let version = if self.epochs == Epochs::Raised { 5 } else { 4 };
        loop {
            let response = self.client.call(version, &request).await;
            if AGAIN.contains(&response.error_code) {
                continue;
            }
            if response.error_code == NONE && self.epochs == Epochs::Raised {
                self.producer = (response.producer_id.0, response.producer_epoch);
                self.sequence = 0;
            }
            return response.error_code;
        }
    }

    /// Commits an offset of partition 0 of `t` for group `g`.
    pub(crate) async fn commit_offset(&mut self, offset: i64) -> ErrorCode {
        if self.epochs == Epochs::Kept {
            let add = offsets_addition(&self.id, self.producer);
            while AGAIN.contains(&self.client.call(3, &add).await.error_code) {}
        }
        let request = offset_commit(&self.id, self.producer, offset);
        let version = if self.epochs == Epochs::Raised { 5 } else { 3 };
        loop {
            let response = self.client.call(version, &request).await;
            let code = response.topics[0].partitions[0].error_code;
            let waits = [ErrorCode::CoordinatorNotAvailable.code()];
            if !AGAIN.contains(&code) && !waits.contains(&code) {
                return ErrorCode::from_code(code).unwrap();
            }
        }
    }
}

/// The state of a transactional id, once it is none of those that pass by themselves.
pub(crate) async fn settled(client: &mut Client, id: &str) -> String {
    let mut request = DescribeTransactionsRequest::default();
    request.transactional_ids = vec![WireTransactionalId(text(id))];
    loop {
        let response = client.call(0, &request).await;
        let state = &response.transaction_states[0];
        let is_loading = AGAIN.contains(&state.error_code);
        if !is_loading && !state.transaction_state.starts_with("Prepare") {
            return state.transaction_state.to_string();
        }
    }
}

/// The offset that group `g` has committed; why it is not told otherwise.
pub(crate) async fn offset(client: &mut Client) -> Result<i64, ErrorCode> {
    let mut request = offsets("g", Some(("t", TopicId::ZERO)), 8);
    request.require_stable = true;
    loop {
        let response: ottla::wire::OffsetFetchResponse = client.call(8, &request).await;
        if AGAIN.contains(&response.groups[0].error_code.code()) {
            continue;
        }
        assert_eq!(response.groups[0].error_code, ErrorCode::None);
        let partition = &response.groups[0].topics[0].partitions[0];
        let code = partition.error_code;
        return if code.is_none() { Ok(partition.committed_offset.0) } else { Err(code) };
    }
}

async fn with_topic() -> Rig {
    let rig = Rig::new().await;
    rig.client().await.create("t", 1, &[]).await;
    rig
}

#[tokio::test]
async fn what_was_committed_is_seen_and_nothing_else() {
    for epochs in BOTH {
        let rig = with_topic().await;
        let mut producer = Producer::new(&rig, "id", epochs).await;
        for (value, commits) in [("a", true), ("b", false), ("c", true), ("d", false)] {
            assert_eq!(producer.write("t", value).await, ErrorCode::None);
            assert_eq!(producer.write("t", value).await, ErrorCode::None);
            assert_eq!(producer.end(commits).await, NONE);
        }
        assert_eq!(producer.write("t", "open").await, ErrorCode::None);
        let mut reader = rig.client().await;
        assert_eq!(committed_values(&mut reader).await, ["a", "a", "c", "c"], "{epochs:?}");
        assert_eq!(settled(&mut reader, "id").await, "Ongoing");
    }
}

#[tokio::test]
async fn a_transaction_survives_the_broker_in_every_phase() {
    for epochs in BOTH {
        let mut rig = with_topic().await;
        let mut expected = Vec::new();
        let mut producer = Producer::new(&rig, "id", epochs).await;
        for (round, crash) in [false, true, true].into_iter().enumerate() {
            for phase in ["begun", "written", "committed", "aborted"] {
                let value = format!("{phase}-{round}");
                if phase != "begun" {
                    assert_eq!(producer.write("t", &value).await, ErrorCode::None);
                }
                let ends_before = matches!(phase, "committed" | "aborted");
                if ends_before {
                    assert_eq!(producer.end(phase == "committed").await, NONE);
                }
                rig = if crash { rig.crash().await } else { rig.restart().await };
                producer = producer.reconnected(&rig).await;
                if !ends_before {
                    assert_eq!(producer.write("t", &value).await, ErrorCode::None);
                    assert_eq!(producer.end(true).await, NONE);
                    expected.push(value.clone());
                }
                if phase != "aborted" {
                    expected.push(value);
                }
                if phase == "begun" {
                    expected.pop();
                }
                let mut reader = rig.client().await;
                settled(&mut reader, "id").await;
                assert_eq!(committed_values(&mut reader).await, expected, "{epochs:?} {phase}");
            }
        }
    }
}

#[tokio::test]
async fn a_zombie_writes_and_ends_nothing() {
    for epochs in BOTH {
        let rig = with_topic().await;
        let mut zombie = Producer::new(&rig, "id", epochs).await;
        assert_eq!(zombie.write("t", "lost").await, ErrorCode::None);
        let mut second = Producer::new(&rig, "id", epochs).await;
        assert_eq!(second.producer, (zombie.producer.0, zombie.producer.1 + 2));
        let fenced = ErrorCode::ProducerFenced.code();
        assert_eq!(zombie.end(true).await, fenced);
        let code = zombie.send(12, "t", "too late").await;
        assert_eq!(code, ErrorCode::InvalidProducerEpoch);
        assert_eq!(zombie.add("t").await, fenced);
        assert_eq!(zombie.commit_offset(5).await, ErrorCode::NotCoordinator, "there is no group");
        find(&mut rig.client().await, "g").await;
        assert_eq!(zombie.commit_offset(5).await, ErrorCode::InvalidProducerEpoch);
        assert_eq!(second.write("t", "kept").await, ErrorCode::None);
        assert_eq!(second.end(true).await, NONE);
        assert_eq!(committed_values(&mut rig.client().await).await, ["kept"]);
    }
}

#[tokio::test]
async fn a_batch_without_transaction_is_refused() {
    let rig = with_topic().await;
    let mut producer = Producer::new(&rig, "id", Epochs::Kept).await;
    for (version, code) in [(10, ErrorCode::InvalidTxnState), (11, ErrorCode::TransactionAbortable)]
    {
        assert_eq!(producer.send(version, "t", "nowhere").await, code);
    }
    producer.producer.0 += 1;
    assert_eq!(producer.send(11, "t", "x").await, ErrorCode::InvalidProducerIdMapping);
    producer.producer.0 -= 1;
    assert_eq!(producer.write("t", "a").await, ErrorCode::None);
    assert_eq!(producer.end(true).await, NONE);
    settled(&mut rig.client().await, "id").await;
    let again = producer.send(11, "t", "after the end").await;
    assert_eq!(again, ErrorCode::TransactionAbortable);
    assert_eq!(committed_values(&mut rig.client().await).await, ["a"]);
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    for epochs in BOTH {
        let rig = with_topic().await;
        let mut producer = Producer::new(&rig, "id", epochs).await;
        assert_eq!(producer.write("t", "late").await, ErrorCode::None);
        rig.broker.env().clock.advance(Duration::from_secs(71));
        let mut reader = rig.client().await;
        loop {
            if settled(&mut reader, "id").await == "CompleteAbort" {
                break;
            }
        }
        let fenced = producer.end(true).await;
        let expected = match epochs {
            Epochs::Kept => ErrorCode::ProducerFenced,
            // It may have ended it itself, and not have been told.
            Epochs::Raised => ErrorCode::InvalidTxnState,
        };
        assert_eq!(fenced, expected.code());
        assert_eq!(
            producer.write("t", "too late").await.code(),
            match epochs {
                Epochs::Kept => ErrorCode::ProducerFenced.code(),
                Epochs::Raised => ErrorCode::InvalidProducerEpoch.code(),
            }
        );
        assert_eq!(committed_values(&mut reader).await, [""; 0]);
    }
}

/// The last epoch that a producer may have: with the one after it a transaction could not be aborted any more.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// Whoever has used up the epochs of a producer id gets another one, in the middle of what it does.
#[tokio::test]
async fn a_producer_without_epochs_left_goes_on_with_another_id() {
    for epochs in BOTH {
        let rig = with_topic().await;
        let mut producer = Producer::new(&rig, "id", epochs).await;
        let first_id = producer.producer.0;
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = Some(WireTransactionalId(text("id")));
        request.transaction_timeout_ms = 60_000;
        (request.producer_id, request.producer_epoch) = (WireProducerId(-1), -1);
        let client = &mut producer.client;
        let (mut asked, mut told) = (0, 0);
        while told < LAST_EPOCH - 3 {
            // As many at once as a connection may have under way.
            while asked < LAST_EPOCH - 3 && asked < told + 16 {
                client.send(5, &request).await;
                asked += 1;
            }
            let (_, response) = client.receive::<InitProducerIdRequest>(5).await;
            told += 1;
            assert_eq!((response.error_code, response.producer_epoch), (NONE, told));
        }
        producer.producer.1 = told;
        let mut expected = Vec::new();
        let mut ids = vec![first_id];
        for round in 0..8 {
            let value = format!("{round}");
            assert_eq!(producer.write("t", &value).await, ErrorCode::None, "{epochs:?} {round}");
            let commits = round % 3 != 1;
            assert_eq!(producer.end(commits).await, NONE, "{epochs:?} {round}");
            if commits {
                expected.push(value);
            }
            if epochs == Epochs::Kept {
                producer.producer = init(&mut producer.client, "id").await;
                producer.sequence = 0;
            }
            let (id, epoch) = producer.producer;
            assert!((0..=LAST_EPOCH).contains(&epoch), "{epochs:?}: epoch {epoch}");
            if ids.last() != Some(&id) {
                assert_eq!(epoch, 0, "{epochs:?}: a new id begins with epoch 0");
                ids.push(id);
            }
        }
        assert_eq!(ids.len(), 2, "{epochs:?}: {ids:?}");
        let mut reader = rig.client().await;
        settled(&mut reader, "id").await;
        assert_eq!(committed_values(&mut reader).await, expected, "{epochs:?}");
    }
}

#[tokio::test]
async fn offsets_count_when_their_transaction_is_committed() {
    for epochs in BOTH {
        let mut rig = with_topic().await;
        find(&mut rig.client().await, "g").await;
        let mut producer = Producer::new(&rig, "id", epochs).await;
        for (number, (commits, crash)) in
            [(true, false), (false, true), (true, true)].into_iter().enumerate()
        {
            let before = offset(&mut rig.client().await).await.unwrap();
            let sent = i64::try_from(number).unwrap() + 10;
            assert_eq!(producer.commit_offset(sent).await, ErrorCode::None);
            if crash {
                rig = rig.crash().await;
                producer = producer.reconnected(&rig).await;
            }
            let mut reader = rig.client().await;
            assert_eq!(offset(&mut reader).await, Err(ErrorCode::UnstableOffsetCommit));
            assert_eq!(producer.end(commits).await, NONE);
            if crash {
                rig = rig.crash().await;
                producer = producer.reconnected(&rig).await;
            }
            let mut reader = rig.client().await;
            settled(&mut reader, "id").await;
            let expected = if commits { sent } else { before };
            assert_eq!(offset(&mut reader).await, Ok(expected), "{epochs:?} {number}");
        }
    }
}

#[tokio::test]
async fn a_deleted_topic_does_not_hold_up_its_transactions() {
    let rig = with_topic().await;
    let mut client = rig.client().await;
    client.create("other", 1, &[]).await;
    let mut producer = Producer::new(&rig, "id", Epochs::Raised).await;
    assert_eq!(producer.write("other", "gone").await, ErrorCode::None);
    producer.sequence = 0;
    assert_eq!(producer.write("t", "kept").await, ErrorCode::None);
    let mut state = delete_topics_request::DeleteTopicState::default();
    state.name = Some(wire_name("other"));
    let mut request = DeleteTopicsRequest::default();
    (request.topics, request.timeout_ms) = (vec![state], 30_000);
    assert_eq!(client.call(6, &request).await.responses[0].error_code, NONE);
    assert_eq!(producer.end(true).await, NONE);
    assert_eq!(settled(&mut client, "id").await, "CompleteCommit");
    assert_eq!(committed_values(&mut client).await, ["kept"]);
}

#[tokio::test]
async fn an_administrator_sees_transactions_and_ends_one() {
    let rig = with_topic().await;
    let mut client = rig.client().await;
    let mut producer = Producer::new(&rig, "id-1", Epochs::Kept).await;
    Producer::new(&rig, "id-2", Epochs::Kept).await;
    assert_eq!(producer.write("t", "hanging").await, ErrorCode::None);
    let mut list = ListTransactionsRequest::default();
    list.duration_filter = -1;
    list.state_filters = vec![text("Ongoing"), text("Strange")];
    let listed = client.call(2, &list).await;
    assert_eq!(listed.unknown_state_filters, [text("Strange")]);
    let ids = |response: &ottla::wire::messages::ListTransactionsResponse| {
        let states = response.transaction_states.iter();
        states.map(|state| state.transactional_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&listed), ["id-1"]);
    list.state_filters.clear();
    list.transactional_id_pattern = Some(text("id-[2-9]"));
    assert_eq!(ids(&client.call(2, &list).await), ["id-2"]);
    list.transactional_id_pattern = Some(text("("));
    let refused = client.call(2, &list).await;
    assert_eq!(refused.error_code, ErrorCode::InvalidRegularExpression.code());
    let mut describe = DescribeTransactionsRequest::default();
    describe.transactional_ids = ["id-1", "no", ""].map(|id| WireTransactionalId(text(id))).into();
    let described = client.call(0, &describe).await.transaction_states;
    assert_eq!(described[0].topics[0].partitions, [0]);
    assert_eq!(described[0].producer_id.0, producer.producer.0);
    assert_eq!(described[1].error_code, ErrorCode::TransactionalIdNotFound.code());
    assert_eq!(described[2].error_code, ErrorCode::InvalidRequest.code());
    let topic = |name: &str| WritableTxnMarkerTopic {
        name: text(name),
        partition_indexes: vec![PartitionId(0)],
    };
    let abort = WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: ProducerId(producer.producer.0),
            producer_epoch: ProducerEpoch(producer.producer.1),
            transaction_result: false,
            topics: vec![topic("t"), topic("no")],
            coordinator_epoch: 0,
            transaction_version: 0,
        }],
    };
    let written = client.call(1, &abort).await;
    let codes = written.markers[0].topics.iter().map(|topic| topic.partitions[0].error_code);
    let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(codes.collect::<Vec<_>>(), expected);
    let read = client.fetch("t", 0, 0).await;
    assert_eq!(read.last_stable_offset, read.high_watermark);
}
