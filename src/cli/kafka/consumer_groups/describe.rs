//! `--describe`: offsets, members or the state of groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{Done, Place, Trouble, chosen, complain};
use crate::cli::group::describe::{DescribedGroup, Member, ask};
use crate::cli::kafka::options::Options;
use crate::cli::kafka::words::exception;
use crate::client::{Assignment, Cluster, OffsetQuery, Topics};
use crate::model::{ErrorCode, PartitionId};

pub(super) async fn describe(cluster: &Cluster, options: &Options) -> Done {
    let mut groups = Vec::new();
    for name in chosen(cluster, options).await? {
        let group = ask(cluster, &name).await?;
        if !["", "consumer"].contains(&&*group.protocol) {
            return Err(Trouble::Failed(format!(
                "java.lang.IllegalArgumentException: GroupId {name} is not a consumer group ({}).",
                group.protocol
            )));
        }
        groups.push((name, group));
    }
    let verbose = options.has("verbose");
    if options.has("state") {
        groups.iter().for_each(|(name, group)| print_state(cluster, name, group, verbose));
    } else if options.has("members") {
        groups.iter().for_each(|(name, group)| print_members(name, group, verbose));
    } else {
        let mut all = Vec::new();
        for (name, group) in &groups {
            all.push((name, group, offsets(cluster, name, group).await?));
        }
        all.iter().for_each(|(name, group, rows)| print_offsets(name, group, rows, verbose));
    }
    Ok(())
}

/// What the state of a group has to say beside the rows; whether these are to be printed.
fn introduce(name: &str, group: &DescribedGroup, rows: usize) -> bool {
    match &*group.state {
        "Dead" => complain(&format!("Consumer group '{name}' does not exist.")),
        "Empty" => eprintln!("\nConsumer group '{name}' has no active members."),
        "Stable" => {}
        _ => eprintln!("\nWarning: Consumer group '{name}' is rebalancing."),
    }
    group.state != "Dead" && rows > 0
}

fn or_missing<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Prints rows, each behind the end of a line: cells of these widths at least, with blanks between.
pub(super) fn print_rows(widths: &[usize], rows: &[Vec<String>]) {
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        put!("\n{}", cells.collect::<Vec<_>>().join(" "));
    }
    say!();
}

/// A width for a column: that of its widest cell, and at least so much.
pub(super) fn width(rows: &[Vec<String>], column: usize, least: usize) -> usize {
    // The head is never the widest.
    let cells = rows.iter().skip(1).filter_map(|row| row.get(column));
    cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(least)
}

/// A partition of a group.
struct Row<'a> {
    place: Place,
    committed: Option<(i64, i32)>,
    end: Option<i64>,
    member: Option<&'a Member>,
}

async fn offsets<'a>(
    cluster: &Cluster,
    name: &str,
    group: &'a DescribedGroup,
) -> Result<Vec<Row<'a>>, Trouble> {
    let committed = cluster.committed_offsets(name).await?;
    let mut members: Vec<&Member> = group.members.iter().collect();
    let count = |member: &Member| member.assignment.iter().count();
    members.sort_by_key(|member| std::cmp::Reverse(count(member)));
    let mut rows = Vec::new();
    let mut assigned = BTreeSet::new();
    for member in members {
        let places: BTreeSet<Place> =
            member.assignment.iter().map(|(topic, index)| (topic.to_owned(), index)).collect();
        assigned.extend(places.iter().cloned());
        rows.extend(places.into_iter().map(|place| (place, Some(member))));
    }
    let others = committed.keys().filter(|place| !assigned.contains(*place));
    rows.extend(others.map(|place| (place.clone(), None)));
    let ends = ends(cluster, rows.iter().map(|(place, _)| place)).await?;
    let row = |(place, member): (Place, _)| {
        let known = committed.get(&place);
        let committed = known.map(|known| (known.offset.0, known.leader_epoch));
        Row { committed, end: ends.get(&place).copied(), place, member }
    };
    Ok(rows.into_iter().map(row).collect())
}

/// The ends of partitions; those without a leader have none.
async fn ends(
    cluster: &Cluster,
    places: impl Iterator<Item = &Place> + Clone,
) -> Result<BTreeMap<Place, i64>, Trouble> {
    let names: BTreeSet<&str> = places.clone().map(|(topic, _)| topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let metadata = cluster.metadata(Topics::Named(&names)).await?;
    for topic in &metadata.topics {
        if topic.error != ErrorCode::None
            && let Err(error) = metadata.leader_of(&topic.name, PartitionId(0))
        {
            let why = exception(&error);
            return Err(Trouble::Failed(format!("java.util.concurrent.ExecutionException: {why}")));
        }
    }
    let led = places.filter(|(topic, index)| metadata.leader_of(topic, *index).is_ok());
    let queries: Vec<_> =
        led.map(|(topic, index)| (topic.clone(), *index, OffsetQuery::Latest)).collect();
    let listed = cluster.list_offsets(&queries).await?;
    Ok(listed.into_iter().filter_map(|(place, at)| Some((place, at.offset?.0))).collect())
}

fn print_offsets(name: &str, group: &DescribedGroup, rows: &[Row<'_>], verbose: bool) {
    if !introduce(name, group, rows.len()) {
        return;
    }
    let head = [
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    table.extend(rows.iter().map(|row| {
        let offset = row.committed.map(|(offset, _)| offset);
        vec![
            name.to_owned(),
            row.place.0.clone(),
            row.place.1.to_string(),
            or_missing(row.committed.map(|(_, epoch)| epoch).filter(|epoch| *epoch >= 0)),
            or_missing(offset),
            or_missing(row.end),
            or_missing(offset.zip(row.end).map(|(offset, end)| end - offset)),
            or_missing(row.member.map(|member| &member.id)),
            or_missing(row.member.map(|member| &member.host)),
            or_missing(row.member.map(|member| &member.client_id)),
        ]
    }));
    let mut widths = vec![10, 15, 15, 15, 15];
    widths.splice(0..0, [width(&table, 0, 15), width(&table, 1, 15)]);
    widths.extend([width(&table, 7, 15), width(&table, 8, 15), 0]);
    if !verbose {
        table.iter_mut().for_each(|row| drop(row.remove(3)));
        widths.remove(3);
    }
    print_rows(&widths, &table);
}

/// `orders:0,1;users:2`.
fn assignment_text(assignment: &Assignment) -> String {
    let topics = assignment.partitions.iter().filter(|(_, partitions)| !partitions.is_empty());
    let texts: Vec<String> = topics
        .map(|(topic, partitions)| {
            let sorted: BTreeSet<i32> = partitions.iter().map(|partition| partition.0).collect();
            let numbers: Vec<String> = sorted.iter().map(ToString::to_string).collect();
            format!("{topic}:{}", numbers.join(","))
        })
        .collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(";") }
}

fn print_members(name: &str, group: &DescribedGroup, verbose: bool) {
    introduce(name, group, group.members.len());
    let named = group.members.iter().any(|member| member.instance.is_some());
    let of_kind = |kind| group.members.iter().any(|member| member.upgraded == Some(kind));
    let mixed = of_kind(false) && of_kind(true);
    let mut head =
        vec!["GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"];
    // What is behind the number of partitions begins after a blank, there or not.
    head.extend(match verbose {
        true => &["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"][..],
        false => &[""],
    });
    if verbose && mixed {
        head.push("UPGRADED");
    }
    let mut table = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    table.extend(group.members.iter().map(|member| {
        let mut row = vec![
            name.to_owned(),
            member.id.clone(),
            member.instance.clone().unwrap_or_default(),
            member.host.clone(),
            member.client_id.clone(),
            member.assignment.iter().count().to_string(),
        ];
        if !verbose {
            row.push(String::new());
            return row;
        }
        let target = member.target.as_ref();
        row.extend([
            or_missing(target.map(|(_, epoch)| *epoch)),
            assignment_text(&member.assignment),
            or_missing(group.epochs.map(|(_, target)| target)),
            or_missing(target.map(|(assignment, _)| assignment_text(assignment))),
        ]);
        row.extend(mixed.then(|| or_missing(member.upgraded)));
        row
    }));
    let of = |column, least| width(&table, column, least);
    let mut widths = vec![of(0, 15), of(1, 15), of(2, 17), of(3, 15), of(4, 15), 15];
    widths.extend(match verbose {
        true => vec![15, of(7, 20), 15, of(9, 20), 0],
        false => vec![0],
    });
    if !named {
        table.iter_mut().for_each(|row| drop(row.remove(2)));
        widths.remove(2);
    }
    print_rows(&widths, &table);
}

fn print_state(cluster: &Cluster, name: &str, group: &DescribedGroup, verbose: bool) {
    if !introduce(name, group, 1) {
        return;
    }
    let known = cluster.known();
    let address = known.broker(group.coordinator).map(|node| node.address.to_string());
    let coordinator = format!("{}  ({})", address.unwrap_or_default(), group.coordinator);
    let assignor = Some(&group.assignor).filter(|assignor| !assignor.is_empty());
    let mut table = vec![
        [
            "GROUP",
            "COORDINATOR (ID)",
            "ASSIGNMENT-STRATEGY",
            "STATE",
            "GROUP-EPOCH",
            "TARGET-ASSIGNMENT-EPOCH",
            "#MEMBERS",
        ]
        .map(str::to_owned)
        .to_vec(),
        vec![
            name.to_owned(),
            coordinator,
            or_missing(assignor),
            group.state.clone(),
            or_missing(group.epochs.map(|(own, _)| own)),
            or_missing(group.epochs.map(|(_, target)| target)),
            group.members.len().to_string(),
        ],
    ];
    let mut widths = vec![width(&table, 0, 15), width(&table, 1, 25), 20, 20, 15, 25, 0];
    if !verbose {
        table.iter_mut().for_each(|row| drop(row.drain(4..6)));
        widths.drain(4..6);
    }
    print_rows(&widths, &table);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_listed_by_topic() {
        let partitions = |list: &[i32]| list.iter().copied().map(PartitionId).collect();
        let partitions = BTreeMap::from([
            ("b".to_owned(), partitions(&[10, 2])),
            ("a".to_owned(), partitions(&[0])),
        ]);
        assert_eq!(assignment_text(&Assignment { partitions }), "a:0;b:2,10");
        assert_eq!(assignment_text(&Assignment::default()), "-");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["A NAME".to_owned()], vec!["abc".to_owned()], vec![]];
        assert_eq!((width(&rows, 0, 2), width(&rows, 0, 15)), (3, 15));
    }
}
