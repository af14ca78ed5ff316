//! Counts the memory that each thread has allocated, so that targets can assert bounds.
//!
//! Owns the allocator of every program of this package. C code, such as Zstandard's, allocates past it.
#![expect(
    unsafe_code,
    reason = "an allocator is made of unsafe functions; these hand all on to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that a thread may have allocated before it is stopped.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Whether a thread was stopped.
static OVER: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Allocated less freed; negative on a thread that frees what others have allocated.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// Allocated in all, what was freed included.
    static TOTAL: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

/// Does `work`; gives its result and how many bytes this thread had allocated at most meanwhile, above what it had
/// before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    let outer = PEAK.replace(before);
    let result = work();
    let peak = PEAK.get();
    PEAK.set(outer.max(peak));
    (result, (peak - before).unsigned_abs())
}

/// Does `work`; gives its result and how many bytes this thread has allocated in all meanwhile, what was freed again
/// included.
pub fn total_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = TOTAL.get();
    let result = work();
    (result, TOTAL.get().wrapping_sub(before))
}

/// From here on a thread that has allocated more than `bytes` stops for good, where it stands: an allocator may not
/// panic, and going on could end the process without a trace. Somebody else has to ask [`is_over`].
pub fn set_limit(bytes: usize) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Whether a thread was stopped because it had allocated too much.
pub fn is_over() -> bool {
    OVER.load(Ordering::Relaxed)
}

fn count(freed: usize, allocated: usize) {
    let live = LIVE.get() + allocated.cast_signed() - freed.cast_signed();
    LIVE.set(live);
    TOTAL.set(TOTAL.get().wrapping_add(allocated));
    if live > PEAK.get() {
        PEAK.set(live);
    }
    if usize::try_from(live).is_ok_and(|live| live > LIMIT.load(Ordering::Relaxed)) {
        OVER.store(true, Ordering::Relaxed);
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

// SAFETY: every call is handed on to the system's allocator as it came; counting touches no allocated memory and does
// not allocate, since the counters are constants without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), size);
        // SAFETY: as above; `pointer` came from the system's allocator, as all do.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        // SAFETY: as above; `pointer` came from the system's allocator, as all do.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_what_was_live_at_once() {
        let (_, peak) = peak_of(|| {
            drop(vec![0_u8; 1_000]);
            let kept = vec![0_u8; 3_000];
            let (_, inner) = peak_of(|| drop(vec![0_u8; 500]));
            assert_eq!(inner, 500);
            kept
        });
        assert_eq!(peak, 3_500);
    }
}
