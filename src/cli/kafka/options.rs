//! Options as Apache Kafka's tools take them.
//!
//! `--name value` and `--name=value`, a single dash as well as two; a name may be cut short as long as it is clear which one is
//! meant; an option may come several times. That is how jopt-simple reads them, which Kafka's tools use.

use anyhow::{anyhow, bail};

/// An option that a tool knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its names; the first is the one that the tool asks for.
    pub(super) names: &'static [&'static str],
    /// What follows it.
    pub(super) value: Value,
}

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    None,
    /// A value.
    Needed,
    /// A value, which may be left out: then it is empty.
    Optional,
}

/// An option without value.
pub(super) const fn flag(names: &'static [&'static str]) -> Known {
    Known { names, value: Value::None }
}

/// An option with a value.
pub(super) const fn valued(names: &'static [&'static str]) -> Known {
    Known { names, value: Value::Needed }
}

/// An option with a value that may be left out.
pub(super) const fn optional(names: &'static [&'static str]) -> Known {
    Known { names, value: Value::Optional }
}

/// The options that were given.
#[derive(Debug, Default)]
pub(super) struct Options {
    given: Vec<(&'static str, String)>,
    /// The arguments that are no options.
    pub(super) rest: Vec<String>,
}

impl Options {
    /// Reads arguments.
    ///
    /// # Errors
    /// If one is not known, or lacks its value.
    pub(super) fn read(known: &[Known], arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter().peekable();
        while let Some(argument) = arguments.next() {
            let Some(name) = argument.strip_prefix('-').filter(|name| !name.is_empty()) else {
                options.rest.push(argument.clone());
                continue;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            let (name, joined) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let option = find(known, name)?;
            let value = match option.value {
                Value::None => String::new(),
                Value::Optional => joined
                    .or_else(|| arguments.next_if(|next| !next.starts_with('-')).cloned())
                    .unwrap_or_default(),
                Value::Needed => joined
                    .or_else(|| arguments.next().cloned())
                    .ok_or_else(|| anyhow!("option {name} requires an argument"))?,
            };
            options.given.push((option.names[0], value));
        }
        Ok(options)
    }

    /// Whether an option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == name)
    }

    /// All values of an option, in their order.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let given = self.given.iter().filter(|(given, _)| *given == name);
        given.map(|(_, value)| &**value).collect()
    }

    /// The value of an option.
    ///
    /// # Errors
    /// If it was given more than once.
    pub(super) fn value(&self, name: &str) -> anyhow::Result<Option<&str>> {
        match self.values(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => bail!("found multiple arguments for option {name}, but only one is asked for"),
        }
    }

    /// The value of an option that cannot be left out.
    ///
    /// # Errors
    /// If it was, or was given more than once.
    pub(super) fn needed(&self, name: &str) -> anyhow::Result<&str> {
        self.value(name)?.ok_or_else(|| anyhow!("missing required argument \"[{name}]\""))
    }
}

/// The option of that name, or the only one whose name begins so.
fn find<'a>(known: &'a [Known], name: &str) -> anyhow::Result<&'a Known> {
    if let Some(option) = known.iter().find(|option| option.names.contains(&name)) {
        return Ok(option);
    }
    let begins = |option: &&Known| option.names.iter().any(|other| other.starts_with(name));
    let mut candidates = known.iter().filter(begins);
    match (candidates.next(), candidates.next()) {
        (Some(option), None) if !name.is_empty() => Ok(option),
        _ => bail!("{name} is not a recognized option"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        valued(&["bootstrap-server"]),
        valued(&["topic", "t"]),
        flag(&["list"]),
        flag(&["to-latest"]),
    ];

    fn read(line: &str) -> anyhow::Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::read(KNOWN, &words)
    }

    #[test]
    fn each_form_of_an_option() {
        for line in
            ["--topic a", "--topic=a", "-t a", "-topic a", "--top a", "--list --topic a rest"]
        {
            assert_eq!(read(line).unwrap().needed("topic").unwrap(), "a", "{line}");
        }
        let options = read("--list x --t -1 y").unwrap();
        assert!(options.has("list") && !options.has("to-latest"));
        assert_eq!(
            (options.values("topic"), &options.rest[..]),
            (vec!["-1"], &["x".into(), "y".into()][..])
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("--topic", "option topic requires an argument"),
            ("--unknown", "unknown is not a recognized option"),
            ("--to a", "to is not a recognized option"),
        ] {
            assert_eq!(read(line).unwrap_err().to_string(), said, "{line}");
        }
        let twice = read("--topic a --topic b").unwrap();
        assert!(twice.value("topic").is_err() && twice.values("topic") == ["a", "b"]);
        assert!(read("").unwrap().needed("topic").is_err());
    }
}
