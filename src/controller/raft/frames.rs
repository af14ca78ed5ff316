//! The private frames between nodes: what is asked, what is answered, and how both stand on the wire.
//!
//! ```text
//! 4 bytes   length of what follows, big-endian
//! 8 bytes   number of the question; its answer has the same
//! n bytes   JSON: a Hello or Welcome first, then Ask one way and Told the other
//! ```
//! They are nothing of Kafka's: they go over the controller's listener, beside what tools ask a controller. The first frame of each
//! side says the version and who it is; after that a side that does not fit has closed the connection.
//!
//! The question that opens a connection has number 0. In the same place a request of Kafka has its API's key and version and its
//! correlation id, which are all 0 in none that a controller answers: so the two are told apart.

use std::io;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{SnapshotMeta, Vote};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Types;
use crate::cluster::{Command, Outcome, Refusal};
use crate::controller::raft_log::{Membership, Node};
use crate::controller::{QuorumStatus, VoterChange};
use crate::model::{BrokerId, UuidText};

/// The version of all frames. It rises with each change that the other side has to know of.
pub(super) const VERSION: u16 = 2;
/// The largest frame that is taken: a snapshot of a very large cluster.
const FRAME_BYTES_MAX: u32 = 1 << 30;
/// The largest first frame: a stranger's word is not taken for more.
const HELLO_BYTES_MAX: u32 = 1 << 16;
/// As much of a frame gets its memory before its bytes have come.
const FRAME_BYTES_TRUSTED: usize = 1 << 20;

/// Who opens a connection, and whom it means.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hello {
    /// [`VERSION`].
    pub(super) version: u16,
    /// The cluster of who asks; none if it has not found one.
    pub(super) cluster_id: Option<String>,
    /// Who asks.
    pub(super) from: Identity,
    /// The raft id that is meant; none if any node at this address will do.
    pub(super) to: Option<u64>,
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Identity {
    /// Its `node.id`.
    pub(super) broker: BrokerId,
    /// Its raft id.
    pub(super) raft_id: u64,
    /// The id of the directory with its metadata log.
    pub(super) directory: UuidText,
    /// Drawn at its start.
    pub(super) incarnation: UuidText,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Welcome {
    /// Questions may be asked.
    Here(Standing),
    /// They may not; the reason is for a person.
    Refused(String),
}

/// How a node stands with its cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    /// Who it is.
    pub(super) identity: Identity,
    /// Its cluster; none if it has not found one.
    pub(super) cluster_id: Option<String>,
    /// Who votes, as far as it knows; empty if it has no entry in its log.
    pub(super) membership: Membership,
    /// Where it is reached, `host:port`, if it is a controller.
    #[serde(default)]
    pub(super) controller: Option<String>,
}

impl Standing {
    /// Whether it knows a cluster that has begun.
    pub(super) fn has_begun(&self) -> bool {
        !self.membership.voters.is_empty()
    }
}

/// What one node asks another.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Ask {
    /// How it stands. Also whether it is there.
    Standing,
    /// To take this id for its cluster's, durably, because the one who asks is about to begin it.
    Prepare { cluster_id: String },
    /// Raft's own.
    Append(AppendEntriesRequest<Types>),
    /// Raft's own.
    Vote(VoteRequest<u64>),
    /// Raft's own, whole.
    Snapshot { vote: Vote<u64>, meta: SnapshotMeta<u64, Node>, image: String },
    /// To have commands agreed on.
    Propose(Vec<Command>),
    /// Up to where everything is agreed on.
    ReadIndex,
    /// To become a member.
    Join { raft_id: u64, node: Node },
    /// A broker lives.
    Heartbeat(Heartbeat),
    /// Who votes and listens, and how far each is.
    Status,
    /// To change the voters.
    ChangeVoters(VoterChange),
}

/// A broker lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Heartbeat {
    /// The broker.
    pub(super) broker: BrokerId,
    /// Its epoch.
    pub(super) epoch: i64,
    /// Up to where it has applied the log.
    pub(super) applied: u64,
    /// Whether it is ready to serve.
    pub(super) ready: bool,
}

/// What a node answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Told {
    /// How it stands.
    Standing(Standing),
    /// It is done.
    Done,
    /// To [`Ask::Append`].
    Append(AppendEntriesResponse<u64>),
    /// To [`Ask::Vote`].
    Vote(VoteResponse<u64>),
    /// To [`Ask::Snapshot`]: its vote.
    Snapshot(Vote<u64>),
    /// The commands were applied.
    Proposed { index: u64, outcomes: Vec<Outcome> },
    /// The index that was asked for.
    Index(u64),
    /// Another node leads. What was asked was not done.
    NotLeader,
    /// It cannot be said whether what was asked will be done.
    Unknown,
    /// It was not done; the reason is for a person.
    Refused(String),
    /// To [`Ask::Status`].
    Status(QuorumStatus),
    /// The voters are not changed.
    VotersRefused(Refusal),
    /// To [`Ask::Heartbeat`]: if this node leads and counts the broker as living, for how long it does so, from when it was asked.
    Heard { session_left: Option<Duration> },
}

/// Writes a frame.
pub(super) fn write(number: u64, message: &impl Serialize) -> Bytes {
    let mut frame = BytesMut::new().writer();
    frame.get_mut().put_u32(0);
    frame.get_mut().put_u64(number);
    serde_json::to_writer(&mut frame, message).expect("messages have only string keys");
    let mut frame = frame.into_inner();
    let length = u32::try_from(frame.len() - 4).expect("a frame is limited to far less than 4 GiB");
    if let Some(head) = frame.first_chunk_mut::<4>() {
        *head = length.to_be_bytes();
    }
    frame.freeze()
}

/// What stands before the message of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    length: u32,
    number: u64,
}

impl Head {
    /// Reads it; none at the end of the stream.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let length = match stream.read_u32().await {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self { length, number: stream.read_u64().await? }))
    }

    /// Whether it begins the conversation of a node, and not one of a client of Kafka.
    pub(super) const fn opens(self) -> bool {
        self.number == 0
    }

    /// Its bytes.
    pub(super) fn bytes(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(12);
        bytes.put_u32(self.length);
        bytes.put_u64(self.number);
        bytes.freeze()
    }
}

/// Reads a frame; none at the end of the stream.
pub(super) async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(u64, T)>> {
    let Some(head) = Head::read(stream).await? else { return Ok(None) };
    Ok(Some((head.number, read_message(stream, head, FRAME_BYTES_MAX).await?)))
}

/// Reads the message that opens a conversation.
pub(super) async fn read_hello(
    stream: &mut (impl AsyncRead + Unpin),
    head: Head,
) -> io::Result<Hello> {
    read_message(stream, head, HELLO_BYTES_MAX).await
}

async fn read_message<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    Head { length, .. }: Head,
    length_max: u32,
) -> io::Result<T> {
    if !(8..=length_max).contains(&length) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes"),
        ));
    }
    let length = length as usize - 8;
    let mut body = BytesMut::with_capacity(length.min(FRAME_BYTES_TRUSTED));
    let mut rest = stream.take(length as u64);
    while body.len() < length {
        if rest.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(serde_json::from_slice(&body)?)
}
