//! The life of one node: what can be done to it when, and what that is.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::Seat;
use crate::broker::{Broker, StartError};
use crate::env::{Env, Flow, Gate};
use crate::model::WithCauses;

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Not serving yet: it waits for its logs, or for enough others.
    Starting,
    /// It serves.
    Running,
    /// It stands still: nobody gets an answer from it. Its clocks go on.
    Paused,
    /// It runs, and nobody reaches it, nor it anybody.
    Cut,
    /// Ended in good order.
    Stopped,
    /// Ended at once.
    Killed,
    /// It could not start or go on, for this reason.
    Failed(String),
}

impl State {
    /// One word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cut => "cut",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether nothing of it runs.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Stopped | Self::Killed | Self::Failed(_))
    }
}

/// What is done to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// End it at once: connections break, nothing is made durable or handed over.
    Kill,
    /// End it in good order.
    Stop,
    /// Start it again.
    Start,
    /// Have it stand still.
    Pause,
    /// End that.
    Resume,
    /// Cut it off from everybody.
    Cut,
    /// End that.
    Heal,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Kill, Self::Stop, Self::Start, Self::Pause, Self::Resume, Self::Cut, Self::Heal];

    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cut => "cut",
            Self::Heal => "heal",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Whether it can be done to a node that is like this.
    fn fits(self, state: &State) -> bool {
        match self {
            Self::Start => state.is_down(),
            Self::Kill => !state.is_down(),
            Self::Stop => matches!(state, State::Running | State::Cut),
            Self::Pause | Self::Cut => *state == State::Running,
            Self::Resume => *state == State::Paused,
            Self::Heal => *state == State::Cut,
        }
    }
}

/// Something that cannot be done now. One line for a person.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Refused {
    id: usize,
    action: Action,
    state: State,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, action, state } = self;
        write!(f, "node {id} is {}: there is nothing to {}", state.name(), action.name())
    }
}

type Done = Result<State, Refused>;

/// What is to be done, and who waits for it.
struct Errand {
    action: Action,
    done: oneshot::Sender<Done>,
}

/// A node, as others know it.
#[derive(Debug)]
pub(super) struct Node {
    id: usize,
    kafka: SocketAddr,
    errands: mpsc::Sender<Errand>,
    state: watch::Receiver<State>,
}

impl Node {
    pub(super) const fn id(&self) -> usize {
        self.id
    }

    pub(super) const fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Does something to it and says how it is then.
    pub(super) async fn act(&self, action: Action) -> Done {
        let (done, told) = oneshot::channel();
        // The task that has the node ends with the process only.
        if self.errands.send(Errand { action, done }).await.is_err() {
            return Err(self.refused(action));
        }
        told.await.unwrap_or_else(|_| Err(self.refused(action)))
    }

    /// How it is once it is not starting any more.
    pub(super) async fn started(&self) -> State {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| *state != State::Starting).await;
        settled.map_or_else(|_| self.state(), |state| state.clone())
    }

    fn refused(&self, action: Action) -> Refused {
        Refused { id: self.id, action, state: self.state() }
    }
}

/// The task that has a node and does all that is done to it, one thing after the other.
pub(super) struct Life {
    id: usize,
    seat: Seat,
    errands: mpsc::Receiver<Errand>,
    state: watch::Sender<State>,
}

/// What happens to a node that is up.
enum Event {
    Errand(Errand),
    Failure,
    /// Nobody is left who could do anything to it.
    Abandoned,
}

impl Life {
    /// A node that was never started.
    pub(super) fn begin(env: &Env, id: usize, seat: Seat) -> Node {
        let (sender, errands) = mpsc::channel(1);
        let (state, seen) = watch::channel(State::Stopped);
        let node = Node { id, kafka: seat.place.kafka(), errands: sender, state: seen };
        let life = Self { id, seat, errands, state };
        env.tasks.spawn("node", life.run());
        node
    }

    async fn run(mut self) {
        while let Some(errand) = self.errands.recv().await {
            if self.refuses(&errand).is_none() {
                self.reach(State::Starting, Some(errand.done));
                let (down, waiting) = self.live().await;
                self.reach(down, waiting);
            } else {
                self.refuse(errand);
            }
        }
    }

    /// Lives from a start to an end, and says how it ended and who waits for that.
    async fn live(&mut self) -> (State, Option<oneshot::Sender<Done>>) {
        let gate = Gate::default();
        let env = Env::with_disk(Arc::clone(&self.seat.disk)).behind(gate.clone());
        match self.start(&env).await {
            Ok(Ok(broker)) => {
                self.reach(State::Running, None);
                self.serve(&env, &gate, broker).await
            }
            Ok(Err(error)) => {
                abort(&env, &gate).await;
                (State::Failed(WithCauses(&error).to_string()), None)
            }
            Err(waiting) => {
                abort(&env, &gate).await;
                (State::Killed, waiting)
            }
        }
    }

    /// Starts the broker, unless it is killed before it serves.
    async fn start(
        &mut self,
        env: &Env,
    ) -> Result<Result<Broker, StartError>, Option<oneshot::Sender<Done>>> {
        let mut starting = pin!(Broker::start(env.clone(), self.seat.options.clone()));
        loop {
            let errand = tokio::select! {
                started = &mut starting => return Ok(started),
                errand = self.errands.recv() => errand,
            };
            let Some(errand) = errand else { return Err(None) };
            if self.refuses(&errand).is_none() {
                return Err(Some(errand.done));
            }
            self.refuse(errand);
        }
    }

    /// Does what is asked for until the broker ends.
    async fn serve(
        &mut self,
        env: &Env,
        gate: &Gate,
        broker: Broker,
    ) -> (State, Option<oneshot::Sender<Done>>) {
        loop {
            let event = tokio::select! {
                errand = self.errands.recv() => errand.map_or(Event::Abandoned, Event::Errand),
                () = env.tasks.failure() => Event::Failure,
            };
            let Errand { action, done } = match event {
                Event::Errand(errand) if self.refuses(&errand).is_none() => errand,
                Event::Errand(errand) => {
                    self.refuse(errand);
                    continue;
                }
                Event::Failure => {
                    kill(gate, broker).await;
                    return (State::Failed("it could not go on; see the log".to_owned()), None);
                }
                Event::Abandoned => {
                    kill(gate, broker).await;
                    return (State::Killed, None);
                }
            };
            let (flow, state) = match action {
                Action::Kill => {
                    kill(gate, broker).await;
                    return (State::Killed, Some(done));
                }
                Action::Stop => return (stop(broker).await, Some(done)),
                Action::Pause => (Flow::Still, State::Paused),
                Action::Cut => (Flow::Cut, State::Cut),
                Action::Start | Action::Resume | Action::Heal => (Flow::Open, State::Running),
            };
            gate.set(flow);
            self.reach(state, Some(done));
        }
    }

    /// Makes it known how the node is, first to everybody, then to who waits for it.
    fn reach(&self, state: State, waiting: Option<oneshot::Sender<Done>>) {
        tracing::info!(node = self.id, state = state.name(), "a node of this process");
        self.state.send_replace(state.clone());
        if let Some(waiting) = waiting {
            // Who has gone does not want to know.
            drop(waiting.send(Ok(state)));
        }
    }

    fn refuses(&self, errand: &Errand) -> Option<Refused> {
        let state = self.state.borrow().clone();
        let (id, action) = (self.id, errand.action);
        (!action.fits(&state)).then_some(Refused { id, action, state })
    }

    fn refuse(&self, errand: Errand) {
        let refused = self.refuses(&errand);
        drop(errand.done.send(refused.map_or_else(|| Ok(self.state.borrow().clone()), Err)));
    }
}

/// Ends a broker as a killed process ends: its connections break before anything can be said on them.
async fn kill(gate: &Gate, broker: Broker) {
    gate.set(Flow::Cut);
    broker.kill().await;
}

/// Ends what there is of a broker that has not started.
async fn abort(env: &Env, gate: &Gate) {
    gate.set(Flow::Cut);
    env.tasks.cancel();
    env.tasks.wait().await;
}

async fn stop(broker: Broker) -> State {
    match broker.stop().await {
        Ok(()) => State::Stopped,
        Err(error) => State::Failed(format!("its logs could not be made durable: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_names_and_fit() {
        for action in Action::ALL {
            assert_eq!(Action::of(action.name()), Some(action));
        }
        let fitting = |state: &State| {
            let fitting = Action::ALL.into_iter().filter(|action| action.fits(state));
            fitting.map(Action::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(fitting(&State::Running), "kill stop pause cut");
        assert_eq!(fitting(&State::Starting), "kill");
        assert_eq!(fitting(&State::Paused), "kill resume");
        assert_eq!(fitting(&State::Cut), "kill stop heal");
        for down in [State::Stopped, State::Killed, State::Failed(String::new())] {
            assert_eq!(fitting(&down), "start");
        }
        let refused = Refused { id: 2, action: Action::Kill, state: State::Stopped };
        assert_eq!(refused.to_string(), "node 2 is stopped: there is nothing to kill");
    }
}
