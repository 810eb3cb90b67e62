//! Removes runs and the leftovers of killed processes; never what another process holds.
//!
//! A run gets a hidden name before its files are removed, so that a kill leaves it whole or gone. `latest` then points to the
//! newest remaining run. No run needs the files of another: reused trials are copies.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::{
    CHECKPOINTS, LOCK, RunRecord, Status, is_same_file, latest, make_latest, read_record, run_folders, trials_folder,
};

/// The prefix of a run while it is removed.
const REMOVED: &str = ".removed-";
/// The prefix of a link that is about to become `latest`.
const LATEST_PART: &str = ".latest-";

/// The disk usage of a file or folder. Links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    /// The last modification, lock files excluded.
    pub newest: SystemTime,
}

/// Whether a folder has the name of a run: `20261124T145656Z-0123abcd`, `20261124T145656Z.1-0123abcd`.
pub fn has_run_name(path: &Path) -> bool {
    let Some((stamp, signature)) = path.file_name().and_then(|name| name.to_str()).and_then(|n| n.rsplit_once('-'))
    else {
        return false;
    };
    let (stamp, number) = stamp.split_once('.').unwrap_or((stamp, "1"));
    let all = |text: &str, holds: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| holds(&b));
    let stamp = stamp.split_once('T').and_then(|(day, time)| Some((day, time.strip_suffix('Z')?)));
    stamp.is_some_and(|(day, time)| {
        let digits = [day, time].iter().all(|text| all(text, u8::is_ascii_digit));
        day.len() == 8 && time.len() == 6 && digits
    }) && all(number, u8::is_ascii_digit)
        && signature.len() == 8
        && all(signature, u8::is_ascii_hexdigit)
}

/// Locks until the file is closed; false if another process holds the lock.
fn try_lock(file: &File, run: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", run.display())),
    }
}

/// Locks a run without creating its folders; None if another process holds it.
fn lock_run(run: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(run.join(LOCK));
    let file = file.with_context(|| format!("cannot write in {}", run.display()))?;
    Ok(try_lock(&file, run)?.then_some(file))
}

/// Whether a run was removed, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Gone,
    /// Another process holds it.
    Held,
    /// It has changed since it was chosen.
    Changed,
}

/// Removes a run if `is_unchanged` holds after this process has locked it.
pub fn remove(run: &Path, is_unchanged: impl FnOnce() -> bool) -> Result<Removed> {
    let (Some(home), Some(name)) = (run.parent(), run.file_name()) else {
        bail!("{} is not a run folder", run.display())
    };
    // While this lock is held, no process opens a run of the experiment. A run that was copied elsewhere has no such lock.
    let experiment_lock = if home.join(LOCK).is_file() { Some(lock_experiment(home)?) } else { None };
    let Some(_run_lock) = lock_run(run)? else { return Ok(Removed::Held) };
    if !is_unchanged() {
        return Ok(Removed::Changed);
    }
    let mut hidden = std::ffi::OsString::from(REMOVED);
    hidden.push(name);
    let hidden = home.join(hidden);
    discard(&hidden)?;
    fs::rename(run, &hidden).with_context(|| format!("cannot remove {}", run.display()))?;
    repair_latest(home)?;
    discard(&hidden)?;
    if let Some(lock) = experiment_lock {
        remove_if_empty(home, lock);
    }
    Ok(Removed::Gone)
}

/// Locks the folder of an experiment, and creates it if needed: also if it is removed while this process waits for the lock.
pub(super) fn lock_experiment(home: &Path) -> Result<File> {
    loop {
        fs::create_dir_all(home)
            .with_context(|| format!("cannot create {}: choose another folder with --runs", home.display()))?;
        let path = home.join(LOCK);
        let file = match File::create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("cannot write in {}", home.display()))?,
        };
        file.lock()?;
        if is_same_file(&file, &path) {
            return Ok(file);
        }
    }
}

/// Removes the folder of an experiment that contains nothing but its lock.
fn remove_if_empty(home: &Path, lock: File) {
    let others = |entry: &fs::DirEntry| entry.file_name() != LOCK;
    if fs::read_dir(home).is_ok_and(|entries| !entries.flatten().any(|entry| others(&entry))) {
        let _ = fs::remove_file(home.join(LOCK));
        // Fails if another process has created a run in the meantime.
        let _ = fs::remove_dir(home);
    }
    drop(lock);
}

/// Points a broken `latest` to the newest finished run, or removes it if there is none. Returns whether it was broken.
pub fn repair_latest(home: &Path) -> Result<bool> {
    if !has_broken_latest(home) {
        return Ok(false);
    }
    let ended =
        |record: RunRecord| record.status.is_final() || (record.status == Status::Failed && !record.results.is_empty());
    let newest = run_folders(home).into_iter().rev().find(|run| read_record(run).is_ok_and(ended));
    match newest {
        Some(run) => make_latest(&run)?,
        None => fs::remove_file(latest(home)).with_context(|| format!("cannot remove {}/latest", home.display()))?,
    }
    Ok(true)
}

/// Whether `latest` of an experiment is a broken link.
pub fn has_broken_latest(home: &Path) -> bool {
    let link = latest(home);
    link.is_symlink() && !link.exists()
}

/// Removes a file, a link, or a folder with its contents. A missing path is no error.
pub fn discard(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// [`discard`] inside a run, unless another process holds it. Returns whether it is held.
pub fn discard_inside(run: &Path, path: &Path) -> Result<bool> {
    let Some(_lock) = lock_run(run)? else { return Ok(true) };
    discard(path)?;
    // Succeeds when no trial has checkpoints any more.
    let _ = fs::remove_dir(run.join(CHECKPOINTS));
    Ok(false)
}

/// The size and last modification of a file, or of everything in a folder.
pub fn usage(path: &Path) -> Usage {
    let mut usage = Usage { bytes: 0, newest: SystemTime::UNIX_EPOCH };
    visit_below(path, &mut |entry| {
        if let Ok(meta) = fs::symlink_metadata(entry) {
            usage.bytes += if meta.is_dir() { 0 } else { meta.len() };
            if let Ok(modified) = meta.modified()
                && !meta.is_dir()
                && entry.file_name().is_none_or(|name| name != LOCK)
            {
                usage.newest = usage.newest.max(modified);
            }
        }
    });
    if usage.newest == SystemTime::UNIX_EPOCH {
        // An empty folder has its own age.
        usage.newest = fs::symlink_metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::now());
    }
    usage
}

/// Visits the path and everything below it. Links are not followed.
fn visit_below(path: &Path, each: &mut dyn FnMut(&Path)) {
    each(path);
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            visit_below(&entry.path(), each);
        }
    }
}

/// Temporary files of killed processes in a run.
pub fn temporary_files(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    visit_below(run, &mut |path| {
        let is_part =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(timbre_core::files::TEMP_PREFIX));
        if is_part && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
            found.push(path.to_owned());
        }
    });
    found.sort();
    found
}

/// Leftovers of killed processes beside the runs of an experiment: half-removed runs, and links that should have become `latest`.
pub fn leftovers_beside_runs(home: &Path) -> Vec<PathBuf> {
    let is_leftover = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_run = name.strip_prefix(REMOVED).is_some_and(|name| has_run_name(Path::new(name)));
        of_run || (name.starts_with(LATEST_PART) && entry.file_type().is_ok_and(|kind| kind.is_symlink()))
    };
    let mut found: Vec<PathBuf> =
        fs::read_dir(home).into_iter().flatten().flatten().filter(is_leftover).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Checkpoints that nothing will resume: those of finished runs and of finished trials.
pub fn idle_checkpoints(run: &Path, status: Status) -> Vec<PathBuf> {
    let is_idle = |entry: &fs::DirEntry| {
        let mut record = entry.file_name();
        record.push(".json");
        status.is_final() || trials_folder(run).join(record).is_file()
    };
    let folder = run.join(CHECKPOINTS);
    if folder.is_symlink() {
        return Vec::new();
    }
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().filter(is_idle).map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIGNATURE, record, to_do};
    use super::super::{Opened, RunDir, is_in_progress};
    use super::*;

    fn run(runs: &Path, status: Status) -> PathBuf {
        let dir = to_do(RunDir::open(runs, "x", SIGNATURE, true).unwrap());
        dir.write_record(&record(status)).unwrap();
        if status.is_final() {
            make_latest(dir.path()).unwrap();
        }
        dir.path().to_owned()
    }

    #[test]
    fn latest_points_to_the_newest_remaining_finished_run() {
        let runs = tempfile::tempdir().unwrap();
        let [first, second] = [Status::Done, Status::Done].map(|status| run(runs.path(), status));
        let stopped = run(runs.path(), Status::Stopped);
        let third = run(runs.path(), Status::Done);
        let target = || fs::canonicalize(runs.path().join("x/latest")).unwrap();
        assert_eq!(remove(&third, || true).unwrap(), Removed::Gone);
        assert_eq!(target(), second.canonicalize().unwrap());
        assert_eq!(remove(&first, || true).unwrap(), Removed::Gone);
        assert_eq!(target(), second.canonicalize().unwrap());
        assert_eq!(remove(&second, || true).unwrap(), Removed::Gone);
        assert!(!runs.path().join("x/latest").is_symlink() && stopped.is_dir());
        assert_eq!(remove(&stopped, || true).unwrap(), Removed::Gone);
        assert!(!runs.path().join("x").exists(), "the folder of an experiment is removed with its last run");
    }

    #[test]
    fn a_run_that_is_locked_or_has_changed_is_not_removed() {
        let runs = tempfile::tempdir().unwrap();
        let path = run(runs.path(), Status::Done);
        assert_eq!(remove(&path, || false).unwrap(), Removed::Changed);
        let lock = RunDir::lock(path.clone()).unwrap();
        assert!(is_in_progress(&path));
        assert_eq!(remove(&path, || panic!("it is not checked")).unwrap(), Removed::Held);
        drop(lock);
        assert!(!is_in_progress(&path) && path.join("run.json").is_file());
    }

    #[test]
    fn a_half_removed_run_is_a_leftover_and_not_a_run() {
        let runs = tempfile::tempdir().unwrap();
        let path = run(runs.path(), Status::Done);
        let hidden = path.with_file_name(format!("{REMOVED}{}", path.file_name().unwrap().to_str().unwrap()));
        fs::rename(&path, &hidden).unwrap();
        let home = runs.path().join("x");
        fs::create_dir(home.join(".removed-photos")).unwrap();
        assert_eq!(leftovers_beside_runs(&home), [hidden]);
        assert!(super::super::all(runs.path()).is_empty());
        assert!(has_broken_latest(&home) && repair_latest(&home).unwrap() && !has_broken_latest(&home));
        assert!(matches!(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap(), Opened::ToDo(_)));
    }

    #[test]
    fn run_names_are_recognised() {
        for name in ["20261124T145656Z-0123abcd", "20261124T145656Z.12-ffffffff"] {
            assert!(has_run_name(Path::new(name)), "{name}");
        }
        for name in [
            "latest",
            "",
            "..",
            "photos",
            "20261124T145656Z-0123abc",
            "20261124T145656Z-0123abcg",
            "20261124T145656-0123abcd",
            "x20261124T145656Z-0123abcd",
            "20261124T145656Z.-0123abcd",
            "2026112éT145656Z-0123abcd",
        ] {
            assert!(!has_run_name(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn links_out_of_a_run_are_removed_and_not_followed() {
        let runs = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join(".part-mine"), "x").unwrap();
        let path = run(runs.path(), Status::Done);
        std::os::unix::fs::symlink(elsewhere.path(), path.join("units/link")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), path.join("checkpoints")).unwrap();
        assert!(temporary_files(&path).is_empty() && idle_checkpoints(&path, Status::Done).is_empty());
        remove(&path, || true).unwrap();
        assert!(elsewhere.path().join(".part-mine").is_file());
    }
}
