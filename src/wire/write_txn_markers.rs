//! WriteTxnMarkers, versions 1 and 2: what a transaction coordinator tells the leaders of partitions.
//!
//! | version | request |
//! |---|---|
//! | 1 | flexible |
//! | 2 | the transaction version of a marker (KIP-1228) |
//!
//! Ours at both versions, since the message crate ends at 1. Unknown tagged fields are not kept.
//! Source: the WriteTxnMarkers schemas of Apache Kafka 4.3.1.

use bytes::Bytes;

use super::Text;
use super::codec::{Request, Response};
use super::error::{EncodeError, WireError};
use super::reader::{Read, Reader};
use super::registry::ApiKey;
use super::writer::Writer;
use crate::model::{ErrorCode, PartitionId, ProducerEpoch, ProducerId};

/// First version with a transaction version.
const TRANSACTION_VERSION_SINCE: i16 = 2;

/// A request to end transactions in partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteTxnMarkersRequest {
    /// The markers, one a transaction.
    pub markers: Vec<WritableTxnMarker>,
}

/// The end of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableTxnMarker {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Whether the transaction is committed; else it is aborted.
    pub transaction_result: bool,
    /// Where to write the marker.
    pub topics: Vec<WritableTxnMarkerTopic>,
    /// Epoch of the coordinator.
    pub coordinator_epoch: i32,
    /// The level of `transaction.version` that the transaction runs under. From version 2 on; else 0.
    pub transaction_version: i8,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableTxnMarkerTopic {
    /// The topic's name.
    pub name: Text,
    /// The partitions.
    pub partition_indexes: Vec<PartitionId>,
}

/// What became of the markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteTxnMarkersResponse {
    /// The outcome, by producer.
    pub markers: Vec<WritableTxnMarkerResult>,
}

/// What became of the markers of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableTxnMarkerResult {
    /// The producer.
    pub producer_id: ProducerId,
    /// The outcome, by topic.
    pub topics: Vec<WritableTxnMarkerTopicResult>,
}

/// What became of the markers in one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableTxnMarkerTopicResult {
    /// The topic's name.
    pub name: Text,
    /// The outcome, by partition.
    pub partitions: Vec<WritableTxnMarkerPartitionResult>,
}

/// What became of the marker in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WritableTxnMarkerPartitionResult {
    /// The partition.
    pub partition_index: PartitionId,
    /// Success, or why there is no marker.
    pub error_code: ErrorCode,
}

impl Request for WriteTxnMarkersRequest {
    const KEY: ApiKey = ApiKey::WriteTxnMarkers;
    const NAME: &'static str = "WriteTxnMarkersRequest";
    type Response = WriteTxnMarkersResponse;

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_request::<Self>(&body, version);
        let markers = reader.array("markers", |reader| WritableTxnMarker::read(reader, version))?;
        reader.skip_tagged_fields()?;
        Ok(Self { markers })
    }

    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        writer.array(&self.markers, |writer, marker| marker.write(writer, version));
        writer.no_tagged_fields();
        Ok(())
    }
}

impl WritableTxnMarker {
    fn read(reader: &mut Reader<'_>, version: i16) -> Read<Self> {
        let producer_id = ProducerId(reader.i64("producer_id")?);
        let producer_epoch = ProducerEpoch(reader.i16("producer_epoch")?);
        let transaction_result = reader.bool("transaction_result")?;
        let topics = reader.array("topics", WritableTxnMarkerTopic::read)?;
        let coordinator_epoch = reader.i32("coordinator_epoch")?;
        let mut transaction_version = 0;
        if version >= TRANSACTION_VERSION_SINCE {
            transaction_version = reader.i8("transaction_version")?;
        }
        reader.skip_tagged_fields()?;
        Ok(Self {
            producer_id,
            producer_epoch,
            transaction_result,
            topics,
            coordinator_epoch,
            transaction_version,
        })
    }

    fn write(&self, writer: &mut Writer, version: i16) {
        writer.i64(self.producer_id.0);
        writer.i16(self.producer_epoch.0);
        writer.bool(self.transaction_result);
        writer.array(&self.topics, |writer, topic| topic.write(writer));
        writer.i32(self.coordinator_epoch);
        if version >= TRANSACTION_VERSION_SINCE {
            writer.i8(self.transaction_version);
        }
        writer.no_tagged_fields();
    }
}

impl WritableTxnMarkerTopic {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let name = reader.text("name")?;
        let partition_indexes = reader.array("partition_indexes", |reader| {
            reader.i32("partition_indexes").map(PartitionId)
        })?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, partition_indexes })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        writer.array(&self.partition_indexes, |writer, partition| writer.i32(partition.0));
        writer.no_tagged_fields();
    }
}

impl Response for WriteTxnMarkersResponse {
    const KEY: ApiKey = ApiKey::WriteTxnMarkers;
    const NAME: &'static str = "WriteTxnMarkersResponse";

    fn read(body: Bytes, version: i16) -> Result<Self, WireError> {
        let reader = &mut Reader::of_response::<Self>(&body, version);
        let markers = reader.array("markers", WritableTxnMarkerResult::read)?;
        reader.skip_tagged_fields()?;
        Ok(Self { markers })
    }

    fn write(&self, writer: &mut Writer, _version: i16) -> Result<(), EncodeError> {
        writer.array(&self.markers, |writer, marker| marker.write(writer));
        writer.no_tagged_fields();
        Ok(())
    }
}

impl WritableTxnMarkerResult {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let producer_id = ProducerId(reader.i64("producer_id")?);
        let topics = reader.array("topics", WritableTxnMarkerTopicResult::read)?;
        reader.skip_tagged_fields()?;
        Ok(Self { producer_id, topics })
    }

    fn write(&self, writer: &mut Writer) {
        writer.i64(self.producer_id.0);
        writer.array(&self.topics, |writer, topic| topic.write(writer));
        writer.no_tagged_fields();
    }
}

impl WritableTxnMarkerTopicResult {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let name = reader.text("name")?;
        let partitions = reader.array("partitions", WritableTxnMarkerPartitionResult::read)?;
        reader.skip_tagged_fields()?;
        Ok(Self { name, partitions })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        writer.array(&self.partitions, |writer, partition| partition.write(writer));
        writer.no_tagged_fields();
    }
}

impl WritableTxnMarkerPartitionResult {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let partition_index = PartitionId(reader.i32("partition_index")?);
        let error_code = reader.error_code("error_code")?;
        reader.skip_tagged_fields()?;
        Ok(Self { partition_index, error_code })
    }

    fn write(&self, writer: &mut Writer) {
        writer.i32(self.partition_index.0);
        writer.error_code(self.error_code);
        writer.no_tagged_fields();
    }
}
