//! What this process takes from its machine, as the system counts it.

use std::fs;
use std::time::Duration;

/// What the process uses. What the system does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Memory that is really there, in bytes.
    pub resident_bytes: Option<u64>,
    /// Address space in bytes.
    pub virtual_bytes: Option<u64>,
    /// Time on processors, of all threads together.
    pub cpu: Option<Duration>,
    /// When the process began, in seconds since 1970.
    pub started_at_seconds: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// How many of them it may have; `None` also if there is no limit.
    pub descriptors_max: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Bytes that were read from disks.
    pub disk_read_bytes: Option<u64>,
    /// Bytes that were written to disks, or will be.
    pub disk_written_bytes: Option<u64>,
    /// How long each thread of the runtime has been busy, on average, since it was started.
    pub workers_busy: Option<Duration>,
}

impl ProcessUsage {
    /// The present values. Reads a few files of `/proc`.
    #[must_use]
    pub fn now() -> Self {
        let mut usage = Self {
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            descriptors_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            workers_busy: workers_busy(),
            ..Self::default()
        };
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            usage.read_stat(&stat);
        }
        if let Ok(io) = fs::read_to_string("/proc/self/io") {
            usage.disk_read_bytes = field(&io, "read_bytes:");
            usage.disk_written_bytes = field(&io, "write_bytes:");
        }
        usage
    }

    /// The fields of `/proc/self/stat` (see proc(5)), which begin behind the name of the program.
    fn read_stat(&mut self, stat: &str) {
        let Some((_, fields)) = stat.rsplit_once(')') else { return };
        // The first one here is the third there.
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        self.cpu = number(14).zip(number(15)).map(|(user, system)| {
            Duration::from_millis((user + system).saturating_mul(1000) / ticks)
        });
        self.threads = number(20);
        self.started_at_seconds = number(22).and_then(|began| {
            let boot = field(&fs::read_to_string("/proc/stat").ok()?, "btime ")?;
            Some(boot + began / ticks)
        });
        self.virtual_bytes = number(23);
        self.resident_bytes =
            number(24).map(|pages| pages.saturating_mul(rustix::param::page_size() as u64));
    }
}

/// The number behind `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn workers_busy() -> Option<Duration> {
    let metrics = tokio::runtime::Handle::try_current().ok()?.metrics();
    let workers = metrics.num_workers();
    let busy: Duration =
        (0..workers).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
    u32::try_from(workers).ok().filter(|workers| *workers > 0).map(|workers| busy / workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = ProcessUsage::now();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{usage:?}");
        assert!(usage.virtual_bytes >= usage.resident_bytes, "{usage:?}");
        assert!(usage.cpu.is_some() && usage.threads.is_some_and(|threads| threads > 0));
        assert!(usage.descriptors.is_some_and(|open| open > 2), "{usage:?}");
        let year_2020 = 1_577_836_800;
        assert!(usage.started_at_seconds.is_some_and(|began| began > year_2020), "{usage:?}");
    }
}
