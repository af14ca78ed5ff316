//! Clusters of several nodes.

mod killed;
mod partitions;
mod quorum;
mod replication;
pub(crate) mod rig;
