//! `ottla cluster elect`: partitions get their preferred leaders back, or a leader although none is in sync (KIP-460).

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::failure::{Failure, PARTIAL, REFUSED};
use crate::cli::output::{Table, list, or_dash};
use crate::cli::scope::Scope;
use crate::cli::topic::change::timeout_ms;
use crate::cli::topic::{Common, known_topics};
use crate::client::{Cluster, Metadata, Partition, Refusal, Target, Topics, check};
use crate::model::{BrokerId, ErrorCode, PartitionId};
use crate::wire::messages::{ElectLeadersRequest, WireTopicName, elect_leaders_request};
use crate::wire::{ApiKey, Text};

/// Which partitions, and how.
#[derive(Debug, Args)]
pub(super) struct ElectArguments {
    /// This topic, or some of its partitions: TOPIC or TOPIC:0,1
    #[arg(short = 't', long = "topic", value_name = "TOPIC[:P,…]", value_parser = Scope::parse, required_unless_present = "all")]
    topics: Vec<Scope>,
    /// All partitions that need it
    #[arg(long, conflicts_with = "topics")]
    all: bool,
    /// Make the first replica the leader, if it is in sync; this is what is done unless --unclean is given
    #[arg(long, conflicts_with = "unclean")]
    preferred: bool,
    /// Give partitions that have no leader one that is not in sync: records that only others have are lost. Shows what it would
    /// do unless --execute is given
    #[arg(long)]
    unclean: bool,
    /// Do it
    #[arg(long, requires = "unclean")]
    execute: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What becomes of one partition.
struct Election {
    topic: String,
    partition: PartitionId,
    old: Option<BrokerId>,
    new: Option<BrokerId>,
    result: Outcome,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Elected,
    NotNeeded,
    /// One of these would be elected.
    Would(Vec<BrokerId>),
    Refused(Box<Refusal>),
}

/// How long the brokers may take to tell of a new leader once it is elected.
const NEWS_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(20);
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) fn run(arguments: &ElectArguments) -> Result<ExitCode, Failure> {
    arguments.common.connection.run(async |cluster| {
        let before = metadata(&cluster, arguments).await?;
        let elections = match arguments.unclean && !arguments.execute {
            true => foreseen(&before, arguments),
            false => {
                let mut elections = elect(&cluster, arguments, &before).await?;
                await_news(&cluster, arguments, &mut elections).await?;
                elections
            }
        };
        print(arguments, &elections)
    })
}

async fn metadata(cluster: &Cluster, arguments: &ElectArguments) -> Result<Metadata, Failure> {
    if arguments.all {
        return Ok(cluster.metadata(Topics::All).await?);
    }
    let mut names: Vec<&str> = arguments.topics.iter().map(|scope| scope.topic.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    known_topics(cluster, &names).await
}

fn of<'a>(metadata: &'a Metadata, topic: &str, index: PartitionId) -> Option<&'a Partition> {
    metadata.topic(topic)?.partitions.iter().find(|partition| partition.index == index)
}

/// What an unclean election would do. Of all partitions only those are told that have no leader.
fn foreseen(metadata: &Metadata, arguments: &ElectArguments) -> Vec<Election> {
    let all = metadata.topics.iter().flat_map(|topic| {
        let indexes = topic.partitions.iter().map(|partition| partition.index);
        indexes.map(|index| (topic.name.clone(), index))
    });
    let scoped = arguments.topics.iter().flat_map(|scope| scope.partitions(metadata));
    let partitions: Vec<_> = if arguments.all { all.collect() } else { scoped.collect() };
    let foresee = |(topic, index): (String, PartitionId)| {
        let known = of(metadata, &topic, index);
        let old = known.and_then(|partition| partition.leader);
        let result = match known {
            None => Outcome::Refused(Box::new(unknown(&topic, index))),
            Some(_) if old.is_some() => Outcome::NotNeeded,
            Some(partition) => {
                let alive = |id: &&BrokerId| !partition.offline.contains(id);
                Outcome::Would(partition.replicas.iter().filter(alive).copied().collect())
            }
        };
        Election { topic, partition: index, old, new: old, result }
    };
    let foreseen = partitions.into_iter().map(foresee);
    foreseen.filter(|it| !(arguments.all && it.result == Outcome::NotNeeded)).collect()
}

fn unknown(topic: &str, index: PartitionId) -> Refusal {
    let subject = format!("{topic} partition {index}");
    let code = ErrorCode::UnknownTopicOrPartition;
    Refusal { code, subject, message: None, api: ApiKey::Metadata, asked: None }
}

async fn elect(
    cluster: &Cluster,
    arguments: &ElectArguments,
    before: &Metadata,
) -> Result<Vec<Election>, Failure> {
    let topics = arguments.topics.iter().map(|scope| {
        let partitions = scope.partitions(before).into_iter().map(|(_, index)| index.0);
        elect_leaders_request::TopicPartitions::default()
            .with_topic(WireTopicName(Text::from_string(scope.topic.clone())))
            .with_partitions(partitions.collect())
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(if arguments.unclean { UNCLEAN } else { PREFERRED })
        .with_topic_partitions((!arguments.all).then(|| topics.collect()))
        .with_timeout_ms(timeout_ms(cluster));
    let response = cluster.request(Target::Controller, &request).await?;
    check(ApiKey::ElectLeaders, response.error_code, || "the election".to_owned(), None)?;
    let mut elections = Vec::new();
    for topic in &response.replica_election_results {
        for told in &topic.partition_result {
            let (name, partition) = (topic.topic.0.to_string(), PartitionId(told.partition_id));
            let subject = || format!("{name} partition {partition}");
            let message = told.error_message.as_deref();
            let result = match check(ApiKey::ElectLeaders, told.error_code, subject, message) {
                Ok(()) => Outcome::Elected,
                Err(refusal) if refusal.code == ErrorCode::ElectionNotNeeded => Outcome::NotNeeded,
                Err(refusal) => Outcome::Refused(Box::new(refusal)),
            };
            if arguments.all && result == Outcome::NotNeeded {
                continue;
            }
            let old = of(before, &name, partition).and_then(|partition| partition.leader);
            elections.push(Election { topic: name, partition, old, new: old, result });
        }
    }
    elections.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(elections)
}

/// Asks who leads now: brokers hear of it a moment later than the one that saw to it.
async fn await_news(
    cluster: &Cluster,
    arguments: &ElectArguments,
    elections: &mut [Election],
) -> Result<(), Failure> {
    let steady = &cluster.env().steady;
    let deadline = steady.now().plus(NEWS_PATIENCE.min(cluster.options().operation_timeout));
    let elected = |election: &&mut Election| election.result == Outcome::Elected;
    let mut names: Vec<String> =
        elections.iter_mut().filter(elected).map(|election| election.topic.clone()).collect();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    while !names.is_empty() {
        let now = cluster.metadata(Topics::Named(&names)).await?;
        let mut is_known = true;
        for election in elections.iter_mut().filter(elected) {
            let Some(partition) = of(&now, &election.topic, election.partition) else { continue };
            election.new = partition.leader;
            is_known &= match arguments.unclean {
                true => partition.leader.is_some(),
                false => partition.leader == partition.replicas.first().copied(),
            };
        }
        if is_known || steady.now() >= deadline {
            break;
        }
        steady.sleep(PAUSE).await;
    }
    Ok(())
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Elected => f.write_str("elected"),
            Self::NotNeeded => f.write_str("not needed"),
            Self::Would(replicas) if replicas.is_empty() => f.write_str("no replica is alive"),
            Self::Would(replicas) => write!(f, "would elect one of {}", list(replicas)),
            Self::Refused(refusal) => {
                let code = refusal.code;
                write!(f, "{} ({})", code.name(), code.code())?;
                refusal.message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
            }
        }
    }
}

fn print(arguments: &ElectArguments, elections: &[Election]) -> Result<ExitCode, Failure> {
    let mut table = Table::new(&["TOPIC", "PARTITION", "OLD-LEADER", "NEW-LEADER", "RESULT"]);
    let mut rows = Vec::new();
    for election in elections {
        table.row([
            election.topic.clone(),
            election.partition.to_string(),
            or_dash(election.old),
            or_dash(election.new),
            election.result.to_string(),
        ]);
        rows.push(value_of(election));
    }
    let is_dry = arguments.unclean && !arguments.execute;
    let election = if arguments.unclean { "unclean" } else { "preferred" };
    let json = json!({ "election": election, "executed": !is_dry, "partitions": rows });
    let text = match elections.is_empty() {
        true => "no partition needs an election\n".to_owned(),
        false => arguments.common.output.draw(&table),
    };
    arguments.common.output.print_told(&text, &table, &json)?;
    let would = |election: &Election| matches!(election.result, Outcome::Would(_));
    if elections.iter().any(would) {
        note!(
            "nothing was changed: add --execute to do it; records that only others have are lost"
        );
    }
    let refused = |election: &&Election| matches!(election.result, Outcome::Refused(_));
    Ok(match elections.iter().filter(refused).count() {
        0 => ExitCode::SUCCESS,
        all if all == elections.len() => ExitCode::from(REFUSED),
        _ => ExitCode::from(PARTIAL),
    })
}

fn value_of(election: &Election) -> Value {
    let (result, error) = match &election.result {
        Outcome::Elected => ("elected", None),
        Outcome::NotNeeded => ("not_needed", None),
        Outcome::Would(_) => ("would_elect", None),
        Outcome::Refused(refusal) => ("refused", Some(refusal)),
    };
    let candidates: Option<Vec<i32>> = match &election.result {
        Outcome::Would(replicas) => Some(replicas.iter().map(|id| id.0).collect()),
        Outcome::Elected | Outcome::NotNeeded | Outcome::Refused(_) => None,
    };
    json!({
        "topic": election.topic, "partition": election.partition.0,
        "old_leader": election.old.map(|id| id.0), "new_leader": election.new.map(|id| id.0),
        "result": result, "candidates": candidates,
        "error": error.map(|refusal| json!({
            "name": refusal.code.name(), "code": refusal.code.code(), "message": refusal.message,
        })),
    })
}
