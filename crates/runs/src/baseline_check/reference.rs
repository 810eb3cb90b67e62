//! What is remembered of a run to hold another against it: a small JSON file, fit for git.
//!
//! Keys have a fixed order, numbers the shortest form that reads back as the same, and nothing in it depends on when or where
//! the run ran: equal results are equal bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::clips::{self, ClipsOfSides};
use crate::run_dir::{self, RunRecord, Status, TrialMean};
use timbre_core::error::UserError;
use timbre_core::files;

/// Raised when the file changes its form.
pub const SCHEMA: u32 = 1;

/// How well the trials of a run did, and on what.
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
    /// The recordings of each side of the split by seed; empty where the run does not say.
    pub clips: ClipsOfSides,
    #[serde(rename = "units")]
    pub trials: Vec<TrialMean>,
    /// What was run, and what is wrong with it: for this process alone.
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

/// Where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file or the run folder, as given.
    pub path: PathBuf,
    /// Why the run is not over, a sentence each.
    pub unfinished: Vec<String>,
    /// Units that could not be fitted, and why.
    pub failures: IndexMap<String, String>,
}

impl ReferenceScores {
    /// Of a run folder, finished or not.
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
            trials: run_dir::trial_means(&record.results),
            experiment: record.experiment,
            signature: record.signature,
            metric: record.metric,
            classes: record.classes,
            data: DataOf { name: record.data.name, hash: record.data.hash, clips: record.data.clips },
            clips: clips.unwrap_or_default(),
            origin,
        })
    }

    /// What a person calls a baseline: a JSON file, or a run, whose folder `run` finds.
    pub fn find(name: &str, run: impl FnOnce(&str) -> Result<PathBuf>) -> Result<ReferenceScores> {
        let path = Path::new(name);
        if path.is_file() {
            return ReferenceScores::read(path);
        }
        if path.extension().is_some_and(|e| e == "json") {
            let sentence = format!("there is no baseline {name}: make it with `timbre baseline save RUN --out {name}`");
            bail!(UserError::usage(sentence));
        }
        ReferenceScores::of_run(&run(name)?)
    }

    pub fn read(path: &Path) -> Result<ReferenceScores> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let wrong = |why: String| {
            UserError::usage(format!(
                "{} is no baseline ({why}): make it with `timbre baseline save RUN --out FILE`",
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

    /// Writes it, unless the file has these bytes already; whether it was written.
    pub fn write(&self, path: &Path) -> Result<bool> {
        let bytes = self.bytes();
        let there = std::fs::metadata(path).ok();
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            bail!(UserError::usage(format!("{} is there and no file that could be replaced", path.display())));
        }
        // Of another length it is another file, and need not be read.
        let same_length = there.is_some_and(|there| there.len() == bytes.len() as u64);
        if same_length && std::fs::read(path).is_ok_and(|found| found == bytes) {
            return Ok(false);
        }
        files::write_bytes(&files::create_parent_folder(path)?, &bytes)?;
        Ok(true)
    }

    /// The side of the split that is judged.
    pub fn split(&self) -> &'static str {
        run_dir::reported_split(self.trials.iter().map(|trial| trial.split.as_str()))
    }

    pub fn trials_of<'a>(&'a self, split: &'a str) -> impl Iterator<Item = &'a TrialMean> {
        self.trials.iter().filter(move |trial| trial.split == split)
    }

    /// What people call it: `quickstart 0799b5bc`.
    pub fn title(&self) -> String {
        format!("{} {}", self.experiment, self.signature.get(..8).unwrap_or(&self.signature))
    }
}

fn unfinished(record: &RunRecord, run: &Path) -> Vec<String> {
    let mut sentences = Vec::new();
    match record.status {
        Status::Done | Status::TooManyUnusable => {}
        Status::Running if run_dir::is_in_progress(run) => sentences.push("the run is still at work".to_owned()),
        Status::Running => sentences.push("the run was cut off before its end".to_owned()),
        Status::Stopped => sentences.push("the run was stopped before its end".to_owned()),
        Status::Failed if record.failures.is_empty() => sentences.push("the run ended with an error".to_owned()),
        Status::Failed => {}
    }
    sentences.extend(record.failures.iter().map(|(trial, why)| format!("{trial} could not be fitted: {why}")));
    sentences
}
