//! The quorum of a cluster of several nodes: what openraft needs of us, and what the broker needs of it.
//!
//! Owns how metadata is agreed on between nodes: the files and the state that Raft works on ([`store`], [`machine`]), the
//! private frames between nodes ([`frames`], [`peer`], [`listener`]), how a node finds its cluster or begins one
//! ([`bootstrap`]), how voters come and go ([`voters`]), the liveness of brokers ([`sessions`]), and the balance of
//! leaders ([`balance`]). Nothing outside this folder names openraft.
//!
//! **Invariants:** a raft id belongs to one data directory for ever, and is never a broker id; a node speaks Raft only with
//! nodes of its own cluster, and only under the raft id that the other one means.

mod backing;
mod balance;
mod bootstrap;
mod frames;
mod lifecycle;
mod listener;
mod machine;
mod network;
mod peer;
mod quorum;
mod sessions;
mod store;
mod voters;

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload, LogId, Membership, Vote};

pub use bootstrap::{ClusterError, Joining, join};
pub use lifecycle::{Lifecycle, Session};
pub use quorum::{Caught, RaftQuorum};

use super::raft_log;
use crate::cluster::{Command, Outcome};

openraft::declare_raft_types!(
    /// What openraft's types are made of here.
    pub(super) Types:
        D = Vec<Command>,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = raft_log::Node,
        Entry = openraft::Entry<Types>,
        SnapshotData = Bytes,
);

type Raft = openraft::Raft<Types>;
type Entry = openraft::Entry<Types>;
type StorageError = openraft::StorageError<u64>;

fn log_id(id: raft_log::EntryId) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(id.term, id.leader), id.index)
}

const fn entry_id(id: &LogId<u64>) -> raft_log::EntryId {
    raft_log::EntryId { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

fn vote(vote: raft_log::Vote) -> Vote<u64> {
    match vote.committed {
        true => Vote::new_committed(vote.term, vote.node),
        false => Vote::new(vote.term, vote.node),
    }
}

const fn stored_vote(vote: &Vote<u64>) -> raft_log::Vote {
    raft_log::Vote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

fn membership(stored: &raft_log::Membership) -> Membership<u64, raft_log::Node> {
    Membership::new(stored.voters.clone(), stored.nodes.clone())
}

fn stored_membership(membership: &Membership<u64, raft_log::Node>) -> raft_log::Membership {
    let nodes = membership.nodes().map(|(id, node)| (*id, node.clone()));
    raft_log::Membership {
        voters: membership.get_joint_config().clone(),
        nodes: nodes.collect::<BTreeMap<_, _>>(),
    }
}

fn entry(stored: &raft_log::Entry) -> Entry {
    let payload = match &stored.payload {
        raft_log::Payload::Blank => EntryPayload::Blank,
        raft_log::Payload::Commands(commands) => EntryPayload::Normal(commands.clone()),
        raft_log::Payload::Membership(stored) => EntryPayload::Membership(membership(stored)),
    };
    Entry { log_id: log_id(stored.id), payload }
}

fn stored_entry(entry: Entry) -> raft_log::Entry {
    let payload = match entry.payload {
        EntryPayload::Blank => raft_log::Payload::Blank,
        EntryPayload::Normal(commands) => raft_log::Payload::Commands(commands),
        EntryPayload::Membership(membership) => {
            raft_log::Payload::Membership(stored_membership(&membership))
        }
    };
    raft_log::Entry { id: entry_id(&entry.log_id), payload }
}
