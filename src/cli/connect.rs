//! How verbs reach a cluster: addresses, patience, and the runtime that they run in.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::failure::{Failure, broken};
use super::units;
use crate::client::{Address, Cluster, ClusterOptions};
use crate::env::Env;

/// What every verb takes that speaks to brokers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArguments {
    /// Brokers to begin with
    #[arg(
        short = 'b',
        long,
        alias = "bootstrap-server",
        env = "OTTLA_BOOTSTRAP",
        value_name = "HOST:PORT,…",
        default_value = "localhost:9092"
    )]
    pub(super) bootstrap: String,
    /// How long to wait for brokers, at most
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "30s")]
    timeout: Duration,
    /// What the brokers' logs call this client
    #[arg(long, value_name = "NAME", default_value = "ottla")]
    client_id: String,
    /// A setting by the name that other clients have for it; of the security settings none but PLAINTEXT is there yet
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

/// Patience with connections ends before that with answers.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

impl ConnectionArguments {
    /// The addresses and times.
    pub(super) fn options(&self) -> Result<ClusterOptions, Failure> {
        let bootstrap = Address::parse_list(&self.bootstrap)
            .map_err(|error| Failure::usage(error.to_string()).hint("write -b HOST:PORT"))?;
        let mut options = ClusterOptions {
            client_id: self.client_id.clone(),
            connect_timeout: self.timeout.min(CONNECT_TIMEOUT_MAX),
            request_timeout: self.timeout,
            operation_timeout: self.timeout,
            ..ClusterOptions::new(bootstrap)
        };
        for setting in &self.properties {
            apply(&mut options, setting)?;
        }
        Ok(options)
    }

    /// Runs a verb that speaks to the cluster.
    pub(super) fn run(
        &self,
        verb: impl AsyncFnOnce(Cluster) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let options = self.options()?;
        run_async(async move |env| verb(Cluster::connect(env, options).await?).await)
    }
}

/// Runs what waits.
pub(super) fn run_async(
    verb: impl AsyncFnOnce(Env) -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| broken(&error))?;
    let outcome = runtime.block_on(async { verb(Env::real()).await });
    // A read of standard input cannot be ended.
    runtime.shutdown_background();
    outcome
}

fn apply(options: &mut ClusterOptions, setting: &str) -> Result<(), Failure> {
    let Some((key, value)) = setting.split_once('=') else {
        return Err(Failure::usage(format!("-X {setting} is not KEY=VALUE")));
    };
    match key.trim() {
        "client.id" => value.clone_into(&mut options.client_id),
        "security.protocol" if value.eq_ignore_ascii_case("plaintext") => {}
        key if key.starts_with("ssl.")
            || key.starts_with("sasl.")
            || key == "security.protocol" =>
        {
            return Err(Failure::new(
                "NOT_YET",
                super::failure::USAGE,
                format!("{key}: TLS and SASL are not there yet"),
            )
            .hint("use a PLAINTEXT listener of the broker"));
        }
        key => {
            return Err(Failure::usage(format!("-X {key} is not known"))
                .hint("known are client.id and security.protocol"));
        }
    }
    Ok(())
}
