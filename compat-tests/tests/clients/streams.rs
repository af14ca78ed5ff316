//! Kafka Streams counts words: with `exactly_once_v2` while one of two instances is killed by signal 9, and with its default
//! guarantee.
//!
//! Streams writes every count, so of a word that was read 17 times the committed output is 1, 2, … 17: a lost word, one that
//! is counted twice and a count that is written twice all show.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use libtest_mimic::Trial;
use ottla_compat_tests::client::ProduceOptions;
use ottla_compat_tests::java::Library;
use ottla_compat_tests::program::Program;
use ottla_compat_tests::{Client, ClientKind, Record, Server, ServerKind, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::matrix::{self, Cell};
use crate::transactions::CommittedReader;
use crate::{create, matrix_trial};

const INPUT: &str = "lines";
const OUTPUT: &str = "counts";
const PARTITIONS: i32 = 3;
const WORDS: [&str; 8] = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen"];
const WORDS_PER_LINE: usize = 5;
/// How many lines are written at a time.
const LINES: usize = 1000;

/// A trial for each guarantee.
pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn(ServerKind) -> Result<()>;
    let tests: [(&str, Test); 2] =
        [(matrix::COUNTS, at_least_once), (matrix::COUNTS_ONCE, exactly_once)];
    let kind = ClientKind::KafkaStreams;
    let is_chosen = matrix::chosen().any(|chosen| chosen == kind);
    let chosen = tests.into_iter().filter(|_| is_chosen);
    chosen
        .map(|(row, test)| {
            let name = format!("streams::{row}");
            matrix_trial(name, Cell::new(kind, row), move || test(ServerKind::from_environment()?))
        })
        .collect()
}

/// Two instances, of which one is killed amid its work.
fn exactly_once(kind: ServerKind) -> Result<()> {
    let mut count = WordCount::new(kind, "exactly_once_v2")?;
    let victim = count.start()?;
    count.write_lines()?;
    count.all_is_counted()?;
    let survivor = count.start()?;
    count.runs(survivor)?;
    count.write_lines()?;
    // Half of them: the kill comes amid transactions of both.
    count.is_counted(LINES * WORDS_PER_LINE / 2)?;
    count.kill(victim)?;
    count.write_lines()?;
    count.all_is_counted()?;
    count.close(survivor)?;
    count.check()
}

/// One instance after the other.
fn at_least_once(kind: ServerKind) -> Result<()> {
    let mut count = WordCount::new(kind, "at_least_once")?;
    for _ in 0..2 {
        let instance = count.start()?;
        count.write_lines()?;
        count.all_is_counted()?;
        count.close(instance)?;
    }
    count.check()
}

/// An application on a broker of its own.
struct WordCount {
    server: Server,
    guarantee: &'static str,
    /// Each with its own directory, as on machines of their own.
    instances: Vec<(Program, TempDir)>,
    client: Client,
    chance: StdRng,
    /// How often each word was written.
    written: BTreeMap<String, u64>,
    output: CommittedReader,
}

impl WordCount {
    fn new(kind: ServerKind, guarantee: &'static str) -> Result<Self> {
        let server = Server::start(
            kind,
            &["offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3"],
        )?;
        let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
        create(&mut client, INPUT, PARTITIONS, &[])?;
        create(&mut client, OUTPUT, PARTITIONS, &[])?;
        let output = CommittedReader::new(server.bootstrap(), OUTPUT, PARTITIONS)?;
        let (chance, instances, written) = (StdRng::seed_from_u64(1), Vec::new(), BTreeMap::new());
        Ok(Self { server, guarantee, instances, client, chance, written, output })
    }

    /// Starts an instance; gives its number.
    fn start(&mut self) -> Result<usize> {
        let state = TempDir::new()?;
        let mut command = Library::STREAMS.class("WordCount")?;
        command.args([self.server.bootstrap(), INPUT, OUTPUT, self.guarantee]).arg(state.path());
        self.instances.push((Program::start(&mut command)?, state));
        Ok(self.instances.len() - 1)
    }

    /// Waits until an instance has its part of the work.
    fn runs(&mut self, instance: usize) -> Result<()> {
        let (program, _) = &mut self.instances[instance];
        while let Some(state) = program.next_line()? {
            if state == "RUNNING" {
                return Ok(());
            }
        }
        Err(anyhow!("it ended: {}", program.complaints()))
    }

    fn write_lines(&mut self) -> Result<()> {
        let mut lines = Vec::new();
        for number in 0..LINES {
            let mut line = Vec::new();
            for _ in 0..WORDS_PER_LINE {
                let word = WORDS[self.chance.random_range(0..WORDS.len())];
                *self.written.entry(word.to_owned()).or_default() += 1;
                line.push(word);
            }
            lines.push(Record::new(i32::try_from(number)? % PARTITIONS, line.join(" ")));
        }
        self.client.produce(INPUT, &lines, ProduceOptions::default())?;
        Ok(())
    }

    fn all_is_counted(&mut self) -> Result<()> {
        let total: u64 = self.written.values().sum();
        let missing = usize::try_from(total)?.saturating_sub(self.output.records.len());
        self.is_counted(missing)
    }

    /// Waits until `more` counts are there.
    fn is_counted(&mut self, more: usize) -> Result<()> {
        let target = self.output.records.len() + more;
        let counted = wait_until("words are counted", || {
            self.output.read_some()?;
            Ok((self.output.records.len() >= target).then_some(()))
        });
        counted.with_context(|| self.state(target))
    }

    fn state(&mut self, target: usize) -> String {
        let mut said = format!("{} counts of {target} are there", self.output.records.len());
        for (program, _) in &mut self.instances {
            said.push_str(&format!("\n{:?} {}", program.lines_so_far(), program.complaints()));
        }
        format!("{said}\n{}", self.server.log())
    }

    fn kill(&mut self, instance: usize) -> Result<()> {
        self.instances[instance].0.kill()
    }

    fn close(&mut self, instance: usize) -> Result<()> {
        let (program, _) = &mut self.instances[instance];
        program.close_input();
        program.finish()?;
        Ok(())
    }

    /// Of each word every count is there once and in order, to the end of the output.
    fn check(&mut self) -> Result<()> {
        self.output.read_to_the_end()?;
        let mut found: BTreeMap<String, u64> = BTreeMap::new();
        for record in &self.output.records {
            let key = record.key.clone().context("a count without word")?;
            let before = found.entry(key).or_default();
            let count: u64 = record.value.parse()?;
            ensure!(count == *before + 1, "{count} after {before}: {record:?}");
            *before = count;
        }
        ensure!(found == self.written, "{found:?} in place of {:?}", self.written);
        println!("streams: {} counts, {}", self.output.records.len(), self.guarantee);
        Ok(())
    }
}
