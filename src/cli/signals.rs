//! What a person, or a supervisor, says to a process. From when it is listened to, nothing is missed: not what comes while
//! something else is done either.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{INTERRUPTED, TERMINATED};

/// SIGTERM and SIGINT, which is Ctrl-C: both mean that it is to end in good order.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one; gives the exit code of a verb that it ends before its work is done.
    pub(super) async fn next(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.terminate.recv() => ExitCode::from(TERMINATED),
            _ = self.interrupt.recv() => ExitCode::from(INTERRUPTED),
        }
    }
}
