//! Partitions go back to their preferred leaders, some time after these are back.
//!
//! Source: `QuorumController.maybeBalancePartitionLeaders` of Apache Kafka.

use std::sync::Arc;
use std::time::Duration;

use super::quorum::{RaftQuorum, Seat};
use crate::cluster::Applied;
use crate::controller::{Quorum as _, preferred_elections};

/// How many partitions change their leader at a time (`QuorumController.MAX_ELECTIONS_PER_IMBALANCE`).
const ELECTIONS_MAX: usize = 1000;

/// Balances leaders again and again, for as long as this node decides.
pub(super) async fn balance(seat: Arc<Seat>, interval: Duration) {
    loop {
        tokio::select! {
            () = seat.env.steady.sleep(interval) => {}
            () = seat.env.tasks.cancelled() => return,
        }
        while seat.leads() {
            let elected = tokio::select! {
                elected = elect(&seat) => elected,
                () = seat.env.tasks.cancelled() => return,
            };
            if elected < ELECTIONS_MAX {
                break;
            }
        }
    }
}

/// Elects preferred leaders; gives how many there are now.
async fn elect(seat: &Arc<Seat>) -> usize {
    let commands = preferred_elections(&seat.image(), ELECTIONS_MAX);
    if commands.is_empty() {
        return 0;
    }
    let quorum = RaftQuorum { seat: Arc::clone(seat) };
    match quorum.propose(commands).await {
        Ok(proposed) => {
            let is_elected = |outcome: &&_| matches!(outcome, Ok(Applied::Partition(_)));
            let elected = proposed.outcomes.iter().filter(is_elected).count();
            tracing::info!(
                partitions = elected,
                "partitions are led by their preferred leaders again"
            );
            elected
        }
        Err(error) => {
            tracing::warn!(%error, "leaders are not balanced");
            0
        }
    }
}
