//! Sees to it that an input neither takes too long nor too much memory, and keeps the inputs that fail.

#![expect(clippy::print_stdout, reason = "this is what the program says")]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ottla_fuzz::memory;

/// How long an input may take.
const DURATION_MAX: Duration = Duration::from_secs(10);
/// How much memory the thread that runs inputs may have, in bytes. Targets assert closer bounds.
const MEMORY_MAX: usize = 1 << 30;
/// How often to look.
const LOOK_AROUND: Duration = Duration::from_millis(200);

/// Watches the inputs of one thread.
#[derive(Clone, Debug)]
pub(crate) struct Watchdog(Arc<Mutex<Current>>);

#[derive(Debug)]
struct Current {
    target: &'static str,
    input: Vec<u8>,
    /// When it was begun; `None` between two inputs.
    since: Option<Instant>,
}

impl Watchdog {
    /// Begins to watch, in a thread of its own.
    pub(crate) fn start() -> Self {
        memory::set_limit(MEMORY_MAX);
        let current = Current { target: "", input: Vec::new(), since: None };
        let watchdog = Self(Arc::new(Mutex::new(current)));
        let watching = watchdog.clone();
        std::thread::spawn(move || watching.watch());
        watchdog
    }

    /// An input begins.
    pub(crate) fn begin(&self, target: &'static str, input: &[u8]) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.target = target;
        current.input.clear();
        current.input.extend_from_slice(input);
        current.since = Some(Instant::now());
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).since = None;
    }

    fn watch(&self) {
        loop {
            std::thread::sleep(LOOK_AROUND);
            let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let takes_long = current.since.is_some_and(|since| since.elapsed() > DURATION_MAX);
            let problem = if memory::is_over() {
                format!("it takes more than {MEMORY_MAX} bytes of memory")
            } else if takes_long {
                format!("it takes longer than {} s", DURATION_MAX.as_secs())
            } else {
                continue;
            };
            report(current.target, &current.input, &problem);
            // The thread with the input does not come back.
            std::process::exit(1);
        }
    }
}

/// Keeps an input that fails, and tells how to run it again.
pub(crate) fn report(target: &str, input: &[u8], problem: &str) {
    println!("{target}: an input of {} bytes fails: {problem}", input.len());
    match keep(target, input) {
        Ok(path) => println!(
            "again with: cargo run --release --manifest-path fuzz/Cargo.toml -- replay {target} {}",
            path.display()
        ),
        Err(error) => println!("it cannot be kept: {error}; the seed leads to it again"),
    }
}

fn keep(target: &str, input: &[u8]) -> std::io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{target}-{:016x}", hasher.finish()));
    std::fs::write(&path, input)?;
    Ok(path)
}
