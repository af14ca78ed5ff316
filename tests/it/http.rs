//! HTTP: health, metrics that are true and well-formed, the JSON API.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use ottla::model::{ErrorCode, ProducerEpoch, ProducerId, UnixMillis};
use ottla::record::BatchBuilder;
use ottla::wire::Text;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::exactly_once::{Epochs, Producer, settled};
use crate::groups::{commit, find, joined};
use crate::rig::{Client, Rig, batch, now, produce};

/// Status and body of an answer.
pub(crate) async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn get(rig: &Rig, path: &str) -> String {
    let (status, body) = request(rig.broker.http_address().unwrap(), "GET", path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn get_json(rig: &Rig, path: &str) -> Value {
    serde_json::from_str(&get(rig, path).await).unwrap()
}

/// The page of metrics, held to the rules of the format.
pub(crate) struct Metrics {
    pub(crate) samples: BTreeMap<String, f64>,
    /// Kind and help of each family.
    families: BTreeMap<String, (String, String)>,
}

impl Metrics {
    pub(crate) async fn of(rig: &Rig) -> Self {
        Self::read(&get(rig, "/metrics").await)
    }

    pub(crate) fn read(page: &str) -> Self {
        let mut metrics = Self { samples: BTreeMap::new(), families: BTreeMap::new() };
        assert!(page.ends_with('\n'));
        let (mut family, mut kind) = (String::new(), String::new());
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').unwrap();
                assert!(text.ends_with('.'), "{line}");
                let before =
                    metrics.families.insert(name.to_owned(), (String::new(), text.to_owned()));
                assert!(before.is_none(), "{name} comes twice");
                (family, kind) = (name.to_owned(), String::new());
                continue;
            }
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, of) = typed.split_once(' ').unwrap();
                assert_eq!(name, family, "{line}");
                assert!(["counter", "gauge", "histogram", "untyped"].contains(&of), "{line}");
                kind = of.to_owned();
                metrics.families.get_mut(name).unwrap().0 = of.to_owned();
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let allowed = match &*kind {
                "histogram" => vec!["_bucket", "_sum", "_count"],
                _ => vec![""],
            };
            let fits = allowed.iter().any(|suffix| format!("{family}{suffix}") == name);
            assert!(fits, "{line} stands in family {family}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
            check_labels(&sample[name.len()..]);
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite(), "{line}");
            let before = metrics.samples.insert(sample.to_owned(), value);
            assert!(before.is_none(), "{sample} comes twice");
        }
        metrics.check_histograms();
        metrics
    }

    pub(crate) fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.samples))
    }

    /// Buckets grow, and the last one is the count.
    fn check_histograms(&self) {
        let is_count = |sample: &str| {
            let family = sample.split("_count{").next().unwrap();
            sample.contains("_count{")
                && self.families.get(family).is_some_and(|(kind, _)| kind == "histogram")
        };
        for (sample, count) in self.samples.iter().filter(|(sample, _)| is_count(sample)) {
            let prefix = sample.replace("_count{", "_bucket{").replace('}', ",le=");
            let mut buckets: Vec<(f64, f64)> = self
                .samples
                .iter()
                .filter_map(|(name, value)| {
                    let bound = name.strip_prefix(&prefix)?.trim_matches(['"', '}']);
                    Some((bound.parse().unwrap(), *value))
                })
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{sample}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{sample}");
        }
    }
}

/// `{name="value",…}` or nothing.
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap();
    for label in inner.split("\",") {
        let (name, value) = label.split_once("=\"").unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{labels}");
        assert!(!value.contains('\n'), "{labels}");
    }
}

#[tokio::test]
async fn what_clients_write_and_read_is_counted() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("orders", 2, &[]).await;
    let first = batch(&["a", "b", "c"]);
    let bytes = (first.len() + batch(&["d"]).len()) as f64;
    client.append("orders", 0, first.clone()).await;
    client.append("orders", 1, batch(&["d"])).await;
    client.produce("orders", 9, batch(&["lost"])).await;
    assert_eq!(client.values("orders", 0).await, ["a", "b", "c"]);
    client.fetch("orders", 0, 99).await;

    let metrics = Metrics::of(&rig).await;
    let topic = |name: &str| {
        metrics.get(&format!("kafka_server_brokertopicmetrics_{name}_total{{topic=\"orders\"}}"))
    };
    let all = |name: &str| metrics.get(&format!("kafka_server_brokertopicmetrics_{name}_total"));
    assert_eq!((topic("messagesin"), all("messagesin")), (4.0, 4.0));
    assert_eq!((topic("bytesin"), all("bytesin")), (bytes, bytes));
    // Read twice: to learn where the log begins, and for the records.
    assert_eq!(topic("bytesout"), 2.0 * first.len() as f64);
    // The partition that is not there counts for no topic.
    assert_eq!((topic("totalproducerequests"), all("totalproducerequests")), (2.0, 3.0));
    assert_eq!((topic("failedproducerequests"), all("failedproducerequests")), (0.0, 1.0));
    // These two, one at the end, and one beyond it.
    assert_eq!((topic("totalfetchrequests"), topic("failedfetchrequests")), (4.0, 1.0));
    assert_eq!(metrics.get("ottla_request_duration_seconds_count{api=\"Produce\"}"), 3.0);
    assert_eq!(metrics.get("kafka_network_requestmetrics_requests_total{request=\"Fetch\"}"), 4.0);
    assert!(metrics.get("ottla_request_bytes_total{api=\"Produce\"}") > bytes);
    assert!(metrics.get("ottla_response_bytes_total{api=\"Fetch\"}") > first.len() as f64);
    assert_eq!(metrics.get("kafka_topic_partitions{topic=\"orders\"}"), 2.0);
    let of_first = |name: &str| metrics.get(&format!("{name}{{topic=\"orders\",partition=\"0\"}}"));
    assert_eq!(of_first("kafka_topic_partition_current_offset"), 3.0);
    assert_eq!(of_first("kafka_topic_partition_oldest_offset"), 0.0);
    assert_eq!(of_first("kafka_log_log_size"), first.len() as f64);
    assert_eq!(of_first("kafka_cluster_partition_atminisr"), 1.0);
    assert_eq!(metrics.get("kafka_server_replicamanager_partitioncount"), 2.0);
    let open = "kafka_server_socket_server_metrics_connection_count{listener=\"PLAINTEXT\"}";
    assert_eq!(metrics.get(open), 1.0);
    assert!(metrics.get("process_resident_memory_bytes") > 1e6);
}

#[tokio::test]
async fn what_the_disk_and_the_configuration_are_like_is_told() {
    let rig = Rig::with(&["log.flush.interval.messages=1", "no.such.key=1", "nor.this=2"]).await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["a"])).await;
    let metrics = Metrics::of(&rig).await;
    assert!(metrics.get("ottla_fsync_duration_seconds_count") >= 1.0);
    assert_eq!(metrics.get("ottla_unknown_config_keys"), 2.0);
}

#[tokio::test]
async fn groups_show_members_and_lag() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("orders", 1, &[]).await;
    client.append("orders", 0, batch(&["a", "b", "c", "d", "e", "f", "g", "h", "i"])).await;
    find(&mut client, "readers").await;
    client.call(8, &commit("writers", "orders", id)).await;
    joined(&mut client, "readers", 9).await;

    let metrics = Metrics::of(&rig).await;
    assert_eq!(metrics.get("kafka_consumergroup_members{consumergroup=\"readers\"}"), 1.0);
    assert_eq!(metrics.get("kafka_consumergroup_members{consumergroup=\"writers\"}"), 0.0);
    let of = |name: &str| {
        metrics.get(&format!("kafka_consumergroup_{name}{{consumergroup=\"writers\",topic=\"orders\",partition=\"0\"}}"))
    };
    assert_eq!(of("current_offset") + of("lag"), 9.0);
    let sum =
        metrics.get("kafka_consumergroup_lag_sum{consumergroup=\"writers\",topic=\"orders\"}");
    assert_eq!(sum, of("lag"));

    let groups = get_json(&rig, "/api/v1/groups").await;
    assert_eq!(groups[1]["id"], "writers");
    assert_eq!(groups[1]["offsets"][0]["lag"].as_f64(), Some(sum));
    assert_eq!(groups[0]["member_count"], 1);
}

/// The address of a broker that advertises none is one that can be connected to.
#[tokio::test]
async fn a_broker_that_listens_everywhere_has_an_address() {
    let rig = Rig::with(&["listeners=PLAINTEXT://:0", "ottla.http.listener=127.0.0.1:0"]).await;
    let port = rig.broker.addresses()[0].port();
    let metrics = Metrics::of(&rig).await;
    let known: Vec<_> =
        metrics.samples.keys().filter(|name| name.starts_with("kafka_broker_info")).collect();
    assert_eq!(known, [&format!("kafka_broker_info{{id=\"1\",address=\"127.0.0.1:{port}\"}}")]);
}

/// Redpanda's dashboards find what they ask for, with the numbers of the other page.
#[tokio::test]
async fn the_names_of_redpanda() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("orders", 2, &[]).await;
    client.append("orders", 0, batch(&["a", "b", "c", "d", "e", "f", "g", "h", "i"])).await;
    find(&mut client, "writers").await;
    client.call(8, &commit("writers", "orders", id)).await;
    let (ours, theirs) =
        (Metrics::of(&rig).await, Metrics::read(&get(&rig, "/public_metrics").await));
    for (name, labels, same) in [
        ("cluster_brokers", "", "kafka_brokers"),
        (
            "kafka_partitions",
            "{redpanda_namespace=\"kafka\",redpanda_topic=\"orders\"}",
            "kafka_topic_partitions{topic=\"orders\"}",
        ),
        (
            "kafka_max_offset",
            "{redpanda_namespace=\"kafka\",redpanda_partition=\"0\",redpanda_topic=\"orders\"}",
            "kafka_topic_partition_current_offset{topic=\"orders\",partition=\"0\"}",
        ),
        (
            "kafka_request_bytes_total",
            "{redpanda_namespace=\"kafka\",redpanda_request=\"produce\",redpanda_topic=\"orders\"}",
            "kafka_server_brokertopicmetrics_bytesin_total{topic=\"orders\"}",
        ),
        (
            "kafka_consumer_group_committed_offset",
            "{redpanda_group=\"writers\",redpanda_partition=\"0\",redpanda_topic=\"orders\"}",
            "kafka_consumergroup_current_offset{consumergroup=\"writers\",topic=\"orders\",partition=\"0\"}",
        ),
        (
            "kafka_request_latency_seconds_count",
            "{redpanda_request=\"produce\"}",
            "ottla_request_duration_seconds_count{api=\"Produce\"}",
        ),
    ] {
        assert_eq!(theirs.get(&format!("redpanda_{name}{labels}")), ours.get(same), "{name}");
    }
    for name in [
        "cluster_topics",
        "cluster_unavailable_partitions",
        "application_uptime_seconds_total",
        "application_build",
        "kafka_replicas",
        "kafka_under_replicated_replicas",
        "kafka_consumer_group_consumers",
        "kafka_consumer_group_topics",
        "storage_disk_total_bytes",
        "storage_disk_free_bytes",
    ] {
        assert!(theirs.families.contains_key(&format!("redpanda_{name}")), "{name}");
    }
}

#[tokio::test]
async fn metrics_tell_how_transactions_end() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let mut producer = Producer::new(&rig, "tx", Epochs::Raised).await;
    for (committed, state) in [(true, "CompleteCommit"), (false, "CompleteAbort")] {
        assert_eq!(producer.write("t", "a").await, ErrorCode::None);
        let metrics = Metrics::of(&rig).await;
        assert_eq!(metrics.get("ottla_transactional_ids{state=\"Ongoing\"}"), 1.0);
        assert_eq!(producer.end(committed).await, ErrorCode::None.code());
        assert_eq!(settled(&mut client, "tx").await, state);
    }
    let metrics = Metrics::of(&rig).await;
    assert_eq!(metrics.get("ottla_transactional_ids{state=\"CompleteAbort\"}"), 1.0);
    assert_eq!(metrics.get("ottla_transactional_ids{state=\"Ongoing\"}"), 0.0);
    for outcome in ["commit", "abort"] {
        let of = |name: &str| metrics.get(&format!("{name}{{outcome=\"{outcome}\"}}"));
        assert_eq!(of("ottla_transactions_total"), 1.0);
        assert_eq!(of("ottla_transaction_duration_seconds_count"), 1.0);
    }
    let waiting = "kafka_server_transactionmarkerchannelmanager_unknowndestinationqueuesize";
    assert_eq!(metrics.get(waiting), 0.0);
}

/// A transaction that no coordinator knows of hangs for ever: it is to be seen.
#[tokio::test]
async fn metrics_tell_of_producers_and_late_transactions() {
    let rig = Rig::with(&["transaction.partition.verification.enable=false"]).await;
    let mut client = rig.client().await;
    client.create("t", 2, &[]).await;
    let minutes_ago = |minutes: i64| UnixMillis(now().0 - minutes * 60_000);
    for (partition, written_at, late) in [(0, minutes_ago(19), 0.0), (1, minutes_ago(21), 1.0)] {
        let mut builder = BatchBuilder::new();
        builder.producer(ProducerId(7), ProducerEpoch(0), 0).transactional();
        builder.push(written_at, None, Some(b"v"));
        let mut request = produce("t", partition, builder.build());
        request.transactional_id = Some(Text::from_static_str("forgotten"));
        let answer = client.call(11, &request).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::None);
        let metrics = Metrics::of(&rig).await;
        let of = |name: &str| metrics.get(&format!("kafka_server_replicamanager_{name}"));
        assert_eq!(of("produceridcount"), f64::from(partition + 1));
        assert_eq!(of("partitionswithlatetransactionscount"), late);
    }
}

/// Each metric of the published dashboards is there, or the list says why not.
#[tokio::test]
async fn published_dashboards_find_their_metrics() {
    let rig = Rig::new().await;
    let families = Metrics::of(&rig).await.families;
    let list = include_str!("../data/dashboard-metrics.txt");
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ').skip(1);
        let (name, excuse) = (words.next().unwrap(), words.next());
        assert_eq!(families.contains_key(name), excuse.is_none(), "{name}");
    }
}

/// Our own dashboard and alerts name no metric that is not there.
#[tokio::test]
async fn our_dashboard_and_alerts_find_their_metrics() {
    let families = Metrics::of(&Rig::new().await).await.families;
    let (dashboard, alerts) = (
        include_str!("../../docker/grafana/overview.json"),
        include_str!("../../docker/grafana/alerts.yml"),
    );
    serde_json::from_str::<Value>(dashboard).unwrap();
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let words = |text: &'static str| text.split(move |char| !is_word(char));
    let is_metric = |word: &&str| {
        ["kafka_", "ottla_", "process_"].iter().any(|prefix| word.starts_with(prefix))
    };
    let named: Vec<_> = words(dashboard).chain(words(alerts)).filter(is_metric).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        let parts = ["_bucket", "_sum", "_count"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        let of_histogram = family.and_then(|family| families.get(family));
        let is_there = families.contains_key(name)
            || of_histogram.is_some_and(|(kind, _)| kind == "histogram");
        assert!(is_there, "{name}");
    }
}

/// The list of metrics in the documentation is that of the page. With `UPDATE_DOCS` set it is written instead.
#[tokio::test]
async fn the_documentation_lists_all_metrics() {
    let families = Metrics::of(&Rig::new().await).await.families;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let written = std::fs::read_to_string(path).unwrap();
    let (begin, end) =
        ("<!-- begin: metrics, printed from /metrics -->\n", "<!-- end: metrics -->");
    let (before, rest) = written.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let mut table = "| metric | kind | |\n|---|---|---|\n".to_owned();
    for (name, (kind, help)) in families {
        writeln!(table, "| `{name}` | {kind} | {help} |").unwrap();
    }
    let page = format!("{before}{begin}{table}{end}{after}");
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(path, &page).unwrap();
    } else {
        assert!(
            written == page,
            "docs/METRICS.md is stale: UPDATE_DOCS=1 cargo test --test it metrics"
        );
    }
}

#[tokio::test]
async fn the_api_shows_what_is_there() {
    let rig = Rig::new().await;
    let stream = TcpStream::connect(rig.broker.addresses()[0]).await.unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    let mut client = Client::over(stream);
    client.create("orders", 3, &[]).await;
    client.append("orders", 2, batch(&["a"])).await;
    let cluster = get_json(&rig, "/api/v1/cluster").await;
    assert_eq!(cluster["cluster_id"], rig.broker.cluster_id());
    assert_eq!((&cluster["broker"], &cluster["topic_count"]), (&1.into(), &1.into()));
    assert_eq!(cluster["listeners"][0]["address"], rig.broker.addresses()[0].to_string());
    let topics = get_json(&rig, "/api/v1/topics").await;
    assert_eq!(topics[0]["name"], "orders");
    assert_eq!(topics[0]["partitions"][2]["high_watermark"], 1);
    let connections = get_json(&rig, "/api/v1/connections").await;
    assert_eq!(connections.as_array().unwrap().len(), 1);
    assert_eq!(connections[0]["peer"], peer);
    let page = get(&rig, "/").await;
    assert!(page.contains(&rig.broker.cluster_id()) && page.contains("/metrics"), "{page}");
}

/// Holds a value to a schema of the document: its type, and of an object exactly the fields that are described.
fn check_schema(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return check_schema(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let choice = if value.is_null() { &choices[1] } else { &choices[0] };
        return check_schema(document, choice, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    assert!(types.iter().any(|other| other == kind), "{at} is {kind}, not {types:?}");
    for item in value.as_array().into_iter().flatten() {
        check_schema(document, &schema["items"], item, &format!("{at}[]"));
    }
    if let Some(object) = value.as_object() {
        let described = schema["properties"].as_object().unwrap();
        let required: Vec<_> = schema["required"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let names: std::collections::BTreeSet<_> = object.keys().map(String::as_str).collect();
        assert_eq!(names, required.into_iter().collect(), "{at}");
        for (name, field) in object {
            check_schema(document, &described[name], field, &format!("{at}.{name}"));
        }
    }
}

/// The document of the API has its paths and its fields, no more and no fewer.
#[tokio::test]
async fn the_api_is_as_its_document_says() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let id = client.create("orders", 2, &[]).await;
    client.append("orders", 0, batch(&["a"])).await;
    find(&mut client, "writers").await;
    client.call(8, &commit("writers", "orders", id)).await;
    let document = get_json(&rig, "/api/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    for (path, of) in paths {
        let schema = &of["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let answer = get_json(&rig, path).await;
        assert!(answer.as_array().is_none_or(|list| !list.is_empty()), "{path} shows nothing");
        check_schema(&document, schema, &answer, path);
    }
    // The start page lists what there is.
    let page = get(&rig, "/").await;
    let served: std::collections::BTreeSet<_> =
        page.split('"').filter(|word| word.starts_with("/api/v1/")).collect();
    assert_eq!(served, paths.keys().map(String::as_str).collect());
}

#[tokio::test]
async fn health_and_what_is_not_there() {
    let rig = Rig::new().await;
    let http = rig.broker.http_address().unwrap();
    for path in ["/livez", "/readyz", "/healthz", "/v1/status/ready"] {
        let (status, body) = request(http, "GET", path).await;
        assert_eq!(status, 200, "{body}");
        assert!(body.lines().all(|line| line.ends_with(": ok")), "{body}");
        assert_eq!(request(http, "HEAD", path).await, (200, String::new()));
    }
    assert_eq!(request(http, "GET", "/nowhere").await.0, 404);
    assert_eq!(request(http, "POST", "/livez").await.0, 405);
    rig.broker.env().tasks.fail();
    for path in ["/livez", "/readyz"] {
        let (status, body) = request(http, "GET", path).await;
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("tasks: a task has failed"), "{body}");
    }
}

#[tokio::test]
async fn http_can_be_switched_off() {
    let rig = Rig::with(&["ottla.http.listener=off"]).await;
    assert_eq!(rig.broker.http_address(), None);
}

/// Who asks for HTTP at an address gets it there or an error; who asks for nothing gets a broker in any case.
#[tokio::test]
async fn a_taken_port_matters_only_to_who_asked_for_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let option = format!("ottla.http.listener={}", taken.local_addr().unwrap());
    let disk = std::sync::Arc::new(ottla::env::MemoryDisk::new());
    let refused = Rig::on(disk, "data".as_ref(), &[&option]).await.err().unwrap();
    assert!(refused.to_string().contains("--http"), "{refused}");
}
