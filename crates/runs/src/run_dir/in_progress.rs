//! Whether anybody is at work on a run. `run.json` alone cannot say: of a killed process it says "running" forever.

use std::fs::{File, TryLockError};
use std::path::Path;

/// Whether a process holds the lock of the folder. One that starts work meanwhile is not disturbed: it looks for its folder
/// behind the lock of the experiment, which is held here while the other is tried.
pub fn is_in_progress(run: &Path) -> bool {
    let Some(home) = run.parent() else { return false };
    let doorway = File::open(home.join(".lock")).ok();
    if let Some(doorway) = &doorway {
        // Held by others for moments only. Where it cannot be had, the question is still worth an answer.
        let _ = doorway.lock();
    }
    let Ok(lock) = File::open(run.join(".lock")) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIGNATURE, record, to_do};
    use super::super::{RunDir, Status};
    use super::*;

    #[test]
    fn a_run_is_at_work_while_its_folder_is_locked() {
        let runs = tempfile::tempdir().unwrap();
        let dir = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        dir.write_record(&record(Status::Running)).unwrap();
        let path = dir.path().to_owned();
        assert!(is_in_progress(&path));
        drop(dir);
        assert!(!is_in_progress(&path), "cut off");
        assert!(!is_in_progress(&runs.path().join("x/none")));
    }
}
