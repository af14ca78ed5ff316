//! A group of the classic protocol: its members agree on a generation, one of them gives each its assignment.
//!
//! Owns the state machine of one such group, by Apache Kafka's rules (`ClassicGroup` and the classic part of
//! `GroupMetadataManager`): who may join (`join.rs`), when a generation begins and who is given up (`rebalance.rs`), who
//! gets which assignment (`sync.rs`), who leaves (`leave.rs`), what is durable (`durable.rs`), what is shown
//! (`describe.rs`). It knows neither other groups nor offsets; a group that only commits offsets never has members and is
//! called simple.
//!
//! ```text
//!           first join                 all joined or timeout                leader's assignment
//!   Empty ─────────────► PreparingRebalance ─────────────► CompletingRebalance ─────────────► Stable
//!     ▲                    │ no members   ▲                          │ join, leave, timeout      │ join, leave, timeout
//!     └────────────────────┘              └──────────────────────────┴───────────────────────────┘
//! ```
//!
//! **Invariants:** generations only rise; within one, only the leader's first assignment counts; every ticket is answered
//! exactly once, that of a member that goes away included. Only `replay` touches what is durable; all else can be made
//! from it again, with fresh sessions.

mod answers;
mod describe;
mod durable;
mod join;
mod leave;
mod members;
mod migrate;
mod rebalance;
mod subscription;
mod sync;
#[cfg(test)]
mod tests;

pub use answers::{heartbeat, join_refused, sync_refused};
pub use leave::{leaving, refused as leave_refused, response as leave_response};
pub use migrate::Migrant;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::GroupId;
use super::records::GroupMetadata;
use crate::model::{ErrorCode, Instant, UnixMillis};
use members::Members;

/// The protocol type of consumers, whose subscriptions the coordinator can read.
const CONSUMER: &str = "consumer";

/// A group of the classic protocol.
#[derive(Debug)]
pub struct ClassicGroup {
    id: GroupId,
    /// What the log says of it; none if it says nothing but offsets.
    durable: Option<Box<GroupMetadata>>,
    state: State,
    state_since: Option<UnixMillis>,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    /// The topics that members of type `consumer` subscribe to; none if they cannot be told.
    subscribed: Option<BTreeSet<Box<str>>>,
    members: Members,
    /// When the wait for members ends, while there is one.
    rejoin: Option<Rejoin>,
    /// Members that have not asked for their assignment in this generation, and until when they may.
    unsynced: BTreeSet<super::MemberId>,
    sync_deadline: Option<Instant>,
}

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has no members.
    Empty,
    /// It waits for members to join the next generation.
    PreparingRebalance,
    /// It waits for the leader's assignment.
    CompletingRebalance,
    /// Every member has an assignment.
    Stable,
}

/// The wait for members to join.
#[derive(Clone, Copy, Debug)]
struct Rejoin {
    deadline: Instant,
    /// Set if the group was empty before: then it waits for its whole time, and longer if more members come.
    initial: Option<InitialDelay>,
}

/// The wait for the first members of a group.
#[derive(Clone, Copy, Debug)]
struct InitialDelay {
    /// How long this part of the wait is.
    delay: Duration,
    /// By how much it can be extended.
    remaining: Duration,
    /// Whether somebody came during this part.
    member_added: bool,
}

/// When an offset of a group expires that has no expiry of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// So long after it was committed as offsets are retained.
    SinceCommit,
    /// So long after the group became empty.
    Since(UnixMillis),
}

impl State {
    /// The name that the protocol uses.
    #[must_use]
    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl ClassicGroup {
    /// A group without members that nothing is known of.
    #[must_use]
    pub fn new(id: GroupId) -> Self {
        Self {
            id,
            durable: None,
            state: State::Empty,
            state_since: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            subscribed: None,
            members: Members::default(),
            rejoin: None,
            unsynced: BTreeSet::new(),
            sync_deadline: None,
        }
    }

    /// The generation.
    #[must_use]
    pub const fn generation(&self) -> i32 {
        self.generation
    }

    /// The protocol in force; none without members.
    #[must_use]
    pub const fn protocol(&self) -> Option<&Arc<str>> {
        self.protocol.as_ref()
    }

    /// Whether it has no members and is not about to get one, so that it may go if it has no offsets.
    #[must_use]
    pub fn may_expire(&self) -> bool {
        self.state == State::Empty && self.members.pending_count() == 0
    }

    /// Whether members read this topic. If nobody can tell, a group of consumers reads all.
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// When its offsets expire (`ClassicGroup.offsetExpirationCondition`); none while its members may need them. Offsets
    /// of subscribed topics never do.
    #[must_use]
    pub fn offset_expiry(&self) -> Option<Expiry> {
        match self.state {
            _ if self.protocol_type.is_none() => Some(Expiry::SinceCommit),
            State::Empty => Some(self.state_since.map_or(Expiry::SinceCommit, Expiry::Since)),
            State::Stable if self.is_of_consumers() && self.subscribed.is_some() => {
                Some(Expiry::SinceCommit)
            }
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => None,
        }
    }

    /// Whether it may be deleted.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`.
    pub const fn check_delete(&self) -> Result<(), ErrorCode> {
        match self.state {
            State::Empty => Ok(()),
            State::PreparingRebalance | State::CompletingRebalance | State::Stable => {
                Err(ErrorCode::NonEmptyGroup)
            }
        }
    }

    /// Whether offsets may be deleted, those of subscribed topics aside.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP` if nobody can tell what its members read.
    pub fn check_delete_offsets(&self) -> Result<(), ErrorCode> {
        if self.is_of_consumers() { Ok(()) } else { self.check_delete() }
    }

    fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether this is a member (`ClassicGroup.validateMember`).
    fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.members.by_instance(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if known.as_str() != id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    fn enter(&mut self, state: State, now: UnixMillis) {
        self.state = state;
        self.state_since = Some(now);
    }

    /// What the members subscribe to with the protocol in force (`ClassicGroup.computeSubscribedTopics`).
    fn read_subscriptions(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for (_, member) in self.members.iter() {
            let metadata = member.metadata(self.protocol.as_deref()?);
            subscription::add_topics(&metadata, &mut topics)?;
        }
        Some(topics)
    }
}
