//! The three servers as processes: started, looked at, ended.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One server process. It is ended when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process until it said where it listens.
    pub(crate) begun: Instant,
}

impl Server {
    /// A limit loop; for the arguments see `limit.rs`.
    pub(crate) fn limit(arguments: &[String]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("limit").args(arguments);
        Self::that_says(command, |line| line.parse().ok())
    }

    /// The broker with these settings, and with HTTP. Its data is in memory if no directory is given.
    pub(crate) fn ottla(data: Option<&Path>, settings: &[&str]) -> Self {
        let settings: Vec<&str> =
            settings.iter().copied().chain(["ottla.http.listener=127.0.0.1:0"]).collect();
        Self::ottla_on("127.0.0.1:0", data, &settings)
    }

    /// The same with data in a directory, at this address and without HTTP.
    pub(crate) fn ottla_at(listen: &str, data: &Path, settings: &[&str]) -> Self {
        let settings: Vec<&str> =
            settings.iter().copied().chain(["ottla.http.listener=off"]).collect();
        Self::ottla_on(listen, Some(data), &settings)
    }

    fn ottla_on(listen: &str, data: Option<&Path>, settings: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        command.args(["serve", "--listen", listen]).env_clear().env("RUST_LOG", "warn");
        // So that other numbers of threads can be tried.
        command.envs(std::env::vars().filter(|(name, _)| name == "TOKIO_WORKER_THREADS"));
        command.args(settings.iter().flat_map(|setting| ["-o", setting]));
        match data {
            Some(data) => command.arg("--data").arg(data),
            None => command.arg("--memory"),
        };
        Self::that_says(command, |line| {
            line.strip_prefix("ottla ready kafka=")?.split(' ').next()?.parse().ok()
        })
    }

    /// Apache Kafka with these settings and 1 GiB of heap; formats the directory if that was not done.
    pub(crate) fn kafka(data: &Path, settings: &[&str]) -> Self {
        let begun = Instant::now();
        let mut command = Command::new(launcher());
        command.arg("serve").arg(data).env("KAFKA_HEAP", "-Xms1g -Xmx1g");
        // The nodes of a cluster are formatted for the same one.
        command.env("KAFKA_CLUSTER_ID", "b3R0bGEtc3BlZWQtdGVzdA");
        command.args(settings.iter().flat_map(|setting| ["-o", setting]));
        std::fs::create_dir_all(data).unwrap();
        let log = std::fs::File::create(data.join("out.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = command.spawn().expect("Apache Kafka's launcher");
        let address = loop {
            assert!(
                process.try_wait().unwrap().is_none(),
                "Kafka ended: see {}/out.log",
                data.display()
            );
            let known = std::fs::read_to_string(data.join("bootstrap")).unwrap_or_default();
            if let Ok(address) = known.trim().parse::<SocketAddr>()
                && std::net::TcpStream::connect(address).is_ok()
            {
                break address;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Self { process, address, begun }
    }

    fn that_says(mut command: Command, address: fn(&str) -> Option<SocketAddr>) -> Self {
        let begun = Instant::now();
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a server");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = address(line.trim()).unwrap_or_else(|| panic!("it says {line:?}"));
        Self { process, address, begun }
    }

    /// CPU time of all its threads so far, user and system, in seconds. Its step is 10 ms.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        // Fields are counted from behind the name, which may contain anything.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks as f64 / 100.0
    }

    /// Resident memory in MB: `VmRSS` now, `VmHWM` at most so far.
    pub(crate) fn memory(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_000.0
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> f64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count() as f64
    }

    /// Mappings in its address space, of which the system allows 65,530 by default.
    pub(crate) fn mappings(&self) -> f64 {
        self.proc("maps").lines().count() as f64
    }

    /// Which of its threads that serve connections are in uninterruptible sleep, and in which function of the kernel. They
    /// are the first ones that the runtime makes, one for each core; those that sync files come later.
    pub(crate) fn uninterruptible(&self) -> Vec<(u32, String)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let id =
            |task: &std::fs::DirEntry| task.file_name().to_string_lossy().parse::<u32>().unwrap();
        let mut tasks: Vec<_> = tasks.flatten().map(|task| (id(&task), task.path())).collect();
        tasks.sort_unstable();
        let serving = 1 + std::thread::available_parallelism().unwrap().get();
        let waiting = tasks.into_iter().take(serving).filter_map(|(id, task)| {
            let stat = std::fs::read_to_string(task.join("stat")).unwrap();
            let place = std::fs::read_to_string(task.join("wchan")).unwrap();
            let state = stat.rsplit(')').next()?.trim_start().chars().next()?;
            (state == 'D').then_some((id, place))
        });
        waiting.collect()
    }

    /// Has `VmHWM` begin anew from what is resident now.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).unwrap()
    }

    /// Ends it as an operator does and waits until it is gone.
    pub(crate) fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been stopped before; then there is nothing to end.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The program that runs Apache Kafka and its tools.
pub(crate) fn launcher() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("compat-tests/kafka")
}
