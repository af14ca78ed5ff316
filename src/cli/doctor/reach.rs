//! What can be reached from here: names, ports, the addresses that brokers give, and a record's way to a broker and back.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{Finding, bad, failed, fine};
use crate::cli::failure::{Failure, NO_CONNECTION};
use crate::cli::output::list;
use crate::cli::scratch;
use crate::client::{
    Address, ClientError, Cluster, ClusterOptions, Connection, Fetcher, FetcherOptions, Metadata,
    NewRecord, Producer, ProducerOptions, Span, Spans,
};
use crate::env::{Env, port_owner};
use crate::model::{BrokerId, Offset, PartitionId, UnixMillis, WithCauses};

/// Names, ports, the protocol.
pub(super) async fn bootstrap(
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
            let owner = owner_of(address, &resolved, &error);
            let mut finding = failed("connection", error);
            if let Some(owner) = owner {
                finding.text.push_str(&format!("; {owner} listens there"));
            }
            findings.push(finding);
            false
        }
    }
}

/// Which program of this machine has the port, if there is one and it is no broker that can be spoken to.
fn owner_of(address: &Address, resolved: &[IpAddr], error: &ClientError) -> Option<String> {
    let is_here = resolved.iter().any(IpAddr::is_loopback);
    let listens = !matches!(error, ClientError::Resolve { .. } | ClientError::Connect { .. });
    (is_here && listens).then(|| port_owner(address.port)).flatten()
}

/// Whether the address that a broker gives leads to that cluster, and to nobody else.
pub(super) async fn advertised(
    cluster: &Cluster,
    metadata: &Metadata,
    id: BrokerId,
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
    let bad = |text: String| bad("advertised address", text, fix());
    let same = metadata.brokers.iter().find(|other| other.id != id && other.address == *address);
    if let Some(other) = same {
        return bad(format!("brokers {id} and {} both send clients to {address}", other.id));
    }
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

/// A record that was written and read.
pub(super) struct RoundTrip {
    pub(super) took: Duration,
    /// By how much the broker's clock is ahead of ours; less than zero if it is behind.
    pub(super) skew_ms: i64,
}

/// Writes a record in a topic of its own and reads it. The broker gives it its own time.
pub(super) async fn round_trip(cluster: &Cluster) -> Result<RoundTrip, Failure> {
    let configs = [("message.timestamp.type", "LogAppendTime")];
    let topic = scratch::create_with(cluster, "ottla-doctor", 1, -1, &configs).await?;
    let outcome = write_and_read(cluster, &topic).await;
    let deleted = scratch::delete(cluster, &topic).await;
    let trip = outcome?;
    deleted?;
    Ok(trip)
}

async fn write_and_read(cluster: &Cluster, topic: &str) -> Result<RoundTrip, Failure> {
    let options = ProducerOptions {
        delivery_timeout: cluster.options().operation_timeout,
        ..ProducerOptions::default()
    };
    let (steady, clock) = (&cluster.env().steady, &cluster.env().clock);
    let mut producer = Producer::open(cluster.clone(), topic, options).await?;
    let (began, before) = (steady.now(), clock.now());
    let record = NewRecord {
        key: None,
        value: Some(b"ottla doctor"),
        headers: &[],
        timestamp: None,
        partition: None,
    };
    producer.push(record).await?;
    producer.flush().await?;
    let after = clock.now();
    let span = Span { from: Offset::ZERO, until: Some(Offset(1)) };
    let spans = Spans::from([((topic.to_owned(), PartitionId(0)), span)]);
    let mut fetcher = Fetcher::new(cluster.clone(), spans, FetcherOptions::default());
    let deadline = cluster.deadline();
    loop {
        let fetched = tokio::select! {
            fetched = fetcher.next() => fetched?,
            () = steady.sleep_until(deadline) => {
                let text = "the record did not come back in time";
                return Err(Failure::new("TIMED_OUT", NO_CONNECTION, text));
            }
        };
        let mut time = None;
        fetched.visit(|record| {
            time = Some(record.timestamp).filter(|_| record.value == Some(b"ottla doctor"));
            ControlFlow::Continue(())
        })?;
        if let Some(time) = time {
            let skew_ms = outside(time, before, after);
            return Ok(RoundTrip { took: steady.now().since(began), skew_ms });
        }
    }
}

/// How far a time is behind the last one that it can be, or, below zero, before the first.
fn outside(time: UnixMillis, first: UnixMillis, last: UnixMillis) -> i64 {
    if time > last { time.0.saturating_sub(last.0) } else { time.0.saturating_sub(first.0).min(0) }
}

/// What to say of a broker's clock. Producers' times are compared with it, and its own decide what is kept for how long.
pub(super) fn clock(skew_ms: i64) -> Finding {
    let seconds = skew_ms.unsigned_abs() / 1000;
    let which = if skew_ms > 0 { "ahead of" } else { "behind" };
    match skew_ms.unsigned_abs() > SKEW_MAX_MS {
        false => fine("clock", "the broker's clock and that of this machine agree".to_owned()),
        true => bad(
            "clock",
            format!("the broker's clock is {seconds} s {which} that of this machine"),
            "let both machines take their time from NTP (chronyc tracking, timedatectl)".to_owned(),
        ),
    }
}

/// Clocks that agree to this many milliseconds are well.
const SKEW_MAX_MS: u64 = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_seconds_apart_are_told_of() {
        let skew = |time| outside(UnixMillis(time), UnixMillis(1000), UnixMillis(1500));
        assert_eq!([900, 1000, 1200, 1500, 1700].map(skew), [-100, 0, 0, 0, 200]);
        assert!(clock(5000).is_fine() && clock(-5000).is_fine());
        assert!(clock(-7900).text.contains("7 s behind that of this machine"));
        assert!(clock(60_000).text.contains("60 s ahead of") && !clock(60_000).is_fine());
    }
}
