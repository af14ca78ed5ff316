//! What the cluster says of itself: partitions, settings that cannot be met, room on disks, groups that are behind.

use std::collections::BTreeMap;

use super::{Finding, bad, failed, fine, odd};
use crate::cli::configs::{ConfigSetting, describe_configs, describe_topics};
use crate::cli::failure::Failure;
use crate::cli::group::describe::{LAG_MAX, progress};
use crate::cli::group::{ListedGroup, groups as listed_groups};
use crate::cli::log_dirs::log_dirs_of;
use crate::cli::output::count;
use crate::cli::units::shown_bytes;
use crate::client::{ClientError, Cluster, Metadata};
use crate::model::BrokerId;
use crate::wire::describe_log_dirs::LogDir;

/// A volume with less of it free, in percent, is soon full.
const FREE_PERCENT_MIN: i64 = 10;
/// More groups are not looked at.
const GROUPS_MAX: usize = 100;
/// A lag that is so many times that of most others stands out.
const OUTLIER_FACTOR: i64 = 10;
/// Settings of brokers that want as many brokers as they say, and the topic that is made with them when it is first needed.
const REPLICATION_KEYS: &[(&str, Option<&str>)] = &[
    ("default.replication.factor", None),
    ("min.insync.replicas", None),
    ("offsets.topic.replication.factor", Some("__consumer_offsets")),
    ("transaction.state.log.replication.factor", Some("__transaction_state")),
    ("transaction.state.log.min.isr", Some("__transaction_state")),
    ("share.coordinator.state.topic.replication.factor", Some("__share_group_state")),
    ("share.coordinator.state.topic.min.isr", Some("__share_group_state")),
];
const MIN_IN_SYNC: &str = "min.insync.replicas";

/// Whether all partitions have leaders and all their replicas.
pub(super) fn partitions(metadata: &Metadata) -> Finding {
    let all = || metadata.topics.iter().flat_map(|topic| &topic.partitions);
    let offline = all().filter(|partition| partition.leader.is_none()).count();
    let behind = all().filter(|it| it.in_sync.len() < it.replicas.len()).count();
    let fix =
        "start the brokers that are away; ottla cluster health lists the partitions".to_owned();
    match (offline, behind) {
        (0, 0) => {
            let all = count(all().count(), "partition");
            fine("partitions", format!("{all}, with leaders and all replicas"))
        }
        (0, behind) => {
            let behind = count(behind, "partition");
            odd("partitions", format!("{behind} with fewer replicas in sync than there are"), fix)
        }
        (offline, _) => {
            let offline = count(offline, "partition");
            bad("partitions", format!("{offline} without a leader"), fix)
        }
    }
}

/// Whether there are as many brokers as settings want, and as many replicas as have to be in sync.
pub(super) async fn replication(
    cluster: &Cluster,
    metadata: &Metadata,
    findings: &mut Vec<Finding>,
) {
    match unmet(cluster, metadata).await {
        Ok(unmet) if unmet.is_empty() => {
            findings
                .push(fine("replication", "the brokers are as many as settings want".to_owned()));
        }
        Ok(unmet) => findings.extend(unmet),
        Err(failure) => findings.push(failed("replication", failure)),
    }
}

async fn unmet(cluster: &Cluster, metadata: &Metadata) -> Result<Vec<Finding>, Failure> {
    let mut unmet = Vec::new();
    let Some(first) = metadata.brokers.first() else { return Ok(unmet) };
    let settings = describe_configs(cluster, ConfigSetting::BROKER, &first.id.to_string()).await?;
    unmet.extend(unmet_by_brokers(metadata, &settings));
    let names: Vec<&str> = metadata.topics.iter().map(|topic| topic.name.as_str()).collect();
    let topics = describe_topics(cluster, &names, &[MIN_IN_SYNC]).await?;
    let wanted: BTreeMap<&str, usize> = topics
        .iter()
        .filter_map(|(name, settings)| Some((name.as_str(), number(settings, MIN_IN_SYNC)?)))
        .collect();
    for topic in &metadata.topics {
        let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).min();
        let wanted = wanted.get(topic.name.as_str()).copied();
        if let (Some(replicas), Some(wanted)) = (replicas, wanted)
            && wanted > replicas
        {
            let name = &topic.name;
            let has = count(replicas, "replica");
            unmet.push(bad(
                "replication",
                format!("topic {name} wants {wanted} replicas in sync and has {has}: acks=all is refused"),
                format!("ottla topic alter {name} --set {MIN_IN_SYNC}={replicas}, or give it more replicas"),
            ));
        }
    }
    Ok(unmet)
}

fn unmet_by_brokers(metadata: &Metadata, settings: &[ConfigSetting]) -> Vec<Finding> {
    let brokers = metadata.brokers.len();
    let is_there = |name: &str| metadata.topics.iter().any(|topic| topic.name == name);
    let needed = REPLICATION_KEYS.iter().filter(|(_, topic)| !topic.is_some_and(is_there));
    let unmet = needed.filter_map(|(key, topic)| {
        let wanted = number(settings, key).filter(|wanted| *wanted > brokers)?;
        let which = topic.map_or_else(String::new, |topic| format!(", so {topic} cannot be made"));
        let there = count(brokers, "broker");
        Some(bad(
            "replication",
            format!("{key} is {wanted}, and there is no more than {there}{which}"),
            format!("set {key}={brokers} on the brokers, or start more of them"),
        ))
    });
    unmet.collect()
}

fn number(settings: &[ConfigSetting], key: &str) -> Option<usize> {
    settings.iter().find(|setting| setting.name == key)?.value()?.parse().ok()
}

/// Whether the log directories are in use and have room.
pub(super) async fn disks(cluster: &Cluster, metadata: &Metadata, findings: &mut Vec<Finding>) {
    for node in &metadata.brokers {
        match log_dirs_of(cluster, node.id).await {
            Ok(directories) => {
                findings.extend(directories.iter().map(|directory| disk(node.id, directory)));
            }
            Err(ClientError::Unsupported { .. }) => {
                findings.push(fine("disk", format!("broker {} does not tell", node.id)));
            }
            Err(error) => findings.push(failed("disk", error)),
        }
    }
}

fn disk(broker: BrokerId, directory: &LogDir) -> Finding {
    let path = &*directory.log_dir;
    if !directory.error_code.is_none() {
        let text = format!("broker {broker} does not use {path}: {}", directory.error_code.name());
        let fix =
            format!("look after that disk, and start broker {broker} again; its log says more");
        return bad("disk", text, fix);
    }
    // Brokers before version 4 of the answer do not tell.
    let told = u64::try_from(directory.total_bytes).ok().filter(|total| *total > 0);
    let (Some(total), Ok(usable)) = (told, u64::try_from(directory.usable_bytes)) else {
        return fine("disk", format!("broker {broker} does not tell how much room {path} has"));
    };
    let percent = i64::try_from(u128::from(usable) * 100 / u128::from(total)).unwrap_or(100);
    let text = format!(
        "broker {broker} has {} of {} free ({percent} %) in {path}",
        shown_bytes(usable),
        shown_bytes(total)
    );
    match percent < FREE_PERCENT_MIN {
        false => fine("disk", text),
        true => odd(
            "disk",
            text,
            "lower retention.ms or retention.bytes of large topics (ottla topic list --format wide), or give it a larger disk"
                .to_owned(),
        ),
    }
}

/// Whether a group, or a partition of one, is much further behind than the others.
pub(super) async fn groups(cluster: &Cluster) -> Result<Finding, Failure> {
    let all = listed_groups(cluster).await?;
    let reads = |group: &ListedGroup| !matches!(group.kind.as_deref(), Some("share" | "streams"));
    let known: Vec<_> = all.iter().filter(|(_, group)| reads(group)).collect();
    let mut lags = Vec::new();
    for (name, group) in known.iter().take(GROUPS_MAX) {
        let progress = progress(cluster, name, []).await?;
        let behind: Vec<(String, i64)> = progress
            .iter()
            .filter_map(|((topic, index), it)| Some((format!("{topic}:{index}"), it.lag()?)))
            .collect();
        let sum = behind.iter().fold(0_i64, |sum, (_, lag)| sum.saturating_add(*lag));
        if behind.len() > 1
            && let Some((partition, lag)) = outlier(&behind)
        {
            return Ok(odd(
                "groups",
                format!(
                    "group {name} is {lag} records behind in {partition}, and not so in the others"
                ),
                format!(
                    "its member there may be stuck, or one key has most records: ottla group describe {name}"
                ),
            ));
        }
        lags.push(((*name, group.state.as_deref()), sum));
    }
    let number = count(known.len(), "group");
    let looked_at = match known.len() > GROUPS_MAX {
        true => format!("the first {GROUPS_MAX} of {number}"),
        false => number,
    };
    Ok(match outlier(&lags) {
        None => fine("groups", format!("{looked_at}, none much further behind than the others")),
        Some(((name, state), lag)) => {
            let members = if *state == Some("Empty") { " and has no members" } else { "" };
            odd(
                "groups",
                format!("group {name} is {lag} records behind{members}"),
                format!("start more members, or see where it stands: ottla group describe {name}"),
            )
        }
    })
}

/// The one with a lag that matters and is many times the median of the others.
fn outlier<T>(lags: &[(T, i64)]) -> Option<&(T, i64)> {
    let mut sorted: Vec<&(T, i64)> = lags.iter().collect();
    sorted.sort_by_key(|(_, lag)| *lag);
    let largest = sorted.pop()?;
    let median = sorted.get(sorted.len() / 2).map_or(0, |(_, lag)| *lag);
    (largest.1 > LAG_MAX && largest.1 / OUTLIER_FACTOR > median).then_some(largest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorCode;
    use crate::wire::Text;

    fn directory(error_code: ErrorCode, total_bytes: i64, usable_bytes: i64) -> LogDir {
        LogDir {
            error_code,
            log_dir: Text::from_static_str("/data"),
            topics: Vec::new(),
            total_bytes,
            usable_bytes,
            is_cordoned: false,
        }
    }

    #[test]
    fn disks_without_room_are_told_of() {
        let found = |code, total, usable| {
            let found = disk(BrokerId(1), &directory(code, total, usable));
            (found.fix.is_none(), found.text)
        };
        let text = "broker 1 has 512 B of 1.0 KiB free (50 %) in /data";
        assert_eq!(found(ErrorCode::None, 1024, 512), (true, text.to_owned()));
        assert!(found(ErrorCode::None, 1000, 100).0 && !found(ErrorCode::None, 1000, 99).0);
        assert!(found(ErrorCode::None, i64::MAX, i64::MAX).0);
        let (is_fine, text) = found(ErrorCode::None, -1, -1);
        assert!(is_fine && text.contains("does not tell"), "{text}");
        let broken = disk(BrokerId(1), &directory(ErrorCode::KafkaStorageError, -1, -1));
        assert!(
            !broken.is_fine() && broken.text.contains("KAFKA_STORAGE_ERROR"),
            "{}",
            broken.text
        );
    }

    #[test]
    fn a_lag_stands_out_from_the_others() {
        let of = |lags: &[i64]| {
            let lags: Vec<_> = lags.iter().map(|lag| ((), *lag)).collect();
            outlier(&lags).map(|(_, lag)| *lag)
        };
        assert_eq!(of(&[5, 20_000, 7]), Some(20_000));
        assert_eq!(of(&[20_000]), Some(20_000));
        assert_eq!(of(&[15_000, 20_000, 12_000]), None, "all are behind");
        assert_eq!(of(&[0, 900, 0]), None, "nothing that matters");
        assert_eq!(of(&[]), None);
    }
}
