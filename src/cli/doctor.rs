//! `ottla doctor`: why a cluster cannot be used from here, from the client's side.
//!
//! Each finding says what is wrong and what to do about it. 0 means that a client on this machine can work.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::connect::run_async;
use super::failure::{Failure, NO_CONNECTION, hint_of};
use super::output::{list, print_text};
use super::scratch;
use super::topic::Common;
use crate::client::{
    Address, ClientError, Cluster, ClusterOptions, Connection, Fetcher, FetcherOptions, Metadata,
    NewRecord, Producer, ProducerOptions, Span, Spans,
};
use crate::env::Env;
use crate::model::{Offset, PartitionId, WithCauses};

/// What is looked at.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Do not write anything: no round trip through a topic of its own
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    common: Common,
}

/// What was found.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    fine: bool,
    text: String,
    fix: Option<String>,
}

pub(super) fn run(arguments: &DoctorArguments) -> ExitCode {
    let outcome = arguments.common.connection.options().and_then(|options| {
        run_async(async move |env| {
            let mut findings = Vec::new();
            examine(&env, options, arguments.read_only, &mut findings).await;
            report(arguments, &findings)
        })
    });
    outcome.unwrap_or_else(|failure| failure.report(arguments.common.output.is_json()))
}

async fn examine(env: &Env, options: ClusterOptions, read_only: bool, findings: &mut Vec<Finding>) {
    let mut reached = false;
    for address in &options.bootstrap {
        reached |= bootstrap(env, address, &options, findings).await;
    }
    if !reached {
        return;
    }
    let begun = options.bootstrap.clone();
    let cluster = match Cluster::connect(env.clone(), options).await {
        Ok(cluster) => cluster,
        Err(error) => {
            findings.push(failed("metadata", &error));
            return;
        }
    };
    let metadata = cluster.known();
    let name = metadata.cluster_id.clone().unwrap_or_default();
    let brokers = list(metadata.brokers.iter().map(|node| node.id));
    findings.push(fine("metadata", format!("cluster {name} has brokers {brokers}")));
    let mut all_reached = true;
    for node in &metadata.brokers {
        let found = advertised(&cluster, &metadata, node.id, &begun).await;
        all_reached &= found.fine;
        findings.push(found);
    }
    if !all_reached || read_only {
        return;
    }
    findings.push(match round_trip(&cluster).await {
        Ok(took) => {
            fine("round trip", format!("a record was written and read in {} ms", took.as_millis()))
        }
        Err(failure) => Finding {
            check: "round trip",
            fine: false,
            text: failure.to_string(),
            fix: Some("the broker's log says more; --read-only leaves this out".to_owned()),
        },
    });
}

/// Names, ports, the protocol.
async fn bootstrap(
    env: &Env,
    address: &Address,
    options: &ClusterOptions,
    findings: &mut Vec<Finding>,
) -> bool {
    let resolved = env.net.lookup(&address.host).await.unwrap_or_default();
    if !resolved.is_empty() {
        findings.push(fine("name", format!("{} is {}", address.host, list(&resolved))));
    }
    let began = env.steady.now();
    let (id, patience) = (&options.client_id, options.connect_timeout);
    match Connection::open(env, address, id, patience).await {
        Ok(connection) => {
            let took = env.steady.now().since(began);
            let apis = connection.negotiated().versions.len();
            findings.push(fine(
                "connection",
                format!("{address} speaks Kafka: {apis} APIs, answered in {} ms", took.as_millis()),
            ));
            true
        }
        Err(error) => {
            findings.push(failed("connection", &error));
            false
        }
    }
}

/// Whether the address that a broker gives leads to that cluster.
async fn advertised(
    cluster: &Cluster,
    metadata: &Metadata,
    id: crate::model::BrokerId,
    begun: &[Address],
) -> Finding {
    let Some(node) = metadata.broker(id) else {
        return fine("advertised address", format!("broker {id} has gone"));
    };
    let address = &node.address;
    let fix = || {
        let host = begun.first().map_or("HOST", |address| address.host.as_str());
        format!(
            "set advertised.listeners of broker {id} to an address that clients reach, such as PLAINTEXT://{host}:{}",
            address.port
        )
    };
    let bad =
        |text: String| Finding { check: "advertised address", fine: false, text, fix: Some(fix()) };
    // A cluster of its own that begins there, so that no other address is tried instead.
    let options = ClusterOptions { bootstrap: vec![address.clone()], ..cluster.options().clone() };
    let there = match Cluster::connect(cluster.env().clone(), options).await {
        Ok(there) => there.known(),
        Err(error) => {
            let error = WithCauses(&error);
            return bad(format!("broker {id} sends clients to {address}: {error}"));
        }
    };
    if there.cluster_id != metadata.cluster_id {
        let other = there.cluster_id.unwrap_or_default();
        return bad(format!("broker {id} sends clients to {address}, where cluster {other} is"));
    }
    fine("advertised address", format!("broker {id} is at {address}"))
}

/// Writes a record in a topic of its own and reads it.
async fn round_trip(cluster: &Cluster) -> Result<Duration, Failure> {
    let topic = scratch::create(cluster, "ottla-doctor", 1, -1).await?;
    let outcome = write_and_read(cluster, &topic).await;
    let deleted = scratch::delete(cluster, &topic).await;
    let took = outcome?;
    deleted?;
    Ok(took)
}

async fn write_and_read(cluster: &Cluster, topic: &str) -> Result<Duration, Failure> {
    let options = ProducerOptions {
        delivery_timeout: cluster.options().operation_timeout,
        ..ProducerOptions::default()
    };
    let mut producer = Producer::open(cluster.clone(), topic, options).await?;
    let began = cluster.env().steady.now();
    let record = NewRecord {
        key: None,
        value: Some(b"ottla doctor"),
        headers: &[],
        timestamp: None,
        partition: None,
    };
    producer.push(record).await?;
    producer.flush().await?;
    let span = Span { from: Offset::ZERO, until: Some(Offset(1)) };
    let spans = Spans::from([((topic.to_owned(), PartitionId(0)), span)]);
    let mut fetcher = Fetcher::new(cluster.clone(), spans, FetcherOptions::default());
    let deadline = cluster.deadline();
    loop {
        let fetched = tokio::select! {
            fetched = fetcher.next() => fetched?,
            () = cluster.env().steady.sleep_until(deadline) => {
                let text = "the record did not come back in time";
                return Err(Failure::new("TIMED_OUT", NO_CONNECTION, text));
            }
        };
        let mut seen = false;
        fetched.visit(|record| {
            seen |= record.value == Some(b"ottla doctor");
            ControlFlow::Continue(())
        })?;
        if seen {
            return Ok(cluster.env().steady.now().since(began));
        }
    }
}

fn fine(check: &'static str, text: String) -> Finding {
    Finding { check, fine: true, text, fix: None }
}

fn failed(check: &'static str, error: &ClientError) -> Finding {
    let fix = hint_of(error).unwrap_or_else(|| "the broker's log says more".to_owned());
    Finding { check, fine: false, text: WithCauses(error).to_string(), fix: Some(fix) }
}

fn report(arguments: &DoctorArguments, findings: &[Finding]) -> Result<ExitCode, Failure> {
    let healthy = findings.iter().any(|finding| finding.check == "metadata")
        && findings.iter().all(|finding| finding.fine);
    if arguments.common.output.is_json() {
        let value = |finding: &Finding| {
            json!({
                "check": finding.check, "fine": finding.fine, "text": finding.text, "fix": finding.fix,
            })
        };
        let findings: Vec<_> = findings.iter().map(value).collect();
        arguments
            .common
            .output
            .print_value(&json!({ "healthy": healthy, "findings": findings }))?;
    } else {
        let mut text = String::new();
        for finding in findings {
            let mark = if finding.fine { "ok  " } else { "FAIL" };
            text.push_str(&format!("{mark}  {}: {}\n", finding.check, finding.text));
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("      fix: {fix}\n"));
            }
        }
        print_text(&text)?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
