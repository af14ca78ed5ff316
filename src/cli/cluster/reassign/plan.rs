//! Where replicas are to be, so that brokers have as many as each other: a function, and its tests.
//!
//! 1. Replicas on brokers that are to have none go to the others.
//! 2. No two replicas of a partition stay in one rack while another rack has none of it.
//! 3. Then replicas go from the fullest to the emptiest broker, one by one, until none has two more than another one, or racks
//!    forbid it. That is as few as can be: each of these moves takes one from who has too many and gives it to who has too few.
//!
//! A replica that moves takes the place in the list of the one that it follows: who was to lead is one of the old or the new
//! brokers of that place.

use std::collections::BTreeMap;

use crate::model::{BrokerId, PartitionId};

/// A broker that may have replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) id: BrokerId,
    pub(super) rack: Option<String>,
}

/// A partition, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) topic: String,
    pub(super) partition: PartitionId,
    /// The first one is to lead.
    pub(super) replicas: Vec<BrokerId>,
}

/// A partition that is to be elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) topic: String,
    pub(super) partition: PartitionId,
    pub(super) from: Vec<BrokerId>,
    pub(super) to: Vec<BrokerId>,
}

impl Move {
    /// The brokers that get the partition and do not have it.
    pub(super) fn added(&self) -> impl Iterator<Item = BrokerId> {
        self.to.iter().copied().filter(|broker| !self.from.contains(broker))
    }
}

/// What has to move so that all these partitions lie evenly on these brokers, and on no others.
///
/// # Errors
/// The partition that has more replicas than there are brokers.
pub(super) fn plan<'a>(seats: &[Seat], partitions: &'a [Placed]) -> Result<Vec<Move>, &'a Placed> {
    if let Some(placed) = partitions.iter().find(|placed| placed.replicas.len() > seats.len()) {
        return Err(placed);
    }
    let mut board = Board::new(seats, partitions);
    board.fill();
    board.use_all_racks();
    board.level();
    let moved = partitions.iter().zip(&board.partitions).filter_map(|(placed, row)| {
        let brokers = row.replicas.iter().flatten().filter_map(|seat| seats.get(*seat));
        let to: Vec<BrokerId> = brokers.map(|seat| seat.id).collect();
        (to != placed.replicas).then(|| Move {
            topic: placed.topic.clone(),
            partition: placed.partition,
            from: placed.replicas.clone(),
            to,
        })
    });
    Ok(moved.collect())
}

/// A partition, with brokers by their index.
struct Row {
    topic: usize,
    /// Nobody where the broker is to have none.
    replicas: Vec<Option<usize>>,
}

impl Row {
    fn has(&self, broker: usize) -> bool {
        self.replicas.contains(&Some(broker))
    }
}

struct Board {
    /// The rack of each broker. If one does not say where it is, each counts as one of its own.
    racks: Vec<usize>,
    rack_count: usize,
    partitions: Vec<Row>,
    /// How many replicas each broker has.
    loads: Vec<usize>,
    /// How many of them are first in their list.
    firsts: Vec<usize>,
    /// How many replicas of each topic each broker has.
    by_topic: Vec<Vec<usize>>,
}

impl Board {
    fn new(seats: &[Seat], partitions: &[Placed]) -> Self {
        let named: Option<Vec<&str>> = seats.iter().map(|seat| seat.rack.as_deref()).collect();
        let mut numbers = BTreeMap::new();
        let racks: Vec<usize> = match named {
            None => (0..seats.len()).collect(),
            Some(named) => {
                let number = |rack| {
                    let next = numbers.len();
                    *numbers.entry(rack).or_insert(next)
                };
                named.into_iter().map(number).collect()
            }
        };
        let rack_count = racks.iter().max().map_or(0, |last| last + 1);
        let mut topics = BTreeMap::new();
        let mut board = Self {
            racks,
            rack_count,
            partitions: Vec::new(),
            loads: vec![0; seats.len()],
            firsts: vec![0; seats.len()],
            by_topic: Vec::new(),
        };
        for placed in partitions {
            let next = topics.len();
            let topic = *topics.entry(placed.topic.as_str()).or_insert(next);
            if topic == next {
                board.by_topic.push(vec![0; seats.len()]);
            }
            let empty = vec![None; placed.replicas.len()];
            board.partitions.push(Row { topic, replicas: empty });
            for (place, broker) in placed.replicas.iter().enumerate() {
                let seat = seats.iter().position(|seat| seat.id == *broker);
                board.put(board.partitions.len() - 1, place, seat);
            }
        }
        board
    }

    /// Gives a place of a partition to a broker, or to nobody.
    fn put(&mut self, partition: usize, place: usize, broker: Option<usize>) {
        let row = &mut self.partitions[partition];
        let before = std::mem::replace(&mut row.replicas[place], broker);
        let first = usize::from(place == 0);
        if let Some(before) = before {
            self.loads[before] -= 1;
            self.firsts[before] -= first;
            self.by_topic[row.topic][before] -= 1;
        }
        if let Some(broker) = broker {
            self.loads[broker] += 1;
            self.firsts[broker] += first;
            self.by_topic[row.topic][broker] += 1;
        }
    }

    /// How many replicas of a partition are in a rack.
    fn in_rack(&self, row: &Row, rack: usize) -> usize {
        row.replicas.iter().flatten().filter(|broker| self.racks[**broker] == rack).count()
    }

    /// The emptiest broker that may take a replica of this partition, in a rack that has as few of it as can be.
    fn emptiest(&self, row: &Row) -> Option<usize> {
        let free = (0..self.loads.len()).filter(|broker| !row.has(*broker));
        free.min_by_key(|broker| {
            let of_topic = self.by_topic[row.topic][*broker];
            (self.in_rack(row, self.racks[*broker]), self.loads[*broker], of_topic)
        })
    }

    fn fill(&mut self) {
        for partition in 0..self.partitions.len() {
            for place in 0..self.partitions[partition].replicas.len() {
                if self.partitions[partition].replicas[place].is_none() {
                    let broker = self.emptiest(&self.partitions[partition]);
                    self.put(partition, place, broker);
                }
            }
        }
    }

    fn use_all_racks(&mut self) {
        for partition in 0..self.partitions.len() {
            // The fullest broker among those that share a rack gives its replica away, while a rack is left.
            loop {
                let row = &self.partitions[partition];
                let used = (0..self.rack_count).filter(|rack| self.in_rack(row, *rack) > 0).count();
                let brokers = row.replicas.iter().copied().enumerate();
                let shared = brokers.filter_map(|(place, broker)| Some((place, broker?)));
                let shared =
                    shared.filter(|(_, broker)| self.in_rack(row, self.racks[*broker]) > 1);
                let fullest = shared.max_by_key(|(place, broker)| (self.loads[*broker], *place));
                let Some((place, _)) = fullest.filter(|_| used < self.rack_count) else { break };
                let broker = self.emptiest(row);
                self.put(partition, place, broker);
            }
        }
    }

    fn level(&mut self) {
        while let Some((partition, place, broker)) = self.best_move() {
            self.put(partition, place, Some(broker));
        }
    }

    /// A replica whose move makes two brokers more alike, of those that differ most.
    fn best_move(&self) -> Option<(usize, usize, usize)> {
        let brokers = 0..self.loads.len();
        let pairs =
            brokers.clone().flat_map(|full| brokers.clone().map(move |empty| (full, empty)));
        let difference =
            |(full, empty): &(usize, usize)| self.loads[*full].saturating_sub(self.loads[*empty]);
        let mut pairs: Vec<_> = pairs.filter(|pair| difference(pair) >= 2).collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(difference(pair)));
        pairs.into_iter().find_map(|(full, empty)| self.candidate(full, empty))
    }

    /// The replica that had best go from one broker to another: of a topic that lies unevenly, and first in its list where
    /// the full broker has more such.
    fn candidate(&self, full: usize, empty: usize) -> Option<(usize, usize, usize)> {
        let leads_more = self.firsts[full] > self.firsts[empty];
        let rows = self.partitions.iter().enumerate();
        let movable = rows.filter_map(|(index, row)| {
            let place = row.replicas.iter().position(|broker| *broker == Some(full))?;
            (!row.has(empty) && self.keeps_racks(row, full, empty)).then_some((index, row, place))
        });
        let best = movable.max_by_key(|(index, row, place)| {
            let of_topic = &self.by_topic[row.topic];
            let uneven = of_topic[full] as i64 - of_topic[empty] as i64;
            (uneven, (*place == 0) == leads_more, std::cmp::Reverse(*index))
        });
        best.map(|(index, _, place)| (index, place, empty))
    }

    /// Whether the partition is in as many racks as before when `to` takes the place of `from`.
    fn keeps_racks(&self, row: &Row, from: usize, to: usize) -> bool {
        let (left, entered) = (self.racks[from], self.racks[to]);
        left == entered || self.in_rack(row, left) > 1 || self.in_rack(row, entered) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn seats(racks: &[Option<u8>]) -> Vec<Seat> {
        let seat = |(id, rack): (usize, &Option<u8>)| Seat {
            id: BrokerId(id as i32),
            rack: rack.map(|rack| rack.to_string()),
        };
        racks.iter().enumerate().map(seat).collect()
    }

    /// Partitions of a few topics on brokers 0 to 8, with up to 4 replicas each.
    fn layout() -> impl Strategy<Value = Vec<Placed>> {
        let brokers = proptest::sample::subsequence((0..8).collect::<Vec<i32>>(), 1..=4);
        let partition = (0..3u8, brokers, any::<bool>());
        proptest::collection::vec(partition, 0..30).prop_map(|rows| {
            let placed = |(index, (topic, mut brokers, back)): (usize, (u8, Vec<i32>, bool))| {
                if back {
                    brokers.reverse();
                }
                Placed {
                    topic: format!("t{topic}"),
                    partition: PartitionId(index as i32),
                    replicas: brokers.into_iter().map(BrokerId).collect(),
                }
            };
            rows.into_iter().enumerate().map(placed).collect()
        })
    }

    /// The partitions when the moves are done.
    fn after(partitions: &[Placed], moves: &[Move]) -> Vec<Placed> {
        let of = |placed: &Placed| {
            let key = (&placed.topic, placed.partition);
            let found = moves.iter().find(|it| (&it.topic, it.partition) == key);
            let replicas = found.map_or_else(|| placed.replicas.clone(), |it| it.to.clone());
            Placed { replicas, ..placed.clone() }
        };
        partitions.iter().map(of).collect()
    }

    fn loads(seats: &[Seat], partitions: &[Placed]) -> Vec<usize> {
        let load = |seat: &Seat| {
            partitions.iter().filter(|placed| placed.replicas.contains(&seat.id)).count()
        };
        seats.iter().map(load).collect()
    }

    fn gap(loads: &[usize]) -> usize {
        loads.iter().max().unwrap() - loads.iter().min().unwrap()
    }

    proptest! {
        #[test]
        fn replicas_lie_where_they_may(
            racks in proptest::collection::vec(proptest::option::weighted(0.95, 0..4u8), 4..9),
            partitions in layout(),
        ) {
            let seats = seats(&racks);
            let moves = plan(&seats, &partitions).unwrap();
            let after = after(&partitions, &moves);
            let with_racks = racks.iter().all(Option::is_some);
            let all: BTreeSet<_> = seats.iter().map(|seat| seat.rack.clone()).collect();
            for (before, placed) in partitions.iter().zip(&after) {
                let brokers: BTreeSet<_> = placed.replicas.iter().collect();
                prop_assert_eq!(brokers.len(), before.replicas.len(), "as many as before, and none twice");
                let seat = |id: &&BrokerId| seats.iter().find(|seat| seat.id == **id);
                let in_racks: Option<BTreeSet<_>> =
                    brokers.iter().map(|id| Some(seat(id)?.rack.clone())).collect();
                prop_assert!(in_racks.is_some(), "on brokers that may have it");
                if with_racks {
                    let wanted = brokers.len().min(all.len());
                    prop_assert_eq!(in_racks.unwrap().len(), wanted, "in as many racks as can be");
                }
            }
            for it in &moves {
                prop_assert!(it.from != it.to);
            }
            if !with_racks {
                prop_assert!(gap(&loads(&seats, &after)) <= 1, "evenly");
            }
            prop_assert_eq!(plan(&seats, &after).unwrap(), vec![], "what is done is done");
        }

        #[test]
        fn as_few_as_can_be_move(partitions in layout()) {
            let seats = seats(&[None; 8]);
            let mut before = loads(&seats, &partitions);
            let moves = plan(&seats, &partitions).unwrap();
            before.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
            let (each, more) = (before.iter().sum::<usize>() / 8, before.iter().sum::<usize>() % 8);
            let too_many = |(index, load): (usize, &usize)| {
                load.saturating_sub(each + usize::from(index < more))
            };
            let needed: usize = before.iter().enumerate().map(too_many).sum();
            prop_assert_eq!(moves.iter().map(|it| it.added().count()).sum::<usize>(), needed);
        }
    }

    #[test]
    fn too_few_brokers_are_said() {
        let placed = Placed {
            topic: "t".into(),
            partition: PartitionId(0),
            replicas: vec![BrokerId(0), BrokerId(1)],
        };
        assert_eq!(plan(&seats(&[None]), std::slice::from_ref(&placed)), Err(&placed));
    }

    /// Racks that are as large as each other do not stand in the way of evenness.
    #[test]
    fn three_racks_of_two() {
        let seats = seats(&[Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
        let partition = |index| Placed {
            topic: "t".into(),
            partition: PartitionId(index),
            replicas: vec![BrokerId(0), BrokerId(2), BrokerId(4)],
        };
        let partitions: Vec<_> = (0..12).map(partition).collect();
        let moves = plan(&seats, &partitions).unwrap();
        assert_eq!(loads(&seats, &after(&partitions, &moves)), [6; 6]);
    }
}
