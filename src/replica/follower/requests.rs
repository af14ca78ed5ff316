//! What a follower asks and is answered, as Fetch says it, in a session with its leader (KIP-227). Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::super::followed::{LeaderAnswer, Question};
use crate::config::ReplicationConfig;
use crate::log::EpochEnd;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, PartitionId, TopicId, TopicIdPartition};
use crate::wire::fetch::{
    FetchPartition, FetchPartitionResponse, FetchTopic, ForgottenTopic, ReplicaState,
};
use crate::wire::{FetchRequest, FetchResponse, Text};

/// Who fetches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) broker: BrokerId,
    pub(super) broker_epoch: i64,
}

/// A follower's side of a fetch session: what the leader remembers of it, so that only what has changed is said again.
///
/// Source: `FetchSessionHandler` of Apache Kafka. Whoever does not know whether a request has arrived gives the session up.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0 if the leader has given none.
    id: i32,
    /// Of the next request; 0 begins a session, and ends the one with `id`.
    epoch: i32,
    /// What was asked for last.
    known: BTreeMap<TopicIdPartition, Question>,
}

impl Session {
    /// Takes the session, and leaves a new one in its place.
    pub(super) fn take(&mut self) -> Self {
        let renewed = Self { id: self.id, ..Self::default() };
        std::mem::replace(self, renewed)
    }

    /// Whether the leader may say that it does not know this session.
    pub(super) const fn has_begun(&self) -> bool {
        self.epoch != 0
    }

    /// The next request, for records of exactly these partitions, in their order if they are new to the leader.
    pub(super) fn request(
        &mut self,
        asker: Asker,
        config: &ReplicationConfig,
        questions: impl Iterator<Item = (TopicIdPartition, Question)>,
    ) -> FetchRequest {
        let mut topics = ByTopic::default();
        let mut gone: BTreeSet<TopicIdPartition> = self.known.keys().copied().collect();
        for (id, question) in questions {
            gone.remove(&id);
            if self.known.insert(id, question) == Some(question) {
                continue;
            }
            topics.of(id.topic).push(FetchPartition {
                partition: id.partition,
                current_leader_epoch: question.leader_epoch,
                fetch_offset: question.offset,
                last_fetched_epoch: question.last_epoch.unwrap_or(LeaderEpoch::UNKNOWN),
                log_start_offset: question.log_start,
                partition_max_bytes: config.partition_bytes_max,
                replica_directory_id: uuid::Uuid::nil(),
                high_watermark: question.high_watermark,
            });
        }
        let mut forgotten = ByTopic::default();
        for id in gone {
            self.known.remove(&id);
            forgotten.of(id.topic).push(id.partition);
        }
        let topic = Text::default;
        let replica_state =
            ReplicaState { replica_id: asker.broker, replica_epoch: asker.broker_epoch };
        FetchRequest {
            cluster_id: None,
            replica_state,
            max_wait_ms: i32::try_from(config.fetch_wait_max.as_millis()).unwrap_or(i32::MAX),
            min_bytes: config.fetch_bytes_min,
            max_bytes: config.response_bytes_max,
            isolation_level: 0,
            session_id: self.id,
            session_epoch: self.epoch,
            topics: topics.map(|topic_id, partitions| FetchTopic {
                topic: topic(),
                topic_id,
                partitions,
            }),
            forgotten_topics: forgotten.map(|topic_id, partitions| ForgottenTopic {
                topic: topic(),
                topic_id,
                partitions,
            }),
            rack_id: Text::default(),
        }
    }

    /// The leader has answered, and this is the session that it names.
    pub(super) fn answered(&mut self, id: i32) {
        if id == 0 {
            // It has no room for a session. All is said again the next time.
            *self = Self::default();
            return;
        }
        self.id = id;
        // 0 is that of a new session.
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
    }
}

/// Things by topic, the topics in the order in which they came.
struct ByTopic<T> {
    topics: Vec<(TopicId, Vec<T>)>,
    places: BTreeMap<TopicId, usize>,
}

impl<T> Default for ByTopic<T> {
    fn default() -> Self {
        Self { topics: Vec::new(), places: BTreeMap::new() }
    }
}

impl<T> ByTopic<T> {
    fn of(&mut self, topic: TopicId) -> &mut Vec<T> {
        let place = *self.places.entry(topic).or_insert_with(|| {
            self.topics.push((topic, Vec::new()));
            self.topics.len() - 1
        });
        &mut self.topics.get_mut(place).expect("entered above").1
    }

    fn map<U>(self, make: impl Fn(TopicId, Vec<T>) -> U) -> Vec<U> {
        self.topics.into_iter().map(|(topic, things)| make(topic, things)).collect()
    }
}

/// What the leader has answered for each partition, or with which code it has refused.
pub(super) fn answers(
    response: FetchResponse,
) -> BTreeMap<(TopicId, PartitionId), Result<LeaderAnswer, ErrorCode>> {
    let mut answers = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            answers.insert((topic.topic_id, partition.partition_index), answer(partition));
        }
    }
    answers
}

fn answer(partition: FetchPartitionResponse) -> Result<LeaderAnswer, ErrorCode> {
    let (code, log_start) = (partition.error_code, partition.log_start_offset);
    if code == ErrorCode::OffsetOutOfRange && log_start.0 >= 0 {
        return Ok(LeaderAnswer::OutOfRange { log_start });
    }
    if !code.is_none() {
        return Err(code);
    }
    if let Some(diverging) = partition.diverging_epoch {
        let end = EpochEnd { epoch: diverging.epoch, end: diverging.end_offset };
        return Ok(LeaderAnswer::Diverging(end));
    }
    Ok(LeaderAnswer::Records {
        records: joined(partition.records),
        high_watermark: partition.high_watermark,
        log_start: partition.log_start_offset,
    })
}

/// The pieces of an answer in one, without a copy if there is one.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        0 => Bytes::new(),
        1 => pieces.swap_remove(0),
        _ => pieces.iter().flatten().copied().collect::<BytesMut>().freeze(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::Offset;

    fn config() -> ReplicationConfig {
        use crate::config::{self, Effective, Sources};
        let loaded = config::load(Sources::default()).unwrap();
        Effective::new(loaded).broker().replication.clone()
    }

    fn id(partition: i32) -> TopicIdPartition {
        TopicIdPartition { topic: TopicId(Uuid::from_u128(1)), partition: PartitionId(partition) }
    }

    fn question(offset: i64) -> Question {
        Question {
            leader_epoch: LeaderEpoch(3),
            offset: Offset(offset),
            last_epoch: None,
            log_start: Offset(0),
            high_watermark: Offset(0),
        }
    }

    /// What a request says: session, epoch, partitions with their offsets, and what is forgotten.
    type Said = (i32, i32, Vec<(i32, i64)>, Vec<i32>);

    fn said(session: &mut Session, questions: &[(i32, i64)]) -> Said {
        let asker = Asker { broker: BrokerId(2), broker_epoch: 7 };
        let questions = questions.iter().map(|(at, offset)| (id(*at), question(*offset)));
        let request = session.request(asker, &config(), questions);
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|it| (it.partition.0, it.fetch_offset.0)).collect();
        let forgotten = request.forgotten_topics.iter().flat_map(|topic| &topic.partitions);
        let forgotten = forgotten.map(|partition| partition.0).collect();
        (request.session_id, request.session_epoch, partitions, forgotten)
    }

    #[test]
    fn only_what_has_changed_is_said_again() {
        let mut session = Session::default();
        let all = [(1, 10), (0, 0), (2, 0)];
        assert_eq!(said(&mut session, &all), (0, 0, all.to_vec(), vec![]));
        session.answered(77);
        assert_eq!(said(&mut session, &all), (77, 1, vec![], vec![]));
        session.answered(77);
        assert_eq!(said(&mut session, &[(2, 5), (0, 0)]), (77, 2, vec![(2, 5)], vec![1]));
        session.answered(77);
        // What was forgotten is new when it comes back.
        assert_eq!(said(&mut session, &all), (77, 3, vec![(1, 10), (2, 0)], vec![]));
    }

    #[test]
    fn a_session_that_was_given_up_is_ended_by_the_next_one() {
        let mut session = Session::default();
        said(&mut session, &[(0, 0)]);
        session.answered(77);
        let mut lost = session.take();
        assert!(lost.has_begun() && !session.has_begun());
        said(&mut lost, &[(0, 1)]);
        assert_eq!(said(&mut session, &[(0, 1)]), (77, 0, vec![(0, 1)], vec![]));
        session.answered(78);
        assert_eq!(said(&mut session, &[(0, 1)]), (78, 1, vec![], vec![]));
    }

    #[test]
    fn without_a_session_all_is_said_each_time() {
        let mut session = Session::default();
        for _ in 0..2 {
            assert_eq!(said(&mut session, &[(0, 1)]), (0, 0, vec![(0, 1)], vec![]));
            session.answered(0);
        }
    }

    #[test]
    fn epochs_begin_at_one_again() {
        let mut session = Session { id: 5, epoch: i32::MAX, known: BTreeMap::new() };
        session.answered(5);
        assert_eq!(session.epoch, 1);
    }
}
