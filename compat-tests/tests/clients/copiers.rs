//! Apache Kafka's TransactionalMessageCopier, two at a time, while the broker is killed by signal 9, and so are the copiers
//! where nobody waits for the end of their session.
//!
//! A copier reads a partition and writes what it read, with its offsets, in transactions of which it aborts some by chance. At the
//! end the committed output is the input: nothing lost, nothing twice, in the order of each partition.
//! `OTTLA_COMPAT_SEED` repeats the points of the kills, counted in the transactions that a copier has told of.

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::lasting_tool;
use ottla_compat_tests::program::Program;
use ottla_compat_tests::{ClientKind, Record, Server, ServerKind, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use crate::create;
use crate::transactions::{CommittedReader, PATIENCE, consumer};

const INPUT: &str = "input";
const OUTPUT: &str = "output";
const COPIERS: i32 = 2;
const RECORDS: usize = 12_000;
/// Records of a transaction.
const TRANSACTION: &str = "20";
/// A copier that is started looks where its group was before it ends what its predecessor left open: it waits for this.
const TIMEOUT_MS: &str = "2000";

/// Each copier has a partition of its own.
pub(crate) fn with_a_partition_each(kind: ServerKind) -> Result<()> {
    copy(kind, &[], true)
}

/// The copiers are members of a group, and commit as such.
pub(crate) fn in_a_group(kind: ServerKind) -> Result<()> {
    copy(kind, &["--group-mode", "--use-group-metadata"], false)
}

fn copy(kind: ServerKind, mode: &[&str], kill_copiers: bool) -> Result<()> {
    let seed = match std::env::var("OTTLA_COMPAT_SEED") {
        Ok(seed) => seed.parse().context("OTTLA_COMPAT_SEED")?,
        Err(_) => rand::rng().random(),
    };
    copy_seeded(kind, mode, kill_copiers, StdRng::seed_from_u64(seed))
        .with_context(|| format!("OTTLA_COMPAT_SEED={seed}"))
}

fn copy_seeded(
    kind: ServerKind,
    mode: &[&str],
    kill_copiers: bool,
    mut chance: StdRng,
) -> Result<()> {
    let mut server = Server::start(
        kind,
        &[
            "offsets.topic.num.partitions=3",
            "transaction.state.log.num.partitions=3",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=500",
        ],
    )?;
    let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
    create(&mut client, INPUT, COPIERS, &[])?;
    create(&mut client, OUTPUT, COPIERS, &[])?;
    let records: Vec<_> = (0..RECORDS)
        .map(|n| Ok(Record::new(i32::try_from(n)? % COPIERS, n.to_string())))
        .collect::<Result<_>>()?;
    client.produce(INPUT, &records, ProduceOptions::default())?;

    let start = |server: &Server, number| start(server, mode, number);
    let mut copiers: Vec<Program> =
        (0..COPIERS).map(|number| start(&server, number)).collect::<Result<_>>()?;
    for turn in turns(kind) {
        let (Turn::Broker(number) | Turn::Copier(number)) = *turn;
        if !copies(&mut copiers[number], chance.random_range(2..30))? {
            ensure!(!kill_copiers, "a copier came to its end before its time to be killed");
            break;
        }
        match turn {
            Turn::Broker(_) => {
                server.kill()?;
                server.restart()?;
            }
            Turn::Copier(_) if kill_copiers => {
                copiers[number].kill()?;
                copiers[number] = start(&server, i32::try_from(number)?)?;
            }
            Turn::Copier(_) => {}
        }
    }
    for copier in &mut copiers {
        copier.finish().with_context(|| server.log())?;
    }
    ensure!(all_is_committed(server.bootstrap())?, "the copiers are done, their offsets are not");
    check(&server)
}

/// A copier; at its end all that was in its partitions at its start is copied.
fn start(server: &Server, mode: &[&str], number: i32) -> Result<Program> {
    let mut command = lasting_tool("TransactionalMessageCopier");
    command.args(["--broker-list", server.bootstrap(), "--input-topic", INPUT]);
    command.args(["--input-partition", &number.to_string(), "--output-topic", OUTPUT]);
    command.args(["--consumer-group", "g", "--transactional-id", &format!("copier-{number}")]);
    command.args(["--transaction-size", TRANSACTION, "--transaction-timeout", TIMEOUT_MS]);
    command.arg("--enable-random-aborts").args(mode);
    Program::start(&mut command)
}

/// What is killed next, when a copier has come on.
#[derive(Clone, Copy)]
enum Turn {
    Broker(usize),
    Copier(usize),
}

/// Apache Kafka takes seconds to start again, and is killed only to show that the test is fair.
fn turns(kind: ServerKind) -> &'static [Turn] {
    use Turn::{Broker, Copier};
    match kind {
        ServerKind::Ottla => {
            &[Copier(0), Broker(1), Copier(1), Broker(0), Copier(0), Broker(1), Copier(1)]
        }
        ServerKind::ApacheKafka => &[Copier(0), Copier(1), Broker(1), Copier(0), Copier(1)],
    }
}

/// Waits until a copier has made so many more transactions; false if it comes to its end before.
fn copies(copier: &mut Program, transactions: usize) -> Result<bool> {
    copier.lines_so_far();
    let mut last = None;
    let mut made = 0;
    while made < transactions {
        let Some(line) = copier.next_line()? else {
            ensure!(copier.complaints().is_empty(), "{}", copier.complaints());
            return Ok(false);
        };
        let told: serde_json::Value = serde_json::from_str(&line).context(line)?;
        let copied = told["totalProcessed"].as_u64();
        made += usize::from(copied > last);
        last = copied;
    }
    Ok(true)
}

fn all_is_committed(bootstrap: &str) -> Result<bool> {
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_range(INPUT, 0, COPIERS - 1);
    let committed = consumer(bootstrap)?.committed_offsets(partitions, PATIENCE)?;
    let ends: Vec<_> = committed.elements().iter().map(|each| each.offset().to_raw()).collect();
    let end = i64::try_from(RECORDS)? / i64::from(COPIERS);
    Ok(ends.iter().all(|offset| *offset == Some(end)))
}

fn check(server: &Server) -> Result<()> {
    let mut output = CommittedReader::new(server.bootstrap(), OUTPUT, COPIERS)?;
    wait_until("the output is there", || {
        output.read_some()?;
        Ok((output.records.len() >= RECORDS).then_some(()))
    })
    .with_context(|| format!("{} of {RECORDS} records", output.records.len()))?;
    output.read_to_the_end()?;
    for partition in 0..COPIERS {
        let first = usize::try_from(partition)?;
        let step = usize::try_from(COPIERS)?;
        let expected: Vec<_> = (first..RECORDS).step_by(step).map(|n| n.to_string()).collect();
        let found: Vec<_> =
            output.records.iter().filter(|record| record.partition == partition).collect();
        for (found, expected) in found.iter().zip(&expected) {
            ensure!(found.value == *expected, "{found:?} in place of {expected}");
        }
        ensure!(found.len() == expected.len(), "{} of {}", found.len(), expected.len());
    }
    Ok(())
}
