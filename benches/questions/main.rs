//! Ways that the hot path could go, each beside the one it goes, without a broker around them.
//!
//! ```text
//! cargo bench --bench questions                  all of them; files in the system's folder for temporary ones
//! cargo bench --bench questions -- /data crc     in that folder, only questions whose name contains one of the words
//! ```
//!
//! - **combining appends**: sixteen threads that append to one file, each under a lock with a call of its own; or they leave
//!   their batch in a queue, and whoever has the lock writes all that is there with one call.
//! - **sendfile**: records go from the page cache to a socket as a slice of a mapping, or by `sendfile`.
//! - **`sync_file_range`**: appends with the kernel's own writing back, or with one that is begun every 16 MiB and waited for
//!   128 MiB later.
//! - **preallocation**: `fdatasync` after each append, to a file that grows, to one whose blocks are reserved, and to one that
//!   was written before.
//! - **crc**: the two crates for CRC-32C.
//! - **decompression**: a payload of 128 KB, in windows as it is validated, by the codecs that are there and by others; and
//!   Zstandard's context made for each payload, or kept.
//!
//! Answers, and what follows from them, are in docs/PERFORMANCE.md.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a program that measures the real world, and ends with a panic when it cannot"
)]

use std::fs::File;
use std::io::{IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

const ROUNDS: usize = 5;
const GB: f64 = 1e9;
const WRITERS: usize = 16;
const MIB: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let (folders, words): (Vec<_>, Vec<_>) =
        arguments.into_iter().partition(|word| word.contains('/'));
    let parent = folders.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("ottla-questions-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    println!("| question | size | way | CPU-s/GB | MB/s | other |");
    println!("|---|---:|---|---:|---:|---|");
    for (name, ask) in [
        ("combining appends", combining as fn(&Path)),
        ("sendfile", sending),
        ("sync_file_range", writing_back),
        ("preallocation", preallocation),
        ("crc", checksums),
        ("decompression", decompression),
    ] {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            ask(&folder);
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// CPU time and duration of one run, and what else there is to say.
struct Run {
    cpu: f64,
    elapsed: Duration,
    other: String,
}

/// Measures ways in turn, several rounds; prints of each the run with the least CPU time.
fn compare(question: &str, size: &str, bytes: u64, ways: &[(&str, &dyn Fn() -> String)]) {
    let mut best: Vec<Option<Run>> = ways.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        for (best, (_, way)) in best.iter_mut().zip(ways) {
            let (cpu, begun) = (cpu(), Instant::now());
            let other = way();
            let run = Run { cpu: self::cpu() - cpu, elapsed: begun.elapsed(), other };
            if best.as_ref().is_none_or(|best| run.cpu < best.cpu) {
                *best = Some(run);
            }
        }
    }
    for (run, (way, _)) in best.into_iter().flatten().zip(ways) {
        let cpu = run.cpu / (bytes as f64 / GB);
        let rate = bytes as f64 / 1e6 / run.elapsed.as_secs_f64();
        println!("| {question} | {size} | {way} | {cpu:.3} | {rate:.0} | {} |", run.other);
    }
}

/// CPU seconds of this process, user and system.
#[expect(unsafe_code, reason = "std and rustix have no such call")]
fn cpu() -> f64 {
    // SAFETY: the struct is plain data, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// A file that was written before, so that its pages are in memory: what is measured is the call.
fn warm_file(folder: &Path, bytes: u64) -> File {
    let path = folder.join("file");
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    if file.metadata().unwrap().len() < bytes {
        let block = vec![1; MIB as usize];
        (0..bytes.div_ceil(MIB)).for_each(|_| file.write_all(&block).unwrap());
    }
    file
}

fn combining(folder: &Path) {
    const BYTES: u64 = 1_000_000_000;
    for (size, batch) in [("16 KiB", 16 << 10), ("128 KiB", 128 << 10)] {
        let file = warm_file(folder, BYTES + 32 * MIB);
        let batches = BYTES as usize / batch / WRITERS;
        let data = vec![7; batch];
        let alone = || {
            let end = Mutex::new(0);
            side_by_side(|| {
                for _ in 0..batches {
                    let mut end = end.lock().unwrap();
                    file.write_all_at(&data, *end).unwrap();
                    *end += batch as u64;
                }
            });
            String::new()
        };
        let together = || {
            let (end, queue) = (Mutex::new(0), Mutex::new(Vec::new()));
            let calls = Mutex::new(0);
            side_by_side(|| {
                for _ in 0..batches {
                    queue.lock().unwrap().push(IoSlice::new(&data));
                    let mut end = end.lock().unwrap();
                    let waiting = std::mem::take(&mut *queue.lock().unwrap());
                    if !waiting.is_empty() {
                        let written = rustix::io::pwritev(&file, &waiting, *end).unwrap();
                        assert_eq!(written, waiting.len() * batch);
                        *end += written as u64;
                        *calls.lock().unwrap() += 1;
                    }
                }
            });
            let calls = calls.into_inner().unwrap();
            format!("{:.1} batches a call", (batches * WRITERS) as f64 / f64::from(calls))
        };
        let bytes = (batches * batch * WRITERS) as u64;
        compare(
            "combining appends",
            size,
            bytes,
            &[("one by one", &alone), ("together", &together)],
        );
    }
    std::fs::remove_file(folder.join("file")).unwrap();
}

fn side_by_side(work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(&work);
        }
    });
}

#[expect(unsafe_code, reason = "the mapping is what is measured")]
fn sending(folder: &Path) {
    const FILE: u64 = 128 * MIB;
    const BYTES: u64 = 2_000_000_000;
    let file = warm_file(folder, FILE);
    // SAFETY: nobody changes the file while it is mapped.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    for (size, slice) in [("64 KiB", 64 << 10), ("1 MiB", MIB as usize)] {
        let slices = BYTES as usize / slice;
        let offset = |index: usize| index * slice % FILE as usize;
        let mapped = || {
            to_socket(|socket| {
                for index in 0..slices {
                    let at = offset(index);
                    socket.write_all(&map[at..at + slice]).unwrap();
                }
            })
        };
        let sendfile = || {
            to_socket(|socket| {
                for index in 0..slices {
                    let mut at = offset(index) as u64;
                    let end = at + slice as u64;
                    while at < end {
                        let left = (end - at) as usize;
                        rustix::fs::sendfile(&*socket, &file, Some(&mut at), left).unwrap();
                    }
                }
            })
        };
        let bytes = (slices * slice) as u64;
        compare("sendfile", size, bytes, &[("mapping", &mapped), ("sendfile", &sendfile)]);
    }
    std::fs::remove_file(folder.join("file")).unwrap();
}

/// Gives a socket whose other end is read and thrown away. The reader's CPU time is part of the figure, alike for all ways.
fn to_socket(send: impl FnOnce(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; MIB as usize];
        while other.read(&mut buffer).unwrap() > 0 {}
    });
    send(&mut socket);
    drop(socket);
    reader.join().unwrap();
    String::new()
}

fn writing_back(folder: &Path) {
    const BYTES: u64 = 2_000_000_000;
    const BATCH: u64 = 128 << 10;
    const STEP: u64 = 16 * MIB;
    const BEHIND: u64 = 128 * MIB;
    let data = vec![7; BATCH as usize];
    let append = |file: &File, after: &dyn Fn(u64)| {
        let mut times: Vec<Duration> = (0..BYTES / BATCH)
            .map(|index| {
                let begun = Instant::now();
                file.write_all_at(&data, index * BATCH).unwrap();
                after((index + 1) * BATCH);
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e3;
        format!("p99.9 {:.1} ms, longest {:.0} ms", at(0.999), at(0.99999))
    };
    let fresh = || {
        let path = folder.join("fresh");
        drop(std::fs::remove_file(&path));
        File::create(path).unwrap()
    };
    let kernel = || append(&fresh(), &|_| ());
    let ours = || {
        let file = fresh();
        append(&file, &|end| {
            if end % STEP == 0 {
                sync_range(&file, end - STEP, STEP, libc::SYNC_FILE_RANGE_WRITE);
                if end > BEHIND {
                    sync_range(&file, end - BEHIND - STEP, STEP, WAIT);
                }
            }
        })
    };
    compare(
        "sync_file_range",
        "128 KiB",
        BYTES,
        &[("the kernel", &kernel), ("every 16 MiB", &ours)],
    );
    std::fs::remove_file(folder.join("fresh")).unwrap();
}

const WAIT: u32 = libc::SYNC_FILE_RANGE_WAIT_BEFORE
    | libc::SYNC_FILE_RANGE_WRITE
    | libc::SYNC_FILE_RANGE_WAIT_AFTER;

#[expect(unsafe_code, reason = "std and rustix have no such call")]
fn sync_range(file: &File, at: u64, bytes: u64, flags: u32) {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the descriptor is open, and no memory is passed.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, bytes as i64, flags) };
    assert_eq!(result, 0);
}

fn preallocation(folder: &Path) {
    const BATCH: u64 = 16 << 10;
    const APPENDS: u64 = 2_000;
    let data = vec![7; BATCH as usize];
    let append = |file: &File| {
        let begun = Instant::now();
        for index in 0..APPENDS {
            file.write_all_at(&data, index * BATCH).unwrap();
            file.sync_data().unwrap();
        }
        format!("{:.0} syncs/s", APPENDS as f64 / begun.elapsed().as_secs_f64())
    };
    let fresh = || {
        let path = folder.join("fresh");
        drop(std::fs::remove_file(&path));
        File::create(path).unwrap()
    };
    let grows = || append(&fresh());
    let reserved = || {
        let file = fresh();
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, APPENDS * BATCH).unwrap();
        file.sync_all().unwrap();
        append(&file)
    };
    let written = || {
        let file = fresh();
        file.write_all_at(&vec![0; (APPENDS * BATCH) as usize], 0).unwrap();
        file.sync_all().unwrap();
        append(&file)
    };
    compare(
        "preallocation",
        "16 KiB",
        APPENDS * BATCH,
        &[("grows", &grows), ("reserved", &reserved), ("written before", &written)],
    );
    std::fs::remove_file(folder.join("fresh")).unwrap();
}

fn checksums(_: &Path) {
    const BYTES: u64 = 4_000_000_000;
    for (size, batch) in [("1 KiB", 1 << 10), ("16 KiB", 16 << 10), ("1 MiB", MIB as usize)] {
        let data = vec![7_u8; batch];
        let times = BYTES as usize / batch;
        let fast = || {
            for _ in 0..times {
                let data = std::hint::black_box(&data);
                std::hint::black_box(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data));
            }
            String::new()
        };
        let plain = || {
            for _ in 0..times {
                std::hint::black_box(crc32c::crc32c(std::hint::black_box(&data)));
            }
            String::new()
        };
        let bytes = (times * batch) as u64;
        compare("crc", size, bytes, &[("crc-fast", &fast), ("crc32c", &plain)]);
    }
}

/// A way to decompress a payload, and what it is called.
type Decompression<'a> = (&'a str, &'a dyn Fn(&mut [u8]));

fn decompression(_: &Path) {
    const TIMES: usize = 4_000;
    let mut state = 1_u64;
    // As what `speed` sends: half of it is random.
    let data: Vec<u8> = (0..128_000)
        .map(|at| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if at % 2 == 0 { (state >> 56) as u8 } else { b'x' }
        })
        .collect();
    let bytes = (TIMES * data.len()) as u64;
    let ask = |codec: &str, ways: &[Decompression<'_>]| {
        let runs: Vec<_> = ways
            .iter()
            .map(|&(name, way)| {
                let run = || {
                    let mut out = vec![0; data.len()];
                    for _ in 0..TIMES {
                        way(std::hint::black_box(&mut out));
                    }
                    assert!(out.ends_with(&data[data.len() - 1..]));
                    String::new()
                };
                (name, run)
            })
            .collect();
        let runs: Vec<_> =
            runs.iter().map(|(name, run)| (*name, run as &dyn Fn() -> String)).collect();
        compare("decompression", codec, bytes, &runs);
    };

    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&data).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |out: &mut [u8]| drain(flate2::bufread::MultiGzDecoder::new(&gzip[..]), out);
    let deflate = |out: &mut [u8]| {
        let decompressed = libdeflater::Decompressor::new().gzip_decompress(&gzip, out).unwrap();
        assert_eq!(decompressed, out.len());
    };
    ask("gzip", &[("zlib-rs, in windows", &zlib), ("libdeflate, all at once", &deflate)]);

    let compress = |block: &[u8]| lz4::block::compress(block, None, false).unwrap();
    let blocks: Vec<_> = data.chunks(64 << 10).map(compress).collect();
    let safe = |out: &mut [u8]| {
        for (block, out) in blocks.iter().zip(out.chunks_mut(64 << 10)) {
            lz4_flex::block::decompress_into(block, out).unwrap();
        }
    };
    let c = |out: &mut [u8]| {
        for (block, out) in blocks.iter().zip(out.chunks_mut(64 << 10)) {
            let size = Some(out.len() as i32);
            lz4::block::decompress_to_buffer(block, size, out).unwrap();
        }
    };
    ask("lz4", &[("lz4_flex, safe", &safe), ("the C library", &c)]);

    let zstd = zstd::encode_all(&data[..], 3).unwrap();
    let anew = |out: &mut [u8]| drain(zstd::Decoder::with_buffer(&zstd[..]).unwrap(), out);
    let kept = std::cell::RefCell::new(zstd::zstd_safe::DCtx::create());
    let again = |out: &mut [u8]| {
        let mut context = kept.borrow_mut();
        drain(zstd::Decoder::with_context(&zstd[..], &mut context), out);
    };
    let whole = std::cell::RefCell::new(zstd::bulk::Decompressor::new().unwrap());
    let at_once = |out: &mut [u8]| {
        assert_eq!(whole.borrow_mut().decompress_to_buffer(&zstd, out).unwrap(), data.len());
    };
    let ways: &[Decompression<'_>] = &[
        ("a context each", &anew),
        ("one context", &again),
        ("one context, all at once", &at_once),
    ];
    ask("zstd", ways);
}

/// Reads all in windows of 64 KiB, each over the one before.
fn drain(reader: impl std::io::Read, out: &mut [u8]) {
    use std::io::BufRead as _;
    let mut reader = std::io::BufReader::with_capacity(64 << 10, reader);
    loop {
        let window = reader.fill_buf().unwrap();
        let length = window.len();
        if length == 0 {
            return;
        }
        let last = out.len() - 1;
        out[last] = window[length - 1];
        reader.consume(length);
    }
}
