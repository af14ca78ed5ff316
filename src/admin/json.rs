//! The JSON API: what runs here, for programs. Fields are only ever added.

use serde::Serialize;

use super::Serving;
use crate::api::Services;
use crate::api::overview::GroupOverview;
use crate::wire::ApiKey;

#[derive(Serialize)]
pub(super) struct Cluster {
    cluster_id: String,
    version: &'static str,
    broker: i32,
    controller: i32,
    brokers: Vec<Broker>,
    listeners: Vec<Listener>,
    topic_count: usize,
    connection_count: usize,
    uptime_seconds: f64,
}

#[derive(Serialize)]
struct Broker {
    id: i32,
    rack: Option<String>,
    fenced: bool,
    endpoints: Vec<String>,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    address: String,
}

#[derive(Serialize)]
pub(super) struct Topic {
    name: String,
    id: String,
    internal: bool,
    size_bytes: u64,
    records_in: u64,
    bytes_in: u64,
    bytes_out: u64,
    partitions: Vec<Partition>,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    log_start_offset: Option<i64>,
    last_stable_offset: Option<i64>,
    high_watermark: Option<i64>,
    size_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Group {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    state: String,
    member_count: usize,
    offsets: Vec<Offset>,
}

#[derive(Serialize)]
struct Offset {
    topic: String,
    partition: i32,
    offset: i64,
    lag: Option<i64>,
}

#[derive(Serialize)]
pub(super) struct Connection {
    listener: String,
    peer: String,
    local: String,
    principal: String,
    client_id: Option<String>,
    software: Option<Software>,
    last_api: Option<&'static str>,
}

#[derive(Serialize)]
struct Software {
    name: String,
    version: String,
}

pub(super) fn cluster(serving: &Serving) -> Cluster {
    let services = &serving.services;
    let image = services.view.borrow().image.clone();
    let broker = |broker: &crate::cluster::BrokerImage| Broker {
        id: broker.id.0,
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        endpoints: broker
            .endpoints
            .iter()
            .map(|at| format!("{}://{}:{}", at.listener, at.host, at.port))
            .collect(),
    };
    let listener = |(name, address): &(std::sync::Arc<str>, std::net::SocketAddr)| Listener {
        name: name.to_string(),
        address: address.to_string(),
    };
    Cluster {
        cluster_id: image.cluster_id().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        broker: services.broker.0,
        controller: services.quorum.status().leader.map_or(-1, |leader| leader.0),
        brokers: image.brokers().map(broker).collect(),
        listeners: serving.listeners.iter().map(listener).collect(),
        topic_count: image.topic_count(),
        connection_count: services.connections.open().len(),
        uptime_seconds: services.env.steady.now().since_start().as_secs_f64(),
    }
}

pub(super) fn topics(services: &Services) -> Vec<Topic> {
    let topic = |topic: crate::api::overview::TopicOverview| {
        let partitions: Vec<Partition> = topic
            .partitions
            .iter()
            .map(|partition| {
                let log = partition.log;
                let ids = |ids: &[crate::model::BrokerId]| ids.iter().map(|id| id.0).collect();
                Partition {
                    partition: partition.index.0,
                    leader: partition.leader.map(|leader| leader.0),
                    leader_epoch: partition.leader_epoch.0,
                    replicas: ids(&partition.replicas),
                    isr: ids(&partition.isr),
                    log_start_offset: log.map(|log| log.ends.log_start.0),
                    last_stable_offset: log.map(|log| log.ends.last_stable.0),
                    high_watermark: log.map(|log| log.ends.high_watermark.0),
                    size_bytes: log.map(|log| log.size_bytes),
                }
            })
            .collect();
        Topic {
            name: topic.name,
            id: topic.id.to_string(),
            internal: topic.internal,
            size_bytes: partitions.iter().filter_map(|partition| partition.size_bytes).sum(),
            records_in: topic.traffic.records_in,
            bytes_in: topic.traffic.bytes_in,
            bytes_out: topic.traffic.bytes_out,
            partitions,
        }
    };
    services.topics().into_iter().map(topic).collect()
}

pub(super) async fn groups(services: &Services) -> Vec<Group> {
    let groups = services.groups_overview().await;
    let ends = services.ends(&services.topics(), &groups).await;
    let group = |group: GroupOverview| Group {
        id: group.id.to_string(),
        kind: group.kind.to_string(),
        state: group.state.to_string(),
        member_count: group.member_count,
        offsets: group
            .offsets
            .iter()
            .map(|(topic, partition, offset)| Offset {
                topic: topic.to_string(),
                partition: partition.0,
                offset: offset.0,
                lag: ends.lag(topic, *partition, *offset),
            })
            .collect(),
    };
    groups.into_iter().map(group).collect()
}

pub(super) fn connections(services: &Services) -> Vec<Connection> {
    let connection = |context: std::sync::Arc<crate::api::ConnectionContext>| Connection {
        listener: context.listener.to_string(),
        peer: context.peer.to_string(),
        local: context.local.to_string(),
        principal: context.principal.to_string(),
        software: context.software.get().map(|(name, version)| Software {
            name: name.to_string(),
            version: version.to_string(),
        }),
        client_id: context.client_id.get().cloned().flatten(),
        last_api: context.last_api().map(ApiKey::name),
    };
    services.connections.open().into_iter().map(connection).collect()
}
