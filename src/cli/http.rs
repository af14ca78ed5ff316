//! One question over HTTP to a process of this machine.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::failure::{Failure, NO_CONNECTION, REFUSED};
use super::sources::SourceArguments;
use crate::config::{HttpListener, Loaded};
use crate::env::Env;

/// More than an answer has: the longest are metrics of many partitions.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// How long one question may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The status of an answer that is one.
pub(super) const WELL: u16 = 200;

/// Which broker to ask.
#[derive(Debug, Args)]
pub(super) struct HttpArguments {
    /// Where the broker serves HTTP [default: as configured, else localhost:8092]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    #[command(flatten)]
    sources: SourceArguments,
}

impl HttpArguments {
    /// Where it serves HTTP.
    pub(super) fn address(&self) -> Result<(String, u16), Failure> {
        let http = self.http.as_ref().map(|http| format!("ottla.http.listener={http}"));
        let loaded = self.sources.load(http.as_slice()).map_err(|error| {
            Failure::usage(format!("{error:#}"))
                .hint("--http HOST:PORT says where the broker serves HTTP")
        })?;
        address(&loaded)
    }

    /// The body of the answer to a question for `path`.
    pub(super) async fn get(&self, env: &Env, path: &str) -> Result<String, Failure> {
        let (host, port) = self.address()?;
        let limit = env.steady.now().plus(ANSWER_TIMEOUT);
        let asked = env.steady.timeout_at(limit, ask(env, (&host, port), "GET", path)).await;
        match asked.map_err(Into::into).and_then(|answer| answer) {
            Ok(Answer { status: WELL, body }) => Ok(body),
            Ok(Answer { status, body }) => {
                let message =
                    format!("http://{host}:{port}{path} answered {status}: {}", body.trim());
                Err(Failure::new("NOT_READY", REFUSED, message))
            }
            Err(error) => {
                let message = format!("nobody answers at http://{host}:{port}{path}: {error:#}");
                Err(Failure::new("NO_ANSWER", NO_CONNECTION, message)
                    .hint("is a broker running there? --http HOST:PORT says where to ask"))
            }
        }
    }
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks `host:port` for `path` with this method, without a body.
pub(super) async fn ask(
    env: &Env,
    (host, port): (&str, u16),
    method: &str,
    path: &str,
) -> anyhow::Result<Answer> {
    let mut stream = env.net.connect(host, port).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await?;
    anyhow::ensure!((bytes.len() as u64) < ANSWER_BYTES_MAX, "the answer is too long");
    let text = String::from_utf8_lossy(&bytes);
    let parts = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_once("\r\n\r\n"));
    let (head, body) = parts.context("what answers is not HTTP")?;
    let status = head.split(' ').next().and_then(|status| status.parse().ok());
    Ok(Answer { status: status.context("what answers is not HTTP")?, body: body.to_owned() })
}

/// Where a broker with this configuration serves HTTP.
fn address(loaded: &Loaded) -> Result<(String, u16), Failure> {
    let listeners = loaded.broker.listeners.iter().chain(&loaded.broker.controller_listeners);
    let first = listeners.take(1).find_map(|listener| listener.host.clone());
    let (host, port) = match &loaded.broker.http {
        HttpListener::Off => {
            let message = "HTTP is switched off, and with it what is asked for";
            return Err(Failure::new("NO_HTTP", REFUSED, message)
                .hint("ottla.http.listener says where a broker serves HTTP"));
        }
        HttpListener::Unset => (first, crate::broker::HTTP_PORT),
        HttpListener::At { host, port } => (host.clone(), *port),
    };
    let everywhere = |host: &String| host == "0.0.0.0" || host == "::";
    let host = host.filter(|host| !everywhere(host)).unwrap_or_else(|| "localhost".to_owned());
    Ok((host, port))
}
