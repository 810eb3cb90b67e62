//! The record of a sweep (`grid.json`): its points and their progress, so that it resumes after a kill and can be watched.
//!
//! The runs themselves are the truth. This file lists the runs of the sweep, and each start makes it anew from them. Several
//! processes may work on one sweep: each change is read, made and written under a lock.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::run_dir::{self, ResultRow};
use timbre_core::{
    files,
    text::{shell_quoted, toml_key},
};
use timbre_evaluation::metrics::gain;
use timbre_experiment::{AxisValues, HalvingSpec, TpeSpec};

/// Raise it when the file changes its form.
pub const SCHEMA: u32 = 1;

/// `grid.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepRecord {
    pub schema: u32,
    pub experiment: String,
    pub description: String,
    pub status: SweepStatus,
    pub started: String,
    pub ended: Option<String>,
    pub axes: Vec<AxisValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halving: Option<HalvingSpec>,
    /// A search that chooses points by the scores of those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpe: Option<TpeSpec>,
    /// In the order of the grid. With successive halving round by round, each round as soon as its points are known.
    pub points: Vec<PointRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepStatus {
    /// Also after a kill: [`SweepDir::is_running`] tells them apart.
    Running,
    /// By a signal, by `--fail-fast`, or because `--only` left out points.
    Stopped,
    /// Every point was run, and some failed.
    Failed,
    Done,
}

/// One point of a sweep: one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointRecord {
    /// Its number in the grid, from 1.
    pub number: usize,
    /// The round of successive halving, from 1; 1 without it.
    pub round: usize,
    /// `models.knn.k=3 features.mel.db=true`
    pub name: String,
    pub values: IndexMap<String, Json>,
    /// The budget of this round of successive halving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// None if its recordings cannot be read.
    pub signature: Option<String>,
    pub status: PointStatus,
    pub run: Option<PathBuf>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The number of its trials.
    #[serde(rename = "units")]
    pub trials: usize,
    /// The duration of its run; None if the run existed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Its score, for `timbre watch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<PointScore>,
    /// Whether it has no run of its own: its results are decided from the predictions of `run`, which is that of another point.
    #[serde(rename = "judged", default, skip_serializing_if = "std::ops::Not::not")]
    pub rescored: bool,
    /// The results of a rescored point, which are in a file of their own ([`SweepDir::read_with_results`]).
    #[serde(skip)]
    pub results: Vec<ResultRow>,
}

/// The headline metric of the best model of a point on one split: the mean over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointScore {
    pub metric: String,
    pub split: String,
    pub value: f64,
    /// `<features>.<model>`; None in files of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl std::fmt::Display for PointScore {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let PointScore { metric, split, value, model } = self;
        let model = model.as_ref().map_or(String::new(), |model| format!("{model}, "));
        write!(f, "{metric} {value:.3} ({model}{split})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    Waiting,
    Running,
    Done,
    /// Finished, but more recordings were unusable than `max_unusable` allows.
    TooManyUnusable,
    Failed,
}

impl PointStatus {
    /// Whether the run of the point is finished.
    pub fn is_final(self) -> bool {
        matches!(self, PointStatus::Done | PointStatus::TooManyUnusable)
    }

    pub fn name(self) -> &'static str {
        match self {
            PointStatus::Waiting => "waiting",
            PointStatus::Running => "running",
            PointStatus::Done => "done",
            PointStatus::TooManyUnusable => "too_many_unusable",
            PointStatus::Failed => "failed",
        }
    }
}

impl PointRecord {
    /// The options that select the values of the point: `--set 'models.knn.k=3'`.
    pub fn set_options(&self) -> String {
        let option = |(key, value): (&String, &Json)| {
            format!("--set {}", shell_quoted(&format!("{key}={}", as_toml(value)), true))
        };
        self.values.iter().map(option).collect::<Vec<_>>().join(" ")
    }

    /// The score of a finished point.
    pub fn final_score(&self) -> Option<&PointScore> {
        self.score.as_ref().filter(|_| self.status.is_final())
    }
}

/// A value of an axis as TOML: JSON has the same numbers, texts and lists, and other tables.
fn as_toml(value: &Json) -> String {
    match value {
        Json::Object(table) => {
            let entries = table.iter().map(|(key, value)| format!("{} = {}", toml_key(key), as_toml(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(as_toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

impl SweepRecord {
    /// The points of the last round of successive halving, or all points.
    pub fn last_round(&self) -> impl Iterator<Item = &PointRecord> {
        let last = self.points.iter().map(|point| point.round).max();
        self.points.iter().filter(move |point| Some(point.round) == last)
    }

    /// The point with the best score on the validation split. None without a validation split (choosing on the test split would
    /// bias its score), as long as points are missing, and where the points have different metrics.
    pub fn best_on_validation(&self) -> Option<(&PointRecord, &PointScore)> {
        let scored = self.last_round().filter_map(|point| Some((point, point.final_score()?)));
        let scored: Vec<_> = scored.filter(|(_, score)| score.split == "validation").collect();
        let metric = &scored.first()?.1.metric;
        if scored.len() < 2 || self.waiting() > 0 || scored.iter().any(|(_, score)| score.metric != *metric) {
            return None;
        }
        let gain_of = |score: &PointScore| gain(metric, score.value);
        // The first of several.
        scored.iter().copied().reduce(|best, new| if gain_of(new.1) > gain_of(best.1) { new } else { best })
    }

    /// A sentence that names the points with the score of the best one; empty if it is alone.
    pub fn tie_for_best(&self) -> String {
        let Some((_, best)) = self.best_on_validation() else { return String::new() };
        let is_equal = |score: &PointScore| score.split == best.split && (score.value - best.value).abs() < 1e-9;
        let equal = self.last_round().filter(|point| point.final_score().is_some_and(is_equal));
        let numbers: Vec<String> = equal.map(|point| point.number.to_string()).collect();
        if numbers.len() < 2 {
            return String::new();
        }
        format!(" A tie: points {} have this score; the first was taken.", numbers.join(", "))
    }

    pub fn count(&self, status: PointStatus) -> usize {
        self.points.iter().filter(|point| point.status == status).count()
    }

    /// The number of finished points.
    pub fn finished(&self) -> usize {
        self.points.iter().filter(|point| point.status.is_final()).count()
    }

    /// The number of points that are neither finished nor failed, including those of later rounds.
    pub fn waiting(&self) -> usize {
        self.expected() - self.finished() - self.count(PointStatus::Failed)
    }

    /// The number of points of all rounds. The points of a later round of successive halving are counted before they are known.
    pub fn expected(&self) -> usize {
        let known = self.points.len() + self.later_rounds().iter().map(|(_, points)| points).sum::<usize>();
        known.max(self.tpe.as_ref().map_or(0, |tpe| tpe.sample))
    }

    /// The budgets of the later rounds, with their numbers of points.
    pub fn later_rounds(&self) -> Vec<(u64, usize)> {
        let Some(halving) = &self.halving else { return Vec::new() };
        let reached = self.points.iter().filter_map(|point| point.budget).max().unwrap_or(0);
        let last = || self.points.iter().filter(|point| point.budget == Some(reached));
        // A failed point does not reach the next round.
        let left = last().filter(|point| point.status != PointStatus::Failed).count();
        halving.later_rounds(reached, last().count(), left)
    }

    /// The status that follows from the points.
    pub fn final_status(&self) -> SweepStatus {
        let known = self.count(PointStatus::Waiting) + self.count(PointStatus::Running);
        let open = known + self.expected() - self.points.len();
        match (open, self.count(PointStatus::Failed)) {
            (0, 0) => SweepStatus::Done,
            (0, _) => SweepStatus::Failed,
            _ => SweepStatus::Stopped,
        }
    }
}

/// The folder of a sweep: that of its experiment.
#[derive(Clone, Debug)]
pub struct SweepDir(PathBuf);

/// Held by every process that works on a sweep.
pub struct SweepLock(#[allow(dead_code)] File);

impl SweepDir {
    pub fn new(runs: &Path, experiment: &str) -> SweepDir {
        SweepDir(runs.join(experiment))
    }

    /// The sweep of an experiment, by the name of the experiment or by its folder; None if there is no sweep.
    pub fn find(runs: &Path, name: &str) -> Option<SweepDir> {
        [runs.join(name), PathBuf::from(name)].into_iter().map(SweepDir).find(SweepDir::exists)
    }

    /// `grid.json`.
    pub fn file(&self) -> PathBuf {
        self.0.join("grid.json")
    }

    /// The runs of its experiment that have a record, oldest first.
    pub fn runs_here(&self) -> Vec<PathBuf> {
        run_dir::run_folders(&self.0).into_iter().filter(|run| run_dir::has_record(run)).collect()
    }

    /// `grid_results.csv`: the comparison table of the points.
    pub fn table(&self) -> PathBuf {
        self.0.join("grid_results.csv")
    }

    /// `grid.html`: the report of the sweep.
    pub fn report(&self) -> PathBuf {
        self.0.join("grid.html")
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn exists(&self) -> bool {
        self.file().is_file()
    }

    pub fn read(&self) -> Result<SweepRecord> {
        let path = self.file();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut record: SweepRecord =
            serde_json::from_slice(&bytes).with_context(|| format!("cannot parse {}", path.display()))?;
        if record.schema != SCHEMA {
            bail!("{} has schema {}, this version reads schema {SCHEMA}", path.display(), record.schema);
        }
        let runs = self.runs();
        record.points.iter_mut().filter_map(|point| point.run.as_mut()).for_each(|run| *run = runs.join(&*run));
        Ok(record)
    }

    /// [`read`](Self::read), with the results of rescored points.
    pub fn read_with_results(&self) -> Result<SweepRecord> {
        let mut record = self.read()?;
        if record.points.iter().any(|point| point.rescored) {
            let mut results = self.rescored_results();
            for point in record.points.iter_mut().filter(|point| point.rescored) {
                point.results = point.signature.as_ref().and_then(|own| results.remove(own)).unwrap_or_default();
            }
        }
        Ok(record)
    }

    /// The results of rescored points, by signature.
    fn rescored_results(&self) -> HashMap<String, Vec<ResultRow>> {
        let text = fs::read_to_string(self.rescored_file()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn rescored_file(&self) -> PathBuf {
        self.0.join("grid_judged.jsonl")
    }

    /// Adds the results of rescored points, by signature, to those that are there.
    pub fn add_results(&self, new: Vec<(String, Vec<ResultRow>)>) -> Result<()> {
        let lock = self.lock_file(".grid.lock")?;
        lock.lock()?;
        let mut all = self.rescored_results();
        all.extend(new);
        let record = self.read()?;
        let current: HashSet<&String> = record.points.iter().filter_map(|point| point.signature.as_ref()).collect();
        all.retain(|signature, _| current.contains(signature));
        let mut lines: Vec<String> = all.iter().map(|line| serde_json::to_string(&line)).collect::<Result<_, _>>()?;
        lines.sort_unstable();
        files::write_bytes(&self.rescored_file(), (lines.join("\n") + "\n").as_bytes())
    }

    /// The folder of all runs. The paths in the record are relative to it, so it may be moved.
    pub fn runs(&self) -> &Path {
        self.0.parent().expect("the folder of an experiment is in the folder of runs")
    }

    fn write(&self, record: &SweepRecord) -> Result<()> {
        let mut record = record.clone();
        for run in record.points.iter_mut().filter_map(|point| point.run.as_mut()) {
            if let Ok(below) = run.strip_prefix(self.runs()) {
                *run = below.to_owned();
            }
        }
        let mut json = serde_json::to_vec_pretty(&record)?;
        json.push(b'\n');
        files::write_bytes(&self.file(), &json)
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot create {}: choose another folder with --runs", self.0.display()))?;
        let path = self.0.join(name);
        // Neither truncated nor removed: another process may hold the lock of this file.
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        open.with_context(|| format!("cannot write in {}", self.0.display()))
    }

    /// Registers this process as working on the sweep.
    pub fn enter(&self) -> Result<SweepLock> {
        let file = self.lock_file(".grid.running")?;
        file.lock_shared().with_context(|| format!("cannot lock {}", self.0.display()))?;
        Ok(SweepLock(file))
    }

    /// Whether any process works on the sweep.
    pub fn is_running(&self) -> bool {
        let Ok(file) = File::open(self.0.join(".grid.running")) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Writes the record of this start. With `alone` false, the progress that other processes have written for the same points is kept.
    pub fn declare(&self, mut record: SweepRecord, alone: bool) -> Result<()> {
        let lock = self.lock_file(".grid.lock")?;
        lock.lock()?;
        files::remove_temp_files(&self.0);
        if let (false, Ok(on_disk)) = (alone, self.read()) {
            for point in record.points.iter_mut().filter(|point| !point.status.is_final()) {
                let same = |other: &&PointRecord| other.signature == point.signature && other.round == point.round;
                if let Some(other) = on_disk.points.iter().find(same).filter(|_| point.signature.is_some()) {
                    *point = PointRecord { number: point.number, ..other.clone() };
                }
            }
            // Another process may be a round ahead.
            let last = record.points.iter().map(|point| point.round).max();
            let is_ahead = |point: &PointRecord| {
                let known = || record.points.iter().any(|own| own.name == point.name && own.round == point.round);
                Some(point.round) > last || (record.tpe.is_some() && record.tpe == on_disk.tpe && !known())
            };
            let ahead: Vec<PointRecord> = on_disk.points.iter().filter(|point| is_ahead(point)).cloned().collect();
            record.points.extend(ahead);
            record.started = on_disk.started;
        }
        self.write(&record)
    }

    /// Changes the record on disk.
    pub fn change(&self, change: impl FnOnce(&mut SweepRecord)) -> Result<()> {
        let lock = self.lock_file(".grid.lock")?;
        lock.lock()?;
        let mut record = self.read()?;
        change(&mut record);
        self.write(&record)
    }

    /// Changes one point, unless a later start has declared the sweep without it.
    pub fn change_point(&self, round: usize, name: &str, change: impl FnOnce(&mut PointRecord)) -> Result<()> {
        self.change(|record| {
            if let Some(point) = record.points.iter_mut().find(|point| point.round == round && point.name == name) {
                change(point);
            }
        })
    }

    /// Unregisters this process. The last one writes the final status.
    pub fn leave(&self, presence: SweepLock) -> Result<()> {
        drop(presence);
        // A process that makes the same check at this moment looks like one at work, so the check is repeated.
        let is_running = |_| {
            std::thread::sleep(Duration::from_millis(10));
            self.is_running()
        };
        if (0..3).all(is_running) {
            return Ok(());
        }
        self.change(|record| {
            for point in record.points.iter_mut().filter(|point| point.status == PointStatus::Running) {
                point.status = PointStatus::Waiting;
            }
            // The run may have been removed in the meantime.
            let is_gone = |run: &PathBuf| !run_dir::has_record(run);
            for point in record.points.iter_mut().filter(|point| point.status.is_final()) {
                if point.run.as_ref().is_none_or(is_gone) {
                    (point.status, point.run, point.score) = (PointStatus::Waiting, None, None);
                    point.rescored = false;
                }
            }
            record.ended = Some(run_dir::now());
            record.status = record.final_status();
        })
    }
}

/// The sweeps in a folder of runs, the last changed one last.
pub fn all(runs: &Path) -> Vec<(String, SweepDir)> {
    let named = |folder: PathBuf| Some((folder.file_name()?.to_str()?.to_owned(), SweepDir(folder)));
    let mut grids: Vec<(String, SweepDir)> =
        run_dir::run_folders(runs).into_iter().filter_map(named).filter(|(_, folder)| folder.exists()).collect();
    grids.sort_by_key(|(_, folder)| fs::metadata(folder.file()).and_then(|file| file.modified()).ok());
    grids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: usize) -> PointRecord {
        PointRecord {
            number,
            round: 1,
            name: format!("models.knn.k={number}"),
            values: IndexMap::new(),
            budget: None,
            signature: None,
            status: PointStatus::Done,
            run: None,
            why: None,
            trials: 1,
            seconds: None,
            score: None,
            rescored: false,
            results: Vec::new(),
        }
    }

    fn record(points: Vec<PointRecord>) -> SweepRecord {
        SweepRecord {
            schema: SCHEMA,
            experiment: "x".into(),
            description: String::new(),
            status: SweepStatus::Running,
            started: String::new(),
            ended: None,
            axes: Vec::new(),
            halving: None,
            tpe: None,
            points,
        }
    }

    #[test]
    fn the_best_point_has_the_best_score_of_one_metric() {
        let scored = |metric: &str, values: [f64; 3]| {
            let score = |value| PointScore { metric: metric.into(), split: "validation".into(), value, model: None };
            record(
                (1..=3).zip(values).map(|(n, value)| PointRecord { score: Some(score(value)), ..point(n) }).collect(),
            )
        };
        let best = |record: &SweepRecord| record.best_on_validation().map(|(point, _)| point.number);
        assert_eq!(best(&scored("accuracy", [0.5, 0.7, 0.7])), Some(2));
        let tie = scored("accuracy", [0.5, 0.7, 0.7]).tie_for_best();
        assert_eq!(tie, " A tie: points 2, 3 have this score; the first was taken.");
        assert_eq!(scored("accuracy", [0.5, 0.7, 0.6]).tie_for_best(), "");
        assert_eq!(best(&scored("log_loss", [0.5, 0.4, 0.7])), Some(2), "smaller is better");
        let mut mixed = scored("accuracy", [0.5, 0.7, 0.6]);
        mixed.points[2].score.as_mut().unwrap().metric = "f1_macro".into();
        assert_eq!(best(&mixed), None);
    }

    #[test]
    fn a_point_whose_run_was_removed_is_waiting() {
        let runs = tempfile::tempdir().unwrap();
        let sweep = SweepDir::new(runs.path(), "x");
        let presence = sweep.enter().unwrap();
        let at = |number: usize| PointRecord { run: Some(runs.path().join(format!("x/{number}"))), ..point(number) };
        let record = record(vec![at(1), at(2)]);
        fs::create_dir_all(runs.path().join("x/1")).unwrap();
        fs::write(runs.path().join("x/1/run.json"), "{}").unwrap();
        sweep.declare(record, true).unwrap();
        sweep.leave(presence).unwrap();
        let left = sweep.read().unwrap();
        assert_eq!(left.points.iter().map(|p| p.status).collect::<Vec<_>>(), [PointStatus::Done, PointStatus::Waiting]);
        assert_eq!((left.status, &left.points[1].run), (SweepStatus::Stopped, &None));
    }
}
