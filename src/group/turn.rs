//! What a group has at hand while it handles something.

use super::command::Reply;
use super::{MemberId, Settings};
use crate::coordinator::{CoordinatorRecord, Effects, Now, Ticket};
use crate::env::Rng;
use crate::model::{Instant, UuidText};

/// One turn of a shard, as its groups see it.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time.
    pub now: Now,
    /// The settings in force.
    pub settings: &'a Settings,
    /// Draws ids of members.
    pub rng: &'a Rng,
    /// What is to happen.
    pub effects: &'a mut Effects<Reply>,
}

impl Turn<'_> {
    /// The steady clock.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.now.instant
    }

    /// Answers whoever holds the ticket.
    pub fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.effects.replies.push((ticket, reply));
    }

    /// Appends a record.
    pub fn write(&mut self, record: CoordinatorRecord) {
        self.effects.records.push(record);
    }

    /// A new id for a member, as Kafka forms it: the instance or the client, and a random id. The first part is cut where
    /// the whole would not fit into a string of the protocol.
    #[must_use]
    pub fn new_member_id(&self, prefix: &str) -> MemberId {
        const SUFFIX_LENGTH: usize = 37;
        let prefix = &prefix[..prefix.floor_char_boundary(i16::MAX as usize - SUFFIX_LENGTH)];
        format!("{prefix}-{}", self.rng.uuid()).as_str().into()
    }

    /// A new id for a member of a consumer group that brings none.
    #[must_use]
    pub fn new_consumer_member_id(&self) -> MemberId {
        UuidText(self.rng.uuid()).to_string().as_str().into()
    }
}
