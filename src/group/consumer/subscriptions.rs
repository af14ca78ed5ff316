//! What the members of a group subscribe to, counted.
//!
//! **Invariants:** a topic is there as long as somebody subscribes to it by name, or a regular expression stands for it;
//! no count is zero.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::group::records::consumer::{MemberMetadata, ResolvedRegex};

/// What the members subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriptions {
    /// By how many members, by name.
    names: BTreeMap<Arc<str>, usize>,
    /// By how many members each regular expression is used.
    regexes: BTreeMap<Arc<str>, usize>,
    /// How many regular expressions stand for each topic.
    resolved_names: BTreeMap<Arc<str>, usize>,
    resolved: BTreeMap<Arc<str>, Arc<ResolvedRegex>>,
}

impl MemberMetadata {
    /// The regular expression it subscribes to.
    #[must_use]
    pub fn used_regex(&self) -> Option<&Arc<str>> {
        self.regex.as_ref().filter(|regex| !regex.is_empty())
    }
}

impl Subscriptions {
    /// One member now says `after` instead of `before`.
    pub(super) fn change(
        &mut self,
        before: Option<&MemberMetadata>,
        after: Option<&MemberMetadata>,
    ) {
        if let Some(before) = before {
            before.topics.iter().for_each(|topic| decrement(&mut self.names, topic));
            before.used_regex().into_iter().for_each(|regex| decrement(&mut self.regexes, regex));
        }
        if let Some(after) = after {
            after.topics.iter().for_each(|topic| increment(&mut self.names, topic));
            after.used_regex().into_iter().for_each(|regex| increment(&mut self.regexes, regex));
        }
    }

    /// A regular expression stands for these topics, or is not resolved any more.
    pub(super) fn resolve(&mut self, regex: &Arc<str>, resolved: Option<ResolvedRegex>) {
        if let Some(before) = self.resolved.remove(regex) {
            before.topics.iter().for_each(|topic| decrement(&mut self.resolved_names, topic));
        }
        if let Some(resolved) = resolved {
            resolved.topics.iter().for_each(|topic| increment(&mut self.resolved_names, topic));
            self.resolved.insert(Arc::clone(regex), Arc::new(resolved));
        }
    }

    /// Forgets what stands for regular expressions that nobody uses any more, and names those.
    pub(super) fn forget_unused(&mut self) -> Vec<Arc<str>> {
        let is_unused = |regex: &&Arc<str>| !self.regexes.contains_key(*regex);
        let unused: Vec<_> = self.resolved.keys().filter(is_unused).cloned().collect();
        for regex in &unused {
            self.resolve(regex, None);
        }
        unused
    }

    pub(super) fn topics(&self) -> BTreeSet<Arc<str>> {
        self.names.keys().chain(self.resolved_names.keys()).cloned().collect()
    }

    pub(super) fn contains(&self, topic: &str) -> bool {
        self.names.contains_key(topic) || self.resolved_names.contains_key(topic)
    }

    /// How many members use a regular expression.
    pub(super) fn users(&self, regex: &str) -> usize {
        self.regexes.get(regex).copied().unwrap_or(0)
    }

    pub(super) fn regexes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.regexes.keys()
    }

    pub(super) fn resolved(&self, regex: &str) -> Option<&Arc<ResolvedRegex>> {
        self.resolved.get(regex)
    }

    pub(super) fn all_resolved(
        &self,
    ) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<ResolvedRegex>)> {
        self.resolved.iter()
    }
}

fn increment(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    *counts.entry(Arc::clone(key)).or_default() += 1;
}

fn decrement(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
