//! What the members of a group told, and what must hold of it.
//!
//! A tenure is the time that a member owned a partition, from one callback to another, with the offsets that it read.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, ensure};

use crate::group_member::{Event, News};

/// A time that a member owned a partition.
#[derive(Debug)]
struct Tenure {
    member: &'static str,
    partition: i32,
    /// Milliseconds since 1970, as the member had it; none if it does not tell.
    from: Option<u64>,
    until: Option<u64>,
    is_over: bool,
    /// Put out for being slow: the member learns of the end later than the next owner of its beginning.
    was_put_out: bool,
    offsets: Vec<i64>,
}

impl fmt::Display for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member, partition, from, until, is_over, offsets, .. } = self;
        let until =
            if *is_over { until.map_or("?".into(), |at| at.to_string()) } else { "now".into() };
        write!(f, "{member} owned {partition} from {from:?} until {until}: ")?;
        match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => write!(f, "{first} to {last}, {} records", offsets.len()),
            _ => f.write_str("no records"),
        }
    }
}

/// Committed at or before a time.
#[derive(Clone, Copy, Debug)]
struct Commit {
    at: u64,
    partition: i32,
    offset: i64,
}

/// Everything so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    tenures: Vec<Tenure>,
    /// What members had an answer for.
    commits: Vec<Commit>,
    /// What somebody else has seen.
    seen: Vec<Commit>,
    failures: Vec<(&'static str, String)>,
}

impl History {
    pub(crate) fn add(&mut self, member: &'static str, event: Event) -> Result<()> {
        match event.news {
            News::Owns(partitions) => self.owns(member, event.at, &partitions),
            News::Records(records) => {
                for (partition, offset) in records {
                    let tenure = self
                        .tenures
                        .iter_mut()
                        .rfind(|tenure| tenure.member == member && tenure.partition == partition)
                        .with_context(|| format!("{member} never owned {partition}"))?;
                    tenure.offsets.push(offset);
                }
            }
            News::Committed(offsets) => {
                let at = event.at.context("a commit without time")?;
                self.commits.extend(offsets.iter().map(|&(partition, offset)| Commit {
                    at,
                    partition,
                    offset,
                }));
            }
            News::Failed(failure) => self.failures.push((member, failure)),
        }
        Ok(())
    }

    fn owns(&mut self, member: &'static str, at: Option<u64>, partitions: &[i32]) {
        let open = |tenure: &&mut Tenure| tenure.member == member && !tenure.is_over;
        for tenure in
            self.tenures.iter_mut().filter(open).filter(|t| !partitions.contains(&t.partition))
        {
            (tenure.is_over, tenure.until) = (true, at);
        }
        let before = self.owned(member);
        for &partition in partitions.iter().filter(|partition| !before.contains(*partition)) {
            self.tenures.push(Tenure {
                member,
                partition,
                from: at,
                until: None,
                is_over: false,
                was_put_out: false,
                offsets: Vec::new(),
            });
        }
    }

    /// The member is no more since `at`.
    pub(crate) fn ended(&mut self, member: &'static str, at: u64) {
        self.owns(member, Some(at), &[]);
    }

    /// The group goes on without the member, which does not know.
    pub(crate) fn put_out(&mut self, member: &'static str) {
        for tenure in self.tenures.iter_mut().filter(|t| t.member == member && !t.is_over) {
            tenure.was_put_out = true;
        }
    }

    /// Somebody who asked before `at` and has the answer now was told that `offset` is committed.
    pub(crate) fn saw(&mut self, at: u64, partition: i32, offset: i64) -> Result<()> {
        let of = |commit: &&Commit| commit.partition == partition;
        let before = self.seen.iter().filter(of).map(|commit| commit.offset).max();
        let acknowledged =
            self.commits.iter().filter(of).filter(|c| c.at < at).map(|c| c.offset).max();
        ensure!(
            before.max(acknowledged) <= Some(offset),
            "partition {partition}: committed is {offset}, was {before:?}; {acknowledged:?} was acknowledged"
        );
        if before < Some(offset) {
            self.seen.push(Commit { at: now(), partition, offset });
        }
        Ok(())
    }

    /// What is known to be committed of a partition.
    pub(crate) fn committed(&self, partition: i32) -> Option<i64> {
        self.seen.iter().filter(|c| c.partition == partition).map(|c| c.offset).max()
    }

    pub(crate) fn owned(&self, member: &str) -> BTreeSet<i32> {
        let open = self.tenures.iter().filter(|tenure| tenure.member == member && !tenure.is_over);
        open.map(|tenure| tenure.partition).collect()
    }

    /// How often a member was given a partition.
    pub(crate) fn tenures(&self, member: &str) -> usize {
        self.tenures.iter().filter(|tenure| tenure.member == member).count()
    }

    /// How often a member was told that something failed.
    pub(crate) fn failures(&self, member: &str) -> usize {
        self.failures.iter().filter(|(of, _)| *of == member).count()
    }

    /// The offsets of a partition that were read, by anybody or by one member.
    pub(crate) fn read(&self, partition: i32, member: Option<&str>) -> BTreeSet<i64> {
        let tenures = self.tenures.iter().filter(|tenure| {
            tenure.partition == partition && member.is_none_or(|name| tenure.member == name)
        });
        tenures.flat_map(|tenure| &tenure.offsets).copied().collect()
    }

    /// Asserts what must hold of all that was told.
    pub(crate) fn check(&self) -> Result<()> {
        for tenure in &self.tenures {
            self.check_offsets(tenure).with_context(|| tenure.to_string())?;
        }
        self.check_exclusive()?;
        for partition in 0..=self.tenures.iter().map(|t| t.partition).max().unwrap_or_default() {
            let mut commits: Vec<_> =
                self.commits.iter().filter(|c| c.partition == partition).collect();
            commits.sort_by_key(|commit| commit.at);
            ensure!(
                commits.is_sorted_by_key(|commit| (commit.at, commit.offset)),
                "commits of partition {partition} went back: {commits:?}"
            );
        }
        Ok(())
    }

    /// A tenure begins where those before it had committed, or later, and skips nothing.
    fn check_offsets(&self, tenure: &Tenure) -> Result<()> {
        ensure!(tenure.offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "not in order");
        let (Some(from), Some(first)) = (tenure.from, tenure.offsets.first()) else {
            return Ok(());
        };
        let committed = self
            .commits
            .iter()
            .chain(&self.seen)
            .filter(|commit| commit.partition == tenure.partition && commit.at < from)
            .map(|commit| commit.offset)
            .max();
        ensure!(committed <= Some(*first), "{committed:?} was committed before");
        Ok(())
    }

    /// No two members own a partition at a time.
    fn check_exclusive(&self) -> Result<()> {
        let mut timed: Vec<_> = self
            .tenures
            .iter()
            .filter(|tenure| !tenure.was_put_out)
            .filter_map(|tenure| Some((tenure.partition, tenure.from?, tenure)))
            .collect();
        timed.sort_by_key(|&(partition, from, _)| (partition, from));
        for pair in timed.windows(2) {
            let [(partition, _, first), (next_partition, from, second)] = pair else { continue };
            ensure!(
                partition != next_partition || first.until.is_some_and(|until| until <= *from),
                "two own partition {partition}:\n{first}\n{second}"
            );
        }
        Ok(())
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tenure in &self.tenures {
            writeln!(f, "{tenure}")?;
        }
        for (member, failure) in &self.failures {
            writeln!(f, "{member} failed: {failure}")?;
        }
        let partitions: BTreeSet<_> = self.seen.iter().map(|commit| commit.partition).collect();
        for partition in partitions {
            writeln!(f, "committed of {partition}: {:?}", self.committed(partition))?;
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
