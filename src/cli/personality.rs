//! What the program is when it is called by the name of another one.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::{kafka, redpanda, security};

/// Another program, which is given its arguments.
pub(super) type Personality = fn(&[String]) -> anyhow::Result<ExitCode>;

/// Which one it is, with its arguments: by the name of the file that was started, which may end in `.sh`, or by the first
/// argument.
pub(super) fn of(words: &[OsString]) -> Option<(Personality, Vec<String>)> {
    let find = |name: &str| {
        let name = name.strip_suffix(".sh").unwrap_or(name);
        let all = [kafka::PERSONALITIES, redpanda::PERSONALITIES, security::PERSONALITIES];
        all.into_iter().flatten().copied().find(|(other, _)| *other == name).map(|(_, run)| run)
    };
    let called = words.first().and_then(|word| Path::new(word).file_name()?.to_str());
    let (run, rest) = match called.and_then(find) {
        Some(run) => (run, words.get(1..)?),
        None => (find(words.get(1)?.to_str()?)?, words.get(2..)?),
    };
    // What is not text is no argument of theirs: they say what they make of it.
    Some((run, rest.iter().map(|word| word.to_string_lossy().into_owned()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_another_program_makes_it_that_program() {
        let rest = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            of(&words).map(|(_, rest)| rest.join(" "))
        };
        let found = |rest: &str| Some(rest.to_owned());
        assert_eq!(rest(&["/opt/kafka/bin/kafka-storage.sh", "random-uuid"]), found("random-uuid"));
        assert_eq!(rest(&["kafka-storage", "kafka-storage"]), found("kafka-storage"));
        assert_eq!(rest(&["ottla", "kafka-storage", "info"]), found("info"));
        assert_eq!(rest(&["ottla", "kafka-storage.sh"]), found(""));
        assert_eq!(rest(&["/usr/bin/rpk", "redpanda", "start"]), found("redpanda start"));
        for ours in [&["ottla"][..], &["ottla", "serve"], &["kafka", "serve"], &[]] {
            assert_eq!(rest(ours), None, "{ours:?}");
        }
    }
}
