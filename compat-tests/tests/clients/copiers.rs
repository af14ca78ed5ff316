//! Apache Kafka's TransactionalMessageCopier, two at a time, while the broker is killed by signal 9, and so are the copiers
//! where nobody waits for the end of their session.
//!
//! A copier reads a partition and writes what it read, with its offsets, in transactions of which it aborts some by chance. At the
//! end the committed output is the input: nothing lost, nothing twice, in the order of each partition. A copier that is done before
//! its time to be killed, since the other was waited for, gets more to copy.
//! `OTTLA_COMPAT_SEED` repeats the points of the kills, counted in the transactions that a copier has told of.

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::lasting_tool;
use ottla_compat_tests::program::Program;
use ottla_compat_tests::{Client, ClientKind, Record, Server, ServerKind, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use crate::create;
use crate::transactions::{CommittedReader, PATIENCE, consumer};

const INPUT: &str = "input";
const OUTPUT: &str = "output";
const COPIERS: i32 = 2;
/// Written at a time, to each partition.
const RECORDS: usize = 6000;
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
    let mut input = Input::new(&server)?;
    for partition in 0..COPIERS {
        input.write(partition, RECORDS)?;
    }
    let mut copiers: Vec<Program> =
        (0..COPIERS).map(|number| start(&server, mode, number)).collect::<Result<_>>()?;
    for turn in turns(kind) {
        let (Turn::Broker(number) | Turn::Copier(number)) = *turn;
        let copier = &mut copiers[index(number)?];
        let transactions = chance.random_range(2..30);
        if !copies(copier, transactions)? {
            if !kill_copiers {
                break;
            }
            copier.finish()?;
            input.write(number, RECORDS)?;
            *copier = start(&server, mode, number)?;
            ensure!(copies(copier, transactions)?, "it did not copy all of its input");
        }
        match turn {
            Turn::Broker(_) => {
                server.kill()?;
                server.restart()?;
            }
            Turn::Copier(_) if kill_copiers => {
                copier.kill()?;
                *copier = start(&server, mode, number)?;
            }
            Turn::Copier(_) => {}
        }
    }
    for copier in &mut copiers {
        copier.finish().with_context(|| server.log())?;
    }
    ensure!(input.is_committed(server.bootstrap())?, "the copiers are done, their offsets are not");
    input.is_copied(server.bootstrap())
}

/// What the copiers read: the numbers from 0 on in each partition.
struct Input {
    client: Client,
    /// How many are in each partition.
    written: [usize; COPIERS as usize],
}

impl Input {
    fn new(server: &Server) -> Result<Self> {
        let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
        create(&mut client, INPUT, COPIERS, &[])?;
        create(&mut client, OUTPUT, COPIERS, &[])?;
        Ok(Self { client, written: [0; COPIERS as usize] })
    }

    fn write(&mut self, partition: i32, count: usize) -> Result<()> {
        let written = &mut self.written[index(partition)?];
        let numbers = *written..*written + count;
        let records: Vec<_> = numbers.map(|n| Record::new(partition, n.to_string())).collect();
        self.client.produce(INPUT, &records, ProduceOptions::default())?;
        *written += count;
        Ok(())
    }

    /// Whether the group has committed all of it.
    fn is_committed(&self, bootstrap: &str) -> Result<bool> {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(INPUT, 0, COPIERS - 1);
        let committed = consumer(bootstrap)?.committed_offsets(partitions, PATIENCE)?;
        for (each, written) in committed.elements().iter().zip(self.written) {
            if each.offset().to_raw() != Some(i64::try_from(written)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks whether the committed output is the input.
    fn is_copied(&self, bootstrap: &str) -> Result<()> {
        let all: usize = self.written.iter().sum();
        let mut output = CommittedReader::new(bootstrap, OUTPUT, COPIERS)?;
        wait_until("the output is there", || {
            output.read_some()?;
            Ok((output.records.len() >= all).then_some(()))
        })
        .with_context(|| format!("{} of {all} records", output.records.len()))?;
        output.read_to_the_end()?;
        for partition in 0..COPIERS {
            let written = self.written[index(partition)?];
            let found: Vec<_> =
                output.records.iter().filter(|record| record.partition == partition).collect();
            for (found, expected) in found.iter().zip(0..written) {
                ensure!(found.value == expected.to_string(), "{found:?} in place of {expected}");
            }
            ensure!(found.len() == written, "{} of {written}", found.len());
        }
        Ok(())
    }
}

fn index(partition: i32) -> Result<usize> {
    Ok(usize::try_from(partition)?)
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
    Broker(i32),
    Copier(i32),
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
