//! Where partitions end, for the lag of groups: by the logs of this broker, and by the leaders of partitions that it has no log of.
//!
//! A coordinator has no replica of most partitions that its groups read. Who leads them is asked with one ListOffsets each, all
//! side by side, and not for long: what is not known then has no lag.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::context::Services;
use super::overview::{GroupOverview, PartitionOverview, TopicOverview};
use crate::coordinator::UnreachableError;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId};
use crate::wire::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::{ListOffsetsRequest, ListOffsetsResponse, Text};

/// How long leaders may take to say where their partitions end.
const PATIENCE: Duration = Duration::from_secs(2);
/// The special timestamp that asks for the end.
const LATEST: i64 = -1;

/// The high watermarks of partitions, as far as they are known.
#[derive(Debug, Default)]
pub struct Ends(BTreeMap<(Text, PartitionId), Offset>);

/// What is asked of one leader, by topic.
type Question = BTreeMap<Text, Vec<ListOffsetsPartition>>;

impl Ends {
    /// How far a group is behind that goes on from `committed`; none if it is not known where the partition ends.
    #[must_use]
    pub fn lag(&self, topic: &Text, partition: PartitionId, committed: Offset) -> Option<i64> {
        let end = self.0.get(&(topic.clone(), partition))?;
        Some((end.0 - committed.0).max(0))
    }
}

impl Services {
    /// Where the partitions end in which groups have committed offsets.
    pub async fn ends(&self, topics: &[TopicOverview], groups: &[GroupOverview]) -> Ends {
        let known: BTreeMap<&str, &[PartitionOverview]> =
            topics.iter().map(|topic| (topic.name.as_str(), &*topic.partitions)).collect();
        let committed: BTreeSet<(&Text, PartitionId)> = groups
            .iter()
            .flat_map(|group| &group.offsets)
            .map(|(topic, partition, _)| (topic, *partition))
            .collect();
        let mut ends = Ends::default();
        let mut questions: BTreeMap<BrokerId, Question> = BTreeMap::new();
        for (topic, index) in committed {
            let partitions = known.get(topic.as_str()).copied().unwrap_or_default();
            let place = partitions.binary_search_by_key(&index, |partition| partition.index);
            let Some(partition) = place.ok().and_then(|at| partitions.get(at)) else { continue };
            match (partition.log, partition.leader) {
                (Some(log), _) => {
                    ends.0.insert((topic.clone(), index), log.ends.high_watermark);
                }
                (None, Some(leader)) if self.others.is_other(leader) => {
                    let of_leader = questions.entry(leader).or_default();
                    of_leader.entry(topic.clone()).or_default().push(ListOffsetsPartition {
                        partition_index: index,
                        current_leader_epoch: LeaderEpoch::UNKNOWN,
                        timestamp: LATEST,
                    });
                }
                (None, _) => {}
            }
        }
        for answer in self.ask_leaders(questions).await {
            for topic in answer.topics {
                let found = topic.partitions.iter().filter(|it| it.error_code == ErrorCode::None);
                ends.0
                    .extend(found.map(|it| ((topic.name.clone(), it.partition_index), it.offset)));
            }
        }
        ends
    }

    /// Asks leaders, each in a task of its own, and gives what those have answered who did so in time.
    async fn ask_leaders(
        &self,
        questions: BTreeMap<BrokerId, Question>,
    ) -> Vec<ListOffsetsResponse> {
        let deadline = self.env.steady.now().plus(PATIENCE);
        let (sender, mut inbox) = mpsc::channel(questions.len().max(1));
        for (leader, question) in questions {
            let (env, others) = (self.env.clone(), Arc::clone(&self.others));
            let sender = sender.clone();
            self.env.tasks.spawn("ends", async move {
                let asked = async {
                    let asked = others.ask(leader, &request(question)).await?;
                    asked.answer().await
                };
                let answer: Result<Result<_, UnreachableError>, _> = tokio::select! {
                    answer = env.steady.timeout_at(deadline, asked) => answer,
                    () = env.tasks.cancelled() => return,
                };
                match answer {
                    // Who has asked may be gone.
                    Ok(Ok(answer)) => drop(sender.send(answer).await),
                    Ok(Err(error)) => {
                        tracing::debug!(%leader, %error, "it is not known where partitions end");
                    }
                    Err(error) => {
                        tracing::debug!(%leader, %error, "it is not known where partitions end");
                    }
                }
            });
        }
        drop(sender);
        let mut answers = Vec::new();
        while let Some(answer) = inbox.recv().await {
            answers.push(answer);
        }
        answers
    }
}

fn request(question: Question) -> ListOffsetsRequest {
    let topic = |(name, partitions)| ListOffsetsTopic { name, partitions };
    ListOffsetsRequest {
        replica_id: BrokerId(-1),
        isolation_level: 0,
        topics: question.into_iter().map(topic).collect(),
        timeout_ms: i32::try_from(PATIENCE.as_millis()).unwrap_or(i32::MAX),
    }
}
