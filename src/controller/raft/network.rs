//! Raft's messages to the other nodes, over their [`Peer`]s.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, RaftNetwork, RaftNetworkFactory, Snapshot, Vote};

use super::Types;
use super::frames::{Ask, Told};
use super::peer::Peer;
use super::quorum::Peers;
use crate::controller::raft_log::Node;

/// How long a node is left alone that could not be reached.
const BACK_OFF: Duration = Duration::from_millis(50);
/// How long a snapshot may take.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(60);

/// Said of an answer to something else than was asked.
const UNFITTING: &str = "it has answered something else";

type RpcError = RPCError<u64, Node, RaftError<u64>>;

/// Where openraft gets its ways to other nodes from.
#[derive(Debug)]
pub(super) struct Network(pub(super) Arc<Peers>);

/// The way to one node.
#[derive(Debug)]
pub(super) struct Way {
    raft_id: u64,
    peer: Arc<Peer>,
    all: Arc<Peers>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, node: &Node) -> Way {
        Way { raft_id: target, peer: self.0.member(target, node), all: Arc::clone(&self.0) }
    }
}

fn unreachable(error: impl std::fmt::Display) -> Unreachable {
    Unreachable::new(&AnyError::error(error))
}

impl Way {
    async fn ask(&self, ask: Ask, patience: Duration) -> Result<Told, Unreachable> {
        match self.peer.ask(&ask, patience).await {
            Ok(Told::Refused(reason)) => Err(unreachable(reason)),
            Ok(told) => Ok(told),
            Err(error) => Err(unreachable(error)),
        }
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError> {
        let asked = self.all.env.steady.now();
        let told = self.ask(Ask::Append(rpc), option.hard_ttl()).await?;
        let Told::Append(response) = told else { return Err(unreachable(UNFITTING).into()) };
        if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
            self.all.backing.note(self.raft_id, asked);
        }
        Ok(response)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError> {
        let told = self.ask(Ask::Vote(rpc), option.hard_ttl()).await?;
        let Told::Vote(response) = told else { return Err(unreachable(UNFITTING).into()) };
        Ok(response)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let image = String::from_utf8_lossy(&snapshot.snapshot).into_owned();
        let ask = Ask::Snapshot { vote, meta: snapshot.meta, image };
        let told = tokio::select! {
            told = self.ask(ask, SNAPSHOT_PATIENCE) => told?,
            closed = cancel => return Err(closed.into()),
        };
        let Told::Snapshot(vote) = told else { return Err(unreachable(UNFITTING).into()) };
        Ok(SnapshotResponse::new(vote))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACK_OFF))
    }
}
