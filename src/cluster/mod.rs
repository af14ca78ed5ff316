//! What the cluster agrees on: brokers, topics, partitions, configs, features, producer ids.
//!
//! Owns the commands that change this state, the one pure function that applies them, and the immutable image that comes
//! out. Decides nothing about order or durability: that is `controller/`.
//!
//! **Invariants:** applying the same commands in the same order gives the same image on every node, so
//! [`ClusterImage::apply`] takes no clock, no chance and no unordered iteration; whoever proposes a command puts time,
//! random ids and placements into it. Preconditions are checked when a command is applied, not when it is proposed. A
//! change in what a command does is tied to the finalized `metadata.version`. Of a partition the leader is in sync and active,
//! whoever is in sync or eligible to lead is a replica, and epochs never fall (`change`).

mod apply;
mod brokers;
mod change;
mod command;
mod difference;
pub mod features;
mod image;
mod partitions;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Event, Outcome, Refusal, refuse};
pub use command::{
    AlterPartition, Command, Endpoint, IsrMember, NewTopic, Registration, ReplicaSet,
};
pub use image::{
    BrokerImage, ClusterImage, ConfigResource, PRODUCER_ID_BLOCK, PartitionImage, TopicImage,
};
pub use partitions::ELECTION_NOT_NEEDED;
