//! `ottla produce` at a pace, and in a transaction.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::cli::{broker, command, ottla, shell, text};
use crate::features::set_level;
use crate::rig::Rig;

/// The lines that a verb prints.
fn lines(broker: &str, arguments: &[&str]) -> Vec<String> {
    text(&ottla(broker, arguments).stdout).lines().map(str::to_owned).collect()
}

/// Starts `ottla produce` with these lines; its input stays open.
fn start(broker: &str, arguments: &[&str], lines: &str) -> Child {
    let mut child = command("ottla", broker)
        .arg("produce")
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.as_mut().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    input.flush().unwrap();
    child
}

/// Ends it with Ctrl-C; its input ends at the same time, as that of a pipeline does.
fn interrupt(child: Child) -> Output {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

/// Records of a rate come one after the other, each in its time.
#[test]
fn a_rate_spreads_records_evenly() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    let began = std::time::Instant::now();
    let written = shell(broker, "seq 8 | ottla produce t --rate 20/s");
    assert!(written.status.success(), "{written:?}");
    assert!(began.elapsed() >= Duration::from_millis(340), "{:?}", began.elapsed());
    let times = lines(broker, &["consume", "t", "-e", "-f", "%T\\n"]);
    let times: Vec<i64> = times.iter().map(|time| time.parse().unwrap()).collect();
    assert_eq!(times.len(), 8);
    // A clock that wakes late is made up for, by a few milliseconds.
    assert!(times.windows(2).all(|two| two[1] - two[0] >= 35), "{times:?}");
}

/// What was sent before Ctrl-C is written, and nothing is made up for afterwards.
#[test]
fn an_interrupted_rate_has_all_that_was_sent() {
    let broker = broker();
    let broker = broker.kafka.as_str();
    let made = ottla(broker, &["topic", "create", "t"]);
    assert!(made.status.success(), "{made:?}");
    let endless = ["t", "--rate", "200/s", "-D", "\\0", "-v", "/dev/zero"];
    let child = start(broker, &endless, "");
    let seen = ottla(broker, &["consume", "t", "-n", "5"]);
    assert!(seen.status.success(), "{seen:?}");
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let written = lines(broker, &["consume", "t", "-e", "-f", "%o\\n"]).len();
    // `t partition 0 offset 3: 1 records, 70 bytes`
    let said: usize = text(&output.stderr)
        .lines()
        .map(|line| {
            line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap()
        })
        .sum();
    assert!(written >= 5 && said == written, "{said} of {written}");
}

/// Readers of committed records see all of a run or nothing of it, at each level of `transaction.version`.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_all_or_nothing() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    let broker = rig.broker.addresses()[0].to_string();
    let broker = broker.as_str();
    let made = ottla(broker, &["topic", "create", "t", "-p", "3"]);
    assert!(made.status.success(), "{made:?}");
    let all = || lines(broker, &["consume", "t", "-e"]).len();
    let committed = || lines(broker, &["consume", "t", "-e", "--read-committed"]).len();
    for (round, level) in [2, 1, 0].into_iter().enumerate() {
        set_level(&mut client, level).await;
        let before = (all(), committed());
        // In several partitions, and more than one batch.
        let keyed = ["t", "-K", ":", "--txn=one", "--batch-size", "10"];
        let three = "a:1\nb:2\nc:3\n";
        let mut child = start(broker, &keyed, three);
        while all() < before.0 + 3 {
            assert_eq!(child.try_wait().unwrap(), None);
        }
        assert_eq!(committed(), before.1, "level {level}");
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "level {level}: {output:?}");
        assert_eq!(committed(), before.1 + 3, "level {level}");
        // Ctrl-C.
        let child = start(broker, &keyed, three);
        while all() < before.0 + 6 {
            std::thread::yield_now();
        }
        let output = interrupt(child);
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_eq!(text(&output.stderr), "ottla: the transaction was aborted\n");
        // A record that the broker refuses.
        let lines = "{\"value\":\"1\"}\n{\"value\":\"2\",\"partition\":7}\n";
        let mut child = start(broker, &["t", "--json", "--txn=one"], lines);
        drop(child.stdin.take());
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(4));
        // Somebody else takes the id.
        let mut fenced = start(broker, &keyed, three);
        while all() < before.0 + 9 {
            std::thread::yield_now();
        }
        let other = shell(broker, "echo d:4 | ottla produce t -K : --txn=one");
        assert!(other.status.success(), "level {level}: {other:?}");
        drop(fenced.stdin.take());
        let output = fenced.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "level {level}: {output:?}");
        assert_eq!(committed(), 4 * (round + 1), "level {level}");
    }
}
