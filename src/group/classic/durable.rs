//! What survives of a group: its members and their assignments in the last generation that was written.

use std::sync::Arc;

use super::members::{Member, Offer, Protocol};
use super::{ClassicGroup, State};
use crate::group::records::GroupMetadata;
use crate::group::records::group_metadata::MemberMetadata;
use crate::group::turn::Turn;
use crate::group::{InstanceId, MemberId};

impl ClassicGroup {
    /// What the log says of it.
    #[must_use]
    pub fn durable(&self) -> Option<&GroupMetadata> {
        self.durable.as_deref()
    }

    /// Takes what the log says of it.
    pub fn replay(&mut self, metadata: GroupMetadata) {
        self.durable = Some(Box::new(metadata));
    }

    /// Makes the group anew from what is durable, with fresh sessions (`GroupMetadataManager.onLoaded`).
    pub fn restore(&mut self, turn: &mut Turn<'_>) {
        let Some(metadata) = self.durable.as_deref().cloned() else {
            return;
        };
        let now = turn.instant();
        *self = Self { durable: self.durable.take(), ..Self::new(self.id.clone()) };
        self.state = if metadata.members.is_empty() { State::Empty } else { State::Stable };
        self.state_since = metadata.state_since;
        self.generation = metadata.generation;
        self.protocol_type = metadata.protocol_type;
        self.protocol = metadata.protocol;
        for member in metadata.members {
            // A damaged record may name a member twice.
            self.members.remove(member.id.as_str());
            let id = member.id.clone();
            self.members.add(id.clone(), self.restored(member));
            self.members.begin_session(id.as_str(), now);
        }
        self.members.set_leader(metadata.leader);
        self.subscribed = self.read_subscriptions();
        if self.members.len() > turn.settings.member_count_max {
            self.prepare_rebalance(turn, "loaded with more members than a group may have");
        }
    }

    fn restored(&self, member: MemberMetadata) -> Member {
        let name = self.protocol.clone().unwrap_or_else(|| Arc::from(""));
        let offer = Offer {
            protocols: vec![Protocol { name, metadata: member.subscription }],
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
        };
        let mut restored =
            Member::new(member.instance, member.client_id, member.client_host, offer);
        restored.assignment = member.assignment;
        restored
    }

    /// Writes the group as it is now.
    pub(super) fn write(&self, turn: &mut Turn<'_>) {
        turn.write(self.metadata().record(&self.id));
    }

    /// Writes that an instance goes by a new id, if the log has another one. Kafka does so in stable groups alone: there a
    /// restart of the broker during a rebalance fences the instance, for good as its client sees it.
    pub(super) fn write_new_id(&self, turn: &mut Turn<'_>, instance: &InstanceId, new: &MemberId) {
        let Some(durable) = &self.durable else {
            return;
        };
        let is_stale = |member: &MemberMetadata| {
            member.instance.as_ref() == Some(instance) && member.id != *new
        };
        if !durable.members.iter().any(is_stale) {
            return;
        }
        let mut metadata = durable.as_ref().clone();
        for member in metadata.members.iter_mut().filter(|member| is_stale(member)) {
            if metadata.leader.as_ref() == Some(&member.id) {
                metadata.leader = Some(new.clone());
            }
            member.id = new.clone();
        }
        turn.write(metadata.record(&self.id));
    }

    /// Writes that the group exists. It has no generation yet.
    pub fn write_new(&self, turn: &mut Turn<'_>) {
        let metadata = GroupMetadata {
            protocol_type: None,
            generation: 0,
            protocol: None,
            leader: None,
            state_since: self.state_since,
            members: Vec::new(),
        };
        turn.write(metadata.record(&self.id));
    }

    fn metadata(&self) -> GroupMetadata {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| MemberMetadata {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            rebalance_timeout_ms: member.offer.rebalance_timeout_ms,
            session_timeout_ms: member.offer.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        });
        GroupMetadata {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.members.leader().cloned(),
            state_since: self.state_since,
            members: members.collect(),
        }
    }
}
