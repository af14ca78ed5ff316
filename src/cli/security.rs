//! Verbs and programs about users, rights and quotas: these are not there yet, and whoever calls them is told so.

use clap::Args;

use super::failure::{Failure, USAGE};
use super::personality::Personality;

/// By name, without `.sh`.
pub(super) const PERSONALITIES: &[(&str, Personality)] = &[
    ("kafka-acls", |_| Ok(refuse("kafka-acls", &Anything::default()).report(false))),
    ("kafka-delegation-tokens", |_| {
        Ok(refuse("kafka-delegation-tokens", &Anything::default()).report(false))
    }),
];

/// All that follows such a verb.
#[derive(Debug, Default, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What is said of them all.
pub(super) fn refuse(verb: &str, rest: &Anything) -> Failure {
    let mut words = vec![verb];
    words.extend(rest.words.first().filter(|word| !word.starts_with('-')).map(String::as_str));
    let message = format!("{}: users, rights and quotas are not there yet", words.join(" "));
    Failure::new("NOT_YET", USAGE, message)
        .hint("who reaches the broker may do everything: keep strangers away from its port")
}
