//! Places in a partition as people write them: offsets, ends, times; and ranges between two of them.
//!
//! | place | |
//! |---|---|
//! | `start`, `beginning`, `earliest` | the first record that is there |
//! | `end`, `latest` | behind the last one |
//! | `stored`, `current` | where the group has stopped |
//! | `17` | that offset |
//! | `+5`, `-5` | so many after the first, before the end |
//! | `@TIME`, `s@TIME`, `-2h` | the first record at or after that time |
//!
//! A time is `1700000000000` (milliseconds), `1700000000` (seconds), `2026-11-01`, `2026-11-01T10:00[:00]` (local, or with
//! `Z` or an offset) or `-2h` (before now). A range is one place to begin at, or two with `:` between them, the second one
//! of which is not read any more; behind a time it is one too, with or without `@`. `e@TIME` ends like `:@TIME`. Source: `-o`
//! of kcat 1.7 and of rpk.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::failure::Failure;
use super::units;
use crate::client::{Cluster, OffsetQuery};
use crate::model::{Offset, PartitionId, UnixMillis};

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    Stored,
    At(i64),
    AfterStart(i64),
    BeforeEnd(i64),
    Time(Moment),
}

/// A time, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    At(UnixMillis),
    Ago(i64),
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlaceRange {
    pub(super) from: Place,
    pub(super) until: Option<Place>,
}

/// Smaller numbers are seconds: as milliseconds they would be before September 2001.
const SECONDS_BELOW: i64 = 1_000_000_000_000;

impl Place {
    /// # Errors
    /// In words, when it is no place.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(time) = text.strip_prefix('@').or_else(|| text.strip_prefix("s@")) {
            return Moment::parse(time).map(Self::Time);
        }
        let number = |digits: &str| digits.parse::<i64>().ok().filter(|number| *number >= 0);
        let place = match text {
            "start" | "beginning" | "earliest" => Some(Self::Start),
            "end" | "latest" => Some(Self::End),
            "stored" | "current" => Some(Self::Stored),
            _ => match (text.strip_prefix('+'), text.strip_prefix('-')) {
                (Some(digits), _) => number(digits).map(Self::AfterStart),
                // With a unit it is a time.
                (_, Some(digits)) => number(digits)
                    .map(Self::BeforeEnd)
                    .or_else(|| Moment::parse(text).ok().map(Self::Time)),
                _ => number(text).map(Self::At),
            },
        };
        place.ok_or_else(|| format!("'{text}' is no place: start, end, an offset, +N, -N or @TIME"))
    }
}

impl Moment {
    /// # Errors
    /// In words, when it is no time.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(ago) = text.strip_prefix('-') {
            let millis = units::duration(ago)?.as_millis();
            return Ok(Self::Ago(i64::try_from(millis).unwrap_or(i64::MAX)));
        }
        if let Ok(number) = text.parse::<i64>() {
            let millis = if number < SECONDS_BELOW { number * 1000 } else { number };
            return Ok(Self::At(UnixMillis(millis)));
        }
        let local = |time: DateTime| TimeZone::system().to_timestamp(time).ok();
        let moment = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| text.parse::<DateTime>().ok().and_then(local))
            .or_else(|| local(text.parse::<Date>().ok()?.at(0, 0, 0, 0)));
        moment.map(|moment| Self::At(UnixMillis(moment.as_millisecond()))).ok_or_else(|| {
            format!("'{text}' is no time such as 2026-11-01T10:00, 1700000000 or -2h")
        })
    }

    const fn at(self, now: UnixMillis) -> i64 {
        match self {
            Self::At(time) => time.0,
            Self::Ago(millis) => now.0.saturating_sub(millis),
        }
    }
}

impl PlaceRange {
    /// # Errors
    /// In words, when it is no range.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(time) = text.strip_prefix("e@") {
            let until = Some(Place::Time(Moment::parse(time)?));
            return Ok(Self { from: Place::Start, until });
        }
        let whole = Place::parse(text).map(|from| Self { from, until: None });
        if whole.is_ok() {
            return whole;
        }
        // Colons stand within times too: the one that divides is the last one that leaves places on both sides.
        let splits = text.rmatch_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
        for (from, until) in splits {
            let from = if from.is_empty() { Ok(Place::Start) } else { Place::parse(from) };
            let Ok(from) = from else { continue };
            let until = match (until, from) {
                ("", _) => Ok(None),
                // A sign alone counts records: without a unit it is no time.
                (until, Place::Time(_)) if !until.starts_with(['+', '-']) => {
                    Moment::parse(until).map(Place::Time).or_else(|_| Place::parse(until)).map(Some)
                }
                (until, _) => Place::parse(until).map(Some),
            };
            if let Ok(until) = until {
                return Ok(Self { from, until });
            }
        }
        whole
    }

    /// The range that `-o` says in all: once, or as kcat has it, where to begin and `e@TIME`.
    ///
    /// # Errors
    /// When it says more than that.
    pub(super) fn joined(ranges: &[Self]) -> Result<Option<Self>, Failure> {
        match *ranges {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            [Self { from, until: None }, Self { from: Place::Start, until }]
            | [Self { from: Place::Start, until }, Self { from, until: None }]
                if until.is_some() =>
            {
                Ok(Some(Self { from, until }))
            }
            _ => Err(Failure::usage("two -o are where to begin and e@TIME")),
        }
    }
}

/// The offsets that a place means in each partition. [`Place::Stored`] needs a group and is not for this.
///
/// # Errors
/// When a partition is not there or has no leader.
pub(super) async fn resolve(
    cluster: &Cluster,
    partitions: &[(String, PartitionId)],
    place: Place,
) -> Result<BTreeMap<(String, PartitionId), Offset>, Failure> {
    let query = match place {
        Place::Start | Place::AfterStart(_) => OffsetQuery::Earliest,
        Place::End | Place::BeforeEnd(_) => OffsetQuery::Latest,
        Place::Time(moment) => OffsetQuery::AtTime(moment.at(cluster.env().clock.now())),
        Place::At(offset) => {
            let at = |partition: &(String, PartitionId)| (partition.clone(), Offset(offset));
            return Ok(partitions.iter().map(at).collect());
        }
        Place::Stored => {
            return Err(Failure::usage("'stored' needs a group: -G GROUP says which"));
        }
    };
    let found = list(cluster, partitions, query).await?;
    let starts = if matches!(place, Place::BeforeEnd(_)) {
        list(cluster, partitions, OffsetQuery::Earliest).await?
    } else {
        BTreeMap::new()
    };
    // A time after the last record means the end.
    let ends = if matches!(place, Place::Time(_)) {
        list(cluster, partitions, OffsetQuery::Latest).await?
    } else {
        BTreeMap::new()
    };
    let offset = |partition: &(String, PartitionId)| {
        let listed = found.get(partition).copied().flatten();
        let offset = match place {
            Place::AfterStart(count) => listed.unwrap_or_default().plus(count),
            Place::BeforeEnd(count) => {
                let start = starts.get(partition).copied().flatten().unwrap_or_default();
                listed.unwrap_or_default().plus(-count).max(start)
            }
            Place::Time(_) => {
                listed.or_else(|| ends.get(partition).copied().flatten()).unwrap_or_default()
            }
            Place::Start | Place::End | Place::Stored | Place::At(_) => listed.unwrap_or_default(),
        };
        (partition.clone(), offset)
    };
    Ok(partitions.iter().map(offset).collect())
}

async fn list(
    cluster: &Cluster,
    partitions: &[(String, PartitionId)],
    query: OffsetQuery,
) -> Result<BTreeMap<(String, PartitionId), Option<Offset>>, Failure> {
    let queries: Vec<_> =
        partitions.iter().map(|(topic, index)| (topic.clone(), *index, query)).collect();
    let listed = cluster.list_offsets(&queries).await?;
    Ok(listed.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> (Place, Option<Place>) {
        let range = PlaceRange::parse(text).unwrap();
        (range.from, range.until)
    }

    #[test]
    fn kcats_and_rpks_spellings_are_read() {
        let time = |text| Place::Time(Moment::parse(text).unwrap());
        for (text, from, until) in [
            ("beginning", Place::Start, None),
            ("end", Place::End, None),
            ("stored", Place::Stored, None),
            ("17", Place::At(17), None),
            ("-5", Place::BeforeEnd(5), None),
            ("+5", Place::AfterStart(5), None),
            (":end", Place::Start, Some(Place::End)),
            ("3:9", Place::At(3), Some(Place::At(9))),
            ("start:+4", Place::Start, Some(Place::AfterStart(4))),
            ("@-1h:end", time("-1h"), Some(Place::End)),
            ("s@1700000000000", time("1700000000000"), None),
            ("e@1700000000000", Place::Start, Some(time("1700000000000"))),
            (
                "@2026-11-01T10:00Z:@2026-11-01T11:00:00Z",
                time("2026-11-01T10:00Z"),
                Some(time("2026-11-01T11:00Z")),
            ),
            ("@2026-11-01T10:00:00Z", time("2026-11-01T10:00Z"), None),
            ("@2026-11-01T10:00", time("2026-11-01T10:00"), None),
            ("@2026-11-30T10:00:00", time("2026-11-30T10:00"), None),
            ("@2026-11-01 10:00:00", time("2026-11-01T10:00"), None),
            ("@2026-11-01T10:00:end", time("2026-11-01T10:00"), Some(Place::End)),
            (
                "@2026-11-01T10:00:2026-11-01T11:00",
                time("2026-11-01T10:00"),
                Some(time("2026-11-01T11:00")),
            ),
            ("@2026-11-01:2026-11-02", time("2026-11-01"), Some(time("2026-11-02"))),
            ("@1796076004723:1796076004730", time("1796076004723"), Some(time("1796076004730"))),
            ("@-1h:-1s", time("-1h"), Some(time("-1s"))),
            ("-1h:+5", time("-1h"), Some(Place::AfterStart(5))),
            ("-1h:-5", time("-1h"), Some(Place::BeforeEnd(5))),
            ("-2h", time("-2h"), None),
        ] {
            assert_eq!(range(text), (from, until), "{text}");
        }
    }

    #[test]
    fn kcats_two_ranges_are_one() {
        let joined = |texts: [&str; 2]| {
            PlaceRange::joined(&texts.map(|text| PlaceRange::parse(text).unwrap())).ok().flatten()
        };
        let both = PlaceRange::parse("@1700000000:@1700000009").ok();
        assert_eq!(joined(["s@1700000000", "e@1700000009"]), both);
        assert_eq!(joined(["e@1700000009", "s@1700000000"]), both);
        assert_eq!(joined(["start", "e@1700000009"]), PlaceRange::parse(":@1700000009").ok());
        for refused in [["1", "start"], ["1", "2"], ["1:2", "e@1700000009"]] {
            assert_eq!(joined(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn times_are_milliseconds() {
        let at = |text| Moment::parse(text).unwrap();
        let millis = Moment::At(UnixMillis(1_700_000_000_000));
        assert_eq!((at("1700000000"), at("1700000000000")), (millis, millis));
        assert_eq!(at("2023-11-14T22:13:20Z"), millis);
        assert_eq!(at("2023-11-14T23:13:20+01:00"), millis);
        assert_eq!(at("-90m").at(UnixMillis(6_000_000)), 600_000);
    }

    #[test]
    fn what_is_no_place_is_said() {
        for text in ["", "x", "1:x", "@", "@yesterday", "--5", "1.5", "@-"] {
            assert!(PlaceRange::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,20}") {
            drop(PlaceRange::parse(&text));
        }
    }
}
