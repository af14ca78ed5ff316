//! Clients that mean harm, or are broken: the broker closes their connection and goes on.

use std::time::Duration;

use ottla::model::ErrorCode;
use ottla::record::{BatchBuilder, Compression};
use ottla::wire::{ApiEntry, ApiKey, RequestHeader, Text, encode_request};

use crate::rig::{Client, Rig, batch, now};

/// A request with this key, version and body.
fn frame(key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(&key.to_be_bytes());
    header.extend_from_slice(&version.to_be_bytes());
    header.extend_from_slice(&1_i32.to_be_bytes());
    header.extend_from_slice(&(-1_i16).to_be_bytes());
    if flexible {
        header.push(0);
    }
    let length = (header.len() + body.len()) as i32;
    [&length.to_be_bytes()[..], &header, body].concat()
}

async fn is_alive(rig: &Rig) {
    rig.client().await.metadata(&[]).await;
    assert!(!rig.broker.env().tasks.has_failed());
}

async fn sends_and_is_closed(client: &mut Client, bytes: &[u8]) -> bool {
    // The broker may close before all is sent.
    drop(client.raw(bytes).await);
    drop(tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await);
    client.is_closed().await
}

#[tokio::test]
async fn lengths_that_no_frame_has_end_the_connection() {
    let rig = Rig::new().await;
    for length in [0, -1, i32::MIN, i32::MAX, 104_857_601] {
        let mut client = rig.client().await;
        assert!(sends_and_is_closed(&mut client, &i32::to_be_bytes(length)).await, "{length}");
    }
    let rig = Rig::with(&["socket.request.max.bytes=1000"]).await;
    let mut client = rig.client().await;
    assert!(sends_and_is_closed(&mut client, &1001_i32.to_be_bytes()).await);
    is_alive(&rig).await;
}

#[tokio::test]
async fn unknown_keys_and_versions_end_the_connection() {
    let rig = Rig::new().await;
    let mut keys: Vec<(i16, i16)> =
        [-1, 4, 5, 52, 999, i16::MAX, i16::MIN].map(|key| (key, 0)).to_vec();
    for entry in ApiEntry::ALL {
        match entry.served.filter(|_| entry.key.is_for_brokers()) {
            None => keys.push((entry.key.code(), entry.kafka.max)),
            Some(served) if entry.key != ApiKey::ApiVersions => {
                keys.extend([
                    (entry.key.code(), served.max + 1),
                    (entry.key.code(), -1),
                    (entry.key.code(), served.min - 1),
                ]);
            }
            Some(_) => {}
        }
    }
    for (key, version) in keys {
        let mut client = rig.client().await;
        let bytes = frame(key, version, false, &[0; 32]);
        assert!(sends_and_is_closed(&mut client, &bytes).await, "key {key} version {version}");
    }
    is_alive(&rig).await;
}

#[tokio::test]
async fn counts_beyond_the_frame_end_the_connection_in_every_api() {
    let rig = Rig::new().await;
    for entry in ApiEntry::ALL {
        let Some(served) = entry.served else { continue };
        for version in served.iter() {
            let flexible = entry.is_flexible(version);
            // Whatever field comes first, a count, a length or a flag: all bits set claim as much as can be claimed.
            for fill in [0xff_u8, 0x7f, 0x80, 0xfe] {
                let mut client = rig.client().await;
                let bytes = frame(entry.key.code(), version, flexible, &[fill; 40]);
                drop(client.raw(&bytes).await);
                drop(tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await);
                // A body that happens to be one is answered; then the connection ends.
                while client.frame().await.is_some() {}
            }
        }
    }
    is_alive(&rig).await;
}

#[tokio::test]
async fn every_truncation_of_a_request_is_survived() {
    let rig = Rig::new().await;
    rig.client().await.create("t", 1, &[]).await;
    let request = crate::rig::produce("t", 0, batch(&["x"]));
    let header = RequestHeader { api_key: 0, api_version: 9, correlation_id: 1, client_id: None };
    let whole = encode_request(&header, &request).unwrap().to_bytes();
    for length in 0..whole.len() {
        // Truncated within the frame: the connection ends with it.
        let mut client = rig.client().await;
        assert!(sends_and_is_closed(&mut client, &whole[..length]).await);
        // A shorter frame that says so: malformed.
        if length > 4 {
            let mut shorter = whole[..length].to_vec();
            shorter[..4].copy_from_slice(&((length - 4) as i32).to_be_bytes());
            let mut client = rig.client().await;
            drop(client.raw(&shorter).await);
            drop(tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await);
            while client.frame().await.is_some() {}
        }
    }
    is_alive(&rig).await;
}

#[tokio::test]
async fn thousands_of_connections_come_and_go() {
    let rig = Rig::new().await;
    for _ in 0..20 {
        let mut all = Vec::new();
        for i in 0..500 {
            let mut client = rig.client().await;
            if i % 3 == 0 {
                drop(client.raw(&[0, 0, 1, 0, 7]).await);
            }
            all.push(client);
        }
        is_alive(&rig).await;
    }
}

#[tokio::test]
async fn large_frames_that_stall_hold_nobody_up() {
    let rig = Rig::with(&["ottla.request.memory.bytes=67108864"]).await;
    let mut producer = rig.client().await;
    producer.create("t", 1, &[]).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut client = rig.client().await;
        client.raw(&(100_i32 << 20).to_be_bytes()).await.unwrap();
        // Half a frame, as far as the broker takes it.
        let half = vec![0; 1 << 20];
        for _ in 0..50 {
            let sent = client.raw(&half);
            if tokio::time::timeout(Duration::from_millis(20), sent).await.is_err() {
                break;
            }
        }
        stalled.push(client);
    }
    for i in 0..200 {
        let large = "x".repeat(500_000);
        let offset = producer.append("t", 0, batch(&[&large])).await;
        assert_eq!(offset.0, i);
    }
    drop(stalled);
    is_alive(&rig).await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_not_read_from_either() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    let large = "x".repeat(900_000);
    client.append("t", 0, batch(&[&large])).await;
    let mut deaf = rig.client().await;
    // More than the buffers of both sockets hold, in frames that ask for a megabyte each.
    let header = RequestHeader {
        api_key: 1,
        api_version: 12,
        correlation_id: 1,
        client_id: Some(Text::from_string("x".repeat(30_000))),
    };
    let frame = encode_request(&header, &crate::rig::fetch("t", &[(0, 0)])).unwrap().to_bytes();
    let sending = async {
        for _ in 0..5_000 {
            deaf.raw(&frame).await.unwrap();
        }
    };
    let stuck = tokio::time::timeout(Duration::from_secs(1), sending).await;
    assert!(stuck.is_err(), "the broker took 150 MB of requests without writing an answer");
    is_alive(&rig).await;
}

#[tokio::test]
async fn bombs_are_refused() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[("max.message.bytes", "20000000")]).await;
    let zeros = vec![0; 190 << 20];
    // Snappy is not among them: it cannot make data larger than 64 times.
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new();
        builder.compression(codec).push(now(), None, Some(&zeros));
        let produced = client.produce("t", 0, builder.build()).await;
        assert_eq!(produced.error_code, ErrorCode::MessageTooLarge, "{codec:?}");
    }
    client.append("t", 0, batch(&["x"])).await;
    is_alive(&rig).await;
}
