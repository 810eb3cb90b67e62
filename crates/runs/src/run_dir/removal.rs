//! Removing runs, and what killed processes left behind: never what another process holds.
//!
//! A run is renamed to a hidden name before its files go, so that a kill leaves it whole or gone; `latest` then points to the
//! newest run that is left. No run needs the files of another: units that were taken over are copies.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::{LOCK, RunRecord, Status, make_latest, read_record, run_folders, same_file};

/// What the name of a run begins with while its files go.
const REMOVED: &str = ".removed-";
const LATEST: &str = "latest";
/// A link on its way to become `latest`.
const LATEST_PART: &str = ".latest-";
const CHECKPOINTS: &str = "checkpoints";

/// What lies below a folder or is a file; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    /// When something there was last written, locks aside.
    pub newest: SystemTime,
}

/// Whether a folder is named as a run is: `20261124T145656Z-0123abcd`, `20261124T145656Z.1-0123abcd`.
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

/// Locks until the file is closed; false where another process has.
fn locked(file: &File, run: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", run.display())),
    }
}

/// The lock of a run without the folders that work on it would make; nothing where another process has it.
fn hold(run: &Path) -> Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(run.join(LOCK));
    let file = file.with_context(|| format!("cannot write in {}", run.display()))?;
    Ok(locked(&file, run)?.then_some(file))
}

/// Whether a run went, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    Gone,
    /// Another process is at work on it.
    Held,
    /// It is no longer what was to be removed.
    Changed,
}

/// Removes a run that `still` is what was to be removed, once it is held by this process.
pub fn remove(run: &Path, still: impl FnOnce() -> bool) -> Result<Removed> {
    let (Some(home), Some(name)) = (run.parent(), run.file_name()) else { bail!("{} is no run folder", run.display()) };
    // While it is held no process opens a run of this experiment. A run that was copied elsewhere has none.
    let doorway = if home.join(LOCK).is_file() { Some(doorway(home)?) } else { None };
    let Some(_held) = hold(run)? else { return Ok(Removed::Held) };
    if !still() {
        return Ok(Removed::Changed);
    }
    let mut hidden = std::ffi::OsString::from(REMOVED);
    hidden.push(name);
    let hidden = home.join(hidden);
    discard(&hidden)?;
    fs::rename(run, &hidden).with_context(|| format!("cannot remove {}", run.display()))?;
    repair_latest(home)?;
    discard(&hidden)?;
    if let Some(doorway) = doorway {
        leave_empty(home, doorway);
    }
    Ok(Removed::Gone)
}

/// The lock of an experiment's folder, made where it is not. A folder that is removed while one waits for its lock is made anew.
pub(super) fn doorway(home: &Path) -> Result<File> {
    loop {
        fs::create_dir_all(home)
            .with_context(|| format!("cannot create {}: choose another folder with --runs", home.display()))?;
        let path = home.join(LOCK);
        let file = match File::create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("cannot write in {}", home.display()))?,
        };
        file.lock()?;
        if same_file(&file, &path) {
            return Ok(file);
        }
    }
}

/// Removes the folder of an experiment that has no run left, and nothing else in it.
fn leave_empty(home: &Path, doorway: File) {
    let others = |entry: &fs::DirEntry| entry.file_name() != LOCK;
    if fs::read_dir(home).is_ok_and(|entries| !entries.flatten().any(|entry| others(&entry))) {
        let _ = fs::remove_file(home.join(LOCK));
        // Fails where a process was quicker and has made a run.
        let _ = fs::remove_dir(home);
    }
    drop(doorway);
}

/// Lets a `latest` whose run is gone point to the newest run that came to its end, or removes it. Whether there was one to repair.
pub fn repair_latest(home: &Path) -> Result<bool> {
    if !has_broken_latest(home) {
        return Ok(false);
    }
    let ended =
        |record: RunRecord| record.status.is_final() || (record.status == Status::Failed && !record.results.is_empty());
    let newest = run_folders(home).into_iter().rev().find(|run| read_record(run).is_ok_and(ended));
    match newest {
        Some(run) => make_latest(&run)?,
        None => {
            fs::remove_file(home.join(LATEST)).with_context(|| format!("cannot remove {}/latest", home.display()))?
        }
    }
    Ok(true)
}

/// Whether `latest` of an experiment is a link that leads nowhere.
pub fn has_broken_latest(home: &Path) -> bool {
    let link = home.join(LATEST);
    link.is_symlink() && !link.exists()
}

/// Removes a file, a link or a folder with all that is in it; what is not there is no error.
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

/// [`discard`] of something inside a run that no other process works on; whether it was held.
pub fn discard_inside(run: &Path, path: &Path) -> Result<bool> {
    let Some(_held) = hold(run)? else { return Ok(true) };
    discard(path)?;
    // Gone with the last of its units.
    let _ = fs::remove_dir(run.join(CHECKPOINTS));
    Ok(false)
}

/// Bytes and the last change of a file, or of all that lies below a folder.
pub fn usage(path: &Path) -> Usage {
    let mut usage = Usage { bytes: 0, newest: SystemTime::UNIX_EPOCH };
    each_below(path, &mut |entry| {
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
        // An empty folder is as old as itself.
        usage.newest = fs::symlink_metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::now());
    }
    usage
}

/// The path and everything below it; links are not followed.
fn each_below(path: &Path, each: &mut dyn FnMut(&Path)) {
    each(path);
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir()) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            each_below(&entry.path(), each);
        }
    }
}

/// Files that a killed process was writing into a run.
pub fn temporary_files(run: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    each_below(run, &mut |path| {
        let is_part =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(timbre_core::files::TEMP_PREFIX));
        if is_part && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
            found.push(path.to_owned());
        }
    });
    found.sort();
    found
}

/// What killed processes left beside the runs of an experiment: runs that were being removed, links on their way to `latest`.
pub fn leftovers_beside_runs(home: &Path) -> Vec<PathBuf> {
    let left = |entry: &fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_run = name.strip_prefix(REMOVED).is_some_and(|name| has_run_name(Path::new(name)));
        of_run || (name.starts_with(LATEST_PART) && entry.file_type().is_ok_and(|kind| kind.is_symlink()))
    };
    let mut found: Vec<PathBuf> =
        fs::read_dir(home).into_iter().flatten().flatten().filter(left).map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Checkpoints that nothing will go on from: of a run that is finished, and of units that are.
pub fn idle_checkpoints(run: &Path, status: Status) -> Vec<PathBuf> {
    let is_idle = |entry: &fs::DirEntry| {
        let mut record = entry.file_name();
        record.push(".json");
        status.is_final() || run.join("units").join(record).is_file()
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
    fn latest_goes_back_to_the_newest_run_that_came_to_its_end() {
        let runs = tempfile::tempdir().unwrap();
        let [first, second] = [Status::Done, Status::Done].map(|status| run(runs.path(), status));
        let stopped = run(runs.path(), Status::Stopped);
        let third = run(runs.path(), Status::Done);
        let latest = || fs::canonicalize(runs.path().join("x/latest")).unwrap();
        assert_eq!(remove(&third, || true).unwrap(), Removed::Gone);
        assert_eq!(latest(), second.canonicalize().unwrap());
        assert_eq!(remove(&first, || true).unwrap(), Removed::Gone);
        assert_eq!(latest(), second.canonicalize().unwrap());
        assert_eq!(remove(&second, || true).unwrap(), Removed::Gone);
        assert!(!runs.path().join("x/latest").is_symlink() && stopped.is_dir());
        assert_eq!(remove(&stopped, || true).unwrap(), Removed::Gone);
        assert!(!runs.path().join("x").exists(), "the folder of an experiment goes with its last run");
    }

    #[test]
    fn a_run_that_is_held_or_has_changed_stays() {
        let runs = tempfile::tempdir().unwrap();
        let path = run(runs.path(), Status::Done);
        assert_eq!(remove(&path, || false).unwrap(), Removed::Changed);
        let held = RunDir::lock(path.clone()).unwrap();
        assert!(is_in_progress(&path));
        assert_eq!(remove(&path, || panic!("nobody is asked")).unwrap(), Removed::Held);
        drop(held);
        assert!(!is_in_progress(&path) && path.join("run.json").is_file());
    }

    #[test]
    fn a_run_that_was_being_removed_is_no_run_and_its_rest_is_found() {
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
    fn only_names_of_runs_are_names_of_runs() {
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
