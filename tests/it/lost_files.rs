//! A data directory from which something is gone, or in which something is newer than we are: no start, and nothing changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla::env::{Disk, MemoryDisk, OpenMode};
use ottla::record::crc32c;

use crate::rig::{Rig, batch};

const STATE: &str = "ottla-raft-state";
const LOG: &str = "ottla-raft-00000000000000000000.log";
const META: &str = "meta.properties";

/// A directory that was used and stopped.
async fn used() -> (Arc<dyn Disk>, PathBuf) {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    client.create("t", 1, &[]).await;
    client.append("t", 0, batch(&["x"])).await;
    let (disk, data) = (Arc::clone(&rig.disk), rig.data.clone());
    rig.broker.stop().await.unwrap();
    (disk, data)
}

/// The files at the top with their bytes, and the names of the directories; without the mark of a clean stop.
fn contents(disk: &dyn Disk, data: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let entries = disk.list(data).unwrap().into_iter();
    let entries = entries.filter(|entry| entry.name != ".kafka_cleanshutdown");
    entries
        .map(|entry| (entry.name.clone(), disk.read_small(&data.join(entry.name)).ok().flatten()))
        .collect()
}

/// Starts a broker, which must not work and must leave everything as it was; gives its words, as they are printed.
async fn refused(disk: &Arc<dyn Disk>, data: &Path) -> String {
    let before = contents(&**disk, data);
    let error = Rig::on(Arc::clone(disk), data, &[]).await.err().expect("no start");
    assert_eq!(contents(&**disk, data), before);
    format!("{:#}", anyhow::Error::from(error))
}

#[tokio::test]
async fn without_its_state_the_metadata_log_is_not_begun_anew() {
    let (disk, data) = used().await;
    let state = disk.read_small(&data.join(STATE)).unwrap().unwrap();
    disk.remove_file(&data.join(STATE)).unwrap();
    let words = refused(&disk, &data).await;
    assert!(words.contains("data/ottla-raft-state is missing"), "{words}");
    assert!(words.contains(LOG), "{words}");
    disk.replace_small(&data.join(STATE), &state).unwrap();
    let rig = Rig::on(disk, &data, &[]).await.unwrap();
    assert_eq!(rig.client().await.values("t", 0).await, ["x"]);
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_can_be_repeated() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let data = Path::new("data");
    disk.create_dir_all(data).unwrap();
    for (name, bytes) in [(LOG, &b"OTTLARL1"[..]), ("ottla-raft-state.tmp", b"{")] {
        disk.open(&data.join(name), OpenMode::Create).unwrap().write_at(0, &[bytes]).unwrap();
    }
    let meta = b"version=1\nnode.id=1\ndirectory.id=pAMVl5aSTAaiFPdV6xlzYA\ncluster.id=c\n";
    disk.replace_small(&data.join(META), meta).unwrap();
    let rig = Rig::on(disk, data, &[]).await.unwrap();
    assert_eq!(rig.broker.cluster_id(), "c");
}

#[tokio::test]
async fn without_meta_properties_no_new_identity_is_drawn() {
    let (disk, data) = used().await;
    disk.remove_file(&data.join(META)).unwrap();
    let words = refused(&disk, &data).await;
    assert!(words.contains("data/meta.properties is missing"), "{words}");
    assert!(!disk.exists(&data.join(META)).unwrap());
}

#[tokio::test]
async fn a_metadata_log_of_another_cluster_is_refused() {
    let (disk, data) = used().await;
    let meta = b"version=1\nnode.id=1\ndirectory.id=pAMVl5aSTAaiFPdV6xlzYA\ncluster.id=other\n";
    disk.replace_small(&data.join(META), meta).unwrap();
    let words = refused(&disk, &data).await;
    assert!(words.contains("not of other"), "{words}");
}

#[tokio::test]
async fn an_entry_of_a_newer_version_is_not_cut_off() {
    let (disk, data) = used().await;
    let path = data.join(LOG);
    let whole = disk.read_small(&path).unwrap().unwrap();
    // The head of the last entry: the new one follows it.
    let mut position = 8;
    let mut last = &whole[..0];
    while position < whole.len() {
        let length = u32::from_be_bytes(whole[position..position + 4].try_into().unwrap());
        last = &whole[position + 8..][..length as usize];
        position += 8 + length as usize;
    }
    let index = u64::from_be_bytes(last[16..24].try_into().unwrap()) + 1;
    for (kind, payload) in [
        (1, r#"[{"command":"mergeTopics"}]"#),
        (1, r#"[{"command":"deleteTopic"}]"#),
        (2, "{}"),
        (3, "x"),
    ] {
        let checked = [&last[..16], &index.to_be_bytes(), &[kind], payload.as_bytes()].concat();
        let length = u32::try_from(checked.len()).unwrap();
        let file = disk.open(&path, OpenMode::Truncate).unwrap();
        let head = [length.to_be_bytes(), crc32c(&checked).to_be_bytes()].concat();
        file.write_at(0, &[&whole, &head, &checked]).unwrap();
        let words = refused(&disk, &data).await;
        assert!(words.contains(&format!("{LOG} at byte {}", whole.len())), "{words}");
        assert!(words.contains("newer version"), "{words}");
    }
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_refused() {
    let (disk, data) = used().await;
    disk.replace_small(&data.join(STATE), br#"{"version":2,"other":"fields"}"#).unwrap();
    let words = refused(&disk, &data).await;
    assert!(words.contains("newer version") && words.contains(STATE), "{words}");
}
