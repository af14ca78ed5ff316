//! `kafka-console-producer`: lines of standard input become records, as `LineMessageReader` of Apache Kafka 4.3 reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;

use super::admin;
use super::options::{Known, Options, flag, optional, valued};
use crate::cli::input::{Delimiter, Input};
use crate::cli::sources;
use crate::client::{Cluster, NewRecord, Producer, ProducerOptions};
use crate::record::Compression;

const ABOUT: &str = "kafka-console-producer writes the lines of standard input to a topic.";
const KNOWN: &[Known] = &[
    valued(&["topic"]),
    flag(&["sync"]),
    optional(&["compression-codec"]),
    valued(&["batch-size"]),
    valued(&["message-send-max-retries"]),
    valued(&["retry-backoff-ms"]),
    valued(&["timeout"]),
    valued(&["request-required-acks"]),
    valued(&["request-timeout-ms"]),
    valued(&["metadata-expiry-ms"]),
    valued(&["max-block-ms"]),
    valued(&["max-memory-bytes"]),
    valued(&["max-partition-memory-bytes"]),
    valued(&["socket-buffer-size"]),
    valued(&["line-reader"]),
    valued(&["reader-property", "property"]),
    valued(&["reader-config"]),
    valued(&["command-property", "producer-property"]),
    valued(&["producer.config"]),
];
/// The reader that is here.
const READER: &str = "org.apache.kafka.tools.LineMessageReader";

pub(super) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(options) = admin::read(ABOUT, KNOWN, arguments)? else { return Ok(ExitCode::SUCCESS) };
    let topic = options.needed("topic")?;
    if let Some(reader) = options.value("line-reader")?.filter(|reader| *reader != READER) {
        bail!("there is no {reader} here, and no JVM to run it");
    }
    let reader = Reader::new(&properties_of(&options, "reader-config", "reader-property")?)?;
    let producer = producer_options(&options)?;
    admin::run(&options, async |cluster| produce(cluster, topic, producer, &reader).await)
}

/// Properties of a file, and those of an option over them.
pub(super) fn properties_of(
    options: &Options,
    file: &str,
    option: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    if let Some(path) = options.value(file)? {
        let found = sources::read_properties(Path::new(path))?;
        all.extend(found.into_iter().map(|property| (property.key, property.value)));
    }
    for text in options.values(option) {
        let (key, value) = text
            .split_once('=')
            .with_context(|| format!("--{option} {text} must read key=value"))?;
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

fn producer_options(options: &Options) -> anyhow::Result<ProducerOptions> {
    let set = properties_of(options, "producer.config", "command-property")?;
    if let Some(protocol) = set.get("security.protocol").filter(|protocol| *protocol != "PLAINTEXT")
    {
        bail!("security.protocol={protocol}: TLS and SASL are not there yet");
    }
    let codec = options
        .value("compression-codec")?
        .map(|codec| if codec.is_empty() { "gzip" } else { codec });
    let codec = codec.or_else(|| set.get("compression.type").map(String::as_str)).unwrap_or("none");
    let compression = match codec {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => bail!("{other} is no codec: none, gzip, snappy, lz4, zstd"),
    };
    let acks =
        options.value("request-required-acks")?.or_else(|| set.get("acks").map(String::as_str));
    let all_replicas = match acks {
        None | Some("all" | "-1") => true,
        Some("1") => false,
        Some(other) => bail!("acks of {other} are not there: 1 and all are"),
    };
    let idempotent = all_replicas && set.get("enable.idempotence").is_none_or(|on| on == "true");
    Ok(ProducerOptions { compression, all_replicas, idempotent, ..ProducerOptions::default() })
}

async fn produce(
    cluster: Cluster,
    topic: &str,
    options: ProducerOptions,
    reader: &Reader,
) -> anyhow::Result<ExitCode> {
    let mut input = Input::open(cluster.env(), Vec::new(), Delimiter(b"\n".to_vec()));
    let mut producer = Producer::open(cluster, topic, options).await?;
    let mut more = true;
    while more {
        if !input.is_ready() {
            // Nothing to read for the moment: what was read is not kept waiting.
            producer.flush().await?;
        }
        more = input.fill().await?;
        while let Some(line) = input.take() {
            let line = reader.read(&line)?;
            let headers: Vec<_> = line
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref()))
                .collect();
            let (key, value) = (line.key.as_deref(), line.value.as_deref());
            let record =
                NewRecord { key, value, headers: &headers, timestamp: None, partition: None };
            producer.push(record).await?;
        }
        producer.take_delivered();
    }
    producer.flush().await?;
    Ok(ExitCode::SUCCESS)
}

/// How a line is read.
#[derive(Debug)]
struct Reader {
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: Vec<u8>,
    headers_delimiter: Vec<u8>,
    headers_separator: Vec<u8>,
    header_key_separator: Vec<u8>,
    null_marker: Option<Vec<u8>>,
}

/// What a line says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl Reader {
    fn new(set: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let on =
            |key: &str| set.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let text = |key: &str, default: &str| {
            set.get(key).map_or(default, String::as_str).as_bytes().to_vec()
        };
        let reader = Self {
            parse_key: on("parse.key"),
            parse_headers: on("parse.headers"),
            ignore_error: on("ignore.error"),
            key_separator: text("key.separator", "\t"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: text("headers.separator", ","),
            header_key_separator: text("headers.key.separator", ":"),
            null_marker: set.get("null.marker").map(|marker| marker.as_bytes().to_vec()),
        };
        for (separator, name) in [
            (&reader.key_separator, "key.separator"),
            (&reader.headers_delimiter, "headers.delimiter"),
            (&reader.headers_separator, "headers.separator"),
            (&reader.header_key_separator, "headers.key.separator"),
        ] {
            if separator.is_empty() {
                bail!("{name} is empty");
            }
        }
        Ok(reader)
    }

    /// Headers, key and value, as far as they are to be there.
    fn read(&self, line: &Bytes) -> anyhow::Result<Line> {
        let (mut rest, mut found) = (line.clone(), Line::default());
        if self.parse_headers
            && let Some(headers) =
                self.part(&mut rest, &self.headers_delimiter, "headers.delimiter")?
        {
            found.headers = self.headers(headers)?;
        }
        if self.parse_key {
            let key = self.part(&mut rest, &self.key_separator, "key.separator")?;
            found.key = key.and_then(|key| self.unless_null(key));
        }
        found.value = self.unless_null(rest);
        Ok(found)
    }

    /// What stands before a delimiter; none if that is not there and need not be.
    fn part(
        &self,
        rest: &mut Bytes,
        delimiter: &[u8],
        name: &str,
    ) -> anyhow::Result<Option<Bytes>> {
        match find(rest, delimiter) {
            Some(at) => {
                let part = rest.slice(..at);
                *rest = rest.slice(at + delimiter.len()..);
                Ok(Some(part))
            }
            None if self.ignore_error => Ok(None),
            None => bail!("there is no {name} in a line: {}", String::from_utf8_lossy(rest)),
        }
    }

    fn headers(&self, text: Bytes) -> anyhow::Result<Vec<(String, Option<Bytes>)>> {
        if self.unless_null(text.clone()).is_none() || text.is_empty() {
            return Ok(Vec::new());
        }
        let (mut rest, mut headers, mut more) = (text, Vec::new(), true);
        while more {
            let at = find(&rest, &self.headers_separator);
            let mut header = at.map_or_else(|| rest.clone(), |at| rest.slice(..at));
            more = at.is_some();
            rest = at.map_or_else(Bytes::new, |at| rest.slice(at + self.headers_separator.len()..));
            let name =
                self.part(&mut header, &self.header_key_separator, "headers.key.separator")?;
            let (name, value) = match name {
                Some(name) => (name, self.unless_null(header)),
                None => (header, None),
            };
            headers.push((String::from_utf8_lossy(&name).into_owned(), value));
        }
        Ok(headers)
    }

    fn unless_null(&self, bytes: Bytes) -> Option<Bytes> {
        (self.null_marker.as_deref() != Some(&*bytes)).then_some(bytes)
    }
}

fn find(bytes: &[u8], delimiter: &[u8]) -> Option<usize> {
    bytes.windows(delimiter.len()).position(|window| window == delimiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)], line: &str) -> Option<String> {
        let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let line = Reader::new(&set).unwrap().read(&Bytes::from(line.to_owned())).ok()?;
        let text = |bytes: &Option<Bytes>| {
            bytes
                .as_ref()
                .map_or_else(|| "null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let headers: Vec<_> =
            line.headers.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        Some(format!("{} {} {}", headers.join("+"), text(&line.key), text(&line.value)))
    }

    #[test]
    fn parts_of_a_line() {
        let keyed = ("parse.key", "true");
        let all =
            [keyed, ("parse.headers", "true"), ("null.marker", "NULL"), ("key.separator", "::")];
        for (set, line, expected) in [
            (&[][..], "a\tb", Some(" null a\tb")),
            (&[keyed], "a\tb\tc", Some(" a b\tc")),
            (&[keyed], "a", None),
            (&[keyed, ("ignore.error", "true")], "a", Some(" null a")),
            (&all, "h:1,i:NULL\tkey::value", Some("h=1+i=null key value")),
            (&all, "NULL\tNULL::NULL", Some(" null null")),
            (&all, "h\tkey::value", None),
        ] {
            assert_eq!(read(set, line).as_deref(), expected, "{line}");
        }
        assert!(Reader::new(&[("key.separator".to_owned(), String::new())].into()).is_err());
    }
}
