//! The answering side: other nodes come to the controller's listener, say who they are, and ask. Clients of Kafka that come
//! there are passed on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openraft::Snapshot;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use tokio::io::{AsyncWriteExt as _, BufReader, ReadHalf};
use tokio::sync::{mpsc, oneshot};

use super::frames::{self, Ask, Head, Hello, Told, VERSION, Welcome};
use super::peer::{Target, write_all};
use super::quorum::{Running, Seat, read_index};
use super::voters;
use crate::controller::QuorumError;
use crate::controller::raft_log::Node;
use crate::env::{BoxStream, Listener, preceded};

/// Answers that wait to be written.
const QUEUE: usize = 256;
/// After an accept that failed, as with no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long whoever connects may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(30);
/// How long a node may take to say whether it is there.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// Accepts other nodes until the broker stops.
pub(super) async fn accept(seat: Arc<Seat>, listener: Listener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = seat.env.tasks.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                let seat = Arc::clone(&seat);
                let env = seat.env.clone();
                env.tasks.spawn("connection of a node", serve(seat, stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a node");
                seat.env.steady.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(seat: Arc<Seat>, stream: BoxStream) {
    let env = seat.env.clone();
    let served = tokio::select! {
        served = receive(seat, stream) => served,
        () = env.tasks.cancelled() => Ok(()),
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of a node has ended");
    }
}

/// Finds out whether a node has come or a client.
async fn receive(seat: Arc<Seat>, mut stream: BoxStream) -> io::Result<()> {
    let deadline = seat.env.steady.now().plus(HELLO_PATIENCE);
    let first = async {
        let Some(head) = Head::read(&mut stream).await? else { return Ok(None) };
        if !head.opens() {
            return Ok(Some((head, None)));
        }
        let hello = frames::read_hello(&mut stream, head).await?;
        Ok::<_, io::Error>(Some((head, Some(hello))))
    };
    let first = seat.env.steady.timeout_at(deadline, first).await;
    match first.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
        None => {}
        Some((_, Some(hello))) => converse(seat, stream, hello).await?,
        Some((head, None)) => {
            let peer = stream.peer_address();
            let stream = preceded(head.bytes(), stream);
            let passed_on = seat.clients.as_ref().map(|clients| clients.try_send(stream));
            if !matches!(passed_on, Some(Ok(()))) {
                tracing::info!(%peer, "closed a connection: no client is served at this address now");
            }
        }
    }
    Ok(())
}

/// Greets, and answers until the other side closes. Questions are answered as they are ready, not in their order.
async fn converse(seat: Arc<Seat>, stream: BoxStream, hello: Hello) -> io::Result<()> {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    if let Err(reason) = fits(&seat, &hello) {
        tracing::warn!(from = %hello.from.broker, %reason, "a node is refused");
        return write.write_all(&frames::write(0, &Welcome::Refused(reason))).await;
    }
    let welcome = Welcome::Here(seat.standing());
    write.write_all(&frames::write(0, &welcome)).await?;
    let (answers, queue) = mpsc::channel(QUEUE);
    seat.connections.fetch_add(1, Ordering::Relaxed);
    let ended = tokio::select! {
        ended = answer_all(&seat, &hello, &mut read, &answers) => ended,
        ended = write_all(write, queue) => ended,
    };
    seat.connections.fetch_sub(1, Ordering::Relaxed);
    seat.lose(hello.from.broker, hello.from.incarnation);
    ended
}

/// Whether a node is one of ours, and means us.
fn fits(seat: &Seat, hello: &Hello) -> Result<(), String> {
    if hello.version != VERSION {
        return Err(format!("it speaks version {}, not {VERSION}", hello.version));
    }
    if let (Some(theirs), Some(ours)) = (&hello.cluster_id, &*seat.cluster_id.borrow())
        && theirs != ours
    {
        return Err(format!("it is of cluster {theirs}, not {ours}"));
    }
    match hello.to {
        Some(meant) if meant != seat.own.raft_id => {
            Err(format!("node {} has another raft id than {meant}", seat.own.broker))
        }
        Some(_) | None => Ok(()),
    }
}

async fn answer_all(
    seat: &Arc<Seat>,
    hello: &Hello,
    read: &mut BufReader<ReadHalf<BoxStream>>,
    answers: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    while let Some((number, ask)) = frames::read::<Ask>(read).await? {
        let (seat, answers) = (Arc::clone(seat), answers.clone());
        if let Ask::Heartbeat(beat) = ask {
            seat.hear(beat, hello.from.incarnation);
            let told = Told::Heard { session_left: seat.session_left(beat) };
            drop(answers.send(frames::write(number, &told)).await);
            continue;
        }
        let env = seat.env.clone();
        env.tasks.spawn("answer to a node", async move {
            let told = tokio::select! {
                told = answer(&seat, ask) => told,
                () = seat.env.tasks.cancelled() => return,
            };
            // The connection may have ended meanwhile.
            drop(answers.send(frames::write(number, &told)).await);
        });
    }
    Ok(())
}

pub(super) async fn answer(seat: &Seat, ask: Ask) -> Told {
    match ask {
        Ask::Standing => return Told::Standing(seat.standing()),
        Ask::Status if seat.leads() => return Told::Status(seat.status()),
        Ask::Status => return Told::NotLeader,
        Ask::Prepare { cluster_id } => return prepare(seat, cluster_id).await,
        Ask::Propose(commands) => {
            return match seat.propose(commands, true).await {
                Ok(proposed) => {
                    Told::Proposed { index: proposed.index, outcomes: proposed.outcomes }
                }
                Err(QuorumError::NoLeader) => Told::NotLeader,
                Err(_) => Told::Unknown,
            };
        }
        // A node that has only just started leads nothing.
        Ask::ReadIndex | Ask::Join { .. } | Ask::ChangeVoters(_) if seat.running().is_none() => {
            return Told::NotLeader;
        }
        Ask::ReadIndex
        | Ask::Join { .. }
        | Ask::ChangeVoters(_)
        | Ask::Append(_)
        | Ask::Vote(_)
        | Ask::Snapshot { .. }
        | Ask::Heartbeat(_) => {}
    }
    let Some(running) = seat.running() else {
        return Told::Refused("it has not found its cluster yet".to_owned());
    };
    answer_for_raft(seat, &running, ask).await
}

async fn answer_for_raft(seat: &Seat, running: &Running, ask: Ask) -> Told {
    let refused = |error: String| Told::Refused(error);
    match ask {
        Ask::Append(rpc) => match running.raft.append_entries(rpc).await {
            Ok(response) => Told::Append(response),
            Err(error) => refused(error.to_string()),
        },
        Ask::Vote(rpc) => match running.raft.vote(rpc).await {
            Ok(response) => Told::Vote(response),
            Err(error) => refused(error.to_string()),
        },
        Ask::Snapshot { vote, meta, image } => {
            let snapshot = Snapshot { meta, snapshot: Box::new(Bytes::from(image)) };
            match running.raft.install_full_snapshot(vote, snapshot).await {
                Ok(response) => Told::Snapshot(response.vote),
                Err(error) => refused(error.to_string()),
            }
        }
        Ask::ReadIndex => match read_index(&seat.env, running).await {
            Some(index) => Told::Index(index),
            None => Told::NotLeader,
        },
        Ask::ChangeVoters(change) => voters::change(seat, running, change).await,
        Ask::Join { raft_id, node } => admit(seat, running, raft_id, node).await,
        Ask::Standing | Ask::Status | Ask::Prepare { .. } | Ask::Propose(_) | Ask::Heartbeat(_) => {
            unreachable!("answered before")
        }
    }
}

/// Has the node take a cluster's id, if it has none yet.
async fn prepare(seat: &Seat, cluster_id: String) -> Told {
    let (reply, done) = oneshot::channel();
    let known = seat.cluster_id.borrow().clone();
    if let Some(known) = known {
        return match known == cluster_id && !seat.standing().has_begun() {
            true => Told::Done,
            false => Told::Refused(format!("it is of cluster {known} already")),
        };
    }
    if seat.prepares.send((cluster_id, reply)).await.is_err() {
        return Told::Refused("it has found its cluster".to_owned());
    }
    match done.await {
        Ok(Ok(())) => Told::Done,
        Ok(Err(reason)) => Told::Refused(reason),
        Err(_) => Told::Refused("it is stopping".to_owned()),
    }
}

/// Takes a node in as a member that listens. A node that had the same broker id before gives way to it, unless it lives.
async fn admit(seat: &Seat, running: &Running, raft_id: u64, node: Node) -> Told {
    if running.leader() != Some(seat.own.raft_id) {
        return Told::NotLeader;
    }
    let metrics = running.raft.metrics().borrow().clone();
    let before = namesakes(&metrics, raft_id, &node);
    for (other, namesake) in &before {
        if *other == seat.own.raft_id || lives(seat, *other, namesake).await {
            return Told::Refused(format!(
                "node.id {} is in use by another node, which is running",
                node.broker_id
            ));
        }
    }
    let known = metrics.membership_config.membership().get_node(&raft_id);
    let change = match known {
        Some(known) if *known == node => None,
        Some(_) => Some(ChangeMembers::SetNodes([(raft_id, node.clone())].into())),
        None => Some(ChangeMembers::AddNodes([(raft_id, node.clone())].into())),
    };
    let has_changed = change.is_some() || !before.is_empty();
    if let Some(change) = change
        && let Err(error) = running.raft.change_membership(change, true).await
    {
        return not_changed(&error);
    }
    let mut voters: std::collections::BTreeSet<u64> =
        metrics.membership_config.membership().voter_ids().collect();
    for (other, _) in before {
        let change = if voters.remove(&other) {
            voters.insert(raft_id);
            ChangeMembers::ReplaceAllVoters(voters.clone())
        } else {
            ChangeMembers::RemoveNodes([other].into())
        };
        if let Err(error) = running.raft.change_membership(change, false).await {
            return not_changed(&error);
        }
    }
    if has_changed {
        tracing::info!(node = %node.broker_id, "a node has joined");
    }
    Told::Done
}

fn not_changed(error: &RaftError<u64, ClientWriteError<u64, Node>>) -> Told {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Told::NotLeader,
        // Another change is under way: who asked asks again.
        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) => Told::NotLeader,
        RaftError::Fatal(error) => Told::Refused(error.to_string()),
    }
}

/// The members with another raft id that have the broker id of a node.
fn namesakes(metrics: &RaftMetrics<u64, Node>, raft_id: u64, node: &Node) -> Vec<(u64, Node)> {
    let members = metrics.membership_config.membership();
    let same = |(id, other): &(&u64, &Node)| **id != raft_id && other.broker_id == node.broker_id;
    members.nodes().filter(same).map(|(id, node)| (*id, node.clone())).collect()
}

/// Whether a member answers at the address that it gave itself.
async fn lives(seat: &Seat, raft_id: u64, node: &Node) -> bool {
    let Some(address) = node.endpoints.first().cloned() else { return false };
    let peer = seat.peers.new_peer(Target { raft_id: Some(raft_id), ..Target::at(address) });
    peer.standing(PROBE_PATIENCE).await.is_ok()
}
