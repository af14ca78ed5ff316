//! A shard, topics and members, for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::cluster::{
    ClusterImage, Command as ClusterCommand, ConfigResource, NewTopic, Registration,
};
use crate::group::command::{Command, OffsetCommit, Reply};
use crate::group::rig::{GROUP, Logged, Rig, caller, text};
use crate::model::{BrokerId, ErrorCode, TopicId, TopicName, UuidText};
use crate::wire::messages::consumer_group_describe_response::DescribedGroup;
use crate::wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use crate::wire::messages::{ConsumerGroupHeartbeatRequest, WireGroupId, WireTopicName};

pub(super) struct World {
    pub(super) rig: Rig,
    pub(super) image: ClusterImage,
    topic_count: u128,
}

/// What a member is told.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) error: ErrorCode,
    pub(super) epoch: i32,
    pub(super) interval_ms: i32,
    pub(super) assignment: Option<Vec<(String, i32)>>,
}

impl Answer {
    /// Partitions by the names of their topics, in order.
    pub(super) fn assigned(&self) -> Vec<(&str, i32)> {
        let assigned = self.assignment.as_ref().expect("an assignment");
        assigned.iter().map(|(topic, partition)| (topic.as_str(), *partition)).collect()
    }
}

pub(super) fn request(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    let mut request = ConsumerGroupHeartbeatRequest::default();
    request.group_id = WireGroupId(text(GROUP));
    request.member_id = text(member);
    request.member_epoch = epoch;
    request.rebalance_timeout_ms = -1;
    request.subscribed_topic_names = None;
    request.topic_partitions = None;
    request
}

impl World {
    pub(super) fn new(topics: &[(&str, usize)]) -> Self {
        let mut world = Self { rig: Rig::new(), image: ClusterImage::default(), topic_count: 0 };
        let registration = Registration::new(BrokerId(1), UuidText(Uuid::from_u128(1)));
        world.apply(&ClusterCommand::RegisterBroker(registration));
        for (topic, partition_count) in topics {
            world.create(topic, *partition_count);
        }
        world
    }

    fn apply(&mut self, command: &ClusterCommand) {
        self.image.apply(1, command).0.unwrap();
        self.rig.set_image(self.image.clone());
    }

    pub(super) fn create(&mut self, name: &str, partition_count: usize) {
        self.topic_count += 1;
        self.apply(&ClusterCommand::CreateTopic(NewTopic {
            name: TopicName::new(name).unwrap(),
            id: TopicId(Uuid::from_u128(self.topic_count)),
            assignments: vec![vec![BrokerId(1)]; partition_count],
            configs: BTreeMap::new(),
        }));
    }

    pub(super) fn grow(&mut self, name: &str, partition_count: usize) {
        let topic = self.image.topic(name).unwrap();
        let (id, from) = (topic.id, topic.partitions.len());
        let assignments = vec![vec![BrokerId(1)]; partition_count - from];
        self.apply(&ClusterCommand::AddPartitions { topic: id, from, assignments });
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.apply(&ClusterCommand::DeleteTopic { topic: self.topic_id(name) });
    }

    pub(super) fn topic_id(&self, name: &str) -> TopicId {
        self.image.topic(name).unwrap().id
    }

    pub(super) fn configure_group(&mut self, configs: &[(&str, &str)]) {
        let changes =
            configs.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())));
        self.apply(&ClusterCommand::AlterConfigs {
            resource: ConfigResource::Group(GROUP.to_owned()),
            changes: changes.collect(),
        });
    }

    pub(super) fn names(topics: &[&str]) -> Option<Vec<WireTopicName>> {
        Some(topics.iter().map(|topic| WireTopicName(text(topic))).collect())
    }

    pub(super) fn partitions(&self, owned: &[(&str, i32)]) -> Vec<TopicPartitions> {
        let one = |(topic, partition): &(&str, i32)| {
            let mut wire = TopicPartitions::default();
            wire.topic_id = self.topic_id(topic).0;
            wire.partitions = vec![*partition];
            wire
        };
        owned.iter().map(one).collect()
    }

    pub(super) fn send(&mut self, request: ConsumerGroupHeartbeatRequest) -> Answer {
        let ticket = self.rig.ask(Command::ConsumerGroupHeartbeat { caller: caller(1), request });
        let Some(Reply::ConsumerGroupHeartbeat(response)) = self.rig.answer(ticket) else {
            panic!("no answer");
        };
        let named = |topic: Uuid| match self.image.topic_by_id(TopicId(topic)) {
            Some(topic) => topic.name.as_str().to_owned(),
            None => format!("deleted {topic}"),
        };
        Answer {
            error: ErrorCode::from_code(response.error_code).unwrap(),
            epoch: response.member_epoch,
            interval_ms: response.heartbeat_interval_ms,
            assignment: response.assignment.map(|assignment| {
                let topics = assignment.topic_partitions.iter();
                topics
                    .flat_map(|it| it.partitions.iter().map(|p| (named(it.topic_id), *p)))
                    .collect()
            }),
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        member: &str,
        epoch: i32,
        change: impl FnOnce(&mut ConsumerGroupHeartbeatRequest),
    ) -> Answer {
        let mut request = request(member, epoch);
        change(&mut request);
        self.send(request)
    }

    pub(super) fn heartbeat_owning(
        &mut self,
        member: &str,
        epoch: i32,
        owned: &[(&str, i32)],
    ) -> Answer {
        let owned = self.partitions(owned);
        self.heartbeat(member, epoch, |it| it.topic_partitions = Some(owned))
    }

    pub(super) fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
        let mut joining = request(member, 0);
        joining.rebalance_timeout_ms = 60_000;
        joining.topic_partitions = Some(Vec::new());
        joining
    }

    pub(super) fn join(&mut self, member: &str, topics: &[&str]) -> Answer {
        let mut joining = Self::joining(member);
        joining.subscribed_topic_names = Self::names(topics);
        self.send(joining)
    }

    pub(super) fn join_static(&mut self, member: &str, instance: &str, topics: &[&str]) -> Answer {
        let mut joining = Self::joining(member);
        joining.instance_id = Some(text(instance));
        joining.subscribed_topic_names = Self::names(topics);
        self.send(joining)
    }

    pub(super) fn join_regex(&mut self, member: &str, regex: &str) -> Answer {
        let mut joining = Self::joining(member);
        joining.subscribed_topic_regex = Some(text(regex));
        self.send(joining)
    }

    pub(super) fn commit(&mut self, request: OffsetCommit) -> ErrorCode {
        let ticket = self.rig.ask(Command::OffsetCommit { caller: caller(9), request });
        match self.rig.answer(ticket) {
            Some(Reply::OffsetCommit(Ok(results))) => results[0].partitions[0].1,
            Some(Reply::OffsetCommit(Err(error))) => error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn delete_group(&mut self) -> ErrorCode {
        let ticket = self.rig.ask(Command::DeleteGroup { group: text(GROUP) });
        match self.rig.answer(ticket) {
            Some(Reply::DeleteGroup(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn advance(&mut self, millis: u64) {
        self.rig.advance(Duration::from_millis(millis));
    }

    pub(super) fn restart(&mut self) {
        self.rig = self.rig.restarted();
    }

    pub(super) fn describe(&mut self) -> DescribedGroup {
        describe(&mut self.rig)
    }

    pub(super) fn state(&mut self) -> String {
        self.describe().group_state.to_string()
    }

    pub(super) fn member_ids(&mut self) -> Vec<String> {
        self.describe().members.iter().map(|member| member.member_id.to_string()).collect()
    }

    /// Whether a shard that reads the log knows the same.
    pub(super) fn replays_alike(&mut self) -> bool {
        describe(&mut self.rig.restarted()) == self.describe()
    }

    /// How many keys have a value at the end of the log.
    pub(super) fn compacted(&self) -> usize {
        let last: BTreeMap<_, _> =
            self.rig.log.iter().filter_map(Logged::record).map(|it| (&it.key, &it.value)).collect();
        last.values().filter(|value| value.is_some()).count()
    }
}

fn describe(rig: &mut Rig) -> DescribedGroup {
    let ticket = rig.ask(Command::ConsumerGroupDescribe { group: text(GROUP) });
    match rig.answer(ticket) {
        Some(Reply::ConsumerGroupDescribe(described)) => described,
        other => panic!("{other:?}"),
    }
}
