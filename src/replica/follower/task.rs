//! The task that fetches from one leader.
//!
//! It asks for all its partitions at once, and the leader holds the answer back until there is something. When partitions are
//! added meanwhile, the connection is given up for a new one: requests of one connection are answered in order. That is not done
//! again for a short while: where many are added, one after the other, each would cost a connection.

use std::sync::Arc;
use std::time::Duration;

use super::super::followed::{FollowError, Followed, LeaderAnswer, Question};
use super::super::manager::ReplicaManager;
use super::super::partition::Partition;
use super::requests::{self, Asker, Session};
use super::{Lane, Pause};
use crate::client::{Address, ClientError, Connection};
use crate::config::ReplicationConfig;
use crate::log::{AppendError, TruncateError};
use crate::model::{ErrorCode, Instant, LeaderEpoch, TopicIdPartition, WithCauses};
use crate::wire::{ApiKey, FetchResponse};

/// The version of Fetch that followers speak at most: the first has topic ids and diverging epochs, 15 broker epochs.
const FETCH_VERSION_MAX: i16 = 18;
/// The first version of Fetch that says all a follower needs.
const FETCH_VERSION_MIN: i16 = 15;

/// Between two connections that are given up because there is more to ask.
const RENEWAL_PAUSE: Duration = Duration::from_millis(25);

/// What one task asks now.
type Asked = Vec<(Arc<Partition>, Question)>;

pub(super) struct Task {
    manager: Arc<ReplicaManager>,
    lane: Arc<Lane>,
    /// What the leader knows of what it is asked.
    session: Session,
    /// Of the leader as a whole: it cannot be reached.
    pause: Pause,
    /// How many partitions come first the next time, in turn: the limit of an answer is not to starve those behind.
    turn: usize,
    /// Before this no connection is given up because there is more to ask.
    renews_at: Instant,
}

impl Task {
    pub(super) fn new(manager: Arc<ReplicaManager>, lane: Arc<Lane>) -> Self {
        let renews_at = manager.env.steady.now();
        let (session, pause) = (Session::default(), Pause::default());
        Self { manager, lane, session, pause, turn: 0, renews_at }
    }

    /// Runs until the broker stops.
    pub(super) async fn run(mut self) {
        let tasks = self.manager.env.tasks.clone();
        tokio::select! {
            () = self.go_round() => {}
            () = tasks.cancelled() => {}
        }
    }

    async fn go_round(&mut self) {
        let mut connection = None;
        loop {
            self.settle().await;
            let (asked, until) = self.questions();
            if asked.is_empty() {
                if self.lane.partitions.lock().is_empty() {
                    connection = None;
                }
                self.rest(until).await;
                continue;
            }
            let lane = Arc::clone(&self.lane);
            let open = connection.take().filter(|connection: &Connection| !connection.is_closed());
            // What is not heard to its end has its session renewed.
            let mut session = self.session.take();
            let exchange = self.exchange(open, &mut session, &asked);
            let steady = self.manager.env.steady.clone();
            let more = async {
                lane.added.notified().await;
                steady.sleep_until(self.renews_at).await;
            };
            tokio::select! {
                exchanged = exchange => match exchanged {
                    Ok((open, response)) => {
                        self.session = session;
                        self.pause = Pause::default();
                        self.take(asked, response).await;
                        connection = Some(open);
                    }
                    Err(error) => self.unreachable(&error).await,
                },
                () = more => self.renews_at = steady.now().plus(RENEWAL_PAUSE),
            }
        }
    }

    /// Waits until what this replica has is as durable as its topics want it: to ask for what follows says to the leader that it
    /// has all before that.
    async fn settle(&self) {
        loop {
            let unsettled = |partition: &Arc<Partition>| {
                let settled = partition.unsettled()?;
                Some((Arc::clone(partition), settled))
            };
            let unsettled: Vec<_> = {
                let partitions = self.lane.partitions.lock();
                partitions.values().filter_map(|it| unsettled(&it.partition)).collect()
            };
            for (partition, _) in &unsettled {
                self.manager.flush_soon(partition, None);
            }
            let Some((_, settled)) = unsettled.first() else { return };
            // A disk without room is asked again, and a partition may be followed no more.
            let steady = &self.manager.env.steady;
            let deadline = steady.now().plus(self.config().backoff_max);
            if steady.timeout_at(deadline, settled.woken()).await.is_err() {
                tracing::debug!(leader = %self.lane.place.leader, "what is there is not durable yet");
            }
        }
    }

    /// Waits until there is something to ask.
    async fn rest(&self, until: Option<Instant>) {
        let steady = &self.manager.env.steady;
        let pause = async {
            match until {
                Some(until) => steady.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.lane.added.notified() => {}
            () = pause => {}
        }
    }

    /// What is to be asked now, and when there is more to ask.
    fn questions(&mut self) -> (Asked, Option<Instant>) {
        let now = self.manager.env.steady.now();
        let (mut asked, mut next) = (Vec::new(), None::<Instant>);
        for followee in self.lane.partitions.lock().values() {
            if !followee.pause.is_over(now) {
                next = next.into_iter().chain(followee.pause.until).min();
                continue;
            }
            if let Some(until) = followee.partition.holds_back() {
                next = next.into_iter().chain([until]).min();
                continue;
            }
            if let Some(question) = followee.partition.question(self.lane.place.leader) {
                asked.push((Arc::clone(&followee.partition), question));
            }
        }
        if !asked.is_empty() {
            self.turn = (self.turn + 1) % asked.len();
            asked.rotate_left(self.turn);
        }
        (asked, next)
    }

    fn config(&self) -> ReplicationConfig {
        self.manager.settings.read().broker().replication.clone()
    }

    /// Asks the leader, by the connection if there is one, else by a new one.
    async fn exchange(
        &self,
        connection: Option<Connection>,
        session: &mut Session,
        asked: &Asked,
    ) -> Result<(Connection, FetchResponse), ExchangeError> {
        let config = self.config();
        let connection = match connection {
            Some(connection) => connection,
            None => self.connect(&config).await?,
        };
        let version = connection.version_up_to(ApiKey::Fetch, FETCH_VERSION_MAX)?;
        if version < FETCH_VERSION_MIN {
            return Err(ExchangeError::Version(version));
        }
        let peers = &self.manager.peers;
        let asker = Asker { broker: self.manager.broker, broker_epoch: peers.broker_epoch() };
        let patience = config.socket_timeout.saturating_add(config.fetch_wait_max);
        loop {
            let questions = asked.iter().map(|(partition, question)| (partition.id(), *question));
            let request = session.request(asker, &config, questions);
            let response = connection.call(version, &request, patience).await?;
            let code = response.error_code;
            if code.is_none() {
                session.answered(response.session_id);
                return Ok((connection, response));
            }
            // The leader needed its place for others, perhaps.
            let is_unknown = matches!(
                code,
                ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch
            );
            if !is_unknown || !session.has_begun() {
                return Err(ExchangeError::Refused(code));
            }
            drop(session.take());
        }
    }

    async fn connect(&self, config: &ReplicationConfig) -> Result<Connection, ExchangeError> {
        let image = self.manager.peers.image();
        let leader = image.broker(self.lane.place.leader).ok_or(ExchangeError::Unknown)?;
        let listener = self.manager.settings.read().broker().inter_broker_listener.clone();
        let endpoint = leader.endpoint(&listener).ok_or(ExchangeError::Unknown)?;
        let address = Address { host: endpoint.host.clone(), port: endpoint.port };
        let (broker, number) = (self.manager.broker, self.lane.place.number);
        let kind = if self.lane.place.in_sync { "fetcher" } else { "catching-up" };
        let name = format!("broker-{broker}-{kind}-{number}");
        let env = &self.manager.env;
        Ok(Connection::open(env, &address, &name, config.socket_timeout).await?)
    }

    /// The leader could not be asked.
    async fn unreachable(&mut self, error: &ExchangeError) {
        if self.pause.failures == 0 {
            tracing::warn!(leader = %self.lane.place.leader, error = %WithCauses(error), "cannot fetch from a leader");
        }
        let now = self.manager.env.steady.now();
        self.pause = self.pause.longer(now, self.config().backoff_max);
        self.rest(self.pause.until).await;
    }

    /// Does what the answers say.
    async fn take(&self, asked: Asked, response: FetchResponse) {
        let mut answers = requests::answers(response);
        for (partition, question) in asked {
            let id = partition.id();
            // What did not fit comes the next time.
            let Some(answer) = answers.remove(&(id.topic, id.partition)) else { continue };
            let went_on = match answer {
                Ok(answer) => {
                    partition.has_copied(answer.records_len());
                    self.follow(&partition, question, answer).await
                }
                Err(code) => {
                    self.refused(&partition, code);
                    false
                }
            };
            self.pace(id, question.leader_epoch, went_on);
        }
    }

    /// Gives whether the partition is worth asking for again at once.
    async fn follow(
        &self,
        partition: &Arc<Partition>,
        question: Question,
        answer: LeaderAnswer,
    ) -> bool {
        let manager = &self.manager;
        let now = manager.env.clock.now();
        let followed = if answer.may_cut() {
            let (partition, manager) = (Arc::clone(partition), Arc::clone(manager));
            let cut = move || {
                let keep = |to| manager.keep_cut(&partition, to);
                partition.follow(&question, &answer, keep, now)
            };
            self.manager.env.tasks.spawn_blocking("truncate", cut).await
        } else {
            partition.follow(&question, &answer, |_| Ok(()), now)
        };
        match followed {
            Ok(Followed::Taken { flushes, removed }) => {
                if flushes {
                    manager.flush_soon(partition, None);
                }
                if let Some((log, removed)) = removed.filter(|(_, removed)| !removed.is_empty()) {
                    manager.remove_in_background(partition, log, removed);
                }
                true
            }
            Ok(Followed::Cut | Followed::Stale) => true,
            Ok(Followed::Stuck) => {
                tracing::error!(topic = %partition.topic(), partition = %partition.id().partition,
                    "the leader's log is another one, and no epoch tells where they part");
                false
            }
            Err(error) => {
                self.failed(partition, &error);
                false
            }
        }
    }

    fn refused(&self, partition: &Partition, code: ErrorCode) {
        tracing::debug!(leader = %self.lane.place.leader, topic = %partition.topic(),
            partition = %partition.id().partition, %code, "the leader does not give records");
    }

    fn failed(&self, partition: &Partition, error: &FollowError) {
        tracing::error!(leader = %self.lane.place.leader, topic = %partition.topic(),
            partition = %partition.id().partition, error = %WithCauses(error),
            "cannot follow the leader of a partition");
        let disk = match error {
            FollowError::Append(AppendError::Io { source, .. })
            | FollowError::Truncate(TruncateError::Io(source))
            | FollowError::Disk(source) => Some(source),
            FollowError::Partition(_)
            | FollowError::Batch(_)
            | FollowError::Append(_)
            | FollowError::Truncate(_)
            | FollowError::Read(_) => None,
        };
        if let (Some(source), Ok(log)) = (disk, partition.log()) {
            self.manager.report_failure(&log, source);
        }
    }

    /// Asks for a partition again at once, or later and later.
    fn pace(&self, id: TopicIdPartition, epoch: LeaderEpoch, went_on: bool) {
        let (now, longest) = (self.manager.env.steady.now(), self.config().backoff_max);
        if let Some(followee) = self.lane.partitions.lock().get_mut(&id)
            && followee.epoch == epoch
        {
            followee.pause =
                if went_on { Pause::default() } else { followee.pause.longer(now, longest) };
        }
    }
}

/// Why a leader has given no answer.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("its address is not known")]
    Unknown,
    #[error("it speaks Fetch only up to version {0}")]
    Version(i16),
    #[error("it answers {0}")]
    Refused(ErrorCode),
    #[error(transparent)]
    Client(#[from] ClientError),
}
