//! Telling the controller of replicas that have failed with their logs, so that others lead and nobody waits for them.
//!
//! Which replicas these are is looked up whenever it is told, never remembered. What was known at the start is said with the
//! registration; this is for what comes later.
//!
//! Source: KIP-858, `BrokerLifecycleManager.propagateDirectoryFailure` of Apache Kafka, which names directories. Where a replica
//! is, is not known to the cluster here, so that replicas are named.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::alterations::Proposer;
use super::manager::ReplicaManager;
use crate::cluster::{Command, ReplicaSet};
use crate::model::{Instant, TopicIdPartition};

/// How long to wait until it is looked whether what was told is known, and told again if not.
const PAUSE: Duration = Duration::from_millis(50);

impl ReplicaManager {
    /// The replicas of this broker whose logs are not in use.
    #[must_use]
    pub fn failed_replicas(&self) -> ReplicaSet {
        self.failed().into_iter().collect()
    }

    fn failed(&self) -> BTreeSet<TopicIdPartition> {
        let all = self.all().into_iter();
        all.filter(|partition| partition.log().is_err()).map(|partition| partition.id()).collect()
    }

    /// Those that the cluster does not know to have failed.
    fn untold(&self) -> ReplicaSet {
        let image = self.peers.image();
        let is_untold = |id: &TopicIdPartition| {
            let topic = image.topic_by_id(id.topic);
            let state = topic.and_then(|topic| topic.partition(id.partition));
            state.is_some_and(|state| {
                state.replicas.contains(&self.broker) && !state.offline.contains(&self.broker)
            })
        };
        self.failed().into_iter().filter(is_untold).collect()
    }

    /// Tells the controller of replicas that fail, until the broker stops. If that takes longer than
    /// `log.dir.failure.timeout.ms`, the broker ends: then at least its silence is noticed.
    pub(super) async fn run_failures(self: Arc<Self>, proposer: Arc<dyn Proposer>) {
        let mut since: Option<Instant> = None;
        loop {
            let untold = self.untold();
            if untold.is_empty() {
                since = None;
                tokio::select! {
                    () = self.failures.notified() => continue,
                    () = self.env.tasks.cancelled() => return,
                }
            }
            let timeout = self.settings.read().broker().log_dir_failure_timeout;
            let deadline = since.get_or_insert_with(|| self.env.steady.now()).plus(timeout);
            tokio::select! {
                () = self.tell_failed(untold, &*proposer) => {}
                () = self.env.steady.sleep_until(deadline) => {
                    tracing::error!("the controller could not be told in time of replicas whose disk has failed");
                    self.env.tasks.fail();
                    return;
                }
                () = self.env.tasks.cancelled() => return,
            }
        }
    }

    async fn tell_failed(&self, replicas: ReplicaSet, proposer: &dyn Proposer) {
        let (broker, broker_epoch) = (self.broker, self.peers.broker_epoch());
        let command = Command::FailReplicas { broker, broker_epoch, replicas };
        match proposer.propose(vec![command]).await {
            Ok(outcomes) => {
                for refusal in outcomes.into_iter().filter_map(Result::err) {
                    tracing::debug!(%refusal, "the controller does not take note of failed replicas");
                }
            }
            Err(error) => tracing::debug!(%error, "what the controller was told may have got lost"),
        }
        // The image says when it is known.
        self.env.steady.sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::future::Future;
    use std::path::Path;
    use std::pin::Pin;

    use parking_lot::Mutex;
    use uuid::Uuid;

    use super::*;
    use crate::cluster::{Applied, ClusterImage, NewTopic, Outcome, Registration};
    use crate::config::{self, Effective, Sources};
    use crate::env::{Disk, Env, Fault, FaultyDisk, MemoryDisk, Rng};
    use crate::log::{DataDirs, DataPaths, KeptKinds};
    use crate::model::{BrokerId, PartitionId, TopicId, TopicName, UuidText};

    const BROKER: BrokerId = BrokerId(1);
    const TOPIC: TopicId = TopicId(Uuid::from_u128(1));

    /// A controller that keeps what it is told; one that is out of reach does not answer.
    #[derive(Debug)]
    struct Controller {
        told: Mutex<Vec<Command>>,
        answers: bool,
    }

    impl Proposer for Controller {
        fn propose(
            &self,
            commands: Vec<Command>,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<Outcome>, String>> + Send + '_>> {
            self.told.lock().extend(commands);
            Box::pin(async move {
                match self.answers {
                    true => Ok(vec![Ok(Applied::Done)]),
                    false => std::future::pending().await,
                }
            })
        }
    }

    /// A broker with two directories and a partition in each, and what the cluster knows.
    async fn broker(options: &[&str]) -> (Arc<ReplicaManager>, ClusterImage, Arc<Effective>) {
        broker_on(Arc::new(MemoryDisk::new()), options).await
    }

    async fn broker_on(
        disk: Arc<dyn Disk>,
        options: &[&str],
    ) -> (Arc<ReplicaManager>, ClusterImage, Arc<Effective>) {
        let paths = DataPaths { logs: vec!["a".into(), "b".into()], metadata: Some("m".into()) };
        let dirs = DataDirs::open(&disk, &paths, BROKER, Some("c"), &Rng::from_seed(7)).unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let sources = Sources { options: &options, ..Sources::default() };
        let settings = Arc::new(Effective::new(config::load(sources).unwrap()));
        let mut image = ClusterImage::default();
        let registration = Registration::new(BROKER, UuidText(Uuid::from_u128(9)));
        image.apply(1, &Command::RegisterBroker(registration)).0.unwrap();
        let topic = NewTopic {
            name: TopicName::new("t").unwrap(),
            id: TOPIC,
            assignments: vec![vec![BROKER]; 2],
            configs: BTreeMap::new(),
        };
        image.apply(2, &Command::CreateTopic(topic)).0.unwrap();
        let env = Env::with_disk(disk);
        let manager = Arc::new(ReplicaManager::new(env, BROKER, Arc::clone(&settings), dirs));
        manager.open_all(&image).await.unwrap();
        manager.apply(&Arc::new(image.clone()), &settings, &[]);
        manager.set_broker_epoch(1);
        (manager, image, settings)
    }

    fn fail(manager: &ReplicaManager, path: &str) {
        let index = manager.dirs.find(Path::new(path)).unwrap();
        manager.fail_dir(index, &"the test says so");
    }

    #[tokio::test]
    async fn what_has_failed_is_told_until_the_cluster_knows_it() {
        let (manager, mut image, settings) = broker(&[]).await;
        let controller = Arc::new(Controller { told: Mutex::default(), answers: true });
        let run = Arc::clone(&manager).run_failures(Arc::clone(&controller) as Arc<dyn Proposer>);
        manager.env.tasks.spawn_service("failures", run);
        assert!(manager.failed_replicas().is_empty());
        fail(&manager, "b");
        let id = TopicIdPartition { topic: TOPIC, partition: PartitionId(1) };
        let replicas: ReplicaSet = [id].into_iter().collect();
        assert_eq!(manager.failed_replicas(), replicas);
        let command = Command::FailReplicas { broker: BROKER, broker_epoch: 1, replicas };
        let told = || controller.told.lock().len();
        // The image is another one only after it was told twice.
        while told() < 2 {
            tokio::task::yield_now().await;
        }
        let (outcome, events) = image.apply(3, &command);
        outcome.unwrap();
        manager.apply(&Arc::new(image), &settings, &events);
        assert!(manager.untold().is_empty());
        assert!(controller.told.lock().iter().all(|told| *told == command));
        assert!(!manager.env.tasks.has_failed());
    }

    #[tokio::test]
    async fn a_directory_fails_with_a_checkpoint_but_not_for_want_of_room() {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let (manager, ..) = broker_on(Arc::new(disk.clone()), &[]).await;
        disk.inject(Fault::NoSpaceAfter(0));
        manager.checkpoint(KeptKinds::All).unwrap_err();
        assert!(manager.failed_replicas().is_empty());
        disk.clear();
        disk.inject(Fault::Write("b/recovery-point-offset-checkpoint".into()));
        manager.checkpoint(KeptKinds::All).unwrap_err();
        let id = TopicIdPartition { topic: TOPIC, partition: PartitionId(1) };
        assert_eq!(manager.failed_replicas(), [id].into_iter().collect());
        manager.checkpoint(KeptKinds::All).unwrap();
    }

    #[tokio::test]
    async fn a_broker_that_cannot_tell_it_ends() {
        let (manager, ..) = broker(&["log.dir.failure.timeout.ms=100"]).await;
        let controller = Arc::new(Controller { told: Mutex::default(), answers: false });
        let run = Arc::clone(&manager).run_failures(controller);
        manager.env.tasks.spawn("failures", run);
        fail(&manager, "b");
        manager.env.tasks.failure().await;
    }
}
