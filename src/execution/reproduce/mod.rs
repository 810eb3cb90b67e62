//! Reproduces a finished run from its folder and the recordings, and compares the results.
//!
//! The stored configuration must lead to the stored signature before anything is fitted: with other recordings or stages it is another
//! run, whose results would say nothing about this one. Then everything is fitted again. Features come from the cache, which is
//! keyed by content and version.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::execution::run::prepare::PreparedDataset;
use crate::execution::run::{self, STAGES, Settings};
use timbre_core::error::{ExitStatus, UserError};
use timbre_experiment::ResolvedExperiment;
use timbre_runs::run_dir::{self, RunRecord, Table};

mod differences;
mod signature_changes;

pub use differences::{ColumnDifference, TableComparison};

/// The result of a reproduction.
pub struct Reproduction {
    /// The folder of the new run.
    pub new_run: PathBuf,
    /// Whether `results.csv` has the same bytes.
    pub same_bytes: bool,
    pub comparison: TableComparison,
    /// The differences of the environment: name, then, now.
    pub environment: Vec<(String, Value, Value)>,
}

/// A finished run: its folder, its record, and its experiment.
pub struct StoredRun {
    path: PathBuf,
    pub record: RunRecord,
    resolved: ResolvedExperiment,
}

/// The stored configuration no longer leads to the stored signature. Each reason names something that has changed.
fn run_changed(run: &Path, reasons: &[String]) -> UserError {
    let message =
        format!("{} cannot be reproduced: its signature has changed\n  {}", run.display(), reasons.join("\n  "));
    UserError::new(ExitStatus::RunChanged, message)
}

impl StoredRun {
    /// Reads a finished run. `root` is the folder of the data set, if it has moved.
    pub fn read(run: &Path, root: Option<&str>) -> Result<StoredRun> {
        let path = run.canonicalize().with_context(|| format!("cannot find {}", run.display()))?;
        let record = run_dir::read_record(&path)?;
        if record.results.is_empty() || !path.join(Table::ResultsCsv.file()).is_file() {
            let message = format!("{} is not finished: there are no results to compare", path.display());
            return Err(UserError::usage(message).into());
        }
        let files = (run_dir::resolved_config(&path), run_dir::written_config(&path));
        let resolved = timbre_experiment::load_for_rerun(&files.0, &files.1, &record.experiment, root);
        // This version may have dropped a key, or require a new one.
        let resolved = resolved.map_err(|error| {
            let program = signature_changes::program(&record);
            run_changed(&path, &[format!("{} (the run was made by timbre {program})", format!("{error:#}").trim())])
        })?;
        Ok(StoredRun { path, record, resolved })
    }

    /// The device of its networks: `cpu`, `cuda:0`.
    pub fn device(&self) -> &str {
        self.record.environment["device"].as_str().unwrap_or("cpu")
    }

    pub fn experiment(&self) -> &timbre_experiment::Experiment {
        &self.resolved.experiment
    }

    /// Leaves out the models of the new run.
    pub fn without_models(mut self) -> StoredRun {
        self.resolved.experiment.save_models = false;
        self
    }

    /// Runs the experiment again into the folder of `settings`.
    pub fn rerun(&self, settings: &Settings) -> Result<Reproduction> {
        let settings = Settings { fresh: true, ..settings.clone() };
        let experiment = &self.resolved.experiment;
        let dataset = PreparedDataset::new(experiment, &settings)?;
        if dataset.signature(experiment) != self.record.signature {
            let reasons = signature_changes::reasons(&self.path, &self.record, experiment, &dataset);
            return Err(run_changed(&self.path, &reasons).into());
        }
        drop(dataset);
        let outcome = run::run(&self.resolved, &settings)?;
        let csv = |run: &Path| {
            let path = run.join(Table::ResultsCsv.file());
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let (then, now) = (csv(&self.path)?, csv(&outcome.path)?);
        Ok(Reproduction {
            same_bytes: then == now,
            comparison: TableComparison::compare(&then, &now)
                .with_context(|| format!("cannot compare {} with the new run", self.path.display()))?,
            environment: differing(&self.record.environment, &outcome.record.environment),
            new_run: outcome.path,
        })
    }
}

/// The entries that differ, without the stages: those are part of the signature.
fn differing(then: &Value, now: &Value) -> Vec<(String, Value, Value)> {
    let names = |value: &Value| -> Vec<String> {
        value.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    };
    let mut all = names(now);
    all.extend(names(then).into_iter().filter(|name| now.get(name).is_none()));
    all.retain(|name| name != STAGES && then[name] != now[name]);
    all.into_iter().map(|name| (name.clone(), then[&name].clone(), now[&name].clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn environment_differences_have_both_values() {
        let then = json!({ "host": "a", "commit": "1", "gone": true, "stages": { "runner": 1 } });
        let now = json!({ "host": "a", "commit": "2", "cores": 2, "stages": { "runner": 2 } });
        let expected = [
            ("commit".to_owned(), json!("1"), json!("2")),
            ("cores".to_owned(), json!(null), json!(2)),
            ("gone".to_owned(), json!(true), json!(null)),
        ];
        assert_eq!(differing(&then, &now), expected);
    }
}
