//! Options before the verb: where the cluster is, and how to talk to people. They mean what they mean behind the verb, and are put
//! there before the arguments are read. There alone `-c` is short for `--context`: behind verbs it is for settings.

use std::ffi::{OsStr, OsString};

use clap::Command;

use super::failure::Failure;

/// What the help of the program says of them.
pub(super) const HELP: &str = "\
Before a verb: -c NAME or --context NAME, and -b HOST:PORT, say where its cluster is: ottla -c staging topic list.";

/// An option that may stand before a verb.
struct Leading {
    short: Option<&'static str>,
    long: &'static str,
    has_value: bool,
    /// Whether only verbs that speak to a cluster have it; all others have it everywhere.
    is_place: bool,
}

const LEADING: &[Leading] = &[
    Leading { short: Some("-c"), long: "--context", has_value: true, is_place: true },
    Leading { short: Some("-b"), long: "--bootstrap", has_value: true, is_place: true },
    Leading { short: Some("-q"), long: "--quiet", has_value: false, is_place: false },
    Leading { short: None, long: "--color", has_value: true, is_place: false },
];

/// The words with those options behind the verb of `program`.
///
/// # Errors
/// When there is no verb that could do something with them.
pub(super) fn put_behind(words: &[OsString], program: &Command) -> Result<Vec<OsString>, Failure> {
    let (name, mut rest) = words.split_at(words.len().min(1));
    let (mut moved, mut places) = (Vec::new(), Vec::new());
    while let Some((option, value)) = rest.first().and_then(|word| option_of(word)) {
        let mut word = OsString::from(option.long);
        rest = &rest[1..];
        if option.has_value {
            let value = match value {
                Some(value) => value,
                None => {
                    let (value, after) = rest.split_first().ok_or_else(|| {
                        Failure::usage(format!("{} needs a value", option.long)).hint(HINT)
                    })?;
                    rest = after;
                    value.clone()
                }
            };
            word.push("=");
            word.push(value);
        }
        moved.push(word);
        places.extend(option.is_place.then_some(option.long));
    }
    let (mut verb, mut names) = (program, Vec::new());
    while let Some(below) =
        rest.get(names.len()).and_then(|word| verb.find_subcommand(word.to_str()?))
    {
        verb = below;
        names.push(below.get_name());
    }
    // It has no options yet; the parser says what is missing.
    if verb.is_subcommand_required_set() {
        moved.clear();
        places.clear();
    }
    let longs: Vec<&str> = verb.get_arguments().filter_map(|option| option.get_long()).collect();
    let lacking = places.iter().find(|place| !longs.contains(&place.trim_start_matches('-')));
    if let Some(place) = lacking {
        let message = match names.is_empty() {
            true => format!("{place} without a verb: that starts a broker, which asks no cluster"),
            false => format!("ottla {} asks no cluster, and has no {place}", names.join(" ")),
        };
        return Err(Failure::usage(message).hint(HINT));
    }
    let (verb, after) = rest.split_at(names.len());
    Ok([name, verb, &moved, after].concat())
}

/// The option that a word is, with its value if that is in it.
fn option_of(word: &OsStr) -> Option<(&'static Leading, Option<OsString>)> {
    let word = word.to_str()?;
    LEADING.iter().find_map(|option| {
        let value = |rest: &str| Some(OsString::from(rest)).filter(|_| option.has_value);
        if word == option.long || option.short == Some(word) {
            return Some((option, None));
        }
        if let Some(rest) = word.strip_prefix(option.long) {
            return Some((option, Some(value(rest.strip_prefix('=')?)?)));
        }
        let rest = word.strip_prefix(option.short?)?;
        Some((option, Some(value(rest.strip_prefix('=').unwrap_or(rest))?)))
    })
}

const HINT: &str = "it says where a verb finds its cluster, as in ottla -c NAME topic list";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    fn moved(line: &str) -> Result<String, Failure> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words = put_behind(&words, &Arguments::command())?;
        Ok(words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn they_go_behind_the_verb() {
        for (line, expected) in [
            ("ottla -c a topic list -i", "ottla topic list --context=a -i"),
            ("ottla -ca topic describe topic", "ottla topic describe --context=a topic"),
            ("ottla --context a -q consume t -c 3", "ottla consume --context=a --quiet t -c 3"),
            ("ottla -b h:1 cluster quorum -J", "ottla cluster quorum --bootstrap=h:1 -J"),
            ("ottla --bootstrap=h:1 doctor", "ottla doctor --bootstrap=h:1"),
            ("ottla --color never -q --memory", "ottla --color=never --quiet --memory"),
            ("ottla -o a=b", "ottla -o a=b"),
            ("ottla", "ottla"),
            ("ottla topic create t -c a=b", "ottla topic create t -c a=b"),
            ("ottla -c a topic", "ottla topic"),
        ] {
            assert_eq!(moved(line).unwrap(), expected);
        }
    }

    #[test]
    fn what_asks_no_cluster_refuses_them() {
        for (line, message) in [
            (
                "ottla -c a --memory",
                "--context without a verb: that starts a broker, which asks no cluster",
            ),
            ("ottla -b h:1 serve", "ottla serve asks no cluster, and has no --bootstrap"),
            ("ottla -c a completions", "ottla completions asks no cluster, and has no --context"),
            ("ottla -c", "--context needs a value"),
        ] {
            assert_eq!(moved(line).unwrap_err().message(), message);
        }
    }
}
