//! The trials of an experiment as work items: their names, and which of them are not finished.

use anyhow::{Result, bail};

use crate::execution::run::{self, Settings, only_trial::TrialOutcome};
use crate::execution::sweep::point::{PointLoader, PriorRun, SweepPoint};
use crate::execution::sweep::unshared;
use timbre_core::error::{ExitStatus, UserError};
use timbre_core::suggest;
use timbre_experiment::{ExpandedGrid, Experiment};
use timbre_runs::run_dir::{self, Trial};

/// `mel.knn.s1`; of a sweep with the number of the point, `3/mel.knn.s1`.
pub fn trial_id(grid: &ExpandedGrid, point: usize, trial: &Trial) -> String {
    if grid.is_grid() { format!("{point}/{trial}") } else { trial.to_string() }
}

/// The trials that are fitted by themselves. Ensembles need the others, and cost little: the run that writes the tables fuses them.
pub fn fitted(experiment: &Experiment) -> Vec<Trial> {
    let is_fitted = |trial: &Trial| experiment.models[&trial.model].as_ensemble().is_none();
    run::trials_of(experiment).into_iter().filter(is_fitted).collect()
}

/// Refuses a sweep that chooses its points by the scores of others: its trials are not known before it runs.
pub fn ensure_all_are_known(grid: &ExpandedGrid) -> Result<()> {
    if grid.halving.is_some() || grid.tpe.is_some() {
        bail!(UserError::usage(format!(
            "`{0}` chooses its points by the scores of others, so its trials are not known before: start `timbre run {0}` on \
             several machines that share the folder of runs, and they share the points",
            grid.name
        )));
    }
    Ok(())
}

/// Fits and evaluates one trial.
pub fn run_one(grid: &ExpandedGrid, settings: &Settings, id: &str) -> Result<TrialOutcome> {
    ensure_all_are_known(grid)?;
    let unknown = |word: &str, known: &[String]| {
        let help = suggest::help(word, known.iter().map(String::as_str), "There are");
        UserError::new(ExitStatus::NothingSelected, format!("`{}` has no trial `{id}`: {help}", grid.name))
    };
    let (point, name) = match id.split_once('/').filter(|_| grid.is_grid()) {
        Some((point, name)) => (point.parse().ok(), name),
        None if grid.is_grid() => bail!(UserError::usage(format!(
            "`{}` has a grid: write the number of a point before the trial, such as 1/{id} (`timbre plan {0} --json` lists them)",
            grid.name
        ))),
        None => (Some(1), id),
    };
    let Some(index) = point.filter(|number| (1..=grid.points.len()).contains(number)).map(|number: usize| number - 1)
    else {
        bail!(UserError::new(
            ExitStatus::NothingSelected,
            format!("`{}` has the points 1 to {}, not that of `{id}`", grid.name, grid.points.len())
        ));
    };
    let trials = fitted(&grid.points[index].rounds[0].experiment);
    let Some(trial) = trials.iter().find(|trial| trial.to_string() == name) else {
        let known: Vec<String> = trials.iter().map(ToString::to_string).collect();
        bail!(unknown(name, &known));
    };
    let point = PointLoader::new(settings).round(grid, 1, &[index])?.remove(0);
    match point.dataset {
        Ok((dataset, _)) => run::only_trial::run_only_trial(point.resolved, settings, &dataset, trial),
        Err(error) => Err(unshared(error)),
    }
}

/// The trials without a record. Of trials that are fitted in the same way, one is enough where
/// models are saved: the run that writes the tables predicts with its model.
pub fn unfinished<'p>(points: &'p [SweepPoint<'p>], settings: &Settings) -> Vec<(&'p SweepPoint<'p>, Trial)> {
    let mut missing = Vec::new();
    let mut fits = std::collections::HashSet::new();
    for point in points {
        let experiment = point.experiment();
        let folder = match point.existing_run(settings) {
            PriorRun::Finished { .. } => continue,
            _ => point.signature().and_then(|signature| {
                run_dir::of_signature(&settings.runs, &experiment.name, signature).into_iter().next()
            }),
        };
        let is_done = |trial: &Trial| folder.as_ref().is_some_and(|run| run_dir::read_trial(run, trial).is_some());
        for trial in fitted(experiment) {
            let fit = point.dataset.as_ref().ok().and_then(|(data, _)| data.fit_signature(experiment, &trial));
            let is_first = !experiment.save_models || fit.is_none_or(|fit| fits.insert(fit));
            if is_first && !is_done(&trial) {
                missing.push((point, trial));
            }
        }
    }
    missing
}
