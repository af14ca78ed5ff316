//! The members of a group as they are when it becomes one of another kind, or was one.

use std::sync::Arc;

use bytes::Bytes;

use super::members::{Member, Offer, Protocol};
use super::{CONSUMER, ClassicGroup, State};
use crate::group::turn::Turn;
use crate::group::{GroupId, InstanceId, MemberId};

/// A member that changes over with its group.
#[derive(Clone, Debug)]
pub struct Migrant {
    /// Its id.
    pub id: MemberId,
    /// Its instance, if it is static.
    pub instance: Option<InstanceId>,
    /// `client.id`.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// How long it may take to rejoin, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may stay silent, in milliseconds.
    pub session_timeout_ms: i32,
    /// Its protocols and their metadata, the preferred one first.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// What it was given.
    pub assignment: Bytes,
}

impl ClassicGroup {
    /// Whether its members speak the protocol of consumers, which can be carried over.
    #[must_use]
    pub fn is_of_consumers_only(&self) -> bool {
        self.is_of_consumers()
    }

    /// Where it stands: whether it has members at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// The members.
    pub fn migrants(&self) -> impl ExactSizeIterator<Item = Migrant> {
        self.members.iter().map(|(id, member)| {
            let protocols = member.offer.protocols.iter();
            Migrant {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: Arc::clone(&member.client_id),
                client_host: Arc::clone(&member.client_host),
                rebalance_timeout_ms: member.offer.rebalance_timeout_ms,
                session_timeout_ms: member.offer.session_timeout_ms,
                protocols: protocols
                    .map(|it| (Arc::clone(&it.name), it.metadata.clone()))
                    .collect(),
                assignment: member.assignment.clone(),
            }
        })
    }

    /// A stable group of these members, with fresh sessions; written as such. `rebalance` says why they have to agree
    /// anew at once, if so (`ClassicGroup.fromConsumerGroup` of Kafka).
    #[must_use]
    pub fn of_migrants(
        turn: &mut Turn<'_>,
        id: GroupId,
        generation: i32,
        migrants: Vec<Migrant>,
        rebalance: Option<&str>,
    ) -> Self {
        let mut group = Self::new(id);
        group.generation = generation;
        group.protocol_type = Some(CONSUMER.into());
        for migrant in migrants {
            let protocols = migrant.protocols.into_iter();
            let offer = Offer {
                protocols: protocols.map(|(name, metadata)| Protocol { name, metadata }).collect(),
                rebalance_timeout_ms: migrant.rebalance_timeout_ms,
                session_timeout_ms: migrant.session_timeout_ms,
            };
            let (client_id, client_host) = (migrant.client_id, migrant.client_host);
            let mut member = Member::new(migrant.instance, client_id, client_host, offer);
            member.assignment = migrant.assignment;
            group.members.add(migrant.id.clone(), member);
            group.members.begin_session(migrant.id.as_str(), turn.instant());
        }
        group.enter(State::Stable, turn.now.unix);
        group.protocol = group.members.preferred_protocol();
        group.subscribed = group.read_subscriptions();
        group.write(turn);
        if let Some(why) = rebalance {
            group.prepare_rebalance(turn, why);
        }
        group
    }
}
