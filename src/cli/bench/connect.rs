//! `ottla bench connect`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;

use super::meter::{Counted, Meter};
use super::report::ReportArguments;
use super::{RateArguments, measured};
use crate::cli::connect::ConnectionArguments;
use crate::cli::failure::Failure;
use crate::cli::signals::Signals;
use crate::cli::units;
use crate::client::{Address, ClientError, Cluster, ClusterOptions, Connection};
use crate::env::Env;
use crate::wire::ApiKey;
use crate::wire::messages::MetadataRequest;

#[derive(Debug, Args)]
pub(super) struct ConnectBench {
    /// How many connections are being made at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// How many connections
    #[arg(short = 'n', long, conflicts_with = "duration")]
    count: Option<u64>,
    /// How long
    #[arg(short = 'd', long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    duration: Duration,
    /// Ask by each connection which brokers there are, as clients do first
    #[arg(long)]
    metadata: bool,
    #[command(flatten)]
    rate: RateArguments,
    #[command(flatten)]
    pub(super) report: ReportArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) fn run(arguments: &ConnectBench) -> Result<ExitCode, Failure> {
    let duration = arguments.duration.as_millis() as u64;
    let settings = json!({
        "connections": arguments.connections, "count": arguments.count,
        "duration_ms": arguments.count.is_none().then_some(duration),
        "metadata": arguments.metadata, "rate": arguments.rate.per_second(),
    });
    let report = arguments.report.report("connect", settings)?;
    arguments.connection.run(async |cluster| {
        let mut signals = Signals::listen()?;
        let mut meter = Meter::new(&cluster.env().steady, Counted::Connections);
        let measure = async |meter: &mut Meter| measure(arguments, &cluster, meter).await;
        measured(&mut signals, &mut meter, &report, measure).await
    })
}

/// Between two looks whether the next connection is due, when the rate is bounded.
const TICK: Duration = Duration::from_millis(1);

/// Makes one connection after the other, at each of the brokers in turn, so many at once.
async fn measure(
    arguments: &ConnectBench,
    cluster: &Cluster,
    meter: &mut Meter,
) -> Result<(), Failure> {
    let (env, options) = (cluster.env(), cluster.options());
    let brokers = cluster.known().brokers;
    let mut addresses = brokers.iter().map(|broker| &broker.address).cycle();
    let at_once = u64::from(arguments.connections);
    let (sender, mut results) = mpsc::channel(usize::from(arguments.connections));
    meter.begin();
    let (mut begun, mut done) = (0, 0);
    loop {
        let elapsed = meter.elapsed();
        let wanted = match arguments.count {
            Some(count) => count,
            None if elapsed < arguments.duration => u64::MAX,
            None => begun,
        };
        let due = arguments.rate.due(elapsed).min(wanted).min(done + at_once);
        while begun < due {
            let Some(address) = addresses.next() else { return Ok(()) };
            let (address, options) = (address.clone(), options.clone());
            let (of_task, sender) = (env.clone(), sender.clone());
            let asks = arguments.metadata;
            env.tasks.spawn("connection of a bench", async move {
                let began = of_task.steady.now();
                let outcome = connect(&of_task, &address, &options, asks).await;
                let took = of_task.steady.now().since(began);
                // Nobody asks any more if it cannot be told.
                drop(sender.send(outcome.map(|()| took)).await);
            });
            begun += 1;
        }
        if begun == done && wanted <= begun {
            return Ok(());
        }
        tokio::select! {
            Some(outcome) = results.recv() => {
                meter.latency(outcome?);
                meter.count(1, 0);
                done += 1;
            }
            () = env.steady.sleep(TICK), if begun < wanted.min(done + at_once) => {}
        }
        meter.show();
    }
}

/// Until the broker has said what it speaks, and which brokers there are if that is asked.
async fn connect(
    env: &Env,
    address: &Address,
    options: &ClusterOptions,
    asks: bool,
) -> Result<(), ClientError> {
    let connection =
        Connection::open(env, address, &options.client_id, options.connect_timeout).await?;
    if asks {
        let version = connection.version_up_to(ApiKey::Metadata, i16::MAX)?;
        // An empty list is none: no topic is asked for.
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        connection.call(version, &request, options.request_timeout).await?;
    }
    Ok(())
}
