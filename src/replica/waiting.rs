//! Waiting for records to come, for appends to be committed and for deleted records to be gone: on events, never on a timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Isolation;
use crate::model::Offset;

/// A fetch that waits for enough bytes on any of its partitions.
#[derive(Debug)]
pub struct FetchWaiter {
    /// Which bytes count.
    isolation: Isolation,
    /// Bytes that are still missing.
    missing: AtomicI64,
    has_heard: AtomicBool,
    notify: Notify,
}

impl FetchWaiter {
    /// A waiter that is done when `missing` bytes more can be read under this isolation.
    #[must_use]
    pub fn new(missing: i64, isolation: Isolation) -> Arc<Self> {
        let (missing, has_heard) = (AtomicI64::new(missing), AtomicBool::new(false));
        Arc::new(Self { isolation, missing, has_heard, notify: Notify::new() })
    }

    /// Tells how much more can be read.
    fn add(&self, more: Readable) {
        let bytes = match self.isolation {
            Isolation::ReadUncommitted => more.committed_bytes,
            Isolation::ReadCommitted => more.stable_bytes,
            // It is to learn that more is committed.
            Isolation::Replica => return self.wake(),
        };
        self.came(bytes);
    }

    fn came(&self, bytes: u32) {
        self.has_heard.store(true, Ordering::Release);
        let before = self.missing.fetch_sub(i64::from(bytes), Ordering::AcqRel);
        if before <= i64::from(bytes) {
            self.notify.notify_one();
        }
    }

    /// Ends the waiting, whatever came.
    pub fn wake(&self) {
        self.has_heard.store(true, Ordering::Release);
        self.missing.store(0, Ordering::Release);
        self.notify.notify_one();
    }

    /// Whether anything has happened since it was made to what it waits for: if not, there is nothing new to read, and nothing to
    /// tell but a start of the log that retention has moved, which the next fetch tells.
    #[must_use]
    pub fn has_heard(&self) -> bool {
        self.has_heard.load(Ordering::Acquire)
    }

    /// Whether it is not done yet.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.missing.load(Ordering::Acquire) > 0
    }

    /// Done when enough bytes came, or waiting makes no sense any more. May be dropped at any time.
    pub async fn done(&self) {
        while self.waits() {
            self.notify.notified().await;
        }
    }
}

/// By how much the ends of what consumers may read have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readable {
    /// Bytes below the high watermark.
    pub(super) committed_bytes: u32,
    /// Bytes below the last stable offset.
    pub(super) stable_bytes: u32,
}

/// An append, or a deletion of records, that waits for a mark of the log to pass it.
#[derive(Debug)]
pub struct AppendWait {
    mark: Mark,
    /// The mark has to reach this.
    offset: Offset,
    notify: Notify,
}

/// What an append or a deletion waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The high watermark: it is in all replicas that are in sync, and durable here if it has to be.
    Committed,
    /// The settled end: it is durable here if it has to be.
    Settled,
    /// The low watermark: no replica has records below, of those whose brokers run.
    Deleted,
}

impl AppendWait {
    /// Done when the mark may have passed the append, the partition's leader has changed or its disk has failed: look
    /// again then. May be dropped at any time.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// Who waits for one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// How many there are, so that an append nobody waits for takes no lock.
    count: AtomicUsize,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    fetches: Vec<Arc<FetchWaiter>>,
    appends: Vec<Arc<AppendWait>>,
}

impl Lists {
    fn len(&self) -> usize {
        self.fetches.len() + self.appends.len()
    }
}

impl Lists {
    fn wake_appends(&mut self, mark: Mark, offset: Offset) {
        self.appends.retain(|append| {
            let reached = append.mark == mark && offset >= append.offset;
            if reached {
                append.notify.notify_one();
            }
            !reached
        });
    }
}

impl Waiters {
    pub(super) fn add_fetch(&self, waiter: &Arc<FetchWaiter>) {
        let mut lists = self.lists.lock();
        lists.fetches.push(Arc::clone(waiter));
        self.count.store(lists.len(), Ordering::Release);
    }

    pub(super) fn remove_fetch(&self, waiter: &Arc<FetchWaiter>) {
        let mut lists = self.lists.lock();
        lists.fetches.retain(|other| !Arc::ptr_eq(other, waiter));
        self.count.store(lists.len(), Ordering::Release);
    }

    pub(super) fn add_append(&self, mark: Mark, offset: Offset) -> Arc<AppendWait> {
        let wait = Arc::new(AppendWait { mark, offset, notify: Notify::new() });
        let mut lists = self.lists.lock();
        lists.appends.push(Arc::clone(&wait));
        self.count.store(lists.len(), Ordering::Release);
        wait
    }

    /// The high watermark has reached `offset`, and more can be read.
    pub(super) fn committed(&self, offset: Offset, more: Readable) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lists = self.lists.lock();
        for fetch in &lists.fetches {
            fetch.add(more);
        }
        lists.wake_appends(Mark::Committed, offset);
        self.count.store(lists.len(), Ordering::Release);
    }

    /// There is more for other replicas to read.
    pub(super) fn appended(&self, bytes: u32) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let lists = self.lists.lock();
        for fetch in lists.fetches.iter().filter(|it| it.isolation == Isolation::Replica) {
            fetch.came(bytes);
        }
    }

    /// The settled end has reached `offset`.
    pub(super) fn settled(&self, offset: Offset) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lists = self.lists.lock();
        lists.wake_appends(Mark::Settled, offset);
        self.count.store(lists.len(), Ordering::Release);
    }

    /// A replica has said where its log begins, of which the low watermark may follow.
    pub(super) fn deleted(&self, low_watermark: impl FnOnce() -> Offset) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut lists = self.lists.lock();
        if lists.appends.iter().any(|append| append.mark == Mark::Deleted) {
            lists.wake_appends(Mark::Deleted, low_watermark());
            self.count.store(lists.len(), Ordering::Release);
        }
    }

    /// Appends are to look again.
    pub(super) fn wake_appends(&self) {
        let mut lists = self.lists.lock();
        lists.appends.drain(..).for_each(|append| append.notify.notify_one());
        self.count.store(lists.len(), Ordering::Release);
    }

    /// The partition is gone, has another leader or a failed disk: nobody is to wait any longer.
    pub(super) fn wake_all(&self) {
        let mut lists = self.lists.lock();
        lists.fetches.iter().for_each(|fetch| fetch.wake());
        lists.appends.drain(..).for_each(|append| append.notify.notify_one());
        self.count.store(lists.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(committed_bytes: u32, stable_bytes: u32) -> Readable {
        Readable { committed_bytes, stable_bytes }
    }

    #[tokio::test]
    async fn a_reader_of_committed_records_waits_for_the_last_stable_offset() {
        let waiters = Waiters::default();
        let waiter = FetchWaiter::new(100, Isolation::ReadCommitted);
        waiters.add_fetch(&waiter);
        waiters.committed(Offset(1), bytes(500, 0));
        let mut done = std::pin::pin!(waiter.done());
        assert!(futures_now(done.as_mut()).is_none());
        waiters.committed(Offset(2), bytes(78, 578));
        done.await;
    }

    #[tokio::test]
    async fn a_fetch_wakes_when_its_bytes_are_there_and_not_before() {
        let (a, b) = (Waiters::default(), Waiters::default());
        let waiter = FetchWaiter::new(100, Isolation::ReadUncommitted);
        a.add_fetch(&waiter);
        b.add_fetch(&waiter);
        a.committed(Offset(1), bytes(60, 60));
        let mut done = std::pin::pin!(waiter.done());
        assert!(futures_now(done.as_mut()).is_none());
        b.committed(Offset(1), bytes(40, 40));
        done.await;
        a.remove_fetch(&waiter);
        assert_eq!(a.count.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_fetch_hears_of_whatever_changes_for_it() {
        let all = [Isolation::ReadCommitted, Isolation::ReadUncommitted, Isolation::Replica];
        let heard = |happens: &dyn Fn(&Waiters)| {
            all.map(|isolation| {
                let (waiters, fetch) = (Waiters::default(), FetchWaiter::new(9, isolation));
                waiters.add_fetch(&fetch);
                happens(&waiters);
                (fetch.has_heard(), fetch.waits())
            })
        };
        assert_eq!(heard(&|_| {}), [(false, true); 3]);
        assert_eq!(heard(&|it| it.settled(Offset(1))), [(false, true); 3]);
        assert_eq!(heard(&|it| it.wake_all()), [(true, false); 3]);
        let of_replica = |it| [(false, true), (false, true), it];
        assert_eq!(heard(&|it| it.appended(8)), of_replica((true, true)));
        assert_eq!(heard(&|it| it.appended(9)), of_replica((true, false)));
        // The high watermark is in every answer.
        let committed = [(true, true), (true, false), (true, false)];
        assert_eq!(heard(&|it| it.committed(Offset(1), bytes(9, 0))), committed);
    }

    #[tokio::test]
    async fn an_append_wakes_when_its_mark_comes_to_its_offset() {
        let waiters = Waiters::default();
        let wait = waiters.add_append(Mark::Committed, Offset(10));
        let settled = waiters.add_append(Mark::Settled, Offset(10));
        waiters.committed(Offset(9), bytes(1, 1));
        waiters.settled(Offset(10));
        settled.woken().await;
        let mut woken = std::pin::pin!(wait.woken());
        assert!(futures_now(woken.as_mut()).is_none());
        waiters.committed(Offset(10), bytes(1, 1));
        woken.await;
    }

    #[tokio::test]
    async fn all_wake_when_the_partition_goes() {
        let waiters = Waiters::default();
        let fetch = FetchWaiter::new(i64::MAX, Isolation::ReadCommitted);
        let append = waiters.add_append(Mark::Committed, Offset(i64::MAX));
        waiters.add_fetch(&fetch);
        waiters.wake_all();
        fetch.done().await;
        append.woken().await;
    }

    /// What a future gives at once.
    fn futures_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
