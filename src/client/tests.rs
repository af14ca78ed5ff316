//! Connections to peers that are scripted here.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::transaction::{End, Transaction};
use super::*;
use crate::env::{BoxStream, Env, Listener};
use crate::model::{BrokerId, ErrorCode, Offset, PartitionId};
use crate::wire::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiVersionsRequest, ApiVersionsResponse,
    EndTxnRequest, EndTxnResponse, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    InitProducerIdResponse, JoinGroupResponse, MetadataResponse, WireBrokerId, WireTopicName,
    add_partitions_to_txn_response, api_versions_response, find_coordinator_response,
    metadata_response,
};
use crate::wire::{ApiKey, RequestHeader, Response, Text, decode_request, encode_response};

const PATIENCE: Duration = Duration::from_secs(20);

async fn listen(env: &Env) -> (Listener, Address) {
    let listener = env.net.listen("127.0.0.1", 0, 5).await.unwrap();
    let port = listener.local_address().port();
    (listener, Address { host: "127.0.0.1".into(), port })
}

/// The next request of a client.
async fn request(stream: &mut BoxStream) -> (RequestHeader, bytes::Bytes) {
    next_request(stream).await.unwrap()
}

/// The same; none if the client has gone.
async fn next_request(stream: &mut BoxStream) -> Option<(RequestHeader, bytes::Bytes)> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.unwrap();
    let frame = bytes::Bytes::from(frame);
    let (header, body) = RequestHeader::decode(&frame).unwrap();
    Some((header, frame.slice(body..)))
}

async fn answer<M: Response>(stream: &mut BoxStream, version: i16, id: i32, message: &M) {
    let frame = encode_response(version, id, message).unwrap();
    stream.write_all(&frame.to_bytes()).await.unwrap();
}

fn speaks(apis: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let mut response = ApiVersionsResponse::default();
    let api = |(key, min, max): &(ApiKey, i16, i16)| {
        api_versions_response::ApiVersion::default()
            .with_api_key(key.code())
            .with_min_version(*min)
            .with_max_version(*max)
    };
    response.api_keys = apis.iter().map(api).collect();
    response
}

/// Opens a connection to a peer that does as `script` says with it.
async fn open_to<F: Future<Output = ()> + Send>(
    script: impl FnOnce(BoxStream) -> F,
    patience: Duration,
) -> Result<Connection, ClientError> {
    let env = Env::in_memory();
    let (listener, address) = listen(&env).await;
    let serve = async { script(listener.accept().await.unwrap()).await };
    let (opened, ()) = tokio::join!(Connection::open(&env, &address, "test", patience), serve);
    opened
}

#[tokio::test]
async fn an_old_broker_is_asked_in_its_own_version() {
    let serve = async |mut stream: BoxStream| {
        let (header, _) = request(&mut stream).await;
        assert_eq!(header.api_version, 4);
        let mut refused = speaks(&[(ApiKey::ApiVersions, 0, 2)]);
        refused.error_code = 35;
        answer(&mut stream, 0, header.correlation_id, &refused).await;
        let (header, body) = request(&mut stream).await;
        assert_eq!(header.api_version, 2);
        decode_request::<ApiVersionsRequest>(&header, body).unwrap();
        let spoken = speaks(&[(ApiKey::Metadata, 0, 5), (ApiKey::Produce, 0, 2)]);
        answer(&mut stream, 2, header.correlation_id, &spoken).await;
    };
    let connection = open_to(serve, PATIENCE).await.unwrap();
    assert_eq!(connection.version_up_to(ApiKey::Metadata, i16::MAX).unwrap(), 5);
    assert_eq!(connection.version_up_to(ApiKey::Metadata, 3).unwrap(), 3);
    let error = connection.version_up_to(ApiKey::Produce, i16::MAX).unwrap_err().to_string();
    assert!(
        error.contains("does not know Produce in a version that this client speaks"),
        "{error}"
    );
    let error = connection.version_up_to(ApiKey::Fetch, i16::MAX).unwrap_err();
    assert!(matches!(error, ClientError::Unsupported { broker: None, .. }), "{error}");
}

#[tokio::test]
async fn who_speaks_something_else_is_known_by_its_first_bytes() {
    for (first, words) in [
        (&b"\x15\x03\x03\x00\x02\x02\x0a"[..], "speaks TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n", "it speaks HTTP"),
        (b"SSH-2.0-OpenSSH_9\r\n", "it speaks SSH"),
        (b"\xff\xff\xff\xff", "something else"),
        (b"", "closed the connection at the first request"),
    ] {
        let serve = async |mut stream: BoxStream| {
            request(&mut stream).await;
            stream.write_all(first).await.unwrap();
        };
        let error = open_to(serve, PATIENCE).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_connection());
    }
}

#[tokio::test]
async fn a_dead_and_a_silent_port_are_told_apart() {
    let env = Env::in_memory();
    let (listener, address) = listen(&env).await;
    let patience = Duration::from_millis(50);
    let error = Connection::open(&env, &address, "test", patience).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { api: ApiKey::ApiVersions, .. }), "{error}");
    drop(listener);
    let error = Connection::open(&env, &address, "test", PATIENCE).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    let nowhere = Address::parse("nowhere.invalid").unwrap();
    let error = Connection::open(&env, &nowhere, "test", PATIENCE).await.unwrap_err();
    assert!(matches!(error, ClientError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn requests_are_pipelined_and_a_broken_connection_fails_those_that_wait() {
    let env = Env::in_memory();
    let (listener, address) = listen(&env).await;
    let both = async {
        let mut stream = listener.accept().await.unwrap();
        let (header, _) = request(&mut stream).await;
        let spoken = speaks(&[(ApiKey::Heartbeat, 0, 4)]);
        answer(&mut stream, 4, header.correlation_id, &spoken).await;
        let (first, _) = request(&mut stream).await;
        let (second, _) = request(&mut stream).await;
        request(&mut stream).await;
        let beat = HeartbeatResponse::default();
        answer(&mut stream, 4, first.correlation_id, &beat).await;
        answer(&mut stream, 4, second.correlation_id, &beat).await;
    };
    let client = async {
        let connection = Connection::open(&env, &address, "test", PATIENCE).await.unwrap();
        let deadline = env.steady.now().plus(PATIENCE);
        let beat = HeartbeatRequest::default();
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.push(connection.send(4, &beat).await.unwrap());
        }
        let mut answers = Vec::new();
        for pending in sent {
            answers.push(pending.receive(deadline).await);
        }
        assert!(answers[0].is_ok() && answers[1].is_ok());
        let error = answers.pop().unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Closed { api: ApiKey::Heartbeat, .. }), "{error}");
        assert!(connection.is_closed());
        let error = connection.send(4, &beat).await.unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }));
    };
    tokio::join!(both, client);
}

/// A broker that is cut off from the others may go on answering, with what it knew.
#[tokio::test]
async fn who_gets_no_further_with_one_broker_asks_another() {
    let env = Env::in_memory();
    let (stale, stale_address) = listen(&env).await;
    let (fresh, fresh_address) = listen(&env).await;
    let broker = |id: i32, address: &Address| {
        let mut broker = metadata_response::MetadataResponseBroker::default();
        (broker.node_id, broker.port) = (WireBrokerId(id), i32::from(address.port));
        broker.host = Text::from_string(address.host.clone());
        broker
    };
    let brokers = vec![broker(1, &stale_address), broker(2, &fresh_address)];
    let serve = async |listener: &Listener, found: ErrorCode| {
        loop {
            let mut stream = listener.accept().await.unwrap();
            while let Some((header, _)) = next_request(&mut stream).await {
                let (version, id) = (header.api_version, header.correlation_id);
                match ApiKey::from_code(header.api_key) {
                    Some(ApiKey::ApiVersions) => {
                        let keys = [(ApiKey::Metadata, 9, 9), (ApiKey::FindCoordinator, 4, 4)];
                        answer(&mut stream, version, id, &speaks(&keys)).await;
                    }
                    Some(ApiKey::Metadata) => {
                        let mut all = MetadataResponse::default();
                        all.brokers = brokers.clone();
                        answer(&mut stream, version, id, &all).await;
                    }
                    Some(ApiKey::FindCoordinator) => {
                        let mut one = find_coordinator_response::Coordinator::default();
                        (one.error_code, one.node_id) = (found.code(), WireBrokerId(2));
                        let mut response = FindCoordinatorResponse::default();
                        response.coordinators = vec![one];
                        answer(&mut stream, version, id, &response).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let ask = async {
        let options = ClusterOptions::new(vec![stale_address.clone()]);
        let cluster = Cluster::connect(env.clone(), options).await.unwrap();
        cluster.coordinator(CoordinatorKind::Group, "g").await.unwrap()
    };
    tokio::select! {
        found = ask => assert_eq!(found, BrokerId(2)),
        () = serve(&stale, ErrorCode::CoordinatorNotAvailable) => {}
        () = serve(&fresh, ErrorCode::None) => {}
    }
}

/// A broker alone, with a topic of one partition. It answers the requests of a connection one after the other, as Apache
/// Kafka does, and stops at one that it keeps silent about.
async fn serve_in_order(mut stream: BoxStream, port: u16, silent: ApiKey) {
    while let Some((header, _)) = next_request(&mut stream).await {
        let (version, id) = (header.api_version, header.correlation_id);
        match ApiKey::from_code(header.api_key) {
            Some(api) if api == silent => std::future::pending().await,
            Some(ApiKey::ApiVersions) => {
                let keys = [
                    (ApiKey::Metadata, 9, 9),
                    (ApiKey::Fetch, 11, 11),
                    (ApiKey::Produce, 9, 9),
                    (ApiKey::InitProducerId, 4, 4),
                    (ApiKey::Heartbeat, 4, 4),
                ];
                answer(&mut stream, version, id, &speaks(&keys)).await;
            }
            Some(ApiKey::Metadata) => {
                let mut broker = metadata_response::MetadataResponseBroker::default();
                (broker.node_id, broker.port) = (WireBrokerId(1), i32::from(port));
                broker.host = Text::from_static_str("127.0.0.1");
                let mut partition = metadata_response::MetadataResponsePartition::default();
                partition.leader_id = WireBrokerId(1);
                let mut topic = metadata_response::MetadataResponseTopic::default();
                topic.name = Some(WireTopicName(Text::from_static_str("t")));
                topic.partitions = vec![partition];
                let mut all = MetadataResponse::default();
                (all.brokers, all.topics) = (vec![broker], vec![topic]);
                answer(&mut stream, version, id, &all).await;
            }
            Some(ApiKey::InitProducerId) => {
                answer(&mut stream, version, id, &InitProducerIdResponse::default()).await;
            }
            Some(ApiKey::Heartbeat) => {
                answer(&mut stream, version, id, &HeartbeatResponse::default()).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A cluster of such a broker, with a second for each operation and much more for each answer.
async fn cluster_in_order(silent: ApiKey) -> Cluster {
    let env = Env::in_memory();
    let (listener, address) = listen(&env).await;
    let (tasks, port) = (env.tasks.clone(), address.port);
    env.tasks.spawn("listener of a test", async move {
        while let Ok(stream) = listener.accept().await {
            tasks.spawn("connection of a test", serve_in_order(stream, port, silent));
        }
    });
    let mut options = ClusterOptions::new(vec![address]);
    options.operation_timeout = Duration::from_secs(1);
    Cluster::connect(env, options).await.unwrap()
}

fn fetcher(cluster: &Cluster) -> Fetcher {
    let span = Span { from: Offset(0), until: None };
    let spans = Spans::from([(("t".to_owned(), PartitionId(0)), span)]);
    Fetcher::new(cluster.clone(), spans, FetcherOptions::default())
}

#[tokio::test]
async fn neither_records_nor_heartbeats_wait_behind_a_fetch() {
    let cluster = cluster_in_order(ApiKey::Fetch).await;
    let mut fetcher = fetcher(&cluster);
    let node = BrokerId(1);
    let others = async {
        // The fetch is on its way.
        while cluster.connection(Target::Fetch(node)).await.unwrap().awaited() == 0 {
            tokio::task::yield_now().await;
        }
        let beat = HeartbeatRequest::default();
        cluster.request(Target::Coordinator(node), &beat).await.unwrap();
        cluster.metadata(Topics::Named(&["t"])).await.unwrap();
    };
    tokio::select! {
        fetched = fetcher.next() => panic!("{fetched:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_fetch_and_a_batch_end_with_the_time_of_an_operation() {
    let cluster = cluster_in_order(ApiKey::Fetch).await;
    let steady = cluster.env().steady.clone();
    let began = steady.now();
    let error = fetcher(&cluster).next().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { api: ApiKey::Fetch, .. }), "{error}");
    let took = steady.now().since(began);
    assert!(took < PATIENCE, "{took:?}");

    let cluster = cluster_in_order(ApiKey::Produce).await;
    let delivery_timeout = cluster.options().operation_timeout;
    let options = ProducerOptions { delivery_timeout, ..ProducerOptions::default() };
    let mut producer = Producer::open(cluster, "t", options).await.unwrap();
    let began = steady.now();
    let (key, value, headers, timestamp) = (None, Some(&b"v"[..]), &[][..], None);
    let partition = Some(PartitionId(0));
    producer.push(NewRecord { key, value, headers, timestamp, partition }).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { api: ApiKey::Produce, .. }), "{error}");
    let took = steady.now().since(began);
    assert!(took < PATIENCE, "{took:?}");
}

/// The metadata of a cluster of one broker, without topics.
fn only_broker(port: u16) -> MetadataResponse {
    let mut broker = metadata_response::MetadataResponseBroker::default();
    (broker.node_id, broker.port) = (WireBrokerId(1), i32::from(port));
    broker.host = Text::from_static_str("127.0.0.1");
    let mut all = MetadataResponse::default();
    all.brokers = vec![broker];
    all
}

/// That this broker is the coordinator of what was asked for.
fn it_coordinates() -> FindCoordinatorResponse {
    let mut one = find_coordinator_response::Coordinator::default();
    one.node_id = WireBrokerId(1);
    let mut response = FindCoordinatorResponse::default();
    response.coordinators = vec![one];
    response
}

/// A broker that coordinates the group of one member, and answers JoinGroup once `joins` has passed; or from then on nothing
/// any more, on no connection, if it never does.
async fn serve_a_group(
    mut stream: BoxStream,
    (env, port): (Env, u16),
    joins: Option<Duration>,
    is_still: std::sync::Arc<std::sync::atomic::AtomicBool>,
) {
    use std::sync::atomic::Ordering;
    while let Some((header, _)) = next_request(&mut stream).await {
        let (version, id) = (header.api_version, header.correlation_id);
        if is_still.load(Ordering::Relaxed) {
            std::future::pending().await
        }
        match ApiKey::from_code(header.api_key) {
            Some(ApiKey::ApiVersions) => {
                let keys = [
                    (ApiKey::Metadata, 9, 9),
                    (ApiKey::FindCoordinator, 4, 4),
                    (ApiKey::JoinGroup, 5, 5),
                ];
                answer(&mut stream, version, id, &speaks(&keys)).await;
            }
            Some(ApiKey::Metadata) => answer(&mut stream, version, id, &only_broker(port)).await,
            Some(ApiKey::FindCoordinator) => {
                answer(&mut stream, version, id, &it_coordinates()).await
            }
            Some(ApiKey::JoinGroup) => {
                let Some(joins) = joins else {
                    is_still.store(true, Ordering::Relaxed);
                    std::future::pending().await
                };
                env.steady.sleep(joins).await;
                let mut refused = JoinGroupResponse::default();
                refused.error_code = ErrorCode::GroupAuthorizationFailed.code();
                answer(&mut stream, version, id, &refused).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What becomes of a member that has half a second for each answer, and how long that took.
async fn joining(joins: Option<Duration>) -> (ClientError, Duration) {
    let env = Env::in_memory();
    let (listener, address) = listen(&env).await;
    let (of_task, port) = (env.clone(), address.port);
    let is_still = std::sync::Arc::default();
    env.tasks.spawn("listener of a test", async move {
        while let Ok(stream) = listener.accept().await {
            let serve = serve_a_group(
                stream,
                (of_task.clone(), port),
                joins,
                std::sync::Arc::clone(&is_still),
            );
            of_task.tasks.spawn("connection of a test", serve);
        }
    });
    let mut options = ClusterOptions::new(vec![address]);
    (options.request_timeout, options.operation_timeout) =
        (Duration::from_millis(500), Duration::from_millis(500));
    let cluster = Cluster::connect(env.clone(), options).await.unwrap();
    let topics = vec!["t".to_owned()];
    let options = GroupOptions::new("g".to_owned(), topics, ResetPolicy::Earliest);
    let began = env.steady.now();
    let error = GroupConsumer::new(cluster, options).next().await.unwrap_err();
    (error, env.steady.now().since(began))
}

#[tokio::test(start_paused = true)]
async fn a_member_waits_for_others_and_not_for_a_coordinator_that_stands_still() {
    // Others have a minute to join, which is longer than any other answer may take.
    let (error, took) = joining(Some(Duration::from_secs(40))).await;
    let code = error.refusal().map(|refusal| refusal.code);
    assert_eq!(code, Some(ErrorCode::GroupAuthorizationFailed), "{error}");
    assert!(took >= Duration::from_secs(40), "{took:?}");
    let (error, took) = joining(None).await;
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A broker that coordinates a transaction, and says of each of its requests once that it cannot do that yet.
async fn serve_a_transaction(
    mut stream: BoxStream,
    port: u16,
    asked: std::sync::Arc<parking_lot::Mutex<Vec<Option<ApiKey>>>>,
) {
    while let Some((header, body)) = next_request(&mut stream).await {
        let (version, id) = (header.api_version, header.correlation_id);
        let key = ApiKey::from_code(header.api_key);
        let is_first = !asked.lock().contains(&key);
        asked.lock().push(key);
        let code = |first: ErrorCode| if is_first { first.code() } else { 0 };
        match key {
            Some(ApiKey::ApiVersions) => {
                let keys = [
                    (ApiKey::Metadata, 9, 9),
                    (ApiKey::FindCoordinator, 4, 4),
                    (ApiKey::InitProducerId, 4, 4),
                    (ApiKey::AddPartitionsToTxn, 3, 3),
                    (ApiKey::EndTxn, 3, 3),
                ];
                answer(&mut stream, version, id, &speaks(&keys)).await;
            }
            Some(ApiKey::Metadata) => answer(&mut stream, version, id, &only_broker(port)).await,
            Some(ApiKey::FindCoordinator) => {
                answer(&mut stream, version, id, &it_coordinates()).await
            }
            Some(ApiKey::InitProducerId) => {
                let mut response = InitProducerIdResponse::default();
                response.error_code = code(ErrorCode::ConcurrentTransactions);
                (response.producer_id, response.producer_epoch) = (7.into(), 3);
                answer(&mut stream, version, id, &response).await;
            }
            Some(ApiKey::AddPartitionsToTxn) => {
                let request: AddPartitionsToTxnRequest = decode_request(&header, body).unwrap();
                assert_eq!(request.v3_and_below_producer_epoch, 3);
                let mut partition =
                    add_partitions_to_txn_response::AddPartitionsToTxnPartitionResult::default();
                partition.partition_error_code = code(ErrorCode::NotCoordinator);
                let mut topic =
                    add_partitions_to_txn_response::AddPartitionsToTxnTopicResult::default();
                topic.results_by_partition = vec![partition];
                let mut response = AddPartitionsToTxnResponse::default();
                response.results_by_topic_v3_and_below = vec![topic];
                answer(&mut stream, version, id, &response).await;
            }
            Some(ApiKey::EndTxn) => {
                let request: EndTxnRequest = decode_request(&header, body).unwrap();
                assert!(request.committed && request.producer_epoch == 3);
                let mut response = EndTxnResponse::default();
                response.error_code = code(ErrorCode::CoordinatorLoadInProgress);
                answer(&mut stream, version, id, &response).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_goes_on_when_its_coordinator_can() {
    let env = Env::in_memory();
    let (listener, address) = listen(&env).await;
    let (of_task, port, asked) = (env.clone(), address.port, std::sync::Arc::default());
    let of_broker = std::sync::Arc::clone(&asked);
    env.tasks.spawn("listener of a test", async move {
        while let Ok(stream) = listener.accept().await {
            let serve = serve_a_transaction(stream, port, std::sync::Arc::clone(&of_broker));
            of_task.tasks.spawn("connection of a test", serve);
        }
    });
    let cluster = Cluster::connect(env, ClusterOptions::new(vec![address])).await.unwrap();
    let mut transaction = Transaction::begin(cluster, "t", PATIENCE).await.unwrap();
    assert_eq!((transaction.producer().0.0, transaction.producer().1.0), (7, 3));
    // A partition is made part of it once.
    for _ in 0..2 {
        transaction.add("topic", PartitionId(0)).await.unwrap();
    }
    transaction.end(End::Commit).await.unwrap();
    // It has ended, so there is nothing to abort.
    transaction.end(End::Abort).await.unwrap();
    let told = |key| asked.lock().iter().filter(|asked| **asked == Some(key)).count();
    let keys = [ApiKey::InitProducerId, ApiKey::AddPartitionsToTxn, ApiKey::EndTxn];
    assert_eq!(keys.map(told), [2, 2, 2]);
}
