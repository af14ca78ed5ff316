//! Ottla's own command line against any broker, with kcat on the other side.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::{Nodes, Server, ServerKind, workspace};
use serde_json::Value;

/// Topics, offsets, settings, the cluster.
pub(crate) fn administration(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    let cli = Cli(&server);
    cli.run("topic create orders -p 3 -c retention.ms=86400000", "")?;
    ensure!(cli.fails("topic create orders", 5)?.contains("TOPIC_ALREADY_EXISTS (36)"));
    ensure!(cli.fails("topic describe ordrs", 4)?.contains("did you mean 'orders'?"));
    let topics = cli.json("topic list --json")?;
    ensure!(topics["topics"][0]["partitions"] == 3, "{topics}");
    cli.run("topic alter orders --set retention.ms=1000", "")?;
    ensure!(cli.fails("topic alter orders --set retention.mss=1", 1)?.contains("INVALID_CONFIG"));
    cli.run("topic add-partitions orders --add 1", "")?;
    cli.run("produce orders -p 0", "1\n2\n3\n")?;
    cli.run("topic trim orders --before 2 --execute", "")?;
    let described = &cli.json("topic describe orders --json")?["topics"][0];
    ensure!(described["configs"]["retention.ms"]["value"] == "1000", "{described}");
    let first = &described["partitions"][0];
    ensure!((&first["start"], &first["end"]) == (&2.into(), &3.into()), "{described}");
    ensure!(described["partitions"].as_array().is_some_and(|all| all.len() == 4), "{described}");
    ensure!(cli.json("cluster info --json")?["brokers"][0]["id"] == 1);
    cli.run("cluster health", "")?;
    let quorum = cli.json("cluster quorum --json")?;
    ensure!(quorum["leader"] == 1 && quorum["nodes"][0]["status"] == "leader", "{quorum}");
    let replicas = cli.json("cluster verify orders --json")?;
    ensure!(replicas["same"] == true, "{replicas}");
    ensure!(replicas["replicas"][0]["high_watermark"] == 3, "{replicas}");
    let moves = cli.json("cluster reassign --json")?;
    ensure!(moves["moves"].as_array().is_some_and(Vec::is_empty), "{moves}");
    cli.run("cluster reassign --cancel", "")?;
    cli.run("cluster config set log.retention.ms=1000000", "")?;
    let set = cli.json("cluster config get log.retention.ms --json")?;
    ensure!(set["configs"]["log.retention.ms"]["value"] == "1000000", "{set}");
    cli.run("cluster config unset log.retention.ms", "")?;
    cli.run("cluster txn list", "")?;
    ensure!(cli.fails("cluster txn abort nobody", 4)?.contains("TRANSACTIONAL_ID_NOT_FOUND"));
    let doctor = cli.json("doctor --json")?;
    ensure!(doctor["healthy"] == true, "{doctor}");
    cli.run("bench e2e -n 20", "")?;
    cli.run("topic delete orders", "")?;
    ensure!(cli.run("topic list --format name", "")?.is_empty(), "a topic was left behind");
    Ok(())
}

/// Replicas on three nodes: moved off one of them while they hold records, and compared.
pub(crate) fn three_nodes(kind: ServerKind) -> Result<()> {
    let mut nodes = Nodes::start_as(kind, &["offsets.topic.num.partitions=3"])?;
    let cli = Cli(nodes.node(1)?);
    cli.run("topic create moved -p 6 -r 2", "")?;
    let lines: String = (0..600).map(|n| format!("key{}:value {n}\n", n % 7)).collect();
    cli.run("produce moved -K :", &lines)?;
    let ids =
        |list: &Value| list.as_array().map(|all| all.iter().map(|it| it["id"].as_i64()).collect());
    let brokers: Option<Vec<_>> = ids(&cli.json("cluster brokers --json")?["brokers"]);
    ensure!(brokers == Some(vec![Some(1), Some(2), Some(3)]), "{brokers:?}");
    let quorum = cli.json("cluster quorum --json")?;
    ensure!(quorum["nodes"].as_array().is_some_and(|all| all.len() == 3), "{quorum}");
    let alike = || {
        let verified = cli.json("cluster verify moved --json")?;
        ensure!(verified["same"] == true, "{verified}");
        ensure!(verified["replicas"].as_array().is_some_and(|all| all.len() == 12), "{verified}");
        cli.run("cluster health", "")
    };
    alike()?;
    let planned = cli.json("cluster reassign -t moved --brokers 1,2 --dry-run --json")?;
    let moves = planned["moves"].as_array().context("no moves")?;
    ensure!(!moves.is_empty(), "{planned}");
    cli.run("cluster reassign -t moved --brokers 1,2 --throttle 10M", "")?;
    let described = &cli.json("topic describe moved --json")?["topics"][0];
    for partition in described["partitions"].as_array().context("no partitions")? {
        let replicas = partition["replicas"].as_array().context("no replicas")?;
        ensure!(replicas.len() == 2 && !replicas.contains(&3.into()), "{partition}");
    }
    alike()?;
    let read = cli.run("consume moved -e -f %k:%s\\n", "")?;
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    ensure!(sorted(&read) == sorted(&lines), "what was written is not what is read after the move");
    let again = cli.json("cluster reassign -t moved --brokers 1,2 --dry-run --json")?;
    ensure!(again["moves"].as_array().is_some_and(Vec::is_empty), "{again}");
    Ok(())
}

/// What one of the two writes the other one reads, with every codec; and back through JSON.
pub(crate) fn records(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    let cli = Cli(&server);
    let lines: String = (0..500).map(|n| format!("key{}:value {n}\n", n % 7)).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("ours-{codec}");
        cli.run(&format!("topic create {topic} -p 1"), "")?;
        cli.run(&format!("produce {topic} -K : -z {codec} -H from=ottla"), &lines)?;
        let read = kcat(&server, &["-C", "-t", &topic, "-e", "-q", "-f", "%k:%s\n"], "")?;
        ensure!(read == lines, "kcat reads what we wrote with {codec}");
        let topic = format!("kcats-{codec}");
        cli.run(&format!("topic create {topic} -p 1"), "")?;
        kcat(&server, &["-P", "-t", &topic, "-K:", "-z", codec, "-H", "from=kcat"], &lines)?;
        let read = cli.run(&format!("consume {topic} -e -f %k:%s\\n"), "")?;
        ensure!(read == lines, "we read what kcat wrote with {codec}");
    }
    let json = cli.run("consume ours-zstd -e --json", "")?;
    // The topic is created by its first record, if the broker is one that does that.
    cli.run("produce copy --json", &json)?;
    let strip = |text: &str| text.replace("ours-zstd", "copy");
    ensure!(cli.run("consume copy -e --json", "")? == strip(&json), "JSON comes back as it went");
    ensure!(cli.run("consume copy -o 10:12 -f %o,", "")? == "10,11,");
    ensure!(cli.run("consume copy -o -2 -n 2 -f %o,", "")? == "498,499,");
    Ok(())
}

/// A group that kcat and we are members of, one after the other.
pub(crate) fn groups(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &["offsets.topic.num.partitions=3"])?;
    let cli = Cli(&server);
    cli.run("topic create shared -p 1", "")?;
    cli.run("produce shared", "1\n2\n3\n4\n")?;
    ensure!(cli.run("consume shared -G readers -n 2", "")? == "1\n2\n");
    let rest = kcat(&server, &["-G", "readers", "-q", "-e", "shared"], "")?;
    ensure!(rest == "3\n4\n", "kcat goes on behind us: {rest:?}");
    cli.run("produce shared", "5\n")?;
    ensure!(cli.run("consume shared -G readers -e", "")? == "5\n", "and we behind kcat");
    let group = &cli.json("group describe readers --json")?["groups"][0];
    ensure!(group["state"] == "Empty" && group["lag"] == 0, "{group}");
    let dry = cli.json("group reset readers -t shared --to start --json")?;
    ensure!(dry["executed"] == false && dry["partitions"][0]["new"] == 0, "{dry}");
    cli.run("group reset readers -t shared --shift-by -2 --execute", "")?;
    ensure!(cli.run("consume shared -G readers -e", "")? == "4\n5\n");
    ensure!(cli.fails("group describe reader", 4)?.contains("did you mean 'readers'?"));
    cli.run("group delete-offsets readers -t shared", "")?;
    cli.run("group delete readers", "")?;
    cli.fails("group delete readers", 4)?;
    Ok(())
}

/// A broker that is killed again and again while we write: all comes once, and in order.
pub(crate) fn kills(kind: ServerKind) -> Result<()> {
    const KILLS: usize = 3;
    const LINES: usize = 30_000;
    let mut server = Server::start(kind, &[])?;
    Cli(&server).run("topic create counted -p 1", "")?;
    let mut command = Cli(&server).command("produce counted")?;
    let mut producer = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = producer.stdin.take().context("no standard input")?;
    let lines = |part: usize| -> String {
        (part * LINES..(part + 1) * LINES).map(|line| format!("{line}\n")).collect()
    };
    for part in 0..KILLS {
        input.write_all(lines(part).as_bytes())?;
        // At the start nobody waits for a broker that is not there.
        Cli(&server).run(&format!("consume counted -o {} -n 1", part * LINES), "")?;
        server.kill()?;
        server.restart()?;
    }
    input.write_all(lines(KILLS).as_bytes())?;
    drop(input);
    let status = producer.wait()?;
    ensure!(status.success(), "produce ended with {status}");
    let read = Cli(&server).run("consume counted -e -f %s\\n", "")?;
    let expected: String = (0..=KILLS).map(lines).collect();
    ensure!(read == expected, "{} lines of {}", read.lines().count(), expected.lines().count());
    Ok(())
}

/// Our command line for one broker.
/// The command line, and the broker that it goes to.
pub(crate) struct Cli<'a>(pub(crate) &'a Server);

impl Cli<'_> {
    fn command(&self, line: &str) -> Result<Command> {
        let mut command = bounded(workspace::ottla()?);
        command.args(line.split(' ')).env("OTTLA_BOOTSTRAP", self.0.bootstrap());
        Ok(command)
    }

    /// What a verb prints.
    pub(crate) fn run(&self, line: &str, input: &str) -> Result<String> {
        output(self.command(line)?, input).with_context(|| line.to_owned())
    }

    pub(crate) fn json(&self, line: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(line, "")?)?)
    }

    /// What a verb complains about when it ends with this code.
    pub(crate) fn fails(&self, line: &str, code: i32) -> Result<String> {
        let output = self.command(line)?.stdin(Stdio::null()).output()?;
        let complaint = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(code), "{line}: {} {complaint}", output.status);
        Ok(complaint)
    }
}

fn kcat(server: &Server, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = bounded("kcat");
    command.args(["-b", server.bootstrap(), "-X", "auto.offset.reset=earliest"]).args(arguments);
    output(command, input)
}

fn output(mut command: Command, input: &str) -> Result<String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // Small enough for the pipe.
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {complaint}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
