//! Where work is spawned, and how all of it is stopped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::rng::Rng;

/// The future that is done when tasks are asked to end.
pub type Cancelled<'a> = WaitForCancellationFuture<'a>;

/// Spawns named tasks, tells them to end, waits until they have. Clones share everything.
///
/// A panic in a task latches [`has_failed`](Self::has_failed): a broker in a test process must not go on with a
/// broken invariant. (The `ottla` program itself ends at the first panic.)
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    failed: Arc<watch::Sender<bool>>,
    /// In a simulation: what stands for the pool of threads.
    simulated: Option<Pool>,
}

/// Blocking work of a simulation, which has one thread alone: it is done at once, after a wait that chance decides.
#[derive(Clone, Debug)]
struct Pool {
    rng: Rng,
    wait_max_ms: Arc<AtomicU32>,
    /// Tells in the log whose tasks these are.
    span: tracing::Span,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            failed: Arc::new(watch::Sender::new(false)),
            simulated: None,
        }
    }

    /// Tasks of a simulation, where blocking work begins after at most so many milliseconds, as of now, and blocks everything. What they log
    /// is in the present span.
    pub(super) fn simulated(rng: Rng, wait_max_ms: Arc<AtomicU32>) -> Self {
        let pool = Pool { rng, wait_max_ms, span: tracing::Span::current() };
        Self { simulated: Some(pool), ..Self::new() }
    }

    /// A group whose tasks end with this one's, but can also be cancelled and awaited alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            tracker: TaskTracker::new(),
            cancel: self.cancel.child_token(),
            failed: Arc::clone(&self.failed),
            simulated: self.simulated.clone(),
        }
    }

    /// Runs `future` in the background until it is done. It must end by itself soon after cancellation.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_boxed(name, Box::pin(future));
    }

    /// In a box, so that a future is in its task once, not as what that was given and as what it awaits; and of any kind, so
    /// that the program holds the runtime's code for a task once, not for each kind.
    fn spawn_boxed(&self, name: &'static str, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let watch = self.watch(name);
        let watched = async move {
            let watch = watch;
            future.await;
            watch.done();
        };
        match &self.simulated {
            None => drop(self.tracker.spawn(watched)),
            Some(pool) => drop(self.tracker.spawn(watched.instrument(pool.span.clone()))),
        }
    }

    /// Runs `future`, which must not end before cancellation: if it does, the group has failed.
    pub fn spawn_service<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.spawn(name, async move {
            future.await;
            if !tasks.cancel.is_cancelled() {
                tracing::error!(task = name, "a service ended before it was told to");
                tasks.fail();
            }
        });
    }

    /// Runs `work`, which may block, on the pool for that. The future gives its result.
    ///
    /// Dropping the future leaves the work running.
    pub fn spawn_blocking<T, W>(
        &self,
        name: &'static str,
        work: W,
    ) -> impl Future<Output = T> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let watch = self.watch(name);
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        let handle = self.spawn_blocking_boxed(Box::new(move || {
            *place.lock() = Some(work());
            watch.done();
        }));
        async move {
            let ended = handle.await;
            if let Some(result) = result.lock().take() {
                return result;
            }
            match ended.map_err(JoinError::try_into_panic) {
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The runtime is going down and nobody will poll us again.
                Err(Err(_)) | Ok(()) => std::future::pending().await,
            }
        }
    }

    /// Of any kind, as in [`spawn_boxed`](Self::spawn_boxed).
    fn spawn_blocking_boxed(&self, work: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
        match self.simulated.clone() {
            None => self.tracker.spawn_blocking(work),
            Some(Pool { rng, wait_max_ms, span }) => self.tracker.spawn(async move {
                let wait = u64::from(rng.below(wait_max_ms.load(Ordering::Relaxed) + 1));
                tokio::time::sleep(Duration::from_millis(wait)).await;
                span.in_scope(work);
            }),
        }
    }

    /// Done when the tasks are asked to end. May be dropped at any time.
    pub fn cancelled(&self) -> Cancelled<'_> {
        self.cancel.cancelled()
    }

    /// A token that is cancelled when the tasks are asked to end, and can also be cancelled alone.
    #[must_use]
    pub fn child_token(&self) -> CancellationToken {
        self.cancel.child_token()
    }

    /// Whether the tasks were asked to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Asks all tasks of this group and of its children to end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits until every task of this group (not of its children) has ended. May be dropped at any time.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks of this group are running.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Whether a task panicked, a service ended by itself, or [`fail`](Self::fail) was called.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        *self.failed.borrow()
    }

    /// Says that the broker cannot go on.
    pub fn fail(&self) {
        self.failed.send_replace(true);
    }

    /// Done when [`has_failed`](Self::has_failed). May be dropped at any time.
    pub async fn failure(&self) {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as this value.
        drop(failed.wait_for(|failed| *failed).await);
    }

    fn watch(&self, name: &'static str) -> Watch {
        Watch { name, failed: Some(Arc::clone(&self.failed)) }
    }
}

/// Notices that a task was unwound.
struct Watch {
    name: &'static str,
    failed: Option<Arc<watch::Sender<bool>>>,
}

impl Watch {
    fn done(mut self) {
        self.failed = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(failed) = self.failed.take()
            && std::thread::panicking()
        {
            tracing::error!(task = self.name, "a task panicked");
            failed.send_replace(true);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn cancelled_tasks_are_awaited() {
        let tasks = Tasks::new();
        let child = tasks.child();
        let inner = child.clone();
        child.spawn("waits", async move { inner.cancelled().await });
        assert_eq!((tasks.count(), child.count()), (0, 1));
        tasks.cancel();
        child.wait().await;
        assert_eq!(child.count(), 0);
        assert!(!tasks.has_failed());
    }

    #[tokio::test]
    async fn a_panic_or_an_early_end_latches_failure() {
        let tasks = Tasks::new();
        tasks.child().spawn("panics", async { panic!("on purpose") });
        let other = Tasks::new();
        other.spawn_service("ends", async {});
        tasks.failure().await;
        other.failure().await;
        assert!(tasks.has_failed() && other.has_failed());
    }

    #[tokio::test]
    async fn blocking_work_gives_its_result() {
        assert_eq!(Tasks::new().spawn_blocking("adds", || 1 + 1).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulation_has_one_thread() {
        let (tasks, here) =
            (Tasks::simulated(Rng::from_seed(1), Arc::new(9.into())), std::thread::current().id());
        let there = tasks.child().spawn_blocking("looks", || std::thread::current().id());
        assert_eq!(there.await, here);
    }
}
