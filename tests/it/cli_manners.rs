//! What all verbs of the command line have in common: pictures that are taken again and again, wide tables, colours, quiet, and
//! where the cluster is before the verb. And what `ottla doctor` finds out about brokers.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use ottla::env::MemoryDisk;
use ottla::model::UnixMillis;
use serde_json::Value;

use crate::cli::{peer, shell, text};
use crate::process::Program;
use crate::rig::{DATA, Rig};

fn broker() -> Program {
    Program::start(&["serve", "--memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
}

/// Starts `ottla` with this broker and these variables.
fn start(broker: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ottla"))
        .args(arguments)
        .env_clear()
        .env("OTTLA_BOOTSTRAP", broker)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ottla(broker: &str, arguments: &[&str]) -> Output {
    start(broker, &[], arguments).wait_with_output().unwrap()
}

fn done(broker: &str, arguments: &[&str]) {
    let output = ottla(broker, arguments);
    assert!(output.status.success(), "{output:?}");
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Ends a process that listens for Ctrl-C; gives its exit code.
fn interrupt(mut child: Child) -> Option<i32> {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    child.wait().unwrap().code()
}

/// An error does not end it once it has begun: neither a topic that is gone for a while, nor a broker.
#[test]
fn a_watch_goes_on_until_it_is_interrupted() {
    let broker = broker();
    let address = broker.kafka.as_str();
    done(address, &["topic", "create", "t"]);
    let mut watch = start(address, &[], &["topic", "describe", "t", "--watch=50ms"]);
    let mut pictures = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut errors = BufReader::new(watch.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut picture = |partitions: usize| {
        let lines: Vec<String> = pictures.by_ref().take_while(|line| !line.is_empty()).collect();
        let is_whole = lines[0].starts_with("t  ") && lines[2].starts_with("PARTITION");
        assert!(is_whole && lines.len() == 3 + partitions, "{lines:?}");
    };
    picture(1);
    picture(1);
    done(address, &["topic", "delete", "t"]);
    let error = errors.find(|line| line.starts_with("ottla:")).unwrap();
    assert!(error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    done(address, &["topic", "create", "t", "-p", "2"]);
    let whole = pictures.find(|line| line.starts_with("1 "));
    assert!(whole.is_some(), "a second partition is shown");
    assert_eq!(interrupt(watch), Some(130));
}

#[test]
fn a_watch_outlives_a_restart_of_its_broker() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let first = Program::start(&["--data", data, "--listen", "127.0.0.1:0", "--http", "off"]);
    let address = first.kafka.clone();
    done(&address, &["topic", "create", "before"]);
    let arguments = ["topic", "list", "--watch=50ms", "--format", "name"];
    let mut watch = start(&address, &[], &arguments);
    let mut names = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut errors = BufReader::new(watch.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(names.next().as_deref(), Some("before"));
    drop(first);
    assert!(errors.any(|line| line.starts_with("ottla:")), "it says that the broker is away");
    let second = Program::start(&["--data", data, "--listen", &address, "--http", "off"]);
    assert_eq!(second.kafka, address);
    done(&address, &["topic", "create", "after"]);
    assert!(names.any(|name| name == "after"));
    assert_eq!(interrupt(watch), Some(130));
}

#[test]
fn a_watch_that_cannot_begin_or_is_not_read_ends() {
    let broker = broker();
    let address = broker.kafka.as_str();
    for (arguments, exit) in [
        (&["topic", "describe", "nope", "--watch"][..], 4),
        (&["topic", "list", "--watch", "-b", "nowhere.invalid:1"], 3),
        (&["topic", "list", "--watch=0s"], 2),
        (&["topic", "list", "--watch", "-X", "nope=1"], 2),
        (&["topic", "delete", "t", "--watch"], 2),
    ] {
        let output = ottla(address, arguments);
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
    }
    for verb in ["topic list", "group list --json", "cluster health", "cluster txn list"] {
        let line = format!("{{ ottla {verb} --watch=10ms; echo $? >&2; }} | head -1");
        assert_eq!(text(&shell(address, &line).stderr), "0\n", "{verb}");
    }
    // One document after the other, and nothing in between.
    let line = "ottla group list -J --watch=10ms | head -6";
    let printed = text(&shell(address, line).stdout);
    assert_eq!(printed, "{\n  \"groups\": []\n}\n".repeat(2));
}

/// In place, below a line that says what it is. `script` is what gives it a terminal.
#[test]
fn a_watch_on_a_terminal_takes_the_place_of_what_was_there() {
    let broker = broker();
    let line = "script -qefc 'ottla topic watch -n 2 --every 10ms' /dev/null < /dev/null";
    let printed = text(&shell(&broker.kafka, line).stdout);
    let pictures: Vec<&str> = printed.split("\u{1b}[H\u{1b}[2J").skip(1).collect();
    assert_eq!(pictures.len(), 2, "{printed:?}");
    for picture in pictures {
        let mut lines = picture.lines();
        let head = lines.next().unwrap();
        assert!(head.starts_with("ottla topic watch -n 2 --every 10ms   every 10ms   "), "{head}");
        assert!(lines.any(|line| line.starts_with("NAME")), "{picture:?}");
    }
}

/// More columns for people, and the same for programs.
#[test]
fn wide_tables_have_more_columns() {
    let broker = broker();
    let address = broker.kafka.as_str();
    done(address, &["topic", "create", "t", "-c", "retention.ms=7200000"]);
    let written = shell(address, "seq 3 | ottla produce t && ottla consume t -G g -n 1");
    assert!(written.status.success(), "{written:?}");
    for (verb, columns, cells) in [
        ("topic list", "CLEANUP  RETENTION  RETAINED   SIZE", "delete   2h         unlimited"),
        ("topic describe t", "OFFLINE  ELR  LAST-ELR  SIZE", "memory"),
        ("group list", "PROTOCOL", "consumer"),
        ("group describe g", "INSTANCE  START  EPOCH  METADATA", "-         0"),
        ("group members g", "EPOCH  TARGET  PROTOCOL", ""),
        ("cluster brokers", "REPLICAS  LEADS  APIS  FEATURES", "metadata.version="),
        ("cluster info", "REPLICAS  LEADS  APIS  FEATURES", "metadata.version="),
        ("cluster quorum", "DIRECTORY", "AAAAAAAAAAAAAAAAAAAAAA"),
        ("cluster health", "", "healthy"),
        ("cluster txn list", "COORDINATOR", ""),
    ] {
        let words: Vec<&str> = verb.split(' ').collect();
        let of = |format| ottla(address, &[&words[..], &["--format", format]].concat());
        let wide = of("wide");
        let printed = text(&wide.stdout);
        assert!(wide.status.success(), "{wide:?}");
        assert!(printed.contains(columns) && printed.contains(cells), "{printed}");
        let narrow = text(&of("table").stdout);
        assert!(!narrow.contains(columns) || printed == narrow, "{narrow}");
        // CSV is read by programs, which count columns.
        let csv = text(&of("csv").stdout);
        assert!(columns.is_empty() || !csv.contains("FEATURES"), "{csv}");
    }
}

/// Tables and errors may have colours, what programs read never has any. The flag wins over the environment.
#[test]
fn colours_are_for_people() {
    let broker = broker();
    let address = broker.kafka.as_str();
    let made = shell(address, "seq 1500 | ottla produce t && ottla consume t -G g -n 1");
    assert!(made.status.success(), "{made:?}");
    let coloured = |variables: &[(&str, &str)], arguments: &[&str]| {
        let output = start(address, variables, arguments).wait_with_output().unwrap();
        let both = [&output.stdout, &output.stderr].map(|printed| printed.contains(&0x1b));
        (both, text(&output.stdout) + &text(&output.stderr))
    };
    let list = ["topic", "list", "-i"];
    let always = ["topic", "list", "-i", "--color", "always"];
    let force = [("CLICOLOR_FORCE", "1")];
    assert_eq!(coloured(&[], &list).0, [false, false]);
    assert_eq!(coloured(&force, &list).0, [true, false]);
    assert_eq!(coloured(&[("NO_COLOR", "1")], &always).0, [true, false]);
    assert_eq!(coloured(&force, &["topic", "list", "-i", "--color=never"]).0, [false, false]);
    for format in ["csv", "json", "ndjson", "yaml", "name"] {
        let arguments = [&always[..], &["--format", format]].concat();
        assert_eq!(coloured(&[], &arguments).0, [false, false], "{format}");
    }
    let (both, printed) = coloured(&force, &["topic", "describe", "nope"]);
    assert_eq!(both, [false, true]);
    assert!(printed.starts_with("\u{1b}[1m\u{1b}[31mottla:\u{1b}[0m UNKNOWN_TOPIC"), "{printed:?}");
    let lag = coloured(&force, &["group", "describe", "g"]).1;
    assert!(lag.contains("\u{1b}[33m1499\u{1b}[0m"), "{lag:?}");
    let (_, plain) = coloured(&[], &list);
    let (_, painted) = coloured(&force, &list);
    let bare = painted.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
    assert_eq!(bare, plain, "colours do not move columns");
    let log = |variables: &[(&str, &str)], arguments: &[&str]| {
        let all = [&["serve", "--memory", "--listen", "127.0.0.1:0", "--http", "off"], arguments];
        let mut broker = start("", variables, &all.concat());
        let mut lines = BufReader::new(broker.stderr.take().unwrap()).lines().map(Result::unwrap);
        let ready = lines.find(|line| line.contains("ready")).unwrap();
        broker.kill().unwrap();
        broker.wait().unwrap();
        ready.contains('\u{1b}')
    };
    assert!(!log(&[], &[]) && log(&force, &[]) && log(&[], &["--color", "always"]));
    assert!(!log(&force, &["--color", "never"]));
}

#[test]
fn quiet_leaves_notes_out_and_errors_in() {
    let broker = broker();
    let address = broker.kafka.as_str();
    done(address, &["topic", "create", "t"]);
    let said = |arguments: &[&str]| text(&ottla(address, arguments).stderr);
    let trim = ["topic", "trim", "t", "--before", "end"];
    assert!(said(&trim).contains("nothing was changed"), "{}", said(&trim));
    assert_eq!(said(&[&trim[..], &["-q"]].concat()), "");
    assert_eq!(said(&["export", "t", "--to", "/dev/null", "--quiet"]), "");
    assert!(said(&["-q", "topic", "describe", "nope"]).starts_with("ottla: UNKNOWN_TOPIC"));
}

#[test]
fn the_cluster_may_be_said_before_the_verb() {
    let (here, there) = (broker(), broker());
    done(&here.kafka, &["topic", "create", "here"]);
    let folder = tempfile::tempdir().unwrap();
    let home = [("XDG_CONFIG_HOME", folder.path().to_str().unwrap())];
    let run =
        |arguments: &[&str]| start(&there.kafka, &home, arguments).wait_with_output().unwrap();
    assert!(run(&["context", "add", "one", "-b", &here.kafka]).status.success());
    let list = ["topic", "list", "--format", "name"];
    assert_eq!(text(&run(&list).stdout), "");
    for before in [["-c", "one"], ["--context", "one"], ["-b", &here.kafka]] {
        let output = run(&[&before[..], &list[..]].concat());
        assert_eq!(text(&output.stdout), "here\n", "{output:?}");
    }
    let created = run(&["-c", "one", "topic", "create", "t", "-c", "retention.ms=1000"]);
    assert!(created.status.success(), "{created:?}");
    for arguments in [&["-c", "one"][..], &["-c", "one", "serve"], &["-b", "h:1", "--memory"]] {
        let output = run(arguments);
        let error = text(&output.stderr);
        assert!(error.contains("ottla -c NAME topic list"), "{error}");
        assert_eq!(output.status.code(), Some(2));
    }
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().unwrap().iter();
    findings.find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{report}"))
}

/// The broker's own time is on the record that goes there and back.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_sees_a_clock_that_is_wrong() {
    let past = UnixMillis(1_600_000_000_000);
    let rig = Rig::at(past, Arc::new(MemoryDisk::new()), Path::new(DATA)).await;
    let output = ottla(&rig.broker.addresses()[0].to_string(), &["doctor", "--json"]);
    let report = json(&output);
    let clock = finding(&report, "clock");
    assert_eq!((&clock["fine"], output.status.code()), (&Value::Bool(false), Some(1)));
    assert!(clock["text"].as_str().unwrap().contains("s behind that of this machine"), "{clock}");
    assert!(clock["fix"].as_str().unwrap().contains("NTP"), "{clock}");
}

#[test]
fn the_doctor_asks_the_brokers_how_they_are() {
    let broker = broker();
    let address = broker.kafka.as_str();
    let report = json(&ottla(address, &["doctor", "--json", "--http", &broker.http]));
    assert_eq!(report["healthy"], true, "{report}");
    for (check, words) in [
        ("partitions", "with leaders and all replicas"),
        ("replication", "as many as settings want"),
        ("disk", "1.0 TiB of 1.0 TiB free (100 %)"),
        ("files", "files open"),
        ("settings", "knows all keys"),
        ("groups", "0 groups"),
        ("clock", "agree"),
    ] {
        let found = finding(&report, check);
        assert!(found["text"].as_str().unwrap().contains(words), "{found}");
        assert_eq!((&found["fine"], &found["fix"]), (&Value::Bool(true), &Value::Null));
    }
    // Somebody else's port is no process of this cluster.
    let other = self::broker();
    let report = json(&ottla(address, &["doctor", "--json", "--http", &other.http]));
    let process = finding(&report, "process");
    assert_eq!(process["text"], "no broker of this cluster serves HTTP there");
}

#[test]
fn the_doctor_says_what_cannot_be_met_and_who_is_behind() {
    let broker = Program::start(&[
        "serve",
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "-o",
        "offsets.topic.replication.factor=3",
        "-o",
        "no.such.key=1",
    ]);
    let address = broker.kafka.as_str();
    let written = shell(
        address,
        "seq 1500 | ottla produce t && ottla topic alter t --set min.insync.replicas=2",
    );
    assert!(written.status.success(), "{written:?}");
    let output = ottla(address, &["doctor", "--http", &broker.http, "--read-only"]);
    let printed = text(&output.stdout);
    for words in [
        "FAIL  replication: offsets.topic.replication.factor is 3, and there is no more than 1 broker",
        "fix: set offsets.topic.replication.factor=1 on the brokers",
        "FAIL  replication: topic t wants 2 replicas in sync and has 1 replica",
        "note  settings: broker 1 does not know 1 of the keys",
        "fix: ottla config check",
    ] {
        assert!(printed.contains(words), "{words}:\n{printed}");
    }
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_doctor_says_which_group_is_far_behind() {
    let broker = broker();
    let address = broker.kafka.as_str();
    let read = "seq 2000 | ottla produce t && ottla consume t -G slow -n 1 && ottla consume t -G fast -n 2000";
    let read = shell(address, read);
    assert!(read.status.success(), "{read:?}");
    let output = ottla(address, &["doctor", "--read-only", "--json"]);
    let report = json(&output);
    let groups = finding(&report, "groups");
    assert_eq!(groups["text"], "group slow is 1999 records behind and has no members");
    assert!(groups["fix"].as_str().unwrap().ends_with("ottla group describe slow"), "{groups}");
    assert_eq!(output.status.code(), Some(0), "nobody is kept from using it");
}

#[test]
fn the_doctor_says_who_has_the_port_of_a_broker() {
    let (address, _) = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let report = json(&ottla(&address, &["doctor", "--json"]));
    let connection = finding(&report, "connection");
    let owner = format!("it speaks HTTP; process {} (", std::process::id());
    assert!(connection["text"].as_str().unwrap().contains(&owner), "{connection}");
}
