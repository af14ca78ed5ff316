//! The typed view of the keys about the topic that holds groups and their offsets.

use super::ConfigError;
use super::layers::Layers;

/// The values for `__consumer_offsets`. Key names stand behind each field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetsTopicConfig {
    /// `offsets.topic.num.partitions`, at least 1.
    pub partition_count: i32,
    /// `offsets.topic.replication.factor`.
    pub replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: i32,
    /// `offsets.topic.compression.codec`: 0 to 4, the number of the codec in record batches.
    pub compression_codec: u8,
    /// `offsets.load.buffer.size`: about how much is read at a time when a partition is loaded.
    pub load_bytes: u32,
}

impl Layers<'_> {
    pub(super) fn offsets_topic(self) -> Result<OffsetsTopicConfig, ConfigError> {
        const CODEC: &str = "offsets.topic.compression.codec";
        let codec = u8::try_from(self.integer(CODEC)).ok().filter(|codec| *codec <= 4);
        Ok(OffsetsTopicConfig {
            partition_count: self.number("offsets.topic.num.partitions"),
            replication_factor: self.number("offsets.topic.replication.factor"),
            segment_bytes: self.number("offsets.topic.segment.bytes"),
            compression_codec: codec
                .ok_or_else(|| self.against(CODEC, "must be the number of a codec, 0 to 4"))?,
            load_bytes: self.number("offsets.load.buffer.size"),
        })
    }
}
