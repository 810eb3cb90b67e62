//! Finds and removes stale runs and leftovers (`timbre gc`): a list first, then each item.
//!
//! * Unfinished and failed runs without a write for some days.
//! * Runs superseded by a newer finished run of the same signature that has all their models: the results are equal.
//! * Checkpoints that no training will resume, of any age.
//! * Temporary files, half-removed runs and half-made links of killed processes, an hour after the last write.
//!
//! Never what a process holds, never a folder without the name of a run, never the only finished run of its signature. A run may be
//! removed even if it is a baseline or if another run reused its trials: those are copies.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::run_dir::{self, Removed, RunRecord, Status};

/// Temporary files of a running process are younger, except very large ones: then the process holds the run.
const SETTLED: Duration = Duration::from_secs(3600);

const DAY: u64 = 86_400;

/// The age from which something is stale.
#[derive(Clone, Copy, Debug)]
pub struct AgeRules {
    pub now: SystemTime,
    /// Days without a write to a run.
    pub days: u64,
}

impl AgeRules {
    /// Zero for a time in the future.
    fn age(&self, of: SystemTime) -> Duration {
        self.now.duration_since(of).unwrap_or_default()
    }

    fn is_old(&self, of: SystemTime) -> bool {
        self.age(of).as_secs() >= self.days.saturating_mul(DAY)
    }
}

/// Something that can be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub path: PathBuf,
    pub what: What,
    /// The reason, such as `stopped, unchanged for 40 days`.
    pub why: String,
    pub bytes: u64,
    newest: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Run,
    /// Something inside this run.
    Inside(PathBuf),
    /// Something beside the runs of an experiment.
    Beside,
    /// A broken link.
    Latest,
}

/// What can be removed, and which runs are skipped because their record cannot be read.
#[derive(Clone, Debug, Default)]
pub struct CleanupPlan {
    pub items: Vec<Item>,
    pub left_alone: Vec<(PathBuf, String)>,
}

impl CleanupPlan {
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// Lists what can be removed from a folder of runs. Writes nothing.
    pub fn new(runs: &Path, rules: AgeRules) -> Result<CleanupPlan> {
        let mut plan = CleanupPlan::default();
        for experiment in run_dir::run_folders(runs) {
            plan.add_beside(&experiment, rules);
            let mut seen: Vec<(PathBuf, Option<RunRecord>)> = Vec::new();
            for run in run_dir::run_folders(&experiment).into_iter().filter(|run| run_dir::has_run_name(run)) {
                if run_dir::is_in_progress(&run) {
                    continue;
                }
                match run_dir::has_record(&run).then(|| run_dir::read_record(&run)).transpose() {
                    Ok(record) => seen.push((run, record)),
                    Err(error) => plan.left_alone.push((run, format!("{error:#}"))),
                }
            }
            let newest_finished = newest_finished(&seen);
            for (run, record) in &seen {
                let usage = run_dir::usage(run);
                let instead = record.as_ref().and_then(|record| newest_finished.get(record.signature.as_str()));
                match reason(run, record.as_ref(), instead, rules, usage.newest) {
                    Some(why) => plan.items.push(Item {
                        path: run.clone(),
                        what: What::Run,
                        why,
                        bytes: usage.bytes,
                        newest: usage.newest,
                    }),
                    None => plan.add_inside(run, record.as_ref().map(|record| record.status), rules),
                }
            }
        }
        Ok(plan)
    }

    fn add_beside(&mut self, experiment: &Path, rules: AgeRules) {
        for path in run_dir::leftovers_beside_runs(experiment) {
            self.add_if_settled(path, What::Beside, "left by a killed process", rules);
        }
        if run_dir::has_broken_latest(experiment) {
            self.add(run_dir::latest(experiment), What::Latest, "broken link: will point to the newest remaining run");
        }
    }

    fn add_inside(&mut self, run: &Path, status: Option<Status>, rules: AgeRules) {
        for path in run_dir::temporary_files(run) {
            self.add_if_settled(path, What::Inside(run.to_owned()), "left by a killed process", rules);
        }
        for path in status.map_or(Vec::new(), |status| run_dir::idle_checkpoints(run, status)) {
            self.add(path, What::Inside(run.to_owned()), "checkpoints of finished trials");
        }
    }

    fn add_if_settled(&mut self, path: PathBuf, what: What, why: &str, rules: AgeRules) {
        if rules.age(run_dir::usage(&path).newest) >= SETTLED {
            self.add(path, what, why);
        }
    }

    fn add(&mut self, path: PathBuf, what: What, why: &str) {
        let usage = run_dir::usage(&path);
        self.items.push(Item { path, what, why: why.to_owned(), bytes: usage.bytes, newest: usage.newest });
    }
}

/// The newest finished run of each signature.
fn newest_finished(runs: &[(PathBuf, Option<RunRecord>)]) -> HashMap<String, PathBuf> {
    let finished = runs.iter().filter_map(|(run, record)| Some((run, record.as_ref()?)));
    let finished = finished.filter(|(_, record)| record.status.is_final());
    finished.map(|(run, record)| (record.signature.clone(), run.clone())).collect()
}

/// Why a run can be removed; None if it stays.
fn reason(
    run: &Path,
    record: Option<&RunRecord>,
    instead: Option<&PathBuf>,
    rules: AgeRules,
    newest: SystemTime,
) -> Option<String> {
    if !rules.is_old(newest) {
        return None;
    }
    let days = rules.age(newest).as_secs() / DAY;
    let unchanged = if days == 1 { "unchanged for a day".to_owned() } else { format!("unchanged for {days} days") };
    if let Some(other) = instead.filter(|other| other.file_name() > run.file_name() && has_models_of(other, run)) {
        let name = other.file_name().unwrap_or_default().to_string_lossy();
        return Some(format!("superseded by {name} of the same signature, {unchanged}"));
    }
    let state = match record.map(|record| record.status) {
        None => "killed before it started",
        Some(Status::Running) => "killed",
        Some(Status::Stopped) => "stopped",
        Some(Status::Failed) => "failed",
        Some(Status::Done | Status::TooManyUnusable) => return None,
    };
    Some(format!("{state}, {unchanged}"))
}

/// The signature does not contain `save_models`.
fn has_models_of(other: &Path, run: &Path) -> bool {
    let models = run_dir::models(other);
    run_dir::models(run).iter().all(|model| models.contains(model))
}

/// Removes an item, unless a process holds it or it has changed since the plan was made.
pub fn remove(item: &Item) -> Result<Removed> {
    let is_unchanged = || run_dir::usage(&item.path).newest == item.newest;
    match &item.what {
        What::Run => run_dir::remove(&item.path, is_unchanged),
        What::Latest => run_dir::repair_latest(item.path.parent().expect("it is in the folder of an experiment"))
            .map(|_| Removed::Gone),
        _ if !is_unchanged() => Ok(Removed::Changed),
        What::Beside => run_dir::discard(&item.path).map(|()| Removed::Gone),
        What::Inside(run) => {
            let held = run_dir::discard_inside(run, &item.path)?;
            Ok(if held { Removed::Held } else { Removed::Gone })
        }
    }
}
