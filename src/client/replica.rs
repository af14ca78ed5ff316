//! Reading what one replica of a partition has, whoever leads it.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::cluster::{Cluster, Target};
use super::error::ClientError;
use super::fetcher::{LAST_WITH_NAMES, joined};
use super::refusal::check;
use crate::model::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use crate::wire::fetch::{FetchPartition, FetchTopic, ReplicaState};
use crate::wire::{ApiKey, FetchRequest, Text};

/// What a replica gave.
#[derive(Clone, Debug)]
pub struct ReplicaBatches {
    /// Whole batches, one after the other; the first one may begin before what was asked for. None if there are none to be read.
    pub batches: Bytes,
    /// Up to where this replica knows that all in sync have the records: it gives nothing behind that.
    pub high_watermark: Offset,
}

impl Cluster {
    /// Reads batches of one replica from an offset on, up to its high watermark. A broker answers that for replicas that it
    /// does not lead since version 11 of Fetch (KIP-392). Does not wait for records, and does not repeat anything.
    ///
    /// # Errors
    /// When the broker cannot be asked, is too old, does not have the replica, or the offset is out of its range.
    pub async fn read_replica(
        &self,
        broker: BrokerId,
        topic: &str,
        partition: PartitionId,
        from: Offset,
    ) -> Result<ReplicaBatches, ClientError> {
        let connection = self.connection(Target::Node(broker)).await?;
        let version = connection.version_up_to(ApiKey::Fetch, LAST_WITH_NAMES)?;
        if version < FOLLOWERS_SINCE {
            let address = connection.address().clone();
            return Err(ClientError::Unsupported { address, api: ApiKey::Fetch, broker: None });
        }
        let request = request(topic, partition, from);
        let patience = self.options().request_timeout + MAX_WAIT;
        let response = connection.call(version, &request, patience).await?;
        check(ApiKey::Fetch, response.error_code.code(), || "the fetch".to_owned(), None)?;
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        let mut found = ReplicaBatches { batches: Bytes::new(), high_watermark: Offset(-1) };
        for answer in partitions {
            let subject = || format!("{topic} partition {partition} at offset {from}");
            check(ApiKey::Fetch, answer.error_code.code(), subject, None)?;
            found.high_watermark = answer.high_watermark;
            found.batches = joined(answer.records);
        }
        Ok(found)
    }
}

fn request(topic: &str, partition: PartitionId, from: Offset) -> FetchRequest {
    let partition = FetchPartition {
        partition,
        current_leader_epoch: LeaderEpoch::UNKNOWN,
        fetch_offset: from,
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
        log_start_offset: Offset(-1),
        partition_max_bytes: MAX_BYTES,
        replica_directory_id: Uuid::nil(),
        high_watermark: Offset(i64::MAX),
    };
    FetchRequest {
        cluster_id: None,
        replica_state: ReplicaState::CONSUMER,
        max_wait_ms: i32::try_from(MAX_WAIT.as_millis()).unwrap_or(0),
        min_bytes: 1,
        max_bytes: MAX_BYTES,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: Text::from_string(topic.to_owned()),
            topic_id: TopicId::ZERO,
            partitions: vec![partition],
        }],
        forgotten_topics: Vec::new(),
        rack_id: Text::default(),
    }
}

/// Since when a consumer may read from a replica that does not lead.
const FOLLOWERS_SINCE: i16 = 11;
/// Bytes of one answer, about.
const MAX_BYTES: i32 = 4 << 20;
/// How long a broker may wait for records that are not there yet.
const MAX_WAIT: Duration = Duration::from_millis(50);
