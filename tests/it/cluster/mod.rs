//! Clusters of several nodes.

mod quorum;
mod replication;
pub(crate) mod rig;
