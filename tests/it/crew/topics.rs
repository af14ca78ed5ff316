//! One who has topics of its own made, written, grown, moved and removed, one change after the other, and leaders elected meanwhile.
//!
//! It writes and reads by the ids of topics: what is written to a topic is never in another one, though it has the same name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ottla::client::{ClientError, Cluster, Target, Topics, check};
use ottla::model::{ErrorCode, PartitionId, TopicId};
use ottla::record::{BatchBuilder, scan, visit_records};
use ottla::wire::messages::{
    AlterPartitionReassignmentsRequest, CreatePartitionsRequest, DeleteTopicsRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, WireBrokerId,
    alter_partition_reassignments_request, create_partitions_request, create_topics_request,
    delete_topics_request, incremental_alter_configs_request,
};
use ottla::wire::{ApiKey, FetchRequest, ProduceRequest, Request, Text};
use tokio::time::timeout;

use super::{Administrator, Crew};
use crate::history::{Change, Fate, Key, Read, Sent, Value};
use crate::rig::{PATIENCE, creation, fetch, produce, wire_name};

/// The names of its topics.
const NAMES: [&str; 2] = ["x", "y"];
/// How often it does something.
const PACE: Duration = Duration::from_millis(150);
/// How many partitions a topic has at most.
const PARTITIONS_MAX: i32 = 4;

/// What is said of a topic that is not there, or is, or has as many partitions.
const REFUSALS: [ErrorCode; 3] = [
    ErrorCode::UnknownTopicOrPartition,
    ErrorCode::TopicAlreadyExists,
    ErrorCode::InvalidPartitions,
];

/// A topic that is there.
#[derive(Clone, Copy, Debug)]
struct Existing {
    id: TopicId,
    partitions: i32,
}

fn key(topic: Existing, partition: i32) -> Key {
    (topic.id.0.to_string(), partition)
}

impl Crew {
    /// Changes topics until it is over.
    pub(super) async fn administer(self: Arc<Self>, administrator: Administrator) {
        let moves = administrator == Administrator::Moves;
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        let mut known: BTreeMap<&str, Existing> = BTreeMap::new();
        let mut cluster = None;
        while !self.over.is_cancelled() {
            let Some(open) = &cluster else {
                cluster = self.cluster().await;
                continue;
            };
            let name = NAMES[self.env.rng.below(2) as usize];
            let done = match known.get(name).copied() {
                None => match self.create(open, name, moves).await {
                    Ok(topic) => {
                        known.insert(name, topic);
                        Ok(())
                    }
                    // It is there, or may be: what it has is not known.
                    Err(_) => self.delete(open, name).await,
                },
                Some(topic) => match self.env.rng.below(9) {
                    0..3 => self.write_to(open, process, name, topic).await,
                    3..5 => self.read_from(open, name, topic).await,
                    5 => match self.grow(open, name, topic).await {
                        Ok(partitions) => {
                            known.insert(name, Existing { partitions, ..topic });
                            Ok(())
                        }
                        // There may be more.
                        Err(error) => Err(error),
                    },
                    6 if moves => self.reassign(open, name, topic).await,
                    7 => {
                        known.remove(name);
                        self.delete(open, name).await
                    }
                    _ => self.disturb(open).await,
                },
            };
            if let Err(error) = done {
                tracing::debug!(%error, name, "a change of topics");
                drop(open.refresh().await);
            }
            self.env.steady.sleep_until(self.env.steady.now().plus(PACE)).await;
        }
    }

    /// Asks once for a change of a topic, and notes what came of it. `count` is how many partitions it has then.
    async fn change<R: Request>(
        &self,
        cluster: &Cluster,
        (name, count): (&str, i32),
        request: &R,
        code: impl FnOnce(&R::Response) -> i16,
    ) -> Result<R::Response, ClientError> {
        let answer = cluster.request(Target::Any, request).await;
        let checked = answer.and_then(|response| {
            check(R::KEY, code(&response), || format!("topic '{name}'"), None)?;
            Ok(response)
        });
        // Who is refused because the topic is not as it was thought to be has changed nothing.
        let code = checked.as_ref().err().and_then(ClientError::refusal).map(|it| it.code);
        let is_refused = code.is_some_and(|code| REFUSALS.contains(&code));
        if !is_refused {
            self.history.lock().changes.push(Change {
                topic: name.to_owned(),
                partitions: count,
                is_acknowledged: checked.is_ok(),
            });
        }
        self.changed.send_modify(|count| *count += usize::from(checked.is_ok()));
        checked
    }

    async fn create(
        &self,
        cluster: &Cluster,
        name: &str,
        moves: bool,
    ) -> Result<Existing, ClientError> {
        let mut request = creation(name, 2, &[]);
        request.timeout_ms = 4_000;
        if moves {
            request.topics[0].num_partitions = -1;
            for index in 0..2 {
                let mut assignment = create_topics_request::CreatableReplicaAssignment::default();
                assignment.partition_index = index;
                assignment.broker_ids = self.two_brokers();
                request.topics[0].assignments.push(assignment);
            }
        }
        let code = |response: &_| first_code(response);
        let created = self.change(cluster, (name, 2), &request, code).await?;
        Ok(Existing { id: TopicId(created.topics[0].topic_id), partitions: 2 })
    }

    /// Two of three nodes.
    fn two_brokers(&self) -> Vec<WireBrokerId> {
        let first = self.env.rng.below(3);
        let second = (first + 1 + self.env.rng.below(2)) % 3;
        [first, second].map(|at| WireBrokerId(i32::try_from(at).unwrap() + 1)).to_vec()
    }

    async fn delete(&self, cluster: &Cluster, name: &str) -> Result<(), ClientError> {
        let mut state = delete_topics_request::DeleteTopicState::default();
        state.name = Some(wire_name(name));
        let mut request = DeleteTopicsRequest::default();
        (request.topics, request.timeout_ms) = (vec![state], 4_000);
        let code = |response: &ottla::wire::messages::DeleteTopicsResponse| {
            response.responses[0].error_code
        };
        self.change(cluster, (name, 0), &request, code).await.map(drop)
    }

    async fn grow(
        &self,
        cluster: &Cluster,
        name: &str,
        topic: Existing,
    ) -> Result<i32, ClientError> {
        let count = (topic.partitions + 1).min(PARTITIONS_MAX);
        if count == topic.partitions {
            return Ok(count);
        }
        let mut grown = create_partitions_request::CreatePartitionsTopic::default();
        (grown.name, grown.count, grown.assignments) = (wire_name(name), count, None);
        let mut request = CreatePartitionsRequest::default();
        (request.topics, request.timeout_ms) = (vec![grown], 4_000);
        let code = |response: &ottla::wire::messages::CreatePartitionsResponse| {
            response.results[0].error_code
        };
        self.change(cluster, (name, count), &request, code).await?;
        Ok(count)
    }

    /// Gives a partition to two other brokers, or the same ones.
    async fn reassign(
        &self,
        cluster: &Cluster,
        name: &str,
        topic: Existing,
    ) -> Result<(), ClientError> {
        let mut partition = alter_partition_reassignments_request::ReassignablePartition::default();
        partition.partition_index = self.any_partition(topic);
        partition.replicas = Some(self.two_brokers());
        let mut moved = alter_partition_reassignments_request::ReassignableTopic::default();
        (moved.name, moved.partitions) = (wire_name(name), vec![partition]);
        let mut request = AlterPartitionReassignmentsRequest::default();
        request.topics = vec![moved];
        cluster.request(Target::Any, &request).await.map(drop)
    }

    /// Has preferred leaders elected, or changes how a topic is made durable.
    async fn disturb(&self, cluster: &Cluster) -> Result<(), ClientError> {
        if self.env.rng.below(2) == 0 {
            let mut request = ElectLeadersRequest::default();
            (request.topic_partitions, request.timeout_ms) = (None, 4_000);
            return cluster.request(Target::Any, &request).await.map(drop);
        }
        let mut config = incremental_alter_configs_request::AlterableConfig::default();
        config.name = Text::from_static_str("flush.messages");
        config.config_operation = i8::try_from(self.env.rng.below(2)).unwrap();
        config.value = (config.config_operation == 0).then(|| Text::from_static_str("1"));
        let mut resource = incremental_alter_configs_request::AlterConfigsResource::default();
        resource.resource_type = 2;
        resource.resource_name = Text::from_string(self.topic.clone());
        resource.configs.push(config);
        let mut request = IncrementalAlterConfigsRequest::default();
        request.resources = vec![resource];
        cluster.request(Target::Any, &request).await.map(drop)
    }

    fn any_partition(&self, topic: Existing) -> i32 {
        i32::try_from(self.env.rng.below(topic.partitions.unsigned_abs())).unwrap()
    }

    async fn leader(
        &self,
        cluster: &Cluster,
        (name, partition): (&str, i32),
    ) -> Result<Target, ClientError> {
        let metadata = cluster.metadata(Topics::Named(&[name])).await?;
        Ok(Target::Node(metadata.leader_of(name, PartitionId(partition))?.0))
    }

    async fn write_to(
        &self,
        cluster: &Cluster,
        process: u32,
        name: &str,
        topic: Existing,
    ) -> Result<(), ClientError> {
        let partition = self.any_partition(topic);
        let leader = self.leader(cluster, (name, partition)).await?;
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let records = BatchBuilder::new()
            .push(self.env.clock.now(), None, Some(&value.to_be_bytes()))
            .build();
        let mut request = produce("", partition, records);
        request.topics[0].topic_id = topic.id;
        let invoked = self.now();
        let make = |_| request;
        let answer = cluster.request_with::<ProduceRequest>(leader, 13, make).await;
        let written = answer.and_then(|response| {
            let written = &response.topics[0].partitions[0];
            check(ApiKey::Produce, written.error_code.code(), || name.to_owned(), None)?;
            Ok(written.base_offset.0)
        });
        let fate = written.as_ref().map_or(Fate::Unknown, |offset| Fate::Written(*offset));
        let (key, completed, transaction) = (key(topic, partition), self.now(), None);
        let sent = Sent { process, key, value, transaction, invoked, completed, fate };
        self.history.lock().sent.push(sent);
        written.map(drop)
    }

    async fn read_from(
        &self,
        cluster: &Cluster,
        name: &str,
        topic: Existing,
    ) -> Result<(), ClientError> {
        for partition in 0..topic.partitions {
            self.read_partition(cluster, name, topic, partition).await?;
        }
        Ok(())
    }

    /// Reads a partition from its start to its end.
    async fn read_partition(
        &self,
        cluster: &Cluster,
        name: &str,
        topic: Existing,
        partition: i32,
    ) -> Result<(), ClientError> {
        let leader = self.leader(cluster, (name, partition)).await?;
        let mut from = 0;
        loop {
            let mut request = fetch("", &[(partition, from)]);
            request.topics[0].topic_id = topic.id;
            let make = |_| request;
            let response = cluster.request_with::<FetchRequest>(leader, 17, make).await?;
            check(ApiKey::Fetch, response.error_code.code(), || name.to_owned(), None)?;
            let read = &response.topics[0].partitions[0];
            check(ApiKey::Fetch, read.error_code.code(), || name.to_owned(), None)?;
            let mut records: Vec<(i64, Value)> = Vec::new();
            let bytes = read.records.concat();
            let mut next = from;
            for batch in scan(&bytes).map_while(Result::ok) {
                next = batch.header.next_offset().0;
                visit_records(batch.bytes, |record| {
                    let value = record.value.expect("records have values").try_into().unwrap();
                    records.push((record.offset.0, Value::from_be_bytes(value)));
                    std::ops::ControlFlow::Continue(())
                })
                .expect("whole records");
            }
            if next == from {
                return Ok(());
            }
            let (key, completed) = (key(topic, partition), self.now());
            let read = Read { key, committed: false, from, next, records, completed };
            self.history.lock().reads.push(read);
            from = next;
        }
    }

    /// Notes which topics there are in the end, and reads them.
    pub(super) async fn note_topics(&self, cluster: &Cluster) {
        if self.staff.lock().administrator.is_none() {
            return;
        }
        let noted = async {
            loop {
                let metadata = cluster.metadata(Topics::Named(&NAMES)).await;
                let there = match metadata {
                    Ok(metadata) => metadata.topics,
                    Err(_) => continue,
                };
                let there: BTreeMap<String, Existing> = there
                    .iter()
                    .filter(|topic| !topic.partitions.is_empty())
                    .map(|topic| {
                        let partitions = i32::try_from(topic.partitions.len()).unwrap();
                        (topic.name.clone(), Existing { id: topic.id, partitions })
                    })
                    .collect();
                let mut is_read = true;
                for (name, topic) in &there {
                    is_read &= self.read_from(cluster, name, *topic).await.is_ok();
                }
                if is_read {
                    return there;
                }
                self.env.steady.sleep_until(self.env.steady.now().plus(PACE)).await;
            }
        };
        let there = timeout(PATIENCE, noted).await.expect("topics can be read");
        let mut history = self.history.lock();
        for name in NAMES {
            let count = there.get(name).map_or(0, |topic| topic.partitions);
            history.topics.insert(name.to_owned(), count);
        }
    }
}

fn first_code(response: &ottla::wire::messages::CreateTopicsResponse) -> i16 {
    response.topics[0].error_code
}
