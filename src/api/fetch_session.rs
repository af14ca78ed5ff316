//! Incremental fetch sessions (KIP-227): what a consumer fetches is remembered, so that it need not be said each time, and
//! only partitions with news are answered.
//!
//! Source: `FetchSession`, `FetchSessionCacheShard`, `FetchManager` of Apache Kafka 4.3. Pure: time and chance come in.
//! **Invariants:** at most `max.incremental.fetch.session.cache.slots` sessions are remembered; a session with records to
//! give puts the partition it gave from last in line for the next time, so no partition starves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::env::Rng;
use crate::model::{ErrorCode, Instant, LeaderEpoch, Offset, PartitionId, TopicId};
use crate::wire::Text;
use crate::wire::fetch::{FetchPartitionResponse, FetchRequest};

/// Epoch of a request that begins a session.
const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request that wants no session, and ends the one it names.
const FINAL_EPOCH: i32 = -1;
/// The id of no session.
const NO_SESSION: i32 = 0;
/// A session that was not used for this long gives way to a new one
/// (`min.incremental.fetch.session.eviction.ms` of Kafka, which is not a config of its broker).
const EVICTION: Duration = Duration::from_secs(120);

/// All sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    rng: Rng,
    cache: Mutex<BTreeMap<i32, Arc<Session>>>,
}

/// Who has begun a session.
#[derive(Clone, Copy, Debug)]
struct Requester {
    uses_topic_ids: bool,
    is_follower: bool,
}

#[derive(Debug)]
struct Session {
    id: i32,
    requester: Requester,
    created: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_used: Instant,
    /// The epoch that the next request must have.
    next_epoch: i32,
    /// The partitions in the order in which they are served.
    line: BTreeMap<u64, Cached>,
    places: HashMap<PartitionKey, u64>,
    next_place: u64,
}

/// A partition as a request names it: by name up to version 12, by id from version 13 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PartitionKey {
    pub(super) topic: TopicKey,
    pub(super) partition: PartitionId,
}

/// A topic as a request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TopicKey {
    Name(Text),
    Id(TopicId),
}

/// What a client wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) fetch_offset: Offset,
    pub(super) max_bytes: i32,
    pub(super) current_leader_epoch: LeaderEpoch,
    pub(super) last_fetched_epoch: LeaderEpoch,
    /// Where a follower's log begins; -1 if it does not say.
    pub(super) log_start: Offset,
    /// Up to where a follower knows records to be committed; the largest offset if it does not say.
    pub(super) high_watermark: Offset,
}

#[derive(Clone, Debug)]
struct Cached {
    key: PartitionKey,
    wanted: Wanted,
    /// What the client was told last.
    high_watermark: Offset,
    log_start: Offset,
}

/// What one request asks for, with what becomes of its session.
#[derive(Debug)]
pub(super) struct Fetching {
    /// The partitions, in the order in which they are served.
    pub(super) partitions: Vec<(PartitionKey, Wanted)>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    /// A session begins if there is room for it.
    Full(Requester),
    Incremental {
        session: Arc<Session>,
        epoch_after: i32,
    },
}

/// What is answered, with the session it belongs to.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) error_code: ErrorCode,
    pub(super) session_id: i32,
    pub(super) partitions: Vec<(PartitionKey, FetchPartitionResponse)>,
}

const fn epoch_after(epoch: i32) -> i32 {
    if epoch < 0 {
        FINAL_EPOCH
    } else if epoch == i32::MAX {
        1
    } else {
        epoch + 1
    }
}

impl FetchSessions {
    /// Room for `slots` sessions.
    #[must_use]
    pub const fn new(slots: usize, rng: Rng) -> Self {
        Self { slots, rng, cache: Mutex::new(BTreeMap::new()) }
    }

    /// Reads what a request asks for.
    ///
    /// # Errors
    /// The code to answer with if the request does not fit its session.
    pub(super) fn begin(
        &self,
        request: &FetchRequest,
        version: i16,
        now: Instant,
    ) -> Result<Fetching, ErrorCode> {
        let uses_topic_ids = version >= 13;
        let named = named(request, uses_topic_ids);
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            self.cache.lock().remove(&id);
            let sessionless = epoch == FINAL_EPOCH;
            let is_follower = request.replica_state.replica_id.0 >= 0;
            let full = Kind::Full(Requester { uses_topic_ids, is_follower });
            let kind = if sessionless { Kind::Sessionless } else { full };
            return Ok(Fetching { partitions: named, kind });
        }
        let mut cache = self.cache.lock();
        let session = cache.get(&id).cloned().ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut state = session.state.lock();
        if state.next_epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.requester.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for (key, wanted) in &named {
            state.want(key, *wanted);
        }
        for key in forgotten(request, uses_topic_ids) {
            state.forget(&key);
        }
        if state.line.is_empty() {
            cache.remove(&id);
            return Ok(Fetching { partitions: named, kind: Kind::Sessionless });
        }
        drop(cache);
        state.last_used = now;
        state.next_epoch = epoch_after(epoch);
        let partitions =
            state.line.values().map(|cached| (cached.key.clone(), cached.wanted)).collect();
        let epoch_after = state.next_epoch;
        drop(state);
        Ok(Fetching { partitions, kind: Kind::Incremental { session, epoch_after } })
    }

    /// Takes note of what is about to be answered, and leaves out what the client knows.
    pub(super) fn end(
        &self,
        fetching: Fetching,
        mut partitions: Vec<(PartitionKey, FetchPartitionResponse)>,
        now: Instant,
    ) -> Fetched {
        let (error_code, session_id) = match fetching.kind {
            Kind::Sessionless => (ErrorCode::None, NO_SESSION),
            Kind::Full(requester) => {
                let id = self.create(&fetching.partitions, &partitions, requester, now);
                (ErrorCode::None, id)
            }
            Kind::Incremental { session, epoch_after } => {
                let mut state = session.state.lock();
                if state.next_epoch == epoch_after {
                    partitions.retain(|(key, response)| state.is_news(key, response));
                    (ErrorCode::None, session.id)
                } else {
                    // The client has sent another request of the session meanwhile.
                    partitions.clear();
                    (ErrorCode::InvalidFetchSessionEpoch, session.id)
                }
            }
        };
        Fetched { error_code, session_id, partitions }
    }

    /// Begins a session if there is room, or can be made; gives its id.
    fn create(
        &self,
        wanted: &[(PartitionKey, Wanted)],
        told: &[(PartitionKey, FetchPartitionResponse)],
        requester: Requester,
        now: Instant,
    ) -> i32 {
        if wanted.is_empty() {
            return NO_SESSION;
        }
        let mut cache = self.cache.lock();
        if cache.len() >= self.slots && !evict(&mut cache, requester, wanted.len(), now) {
            return NO_SESSION;
        }
        let id = loop {
            let id = i32::try_from(self.rng.next_u64() >> 33).expect("31 bits");
            if id != NO_SESSION && !cache.contains_key(&id) {
                break id;
            }
        };
        let mut state = State {
            last_used: now,
            next_epoch: epoch_after(INITIAL_EPOCH),
            line: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for (key, wanted) in wanted {
            state.want(key, *wanted);
        }
        for (key, response) in told {
            state.tell(key, response);
        }
        let state = Mutex::new(state);
        let session = Session { id, requester, created: now, state };
        cache.insert(id, Arc::new(session));
        id
    }
}

/// Removes a session in favour of a new one with `size` partitions: one that was not used for long, or else the smallest one
/// that is no longer young, if it is not larger than the new one. That of a follower comes before those of all consumers,
/// however young they are.
fn evict(
    cache: &mut BTreeMap<i32, Arc<Session>>,
    requester: Requester,
    size: usize,
    now: Instant,
) -> bool {
    let oldest = cache.values().map(|session| (session.state.lock().last_used, session.id)).min();
    let Some((last_used, oldest)) = oldest else { return false };
    if now.since(last_used) > EVICTION {
        return cache.remove(&oldest).is_some();
    }
    let may_go = |session: &&Arc<Session>| {
        let is_outranked = requester.is_follower && !session.requester.is_follower;
        now.since(session.created) > EVICTION || is_outranked
    };
    let weight = |session: &Arc<Session>| {
        (session.requester.is_follower, session.state.lock().line.len(), session.id)
    };
    match cache.values().filter(may_go).map(weight).min() {
        Some((is_follower, found, id)) if (is_follower, found) <= (requester.is_follower, size) => {
            cache.remove(&id).is_some()
        }
        _ => false,
    }
}

impl State {
    fn want(&mut self, key: &PartitionKey, wanted: Wanted) {
        if let Some(cached) = self.places.get(key).and_then(|place| self.line.get_mut(place)) {
            cached.wanted = wanted;
            return;
        }
        let nothing = Offset(-1);
        let cached =
            Cached { key: key.clone(), wanted, high_watermark: nothing, log_start: nothing };
        self.append(cached);
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(place) = self.places.remove(key) {
            self.line.remove(&place);
        }
    }

    fn append(&mut self, cached: Cached) {
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(cached.key.clone(), place);
        self.line.insert(place, cached);
    }

    /// Remembers what the client is told.
    fn tell(&mut self, key: &PartitionKey, response: &FetchPartitionResponse) {
        if let Some(cached) = self.places.get(key).and_then(|place| self.line.get_mut(place)) {
            cached.high_watermark = response.high_watermark;
            cached.log_start = response.log_start_offset;
        }
    }

    /// Whether a response says something that the client does not know; if so, it is remembered as told.
    fn is_news(&mut self, key: &PartitionKey, response: &FetchPartitionResponse) -> bool {
        let Some(place) = self.places.get(key).copied() else { return true };
        let cached = self.line.get_mut(&place).expect("places and line agree");
        let has_records = response.records.iter().any(|records| !records.is_empty());
        let failed = !response.error_code.is_none();
        let news = has_records
            || failed
            || response.diverging_epoch.is_some()
            || response.preferred_read_replica.0 >= 0
            || cached.high_watermark != response.high_watermark
            || cached.log_start != response.log_start_offset;
        cached.log_start = response.log_start_offset;
        // When an error goes away the partition is news again.
        cached.high_watermark = if failed { Offset(-1) } else { response.high_watermark };
        if has_records {
            let cached = self.line.remove(&place).expect("seen above");
            self.append(cached);
        }
        news
    }
}

fn named(request: &FetchRequest, uses_topic_ids: bool) -> Vec<(PartitionKey, Wanted)> {
    let mut named = Vec::new();
    for topic in &request.topics {
        let topic_key = topic_key(&topic.topic, topic.topic_id, uses_topic_ids);
        for partition in &topic.partitions {
            let key = PartitionKey { topic: topic_key.clone(), partition: partition.partition };
            let wanted = Wanted {
                fetch_offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes,
                current_leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                log_start: partition.log_start_offset,
                high_watermark: partition.high_watermark,
            };
            named.push((key, wanted));
        }
    }
    named
}

fn forgotten(request: &FetchRequest, uses_topic_ids: bool) -> impl Iterator<Item = PartitionKey> {
    request.forgotten_topics.iter().flat_map(move |topic| {
        let topic_key = topic_key(&topic.topic, topic.topic_id, uses_topic_ids);
        topic
            .partitions
            .iter()
            .map(move |partition| PartitionKey { topic: topic_key.clone(), partition: *partition })
    })
}

fn topic_key(name: &Text, id: TopicId, uses_topic_ids: bool) -> TopicKey {
    if uses_topic_ids { TopicKey::Id(id) } else { TopicKey::Name(name.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::fetch::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};

    fn request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
        let partition = |(partition, offset): &(i32, i64)| FetchPartition {
            partition: PartitionId(*partition),
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            fetch_offset: Offset(*offset),
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
            log_start_offset: Offset(-1),
            partition_max_bytes: 1_000,
            replica_directory_id: uuid::Uuid::nil(),
            high_watermark: Offset(i64::MAX),
        };
        let topic = FetchTopic {
            topic: Text::from_static_str("t"),
            topic_id: TopicId::ZERO,
            partitions: partitions.iter().map(partition).collect(),
        };
        FetchRequest {
            cluster_id: None,
            replica_state: ReplicaState::CONSUMER,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 1_000,
            isolation_level: 0,
            session_id: id,
            session_epoch: epoch,
            topics: if partitions.is_empty() { Vec::new() } else { vec![topic] },
            forgotten_topics: Vec::new(),
            rack_id: Text::from_static_str(""),
        }
    }

    fn response(
        partition: i32,
        high_watermark: i64,
        records: &'static [u8],
    ) -> (PartitionKey, FetchPartitionResponse) {
        let key = PartitionKey {
            topic: TopicKey::Name(Text::from_static_str("t")),
            partition: PartitionId(partition),
        };
        let response = FetchPartitionResponse {
            partition_index: PartitionId(partition),
            error_code: ErrorCode::None,
            high_watermark: Offset(high_watermark),
            last_stable_offset: Offset(high_watermark),
            log_start_offset: Offset(0),
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted_transactions: None,
            preferred_read_replica: crate::model::BrokerId(-1),
            records: vec![records.into()],
        };
        (key, response)
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    fn sessions(slots: usize) -> FetchSessions {
        FetchSessions::new(slots, Rng::from_seed(1))
    }

    /// Begins a session with as many partitions.
    fn begin(sessions: &FetchSessions, count: i32, now: u64) -> i32 {
        let partitions: Vec<_> = (0..count).map(|partition| (partition, 0)).collect();
        let fetching = sessions.begin(&request(0, 0, &partitions), 12, at(now)).unwrap();
        let told = (0..count).map(|partition| response(partition, 5, b"")).collect();
        sessions.end(fetching, told, at(now)).session_id
    }

    fn order(fetching: &Fetching) -> Vec<i32> {
        fetching.partitions.iter().map(|(key, _)| key.partition.0).collect()
    }

    #[test]
    fn a_session_remembers_and_leaves_out_what_is_known() {
        let sessions = sessions(10);
        let id = begin(&sessions, 3, 0);
        assert_ne!(id, NO_SESSION);
        let fetching = sessions.begin(&request(id, 1, &[(1, 7)]), 12, at(1)).unwrap();
        assert_eq!(order(&fetching), [0, 1, 2]);
        assert_eq!(fetching.partitions[1].1.fetch_offset, Offset(7));
        let told = vec![response(0, 5, b""), response(1, 6, b""), response(2, 5, b"records")];
        let fetched = sessions.end(fetching, told, at(1));
        let answered: Vec<_> = fetched.partitions.iter().map(|(key, _)| key.partition.0).collect();
        assert_eq!((fetched.session_id, answered), (id, vec![1, 2]));
    }

    #[test]
    fn who_gave_records_goes_last() {
        let sessions = sessions(10);
        let id = begin(&sessions, 3, 0);
        for (epoch, expected) in [(1, [0, 1, 2]), (2, [1, 2, 0]), (3, [2, 0, 1])] {
            let fetching = sessions.begin(&request(id, epoch, &[]), 12, at(1)).unwrap();
            assert_eq!(order(&fetching), expected);
            let told = expected.iter().enumerate().map(|(i, partition)| {
                response(*partition, 5, if i == 0 { b"records" } else { b"" })
            });
            sessions.end(fetching, told.collect(), at(1));
        }
    }

    #[test]
    fn an_error_is_news_and_so_is_its_end() {
        let sessions = sessions(10);
        let id = begin(&sessions, 1, 0);
        let mut failed = response(0, -1, b"");
        failed.1.error_code = ErrorCode::NotLeaderOrFollower;
        failed.1.log_start_offset = Offset(-1);
        for (epoch, told, news) in [
            (1, failed.clone(), 1),
            (2, failed, 1),
            (3, response(0, 5, b""), 1),
            (4, response(0, 5, b""), 0),
        ] {
            let fetching = sessions.begin(&request(id, epoch, &[]), 12, at(1)).unwrap();
            assert_eq!(
                sessions.end(fetching, vec![told], at(1)).partitions.len(),
                news,
                "epoch {epoch}"
            );
        }
    }

    #[test]
    fn requests_that_do_not_fit_are_refused() {
        let sessions = sessions(10);
        let id = begin(&sessions, 1, 0);
        let begin =
            |id, epoch, version| sessions.begin(&request(id, epoch, &[]), version, at(1)).map(drop);
        assert_eq!(begin(id.wrapping_add(1), 1, 12), Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(begin(id, 2, 12), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(begin(id, 1, 13), Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(begin(id, 1, 12), Ok(()));
        assert_eq!(
            begin(id, 1, 12),
            Err(ErrorCode::InvalidFetchSessionEpoch),
            "an epoch counts once"
        );
        assert_eq!(begin(id, FINAL_EPOCH, 12), Ok(()));
        assert_eq!(begin(id, 2, 12), Err(ErrorCode::FetchSessionIdNotFound), "it was ended");
    }

    #[test]
    fn a_response_to_an_overtaken_request_is_an_error() {
        let sessions = sessions(10);
        let id = begin(&sessions, 1, 0);
        let first = sessions.begin(&request(id, 1, &[]), 12, at(1)).unwrap();
        sessions.begin(&request(id, 2, &[]), 12, at(1)).unwrap();
        let fetched = sessions.end(first, vec![response(0, 9, b"")], at(1));
        assert_eq!(fetched.error_code, ErrorCode::InvalidFetchSessionEpoch);
        assert!(fetched.partitions.is_empty());
    }

    #[test]
    fn forgotten_partitions_are_left_out_and_the_last_one_ends_the_session() {
        let sessions = sessions(10);
        let id = begin(&sessions, 2, 0);
        let forget = |epoch, partitions: &[i32]| {
            let mut request = request(id, epoch, &[]);
            request.forgotten_topics = vec![ForgottenTopic {
                topic: Text::from_static_str("t"),
                topic_id: TopicId::ZERO,
                partitions: partitions.iter().copied().map(PartitionId).collect(),
            }];
            sessions.begin(&request, 12, at(1))
        };
        assert_eq!(order(&forget(1, &[0]).unwrap()), [1]);
        let last = forget(2, &[1]).unwrap();
        assert!(last.partitions.is_empty());
        assert_eq!(sessions.end(last, Vec::new(), at(1)).session_id, NO_SESSION);
        assert_eq!(forget(3, &[]).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    }

    #[test]
    fn room_is_made_as_kafka_makes_it() {
        let sessions = sessions(2);
        let (small, large) = (begin(&sessions, 1, 0), begin(&sessions, 5, 0));
        assert!(small != NO_SESSION && large != NO_SESSION);
        assert_eq!(begin(&sessions, 9, 60), NO_SESSION, "both are young");
        for (id, epoch) in [(small, 1), (large, 1)] {
            sessions.begin(&request(id, epoch, &[]), 12, at(100)).unwrap();
        }
        assert_ne!(begin(&sessions, 3, 130), NO_SESSION, "the small one is no longer young");
        let gone = sessions.begin(&request(small, 2, &[]), 12, at(130)).map(drop);
        assert_eq!(gone, Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(begin(&sessions, 2, 131), NO_SESSION, "the others are young or larger");
        assert_ne!(begin(&sessions, 1, 300), NO_SESSION, "one was not used for long");
    }

    #[test]
    fn followers_come_before_consumers() {
        let sessions = sessions(2);
        assert!((0..2).all(|_| begin(&sessions, 5, 0) != NO_SESSION));
        let follow = |partitions: &[(i32, i64)]| {
            let mut request = request(NO_SESSION, INITIAL_EPOCH, partitions);
            request.replica_state.replica_id = crate::model::BrokerId(2);
            let fetching = sessions.begin(&request, 12, at(1)).unwrap();
            sessions.end(fetching, Vec::new(), at(1)).session_id
        };
        assert!((0..2).all(|_| follow(&[(0, 0)]) != NO_SESSION), "consumers make room");
        assert_eq!(follow(&[(0, 0), (1, 0)]), NO_SESSION, "followers that are young do not");
    }

    #[test]
    fn epochs_wrap_around_to_one() {
        assert_eq!([epoch_after(0), epoch_after(i32::MAX), epoch_after(-1)], [1, 1, -1]);
    }
}
