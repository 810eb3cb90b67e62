//! Lists the runs of a folder: time, status, and the score of the best model.
//!
//! A folder may contain ten thousand runs, and reading every `run.json` takes seconds. An index (`index.rs`) caches what the list
//! shows. A run whose `run.json` has changed is read again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::run_dir::{self, RunRecord, Status, TrialMean};
use timbre_core::files::FileStamp;
use timbre_evaluation::metrics::gain;

mod filter;
mod index;
mod metric_name;
mod text;

pub use filter::{MetricBound, RunFilter, SortBy, TimeBound};
pub use text::text;

use index::Index;
use metric_name::MetricName;

/// The listed values of a run: a function of its `run.json` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub experiment: String,
    pub signature: String,
    status: Status,
    /// RFC 3339, in UTC.
    pub started: String,
    ended: Option<String>,
    /// The duration of its last start.
    seconds: Option<f64>,
    /// The headline metric.
    pub metric: String,
    data: String,
    clips: usize,
    unusable: usize,
    /// Whether the split divided songs, so that the scores are too good.
    pub leaky: bool,
    seeds: usize,
    /// The number of failed trials.
    failed: usize,
    /// The number of (feature, model) pairs with results, and the names of those in `best`.
    #[serde(rename = "units")]
    models: usize,
    named: Vec<String>,
    /// The split of the scores, and the split on which the best model was selected.
    split: String,
    chosen_on: String,
    /// The best model by each metric (an index into `named`), and its score.
    best: Vec<(MetricName, usize, f64)>,
    /// The interval of the headline metric of the best model.
    interval: Option<(f64, f64)>,
}

/// The best model of a run by some metric: the mean over its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Best<'a> {
    pub model: &'a str,
    pub score: f64,
    pub interval: Option<(f64, f64)>,
}

impl Entry {
    fn new(record: &RunRecord) -> Entry {
        let means = run_dir::trial_means(&record.results);
        let split = run_dir::reported_split(means.iter().map(|mean| mean.split.as_str()));
        // A model that is selected on the test split has no unbiased test score: the validation split selects if there is one.
        let has_validation = means.iter().any(|mean| mean.split == "validation");
        let chosen_on = if has_validation { "validation" } else { split };
        let of_split = |name: &str| means.iter().filter(|mean| mean.split == name).collect::<Vec<_>>();
        let (reported, selecting) = (of_split(split), of_split(chosen_on));
        let (mut named, mut best, mut interval) = (Vec::new(), Vec::new(), None);
        for name in metrics_of(&reported) {
            let metric = name.as_str();
            let Some(chosen) = best_of(&selecting, metric) else { continue };
            let Some(shown) = reported.iter().find(|mean| mean.name() == chosen.name()) else { continue };
            let Some(&score) = shown.metrics.get(metric) else { continue };
            let model = shown.name();
            let place = named.iter().position(|known| *known == model).unwrap_or_else(|| {
                named.push(model);
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
            leaky: record.leaky_split().is_some(),
            seeds: record.seeds.len(),
            failed: record.failures.len(),
            models: reported.len(),
            named,
            split: split.to_owned(),
            chosen_on: chosen_on.to_owned(),
            best,
            interval,
        }
    }

    /// The best model by `metric`; None for a run without results.
    pub fn best(&self, metric: &str) -> Option<Best<'_>> {
        let &(_, place, score) = self.best.iter().find(|(name, ..)| name.as_str() == metric)?;
        let interval = self.interval.filter(|_| metric == self.metric);
        Some(Best { model: self.named.get(place)?, score, interval })
    }

    /// Whether the best model was selected on the split of its score.
    pub fn is_selected_on_reported_split(&self) -> bool {
        self.split == self.chosen_on && self.models > 1
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

/// The best mean; of equal ones the first.
fn best_of<'a>(means: &[&'a TrialMean], metric: &str) -> Option<&'a TrialMean> {
    let mut best: Option<(&TrialMean, f64)> = None;
    for &mean in means {
        let Some(&score) = mean.metrics.get(metric) else { continue };
        if best.is_none_or(|(_, most)| gain(metric, score) > gain(metric, most)) {
            best = Some((mean, score));
        }
    }
    best.map(|(mean, _)| mean)
}

/// The state of a run: its status in `run.json`, and whether a process works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RunState {
    Done,
    /// A process is working on it.
    Running,
    /// Stopped by a signal: the same command continues it.
    Stopped,
    /// Killed: the same command continues it.
    CutOff,
    /// Ended with an error, or with failed trials.
    Failed,
    /// Finished with more unusable recordings than allowed.
    TooManyUnusable,
}

impl RunState {
    pub fn name(self) -> &'static str {
        match self {
            RunState::Done => "done",
            RunState::Running => "running",
            RunState::Stopped => "stopped",
            RunState::CutOff => "cut-off",
            RunState::Failed => "failed",
            RunState::TooManyUnusable => "too-many-unusable",
        }
    }

    /// Whether the same command continues the run.
    pub fn is_resumable(self) -> bool {
        matches!(self, RunState::Stopped | RunState::CutOff)
    }
}

/// One run of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedRun {
    /// The run folder.
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

    /// The name of the run folder.
    pub fn name(&self) -> String {
        self.run.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn json(&self, metric: Option<&str>) -> Value {
        let entry = &self.entry;
        let best = entry.best(metric.unwrap_or(&entry.metric)).map(|best| {
            json!({ "unit": best.model, "score": best.score, "low": best.interval.map(|i| i.0),
                    "high": best.interval.map(|i| i.1), "split": entry.split, "chosen_on": entry.chosen_on })
        });
        json!({
            "run": self.run, "experiment": entry.experiment, "signature": entry.signature,
            "status": self.state.name(), "started": entry.started, "ended": entry.ended, "seconds": entry.seconds,
            "metric": metric.unwrap_or(&entry.metric), "best": best, "units": entry.models, "seeds": entry.seeds,
            "failed_units": entry.failed, "data": entry.data, "clips": entry.clips, "unusable": entry.unusable,
            "leaky": entry.leaky,
        })
    }
}

/// All runs of a folder by experiment and age, and a message for each `run.json` that cannot be read.
pub struct Listing {
    pub runs: Vec<ListedRun>,
    pub unreadable: Vec<String>,
}

/// Lists the runs in `runs`; unchanged runs come from the index.
pub fn list(runs: &Path) -> Listing {
    let mut unreadable = Vec::new();
    let experiments = folders(runs, run_dir::read_run_folders(runs), &mut unreadable);
    let read: Vec<_> = experiments.par_iter().map(|folder| (folder, run_dir::read_run_folders(folder))).collect();
    let folders: Vec<PathBuf> =
        read.into_iter().flat_map(|(folder, read)| folders(folder, read, &mut unreadable)).collect();
    let index = Index::read(runs);
    // In parallel; the results keep the order of the folders.
    let listed: Vec<_> = folders.into_par_iter().filter_map(|run| list_run(runs, run, &index)).collect();
    let mut listing = Listing { runs: Vec::new(), unreadable };
    let mut kept = Vec::new();
    for one in listed {
        match one {
            Ok((listed, cache_key)) => {
                kept.extend(cache_key.map(|(key, stamp)| (key, stamp, listed.entry.clone())));
                listing.runs.push(listed);
            }
            Err(error) => listing.unreadable.push(format!("{error:#}")),
        }
    }
    index.replace(kept);
    listing
}

/// The folders inside `of`. An existing folder that cannot be read is reported.
fn folders(of: &Path, read: io::Result<Vec<PathBuf>>, unreadable: &mut Vec<String>) -> Vec<PathBuf> {
    match read {
        Ok(folders) => return folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => unreadable.push(format!("cannot read the folder {}: {error}", of.display())),
    }
    Vec::new()
}

/// A run, and the key and stamp under which the index may keep it.
type Listed = (ListedRun, Option<(String, FileStamp)>);

/// Lists one run; None if the folder contains no run (yet, or any more).
fn list_run(runs: &Path, run: PathBuf, index: &Index) -> Option<Result<Listed>> {
    let stamp = run_dir::record_stamp(&run)?;
    let key = run.strip_prefix(runs).ok().and_then(Path::to_str).map(str::to_owned);
    if let Some(entry) = key.as_deref().and_then(|key| index.entry(key, stamp)) {
        return Some(Ok((ListedRun::new(run, entry.clone()), key.map(|key| (key, stamp)))));
    }
    let record = match run_dir::read_record(&run) {
        Ok(record) => record,
        // The run was removed in the meantime.
        Err(_) if run_dir::record_stamp(&run).is_none() => return None,
        Err(error) => return Some(Err(error)),
    };
    let unchanged = stamp.settled() && run_dir::record_stamp(&run) == Some(stamp);
    let cache_key = key.filter(|_| unchanged).map(|key| (key, stamp));
    Some(Ok((ListedRun::new(run, Arc::new(Entry::new(&record))), cache_key)))
}
