//! The state of the cluster as openraft drives it: committed entries are applied to the image, in order, on every node.
//!
//! **Invariant:** who follows the state gets every step after the image it began with, once and in order; a snapshot from the
//! leader is one step, with what it changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, EntryPayload, LogId, RaftSnapshotBuilder, SnapshotMeta, StorageIOError,
    StoredMembership,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::quorum::Caught;
use super::store::Store;
use super::{Entry, StorageError, Types, entry_id, log_id, membership, stored_membership};
use crate::cluster::{ClusterImage, Event, Outcome};
use crate::controller::AppliedBatch;
use crate::controller::raft_log::{self, Snapshot};
use crate::model::{BrokerId, TopicIdPartition};

/// How many steps may wait to be taken note of.
const STEPS_LENGTH: usize = 64;

type Members = StoredMembership<u64, raft_log::Node>;

/// The state of this node. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    store: Store,
    state: Arc<Mutex<State>>,
    applied: Arc<watch::Sender<Applied>>,
}

/// The newest state.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    /// Index of the last entry.
    pub(super) index: u64,
    /// The state after it.
    pub(super) image: Arc<ClusterImage>,
}

#[derive(Debug)]
struct State {
    image: ClusterImage,
    last: Option<LogId<u64>>,
    members: Members,
    steps: Option<mpsc::Sender<AppliedBatch>>,
    /// Of brokers that led something and no longer do: the last entry that made it so, as far as this node has applied it.
    deposed: BTreeMap<BrokerId, u64>,
    /// Of what came before this entry, only the outcome is known.
    known_from: u64,
}

impl State {
    /// Takes note of who no longer leads what it led.
    fn note_deposed(&mut self, before: &ClusterImage, index: u64, events: &[Event]) {
        for event in events {
            match event {
                Event::PartitionsChanged(changed) => {
                    for id in changed {
                        let led = leader(before, *id);
                        if led != leader(&self.image, *id) {
                            self.deposed.extend(led.map(|led| (led, index)));
                        }
                    }
                }
                Event::TopicDeleted(topic) => {
                    let led = topic.partitions.iter().filter_map(|partition| partition.leader);
                    self.deposed.extend(led.map(|led| (led, index)));
                }
                Event::TopicCreated(_)
                | Event::PartitionsAdded(..)
                | Event::BrokersChanged
                | Event::ConfigsChanged(_) => {}
            }
        }
    }
}

fn leader(image: &ClusterImage, id: TopicIdPartition) -> Option<BrokerId> {
    image.topic_by_id(id.topic)?.partition(id.partition)?.leader
}

impl Machine {
    /// The state that the snapshot of a store tells of.
    pub(super) fn load(store: Store) -> Result<Self, serde_json::Error> {
        let mut state = State {
            image: ClusterImage::default(),
            last: None,
            members: Members::default(),
            steps: None,
            deposed: BTreeMap::new(),
            known_from: 0,
        };
        if let Some(snapshot) = store.snapshot() {
            state.image = ClusterImage::from_json(&snapshot.image)?;
            state.last = Some(log_id(snapshot.meta.last));
            state.members = members(&snapshot);
        }
        let index = state.last.map_or(0, |last| last.index);
        state.known_from = index;
        let applied = Applied { index, image: Arc::new(state.image.clone()) };
        let applied = Arc::new(watch::Sender::new(applied));
        Ok(Self { store, state: Arc::new(Mutex::new(state)), applied })
    }

    /// The newest state, always.
    pub(super) fn applied(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// The entry that a broker has to have applied to know of everything that it no longer leads.
    pub(super) fn deposed(&self, broker: BrokerId) -> u64 {
        let state = self.state.lock();
        state.deposed.get(&broker).copied().unwrap_or(state.known_from)
    }

    /// Who votes and who listens, as all have agreed. While one set of voters gives way to another, that is the one from before.
    pub(super) fn members(&self) -> raft_log::Membership {
        let mut members = stored_membership(self.state.lock().members.membership());
        members.voters.truncate(1);
        members
    }

    /// Every step after a state: what came since as one, then each.
    pub(super) fn follow(&self, from: &Caught) -> mpsc::Receiver<AppliedBatch> {
        let (steps, receiver) = mpsc::channel(STEPS_LENGTH);
        let mut state = self.state.lock();
        let index = state.last.map_or(0, |last| last.index);
        if index > from.index {
            let events = from.image.difference(&state.image);
            let step = AppliedBatch { index, image: Arc::new(state.image.clone()), events };
            steps.try_send(step).expect("the channel is new");
        }
        state.steps = Some(steps);
        receiver
    }

    /// Tells of a step: first who follows, then everybody else.
    async fn tell(&self, step: AppliedBatch, steps: Option<mpsc::Sender<AppliedBatch>>) {
        let applied = Applied { index: step.index, image: Arc::clone(&step.image) };
        if let Some(steps) = steps {
            // Nobody follows any more when the broker stops.
            drop(steps.send(step).await);
        }
        self.applied.send_replace(applied);
    }

    fn apply_one(
        &self,
        entry: Entry,
    ) -> (Vec<Outcome>, AppliedBatch, Option<mpsc::Sender<AppliedBatch>>) {
        let before = Arc::clone(&self.applied.borrow().image);
        let mut state = self.state.lock();
        let index = entry.log_id.index;
        state.last = Some(entry.log_id);
        let (mut outcomes, mut events) = (Vec::new(), Vec::new());
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                state.members = Members::new(Some(entry.log_id), membership);
            }
            EntryPayload::Normal(commands) => {
                for command in &commands {
                    let (outcome, changes) = state.image.apply(index, command);
                    outcomes.push(outcome);
                    events.extend(changes);
                }
            }
        }
        state.note_deposed(&before, index, &events);
        let step = AppliedBatch { index, image: Arc::new(state.image.clone()), events };
        (outcomes, step, state.steps.clone())
    }
}

fn members(snapshot: &Snapshot) -> Members {
    let entry = log_id(snapshot.meta.membership_entry);
    Members::new(Some(entry), membership(&snapshot.meta.membership))
}

/// The snapshot as openraft knows it.
fn described(snapshot: &Snapshot) -> openraft::Snapshot<Types> {
    let last = log_id(snapshot.meta.last);
    openraft::Snapshot {
        meta: SnapshotMeta {
            last_log_id: Some(last),
            last_membership: members(snapshot),
            snapshot_id: last.to_string(),
        },
        snapshot: Box::new(Bytes::from(snapshot.image.clone())),
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<u64>>, Members), StorageError> {
        let state = self.state.lock();
        Ok((state.last, state.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let mut all = Vec::new();
        for entry in entries {
            let (outcomes, step, steps) = self.apply_one(entry);
            self.tell(step, steps).await;
            all.push(outcomes);
        }
        Ok(all)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        // Steps go on while the snapshot is written, which is of the state that is taken when it is begun.
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Bytes>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, raft_log::Node>,
        snapshot: Box<Bytes>,
    ) -> Result<(), StorageError> {
        let unreadable = |error: AnyError| StorageIOError::read_snapshot(None, error);
        let image =
            ClusterImage::from_json(&snapshot).map_err(|e| unreadable(AnyError::new(&e)))?;
        let incomplete = || unreadable(AnyError::error("a snapshot of no entry"));
        let last = meta.last_log_id.ok_or_else(incomplete)?;
        let stored = Snapshot {
            meta: raft_log::SnapshotMeta {
                last: entry_id(&last),
                membership: stored_membership(meta.last_membership.membership()),
                membership_entry: entry_id(
                    &(*meta.last_membership.log_id()).ok_or_else(incomplete)?,
                ),
            },
            image: snapshot.to_vec(),
        };
        self.store.save_snapshot(stored).await?;
        let (step, steps) = {
            let mut state = self.state.lock();
            let events: Vec<Event> = state.image.difference(&image);
            state.image = image;
            state.last = Some(last);
            (state.deposed, state.known_from) = (BTreeMap::new(), last.index);
            state.members = meta.last_membership.clone();
            let image = Arc::new(state.image.clone());
            (AppliedBatch { index: last.index, image, events }, state.steps.clone())
        };
        self.tell(step, steps).await;
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::Snapshot<Types>>, StorageError> {
        Ok(self.store.snapshot().map(|snapshot| described(&snapshot)))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<openraft::Snapshot<Types>, StorageError> {
        let (image, last, members) = {
            let state = self.state.lock();
            (state.image.clone(), state.last, state.members.clone())
        };
        let nothing = || {
            let error = AnyError::error("there is nothing to make a snapshot of");
            StorageIOError::write_snapshot(None, error)
        };
        let snapshot = Snapshot {
            meta: raft_log::SnapshotMeta {
                last: entry_id(&last.ok_or_else(nothing)?),
                membership: stored_membership(members.membership()),
                membership_entry: entry_id(&(*members.log_id()).ok_or_else(nothing)?),
            },
            image: image.to_json(),
        };
        self.store.save_snapshot(snapshot.clone()).await?;
        Ok(described(&snapshot))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use uuid::Uuid;

    use super::*;
    use crate::cluster::{Command, NewTopic, Registration};
    use crate::env::Env;
    use crate::model::{TopicId, TopicName, UuidText};

    const LEADER: BrokerId = BrokerId(1);
    const OTHER: BrokerId = BrokerId(2);
    const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

    fn machine() -> Machine {
        let env = Env::in_memory();
        let vote = raft_log::Vote { term: 1, node: 1, committed: true };
        let state = raft_log::State { version: 1, raft_id: 1, vote, committed: None, purged: None };
        env.disk.create_dir_all(Path::new("m")).unwrap();
        let log = raft_log::RaftLog::create(Arc::clone(&env.disk), Path::new("m"), state).unwrap();
        let found = raft_log::Found { log, snapshot: None, entries: Vec::new() };
        Machine::load(Store::new(&env, Arc::default(), found)).unwrap()
    }

    async fn apply(machine: &mut Machine, index: u64, commands: Vec<Command>) {
        let log_id = log_id(raft_log::EntryId { term: 1, leader: 1, index });
        let entry = Entry { log_id, payload: EntryPayload::Normal(commands) };
        for outcome in machine.apply([entry]).await.unwrap().concat() {
            outcome.unwrap();
        }
    }

    fn register(broker: BrokerId) -> Command {
        let incarnation = UuidText(Uuid::from_u128(u128::from(broker.0.unsigned_abs())));
        Command::RegisterBroker(Registration::new(broker, incarnation))
    }

    /// A machine with a topic that one broker leads and another one follows: its second entry, 6, made that.
    async fn with_topic() -> Machine {
        let mut machine = machine();
        apply(&mut machine, 5, vec![register(LEADER), register(OTHER)]).await;
        let topic = Command::CreateTopic(NewTopic {
            name: TopicName::new("t").unwrap(),
            id: TOPIC,
            assignments: vec![vec![LEADER, OTHER]],
            configs: BTreeMap::new(),
        });
        apply(&mut machine, 6, vec![topic]).await;
        machine
    }

    fn deposed(machine: &Machine) -> [u64; 2] {
        [LEADER, OTHER].map(|broker| machine.deposed(broker))
    }

    #[tokio::test]
    async fn r16_whoever_led_knows_of_it_with_the_entry_that_had_another_one_lead() {
        let mut machine = with_topic().await;
        assert_eq!(deposed(&machine), [0, 0]);
        apply(&mut machine, 7, vec![Command::BeginShutdown { broker: LEADER, broker_epoch: 5 }])
            .await;
        assert_eq!(deposed(&machine), [7, 0]);
        apply(&mut machine, 8, vec![register(LEADER)]).await;
        assert_eq!(deposed(&machine), [7, 0], "that it is back took nothing away");
        apply(&mut machine, 10, vec![Command::FenceBroker { broker: OTHER, broker_epoch: 5 }])
            .await;
        assert_eq!(deposed(&machine), [7, 10], "nobody leads");
        apply(&mut machine, 11, vec![Command::DeleteTopic { topic: TOPIC }]).await;
        assert_eq!(deposed(&machine), [7, 10]);
    }

    #[tokio::test]
    async fn r16_whoever_led_a_topic_that_is_gone_knows_of_it() {
        let mut machine = with_topic().await;
        apply(&mut machine, 7, vec![Command::DeleteTopic { topic: TOPIC }]).await;
        assert_eq!(deposed(&machine), [7, 0]);
    }

    #[tokio::test]
    async fn r16_a_snapshot_tells_nothing_of_what_came_before_it() {
        let mut machine = with_topic().await;
        apply(&mut machine, 7, vec![Command::BeginShutdown { broker: LEADER, broker_epoch: 5 }])
            .await;
        let image = machine.applied().borrow().image.to_json();
        let last = log_id(raft_log::EntryId { term: 1, leader: 1, index: 9 });
        let members = Members::new(Some(last), openraft::Membership::default());
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: members,
            snapshot_id: "9".to_owned(),
        };
        machine.install_snapshot(&meta, Box::new(image.into())).await.unwrap();
        assert_eq!(deposed(&machine), [9, 9]);
    }
}
