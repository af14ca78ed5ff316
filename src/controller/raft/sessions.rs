//! Which brokers live, as far as this node has heard: who is to be fenced, and who may serve. Pure.
//!
//! Every voter hears every broker, so that a new leader does not begin from nothing; only the leader acts on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::frames::Heartbeat;
use crate::cluster::{BrokerImage, ClusterImage, Command};
use crate::config::QuorumTimers;
use crate::model::{BrokerId, Instant, UuidText};

/// What was heard of brokers.
#[derive(Debug)]
pub(super) struct Sessions {
    /// A broker that was not heard of for so long is fenced (`broker.session.timeout.ms`).
    timeout: Duration,
    /// What of it is left for the broker of a leader when another one is elected ([`QuorumTimers::leader_session`]).
    leader_timeout: Duration,
    heard: BTreeMap<BrokerId, Heard>,
    /// Incarnations whose connection has ended, and that were not heard of since.
    lost: BTreeSet<(BrokerId, [u8; 16])>,
    /// Brokers that are to be fenced, with their epochs, until they are: they are in session no more.
    condemned: BTreeSet<(BrokerId, i64)>,
    begun: Option<Begun>,
}

/// The beginning of what this node has heard of brokers as their leader.
#[derive(Clone, Copy, Debug)]
struct Begun {
    term: u64,
    at: Instant,
    /// Whose broker has counted itself until then.
    former: Option<BrokerId>,
    /// The end of its log: what came before may be agreed on already.
    end: u64,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    epoch: i64,
    applied: u64,
    ready: bool,
}

impl Sessions {
    pub(super) fn new(timers: &QuorumTimers) -> Self {
        let (timeout, leader_timeout) = (timers.session, timers.leader_session());
        let (heard, lost, condemned) = Default::default();
        Self { timeout, leader_timeout, heard, lost, condemned, begun: None }
    }

    /// This node leads, in this term, with a log that has this end. Brokers may have been heard of by leaders before it until
    /// now, though this node has not heard of them. Of `former` that is known: it has led itself until now, and counted itself by those
    /// who followed it.
    pub(super) fn begin(&mut self, term: u64, end: u64, former: Option<BrokerId>, now: Instant) {
        self.begun = Some(Begun { term, at: now, former, end });
        self.condemned.clear();
    }

    /// This node leads on, but was stopped until now: whom it has not heard of it could not hear.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some(begun) = &mut self.begun {
            (begun.at, begun.former) = (now, None);
        }
    }

    /// Whether a broker may be in session: this node leads, in this term, has applied what was agreed on before to this index, and
    /// is not about to fence it.
    pub(super) fn counts(&self, broker: (BrokerId, i64), term: u64, index: u64) -> bool {
        let has_begun = |begun: Begun| begun.term == term && begun.end <= index.saturating_add(1);
        self.begun.is_some_and(has_begun) && !self.condemned.contains(&broker)
    }

    /// A broker, of this incarnation, lives. Gives whether it says more than that: a leader may have something to do then.
    pub(super) fn hear(&mut self, beat: Heartbeat, incarnation: UuidText, now: Instant) -> bool {
        self.lost.remove(&(beat.broker, incarnation.0.into_bytes()));
        let known = self.heard.get(&beat.broker);
        if known.is_some_and(|known| known.epoch > beat.epoch) {
            return false;
        }
        // Earlier incarnations will not be heard of again.
        self.lost.retain(|(broker, _)| *broker != beat.broker);
        let Heartbeat { broker, epoch, applied, ready } = beat;
        let before = self.heard.insert(broker, Heard { at: now, epoch, applied, ready });
        before.is_none_or(|it| (it.epoch, it.applied, it.ready) != (epoch, applied, ready))
    }

    /// A connection from a broker has ended.
    pub(super) fn lose(&mut self, broker: BrokerId, incarnation: UuidText) {
        self.lost.insert((broker, incarnation.0.into_bytes()));
    }

    /// Brokers that serve, whose connection has ended: whether they live should be looked at now.
    pub(super) fn doubtful(&self, image: &ClusterImage) -> Vec<BrokerImage> {
        let brokers = image.brokers().filter(|broker| !broker.fenced);
        let is_lost = |broker: &BrokerImage| {
            self.lost.contains(&(broker.id, broker.incarnation.0.into_bytes()))
        };
        brokers.filter(|broker| is_lost(broker)).cloned().collect()
    }

    /// It was looked at, and the broker lives.
    pub(super) fn trust(&mut self, broker: &BrokerImage) {
        self.lost.remove(&(broker.id, broker.incarnation.0.into_bytes()));
    }

    /// It was looked at, and the broker is gone. What it said before is not to let it serve again as soon as it is fenced.
    pub(super) fn condemn(&mut self, broker: &BrokerImage) {
        self.heard.remove(&broker.id);
        self.condemned.insert((broker.id, broker.epoch));
    }

    /// The last moment at which any leader may count a broker as living of which nothing more is heard; none if this node knows nothing
    /// of it.
    fn end(&self, broker: &BrokerImage) -> Option<Instant> {
        let heard = self.heard.get(&broker.id).filter(|heard| heard.epoch >= broker.epoch);
        let heard = heard.map(|heard| heard.at.plus(self.timeout));
        let granted = self.begun.map(|begun| match begun.former == Some(broker.id) {
            true => begun.at.plus(self.leader_timeout),
            false => begun.at.plus(self.timeout),
        });
        heard.max(granted.filter(|_| heard.is_some()))
    }

    /// The last moment of the next session of a broker that serves to be over, if nothing more is heard of it.
    pub(super) fn next_end(&self, image: &ClusterImage) -> Option<Instant> {
        image.brokers().filter(|broker| !broker.fenced).filter_map(|broker| self.end(broker)).min()
    }

    /// What a leader has to propose: to fence who was not heard of for too long, and to let those serve who have caught up.
    /// A broker that this node knows nothing of gets the time of a session from now on. `deposed` gives the entry that a broker
    /// has to have applied to know what it no longer leads.
    pub(super) fn due(
        &mut self,
        image: &ClusterImage,
        deposed: impl Fn(BrokerId) -> u64,
        now: Instant,
    ) -> Vec<Command> {
        self.condemned.retain(|(id, epoch)| image.broker(*id).is_some_and(|it| it.serves(*epoch)));
        let mut commands = Vec::new();
        for broker in image.brokers() {
            let (id, broker_epoch) = (broker.id, broker.epoch);
            let nothing = Heard { at: now, epoch: broker_epoch, applied: 0, ready: false };
            let heard = self.heard.entry(id).or_insert(nothing);
            if heard.epoch < broker_epoch {
                *heard = nothing;
            }
            let heard = *heard;
            if !broker.fenced {
                if self.end(broker).is_some_and(|end| now > end) {
                    self.condemn(broker);
                }
                if self.condemned.contains(&(id, broker_epoch)) {
                    commands.push(Command::FenceBroker { broker: id, broker_epoch });
                }
                continue;
            }
            let in_session = now <= heard.at.plus(self.timeout);
            let has_caught_up = heard.applied >= deposed(id)
                && i64::try_from(heard.applied).is_ok_and(|at| at >= broker_epoch);
            let may_serve = heard.ready && has_caught_up && heard.epoch == broker_epoch;
            if in_session && may_serve && !broker.shutting_down {
                commands.push(Command::UnfenceBroker { broker: id, broker_epoch });
            }
        }
        commands
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cluster::Registration;
    use crate::env::Env;

    const SESSION: Duration = Duration::from_millis(500);
    const TIMERS: QuorumTimers = QuorumTimers {
        heartbeat: Duration::from_millis(20),
        election_min: Duration::from_millis(50),
        election_max: Duration::from_millis(100),
        broker_heartbeat: Duration::from_millis(100),
        session: SESSION,
    };
    const BROKER: BrokerId = BrokerId(1);

    fn incarnation(number: u128) -> UuidText {
        UuidText(Uuid::from_u128(number))
    }

    /// An image with one broker that is fenced, whose epoch is 5.
    fn image() -> ClusterImage {
        let mut image = ClusterImage::default();
        let registration =
            Registration { fenced: true, ..Registration::new(BROKER, incarnation(1)) };
        image.apply(5, &Command::RegisterBroker(registration)).0.unwrap();
        image
    }

    fn beat(epoch: i64, applied: u64, ready: bool) -> Heartbeat {
        Heartbeat { broker: BROKER, epoch, applied, ready }
    }

    #[tokio::test]
    async fn a_broker_serves_once_it_has_applied_its_registration() {
        let now = Env::in_memory().steady.now();
        let (image, mut sessions) = (image(), Sessions::new(&TIMERS));
        assert_eq!(sessions.due(&image, |_| 0, now), []);
        for (epoch, applied, ready) in [(4, 9, true), (5, 4, true), (5, 9, false)] {
            sessions.hear(beat(epoch, applied, ready), incarnation(1), now);
            assert_eq!(sessions.due(&image, |_| 0, now), [], "{epoch} {applied} {ready}");
        }
        sessions.hear(beat(5, 5, true), incarnation(1), now);
        let unfence = Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 };
        assert_eq!(sessions.due(&image, |_| 0, now), [unfence]);
        assert_eq!(sessions.due(&image, |_| 0, now.plus(SESSION * 2)), [], "it is gone again");
    }

    #[tokio::test]
    async fn a_leader_is_told_of_what_is_new() {
        let now = Env::in_memory().steady.now();
        let mut sessions = Sessions::new(&TIMERS);
        let mut hears = |beat, incarnation| sessions.hear(beat, incarnation, now);
        for (epoch, applied, ready) in [(5, 5, false), (5, 5, true), (5, 6, true), (6, 6, true)] {
            assert!(hears(beat(epoch, applied, ready), incarnation(1)));
            assert!(!hears(beat(epoch, applied, ready), incarnation(1)), "it only lives");
        }
        assert!(!hears(beat(5, 9, true), incarnation(1)), "it is not heard of before it began");
    }

    #[tokio::test]
    async fn r16_a_fenced_broker_serves_once_it_knows_what_it_no_longer_leads() {
        let now = Env::in_memory().steady.now();
        let (image, mut sessions) = (image(), Sessions::new(&TIMERS));
        sessions.hear(beat(5, 8, true), incarnation(1), now);
        assert_eq!(sessions.due(&image, |_| 9, now), []);
        sessions.hear(beat(5, 9, true), incarnation(1), now);
        let unfence = Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 };
        assert_eq!(sessions.due(&image, |_| 9, now), [unfence]);
        sessions.begin(2, 0, None, now.plus(SESSION * 2));
        let later = now.plus(SESSION * 2);
        assert_eq!(sessions.due(&image, |_| 9, later), [], "a new leader has not heard of it");
    }

    #[tokio::test]
    async fn r16_nobody_counts_who_is_to_be_fenced_or_before_all_is_applied() {
        let now = Env::in_memory().steady.now();
        let (mut image, mut sessions) = (image(), Sessions::new(&TIMERS));
        image.apply(6, &Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 }).0.unwrap();
        assert!(!sessions.counts((BROKER, 5), 3, 9), "this node does not lead");
        sessions.begin(3, 10, None, now);
        assert!(sessions.counts((BROKER, 5), 3, 9));
        assert!(!sessions.counts((BROKER, 5), 3, 8), "an entry is not applied yet");
        assert!(!sessions.counts((BROKER, 5), 4, 9), "it has not begun in this term");
        sessions.hear(beat(5, 6, true), incarnation(1), now);
        let late = now.plus(SESSION + Duration::from_millis(1));
        let fence = [Command::FenceBroker { broker: BROKER, broker_epoch: 5 }];
        assert_eq!(sessions.due(&image, |_| 0, late), fence);
        sessions.hear(beat(5, 6, true), incarnation(1), late);
        assert!(!sessions.counts((BROKER, 5), 3, 9), "it came too late");
        assert_eq!(sessions.due(&image, |_| 0, late), fence, "until it is fenced");
        assert!(sessions.counts((BROKER, 6), 3, 9), "another incarnation");
        image.apply(7, &fence[0]).0.unwrap();
        let unfence = Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 };
        assert_eq!(sessions.due(&image, |_| 0, late), [unfence]);
        assert!(sessions.counts((BROKER, 5), 3, 9));
    }

    #[tokio::test]
    async fn who_was_not_heard_of_for_a_session_is_fenced() {
        let now = Env::in_memory().steady.now();
        let (mut image, mut sessions) = (image(), Sessions::new(&TIMERS));
        image.apply(6, &Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 }).0.unwrap();
        let fence = Command::FenceBroker { broker: BROKER, broker_epoch: 5 };
        assert_eq!(sessions.due(&image, |_| 0, now), [], "a leader that knows nothing waits");
        let later = now.plus(SESSION);
        assert_eq!(sessions.due(&image, |_| 0, later), []);
        sessions.hear(beat(5, 6, true), incarnation(1), later);
        assert_eq!(sessions.due(&image, |_| 0, later.plus(SESSION)), []);
        let late = later.plus(SESSION + Duration::from_millis(1));
        assert_eq!(sessions.next_end(&image), Some(later.plus(SESSION)));
        assert_eq!(sessions.due(&image, |_| 0, late), [fence]);
    }

    #[tokio::test]
    async fn r16_a_new_leader_fences_nobody_whom_another_one_may_have_heard_of() {
        let now = Env::in_memory().steady.now();
        let (mut image, mut sessions) = (image(), Sessions::new(&TIMERS));
        image.apply(6, &Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 }).0.unwrap();
        sessions.hear(beat(5, 6, true), incarnation(1), now);
        let elected = now.plus(SESSION * 2);
        let ends_at = |sessions: &mut Sessions, end: Instant| {
            assert_eq!(sessions.next_end(&image), Some(end));
            assert_eq!(sessions.due(&image, |_| 0, end), []);
            assert_eq!(sessions.due(&image, |_| 0, end.plus(Duration::from_millis(1))).len(), 1);
        };
        sessions.begin(2, 0, Some(BROKER), elected);
        ends_at(&mut sessions, elected.plus(TIMERS.leader_session()));
        sessions.begin(3, 0, None, elected);
        ends_at(&mut sessions, elected.plus(SESSION));
        sessions.begin(4, 0, None, elected);
        let resumed = elected.plus(SESSION);
        sessions.resume(resumed);
        ends_at(&mut sessions, resumed.plus(SESSION));
    }

    #[tokio::test]
    async fn who_is_gone_serves_no_more_by_what_it_said_before() {
        let now = Env::in_memory().steady.now();
        let (mut image, mut sessions) = (image(), Sessions::new(&TIMERS));
        image.apply(6, &Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 }).0.unwrap();
        sessions.hear(beat(5, 6, true), incarnation(1), now);
        sessions.condemn(image.broker(BROKER).unwrap());
        let fence = [Command::FenceBroker { broker: BROKER, broker_epoch: 5 }];
        assert_eq!(sessions.due(&image, |_| 0, now), fence);
        image.apply(7, &fence[0]).0.unwrap();
        assert_eq!(sessions.due(&image, |_| 0, now), []);
        sessions.hear(beat(5, 6, true), incarnation(1), now);
        let unfence = Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 };
        assert_eq!(sessions.due(&image, |_| 0, now), [unfence], "it was there after all");
    }

    #[tokio::test]
    async fn a_closed_connection_makes_doubtful_until_it_is_heard_of_again() {
        let now = Env::in_memory().steady.now();
        let (mut image, mut sessions) = (image(), Sessions::new(&TIMERS));
        image.apply(6, &Command::UnfenceBroker { broker: BROKER, broker_epoch: 5 }).0.unwrap();
        sessions.lose(BROKER, incarnation(7));
        assert!(sessions.doubtful(&image).is_empty(), "an incarnation from before");
        sessions.lose(BROKER, incarnation(1));
        assert_eq!(sessions.doubtful(&image).len(), 1);
        sessions.hear(beat(5, 6, true), incarnation(1), now);
        assert!(sessions.doubtful(&image).is_empty());
        assert!(sessions.lost.is_empty(), "nothing is kept of those from before");
    }
}
