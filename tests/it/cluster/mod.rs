//! Clusters of several nodes.

mod cli;
mod failed_dirs;
mod http;
mod killed;
mod partitions;
mod quorum;
mod replication;
pub(crate) mod rig;
mod roles;
mod voters;
