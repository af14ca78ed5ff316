//! How verbs reach a cluster: addresses, patience, and the runtime that they run in.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::context::{self, Context};
use super::failure::{Failure, broken};
use super::sources::{self, environment};
use super::units;
use crate::client::{Address, Cluster, ClusterOptions};
use crate::config::properties::Property;
use crate::env::Env;

/// What every verb takes that speaks to brokers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct ConnectionArguments {
    /// Brokers to begin with [env: OTTLA_BOOTSTRAP] [default: those of the context, else localhost:9092]
    #[arg(short = 'b', long, alias = "bootstrap-server", value_name = "HOST:PORT,…")]
    bootstrap: Option<String>,
    /// The cluster that has this name: see ottla context [env: OTTLA_CONTEXT]
    #[arg(long, value_name = "NAME", conflicts_with = "bootstrap")]
    context: Option<String>,
    /// How long to wait for brokers, at most
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "30s")]
    timeout: Duration,
    /// What the brokers' logs call this client
    #[arg(long, value_name = "NAME", default_value = "ottla")]
    client_id: String,
    /// A setting by the name that other clients have for it; of the security settings none but PLAINTEXT is there yet
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    properties: Vec<String>,
    /// A file of settings for other clients: its bootstrap.servers, client.id and security.protocol count
    #[arg(short = 'F', long = "command-config", value_name = "FILE")]
    settings_file: Option<PathBuf>,
}

/// What a file of settings says.
#[derive(Default)]
struct FileSettings {
    bootstrap: Option<String>,
    settings: Vec<(String, String)>,
}

/// Where a broker of this machine is.
const DEFAULT_BOOTSTRAP: &str = "localhost:9092";
/// Patience with connections ends before that with answers.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

impl ConnectionArguments {
    /// Reads the file. What concerns neither us nor security is passed over, as by the tools of Apache Kafka.
    fn file_settings(&self) -> Result<FileSettings, Failure> {
        let mut found = FileSettings::default();
        let Some(file) = &self.settings_file else { return Ok(found) };
        let properties =
            sources::read_properties(file).map_err(|error| Failure::usage(format!("{error:#}")))?;
        for Property { key, value, .. } in properties {
            match key.as_str() {
                "bootstrap.servers" | "metadata.broker.list" => found.bootstrap = Some(value),
                "client.id" => found.settings.push((key, value)),
                name if is_security(name) => found.settings.push((key, value)),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Where to begin, and the settings of the context if it is one that says so. `of_settings` is what settings say.
    fn place(&self, of_settings: Option<String>) -> Result<Context, Failure> {
        let environment = environment();
        let variable = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let at = |bootstrap| Context { bootstrap, ..Context::default() };
        if let Some(bootstrap) = &self.bootstrap {
            return Ok(at(bootstrap.clone()));
        }
        if let (None, Some(bootstrap)) =
            (&self.context, of_settings.or_else(|| variable("OTTLA_BOOTSTRAP")))
        {
            return Ok(at(bootstrap));
        }
        let name = self.context.clone().or_else(|| variable("OTTLA_CONTEXT"));
        let found = context::find(name.as_deref())?;
        Ok(found.unwrap_or_else(|| at(DEFAULT_BOOTSTRAP.to_owned())))
    }

    /// The addresses and times.
    pub(super) fn options(&self) -> Result<ClusterOptions, Failure> {
        let FileSettings { bootstrap: mut of_settings, settings: of_file } =
            self.file_settings()?;
        let mut of_words = Vec::new();
        for text in &self.properties {
            match split(text)? {
                ("bootstrap.servers" | "metadata.broker.list", value) => {
                    of_settings = Some(value.to_owned());
                }
                (key, value) => of_words.push((key.to_owned(), value.to_owned())),
            }
        }
        let Context { bootstrap, settings } = self.place(of_settings)?;
        let bootstrap = Address::parse_list(&bootstrap)
            .map_err(|error| Failure::usage(error.to_string()).hint("write -b HOST:PORT"))?;
        let mut options = ClusterOptions {
            client_id: self.client_id.clone(),
            connect_timeout: self.timeout.min(CONNECT_TIMEOUT_MAX),
            request_timeout: self.timeout,
            operation_timeout: self.timeout,
            ..ClusterOptions::new(bootstrap)
        };
        let settings: Vec<_> = settings.into_iter().chain(of_file).chain(of_words).collect();
        // Who says that it is plain text means none of the others.
        let is_plain = settings.iter().any(|(key, value)| is_plain_text(key, value));
        for (key, value) in &settings {
            if !is_plain || key == "security.protocol" || !is_security(key) {
                apply(&mut options, key, value)?;
            }
        }
        Ok(options)
    }

    /// Runs a verb that speaks to the cluster.
    pub(super) fn run(
        &self,
        verb: impl AsyncFnOnce(Cluster) -> Result<ExitCode, Failure>,
    ) -> Result<ExitCode, Failure> {
        let options = self.options()?;
        run_async(async move |env| {
            let cluster = Cluster::connect(env, options).await?;
            verb(cluster.clone()).await.map_err(|failure| failure.asked_in(&cluster))
        })
    }
}

impl ConnectionArguments {
    /// The same toward another cluster, which is at these addresses or is that of a context.
    pub(super) fn toward(&self, bootstrap: Option<String>, context: Option<String>) -> Self {
        Self { bootstrap, context, ..self.clone() }
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
    // In a box, so that the program holds the runtime's code once, not for each verb.
    let verb: Pin<Box<dyn Future<Output = _>>> = Box::pin(verb(Env::real()));
    let outcome = runtime.block_on(verb);
    // A read of standard input cannot be ended.
    runtime.shutdown_background();
    outcome
}

/// Reads `KEY=VALUE` of a setting that is known.
pub(super) fn setting(text: &str) -> Result<(String, String), Failure> {
    let (key, value) = split(text)?;
    apply(&mut ClusterOptions::new(Vec::new()), key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

fn split(text: &str) -> Result<(&str, &str), Failure> {
    let pair = text.split_once('=').map(|(key, value)| (key.trim(), value));
    pair.ok_or_else(|| Failure::usage(format!("-X {text} is not KEY=VALUE")))
}

/// Whether a setting is about TLS or SASL.
fn is_security(key: &str) -> bool {
    key.starts_with("ssl.") || key.starts_with("sasl.") || key == "security.protocol"
}

fn is_plain_text(key: &str, value: &str) -> bool {
    key == "security.protocol" && value.eq_ignore_ascii_case("plaintext")
}

fn apply(options: &mut ClusterOptions, key: &str, value: &str) -> Result<(), Failure> {
    match key {
        "client.id" => value.clone_into(&mut options.client_id),
        key if is_plain_text(key, value) => {}
        key if is_security(key) => {
            return Err(Failure::new(
                "NOT_YET",
                super::failure::USAGE,
                format!("{key}: TLS and SASL are not there yet"),
            )
            .hint("use a PLAINTEXT listener of the broker"));
        }
        key => {
            return Err(Failure::usage(format!("-X {key} is not known"))
                .hint("known are bootstrap.servers, client.id and security.protocol"));
        }
    }
    Ok(())
}
