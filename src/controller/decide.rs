//! Decisions that are made once, by the proposer, and written into commands. Pure.

use crate::cluster::{Refusal, refuse};
use crate::model::{BrokerId, ErrorCode};

/// Chooses replicas for `partitions` new partitions among `brokers` (distinct, sorted): leaders go round beginning with
/// number `first`, followers are the brokers after the leader.
///
/// # Errors
/// A [`Refusal`] if there are fewer brokers than replicas, or no replica is asked for.
pub fn place(
    brokers: &[BrokerId],
    partitions: usize,
    replication_factor: i16,
    first: usize,
) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let replicas = usize::try_from(replication_factor).unwrap_or(0);
    let code = ErrorCode::InvalidReplicationFactor;
    if replicas == 0 {
        return refuse(code, "the replication factor must be above 0");
    }
    if replicas > brokers.len() {
        let count = brokers.len();
        let message = format!(
            "the replication factor is {replication_factor}, but the cluster has {count} broker(s)"
        );
        return refuse(code, message);
    }
    let round = |start: usize| brokers.iter().cycle().skip(start % brokers.len()).copied();
    Ok((0..partitions).map(|partition| round(first + partition).take(replicas).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaders_go_round() {
        let brokers = [1, 2, 5].map(BrokerId);
        let placed = place(&brokers, 4, 2, 4).unwrap();
        let expected = [[2, 5], [5, 1], [1, 2], [2, 5]].map(|replicas| replicas.map(BrokerId));
        assert_eq!(placed, expected);
    }

    #[test]
    fn too_few_brokers_are_refused() {
        for factor in [-1, 0, 2] {
            let refusal = place(&[BrokerId(1)], 1, factor, 0).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor, "{factor}");
        }
        assert!(place(&[], 1, 1, 0).is_err());
    }
}
