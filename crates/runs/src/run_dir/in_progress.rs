//! Tells whether a process is working on a run. `run.json` alone cannot: after a kill it says "running" forever.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::LOCK;

/// Whether a process holds the lock of the run folder, for the whole run or for one trial. The lock of the experiment is held for the moment of the check, so that
/// no process that opens its run meets a locked folder.
pub fn is_in_progress(run: &Path) -> bool {
    let Some(folder) = run.parent() else { return false };
    // Other processes hold it for moments only.
    let experiment_lock = File::open(folder.join(LOCK)).ok().filter(|lock| lock.lock().is_ok());
    let Ok(lock) = File::open(run.join(LOCK)) else { return false };
    let tried = match experiment_lock {
        Some(_) => lock.try_lock(),
        // Two processes that only look would meet each other. This one does not see processes on single trials.
        None => lock.try_lock_shared(),
    };
    matches!(tried, Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIGNATURE, record, to_do};
    use super::super::{RunDir, Status};
    use super::*;

    #[test]
    fn a_run_is_in_progress_while_its_folder_is_locked() {
        let runs = tempfile::tempdir().unwrap();
        let dir = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        dir.write_record(&record(Status::Running)).unwrap();
        let path = dir.path().to_owned();
        assert!(is_in_progress(&path));
        drop(dir);
        assert!(!is_in_progress(&path), "killed");
        assert!(!is_in_progress(&runs.path().join("x/none")));
    }
}
