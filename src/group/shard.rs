//! One partition of `__consumer_offsets` as a state machine: its groups and their offsets.
//!
//! Owns the dispatch of commands and records to the groups, which groups exist, and the deadlines of all of them in one
//! ordered set. What a group does is decided in its own folder; what happens to offsets in `offsets.rs`.
//!
//! **Invariants:** `deadlines` holds for each group the earliest of its deadlines; a turn costs no more than the group it
//! concerns, but for the check for expired offsets, which sees all groups.

mod consumers;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::classic::{self, ClassicGroup, Expiry};
use super::command::{Caller, Command, ListGroups, OffsetCommit, OffsetDelete, OffsetFetch, Reply};
use super::consumer::{ConsumerGroup, Scope};
use super::offsets::Offsets;
use super::records::{self, GroupRecord, group_metadata};
use super::turn::Turn;
use super::{GroupId, Settings};
use crate::cluster::ClusterImage;
use crate::coordinator::{
    CoordinatorRecord, Effects, Now, ReplayError, Shard, Ticket, TransactionOutcome,
    TransactionWriter,
};
use crate::env::Rng;
use crate::model::{ErrorCode, Instant, Offset, ProducerId, TopicId};
use crate::wire::Text;
use crate::wire::messages::describe_groups_response::DescribedGroup;
use crate::wire::messages::list_groups_response::ListedGroup;
use crate::wire::messages::{JoinGroupRequest, WireGroupId};

/// Gives the settings that are in force now. They are asked for at each use.
pub type SettingsSource = Arc<dyn Fn() -> Arc<Settings> + Send + Sync>;

/// The version of OffsetCommit and DescribeGroups from which an unknown group is named as such.
const COMMIT_GROUP_ID_NOT_FOUND_FROM: i16 = 9;
const DESCRIBE_GROUP_ID_NOT_FOUND_FROM: i16 = 6;

/// One partition of `__consumer_offsets`.
pub struct GroupShard {
    settings: SettingsSource,
    rng: Rng,
    image: Arc<ClusterImage>,
    groups: HashMap<GroupId, Entry>,
    offsets: Offsets,
    deadlines: BTreeSet<(Instant, GroupId)>,
    /// When offsets are next checked for expiry; none before the log was read.
    expiry_check: Option<Instant>,
}

/// A group, and for when it stands in `deadlines`.
#[derive(Debug)]
struct Entry {
    group: Group,
    deadline: Option<Instant>,
}

/// A group of either kind.
#[derive(Debug)]
enum Group {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl Group {
    fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Classic(group) => group.next_deadline(),
            Self::Consumer(group) => group.next_deadline(),
        }
    }
}

impl GroupShard {
    /// An empty shard, to replay records into. `rng` draws the ids of members.
    #[must_use]
    pub fn new(settings: SettingsSource, rng: Rng, image: Arc<ClusterImage>) -> Self {
        Self {
            settings,
            rng,
            image,
            groups: HashMap::new(),
            offsets: Offsets::default(),
            deadlines: BTreeSet::new(),
            expiry_check: None,
        }
    }

    /// Runs `work` with what a group has at hand.
    fn turn<T>(
        &mut self,
        now: Now,
        effects: &mut Effects<Reply>,
        work: impl FnOnce(&mut Self, &mut Turn<'_>) -> T,
    ) -> T {
        let (settings, rng) = ((self.settings)(), self.rng.clone());
        work(self, &mut Turn { now, settings: &settings, rng: &rng, effects })
    }

    /// The classic group of this name.
    fn classic(&mut self, group: &str) -> Option<&mut ClassicGroup> {
        match self.groups.get_mut(group).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => Some(group),
            Some(Group::Consumer(_)) | None => None,
        }
    }

    /// A group without members, unless there is one already.
    fn create(&mut self, id: &GroupId) {
        self.groups.entry(id.clone()).or_insert_with(|| Entry {
            group: Group::Classic(Box::new(ClassicGroup::new(id.clone()))),
            deadline: None,
        });
    }

    fn remove(&mut self, id: &GroupId) {
        if let Some(Entry { deadline: Some(deadline), .. }) = self.groups.remove(id) {
            self.deadlines.remove(&(deadline, id.clone()));
        }
    }

    /// Takes note of when a group has something to do, after it was touched.
    fn arm(&mut self, group: &str) {
        let Some((id, entry)) = self.groups.get_key_value(group) else {
            return;
        };
        let (before, after) = (entry.deadline, entry.group.next_deadline());
        if before == after {
            return;
        }
        let id = id.clone();
        if let Some(before) = before {
            self.deadlines.remove(&(before, id.clone()));
        }
        if let Some(after) = after {
            self.deadlines.insert((after, id));
        }
        if let Some(entry) = self.groups.get_mut(group) {
            entry.deadline = after;
        }
    }

    fn dispatch(&mut self, turn: &mut Turn<'_>, command: Command, ticket: Ticket) {
        match command {
            Command::JoinGroup { caller, request } => self.join(turn, &caller, &request, ticket),
            Command::SyncGroup { request, .. } if self.consumer(&request.group_id).is_some() => {
                self.consumer_sync(turn, &request, ticket);
            }
            Command::Heartbeat { request, .. } if self.consumer(&request.group_id).is_some() => {
                self.consumer_classic_heartbeat(turn, &request, ticket);
            }
            Command::LeaveGroup { caller, request }
                if self.consumer(&request.group_id).is_some() =>
            {
                self.consumer_leave(turn, &caller, &request, ticket);
            }
            Command::SyncGroup { request, .. } => match self.member_group(&request.group_id) {
                Ok(group) => {
                    group.sync(turn, &request, ticket);
                    self.arm(&request.group_id);
                }
                Err(error) => turn.reply(ticket, classic::sync_refused(error)),
            },
            Command::Heartbeat { request, .. } => match self.member_group(&request.group_id) {
                Ok(group) => {
                    group.heartbeat(turn, &request, ticket);
                    self.arm(&request.group_id);
                }
                Err(error) => turn.reply(ticket, classic::heartbeat(error)),
            },
            Command::LeaveGroup { caller, request } => match self.member_group(&request.group_id) {
                Ok(group) => {
                    group.leave(turn, &caller, &request, ticket);
                    self.arm(&request.group_id);
                }
                Err(error) => {
                    turn.reply(ticket, classic::leave_refused(&caller, &request, error));
                }
            },
            Command::OffsetCommit { caller, request } => {
                let outcome = self.commit(turn, &caller, &request);
                self.arm(&request.group);
                turn.reply(ticket, Reply::OffsetCommit(outcome));
            }
            Command::TxnOffsetCommit { writer, request } => {
                let outcome = self.commit_in_transaction(turn, writer, request);
                turn.reply(ticket, Reply::TxnOffsetCommit(outcome));
            }
            Command::OffsetFetch { request } => {
                turn.reply(ticket, Reply::OffsetFetch(self.fetch(&request)));
            }
            Command::OffsetDelete { request } => {
                let outcome = self.delete_offsets(turn, &request);
                turn.reply(ticket, Reply::OffsetDelete(outcome));
            }
            Command::DescribeGroup { group, api_version } => {
                let described = self.describe(&group, api_version);
                turn.reply(ticket, Reply::DescribeGroup(described));
            }
            Command::ListGroups { request } => {
                turn.reply(ticket, Reply::ListGroups(self.list(&request)));
            }
            Command::DeleteGroup { group } => {
                let outcome = self.delete(turn, &group);
                turn.reply(ticket, Reply::DeleteGroup(outcome));
            }
            Command::ConsumerGroupHeartbeat { caller, request } => {
                let response = self.consumer_heartbeat(turn, &caller, &request);
                turn.reply(ticket, Reply::ConsumerGroupHeartbeat(response));
            }
            Command::ConsumerGroupDescribe { group } => {
                let described = self.consumer_describe(turn, &group);
                turn.reply(ticket, Reply::ConsumerGroupDescribe(described));
            }
        }
    }

    /// The group that a member names.
    fn member_group(&mut self, group: &str) -> Result<&mut ClassicGroup, ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.classic(group).ok_or(ErrorCode::UnknownMemberId)
    }

    fn join(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
        ticket: Ticket,
    ) {
        let Settings { session_timeout_ms_min: min, session_timeout_ms_max: max, .. } =
            *turn.settings;
        let member = request.member_id.as_str();
        if request.group_id.is_empty() {
            return turn.reply(ticket, classic::join_refused(member, ErrorCode::InvalidGroupId));
        }
        if request.session_timeout_ms < min || request.session_timeout_ms > max {
            let refusal = classic::join_refused(member, ErrorCode::InvalidSessionTimeout);
            return turn.reply(ticket, refusal);
        }
        let id = GroupId::from(request.group_id.as_str());
        if self.consumer(id.as_str()).is_some_and(|group| !group.is_empty()) {
            return self.consumer_join(turn, caller, request, ticket);
        }
        if member.is_empty() {
            self.drop_empty_consumer_group(turn, &id);
        }
        let is_new = !self.groups.contains_key(&id);
        if is_new && !member.is_empty() {
            return turn.reply(ticket, classic::join_refused(member, ErrorCode::UnknownMemberId));
        }
        self.create(&id);
        let records_before = turn.effects.records.len();
        let Some(group) = self.classic(id.as_str()) else {
            return turn.reply(ticket, classic::join_refused(member, ErrorCode::UnknownMemberId));
        };
        group.join(turn, caller, request, ticket);
        if is_new && turn.effects.records.len() == records_before {
            group.write_new(turn);
        }
        self.arm(id.as_str());
    }

    fn commit(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        commit: &OffsetCommit,
    ) -> Result<Vec<super::command::OffsetCommitResult>, ErrorCode> {
        match self.groups.get_mut(commit.group.as_str()).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.check_commit(turn, commit)?,
            Some(Group::Consumer(group)) => group.check_commit(commit, caller.api_version)?,
            // Anybody may commit for a group that has no members; its first offset makes it.
            None if commit.generation_or_epoch < 0 => {}
            None if caller.api_version >= COMMIT_GROUP_ID_NOT_FOUND_FROM => {
                return Err(ErrorCode::GroupIdNotFound);
            }
            None => return Err(ErrorCode::IllegalGeneration),
        }
        Ok(Offsets::commit(turn, commit))
    }

    /// A producer commits offsets in its transaction (`OffsetMetadataManager.commitTransactionalOffset`).
    fn commit_in_transaction(
        &mut self,
        turn: &mut Turn<'_>,
        writer: TransactionWriter,
        mut commit: OffsetCommit,
    ) -> Result<Vec<super::command::OffsetCommitResult>, ErrorCode> {
        match self.groups.get_mut(commit.group.as_str()).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.check_commit_in_transaction(&commit)?,
            Some(Group::Consumer(group)) => group.check_commit_in_transaction(&commit)?,
            None if commit.generation_or_epoch < 0 => {}
            None => return Err(ErrorCode::IllegalGeneration),
        }
        // As Kafka keeps them.
        commit.topics.iter_mut().for_each(|topic| topic.id = TopicId::ZERO);
        let results = Offsets::commit(turn, &commit);
        if !turn.effects.records.is_empty() {
            turn.effects.writer = Some(writer);
        }
        Ok(results)
    }

    fn fetch(&self, fetch: &OffsetFetch) -> Result<Vec<super::command::FetchedTopic>, ErrorCode> {
        if let Some(Group::Consumer(group)) =
            self.groups.get(fetch.group.as_str()).map(|entry| &entry.group)
        {
            group.check_fetch(fetch.member.as_deref(), fetch.member_epoch)?;
        }
        Ok(self.offsets.fetch(fetch))
    }

    fn delete_offsets(
        &self,
        turn: &mut Turn<'_>,
        delete: &OffsetDelete,
    ) -> Result<Vec<super::command::OffsetDeleteResult>, ErrorCode> {
        if delete.group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.groups.get(delete.group.as_str()).map(|entry| &entry.group) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Group::Classic(group)) => {
                group.check_delete_offsets()?;
                Ok(self.offsets.delete(turn, delete, |topic| group.is_subscribed(topic)))
            }
            Some(Group::Consumer(group)) => {
                Ok(self.offsets.delete(turn, delete, |topic| group.is_subscribed(topic)))
            }
        }
    }

    fn describe(&mut self, group: &Text, api_version: i16) -> DescribedGroup {
        let Some(found) = self.classic(group) else {
            return unknown_group(group, api_version);
        };
        found.describe()
    }

    fn list(&self, request: &ListGroups) -> Vec<ListedGroup> {
        let passes = |filter: &[Text], name: &str| {
            filter.is_empty() || filter.iter().any(|one| one.trim().eq_ignore_ascii_case(name))
        };
        let mut listed: Vec<_> = self
            .groups
            .values()
            .map(|entry| match &entry.group {
                Group::Classic(group) => group.list(),
                Group::Consumer(group) => group.list(),
            })
            .filter(|group| {
                passes(&request.states, &group.group_state)
                    && passes(&request.types, &group.group_type)
            })
            .collect();
        listed.sort_unstable_by(|a, b| a.group_id.cmp(&b.group_id));
        listed
    }

    fn delete(&mut self, turn: &mut Turn<'_>, group: &str) -> ErrorCode {
        let Some((id, entry)) = self.groups.get_key_value(group) else {
            return ErrorCode::GroupIdNotFound;
        };
        match &entry.group {
            Group::Consumer(group) => match group.check_delete() {
                Err(error) => error,
                Ok(()) => {
                    self.offsets.delete_all(turn, id);
                    group.write_tombstones(turn);
                    ErrorCode::None
                }
            },
            Group::Classic(classic) => match classic.check_delete() {
                Err(error) => error,
                Ok(()) => {
                    self.offsets.delete_all(turn, id);
                    turn.write(group_metadata::tombstone(id));
                    ErrorCode::None
                }
            },
        }
    }

    /// Deletes the offsets that are over, and the groups that have neither members nor offsets any more
    /// (`GroupCoordinatorShard.cleanupGroupMetadata`).
    fn expire(&self, turn: &mut Turn<'_>) {
        // The order of a hash map must not reach the log.
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(id, _)| *id);
        for (id, entry) in groups {
            match &entry.group {
                Group::Classic(group) => {
                    let is_subscribed = |topic: &str| group.is_subscribed(topic);
                    let expiry = group.offset_expiry();
                    let none_left = self.offsets.expire(turn, id, expiry, is_subscribed);
                    if none_left && group.may_expire() {
                        turn.write(group_metadata::tombstone(id));
                    }
                }
                Group::Consumer(group) => {
                    let is_subscribed = |topic: &str| group.is_subscribed(topic);
                    let none_left =
                        self.offsets.expire(turn, id, Some(Expiry::SinceCommit), is_subscribed);
                    if none_left && group.is_empty() {
                        group.write_tombstones(turn);
                    }
                }
            }
        }
    }
}

fn unknown_group(group: &Text, api_version: i16) -> DescribedGroup {
    let mut described = DescribedGroup::default();
    described.group_id = WireGroupId(group.clone());
    described.group_state = Text::from_static_str("Dead");
    if api_version >= DESCRIBE_GROUP_ID_NOT_FOUND_FROM {
        described.error_code = ErrorCode::GroupIdNotFound.code();
        described.error_message = Some(Text::from_string(format!("Group {group} not found.")));
    }
    described
}

#[cfg(test)]
impl GroupShard {
    /// Everything that has to survive.
    pub(super) fn durable(&self) -> (std::collections::BTreeMap<GroupId, String>, &Offsets) {
        let shown = |(id, entry): (&GroupId, &Entry)| match &entry.group {
            Group::Classic(group) => (id.clone(), format!("{:?}", group.durable())),
            Group::Consumer(group) => (id.clone(), format!("{:?}", group.durable())),
        };
        (self.groups.iter().map(shown).collect(), &self.offsets)
    }
}

impl Shard for GroupShard {
    type Command = Command;
    type Reply = Reply;
    type Errand = ();

    fn handle(&mut self, now: Now, command: Command, ticket: Ticket, effects: &mut Effects<Reply>) {
        self.turn(now, effects, |shard, turn| shard.dispatch(turn, command, ticket));
    }

    fn replay(&mut self, offset: Offset, record: &CoordinatorRecord) -> Result<(), ReplayError> {
        let decoded = records::decode(record).map_err(|error| ReplayError(error.to_string()))?;
        match decoded {
            GroupRecord::OffsetCommit { key, value } => {
                if value.is_some() {
                    self.create(&key.group);
                }
                self.offsets.replay(offset, key, value);
            }
            GroupRecord::GroupMetadata { key, value: Some(metadata) } => {
                self.create(&key);
                if let Some(group) = self.classic(key.as_str()) {
                    group.replay(metadata);
                }
            }
            GroupRecord::GroupMetadata { key, value: None } => {
                // A consumer group may have taken its place already.
                if self.classic(key.as_str()).is_some() {
                    self.remove(&key);
                }
            }
            GroupRecord::Consumer(group, record) => return self.replay_consumer(group, record),
        }
        Ok(())
    }

    fn replay_in_transaction(
        &mut self,
        offset: Offset,
        producer: ProducerId,
        record: &CoordinatorRecord,
    ) -> Result<(), ReplayError> {
        let decoded = records::decode(record).map_err(|error| ReplayError(error.to_string()))?;
        let GroupRecord::OffsetCommit { key, value: Some(value) } = decoded else {
            return Err(ReplayError("a transaction commits offsets and nothing else".to_owned()));
        };
        self.create(&key.group);
        self.offsets.replay_pending(offset, producer, key, value);
        Ok(())
    }

    fn transaction_ended(&mut self, producer: ProducerId, outcome: TransactionOutcome) {
        self.offsets.transaction_ended(producer, outcome);
    }

    fn loaded(&mut self, now: Now, effects: &mut Effects<Reply>) {
        self.turn(now, effects, |shard, turn| {
            let mut ids: Vec<_> = shard.groups.keys().cloned().collect();
            ids.sort_unstable();
            for id in ids {
                match shard.groups.get_mut(&id).map(|entry| &mut entry.group) {
                    Some(Group::Classic(group)) => group.restore(turn),
                    Some(Group::Consumer(group)) => {
                        group.loaded(turn, &Scope::of(id.as_str(), &shard.image, turn.settings));
                    }
                    None => {}
                }
                shard.arm(id.as_str());
            }
            let interval = turn.settings.offsets_retention_check_interval;
            shard.expiry_check = Some(turn.instant().plus(interval));
        });
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_groups = self.deadlines.first().map(|(deadline, _)| *deadline);
        [of_groups, self.expiry_check].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Now, effects: &mut Effects<Reply>) {
        self.turn(now, effects, |shard, turn| {
            if shard.expiry_check.is_some_and(|due| due <= turn.instant()) {
                let interval = turn.settings.offsets_retention_check_interval;
                shard.expiry_check = Some(turn.instant().plus(interval));
                shard.expire(turn);
            }
            // Each once: what a group writes must be replayed before it goes on.
            let due = shard.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.instant);
            let due: Vec<_> = due.map(|(_, id)| id.clone()).collect();
            for id in due {
                let entry =
                    shard.groups.get_mut(&id).expect("a group that is gone has no deadline");
                match &mut entry.group {
                    Group::Classic(group) => group.tick(turn),
                    Group::Consumer(group) => {
                        group.tick(turn, &Scope::of(id.as_str(), &shard.image, turn.settings));
                        shard.settle_kind(turn, &id);
                    }
                }
                shard.arm(id.as_str());
            }
        });
    }

    fn image_changed(&mut self, now: Now, image: &Arc<ClusterImage>, effects: &mut Effects<Reply>) {
        let before = std::mem::replace(&mut self.image, Arc::clone(image));
        if image.shares_topics_with(&before) {
            return;
        }
        self.tell_topics(&before, image);
        self.turn(now, effects, |shard, turn| {
            for topic in before.topics() {
                if image.topic_by_id(topic.id).is_none() {
                    shard.offsets.topic_deleted(turn, topic.name.as_str(), topic.id);
                }
            }
        });
    }
}

impl fmt::Debug for GroupShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupShard")
            .field("groups", &self.groups.len())
            .field("offsets", &self.offsets.count())
            .finish_non_exhaustive()
    }
}
