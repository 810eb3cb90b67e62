//! `grid.json`: what a grid is and how far it has got, on disk, so that it goes on after a kill and others can look on.
//!
//! The runs themselves are the truth: this file says which of them belong to the grid, and is made anew from them by each
//! start. Several processes may work on one grid; each change is read, made and written under a lock.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use timbre_core::files;
use timbre_experiment::{AxisValues, HalvingSpec};
use timbre_runs::run_dir;

/// Raised when the file changes its form.
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
    /// In the order of the grid; of a halving round by round, each round as soon as its points are known.
    pub points: Vec<PointRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepStatus {
    /// Also that of a grid whose process was killed: [`SweepDir::is_alive`] tells them apart.
    Running,
    /// By a signal, by `--fail-fast`, or with points left out by `--only`.
    Stopped,
    /// Every point has been run, and some failed.
    Failed,
    Done,
}

/// One point: one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointRecord {
    /// Its place in the grid, from 1.
    pub number: usize,
    /// The round of a halving, from 1; 1 without a halving.
    pub round: usize,
    /// `models.knn.k=3 features.mel.db=true`
    pub name: String,
    pub values: IndexMap<String, Json>,
    /// What the halving gives it in this round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Nothing where its recordings could not be read.
    pub signature: Option<String>,
    pub status: PointStatus,
    pub run: Option<PathBuf>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many models on features it fits.
    pub units: usize,
    /// How long its run took; nothing where it had been run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What it came to, for who looks on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
}

/// The headline metric of the best of its models on one side of the split, the mean over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub metric: String,
    pub split: String,
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointStatus {
    Waiting,
    Running,
    Done,
    /// Everything was written, but more recordings were unusable than `max_unusable` allows.
    TooManyUnusable,
    Failed,
}

impl PointStatus {
    /// Whether a start of the grid has nothing to do here.
    pub fn is_final(self) -> bool {
        matches!(self, PointStatus::Done | PointStatus::TooManyUnusable)
    }

    pub fn word(self) -> &'static str {
        match self {
            PointStatus::Waiting => "waiting",
            PointStatus::Running => "running",
            PointStatus::Done => "done",
            PointStatus::TooManyUnusable => "too_many_unusable",
            PointStatus::Failed => "failed",
        }
    }
}

impl SweepRecord {
    pub fn count(&self, status: PointStatus) -> usize {
        self.points.iter().filter(|point| point.status == status).count()
    }

    /// How many points are through.
    pub fn finished(&self) -> usize {
        self.points.iter().filter(|point| point.status.is_final()).count()
    }

    /// How many are neither through nor failed, those of rounds to come among them.
    pub fn waiting(&self) -> usize {
        self.expected() - self.finished() - self.count(PointStatus::Failed)
    }

    /// How many points it has until its end: of a halving also those of rounds of which is not known yet who is in them.
    pub fn expected(&self) -> usize {
        self.points.len() + self.later().iter().map(|(_, points)| points).sum::<usize>()
    }

    /// The budgets of the rounds to come, with how many points will get them.
    pub fn later(&self) -> Vec<(u64, usize)> {
        let Some(halving) = &self.halving else { return Vec::new() };
        let reached = self.points.iter().filter_map(|point| point.budget).max().unwrap_or(0);
        let last = || self.points.iter().filter(|point| point.budget == Some(reached));
        // A failed point does not go on.
        let left = last().filter(|point| point.status != PointStatus::Failed).count();
        halving.later_rounds(reached, last().count(), left)
    }

    /// How it has ended, going by its points.
    pub fn standing(&self) -> SweepStatus {
        let known = self.count(PointStatus::Waiting) + self.count(PointStatus::Running);
        let open = known + self.expected() - self.points.len();
        match (open, self.count(PointStatus::Failed)) {
            (0, 0) => SweepStatus::Done,
            (0, _) => SweepStatus::Failed,
            _ => SweepStatus::Stopped,
        }
    }
}

/// Where the grid of an experiment is kept: beside its runs.
#[derive(Clone, Debug)]
pub struct SweepDir(PathBuf);

/// Held by every process that works on a grid, as long as it does.
pub struct SweepLock(#[allow(dead_code)] File);

impl SweepDir {
    pub fn new(runs: &Path, experiment: &str) -> SweepDir {
        SweepDir(runs.join(experiment))
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("grid.json")
    }

    /// A row a point: the comparison table of the grid.
    pub fn table(&self) -> PathBuf {
        self.0.join("grid_results.csv")
    }

    pub fn exists(&self) -> bool {
        self.file().is_file()
    }

    pub fn read(&self) -> Result<SweepRecord> {
        let path = self.file();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut record: SweepRecord =
            serde_json::from_slice(&bytes).with_context(|| format!("cannot understand {}", path.display()))?;
        if record.schema != SCHEMA {
            bail!("{} has schema {}, this version reads schema {SCHEMA}", path.display(), record.schema);
        }
        let runs = self.runs();
        record.points.iter_mut().filter_map(|point| point.run.as_mut()).for_each(|run| *run = runs.join(&*run));
        Ok(record)
    }

    /// The folder of all runs. Runs are written down from there: it may be moved.
    pub fn runs(&self) -> &Path {
        self.0.parent().expect("an experiment lies in the folder of the runs")
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

    fn lock(&self, name: &str) -> Result<File> {
        fs::create_dir_all(&self.0)
            .with_context(|| format!("cannot create {}: choose another folder with --runs", self.0.display()))?;
        let path = self.0.join(name);
        // Not truncated nor removed: the lock is on the file, and another process may hold it.
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        open.with_context(|| format!("cannot write in {}", self.0.display()))
    }

    /// Says that this process works on the grid.
    pub fn enter(&self) -> Result<SweepLock> {
        let file = self.lock(".grid.running")?;
        file.lock_shared().with_context(|| format!("cannot lock {}", self.0.display()))?;
        Ok(SweepLock(file))
    }

    /// Whether any process works on the grid.
    pub fn is_alive(&self) -> bool {
        let Ok(file) = File::open(self.0.join(".grid.running")) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// The grid as this start sees it. What another process at work has written of the same points stays.
    pub fn declare(&self, mut record: SweepRecord, alone: bool) -> Result<()> {
        let door = self.lock(".grid.lock")?;
        door.lock()?;
        files::remove_temp_files(&self.0);
        if let (false, Ok(there)) = (alone, self.read()) {
            for point in record.points.iter_mut().filter(|point| !point.status.is_final()) {
                let same = |other: &&PointRecord| other.signature == point.signature && other.round == point.round;
                if let Some(other) = there.points.iter().find(same).filter(|_| point.signature.is_some()) {
                    *point = PointRecord { number: point.number, ..other.clone() };
                }
            }
            // Another process is a round ahead.
            let last = record.points.iter().map(|point| point.round).max();
            record.points.extend(there.points.into_iter().filter(|point| Some(point.round) > last));
            record.started = there.started;
        }
        self.write(&record)
    }

    /// Changes the grid on disk.
    pub fn change(&self, change: impl FnOnce(&mut SweepRecord)) -> Result<()> {
        let door = self.lock(".grid.lock")?;
        door.lock()?;
        let mut record = self.read()?;
        change(&mut record);
        self.write(&record)
    }

    /// Changes one point, unless the grid has been declared anew without it.
    pub fn change_point(&self, round: usize, name: &str, change: impl FnOnce(&mut PointRecord)) -> Result<()> {
        self.change(|record| {
            if let Some(point) = record.points.iter_mut().find(|point| point.round == round && point.name == name) {
                change(point);
            }
        })
    }

    /// The last process that leaves writes how the grid ended.
    pub fn leave(&self, presence: SweepLock) -> Result<()> {
        drop(presence);
        // An onlooker who asks the same at this very moment looks like a process at work: so it is asked again.
        let is_alive = |_| {
            std::thread::sleep(Duration::from_millis(10));
            self.is_alive()
        };
        if (0..3).all(is_alive) {
            return Ok(());
        }
        self.change(|record| {
            for point in record.points.iter_mut().filter(|point| point.status == PointStatus::Running) {
                point.status = PointStatus::Waiting;
            }
            // Somebody has removed its run in the meantime.
            let is_gone = |run: &PathBuf| !run_dir::has_record(run);
            for point in record.points.iter_mut().filter(|point| point.status.is_final()) {
                if point.run.as_ref().is_none_or(is_gone) {
                    (point.status, point.run, point.score) = (PointStatus::Waiting, None, None);
                }
            }
            record.ended = Some(run_dir::now());
            record.status = record.standing();
        })
    }
}

/// The grids below a folder of runs, the last changed last.
pub fn all(runs: &Path) -> Vec<(String, SweepDir)> {
    let named = |home: PathBuf| Some((home.file_name()?.to_str()?.to_owned(), SweepDir(home)));
    let mut grids: Vec<(String, SweepDir)> =
        run_dir::run_folders(runs).into_iter().filter_map(named).filter(|(_, home)| home.exists()).collect();
    grids.sort_by_key(|(_, home)| fs::metadata(home.file()).and_then(|file| file.modified()).ok());
    grids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_whose_run_was_removed_in_the_meantime_is_not_done() {
        let runs = tempfile::tempdir().unwrap();
        let home = SweepDir::new(runs.path(), "x");
        let presence = home.enter().unwrap();
        let point = |number: usize| PointRecord {
            number,
            round: 1,
            name: format!("models.knn.k={number}"),
            values: IndexMap::new(),
            budget: None,
            signature: None,
            status: PointStatus::Done,
            run: Some(runs.path().join(format!("x/{number}"))),
            why: None,
            units: 1,
            seconds: None,
            score: None,
        };
        let record = SweepRecord {
            schema: SCHEMA,
            experiment: "x".into(),
            description: String::new(),
            status: SweepStatus::Running,
            started: String::new(),
            ended: None,
            axes: Vec::new(),
            halving: None,
            points: vec![point(1), point(2)],
        };
        fs::create_dir_all(runs.path().join("x/1")).unwrap();
        fs::write(runs.path().join("x/1/run.json"), "{}").unwrap();
        home.declare(record, true).unwrap();
        home.leave(presence).unwrap();
        let left = home.read().unwrap();
        assert_eq!(left.points.iter().map(|p| p.status).collect::<Vec<_>>(), [PointStatus::Done, PointStatus::Waiting]);
        assert_eq!((left.status, &left.points[1].run), (SweepStatus::Stopped, &None));
    }
}
