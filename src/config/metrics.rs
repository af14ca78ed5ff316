//! What `/metrics` shows: the typed view of `ottla.metrics.partition.level`.

use super::layers::Layers;

/// With more partitions than this, [`PartitionLevel::Auto`] shows no samples of single ones.
const PARTITIONS_MAX: usize = 2_000;

/// Whether there are samples of single partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionLevel {
    /// While there are few.
    Auto,
    /// Always.
    Partition,
    /// Never.
    Topic,
}

impl PartitionLevel {
    /// Whether there are samples of single ones among so many partitions.
    #[must_use]
    pub const fn shows(self, partitions: usize) -> bool {
        match self {
            Self::Auto => partitions <= PARTITIONS_MAX,
            Self::Partition => true,
            Self::Topic => false,
        }
    }
}

impl Layers<'_> {
    pub(super) fn partition_level(self) -> PartitionLevel {
        match self.text("ottla.metrics.partition.level").as_deref() {
            Some("partition") => PartitionLevel::Partition,
            Some("topic") => PartitionLevel::Topic,
            // The registry lets nothing else through.
            Some(_) | None => PartitionLevel::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_shows_few() {
        use PartitionLevel::{Auto, Partition, Topic};
        for (level, few, many) in
            [(Auto, true, false), (Partition, true, true), (Topic, false, false)]
        {
            assert_eq!((level.shows(2_000), level.shows(2_001)), (few, many), "{level:?}");
        }
    }
}
