//! Verbs of the command line that need several brokers: replicas are moved, and compared.

use std::path::Path;
use std::process::Output;

use ottla::env::OpenMode;
use serde_json::Value;

use super::rig::Cluster;
use crate::cli::{shell, text};
use crate::rig::DATA;

/// Runs a line of a shell beside the brokers of this process.
async fn run(cluster: &Cluster, line: &str) -> Output {
    let address = cluster.broker(cluster.running()[0]).addresses()[0].to_string();
    let line = line.to_owned();
    tokio::task::spawn_blocking(move || shell(&address, &line)).await.unwrap()
}

async fn json(cluster: &Cluster, line: &str) -> Value {
    let output = run(cluster, &format!("ottla {line} --json")).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {output:?}"))
}

/// How many replicas of the topic each of three brokers has.
async fn loads(cluster: &Cluster, topic: &str) -> [usize; 3] {
    let described = json(cluster, &format!("topic describe {topic}")).await;
    let mut loads = [0; 3];
    for partition in described["topics"][0]["partitions"].as_array().unwrap() {
        for id in partition["replicas"].as_array().unwrap() {
            loads[id.as_u64().unwrap() as usize - 1] += 1;
        }
    }
    loads
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_move_off_a_broker_and_back() {
    let cluster = Cluster::start(3, &[]).await;
    assert!(run(&cluster, "ottla topic create t -p 6 -r 2").await.status.success());
    assert!(run(&cluster, "seq 2000 | ottla produce t").await.status.success());
    let even = loads(&cluster, "t").await;
    assert_eq!(even, [4; 3]);
    let planned = run(&cluster, "ottla cluster reassign -t t --brokers 1,2 --dry-run").await;
    assert!(text(&planned.stderr).contains("nothing was moved"), "{planned:?}");
    assert_eq!(loads(&cluster, "t").await, even);
    let moved = run(&cluster, "ottla cluster reassign -t t --brokers 1,2 --throttle 10M").await;
    assert!(text(&moved.stderr).contains("moved 4 replicas of 4 partitions"), "{moved:?}");
    assert_eq!(loads(&cluster, "t").await, [6, 6, 0]);
    let configs = &json(&cluster, "topic describe t").await["topics"][0]["configs"];
    let throttled = &configs["follower.replication.throttled.replicas"];
    assert_ne!(throttled["source"], "topic", "what held it back is gone");
    let back = run(&cluster, "ottla cluster reassign -t t").await;
    assert!(text(&back.stderr).contains("moved 4 replicas of "), "{back:?}");
    assert_eq!(loads(&cluster, "t").await, [4; 3]);
    let same = json(&cluster, "cluster verify t").await;
    assert_eq!(same["same"], true, "{same}");
    assert_eq!(same["replicas"].as_array().unwrap().len(), 12);
    let few = run(&cluster, "ottla cluster reassign -t t --brokers 1").await;
    assert_eq!(few.status.code(), Some(2), "{few:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_not_as_it_was_is_found() {
    let cluster = Cluster::start(3, &[]).await;
    assert!(run(&cluster, "ottla topic create t -p 1 -r 3").await.status.success());
    assert!(run(&cluster, "seq 1000 | ottla produce t").await.status.success());
    let good = json(&cluster, "cluster verify t").await;
    assert_eq!(good["same"], true, "{good}");
    let described = json(&cluster, "topic describe t").await;
    let leader = described["topics"][0]["partitions"][0]["leader"].as_u64().unwrap();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let path = Path::new(DATA).join("t-0/00000000000000000000.log");
    let file = cluster.disks[follower as usize - 1].open(&path, OpenMode::Write).unwrap();
    // The last byte of the last batch.
    file.write_at(file.len().unwrap() - 1, &[b"!"]).unwrap();
    let output = run(&cluster, "ottla cluster verify t").await;
    assert_eq!(output.status.code(), Some(1));
    let found = text(&output.stdout);
    let row = found.lines().nth(1).unwrap();
    assert!(
        row.contains(&format!("  {follower}  ")) && row.contains("damaged at offset"),
        "{found}"
    );
}
