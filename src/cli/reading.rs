//! Which records a verb reads: topics and partitions, from where, to where.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::failure::Failure;
use super::place::{Place, PlaceRange, resolve};
use super::signals::Signals;
use super::topic::known_topics;
use crate::client::{
    Cluster, Fetched, Fetcher, FetcherOptions, ListedOffset, OffsetQuery, Span, Spans,
};
use crate::model::{Offset, PartitionId};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    /// Topics, all of which have to be there.
    pub(super) topics: &'a [String],
    /// Only these partitions; all if there are none.
    pub(super) partitions: &'a [i32],
    /// From where, to where; from the start if nothing is said.
    pub(super) range: Option<PlaceRange>,
    /// Stop at the end of what is there, also if the range ends later.
    pub(super) to_end: bool,
    /// Leave out records of open and aborted transactions.
    pub(super) read_committed: bool,
}

impl Reading<'_> {
    pub(super) fn fetcher_options(&self) -> FetcherOptions {
        FetcherOptions { read_committed: self.read_committed, ..FetcherOptions::default() }
    }

    /// The offsets of each partition from which and to which it is read.
    pub(super) async fn spans(&self, cluster: &Cluster) -> Result<Spans, Failure> {
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let metadata = known_topics(cluster, &names).await?;
        let mut chosen = Vec::new();
        for topic in &metadata.topics {
            let all = topic.partitions.iter().map(|partition| partition.index);
            let wanted = |index: &PartitionId| {
                self.partitions.is_empty() || self.partitions.contains(&index.0)
            };
            chosen.extend(all.filter(wanted).map(|index| (topic.name.clone(), index)));
            for index in self.partitions {
                metadata.leader_of(&topic.name, PartitionId(*index))?;
            }
        }
        let range = self.range.unwrap_or(PlaceRange { from: Place::Start, until: None });
        let from = resolve(cluster, &chosen, range.from).await?;
        let starts = resolve(cluster, &chosen, Place::Start).await?;
        let ends = resolve(cluster, &chosen, Place::End).await?;
        // Behind an open transaction nothing can be read, for who knows how long.
        let readable_ends = match self.read_committed {
            true => committed_ends(cluster, &chosen).await?,
            false => ends.clone(),
        };
        let until = match range.until {
            Some(Place::End) => readable_ends.clone(),
            Some(place) => resolve(cluster, &chosen, place).await?,
            None => BTreeMap::new(),
        };
        // A number before the first record or behind the last one means the nearest that is there.
        let span = |(partition, from): ((String, PartitionId), Offset)| {
            let start = starts.get(&partition).copied().unwrap_or(from);
            let end = ends.get(&partition).copied().unwrap_or(from);
            let readable_end = readable_ends.get(&partition).copied().filter(|_| self.to_end);
            let until = until.get(&partition).copied();
            let until = until.into_iter().chain(readable_end).min();
            let span = Span { from: from.clamp(start, end.max(start)), until };
            (partition, span)
        };
        Ok(from.into_iter().map(span).collect())
    }

    /// Gives all that is there to `take`, with the offset at which its partition ends, until all partitions have ended, or a
    /// signal ends it: the exit code says which.
    pub(super) async fn read(
        &self,
        cluster: &Cluster,
        mut spans: Spans,
        mut take: impl AsyncFnMut(&Fetched, Option<Offset>) -> Result<(), Failure>,
    ) -> Result<ExitCode, Failure> {
        // What has nothing to give is done before it begins.
        spans.retain(|_, span| span.until.is_none_or(|until| span.from < until));
        let mut open = spans.clone();
        let mut fetcher = Fetcher::new(cluster.clone(), spans, self.fetcher_options());
        let mut signals = Signals::listen()?;
        while !open.is_empty() {
            let fetched = tokio::select! {
                fetched = fetcher.next() => fetched?,
                exit = signals.next() => return Ok(exit),
            };
            let key = (fetched.topic.clone(), fetched.partition);
            let until = open.get(&key).and_then(|span| span.until);
            take(&fetched, until).await?;
            if until.is_some_and(|until| fetched.next >= until) {
                open.remove(&key);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the records of decided transactions end.
async fn committed_ends(
    cluster: &Cluster,
    partitions: &[(String, PartitionId)],
) -> Result<BTreeMap<(String, PartitionId), Offset>, Failure> {
    let queries: Vec<_> = partitions
        .iter()
        .map(|(topic, index)| (topic.clone(), *index, OffsetQuery::LatestCommitted))
        .collect();
    let listed = cluster.list_offsets(&queries).await?;
    let end =
        |(partition, listed): (_, ListedOffset)| (partition, listed.offset.unwrap_or_default());
    Ok(listed.into_iter().map(end).collect())
}

/// How many offsets these spans have that end.
pub(super) fn offsets_in(spans: &Spans) -> u64 {
    let length = |span: &Span| span.until.map_or(0, |until| until.since(span.from).max(0));
    spans.values().map(length).map(i64::cast_unsigned).sum()
}
