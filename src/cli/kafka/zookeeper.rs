//! `zookeeper-server-start FILE`: stands where ZooKeeper stood.
//!
//! Images of older Kafka start it before the broker, and who starts such a container waits until its port is open. There is nothing
//! to keep in it: connections are accepted and closed.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::sources;
use crate::config::properties;
use crate::env::Env;

/// The port, if the file does not say.
const PORT: u16 = 2181;

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let file = arguments.iter().find(|argument| !argument.starts_with('-'));
    let port = match file {
        Some(file) => port(&sources::read(Path::new(file))?)?,
        None => PORT,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let listener = Env::in_memory().net.listen("", port, 16).await;
        let listener = listener.with_context(|| format!("cannot listen on port {port}"))?;
        eprintln!("ottla: there is no ZooKeeper here, nor a need for one; port {port} is open and that is all");
        loop {
            drop(listener.accept().await.context("cannot accept connections")?);
        }
    })
}

/// The `clientPort` of a configuration of ZooKeeper.
fn port(bytes: &[u8]) -> anyhow::Result<u16> {
    let all =
        properties::parse(bytes).context("the configuration is not in the form of properties")?;
    let Some(port) = all.into_iter().rfind(|property| property.key == "clientPort") else {
        return Ok(PORT);
    };
    port.value
        .trim()
        .parse()
        .with_context(|| format!("clientPort is {}, which is no port", port.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_file() {
        assert_eq!(port(b"clientPort=12181\ndataDir=/x\n").unwrap(), 12181);
        assert_eq!(port(b"dataDir=/x\n").unwrap(), PORT);
        assert!(port(b"clientPort=x\n").is_err());
    }
}
