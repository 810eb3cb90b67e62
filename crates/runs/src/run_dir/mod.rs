//! The folder of a run: its name, its lock, and its files.
//!
//! A run folder is `runs/<experiment>/<UTC time>-<first 8 of the signature>/`; the link `latest` is beside it. A run with the same
//! signature continues in its unfinished folder. A lock keeps two processes from writing the same run.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use timbre_core::files::{self, FileStamp, write_bytes};

mod records;
mod file_names;
mod lookup;
mod in_progress;
mod windows;
mod saved_models;
mod reused_trials;
mod thresholds;
mod seed_means;
mod cost;
mod removal;

pub use cost::{TrialCost, read_cost};
pub use file_names::{
    NetworkFile, ReportFile, Table, latest, log_file, model_folder, network_folder, resolved_config, trial_file,
    unusable_file, written_config,
};
pub use in_progress::is_in_progress;
pub use lookup::{all, find, find_with_model, newest, of_signature, read_run_folders, run_folders, short_signature};
pub use records::{
    CacheRecord, ClassAreas, ClipTruth, CurvePoint, DataRecord, NO_FEATURES, ResultRow, RunRecord, SplitRecord, Status,
    Trial, TrialRecord,
};
pub use removal::{
    Removed, Usage, discard, discard_inside, has_broken_latest, has_run_name, idle_checkpoints, leftovers_beside_runs,
    remove, repair_latest, temporary_files, usage,
};
pub use reused_trials::ReusedTrials;
pub use saved_models::{
    EnsembleRecord, ModelRecord, Versions, has_model, model_files, models, read_ensemble, read_model,
    read_training_distance,
};
pub use seed_means::{TrialMean, replicates, reported_split, trial_means};
pub use thresholds::{SearchRecord, SearchedSplit, SearchedTrial, ThresholdFile, read_search, read_threshold_plot};

use file_names::{CHECKPOINTS, LOCK, models_folder, record_file, trial_lock, trial_locks, trials_folder};

/// The schema of the files in the folder. Raise it when one of them changes its form.
pub const SCHEMA: u32 = 1;

/// A run folder that this process has locked.
pub struct RunDir {
    path: PathBuf,
    lock: File,
    /// Held by a process that works on one trial only.
    _trial_lock: Option<File>,
}

/// Another process holds the lock of the folder.
#[derive(Debug, thiserror::Error)]
#[error("another process is using {}: wait for it, or use another --runs folder", .0.display())]
pub struct Busy(pub PathBuf);

/// The folder of a signature.
pub enum Opened {
    /// New or unfinished.
    ToDo(RunDir),
    /// A finished run.
    Finished { path: PathBuf, record: Box<RunRecord> },
}

impl RunDir {
    /// Opens the folder of a signature: the finished one, the unfinished one, or a new one (always new with `fresh`).
    pub fn open(runs: &Path, experiment: &str, signature: &str, fresh: bool) -> Result<Opened> {
        RunDir::open_locked(runs, experiment, signature, fresh, RunDir::lock)
    }

    /// Opens the folder of a signature to work on one trial, while other processes work on other trials of the run.
    pub fn open_for_trial(runs: &Path, experiment: &str, signature: &str, trial: &Trial) -> Result<Opened> {
        RunDir::open_locked(runs, experiment, signature, false, |path| RunDir::lock_trial(path, trial))
    }

    fn open_locked(
        runs: &Path,
        experiment: &str,
        signature: &str,
        fresh: bool,
        lock_run: impl Fn(PathBuf) -> Result<RunDir>,
    ) -> Result<Opened> {
        let folder = runs.join(experiment);
        // Held while the folder is looked up or created, so that two processes agree on one. Where nothing can be written, a
        // finished run is found without it.
        let lock = removal::lock_experiment(&folder);
        if !fresh {
            for path in lookup::folders_of(&folder, signature).into_iter().rev() {
                match read_record(&path) {
                    Ok(record) if record.signature != signature => continue,
                    Ok(record) if record.status.is_final() => {
                        return Ok(Opened::Finished { path, record: Box::new(record) });
                    }
                    _ if lock.is_err() => break,
                    // Without a record the run was killed before its first write: the folder counts as new.
                    _ => return Ok(Opened::ToDo(lock_run(path)?)),
                }
            }
        }
        let _lock = lock?;
        let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
        let suffix = |n: usize| if n == 0 { String::new() } else { format!(".{n}") };
        let path = (0..)
            .map(|n| folder.join(format!("{stamp}{}-{}", suffix(n), &signature[..8])))
            .find(|p| !p.exists())
            .expect("some name is free");
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Opened::ToDo(lock_run(path)?))
    }

    /// Locks an existing run folder.
    pub fn lock(path: PathBuf) -> Result<RunDir> {
        let lock = lock_file(&path, &path.join(LOCK), File::try_lock)?;
        create_folders(&path)?;
        // Left by a killed process: this one holds the run.
        for file in temporary_files(&path).into_iter().chain(trial_locks(&path)) {
            let _ = fs::remove_file(file);
        }
        Ok(RunDir { path, lock, _trial_lock: None })
    }

    /// Locks one trial of a run. Processes on other trials may hold the folder as well; a process on the whole run may not.
    fn lock_trial(path: PathBuf, trial: &Trial) -> Result<RunDir> {
        let lock = lock_file(&path, &path.join(LOCK), File::try_lock_shared)?;
        create_folders(&path)?;
        let of_trial = lock_file(&path, &trial_lock(&path, trial), File::try_lock)?;
        Ok(RunDir { path, lock, _trial_lock: Some(of_trial) })
    }

    /// Fails if the folder was removed since this process has locked it, also if something wrote there again.
    pub fn ensure_exists(&self) -> Result<()> {
        if is_same_file(&self.lock, &self.path.join(LOCK)) {
            return Ok(());
        }
        bail!("{} was removed while this run was writing it: run again", self.path.display())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the experiment as written and as resolved.
    pub fn write_config(&self, written: &str, resolved: &str) -> Result<()> {
        write_bytes(&written_config(&self.path), written.as_bytes())?;
        write_bytes(&resolved_config(&self.path), resolved.as_bytes())
    }

    pub fn write_record(&self, record: &RunRecord) -> Result<()> {
        write_record(&self.path, record)
    }

    pub fn read_trial(&self, trial: &Trial) -> Option<TrialRecord> {
        read_trial(&self.path, trial)
    }

    /// Fails on probabilities that are not finite: JSON cannot hold them, and no metric can rank them.
    pub fn write_trial(&self, record: &TrialRecord) -> Result<()> {
        if let Some(split) = record.splits.iter().find(|split| !split.is_finite()) {
            bail!("the model predicts probabilities that are not finite on the {} split", split.split);
        }
        write_bytes(&trial_file(&self.path, &record.trial), &serde_json::to_vec(record)?)
    }

    /// Removes the record of a trial: the trial counts as unfinished.
    pub fn forget_trial(&self, trial: &Trial) -> Result<()> {
        let path = trial_file(&self.path, trial);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the checkpoints of a finished trial: its model is saved, and they are several times as large.
    pub fn remove_checkpoints(&self, trial: &Trial) {
        let _ = fs::remove_dir_all(self.checkpoints(trial));
        // Succeeds when no trial has checkpoints any more.
        let _ = fs::remove_dir(self.path.join(CHECKPOINTS));
    }

    pub fn write_table(&self, table: Table, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        files::write_atomically(&self.path.join(table.file()), write)
    }

    /// Writes one line per unusable recording.
    pub fn write_unusable(&self, lines: &[Value]) -> Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        write_bytes(&unusable_file(&self.path), text.as_bytes())
    }

    /// Appends an event to the log. A failure to write it is ignored.
    pub fn log(&self, event: &str, details: Value) {
        let line = json!({ "time": now(), "event": event, "details": details });
        if let Ok(mut file) = File::options().create(true).append(true).open(log_file(&self.path)) {
            let _ = writeln!(file, "{line}");
        }
    }
}

fn create_folders(run: &Path) -> Result<()> {
    for folder in [trials_folder(run), models_folder(run)] {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Ok(())
}

/// Locks a file in a run folder, so that no process that removes the folder has it too.
fn lock_file(run: &Path, path: &Path, try_lock: fn(&File) -> Result<(), TryLockError>) -> Result<File> {
    let lock = File::create(path).with_context(|| format!("cannot write in {}", run.display()))?;
    match try_lock(&lock) {
        Ok(()) if is_same_file(&lock, path) => Ok(lock),
        Ok(()) => bail!("another process has just removed {}", run.display()),
        Err(TryLockError::WouldBlock) => bail!(Busy(run.to_owned())),
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", run.display())),
    }
}

/// Reads the record of a finished trial and its window predictions.
pub fn read_trial(run: &Path, trial: &Trial) -> Option<TrialRecord> {
    let record = windows::with_windows(run, serde_json::from_slice(&fs::read(trial_file(run, trial)).ok()?).ok()?)?;
    record.is_consistent().then_some(record)
}

/// Whether an open file is still the file at this path.
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    file.metadata().ok().map(id) == fs::metadata(path).ok().map(id)
}

/// The end of each trial in milliseconds since 1970, from the log. Reused trials have none.
pub fn trial_times(run: &Path) -> HashMap<String, i64> {
    let log = fs::read_to_string(log_file(run)).unwrap_or_default();
    let time = |line: &str| {
        let event: Value = serde_json::from_str(line).ok().filter(|event: &Value| event["event"] == "unit")?;
        let time = chrono::DateTime::parse_from_rfc3339(event["time"].as_str()?).ok()?;
        Some((event["details"]["unit"].as_str()?.to_owned(), time.timestamp_millis()))
    };
    log.lines().filter_map(time).collect()
}

/// The number of finished trials of a run.
pub fn trials_done(run: &Path) -> usize {
    let names = fs::read_dir(trials_folder(run)).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.ends_with(".json") && !name.starts_with('.'))).count()
}

/// Points the link `latest` to a run.
pub fn make_latest(run: &Path) -> Result<()> {
    let folder = run.parent().expect("a run folder is in the folder of its experiment");
    let name = run.file_name().expect("a run folder has a name");
    if fs::read_link(latest(folder)).is_ok_and(|target| target == Path::new(name)) {
        return Ok(());
    }
    // Two sweep points of one process can end at the same time.
    let part = folder.join(format!(".latest-{}-{}", std::process::id(), name.to_string_lossy()));
    let _ = fs::remove_file(&part);
    std::os::unix::fs::symlink(name, &part)?;
    fs::rename(&part, latest(folder)).with_context(|| format!("cannot link {}/latest", folder.display()))
}

/// [`make_latest`], unless the link leads to a run that is worth more: one that is done, or one that at least has results.
pub fn keep_usable_latest(run: &Path, record: &RunRecord) -> Result<()> {
    let folder = run.parent().expect("a run folder is in the folder of its experiment");
    let worth = |record: &RunRecord| (!record.results.is_empty(), record.status == Status::Done);
    match read_record(&latest(folder)) {
        Ok(before) if worth(&before) > worth(record) => Ok(()),
        _ => make_latest(run),
    }
}

/// Replaces `run.json`.
pub fn write_record(run: &Path, record: &RunRecord) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(record)?;
    json.push(b'\n');
    write_bytes(&record_file(run), &json)
}

pub fn write_report(run: &Path, file: ReportFile, text: &str) -> Result<()> {
    write_bytes(&run.join(file.name()), text.as_bytes())
}

/// Whether the run has a report.
pub fn has_report(run: &Path) -> bool {
    [ReportFile::Html, ReportFile::Markdown].iter().all(|file| run.join(file.name()).is_file())
}

pub fn has_table(run: &Path, table: Table) -> bool {
    run.join(table.file()).is_file()
}

/// Whether the run has all tables that every finished run has.
pub fn has_all_tables(run: &Path) -> bool {
    let always = [
        Table::ResultsCsv,
        Table::ResultsParquet,
        Table::Grid,
        Table::Predictions,
        Table::PerClass,
        Table::Confusion,
        Table::Hardest,
        Table::Metrics,
    ];
    always.iter().all(|&table| has_table(run, table))
}

/// Whether a run has written its first record.
pub fn has_record(run: &Path) -> bool {
    record_file(run).exists()
}

pub fn read_record(run: &Path) -> Result<RunRecord> {
    let path = record_file(run);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}: is it a run folder?", path.display()))?;
    parse_record(&path, &bytes)
}

/// Reads the record of a run if its text is `wanted`. Of thousands of runs only these few are parsed.
pub fn read_record_if(run: &Path, wanted: impl Fn(&str) -> bool) -> Option<RunRecord> {
    let path = record_file(run);
    let record = fs::read_to_string(&path).ok()?;
    wanted(&record).then(|| parse_record(&path, record.as_bytes()).ok()).flatten()
}

fn parse_record(path: &Path, bytes: &[u8]) -> Result<RunRecord> {
    let record: RunRecord = serde_json::from_slice(bytes)
        .with_context(|| format!("cannot parse {} (the same `timbre run` again repairs it)", path.display()))?;
    if record.schema != SCHEMA || record.signature.len() < 8 {
        bail!("{} has schema {}, this version reads schema {SCHEMA}", path.display(), record.schema);
    }
    Ok(record)
}

/// The stamp of `run.json`: it changes when the file is written. None without a record.
pub fn record_stamp(run: &Path) -> Option<FileStamp> {
    FileStamp::of(&record_file(run)).ok()
}

/// The current time as RFC 3339 in UTC.
pub fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;

    pub(super) const SIGNATURE: &str = "0123456789abcdef";

    pub(super) fn record(status: Status) -> RunRecord {
        RunRecord {
            schema: SCHEMA,
            experiment: "x".into(),
            description: String::new(),
            signature: SIGNATURE.into(),
            status,
            started: now(),
            ended: None,
            seeds: vec![1],
            classes: vec![],
            metric: "accuracy".into(),
            data: DataRecord::default(),
            training: None,
            arguments: None,
            reused: None,
            fits: IndexMap::new(),
            fitted_in: IndexMap::new(),
            warnings: Vec::new(),
            cache: CacheRecord::default(),
            seconds: IndexMap::new(),
            peak_memory: None,
            failures: IndexMap::new(),
            results: vec![],
            environment: Value::Null,
        }
    }

    pub(super) fn to_do(opened: Opened) -> RunDir {
        match opened {
            Opened::ToDo(dir) => dir,
            Opened::Finished { path, .. } => panic!("{} is finished", path.display()),
        }
    }

    #[test]
    fn processes_share_a_run_trial_by_trial_and_not_with_one_that_works_on_all() {
        let runs = tempfile::tempdir().unwrap();
        let trial = |seed| Trial { features: "mel".into(), model: "knn".into(), seed };
        let open = |seed| RunDir::open_for_trial(runs.path(), "x", SIGNATURE, &trial(seed));
        let is_busy = |opened: Result<Opened>| opened.err().is_some_and(|error| error.is::<Busy>());
        let (one, other) = (to_do(open(1).unwrap()), to_do(open(2).unwrap()));
        assert_eq!(one.path(), other.path());
        assert!(is_busy(open(1)), "two attempts at one trial");
        assert!(is_busy(RunDir::open(runs.path(), "x", SIGNATURE, false)) && is_in_progress(one.path()));
        drop(one);
        assert!(open(1).is_ok() && is_in_progress(other.path()));
        drop(other);
        let whole = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        assert!(is_busy(open(1)));
        assert_eq!(fs::read_dir(trials_folder(whole.path())).unwrap().count(), 0, "the locks of trials are gone");
    }

    #[test]
    fn the_same_signature_continues_in_its_unfinished_folder() {
        let runs = tempfile::tempdir().unwrap();
        let first = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        first.write_record(&record(Status::Running)).unwrap();
        let path = first.path().to_owned();
        drop(first);
        assert_eq!(to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap()).path(), path);
        assert_ne!(to_do(RunDir::open(runs.path(), "x", "fedcba9876543210", false).unwrap()).path(), path);
    }

    #[test]
    fn a_finished_run_is_not_run_again_unless_fresh() {
        let runs = tempfile::tempdir().unwrap();
        let first = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        first.write_record(&record(Status::Done)).unwrap();
        assert!(matches!(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap(), Opened::Finished { .. }));
        let fresh = to_do(RunDir::open(runs.path(), "x", SIGNATURE, true).unwrap());
        assert_ne!(fresh.path(), first.path());
    }

    #[test]
    fn a_finished_run_is_opened_where_nothing_can_be_written() {
        let runs = tempfile::tempdir().unwrap();
        let first = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        first.write_record(&record(Status::Done)).unwrap();
        drop(first);
        // The lock cannot take the place of a folder: like a read-only file system, also for root.
        let lock = runs.path().join("x").join(LOCK);
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
        assert!(matches!(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap(), Opened::Finished { .. }));
        for (signature, fresh) in [(SIGNATURE, true), ("fedcba9876543210", false)] {
            let refused = RunDir::open(runs.path(), "x", signature, fresh).err().expect("it cannot be written");
            assert!(refused.to_string().contains("cannot write in"), "{refused}");
        }
    }

    #[test]
    fn a_lock_clears_what_killed_processes_left_in_every_folder() {
        let runs = tempfile::tempdir().unwrap();
        let first = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        let path = first.path().to_owned();
        let left = ["networks/mel.cnn.s1/.part-a", "units/.part-b", ".part-c"].map(|name| path.join(name));
        for file in &left {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "half").unwrap();
        }
        drop(first);
        let again = RunDir::lock(path.clone()).unwrap();
        assert!(left.iter().all(|file| !file.exists()));
        assert!(again.ensure_exists().is_ok());
        fs::remove_dir_all(&path).unwrap();
        fs::create_dir_all(&path).unwrap();
        assert!(again.ensure_exists().unwrap_err().to_string().contains("was removed"));
    }

    #[test]
    fn only_one_process_can_write_a_run() {
        let runs = tempfile::tempdir().unwrap();
        let first = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        first.write_record(&record(Status::Running)).unwrap();
        let second = RunDir::open(runs.path(), "x", SIGNATURE, false);
        assert!(second.err().unwrap().to_string().contains("another process"));
    }
}
