//! `kafka-cluster`: `ClusterTool` of Apache Kafka 4.3. Controllers are not spoken to.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::admin;
use super::options::{Known, Options, flag, valued};
use crate::client::{ClientError, Cluster, Target, check};
use crate::wire::ApiKey;
use crate::wire::messages::{DescribeClusterRequest, UnregisterBrokerRequest, WireBrokerId};

const KNOWN: &[Known] = &[
    valued(&["bootstrap-server", "b"]),
    valued(&["bootstrap-controller", "C"]),
    valued(&["command-config", "config", "c"]),
    valued(&["id", "i"]),
    flag(&["include-fenced-brokers"]),
    flag(&["help", "h"]),
];
const USAGE: &str = "usage: kafka-cluster {cluster-id,unregister,list-endpoints} --bootstrap-server SERVERS [--command-config FILE]
  cluster-id       print the id of the cluster
  unregister       unregister a broker: --id ID
  list-endpoints   list the brokers with their addresses: [--include-fenced-brokers]";
/// Since when DescribeCluster tells of brokers that are fenced.
const FENCED_SINCE: i16 = 2;

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let options = Options::read(KNOWN, arguments)?;
    if options.has("help") {
        say!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let [command] = &options.rest[..] else { bail!("too few arguments\n{USAGE}") };
    if options.has("bootstrap-controller") {
        bail!("--bootstrap-controller is not there yet: ask a broker with --bootstrap-server");
    }
    match command.as_str() {
        "cluster-id" => admin::run(&options, async |cluster| {
            match cluster.known().cluster_id {
                Some(id) => say!("Cluster ID: {id}"),
                None => say!("No cluster ID found. The Kafka version is probably too old."),
            }
            Ok(ExitCode::SUCCESS)
        }),
        "unregister" => {
            let id: i32 = options.needed("id")?.parse().context("argument --id/-i")?;
            admin::run(&options, async move |cluster| unregister(&cluster, id).await)
        }
        "list-endpoints" => {
            let fenced = options.has("include-fenced-brokers");
            admin::run(&options, async move |cluster| {
                print(&endpoints(&cluster, fenced).await?);
                Ok(ExitCode::SUCCESS)
            })
        }
        other => bail!("invalid choice: '{other}'\n{USAGE}"),
    }
}

/// Has a broker forgotten that is gone for good. Its replicas stay where they are until they are reassigned.
async fn unregister(cluster: &Cluster, id: i32) -> anyhow::Result<ExitCode> {
    let request = UnregisterBrokerRequest::default().with_broker_id(WireBrokerId(id));
    let response = match cluster.request(Target::Controller, &request).await {
        Ok(response) => response,
        Err(ClientError::Unsupported { .. }) => {
            say!("The target cluster does not support the broker unregistration API.");
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error.into()),
    };
    let message = response.error_message.as_deref();
    check(ApiKey::UnregisterBroker, response.error_code, || format!("broker {id}"), message)?;
    say!("Broker {id} is no longer registered.");
    Ok(ExitCode::SUCCESS)
}

/// A broker as it is listed.
struct Endpoint {
    id: i32,
    host: String,
    port: i32,
    rack: Option<String>,
    fenced: bool,
}

async fn endpoints(cluster: &Cluster, fenced: bool) -> anyhow::Result<Vec<Endpoint>> {
    let make = |version| {
        let request = DescribeClusterRequest::default();
        if version < FENCED_SINCE { request } else { request.with_include_fenced_brokers(fenced) }
    };
    let response = match cluster.request_with(Target::Any, i16::MAX, make).await {
        Ok(response) => response,
        Err(ClientError::Unsupported { .. }) => return Ok(known(cluster)),
        Err(error) => return Err(error.into()),
    };
    let message = response.error_message.as_deref();
    check(ApiKey::DescribeCluster, response.error_code, || "the cluster".to_owned(), message)?;
    let mut endpoints: Vec<Endpoint> = response
        .brokers
        .iter()
        .map(|broker| Endpoint {
            id: broker.broker_id.0,
            host: broker.host.to_string(),
            port: broker.port,
            rack: broker.rack.as_ref().map(ToString::to_string),
            fenced: broker.is_fenced,
        })
        .collect();
    endpoints.sort_by_key(|endpoint| endpoint.id);
    Ok(endpoints)
}

/// What Metadata tells, for brokers that do not know DescribeCluster.
fn known(cluster: &Cluster) -> Vec<Endpoint> {
    let endpoint = |node: crate::client::Node| Endpoint {
        id: node.id.0,
        host: node.address.host,
        port: node.address.port.into(),
        rack: node.rack,
        fenced: false,
    };
    cluster.known().brokers.into_iter().map(endpoint).collect()
}

fn print(endpoints: &[Endpoint]) {
    let host = endpoints.iter().map(|endpoint| endpoint.host.len()).max().unwrap_or(100);
    let racks = endpoints.iter().filter_map(|endpoint| endpoint.rack.as_ref());
    let rack = racks.map(String::len).max().unwrap_or(10);
    let line = |cells: [&str; 6]| {
        let [id, name, port, place, state, kind] = cells;
        say!("{id:<10} {name:<host$} {port:<10} {place:<rack$} {state:<10} {kind:<15}");
    };
    line(["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"]);
    for endpoint in endpoints {
        let state = if endpoint.fenced { "fenced" } else { "unfenced" };
        let (id, port) = (endpoint.id.to_string(), endpoint.port.to_string());
        let rack = endpoint.rack.as_deref().unwrap_or("null");
        line([&id, &endpoint.host, &port, rack, state, "broker"]);
    }
}
