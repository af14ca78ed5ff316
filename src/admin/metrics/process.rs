//! Metrics of the process, its memory and its disks.

use std::time::Duration;

use crate::admin::exposition::{Kind, Page};
use crate::admin::{Admin, Serving};
use crate::env::{DiskSpace, ProcessUsage};

/// The share of idle time is told for at least so long a time.
const IDLE_SPAN_MIN: Duration = Duration::from_secs(1);

/// What the process uses.
pub(super) fn put(page: &mut Page, admin: &Admin) {
    let usage = ProcessUsage::now();
    page.counter(
        "process_cpu_seconds_total",
        "Time on processors.",
        usage.cpu.map(|cpu| cpu.as_secs_f64()),
    );
    page.gauge("process_resident_memory_bytes", "Memory in use.", usage.resident_bytes);
    page.gauge("process_virtual_memory_bytes", "Address space in use.", usage.virtual_bytes);
    page.gauge(
        "process_start_time_seconds",
        "When the process began, in seconds since 1970.",
        usage.started_at_seconds,
    );
    page.gauge("process_open_fds", "Descriptors that are open.", usage.descriptors);
    page.gauge("process_max_fds", "How many descriptors may be open.", usage.descriptors_max);
    page.gauge("process_threads", "Threads.", usage.threads);
    // They only grow, but a counter's name would have to end in _total.
    page.single(
        "kafka_server_kafkaserver_linux_disk_read_bytes",
        Kind::Untyped,
        "Bytes that the process had read from disks.",
        usage.disk_read_bytes,
    );
    page.single(
        "kafka_server_kafkaserver_linux_disk_write_bytes",
        Kind::Untyped,
        "Bytes that the process had written to disks.",
        usage.disk_written_bytes,
    );
    let uptime = admin.0.env.steady.now().since_start().as_secs_f64();
    page.gauge("ottla_uptime_seconds", "Since the broker was started.", Some(uptime));
    let idle = usage.workers_busy.and_then(|busy| idle_share(admin, busy));
    for name in [
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        "kafka_network_socketserver_networkprocessoravgidle_percent",
    ] {
        let help = "Share of time, from 0 to 1, that the threads were idle since the metrics were last looked at. \
                    The same threads read requests and handle them.";
        page.gauge(name, help, idle);
    }
}

/// The share of time that the threads of the runtime were idle since the last look; none if that is too short ago.
fn idle_share(admin: &Admin, busy: Duration) -> Option<f64> {
    let now = admin.0.env.steady.now();
    let mut last = admin.0.busy.lock();
    let (then, busy_then) = *last;
    let span = now.since(then);
    if span < IDLE_SPAN_MIN {
        return None;
    }
    *last = (now, busy);
    let share = busy.saturating_sub(busy_then).as_secs_f64() / span.as_secs_f64();
    Some((1.0 - share).clamp(0.0, 1.0))
}

/// The volumes of the log directories, and how long they take. Blocks for the disk.
pub(super) fn put_disks(page: &mut Page, serving: &Serving) {
    let replicas = &serving.services.replicas;
    let mut synced = page.family(
        "ottla_fsync_duration_seconds",
        Kind::Histogram,
        "Making a log durable: an fdatasync, and a few more where a segment was finished.",
    );
    synced.durations(&[], &replicas.flush_durations().counts());
    let described = replicas.describe_log_dirs();
    // A directory that is not in use or cannot be looked at has no samples.
    let in_use = described.iter().filter_map(|dir| Some((&dir.path, dir.content.as_ref()?.space)));
    let in_use: Vec<_> = in_use.collect();
    for (name, help, bytes) in [
        (
            "ottla_disk_total_bytes",
            "Size of the volume that holds a log directory.",
            (|space| space.total_bytes) as fn(&DiskSpace) -> u64,
        ),
        ("ottla_disk_free_bytes", "Room on the volume that holds a log directory.", |space| {
            space.free_bytes
        }),
    ] {
        let mut family = page.family(name, Kind::Gauge, help);
        for (directory, space) in &in_use {
            family.sample(&[("directory", &directory.display())], bytes(space));
        }
    }
}
