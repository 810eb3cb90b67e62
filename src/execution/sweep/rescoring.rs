//! Points that differ in decisions alone (thresholds, the share of windows, the aggregation): one run has the predictions of all.
//!
//! A run folder takes a quarter of a second and some megabytes. Of more than [`MOST_FOLDERS`] such points the first has one, and the others
//! have their results in the record of the sweep: the same numbers, without intervals and trivial baselines. `timbre run` with
//! the `--set` options of a point makes its folder.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::point::SweepPoint;
use crate::execution::run::{self, scoring};
use timbre_core::{cancel::Cancelled, labels::Labels};
use timbre_experiment::ExpandedGrid;
use timbre_runs::run_dir::{self, ResultRow, TrialRecord};

/// The most points of a sweep of which every one has a folder.
const MOST_FOLDERS: usize = 100;

/// Keys of `[evaluate]` that decide from predictions.
const DECISION_KEYS: [&str; 6] = [
    "evaluate.cutoff",
    "evaluate.cutoffs",
    "evaluate.window_fraction",
    "evaluate.aggregate",
    "evaluate.at_most",
    "evaluate.at_least_one",
];

/// Whether the points of this sweep may share a run.
pub fn applies(grid: &ExpandedGrid) -> bool {
    let models = &grid.points[0].rounds[0].experiment.models;
    grid.points.len() > MOST_FOLDERS
        && grid.halving.is_none()
        && grid.tpe.is_none()
        && grid.axes.iter().all(|axis| DECISION_KEYS.contains(&axis.key.as_str()))
        && models.values().all(|spec| spec.as_ensemble().is_none())
}

/// Whether the models of one point are those of the other: their fits did not see the decisions.
pub fn share_models(one: &SweepPoint, other: &SweepPoint) -> bool {
    let fits = |point: &SweepPoint| -> Option<Vec<String>> {
        let (dataset, _) = point.dataset.as_ref().ok()?;
        let trials = run::trials_of(point.experiment());
        trials.iter().map(|trial| dataset.fit_signature(point.experiment(), trial)).collect()
    };
    fits(one).is_some_and(|fits_of_one| fits(other) == Some(fits_of_one))
}

/// The results of points from the predictions in a run, in the order of the points.
pub fn results(points: &[&SweepPoint], run: &Path, stop: &AtomicBool) -> Result<Vec<Vec<ResultRow>>> {
    let trials = run::trials_of(points[0].experiment());
    let read = |trial| run_dir::read_trial(run, trial).with_context(|| format!("{} lacks {trial}", run.display()));
    let trials: Vec<TrialRecord> = trials.iter().map(read).collect::<Result<_>>()?;
    let truths: Vec<Vec<Vec<Labels>>> =
        trials.iter().map(|trial| trial.splits.iter().map(|split| split.truth()).collect()).collect();
    let of_point = |point: &&SweepPoint| {
        if stop.load(Ordering::Relaxed) {
            return Err(Cancelled.into());
        }
        let (dataset, _) = point.dataset.as_ref().expect("only readable points are rescored");
        let rule = point.experiment().evaluate.decision_rule(&dataset.set.classes);
        let pairs = trials.iter().zip(&truths);
        Ok(pairs.flat_map(|(trial, truths)| scoring::rescored_rows(&rule, trial, truths)).collect())
    };
    points.par_iter().map(of_point).collect()
}
