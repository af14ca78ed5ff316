//! One question over HTTP to a process of this machine.

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::env::Env;

/// More than an answer has: metrics of many partitions are the longest.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

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
    let text = String::from_utf8_lossy(&bytes);
    let parts = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_once("\r\n\r\n"));
    let (head, body) = parts.context("what answers is not HTTP")?;
    let status = head.split(' ').next().and_then(|status| status.parse().ok());
    Ok(Answer { status: status.context("what answers is not HTTP")?, body: body.to_owned() })
}
