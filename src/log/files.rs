//! The names of files and directories in a data directory.
//!
//! Source: `LogFileUtils` and `UnifiedLog` of Apache Kafka 4.3.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use crate::model::{Offset, PartitionId, TopicName};

/// Longest directory name of the file systems in use.
const NAME_BYTES_MAX: usize = 255;

/// What a file in a partition's directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `<offset>.log`: record batches.
    Records,
    /// `<offset>.index`: offset index.
    OffsetIndex,
    /// `<offset>.timeindex`: time index.
    TimeIndex,
    /// `<offset>.txnindex`: aborted transactions.
    TransactionIndex,
    /// `<offset>.snapshot`: producer state.
    ProducerSnapshot,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Records,
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::TransactionIndex,
        Self::ProducerSnapshot,
    ];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Records => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TransactionIndex => ".txnindex",
            Self::ProducerSnapshot => ".snapshot",
        }
    }

    /// The path of this kind of file for the segment (or snapshot) at `offset`.
    pub(super) fn path(self, directory: &Path, offset: Offset) -> PathBuf {
        directory.join(format!("{:020}{}", offset.0, self.suffix()))
    }

    /// The path of such a file while it has `suffix` behind its name.
    pub(super) fn path_with(self, directory: &Path, offset: Offset, suffix: &str) -> PathBuf {
        let mut path = self.path(directory, offset).into_os_string();
        path.push(suffix);
        path.into()
    }

    /// Reads a file name; `None` for files of other kinds, and for those of a deletion or a swap under way.
    pub(super) fn parse(name: &str) -> Option<(Self, Offset)> {
        Self::ALL.into_iter().find_map(|kind| {
            let digits = name.strip_suffix(kind.suffix())?;
            let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let offset = all_digits.then(|| digits.parse().ok()).flatten()?;
            Some((kind, Offset(offset)))
        })
    }
}

/// The name of a file of a segment. All those of a partition share the one of its directory: a node has thousands of them.
#[derive(Clone, Debug)]
pub(super) struct FileName {
    directory: Arc<Path>,
    base: Offset,
    kind: Kind,
    /// Whether compaction is writing the segment.
    is_cleaned: bool,
}

impl FileName {
    pub(super) const fn new(directory: Arc<Path>, base: Offset, kind: Kind) -> Self {
        Self { directory, base, kind, is_cleaned: false }
    }

    /// The file of the segment that compaction writes in place of this one.
    pub(super) fn cleaned(self) -> Self {
        Self { is_cleaned: true, ..self }
    }

    /// A file of the same segment.
    pub(super) fn beside(&self, kind: Kind) -> Self {
        Self { kind, ..self.clone() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) const fn base(&self) -> Offset {
        self.base
    }

    pub(super) fn path(&self) -> PathBuf {
        let suffix = if self.is_cleaned { CLEANED_SUFFIX } else { "" };
        self.kind.path_with(&self.directory, self.base, suffix)
    }
}

/// Suffix of a file whose removal is under way.
pub(super) const DELETED_SUFFIX: &str = ".deleted";
/// Suffix of the files of a segment that compaction is writing.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
/// Suffix of the directory of a copy that is to take the place of a partition.
const FUTURE_SUFFIX: &str = "-future";
/// Suffix of the files of a segment that is to take the place of others.
pub(super) const SWAP_SUFFIX: &str = ".swap";
/// File of the leader epochs of a partition.
pub(super) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
/// What the name begins with of an empty file in the directory of a partition that a copy is about to replace; the id of the
/// data directory of the copy follows, in 32 hexadecimal digits.
pub(super) const MOVED_TO_PREFIX: &str = "ottla-moved-to-";
/// File of the topic id of a partition.
pub(super) const PARTITION_METADATA_FILE: &str = "partition.metadata";

/// What a directory in a data directory is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DirKind {
    /// `<topic>-<partition>`.
    Partition(TopicName, PartitionId),
    /// `<topic>-<partition>.<id>-future`: the copy of a partition that is being moved here.
    Future(TopicName, PartitionId),
    /// `<topic>-<partition>.<id>-delete`: a deleted partition whose files go soon.
    Deleted,
    /// Anything else.
    Other,
}

impl DirKind {
    pub(super) fn parse(name: &str) -> Self {
        if name.ends_with("-delete") && name.contains('.') {
            return Self::Deleted;
        }
        if let Some((partition, id)) =
            name.strip_suffix(FUTURE_SUFFIX).and_then(|name| name.rsplit_once('.'))
        {
            let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            return parse_partition(partition)
                .filter(|_| is_id)
                .map_or(Self::Other, |(topic, partition)| Self::Future(topic, partition));
        }
        parse_partition(name)
            .map_or(Self::Other, |(topic, partition)| Self::Partition(topic, partition))
    }
}

fn parse_partition(name: &str) -> Option<(TopicName, PartitionId)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number: i32 = partition.parse().ok()?;
    let plain = number >= 0 && number.to_string() == partition;
    Some((TopicName::new(topic).ok()?, plain.then_some(PartitionId(number))?))
}

/// The directory name of a copy that is to replace a partition; `None` if it would be too long for a file system.
pub(super) fn future_dir(topic: &TopicName, partition: PartitionId, id: Uuid) -> Option<String> {
    let name = format!("{}.{}{FUTURE_SUFFIX}", partition_dir(topic, partition), id.simple());
    (name.len() <= NAME_BYTES_MAX).then_some(name)
}

/// The name of the file that says that a copy in the data directory `to` is about to replace a partition.
pub(super) fn moved_to_file(to: Uuid) -> String {
    format!("{MOVED_TO_PREFIX}{}", to.simple())
}

/// The directory name of a partition.
pub(super) fn partition_dir(topic: &TopicName, partition: PartitionId) -> String {
    format!("{topic}-{partition}")
}

/// The directory name of a partition whose files are to be removed, as unique as `id` and never too long.
pub(super) fn deleted_dir(topic: &TopicName, partition: PartitionId, id: Uuid) -> String {
    let suffix = format!("-{partition}.{}-delete", id.simple());
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
    // Topic names are ASCII.
    let head: String = topic.as_str().chars().take(room).collect();
    format!("{head}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_kafkas() {
        let path = Kind::TimeIndex.path(Path::new("t-0"), Offset(22));
        assert_eq!(path, Path::new("t-0/00000000000000000022.timeindex"));
        for kind in Kind::ALL {
            let path = kind.path(Path::new(""), Offset(7));
            assert_eq!(Kind::parse(path.to_str().unwrap()), Some((kind, Offset(7))));
        }
        for other in
            ["7.log", "00000000000000000007.log.deleted", "leader-epoch-checkpoint", ".log"]
        {
            assert_eq!(Kind::parse(other), None, "{other}");
        }
    }

    #[test]
    fn directory_names_are_kafkas() {
        let topic = TopicName::new("a-b.c").unwrap();
        let name = partition_dir(&topic, PartitionId(12));
        assert_eq!(name, "a-b.c-12");
        assert_eq!(DirKind::parse(&name), DirKind::Partition(topic.clone(), PartitionId(12)));
        let deleted = deleted_dir(&topic, PartitionId(12), Uuid::from_u128(0xab));
        assert_eq!(deleted, "a-b.c-12.000000000000000000000000000000ab-delete");
        assert_eq!(DirKind::parse(&deleted), DirKind::Deleted);
        let future = future_dir(&topic, PartitionId(12), Uuid::from_u128(0xab)).unwrap();
        assert_eq!(future, "a-b.c-12.000000000000000000000000000000ab-future");
        assert_eq!(DirKind::parse(&future), DirKind::Future(topic, PartitionId(12)));
        for other in ["a", "a-", "a-01", "a-+1", "a-0-stray", "-1", "a b-1", "a-1.ab-future"] {
            assert_eq!(DirKind::parse(other), DirKind::Other, "{other}");
        }
        let long = TopicName::new(&"x".repeat(249)).unwrap();
        assert_eq!(deleted_dir(&long, PartitionId(1_000), Uuid::nil()).len(), NAME_BYTES_MAX);
        assert_eq!(future_dir(&long, PartitionId(0), Uuid::nil()), None);
    }
}
