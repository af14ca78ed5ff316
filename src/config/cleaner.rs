//! The typed view of the broker's keys about compaction. What each topic wants is `topic.rs`.

use std::time::Duration;

use super::layers::Layers;

/// The values for compaction. Key names stand behind each field.
#[derive(Clone, PartialEq, Debug)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.backoff.ms`.
    pub backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`; what is negative is 0.
    pub dedupe_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`.
    pub io_bytes: u32,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub io_bytes_per_second_max: f64,
}

impl Layers<'_> {
    pub(super) fn cleaner(self) -> CleanerConfig {
        CleanerConfig {
            enabled: self.boolean("log.cleaner.enable"),
            backoff: self.millis("log.cleaner.backoff.ms"),
            dedupe_bytes: u64::try_from(self.integer("log.cleaner.dedupe.buffer.size"))
                .unwrap_or(0),
            load_factor: self.double("log.cleaner.io.buffer.load.factor"),
            io_bytes: self.number("log.cleaner.io.buffer.size"),
            io_bytes_per_second_max: self.double("log.cleaner.io.max.bytes.per.second"),
        }
    }
}
