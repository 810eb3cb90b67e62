//! Fits and evaluates one trial of a run (`timbre run --only-trial`), while other processes work on the others.
//!
//! The trial ends with its record in the run folder, as in a run that is killed afterwards: a run with all records only writes the tables.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Result, bail};
use serde_json::json;

use super::prepare::PreparedDataset;
use super::reuse::EarlierWork;
use super::scoring::FinishedTrials;
use super::select::extraction_of;
use super::settings::Settings;
use super::{Run, fit_signatures, new_record, tables};
use timbre_core::error::{ExitStatus, UserError};
use timbre_experiment::ResolvedExperiment;
use timbre_runs::run_dir::{self, Opened, RunDir, Status, Trial};

/// Where the record of the trial is, and whether it was there before.
pub struct TrialOutcome {
    pub run: PathBuf,
    pub finished_before: bool,
}

/// The folder of the run of a trial, on which other processes may work, too.
pub enum TrialFolder {
    /// The run is finished.
    Finished(PathBuf),
    /// The trial is locked.
    Open(RunDir),
}

impl TrialFolder {
    pub fn open(
        resolved: &ResolvedExperiment,
        settings: &Settings,
        data: &PreparedDataset,
        trial: &Trial,
    ) -> Result<TrialFolder> {
        let experiment = &resolved.experiment;
        let signature = data.signature(experiment);
        let dir = match RunDir::open_for_trial(&settings.runs, &experiment.name, &signature, trial)? {
            Opened::Finished { path, .. } => return Ok(TrialFolder::Finished(path)),
            Opened::ToDo(dir) => dir,
        };
        if !run_dir::has_record(dir.path()) {
            dir.write_config(&resolved.written, &resolved.resolved_toml)?;
            tables::write_recordings(&dir, experiment, data, None)?;
            // As after a kill: whatever lists the runs knows that this one is to be continued.
            dir.write_record(&run_dir::RunRecord {
                status: Status::Stopped,
                ..new_record(experiment, settings, data, signature)
            })?;
        }
        Ok(TrialFolder::Open(dir))
    }
}

/// Runs one trial, unless its record is there.
pub fn run_only_trial(
    resolved: &ResolvedExperiment,
    settings: &Settings,
    data: &PreparedDataset,
    trial: &Trial,
) -> Result<TrialOutcome> {
    let experiment = &resolved.experiment;
    let inspection = data.inspect(experiment)?;
    let fault = inspection.failures.iter().find(|(failing, _)| failing == trial);
    if let Some(why) = inspection.hopeless(experiment).or(fault.map(|(_, why)| why.as_str())) {
        bail!(UserError::new(ExitStatus::Failed, format!("{trial} cannot be fitted: {why}")));
    }
    let dir = match TrialFolder::open(resolved, settings, data, trial)? {
        TrialFolder::Finished(path) => return Ok(TrialOutcome { run: path, finished_before: true }),
        TrialFolder::Open(dir) => dir,
    };
    let extraction = extraction_of(experiment)?;
    let cache = settings.feature_cache_of(&extraction)?;
    let earlier = EarlierWork::new(data.training_signature(experiment), fit_signatures(experiment, data));
    let distances = Mutex::default();
    let run = Run { experiment, settings, data, extraction: &extraction, cache: &cache, dir: &dir, earlier, distances };
    let done = |finished_before| Ok(TrialOutcome { run: dir.path().to_owned(), finished_before });
    if run.finished(trial).is_some() {
        return done(true);
    }
    let selection = data.select(experiment, &extraction, &cache, settings)?;
    let splits = data.splits(experiment, &selection.clips)?;
    let attempt = run.run_trial(trial, &selection, &splits[&trial.seed], &FinishedTrials::new(run.decision_rule()));
    dir.ensure_exists()?;
    if let Err(error) = attempt {
        dir.log("unit failed", json!({ "unit": trial.to_string(), "error": format!("{error:#}") }));
        return Err(error);
    }
    done(false)
}
