//! `kafka-run-class CLASS …`: the program whose main class that is.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::PERSONALITIES;

/// The names of programs by the last part of their class.
const CLASSES: &[(&str, &str)] = &[
    ("Kafka", "kafka-server-start"),
    ("StorageTool", "kafka-storage"),
    ("TopicCommand", "kafka-topics"),
    ("ConsoleConsumer", "kafka-console-consumer"),
    ("ConsoleProducer", "kafka-console-producer"),
    ("GetOffsetShell", "kafka-get-offsets"),
    ("ConfigCommand", "kafka-configs"),
    ("ConsumerGroupCommand", "kafka-consumer-groups"),
    ("DeleteRecordsCommand", "kafka-delete-records"),
    ("LogDirsCommand", "kafka-log-dirs"),
    ("BrokerApiVersionsCommand", "kafka-broker-api-versions"),
    ("ClusterTool", "kafka-cluster"),
];

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    // What the script takes for itself.
    let mut rest = arguments;
    while let Some(first) = rest.first() {
        rest = match first.as_str() {
            "-loggc" => &rest[1..],
            "-name" => rest.get(2..).unwrap_or_default(),
            _ => break,
        };
    }
    let (class, rest) = rest.split_first().context("the name of a class is needed")?;
    let short = class.rsplit('.').next().unwrap_or(class);
    let Some((_, name)) = CLASSES.iter().find(|(known, _)| *known == short) else {
        bail!("there is no {class} here, and no JVM to run it");
    };
    let run = PERSONALITIES.iter().find(|(known, _)| known == name).map(|(_, run)| run);
    run.context("a program of the list")?(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_a_program() {
        for (class, name) in CLASSES {
            assert!(PERSONALITIES.iter().any(|(known, _)| known == name), "{class}");
        }
        let run = |line: &str| run(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            run("-name x -loggc kafka.tools.StorageTool random-uuid").ok(),
            Some(ExitCode::SUCCESS)
        );
        assert!(run("kafka.admin.Unknown").is_err() && run("").is_err());
    }
}
