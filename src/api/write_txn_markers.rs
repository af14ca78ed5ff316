//! WriteTxnMarkers, versions 1 and 2: the end of transactions, for the partitions of this broker.
//!
//! | version | what it added |
//! |---|---|
//! | 2 | the transaction version of a marker (KIP-1228) |
//!
//! Brokers send it, and administrators who end a transaction that nobody else ends (KIP-664). Source:
//! `KafkaApis.handleWriteTxnMarkersRequest` of Apache Kafka.

use super::authorizer::{Operation, Resource};
use super::context::RequestContext;
use super::dispatch::Answer;
use super::error_map;
use crate::coordinator::TransactionOutcome;
use crate::log::TransactionEnd;
use crate::model::ErrorCode;
use crate::record::EndMarker;
use crate::wire::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
};
use crate::wire::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

pub(super) fn start(
    context: RequestContext,
    request: WriteTxnMarkersRequest,
) -> Answer<WriteTxnMarkersResponse> {
    let is_allowed = context.authorize(Operation::Alter, Resource::Cluster)
        || context.authorize(Operation::ClusterAction, Resource::Cluster);
    if !is_allowed {
        let code = ErrorCode::ClusterAuthorizationFailed;
        let markers = request.markers.iter().map(|marker| refused(marker, code)).collect();
        return Answer::Now(WriteTxnMarkersResponse { markers });
    }
    let started: Vec<_> =
        request.markers.into_iter().map(|marker| write(&context, &marker)).collect();
    Answer::later(async move {
        let mut markers: Vec<WritableTxnMarkerResult> = Vec::new();
        for marker in started {
            let result = marker.await;
            // Results are told by producer.
            match markers.iter_mut().find(|known| known.producer_id == result.producer_id) {
                Some(known) => known.topics.extend(result.topics),
                None => markers.push(result),
            }
        }
        WriteTxnMarkersResponse { markers }
    })
}

/// Writes the markers of one transaction: in their logs when this returns, committed when the future is done.
fn write(
    context: &RequestContext,
    marker: &WritableTxnMarker,
) -> impl Future<Output = WritableTxnMarkerResult> + Send + use<> {
    let outcome = if marker.transaction_result {
        TransactionOutcome::Commit
    } else {
        TransactionOutcome::Abort
    };
    let end = TransactionEnd {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        marker: EndMarker { outcome, coordinator_epoch: marker.coordinator_epoch },
        transaction_version: i16::from(marker.transaction_version),
    };
    let producer_id = marker.producer_id;
    let started: Vec<_> = marker
        .topics
        .iter()
        .map(|topic| {
            let write = |partition| context.services.markers.write(&topic.name, partition, &end);
            let partitions = topic.partition_indexes.iter();
            let started: Vec<_> =
                partitions.map(|partition| (*partition, write(*partition))).collect();
            (topic.name.clone(), started)
        })
        .collect();
    async move {
        let mut topics = Vec::with_capacity(started.len());
        for (name, started) in started {
            let mut partitions = Vec::with_capacity(started.len());
            for (partition_index, written) in started {
                let code = written.await.err().map(|error| error_map::marker_code(&error));
                let error_code = code.unwrap_or(ErrorCode::None);
                partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code });
            }
            topics.push(WritableTxnMarkerTopicResult { name, partitions });
        }
        WritableTxnMarkerResult { producer_id, topics }
    }
}

fn refused(marker: &WritableTxnMarker, error_code: ErrorCode) -> WritableTxnMarkerResult {
    let topics = marker.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition_index| {
            WritableTxnMarkerPartitionResult { partition_index: *partition_index, error_code }
        });
        WritableTxnMarkerTopicResult { name: topic.name.clone(), partitions: partitions.collect() }
    });
    WritableTxnMarkerResult { producer_id: marker.producer_id, topics: topics.collect() }
}
