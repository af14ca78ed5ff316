//! How old what groups have not read yet is, for their lag in seconds.
//!
//! A record's time is found by its partition's index and the header of one batch, for each offset that a group is behind from, all in
//! one job away from the connections' threads. Only logs of this broker can be asked: nothing in the protocol tells the time
//! of an offset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::context::Services;
use super::ends::Ends;
use super::overview::{GroupOverview, TopicOverview};
use crate::model::{Offset, PartitionId, UnixMillis, WithCauses};
use crate::replica::Partition;
use crate::wire::Text;

/// Where a group goes on.
type Place = (Text, PartitionId, Offset);

/// When what comes next was written, as far as that is known.
#[derive(Debug)]
pub struct Unread {
    times: BTreeMap<Place, UnixMillis>,
    now: UnixMillis,
}

impl Unread {
    /// How old the record is that a group reads next which is `lag` records behind, in seconds; 0 if there is none. None if it is not
    /// known.
    #[must_use]
    pub fn age_seconds(
        &self,
        topic: &Text,
        partition: PartitionId,
        committed: Offset,
        lag: Option<i64>,
    ) -> Option<f64> {
        if lag? == 0 {
            return Some(0.0);
        }
        let written = self.times.get(&(topic.clone(), partition, committed))?;
        // Times are the producers': they may lie ahead.
        let millis = u32::try_from(self.now.millis_since(*written).max(0)).unwrap_or(u32::MAX);
        Some(f64::from(millis) / 1_000.0)
    }
}

impl Services {
    /// The times of what groups read next. `ends` are those of the same partitions.
    pub async fn unread(
        &self,
        topics: &[TopicOverview],
        groups: &[GroupOverview],
        ends: &Ends,
    ) -> Unread {
        let ids: BTreeMap<&str, _> =
            topics.iter().map(|topic| (topic.name.as_str(), topic.id)).collect();
        let places = groups.iter().flat_map(|group| &group.offsets);
        let behind: BTreeSet<&Place> = places
            .filter(|(topic, partition, offset)| {
                ends.lag(topic, *partition, *offset).is_some_and(|lag| lag > 0)
            })
            .collect();
        let behind: Vec<(Place, Arc<Partition>)> = behind
            .into_iter()
            .filter_map(|place| {
                let id = ids.get(place.0.as_str())?;
                Some((place.clone(), self.replicas.partition(*id, place.1)?))
            })
            .collect();
        let now = self.env.clock.now();
        if behind.is_empty() {
            return Unread { times: BTreeMap::new(), now };
        }
        let look = move || {
            let times = behind.into_iter();
            times
                .filter_map(|(place, partition)| Some((time_of(&partition, &place)?, place)))
                .map(|(time, place)| (place, time))
                .collect()
        };
        Unread { times: self.env.tasks.spawn_blocking("unread", look).await, now }
    }
}

fn time_of(partition: &Partition, (topic, index, offset): &Place) -> Option<UnixMillis> {
    // A replica whose log is not open has none to ask.
    let log = partition.log().ok()?;
    match log.time_at(*offset) {
        Ok(time) => time,
        Err(error) => {
            // It may have been cut off or removed since.
            let error = WithCauses(&error);
            tracing::debug!(%topic, %index, %offset, %error, "it is not known when a record was written");
            None
        }
    }
}
