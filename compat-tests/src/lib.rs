//! Clients that we did not write, run against Ottla and Apache Kafka.
//!
//! Owns what a compatibility test is made of: a [`Server`] of either kind as a child process, and a [`Client`] of any
//! library, spoken to in one vocabulary of requests ([`client::Request`]). What a client must see is asserted in
//! `tests/clients`; nothing here knows a scenario.
//!
//! **Invariant:** every process that is started here ends with the value that started it, by its own id.

pub mod client;
pub mod java;
pub mod kcat;
pub mod kind;
pub mod librdkafka;
pub mod nodes;
pub mod program;
pub mod record;
pub mod server;
pub mod wait;
pub mod workspace;

pub use client::{Change, Client, ClientError};
pub use kind::{ClientKind, Skill};
pub use nodes::{Nodes, Voters};
pub use record::{Codec, Record};
pub use server::{Server, ServerKind};
pub use wait::wait_until;
