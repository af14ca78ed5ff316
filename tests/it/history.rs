//! What the clients of a cluster saw, and whether a log that keeps its promises can show it.
//!
//! Every record that a test writes has a value of its own. Each client notes what it asked for, when, and what it was
//! told; [`History::anomalies`] then looks for what must not be, whatever failed meanwhile. An operation whose answer
//! never came may have happened or not: it is never held against the log that it did, or that it did not. Each kind of anomaly has a
//! bad history at the end of this file that shows it, and good ones beside it. The kinds are those of Jepsen's tests for
//! Kafka; that transactions write in an order that no single one explains (G0) is legal.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A partition.
pub(crate) type Key = (String, i32);
/// Distinct for each record that is written.
pub(crate) type Value = u64;
/// Of one clock for all clients; any unit.
pub(crate) type Moment = u64;

/// `broker.session.timeout.ms` where nothing else is said, for clocks in nanoseconds: who has not heard for so long that others lead
/// does so no longer.
pub(crate) const SESSION: Moment = 1_000_000_000;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// It is at this offset.
    Written(i64),
    /// It was refused, in a way that says that it will never be there.
    Refused,
    /// Nobody said.
    Unknown,
}

/// A record was sent with `acks=all`.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Sent {
    /// Who sends one record after the other.
    pub(crate) process: u32,
    pub(crate) key: Key,
    pub(crate) value: Value,
    /// The transaction that it is part of.
    pub(crate) transaction: Option<u64>,
    pub(crate) invoked: Moment,
    pub(crate) completed: Moment,
    pub(crate) fate: Fate,
}

impl Sent {
    /// Whether its producer was told that it is there.
    pub(crate) fn is_acknowledged(&self) -> bool {
        matches!(self.fate, Fate::Written(_))
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Committed,
    Aborted,
    /// A commit was asked for, and nobody said what came of it.
    Unknown,
}

/// A transaction was ended.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Ended {
    pub(crate) transaction: u64,
    pub(crate) invoked: Moment,
    pub(crate) completed: Moment,
    pub(crate) end: End,
}

/// Records were read.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Read {
    pub(crate) key: Key,
    /// Whether only what is committed was wanted.
    pub(crate) committed: bool,
    /// The offset that was asked for.
    pub(crate) from: i64,
    /// The offset to go on with.
    pub(crate) next: i64,
    pub(crate) records: Vec<(i64, Value)>,
    pub(crate) completed: Moment,
}

/// The end of a partition was asked for, of its leader.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Latest {
    pub(crate) process: u32,
    pub(crate) key: Key,
    pub(crate) offset: i64,
    pub(crate) invoked: Moment,
}

/// A group was told how far it has come.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Commit {
    pub(crate) process: u32,
    pub(crate) group: String,
    pub(crate) key: Key,
    pub(crate) offset: i64,
    /// The generation of the member that told it.
    pub(crate) generation: i32,
    /// The transaction that it is part of.
    pub(crate) transaction: Option<u64>,
    pub(crate) invoked: Moment,
    pub(crate) completed: Moment,
    pub(crate) is_acknowledged: bool,
}

/// A group was asked how far it has come, and gave an answer that no open transaction may change.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Committed {
    pub(crate) group: String,
    pub(crate) key: Key,
    /// -1 for none.
    pub(crate) offset: i64,
    pub(crate) invoked: Moment,
    pub(crate) completed: Moment,
}

/// A member was given its share in a generation.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Joined {
    pub(crate) group: String,
    pub(crate) member: String,
    pub(crate) generation: i32,
    pub(crate) keys: Vec<Key>,
    pub(crate) invoked: Moment,
    pub(crate) completed: Moment,
}

/// A record was made of another one, and sent in the transaction that commits how far the group has read.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Transformed {
    pub(crate) group: String,
    /// Where the other one is.
    pub(crate) key: Key,
    pub(crate) input: Value,
    pub(crate) output: Value,
}

/// A topic was changed.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Change {
    pub(crate) topic: String,
    /// How many partitions it has then, 0 if it is not there.
    pub(crate) partitions: i32,
    pub(crate) is_acknowledged: bool,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Anomaly {
    /// A record that was acknowledged is not there, though what lies behind it was read.
    LostWrite(Key, Value),
    /// A record is there twice.
    Duplicate(Key, Value, i64, i64),
    /// There are two records at an offset.
    InconsistentOffset(Key, i64, Value, Value),
    /// A record is at another offset than its producer was told, or one that was refused was read.
    WrongOffset(Key, Value, i64),
    /// A reader of what is committed saw a record of a transaction that was not.
    AbortedRead(Key, Value),
    /// A reader of what is committed saw a record before its transaction was asked to commit.
    PrecommittedRead(Key, Value),
    /// A part of a transaction is to be seen, another is not.
    TornTransaction(u64),
    /// A reader passed over a record.
    Skipped(Key, Value, i64),
    /// A reader got records out of order, or outside of what it asked for.
    NonmonotonicRead(Key, i64),
    /// Two records of one producer are in another order than they were sent in.
    NonmonotonicSend(Key, Value, Value),
    /// A record that was sent after another was acknowledged lies before it.
    Reordered(Key, Value, Value),
    /// The end of a partition went back for one that watches it, or lies before what was acknowledged already.
    EndWentBack(Key, i64),
    /// A group was given an offset although a later one was acknowledged, or none.
    CommitWentBack(String, Key, i64),
    /// A group was given an offset that nobody has committed, at least not yet, or in a transaction that was aborted.
    UncommittedOffset(String, Key, i64),
    /// A generation is not after one that its members were told of before.
    GenerationWentBack(String, i32),
    /// Two members of a generation have the same partition.
    SharedPartition(String, Key, i32),
    /// A record was made of another one twice, in transactions that were committed.
    ProcessedTwice(Key, Value),
    /// A group has passed a record, but what was to be made of it in the same transaction is not there.
    Unprocessed(Key, Value),
    /// What was made of a record is there, but the group has not passed it.
    ProcessedAhead(Key, Value),
    /// A record was read from another topic or partition than it was acknowledged for, such as one that was made again under the
    /// name of a topic that was removed.
    ForeignRecord(Key, Value),
    /// In the end a topic is not as it was changed last: it has so many partitions, 0 if it is not there.
    LostChange(String, i32),
}

/// Everything that was noted.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct History {
    pub(crate) sent: Vec<Sent>,
    pub(crate) ended: Vec<Ended>,
    pub(crate) reads: Vec<Read>,
    pub(crate) latest: Vec<Latest>,
    pub(crate) commits: Vec<Commit>,
    pub(crate) committed: Vec<Committed>,
    pub(crate) joined: Vec<Joined>,
    pub(crate) transformed: Vec<Transformed>,
    /// Of one after the other.
    pub(crate) changes: Vec<Change>,
    /// How many partitions the topics that were changed have in the end, 0 for those that are not there.
    pub(crate) topics: BTreeMap<String, i32>,
    /// How long a broker may be about to hear that others lead what it leads, where they take over while it lives: when it stops, or
    /// replicas are moved. What they acknowledge meanwhile is not in its answers. (When it fails they wait until its session is over.)
    pub(crate) stale_at_most: Moment,
}

impl History {
    /// What must not be, each once, in order. The history should end with reads of each partition from its start to
    /// its end, of all records and of those that are committed, after everything was mended.
    pub(crate) fn anomalies(&self) -> Vec<Anomaly> {
        let mut found = BTreeSet::new();
        let places = self.places(&mut found);
        self.check_sent(&places, &mut found);
        self.check_order(&mut found);
        self.check_reads(&places, &mut found);
        self.check_transactions(&mut found);
        self.check_latest(&mut found);
        self.check_committed(&mut found);
        self.check_generations(&mut found);
        self.check_transformed(&places, &mut found);
        self.check_topics(&mut found);
        found.into_iter().collect()
    }

    fn end(&self) -> HashMap<u64, &Ended> {
        self.ended.iter().map(|ended| (ended.transaction, ended)).collect()
    }

    /// Which record is at which offset of which partition, by all that was read.
    fn places(&self, found: &mut BTreeSet<Anomaly>) -> BTreeMap<Key, BTreeMap<i64, Value>> {
        let mut places: BTreeMap<Key, BTreeMap<i64, Value>> = BTreeMap::new();
        let mut offsets: HashMap<&Key, HashMap<Value, i64>> = HashMap::new();
        for read in &self.reads {
            let here = places.entry(read.key.clone()).or_default();
            let offsets = offsets.entry(&read.key).or_default();
            for (offset, value) in &read.records {
                let first = *here.entry(*offset).or_insert(*value);
                if first != *value {
                    let key = read.key.clone();
                    found.insert(Anomaly::InconsistentOffset(key, *offset, first, *value));
                }
                let known = *offsets.entry(*value).or_insert(*offset);
                if known != *offset {
                    let (low, high) = (known.min(*offset), known.max(*offset));
                    found.insert(Anomaly::Duplicate(read.key.clone(), *value, low, high));
                }
            }
        }
        places
    }

    /// Whether each acknowledged record is where its producer was told.
    fn check_sent(
        &self,
        places: &BTreeMap<Key, BTreeMap<i64, Value>>,
        found: &mut BTreeSet<Anomaly>,
    ) {
        let ends = self.end();
        let read_to = |key: &Key, also_committed: bool| {
            let reads = self.reads.iter().filter(|read| read.key == *key);
            reads.filter(|read| also_committed || !read.committed).map(|read| read.next).max()
        };
        let mut reached: HashMap<(Key, bool), i64> = HashMap::new();
        let mut offsets: HashMap<(&Key, Value), i64> = HashMap::new();
        for (key, here) in places {
            for (offset, value) in here {
                offsets.entry((key, *value)).or_insert(*offset);
            }
        }
        for sent in &self.sent {
            let at = offsets.get(&(&sent.key, sent.value)).copied();
            let end = sent.transaction.and_then(|id| ends.get(&id)).map(|ended| ended.end);
            match (sent.fate, at) {
                (Fate::Written(told), Some(at)) if told != at => {
                    found.insert(Anomaly::WrongOffset(sent.key.clone(), sent.value, at));
                }
                (Fate::Refused, Some(at)) => {
                    found.insert(Anomaly::WrongOffset(sent.key.clone(), sent.value, at));
                }
                (Fate::Written(told), None) => {
                    // Readers of what is committed need not have seen it, unless it is.
                    let is_plain = sent.transaction.is_none() || end == Some(End::Committed);
                    let reached = *reached
                        .entry((sent.key.clone(), is_plain))
                        .or_insert_with(|| read_to(&sent.key, is_plain).unwrap_or(0));
                    if told < reached {
                        found.insert(Anomaly::LostWrite(sent.key.clone(), sent.value));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether offsets agree with the order in which records were sent.
    fn check_order(&self, found: &mut BTreeSet<Anomaly>) {
        let mut keys: BTreeMap<&Key, Vec<(&Sent, i64)>> = BTreeMap::new();
        for sent in &self.sent {
            if let Fate::Written(offset) = sent.fate {
                keys.entry(&sent.key).or_default().push((sent, offset));
            }
        }
        for (key, mut sent) in keys {
            sent.sort_by_key(|(sent, _)| sent.invoked);
            let mut last_of: HashMap<u32, (Value, i64)> = HashMap::new();
            for (one, offset) in &sent {
                if let Some((before, at)) = last_of.insert(one.process, (one.value, *offset))
                    && at >= *offset
                {
                    found.insert(Anomaly::NonmonotonicSend(key.clone(), before, one.value));
                }
            }
            let mut completed = sent.clone();
            completed.sort_by_key(|(sent, _)| sent.completed);
            let mut completed = completed.into_iter().peekable();
            let mut highest: Option<(i64, Value)> = None;
            for (one, offset) in &sent {
                while let Some((earlier, at)) =
                    completed.next_if(|(earlier, _)| earlier.completed < one.invoked)
                {
                    highest = highest.max(Some((at, earlier.value)));
                }
                if let Some((at, earlier)) = highest
                    && at >= *offset
                {
                    found.insert(Anomaly::Reordered(key.clone(), earlier, one.value));
                }
            }
        }
    }

    /// Whether each read gave all that there is between where it began and where it ended.
    fn check_reads(
        &self,
        places: &BTreeMap<Key, BTreeMap<i64, Value>>,
        found: &mut BTreeSet<Anomaly>,
    ) {
        let ends = self.end();
        let transactions: HashMap<Value, u64> =
            self.sent.iter().filter_map(|sent| Some((sent.value, sent.transaction?))).collect();
        for read in &self.reads {
            let mut last = read.from - 1;
            for (offset, value) in &read.records {
                if *offset <= last || *offset >= read.next {
                    found.insert(Anomaly::NonmonotonicRead(read.key.clone(), *offset));
                }
                last = *offset;
                let Some(transaction) = transactions.get(value).filter(|_| read.committed) else {
                    continue;
                };
                match ends.get(transaction) {
                    None => found.insert(Anomaly::PrecommittedRead(read.key.clone(), *value)),
                    Some(ended) if ended.end == End::Aborted => {
                        found.insert(Anomaly::AbortedRead(read.key.clone(), *value))
                    }
                    Some(ended) if ended.invoked > read.completed => {
                        found.insert(Anomaly::PrecommittedRead(read.key.clone(), *value))
                    }
                    Some(_) => false,
                };
            }
            let Some(here) = places.get(&read.key).filter(|_| read.from < read.next) else {
                continue;
            };
            let given: BTreeSet<i64> = read.records.iter().map(|(offset, _)| *offset).collect();
            for (offset, value) in here.range(read.from..read.next) {
                let is_due = match transactions.get(value).filter(|_| read.committed) {
                    None => true,
                    Some(id) => ends.get(id).is_some_and(|ended| ended.end == End::Committed),
                };
                if is_due && !given.contains(offset) {
                    found.insert(Anomaly::Skipped(read.key.clone(), *value, *offset));
                }
            }
        }
    }

    /// Whether transactions are seen whole or not at all by readers of what is committed.
    fn check_transactions(&self, found: &mut BTreeSet<Anomaly>) {
        let ends = self.end();
        let mut seen: BTreeSet<(&Key, Value)> = BTreeSet::new();
        let mut reached: BTreeMap<&Key, i64> = BTreeMap::new();
        for read in self.reads.iter().filter(|read| read.committed) {
            seen.extend(read.records.iter().map(|(_, value)| (&read.key, *value)));
            let to = reached.entry(&read.key).or_default();
            *to = read.next.max(*to);
        }
        let mut parts: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
        for sent in &self.sent {
            let (Some(transaction), Fate::Written(offset)) = (sent.transaction, sent.fate) else {
                continue;
            };
            let part = parts.entry(transaction).or_default();
            if seen.contains(&(&sent.key, sent.value)) {
                part.0 = true;
            } else if reached.get(&sent.key).is_some_and(|to| offset < *to) {
                part.1 = true;
            }
        }
        for (transaction, (is_seen, is_missed)) in parts {
            let committed = ends.get(&transaction).is_some_and(|ended| ended.end == End::Committed);
            if is_missed && (is_seen || committed) {
                found.insert(Anomaly::TornTransaction(transaction));
            }
        }
    }

    /// Whether the end of each partition only rises, and covers what was acknowledged.
    fn check_latest(&self, found: &mut BTreeSet<Anomaly>) {
        // By the moment of its answer, the highest offset that was acknowledged until then.
        let mut acknowledged: HashMap<&Key, BTreeMap<Moment, i64>> = HashMap::new();
        let mut sent: Vec<(&Sent, i64)> = Vec::new();
        for one in &self.sent {
            if let Fate::Written(offset) = one.fate {
                sent.push((one, offset));
            }
        }
        sent.sort_by_key(|(sent, _)| sent.completed);
        for (sent, offset) in sent {
            let highest = acknowledged.entry(&sent.key).or_default();
            let before = highest.last_key_value().map_or(-1, |(_, offset)| *offset);
            highest.insert(sent.completed, offset.max(before));
        }
        let mut highest: HashMap<(u32, &Key), i64> = HashMap::new();
        for latest in &self.latest {
            let highest = highest.entry((latest.process, &latest.key)).or_insert(latest.offset);
            let acknowledged = acknowledged
                .get(&latest.key)
                .and_then(|highest| {
                    let known = latest.invoked.saturating_sub(self.stale_at_most);
                    highest.range(..known).next_back()
                })
                .is_some_and(|(_, offset)| *offset >= latest.offset);
            if latest.offset < *highest || acknowledged {
                found.insert(Anomaly::EndWentBack(latest.key.clone(), latest.offset));
            }
            *highest = latest.offset.max(*highest);
        }
    }
}

/// A commit as it takes effect, which is at some time from the first to the second.
struct Effect<'a> {
    commit: &'a Commit,
    /// `None` if it never may.
    from: Option<Moment>,
    /// `None` if nobody said that it did.
    to: Option<Moment>,
}

impl Effect<'_> {
    /// Whether it has taken effect, if ever, before another one could: who knows not yet whether it will.
    fn is_before(&self, other: &Self) -> bool {
        let (one, two) = (self.commit, other.commit);
        let is_fenced = one.generation < two.generation;
        let is_ended = one.transaction.is_some() && two.transaction.is_some();
        let is_ended = is_ended && one.process == two.process && one.completed < two.invoked;
        let is_done = self.to.is_some_and(|to| other.from.is_some_and(|from| to < from));
        is_done || is_fenced || is_ended
    }
}

impl History {
    /// Whether groups were given what they have committed last: each partition of a group is a register, in which an offset is put
    /// at some time between question and answer. One whose answer never came may arrive later, but not after its generation has
    /// passed or its producer has ended another transaction.
    fn check_committed(&self, found: &mut BTreeSet<Anomaly>) {
        let ends = self.end();
        let effect = |commit: &'_ Commit| match commit.transaction {
            None => (Some(commit.invoked), commit.is_acknowledged.then_some(commit.completed)),
            Some(id) => match ends.get(&id) {
                None => (None, None),
                Some(ended) if ended.end == End::Aborted => (None, None),
                Some(ended) => {
                    let is_told = ended.end == End::Committed && commit.is_acknowledged;
                    (Some(ended.invoked), is_told.then_some(ended.completed))
                }
            },
        };
        let mut registers: BTreeMap<(&String, &Key), Vec<Effect<'_>>> = BTreeMap::new();
        for commit in &self.commits {
            let (from, to) = effect(commit);
            let register = registers.entry((&commit.group, &commit.key)).or_default();
            register.push(Effect { commit, from, to });
        }
        for given in &self.committed {
            let (group, key) = (given.group.clone(), given.key.clone());
            let register = registers.get(&(&given.group, &given.key));
            let register = register.map(Vec::as_slice).unwrap_or_default();
            let mut done =
                register.iter().filter(|effect| effect.to.is_some_and(|to| to < given.invoked));
            if given.offset == -1 {
                if done.next().is_some() {
                    found.insert(Anomaly::CommitWentBack(group, key, given.offset));
                }
                continue;
            }
            let done: Vec<_> = done.collect();
            let mut possible = register
                .iter()
                .filter(|effect| effect.commit.offset == given.offset)
                .filter(|effect| effect.from.is_some_and(|from| from <= given.completed))
                .peekable();
            if possible.peek().is_none() {
                found.insert(Anomaly::UncommittedOffset(group, key, given.offset));
            } else if possible.all(|effect| done.iter().any(|later| effect.is_before(later))) {
                found.insert(Anomaly::CommitWentBack(group, key, given.offset));
            }
        }
    }

    /// Whether generations rise, and give each partition to one member. What a group has told its members lasts as long as there are
    /// offsets of it: a group without is nothing that anybody keeps.
    fn check_generations(&self, found: &mut BTreeSet<Anomaly>) {
        let mut owners: BTreeMap<(&String, i32, &Key), &String> = BTreeMap::new();
        for joined in &self.joined {
            for key in &joined.keys {
                let owner =
                    owners.entry((&joined.group, joined.generation, key)).or_insert(&joined.member);
                if *owner != &joined.member {
                    let group = joined.group.clone();
                    found.insert(Anomaly::SharedPartition(group, key.clone(), joined.generation));
                }
            }
            let is_later = |before: &&Joined| {
                before.group == joined.group
                    && before.completed < joined.invoked
                    && before.generation > joined.generation
            };
            let has_committed = |before: &Joined| {
                self.commits.iter().any(|commit| {
                    commit.group == before.group
                        && commit.is_acknowledged
                        && commit.completed < joined.invoked
                })
            };
            if self.joined.iter().filter(is_later).any(has_committed) {
                found.insert(Anomaly::GenerationWentBack(joined.group.clone(), joined.generation));
            }
        }
    }

    /// Whether records are where they belong, and topics are in the end as they were changed last. What nobody has answered may
    /// have come about at any time, even after what was asked later.
    fn check_topics(&self, found: &mut BTreeSet<Anomaly>) {
        let acknowledged = self.sent.iter().filter(|sent| sent.is_acknowledged());
        let homes: HashMap<Value, &Key> =
            acknowledged.map(|sent| (sent.value, &sent.key)).collect();
        for read in &self.reads {
            for (_, value) in &read.records {
                if homes.get(value).is_some_and(|home| **home != read.key) {
                    found.insert(Anomaly::ForeignRecord(read.key.clone(), *value));
                }
            }
        }
        for (topic, partitions) in &self.topics {
            let changes = || self.changes.iter().filter(|change| change.topic == *topic);
            let last = changes().rfind(|change| change.is_acknowledged);
            let mut possible: BTreeSet<i32> = changes()
                .filter(|change| !change.is_acknowledged)
                .map(|change| change.partitions)
                .collect();
            possible.insert(last.map_or(0, |change| change.partitions));
            if !possible.contains(partitions) {
                found.insert(Anomaly::LostChange(topic.clone(), *partitions));
            }
        }
    }

    /// Whether what was made of records is there once for each that its group has passed, and for no other, as far as readers
    /// of what is committed can see. The last answer to how far a group has come counts.
    fn check_transformed(
        &self,
        places: &BTreeMap<Key, BTreeMap<i64, Value>>,
        found: &mut BTreeSet<Anomaly>,
    ) {
        let reads = self.reads.iter().filter(|read| read.committed);
        let seen: BTreeSet<Value> =
            reads.flat_map(|read| read.records.iter().map(|(_, value)| *value)).collect();
        let mut ends: BTreeMap<(&String, &Key), &Committed> = BTreeMap::new();
        for given in &self.committed {
            let last = ends.entry((&given.group, &given.key)).or_insert(given);
            *last = if given.invoked >= last.invoked { given } else { last };
        }
        let mut made: BTreeMap<(&String, &Key), BTreeSet<Value>> = BTreeMap::new();
        for one in self.transformed.iter().filter(|one| seen.contains(&one.output)) {
            let inputs = made.entry((&one.group, &one.key)).or_default();
            if !inputs.insert(one.input) {
                found.insert(Anomaly::ProcessedTwice(one.key.clone(), one.input));
            }
        }
        let groups: BTreeSet<&String> = self.transformed.iter().map(|one| &one.group).collect();
        for ((group, key), end) in ends.into_iter().filter(|((group, _), _)| groups.contains(group))
        {
            let made = made.remove(&(group, key)).unwrap_or_default();
            for (offset, value) in places.get(key).into_iter().flatten() {
                let is_passed = *offset < end.offset;
                if is_passed && seen.contains(value) && !made.contains(value) {
                    found.insert(Anomaly::Unprocessed(key.clone(), *value));
                }
                if !is_passed && made.contains(value) {
                    found.insert(Anomaly::ProcessedAhead(key.clone(), *value));
                }
            }
        }
    }
}

/// Histories that are as they should be, and one for each anomaly.
mod tests {
    use super::*;

    fn key() -> Key {
        ("t".to_owned(), 0)
    }

    fn sent(value: Value, at: Moment, fate: Fate) -> Sent {
        let (invoked, completed) = (at, at + 1);
        Sent { process: 0, key: key(), value, transaction: None, invoked, completed, fate }
    }

    fn in_transaction(transaction: u64, sent: Sent) -> Sent {
        Sent { transaction: Some(transaction), ..sent }
    }

    fn read(from: i64, records: &[(i64, Value)], next: i64) -> Read {
        let records = records.to_vec();
        Read { key: key(), committed: false, from, next, records, completed: 1_000 }
    }

    fn committed(read: Read) -> Read {
        Read { committed: true, ..read }
    }

    fn ended(transaction: u64, end: End) -> Ended {
        Ended { transaction, invoked: 500, completed: 510, end }
    }

    fn anomalies(sent: Vec<Sent>, ended: Vec<Ended>, reads: Vec<Read>) -> Vec<Anomaly> {
        History { sent, ended, reads, ..History::default() }.anomalies()
    }

    #[test]
    fn what_a_sound_log_shows_is_no_anomaly() {
        let sent = vec![
            sent(1, 10, Fate::Written(0)),
            sent(2, 20, Fate::Unknown),
            sent(3, 30, Fate::Refused),
            sent(4, 40, Fate::Unknown),
            in_transaction(7, sent(5, 50, Fate::Written(2))),
            in_transaction(8, sent(6, 60, Fate::Written(4))),
            // Beyond what was read: it may still come.
            sent(9, 90, Fate::Written(9)),
        ];
        let ends = vec![ended(7, End::Committed), ended(8, End::Aborted)];
        let reads = vec![
            read(0, &[(0, 1), (1, 4), (2, 5), (4, 6)], 6),
            committed(read(0, &[(0, 1), (1, 4), (2, 5)], 6)),
        ];
        let latest = vec![
            Latest { process: 1, key: key(), offset: 1, invoked: 15 },
            Latest { process: 1, key: key(), offset: 6, invoked: 80 },
        ];
        let history = History { sent, ended: ends, reads, latest, ..History::default() };
        assert_eq!(history.anomalies(), []);
    }

    #[test]
    fn an_acknowledged_record_that_is_gone_is_a_lost_write() {
        let sent = vec![sent(1, 10, Fate::Written(0)), sent(2, 20, Fate::Written(1))];
        let reads = vec![read(0, &[(1, 2)], 2)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::LostWrite(key(), 1)]);
    }

    #[test]
    fn a_record_at_two_offsets_is_a_duplicate() {
        let sent = vec![sent(1, 10, Fate::Written(0))];
        let reads = vec![read(0, &[(0, 1), (1, 1)], 2)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::Duplicate(key(), 1, 0, 1)]);
    }

    #[test]
    fn two_records_at_an_offset_are_inconsistent() {
        let sent = vec![sent(1, 10, Fate::Unknown), sent(2, 20, Fate::Unknown)];
        let reads = vec![read(0, &[(0, 1)], 1), read(0, &[(0, 2)], 1)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::InconsistentOffset(key(), 0, 1, 2)]);
    }

    #[test]
    fn a_record_elsewhere_than_told_is_at_a_wrong_offset() {
        let told = vec![sent(1, 10, Fate::Written(5))];
        let reads = vec![read(0, &[(0, 1)], 1)];
        assert_eq!(anomalies(told, vec![], reads.clone()), [Anomaly::WrongOffset(key(), 1, 0)]);
        let refused = vec![sent(1, 10, Fate::Refused)];
        assert_eq!(anomalies(refused, vec![], reads), [Anomaly::WrongOffset(key(), 1, 0)]);
    }

    #[test]
    fn a_record_of_an_aborted_transaction_is_an_aborted_read() {
        let sent = vec![in_transaction(7, sent(1, 10, Fate::Written(0)))];
        let reads = vec![committed(read(0, &[(0, 1)], 2))];
        let found = anomalies(sent, vec![ended(7, End::Aborted)], reads);
        assert_eq!(found, [Anomaly::AbortedRead(key(), 1)]);
    }

    #[test]
    fn a_record_of_an_open_transaction_is_a_precommitted_read() {
        let sent = vec![in_transaction(7, sent(1, 10, Fate::Written(0)))];
        let early = Read { completed: 400, ..committed(read(0, &[(0, 1)], 1)) };
        let found = anomalies(sent.clone(), vec![ended(7, End::Committed)], vec![early.clone()]);
        assert_eq!(found, [Anomaly::PrecommittedRead(key(), 1)]);
        assert_eq!(anomalies(sent, vec![], vec![early]), [Anomaly::PrecommittedRead(key(), 1)]);
    }

    #[test]
    fn a_transaction_of_which_a_part_is_missing_is_torn() {
        let sent = vec![
            in_transaction(7, sent(1, 10, Fate::Written(0))),
            in_transaction(7, sent(2, 20, Fate::Written(1))),
        ];
        let reads = vec![committed(read(0, &[(1, 2)], 3))];
        let found = anomalies(sent.clone(), vec![ended(7, End::Unknown)], reads);
        assert_eq!(found, [Anomaly::TornTransaction(7)]);
        // Nothing of it may be missing once it was said to be committed.
        let reads = vec![committed(read(0, &[], 3)), read(0, &[(0, 1), (1, 2)], 3)];
        let found = anomalies(sent, vec![ended(7, End::Committed)], reads);
        assert!(found.contains(&Anomaly::TornTransaction(7)), "{found:?}");
    }

    #[test]
    fn a_record_that_others_saw_and_a_reader_passed_is_skipped() {
        let sent = vec![sent(1, 10, Fate::Unknown), sent(2, 20, Fate::Written(1))];
        let reads = vec![read(0, &[(0, 1), (1, 2)], 2), read(0, &[(1, 2)], 2)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::Skipped(key(), 1, 0)]);
    }

    #[test]
    fn records_out_of_order_are_a_nonmonotonic_read() {
        let sent = vec![sent(1, 10, Fate::Written(0)), sent(2, 20, Fate::Written(1))];
        let reads = vec![read(0, &[(1, 2), (0, 1)], 2)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::NonmonotonicRead(key(), 0)]);
    }

    #[test]
    fn records_of_a_producer_out_of_order_are_a_nonmonotonic_send() {
        // Both were under way at once: no observer but the producer knows which is the first.
        let first = Sent { completed: 100, ..sent(1, 10, Fate::Written(1)) };
        let sent = vec![first, sent(2, 20, Fate::Written(0))];
        let reads = vec![read(0, &[(0, 2), (1, 1)], 2)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::NonmonotonicSend(key(), 1, 2)]);
    }

    #[test]
    fn a_record_before_one_that_was_acknowledged_earlier_is_reordered() {
        let second = Sent { process: 1, ..sent(2, 20, Fate::Written(0)) };
        let sent = vec![sent(1, 10, Fate::Written(1)), second];
        let reads = vec![read(0, &[(0, 2), (1, 1)], 2)];
        assert_eq!(anomalies(sent, vec![], reads), [Anomaly::Reordered(key(), 1, 2)]);
    }

    #[test]
    fn an_end_that_falls_or_lags_went_back() {
        let latest = |offset, invoked| Latest { process: 1, key: key(), offset, invoked };
        let sent = vec![sent(1, 10, Fate::Written(0))];
        let history =
            History { sent, latest: vec![latest(0, 20), latest(2, 30)], ..History::default() };
        assert_eq!(history.anomalies(), [Anomaly::EndWentBack(key(), 0)]);
        for (stale_at_most, anomalies) in [(8, 1), (9, 0)] {
            let history = History { stale_at_most, ..history.clone() };
            assert_eq!(history.anomalies().len(), anomalies, "{stale_at_most}");
        }
        let latest = vec![latest(5, 20), latest(4, 30)];
        let history = History { latest, ..History::default() };
        assert_eq!(history.anomalies(), [Anomaly::EndWentBack(key(), 4)]);
    }

    fn commit(offset: i64, at: Moment) -> Commit {
        Commit {
            process: 0,
            group: "g".to_owned(),
            key: key(),
            offset,
            generation: 1,
            transaction: None,
            invoked: at,
            completed: at + 1,
            is_acknowledged: true,
        }
    }

    fn unknown(commit: Commit) -> Commit {
        Commit { is_acknowledged: false, ..commit }
    }

    fn given(offset: i64, at: Moment) -> Committed {
        Committed { group: "g".to_owned(), key: key(), offset, invoked: at, completed: at + 1 }
    }

    fn of_group(commits: Vec<Commit>, ended: Vec<Ended>, given: Committed) -> Vec<Anomaly> {
        History { commits, ended, committed: vec![given], ..History::default() }.anomalies()
    }

    #[test]
    fn an_acknowledged_offset_that_is_gone_went_back() {
        let both = || vec![commit(5, 10), commit(8, 20)];
        let went_back = |offset| [Anomaly::CommitWentBack("g".to_owned(), key(), offset)];
        assert_eq!(of_group(both(), vec![], given(8, 30)), []);
        assert_eq!(of_group(both(), vec![], given(5, 30)), went_back(5));
        assert_eq!(of_group(both(), vec![], given(-1, 30)), went_back(-1));
        // Asked meanwhile, either is right.
        assert_eq!(of_group(both(), vec![], given(5, 20)), []);
        // One that is on its way may arrive later, as long as its member is one.
        let late = || vec![unknown(commit(5, 10)), commit(8, 20)];
        assert_eq!(of_group(late(), vec![], given(5, 30)), []);
        let newer = Commit { generation: 2, ..commit(8, 20) };
        assert_eq!(of_group(vec![late().remove(0), newer], vec![], given(5, 30)), went_back(5));
        // That of a transaction may not, once its producer has ended another one.
        let part = |transaction, commit| Commit { transaction: Some(transaction), ..commit };
        let commits = vec![part(1, commit(5, 10)), part(2, commit(8, 600))];
        let second = Ended { invoked: 610, completed: 620, ..ended(2, End::Committed) };
        let ends = vec![ended(1, End::Unknown), second];
        assert_eq!(of_group(commits, ends, given(5, 700)), went_back(5));
    }

    #[test]
    fn an_offset_of_no_ended_transaction_is_uncommitted() {
        let part = || vec![Commit { transaction: Some(7), ..commit(5, 10) }];
        let uncommitted = [Anomaly::UncommittedOffset("g".to_owned(), key(), 5)];
        let committed = || vec![ended(7, End::Committed)];
        assert_eq!(of_group(part(), committed(), given(5, 600)), []);
        assert_eq!(of_group(part(), committed(), given(5, 400)), uncommitted);
        assert_eq!(of_group(part(), vec![ended(7, End::Aborted)], given(5, 600)), uncommitted);
        assert_eq!(of_group(part(), vec![], given(5, 600)), uncommitted);
        assert_eq!(of_group(vec![], vec![], given(5, 600)), uncommitted);
    }

    fn joined(generation: i32, member: &str, at: Moment) -> Joined {
        let (group, member, keys) = ("g".to_owned(), member.to_owned(), vec![key()]);
        Joined { group, member, generation, keys, invoked: at, completed: at + 1 }
    }

    #[test]
    fn a_generation_after_a_later_one_went_back() {
        let joined = vec![joined(5, "a", 10), joined(4, "b", 20)];
        let history = History { joined, commits: vec![commit(1, 15)], ..History::default() };
        assert_eq!(history.anomalies(), [Anomaly::GenerationWentBack("g".to_owned(), 4)]);
        // Nobody keeps a group that has committed nothing.
        assert_eq!(History { commits: vec![], ..history }.anomalies(), []);
    }

    #[test]
    fn a_partition_of_two_members_is_shared() {
        let joined = vec![joined(5, "a", 10), joined(5, "a", 20), joined(5, "b", 30)];
        let history = History { joined, ..History::default() };
        assert_eq!(history.anomalies(), [Anomaly::SharedPartition("g".to_owned(), key(), 5)]);
    }

    /// A group that has made records 11 and 12 of 1 and 2.
    fn transforming(outputs: &[(i64, Value)], end: i64) -> History {
        let made = |input, output| Transformed { group: "g".to_owned(), key: key(), input, output };
        let output = Read { key: ("o".to_owned(), 0), ..committed(read(0, outputs, 9)) };
        History {
            commits: vec![commit(end, 10)],
            committed: vec![given(end, 20)],
            reads: vec![committed(read(0, &[(0, 1), (1, 2)], 2)), output],
            transformed: vec![made(1, 11), made(2, 12), made(2, 13)],
            ..History::default()
        }
    }

    #[test]
    fn records_are_made_of_those_that_a_group_has_passed() {
        assert_eq!(transforming(&[(0, 11), (1, 12)], 2).anomalies(), []);
        assert_eq!(transforming(&[(0, 11)], 1).anomalies(), []);
        let twice = transforming(&[(0, 11), (1, 12), (2, 13)], 2);
        assert_eq!(twice.anomalies(), [Anomaly::ProcessedTwice(key(), 2)]);
        let missing = transforming(&[(0, 11)], 2);
        assert_eq!(missing.anomalies(), [Anomaly::Unprocessed(key(), 2)]);
        let ahead = transforming(&[(0, 11), (1, 12)], 1);
        assert_eq!(ahead.anomalies(), [Anomaly::ProcessedAhead(key(), 2)]);
    }

    #[test]
    fn a_record_of_another_topic_is_foreign() {
        let other = Sent { key: ("u".to_owned(), 0), ..sent(1, 10, Fate::Written(0)) };
        let found = anomalies(vec![other], vec![], vec![read(0, &[(0, 1)], 1)]);
        assert_eq!(found, [Anomaly::ForeignRecord(key(), 1)]);
    }

    #[test]
    fn a_topic_that_is_not_as_it_was_changed_has_lost_a_change() {
        let change = |partitions, is_acknowledged| {
            let topic = "x".to_owned();
            Change { topic, partitions, is_acknowledged }
        };
        let found = |changes, partitions| {
            let topics = BTreeMap::from([("x".to_owned(), partitions)]);
            History { changes, topics, ..History::default() }.anomalies()
        };
        let lost = |partitions| [Anomaly::LostChange("x".to_owned(), partitions)];
        let made = || vec![change(2, true), change(3, true)];
        assert_eq!(found(made(), 3), []);
        assert_eq!(found(made(), 2), lost(2));
        assert_eq!(found(made(), 0), lost(0));
        assert_eq!(found(vec![change(2, true), change(0, true)], 2), lost(2));
        assert_eq!(found(vec![change(2, true), change(0, false)], 2), []);
        assert_eq!(found(vec![change(2, true), change(0, false)], 0), []);
    }
}
