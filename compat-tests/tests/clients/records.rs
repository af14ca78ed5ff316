//! Records: what is produced comes back, byte for byte and in order, whoever wrote it and whoever reads it.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ottla_compat_tests::client::{At, ProduceOptions};
use ottla_compat_tests::librdkafka::{assign, consumer};
use ottla_compat_tests::wait::PATIENCE;
use ottla_compat_tests::{
    Client, ClientError, ClientKind, Codec, Record, Server, ServerKind, Skill, wait_until,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;

use crate::{Bench, Scenario, create, wait_for_partitions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "connects", needs: &[], run: connects },
    Scenario {
        name: "reads_back_what_it_wrote",
        needs: &[Skill::Produce, Skill::Consume],
        run: round_trip,
    },
    Scenario { name: "is_read_by_all_others", needs: &[Skill::Produce], run: cross_client },
    Scenario {
        name: "writes_idempotently",
        needs: &[Skill::Produce, Skill::Idempotence],
        run: idempotent,
    },
    Scenario { name: "writes_with_all_acks", needs: &[Skill::Produce, Skill::Acks], run: acks },
    Scenario {
        name: "moves_big_records",
        needs: &[Skill::Produce, Skill::Consume],
        run: big_records,
    },
    Scenario {
        name: "moves_a_record_of_10_mb",
        needs: &[Skill::Produce, Skill::Consume],
        run: huge_record,
    },
    Scenario {
        name: "goes_on_after_a_kill_of_the_broker",
        needs: &[Skill::Produce, Skill::Consume],
        run: goes_on,
    },
    Scenario { name: "is_told_that_a_record_is_too_big", needs: &[Skill::Replies], run: too_big },
];

fn connects(bench: &mut Bench<'_>) -> Result<()> {
    println!("client {}: {}", bench.kind.name(), bench.client.version()?);
    Ok(())
}

fn round_trip(bench: &mut Bench<'_>) -> Result<()> {
    for &codec in codecs(bench.kind) {
        let topic = format!("{}-{}", bench.topic, codec.name());
        create(&mut admin(bench)?, &topic, PARTITIONS, &[])?;
        let mut records = text_records(bench.kind);
        records.extend(odd_records(bench.kind));
        let offsets = bench.client.produce(
            &topic,
            &records,
            ProduceOptions { codec, ..Default::default() },
        )?;
        if bench.kind.can(Skill::Replies) {
            assert_eq!(offsets, expected_offsets(&records), "{codec:?}");
        }
        let read = bench.client.consume(&topic, PARTITIONS, records.len())?;
        assert_same(&records, &read);
        assert_ends(&mut bench.client, &topic, &records)?;
    }
    Ok(())
}

/// What one client writes in each codec every other reads.
fn cross_client(bench: &mut Bench<'_>) -> Result<()> {
    let records = text_records(bench.kind);
    let topics: Vec<_> = codecs(bench.kind)
        .iter()
        .map(|codec| (*codec, format!("{}-{}", bench.topic, codec.name())))
        .collect();
    for (codec, topic) in &topics {
        create(&mut admin(bench)?, topic, PARTITIONS, &[])?;
        bench.client.produce(
            topic,
            &records,
            ProduceOptions { codec: *codec, ..Default::default() },
        )?;
    }
    // Spring reads by the client of Java.
    let readers = ClientKind::ALL
        .into_iter()
        .filter(|kind| kind.is_run_daily() && *kind != ClientKind::SpringKafka);
    for reader in readers.filter(|kind| kind.can(Skill::Consume)) {
        let mut client = reader.connect(bench.server.bootstrap())?;
        for (codec, topic) in topics.iter().filter(|(codec, _)| codecs(reader).contains(codec)) {
            let read = client
                .consume(topic, PARTITIONS, records.len())
                .with_context(|| format!("{} reads {codec:?}", reader.name()))?;
            assert_same(&records, &read);
        }
    }
    Ok(())
}

fn idempotent(bench: &mut Bench<'_>) -> Result<()> {
    create(&mut admin(bench)?, &bench.topic, PARTITIONS, &[])?;
    let mut records = text_records(bench.kind);
    // kcat takes a second for each.
    records.truncate(8);
    let options = ProduceOptions { idempotent: true, ..Default::default() };
    bench.client.produce(&bench.topic, &records, options)?;
    let read = reader(bench)?.consume(&bench.topic, PARTITIONS, records.len())?;
    assert_same(&records, &read);
    Ok(())
}

fn acks(bench: &mut Bench<'_>) -> Result<()> {
    create(&mut admin(bench)?, &bench.topic, 1, &[])?;
    let mut records = Vec::new();
    for acks in [0, 1, -1] {
        let record = Record::new(0, format!("with acks {acks}"));
        let options = ProduceOptions { acks, ..Default::default() };
        let offsets = bench.client.produce(&bench.topic, std::slice::from_ref(&record), options)?;
        records.push(record);
        // Nobody is told when a record without acks has arrived.
        let arrived = reader(bench)?.consume(&bench.topic, 1, records.len())?;
        assert_same(&records, &arrived);
        if acks != 0 && bench.kind.can(Skill::Replies) {
            assert_eq!(offsets, [arrived[records.len() - 1].offset]);
        }
    }
    Ok(())
}

fn big_records(bench: &mut Bench<'_>) -> Result<()> {
    create(&mut admin(bench)?, &bench.topic, 1, &[])?;
    let records: Vec<_> = (0..3).map(|seed| Record::new(0, noise(900 << 10, seed))).collect();
    for record in &records {
        bench.client.produce(
            &bench.topic,
            std::slice::from_ref(record),
            ProduceOptions::default(),
        )?;
    }
    assert_same(&records, &bench.client.consume(&bench.topic, 1, records.len())?);
    Ok(())
}

fn huge_record(bench: &mut Bench<'_>) -> Result<()> {
    create(&mut admin(bench)?, &bench.topic, 1, &[("max.message.bytes", "12000000")])?;
    let record = [Record::new(0, noise(10_000_000, 1))];
    bench.client.produce(&bench.topic, &record, ProduceOptions::default())?;
    assert_same(&record, &bench.client.consume(&bench.topic, 1, 1)?);
    Ok(())
}

/// On a broker of its own, which is killed between what the client does. At the end it reads again what it has read.
fn goes_on(bench: &mut Bench<'_>) -> Result<()> {
    let mut server = Server::start(bench.server.kind(), &["offsets.topic.num.partitions=3"])?;
    let mut client = bench.kind.connect(server.bootstrap())?;
    let mut admin = ClientKind::Librdkafka.connect(server.bootstrap())?;
    create(&mut admin, &bench.topic, 1, &[])?;
    let first = [Record::new(0, "before the kill")];
    client.produce(&bench.topic, &first, ProduceOptions::default())?;
    assert_same(&first, &client.consume(&bench.topic, 1, 1)?);
    server.kill()?;
    server.restart()?;
    // rskafka does not tell who leads.
    let observer = if bench.kind == ClientKind::Rskafka { &mut admin } else { &mut client };
    wait_for_partitions(observer, &bench.topic, 1)?;
    let second = [Record::new(0, "after the kill")];
    client.produce(&bench.topic, &second, ProduceOptions::default())?;
    assert_same(&[first, second].concat(), &client.consume(&bench.topic, 1, 2)?);
    Ok(())
}

fn too_big(bench: &mut Bench<'_>) -> Result<()> {
    bench.create(1, &[("max.message.bytes", "100000")])?;
    let can_be_idempotent = bench.kind.can(Skill::Idempotence);
    for idempotent in
        [false, true].into_iter().filter(|idempotent| can_be_idempotent || !idempotent)
    {
        let options = ProduceOptions { idempotent, ..Default::default() };
        let refused =
            bench.client.produce(&bench.topic, &[Record::new(0, noise(100_001, 0))], options);
        match refused {
            // It gives the words without the code.
            Err(ClientError::Failed(words)) if bench.kind == ClientKind::NodeRdkafka => {
                ensure!(words.contains("Broker: Message size too large"), "{words}");
            }
            refused => assert_refused(refused, MESSAGE_TOO_LARGE)?,
        }
    }
    assert_eq!(bench.client.offsets(&bench.topic, 1, At::Latest)?, [0], "nothing was written");
    Ok(())
}

/// A consumer that waits is woken by the record, not by the end of its wait, which is longer than a test may take.
pub(crate) fn long_poll(kind: ServerKind) -> Result<()> {
    let server = Server::start(kind, &[])?;
    let mut client = ClientKind::Librdkafka.connect(server.bootstrap())?;
    create(&mut client, "waiting", 1, &[])?;
    let consumer = consumer(server.bootstrap(), 3 * PATIENCE)?;
    assign(&consumer, "waiting", 1)?;
    let (sender, received) = channel();
    let reader = thread::spawn(move || -> Result<()> {
        for _ in 0..5 {
            sender.send(next_value(&consumer)?)?;
        }
        Ok(())
    });
    for round in 0..5 {
        // From the second round on the consumer has the earlier record and asks for more: it waits, or will in a moment.
        let value = format!("round {round}");
        client.produce("waiting", &[Record::new(0, value.clone())], ProduceOptions::default())?;
        assert_eq!(
            received.recv_timeout(PATIENCE).context("the consumer was not woken")?,
            value.as_bytes()
        );
    }
    reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
}

fn next_value(consumer: &BaseConsumer) -> Result<Vec<u8>> {
    wait_until("a record comes", || match consumer.poll(Duration::from_secs(1)) {
        Some(message) => Ok(Some(message?.payload().unwrap_or_default().to_vec())),
        None => Ok(None),
    })
}

/// Records that every client can write and read: text, with keys, headers and tombstones, over two partitions.
pub(crate) fn text_records(kind: ClientKind) -> Vec<Record> {
    let mut records = vec![
        Record::new(0, "plain"),
        Record::new(1, "keyed").key("k1"),
        Record::new(0, "").key("k1").tombstone(),
        Record::new(1, "žluťoučký kůň 🐎").key("klíč"),
        // rskafka keeps headers in a map.
        Record::new(0, "with headers")
            .header("trace", Some("1"))
            .header(if kind == ClientKind::Rskafka { "trace2" } else { "trace" }, Some("2"))
            .header("ž", Some("ů")),
    ];
    records.extend(
        (0..40)
            .map(|n| Record::new(n % PARTITIONS, format!("line {n} of many that are much alike"))),
    );
    if kind.can(Skill::Timestamps) {
        for (n, record) in (0..).zip(&mut records) {
            // Neither rising nor equal.
            record.timestamp = Some(1_700_000_000_000 + n * 1000 % 7001);
        }
    }
    records
}

/// Records that kcat's text form cannot hold.
fn odd_records(kind: ClientKind) -> Vec<Record> {
    if kind == ClientKind::Kcat {
        return Vec::new();
    }
    let mut records = vec![Record::new(0, (0..=255).collect::<Vec<u8>>()).key(vec![0, 0xff, 0xfe])];
    // kafka-go reads what is empty as null, and librdkafka's packages for Node write it so.
    if kind != ClientKind::KafkaGo && kind.package().is_none() {
        records.push(Record::new(1, "").key(""));
        records.push(Record::new(1, "x").header("", Some("")));
    }
    if kind.can(Skill::NullHeaders) {
        records.push(Record::new(0, "x").header("nothing", None).header("empty", Some("")));
    }
    records
}

/// Text that does not compress well.
fn noise(bytes: usize, seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..bytes).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect()
}

fn codecs(kind: ClientKind) -> &'static [Codec] {
    if kind.can(Skill::AllCodecs) { &Codec::ALL } else { &[Codec::None, Codec::Gzip] }
}

/// Asserts that `read` holds `written`, partition by partition, without gaps from offset 0.
#[track_caller]
pub(crate) fn assert_same(written: &[Record], read: &[Record]) {
    let (written, read) = (by_partition(written), by_partition(read));
    let counts = |records: &BTreeMap<i32, Vec<Record>>| -> Vec<_> {
        records.iter().map(|(p, r)| (*p, r.len())).collect()
    };
    assert_eq!(counts(&written), counts(&read), "records per partition");
    for (written, read) in written.into_values().zip(read.into_values()) {
        for ((offset, mut expected), found) in (0..).zip(written).zip(read) {
            expected.offset = Some(offset);
            if expected.timestamp.is_none() {
                assert!(
                    found.timestamp.is_some_and(|millis| millis > 1_700_000_000_000),
                    "{found:?}"
                );
                expected.timestamp = found.timestamp;
            }
            assert_eq!(expected, found);
        }
    }
}

fn by_partition(records: &[Record]) -> BTreeMap<i32, Vec<Record>> {
    let mut partitions: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    for record in records {
        partitions.entry(record.partition).or_default().push(record.clone());
    }
    partitions
}

fn expected_offsets(records: &[Record]) -> Vec<Option<i64>> {
    let mut next = BTreeMap::new();
    records
        .iter()
        .map(|record| {
            let next = next.entry(record.partition).or_insert(0);
            *next += 1;
            Some(*next - 1)
        })
        .collect()
}

/// Asserts that the partitions hold nothing but `records`.
fn assert_ends(client: &mut Client, topic: &str, records: &[Record]) -> Result<()> {
    let counts = by_partition(records).into_values().map(|records| records.len());
    let ends: Vec<i64> = counts.map(i64::try_from).collect::<Result<_, _>>()?;
    assert_eq!(client.offsets(topic, PARTITIONS, At::Latest)?, ends);
    assert_eq!(client.offsets(topic, PARTITIONS, At::Earliest)?, [0; PARTITIONS as usize]);
    Ok(())
}

pub(crate) fn assert_refused<T>(result: Result<T, ClientError>, expected: i16) -> Result<()> {
    match result {
        Ok(_) => bail!("was not refused, expected code {expected}"),
        Err(ClientError::Refused { code, message }) => {
            ensure!(code == expected, "refused with code {code}, expected {expected}: {message}");
            Ok(())
        }
        Err(error) => Err(error).context(format!("expected code {expected}")),
    }
}

/// The client itself where it can create topics, else Java's.
pub(crate) fn admin(bench: &Bench<'_>) -> Result<Client> {
    let kind = if bench.kind.can(Skill::Topics) { bench.kind } else { ClientKind::Java };
    kind.connect(bench.server.bootstrap())
}

/// A client that can consume: the same, else kcat.
fn reader(bench: &Bench<'_>) -> Result<Client> {
    let kind = if bench.kind.can(Skill::Consume) { bench.kind } else { ClientKind::Kcat };
    kind.connect(bench.server.bootstrap())
}

pub(crate) const PARTITIONS: i32 = 2;
pub(crate) const MESSAGE_TOO_LARGE: i16 = 10;
