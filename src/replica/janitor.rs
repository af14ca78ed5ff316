//! Removes the files of deleted segments and partitions some time after they were marked, so that whoever still reads them
//! can finish.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::env::Env;
use crate::model::UnixMillis;

/// Files and directories that are to go, by the time to do it.
#[derive(Debug, Default)]
pub(super) struct Janitor {
    due: Mutex<BTreeMap<UnixMillis, Vec<PathBuf>>>,
    added: Notify,
}

impl Janitor {
    /// Removes `paths` at `when`.
    pub(super) fn remove_at(&self, when: UnixMillis, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        self.due.lock().entry(when).or_default().extend(paths);
        self.added.notify_one();
    }

    /// The paths whose time has come.
    fn take_due(&self, now: UnixMillis) -> Vec<PathBuf> {
        let mut due = self.due.lock();
        let later = due.split_off(&now.plus_millis(1));
        std::mem::replace(&mut *due, later).into_values().flatten().collect()
    }

    /// Does its work until the tasks are cancelled. What is left then is removed at the next start.
    pub(super) async fn run(&self, env: &Env) {
        loop {
            let next = self.due.lock().keys().next().copied();
            let next_due = async {
                match next {
                    Some(when) => env.clock.sleep_until(when).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = next_due => {}
                () = self.added.notified() => continue,
                () = env.tasks.cancelled() => return,
            }
            let now = self.take_due(env.clock.now());
            let disk = std::sync::Arc::clone(&env.disk);
            env.tasks
                .spawn_blocking("remove-files", move || {
                    for path in now {
                        // A directory's removal is fine with a file that is none, and the other way round it is not.
                        let removed = disk.remove_file(&path).or_else(|_| disk.remove_dir_all(&path));
                        if let Err(error) = removed {
                            tracing::warn!(path = %path.display(), %error, "cannot remove a deleted file");
                        }
                    }
                })
                .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::env::{Disk as _, MemoryDisk, OpenMode};

    #[tokio::test]
    async fn files_go_when_their_time_has_come() {
        let disk = MemoryDisk::new();
        let env = Env::with_disk(Arc::new(disk.clone()));
        disk.create_dir_all(Path::new("d")).unwrap();
        for path in ["d/x", "f"] {
            disk.open(Path::new(path), OpenMode::Create).unwrap();
        }
        let janitor = Arc::new(Janitor::default());
        let (task, task_env) = (Arc::clone(&janitor), env.clone());
        env.tasks.spawn_service("janitor", async move { task.run(&task_env).await });
        janitor.remove_at(env.clock.now().plus_millis(60_000), vec!["d".into(), "f".into()]);
        assert!(disk.exists(Path::new("f")).unwrap());
        env.clock.advance(Duration::from_secs(61));
        while disk.exists(Path::new("f")).unwrap() || disk.exists(Path::new("d/x")).unwrap() {
            tokio::task::yield_now().await;
        }
        env.tasks.cancel();
        env.tasks.wait().await;
        assert!(!env.tasks.has_failed());
    }
}
