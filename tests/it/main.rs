//! A real broker on loopback, spoken to over the wire: one binary, one file a behaviour, a broker of its own for each test.
//!
//! Ports are ephemeral and data is in memory or in a temporary folder. Nothing sleeps to wait for a state.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test casts numbers that it made itself, speaks to the real world and fails by panicking"
)]

mod rig;

mod admin;
mod api_versions;
mod authorization;
mod cli;
mod cli_manners;
mod cluster;
mod clock;
mod compaction;
mod configs;
mod connections;
mod crew;
mod dev;
mod durability;
mod exactly_once;
mod features;
mod fetch;
mod golden;
mod group_consumer;
mod group_crash;
mod groups;
mod hostile;
mod history;
mod http;
mod killed;
mod list_offsets;
mod log_dirs;
mod lost_files;
mod machines;
mod member;
mod metrics;
mod namespaces;
mod netns;
mod nodes_killed;
mod process;
mod produce;
mod producing;
mod restart;
mod simulation;
mod topics;
mod transactions;
mod transactor;
mod txn_crash;
