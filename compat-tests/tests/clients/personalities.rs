//! Apache Kafka's tools, and the binary under their names, print the same.
//!
//! A scenario is a list of command lines. The original runs it against one broker and ours against another, since most commands change
//! something; what describes is then asked of one broker by both. What is printed on standard output has to be the same, line by line,
//! and how the tools end.

use std::io::{Seek as _, Write as _};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::java::{java_class, output};
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::workspace::ottla;
use ottla_compat_tests::{Server, ServerKind};
use regex::Regex;

/// Names of programs and the classes behind them.
const CLASSES: &[(&str, &str)] = &[
    ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-cluster", "org.apache.kafka.tools.ClusterTool"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
];

/// What is done with topics.
const TOPICS_CHANGED: &[&str] = &[
    "--list",
    "--describe",
    "--create --topic orders --partitions 3 --replication-factor 1 --config retention.ms=5000 --config cleanup.policy=compact",
    "--create --topic orders",
    "--create --topic orders --if-not-exists",
    "--create --topic with.dots_and_more",
    "--create --topic bad/name",
    "--create --topic none --partitions 0",
    "--create --topic none --replication-factor 0",
    "--create --topic none --replication-factor 3",
    "--create --topic none --config nonsense",
    "--create --topic none --config unknown.key=1",
    "--create --topic none --config retention.ms=soon",
    "--create --topic assigned --replica-assignment 1,1",
    "--create --topic none --replica-assignment 1:1",
    "--create --topic none --replica-assignment 1,2:3",
    "--create --topic none --replica-assignment 7",
    "--create --topic users --partitions 2 --config min.insync.replicas=1 --config segment.bytes=2000000 --config compression.type=lz4",
    "--list",
    "--list --topic ord.*",
    "--list --topic orders,users",
    "--list --topic none",
    "--list --exclude-internal",
    "--describe",
    "--describe --topic orders",
    "--describe --topic ord",
    "--describe --topic none",
    "--describe --topic none --if-exists",
    "--describe --topics-with-overrides",
    "--describe --under-replicated-partitions",
    "--describe --unavailable-partitions",
    "--describe --under-min-isr-partitions",
    "--describe --at-min-isr-partitions",
    "--describe --partition-size-limit-per-response 1",
    "--describe --topic-id AAAAAAAAAAAAAAAAAAAAAA --topic users",
    "--describe --topic-id bbbbbbbbbbbbbbbbbbbbbQ",
    "--describe --topic-id bbbbbbbbbbbbbbbbbbbbbQ --if-exists",
    "--alter --topic orders --partitions 5",
    "--alter --topic orders --partitions 5",
    "--alter --topic orders --partitions 2",
    "--alter --topic none --partitions 2",
    "--alter --topic none --partitions 2 --if-exists",
    "--alter --topic assigned --partitions 3 --replica-assignment 1,1,1",
    "--alter --topic orders",
    "--describe --topic orders",
    "--list --describe",
    "--list --partitions 2",
    "--describe --topics-with-overrides --unavailable-partitions",
    "--delete --topic none",
    "--delete --topic none --if-exists",
    "--delete --topic orders,users",
    "--delete",
    "--list",
];

/// What is asked of a broker by both.
const TOPICS_ASKED: &[&str] = &["--describe", "--list", "--describe --topic with.dots_and_more"];

pub(crate) fn topics(kind: ServerKind) -> Result<()> {
    let named = |commands: &[&str]| -> Vec<String> {
        commands.iter().map(|command| format!("kafka-topics {command}")).collect()
    };
    alike(kind, &named(TOPICS_CHANGED), &named(TOPICS_ASKED))
}

/// Records that are written and read, and where they are. What stands behind `<<` is what a tool reads.
const RECORDS: &[&str] = &[
    "kafka-topics --create --topic notes",
    "kafka-console-producer --topic notes << one\\ntwo\\n\\nthree",
    "kafka-console-producer --topic notes --reader-property parse.key=true --reader-property key.separator=: << a:1\\nb:2:3\\n:",
    "kafka-console-producer --topic notes --reader-property parse.key=true --reader-property key.separator=; --reader-property parse.headers=true --reader-property headers.delimiter=| --reader-property null.marker=NULL << h:1,i:NULL|k;v\\nNULL|NULL;NULL\\nh:|k;",
    "kafka-console-producer --topic notes --compression-codec zstd << packed",
    "kafka-console-producer --topic notes --compression-codec --sync << packed by gzip",
    "kafka-console-producer --topic notes --reader-property parse.key=true << no key",
    "kafka-console-producer --topic notes --reader-property parse.key=true --reader-property ignore.error=true << no key",
    "kafka-console-producer << nowhere",
    "kafka-console-producer --topic made --command-property acks=1 --batch-size 100 << new",
    "kafka-console-consumer --topic notes --from-beginning --max-messages 13",
    "kafka-console-consumer --topic notes --partition 0 --offset 2 --max-messages 3",
    "kafka-console-consumer --topic notes --partition 0 --offset earliest --max-messages 10 --formatter-property print.key=true --formatter-property print.offset=true --formatter-property print.partition=true --formatter-property print.headers=true --formatter-property print.epoch=true --formatter-property print.delivery=true --formatter-property print.timestamp=true --formatter-property key.separator=~ --formatter-property headers.separator=+ --formatter-property null.literal=nothing",
    "kafka-console-consumer --topic notes --from-beginning --max-messages 4 --formatter-property print.value=false --formatter-property print.key=true",
    "kafka-console-consumer --topic notes --from-beginning --max-messages 2 --isolation-level read_committed --formatter-property line.separator=;",
    "kafka-console-consumer --include no.*s --from-beginning --max-messages 2",
    "kafka-console-consumer --topic notes --from-beginning --max-messages 4 --group readers",
    "kafka-console-consumer --topic notes --max-messages 2 --group readers",
    "kafka-console-consumer --topic made --from-beginning --timeout-ms 2000",
    "kafka-console-consumer --topic notes --offset 1 --max-messages 1",
    "kafka-console-consumer --topic notes --partition 0 --offset -1 --max-messages 1",
    "kafka-console-consumer --topic notes --partition 0 --group readers --max-messages 1",
    "kafka-console-consumer --from-beginning --max-messages 1",
    "kafka-get-offsets --exclude-internal-topics",
    "kafka-get-offsets --topic notes --time earliest",
    "kafka-get-offsets --topic notes --time -3",
    "kafka-get-offsets --topic notes --time 0",
    "kafka-get-offsets --topic notes --time 99999999999999",
    "kafka-get-offsets --topic-partitions made:0,notes:0-1,none:3-",
    "kafka-get-offsets --topic m.*|n.* --partitions 0",
    "kafka-get-offsets --topic none",
    "kafka-get-offsets --topic notes --partitions x",
    "kafka-get-offsets --topic notes --topic-partitions notes:0",
    "kafka-get-offsets --time soon",
];

pub(crate) fn records(kind: ServerKind) -> Result<()> {
    let commands: Vec<String> = RECORDS.iter().map(|command| (*command).to_owned()).collect();
    let is_asked = |command: &&String| command.starts_with("kafka-get-offsets");
    let mut asked: Vec<String> = commands.iter().filter(is_asked).cloned().collect();
    // What is in internal topics differs from broker to broker.
    asked.push("kafka-get-offsets".to_owned());
    alike(kind, &commands, &asked)
}

/// Settings. `{plan}` is a file that the test writes.
const CONFIGS: &[&str] = &[
    "kafka-topics --create --topic orders --partitions 2 --config retention.ms=5000",
    "kafka-topics --create --topic users",
    "kafka-console-producer --topic users << one\\ntwo\\nthree",
    "kafka-configs --describe --entity-type topics --entity-name orders",
    "kafka-configs --describe --entity-type topics",
    "kafka-configs --describe --topic none",
    "kafka-configs --describe --topic none --all",
    "kafka-configs --describe --topic bad/name",
    "kafka-configs --alter --topic orders --add-config cleanup.policy=[compact,delete],segment.bytes=2000000",
    "kafka-configs --alter --entity-type topics --entity-name orders --delete-config retention.ms --add-config min.insync.replicas=1",
    "kafka-configs --alter --topic orders --add-config retention.ms=soon",
    "kafka-configs --alter --topic orders --add-config unknown.key=1",
    "kafka-configs --alter --topic orders --add-config nonsense",
    "kafka-configs --alter --topic none --add-config retention.ms=1",
    "kafka-configs --alter --entity-type topics --add-config retention.ms=1",
    "kafka-configs --alter --topic orders",
    "kafka-configs --describe --topic orders",
    "kafka-configs --describe --entity-type brokers --entity-name 1",
    "kafka-configs --alter --broker-defaults --add-config log.retention.ms=7000000",
    "kafka-configs --alter --broker 1 --add-config log.retention.ms=8000000",
    "kafka-configs --describe --broker 7",
    "kafka-configs --describe --broker x",
    "kafka-configs --describe --entity-type brokers --entity-default",
    "kafka-configs --describe --broker 1",
    "kafka-configs --describe --entity-type brokers",
    "kafka-configs --alter --broker 1 --delete-config log.retention.ms",
    "kafka-configs --alter --broker-defaults --delete-config log.retention.ms",
    "kafka-configs --alter --broker 1 --add-config broker.id=2",
    "kafka-configs --describe --entity-type brokers",
    "kafka-configs --describe --group none",
    "kafka-configs --alter --group readers --add-config consumer.session.timeout.ms=50000",
    "kafka-configs --describe --group readers",
    "kafka-configs --describe --entity-type groups",
    "kafka-configs --alter --group readers --add-config consumer.session.timeout.ms=1",
    "kafka-configs --alter --group readers --delete-config consumer.session.timeout.ms",
    "kafka-configs --describe --group readers",
    "kafka-configs --describe --entity-type things",
    "kafka-configs --describe",
    "kafka-configs --describe --alter --topic orders",
    "kafka-delete-records --offset-json-file {plan}",
    "kafka-delete-records --offset-json-file {none}",
    "kafka-delete-records",
    "kafka-get-offsets --topic users --time earliest",
    "kafka-log-dirs",
    "kafka-log-dirs --describe --broker-list 7",
    "kafka-cluster list-endpoints",
    "kafka-cluster unregister --id 7",
    "kafka-cluster list-endpoints --include-fenced-brokers",
    "kafka-consumer-groups --list",
    "kafka-consumer-groups --describe",
    "kafka-consumer-groups --validate-regex a.*",
];

/// What is asked of a broker by both.
const CONFIGS_ASKED: &[&str] = &[
    "kafka-configs --describe --topic orders --all",
    "kafka-configs --describe --broker 1 --all",
    "kafka-configs --describe --broker-defaults --all",
    "kafka-configs --describe --group readers --all",
    "kafka-configs --describe --entity-type broker-loggers --entity-name 1",
    "kafka-broker-api-versions",
    "kafka-cluster cluster-id",
    "kafka-cluster list-endpoints",
    "kafka-cluster unregister --id 7",
    "kafka-log-dirs --describe --topic-list orders,users",
    "kafka-log-dirs --describe --broker-list 1 --topic-list none",
];

/// The rest of the administration.
pub(crate) fn configs(kind: ServerKind) -> Result<()> {
    let mut plan = tempfile::NamedTempFile::new()?;
    plan.write_all(
        br#"{"partitions": [{"topic": "users", "partition": 0, "offset": 2}, {"topic": "orders", "partition": 1, "offset": 9},
            {"topic": "orders", "partition": 0, "offset": -1}], "version": 1}"#,
    )?;
    let path = plan.path().to_str().context("a path that is text")?;
    let fill = |commands: &[&str]| -> Vec<String> {
        let none = format!("{path}.none");
        let fill = |command: &&str| command.replace("{plan}", path).replace("{none}", &none);
        commands.iter().map(fill).collect()
    };
    alike(kind, &fill(CONFIGS), &fill(CONFIGS_ASKED))
}

/// Runs a scenario twice, and what is asked by both.
fn alike(kind: ServerKind, changes: &[String], asked: &[String]) -> Result<()> {
    let (first, second) = (Server::start(kind, &[])?, Server::start(kind, &[])?);
    compare(&original(changes, &first)?, &ours(changes, &second)?)?;
    compare(&original(asked, &first)?, &ours(asked, &first)?)
}

/// Fails with all lines of a command that are not the same.
fn compare(expected: &[String], found: &[String]) -> Result<()> {
    assert_eq!(expected.len(), found.len(), "commands");
    let differences: String = expected
        .iter()
        .zip(found)
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("-{expected}\n+{found}\n"))
        .collect();
    ensure!(differences.is_empty(), "-: Apache Kafka's tool, +: ours\n{differences}");
    Ok(())
}

/// The name of the program, its options, and what it reads.
fn parts(command: &str) -> (&str, &str, &str) {
    let (line, input) = command.split_once(" << ").unwrap_or((command, ""));
    let (name, options) = line.split_once(' ').unwrap_or((line, ""));
    (name, options, input)
}

/// What Apache Kafka's tools print for each command.
fn original(commands: &[String], server: &Server) -> Result<Vec<String>> {
    let mut lines = tempfile::tempfile()?;
    for command in commands {
        let (name, options, input) = parts(command);
        let class = CLASSES.iter().find(|(other, _)| *other == name).context("no such tool")?.1;
        let input = if input.is_empty() { String::new() } else { format!(" << {input}") };
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        writeln!(lines, "{class}{options} --bootstrap-server {}{input}", server.bootstrap())?;
    }
    lines.rewind()?;
    let printed = output(java_class("ToolLines")?.stdin(lines))?;
    let blocks = printed.split("== ").skip(1);
    let blocks = blocks.zip(commands).map(|(block, command)| {
        let printed = block.split_once('\n').map_or("", |(_, printed)| printed);
        without_chance(&format!("{command}\n{printed}"))
    });
    blocks.collect()
}

/// What ours print.
fn ours(commands: &[String], server: &Server) -> Result<Vec<String>> {
    let run = |command: &String| {
        let (name, options, input) = parts(command);
        let mut lines = tempfile::tempfile()?;
        if !input.is_empty() {
            writeln!(lines, "{}", input.replace("\\n", "\n"))?;
            lines.rewind()?;
        }
        let mut program = bounded(ottla()?);
        program.arg(name).args(options.split(' ').filter(|word| !word.is_empty()));
        program.args(["--bootstrap-server", server.bootstrap()]);
        let result = program.stdin(lines).output().context("cannot run it")?;
        let printed = String::from_utf8_lossy(&result.stdout);
        let status = result.status.code().context("it was ended")?;
        without_chance(&format!("{command}\n{printed}exit {status}\n"))
    };
    commands.iter().map(run).collect()
}

/// Without what differs from broker to broker, and from run to run.
fn without_chance(text: &str) -> Result<String> {
    let ids = Regex::new("TopicId: [A-Za-z0-9_-]{22}")?;
    let times = Regex::new("CreateTime:[0-9]+")?;
    let ports = Regex::new("127.0.0.1([: ])[0-9]{5}")?;
    let text = ids.replace_all(text, "TopicId: (an id)");
    let text = ports.replace_all(&text, "127.0.0.1$1(a port)");
    // Its results come in another order at each start of a JVM.
    if text.starts_with("kafka-delete-records") {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        return Ok(lines.join("\n"));
    }
    Ok(times.replace_all(&text, "CreateTime:(a time)").into_owned())
}
