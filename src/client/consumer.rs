//! A member of a consumer group, by the classic protocol: it joins, shares, reads, commits and leaves.
//!
//! The protocol is the eager one with ranges, which all members of all clients know: at a rebalance everything is given up
//! and shared anew. What was used is committed before.
//!
//! A task of its own beats for the member: whoever uses what was read may take as long as they like, as long as nobody else joins.
//!
//! **Invariant:** only offsets that [`GroupConsumer::used`] was told of are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::assignment::{Assignment, Subscription, assign_ranges};
use super::cluster::{Cluster, CoordinatorKind, Target};
use super::connection::Connection;
use super::error::ClientError;
use super::fetcher::{Fetched, Fetcher, FetcherOptions, Span, Spans};
use super::group_offsets::Committer;
use super::metadata::Topics;
use super::offsets::OffsetQuery;
use super::refusal::check;
use crate::model::{BrokerId, ErrorCode, Instant, Offset, PartitionId};
use crate::wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, MetadataRequest,
    SyncGroupRequest, WireGroupId, join_group_request, leave_group_request, sync_group_request,
};
use crate::wire::{ApiKey, Request, Text};

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The group.
    pub group: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Where to begin in a partition of which the group has committed nothing.
    pub reset: ResetPolicy,
    /// How it reads.
    pub fetcher: FetcherOptions,
    /// After how long without a sign of life the member is given up by its group.
    pub session_timeout: Duration,
    /// How often what was used is committed.
    pub commit_interval: Duration,
}

/// Where to begin if there is nothing to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    /// At the first record.
    Earliest,
    /// At the end.
    Latest,
}

impl GroupOptions {
    /// Kafka's times.
    #[must_use]
    pub fn new(group: String, topics: Vec<String>, reset: ResetPolicy) -> Self {
        Self {
            group,
            topics,
            reset,
            fetcher: FetcherOptions::default(),
            session_timeout: Duration::from_secs(45),
            commit_interval: Duration::from_secs(5),
        }
    }
}

/// A member of a group.
#[derive(Debug)]
pub struct GroupConsumer {
    cluster: Cluster,
    options: GroupOptions,
    coordinator: BrokerId,
    committer: Committer,
    /// What it has, while it is part of a generation.
    share: Option<Share>,
    /// What was used and is not committed yet.
    used: BTreeMap<(String, PartitionId), Offset>,
    /// Whether the last that was tried had no answer.
    is_cut_off: bool,
}

#[derive(Debug)]
struct Share {
    assigned: BTreeSet<(String, PartitionId)>,
    fetcher: Fetcher,
    heartbeats: Heartbeats,
    commit: Instant,
}

impl GroupConsumer {
    /// A member that has not joined yet: [`next`](Self::next) does.
    #[must_use]
    pub fn new(cluster: Cluster, options: GroupOptions) -> Self {
        Self {
            cluster,
            options,
            coordinator: BrokerId(-1),
            committer: Committer::nobody(),
            share: None,
            used: BTreeMap::new(),
            is_cut_off: false,
        }
    }

    /// The partitions that it has at present.
    #[must_use]
    pub fn assigned(&self) -> BTreeSet<(String, PartitionId)> {
        self.share.as_ref().map(|share| share.assigned.clone()).unwrap_or_default()
    }

    /// What was read before `offset` of a partition has been used.
    pub fn used(&mut self, topic: &str, partition: PartitionId, offset: Offset) {
        self.used.insert((topic.to_owned(), partition), offset);
    }

    /// The next piece; joins, beats and commits on the way. May be dropped at any time; [`leave`](Self::leave) then still
    /// leaves in good order.
    ///
    /// # Errors
    /// When the group does not take the member, or a partition cannot be read any more.
    pub async fn next(&mut self) -> Result<Fetched, ClientError> {
        let outcome = self.advance().await;
        self.is_cut_off = outcome.as_ref().is_err_and(ClientError::is_connection);
        outcome
    }

    async fn advance(&mut self) -> Result<Fetched, ClientError> {
        loop {
            let Some(share) = &mut self.share else {
                self.join().await?;
                continue;
            };
            let commit = share.commit;
            let steady = self.cluster.env().steady.clone();
            // When both are there, offsets are not kept waiting by records.
            tokio::select! {
                biased;
                ended = share.heartbeats.ended.recv() => self.end_share(ended).await?,
                () = steady.sleep_until(commit) => {
                    share.commit = steady.now().plus(self.options.commit_interval);
                    self.commit().await?;
                }
                fetched = share.fetcher.next() => return fetched,
            }
        }
    }

    /// Commits what was used, and leaves the group. If nobody answered before, that is tried for a moment only.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn leave(self) -> Result<(), ClientError> {
        let steady = self.cluster.env().steady.clone();
        let (is_cut_off, until) = (self.is_cut_off, steady.now().plus(PARTING_TIME));
        tokio::select! {
            left = self.commit_and_leave() => left,
            () = steady.sleep_until(until), if is_cut_off => Ok(()),
        }
    }

    async fn commit_and_leave(mut self) -> Result<(), ClientError> {
        if self.committer.member_id.is_empty() {
            return Ok(());
        }
        self.commit().await?;
        self.share = None;
        let member_id = Text::from_string(self.committer.member_id.clone());
        let make = |version| {
            let request = LeaveGroupRequest::default().with_group_id(self.group_id());
            if version >= MEMBERS_SINCE {
                let member = leave_group_request::MemberIdentity::default();
                request.with_members(vec![member.with_member_id(member_id)])
            } else {
                request.with_member_id(member_id)
            }
        };
        let group = &self.options.group;
        let coordinator = self.cluster.coordinator(CoordinatorKind::Group, group).await?;
        let target = Target::Coordinator(coordinator);
        let response = self.cluster.request_with(target, i16::MAX, make).await?;
        let subject = || format!("group '{}'", self.options.group);
        check(ApiKey::LeaveGroup, response.error_code, subject, None)?;
        Ok(())
    }

    /// Commits what was used. A group that has gone on without us keeps what it has.
    ///
    /// # Errors
    /// When the coordinator refuses for another reason.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        if self.used.is_empty() {
            return Ok(());
        }
        let committed =
            self.cluster.commit_offsets(&self.options.group, &self.committer, &self.used).await;
        match committed {
            Ok(()) => self.used.clear(),
            Err(error) if is_out(&error) => {
                tracing::warn!(%error, "the group went on without this member: its last offsets are not committed");
                self.used.clear();
                self.share = None;
                self.committer = Committer::nobody();
            }
            // It is committed when the members have joined again, or read again by another one.
            Err(error) if code_of(&error) == Some(ErrorCode::RebalanceInProgress) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The heartbeats have ended: the member is to join anew, or cannot be one any more.
    async fn end_share(&mut self, why: Option<ClientError>) -> Result<(), ClientError> {
        match why {
            Some(error) if is_out(&error) => {
                self.committer = Committer::nobody();
                self.share = None;
            }
            Some(error) if code_of(&error) != Some(ErrorCode::RebalanceInProgress) => {
                return Err(error);
            }
            // The reason is gone if this was dropped while it waited.
            Some(_) | None => {
                self.commit().await?;
                self.share = None;
            }
        }
        Ok(())
    }

    /// Joins a generation: from nothing to a fetcher that begins where the group has stopped.
    async fn join(&mut self) -> Result<(), ClientError> {
        let group = self.options.group.clone();
        let deadline = self.cluster.deadline();
        let mut pause = super::cluster::PAUSE_FIRST;
        let assignment = loop {
            self.coordinator = self.cluster.coordinator(CoordinatorKind::Group, &group).await?;
            let error = match self.join_and_sync().await {
                Ok(assignment) => break assignment,
                Err(error) => error,
            };
            match code_of(&error) {
                // The coordinator has given us a name; the next question is asked under it.
                Some(ErrorCode::MemberIdRequired) => continue,
                Some(ErrorCode::RebalanceInProgress) => {}
                _ if is_out(&error) => self.committer = Committer::nobody(),
                _ if error.is_retriable() => {}
                _ => return Err(error),
            }
            if !self.cluster.pause(&mut pause, deadline).await {
                return Err(error);
            }
        };
        let assigned: BTreeSet<(String, PartitionId)> =
            assignment.iter().map(|(topic, partition)| (topic.to_owned(), partition)).collect();
        tracing::info!(group = self.options.group, partitions = assigned.len(), "joined");
        let heartbeats = Heartbeats::begin(self);
        // Others may have used what we had before.
        self.used.retain(|partition, _| assigned.contains(partition));
        let spans = self.beginnings(&assigned).await?;
        let now = self.cluster.env().steady.now();
        self.share = Some(Share {
            fetcher: Fetcher::new(self.cluster.clone(), spans, self.options.fetcher.clone()),
            assigned,
            heartbeats,
            commit: now.plus(self.options.commit_interval),
        });
        Ok(())
    }

    async fn join_and_sync(&mut self) -> Result<Assignment, ClientError> {
        let subscription = Subscription { topics: self.options.topics.clone() };
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(Text::from_static_str(ASSIGNOR))
            .with_metadata(subscription.to_bytes());
        let session = i32::try_from(self.options.session_timeout.as_millis());
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(session.unwrap_or(i32::MAX))
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(Text::from_string(self.committer.member_id.clone()))
            .with_protocol_type(Text::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        let connection = self.cluster.connection(Target::Coordinator(self.coordinator)).await?;
        let version = connection.version_up_to(ApiKey::JoinGroup, i16::MAX)?;
        let joined = self.answer_to_all(&connection, version, &request).await?;
        let asked = joined.error_code == ErrorCode::MemberIdRequired.code();
        if joined.error_code == 0 || asked {
            self.committer.member_id = joined.member_id.to_string();
        }
        let subject = || format!("group '{}'", self.options.group);
        check(ApiKey::JoinGroup, joined.error_code, subject, None)
            .map_err(|refusal| refusal.asked(&connection, version))?;
        self.committer.generation = joined.generation_id;
        self.sync(&joined).await
    }

    async fn sync(&self, joined: &JoinGroupResponse) -> Result<Assignment, ClientError> {
        let mut assignments = Vec::new();
        if joined.leader == joined.member_id && !joined.skip_assignment {
            for (member, assignment) in self.assign(joined).await? {
                let entry = sync_group_request::SyncGroupRequestAssignment::default()
                    .with_member_id(Text::from_string(member))
                    .with_assignment(assignment.to_bytes());
                assignments.push(entry);
            }
        }
        let connection = self.cluster.connection(Target::Coordinator(self.coordinator)).await?;
        let version = connection.version_up_to(ApiKey::SyncGroup, i16::MAX)?;
        let mut request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone())
            .with_assignments(assignments);
        if version >= PROTOCOL_SINCE {
            request.protocol_type = Some(Text::from_static_str("consumer"));
            request.protocol_name = joined.protocol_name.clone();
        }
        let response = self.answer_to_all(&connection, version, &request).await?;
        let subject = || format!("group '{}'", self.options.group);
        check(ApiKey::SyncGroup, response.error_code, subject, None)
            .map_err(|refusal| refusal.asked(&connection, version))?;
        Assignment::read(&response.assignment)
    }

    /// The answer to what the coordinator keeps until all members have said it, for which they have the time of a rebalance.
    /// A coordinator that stands still is given up as soon as for any other question: it is asked for other things meanwhile.
    async fn answer_to_all<R: Request>(
        &self,
        connection: &Connection,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        let patience = self.cluster.options().request_timeout
            + Duration::from_millis(u64::from(REBALANCE_TIMEOUT_MS.unsigned_abs()));
        tokio::select! {
            answer = connection.call(version, request, patience) => answer,
            error = self.end_of_life() => Err(error),
        }
    }

    /// Asks the coordinator for something small again and again; gives why that has no answer.
    async fn end_of_life(&self) -> ClientError {
        let steady = &self.cluster.env().steady;
        loop {
            let make = |version| super::metadata::request(Topics::None, version);
            let target = Target::Node(self.coordinator);
            if let Err(error) =
                self.cluster.request_with::<MetadataRequest>(target, i16::MAX, make).await
            {
                return error;
            }
            steady.sleep(LIFE_SIGNS_EVERY).await;
        }
    }

    /// What the leader of the group does: shares the partitions.
    async fn assign(
        &self,
        joined: &JoinGroupResponse,
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let mut members = BTreeMap::new();
        for member in &joined.members {
            members.insert(member.member_id.to_string(), Subscription::read(&member.metadata)?);
        }
        let topics: BTreeSet<&str> =
            members.values().flat_map(|wants| wants.topics.iter().map(String::as_str)).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let metadata = self.cluster.metadata(Topics::Named(&topics)).await?;
        let count = |partitions: usize| u32::try_from(partitions).unwrap_or(0);
        let counts = metadata
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), count(topic.partitions.len())))
            .collect();
        Ok(assign_ranges(&members, &counts))
    }

    /// Where each partition is read from: what we have used, else what is committed, else as the policy says.
    async fn beginnings(
        &self,
        assigned: &BTreeSet<(String, PartitionId)>,
    ) -> Result<Spans, ClientError> {
        let committed = self.cluster.committed_offsets(&self.options.group).await?;
        let (mut spans, mut unknown) = (Spans::new(), Vec::new());
        let query = match self.options.reset {
            ResetPolicy::Earliest => OffsetQuery::Earliest,
            ResetPolicy::Latest => OffsetQuery::Latest,
        };
        for partition in assigned {
            let known = self.used.get(partition).copied();
            match known.or_else(|| committed.get(partition).map(|committed| committed.offset)) {
                Some(from) => drop(spans.insert(partition.clone(), Span { from, until: None })),
                None => unknown.push((partition.0.clone(), partition.1, query)),
            }
        }
        for (partition, listed) in self.cluster.list_offsets(&unknown).await? {
            let from = listed.offset.unwrap_or(Offset::ZERO);
            spans.insert(partition, Span { from, until: None });
        }
        Ok(spans)
    }

    fn group_id(&self) -> WireGroupId {
        WireGroupId(Text::from_string(self.options.group.clone()))
    }
}

/// The task that tells the coordinator that a member of a generation is there. It ends with this, or with what the coordinator says.
#[derive(Debug)]
struct Heartbeats {
    /// Why it has ended.
    ended: mpsc::Receiver<ClientError>,
    _cancel: DropGuard,
}

impl Heartbeats {
    fn begin(member: &GroupConsumer) -> Self {
        let (sender, ended) = mpsc::channel(1);
        let env = member.cluster.env();
        let cancel = env.tasks.child_token();
        let cancelled = cancel.clone();
        let beats = HeartbeatTask {
            cluster: member.cluster.clone(),
            group: member.options.group.clone(),
            coordinator: member.coordinator,
            committer: member.committer.clone(),
            interval: member.options.session_timeout / BEATS_PER_SESSION,
        };
        env.tasks.spawn("beats for a member", async move {
            tokio::select! {
                // Nobody asks any more if it cannot be told.
                error = beats.run() => drop(sender.send(error).await),
                () = cancelled.cancelled() => {}
            }
        });
        Self { ended, _cancel: cancel.drop_guard() }
    }
}

struct HeartbeatTask {
    cluster: Cluster,
    group: String,
    coordinator: BrokerId,
    committer: Committer,
    interval: Duration,
}

impl HeartbeatTask {
    async fn run(mut self) -> ClientError {
        let steady = self.cluster.env().steady.clone();
        loop {
            steady.sleep_until(steady.now().plus(self.interval)).await;
            let error = match self.beat().await {
                Ok(()) => continue,
                Err(error) => error,
            };
            let rejoins = code_of(&error) == Some(ErrorCode::RebalanceInProgress);
            let passes = error.is_retriable() || matches!(error, ClientError::Timeout { .. });
            if rejoins || is_out(&error) || !passes {
                return error;
            }
            tracing::debug!(%error, group = self.group, "the coordinator is looked for anew");
            match self.cluster.find_coordinator(CoordinatorKind::Group, &self.group).await {
                Ok(coordinator) => self.coordinator = coordinator,
                // There may be one at the next beat; how long to hope for brokers is up to those who read.
                Err(error) => tracing::debug!(%error, group = self.group, "none was found"),
            }
        }
    }

    async fn beat(&self) -> Result<(), ClientError> {
        let request = HeartbeatRequest::default()
            .with_group_id(WireGroupId(Text::from_string(self.group.clone())))
            .with_generation_id(self.committer.generation)
            .with_member_id(Text::from_string(self.committer.member_id.clone()));
        let target = Target::Coordinator(self.coordinator);
        let response = self.cluster.request(target, &request).await?;
        let subject = || format!("group '{}'", self.group);
        Ok(check(ApiKey::Heartbeat, response.error_code, subject, None)?)
    }
}

/// Signs of life in the time after which a member without is given up.
const BEATS_PER_SESSION: u32 = 15;

fn code_of(error: &ClientError) -> Option<ErrorCode> {
    error.refusal().map(|refusal| refusal.code)
}

/// Whether the group has given the member up.
fn is_out(error: &ClientError) -> bool {
    matches!(
        code_of(error),
        Some(
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId
        )
    )
}

/// How long a member that gets no answers tries to part from its group.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// The assignor that all clients have.
const ASSIGNOR: &str = "range";
/// How long members may take to join a new generation.
const REBALANCE_TIMEOUT_MS: i32 = 60_000;
/// Between two questions whether a coordinator that waits for other members is still alive.
const LIFE_SIGNS_EVERY: Duration = Duration::from_secs(1);
/// Since when LeaveGroup takes several members.
const MEMBERS_SINCE: i16 = 3;
/// Since when SyncGroup names the protocol.
const PROTOCOL_SINCE: i16 = 5;
