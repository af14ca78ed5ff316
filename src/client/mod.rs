//! A client of any Kafka cluster: Ottla's own way to speak to brokers.
//!
//! Owns addresses, connections with their negotiated versions ([`Connection`]), the handle of a cluster that knows which
//! broker to ask ([`Cluster`]), repeating what is worth repeating, and the errors of all that in words for people. It
//! knows nothing of a broker's inside, prints nothing, and speaks plain text connections only: TLS and SASL are not there
//! yet.
//!
//! A request goes through [`Cluster::request`], in the highest version that both sides speak. Versions without a
//! field that a caller needs are told apart with [`Cluster::request_with`].
//!
//! **Invariant:** every wait has a deadline. **Invariant:** a request is sent once by [`Cluster::request`]; only
//! [`Cluster::retry`] repeats, and only what its caller says may be repeated.

mod address;
mod assignment;
mod cluster;
mod connection;
mod consumer;
mod error;
mod fetcher;
mod group_offsets;
mod metadata;
mod offsets;
mod partitioner;
mod peers;
mod producer;
mod refusal;
mod replica;
#[cfg(test)]
mod tests;
mod transaction;

pub use address::{Address, AddressError};
pub use assignment::{Assignment, Subscription, assign_ranges};
pub use cluster::{Cluster, ClusterOptions, CoordinatorKind, Target};
pub use connection::{Connection, Negotiated, Pending};
pub use consumer::{GroupConsumer, GroupOptions, ResetPolicy};
pub use error::ClientError;
pub use fetcher::{Fetched, Fetcher, FetcherOptions, Span, Spans};
pub use group_offsets::{CommittedOffset, Committer};
pub use metadata::{Metadata, Node, Partition, Topic, Topics};
pub use offsets::{ListedOffset, OffsetQuery};
pub use partitioner::{Partitioner, murmur2};
pub use peers::Peers;
pub use producer::{Delivered, NewRecord, Producer, ProducerOptions};
pub use refusal::{Asked, Refusal, check, is_retriable};
pub use replica::ReplicaBatches;
