//! Clients that write, read and watch a topic while its brokers are disturbed, and note what they saw in a [`History`].
//! `crew/groups.rs` has those that are members of groups.

mod groups;
mod topics;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ottla::client::{
    Address, Cluster, ClusterOptions, CoordinatorKind, Fetched, Fetcher, FetcherOptions, NewRecord,
    OffsetQuery, Producer, ProducerOptions, Span, Spans,
};
use ottla::env::{Env, MemoryDisk};
use ottla::model::{BrokerId, Offset, PartitionId};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::exactly_once::Epochs;
use crate::history::{End, Ended, Fate, History, Key, Latest, Moment, Read, Sent, Value};
use crate::rig::PATIENCE;
use crate::transactor::Transactor;

/// Batches that a producer has under way at once.
const BURST: usize = 5;

/// Who is at work.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staff {
    pub(crate) writers: usize,
    pub(crate) transactors: Vec<Epochs>,
    /// Members of a group that commit offsets, and read nothing.
    pub(crate) counters: usize,
    /// Members of a group that make a record of each one that they read, in transactions; there has to be a topic
    /// [`OUTPUT`](Crew::OUTPUT).
    pub(crate) workers: Vec<Epochs>,
    /// One who changes topics, of three nodes.
    pub(crate) administrator: Option<Administrator>,
}

/// What an administrator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Administrator {
    /// Its topics stay where they are.
    Stays,
    /// They have two replicas each, and move.
    Moves,
}

/// A moment in the work of a transactor, worker or counter at which its coordinator may be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is about to ask for an epoch, and to have aborted what it has open.
    Begin,
    /// To write the first record, which makes a partition part of its transaction.
    Write,
    /// To write the last one.
    WriteMore,
    /// To commit offsets in its transaction.
    CommitOffsets,
    /// To end it.
    End,
    /// It was told that it is ended: the markers are on their way.
    Ended,
    /// To join a group.
    Join,
    /// To commit offsets without a transaction.
    Count,
}

impl Phase {
    /// In the order of a life.
    pub(crate) const ALL: [Self; 8] = [
        Self::Begin,
        Self::Write,
        Self::WriteMore,
        Self::CommitOffsets,
        Self::End,
        Self::Ended,
        Self::Join,
        Self::Count,
    ];
}

impl Staff {
    /// So many writers, and these transactors.
    pub(crate) fn writing(writers: usize, transactors: &[Epochs]) -> Self {
        Self { writers, transactors: transactors.to_vec(), ..Self::default() }
    }
}

/// The clients of one topic. They end when they are told that it is over.
pub(crate) struct Crew {
    env: Env,
    bootstrap: Vec<Address>,
    topic: String,
    partitions: i32,
    history: Mutex<History>,
    values: AtomicU64,
    processes: AtomicU32,
    /// How many records were acknowledged, transactions were committed, offsets of counters were acknowledged, transactions of
    /// workers were committed, and changes of topics were acknowledged.
    acknowledged: watch::Sender<usize>,
    committed: watch::Sender<usize>,
    counted: watch::Sender<usize>,
    worked: watch::Sender<usize>,
    changed: watch::Sender<usize>,
    staff: Mutex<Staff>,
    /// What somebody is about to do, and the broker that coordinates it.
    steps: watch::Sender<Option<(Phase, BrokerId)>>,
    over: CancellationToken,
}

impl Crew {
    /// What workers write to.
    pub(crate) const OUTPUT: &str = "o";

    /// A crew that knows brokers by these addresses. The topic has to be there.
    pub(crate) fn new(bootstrap: &[String], topic: &str, partitions: i32) -> Arc<Self> {
        let env = Env::with_disk(Arc::new(MemoryDisk::new()));
        Self::on(env, bootstrap, topic, partitions)
    }

    /// The same on this machine.
    pub(crate) fn on(env: Env, bootstrap: &[String], topic: &str, partitions: i32) -> Arc<Self> {
        Arc::new(Self {
            env,
            bootstrap: bootstrap.iter().map(|address| Address::parse(address).unwrap()).collect(),
            topic: topic.to_owned(),
            partitions,
            history: Mutex::default(),
            values: AtomicU64::new(1),
            processes: AtomicU32::new(0),
            acknowledged: watch::Sender::new(0),
            committed: watch::Sender::new(0),
            counted: watch::Sender::new(0),
            worked: watch::Sender::new(0),
            changed: watch::Sender::new(0),
            staff: Mutex::default(),
            steps: watch::Sender::new(None),
            over: CancellationToken::new(),
        })
    }

    fn now(&self) -> Moment {
        u64::try_from(self.env.steady.now().since_start().as_nanos()).unwrap()
    }

    /// The topics that are read.
    fn topics(&self) -> Vec<&str> {
        let has_output = !self.staff.lock().workers.is_empty();
        let output = has_output.then_some(Self::OUTPUT);
        std::iter::once(self.topic.as_str()).chain(output).collect()
    }

    /// Their partitions.
    fn keys(&self) -> Vec<(String, PartitionId)> {
        let partitions = || (0..self.partitions).map(PartitionId);
        let keys = |topic: &str| partitions().map(|at| (topic.to_owned(), at)).collect::<Vec<_>>();
        self.topics().into_iter().flat_map(keys).collect()
    }

    fn key(&self, partition: i32) -> Key {
        (self.topic.clone(), partition)
    }

    async fn cluster(&self) -> Option<Cluster> {
        let mut options = ClusterOptions::new(self.bootstrap.clone());
        options.connect_timeout = Duration::from_secs(1);
        options.request_timeout = Duration::from_secs(5);
        Cluster::connect(self.env.clone(), options).await.ok()
    }

    /// Waits until so many more records are acknowledged than now, and all others have come forward as well.
    pub(crate) async fn write_on(&self, records: usize) {
        let staff = self.staff.lock().clone();
        let goals = [
            ("records are acknowledged", &self.acknowledged, records),
            ("transactions are committed", &self.committed, staff.transactors.len().min(1)),
            ("counters commit", &self.counted, staff.counters.min(1)),
            ("workers commit", &self.worked, staff.workers.len().min(1)),
            ("topics change", &self.changed, usize::from(staff.administrator.is_some())),
        ];
        for (what, counted, more) in goals {
            let mut counted = counted.subscribe();
            let wanted = *counted.borrow() + more;
            let reached = counted.wait_for(|count| *count >= wanted);
            let reached = tokio::time::timeout(PATIENCE, reached).await;
            reached.unwrap_or_else(|_| panic!("{what}")).unwrap();
        }
    }

    /// Waits until somebody comes to this, and gives who coordinates it.
    pub(crate) async fn comes_to(&self, phase: Phase) -> BrokerId {
        let mut steps = self.steps.subscribe();
        steps.mark_unchanged();
        loop {
            steps.changed().await.expect("the sender is here");
            if let Some((at, coordinator)) = *steps.borrow_and_update()
                && at == phase
            {
                return coordinator;
            }
        }
    }

    fn step(&self, phase: Phase, coordinator: BrokerId) {
        self.steps.send_replace(Some((phase, coordinator)));
    }

    /// Has a transactional id begin anew; nothing if that was refused or is not to be had.
    async fn begin(&self, cluster: Cluster, id: &str, epochs: Epochs) -> Option<Transactor> {
        let kind = CoordinatorKind::Transaction;
        let coordinator = cluster.coordinator(kind, id).await.ok()?;
        self.step(Phase::Begin, coordinator);
        Transactor::begin(cluster, id, epochs).await.ok()
    }

    /// Ends a transaction, and notes how.
    async fn end(&self, open: &mut Transactor, transaction: u64, commits: bool) -> Option<End> {
        let invoked = self.now();
        self.step(Phase::End, open.coordinator());
        let is_ended = open.end(commits).await.is_ok();
        self.step(Phase::Ended, open.coordinator());
        let end = match (commits, is_ended) {
            (true, true) => End::Committed,
            (true, false) => End::Unknown,
            (false, _) => End::Aborted,
        };
        self.history.lock().ended.push(Ended { transaction, invoked, completed: self.now(), end });
        is_ended.then_some(end)
    }

    /// Writes records one burst after the other, each burst to the next partition, idempotent and with `acks=all`.
    async fn write(self: Arc<Self>) {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let options = ProducerOptions { batch_bytes: 1, ..ProducerOptions::default() };
        let mut producer = None;
        let mut sequences: BTreeMap<i32, i32> = BTreeMap::new();
        let mut partition = 0;
        while !self.over.is_cancelled() {
            let Some(open) = &mut producer else {
                let Some(cluster) = self.cluster().await else { continue };
                producer = Producer::open(cluster, &self.topic, options.clone()).await.ok();
                sequences.clear();
                continue;
            };
            partition = (partition + 1) % self.partitions;
            let sequence = sequences.entry(partition).or_default();
            if !self.burst(process, open, partition, sequence).await {
                // Its sequence is broken: another one begins anew.
                producer = None;
            }
        }
    }

    /// Gives whether all was written. `sequence` is that of the producer's next record in the partition.
    async fn burst(
        &self,
        process: u32,
        producer: &mut Producer,
        partition: i32,
        sequence: &mut i32,
    ) -> bool {
        let mut sent = BTreeMap::new();
        let mut is_well = true;
        for _ in 0..BURST {
            let value = self.values.fetch_add(1, Ordering::Relaxed);
            let bytes = value.to_be_bytes();
            let record = NewRecord {
                key: None,
                value: Some(&bytes),
                headers: &[],
                timestamp: None,
                partition: Some(PartitionId(partition)),
            };
            sent.insert(*sequence, (value, self.now()));
            *sequence += 1;
            is_well = producer.push(record).await.is_ok();
            if !is_well {
                break;
            }
        }
        is_well = is_well && producer.flush().await.is_ok();
        // Each batch has one record. Those that were sent again come after others that were not.
        let offsets: BTreeMap<i32, i64> = producer
            .take_delivered()
            .iter()
            .inspect(|batch| assert_eq!((batch.records, batch.partition.0), (1, partition)))
            .map(|batch| (batch.base_sequence, batch.base_offset.0))
            .collect();
        self.acknowledged.send_modify(|count| *count += offsets.len());
        let (completed, key) = (self.now(), self.key(partition));
        self.history.lock().sent.extend(sent.into_iter().map(|(sequence, (value, invoked))| {
            let offset = offsets.get(&sequence).filter(|offset| **offset >= 0);
            let fate = offset.map_or(Fate::Unknown, |offset| Fate::Written(*offset));
            let key = key.clone();
            Sent { process, key, value, transaction: None, invoked, completed, fate }
        }));
        is_well
    }

    /// Writes transactions of a few records in several partitions, and commits two of three.
    async fn transact(self: Arc<Self>, epochs: Epochs) {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let id = format!("transactor-{process}");
        let mut transactor = None;
        for number in 0.. {
            // Nothing is left open.
            if self.over.is_cancelled() && transactor.is_some() {
                return;
            }
            let Some(open) = &mut transactor else {
                let Some(cluster) = self.cluster().await else { continue };
                transactor = self.begin(cluster, &id, epochs).await;
                continue;
            };
            let transaction = u64::from(process) << 32 | number;
            if !self.transaction(process, open, transaction).await {
                transactor = None;
            }
        }
    }

    /// Gives whether the producer can go on.
    async fn transaction(&self, process: u32, open: &mut Transactor, transaction: u64) -> bool {
        let mut is_well = true;
        for part in 0..3 {
            let partition = i32::try_from((transaction + part) % 3).unwrap() % self.partitions;
            let value = self.values.fetch_add(1, Ordering::Relaxed);
            let invoked = self.now();
            match part {
                0 => self.step(Phase::Write, open.coordinator()),
                2 => self.step(Phase::WriteMore, open.coordinator()),
                _ => {}
            }
            let written = open.write(&self.topic, partition, &[value]).await;
            let (completed, key) = (self.now(), self.key(partition));
            let fate = written.as_ref().map_or(Fate::Unknown, |offset| Fate::Written(*offset));
            let transaction = Some(transaction);
            let sent = Sent { process, key, value, transaction, invoked, completed, fate };
            self.history.lock().sent.push(sent);
            is_well = written.is_ok();
            if !is_well {
                break;
            }
        }
        // What cannot be ended is aborted when its id begins anew.
        let commits = is_well && !transaction.is_multiple_of(3);
        let end = match is_well {
            true => self.end(open, transaction, commits).await,
            false => {
                let (invoked, completed) = (self.now(), self.now());
                let ended = Ended { transaction, invoked, completed, end: End::Aborted };
                self.history.lock().ended.push(ended);
                None
            }
        };
        self.committed.send_modify(|count| *count += usize::from(end == Some(End::Committed)));
        self.acknowledged.send_modify(|count| *count += 3 * usize::from(end.is_some()));
        end.is_some()
    }

    /// Reads all partitions from their starts on, following what is written.
    async fn read(self: Arc<Self>, read_committed: bool) {
        let mut positions: BTreeMap<(String, PartitionId), Offset> =
            self.keys().into_iter().map(|key| (key, Offset(0))).collect();
        while !self.over.is_cancelled() {
            let Some(cluster) = self.cluster().await else { continue };
            let spans = positions
                .iter()
                .map(|(key, from)| (key.clone(), Span { from: *from, until: None }));
            let options = FetcherOptions { read_committed, ..FetcherOptions::default() };
            let mut fetcher = Fetcher::new(cluster, spans.collect(), options);
            loop {
                let next = tokio::select! {
                    next = fetcher.next() => next,
                    () = self.over.cancelled() => return,
                };
                let Ok(fetched) = next else { break };
                self.note(&fetched, read_committed);
                positions.insert((fetched.topic.clone(), fetched.partition), fetched.next);
            }
        }
    }

    fn note(&self, fetched: &Fetched, committed: bool) {
        let records = values(fetched);
        let (from, next) = (fetched.from.0, fetched.next.0);
        let (key, completed) = ((fetched.topic.clone(), fetched.partition.0), self.now());
        self.history.lock().reads.push(Read { key, committed, from, next, records, completed });
    }

    /// Asks the leaders for the ends of the partitions, again and again.
    async fn watch(self: Arc<Self>) {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let Some(mut cluster) = self.cluster().await else { return };
        while !self.over.is_cancelled() {
            let invoked = self.now();
            let Ok(listed) = cluster.list_offsets(&self.queries()).await else {
                cluster = self.cluster().await.unwrap_or(cluster);
                continue;
            };
            let mut history = self.history.lock();
            for ((topic, partition), listed) in listed {
                let (key, offset) = ((topic, partition.0), listed.offset.unwrap().0);
                history.latest.push(Latest { process, key, offset, invoked });
            }
        }
    }

    fn queries(&self) -> Vec<(String, PartitionId, OffsetQuery)> {
        let query = |(topic, partition)| (topic, partition, OffsetQuery::Latest);
        self.keys().into_iter().map(query).collect()
    }

    /// Has a staff at work, readers of either kind and one who watches the ends, while `work` goes on; gives what it gave, and
    /// the history. What was broken has to be mended when `work` ends.
    pub(crate) async fn beside<T>(
        self: &Arc<Self>,
        staff: Staff,
        work: impl Future<Output = T>,
    ) -> (T, History) {
        *self.staff.lock() = staff.clone();
        let (local, mut clients) = (LocalSet::new(), JoinSet::new());
        for _ in 0..staff.writers {
            clients.spawn_local_on(self.clone().write(), &local);
        }
        for epochs in staff.transactors {
            clients.spawn_local_on(self.clone().transact(epochs), &local);
        }
        for _ in 0..staff.counters {
            clients.spawn_local_on(self.clone().count(), &local);
        }
        for epochs in staff.workers {
            clients.spawn_local_on(self.clone().transform(epochs), &local);
        }
        if let Some(administrator) = staff.administrator {
            clients.spawn_local_on(self.clone().administer(administrator), &local);
        }
        for read_committed in [false, true] {
            clients.spawn_local_on(self.clone().read(read_committed), &local);
        }
        clients.spawn_local_on(self.clone().watch(), &local);
        let all = async {
            let given = work.await;
            self.over.cancel();
            while let Some(ended) = clients.join_next().await {
                ended.unwrap();
            }
            (given, self.finish().await)
        };
        let (given, history) = local.run_until(all).await;
        for committed in [false, true] {
            let followed = |read: &Read| read.committed == committed && read.from > 0;
            assert!(history.reads.iter().any(followed), "nobody has followed what was written");
        }
        (given, history)
    }

    /// Reads everything from start to end, all records and what is committed, and gives the history. Everybody has to have
    /// ended, and what was broken has to be mended.
    async fn finish(&self) -> History {
        let cluster = self.cluster().await.expect("a cluster that is mended");
        let listed = cluster.list_offsets(&self.queries()).await.expect("partitions with leaders");
        for read_committed in [false, true] {
            let end = |listed: &ottla::client::ListedOffset| listed.offset.unwrap();
            let spans: Spans = listed
                .iter()
                .filter(|(_, listed)| end(listed).0 > 0)
                .map(|(at, listed)| {
                    (at.clone(), Span { from: Offset(0), until: Some(end(listed)) })
                })
                .collect();
            let mut missing: BTreeMap<(String, PartitionId), Offset> =
                spans.iter().map(|(key, span)| (key.clone(), span.until.unwrap())).collect();
            let options = FetcherOptions { read_committed, ..FetcherOptions::default() };
            let mut fetcher = Fetcher::new(cluster.clone(), spans, options);
            while !missing.is_empty() {
                let fetched = fetcher.next().await.expect("records up to the end");
                self.note(&fetched, read_committed);
                missing.retain(|(topic, at), end| {
                    fetched.topic != *topic || fetched.partition != *at || fetched.next < *end
                });
            }
        }
        self.note_all_committed(&cluster).await;
        self.note_topics(&cluster).await;
        std::mem::take(&mut self.history.lock())
    }
}

/// What is wanted of what was read, with its offsets.
fn values(fetched: &Fetched) -> Vec<(i64, Value)> {
    let mut records: Vec<(i64, Value)> = Vec::new();
    fetched
        .visit(|record| {
            let value = record.value.expect("records have values").try_into().unwrap();
            records.push((record.offset.0, Value::from_be_bytes(value)));
            ControlFlow::Continue(())
        })
        .expect("whole batches");
    records
}
