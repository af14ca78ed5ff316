//! The modules of Testcontainers, unmodified: the image for them starts when it is started as they do it.
//!
//! Each module says what it runs, what it copies into the container and what it waits for; `testcontainers/` has the programs that ask
//! those of Java, Python and Node. Those of Go and Rust are read, and that of .NET is written down here. An engine is not
//! needed: the file system of the image becomes the root of a process in namespaces of its own. That takes root,
//! iproute2 and a static busybox; where they are missing, the trials are left out, and say so.
//!
//! Then kcat writes and reads by the address that the module would give to a test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail, ensure};
use libtest_mimic::{Failed, Trial};
use ottla_compat_tests::java::output;
use ottla_compat_tests::wait::bounded;
use ottla_compat_tests::workspace::{built, ottla, sources};
use ottla_compat_tests::{ServerKind, wait_until};
use regex::Regex;
use serde::Deserialize;
use tempfile::TempDir;

/// All modules, and their ways to start.
const NAMES: [&str; 14] = [
    "dotnet-apache",
    "dotnet-confluent",
    "go-kafka",
    "java-apache",
    "java-confluent",
    "java-legacy-kraft",
    "java-legacy-zookeeper",
    "java-redpanda",
    "node-kraft",
    "node-zookeeper",
    "python-kraft",
    "python-redpanda",
    "python-zookeeper",
    "rust-apache",
];

/// The name of the machine in a container.
const HOST: &str = "tc";

/// How a module starts a container.
#[derive(Clone, Debug, Deserialize)]
struct Module {
    name: String,
    env: BTreeMap<String, String>,
    command: Vec<String>,
    /// Files that are in the container from the start: path and content.
    files: Vec<(String, String)>,
    /// Files that are copied into it once it runs.
    later: Vec<(String, String)>,
    /// The line that it waits for; none means that it waits for ports.
    ready: Option<String>,
    #[serde(default)]
    ports: Vec<u16>,
    /// The port that clients are told.
    port: u16,
}

/// What the trials share.
#[derive(Debug)]
struct Shared {
    modules: Vec<Module>,
    /// Holds the file system of the image, in `compat`.
    roots: TempDir,
}

/// One trial for each module; ignored where they cannot be run.
pub(crate) fn trials() -> Vec<Trial> {
    let runs_ottla = ServerKind::from_environment().is_ok_and(|kind| kind == ServerKind::Ottla);
    let obstacle =
        if runs_ottla { obstacle().err() } else { Some(anyhow!("they are about Ottla alone")) };
    if let Some(obstacle) = &obstacle {
        eprintln!("containers:: is not run: {obstacle:#}");
    }
    let shared = Arc::new(OnceLock::new());
    let trial = |name: &'static str| {
        let shared = Arc::clone(&shared);
        let run = move || {
            let shared: &Result<Shared, String> =
                shared.get_or_init(|| prepare().map_err(|error| format!("{error:#}")));
            let shared = shared.as_ref().map_err(|error| anyhow!("{error}"))?;
            starts(shared, name)
        };
        Trial::test(format!("containers::{name}"), move || {
            run().map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(obstacle.is_some())
    };
    NAMES.into_iter().map(trial).collect()
}

/// Fails with the reason why there can be no containers here.
fn obstacle() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "only root may make namespaces");
    ensure!(
        ["/bin/busybox", "/usr/bin/busybox"].iter().any(|path| Path::new(path).exists()),
        "there is no busybox (Debian: busybox-static)"
    );
    Network::new("probe").map(drop).context("no network namespaces (Debian: iproute2)")
}

/// Asks the modules, and lays out the file system.
fn prepare() -> Result<Shared> {
    let roots = tempfile::Builder::new().prefix("ottla-roots-").tempdir()?;
    let binary = roots.path().join("binary");
    output(bounded("strip").arg("-o").args([&binary, &ottla()?]))?;
    let layout = sources().join("../docker/roots");
    output(bounded("sh").arg(layout).args([roots.path(), &binary]))?;
    let mut modules = modules()?;
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
    ensure!(names == NAMES, "the modules are {names:?}");
    Ok(Shared { modules, roots })
}

fn starts(shared: &Shared, name: &str) -> Result<()> {
    let module = shared.modules.iter().find(|module| module.name == name);
    let module = module.context("no such module")?;
    let mut container = Container::start(&shared.roots.path().join("compat"), module)?;
    container.wait(module).with_context(|| container.log())?;
    let bootstrap = format!("localhost:{}", module.port);
    let mut lines = tempfile::tempfile()?;
    lines.write_all(b"one\ntwo\nthree\n")?;
    lines.rewind()?;
    let kcat = ["kcat", "-b", &bootstrap, "-t", "orders"];
    let mut produce = container.network.run(&kcat);
    output(produce.args(["-P"]).stdin(lines)).with_context(|| container.log())?;
    let mut consume = container.network.run(&kcat);
    let read = output(consume.args(["-C", "-o", "beginning", "-e", "-q"]));
    assert_eq!(read.with_context(|| container.log())?, "one\ntwo\nthree\n");
    Ok(())
}

/// A network of its own, with nothing but the loopback.
struct Network(String);

impl Network {
    fn new(name: &str) -> Result<Self> {
        let name = format!("ottla-{}-{name}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let network = Self(name);
        output(&mut network.run(&["ip", "link", "set", "lo", "up"]))?;
        Ok(network)
    }

    /// A command in it.
    fn run(&self, words: &[&str]) -> Command {
        let mut command = bounded("ip");
        command.args(["netns", "exec", &self.0]).args(words);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // There is nobody to tell.
        Command::new("ip").args(["netns", "delete", &self.0]).status().ok();
    }
}

/// A process with the image as its root. It and all that it started end with the value.
struct Container {
    network: Network,
    dir: TempDir,
    child: Child,
}

/// The first process: makes a root of a folder and becomes what is to be run.
const INIT: &str = "mount --rbind /dev $0/dev && mount -t proc proc $0/proc && hostname tc && exec chroot $0 \"$@\"";

impl Container {
    fn start(image: &Path, module: &Module) -> Result<Self> {
        let network = Network::new(&module.name)?;
        let dir = tempfile::Builder::new().prefix("ottla-container-").tempdir()?;
        let root = dir.path().join("root");
        output(bounded("cp").arg("-a").args([image, &root]))?;
        for folder in ["dev", "proc"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("etc/hosts"), format!("127.0.0.1 localhost {HOST}\n::1 localhost\n"))?;
        for (path, content) in &module.files {
            put(&root, path, content)?;
        }
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.0]);
        command.args([
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            INIT,
        ]);
        command.arg(&root).args(["/usr/bin/env", "-i", "PATH=/usr/bin:/bin:/opt/kafka/bin"]);
        command.args(module.env.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(["sh", "-c", "cd /var/lib/ottla && exec \"$@\"", "sh"]).args(&module.command);
        command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
        command.stdout(File::create(dir.path().join("out"))?);
        command.stderr(File::create(dir.path().join("err"))?);
        let child = command.spawn().context("cannot start a container")?;
        for (path, content) in &module.later {
            put(&root, path, content)?;
        }
        Ok(Self { network, dir, child })
    }

    /// Waits as the module does.
    fn wait(&mut self, module: &Module) -> Result<()> {
        let ready = module.ready.as_deref().map(Regex::new).transpose()?;
        wait_until("the container is ready", || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            let is_ready = match &ready {
                Some(ready) => ready.is_match(&self.text("out")),
                None => module.ports.iter().all(|port| self.listens(*port)),
            };
            Ok(is_ready.then_some(()))
        })
    }

    /// Whether a port can be reached, by a program of the image.
    fn listens(&self, port: u16) -> bool {
        let root = self.dir.path().join("root");
        let mut command = self.network.run(&["chroot"]);
        command.arg(root).args(["/bin/nc", "-w", "1", "localhost", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join(name)).unwrap_or_default())
            .into_owned()
    }

    fn log(&self) -> String {
        format!("{}{}", self.text("out"), self.text("err"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// Makes a file that can be run, at once, so that whoever waits for it finds all of it.
fn put(root: &Path, path: &str, content: &str) -> Result<()> {
    let path = root.join(path.trim_start_matches('/'));
    let fresh = path.with_extension("fresh");
    let context = || format!("cannot write {}", path.display());
    fs::write(&fresh, content).with_context(context)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, &path).with_context(context)
}

/// All modules, from the packages that they are published as.
fn modules() -> Result<Vec<Module>> {
    let programs = sources().join("testcontainers");
    let packages = built()?.join("testcontainers");
    output(bounded(programs.join("fetch")).arg(&packages))?;
    let mut jars = packages.join("java").into_os_string();
    jars.push("/*");
    let printed = [
        output(bounded("java").arg("-cp").arg(jars).arg(programs.join("Modules.java")))?,
        output(
            bounded("python3")
                .env("PYTHONPATH", packages.join("python"))
                .arg(programs.join("modules.py")),
        )?,
        output(bounded("node").arg(programs.join("modules.js")).arg(packages.join("node")))?,
    ];
    let mut modules = Vec::new();
    for line in printed.iter().flat_map(|printed| printed.lines()) {
        modules.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
    }
    modules.push(go(&packages.join("go/kafka/kafka.go"))?);
    modules.push(rust(&packages.join("rust/src/kafka/apache.rs"))?);
    modules.extend(dotnet());
    Ok(modules)
}

/// Finds the one thing that a pattern captures.
struct Source(String);

impl Source {
    fn read(path: &PathBuf) -> Result<Self> {
        Ok(Self(fs::read_to_string(path).with_context(|| path.display().to_string())?))
    }

    fn find(&self, pattern: &str) -> Result<Vec<String>> {
        let found =
            Regex::new(pattern)?.captures(&self.0).with_context(|| format!("no {pattern}"))?;
        Ok(found.iter().skip(1).flatten().map(|part| part.as_str().to_owned()).collect())
    }

    fn one(&self, pattern: &str) -> Result<String> {
        self.find(pattern)?.pop().with_context(|| format!("nothing in {pattern}"))
    }
}

/// The Go module, whose source has all as literals.
fn go(path: &PathBuf) -> Result<Module> {
    let source = Source::read(path)?;
    let script_path = source.one(r#"starterScript = "([^"]*)""#)?;
    let script = source.one("starterScriptContent = `([^`]*)`")?;
    let script = script.replacen("%s", "PLAINTEXT://localhost:9093", 1).replacen("%s", HOST, 1);
    let command =
        source.find(r#"WithCmd\("-c", "([^"]*)"\+starterScript\+"([^"]*)"\+starterScript\)"#)?;
    let values = Regex::new(r#""(KAFKA_\w+)":\s+(?:"([^"]*)"|strconv\.Itoa\(math\.MaxInt\)),"#)?;
    let value = |found: regex::Captures<'_>| {
        let value =
            found.get(2).map_or_else(|| i64::MAX.to_string(), |value| value.as_str().to_owned());
        (found[1].to_owned(), value)
    };
    let mut env: BTreeMap<String, String> = values.captures_iter(&source.0).map(value).collect();
    ensure!(env.len() > 10, "only {env:?}");
    env.insert("KAFKA_CONTROLLER_QUORUM_VOTERS".to_owned(), "1@localhost:9094".to_owned());
    let line = format!("{}{script_path}{}{script_path}", command[0], command[1]);
    Ok(Module {
        name: "go-kafka".to_owned(),
        env,
        command: vec![source.one(r#"WithEntrypoint\("([^"]*)"\)"#)?, "-c".to_owned(), line],
        files: Vec::new(),
        later: vec![(script_path, script)],
        ready: Some(source.one(r#"wait\.ForLog\("([^"]*)"\)"#)?),
        ports: Vec::new(),
        port: 9093,
    })
}

/// The Rust module: literals with constants in them.
fn rust(path: &PathBuf) -> Result<Module> {
    let source = Source::read(path)?;
    let constant = |name: &str| source.one(&format!(r#"const {name}: [^=]*= "?([^";]*)"?;"#));
    let filled = |literal: &str| -> Result<String> {
        let names = Regex::new(r"\{([A-Z_]+)\}")?;
        let mut text = literal.replace("{}", "9092").replace("\\n", "\n");
        while let Some(name) = names.captures(&text).map(|found| found[1].to_owned()) {
            text = text.replace(&format!("{{{name}}}"), &constant(&name)?);
        }
        Ok(text)
    };
    let inserted = Regex::new(r#"env_vars\.insert\(\s*"(\w+)"\.to_owned\(\),\s*([^;]*?),?\s*\);"#)?;
    let literal = Regex::new(r#""([^"]*)""#)?;
    let mut env = BTreeMap::new();
    for found in inserted.captures_iter(&source.0) {
        let value = match literal.captures(&found[2]) {
            Some(text) => filled(&text[1])?,
            None => constant(found[2].split('.').next().unwrap_or_default())?,
        };
        env.insert(found[1].to_owned(), value);
    }
    ensure!(env.len() > 8, "only {env:?}");
    let script = filled(&source.one("echo '(#![^']*)' > ")?)?;
    Ok(Module {
        name: "rust-apache".to_owned(),
        env,
        command: vec![
            source.one(r#"fn entrypoint[^}]*Some\("([^"]*)"\)"#)?,
            "-c".to_owned(),
            filled(&source.one(r#"format!\("(while [^"]*)"\)"#)?)?,
        ],
        files: Vec::new(),
        later: vec![(constant("START_SCRIPT")?, script)],
        ready: Some(source.one(r#"message_on_stdout\("([^"]*)"\)"#)?),
        ports: Vec::new(),
        port: 9092,
    })
}

/// The .NET module, as its source has it: `KafkaBuilder` of Testcontainers for .NET, whose list of listeners ends with a comma.
fn dotnet() -> Vec<Module> {
    let env = [
        ("KAFKA_LISTENERS", "PLAINTEXT://:9092,BROKER://:9093"),
        ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT"),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER"),
        ("KAFKA_BROKER_ID", "1"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", "9223372036854775807"),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ];
    let exports =
        "export KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092,BROKER://tc:9093,\n";
    let zookeeper = "echo 'clientPort=2181' > zookeeper.properties\n\
                     echo 'dataDir=/var/lib/zookeeper/data' >> zookeeper.properties\n\
                     echo 'dataLogDir=/var/lib/zookeeper/log' >> zookeeper.properties\n\
                     zookeeper-server-start zookeeper.properties &\n\
                     export KAFKA_ZOOKEEPER_CONNECT=localhost:2181\n";
    let module = |name: &str, script: String| Module {
        name: name.to_owned(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        command: [
            "/bin/sh",
            "-c",
            "while [ ! -f /testcontainers.sh ]; do sleep 0.1; done; /testcontainers.sh",
        ]
        .map(str::to_owned)
        .into(),
        files: Vec::new(),
        later: vec![("/testcontainers.sh".to_owned(), format!("#!/bin/bash\n{script}"))],
        ready: Some(r"\[KafkaServer id=\d+\] started".to_owned()),
        ports: Vec::new(),
        port: 9092,
    };
    vec![
        module("dotnet-apache", format!("{exports}exec /etc/kafka/docker/run\n")),
        module(
            "dotnet-confluent",
            format!(
                "{zookeeper}{exports}echo '' > /etc/confluent/docker/ensure\nexec /etc/confluent/docker/run\n"
            ),
        ),
    ]
}
