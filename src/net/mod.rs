//! Sockets: accepting connections, reading frames within a byte budget, sending replies in the order of their requests.
//!
//! Owns listeners, the connection loop and back-pressure. Understands nothing but the length of a frame: what is inside is
//! for `api/`, which a connection is tied to when it is accepted (and not before, so that several brokers can share a port).
//!
//! **Invariants:** replies leave in the order of their requests; a connection has at most [`OUTSTANDING_MAX`] requests under
//! way and reads no further until one is answered; no more bytes of unfinished frames are held than the budget allows; an
//! idle connection owns no buffer.

mod budget;
mod connection;
mod incoming;
mod listener;

pub use budget::Budget;
pub use connection::OUTSTANDING_MAX;
// No interface: `fuzz/` feeds it streams that are cut into any pieces.
#[doc(hidden)]
pub use incoming::{Incoming, ReceiveError, Received};
pub use listener::{AcceptLimits, ListenError, Server, SharedLimits};
