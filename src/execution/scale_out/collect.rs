//! Collects trials from folders of runs that the machines did not share.
//!
//! The trials of a run are those of its signature: equal recordings, configuration and versions. Others are left where they are.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::feature_plan::load;
use super::trials::{ensure_all_are_known, trial_id, unfinished};
use crate::execution::run::{Settings, only_trial::TrialFolder};
use timbre_core::error::UserError;
use timbre_experiment::ExpandedGrid;
use timbre_runs::run_dir::{self, Trial};

pub struct Collected {
    /// The copied trials, each with the run that it is from.
    pub taken: Vec<(String, PathBuf)>,
    /// Trials that no folder has.
    pub missing: Vec<String>,
}

/// Copies finished trials that this folder of runs lacks. A folder is one of runs, or a project with one.
pub fn collect(grid: &ExpandedGrid, settings: &Settings, folders: &[PathBuf]) -> Result<Collected> {
    ensure_all_are_known(grid)?;
    for folder in folders {
        ensure!(folder.is_dir(), UserError::usage(format!("{} is not a folder", folder.display())));
    }
    let places: Vec<PathBuf> = folders.iter().flat_map(|folder| [folder.clone(), folder.join("runs")]).collect();
    let points = load(grid, settings, None)?;
    let (mut taken, mut missing) = (Vec::new(), Vec::new());
    for (point, trial) in unfinished(&points, settings) {
        let (experiment, id) = (point.experiment(), trial_id(grid, point.number, &trial));
        let signature = point.signature().unwrap_or_default();
        let mut runs = places.iter().flat_map(|place| run_dir::of_signature(place, &experiment.name, signature));
        let source = runs.find(|run| has_trial(run, signature, &trial, experiment.save_models));
        match (source, &point.dataset) {
            (Some(run), Ok((data, _))) => {
                if let TrialFolder::Open(dir) = TrialFolder::open(point.resolved, settings, data, &trial)? {
                    dir.copy_trial(&run, &trial)?;
                }
                taken.push((id, run));
            }
            _ => missing.push(id),
        }
    }
    Ok(Collected { taken, missing })
}

/// Whether a run with the whole signature has the trial, and its model where models are saved.
fn has_trial(run: &Path, signature: &str, trial: &Trial, with_model: bool) -> bool {
    let record = run_dir::read_record(run);
    record.is_ok_and(|record| record.signature == signature)
        && run_dir::read_trial(run, trial).is_some_and(|found| found.trial == *trial)
        && (!with_model || run_dir::has_model(run, trial))
}
