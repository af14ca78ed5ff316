//! `kafka-server-start [FILE] [--override KEY=VALUE]…`: a broker with the configuration of the environment and of a file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cli::serve::{self, ServeArguments, Words};
use crate::cli::sources::SourceArguments;

/// Where users of Apache Kafka's image put a configuration.
const MOUNTED: &str = "/mnt/shared/config/server.properties";

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (file, options) = read(arguments)?;
    let file = file.or_else(mounted);
    let sources = SourceArguments::of(file, options);
    serve::run(&ServeArguments::of(sources, Words::ApacheKafka))
}

/// The file, which the original needs and we do not, and what is to be set over it.
fn read(arguments: &[String]) -> anyhow::Result<(Option<PathBuf>, Vec<String>)> {
    let (mut file, mut options) = (None, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--override" => {
                let option = arguments.next().context("--override needs KEY=VALUE")?;
                options.push(option.clone());
            }
            // These are for the script around the JVM.
            "-loggc" => {}
            "-name" => drop(arguments.next()),
            "-daemon" => bail!("-daemon is not supported: end the line with `&` instead"),
            other if other.starts_with('-') => bail!("{other} is not a recognized option"),
            path if file.is_none() => file = Some(PathBuf::from(path)),
            other => bail!(
                "{other} comes after the configuration file; did you mean --override {other}?"
            ),
        }
    }
    Ok((file, options))
}

fn mounted() -> Option<PathBuf> {
    let mounted = PathBuf::from(MOUNTED);
    mounted.exists().then_some(mounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> anyhow::Result<(Option<PathBuf>, Vec<String>)> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_of_the_script() {
        let (file, options) =
            of("-name kafka -loggc s.properties --override a=b --override c=d").unwrap();
        assert_eq!(file, Some("s.properties".into()));
        assert_eq!(options, ["a=b", "c=d"]);
        assert_eq!(of("").unwrap(), (None, Vec::new()));
        for wrong in ["--override", "-daemon s.properties", "--help", "a.properties b=c"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
