//! `ottla doctor`: why a cluster cannot be used from here, found out from the client's side, and what its brokers say of
//! themselves that will trouble them.

mod cluster;
mod process;
mod reach;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::connect::run_async;
use super::failure::Failure;
use super::manner::{Paint, output_in_colour};
use super::output::{list, print_text};
use super::topic::Common;
use crate::client::{Address, Cluster, ClusterOptions, Topics};
use crate::env::Env;

/// What is looked at.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Do not write anything: no round trip through a topic of its own, and no look at the broker's clock
    #[arg(long)]
    read_only: bool,
    /// Where a broker that is Ottla serves HTTP [default: port 8092 of the first host, if a broker of the cluster is there]
    #[arg(long, value_name = "HOST:PORT", value_parser = Address::parse)]
    http: Option<Address>,
    #[command(flatten)]
    common: Common,
}

/// What was found.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    text: String,
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Clients are served; somebody may want to look all the same.
    Odd,
    Bad,
}

impl Finding {
    fn is_fine(&self) -> bool {
        self.verdict != Verdict::Bad
    }

    /// For people.
    fn lines(&self) -> String {
        let (mark, paint) = match self.verdict {
            Verdict::Fine => ("ok  ", Paint::Good),
            Verdict::Odd => ("note", Paint::Odd),
            Verdict::Bad => ("FAIL", Paint::Bad),
        };
        let mark = if output_in_colour() { paint.put_on(mark) } else { mark.to_owned() };
        let fix = self.fix.as_ref().map(|fix| format!("      fix: {fix}\n"));
        format!("{mark}  {}: {}\n{}", self.check, self.text, fix.unwrap_or_default())
    }
}

pub(super) fn run(arguments: &DoctorArguments) -> ExitCode {
    let outcome = arguments.common.connection.options().and_then(|options| {
        run_async(async move |env| {
            let mut findings = Vec::new();
            examine(&env, options, arguments, &mut findings).await;
            report(arguments, &findings)
        })
    });
    outcome.unwrap_or_else(|failure| failure.report(arguments.common.output.is_json()))
}

async fn examine(
    env: &Env,
    options: ClusterOptions,
    arguments: &DoctorArguments,
    findings: &mut Vec<Finding>,
) {
    let mut reached = false;
    for address in &options.bootstrap {
        reached |= reach::bootstrap(env, address, &options, findings).await;
    }
    if !reached {
        return;
    }
    let begun = options.bootstrap.clone();
    let known = match Cluster::connect(env.clone(), options).await {
        Ok(cluster) => cluster.metadata(Topics::All).await.map(|metadata| (cluster, metadata)),
        Err(error) => Err(error),
    };
    let (cluster, metadata) = match known {
        Ok(known) => known,
        Err(error) => return findings.push(failed("metadata", error)),
    };
    let name = metadata.cluster_id.clone().unwrap_or_default();
    let brokers = list(metadata.brokers.iter().map(|node| node.id));
    findings.push(fine("metadata", format!("cluster {name} has brokers {brokers}")));
    let mut all_reached = true;
    for node in &metadata.brokers {
        let found = reach::advertised(&cluster, &metadata, node.id, &begun).await;
        all_reached &= found.is_fine();
        findings.push(found);
    }
    findings.push(cluster::partitions(&metadata));
    process::examine(env, arguments.http.as_ref(), &begun, &metadata, findings).await;
    // What asks each broker would say again and again that one cannot be reached.
    if !all_reached {
        return;
    }
    cluster::replication(&cluster, &metadata, findings).await;
    cluster::disks(&cluster, &metadata, findings).await;
    findings.push(cluster::groups(&cluster).await.unwrap_or_else(|error| failed("groups", error)));
    if arguments.read_only {
        return;
    }
    match reach::round_trip(&cluster).await {
        Ok(trip) => {
            let took = trip.took.as_millis();
            let text = format!("a record was written and read in {took} ms");
            findings.extend([fine("round trip", text), reach::clock(trip.skew_ms)]);
        }
        Err(failure) => {
            let fix = "the broker's log says more; --read-only leaves this out".to_owned();
            findings.push(bad("round trip", failure.line(), fix));
        }
    }
}

const fn fine(check: &'static str, text: String) -> Finding {
    Finding { check, verdict: Verdict::Fine, text, fix: None }
}

const fn odd(check: &'static str, text: String, fix: String) -> Finding {
    Finding { check, verdict: Verdict::Odd, text, fix: Some(fix) }
}

const fn bad(check: &'static str, text: String, fix: String) -> Finding {
    Finding { check, verdict: Verdict::Bad, text, fix: Some(fix) }
}

/// A check that could not be made.
fn failed(check: &'static str, error: impl Into<Failure>) -> Finding {
    let failure = error.into();
    let fix = failure.advice().unwrap_or("the broker's log says more").to_owned();
    bad(check, failure.line(), fix)
}

fn report(arguments: &DoctorArguments, findings: &[Finding]) -> Result<ExitCode, Failure> {
    let healthy = findings.iter().any(|finding| finding.check == "metadata")
        && findings.iter().all(Finding::is_fine);
    if arguments.common.output.is_json() {
        let value = |finding: &Finding| {
            json!({
                "check": finding.check, "fine": finding.is_fine(), "text": finding.text,
                "fix": finding.fix,
            })
        };
        let findings: Vec<_> = findings.iter().map(value).collect();
        arguments
            .common
            .output
            .print_value(&json!({ "healthy": healthy, "findings": findings }))?;
    } else {
        print_text(&findings.iter().map(Finding::lines).collect::<String>())?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
