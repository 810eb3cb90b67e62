//! Reads a run for a comparison: its record, its scores, and the predictions of its trials.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::config_keys;
use super::schema::ComparedRun;

use crate::thresholds;
use timbre_core::labels::Classes;
use timbre_evaluation::metrics::DecisionRule;
use timbre_runs::{
    run_dir::{self, ResultRow, RunRecord, SplitRecord, Table, Trial},
    tables,
};

/// The features and the model that a row of the tables is about.
pub type ModelKey = (String, String);

/// A run folder, as far as a comparison needs it.
pub struct Run {
    pub path: PathBuf,
    pub record: RunRecord,
    /// The resolved configuration: values by dotted key.
    pub keys: Vec<(String, String)>,
    /// For an unfinished run, the results so far.
    pub results: Vec<ResultRow>,
    pub classes: Classes,
    /// How probabilities become decisions, or why this is unknown.
    pub decision_rule: Result<DecisionRule, String>,
    /// The content hash of each recording by its path. None for a run without `recordings.csv`.
    pub contents: Option<HashMap<String, String>>,
    /// Whether its data set names no songs, so that every file counts as one.
    pub has_no_songs: bool,
}

/// A trial with its predictions on each split.
pub type TrialPredictions = (Trial, Vec<SplitRecord>);

impl Run {
    pub fn read(path: &Path) -> Result<Run> {
        let path = without_link(path);
        let record = run_dir::read_record(&path)?;
        let config = run_dir::resolved_config(&path);
        let text = std::fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
        let keys = config_keys::flat(&text).with_context(|| format!("cannot parse {}", config.display()))?;
        let classes = Classes::new(&record.classes);
        let decision_rule = match timbre_experiment::load_from_run(&config, &[]) {
            Ok(experiment) => Ok(experiment.evaluate.decision_rule(&classes)),
            Err(_) => Err("this version cannot read its configuration".to_owned()),
        };
        let results = if record.results.is_empty() { results_so_far(&path) } else { record.results.clone() };
        let recordings = recordings(&path);
        let has_no_songs = tables::have_no_songs(
            recordings.iter().flatten().map(|recording| (recording.path.as_str(), recording.song.as_str())),
        );
        let contents = recordings.map(|rows| rows.into_iter().map(|r| (r.path, r.content)).collect());
        Ok(Run { path, record, keys, results, classes, decision_rule, contents, has_no_songs })
    }

    /// Experiment and the beginning of the signature.
    pub fn name(&self) -> String {
        format!("{} {}", self.record.experiment, &self.record.signature[..8])
    }

    /// The pairs of features and model that have results, in order.
    pub fn model_keys(&self) -> Vec<ModelKey> {
        let mut keys: Vec<ModelKey> = Vec::new();
        for row in self.results.iter().filter(|row| !row.is_baseline()) {
            let key = (row.trial.features.clone(), row.trial.model.clone());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Whether each seed tests a fold of its own.
    pub fn has_folds(&self) -> bool {
        self.keys.iter().any(|(key, value)| key == "split.kind" && value == "\"cross_validation\"")
    }

    /// The rows of one model on one split: one per seed.
    pub fn rows<'a>(&'a self, key: &'a ModelKey, split: &'a str) -> impl Iterator<Item = &'a ResultRow> {
        let same =
            move |row: &&ResultRow| row.trial.features == key.0 && row.trial.model == key.1 && row.split == split;
        self.results.iter().filter(same)
    }

    /// The predictions of all trials: from `predictions.parquet`, or from the trial records of an unfinished run.
    pub fn predictions(&self) -> Result<Vec<TrialPredictions>> {
        if self.path.join(Table::Predictions.file()).is_file() {
            return thresholds::read_trials(&self.path, &self.classes);
        }
        let mut trials: Vec<&Trial> = Vec::new();
        for row in self.results.iter().filter(|row| !row.is_baseline()) {
            if !trials.contains(&&row.trial) {
                trials.push(&row.trial);
            }
        }
        let read = |trial: &Trial| {
            let record = run_dir::read_trial(&self.path, trial);
            let record = record.with_context(|| {
                format!("{} has neither {} nor the record of {trial}", self.path.display(), Table::Predictions.file())
            })?;
            Ok((record.trial, record.splits))
        };
        trials.into_iter().map(read).collect()
    }

    pub fn summary(&self, number: usize) -> ComparedRun {
        let record = &self.record;
        ComparedRun {
            number,
            name: self.name(),
            experiment: record.experiment.clone(),
            description: record.description.clone(),
            signature: record.signature.clone(),
            path: self.path.display().to_string(),
            status: record.status,
            started: record.started.clone(),
            seeds: record.seeds.clone(),
            data: record.data.name.clone(),
            data_hash: record.data.hash.clone(),
            clips: record.data.clips,
            unusable: record.data.unusable,
            leaky: record.leaky_split().is_some(),
            classes: record.classes.clone(),
            failures: record.failures.iter().map(|(trial, why)| (trial.clone(), why.clone())).collect(),
            seconds: record.seconds.get("total").copied().filter(|seconds| seconds.is_finite()),
        }
    }
}

/// Resolves a link such as `latest`, which may point to another run later.
fn without_link(path: &Path) -> PathBuf {
    match (path.read_link(), path.parent()) {
        (Ok(target), Some(home)) => home.join(target),
        _ => path.to_owned(),
    }
}

/// The rows of `results.csv` of an unfinished run, without those that cannot be parsed.
fn results_so_far(run: &Path) -> Vec<ResultRow> {
    let Ok(columns) = tables::read_csv(&run.join(Table::ResultsCsv.file())) else { return Vec::new() };
    let text = |name: &str, row: usize| columns.get(name).map(|texts| texts[row].clone());
    let keys = ["features", "model", "seed", "split", "n"];
    let one = |row: usize| {
        let trial = Trial {
            features: text("features", row)?,
            model: text("model", row)?,
            seed: text("seed", row)?.parse().ok()?,
        };
        let values = columns.iter().filter(|(name, _)| !keys.contains(&name.as_str()));
        let metrics = values.filter_map(|(name, texts)| Some((name.clone(), texts[row].parse().ok()?))).collect();
        Some(ResultRow { trial, split: text("split", row)?, n: text("n", row)?.parse().ok()?, metrics })
    };
    (0..columns.first().map_or(0, |(_, texts)| texts.len())).filter_map(one).collect()
}

/// The rows of `recordings.csv`. None for runs of older versions, which did not write it.
pub fn recordings(run: &Path) -> Option<Vec<tables::Recording>> {
    let path = run.join(Table::Recordings.file());
    let mut columns = tables::read_csv(&path).ok()?;
    let mut take = |name: &str| columns.swap_remove(name);
    let (paths, songs, labels, contents) = (take("path")?, take("song")?, take("labels")?, take("content")?);
    let rows = paths.into_iter().zip(songs).zip(labels).zip(contents);
    let unknown = take("labels_unknown").unwrap_or_else(|| vec![String::new(); rows.len()]);
    let n = unknown.len();
    let sets = take("set").unwrap_or_else(|| vec![String::new(); n]);
    let weights = take("weight").unwrap_or_else(|| vec!["1".to_owned(); n]);
    let recording = |(((((path, song), labels), content), unknown), (set, weight)): (_, (_, String))| {
        tables::Recording { path, song, labels, unknown, set, weight: weight.parse().unwrap_or(1.0), content }
    };
    Some(rows.zip(unknown).zip(sets.into_iter().zip(weights)).map(recording).collect())
}
