//! Standard input and files, read on a thread of their own, cut where a record ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::env::Env;

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// Reads that wait to be used.
const AHEAD: usize = 4;
/// The longest piece that is taken between two delimiters.
const PIECE_BYTES_MAX: usize = 64 << 20;

/// Pieces between delimiters.
#[derive(Debug)]
pub(super) struct Input {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    delimiter: Vec<u8>,
    /// What was read and not given yet.
    held: BytesMut,
    /// Bytes of it that have no delimiter.
    searched: usize,
    /// Whether a file ends behind what is held.
    file_ended: bool,
    ended: bool,
}

impl Input {
    /// Reads these files one after the other, or standard input if there are none. Those whose name ends in `.zst` are
    /// decompressed; `-` is standard input.
    pub(super) fn open(env: &Env, files: Vec<PathBuf>, delimiter: Delimiter) -> Self {
        let (sender, chunks) = mpsc::channel(AHEAD);
        // Nobody waits for it: a read of standard input cannot be ended.
        drop(env.tasks.spawn_blocking("reads input", move || {
            let files = if files.is_empty() { vec![STANDARD.into()] } else { files };
            for path in files {
                let copied = open(&path).and_then(|file| copy(file, &sender));
                if let Err(error) = copied {
                    let text = format!("cannot read {}: {error}", path.display());
                    drop(sender.blocking_send(Err(io::Error::new(error.kind(), text))));
                    return;
                }
            }
        }));
        Self::of(chunks, delimiter)
    }

    fn of(chunks: mpsc::Receiver<io::Result<Bytes>>, delimiter: Delimiter) -> Self {
        let delimiter = delimiter.0;
        let held = BytesMut::new();
        Self { chunks, delimiter, held, searched: 0, file_ended: false, ended: false }
    }

    /// The next piece without its delimiter, if it is there without waiting. The last piece of a file needs no delimiter
    /// behind it.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let from = self.searched.min(self.held.len());
        if let Some(at) = find(&self.held[from..], &self.delimiter) {
            let piece = self.held.split_to(from + at).freeze();
            self.held.advance(self.delimiter.len());
            self.searched = 0;
            return Some(piece);
        }
        let ended = std::mem::take(&mut self.file_ended) || self.ended;
        if ended && !self.held.is_empty() {
            self.searched = 0;
            return Some(self.held.split().freeze());
        }
        // A delimiter may lie across two reads.
        self.searched = self.held.len().saturating_sub(self.delimiter.len() - 1);
        None
    }

    /// What was read and not taken, and whether that is all of a file.
    pub(super) fn held(&self) -> (&[u8], bool) {
        (&self.held, self.file_ended || self.ended)
    }

    /// Takes so many bytes of what is held.
    pub(super) fn advance(&mut self, used: usize) {
        self.held.advance(used);
        self.searched = 0;
    }

    /// Whether [`fill`](Self::fill) will not wait.
    pub(super) fn is_ready(&self) -> bool {
        self.ended || !self.chunks.is_empty()
    }

    /// Waits for more; false at the end. What was there has to be taken before. May be dropped at any time.
    ///
    /// # Errors
    /// When reading fails, or a piece is too long.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        if self.held.len() > PIECE_BYTES_MAX {
            let text = format!("a record of more than {PIECE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match self.chunks.recv().await {
            Some(chunk) => {
                let chunk = chunk?;
                self.file_ended = chunk.is_empty();
                self.held.extend_from_slice(&chunk);
            }
            None => self.ended = true,
        }
        Ok(!self.ended)
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new(STANDARD) {
        return Ok(Box::new(io::stdin().lock()));
    }
    #[expect(clippy::disallowed_methods, reason = "a file that a user names, read once")]
    let file = File::open(path)?;
    Ok(match is_compressed(path) {
        true => Box::new(zstd::Decoder::new(file)?),
        false => Box::new(file),
    })
}

/// Sends what there is to read, and an empty chunk where it ends.
fn copy(mut source: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let sent = sender.blocking_send(Ok(Bytes::copy_from_slice(&buffer[..count])));
        if count == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

/// Whether the name of a file says that it is compressed.
pub(super) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// The name of a file that means standard input or output.
pub(super) const STANDARD: &str = "-";

fn find(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    match delimiter {
        [one] => bytes.iter().position(|byte| byte == one),
        several => bytes.windows(several.len()).position(|window| window == several),
    }
}

/// Bytes between records, or between a key and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delimiter(pub(super) Vec<u8>);

/// Reads `\n`, `\t`, `\0`, `\xNN` and other text as the bytes of a delimiter.
///
/// # Errors
/// In words, when it is empty or has an escape that is not known.
pub(super) fn delimiter(text: &str) -> Result<Delimiter, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after = &rest[first.len_utf8()..];
        if first != '\\' {
            bytes.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
            rest = after;
            continue;
        }
        let (byte, used) = match after.as_bytes().first() {
            Some(b'n') => (Some(b'\n'), 1),
            Some(b't') => (Some(b'\t'), 1),
            Some(b'r') => (Some(b'\r'), 1),
            Some(b'0') => (Some(0), 1),
            Some(b'\\') => (Some(b'\\'), 1),
            Some(b'x') => {
                let digits = after.get(1..3).unwrap_or_default();
                (u8::from_str_radix(digits, 16).ok(), 3)
            }
            Some(_) | None => (None, 0),
        };
        bytes.push(byte.ok_or_else(|| format!("'{text}' has an escape that is not known"))?);
        rest = &after[used..];
    }
    if bytes.is_empty() {
        return Err("a delimiter needs a character".to_owned());
    }
    Ok(Delimiter(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_lie_across_reads() {
        for delimiter in [&b"\n"[..], b"--"] {
            let (sender, chunks) = mpsc::channel(20);
            let text = [&b"one"[..], b"", b"two", b"rest"].join(delimiter);
            for byte in text {
                sender.send(Ok(Bytes::from(vec![byte]))).await.unwrap();
            }
            drop(sender);
            let input = Input::of(chunks, Delimiter(delimiter.to_vec()));
            assert_eq!(all(input).await, [&b"one"[..], b"", b"two", b"rest"]);
        }
    }

    async fn all(mut input: Input) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while input.fill().await.unwrap() {
            pieces.extend(std::iter::from_fn(|| input.take()));
        }
        pieces.extend(input.take());
        pieces
    }

    #[tokio::test]
    async fn no_piece_lies_across_files() {
        let (sender, chunks) = mpsc::channel(20);
        for chunk in [&b"one--tw"[..], b"o", b"", b"", b"three-", b"", b"-four--", b"", b"five"] {
            sender.send(Ok(Bytes::from_static(chunk))).await.unwrap();
        }
        drop(sender);
        let input = Input::of(chunks, Delimiter(b"--".to_vec()));
        assert_eq!(all(input).await, [&b"one"[..], b"two", b"three-", b"-four", b"five"]);
    }

    #[test]
    fn delimiters_have_escapes() {
        assert_eq!(delimiter("\\t"), Ok(Delimiter(b"\t".to_vec())));
        assert_eq!(delimiter("a\\x00\\\\"), Ok(Delimiter(b"a\0\\".to_vec())));
        assert!(delimiter("").is_err() && delimiter("\\q").is_err() && delimiter("\\x1").is_err());
    }
}
