//! A child process that is spoken to in JSON lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::{ClientError, Request, Transport};
use crate::java::Library;
use crate::wait::PATIENCE;
use crate::workspace::{built, sources};

/// A program that takes lines on its standard input and prints lines. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// None once it was closed.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// What it wrote to standard error: shown when it fails.
    complaints: Arc<Mutex<String>>,
}

impl Program {
    /// Starts `command`.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (input, output, errors) =
            match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
                (Some(input), Some(output), Some(errors)) => (input, output, errors),
                _ => bail!("a child without pipes"),
            };
        let (sender, lines) = sync_channel(1024);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = Arc::new(Mutex::new(String::new()));
        thread::spawn({
            let complaints = Arc::clone(&complaints);
            move || collect(errors, &complaints)
        });
        Ok(Self { child, input: Some(input), lines, complaints })
    }

    /// The client for a Python library, in the environment that `./test` makes.
    pub(crate) fn python(script: &str, bootstrap: &str) -> Result<Self> {
        let python = built()?.join("python/bin/python");
        Self::start(Command::new(python).arg(sources().join("python").join(script)).arg(bootstrap))
    }

    /// The client for a Go library, as `./test` builds it.
    pub(crate) fn go(library: &str, bootstrap: &str) -> Result<Self> {
        Self::start(Command::new(built()?.join("go/client")).args([library, bootstrap]))
    }

    /// The client for a Node library, with the packages that `./test` installs.
    pub(crate) fn node(script: &str, bootstrap: &str) -> Result<Self> {
        let modules = built()?.join("node/node_modules");
        Self::start(
            Command::new("node")
                .env("NODE_PATH", modules)
                .arg(sources().join("node").join(script))
                .arg(bootstrap),
        )
    }

    /// A Java client.
    pub(crate) fn java(library: Library, class: &str, bootstrap: &str) -> Result<Self> {
        Self::start(library.class(class)?.arg(bootstrap))
    }

    /// Sends one line.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input was closed")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).with_context(|| self.complaints())
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Ends it by SIGTERM, without waiting.
    ///
    /// # Errors
    /// When it has ended.
    pub fn terminate(&mut self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    /// Ends it by signal 9, and waits.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended before, with {status}\n{}", self.complaints());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The next line that it prints, or none at its end.
    ///
    /// # Errors
    /// When it prints nothing for [`PATIENCE`].
    pub fn next_line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("silent for {PATIENCE:?}\n{}", self.complaints())
            }
        }
    }

    /// The lines that it has printed since they were last taken, and whether it has come to its end.
    pub fn lines_so_far(&mut self) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        loop {
            match self.lines.try_recv() {
                Ok(line) => lines.push(line),
                Err(end) => return (lines, end == TryRecvError::Disconnected),
            }
        }
    }

    /// The lines that it still prints, to its end, which must be a good one.
    ///
    /// # Errors
    /// When it prints nothing for [`PATIENCE`] without ending, or reports a failure.
    pub fn finish(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_line()? {
            lines.push(line);
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}\n{}", self.complaints());
        Ok(lines)
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn complaints(&self) -> String {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Value> {
        self.send(&serde_json::to_string(request)?)?;
        let line = self
            .next_line()?
            .with_context(|| format!("the program ended\n{}", self.complaints()))?;
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }
}

impl Transport for Program {
    fn call(&mut self, request: &Request<'_>) -> Result<Value, ClientError> {
        let mut reply =
            self.ask(request).map_err(|error| ClientError::Failed(format!("{error:#}")))?;
        let error = &reply["error"];
        if error.is_null() {
            return Ok(reply["ok"].take());
        }
        let message =
            format!("{}\n{}", error["message"].as_str().unwrap_or_default(), self.complaints());
        Err(match error["code"].as_i64().and_then(|code| i16::try_from(code).ok()) {
            Some(code) => ClientError::Refused { code, message },
            None => ClientError::Failed(message),
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Keeps the last [`COMPLAINTS_KEPT`] bytes or so of what is read.
fn collect(mut source: impl Read, kept: &Mutex<String>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_str(&String::from_utf8_lossy(&buffer[..count]));
        if kept.len() > 2 * COMPLAINTS_KEPT {
            let cut = kept.ceil_char_boundary(kept.len() - COMPLAINTS_KEPT);
            kept.drain(..cut);
        }
    }
}

const COMPLAINTS_KEPT: usize = 8 << 10;
