//! `timbre evaluate`: evaluates the saved models of a run on other recordings, or with other thresholds and windows.

use std::path::Path;

use anyhow::{Result, bail};

use super::{ExitStatus, device, is_named, listen_for_signals, run, settings, start_threads};
use crate::cli::args::{EvaluateArgs, GlobalArgs};
use crate::execution::run::Settings;
use timbre_core::error::UserError;
use timbre_experiment::{Experiment, ResolvedExperiment, load_to_evaluate, members::ENSEMBLE_FEATURES};
use timbre_inputs::data::split::{SplitSpec, TestOnly};
use timbre_runs::run_dir;

pub fn evaluate(common: &GlobalArgs, wanted: &EvaluateArgs) -> Result<ExitStatus> {
    let resolved = experiment_of(common, wanted)?;
    let settings = settings(common, wanted.fresh);
    let device = device::choose(std::iter::once(&resolved.experiment), wanted.device, settings.printer)?;
    let settings = Settings { device, ..settings };
    start_threads(&wanted.pool)?;
    listen_for_signals(&settings.stop)?;
    run::run_one(&resolved, &settings, wanted.json)
}

/// The experiment of the run, with its models instead of fits.
fn experiment_of(common: &GlobalArgs, wanted: &EvaluateArgs) -> Result<ResolvedExperiment> {
    let (run, model) = run_dir::find_with_model(&common.runs, &wanted.run)?;
    // `latest` is another run tomorrow.
    let run = std::fs::read_link(&run).map_or(run.clone(), |target| run.with_file_name(target));
    let record = run_dir::read_record(&run)?;
    let config = run_dir::resolved_config(&run);
    let is_of_data = |set: &&String| set.starts_with("data.");
    let (of_data, of_evaluation): (Vec<&String>, Vec<&String>) = common.set.iter().partition(is_of_data);
    let of_evaluation: Vec<String> = of_evaluation.into_iter().cloned().collect();
    let mut experiment = load_to_evaluate(&config, &of_evaluation)?;
    if experiment.models_from.is_some() {
        bail!(UserError::usage(format!("{} evaluated the models of another run: name that run", run.display())));
    }
    match &wanted.data {
        Some(data) => {
            let set: Vec<String> = of_data.into_iter().cloned().collect();
            experiment.data = timbre_experiment::data_set(Path::new("."), data, &set)?;
            if !of_evaluation.iter().any(|set| set.starts_with("split")) {
                experiment.split = SplitSpec::TestOnly(TestOnly {});
                // There is no validation split to tune on.
                experiment.evaluate.search = None;
            }
            let name = Path::new(data).file_stem().map_or("data".into(), |stem| stem.to_string_lossy());
            let name: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
            experiment.name = format!("{}_on_{name}", record.experiment);
        }
        None if !of_data.is_empty() => bail!(UserError::usage("--set data.KEY needs --data NAME".to_owned())),
        None => experiment.name = format!("{}_evaluated", record.experiment),
    }
    if let Some(model) = model {
        keep(&mut experiment, &run, model)?;
    }
    experiment.models_from = Some(run.display().to_string());
    // They are in the other run.
    experiment.save_models = false;
    experiment.description = format!("The models of {} of {}", record.experiment, run.display());
    let comment = format!("timbre evaluate: the configuration of {}, changed", run.display());
    ResolvedExperiment::of_changed(experiment, &comment)
}

/// Keeps one model (`FEATURES.MODEL`, of all seeds) or one trial (`FEATURES.MODEL.sSEED`).
fn keep(experiment: &mut Experiment, run: &Path, wanted: &str) -> Result<()> {
    let trials = crate::execution::run::trials_of(experiment);
    let of_model: Vec<_> = trials.iter().filter(|trial| is_named(trial, wanted)).collect();
    let Some(first) = of_model.first() else {
        let names = run_dir::models(run).join(", ");
        bail!(UserError::usage(format!("the run {} has no model `{wanted}`; it has {names}", run.display())));
    };
    experiment.seeds = of_model.iter().map(|trial| trial.seed).collect();
    // The members of an ensemble are predicted, too.
    if first.features != ENSEMBLE_FEATURES {
        let (features, model) = (first.features.clone(), first.model.clone());
        experiment.features.retain(|name, _| *name == features);
        experiment.models.retain(|name, _| *name == model);
    }
    Ok(())
}
