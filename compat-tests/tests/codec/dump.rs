//! Runs `java/CodecDump.java` and reads what it writes.

use std::io::{BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use bytes::Bytes;
use ottla::wire::ApiKey;
use serde_json::Value;

/// Which way a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    /// From client to broker.
    Request,
    /// From broker to client.
    Response,
}

/// A message that Apache Kafka built.
pub(crate) struct DumpedMessage {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) direction: Direction,
    /// The body with unknown tagged fields in it.
    pub(crate) body: Bytes,
    /// The body of the same message without them.
    pub(crate) body_without_unknown_fields: Bytes,
    /// The values, named as in the schema.
    pub(crate) json: Value,
}

/// The running program.
pub(crate) struct Dump {
    child: Child,
    stream: BufReader<ChildStdout>,
}

impl Dump {
    /// Starts it for all served versions of `keys`.
    pub(crate) fn start(seed: u64, count: u64, keys: &[ApiKey]) -> Self {
        let home = Path::new(env!("CARGO_MANIFEST_DIR"));
        let ranges = keys.iter().map(|key| {
            let served = key.entry().served.expect("only served APIs are dumped");
            format!("{}:{}:{}", key.code(), served.min, served.max)
        });
        let mut child = Command::new(home.join("kafka"))
            .arg("run")
            .arg(home.join("java/CodecDump.java"))
            .args([seed.to_string(), count.to_string()])
            .args(ranges)
            .stdout(Stdio::piped())
            .spawn()
            .expect("compat-tests/kafka runs");
        let stream = child.stdout.take().expect("stdout is piped");
        Self { child, stream: BufReader::with_capacity(1 << 16, stream) }
    }

    /// The next message; `None` at the end of the stream.
    pub(crate) fn next_message(&mut self) -> Option<DumpedMessage> {
        let code = i16::from_be_bytes(self.array());
        if code == -1 {
            return None;
        }
        let version = i16::from_be_bytes(self.array());
        let [direction] = self.array();
        let body = self.bytes();
        let body_without_unknown_fields = self.bytes();
        let json = self.bytes();
        Some(DumpedMessage {
            key: ApiKey::from_code(code).expect("a key that was asked for"),
            version,
            direction: match direction {
                0 => Direction::Request,
                _ => Direction::Response,
            },
            body,
            body_without_unknown_fields,
            json: serde_json::from_slice(&json).expect("JSON"),
        })
    }

    /// Waits for the program's end.
    pub(crate) fn finish(mut self) {
        let status = self.child.wait().expect("the program ends");
        assert!(status.success(), "CodecDump: {status}");
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        self.stream.read_exact(&mut array).expect("the stream goes on until its end mark");
        array
    }

    fn bytes(&mut self) -> Bytes {
        let length = u32::from_be_bytes(self.array());
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).expect("the stream goes on until its end mark");
        bytes.into()
    }
}
