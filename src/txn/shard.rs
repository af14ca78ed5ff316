//! One partition of `__transaction_state` as a state machine: its transactional ids.
//!
//! Owns who may do what in which state, and the two checks by time: for transactions that take too long, and for ids that
//! nobody uses. The states themselves are in `transaction.rs`. Behaviour: `TransactionCoordinator` and
//! `TransactionStateManager` of Apache Kafka 4.3.1, but for two things that come from the runtime: a transition is seen by
//! the next command at once, so that none has to be refused because one is being written; and a failed write is forgotten
//! together with everything else, by loading the log again.
//!
//! **Invariant:** an id is in `ongoing` if and only if it has a transaction that nobody has decided yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::command::{
    Command, Description, ListFilter, Listed, Producer, Reply, TransactionPartition,
};
use super::record::{self, TransactionalId};
use super::task::{Errand, Markers};
use super::transaction::{State, Transaction, is_exhausted};
use super::{EPOCH_PER_TRANSACTION_SINCE, FEATURE, Settings};
use crate::cluster::ClusterImage;
use crate::coordinator::{
    CoordinatorRecord, Effects, Now, ReplayError, Shard, Ticket, TransactionOutcome,
};
use crate::model::{ErrorCode, Instant, Offset, ProducerEpoch, ProducerId};

/// Gives the settings that are in force now. They are asked for at each use.
pub type SettingsSource = Arc<dyn Fn() -> Arc<Settings> + Send + Sync>;

/// One partition of `__transaction_state`.
pub struct TransactionShard {
    settings: SettingsSource,
    image: Arc<ClusterImage>,
    ids: BTreeMap<TransactionalId, Entry>,
    ongoing: BTreeSet<TransactionalId>,
    /// When transactions are next looked at; none while there is none.
    timeout_check: Option<Instant>,
    /// When ids are next looked at; none while there is none.
    expiration_check: Option<Instant>,
    /// The last errand.
    errand: Errand,
}

/// A transactional id.
#[derive(Debug)]
struct Entry {
    durable: Transaction,
    /// The epoch before the producer's present one, if it was the producer itself that had it raised: then it may ask
    /// again. Not in the log, so that a retry fails after the log was loaded.
    last_epoch: ProducerEpoch,
    /// The errand whose markers complete the transaction.
    errand: Option<Errand>,
}

type Outcome<T> = Result<T, ErrorCode>;

/// Why a command is not carried out.
enum Refusal {
    Error(ErrorCode),
    NeedsProducerId,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self::Error(error)
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Error(error) => Self::Producer(Err(error)),
            Refusal::NeedsProducerId => Self::NeedsProducerId,
        }
    }
}

/// A request of a producer to end its transaction.
struct Ending {
    producer: Producer,
    outcome: TransactionOutcome,
    client_version: i16,
    fresh: Option<ProducerId>,
}

impl TransactionShard {
    /// An empty shard, to replay records into. `incarnation` is not that of another shard of this process.
    #[must_use]
    pub const fn new(settings: SettingsSource, image: Arc<ClusterImage>, incarnation: u64) -> Self {
        Self {
            settings,
            image,
            ids: BTreeMap::new(),
            ongoing: BTreeSet::new(),
            timeout_check: None,
            expiration_check: None,
            errand: Errand { incarnation, count: 0 },
        }
    }

    /// The level of `transaction.version` in force.
    fn feature(&self) -> i16 {
        self.image.feature(FEATURE)
    }

    fn write(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply, Markers>,
        id: &TransactionalId,
        next: &Transaction,
    ) {
        effects.records.push(record::record(id, next, self.feature()));
        let settings = (self.settings)();
        if next.state == State::Ongoing {
            let due = now.instant.plus(settings.timeout_check_interval);
            self.timeout_check.get_or_insert(due);
        }
        let due = now.instant.plus(settings.expiration_check_interval);
        self.expiration_check.get_or_insert(due);
    }

    /// Writes that a transaction is decided, and has its markers written. Without partitions it is complete at once.
    /// Gives who its producer is from then on.
    fn prepare(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply, Markers>,
        id: &TransactionalId,
        prepared: &Transaction,
    ) -> Producer {
        self.write(now, effects, id, prepared);
        let completed = prepared.completed(now.unix);
        if prepared.partitions.is_empty() {
            self.write(now, effects, id, &completed);
        } else {
            self.send_markers(effects, id, prepared);
        }
        completed.producer
    }

    /// Has the markers of a prepared transaction written.
    fn send_markers(
        &mut self,
        effects: &mut Effects<Reply, Markers>,
        id: &TransactionalId,
        prepared: &Transaction,
    ) {
        self.errand.count += 1;
        if let Some(entry) = self.ids.get_mut(id) {
            entry.errand = Some(self.errand);
        }
        effects.errands.push(Markers::of(id, prepared, self.errand));
    }

    fn init_producer_id(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply, Markers>,
        id: &TransactionalId,
        (timeout_ms, expected): (i32, Option<Producer>),
        fresh: Option<ProducerId>,
    ) -> Result<Producer, Refusal> {
        let feature = self.feature();
        let Some(entry) = self.ids.get_mut(id) else {
            let fresh = fresh.ok_or(Refusal::NeedsProducerId)?;
            let new = Transaction::new(fresh, timeout_ms, now.unix);
            let begun = new.begun(new.raised(), timeout_ms, now.unix);
            self.write(now, effects, id, &begun);
            return Ok(begun.producer);
        };
        let (present, last_epoch) = (&entry.durable, entry.last_epoch);
        if expected.is_some_and(|expected| !may_be(expected, present)) {
            return Err(ErrorCode::ProducerFenced.into());
        }
        if present.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        if present.state == State::Ongoing {
            let fenced = present.fenced(feature, now.unix);
            self.forget_last_epoch(id);
            self.prepare(now, effects, id, &fenced);
            // Whoever asks gets an epoch of its own when the transaction is out of the way.
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        let begins = begin(present, last_epoch, expected, fresh)?;
        let begun = present.begun(begins.producer, timeout_ms, now.unix);
        entry.last_epoch = begins.last_epoch;
        self.write(now, effects, id, &begun);
        Ok(begun.producer)
    }

    fn forget_last_epoch(&mut self, id: &TransactionalId) {
        if let Some(entry) = self.ids.get_mut(id) {
            entry.last_epoch = ProducerEpoch::NONE;
        }
    }

    /// The transactional id, if this is its producer.
    fn of_producer(&self, id: &TransactionalId, producer: Producer) -> Outcome<&Transaction> {
        let entry = self.ids.get(id).map(|entry| &entry.durable);
        let known = entry.filter(|entry| entry.producer.id == producer.id);
        let known = known.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if known.producer.epoch != producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok(known)
    }

    fn add_partitions(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply, Markers>,
        (id, producer): (&TransactionalId, Producer),
        partitions: Vec<TransactionPartition>,
        client_version: i16,
    ) -> Outcome<()> {
        let present = self.of_producer(id, producer)?;
        if present.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let is_ongoing = present.state == State::Ongoing;
        if is_ongoing && partitions.iter().all(|it| present.partitions.contains(it)) {
            return Ok(());
        }
        let next = present.with(partitions, client_version, now.unix);
        self.write(now, effects, id, &next);
        Ok(())
    }

    fn verify(
        &self,
        id: &TransactionalId,
        producer: Producer,
        partitions: &[TransactionPartition],
    ) -> Outcome<Vec<ErrorCode>> {
        let present = self.of_producer(id, producer)?;
        if present.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let verified = partitions.iter().map(|partition| {
            let is_part = present.partitions.contains(partition);
            if is_part { ErrorCode::None } else { ErrorCode::TransactionAbortable }
        });
        Ok(verified.collect())
    }

    fn end(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply, Markers>,
        id: &TransactionalId,
        ending: &Ending,
    ) -> Result<Producer, Refusal> {
        let entry = self.ids.get_mut(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let present = &entry.durable;
        let prepared = if ending.client_version >= EPOCH_PER_TRANSACTION_SINCE {
            let Some(next_id) = end_with_epoch(present, ending)? else {
                return Ok(present.producer);
            };
            let prepared =
                present.prepared(ending.outcome, ending.client_version, next_id, now.unix);
            entry.last_epoch = present.producer.epoch;
            prepared
        } else {
            if end_without_epoch(present, ending)? {
                return Ok(present.producer);
            }
            present.prepared(ending.outcome, ending.client_version, None, now.unix)
        };
        Ok(self.prepare(now, effects, id, &prepared))
    }

    fn complete(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply, Markers>,
        id: &TransactionalId,
        errand: Errand,
    ) {
        let entry = self.ids.get_mut(id).filter(|entry| entry.errand == Some(errand));
        if let Some(entry) = entry {
            entry.errand = None;
            let completed = entry.durable.completed(now.unix);
            self.write(now, effects, id, &completed);
        }
    }

    fn describe(&self, id: &TransactionalId) -> Outcome<Description> {
        let present = &self.ids.get(id).ok_or(ErrorCode::TransactionalIdNotFound)?.durable;
        Ok(Description {
            state: present.state,
            producer: present.producer,
            timeout_ms: present.timeout_ms,
            started_at: present.started_at,
            partitions: present.partitions.iter().cloned().collect(),
        })
    }

    fn list(&self, now: Now, filter: &ListFilter) -> Vec<Listed> {
        let passes = |present: &Transaction| {
            let ids = &filter.producer_ids;
            let age_ms = now.unix.millis_since(present.started_at);
            filter.states.as_ref().is_none_or(|states| states.contains(&present.state))
                && (ids.is_empty() || ids.contains(&present.producer.id))
                && (filter.duration_ms < 0 || age_ms > filter.duration_ms)
        };
        let listed = self.ids.iter().filter(|(_, entry)| passes(&entry.durable));
        let listed = listed.map(|(id, entry)| Listed {
            id: id.clone(),
            producer_id: entry.durable.producer.id,
            state: entry.durable.state,
        });
        listed.collect()
    }

    fn count(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        for entry in self.ids.values() {
            *counts.entry(entry.durable.state).or_default() += 1;
        }
        counts
    }

    /// Aborts transactions that have taken too long, and fences their producers.
    fn abort_overdue(&mut self, now: Now, effects: &mut Effects<Reply, Markers>) {
        let feature = self.feature();
        let ongoing = self.ongoing.iter().filter_map(|id| Some((id, self.ids.get(id)?)));
        let overdue = ongoing.filter(|(_, entry)| entry.durable.is_overdue(now.unix));
        let fenced: Vec<_> = overdue
            .map(|(id, entry)| (id.clone(), entry.durable.fenced(feature, now.unix)))
            .collect();
        for (id, fenced) in fenced {
            tracing::info!(%id, producer = %fenced.producer.id, "a transaction took too long and is aborted");
            self.forget_last_epoch(&id);
            self.prepare(now, effects, &id, &fenced);
        }
    }

    fn forget_unused(&self, now: Now, effects: &mut Effects<Reply, Markers>) {
        let expiration = (self.settings)().id_expiration;
        let over = self.ids.iter().filter(|(_, entry)| entry.durable.is_over(now.unix, expiration));
        effects.records.extend(over.map(|(id, _)| record::tombstone(id)));
    }
}

/// Whether a producer may be who it believes to be: the present one, or one whose id was replaced since its epochs are used
/// up, and which was not told.
fn may_be(expected: Producer, present: &Transaction) -> bool {
    expected.id == present.producer.id
        || expected.id == present.previous_id && is_exhausted(expected.epoch)
}

/// How a producer begins anew.
struct Beginning {
    producer: Producer,
    last_epoch: ProducerEpoch,
}

/// The id and epoch of a producer that begins anew, while no transaction is in the way (KIP-360).
fn begin(
    present: &Transaction,
    last_epoch: ProducerEpoch,
    expected: Option<Producer>,
    fresh: Option<ProducerId>,
) -> Result<Beginning, Refusal> {
    let epoch = present.producer.epoch;
    let expects = |epoch| expected.is_none_or(|expected| expected.epoch == epoch);
    if is_exhausted(epoch) && (expects(epoch) || expects(last_epoch)) {
        let id = fresh.ok_or(Refusal::NeedsProducerId)?;
        let last_epoch = if expected.is_some() { epoch } else { ProducerEpoch::NONE };
        return Ok(Beginning { producer: Producer { id, epoch: ProducerEpoch(0) }, last_epoch });
    }
    match expected {
        None => Ok(Beginning { producer: present.raised(), last_epoch: ProducerEpoch::NONE }),
        Some(expected) if expected.epoch == epoch => {
            Ok(Beginning { producer: present.raised(), last_epoch: epoch })
        }
        // It asks again: nobody else has asked since.
        Some(expected) if expected.epoch == last_epoch => {
            Ok(Beginning { producer: present.producer, last_epoch })
        }
        Some(_) => Err(ErrorCode::ProducerFenced.into()),
    }
}

/// Whether a client that keeps its epoch may end its transaction: `true` if that was done before.
fn end_without_epoch(present: &Transaction, ending: &Ending) -> Outcome<bool> {
    if present.producer.id != ending.producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if present.producer.epoch != ending.producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match (present.state, ending.outcome) {
        (State::Ongoing, _) => Ok(false),
        (State::CompleteCommit, TransactionOutcome::Commit)
        | (State::CompleteAbort, TransactionOutcome::Abort) => Ok(true),
        (State::PrepareCommit, TransactionOutcome::Commit)
        | (State::PrepareAbort, TransactionOutcome::Abort) => {
            Err(ErrorCode::ConcurrentTransactions)
        }
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

/// Whether a client may end its transaction whose epoch every end raises: `None` if that was done before. Else with the
/// id that the producer goes on with, if it needs another one.
fn end_with_epoch(
    present: &Transaction,
    ending: &Ending,
) -> Result<Option<Option<ProducerId>>, Refusal> {
    let (sent, known) = (ending.producer, present.producer);
    let has_other_id = present.previous_id == sent.id
        && sent.epoch == ProducerEpoch(i16::MAX - 1)
        && known.epoch == ProducerEpoch(0);
    let is_one_behind = i32::from(known.epoch.0) == i32::from(sent.epoch.0) + 1;
    if known.id != sent.id && !has_other_id {
        return Err(ErrorCode::InvalidProducerIdMapping.into());
    }
    // In a state that an end leads to, the epoch before is that of a client which asks again.
    let asks_again = match present.state {
        State::PrepareCommit | State::PrepareAbort => is_one_behind,
        State::CompleteCommit | State::CompleteAbort => is_one_behind || has_other_id,
        State::Ongoing | State::Empty | State::Dead | State::PrepareEpochFence => false,
    };
    let is_present =
        sent.epoch == known.epoch && known.id == sent.id && !present.state.is_prepared();
    if !asks_again && !is_present {
        return Err(ErrorCode::ProducerFenced.into());
    }
    match (present.state, ending.outcome) {
        (State::PrepareCommit, TransactionOutcome::Commit)
        | (State::PrepareAbort, TransactionOutcome::Abort) => {
            return Err(ErrorCode::ConcurrentTransactions.into());
        }
        (State::CompleteCommit, TransactionOutcome::Commit)
        | (State::CompleteAbort, TransactionOutcome::Abort)
            if asks_again =>
        {
            return Ok(None);
        }
        (State::Ongoing, _) => {}
        // An abort without a transaction raises the epoch too: the client does not know whether it has written.
        (
            State::Empty | State::CompleteCommit | State::CompleteAbort,
            TransactionOutcome::Abort,
        ) if !asks_again => {}
        _ => return Err(ErrorCode::InvalidTxnState.into()),
    }
    if !is_exhausted(known.epoch) {
        return Ok(Some(None));
    }
    ending.fresh.map(|fresh| Some(Some(fresh))).ok_or(Refusal::NeedsProducerId)
}

impl Shard for TransactionShard {
    type Command = Command;
    type Reply = Reply;
    type Errand = Markers;

    fn handle(
        &mut self,
        now: Now,
        command: Command,
        ticket: Ticket,
        effects: &mut Effects<Reply, Markers>,
    ) {
        let reply = match command {
            Command::InitProducerId { id, timeout_ms, expected, fresh } => {
                let begun = self.init_producer_id(now, effects, &id, (timeout_ms, expected), fresh);
                begun.map_or_else(Reply::from, |producer| Reply::Producer(Ok(producer)))
            }
            Command::AddPartitions { id, producer, partitions, client_version } => {
                let who = (&id, producer);
                Reply::Done(self.add_partitions(now, effects, who, partitions, client_version))
            }
            Command::Verify { id, producer, partitions } => {
                Reply::Verified(self.verify(&id, producer, &partitions))
            }
            Command::End { id, producer, outcome, client_version, fresh } => {
                let ending = Ending { producer, outcome, client_version, fresh };
                let ended = self.end(now, effects, &id, &ending);
                ended.map_or_else(Reply::from, |producer| Reply::Producer(Ok(producer)))
            }
            Command::Complete { id, errand } => {
                self.complete(now, effects, &id, errand);
                Reply::Done(Ok(()))
            }
            Command::Describe { id } => Reply::Described(self.describe(&id)),
            Command::List { filter } => Reply::Listed(self.list(now, &filter)),
            Command::Count => Reply::Counted(self.count()),
        };
        effects.replies.push((ticket, reply));
    }

    fn replay(&mut self, _offset: Offset, record: &CoordinatorRecord) -> Result<(), ReplayError> {
        let decoded = record::decode(record).map_err(|error| ReplayError(error.to_string()))?;
        let (id, value) = decoded;
        let Some(durable) = value else {
            self.ids.remove(&id);
            self.ongoing.remove(&id);
            return Ok(());
        };
        if durable.state == State::Ongoing {
            self.ongoing.insert(id.clone());
        } else {
            self.ongoing.remove(&id);
        }
        match self.ids.get_mut(&id) {
            Some(entry) => entry.durable = durable,
            None => {
                let last_epoch = ProducerEpoch::NONE;
                self.ids.insert(id, Entry { durable, last_epoch, errand: None });
            }
        }
        Ok(())
    }

    fn loaded(&mut self, now: Now, effects: &mut Effects<Reply, Markers>) {
        let settings = (self.settings)();
        if !self.ongoing.is_empty() {
            self.timeout_check = Some(now.instant.plus(settings.timeout_check_interval));
        }
        if !self.ids.is_empty() {
            self.expiration_check = Some(now.instant.plus(settings.expiration_check_interval));
        }
        // What was decided goes on.
        let prepared = self.ids.iter().filter(|(_, entry)| entry.durable.state.is_prepared());
        let prepared: Vec<_> =
            prepared.map(|(id, entry)| (id.clone(), entry.durable.clone())).collect();
        for (id, prepared) in prepared {
            self.send_markers(effects, &id, &prepared);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.timeout_check, self.expiration_check].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Reply, Markers>) {
        let settings = (self.settings)();
        if self.timeout_check.is_some_and(|due| due <= now.instant) {
            let again = now.instant.plus(settings.timeout_check_interval);
            self.timeout_check = (!self.ongoing.is_empty()).then_some(again);
            self.abort_overdue(now, effects);
        }
        if self.expiration_check.is_some_and(|due| due <= now.instant) {
            let again = now.instant.plus(settings.expiration_check_interval);
            self.expiration_check = (!self.ids.is_empty()).then_some(again);
            self.forget_unused(now, effects);
        }
    }

    fn image_changed(
        &mut self,
        _now: Now,
        image: &Arc<ClusterImage>,
        _effects: &mut Effects<Reply, Markers>,
    ) {
        self.image = Arc::clone(image);
    }
}

impl fmt::Debug for TransactionShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionShard")
            .field("ids", &self.ids.len())
            .field("ongoing", &self.ongoing.len())
            .finish_non_exhaustive()
    }
}
