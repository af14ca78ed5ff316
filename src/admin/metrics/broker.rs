//! Metrics of the broker, its requests and its connections.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::admin::Serving;
use crate::admin::exposition::{Kind, Page};
use crate::api::Services;
use crate::api::overview::{PartitionOverview, TopicOverview};
use crate::telemetry::Phase;
use crate::wire::ApiEntry;

/// What it is, what it leads, and its part in the quorum.
pub(super) fn put(page: &mut Page, serving: &Serving, topics: &[TopicOverview]) {
    let services = &serving.services;
    let view = services.view.borrow().clone();
    let (broker, cluster) = (services.broker, view.image.cluster_id());
    page.family("ottla_info", Kind::Gauge, "What runs here; always 1.").sample(
        &[("version", &env!("CARGO_PKG_VERSION")), ("cluster_id", &cluster), ("broker", &broker.0)],
        1,
    );
    let brokers = || view.image.brokers().filter(|known| !known.fenced);
    page.gauge("kafka_brokers", "Brokers of the cluster that serve.", Some(brokers().count()));
    let mut info = page.family("kafka_broker_info", Kind::Gauge, "A broker that serves; always 1.");
    for known in brokers() {
        let address = address_of(serving, known.id == broker, &known.endpoints);
        info.sample(&[("id", &known.id.0), ("address", &address)], 1);
    }

    let all = || topics.iter().flat_map(|topic| &topic.partitions);
    let hosted = || all().filter(|partition| partition.replicas.contains(&broker));
    let led = || all().filter(|partition| partition.leader == Some(broker));
    let count = |of: &dyn Fn(&&PartitionOverview) -> bool| Some(led().filter(|p| of(p)).count());
    page.gauge(
        "kafka_server_replicamanager_partitioncount",
        "Partitions that this broker holds.",
        Some(hosted().count()),
    );
    page.gauge(
        "kafka_server_replicamanager_leadercount",
        "Partitions that this broker leads.",
        Some(led().count()),
    );
    page.gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Partitions led here with replicas that are not in sync.",
        count(&|partition| partition.isr.len() < partition.replicas.len()),
    );
    page.gauge(
        "kafka_server_replicamanager_underminisrpartitioncount",
        "Partitions led here with fewer replicas in sync than min.insync.replicas.",
        count(&|partition| partition.isr.len() < partition.min_isr),
    );
    page.gauge(
        "kafka_server_replicamanager_offlinereplicacount",
        "Partitions held here whose log could not be opened.",
        Some(hosted().filter(|partition| partition.log.is_none()).count()),
    );
    let logs = || hosted().filter_map(|partition| partition.log);
    page.gauge(
        "kafka_server_replicamanager_produceridcount",
        "Idempotent producers known to the partitions held here, each counted in each of them.",
        Some(logs().map(|log| log.producers.count).sum::<usize>()),
    );
    let (now, settings) = (services.env.clock.now(), &view.settings);
    let timeout_ms_max = settings.broker().transactions.timeout_ms_max;
    page.gauge(
        "kafka_server_replicamanager_partitionswithlatetransactionscount",
        "Partitions held here with a transaction that is open for longer than transaction.max.timeout.ms and five minutes.",
        Some(logs().filter(|log| log.has_late_transaction(now, timeout_ms_max)).count()),
    );
    page.gauge(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions of the cluster without leader.",
        Some(all().filter(|partition| partition.leader.is_none()).count()),
    );
    page.gauge(
        "ottla_unknown_config_keys",
        "Keys of the configuration that are not known.",
        Some(settings.unknown_key_count()),
    );
    put_quorum(page, services, view.index);
}

fn put_quorum(page: &mut Page, services: &Services, index: u64) {
    let quorum = services.quorum.status();
    let leads = quorum.leader == Some(services.broker);
    page.gauge(
        "kafka_controller_kafkacontroller_activecontrollercount",
        "Whether this broker is the active controller.",
        Some(u8::from(leads)),
    );
    page.counter(
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        "Leaders that were elected though neither in sync nor eligible, while this node was the active controller.",
        Some(services.metrics.unclean_elections.get()),
    );
    page.gauge(
        "kafka_server_raftmetrics_current_leader",
        "The node that leads the quorum, or -1 if this one knows of none that has a majority behind it.",
        Some(quorum.leader.map_or(-1, |leader| leader.0)),
    );
    page.gauge(
        "kafka_server_raftmetrics_current_epoch",
        "The epoch of that leader.",
        Some(quorum.epoch),
    );
    page.gauge(
        "kafka_server_raftmetrics_current_vote",
        "The node that this one voted for.",
        Some(quorum.leader.map_or(-1, |leader| leader.0)),
    );
    let votes = quorum.voters.iter().any(|voter| voter.broker == services.broker);
    let state = match quorum.leader {
        None => "unattached",
        Some(_) if leads => "leader",
        Some(_) if votes => "follower",
        Some(_) => "observer",
    };
    let mut current = page.family(
        "kafka_server_raftmetrics_current_state",
        Kind::Untyped,
        "The part of this node in the quorum: leader, follower, observer, or unattached while it knows no leader; always 1.",
    );
    current.sample(&[("current_state", &state)], 1);
    for (name, help) in [
        ("kafka_server_raftmetrics_high_watermark", "The end of what the quorum agreed on."),
        ("kafka_server_raftmetrics_log_end_offset", "The end of the metadata log."),
    ] {
        page.gauge(name, help, Some(index.saturating_add(1)));
    }
    put_commits(page, services);
}

/// What this node did as the leader of the quorum, lately, and its last snapshot.
fn put_commits(page: &mut Page, services: &Services) {
    let (metrics, now) = (services.quorum.metrics(), services.env.steady.now());
    page.gauge(
        "kafka_server_raftmetrics_append_records_rate",
        "Changes of the metadata in a second that this node appended as the leader of the quorum, over the last 30 to 60 s.",
        Some(metrics.append_rate(now)),
    );
    page.gauge(
        "kafka_server_raftmetrics_commit_latency_avg",
        "Milliseconds until they were agreed on and applied, on average over the last 30 to 60 s; missing if there were none.",
        metrics.commit_latency_ms(now),
    );
    let snapshot = metrics.last_snapshot();
    page.gauge(
        "ottla_metadata_snapshot_timestamp_seconds",
        "When this node wrote its last snapshot of the metadata, in seconds since 1970; missing until it does since its start.",
        snapshot.map(|snapshot| snapshot.at.0 / 1_000),
    );
    page.gauge(
        "ottla_metadata_snapshot_seconds",
        "How long that took.",
        snapshot.map(|snapshot| snapshot.took.as_secs_f64()),
    );
}

/// Where a broker is: as it advertises itself. If it advertises nothing, and is this one, what a client on its machine is told.
fn address_of(serving: &Serving, is_this: bool, endpoints: &[crate::cluster::Endpoint]) -> String {
    let own = serving.listeners.first().filter(|_| is_this);
    match (endpoints.first(), own) {
        (Some(endpoint), _) => format!("{}:{}", endpoint.host, endpoint.port),
        (None, Some((_, address))) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())).to_string()
        }
        (None, Some((_, address))) => address.to_string(),
        (None, None) => String::new(),
    }
}

/// Requests by API.
pub(super) fn put_requests(page: &mut Page, services: &Services) {
    let seen: Vec<_> = ApiEntry::ALL
        .iter()
        .filter_map(|entry| Some((entry.key, services.metrics.requests.of(entry.key.code())?)))
        .map(|(key, counts)| (key.to_string(), counts, counts.duration.counts()))
        .filter(|(_, _, durations)| durations.count() > 0)
        .collect();
    let mut total = page.family(
        "kafka_network_requestmetrics_requests_total",
        Kind::Counter,
        "Requests that were answered, by API.",
    );
    for (api, _, durations) in &seen {
        total.sample(&[("request", api)], durations.count());
    }
    let mut duration = page.family(
        "ottla_request_duration_seconds",
        Kind::Histogram,
        "From the last byte of a request to its response, waiting for data or members included.",
    );
    for (api, _, durations) in &seen {
        duration.durations(&[("api", api)], durations);
    }
    let mut phases = page.family(
        "ottla_request_phase_seconds",
        Kind::Histogram,
        "What the time of requests is made of, by API and phase. An API has only phases that its requests were in.",
    );
    for (api, counts, _) in &seen {
        for phase in Phase::ALL {
            let durations = counts.phases.of(phase).counts();
            if durations.count() > 0 {
                phases.durations(&[("api", api), ("phase", &phase.name())], &durations);
            }
        }
    }
    let mut bytes_in =
        page.family("ottla_request_bytes_total", Kind::Counter, "Bytes of requests, by API.");
    for (api, counts, _) in &seen {
        bytes_in.sample(&[("api", api)], counts.request_bytes.get());
    }
    let mut bytes_out =
        page.family("ottla_response_bytes_total", Kind::Counter, "Bytes of responses, by API.");
    for (api, counts, _) in &seen {
        bytes_out.sample(&[("api", api)], counts.response_bytes.get());
    }
}

/// Who is connected.
pub(super) fn put_connections(page: &mut Page, serving: &Serving) {
    let connections = &serving.services.connections;
    let mut by_listener: BTreeMap<&str, usize> =
        serving.listeners.iter().map(|(name, _)| (&**name, 0)).collect();
    let mut by_software: BTreeMap<(String, String), usize> = BTreeMap::new();
    for connection in connections.open() {
        if let Some(count) = by_listener.get_mut(&*connection.listener) {
            *count += 1;
        }
        let (name, version) = connection.software.get().cloned().unwrap_or_default();
        *by_software.entry((name.to_string(), version.to_string())).or_default() += 1;
    }
    // Other nodes come to the controller's listener as well.
    let settings = std::sync::Arc::clone(&serving.services.view.borrow().settings);
    if let Some(count) = by_listener.get_mut(settings.broker().controller_listener_name.as_str()) {
        *count += serving.services.quorum.node_connections();
    }
    let mut open = page.family(
        "kafka_server_socket_server_metrics_connection_count",
        Kind::Gauge,
        "Connections that are open, by listener; at the controller's those of other nodes too.",
    );
    for (listener, count) in by_listener {
        open.sample(&[("listener", &listener)], count);
    }
    let mut clients = page.family(
        "ottla_client_connections",
        Kind::Gauge,
        "Connections that are open, by the client library that they named.",
    );
    for ((name, version), count) in by_software {
        clients.sample(&[("software", &name), ("version", &version)], count);
    }
    page.counter(
        "ottla_connections_accepted_total",
        "Connections that were accepted.",
        Some(connections.accepted()),
    );
}
