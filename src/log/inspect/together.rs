//! Several data directories of a broker, looked at one by one: what does not fit together.
//!
//! What a start would refuse is damage (`data_dirs.rs`, and `replica/opening.rs` for partitions that are found twice).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::verify::{DirectoryReport, Finding, PartitionReport, Severity};
use crate::log::data_dir::{META_FILE, MetaProperties};
use crate::log::files::DirKind;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Together {
    directories: Vec<(PathBuf, Option<MetaProperties>)>,
    /// By name of its directory: in which data directories a partition was found, each by its place in the list, and where its
    /// copy was about to take its place.
    partitions: BTreeMap<String, Vec<(usize, Option<Uuid>)>>,
}

impl Together {
    /// A partition of the directory that is being looked at.
    pub fn partition(&mut self, partition: &PartitionReport) {
        if let DirKind::Partition(..) = DirKind::parse(&partition.directory) {
            let seen = self.partitions.entry(partition.directory.clone()).or_default();
            seen.push((self.directories.len(), partition.moved_to));
        }
    }

    /// A directory with all its partitions.
    pub fn directory(&mut self, directory: &DirectoryReport) {
        self.directories.push((directory.path.clone(), directory.identity.clone()));
    }

    /// What does not fit.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.identities().into_iter().chain(self.found_twice()).collect()
    }

    fn identities(&self) -> Vec<Finding> {
        let known: Vec<(&Path, &MetaProperties)> = self
            .directories
            .iter()
            .filter_map(|(path, meta)| Some((&**path, meta.as_ref()?)))
            .collect();
        let mut findings = Vec::new();
        for (at, (path, meta)) in known.iter().enumerate() {
            let before = || known.iter().take(at);
            let first =
                known.first().map(|(path, _)| path.display().to_string()).unwrap_or_default();
            if let Some((other, _)) = before().find(|(_, it)| it.directory_id == meta.directory_id)
            {
                let problem = format!("it has the directory.id of {}", other.display());
                findings.push(finding(Severity::Damage, path.join(META_FILE), problem));
            }
            if before().any(|(_, it)| it.cluster_id != meta.cluster_id) {
                let problem = format!("it belongs to another cluster than {first}");
                findings.push(finding(Severity::Damage, path.join(META_FILE), problem));
            } else if before().any(|(_, it)| it.node_id != meta.node_id) {
                let problem = format!("it belongs to another node than {first}");
                findings.push(finding(Severity::Damage, path.join(META_FILE), problem));
            }
        }
        findings
    }

    fn found_twice(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, seen) in self.partitions.iter().filter(|(_, seen)| seen.len() > 1) {
            let has_id = |at: usize, id: Uuid| {
                let meta = self.directories.get(at).and_then(|(_, meta)| meta.as_ref());
                meta.is_some_and(|meta| meta.directory_id == id)
            };
            for (at, moved_to) in seen {
                let Some((path, _)) = self.directories.get(*at) else { continue };
                let was_moved =
                    moved_to.is_some_and(|id| seen.iter().any(|(to, _)| has_id(*to, id)));
                let is_named = seen.iter().any(|(_, to)| to.is_some_and(|id| has_id(*at, id)));
                let (severity, problem) = if was_moved {
                    let problem =
                        "its copy in another directory counts: the next start removes this one";
                    (Severity::Note, problem)
                } else if is_named {
                    continue;
                } else {
                    (Severity::Damage, "it is in another directory too: the next start refuses")
                };
                findings.push(finding(severity, path.join(name), problem.to_owned()));
            }
        }
        findings
    }
}

fn finding(severity: Severity, path: PathBuf, problem: String) -> Finding {
    Finding { severity, path, position: None, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BrokerId, Offset};

    fn directory(path: &str, id: u128, cluster: &str, node: i32) -> DirectoryReport {
        let identity = MetaProperties {
            cluster_id: cluster.to_owned(),
            node_id: BrokerId(node),
            directory_id: Uuid::from_u128(id),
        };
        DirectoryReport {
            path: path.into(),
            identity: Some(identity),
            clean: true,
            findings: Vec::new(),
            aside: Vec::new(),
        }
    }

    fn partition(name: &str, moved_to: Option<u128>) -> PartitionReport {
        PartitionReport {
            directory: name.to_owned(),
            topic_id: None,
            moved_to: moved_to.map(Uuid::from_u128),
            segments: 1,
            log_start: Offset::ZERO,
            end: Offset::ZERO,
            recovery_point: Offset::ZERO,
            batches: 0,
            records: 0,
            bytes: 0,
            findings: Vec::new(),
        }
    }

    /// What is found of directories with these partitions.
    fn found(all: &[(DirectoryReport, &[PartitionReport])]) -> Vec<(Severity, String)> {
        let mut together = Together::default();
        for (directory, partitions) in all {
            partitions.iter().for_each(|partition| together.partition(partition));
            together.directory(directory);
        }
        let told = together.findings().into_iter();
        told.map(|it| (it.severity, format!("{}: {}", it.path.display(), it.problem))).collect()
    }

    #[test]
    fn directories_belong_to_one_node_and_have_an_id_each() {
        let a = || directory("a", 1, "c", 1);
        assert_eq!(found(&[(a(), &[]), (directory("b", 2, "c", 1), &[])]), []);
        let damage = |words: &str| vec![(Severity::Damage, words.to_owned())];
        for (other, words) in [
            (directory("b", 1, "c", 1), "b/meta.properties: it has the directory.id of a"),
            (directory("b", 2, "d", 1), "b/meta.properties: it belongs to another cluster than a"),
            (directory("b", 2, "c", 2), "b/meta.properties: it belongs to another node than a"),
        ] {
            assert_eq!(found(&[(a(), &[]), (other, &[])]), damage(words));
        }
    }

    #[test]
    fn a_partition_is_in_one_directory_or_was_being_moved() {
        let twice = |first: Option<u128>, second: &str| {
            let (here, there) = ([partition("t-0", first)], [partition(second, None)]);
            let dirs = (directory("a", 1, "c", 1), directory("b", 2, "c", 1));
            found(&[(dirs.0, &here), (dirs.1, &there)])
        };
        assert_eq!(twice(None, "t-1"), []);
        assert_eq!(twice(None, &format!("t-0.{}-future", Uuid::nil().simple())), []);
        let words = |path: &str| {
            format!("{path}/t-0: it is in another directory too: the next start refuses")
        };
        let both = [(Severity::Damage, words("a")), (Severity::Damage, words("b"))];
        assert_eq!(twice(None, "t-0"), both);
        let moved = "a/t-0: its copy in another directory counts: the next start removes this one";
        assert_eq!(twice(Some(2), "t-0"), [(Severity::Note, moved.to_owned())]);
    }
}
