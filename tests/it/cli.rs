//! The verbs of the command line that speak to a cluster: what they print, for people and for programs, and how they fail.
//!
//! `tests/data/cli/*.txt` are transcripts. Each line that begins with `$ ` is run by a shell against a broker of the
//! transcript's own, in a folder of its own; what follows is what it prints, standard error last, and its exit code if that is not 0.
//! `UPDATE_TRANSCRIPTS=1` writes them anew.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use regex::Regex;

use crate::process::Program;
use crate::transactions::{committed_values, with_kafkas_partition};

pub(crate) fn broker() -> Program {
    Program::start(&["serve", "--memory", "--listen", "127.0.0.1:0", "--http", "off"])
}

fn binary_folder() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_ottla")).parent().unwrap().to_owned()
}

/// A command with our binary in its path and this broker to begin with.
pub(crate) fn command(program: &str, broker: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", binary_folder().display()))
        .env("OTTLA_BOOTSTRAP", broker)
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn ottla(broker: &str, arguments: &[&str]) -> Output {
    command("ottla", broker).args(arguments).output().unwrap()
}

/// Runs a line of a shell with our binary in its path.
pub(crate) fn shell(broker: &str, line: &str) -> Output {
    command("sh", broker).args(["-c", line]).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What differs from run to run, as words.
fn normalized(output: &str, broker: &str) -> String {
    let port = broker.rsplit(':').next().unwrap();
    let mut text = output.replace(broker, "BROKER").replace(port, "PORT");
    for (pattern, with) in [
        (r#"(id |cluster |id": ")[A-Za-z0-9_-]{22}"#, "${1}ID"),
        (r#"(timestamp":|\[)1[0-9]{12}"#, "${1}TIME"),
        (r"[0-9a-zA-Z]+-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "MEMBER"),
        (r"in [0-9]+ ms", "in N ms"),
        (r"[0-9]+ APIs", "N APIs"),
        (r"(?m)[ ]+$", ""),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, with).into_owned();
    }
    text
}

fn run_transcript(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli").join(name);
    let written = fs::read_to_string(&path).unwrap();
    let broker = broker();
    let folder = tempfile::tempdir().unwrap();
    let mut found = String::new();
    for line in written.lines() {
        if line.starts_with("# ") {
            found.push_str(line);
            found.push('\n');
        }
        let Some(run) = line.strip_prefix("$ ") else { continue };
        let mut shell = command("sh", &broker.kafka);
        shell.args(["-c", run]).current_dir(&folder).env("XDG_CONFIG_HOME", folder.path());
        let output = shell.output().unwrap();
        let printed = text(&output.stdout) + &text(&output.stderr);
        found.push_str(&format!("{line}\n{}", normalized(&printed, &broker.kafka)));
        if !found.ends_with('\n') {
            found.push('\n');
        }
        match output.status.code() {
            Some(0) => {}
            code => found.push_str(&format!("(exit code {})\n", code.unwrap_or(-1))),
        }
    }
    if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, written, "{name}: UPDATE_TRANSCRIPTS=1 writes it anew");
}

#[test]
fn transcript_of_topics() {
    run_transcript("topics.txt");
}

#[test]
fn transcript_of_records() {
    run_transcript("records.txt");
}

#[test]
fn transcript_of_formats_and_filters() {
    run_transcript("formats.txt");
}

#[test]
fn transcript_of_groups() {
    run_transcript("groups.txt");
}

#[test]
fn transcript_of_the_cluster() {
    run_transcript("cluster.txt");
}

#[test]
fn transcript_of_exports_and_copies() {
    run_transcript("transfer.txt");
}

#[test]
fn transcript_of_contexts() {
    run_transcript("context.txt");
}

#[test]
fn transcript_of_what_is_not_there_yet() {
    run_transcript("not-yet.txt");
}

#[test]
fn redpandas_tool_as_its_users_know_it() {
    run_transcript("rpk.txt");
}

/// Who listens there and is no broker: nobody, somebody silent, TLS, HTTP. Each has its own words, and all exit with 3.
#[test]
fn ports_without_a_broker_are_told_apart() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let (silent, tls, http) = (
        peer(b""),
        peer(b"\x15\x03\x03\x00\x02\x02\x46"),
        peer(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    );
    for (address, words) in [
        (&nobody, "Connection refused"),
        (&silent.0, "did not answer ApiVersions within 300 ms"),
        (&tls.0, "speaks TLS"),
        (&http.0, "it speaks HTTP"),
        (&"nowhere.invalid:9092".to_owned(), "cannot resolve 'nowhere.invalid'"),
    ] {
        let arguments = ["topic", "list", "-b", address, "--timeout", "300ms"];
        let output = ottla("", &arguments);
        let error = text(&output.stderr);
        assert!(error.contains(words) && error.contains("hint:"), "{error}");
        assert_eq!(output.status.code(), Some(3), "{error}");
        let output = ottla("", &[&arguments[..], &["--json"]].concat());
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{error}");
        let output = ottla("", &["doctor", "-b", address, "--timeout", "300ms"]);
        let found = text(&output.stdout);
        assert!(found.contains(words) && found.contains("fix: "), "{found}");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// A peer that says this to everybody, and holds the connection if it says nothing.
pub(crate) fn peer(says: &'static [u8]) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 16];
            drop(stream.read(&mut request));
            drop(stream.write_all(says));
            if says.is_empty() {
                held.push(stream);
            }
        }
    });
    (address, serve)
}

/// A reader that has seen enough is no error, neither of a pipe nor of a file of its own.
#[test]
fn a_broken_pipe_ends_quietly() {
    let broker = broker();
    let shell = |line: &str| shell(&broker.kafka, line);
    let written = shell("seq 100000 | ottla produce many");
    assert!(written.status.success(), "{written:?}");
    let verbs = [
        "consume many",
        "consume many -e",
        "consume many --json",
        "topic list",
        "config explain",
        "kafka-topics --bootstrap-server $OTTLA_BOOTSTRAP --list",
        "kafka-broker-api-versions --bootstrap-server $OTTLA_BOOTSTRAP",
    ];
    for verb in verbs {
        let output = shell(&format!("{{ ottla {verb}; echo $? >&2; }} | true"));
        assert_eq!(text(&output.stderr), "0\n", "{verb}");
    }
    let output = shell("ottla consume many | head -2");
    assert_eq!(text(&output.stdout), "1\n2\n");
}

/// A running `ottla` whose lines are read one by one.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(broker: &str, arguments: &[&str]) -> Self {
        let mut child = command("ottla", broker).args(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Ends it with Ctrl-C; gives what it still printed.
    fn interrupt(self) -> Vec<String> {
        self.end("INT", 130)
    }

    /// Ends it with a signal, which has this exit code; gives what it still printed.
    fn end(mut self, signal: &str, exit: i32) -> Vec<String> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let rest = self.lines.by_ref().lines().map(Result::unwrap).collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(exit));
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn produce(broker: &str, topic: &str, lines: &str) {
    let mut child =
        command("ottla", broker).args(["produce", topic]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A signal makes a member leave its group at once, with all that was printed committed: the next one goes on behind it.
#[test]
fn a_member_that_a_signal_ends_loses_and_repeats_nothing() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    produce(broker, "t", "1\n2\n3\n");
    for (group, signal, exit) in [("interrupted", "INT", 130), ("terminated", "TERM", 143)] {
        let mut first = Running::start(broker, &["consume", "t", "-G", group]);
        assert_eq!([first.line(), first.line(), first.line()], ["1", "2", "3"]);
        assert!(first.end(signal, exit).is_empty());
        let described = ottla(broker, &["group", "describe", group, "--json"]);
        let described: serde_json::Value = serde_json::from_slice(&described.stdout).unwrap();
        assert_eq!(described["groups"][0]["state"], "Empty");
        assert_eq!(described["groups"][0]["partitions"][0]["current"], 3);
    }
    produce(broker, "t", "4\n");
    let next = ottla(broker, &["consume", "t", "-G", "terminated", "-n", "1"]);
    assert_eq!(text(&next.stdout), "4\n");
}

/// What a signal ends before its work is done does not look like success.
#[test]
fn what_a_signal_ends_has_an_exit_code_of_its_own() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    produce(broker, "t", "1\n2\n");
    let mut reader = Running::start(broker, &["consume", "t", "-n", "100"]);
    assert_eq!([reader.line(), reader.line()], ["1", "2"]);
    assert!(reader.end("TERM", 143).is_empty());
    let mut watcher = Running::start(broker, &["topic", "watch", "t"]);
    assert!(watcher.line().starts_with("NAME"));
    assert!(watcher.line().starts_with("t "));
    assert!(watcher.interrupt().is_empty());
    let made = ottla(broker, &["topic", "create", "copied"]);
    assert!(made.status.success(), "{made:?}");
    let copier = Running::start(broker, &["topic", "copy", "t", "copied", "--follow"]);
    let copied = ottla(broker, &["consume", "copied", "-n", "2"]);
    assert_eq!(text(&copied.stdout), "1\n2\n");
    assert_eq!(copier.interrupt(), ["copied 2 records from t to copied"]);
}

/// Whoever stops a measurement sees what was measured, and no topic stays behind.
#[test]
fn an_interrupted_bench_shows_its_table_and_removes_its_topic() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    let topics = || text(&ottla(broker, &["topic", "list", "--format", "name"]).stdout);
    for (signal, verb, code) in [("INT", "produce", 130), ("TERM", "e2e", 143)] {
        let arguments = match verb {
            "produce" => ["bench", verb, "-d", "10m"],
            _ => ["bench", verb, "-n", "1000000000"],
        };
        let child = command("ottla", broker).args(arguments).spawn().unwrap();
        while !topics().contains("ottla-bench") {
            std::thread::yield_now();
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let printed = text(&output.stdout);
        assert!(printed.starts_with("BENCH") && printed.contains(verb), "{printed}");
        assert_eq!(topics(), "");
    }
}

/// A broker that stops answering is waited for as long as was asked for, and not again and again.
#[test]
fn a_silent_broker_is_given_up_in_time() {
    let broker = broker();
    let address = broker.kafka.as_str();
    produce(address, "t", "1\n");
    let verbs: [&[&str]; 4] = [
        &["consume", "t"],
        &["consume", "t", "-G", "g"],
        &["bench", "produce", "-d", "10m"],
        &["bench", "e2e", "-n", "1000000000"],
    ];
    let running: Vec<_> = verbs
        .iter()
        .map(|verb| {
            command("ottla", address).args(*verb).args(["--timeout", "1s"]).spawn().unwrap()
        })
        .collect();
    let count = |needle: &str| {
        let topics = text(&ottla(address, &["topic", "list", "--format", "name"]).stdout);
        topics.lines().filter(|topic| topic.contains(needle)).count()
    };
    let joined = || {
        let members = ottla(address, &["group", "describe", "g", "--json"]);
        text(&members.stdout).contains("Stable")
    };
    while count("ottla-bench") < 2 || !joined() {
        std::thread::yield_now();
    }
    broker.signal("STOP");
    let began = std::time::Instant::now();
    let outputs: Vec<_> =
        running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let took = began.elapsed();
    broker.signal("CONT");
    for (verb, output) in verbs.iter().zip(outputs) {
        assert_eq!(output.status.code(), Some(3), "{verb:?}: {output:?}");
    }
    // A second each, and another one for what they leave behind; the rest is for a busy machine. A batch may take two minutes otherwise.
    assert!(took < std::time::Duration::from_secs(30), "{took:?}");
}

/// Members would overwrite what is set for their group.
#[test]
fn a_group_in_use_does_not_get_the_offsets_of_another() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    produce(broker, "t", "1\n2\n");
    let read = ottla(broker, &["consume", "t", "-G", "from", "-n", "1"]);
    assert_eq!(text(&read.stdout), "1\n");
    let mut member = Running::start(broker, &["consume", "t", "-G", "to"]);
    assert_eq!([member.line(), member.line()], ["1", "2"]);
    let refused = ottla(broker, &["group", "clone", "from", "to", "--execute"]);
    assert_eq!(refused.status.code(), Some(7), "{refused:?}");
    assert!(text(&refused.stderr).contains("has members"), "{refused:?}");
    member.interrupt();
    let cloned = ottla(broker, &["group", "clone", "from", "to", "--execute"]);
    assert!(cloned.status.success(), "{cloned:?}");
    let next = ottla(broker, &["consume", "t", "-G", "to", "-n", "1"]);
    assert_eq!(text(&next.stdout), "2\n");
}

/// What a broker of this machine tells over HTTP.
#[test]
fn metrics_and_connections_of_a_broker() {
    let broker =
        Program::start(&["serve", "--memory", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let http = broker.http.as_str();
    produce(&broker.kafka, "t", "1\n");
    let mut reader =
        Running::start(&broker.kafka, &["consume", "t", "-G", "g", "--client-id", "a-reader"]);
    assert_eq!(reader.line(), "1");
    let listed = ottla("", &["connections", "--http", http, "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let connections = listed["connections"].as_array().unwrap();
    let of_reader = connections.iter().filter(|it| it["client_id"] == "a-reader");
    let apis: Vec<_> = of_reader.map(|it| (&it["last_api"], &it["software"]["name"])).collect();
    assert!(apis.contains(&(&"Fetch".into(), &"ottla".into())), "{listed}");
    let table = text(&ottla("", &["connections", "--http", http]).stdout);
    assert!(table.starts_with("PEER ") && table.contains(" a-reader "), "{table}");
    reader.interrupt();
    let all = text(&ottla("", &["metrics", "--http", http]).stdout);
    assert!(all.contains("\nkafka_brokers ") && all.contains("\nprocess_threads "), "{all}");
    let some = text(&ottla("", &["metrics", "--http", http, "kafka_brokers"]).stdout);
    assert!(some.contains("\nkafka_brokers ") && !some.contains("process_threads"), "{some}");
    let none = ottla("", &["metrics", "--http", http, "kafka_broker_count"]);
    assert_eq!(none.status.code(), Some(4), "{none:?}");
}

/// Two members share the partitions, and the one that stays takes over what the other one had.
#[test]
fn members_share_and_take_over() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    let made = ottla(broker, &["topic", "create", "t", "-p", "2"]);
    assert!(made.status.success(), "{made:?}");
    let consume = ["consume", "t", "-G", "g", "-f", "%p %s\\n"];
    let mut first = Running::start(broker, &consume);
    let write = |partition: &str, value: &str| {
        let line = format!("echo {value} | ottla produce t -p {partition}");
        let written = shell(broker, &line);
        assert!(written.status.success(), "{written:?}");
    };
    write("0", "a");
    write("1", "b");
    let mut both = [first.line(), first.line()];
    both.sort();
    assert_eq!(both, ["0 a", "1 b"]);
    let mut second = Running::start(broker, &consume);
    let shared = |count: usize| {
        let members = ottla(broker, &["group", "members", "g", "--json"]);
        let members: serde_json::Value = serde_json::from_slice(&members.stdout).unwrap();
        let members = members["members"].as_array().unwrap().clone();
        let each: Vec<usize> =
            members.iter().map(|member| member["partitions"].as_array().unwrap().len()).collect();
        each == vec![2 / count; count]
    };
    while !shared(2) {
        std::thread::yield_now();
    }
    write("0", "c");
    write("1", "d");
    let mut each = [first.line(), second.line()];
    each.sort();
    assert_eq!(each, ["0 c", "1 d"]);
    assert!(first.interrupt().is_empty());
    while !shared(1) {
        std::thread::yield_now();
    }
    write("0", "e");
    write("1", "f");
    let mut rest = [second.line(), second.line()];
    rest.sort();
    assert_eq!(rest, ["0 e", "1 f"], "nothing twice, nothing lost");
    assert!(second.interrupt().is_empty());
}

/// Records of open and aborted transactions are not for those who read committed ones.
#[tokio::test(flavor = "multi_thread")]
async fn committed_records_alone() {
    let rig = with_kafkas_partition().await;
    let broker = rig.broker.addresses()[0].to_string();
    let committed = committed_values(&mut rig.client().await).await;
    let read = |arguments: &[&str]| {
        let output = text(&ottla(&broker, arguments).stdout);
        output.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(read(&["consume", "t", "-e", "--read-committed"]), committed);
    let all = read(&["consume", "t", "-e"]);
    assert!(all.len() > committed.len(), "{all:?}");
}
