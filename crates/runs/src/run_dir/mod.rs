//! The folder of a run: its name, its files, who may write to it. No other module knows a file name of it.
//!
//! `runs/<experiment>/<UTC time>-<first 8 of the signature>/`, and the link `latest` beside it. The same signature finds its
//! folder again. A lock in the folder keeps two processes from writing the same run.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use timbre_core::files::{self, FileStamp, write_bytes};
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_models::Epoch;

mod in_progress;
mod cost;
mod lookup;
mod seed_means;
mod removal;
mod saved_models;
mod reused_trials;
mod thresholds;
mod windows;

pub use cost::{TrialCost, read_cost};
pub use in_progress::is_in_progress;
pub use lookup::{all, find, newest, of_signature, read_run_folders, run_folders};
pub use removal::{
    Removed, Usage, discard, discard_inside, has_broken_latest, has_run_name, idle_checkpoints, leftovers_beside_runs,
    remove, repair_latest, temporary_files, usage,
};
pub use reused_trials::ReusedTrials;
pub use saved_models::{EnsembleRecord, ModelRecord, Versions, has_model, models, read_ensemble, read_model};
pub use seed_means::{TrialMean, replicates, reported_split, trial_means};
pub use thresholds::{
    SearchRecord, SearchedSplit, SearchedTrial, ThresholdFile, read_search, read_threshold_plot, resolved_config,
};

/// Raised when a file of the folder changes its form.
pub const SCHEMA: u32 = 1;

/// The file that is locked by who works in a folder: of a run, or of an experiment while a run of it is looked for.
const LOCK: &str = ".lock";

/// One model on one feature with one seed: the unit of work that a kill cannot take away once it is done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trial {
    pub features: String,
    pub model: String,
    pub seed: u64,
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}.{}.s{}", self.features, self.model, self.seed)
    }
}

/// What a finished unit leaves: everything the tables are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    #[serde(rename = "unit")]
    pub trial: Trial,
    /// Training clips of each class: what the trivial baselines know.
    pub trained_on: Vec<usize>,
    pub splits: Vec<SplitRecord>,
    /// Of the file that holds the windows of the sides, where recordings were heard in windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_hash: Option<String>,
    /// The epochs of a network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<Epoch>,
    /// Facts about the fit: iterations, tolerance reached.
    pub notes: IndexMap<String, String>,
    pub fit_seconds: f64,
    pub predict_seconds: f64,
}

/// One side of the split as the model saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    pub split: String,
    pub clips: Vec<ClipTruth>,
    /// A row a recording: probabilities, or the scores that its windows came to.
    pub predictions: Predictions,
    /// What was said of each window, of recordings that were heard in windows. Kept in a file of its own, in binary: as text
    /// it would be the largest part of the record.
    #[serde(skip)]
    pub windows: Option<WindowPredictions>,
    pub curve: Vec<CurvePoint>,
}

impl SplitRecord {
    /// The classes of each recording.
    pub fn truth(&self) -> Vec<Vec<usize>> {
        self.clips.iter().map(|clip| clip.truth.clone()).collect()
    }

    /// The classes that a decision_rule decides for each recording: from its windows where it was heard in windows.
    pub fn decided(&self, decision_rule: &DecisionRule) -> Vec<Vec<usize>> {
        decision_rule.decide_recordings(&self.predictions, self.windows.as_ref()).decided
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipTruth {
    pub path: String,
    pub song: String,
    /// Its classes, ascending; of a single-label task exactly one.
    pub truth: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub parameter: String,
    pub value: f64,
    /// `accuracy`; with several labels the headline metric.
    pub metric: String,
    /// Nothing where it is undefined.
    pub score: Option<f64>,
}

/// What stands in the `features` column of a trivial baseline.
pub const NO_FEATURES: &str = "-";

/// One line of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    #[serde(flatten)]
    pub trial: Trial,
    pub split: String,
    pub n: usize,
    pub metrics: IndexMap<String, f64>,
}

impl ResultRow {
    pub fn is_baseline(&self) -> bool {
        self.trial.features == NO_FEATURES
    }
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub schema: u32,
    pub experiment: String,
    pub description: String,
    pub signature: String,
    pub status: Status,
    pub started: String,
    pub ended: Option<String>,
    pub seeds: Vec<u64>,
    pub classes: Vec<String>,
    /// The metric that the grid shows.
    pub metric: String,
    pub data: DataRecord,
    /// Of all that decides what the units are: runs that agree in it have the same units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<String>,
    /// Units that another run had fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<ReusedTrials>,
    pub cache: CacheRecord,
    pub seconds: IndexMap<String, f64>,
    /// Units that could not be fitted, and why.
    pub failures: IndexMap<String, String>,
    /// The rows of `results.csv`, once the run is through.
    pub results: Vec<ResultRow>,
    pub environment: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Running,
    Stopped,
    Failed,
    /// Everything was written, but more recordings were unusable than `max_unusable` allows.
    TooManyUnusable,
    Done,
}

impl Status {
    /// Whether the same signature need not run again.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Done | Status::TooManyUnusable)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    pub name: String,
    /// BLAKE3 over every recording of the set that the experiment may use, with its labels and song.
    pub hash: String,
    pub clips: usize,
    pub unusable: usize,
    /// Recordings with several labels, which a single-label experiment leaves aside.
    pub set_aside: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    pub hits: usize,
    pub misses: usize,
}

/// The folder, locked by this process.
pub struct RunDir {
    path: PathBuf,
    _lock: File,
}

/// Somebody else holds the lock of the folder.
#[derive(Debug, thiserror::Error)]
#[error("another process is at work on {}: wait for it, or use another --runs folder", .0.display())]
pub struct Busy(pub PathBuf);

/// How the folder of a signature was found.
pub enum Opened {
    /// New, or half done before.
    ToDo(RunDir),
    /// The same signature has run to its end.
    Finished { path: PathBuf, record: Box<RunRecord> },
}

impl RunDir {
    /// The folder of this signature: the finished one, the half-done one, or a new one (always with `fresh`).
    pub fn open(runs: &Path, experiment: &str, signature: &str, fresh: bool) -> Result<Opened> {
        let home = runs.join(experiment);
        // Held while a folder is looked for or made, so that two processes agree on one.
        let _doorway = removal::doorway(&home)?;
        if !fresh {
            for path in lookup::folders_of(&home, signature).into_iter().rev() {
                match read_record(&path) {
                    Ok(record) if record.signature != signature => continue,
                    Ok(record) if record.status.is_final() => {
                        return Ok(Opened::Finished { path, record: Box::new(record) });
                    }
                    // No record: killed before its first write. The folder is as good as new.
                    _ => return Ok(Opened::ToDo(RunDir::lock(path)?)),
                }
            }
        }
        let stamp = chrono::Utc::now().format("%Y%m%dT%H%M%SZ");
        let name = |n: usize| if n == 0 { String::new() } else { format!(".{n}") };
        let path = (0..)
            .map(|n| home.join(format!("{stamp}{}-{}", name(n), &signature[..8])))
            .find(|p| !p.exists())
            .expect("some name is free");
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Opened::ToDo(RunDir::lock(path)?))
    }

    /// The folder at `path`, to work in it (again).
    pub fn lock(path: PathBuf) -> Result<RunDir> {
        let lock = File::create(path.join(LOCK)).with_context(|| format!("cannot write in {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) if same_file(&lock, &path.join(LOCK)) => {}
            Ok(()) => bail!("{} was removed by another process just now", path.display()),
            Err(TryLockError::WouldBlock) => {
                bail!(Busy(path))
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
        for folder in ["units", "models"] {
            fs::create_dir_all(path.join(folder))?;
            files::remove_temp_files(&path.join(folder));
        }
        files::remove_temp_files(&path);
        Ok(RunDir { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.toml` as written, `config.resolved.toml` as run: before any work.
    pub fn write_config(&self, written: &str, resolved: &str) -> Result<()> {
        write_bytes(&self.path.join("config.toml"), written.as_bytes())?;
        write_bytes(&self.path.join("config.resolved.toml"), resolved.as_bytes())
    }

    pub fn write_record(&self, record: &RunRecord) -> Result<()> {
        write_record(&self.path, record)
    }

    fn trial_path(&self, unit: &Trial) -> PathBuf {
        trial_path(&self.path, unit)
    }

    /// A unit that was finished before.
    pub fn read_trial(&self, unit: &Trial) -> Option<TrialRecord> {
        read_trial(&self.path, unit)
    }

    pub fn write_trial(&self, record: &TrialRecord) -> Result<()> {
        write_bytes(&self.trial_path(&record.trial), &serde_json::to_vec(record)?)
    }

    /// Lets a unit count as not done.
    pub fn forget_trial(&self, unit: &Trial) -> Result<()> {
        let path = self.trial_path(unit);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Where the checkpoints of a unit lie while it is fitted.
    pub fn checkpoints(&self, unit: &Trial) -> PathBuf {
        self.path.join("checkpoints").join(unit.to_string())
    }

    /// `networks/<unit>/`, made: what a network leaves beside the tables, where TensorBoard finds its learning curves.
    pub fn network_folder(&self, unit: &Trial) -> Result<PathBuf> {
        let folder = self.path.join("networks").join(unit.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Removes the checkpoints of a unit that is finished: its model is saved, and they are as large as several of it.
    pub fn remove_checkpoints(&self, unit: &Trial) {
        let _ = fs::remove_dir_all(self.checkpoints(unit));
        // Gone with the last unit.
        let _ = fs::remove_dir(self.path.join("checkpoints"));
    }

    /// A table of the run, written by `write`.
    pub fn write_table(&self, name: Table, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        files::write_atomically(&self.path.join(name.file()), write)
    }

    /// One line an unusable recording.
    pub fn write_unusable(&self, lines: &[Value]) -> Result<()> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        write_bytes(&self.path.join("unusable.jsonl"), text.as_bytes())
    }

    /// Appends an event to `log.jsonl`. A log that cannot be written stops nothing.
    pub fn log(&self, event: &str, details: Value) {
        let line = json!({ "time": now(), "event": event, "details": details });
        if let Ok(mut file) = File::options().create(true).append(true).open(log_file(&self.path)) {
            let _ = writeln!(file, "{line}");
        }
    }
}

fn trial_path(run: &Path, unit: &Trial) -> PathBuf {
    run.join("units").join(format!("{unit}.json"))
}

/// What a finished unit of a run has left, its windows with it.
pub fn read_trial(run: &Path, unit: &Trial) -> Option<TrialRecord> {
    windows::with_windows(run, serde_json::from_slice(&fs::read(trial_path(run, unit)).ok()?).ok()?)
}

/// Whether an open file still lies at its path.
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |meta: fs::Metadata| (meta.dev(), meta.ino());
    file.metadata().ok().map(place) == fs::metadata(path).ok().map(place)
}

/// When each unit was finished, in milliseconds since 1970, as the log tells; nothing of units that were taken over.
pub fn trial_times(run: &Path) -> HashMap<String, i64> {
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap_or_default();
    let time = |line: &str| {
        let event: Value = serde_json::from_str(line).ok().filter(|event: &Value| event["event"] == "unit")?;
        let time = chrono::DateTime::parse_from_rfc3339(event["time"].as_str()?).ok()?;
        Some((event["details"]["unit"].as_str()?.to_owned(), time.timestamp_millis()))
    };
    log.lines().filter_map(time).collect()
}

/// What happened in a run, an event a line.
pub fn log_file(run: &Path) -> PathBuf {
    run.join("log.jsonl")
}

/// How many units of a run are done.
pub fn trials_done(run: &Path) -> usize {
    let names = fs::read_dir(run.join("units")).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.ends_with(".json") && !name.starts_with('.'))).count()
}

/// Lets `latest` beside a run folder point to it.
pub fn make_latest(run: &Path) -> Result<()> {
    let home = run.parent().expect("a run lies in the folder of its experiment");
    let name = run.file_name().expect("a run has a name");
    // Two points of a grid can end at once in one process.
    let part = home.join(format!(".latest-{}-{}", std::process::id(), name.to_string_lossy()));
    let _ = fs::remove_file(&part);
    std::os::unix::fs::symlink(name, &part)?;
    fs::rename(&part, home.join("latest")).with_context(|| format!("cannot link {}/latest", home.display()))
}

/// `run.json`, replaced as a whole.
pub fn write_record(run: &Path, record: &RunRecord) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(record)?;
    json.push(b'\n');
    write_bytes(&run.join("run.json"), &json)
}

/// The tables of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    ResultsCsv,
    ResultsParquet,
    Grid,
    Predictions,
    /// Only where recordings were heard in windows.
    Windows,
    ByLabels,
    PerClass,
    Confusion,
    Hardest,
    Curves,
    Epochs,
    /// What the experiment may use: written before any work.
    Recordings,
    /// The numbers of `results.csv` once more, for DVC.
    Metrics,
}

impl Table {
    pub fn file(self) -> &'static str {
        match self {
            Table::ResultsCsv => "results.csv",
            Table::ResultsParquet => "results.parquet",
            Table::Grid => "grid.csv",
            Table::Predictions => "predictions.parquet",
            Table::Windows => "windows.parquet",
            Table::ByLabels => "by_labels.csv",
            Table::PerClass => "per_class.csv",
            Table::Confusion => "confusion.csv",
            Table::Hardest => "hardest.csv",
            Table::Curves => "curves.csv",
            Table::Epochs => "epochs.csv",
            Table::Recordings => "recordings.csv",
            Table::Metrics => "metrics.json",
        }
    }
}

/// What people look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFile {
    Html,
    Markdown,
}

impl ReportFile {
    pub fn name(self) -> &'static str {
        match self {
            ReportFile::Html => "report.html",
            ReportFile::Markdown => "report.md",
        }
    }
}

pub fn write_report(run: &Path, file: ReportFile, text: &str) -> Result<()> {
    write_bytes(&run.join(file.name()), text.as_bytes())
}

/// Whether a report of the run has been written.
pub fn has_report(run: &Path) -> bool {
    [ReportFile::Html, ReportFile::Markdown].iter().all(|file| run.join(file.name()).is_file())
}

/// Whether every table lies in the folder that every finished run has.
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
    always.iter().all(|table| run.join(table.file()).is_file())
}

/// Whether a run got as far as its first record.
pub fn has_record(run: &Path) -> bool {
    run.join("run.json").exists()
}

pub fn read_record(run: &Path) -> Result<RunRecord> {
    let path = run.join("run.json");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}: is it a run folder?", path.display()))?;
    understood(&path, &bytes)
}

/// The record of a run if that text stands in it. Of thousands of runs only these few are more than looked through.
pub fn read_record_with(run: &Path, text: &str) -> Option<RunRecord> {
    let path = run.join("run.json");
    let record = fs::read_to_string(&path).ok()?;
    record.contains(text).then(|| understood(&path, record.as_bytes()).ok()).flatten()
}

fn understood(path: &Path, bytes: &[u8]) -> Result<RunRecord> {
    let record: RunRecord = serde_json::from_slice(bytes)
        .with_context(|| format!("cannot understand {} (the same `timbre run` again repairs it)", path.display()))?;
    if record.schema != SCHEMA || record.signature.len() < 8 {
        bail!("{} has schema {}, this version reads schema {SCHEMA}", path.display(), record.schema);
    }
    Ok(record)
}

/// What `run.json` is known by as long as nobody writes it; nothing where there is none.
pub fn record_stamp(run: &Path) -> Option<FileStamp> {
    FileStamp::of(&run.join("run.json")).ok()
}

/// The current time as RFC 3339 in UTC.
pub fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
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
            taken_over: None,
            cache: CacheRecord::default(),
            seconds: IndexMap::new(),
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
    fn the_same_signature_finds_its_unfinished_folder_again() {
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
    fn two_processes_cannot_write_the_same_run() {
        let runs = tempfile::tempdir().unwrap();
        let first = to_do(RunDir::open(runs.path(), "x", SIGNATURE, false).unwrap());
        first.write_record(&record(Status::Running)).unwrap();
        let second = RunDir::open(runs.path(), "x", SIGNATURE, false);
        assert!(second.err().unwrap().to_string().contains("another process"));
    }
}
