//! `ottla export` and `ottla import`: topics as files, and back. `ottla topic copy` is both without the file.
//!
//! A file is JSON lines, one a record, as [`json_record`](super::json_record) has them: what `ottla consume --json` prints and
//! `ottla produce --json` reads. With `--lossless` a line comes first that describes the topics,
//!
//! ```json
//! {"ottla":"export 1","topics":[{"name":"orders","partitions":3,"replicas":1,"configs":{"cleanup.policy":"compact"}}]}
//! ```
//!
//! and headers keep their order. Then an import makes the topics as they were, and each partition has the same records in the same
//! order, with their times. Offsets are new, and so is who wrote them: no transactions, no producer ids. Files whose name ends in
//! `.zst` are compressed.

mod definition;
mod export;
mod import;
mod record;

pub(super) use self::definition::Definition;
pub(super) use self::definition::is_description;
pub(super) use self::export::{ExportArguments, run as export};
pub(super) use self::import::{ImportArguments, run as import};
pub(super) use self::record::{Writers, push_all};
