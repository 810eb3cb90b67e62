//! The baseline of a check: a run, or a small JSON file that can be committed.
//!
//! Keys have a fixed order, numbers have the shortest form that reads back as the same number, and nothing depends on when or where
//! the run ran: equal results give equal bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::clips::{self, ClipsOfSides};
use crate::run_dir::{self, RunRecord, Status, TrialMean};
use timbre_core::{error::UserError, files};

/// Raise it when the file changes its form.
pub const SCHEMA: u32 = 1;

/// The scores of the models of a run, and the data they belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceScores {
    pub schema: u32,
    pub experiment: String,
    pub signature: String,
    /// The headline metric.
    pub metric: String,
    pub classes: Vec<String>,
    pub data: DataOf,
    /// The recordings of each split by seed; empty if the run has no predictions.
    pub clips: ClipsOfSides,
    #[serde(rename = "units")]
    pub models: Vec<TrialMean>,
    /// The origin of the scores and its problems; not stored.
    #[serde(skip)]
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataOf {
    pub name: String,
    pub hash: String,
    pub clips: usize,
}

/// The origin of scores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file or the run folder, as given.
    pub path: PathBuf,
    /// Why the run is unfinished, one message each.
    pub unfinished: Vec<String>,
    /// Trials that failed, and why.
    pub failures: IndexMap<String, String>,
}

impl ReferenceScores {
    /// Reads the scores of a run folder, finished or not.
    pub fn of_run(run: &Path) -> Result<ReferenceScores> {
        let record = run_dir::read_record(run)?;
        let clips = clips::read(run);
        if let Err(error) = &clips {
            tracing::info!("{error:#}");
        }
        let origin =
            Origin { path: run.to_owned(), unfinished: unfinished(&record, run), failures: record.failures.clone() };
        Ok(ReferenceScores {
            schema: SCHEMA,
            models: run_dir::trial_means(&record.results),
            experiment: record.experiment,
            signature: record.signature,
            metric: record.metric,
            classes: record.classes,
            data: DataOf { name: record.data.name, hash: record.data.hash, clips: record.data.clips },
            clips: clips.unwrap_or_default(),
            origin,
        })
    }

    /// Finds a baseline by name: a JSON file, or a run, whose folder `run` finds.
    pub fn find(name: &str, run: impl FnOnce(&str) -> Result<PathBuf>) -> Result<ReferenceScores> {
        let path = Path::new(name);
        if path.is_file() {
            return ReferenceScores::read(path);
        }
        if path.extension().is_some_and(|e| e == "json") {
            let message =
                format!("there is no baseline {name}: create it with `timbre baseline save RUN --out {name}`");
            bail!(UserError::usage(message));
        }
        ReferenceScores::of_run(&run(name)?)
    }

    pub fn read(path: &Path) -> Result<ReferenceScores> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let wrong = |why: String| {
            UserError::usage(format!(
                "{} is not a baseline ({why}): create one with `timbre baseline save RUN --out FILE`",
                path.display()
            ))
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema == u64::from(SCHEMA) => {}
            Some(schema) => bail!(wrong(format!("it has schema {schema}, this version reads schema {SCHEMA}"))),
            None => bail!(wrong("it has no schema".into())),
        }
        let mut baseline: ReferenceScores = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        baseline.origin.path = path.to_owned();
        Ok(baseline)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a baseline is plain data");
        bytes.push(b'\n');
        bytes
    }

    /// Writes the file unless it has these bytes already. Returns whether it was written.
    pub fn write(&self, path: &Path) -> Result<bool> {
        let bytes = self.bytes();
        let existing = std::fs::metadata(path).ok();
        if existing.as_ref().is_some_and(|existing| !existing.is_file()) {
            bail!(UserError::usage(format!("{} exists and is not a file", path.display())));
        }
        // A file of another length differs and need not be read.
        let same_length = existing.is_some_and(|existing| existing.len() == bytes.len() as u64);
        if same_length && std::fs::read(path).is_ok_and(|found| found == bytes) {
            return Ok(false);
        }
        files::write_bytes(&files::create_parent_folder(path)?, &bytes)?;
        Ok(true)
    }

    /// The split that is checked.
    pub fn split(&self) -> &'static str {
        run_dir::reported_split(self.models.iter().map(|trial| trial.split.as_str()))
    }

    pub fn models_of<'a>(&'a self, split: &'a str) -> impl Iterator<Item = &'a TrialMean> {
        self.models.iter().filter(move |trial| trial.split == split)
    }

    /// A short title: `quickstart 0799b5bc`.
    pub fn title(&self) -> String {
        format!("{} {}", self.experiment, self.signature.get(..8).unwrap_or(&self.signature))
    }
}

fn unfinished(record: &RunRecord, run: &Path) -> Vec<String> {
    let mut messages = Vec::new();
    match record.status {
        Status::Done | Status::TooManyUnusable => {}
        Status::Running if run_dir::is_in_progress(run) => messages.push("the run is still in progress".to_owned()),
        Status::Running => messages.push("the run was killed before its end".to_owned()),
        Status::Stopped => messages.push("the run was stopped before its end".to_owned()),
        Status::Failed if record.failures.is_empty() => messages.push("the run ended with an error".to_owned()),
        Status::Failed => {}
    }
    messages.extend(record.failures.iter().map(|(trial, why)| format!("{trial} failed: {why}")));
    messages
}
