//! The runs of a folder, a line each: what was run when, how it ended, and how well its best trial does.
//!
//! A folder may hold ten thousand runs, and reading each `run.json` takes seconds: what is shown of a run is kept in an index
//! (`index.rs`), which is only a memory. A run whose `run.json` was touched is read again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::run_dir::{self, RunRecord, Status, TrialMean};
use timbre_core::files::FileStamp;
use timbre_evaluation::metrics::is_loss;

mod filter;
mod index;
mod metric_name;
mod text;

pub use filter::{MetricBound, RunFilter, SortBy, TimeBound};
pub use text::text;

use index::Index;
use metric_name::MetricName;

/// What is shown of a run: a function of its `run.json` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub experiment: String,
    pub signature: String,
    status: Status,
    /// RFC 3339, in UTC.
    pub started: String,
    ended: Option<String>,
    /// Of its last start.
    seconds: Option<f64>,
    /// The headline metric.
    pub metric: String,
    data: String,
    clips: usize,
    unusable: usize,
    seeds: usize,
    /// Units that could not be fitted.
    failed: usize,
    /// Units with results, seeds apart, and which of them `best` speaks of.
    #[serde(rename = "units")]
    trials: usize,
    named: Vec<String>,
    /// The side of the split that the scores are of, and the one that chose the best trial.
    split: String,
    chosen_on: String,
    /// Of each metric the best trial, by its place in `named`, and its score.
    best: Vec<(MetricName, usize, f64)>,
    /// Of the headline metric of its best trial.
    interval: Option<(f64, f64)>,
}

/// The best trial of a run by some metric: the mean over its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Best<'a> {
    pub trial: &'a str,
    pub score: f64,
    pub interval: Option<(f64, f64)>,
}

impl Entry {
    fn new(record: &RunRecord) -> Entry {
        let means = run_dir::trial_means(&record.results);
        let split = run_dir::reported_split(means.iter().map(|mean| mean.split.as_str()));
        // The best on the test split has no honest test score any more: the validation split chooses where there is one.
        let has_validation = means.iter().any(|mean| mean.split == "validation");
        let chosen_on = if has_validation { "validation" } else { split };
        let of_split = |name: &str| means.iter().filter(|mean| mean.split == name).collect::<Vec<_>>();
        let (told, choosing) = (of_split(split), of_split(chosen_on));
        let (mut named, mut best, mut interval) = (Vec::new(), Vec::new(), None);
        for name in metrics_of(&told) {
            let metric = name.as_str();
            let Some(chosen) = best_of(&choosing, metric) else { continue };
            let Some(shown) = told.iter().find(|mean| mean.name() == chosen.name()) else { continue };
            let Some(&score) = shown.metrics.get(metric) else { continue };
            let trial = shown.name();
            let place = named.iter().position(|known| *known == trial).unwrap_or_else(|| {
                named.push(trial);
                named.len() - 1
            });
            best.push((name, place, score));
            if metric == record.metric {
                interval = shown.intervals.get(metric).copied();
            }
        }
        Entry {
            experiment: record.experiment.clone(),
            signature: record.signature.clone(),
            status: record.status,
            started: record.started.clone(),
            ended: record.ended.clone(),
            seconds: record.seconds.get("total").copied(),
            metric: record.metric.clone(),
            data: record.data.name.clone(),
            clips: record.data.clips,
            unusable: record.data.unusable,
            seeds: record.seeds.len(),
            failed: record.failures.len(),
            trials: told.len(),
            named,
            split: split.to_owned(),
            chosen_on: chosen_on.to_owned(),
            best,
            interval,
        }
    }

    /// The best trial by `metric`; none of a run without results.
    pub fn best(&self, metric: &str) -> Option<Best<'_>> {
        let &(_, place, score) = self.best.iter().find(|(name, ..)| name.as_str() == metric)?;
        let interval = self.interval.filter(|_| metric == self.metric);
        Some(Best { trial: self.named.get(place)?, score, interval })
    }

    /// Whether the best trial was chosen on the split that its score is of.
    pub fn is_self_chosen(&self) -> bool {
        self.split == self.chosen_on && self.trials > 1
    }
}

fn metrics_of(means: &[&TrialMean]) -> Vec<MetricName> {
    let mut names: Vec<MetricName> = Vec::new();
    for name in means.iter().flat_map(|mean| mean.metrics.keys()).filter_map(|name| MetricName::of(name)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The first of the best.
fn best_of<'a>(means: &[&'a TrialMean], metric: &str) -> Option<&'a TrialMean> {
    let mut best: Option<(&TrialMean, f64)> = None;
    for &mean in means {
        let Some(&score) = mean.metrics.get(metric) else { continue };
        let better = |most: f64| if is_loss(metric) { score < most } else { score > most };
        if best.is_none_or(|(_, most)| better(most)) {
            best = Some((mean, score));
        }
    }
    best.map(|(mean, _)| mean)
}

/// How a run stands: what `run.json` says, and whether anybody is at work on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RunState {
    Done,
    /// A process is at work on it.
    Running,
    /// On a signal: the same command goes on.
    Stopped,
    /// Killed: the same command goes on.
    CutOff,
    /// Ended with an error, or with trials that could not be fitted.
    Failed,
    /// Through, with more unusable recordings than allowed.
    TooManyUnusable,
}

impl RunState {
    pub fn word(self) -> &'static str {
        match self {
            RunState::Done => "done",
            RunState::Running => "running",
            RunState::Stopped => "stopped",
            RunState::CutOff => "cut-off",
            RunState::Failed => "failed",
            RunState::TooManyUnusable => "too-many-unusable",
        }
    }

    /// Whether the same command would go on where the run ended.
    pub fn is_resumable(self) -> bool {
        matches!(self, RunState::Stopped | RunState::CutOff)
    }
}

/// A run of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedRun {
    /// Its folder.
    pub run: PathBuf,
    pub state: RunState,
    pub entry: Arc<Entry>,
}

impl ListedRun {
    fn new(run: PathBuf, entry: Arc<Entry>) -> ListedRun {
        let state = match entry.status {
            Status::Done => RunState::Done,
            Status::Running if run_dir::is_in_progress(&run) => RunState::Running,
            Status::Running => RunState::CutOff,
            Status::Stopped => RunState::Stopped,
            Status::Failed => RunState::Failed,
            Status::TooManyUnusable => RunState::TooManyUnusable,
        };
        ListedRun { run, state, entry }
    }

    /// The name of its folder.
    pub fn name(&self) -> String {
        self.run.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn json(&self, metric: Option<&str>) -> Value {
        let entry = &self.entry;
        let best = entry.best(metric.unwrap_or(&entry.metric)).map(|best| {
            json!({ "unit": best.trial, "score": best.score, "low": best.interval.map(|i| i.0),
                    "high": best.interval.map(|i| i.1), "split": entry.split, "chosen_on": entry.chosen_on })
        });
        json!({
            "run": self.run, "experiment": entry.experiment, "signature": entry.signature,
            "status": self.state.word(), "started": entry.started, "ended": entry.ended, "seconds": entry.seconds,
            "metric": metric.unwrap_or(&entry.metric), "best": best, "units": entry.trials, "seeds": entry.seeds,
            "failed_units": entry.failed, "data": entry.data, "clips": entry.clips, "unusable": entry.unusable,
        })
    }
}

/// Every run of a folder by experiment and age, and those whose `run.json` cannot be read, each with the reason.
pub struct Listing {
    pub runs: Vec<ListedRun>,
    pub unreadable: Vec<String>,
}

/// Lists the runs below `runs`, from memory where nothing was touched.
pub fn list(runs: &Path) -> Listing {
    let mut unreadable = Vec::new();
    let of_homes = folders(runs, run_dir::read_run_folders(runs), &mut unreadable);
    let read: Vec<_> = of_homes.par_iter().map(|home| (home, run_dir::read_run_folders(home))).collect();
    let folders: Vec<PathBuf> =
        read.into_iter().flat_map(|(home, read)| folders(home, read, &mut unreadable)).collect();
    let index = Index::read(runs);
    // In parallel, and in the order of the folders nevertheless.
    let looked: Vec<_> = folders.into_par_iter().filter_map(|run| look(runs, run, &index)).collect();
    let mut listing = Listing { runs: Vec::new(), unreadable };
    let mut kept = Vec::new();
    for one in looked {
        match one {
            Ok((listed, memory)) => {
                kept.extend(memory.map(|(key, stamp)| (key, stamp, listed.entry.clone())));
                listing.runs.push(listed);
            }
            Err(error) => listing.unreadable.push(format!("{error:#}")),
        }
    }
    index.replace(kept);
    listing
}

/// The folders in one; of one that is there and cannot be read it is said why.
fn folders(of: &Path, read: io::Result<Vec<PathBuf>>, unreadable: &mut Vec<String>) -> Vec<PathBuf> {
    match read {
        Ok(folders) => return folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => unreadable.push(format!("cannot read the folder {}: {error}", of.display())),
    }
    Vec::new()
}

type Seen = (ListedRun, Option<(String, FileStamp)>);

/// A run as it is now, and what it is to be remembered by; nothing where the folder holds no run (yet, or any more).
fn look(runs: &Path, run: PathBuf, index: &Index) -> Option<Result<Seen>> {
    let stamp = run_dir::record_stamp(&run)?;
    let key = run.strip_prefix(runs).ok().and_then(Path::to_str).map(str::to_owned);
    if let Some(entry) = key.as_deref().and_then(|key| index.entry(key, stamp)) {
        return Some(Ok((ListedRun::new(run, entry.clone()), key.map(|key| (key, stamp)))));
    }
    let record = match run_dir::read_record(&run) {
        Ok(record) => record,
        // Removed in the meantime.
        Err(_) if run_dir::record_stamp(&run).is_none() => return None,
        Err(error) => return Some(Err(error)),
    };
    let unchanged = stamp.settled() && run_dir::record_stamp(&run) == Some(stamp);
    let memory = key.filter(|_| unchanged).map(|key| (key, stamp));
    Some(Ok((ListedRun::new(run, Arc::new(Entry::new(&record))), memory)))
}
