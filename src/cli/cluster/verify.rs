//! `ottla cluster verify`: the replicas of partitions, read from each broker and compared.
//!
//! Of each partition the batches from the leader's first offset up to its high watermark are fetched from every replica, as any
//! consumer can (KIP-392): their checksums are checked, and offsets, leader epoch and checksum of each batch are held against the
//! leader's. What lies behind the high watermark is not there for clients, and is not looked at; indexes neither. Compacted topics
//! are cleaned by each replica for itself: of them only the high watermarks are compared.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::configs::{ConfigSetting, describe_configs};
use crate::cli::failure::Failure;
use crate::cli::output::{Table, count, or_dash, print_text};
use crate::cli::progress::{Progress, bar};
use crate::cli::topic::{Common, known_topics};
use crate::client::{ClientError, Cluster, OffsetQuery, Partition, Topic, Topics};
use crate::env::SteadyClock;
use crate::model::{BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionId, WithCauses};
use crate::record::{BatchError, scan};

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Names of topics [default: all]
    topics: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(arguments: &VerifyArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let names: Vec<&str> = arguments.topics.iter().map(String::as_str).collect();
        let metadata = match names.is_empty() {
            true => cluster.metadata(Topics::All).await?,
            false => known_topics(&cluster, &names).await?,
        };
        let all: usize = metadata.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut progress = Progress::new(&cluster.env().steady);
        let mut found = Vec::new();
        let mut done = 0;
        for topic in &metadata.topics {
            let is_compacted = is_compacted(&cluster, topic).await?;
            for partition in &topic.partitions {
                progress.show(|| {
                    format!("{} {} {}", bar(done, all as u64), topic.name, partition.index)
                });
                let mut known = partition.clone();
                let look = async |again: bool| {
                    if again {
                        known = current(&cluster, &topic.name, &known).await?;
                    }
                    verify(&cluster, topic, &known, is_compacted).await
                };
                found.extend(settled(&cluster.env().steady, look).await?);
                done += 1;
            }
        }
        progress.clear();
        print(arguments, all, &found)
    })
}

async fn is_compacted(cluster: &Cluster, topic: &Topic) -> Result<bool, Failure> {
    let configs = describe_configs(cluster, ConfigSetting::TOPIC, &topic.name).await?;
    let policy = configs.iter().find(|config| config.name == "cleanup.policy");
    let policy = policy.and_then(ConfigSetting::value).unwrap_or_default();
    Ok(policy.split(',').any(|policy| policy.trim() == "compact"))
}

/// What is known of one replica.
struct Replica {
    topic: String,
    partition: PartitionId,
    broker: BrokerId,
    high_watermark: Option<Offset>,
    /// How many batches were compared with the leader's; of the leader itself, how many were read.
    batches: u64,
    finding: Finding,
}

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// All that was compared is alike.
    Same,
    /// Only the high watermarks were compared, and they are alike.
    SameEnd,
    /// It does not have the last offsets yet.
    Behind(i64),
    /// From this offset on it has something else than the leader.
    Differs(Offset),
    /// At this offset is no sound batch.
    Damaged(Offset, String),
    /// The broker says that it has no replica: it does not know yet that it has one, or has it no more.
    Away(String),
    /// It could not be read.
    Unread(String),
}

impl Finding {
    const fn is_good(&self) -> bool {
        matches!(self, Self::Same | Self::SameEnd)
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::SameEnd => f.write_str("same end"),
            Self::Behind(offsets) => write!(f, "behind by {offsets}"),
            Self::Differs(offset) => write!(f, "differs at offset {offset}"),
            Self::Damaged(offset, why) => write!(f, "damaged at offset {offset}: {why}"),
            Self::Away(why) | Self::Unread(why) => write!(f, "not read: {why}"),
        }
    }
}

fn print(
    arguments: &VerifyArguments,
    partitions: usize,
    found: &[Replica],
) -> Result<ExitCode, Failure> {
    let batches: u64 = found.iter().map(|replica| replica.batches).sum();
    let is_good = found.iter().all(|replica| replica.finding.is_good());
    let mut table =
        Table::new(&["TOPIC", "PARTITION", "REPLICA", "HIGH-WATERMARK", "BATCHES", "FINDING"]);
    for replica in found.iter().filter(|replica| !replica.finding.is_good()) {
        table.row([
            replica.topic.clone(),
            replica.partition.to_string(),
            replica.broker.to_string(),
            or_dash(replica.high_watermark),
            replica.batches.to_string(),
            replica.finding.to_string(),
        ]);
    }
    if arguments.common.output.is_json() {
        let value = |replica: &Replica| -> Value {
            json!({
                "topic": replica.topic, "partition": replica.partition.0,
                "broker": replica.broker.0, "high_watermark": replica.high_watermark.map(|end| end.0),
                "batches": replica.batches, "good": replica.finding.is_good(),
                "finding": replica.finding.to_string(),
            })
        };
        let replicas: Vec<_> = found.iter().map(value).collect();
        arguments.common.output.print_value(
            &json!({ "same": is_good, "partitions": partitions, "replicas": replicas }),
        )?;
    } else if is_good {
        let ends = found.iter().filter(|replica| replica.finding == Finding::SameEnd).count();
        let ends = match ends {
            0 => String::new(),
            ends => format!("; only high watermarks compared: {ends}"),
        };
        print_text(&format!(
            "same: {}, {} (batches read: {batches}{ends})\n",
            count(partitions, "partition"),
            count(found.len(), "replica"),
        ))?;
    } else {
        print_text(&table.to_string())?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks, and looks again for a while as long as replicas are not where they were said to be: they may be on their way.
async fn settled(
    steady: &SteadyClock,
    mut look: impl AsyncFnMut(bool) -> Result<Vec<Replica>, Failure>,
) -> Result<Vec<Replica>, Failure> {
    let deadline = steady.now().plus(MOVE_PATIENCE);
    let mut found = look(false).await?;
    while found.iter().any(|replica| matches!(replica.finding, Finding::Away(_)))
        && steady.now() < deadline
    {
        steady.sleep(PAUSE).await;
        found = look(true).await?;
    }
    Ok(found)
}

/// Where the replicas of a partition are now; where they were if nobody knows the partition any more.
async fn current(cluster: &Cluster, topic: &str, known: &Partition) -> Result<Partition, Failure> {
    let metadata = cluster.metadata(Topics::Named(&[topic])).await?;
    let partitions = metadata.topic(topic).into_iter().flat_map(|topic| &topic.partitions);
    let now = partitions.into_iter().find(|partition| partition.index == known.index);
    Ok(now.unwrap_or(known).clone())
}

/// Reads all replicas of a partition side by side.
async fn verify(
    cluster: &Cluster,
    topic: &Topic,
    partition: &Partition,
    is_compacted: bool,
) -> Result<Vec<Replica>, Failure> {
    let replica = |broker: BrokerId, finding| Replica {
        topic: topic.name.clone(),
        partition: partition.index,
        broker,
        high_watermark: None,
        batches: 0,
        finding,
    };
    let Some(leader) = partition.leader else {
        let finding = || Finding::Unread("the partition has no leader".to_owned());
        return Ok(partition.replicas.iter().map(|broker| replica(*broker, finding())).collect());
    };
    let query = (topic.name.clone(), partition.index, OffsetQuery::Earliest);
    let start = cluster.list_offsets(&[query]).await?;
    let start = start.values().next().and_then(|listed| listed.offset).unwrap_or_default();
    let reader = |broker| Reader {
        cluster,
        broker,
        topic: &topic.name,
        partition: partition.index,
        next: start,
        ready: VecDeque::new(),
        high_watermark: None,
    };
    let mut leader_reader = reader(leader);
    let (end, mut findings) = match leader_reader.watermark_at(Offset(0)).await {
        Ok(end) => (end, vec![replica(leader, Finding::Same)]),
        Err(finding) => return Ok(vec![replica(leader, finding)]),
    };
    let mut readers = vec![leader_reader];
    for broker in partition.replicas.iter().filter(|broker| **broker != leader) {
        let mut follower = reader(*broker);
        let finding = match follower.watermark_at(end).await {
            Ok(known) if known < end => Finding::Behind(end.since(known)),
            Ok(_) => Finding::Same,
            Err(finding) => finding,
        };
        findings.push(replica(*broker, finding));
        readers.push(follower);
    }
    if is_compacted {
        for replica in findings.iter_mut().filter(|replica| replica.finding == Finding::Same) {
            replica.finding = Finding::SameEnd;
        }
    } else {
        compare(&mut readers, end, &mut findings).await;
    }
    for (replica, reader) in findings.iter_mut().zip(&readers) {
        replica.high_watermark = reader.high_watermark;
    }
    Ok(findings)
}

/// Goes through the batches of the first reader, the leader's, up to `end`, and through those of the others beside it.
async fn compare(readers: &mut [Reader<'_>], end: Offset, replicas: &mut [Replica]) {
    let Some((leader, followers)) = readers.split_first_mut() else { return };
    let Some((leads, follow)) = replicas.split_first_mut() else { return };
    loop {
        let expected = match leader.batch(end).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(finding) => {
                leads.finding = finding;
                return;
            }
        };
        leads.batches += 1;
        for (reader, replica) in followers.iter_mut().zip(&mut *follow) {
            // Who is behind is compared as far as it goes.
            let known = reader.high_watermark.unwrap_or_default();
            let goes_on = matches!(replica.finding, Finding::Same | Finding::Behind(_));
            if !goes_on || expected.next > known {
                continue;
            }
            match reader.batch(end).await {
                Ok(Some(batch)) if batch == expected => replica.batches += 1,
                Ok(_) => replica.finding = Finding::Differs(expected.base),
                Err(finding) => replica.finding = finding,
            }
        }
    }
}

/// What tells batches apart. The checksum covers all but offset, length and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    base: Offset,
    next: Offset,
    epoch: LeaderEpoch,
    crc: u32,
}

/// Goes through the batches of one replica.
struct Reader<'a> {
    cluster: &'a Cluster,
    broker: BrokerId,
    topic: &'a str,
    partition: PartitionId,
    next: Offset,
    ready: VecDeque<Fingerprint>,
    high_watermark: Option<Offset>,
}

/// Between two questions for a watermark that is on its way.
const PAUSE: Duration = Duration::from_millis(20);
/// How long replicas may take to be where they are said to be.
const MOVE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a replica in sync may take to hear of a watermark: a follower asks its leader every half second at least.
const WATERMARK_PATIENCE: Duration = Duration::from_secs(2);

impl Reader<'_> {
    /// The high watermark of this replica, once it is at `wanted`, or when it does not get there.
    async fn watermark_at(&mut self, wanted: Offset) -> Result<Offset, Finding> {
        let steady = &self.cluster.env().steady;
        let deadline = steady.now().plus(WATERMARK_PATIENCE);
        loop {
            let known = self.fetch().await?;
            if known >= wanted || steady.now() >= deadline {
                return Ok(known);
            }
            steady.sleep_until(steady.now().plus(PAUSE)).await;
        }
    }

    /// The next batch that ends at or before `end`.
    async fn batch(&mut self, end: Offset) -> Result<Option<Fingerprint>, Finding> {
        while self.ready.is_empty() && self.next < end {
            let before = self.next;
            self.fetch().await?;
            if self.next == before {
                // Nothing is there where something has to be.
                return Ok(None);
            }
        }
        Ok(self.ready.pop_front_if(|batch| batch.next <= end))
    }

    /// Reads on; gives the high watermark.
    async fn fetch(&mut self) -> Result<Offset, Finding> {
        let read =
            self.cluster.read_replica(self.broker, self.topic, self.partition, self.next).await;
        let read = read.map_err(|error| self.unread(&error))?;
        self.high_watermark = Some(read.high_watermark);
        for batch in scan(&read.batches) {
            let batch = batch.map_err(|error| self.damaged(&error))?;
            let header = batch.header;
            header.check_crc(batch.bytes).map_err(|error| self.damaged(&error))?;
            if header.next_offset() <= self.next {
                continue;
            }
            self.next = header.next_offset();
            self.ready.push_back(Fingerprint {
                base: header.base_offset,
                next: self.next,
                epoch: header.partition_leader_epoch,
                crc: header.crc,
            });
        }
        Ok(read.high_watermark)
    }

    fn damaged(&self, error: &BatchError) -> Finding {
        Finding::Damaged(self.next, WithCauses(error).to_string())
    }

    fn unread(&self, error: &ClientError) -> Finding {
        let code = error.refusal().map(|refusal| refusal.code);
        match code {
            Some(ErrorCode::OffsetOutOfRange) => {
                Finding::Unread(format!("it does not have offset {}", self.next))
            }
            Some(ErrorCode::NotLeaderOrFollower) => Finding::Away(WithCauses(error).to_string()),
            _ => Finding::Unread(WithCauses(error).to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    fn replica(finding: Finding) -> Vec<Replica> {
        let (partition, broker) = (PartitionId(0), BrokerId(1));
        let topic = "t".to_owned();
        vec![Replica { topic, partition, broker, high_watermark: None, batches: 0, finding }]
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_that_it_has_no_replica_is_asked_again() {
        let steady = Env::in_memory().steady;
        let away = || Finding::Away("NOT_LEADER_OR_FOLLOWER (6)".to_owned());
        let mut answers = vec![replica(Finding::Same), replica(away())];
        let mut asked = Vec::new();
        let found = settled(&steady, async |again| {
            asked.push(again);
            Ok(answers.pop().unwrap())
        });
        assert_eq!(found.await.unwrap()[0].finding, Finding::Same);
        assert_eq!(asked, [false, true]);
        // What stays away is told, and what cannot be read for another reason at once.
        let found = settled(&steady, async |_| Ok(replica(away()))).await.unwrap();
        assert_eq!(found[0].finding, away());
        let mut count = 0;
        let unread = settled(&steady, async |_| {
            count += 1;
            Ok(replica(Finding::Unread("gone".to_owned())))
        });
        assert!(unread.await.is_ok());
        assert_eq!(count, 1);
    }
}
