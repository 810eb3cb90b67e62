//! What can go from the folder of runs without a loss that anybody minds: a list first, then, item by item, its removal.
//!
//! * A run that did not come to its end, or failed, and that nothing was written to for some days.
//! * A run that another of the same signature stands for: a younger one that is finished and has its models. They say the same.
//! * Checkpoints that no training goes on from, whatever their age.
//! * Temporary files, half-removed runs and half-made links of processes that were killed, an hour after the last write.
//!
//! Never what a process holds, never a folder that does not look like a run, never a finished run that is the only one of its
//! signature. Whether a run is a baseline or gave trials to another is of no account: what others need of it they have copied.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::run_dir::{self, Removed, RunRecord, Status};

/// Temporary files of a process that is at work are younger, unless it is writing a very large one: then it holds the run.
const SETTLED: Duration = Duration::from_secs(3600);

const DAY: u64 = 86_400;

/// What is old enough to go.
#[derive(Clone, Copy, Debug)]
pub struct AgeRules {
    pub now: SystemTime,
    /// Nothing was written to a run for so many days.
    pub days: u64,
}

impl AgeRules {
    /// A time that lies ahead is no age.
    fn age(&self, of: SystemTime) -> Duration {
        self.now.duration_since(of).unwrap_or_default()
    }

    fn is_old(&self, of: SystemTime) -> bool {
        self.age(of).as_secs() >= self.days.saturating_mul(DAY)
    }
}

/// Something that can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub path: PathBuf,
    pub what: What,
    /// As a person reads it: `stopped, not touched for 40 days`.
    pub why: String,
    pub bytes: u64,
    newest: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Run,
    /// Of the run in which it lies.
    Inside(PathBuf),
    /// What lies beside the runs of an experiment.
    Beside,
    /// A link whose run is gone.
    Latest,
}

/// What can go, and what was looked at and stays though it is nothing this program knows.
#[derive(Clone, Debug, Default)]
pub struct CleanupPlan {
    pub items: Vec<Item>,
    pub left_alone: Vec<(PathBuf, String)>,
}

impl CleanupPlan {
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// What can go from the folder of runs. Nothing is written for it.
    pub fn new(runs: &Path, rules: AgeRules) -> Result<CleanupPlan> {
        let mut plan = CleanupPlan::default();
        for home in run_dir::run_folders(runs) {
            plan.look_beside(&home, rules);
            let mut seen: Vec<(PathBuf, Option<RunRecord>)> = Vec::new();
            for run in run_dir::run_folders(&home).into_iter().filter(|run| run_dir::has_run_name(run)) {
                if run_dir::is_in_progress(&run) {
                    continue;
                }
                match run_dir::has_record(&run).then(|| run_dir::read_record(&run)).transpose() {
                    Ok(record) => seen.push((run, record)),
                    Err(error) => plan.left_alone.push((run, format!("{error:#}"))),
                }
            }
            let stands_for = standing(&seen);
            for (run, record) in &seen {
                let usage = run_dir::usage(run);
                let instead = record.as_ref().and_then(|record| stands_for.get(record.signature.as_str()));
                match reason(run, record.as_ref(), instead, rules, usage.newest) {
                    Some(why) => plan.items.push(Item {
                        path: run.clone(),
                        what: What::Run,
                        why,
                        bytes: usage.bytes,
                        newest: usage.newest,
                    }),
                    None => plan.look_inside(run, record.as_ref().map(|record| record.status), rules),
                }
            }
        }
        Ok(plan)
    }

    fn look_beside(&mut self, home: &Path, rules: AgeRules) {
        for path in run_dir::leftovers_beside_runs(home) {
            self.add_if_settled(path, What::Beside, "left by a killed process", rules);
        }
        if run_dir::has_broken_latest(home) {
            self.add(run_dir::latest(home), What::Latest, "the run it names is gone: the newest that is left is named");
        }
    }

    fn look_inside(&mut self, run: &Path, status: Option<Status>, rules: AgeRules) {
        for path in run_dir::temporary_files(run) {
            self.add_if_settled(path, What::Inside(run.to_owned()), "left by a killed process", rules);
        }
        for path in status.map_or(Vec::new(), |status| run_dir::idle_checkpoints(run, status)) {
            self.add(path, What::Inside(run.to_owned()), "checkpoints of what is finished");
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

/// The youngest finished run of each signature.
fn standing(runs: &[(PathBuf, Option<RunRecord>)]) -> HashMap<String, PathBuf> {
    let finished = runs.iter().filter_map(|(run, record)| Some((run, record.as_ref()?)));
    let finished = finished.filter(|(_, record)| record.status.is_final());
    finished.map(|(run, record)| (record.signature.clone(), run.clone())).collect()
}

/// Why a run can go; nothing where it stays.
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
    let untouched = if days == 1 { "not touched for a day".to_owned() } else { format!("not touched for {days} days") };
    if let Some(other) = instead.filter(|other| other.file_name() > run.file_name() && has_models_of(other, run)) {
        let name = other.file_name().unwrap_or_default().to_string_lossy();
        return Some(format!("superseded by {name} of the same signature, {untouched}"));
    }
    let state = match record.map(|record| record.status) {
        None => "killed before it began",
        Some(Status::Running) => "killed",
        Some(Status::Stopped) => "stopped",
        Some(Status::Failed) => "failed",
        Some(Status::Done | Status::TooManyUnusable) => return None,
    };
    Some(format!("{state}, {untouched}"))
}

/// `save_models` is no part of a signature.
fn has_models_of(other: &Path, run: &Path) -> bool {
    let there = run_dir::models(other);
    run_dir::models(run).iter().all(|model| there.contains(model))
}

/// Removes an item, unless it is held or was written to since the plan was made.
pub fn remove(item: &Item) -> Result<Removed> {
    let still = || run_dir::usage(&item.path).newest == item.newest;
    match &item.what {
        What::Run => run_dir::remove(&item.path, still),
        What::Latest => run_dir::repair_latest(item.path.parent().expect("it lies beside runs")).map(|_| Removed::Gone),
        _ if !still() => Ok(Removed::Changed),
        What::Beside => run_dir::discard(&item.path).map(|()| Removed::Gone),
        What::Inside(run) => {
            let held = run_dir::discard_inside(run, &item.path)?;
            Ok(if held { Removed::Held } else { Removed::Gone })
        }
    }
}
