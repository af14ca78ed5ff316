//! Verbs of the command line that need several brokers: replicas are moved, and compared.

use std::path::Path;
use std::process::Output;

use ottla::env::OpenMode;
use serde_json::Value;

use super::rig::{Cluster, eventually};
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

/// What `topic describe` says of the partition of the topic `t`.
async fn partition(cluster: &Cluster) -> Value {
    json(cluster, "topic describe t").await["topics"][0]["partitions"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_goes_back_to_its_preferred_leader() {
    let mut cluster = Cluster::start(3, &["auto.leader.rebalance.enable=false"]).await;
    assert!(run(&cluster, "ottla topic create t -r 3").await.status.success());
    let preferred = partition(&cluster).await["replicas"][0].as_u64().unwrap();
    cluster.kill(preferred as usize).await;
    eventually("another leader", async || {
        let leader = partition(&cluster).await["leader"].as_u64();
        leader.is_some_and(|leader| leader != preferred).then_some(())
    })
    .await;
    let away = run(&cluster, "ottla cluster elect -t t").await;
    assert_eq!(away.status.code(), Some(1), "{away:?}");
    assert!(text(&away.stdout).contains("PREFERRED_LEADER_NOT_AVAILABLE"), "{away:?}");
    cluster.start_all().await;
    eventually("all in sync", async || {
        let isr = partition(&cluster).await["isr"].as_array().map(Vec::len);
        (isr == Some(3)).then_some(())
    })
    .await;
    let leader = partition(&cluster).await["leader"].clone();
    let elected = json(&cluster, "cluster elect --all").await;
    let elected = elected["partitions"].as_array().unwrap();
    let of_t = elected.iter().find(|it| it["topic"] == "t").unwrap();
    assert_eq!((&of_t["result"], &of_t["old_leader"]), (&"elected".into(), &leader));
    assert_eq!(of_t["new_leader"], preferred);
    assert_eq!(partition(&cluster).await["leader"], preferred);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_in_sync_leads_only_when_it_is_asked_for() {
    let mut cluster = Cluster::apart(1, 2, &[]).await;
    // Node 1 is the controller; the others are brokers.
    let tool = async |cluster: &Cluster, id: usize, line: &str| {
        let address = cluster.broker(id).addresses()[0].to_string();
        let line = line.to_owned();
        tokio::task::spawn_blocking(move || shell(&address, &line)).await.unwrap()
    };
    let described = async |cluster: &Cluster, id: usize| -> Value {
        let output = tool(cluster, id, "ottla topic describe t --json").await;
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        value["topics"][0]["partitions"][0].clone()
    };
    assert!(tool(&cluster, 2, "ottla topic create t -r 2").await.status.success());
    let leader = described(&cluster, 2).await["leader"].as_u64().unwrap() as usize;
    let follower = 5 - leader;
    cluster.kill(follower).await;
    eventually("one in sync", async || {
        let isr = described(&cluster, leader).await["isr"].as_array().map(Vec::len);
        (isr == Some(1)).then_some(())
    })
    .await;
    cluster.kill(leader).await;
    cluster.start_these(&[follower]).await;
    let elect = "ottla cluster elect -t t --unclean";
    let would = format!("would elect one of {follower}");
    let seen = eventually("no leader", async || {
        let seen = tool(&cluster, follower, elect).await;
        text(&seen.stdout).contains(&would).then_some(seen)
    });
    let seen = seen.await;
    assert!(text(&seen.stderr).contains("nothing was changed"), "{seen:?}");
    let done = tool(&cluster, follower, &format!("{elect} --execute --json")).await;
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["partitions"][0]["result"], "elected", "{done}");
    assert_eq!(done["partitions"][0]["old_leader"], Value::Null);
    assert_eq!(done["partitions"][0]["new_leader"], follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_brokers_are_explained_and_compared() {
    let cluster = Cluster::start(3, &[]).await;
    let set = run(&cluster, "ottla cluster config set -n 2 log.cleaner.backoff.ms=7").await;
    assert!(set.status.success(), "{set:?}");
    eventually("known", async || {
        let told = json(&cluster, "cluster config explain log.cleaner.backoff.ms").await;
        let brokers = told["brokers"].as_array().unwrap().iter();
        let values: Vec<_> = brokers.map(|it| it["value"].as_str().unwrap().to_owned()).collect();
        assert_eq!((&told["default"], &told["type"]), (&"15000".into(), &"long".into()));
        (values == ["15000", "7", "15000"]).then_some(())
    })
    .await;
    let differing = json(&cluster, "cluster config diff").await;
    assert_eq!(differing["same"], false);
    let rows = differing["values"].as_array().unwrap().iter();
    let of_key = rows.filter(|row| row["key"] == "log.cleaner.backoff.ms");
    let values: Vec<_> = of_key.map(|row| (row["value"].as_str(), row["of"].as_str())).collect();
    let expected = [("15000", "broker 1"), ("7", "broker 2"), ("15000", "broker 3")];
    assert_eq!(values, expected.map(|(value, of)| (Some(value), Some(of))));
}
