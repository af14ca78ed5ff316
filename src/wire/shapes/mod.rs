//! The tables of the bounds gate (`shape.rs`): which fields each message has at each version.

pub(super) mod requests;
pub(super) mod responses;
