//! Clusters of several nodes.

mod killed;
mod quorum;
mod replication;
pub(crate) mod rig;
