//! Clusters of several nodes.

mod quorum;
pub(crate) mod rig;
