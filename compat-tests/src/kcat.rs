//! kcat, run once per request.
//!
//! kcat speaks text: keys, values and headers must be UTF-8, values of one line, and a value that is not null must not
//! be empty. It tells neither offsets nor the broker's error codes.

use std::io::{Seek, Write};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::{At, ClientError, ProduceOptions, Request, Transport};
use crate::java::output;
use crate::record::{Blob, Record};
use crate::wait::bounded;

/// kcat for one broker.
#[derive(Debug)]
pub struct Kcat {
    bootstrap: String,
}

impl Kcat {
    pub(crate) fn new(bootstrap: &str) -> Self {
        Self { bootstrap: bootstrap.to_owned() }
    }

    fn command(&self) -> Command {
        let mut command = bounded("kcat");
        command.args(["-b", &self.bootstrap]);
        command
    }

    fn answer(&self, request: &Request<'_>) -> Result<Value> {
        match *request {
            Request::Version => version(),
            Request::ListTopics => {
                let metadata = self.metadata(None)?;
                let names = metadata["topics"].as_array().context("no topics")?.iter();
                Ok(names.map(|topic| topic["topic"].clone()).collect())
            }
            Request::DescribeTopic { topic } => {
                let metadata = self.metadata(Some(topic))?;
                let partitions =
                    metadata["topics"][0]["partitions"].as_array().context("no partitions")?.iter();
                Ok(partitions.map(partition).collect())
            }
            Request::Produce { topic, records, options } => {
                for record in records {
                    self.produce(topic, record, options)?;
                }
                Ok(json!(vec![Value::Null; records.len()]))
            }
            Request::Consume { topic, count, .. } => self.consume(topic, count),
            Request::Offsets { topic, partitions, at } => {
                (0..partitions).map(|partition| self.offset(topic, partition, at)).collect()
            }
            _ => bail!("kcat cannot do {request:?}"),
        }
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Value> {
        let mut command = self.command();
        command.args(["-L", "-J"]);
        if let Some(topic) = topic {
            command.args(["-t", topic]);
        }
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    fn produce(&self, topic: &str, record: &Record, options: ProduceOptions) -> Result<()> {
        let mut input = tempfile::tempfile()?;
        if let Some(Blob(key)) = &record.key {
            input.write_all(key)?;
            input.write_all(KEY_END.as_bytes())?;
        }
        if let Some(Blob(value)) = &record.value {
            input.write_all(value)?;
        }
        input.write_all(b"\n")?;
        input.rewind()?;
        let mut command = self.command();
        command.args([
            "-P",
            "-t",
            topic,
            "-p",
            &record.partition.to_string(),
            "-z",
            options.codec.name(),
        ]);
        command.args([
            "-X",
            "message.max.bytes=100000000",
            "-X",
            &format!("acks={}", options.acks),
        ]);
        command.args(["-X", &format!("enable.idempotence={}", options.idempotent)]);
        if record.key.is_some() {
            // Not -k: with it an empty line is skipped instead of being sent as null.
            command.args(["-K", KEY_END]);
        }
        for (name, value) in &record.headers {
            let Blob(value) = value.as_ref().context("kcat cannot send a header without value")?;
            command.args(["-H", &format!("{name}={}", std::str::from_utf8(value)?)]);
        }
        output(command.arg("-Z").stdin(input))?;
        Ok(())
    }

    fn consume(&self, topic: &str, count: usize) -> Result<Value> {
        let count = count.to_string();
        let mut command = self.command();
        command.args(["-C", "-t", topic, "-o", "beginning", "-c", &count, "-e", "-q", "-J"]);
        output(&mut command)?
            .lines()
            .map(|line| Ok(serde_json::to_value(record(&serde_json::from_str(line)?)?)?))
            .collect()
    }

    fn offset(&self, topic: &str, partition: i32, at: At) -> Result<Value> {
        let time = match at {
            At::Earliest => -2,
            At::Latest => -1,
            At::Time(millis) => millis,
            At::MaxTimestamp => bail!("kcat cannot look for the greatest timestamp"),
        };
        let printed =
            output(self.command().args(["-Q", "-t", &format!("{topic}:{partition}:{time}")]))?;
        let offset = printed.trim().rsplit(' ').next().unwrap_or_default();
        Ok(json!(offset.parse::<i64>().with_context(|| printed.clone())?))
    }
}

impl Transport for Kcat {
    fn call(&mut self, request: &Request<'_>) -> Result<Value, ClientError> {
        self.answer(request).map_err(|error| ClientError::Failed(format!("{error:#}")))
    }
}

/// `Version 1.7.1 (JSON, …, librdkafka 2.0.2 …)`
fn version() -> Result<Value> {
    let printed = output(bounded("kcat").arg("-V"))?;
    let line =
        printed.lines().find_map(|line| line.strip_prefix("Version ")).context("no version")?;
    Ok(json!(line))
}

fn partition(metadata: &Value) -> Value {
    let ids = |list: &Value| {
        list.as_array().into_iter().flatten().map(|broker| broker["id"].clone()).collect()
    };
    let (replicas, isr): (Value, Value) = (ids(&metadata["replicas"]), ids(&metadata["isrs"]));
    json!({"leader": metadata["leader"], "replicas": replicas, "isr": isr})
}

/// A line of kcat's JSON; it lists headers as name, value, name, value, …
fn record(line: &Value) -> Result<Record> {
    let text = |value: &Value| value.as_str().map(|text| Blob(text.into()));
    let headers = line["headers"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(Record {
        partition: i32::try_from(line["partition"].as_i64().context("no partition")?)?,
        offset: line["offset"].as_i64(),
        timestamp: line["ts"].as_i64(),
        key: text(&line["key"]),
        value: text(&line["payload"]),
        headers: headers
            .chunks(2)
            .map(|pair| {
                (pair[0].as_str().unwrap_or_default().to_owned(), pair.get(1).and_then(text))
            })
            .collect(),
    })
}

/// Ends the key in what kcat reads; no record has it.
const KEY_END: &str = "\u{1}";
