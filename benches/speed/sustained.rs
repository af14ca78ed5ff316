//! Minutes of full load: whether memory stays flat, and whether anybody ever waits long.
//!
//! Four producers write as fast as they are answered, two consumers follow, retention removes what is old. Meanwhile the
//! threads that serve are looked at every few milliseconds: one that is in uninterruptible sleep waits for the kernel, which
//! holds up whoever writes to the page cache faster than the disk takes it (`balance_dirty_pages`), or reads what is not there.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ottla::record::{Compression, scan};

use crate::Options;
use crate::load::{self, Client};
use crate::report::median;
use crate::servers::Server;

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 2;
const IN_FLIGHT: usize = 5;
/// Records of 1,000 bytes in a batch.
const BATCH_RECORDS: usize = 16;
/// What nobody may wait longer for.
const STALL: Duration = Duration::from_millis(100);
/// The broker's threads are looked at so often.
const PACE: Duration = Duration::from_millis(10);

/// The longest wait that ended in each second of the run.
#[derive(Default)]
struct Waits(Vec<Duration>);

impl Waits {
    fn note(&mut self, begun: Instant, wait: Duration) {
        let second = begun.elapsed().as_secs() as usize;
        if self.0.len() <= second {
            self.0.resize(second + 1, Duration::ZERO);
        }
        self.0[second] = self.0[second].max(wait);
    }

    fn join(&mut self, other: &Self) {
        let length = self.0.len().max(other.0.len());
        self.0.resize(length, Duration::ZERO);
        for (own, others) in self.0.iter_mut().zip(&other.0) {
            *own = (*own).max(*others);
        }
    }

    /// Whether there was a wait of that length in the second, or one beside it.
    fn had_stall_near(&self, second: usize) -> bool {
        let near = self.0.iter().skip(second.saturating_sub(1)).take(3);
        near.max().is_some_and(|wait| *wait >= STALL)
    }
}

/// Runs the load and prints what came of it.
pub(crate) fn run(options: &Options) {
    let folder = tempfile::tempdir_in(&options.folder).unwrap();
    let settings = [
        "log.segment.bytes=67108864",
        "log.retention.bytes=1073741824",
        "log.retention.check.interval.ms=1000",
        "log.segment.delete.delay.ms=1000",
        "log.initial.task.delay.ms=1000",
    ];
    let server = Server::ottla(Some(&folder.path().join("data")), &settings);
    let topics: Vec<String> = (0..PRODUCERS).map(|index| format!("sustained-{index}")).collect();
    topics.iter().for_each(|topic| Client::connect(server.address).create(topic, 1));
    let (begun, time) = (Instant::now(), Duration::from_secs(60 * options.minutes));
    let until = begun + time;
    let stolen_before = stolen();
    let mut memory = Vec::new();
    let (requests, waits, sleeps): (u64, [Waits; 2], Sleeps) = std::thread::scope(|scope| {
        let address = server.address;
        let producers: Vec<_> = topics
            .iter()
            .map(|topic| scope.spawn(move || produce(address, topic, begun, until)))
            .collect();
        let consumers: Vec<_> = topics
            .iter()
            .take(CONSUMERS)
            .map(|topic| scope.spawn(move || consume(address, topic, begun, until)))
            .collect();
        let sleeps = scope.spawn(|| watch(&server, begun, until));
        while Instant::now() < until {
            std::thread::sleep(Duration::from_secs(1));
            memory.push(server.memory("RssAnon"));
            if memory.len() % 60 == 0 {
                let (minute, memory) = (memory.len() / 60, memory.last().unwrap());
                eprintln!("minute {minute} of {}: {memory:.1} MB", options.minutes);
            }
        }
        let mut waits = [Waits::default(), Waits::default()];
        let mut requests = 0;
        for (written, producer) in producers.into_iter().map(|thread| thread.join().unwrap()) {
            requests += written;
            waits[0].join(&producer);
        }
        for consumer in consumers {
            waits[1].join(&consumer.join().unwrap());
        }
        (requests, waits, sleeps.join().unwrap())
    });
    let stolen = stolen() - stolen_before;
    report(
        time,
        requests * BATCH_RECORDS as u64,
        &memory,
        &waits,
        &sleeps,
        stolen / time.as_secs_f64(),
    );
}

/// Seconds of all processors that a hypervisor gave to others, since this machine runs.
fn stolen() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let steal = stat.lines().next().unwrap().split_ascii_whitespace().nth(8).unwrap();
    steal.parse::<f64>().unwrap() / 100.0
}

/// Prints the figures; `of_clients` are the waits of producers and of consumers, `stolen` is a share of the time.
fn report(
    time: Duration,
    records: u64,
    memory: &[f64],
    of_clients: &[Waits; 2],
    sleeps: &Sleeps,
    stolen: f64,
) {
    let mut of_all = Waits::default();
    of_clients.iter().for_each(|of_some| of_all.join(of_some));
    let ([of_producers, of_consumers], waits) = (of_clients, &of_all);
    let stalls = |waits: &Waits| {
        let long = |(second, wait): (usize, &Duration)| (*wait >= STALL).then_some(second);
        waits.0.iter().enumerate().filter_map(long).collect::<Vec<_>>()
    };
    let without = |cause: &Waits| {
        stalls(waits).into_iter().filter(|second| !cause.had_stall_near(*second)).count()
    };
    let longest = |waits: &Waits| waits.0.iter().max().copied().unwrap_or_default();
    let tenth = memory.len() / 10;
    let middle = |part: &[f64]| median(part.to_vec());
    println!("| sustained load of {} minutes | |\n|---|---|", time.as_secs() / 60);
    println!("| records of 1,000 bytes a second | {:.0} |", records as f64 / time.as_secs_f64());
    println!(
        "| anonymous memory in the second tenth, MB | {:.1} |",
        middle(&memory[tenth..2 * tenth])
    );
    println!("| anonymous memory in the last tenth, MB | {:.1} |", middle(&memory[9 * tenth..]));
    for (who, waits) in [("client", waits), ("producer", of_producers), ("consumer", of_consumers)]
    {
        println!("| longest wait of a {who}, ms | {} |", longest(waits).as_millis());
    }
    let of_kernel = longest(&sleeps.waits).as_millis();
    println!("| longest sleep of a thread that serves in the kernel, ms | {of_kernel} |");
    println!("| seconds with a wait of 100 ms or more | {} |", stalls(waits).len());
    println!(
        "| of these, seconds in which none of them slept as long | {} |",
        without(&sleeps.waits)
    );
    let late = longest(&sleeps.lateness).as_millis();
    println!("| latest that a thread came which only sleeps, ms | {late} |");
    let own = without(&sleeps.lateness);
    println!("| seconds with such a wait in which it did not come as late | {own} |");
    println!("| time that the machine below took from this one, % | {:.2} |", stolen * 100.0);
    for (place, count) in &sleeps.places {
        println!("| looks that found one in `{place}` | {count} |");
    }
}

/// Writes to a topic; gives how many requests were answered.
fn produce(address: SocketAddr, topic: &str, begun: Instant, until: Instant) -> (u64, Waits) {
    let batch = load::batch(BATCH_RECORDS, Compression::None);
    let frame = load::produce_frame(topic, 0, 1, &batch).0;
    let mut client = Client::connect(address);
    let (mut buffer, mut waits) = (BytesMut::new(), Waits::default());
    let mut sent_at = std::collections::VecDeque::new();
    let mut requests = 0;
    while Instant::now() < until || !sent_at.is_empty() {
        if sent_at.len() < IN_FLIGHT && Instant::now() < until {
            client.send(&frame);
            sent_at.push_back(Instant::now());
            continue;
        }
        client.receive(&mut buffer);
        load::check_produced(&buffer.split().freeze());
        waits.note(begun, sent_at.pop_front().unwrap().elapsed());
        requests += 1;
    }
    (requests, waits)
}

/// Follows the end of a topic. A wait is from a request to its answer, of which there is always one: producers write.
fn consume(address: SocketAddr, topic: &str, begun: Instant, until: Instant) -> Waits {
    let mut client = Client::connect(address);
    let (mut buffer, mut waits) = (BytesMut::new(), Waits::default());
    let mut offset = 0;
    while Instant::now() < until {
        let sent = Instant::now();
        client.send(&load::fetch_frame(topic, &[offset], 1 << 20, true));
        client.receive(&mut buffer);
        waits.note(begun, sent.elapsed());
        let records: Bytes = load::fetched(&buffer.split().freeze()).into_iter().next().unwrap();
        if let Some(last) = scan(&records).map_while(Result::ok).last() {
            offset = last.header.next_offset().0;
        }
    }
    waits
}

/// What the broker's threads waited for in the kernel, and what the machine did not do for who watched them.
#[derive(Default)]
struct Sleeps {
    waits: Waits,
    /// How late the thread came that watches, which only sleeps in between: no processor was free for it.
    lateness: Waits,
    /// How often a thread was found waiting, by the kernel's function.
    places: BTreeMap<String, u64>,
}

/// Looks at the broker's threads, again and again.
fn watch(server: &Server, begun: Instant, until: Instant) -> Sleeps {
    let mut sleeps = Sleeps::default();
    // Since when each thread sleeps.
    let mut since: HashMap<u32, Instant> = HashMap::new();
    let mut last = Instant::now();
    while Instant::now() < until {
        let waiting = server.uninterruptible();
        let now = Instant::now();
        since.retain(|thread, _| waiting.iter().any(|(waits, _)| waits == thread));
        for (thread, place) in waiting {
            // It has slept since the look before at the earliest.
            let begins = *since.entry(thread).or_insert(last);
            sleeps.waits.note(begun, now - begins);
            *sleeps.places.entry(place).or_default() += 1;
        }
        last = now;
        std::thread::sleep(PACE);
        sleeps.lateness.note(begun, now.elapsed().saturating_sub(PACE));
    }
    sleeps
}
