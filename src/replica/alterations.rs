//! Asking the controller for other replicas in sync: one task, which puts what waits into one proposal.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::manager::ReplicaManager;
use crate::cluster::{Command, Outcome};
use crate::model::{TopicIdPartition, WithCauses};

/// Partitions of one proposal.
const AT_ONCE_MAX: usize = 1000;
/// How long to wait after a proposal of which nobody knows what became of it.
const PAUSE: Duration = Duration::from_millis(50);

/// Who agrees on commands of this broker, for the cluster.
pub trait Proposer: fmt::Debug + Send + Sync {
    /// Proposes commands; gives what each gave, or in words why that is not known.
    fn propose(
        &self,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Outcome>, String>> + Send + '_>>;
}

impl ReplicaManager {
    /// Asks for what partitions wish, until the broker stops. The wish is looked at when it is proposed, so that it is never an
    /// old one; one whose fate is not known is proposed again (R12).
    pub(super) async fn run_alterations(self: Arc<Self>, proposer: Arc<dyn Proposer>) {
        loop {
            let asked = tokio::select! {
                asked = self.peers.next_wishes(AT_ONCE_MAX) => asked,
                () = self.env.tasks.cancelled() => return,
            };
            let unknown = self.alter(&asked, &*proposer).await;
            if unknown.is_empty() {
                continue;
            }
            unknown.into_iter().for_each(|id| self.peers.ask_for(id));
            tokio::select! {
                () = self.env.steady.sleep(PAUSE) => {}
                () = self.env.tasks.cancelled() => return,
            }
        }
    }

    /// Proposes what partitions wish now. Gives those of which is not known what became of it.
    async fn alter(
        &self,
        asked: &BTreeSet<TopicIdPartition>,
        proposer: &dyn Proposer,
    ) -> Vec<TopicIdPartition> {
        let wish = |id: &TopicIdPartition| {
            let partition = self.partition(id.topic, id.partition)?;
            let alteration = partition.alteration()?;
            Some((partition, alteration))
        };
        let wished: Vec<_> = asked.iter().filter_map(wish).collect();
        if wished.is_empty() {
            return Vec::new();
        }
        let commands = wished.iter().map(|(_, it)| it.command.clone()).collect();
        match proposer.propose(commands).await {
            Ok(outcomes) => {
                for ((partition, alteration), outcome) in wished.iter().zip(&outcomes) {
                    if let Err(error) = partition.altered(alteration, outcome) {
                        self.lead_failed(partition, &error);
                    }
                }
                Vec::new()
            }
            Err(error) => {
                tracing::debug!(%error, "a change of replicas in sync may have got lost");
                wished.iter().map(|(partition, _)| partition.id()).collect()
            }
        }
    }

    /// The log of a partition could not be written when its leader changed.
    pub(super) fn lead_failed(&self, partition: &super::Partition, error: &std::io::Error) {
        tracing::error!(topic = %partition.topic(), partition = %partition.id().partition,
            error = %WithCauses(error), "cannot enter a leader epoch");
        if let Ok(log) = partition.log() {
            self.report_failure(&log, error);
        }
    }

    /// Looks now and then for followers that lag.
    pub(super) async fn run_shrinking(self: Arc<Self>) {
        loop {
            // As often as Kafka does.
            let pause = self.peers.lag_max() / 2;
            tokio::select! {
                () = self.env.steady.sleep(pause.max(Duration::from_millis(1))) => {}
                () = self.env.tasks.cancelled() => return,
            }
            for partition in self.all() {
                if partition.leads_others() {
                    partition.drop_laggards();
                }
            }
        }
    }
}
