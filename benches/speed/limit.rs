//! The limit loop: what any server must do for this load, and nothing else.
//!
//! A blocking thread per connection that makes the system calls of the hot path: it reads a frame, computes the CRC of
//! the records where the client said they are, appends them to a file and answers; or it answers with a slice of a mapped
//! file. It knows no protocol, keeps no state and checks nothing.
//!
//! Modes, as the words after `limit`:
//! - `produce FOLDER START END ANSWER`: records lie at `START..END` of each frame, an answer has `ANSWER` bytes;
//! - `fetch FOLDER PARTS SLICE HEAD`: an answer is `PARTS` times a head of `HEAD` bytes and a slice of `SLICE` bytes, each
//!   of a file of its own;
//! - `validate FOLDER START END ANSWER CODEC`: as `produce`, and the records are decompressed and walked through before;
//! - `sync FOLDER START END ANSWER FILES`: as `produce`, connections share so many files, and an answer waits for
//!   `fdatasync`; appends that wait for one share the next;
//! - `relay FOLDER START END ANSWER`: as `produce`, and a frame with the key of Fetch is answered with the records that
//!   its connection has not had, once there are any.

use std::fs::File;
use std::io::{IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;

/// Bytes of a relayed answer before its records, with the answer's length.
pub(crate) const RELAY_HEAD: usize = 64;
const FETCH_KEY: [u8; 2] = [0, 1];
/// Where the CRC's bytes begin in a batch, and its records.
const CRC_START: usize = 21;
const RECORDS_START: usize = 61;
/// What stands before each block of Kafka's Snappy, and before the first.
const SNAPPY_LENGTH: usize = 4;
const SNAPPY_HEAD: usize = 16;

/// Serves for ever; prints its port first.
pub(crate) fn serve(arguments: &[String]) -> ! {
    let number = |at: usize| -> usize { arguments[at].parse().unwrap() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let relay = Arc::new(Relay::default());
    let synced: Vec<_> = match arguments[0].as_str() {
        "sync" => (0..number(5)).map(|file| Synced::create(&arguments[1], file)).collect(),
        _ => Vec::new(),
    };
    for (index, stream) in listener.incoming().enumerate() {
        let mut stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let path = Path::new(&arguments[1]).to_owned();
        let (a, b, c) = (number(2), number(3), number(4));
        let mode = arguments[0].clone();
        let relay = Arc::clone(&relay);
        let codec = arguments.get(5).cloned().unwrap_or_default();
        let file = synced.get(index % synced.len().max(1)).cloned();
        std::thread::spawn(move || match mode.as_str() {
            "produce" => append(&mut stream, &path.join(index.to_string()), a..b, c, ""),
            "validate" => append(&mut stream, &path.join(index.to_string()), a..b, c, &codec),
            "sync" => commit(&mut stream, &file.unwrap(), a..b, c),
            "fetch" => slices(&mut stream, &path, a, b, c),
            "relay" => relayed(&mut stream, &relay, &path.join(index.to_string()), a..b, c),
            other => panic!("unknown mode {other}"),
        });
    }
    unreachable!("a listener never ends")
}

/// Puts the next frame without its length into the buffer; `false` at the end.
fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut length = [0; 4];
    if stream.read_exact(&mut length).is_err() {
        return false;
    }
    buffer.resize(u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(buffer).is_ok()
}

/// An answer of this length to a frame.
fn answer(frame: &[u8], bytes: usize) -> Vec<u8> {
    let mut answer = vec![0; bytes];
    answer[..4].copy_from_slice(&(bytes as u32 - 4).to_be_bytes());
    answer[4..8].copy_from_slice(&frame[4..8]);
    answer
}

fn append(
    stream: &mut TcpStream,
    path: &Path,
    records: std::ops::Range<usize>,
    answer_bytes: usize,
    codec: &str,
) {
    let file = File::create(path).unwrap();
    let end = Mutex::new(0_u64);
    let mut frame = Vec::new();
    while receive(stream, &mut frame) {
        let records = &frame[records.clone()];
        std::hint::black_box(crc(records));
        if !codec.is_empty() {
            std::hint::black_box(walk(&decompress(codec, &records[RECORDS_START..])));
        }
        let mut end = end.lock().unwrap();
        file.write_all_at(records, *end).unwrap();
        *end += records.len() as u64;
        drop(end);
        stream.write_all(&answer(&frame, answer_bytes)).unwrap();
    }
}

fn crc(records: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &records[CRC_START..])
}

/// All records in one piece.
fn decompress(codec: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match codec {
        "Gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        "Lz4" => lz4_flex::frame::FrameDecoder::new(bytes).read_to_end(&mut plain).unwrap(),
        "Zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain).unwrap(),
        "Snappy" => {
            let mut rest = &bytes[SNAPPY_HEAD..];
            while let Some((length, blocks)) = rest.split_first_chunk::<SNAPPY_LENGTH>() {
                let (block, others) = blocks.split_at(u32::from_be_bytes(*length) as usize);
                plain.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                rest = others;
            }
            plain.len()
        }
        other => panic!("unknown codec {other}"),
    };
    plain
}

/// Goes from record to record by their lengths; how many there are.
fn walk(mut records: &[u8]) -> usize {
    let mut count = 0;
    while !records.is_empty() {
        let end = records.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let digits = records[..=end].iter().rev();
        let zigzag = digits.fold(0_usize, |value, byte| value << 7 | usize::from(byte & 0x7f));
        records = &records[end + 1 + zigzag / 2..];
        count += 1;
    }
    count
}

/// A file whose writers share their syncs.
struct Synced {
    file: File,
    state: Mutex<Ends>,
    changed: Condvar,
}

#[derive(Default)]
struct Ends {
    written: u64,
    synced: u64,
    is_syncing: bool,
}

impl Synced {
    fn create(folder: &str, name: usize) -> Arc<Self> {
        let file = File::create(Path::new(folder).join(format!("synced-{name}"))).unwrap();
        Arc::new(Self { file, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Writes behind what is there and waits until that is on the disk.
    fn append(&self, bytes: &[u8]) {
        let mut ends = self.state.lock().unwrap();
        self.file.write_all_at(bytes, ends.written).unwrap();
        ends.written += bytes.len() as u64;
        let mine = ends.written;
        while ends.synced < mine {
            if ends.is_syncing {
                ends = self.changed.wait(ends).unwrap();
                continue;
            }
            ends.is_syncing = true;
            let covered = ends.written;
            drop(ends);
            self.file.sync_data().unwrap();
            ends = self.state.lock().unwrap();
            (ends.synced, ends.is_syncing) = (covered, false);
            self.changed.notify_all();
        }
    }
}

fn commit(
    stream: &mut TcpStream,
    file: &Synced,
    records: std::ops::Range<usize>,
    answer_bytes: usize,
) {
    let mut frame = Vec::new();
    while receive(stream, &mut frame) {
        let records = &frame[records.clone()];
        std::hint::black_box(crc(records));
        file.append(records);
        stream.write_all(&answer(&frame, answer_bytes)).unwrap();
    }
}

#[expect(unsafe_code, reason = "the limit maps its file as the broker does")]
fn slices(stream: &mut TcpStream, path: &Path, parts: usize, slice: usize, head: usize) {
    let map = |part: usize| {
        let file = File::open(path.join(part.to_string())).unwrap();
        // SAFETY: the file is not changed while the limit loop runs.
        unsafe { memmap2::Mmap::map(&file) }.unwrap()
    };
    let maps: Vec<_> = (0..parts).map(map).collect();
    let (mut at, mut frame) = (0, Vec::new());
    while receive(stream, &mut frame) {
        let mut heads = vec![answer(&frame, head); parts];
        let length = (parts * (head + slice) - 4) as u32;
        heads[0][..4].copy_from_slice(&length.to_be_bytes());
        let mut pieces = Vec::with_capacity(2 * parts);
        if at + slice > maps[0].len() {
            at = 0;
        }
        for (head, map) in heads.iter().zip(&maps) {
            pieces.push(IoSlice::new(head));
            pieces.push(IoSlice::new(&map[at..at + slice]));
        }
        at += slice;
        let mut pieces = &mut pieces[..];
        while !pieces.is_empty() {
            let Ok(written) = stream.write_vectored(pieces) else { return };
            IoSlice::advance_slices(&mut pieces, written);
        }
    }
}

/// All records there have been, batch by batch.
#[derive(Default)]
struct Relay {
    batches: Mutex<Vec<Bytes>>,
    changed: Condvar,
}

fn relayed(
    stream: &mut TcpStream,
    relay: &Relay,
    path: &Path,
    records: std::ops::Range<usize>,
    answer_bytes: usize,
) {
    let file = File::create(path).unwrap();
    let (mut end, mut seen, mut frame) = (0, 0, Vec::new());
    while receive(stream, &mut frame) {
        if frame[..2] == FETCH_KEY {
            let batches = relay.batches.lock().unwrap();
            let batches = relay.changed.wait_while(batches, |all| all.len() == seen).unwrap();
            let records = batches[seen..].concat();
            seen = batches.len();
            drop(batches);
            let mut answer = answer(&frame, RELAY_HEAD + records.len());
            answer[RELAY_HEAD..].copy_from_slice(&records);
            stream.write_all(&answer).unwrap();
        } else {
            let records = Bytes::copy_from_slice(&frame[records.clone()]);
            std::hint::black_box(crc(&records));
            file.write_all_at(&records, end).unwrap();
            end += records.len() as u64;
            relay.batches.lock().unwrap().push(records);
            relay.changed.notify_all();
            stream.write_all(&answer(&frame, answer_bytes)).unwrap();
        }
    }
}
