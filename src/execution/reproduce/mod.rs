//! A finished run once more, from nothing but its folder and the recordings: is it the same run, and are its numbers the same?
//!
//! The stored configuration has to lead to the stored signature before anything is fitted: other recordings or other stages make
//! another run, whose numbers would say nothing about this one. Then everything is fitted anew; features come from the cache, which
//! is keyed by content and version.

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

/// What came of it.
pub struct Reproduction {
    /// Where the run lies that was made now.
    pub again: PathBuf,
    /// Whether `results.csv` has the same bytes.
    pub same_bytes: bool,
    pub numbers: TableComparison,
    /// What differs in the environment: then and now.
    pub environment: Vec<(String, Value, Value)>,
}

/// A run that can be made again: its folder, what it told of itself, and its experiment.
pub struct StoredRun {
    path: PathBuf,
    pub record: RunRecord,
    resolved: ResolvedExperiment,
}

/// The stored configuration no longer leads to the stored signature; each sentence names a change.
fn run_changed(run: &Path, sentences: &[String]) -> UserError {
    let message =
        format!("{} cannot be reproduced: it is another run by now\n  {}", run.display(), sentences.join("\n  "));
    UserError::new(ExitStatus::RunChanged, message)
}

impl StoredRun {
    /// `root`: where the data lies, if not where it was.
    pub fn read(run: &Path, root: Option<&str>) -> Result<StoredRun> {
        let path = run.canonicalize().with_context(|| format!("cannot find {}", run.display()))?;
        let record = run_dir::read_record(&path)?;
        if record.results.is_empty() || !path.join(Table::ResultsCsv.file()).is_file() {
            let sentence = format!("{} did not come to its end: there are no numbers to compare with", path.display());
            return Err(UserError::usage(sentence).into());
        }
        let resolved = timbre_experiment::load_for_rerun(&run_dir::resolved_config(&path), &record.experiment, root);
        // A key that is gone, or one that has to be there now.
        let resolved = resolved.map_err(|error| {
            let (cause, program) = (format!("{error:#}"), signature_changes::program(&record));
            run_changed(&path, &[format!("{} (written by timbre {program})", cause.trim())])
        })?;
        Ok(StoredRun { path, record, resolved })
    }

    /// What networks computed on: `cpu`, `cuda:0`.
    pub fn device(&self) -> &str {
        self.record.environment["device"].as_str().unwrap_or("cpu")
    }

    pub fn experiment(&self) -> &timbre_experiment::Experiment {
        &self.resolved.experiment
    }

    /// Leaves the models of the new run out, which nobody will keep.
    pub fn without_models(mut self) -> StoredRun {
        self.resolved.experiment.save_models = false;
        self
    }

    /// Runs it anew into the folder of `settings`.
    pub fn again(&self, settings: &Settings) -> Result<Reproduction> {
        let settings = Settings { fresh: true, ..settings.clone() };
        let experiment = &self.resolved.experiment;
        let dataset = PreparedDataset::new(experiment, &settings)?;
        if dataset.signature(experiment) != self.record.signature {
            let sentences = signature_changes::sentences(&self.path, &self.record, experiment, &dataset);
            return Err(run_changed(&self.path, &sentences).into());
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
            numbers: TableComparison::compare(&then, &now)
                .with_context(|| format!("cannot compare {} with the run made now", self.path.display()))?,
            environment: differing(&self.record.environment, &outcome.record.environment),
            again: outcome.path,
        })
    }
}

/// The entries that are not the same. What the stages are is told by the signature.
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
    fn what_differs_in_the_environment_is_told_from_both_sides() {
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
