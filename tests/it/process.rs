//! The program: its ready line, its signals, its errors in one line.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use crate::rig::PATIENCE;

/// `ottla` with these arguments, ended when the value is dropped.
pub(crate) struct Program {
    child: Child,
    /// The address of the ready line, that of the controller if the node is nothing else.
    pub(crate) kafka: String,
    /// That of HTTP, or `off`.
    pub(crate) http: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let words: Vec<_> = line.trim_end().split(' ').collect();
        let ["ottla", "ready", kafka, http] = words[..] else {
            child.kill().unwrap();
            let mut error = String::new();
            child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
            panic!("not a ready line: '{line}'\n{error}");
        };
        let address = kafka.strip_prefix("kafka=").or_else(|| kafka.strip_prefix("controller="));
        let kafka = address.unwrap().to_owned();
        let http = http.strip_prefix("http=").unwrap().to_owned();
        Self { child, kafka, http }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (status.code(), error)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs `ottla` to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs `ottla` with arguments that keep it from starting.
fn refused(arguments: &[&str]) -> Output {
    let output = output(arguments);
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// The kernel takes nothing out of the memory of a process that would not be short of it.
#[test]
fn the_code_of_the_start_is_given_back() {
    let program = Program::start(&["serve", "--memory", "--listen", "127.0.0.1:0"]);
    let code = || {
        let status = format!("/proc/{}/status", program.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        kilobytes.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let (began, mut most) = (Instant::now(), 0);
    while code() >= most {
        most = most.max(code());
        assert!(began.elapsed() < PATIENCE, "{most} kB of files are in memory");
        std::thread::yield_now();
    }
}

#[test]
fn an_advertised_host_without_an_address_is_told_of() {
    let listeners = "advertised.listeners=PLAINTEXT://nobody.invalid:1";
    let arguments = ["serve", "--memory", "--listen", "127.0.0.1:0", "-o", listeners];
    let mut program = Program::start(&arguments);
    let said = BufReader::new(program.child.stderr.take().unwrap());
    let warning = said.lines().map(Result::unwrap).find(|line| line.contains("WARN")).unwrap();
    assert!(warning.contains("`nobody.invalid`, which has no address here"), "{warning}");
}

#[test]
fn a_ready_broker_says_where_and_stops_with_0() {
    for signal in ["TERM", "INT"] {
        let program = Program::start(&["serve", "--listen", "127.0.0.1:0", "--memory"]);
        std::net::TcpStream::connect(&program.kafka).unwrap();
        program.signal(signal);
        assert_eq!(program.end().0, Some(0), "{signal}");
    }
}

/// HTTP without a word about it is beside the first listener, and no reason not to start.
#[test]
fn http_is_where_the_ready_line_says() {
    let first = Program::start(&["--listen", "127.0.0.1:0", "--memory"]);
    drop(std::net::TcpStream::connect(&first.http).unwrap());
    let off = Program::start(&["--listen", "127.0.0.1:0", "--memory", "--http", "off"]);
    assert_eq!(off.http, "off");
    let chosen = ["--listen", "127.0.0.1:0", "--memory", "--http", &first.http];
    let output = refused(&chosen);
    assert!(last_line(&output).contains("or choose another port with --http"), "{output:?}");
}

#[test]
fn a_controller_alone_says_where_and_stops_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let voters = format!("controller.quorum.voters=1@{free}");
    let mut arguments = vec!["--data", data.to_str().unwrap(), "--http", "127.0.0.1:0"];
    arguments.extend(["-o", "process.roles=controller", "-o", &voters]);
    let program = Program::start(&arguments);
    assert_eq!(program.kafka, free.to_string());
    let (code, said, _) = run(&["health", "--http", &program.http], &[]);
    assert_eq!((code, said.lines().count()), (Some(0), 4), "{said}");
    program.signal("TERM");
    assert_eq!(program.end().0, Some(0));
    let listener = ["--listen", "127.0.0.1:0"];
    arguments.extend(listener);
    let output = refused(&arguments);
    assert!(last_line(&output).contains("and has PLAINTEXT"), "{output:?}");
}

#[test]
fn a_directory_is_kept_over_restarts_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = ["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let cluster = |data: &Path| std::fs::read_to_string(data.join("meta.properties")).unwrap();
    let program = Program::start(&arguments);
    let first = cluster(&data);
    program.signal("KILL");
    drop(program);
    assert!(!data.join(".kafka_cleanshutdown").exists());
    let program = Program::start(&arguments);
    assert_eq!(cluster(&data), first);
    program.signal("TERM");
    assert_eq!(program.end().0, Some(0));
    assert!(data.join(".kafka_cleanshutdown").exists());
}

#[test]
fn what_keeps_it_from_starting_is_one_line_and_1() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let running = Program::start(&["--listen", "127.0.0.1:0", "--data", data]);
    let port = running.kafka.rsplit(':').next().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let bad = dir.path().join("server.properties");
    std::fs::write(&bad, "num.partitions=1\nlog.segment.bytes=3\n").unwrap();
    let other = dir.path().join("other");
    drop(Program::start(&["--listen", "127.0.0.1:0", "--data", other.to_str().unwrap()]));
    for (arguments, words) in [
        (
            vec!["--listen", "127.0.0.1:0", "--data", data],
            vec!["in use by another broker", "--data"],
        ),
        (
            vec!["--listen", &listen, "--memory"],
            vec!["cannot listen", &listen, "(ottla) listens there", "--listen"],
        ),
        (
            vec!["--memory", "--listen", "no-such-host.invalid:0"],
            vec!["no-such-host.invalid", "the host has no address"],
        ),
        (
            vec!["--memory", "--listen", "192.0.2.1:0"],
            vec!["192.0.2.1", "this machine has no such address"],
        ),
        (
            vec!["--memory", "-o", "listeners=localhost:9092"],
            vec!["did you mean PLAINTEXT://localhost:9092?"],
        ),
        (
            vec![
                "--memory",
                "-o",
                "listeners=A://:0,B://:0",
                "-o",
                "listener.security.protocol.map=A:PLAINTEXT",
            ],
            vec!["listener B", "add B:PLAINTEXT"],
        ),
        (
            vec!["--memory", "-o", "inter.broker.listener.name=INTERNAL"],
            vec!["inter.broker.listener.name", "must be one of listeners, which has PLAINTEXT"],
        ),
        (
            vec!["--listen", "127.0.0.1:0", "--data", file.to_str().unwrap()],
            vec!["cannot use", "file"],
        ),
        (vec!["--memory", "-o", "num.partitions=0"], vec!["num.partitions", "`0`", "1", "-o"]),
        (
            vec!["--memory", "--config", bad.to_str().unwrap()],
            vec!["log.segment.bytes", "`3`", "server.properties:2"],
        ),
        (vec!["--memory", "--config", "/no/such/file"], vec!["cannot read /no/such/file"]),
        (
            vec!["--listen", "127.0.0.1:0", "--data", other.to_str().unwrap(), "-o", "node.id=5"],
            vec!["belongs to node 1", "5"],
        ),
    ] {
        let output = refused(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let line = last_line(&output);
        assert!(line.starts_with("ottla: "), "{line}");
        for word in words {
            assert!(line.contains(word), "'{word}' is not in: {line}");
        }
    }
}

/// Runs `ottla` to its end; gives its exit code and what it printed.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = command(arguments).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn health_is_asked_without_a_shell() {
    let broker = Program::start(&["--listen", "127.0.0.1:0", "--memory"]);
    let well =
        (Some(0), "tasks: ok\ncontroller: ok\nlogs: ok\nlisteners: ok\n".to_owned(), String::new());
    assert_eq!(run(&["health", "--http", &broker.http], &[]), well);
    assert_eq!(run(&["health", "--wait", "30"], &[("OTTLA_HTTP_LISTENER", &broker.http)]), well);
    let (code, _, said) = run(&["health", "--http", &broker.kafka], &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("nobody answers"), "{said}");
    assert_eq!(run(&["health", "--http", "off"], &[]).0, Some(1));
}

#[test]
fn the_configuration_is_explained_and_checked() {
    let environment = [
        ("KAFKA_CFG_NUM_PARTITIONS", "3"),
        ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
        ("KAFKA_ZOOKEEPER_CONNECT", "zookeeper:2181"),
        ("KAFKA_NUM_PARTITIONZ", "4"),
    ];
    let (code, said, _) = run(&["config", "explain", "num.partitions"], &environment);
    assert_eq!(code, Some(0));
    for line in ["num.partitions=3", "  from     variable KAFKA_CFG_NUM_PARTITIONS", "  default  1"]
    {
        assert!(said.lines().any(|other| other == line), "{line} is not in\n{said}");
    }
    let (_, all, _) = run(&["config", "explain", "-o", "node.id=4"], &environment);
    assert!(all.contains("node.id=4  (option -o)") && !all.contains("10.0.0.1"), "{all}");
    let (code, _, said) = run(&["config", "explain", "num.partitons"], &[]);
    assert_eq!(code, Some(4));
    assert!(said.contains("did you mean num.partitions?"), "{said}");

    let (code, said, _) = run(&["config", "check"], &environment);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("there is no ZooKeeper here"), "{said}");
    assert!(said.contains("unknown key `num.partitionz`"), "{said}");
    assert_eq!(run(&["config", "check", "--strict"], &environment).0, Some(1));
    let (code, _, said) = run(&["config", "check", "-o", "num.partitions=0"], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(run(&["config", "docs"], &[]).1.contains("### `num.partitions`"));
}

#[test]
fn settings_come_from_file_environment_and_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    std::fs::write(&file, "node.id=3\nnum.partitons=2\nnum.network.threads=8\n").unwrap();
    let mut child = command(&[
        "--memory",
        "--listen",
        "127.0.0.1:0",
        "--config",
        file.to_str().unwrap(),
        "-o",
        "broker.rack=r2",
    ])
    .env("KAFKA_BROKER_RACK", "r1")
    .env("KAFKA_NUM_PARTITIONS", "4")
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ottla ready"), "{line}");
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(
        log.contains("unknown key `num.partitons`")
            && log.contains("did you mean `num.partitions`?"),
        "{log}"
    );
    assert!(log.contains("`num.network.threads`"), "{log}");
}

#[test]
fn log_lines_can_be_json() {
    let program = Program::start(&["--memory", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    program.signal("TERM");
    let (_, log) = program.end();
    for line in log.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(parsed["level"].is_string(), "{line}");
    }
    assert!(!log.is_empty());
}

#[test]
fn a_second_signal_ends_at_once() {
    let program = Program::start(&["--memory", "--listen", "127.0.0.1:0"]);
    // A client with a waiting request keeps the first stop waiting for a moment; the second does not care.
    let _client = std::net::TcpStream::connect(&program.kafka).unwrap();
    program.signal("TERM");
    program.signal("TERM");
    let (code, _) = program.end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

/// What `ottla` prints and ends with.
fn ran(arguments: &[&str]) -> (String, Option<i32>) {
    let output = command(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn log_directories_are_verified_and_their_files_dumped() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/directory-1/clean");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("data");
    let copied = Command::new("cp").arg("-r").args([&data, &copy]).status().unwrap();
    assert!(copied.success());
    let copy_name = copy.to_str().unwrap();
    let (words, code) = ran(&["logs", "verify", copy_name]);
    assert_eq!(code, Some(0), "{words}");
    let last = words.lines().last().unwrap();
    assert!(last.starts_with("partitions ") && last.ends_with("torn ends 0, damage 0"), "{last}");

    let (lines, _) = ran(&["logs", "verify", copy_name, "--json"]);
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let partitions: Vec<_> = lines.iter().filter(|line| line["kind"] == "partition").collect();
    let directory = lines.last().unwrap();
    assert_eq!(directory["kind"], "directory");
    assert_eq!(directory["partitions"], partitions.len());
    let with_records = partitions.iter().find(|partition| partition["records"] != 0).unwrap();

    let partition = copy.join(with_records["directory"].as_str().unwrap());
    let mut logs: Vec<_> = std::fs::read_dir(&partition)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    let log = logs[0].to_str().unwrap();
    let (words, code) = ran(&["logs", "dump", log]);
    assert_eq!(code, Some(0));
    assert!(words.starts_with("baseOffset: "), "{words}");
    let (lines, _) = ran(&["logs", "dump", log, "--print-data-log", "--json"]);
    let kinds: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds[..2], ["batch", "record"]);

    let mut bytes = std::fs::read(&logs[0]).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&logs[0], bytes).unwrap();
    let (words, code) = ran(&["logs", "verify", copy_name]);
    assert_eq!(code, Some(1));
    let place = format!("  damage: {log} at byte 0: the checksum of the batch does not fit");
    assert!(words.lines().any(|line| line == place), "{words}");
    let (words, code) = ran(&["logs", "dump", log, "--max-bytes", "1"]);
    assert_eq!((words.lines().count(), code), (1, Some(1)));
    assert!(words.ends_with("isvalid: false\n"), "{words}");
}

#[test]
fn aborted_transactions_of_kafka_are_dumped() {
    let data =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka-4.3.1-transactions/t-0");
    let (words, code) = ran(&["logs", "verify", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{words}");
    let index = data.join("00000000000000000015.txnindex");
    let (words, code) = ran(&["logs", "dump", index.to_str().unwrap()]);
    assert!(words.starts_with("version: 0 producerId: ") && words.lines().count() == 1, "{words}");
    assert_eq!(code, Some(0));
    let log = data.join("00000000000000000000.log");
    let (words, _) = ran(&["logs", "dump", "--records", log.to_str().unwrap()]);
    assert!(words.contains(" endTxnMarker: ABORT coordinatorEpoch: "), "{words}");
}

#[test]
fn what_cannot_be_looked_at_is_one_line_and_1() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().to_str().unwrap();
    for (arguments, words) in [
        (["logs", "verify", "/no/such/dir"], "cannot read /no/such/dir"),
        (["logs", "verify", empty], "is no log directory"),
        (["logs", "dump", "/no/such/00000000000000000000.log"], "cannot read /no/such"),
        (["logs", "dump", "Cargo.toml"], "its name says nothing"),
    ] {
        let output = refused(&arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let line = last_line(&output);
        assert!(line.starts_with("ottla: ") && line.contains(words), "{line}");
    }
}
