//! The one point between socket and handlers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::context::{ConnectionContext, EndpointType, RequestContext, Services};
use super::{
    acls, add_offsets_to_txn, add_partitions_to_txn, alter_configs, alter_replica_log_dirs,
    api_versions, consumer_group_describe, consumer_group_heartbeat, create_partitions,
    create_topics, delete_groups, delete_records, delete_topics, describe_cluster,
    describe_configs, describe_groups, describe_log_dirs, describe_producers, describe_quorum,
    describe_topic_partitions, describe_transactions, elect_leaders, end_txn, fetch,
    find_coordinator, heartbeat, init_producer_id, join_group, leave_group, list_config_resources,
    list_groups, list_offsets, list_transactions, metadata, offset_commit, offset_delete,
    offset_fetch, offset_for_leader_epoch, partition_reassignments, produce, raft_voters,
    sync_group, txn_offset_commit, unregister_broker, update_features, write_txn_markers,
};
use crate::model::{Instant, WithCauses};
use crate::telemetry::Phase;
use crate::wire::{
    ApiEntry, ApiKey, Frame, Request, RequestHeader, Response, decode_request, encode_response,
};

/// Bytes of the length in front of each frame.
const LENGTH_BYTES: u64 = 4;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The APIs of one broker.
#[derive(Clone, Debug)]
pub struct Api {
    services: Arc<Services>,
}

/// When a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When its last byte was read.
    pub whole_at: Instant,
    /// When it was taken to be started.
    pub begun_at: Instant,
}

/// A response on its way out, to be counted when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    key: i16,
    ready_at: Instant,
}

/// What becomes of a request.
pub enum Reply {
    /// This is sent, and if the request is one that counts, [`Api::sent`] is told when.
    Send(Frame, Option<Sending>),
    /// Nothing is sent: the client waits for nothing.
    Nothing,
    /// The future gives it. The next requests of the connection may be started meanwhile.
    Later(BoxFuture<Self>),
    /// The future gives it. The next request may only be started when it is done.
    Ordered(BoxFuture<Self>),
    /// The connection is closed, for this reason.
    Close(String),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(frame, _) => f.debug_tuple("Send").field(frame).finish(),
            Self::Nothing => f.write_str("Nothing"),
            Self::Later(_) => f.write_str("Later"),
            Self::Ordered(_) => f.write_str("Ordered"),
            Self::Close(reason) => f.debug_tuple("Close").field(reason).finish(),
        }
    }
}

/// What a handler gives.
pub(super) enum Answer<R> {
    Now(R),
    Later(BoxFuture<R>),
    Ordered(BoxFuture<Self>),
    /// The client asked for no response.
    Nothing,
    Close(String),
}

impl<R> Answer<R> {
    /// An answer that has to wait.
    pub(super) fn later(future: impl Future<Output = R> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }
}

impl Api {
    /// The APIs of a broker.
    #[must_use]
    pub const fn new(services: Arc<Services>) -> Self {
        Self { services }
    }

    /// Starts a request, which is a frame without its length.
    #[must_use]
    pub fn start(
        &self,
        connection: &Arc<ConnectionContext>,
        frame: Bytes,
        arrival: Arrival,
    ) -> Reply {
        let (header, body_start) = match RequestHeader::decode(&frame) {
            Ok(decoded) => decoded,
            Err(error) => return Reply::Close(format!("a malformed request: {error}")),
        };
        let (key, version) = (header.api_key, header.api_version);
        let entry = ApiEntry::of(key);
        let Some(entry) = entry.filter(|entry| is_served(entry, connection.endpoint)) else {
            let name = entry.map_or("unknown", |entry| entry.key.name());
            let at = &connection.listener;
            return Reply::Close(format!(
                "a request of API key {key} ({name}), which is not served at {at}"
            ));
        };
        connection.note(&header);
        let mut context = RequestContext {
            services: Arc::clone(&self.services),
            connection: Arc::clone(connection),
            header,
            phase_begun: arrival.begun_at,
        };
        let count = Count::begin(&context, &frame, arrival);
        if entry.served.is_none_or(|served| !served.contains(version)) {
            if entry.key == ApiKey::ApiVersions {
                return api_versions::refuse_version(&context);
            }
            return Reply::Close(format!(
                "a request of {} version {version}, which is not served",
                entry.key
            ));
        }
        let (key, body) = (entry.key, frame.slice(body_start..));
        if !is_left_to_controllers(key) {
            return handle(context, count, key, body);
        }
        Reply::Ordered(Box::pin(async move {
            context.catch_up().await;
            context.phase_begun = context.services.env.steady.now();
            handle(context, count, key, body)
        }))
    }

    /// Counts a response whose last byte the socket has taken.
    pub fn sent(&self, sending: Sending, now: Instant) {
        if let Some(counts) = self.services.metrics.requests.of(sending.key) {
            counts.phases.record(Phase::Send, now.since(sending.ready_at));
        }
    }
}

/// Whose requests wait for members of their group, or until replicas have what their coordinator or leader wrote for them. Those of
/// Produce and Fetch wait too; they tell one reason from another themselves.
const WAIT_FOR_OTHERS: [ApiKey; 14] = [
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::LeaveGroup,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::OffsetCommit,
    ApiKey::OffsetDelete,
    ApiKey::DeleteGroups,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
];

/// Whether Apache Kafka's brokers leave such a request to the controller: it is decided by what was agreed on before.
const fn is_left_to_controllers(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::AlterConfigs
            | ApiKey::IncrementalAlterConfigs
            | ApiKey::ElectLeaders
            | ApiKey::AlterPartitionReassignments
            | ApiKey::ListPartitionReassignments
            | ApiKey::UpdateFeatures
            | ApiKey::UnregisterBroker
    )
}

/// Whether an API is answered there.
pub(super) const fn is_served(entry: &ApiEntry, endpoint: EndpointType) -> bool {
    let at_endpoint = match endpoint {
        EndpointType::Broker => entry.key.is_for_brokers(),
        EndpointType::Controller => entry.key.is_for_controllers(),
    };
    entry.served.is_some() && at_endpoint
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the registry says which ones are served")]
fn handle(context: RequestContext, count: Count, key: ApiKey, body: Bytes) -> Reply {
    match key {
        ApiKey::Produce => run(context, count, body, produce::start),
        ApiKey::Fetch => run(context, count, body, fetch::start),
        ApiKey::ListOffsets => run(context, count, body, list_offsets::start),
        ApiKey::Metadata => run(context, count, body, metadata::start),
        ApiKey::OffsetCommit => run(context, count, body, offset_commit::start),
        ApiKey::OffsetFetch => run(context, count, body, offset_fetch::start),
        ApiKey::FindCoordinator => run(context, count, body, find_coordinator::start),
        ApiKey::JoinGroup => run(context, count, body, join_group::start),
        ApiKey::Heartbeat => run(context, count, body, heartbeat::start),
        ApiKey::LeaveGroup => run(context, count, body, leave_group::start),
        ApiKey::SyncGroup => run(context, count, body, sync_group::start),
        ApiKey::DescribeGroups => run(context, count, body, describe_groups::start),
        ApiKey::ListGroups => run(context, count, body, list_groups::start),
        ApiKey::ApiVersions => run(context, count, body, api_versions::start),
        ApiKey::CreateTopics => run(context, count, body, create_topics::start),
        ApiKey::DeleteTopics => run(context, count, body, delete_topics::start),
        ApiKey::DeleteRecords => run(context, count, body, delete_records::start),
        ApiKey::InitProducerId => run(context, count, body, init_producer_id::start),
        ApiKey::OffsetForLeaderEpoch => run(context, count, body, offset_for_leader_epoch::start),
        ApiKey::AddPartitionsToTxn => run(context, count, body, add_partitions_to_txn::start),
        ApiKey::AddOffsetsToTxn => run(context, count, body, add_offsets_to_txn::start),
        ApiKey::EndTxn => run(context, count, body, end_txn::start),
        ApiKey::WriteTxnMarkers => run(context, count, body, write_txn_markers::start),
        ApiKey::TxnOffsetCommit => run(context, count, body, txn_offset_commit::start),
        ApiKey::DescribeAcls => run(context, count, body, acls::start_describe),
        ApiKey::CreateAcls => run(context, count, body, acls::start_create),
        ApiKey::DeleteAcls => run(context, count, body, acls::start_delete),
        ApiKey::DescribeConfigs => run(context, count, body, describe_configs::start),
        ApiKey::AlterConfigs => run(context, count, body, alter_configs::start),
        ApiKey::DeleteGroups => run(context, count, body, delete_groups::start),
        ApiKey::ElectLeaders => run(context, count, body, elect_leaders::start),
        ApiKey::IncrementalAlterConfigs => {
            run(context, count, body, alter_configs::start_incremental)
        }
        ApiKey::AlterReplicaLogDirs => run(context, count, body, alter_replica_log_dirs::start),
        ApiKey::DescribeLogDirs => run(context, count, body, describe_log_dirs::start),
        ApiKey::CreatePartitions => run(context, count, body, create_partitions::start),
        ApiKey::AlterPartitionReassignments => {
            run(context, count, body, partition_reassignments::start_alter)
        }
        ApiKey::ListPartitionReassignments => {
            run(context, count, body, partition_reassignments::start_list)
        }
        ApiKey::OffsetDelete => run(context, count, body, offset_delete::start),
        ApiKey::DescribeQuorum => run(context, count, body, describe_quorum::start),
        ApiKey::UpdateFeatures => run(context, count, body, update_features::start),
        ApiKey::DescribeCluster => run(context, count, body, describe_cluster::start),
        ApiKey::DescribeProducers => run(context, count, body, describe_producers::start),
        ApiKey::ConsumerGroupHeartbeat => {
            run(context, count, body, consumer_group_heartbeat::start)
        }
        ApiKey::ConsumerGroupDescribe => run(context, count, body, consumer_group_describe::start),
        ApiKey::ListConfigResources => run(context, count, body, list_config_resources::start),
        ApiKey::DescribeTopicPartitions => {
            run(context, count, body, describe_topic_partitions::start)
        }
        ApiKey::UnregisterBroker => run(context, count, body, unregister_broker::start),
        ApiKey::DescribeTransactions => run(context, count, body, describe_transactions::start),
        ApiKey::ListTransactions => run(context, count, body, list_transactions::start),
        ApiKey::AddRaftVoter => run(context, count, body, raft_voters::start_add),
        ApiKey::RemoveRaftVoter => run(context, count, body, raft_voters::start_remove),
        ApiKey::UpdateRaftVoter => run(context, count, body, raft_voters::start_update),
        other => Reply::Close(format!("{other} is not served")),
    }
}

fn run<M: Request>(
    mut context: RequestContext,
    mut count: Count,
    body: Bytes,
    handler: fn(RequestContext, M) -> Answer<M::Response>,
) -> Reply
where
    M::Response: Send + 'static,
{
    let (version, correlation_id) = (context.header.api_version, context.header.correlation_id);
    match decode_request::<M>(&context.header, body) {
        Ok(request) => {
            context.phase_begun = context.end_phase(Phase::Parse, context.phase_begun);
            count.parsed_at = context.phase_begun;
            reply(version, correlation_id, count, handler(context, request))
        }
        Err(error) => Reply::Close(format!("a malformed request: {error}")),
    }
}

fn reply<R: Response + Send + 'static>(
    version: i16,
    correlation_id: i32,
    count: Count,
    answer: Answer<R>,
) -> Reply {
    match answer {
        Answer::Now(response) => count.end(send(version, correlation_id, &response)),
        Answer::Nothing => count.end(Reply::Nothing),
        Answer::Close(reason) => count.end(Reply::Close(reason)),
        Answer::Later(future) => Reply::Later(Box::pin(async move {
            let response = future.await;
            count.end_waiting(send(version, correlation_id, &response))
        })),
        Answer::Ordered(future) => {
            Reply::Ordered(Box::pin(
                async move { reply(version, correlation_id, count, future.await) },
            ))
        }
    }
}

/// A request that is counted once its answer is there.
struct Count {
    services: Arc<Services>,
    key: i16,
    begun: Instant,
    parsed_at: Instant,
}

impl Count {
    fn begin(context: &RequestContext, frame: &Bytes, arrival: Arrival) -> Self {
        let services = Arc::clone(&context.services);
        let key = context.header.api_key;
        if let Some(counts) = services.metrics.requests.of(key) {
            counts.request_bytes.add(LENGTH_BYTES + frame.len() as u64);
            counts.phases.record(Phase::Queue, arrival.begun_at.since(arrival.whole_at));
        }
        Self { begun: arrival.begun_at, parsed_at: arrival.begun_at, services, key }
    }

    /// Gives the reply back, counted.
    fn end(self, reply: Reply) -> Reply {
        let now = self.services.env.steady.now();
        self.end_at(reply, now)
    }

    /// As [`end`](Self::end), for a request that has waited.
    fn end_waiting(self, reply: Reply) -> Reply {
        let now = self.services.env.steady.now();
        if WAIT_FOR_OTHERS.iter().any(|api| api.code() == self.key)
            && let Some(counts) = self.services.metrics.requests.of(self.key)
        {
            counts.phases.record(Phase::Purgatory, now.since(self.parsed_at));
        }
        self.end_at(reply, now)
    }

    fn end_at(self, mut reply: Reply, now: Instant) -> Reply {
        if let Some(counts) = self.services.metrics.requests.of(self.key) {
            counts.duration.record(now.since(self.begun));
            if let Reply::Send(frame, sending) = &mut reply {
                counts.response_bytes.add(frame.total_bytes() as u64);
                *sending = Some(Sending { key: self.key, ready_at: now });
            }
        }
        reply
    }
}

/// Sends a response that a handler made.
pub(super) fn send<R: Response>(version: i16, correlation_id: i32, response: &R) -> Reply {
    match encode_response(version, correlation_id, response) {
        Ok(frame) => Reply::Send(frame, None),
        Err(error) => {
            // A mistake of ours, or a response that outgrows the protocol: this client cannot be helped, others can.
            let error = WithCauses(&error);
            tracing::error!(%error, "a response cannot be written");
            Reply::Close(format!("a response that cannot be written: {error}"))
        }
    }
}
