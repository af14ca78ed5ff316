//! Which topics the regular expressions of a group stand for (`TopicRegexResolver` of Kafka).
//!
//! They are resolved all at once and not in the heartbeat that asks for it but right after, in a turn of its own, which
//! writes what was found: members learn of it with their next heartbeat. It is done again when topics were created, and
//! after the refresh interval, since what a member may see can change; but never again within ten seconds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::regex::WholePattern;
use super::{ConsumerGroup, Refusal, Scope, hash};
use crate::group::records::consumer::{ConsumerRecord, MemberMetadata, ResolvedRegex};
use crate::group::turn::Turn;
use crate::group::{Caller, TopicFilter};
use crate::model::{ErrorCode, Instant, UnixMillis};

/// Between one resolution and the next at least.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(10);

/// When the regular expressions of a group are resolved next. Soft.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// Set when it is to be done now, for who asked: only topics that it may know of are found.
    due: Option<(Instant, TopicFilter)>,
    /// Whether all topics were seen that exist.
    is_current: bool,
}

impl Refresh {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.as_ref().map(|(at, _)| *at)
    }

    pub(super) fn topics_created(&mut self) {
        self.is_current = false;
    }
}

/// What became of the regular expression of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegexChange {
    /// It is as before.
    None,
    /// It is another, and has yet to be resolved.
    Unresolved,
    /// It is another that is resolved already, or there is none any more.
    Resolved,
}

impl ConsumerGroup {
    /// The member says `after` instead of `before`.
    pub(super) fn change_regex(
        &mut self,
        turn: &mut Turn<'_>,
        caller: &Caller,
        before: &MemberMetadata,
        after: &MemberMetadata,
    ) -> Result<RegexChange, Refusal> {
        let mut change = RegexChange::None;
        let mut is_new = false;
        let (old, new) = (before.used_regex(), after.used_regex());
        if before.regex != after.regex {
            change = RegexChange::Unresolved;
            if let Some(old) = old.filter(|old| self.subscriptions.users(old) == 1) {
                self.write(turn, &ConsumerRecord::Regex(Arc::clone(old), None));
            }
            match new {
                Some(new) if self.subscriptions.users(new) == 0 => {
                    check(new)?;
                    is_new = true;
                }
                Some(new) if self.subscriptions.resolved(new).is_none() => {}
                None if old.is_none() => {}
                _ => change = RegexChange::Resolved,
            }
        }
        if is_new || self.subscriptions.regexes().next().is_some() {
            self.refresh_if_needed(turn, caller, is_new, after);
        }
        Ok(change)
    }

    fn refresh_if_needed(
        &mut self,
        turn: &Turn<'_>,
        caller: &Caller,
        is_new: bool,
        after: &MemberMetadata,
    ) {
        let last = self.subscriptions.all_resolved().map(|(_, it)| it.at).next();
        let has_passed = |interval: Duration| {
            let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
            last.is_none_or(|last: UnixMillis| turn.now.unix > last.plus_millis(interval_ms))
        };
        if self.regexes.due.is_some() || !has_passed(REFRESH_INTERVAL_MIN) {
            return;
        }
        let uses_some =
            after.used_regex().is_some() || self.subscriptions.regexes().next().is_some();
        let is_missing = |regex: &Arc<str>| self.subscriptions.resolved(regex).is_none();
        let needed = is_new
            || self.subscriptions.regexes().any(is_missing)
            || !self.regexes.is_current
            || has_passed(turn.settings.consumer.regex_refresh_interval);
        if needed && uses_some {
            self.regexes.due = Some((turn.instant(), caller.sees.clone()));
        }
    }

    /// Resolves all regular expressions, if that is due.
    pub(super) fn resolve_if_due(&mut self, turn: &mut Turn<'_>, scope: &Scope<'_>) {
        let Some((_, sees)) = self.regexes.due.take_if(|(at, _)| *at <= turn.now.instant) else {
            return;
        };
        self.regexes.is_current = true;
        let mut subscriptions = self.subscriptions.clone();
        let mut has_changed = false;
        for regex in self.subscriptions.regexes() {
            let topics = matching(regex, scope, &sees);
            let before = self.subscriptions.resolved(regex);
            has_changed |= before.map_or(!topics.is_empty(), |before| before.topics != topics);
            let resolved = ResolvedRegex { topics, version: 0, at: turn.now.unix };
            subscriptions.resolve(regex, Some(resolved.clone()));
            self.write(turn, &ConsumerRecord::Regex(Arc::clone(regex), Some(resolved)));
        }
        let metadata_hash = hash::of_topics(&subscriptions.topics(), scope.image);
        if has_changed || metadata_hash != self.metadata_hash {
            self.write_epoch(turn, self.epoch + 1, metadata_hash);
            self.is_metadata_stale = false;
        }
    }
}

/// # Errors
/// `INVALID_REGULAR_EXPRESSION`.
fn check(regex: &str) -> Result<(), Refusal> {
    WholePattern::new(regex).map(|_| ()).map_err(|problem| {
        let message = format!("regular expression `{regex:.200}`: {problem}");
        Refusal::new(ErrorCode::InvalidRegularExpression, message)
    })
}

/// The topics that match. A pattern that another broker took and this one cannot read stands for none.
fn matching(regex: &str, scope: &Scope<'_>, sees: &TopicFilter) -> BTreeSet<Arc<str>> {
    let pattern = match WholePattern::new(regex) {
        Ok(pattern) => pattern,
        Err(problem) => {
            tracing::warn!(regex, problem, "a regular expression of a group cannot be read");
            return BTreeSet::new();
        }
    };
    let names = scope.image.topics().map(|topic| topic.name.as_str());
    names.filter(|name| pattern.matches(name) && sees.lets_pass(name)).map(Arc::from).collect()
}
