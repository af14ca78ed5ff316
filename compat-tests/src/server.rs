//! A broker as a child process: Ottla, or Apache Kafka by the launcher beside this crate.
//!
//! A server keeps its address and its data directory from start to start, so that it can be killed and started again
//! under the eyes of its clients. Both are gone with the value.

use std::fs::{self, File, OpenOptions};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::wait_until;
use crate::workspace;

/// Which broker a [`Server`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// Ours, on disk.
    Ottla,
    /// The one whose behaviour is right by definition.
    ApacheKafka,
}

impl ServerKind {
    /// The one that `OTTLA_COMPAT_SERVER` names (`ottla` or `kafka`); Ottla when it is not set.
    ///
    /// # Errors
    /// When it names neither.
    pub fn from_environment() -> Result<Self> {
        match std::env::var("OTTLA_COMPAT_SERVER").as_deref() {
            Err(_) | Ok("ottla") => Ok(Self::Ottla),
            Ok("kafka") => Ok(Self::ApacheKafka),
            Ok(other) => bail!("OTTLA_COMPAT_SERVER is `{other}`, must be `ottla` or `kafka`"),
        }
    }
}

/// A broker on loopback with a data directory of its own. Dropping it kills the process and removes the directory.
#[derive(Debug)]
pub struct Server {
    kind: ServerKind,
    /// Holds `data`, `out` (standard output of this start) and `log` (standard error of all starts).
    dir: TempDir,
    /// Where the partitions are, if not in `dir`.
    data: Option<PathBuf>,
    configs: Vec<String>,
    /// For the launcher of Apache Kafka.
    environment: Vec<(&'static str, String)>,
    bootstrap: String,
    child: Option<Child>,
}

impl Server {
    /// Starts a broker with `configs` (`key=value`) and waits until it serves clients.
    ///
    /// # Errors
    /// When it does not start; the error holds the end of its log.
    pub fn start(kind: ServerKind, configs: &[&str]) -> Result<Self> {
        Self::start_at(kind, &free_address()?, configs)
    }

    /// The same at a given address, `127.0.0.1:port`.
    ///
    /// # Errors
    /// When it does not start; the error holds the end of its log.
    pub fn start_at(kind: ServerKind, address: &str, configs: &[&str]) -> Result<Self> {
        Self::start_with(kind, address, None, configs)
    }

    /// The same with its data in a directory that stays when the server is dropped. Not for Apache Kafka.
    ///
    /// # Errors
    /// When it does not start; the error holds the end of its log.
    pub fn start_on(kind: ServerKind, data: &Path, configs: &[&str]) -> Result<Self> {
        Self::start_with(kind, &free_address()?, Some(data.to_owned()), configs)
    }

    fn start_with(
        kind: ServerKind,
        address: &str,
        data: Option<PathBuf>,
        configs: &[&str],
    ) -> Result<Self> {
        let mut server = Self::new(kind, address, data, configs)?;
        server.restart()?;
        Ok(server)
    }

    /// One that does not run yet.
    pub(crate) fn new(
        kind: ServerKind,
        address: &str,
        data: Option<PathBuf>,
        configs: &[&str],
    ) -> Result<Self> {
        Ok(Self {
            kind,
            dir: tempfile::Builder::new().prefix("ottla-compat-").tempdir()?,
            data,
            configs: configs.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            bootstrap: address.to_owned(),
            child: None,
        })
    }

    /// Makes it, before its first start, a node of a cluster that others reach at `address`. Ottla needs no more than its
    /// configs for that; nodes of Apache Kafka are formatted for one cluster.
    pub(crate) fn join(&mut self, address: &str) -> Result<()> {
        let ports = format!("{} {}\n", port_of(&self.bootstrap), port_of(address));
        fs::write(self.dir.path().join("ports"), ports)?;
        self.environment = vec![
            ("KAFKA_CLUSTER_ID", "b3R0bGEtbm9kZXMtdGVzdA".to_owned()),
            ("KAFKA_HEAP", "-Xms64m -Xmx256m".to_owned()),
        ];
        Ok(())
    }

    /// Gives it another config from its next start on, `key=value`, instead of what it had for that key.
    pub(crate) fn configure(&mut self, config: &str) {
        let key = config.split_once('=').map_or(config, |(key, _)| key);
        self.configs.retain(|known| known.split_once('=').is_none_or(|(known, _)| known != key));
        self.configs.push(config.to_owned());
    }

    /// The address for clients, `127.0.0.1:port`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Which broker this is.
    #[must_use]
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// Where the broker keeps its partitions, unless its configs have `log.dirs`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    /// Starts the broker again, on the same data and the same address.
    ///
    /// # Errors
    /// When it still runs, or does not serve clients in time.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait()
    }

    /// Starts the process.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the server still runs");
        let out = self.dir.path().join("out");
        let log = OpenOptions::new().create(true).append(true).open(self.dir.path().join("log"))?;
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
    }

    /// Waits until the process serves clients.
    pub(crate) fn wait(&mut self) -> Result<()> {
        wait_until("the server serves clients", || {
            if let Some(status) =
                self.child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()?
            {
                bail!("the server ended at its start with {status}:\n{}", self.log());
            }
            Ok(self.is_ready()?.then_some(()))
        })
        .with_context(|| self.log())
    }

    /// Starts another kind of broker on the same data and the same address.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub fn restart_as(&mut self, kind: ServerKind) -> Result<()> {
        self.kind = kind;
        self.restart()
    }

    /// Ends the broker by signal 9.
    ///
    /// # Errors
    /// When it does not run, or ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::KILL)
    }

    /// The same for a broker that may have ended by itself.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill_if_running(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_some()
        {
            self.child = None;
        }
        if self.child.is_some() { self.kill() } else { Ok(()) }
    }

    /// Ends the broker by SIGTERM and waits until it has stopped.
    ///
    /// # Errors
    /// When it does not run, ended before, or reports a failure.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::TERM)
    }

    /// The last lines that the broker logged.
    #[must_use]
    pub fn log(&self) -> String {
        // Apache Kafka is silent but for a start that fails, which it reports on standard output.
        let text: String = ["log", "out"]
            .iter()
            .map(|name| fs::read(self.dir.path().join(name)).unwrap_or_default())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn command(&self) -> Result<Command> {
        let mut command;
        match self.kind {
            ServerKind::Ottla => {
                command = Command::new(workspace::ottla()?);
                command.args(["serve", "--http", "off"]);
                let has = |key: &str| self.configs.iter().any(|config| config.starts_with(key));
                if !has("listeners=") {
                    command.args(["--listen", &self.bootstrap]);
                }
                if !has("log.dirs=") {
                    command.arg("--data").arg(self.data_dir());
                }
            }
            ServerKind::ApacheKafka => {
                command = Command::new(workspace::sources().join("kafka"));
                command.arg("serve").arg(self.dir.path()).args(["-p", port_of(&self.bootstrap)]);
            }
        }
        // Some records are of long ago: retention, which first looks after this time, would remove them.
        command.args(["-o", "log.initial.task.delay.ms=86400000"]);
        for config in &self.configs {
            command.args(["-o", config]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    fn is_ready(&self) -> Result<bool> {
        Ok(match self.kind {
            ServerKind::Ottla => {
                let out = fs::read_to_string(self.dir.path().join("out"))?;
                out.lines()
                    .any(|line| line.starts_with(&format!("ottla ready kafka={} ", self.bootstrap)))
            }
            ServerKind::ApacheKafka => TcpStream::connect(&self.bootstrap).is_ok(),
        })
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let mut child = self.child.take().context("the server does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!("the server had ended before, with {status}:\n{}", self.log());
        }
        kill_process(Pid::from_child(&child), signal)?;
        let status = wait_until("the server has stopped", || Ok(child.try_wait()?));
        if status.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let status = status.with_context(|| self.log())?;
        // A JVM reports that it was ended by SIGTERM even when all is well.
        if signal == Signal::TERM && self.kind == ServerKind::Ottla {
            ensure!(status.success(), "the server stopped with {status}:\n{}", self.log());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; there is nobody to tell.
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}

/// A free address on loopback, its port below the range of outgoing connections: while a broker is down, no client's
/// connection can sit on it (or connect to itself there).
///
/// # Errors
/// When none is found.
pub fn free_address() -> Result<String> {
    (0..1000)
        .map(|_| format!("127.0.0.1:{}", rand::rng().random_range(20_000..32_000)))
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no free port")
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or(address)
}
