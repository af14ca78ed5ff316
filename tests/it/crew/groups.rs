//! Members of groups: some commit offsets and nothing else, some read, write and commit in transactions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla::client::{Cluster, Fetched, Fetcher, FetcherOptions, Span};
use ottla::model::{Offset, PartitionId};
use tokio::time::timeout;

use super::{Crew, Phase, values};
use crate::exactly_once::Epochs;
use crate::history::{Commit, Committed, End, Fate, Joined, Sent, Transformed};
use crate::member::{Cure, Member, cure};
use crate::rig::PATIENCE;
use crate::transactor::Transactor;

/// The group of those that commit offsets only.
const COUNTERS: &str = "counters";
/// The group of those that make records of records.
const WORKERS: &str = "workers";
/// How often a member does something, if nothing happens.
const PACE: Duration = Duration::from_millis(200);
/// How many times a member does something until it leaves its group, on average.
const STAY: u32 = 30;

/// How far a member has come in each of its partitions.
type Positions = BTreeMap<i32, i64>;

/// A member with its share.
struct Place {
    process: u32,
    member: Member,
    positions: Option<Positions>,
}

impl Crew {
    async fn pause(&self) {
        let steady = &self.env.steady;
        steady.sleep_until(steady.now().plus(PACE)).await;
    }

    async fn place(&self, group: &str) -> Option<Place> {
        let cluster = self.cluster().await?;
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let member = Member::new(cluster, group, &self.topic, self.partitions);
        Some(Place { process, member, positions: None })
    }

    /// Joins the group if it is no part of it, and asks how far that has come. Gives whether it has a share now.
    async fn take_place(&self, place: &mut Place) -> bool {
        if place.positions.is_some() {
            return true;
        }
        let invoked = self.now();
        self.step_of(place, Phase::Join).await;
        let assigned = match place.member.join().await {
            Ok(assigned) => assigned,
            Err(error) => {
                self.recover(place, &error).await;
                return false;
            }
        };
        self.history.lock().joined.push(Joined {
            group: place.member.group.clone(),
            member: place.member.id.clone(),
            generation: place.member.generation,
            keys: assigned.iter().map(|at| self.key(*at)).collect(),
            invoked,
            completed: self.now(),
        });
        self.find_positions(place, &assigned).await
    }

    /// Asks how far the group has come, until no transaction may change it.
    async fn find_positions(&self, place: &mut Place, assigned: &[i32]) -> bool {
        loop {
            let invoked = self.now();
            let error = match place.member.committed(assigned).await {
                Ok(committed) => {
                    self.note_committed(&place.member, &committed, invoked);
                    let begin = |(at, offset): (i32, i64)| (at, offset.max(0));
                    place.positions = Some(committed.into_iter().map(begin).collect());
                    return true;
                }
                Err(error) => error,
            };
            self.recover(place, &error).await;
            // A transaction takes its time; the member may be given up meanwhile.
            if let Err(error) = place.member.beat().await {
                self.recover(place, &error).await;
                if cure(&error) != Cure::Again {
                    return false;
                }
            }
        }
    }

    fn note_committed(&self, member: &Member, committed: &Positions, invoked: u64) {
        let completed = self.now();
        self.history.lock().committed.extend(committed.iter().map(|(at, offset)| Committed {
            group: member.group.clone(),
            key: self.key(*at),
            offset: *offset,
            invoked,
            completed,
        }));
    }

    async fn step_of(&self, place: &Place, phase: Phase) {
        if let Ok(coordinator) = place.member.coordinator().await {
            self.step(phase, coordinator);
        }
    }

    /// Does about an error what there is to do.
    async fn recover(&self, place: &mut Place, error: &ottla::client::ClientError) {
        tracing::debug!(%error, group = place.member.group, process = place.process, "a member");
        match cure(error) {
            Cure::Again => {
                self.pause().await;
                // The coordinator may be elsewhere.
                drop(place.member.cluster.refresh().await);
            }
            Cure::Rejoin => place.positions = None,
            Cure::Anew => {
                place.member.forget();
                place.positions = None;
            }
        }
    }

    /// Commits one offset after the other in each partition that it has.
    pub(super) async fn count(self: Arc<Self>) {
        let mut place = None;
        while !self.over.is_cancelled() {
            let Some(place) = &mut place else {
                place = self.place(COUNTERS).await;
                continue;
            };
            if !self.take_place(place).await {
                continue;
            }
            if self.env.rng.below(STAY) == 0 {
                // Whoever does not know whether it has left is given up, or goes on.
                drop(place.member.leave().await);
                place.member.forget();
                place.positions = None;
                continue;
            }
            let positions = place.positions.as_mut().expect("taken above");
            positions.values_mut().for_each(|offset| *offset += 1);
            let offsets = positions.clone();
            self.step_of(place, Phase::Count).await;
            let invoked = self.now();
            let committed = match offsets.is_empty() {
                true => place.member.beat().await,
                false => place.member.commit(&offsets).await,
            };
            let is_acknowledged = committed.is_ok();
            for (at, offset) in offsets {
                let transaction = None;
                self.note_commit(place, (at, offset), transaction, invoked, is_acknowledged);
                self.counted.send_modify(|count| *count += usize::from(is_acknowledged));
            }
            match committed {
                Ok(()) => self.pause().await,
                Err(error) => self.recover(place, &error).await,
            }
        }
    }

    fn note_commit(
        &self,
        place: &Place,
        (at, offset): (i32, i64),
        transaction: Option<u64>,
        invoked: u64,
        is_acknowledged: bool,
    ) {
        self.history.lock().commits.push(Commit {
            process: place.process,
            group: place.member.group.clone(),
            key: self.key(at),
            offset,
            generation: place.member.generation,
            transaction,
            invoked,
            completed: self.now(),
            is_acknowledged,
        });
    }

    /// Makes a record of each one that it reads, in transactions that commit how far it has read.
    pub(super) async fn transform(self: Arc<Self>, epochs: Epochs) {
        let (mut place, mut transactor, mut fetcher) = (None, None, None);
        for number in 0.. {
            let Some(place) = &mut place else {
                place = self.place(WORKERS).await;
                continue;
            };
            let Some(open) = &mut transactor else {
                let id = format!("worker-{}", place.process);
                let cluster = place.member.cluster.clone();
                transactor = self.begin(cluster, &id, epochs).await;
                continue;
            };
            // Nothing is left open.
            if self.over.is_cancelled() {
                return;
            }
            if place.positions.is_none() {
                fetcher = None;
            }
            if !self.take_place(place).await {
                continue;
            }
            let reading = fetcher.get_or_insert_with(|| reading(place));
            let fetched = match timeout(PACE, reading.next()).await {
                Ok(Ok(fetched)) => Some(fetched),
                Ok(Err(_)) => {
                    place.positions = None;
                    continue;
                }
                Err(_) => None,
            };
            if let Err(error) = place.member.beat().await {
                self.recover(place, &error).await;
                // What was read is read again.
                fetcher = None;
                continue;
            }
            let Some(fetched) = fetched.filter(|fetched| fetched.next > fetched.from) else {
                continue;
            };
            let transaction = u64::from(place.process) << 32 | number;
            let end = self.work(place, open, &fetched, transaction).await;
            if end == Some(End::Committed) {
                let positions = place.positions.as_mut().expect("taken above");
                positions.insert(fetched.partition.0, fetched.next.0);
                self.worked.send_modify(|count| *count += 1);
                continue;
            }
            if end.is_none() {
                transactor = None;
            }
            // It reads again what it has not committed, or does not know to have.
            fetcher = None;
            let assigned: Vec<i32> =
                place.positions.take().into_iter().flatten().map(|it| it.0).collect();
            if transactor.is_some() {
                self.find_positions(place, &assigned).await;
            }
        }
    }

    /// One transaction. Gives how it has ended, or nothing if nobody said that it has.
    async fn work(
        &self,
        place: &Place,
        open: &mut Transactor,
        fetched: &Fetched,
        transaction: u64,
    ) -> Option<End> {
        let partition = fetched.partition.0;
        let inputs = values(fetched);
        let first = self.values.fetch_add(inputs.len() as u64, Ordering::Relaxed);
        let outputs: Vec<u64> = (first..).take(inputs.len()).collect();
        let mut is_well = true;
        if !outputs.is_empty() {
            let invoked = self.now();
            self.step(Phase::Write, open.coordinator());
            let written = open.write(Self::OUTPUT, partition, &outputs).await;
            let completed = self.now();
            is_well = written.is_ok();
            let mut history = self.history.lock();
            for (at, (output, (_, input))) in (0..).zip(outputs.iter().zip(&inputs)) {
                history.transformed.push(Transformed {
                    group: WORKERS.to_owned(),
                    key: self.key(partition),
                    input: *input,
                    output: *output,
                });
                history.sent.push(Sent {
                    process: place.process,
                    key: (Self::OUTPUT.to_owned(), partition),
                    value: *output,
                    transaction: Some(transaction),
                    invoked,
                    completed,
                    fate: written.as_ref().map_or(Fate::Unknown, |base| Fate::Written(base + at)),
                });
            }
        }
        if is_well {
            let offset = (partition, fetched.next.0);
            let invoked = self.now();
            self.step(Phase::CommitOffsets, open.coordinator());
            let committed = open.commit_offsets(&place.member, offset).await;
            is_well = committed.is_ok();
            self.note_commit(place, offset, Some(transaction), invoked, is_well);
            if let Err(error) = committed {
                tracing::debug!(%error, process = place.process, "a worker");
            }
        }
        let commits = is_well && !transaction.is_multiple_of(4);
        self.end(open, transaction, commits).await
    }

    /// Notes how far the groups have come in the end.
    pub(super) async fn note_all_committed(&self, cluster: &Cluster) {
        let staff = self.staff.lock().clone();
        let has = [(COUNTERS, staff.counters), (WORKERS, staff.workers.len())];
        let partitions: Vec<i32> = (0..self.partitions).collect();
        for (group, _) in has.into_iter().filter(|(_, members)| *members > 0) {
            let member = Member::new(cluster.clone(), group, &self.topic, self.partitions);
            let committed = async {
                loop {
                    let invoked = self.now();
                    match member.committed(&partitions).await {
                        Ok(committed) => return (committed, invoked),
                        Err(_) => self.pause().await,
                    }
                }
            };
            let (committed, invoked) =
                timeout(PATIENCE, committed).await.expect("committed offsets can be read");
            self.note_committed(&member, &committed, invoked);
        }
    }
}

/// Reads what a member has, from where it is.
fn reading(place: &Place) -> Fetcher {
    let spans = place.positions.iter().flatten().map(|(at, offset)| {
        let span = Span { from: Offset(*offset), until: None };
        ((place.member.topic.clone(), PartitionId(*at)), span)
    });
    let options = FetcherOptions { read_committed: true, ..FetcherOptions::default() };
    Fetcher::new(place.member.cluster.clone(), spans.collect(), options)
}
