//! A broker that is killed again and again while clients write and read: nothing is lost, doubled or out of order.

use crate::crew::{Crew, Staff};
use crate::exactly_once::Epochs;
use crate::history::{End, History};
use crate::process::Program;
use crate::rig::Client;

/// How often the broker is killed.
const KILLS: usize = 15;
/// What has to be acknowledged between a kill and the next.
const RECORDS: usize = 300;

/// Kills a broker and starts it again while a crew is at work; gives what the crew saw.
async fn killed(writers: usize, transactors: &[Epochs]) -> History {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = |listen: &str| {
        Program::start(&["--listen", listen, "--data", data.to_str().unwrap(), "--http", "off"])
    };
    let mut program = start("127.0.0.1:0");
    let address = program.kafka.clone();
    Client::to(&address).await.create("t", 3, &[]).await;
    let crew = Crew::new(std::slice::from_ref(&address), "t", 3);
    let work = async {
        for _ in 0..KILLS {
            crew.write_on(RECORDS).await;
            // With SIGKILL, and at once another one in its place.
            drop(program);
            program = start(&address);
        }
        program
    };
    let (program, history) = crew.beside(Staff::writing(writers, transactors), work).await;
    drop(program);
    assert!(history.latest.len() > KILLS);
    history
}

#[tokio::test]
async fn a_broker_killed_in_full_flight_shows_no_anomaly() {
    let history = killed(3, &[]).await;
    assert_eq!(history.anomalies(), []);
}

#[tokio::test]
async fn a_broker_killed_amid_transactions_shows_no_anomaly() {
    let history = killed(1, &[Epochs::Raised, Epochs::Kept, Epochs::Raised]).await;
    let committed = history.ended.iter().filter(|ended| ended.end == End::Committed).count();
    assert!(committed > KILLS, "only {committed} transactions were committed");
    assert_eq!(history.anomalies(), []);
}
