//! What a person, or a supervisor, says to a process. From when it is listened to, nothing is missed: not what comes while
//! something else is done either.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, which mean the same to a broker.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Interrupt,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: Interrupt::listen()? })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            () = self.interrupt.next() => {}
        }
    }
}

/// SIGINT: Ctrl-C.
pub(super) struct Interrupt(Signal);

impl Interrupt {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?))
    }

    pub(super) async fn next(&mut self) {
        self.0.recv().await;
    }
}
