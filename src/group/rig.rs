//! A shard with a log and clocks, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::command::{
    Caller, Command, FetchedOffset, OffsetCommit, OffsetCommitPartition, OffsetCommitTopic,
    OffsetFetch, OffsetFetchTopic, Reply, TopicFilter,
};
use super::{GroupShard, Settings};
use crate::cluster::ClusterImage;
use crate::config::{Bounded, ConsumerGroupSettings, MigrationPolicy};
use crate::coordinator::{
    CoordinatorRecord, Effects, Now, Shard as _, Ticket, TransactionOutcome, TransactionWriter,
};
use crate::env::Rng;
use crate::model::{
    ErrorCode, Instant, Offset, PartitionId, ProducerEpoch, ProducerId, UnixMillis,
};
use crate::wire::Text;
use crate::wire::messages::describe_groups_response::DescribedGroup;
use crate::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::wire::messages::leave_group_request::MemberIdentity;
use crate::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse, WireGroupId,
};

/// The group of most tests.
pub(super) const GROUP: &str = "group";

/// What stands in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    Record(CoordinatorRecord),
    InTransaction(ProducerId, CoordinatorRecord),
    End(ProducerId, TransactionOutcome),
}

impl Logged {
    /// The record, if it is one.
    pub(super) const fn record(&self) -> Option<&CoordinatorRecord> {
        match self {
            Self::Record(record) | Self::InTransaction(_, record) => Some(record),
            Self::End(..) => None,
        }
    }
}

/// A shard, its log, and the answers it gave.
pub(super) struct Rig {
    pub(super) shard: GroupShard,
    pub(super) log: Vec<Logged>,
    settings: Arc<Mutex<Settings>>,
    rng: Rng,
    image: Arc<ClusterImage>,
    now: Now,
    next_ticket: u64,
    replies: BTreeMap<u64, Reply>,
    /// Tickets that were answered, to see that none is answered twice.
    answered: BTreeSet<u64>,
}

pub(super) fn text(value: &str) -> Text {
    Text::from_string(value.to_owned())
}

/// A subscription of a consumer.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.into()
}

pub(super) fn settings() -> Settings {
    Settings {
        initial_rebalance_delay: Duration::ZERO,
        session_timeout_ms_min: 6000,
        session_timeout_ms_max: 1_800_000,
        member_count_max: usize::MAX,
        offset_metadata_length_max: 4096,
        offsets_retention: Duration::from_secs(7 * 24 * 3600),
        offsets_retention_check_interval: Duration::from_secs(600),
        consumer: ConsumerGroupSettings {
            session_timeout: bounded(45_000, 45_000, 60_000),
            heartbeat_interval: bounded(5000, 5000, 15_000),
            assignment_interval: bounded(0, 0, 15_000),
            member_count_max: usize::MAX,
            assignors: vec!["uniform".to_owned(), "range".to_owned()],
            migration: MigrationPolicy::Bidirectional,
            regex_refresh_interval: Duration::from_secs(600),
        },
    }
}

fn bounded(default_ms: i32, min_ms: i32, max_ms: i32) -> Bounded {
    Bounded { default_ms, min_ms, max_ms }
}

/// A request to join as a consumer of `topic`, with a session of 10 s and a rebalance timeout of 60 s.
pub(super) fn join_request(member: &str) -> JoinGroupRequest {
    let mut request = JoinGroupRequest::default();
    request.group_id = WireGroupId(text(GROUP));
    request.member_id = text(member);
    request.session_timeout_ms = 10_000;
    request.rebalance_timeout_ms = 60_000;
    request.protocol_type = text("consumer");
    request.protocols = vec![protocol("range", subscription(&["topic"]))];
    request
}

pub(super) fn protocol(name: &str, metadata: Bytes) -> JoinGroupRequestProtocol {
    let mut protocol = JoinGroupRequestProtocol::default();
    protocol.name = text(name);
    protocol.metadata = metadata;
    protocol
}

pub(super) fn caller(api_version: i16) -> Caller {
    Caller {
        client_id: text("client"),
        client_host: text("/127.0.0.1"),
        api_version,
        sees: TopicFilter::new(|_| true),
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        let image = Arc::new(ClusterImage::default());
        let settings = Arc::new(Mutex::new(settings()));
        Self::loaded(settings, Vec::new(), Rng::from_seed(1), image, Self::start())
    }

    fn start() -> Now {
        Now { instant: Instant::from_start(Duration::ZERO), unix: UnixMillis(1_700_000_000_000) }
    }

    fn loaded(
        settings: Arc<Mutex<Settings>>,
        log: Vec<Logged>,
        rng: Rng,
        image: Arc<ClusterImage>,
        now: Now,
    ) -> Self {
        let source = Arc::clone(&settings);
        let source = Arc::new(move || Arc::new(source.lock().clone()));
        let shard = GroupShard::new(source, rng.clone(), Arc::clone(&image));
        let mut rig = Self {
            shard,
            log: Vec::new(),
            settings,
            rng,
            image,
            now,
            next_ticket: 0,
            replies: BTreeMap::new(),
            answered: BTreeSet::new(),
        };
        for logged in log {
            rig.append(logged);
        }
        rig.turn(|shard, now, effects| shard.loaded(now, effects));
        rig
    }

    /// The same log, in a shard that knows nothing else.
    pub(super) fn restarted(&self) -> Self {
        let (settings, image) = (Arc::clone(&self.settings), Arc::clone(&self.image));
        Self::loaded(settings, self.log.clone(), self.rng.clone(), image, self.now)
    }

    /// The cluster has changed.
    pub(super) fn set_image(&mut self, image: ClusterImage) {
        self.image = Arc::new(image);
        let image = Arc::clone(&self.image);
        self.turn(|shard, now, effects| shard.image_changed(now, &image, effects));
    }

    pub(super) fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock());
    }

    fn append(&mut self, logged: Logged) {
        let offset = Offset(i64::try_from(self.log.len()).unwrap());
        match &logged {
            Logged::Record(record) => self.shard.replay(offset, record).unwrap(),
            Logged::InTransaction(producer, record) => {
                self.shard.replay_in_transaction(offset, *producer, record).unwrap();
            }
            Logged::End(producer, outcome) => self.shard.transaction_ended(*producer, *outcome),
        }
        self.log.push(logged);
    }

    /// The marker at the end of a producer's transaction comes.
    pub(super) fn end_transaction(&mut self, producer: ProducerId, outcome: TransactionOutcome) {
        self.append(Logged::End(producer, outcome));
    }

    /// Commits one offset of `topic`, partition 0, in a producer's transaction.
    pub(super) fn commit_in_transaction(
        &mut self,
        producer: ProducerId,
        request: OffsetCommit,
    ) -> ErrorCode {
        let writer = TransactionWriter { id: producer, epoch: ProducerEpoch(0), guard: None };
        let ticket = self.ask(Command::TxnOffsetCommit { writer, request });
        match self.answer(ticket) {
            Some(Reply::TxnOffsetCommit(Ok(results))) => results[0].partitions[0].1,
            Some(Reply::TxnOffsetCommit(Err(error))) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset of `topic`, partition 0, for somebody who wants no offset of an open transaction.
    pub(super) fn committed_for_sure(&mut self) -> Result<i64, ErrorCode> {
        let partitions = vec![PartitionId(0)];
        let topic = OffsetFetchTopic { name: text("topic"), partitions, ..Default::default() };
        let (require_stable, topics) = (true, Some(vec![topic]));
        let group = text(GROUP);
        let request = OffsetFetch { group, require_stable, topics, member_epoch: -1, member: None };
        let ticket = self.ask(Command::OffsetFetch { request });
        match self.answer(ticket) {
            Some(Reply::OffsetFetch(Ok(topics))) => {
                let fetched = &topics[0].partitions[0];
                if fetched.error.is_none() { Ok(fetched.offset.0) } else { Err(fetched.error) }
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn turn(&mut self, work: impl FnOnce(&mut GroupShard, Now, &mut Effects<Reply>)) {
        let mut effects = Effects::default();
        work(&mut self.shard, self.now, &mut effects);
        for record in effects.records {
            self.append(match effects.writer {
                Some(writer) => Logged::InTransaction(writer.id, record),
                None => Logged::Record(record),
            });
        }
        for (ticket, reply) in effects.replies {
            assert!(self.answered.insert(ticket.0), "{ticket:?} answered twice: {reply:?}");
            self.replies.insert(ticket.0, reply);
        }
    }

    /// Asks; the answer may come later.
    pub(super) fn ask(&mut self, command: Command) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.turn(|shard, now, effects| shard.handle(now, command, Ticket(ticket), effects));
        ticket
    }

    /// The answer, if there is one.
    pub(super) fn answer(&mut self, ticket: u64) -> Option<Reply> {
        self.replies.remove(&ticket)
    }

    /// Lets time pass, with every deadline on the way.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.instant.plus(by);
        let mut ticks_at_once = 0;
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= end) {
            ticks_at_once = if deadline > self.now.instant { 1 } else { ticks_at_once + 1 };
            assert!(ticks_at_once < 10, "ticks leave something due");
            self.set_time(deadline.max(self.now.instant));
            self.turn(|shard, now, effects| shard.tick(now, effects));
        }
        self.set_time(end);
    }

    /// The time of day is another one, as at a broker whose clock differs.
    pub(super) fn shift_clock(&mut self, by_ms: i64) {
        self.now.unix = self.now.unix.plus_millis(by_ms);
    }

    fn set_time(&mut self, instant: Instant) {
        let passed = instant.since(self.now.instant).as_millis();
        self.now.unix = self.now.unix.plus_millis(i64::try_from(passed).unwrap());
        self.now.instant = instant;
    }

    pub(super) fn ask_join(&mut self, version: i16, request: JoinGroupRequest) -> u64 {
        self.ask(Command::JoinGroup { caller: caller(version), request })
    }

    pub(super) fn joined(&mut self, ticket: u64) -> Option<JoinGroupResponse> {
        let reply = self.answer(ticket)?;
        let Reply::JoinGroup(response) = reply else { panic!("{reply:?}") };
        Some(response)
    }

    /// Joins and expects an answer at once.
    pub(super) fn join(&mut self, version: i16, request: JoinGroupRequest) -> JoinGroupResponse {
        let ticket = self.ask_join(version, request);
        self.joined(ticket).expect("an answer at once")
    }

    pub(super) fn ask_sync(
        &mut self,
        member: &str,
        generation: i32,
        assignments: &[(&str, &str)],
    ) -> u64 {
        let request = sync_request(member, generation, assignments);
        self.ask(Command::SyncGroup { caller: caller(5), request })
    }

    pub(super) fn synced(&mut self, ticket: u64) -> Option<SyncGroupResponse> {
        let reply = self.answer(ticket)?;
        let Reply::SyncGroup(response) = reply else { panic!("{reply:?}") };
        Some(response)
    }

    /// Syncs and expects an answer at once.
    pub(super) fn sync(
        &mut self,
        member: &str,
        generation: i32,
        assignments: &[(&str, &str)],
    ) -> SyncGroupResponse {
        let ticket = self.ask_sync(member, generation, assignments);
        self.synced(ticket).expect("an answer at once")
    }

    pub(super) fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        self.heartbeat_as(member, None, generation)
    }

    pub(super) fn heartbeat_as(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> ErrorCode {
        let mut request = HeartbeatRequest::default();
        request.group_id = WireGroupId(text(GROUP));
        request.member_id = text(member);
        request.group_instance_id = instance.map(text);
        request.generation_id = generation;
        let ticket = self.ask(Command::Heartbeat { caller: caller(4), request });
        match self.answer(ticket) {
            Some(Reply::Heartbeat(response)) => ErrorCode::from_code(response.error_code).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let mut request = LeaveGroupRequest::default();
        request.group_id = WireGroupId(text(GROUP));
        let identity = |(member, instance): &(&str, Option<&str>)| {
            let mut identity = MemberIdentity::default();
            identity.member_id = text(member);
            identity.group_instance_id = instance.map(text);
            identity
        };
        request.members = members.iter().map(identity).collect();
        let ticket = self.ask(Command::LeaveGroup { caller: caller(5), request });
        match self.answer(ticket) {
            Some(Reply::LeaveGroup(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Commits one offset of `topic`, partition 0.
    pub(super) fn commit(&mut self, member: &str, generation: i32, offset: i64) -> ErrorCode {
        self.commit_with(commit_request(member, generation, offset))
    }

    pub(super) fn commit_with(&mut self, request: OffsetCommit) -> ErrorCode {
        let ticket = self.ask(Command::OffsetCommit { caller: caller(8), request });
        match self.answer(ticket) {
            Some(Reply::OffsetCommit(Ok(results))) => results[0].partitions[0].1,
            Some(Reply::OffsetCommit(Err(error))) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset of `topic`, partition 0; -1 if there is none.
    pub(super) fn committed(&mut self) -> i64 {
        self.fetch(GROUP).first().map_or(-1, |fetched| fetched.offset.0)
    }

    /// All committed offsets of a group.
    pub(super) fn fetch(&mut self, group: &str) -> Vec<FetchedOffset> {
        let request =
            OffsetFetch { group: text(group), member_epoch: -1, ..OffsetFetch::default() };
        let ticket = self.ask(Command::OffsetFetch { request });
        match self.answer(ticket) {
            Some(Reply::OffsetFetch(Ok(topics))) => {
                topics.into_iter().flat_map(|topic| topic.partitions).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// What an administrator sees.
    pub(super) fn describe(&mut self) -> DescribedGroup {
        let command = Command::DescribeGroup { group: text(GROUP), api_version: 5 };
        let ticket = self.ask(command);
        match self.answer(ticket) {
            Some(Reply::DescribeGroup(described)) => described,
            other => panic!("{other:?}"),
        }
    }

    /// The state that an administrator sees.
    pub(super) fn state(&mut self) -> String {
        self.describe().group_state.to_string()
    }
}

pub(super) fn sync_request(
    member: &str,
    generation: i32,
    assignments: &[(&str, &str)],
) -> SyncGroupRequest {
    let mut request = SyncGroupRequest::default();
    request.group_id = WireGroupId(text(GROUP));
    request.member_id = text(member);
    request.generation_id = generation;
    let assigned = |(member, bytes): &(&str, &str)| {
        let mut assigned = SyncGroupRequestAssignment::default();
        assigned.member_id = text(member);
        assigned.assignment = Bytes::copy_from_slice(bytes.as_bytes());
        assigned
    };
    request.assignments = assignments.iter().map(assigned).collect();
    request
}

pub(super) fn commit_request(member: &str, generation: i32, offset: i64) -> OffsetCommit {
    let partition = OffsetCommitPartition {
        partition: PartitionId(0),
        offset: Offset(offset),
        leader_epoch: -1,
        metadata: None,
    };
    OffsetCommit {
        group: text(GROUP),
        generation_or_epoch: generation,
        member: text(member),
        topics: vec![OffsetCommitTopic {
            name: text("topic"),
            partitions: vec![partition],
            ..OffsetCommitTopic::default()
        }],
        ..OffsetCommit::default()
    }
}
