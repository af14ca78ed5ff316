//! A broker for a test, and a client that sends what it is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ottla::api::{AllowAll, Authorizer};
use ottla::broker::{Broker, BrokerOptions, StartError};
use ottla::config::{self, Effective, Sources};
use ottla::env::{Clock, Disk, Env, MemoryDisk};
use ottla::log::DataPaths;
use ottla::model::{
    ErrorCode, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TopicId, UnixMillis,
};
use ottla::record::{Batch, BatchBuilder, scan};
use ottla::wire::fetch::{FetchPartition, FetchPartitionResponse, FetchTopic, ReplicaState};
use ottla::wire::messages::{
    CreateTopicsRequest, MetadataRequest, MetadataResponse, WireTopicName, create_topics_request,
    metadata_request,
};
use ottla::wire::produce::{ProducePartition, ProducePartitionResponse, ProduceTopic};
use ottla::wire::{
    FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, Request, RequestHeader, Text,
    decode_response, encode_request,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Long enough for anything that is to happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const DATA: &str = "data";

/// A running broker with what it runs on.
pub(crate) struct Rig {
    pub(crate) broker: Broker,
    pub(crate) disk: Arc<dyn Disk>,
    /// The first of its data directories.
    pub(crate) data: PathBuf,
    paths: DataPaths,
    options: Vec<String>,
    authorizer: Arc<dyn Authorizer>,
    /// What its clock shows at each start, if not the present.
    time: Option<UnixMillis>,
}

impl Rig {
    /// A broker in memory whose clients may do what this says.
    pub(crate) async fn authorized_by(authorizer: Arc<dyn Authorizer>) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let paths = DataPaths::one(DATA);
        let broker = start(&disk, &paths, &[], &authorizer, None).await.unwrap();
        Self { broker, disk, data: DATA.into(), paths, options: Vec::new(), authorizer, time: None }
    }

    /// A broker in memory, with these settings (`key=value`).
    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::on(Arc::new(MemoryDisk::new()), Path::new(DATA), options).await.unwrap()
    }

    /// A broker in memory.
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A broker on a disk. Its metadata is durable there.
    pub(crate) async fn on(
        disk: Arc<dyn Disk>,
        data: &Path,
        options: &[&str],
    ) -> Result<Self, StartError> {
        Self::on_dirs(disk, &DataPaths::one(data), options).await
    }

    /// A broker on a disk with these data directories.
    pub(crate) async fn on_dirs(
        disk: Arc<dyn Disk>,
        paths: &DataPaths,
        options: &[&str],
    ) -> Result<Self, StartError> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let authorizer: Arc<dyn Authorizer> = Arc::new(AllowAll);
        let broker = start(&disk, paths, &options, &authorizer, None).await?;
        let (data, paths) = (paths.logs[0].clone(), paths.clone());
        Ok(Self { broker, disk, data, paths, options, authorizer, time: None })
    }

    /// A broker on a disk, whose clock shows `time` at each start.
    pub(crate) async fn at(time: UnixMillis, disk: Arc<dyn Disk>, data: &Path) -> Self {
        let authorizer: Arc<dyn Authorizer> = Arc::new(AllowAll);
        let (paths, data, time) = (DataPaths::one(data), data.to_owned(), Some(time));
        let broker = start(&disk, &paths, &[], &authorizer, time).await.unwrap();
        Self { broker, disk, data, paths, options: Vec::new(), authorizer, time }
    }

    /// Stops the broker in good order and starts another one on the same disk.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(|_, _| ()).await
    }

    /// Stops the broker in good order, changes what is on its disk, and starts another one there.
    pub(crate) async fn restart_after(self, change: impl FnOnce(&dyn Disk, &Path)) -> Self {
        let Self { broker, disk, data, paths, options, authorizer, time } = self;
        broker.stop().await.unwrap();
        change(&*disk, &data);
        let broker = start(&disk, &paths, &options, &authorizer, time).await.unwrap();
        Self { broker, disk, data, paths, options, authorizer, time }
    }

    /// Ends the broker as a crash would and starts another one on the same disk.
    pub(crate) async fn crash(self) -> Self {
        let Self { broker, disk, data, paths, options, authorizer, time } = self;
        broker.kill().await;
        let broker = start(&disk, &paths, &options, &authorizer, time).await.unwrap();
        Self { broker, disk, data, paths, options, authorizer, time }
    }

    /// A new connection.
    pub(crate) async fn client(&self) -> Client {
        Client::to(self.broker.addresses()[0]).await
    }
}

async fn start(
    disk: &Arc<dyn Disk>,
    paths: &DataPaths,
    options: &[String],
    authorizer: &Arc<dyn Authorizer>,
    time: Option<UnixMillis>,
) -> Result<Broker, StartError> {
    let mut all = vec!["listeners=PLAINTEXT://127.0.0.1:0".to_owned()];
    all.extend_from_slice(options);
    let sources = Sources { options: &all, ..Sources::default() };
    let settings = Effective::new(config::load(sources).unwrap());
    let mut env = Env::with_disk(Arc::clone(disk));
    if let Some(time) = time {
        env.clock = Clock::starting_at(env.steady.clone(), time);
    }
    let authorizer = Arc::clone(authorizer);
    let options = BrokerOptions { settings, data: paths.clone(), durable: true, authorizer };
    Broker::start(env, options).await
}

/// A connection that sends requests and gives the answers.
pub(crate) struct Client {
    pub(crate) stream: Box<dyn Connection>,
    correlation_id: i32,
}

/// What a client speaks over.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Client {
    /// A connection to any broker.
    pub(crate) async fn to(address: impl tokio::net::ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// One that has a connection.
    pub(crate) fn over(stream: impl Connection + 'static) -> Self {
        Self { stream: Box::new(stream), correlation_id: 0 }
    }

    /// Sends a request without waiting for its answer; gives its correlation id.
    pub(crate) async fn send<M: Request>(&mut self, version: i16, request: &M) -> i32 {
        self.correlation_id += 1;
        let header = RequestHeader {
            api_key: M::KEY.code(),
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some(Text::from_static_str("test")),
        };
        let frame = encode_request(&header, request).unwrap();
        self.stream.write_all(&frame.to_bytes()).await.unwrap();
        self.correlation_id
    }

    /// The next answer, which must be to a request of this kind.
    pub(crate) async fn receive<M: Request>(&mut self, version: i16) -> (i32, M::Response) {
        let frame = self.frame().await.expect("an answer");
        decode_response::<M::Response>(version, &frame).unwrap()
    }

    /// Sends a request and gives its answer.
    pub(crate) async fn call<M: Request>(&mut self, version: i16, request: &M) -> M::Response {
        let sent = self.send(version, request).await;
        let (answered, response) = self.receive::<M>(version).await;
        assert_eq!(answered, sent, "answers come in the order of their requests");
        response
    }

    /// The next frame without its length; `None` if the broker has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut frame = BytesMut::zeroed(usize::try_from(length).unwrap());
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(frame.freeze())
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer or the end of the connection")
    }

    /// Sends bytes as they are; an error means that the broker has closed the connection.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether the broker closes the connection without another word.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.frame().await.is_none()
    }

    /// Creates a topic with so many partitions and these configs.
    pub(crate) async fn create(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> TopicId {
        let response = self.call(7, &creation(name, partitions, configs)).await;
        let topic = &response.topics[0];
        assert_eq!(topic.error_code, 0, "{topic:?}");
        TopicId(topic.topic_id)
    }

    /// What the broker says of some topics.
    pub(crate) async fn metadata(&mut self, names: &[&str]) -> MetadataResponse {
        let mut request = MetadataRequest::default();
        let topic = |name: &&str| {
            let mut topic = metadata_request::MetadataRequestTopic::default();
            topic.name = Some(wire_name(name));
            topic
        };
        request.topics = Some(names.iter().map(topic).collect());
        request.allow_auto_topic_creation = false;
        self.call(13, &request).await
    }

    /// Appends records to a partition by topic name; gives what became of them.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> ProducePartitionResponse {
        let response: ProduceResponse = self.call(12, &produce(topic, partition, records)).await;
        response.topics[0].partitions[0].clone()
    }

    /// Appends records, which must succeed; gives the offset of the first one.
    pub(crate) async fn append(&mut self, topic: &str, partition: i32, records: Bytes) -> Offset {
        let produced = self.produce(topic, partition, records).await;
        assert_eq!(produced.error_code, ErrorCode::None, "{produced:?}");
        produced.base_offset
    }

    /// Reads a partition by topic name from an offset on, without waiting.
    pub(crate) async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> FetchPartitionResponse {
        let response: FetchResponse = self.call(12, &fetch(topic, &[(partition, offset)])).await;
        assert_eq!(response.error_code, ErrorCode::None);
        response.topics[0].partitions[0].clone()
    }

    /// The values of all records of a partition, which the broker must lead.
    pub(crate) async fn values(&mut self, topic: &str, partition: i32) -> Vec<String> {
        self.values_if_led(topic, partition).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// The values of all records of a partition, or why the broker does not give them.
    pub(crate) async fn values_if_led(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Result<Vec<String>, FetchPartitionResponse> {
        let mut values = Vec::new();
        let mut offset = self.fetch(topic, partition, 0).await.log_start_offset.0.max(0);
        loop {
            let fetched = self.fetch(topic, partition, offset).await;
            if !fetched.error_code.is_none() {
                return Err(fetched);
            }
            let records = fetched.records.concat();
            if records.is_empty() {
                return Ok(values);
            }
            for batch in scan(&records).map_while(Result::ok) {
                values.extend(values_of(&batch));
                offset = batch.header.next_offset().0;
            }
        }
    }
}

/// The values of a batch's records.
pub(crate) fn values_of(batch: &Batch<'_>) -> Vec<String> {
    let mut values = Vec::new();
    ottla::record::visit_records(batch.bytes, |record| {
        values.push(String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    values
}

/// A batch with these values.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(now(), None, Some(value.as_bytes()));
    }
    builder.build()
}

/// A batch with this value that is appended once, however often it is sent: of an idempotent producer that nobody else is.
pub(crate) fn batch_once(value: &str) -> Bytes {
    static PRODUCERS: AtomicI64 = AtomicI64::new(1_000_000);
    let producer = ProducerId(PRODUCERS.fetch_add(1, Ordering::Relaxed));
    let mut builder = BatchBuilder::new();
    builder.producer(producer, ProducerEpoch(0), 0);
    builder.push(now(), None, Some(value.as_bytes()));
    builder.build()
}

/// What is logged: what `OTTLA_LOG` says.
pub(crate) fn log_filter() -> EnvFilter {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into());
    filter.with_env_var("OTTLA_LOG").from_env_lossy()
}

/// The present.
pub(crate) fn now() -> UnixMillis {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    UnixMillis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn wire_name(name: &str) -> WireTopicName {
    WireTopicName(Text::from_string(name.to_owned()))
}

/// A request to create one topic with the default number of replicas.
pub(crate) fn creation(
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreateTopicsRequest {
    let mut topic = create_topics_request::CreatableTopic::default();
    topic.name = wire_name(name);
    topic.num_partitions = partitions;
    topic.replication_factor = -1;
    for (key, value) in configs {
        let mut config = create_topics_request::CreatableTopicConfig::default();
        config.name = Text::from_string((*key).to_owned());
        config.value = Some(Text::from_string((*value).to_owned()));
        topic.configs.push(config);
    }
    let mut request = CreateTopicsRequest::default();
    request.topics = vec![topic];
    request.timeout_ms = 30_000;
    request
}

/// A request to append records to one partition, with acks=all.
pub(crate) fn produce(topic: &str, partition: i32, records: Bytes) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![ProduceTopic {
            name: Text::from_string(topic.to_owned()),
            topic_id: TopicId::ZERO,
            partitions: vec![ProducePartition {
                index: PartitionId(partition),
                records: Some(records),
            }],
        }],
    }
}

/// A request to read partitions of one topic without waiting and without a session.
pub(crate) fn fetch(topic: &str, partitions: &[(i32, i64)]) -> FetchRequest {
    let partition = |(partition, offset): &(i32, i64)| FetchPartition {
        partition: PartitionId(*partition),
        current_leader_epoch: LeaderEpoch::UNKNOWN,
        fetch_offset: Offset(*offset),
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
        log_start_offset: Offset(-1),
        partition_max_bytes: 1 << 20,
        replica_directory_id: uuid::Uuid::nil(),
        high_watermark: Offset(i64::MAX),
    };
    FetchRequest {
        cluster_id: None,
        replica_state: ReplicaState::CONSUMER,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 << 20,
        isolation_level: 0,
        session_id: 0,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: Text::from_string(topic.to_owned()),
            topic_id: TopicId::ZERO,
            partitions: partitions.iter().map(partition).collect(),
        }],
        forgotten_topics: Vec::new(),
        rack_id: Text::from_static_str(""),
    }
}
