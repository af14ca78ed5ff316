//! The client: the same bytes to every server, built once, sent from blocking threads.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ottla::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId, TopicId, UnixMillis};
use ottla::record::{BatchBuilder, Compression};
use ottla::wire::fetch::{FetchPartition, FetchTopic, ReplicaState};
use ottla::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::wire::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, WireTopicName,
    create_topics_request, metadata_request,
};
use ottla::wire::produce::{ProducePartition, ProduceTopic};
use ottla::wire::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ProduceRequest, ProduceResponse, Request,
    RequestHeader, Text, decode_response, encode_request,
};

const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 12;
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection. What goes wrong on it ends the program.
pub(crate) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a server that listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, correlation_id: 0 }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).expect("a server that reads");
    }

    /// The next answer without its length, in the buffer.
    pub(crate) fn receive(&mut self, buffer: &mut BytesMut) {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("an answer within a minute");
        buffer.resize(u32::from_be_bytes(length) as usize, 0);
        self.stream.read_exact(buffer).expect("a whole answer");
    }

    pub(crate) fn call<M: Request>(&mut self, version: i16, request: &M) -> M::Response {
        self.ask(version, request);
        self.answer::<M>(version)
    }

    /// Sends a request whose answer is taken later.
    pub(crate) fn ask<M: Request>(&mut self, version: i16, request: &M) {
        self.correlation_id += 1;
        self.send(&frame(version, self.correlation_id, request));
    }

    /// Takes the answer to the earliest request that has none yet.
    pub(crate) fn answer<M: Request>(&mut self, version: i16) -> M::Response {
        let mut buffer = BytesMut::new();
        self.receive(&mut buffer);
        decode_response::<M::Response>(version, &buffer.freeze()).expect("an answer of Kafka's").1
    }

    /// Asks for metadata, as a client does first, until the broker is in it: Apache Kafka answers before that.
    pub(crate) fn metadata(&mut self) {
        let mut request = MetadataRequest::default();
        request.topics = Some(Vec::new());
        while self.call(12, &request).brokers.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn create(&mut self, name: &str, partitions: usize) {
        let mut topic = create_topics_request::CreatableTopic::default();
        topic.name = WireTopicName(Text::from_string(name.to_owned()));
        (topic.num_partitions, topic.replication_factor) = (partitions as i32, 1);
        let mut config = create_topics_request::CreatableTopicConfig::default();
        config.name = Text::from_static_str("max.message.bytes");
        config.value = Some(Text::from_static_str("2000000"));
        topic.configs = vec![config];
        let mut request = CreateTopicsRequest::default();
        (request.topics, request.timeout_ms) = (vec![topic], 30_000);
        let response = self.call(5, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        // Kafka answers before the partitions are served.
        while !self.is_served(name, partitions) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_served(&mut self, name: &str, partitions: usize) -> bool {
        let partition = |index| ListOffsetsPartition {
            partition_index: PartitionId(index as i32),
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            timestamp: -1,
        };
        let request = ListOffsetsRequest {
            replica_id: BrokerId(-1),
            isolation_level: 0,
            topics: vec![ListOffsetsTopic {
                name: Text::from_string(name.to_owned()),
                partitions: (0..partitions).map(partition).collect(),
            }],
            timeout_ms: 30_000,
        };
        let response = self.call(9, &request);
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.all(|partition| partition.error_code == ErrorCode::None)
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let mut request = DeleteTopicsRequest::default();
        request.topic_names = vec![WireTopicName(Text::from_string(name.to_owned()))];
        request.timeout_ms = 30_000;
        let response = self.call(5, &request);
        assert_eq!(response.responses[0].error_code, 0, "{response:?}");
    }
}

pub(crate) fn frame<M: Request>(version: i16, correlation_id: i32, request: &M) -> Bytes {
    let header = RequestHeader {
        api_key: M::KEY.code(),
        api_version: version,
        correlation_id,
        client_id: Some(Text::from_static_str("speed")),
    };
    encode_request(&header, request).unwrap().to_bytes()
}

/// A batch of one record of 128 bytes that begins with a time.
pub(crate) fn stamped(time: Duration) -> Bytes {
    let mut value = [0; 128];
    value[..8].copy_from_slice(&(time.as_nanos() as u64).to_le_bytes());
    BatchBuilder::new().push(now(), None, Some(&value)).build()
}

/// A batch of so many records of 1,000 bytes.
pub(crate) fn batch(records: usize, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    let mut state = 1_u64;
    for _ in 0..records {
        // Half random: what is compressed is to shrink by about that.
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let value: Vec<u8> = (0..1_000).map(|i| if i % 2 == 0 { next() } else { b'x' }).collect();
        builder.push(now(), None, Some(&value));
    }
    builder.compression(compression).build()
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64)
}

/// The frame of a Produce request, and where its records lie after the frame's length.
pub(crate) fn produce_frame(
    topic: &str,
    partition: usize,
    acks: i16,
    records: &Bytes,
) -> (Bytes, std::ops::Range<usize>) {
    let request = ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic {
            name: Text::from_string(topic.to_owned()),
            topic_id: TopicId::ZERO,
            partitions: vec![ProducePartition {
                index: PartitionId(partition as i32),
                records: Some(records.clone()),
            }],
        }],
    };
    let frame = frame(PRODUCE_VERSION, 1, &request);
    let start = frame.windows(records.len()).position(|window| window == records).unwrap();
    (frame, start - 4..start - 4 + records.len())
}

/// Ends with a panic if an answer to Produce says anything but success.
pub(crate) fn check_produced(answer: &Bytes) {
    let (_, response) = decode_response::<ProduceResponse>(PRODUCE_VERSION, answer).unwrap();
    let partition = &response.topics[0].partitions[0];
    assert_eq!(partition.error_code, ErrorCode::None, "{partition:?}");
}

/// The frame of a Fetch request of these partitions from their offsets on.
pub(crate) fn fetch_frame(
    topic: &str,
    offsets: &[i64],
    partition_bytes: usize,
    wait: bool,
) -> Bytes {
    frame(FETCH_VERSION, 1, &fetch_request(topic, offsets, partition_bytes, wait))
}

/// A Fetch request of these partitions from their offsets on.
pub(crate) fn fetch_request(
    topic: &str,
    offsets: &[i64],
    partition_bytes: usize,
    wait: bool,
) -> FetchRequest {
    let partition = |(index, offset): (usize, &i64)| FetchPartition {
        partition: PartitionId(index as i32),
        current_leader_epoch: LeaderEpoch::UNKNOWN,
        fetch_offset: Offset(*offset),
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
        log_start_offset: Offset(-1),
        partition_max_bytes: partition_bytes as i32,
        replica_directory_id: uuid::Uuid::nil(),
        high_watermark: Offset(i64::MAX),
    };
    FetchRequest {
        cluster_id: None,
        replica_state: ReplicaState::CONSUMER,
        max_wait_ms: if wait { 500 } else { 0 },
        min_bytes: 1,
        max_bytes: 100 << 20,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: Text::from_string(topic.to_owned()),
            topic_id: TopicId::ZERO,
            partitions: offsets.iter().enumerate().map(partition).collect(),
        }],
        forgotten_topics: Vec::new(),
        rack_id: Text::from_static_str(""),
    }
}

/// The records of each partition in an answer to Fetch.
pub(crate) fn fetched(answer: &Bytes) -> Vec<Bytes> {
    let (_, response) = decode_response::<FetchResponse>(FETCH_VERSION, answer).unwrap();
    assert_eq!(response.error_code, ErrorCode::None);
    let records = |partition: &ottla::wire::fetch::FetchPartitionResponse| {
        assert_eq!(partition.error_code, ErrorCode::None);
        Bytes::from(partition.records.concat())
    };
    response.topics.iter().flat_map(|topic| &topic.partitions).map(records).collect()
}

/// What a load did.
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) requests: u64,
    /// From a request to its answer, ascending.
    pub(crate) latencies: Vec<Duration>,
}

impl Outcome {
    /// The latency that this part of all requests does not exceed.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let at = ((self.latencies.len() as f64 * part) as usize).min(self.latencies.len() - 1);
        self.latencies[at]
    }
}

/// Runs one thread for each job on a connection of its own, all beginning at once.
fn side_by_side<J: Send>(
    address: SocketAddr,
    jobs: Vec<J>,
    run: impl Fn(&mut Client, J, &mut Vec<Duration>) + Sync,
) -> Outcome {
    let barrier = Barrier::new(jobs.len() + 1);
    let (run, barrier) = (&run, &barrier);
    std::thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .into_iter()
            .map(|job| {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut latencies = Vec::new();
                    barrier.wait();
                    run(&mut client, job, &mut latencies);
                    latencies
                })
            })
            .collect();
        barrier.wait();
        let begun = Instant::now();
        let mut latencies: Vec<_> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let elapsed = begun.elapsed();
        latencies.sort_unstable();
        Outcome { elapsed, requests: latencies.len() as u64, latencies }
    })
}

/// Sends each frame `requests` times on a connection of its own, with at most `in_flight` of them unanswered.
///
/// The first answer of each connection is given to `check`; all others must be as long.
pub(crate) fn produce(
    address: SocketAddr,
    frames: Vec<Bytes>,
    requests: u64,
    in_flight: usize,
    check: fn(&Bytes),
) -> Outcome {
    side_by_side(address, frames, |client, frame, latencies| {
        let mut buffer = BytesMut::new();
        let mut sent_at = VecDeque::new();
        let mut expected = None;
        for request in 0..requests + in_flight as u64 {
            if sent_at.len() == in_flight || request >= requests {
                let Some(sent): Option<Instant> = sent_at.pop_front() else { break };
                client.receive(&mut buffer);
                latencies.push(sent.elapsed());
                if *expected.get_or_insert(buffer.len()) != buffer.len() || latencies.len() == 1 {
                    check(&buffer.clone().freeze());
                }
            }
            if request < requests {
                sent_at.push_back(Instant::now());
                client.send(&frame);
            }
        }
        assert_eq!(latencies.len() as u64, requests);
    })
}

/// What one connection reads: a topic from its start on and again from there when it has come to the end.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    /// Bytes to ask for from each partition; what is there is a multiple of it.
    pub(crate) partition_bytes: usize,
    /// Offsets in so many bytes.
    pub(crate) records: i64,
    pub(crate) end: i64,
}

/// Reads `requests` times on each connection. All answers must be as long as the first one, which goes to `check`.
pub(crate) fn fetch(
    address: SocketAddr,
    readings: Vec<Reading>,
    requests: u64,
    check: fn(&Bytes, &Reading),
) -> Outcome {
    side_by_side(address, readings, |client, reading, latencies| {
        let mut buffer = BytesMut::new();
        let mut offset = 0;
        let mut expected = None;
        for _ in 0..requests {
            let offsets = vec![offset; reading.partitions];
            let frame = fetch_frame(&reading.topic, &offsets, reading.partition_bytes, false);
            let sent = Instant::now();
            client.send(&frame);
            client.receive(&mut buffer);
            latencies.push(sent.elapsed());
            if *expected.get_or_insert(buffer.len()) != buffer.len() || latencies.len() == 1 {
                check(&buffer.clone().freeze(), &reading);
            }
            offset += reading.records;
            if offset + reading.records > reading.end {
                offset = 0;
            }
        }
    })
}

/// Sends a record of 128 bytes every `pace` and reads it on another connection; gives the time between.
///
/// `records` finds the records in an answer to Fetch.
pub(crate) fn end_to_end(
    address: SocketAddr,
    topic: &str,
    messages: u64,
    pace: Duration,
    records: impl Fn(&Bytes) -> Option<Bytes> + Sync,
) -> Outcome {
    let epoch = Instant::now();
    let reading = |_: ()| {
        let mut client = Client::connect(address);
        let mut latencies = Vec::new();
        let (mut buffer, mut offset) = (BytesMut::new(), 0);
        while (offset as u64) < messages {
            client.send(&fetch_frame(topic, &[offset], 1 << 20, true));
            client.receive(&mut buffer);
            let received = epoch.elapsed();
            let Some(records) = records(&buffer.clone().freeze()) else { continue };
            for batch in ottla::record::scan(&records).map(Result::unwrap) {
                ottla::record::visit_records(batch.bytes, |record| {
                    let stamp = record.value.unwrap()[..8].try_into().unwrap();
                    let sent = Duration::from_nanos(u64::from_le_bytes(stamp));
                    latencies.push(received.checked_sub(sent).unwrap());
                    offset += 1;
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            }
        }
        latencies
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || reading(()));
        let mut client = Client::connect(address);
        let mut buffer = BytesMut::new();
        let begun = Instant::now();
        for message in 0..messages {
            let due = begun + pace * message as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            client.send(&produce_frame(topic, 0, 1, &stamped(epoch.elapsed())).0);
            client.receive(&mut buffer);
        }
        let mut latencies = reader.join().unwrap();
        latencies.sort_unstable();
        Outcome { elapsed: begun.elapsed(), requests: messages, latencies }
    })
}

/// Measures while something else runs, which is told to stop then.
pub(crate) fn beside(
    other: impl FnOnce(&AtomicBool) + Send,
    measure: &dyn Fn() -> Outcome,
) -> Outcome {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| other(&stop));
        let outcome = measure();
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        outcome
    })
}

/// Sends a frame so many times a second, five of them in flight, until it is told to stop.
pub(crate) fn bulk(address: SocketAddr, frame: &Bytes, a_second: u64, stop: &AtomicBool) {
    let mut client = Client::connect(address);
    let mut buffer = BytesMut::new();
    let begun = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = begun + Duration::from_secs(1) * sent as u32 / a_second as u32;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        client.send(frame);
        sent += 1;
        if sent >= 5 {
            client.receive(&mut buffer);
        }
    }
    (0..4.min(sent)).for_each(|_| client.receive(&mut buffer));
}

/// Reads a topic of one partition, over and over, until it is told to stop.
pub(crate) fn catch_up(address: SocketAddr, reading: &Reading, stop: &AtomicBool) {
    let mut client = Client::connect(address);
    let mut buffer = BytesMut::new();
    let mut offset = 0;
    while !stop.load(Ordering::Relaxed) {
        let frame = fetch_frame(&reading.topic, &[offset], reading.partition_bytes, false);
        client.send(&frame);
        client.receive(&mut buffer);
        offset += reading.records;
        if offset + reading.records > reading.end {
            offset = 0;
        }
    }
}

/// Writes the files of a partition's folder, wherever below `folder` it is, to the disk and puts them out of the page cache.
pub(crate) fn evict(folder: &Path, partition: &str) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        if entry.file_name() != partition {
            evict(&path, partition);
            continue;
        }
        for file in std::fs::read_dir(&path).unwrap().flatten() {
            // Files may go away meanwhile.
            let Ok(file) = std::fs::File::open(file.path()) else { continue };
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

/// Asks for the metadata of a topic, again and again.
pub(crate) fn metadata(address: SocketAddr, topic: &str, requests: u64) -> Outcome {
    let mut request = MetadataRequest::default();
    let mut wanted = metadata_request::MetadataRequestTopic::default();
    wanted.name = Some(WireTopicName(Text::from_string(topic.to_owned())));
    request.topics = Some(vec![wanted]);
    side_by_side(address, vec![()], |client, (), latencies| {
        for _ in 0..requests {
            let sent = Instant::now();
            let response = client.call(12, &request);
            latencies.push(sent.elapsed());
            assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        }
    })
}
