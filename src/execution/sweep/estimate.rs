//! Estimates the cost of a sweep from past runs. Without a similar past run there is no estimate.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use super::point::SweepPoint;
use crate::execution::run;
use timbre_evaluation::metrics::replicates::mean;
use timbre_experiment::{Experiment, load_from_run};
use timbre_runs::run_dir::{self, RunRecord};

/// How similar a past trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Likeness {
    /// A model of the same kind.
    Kind,
    /// The same model on the same feature.
    Same,
}

/// An estimated duration and its basis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub seconds: f64,
    /// The number of past trials in the mean.
    pub past: usize,
    pub likeness: Likeness,
}

impl Estimate {
    /// The mean of several estimates; None if there is none.
    pub fn mean(all: impl Iterator<Item = Estimate>) -> Option<Estimate> {
        let (mut points, mut sum) = (0, Estimate { seconds: 0.0, past: usize::MAX, likeness: Likeness::Same });
        for known in all {
            points += 1;
            sum.seconds += known.seconds;
            (sum.past, sum.likeness) = (sum.past.min(known.past), sum.likeness.min(known.likeness));
        }
        (points > 0).then(|| Estimate { seconds: sum.seconds / points as f64, ..sum })
    }
}

/// The costs of past runs.
#[derive(Default)]
pub struct PastRuns {
    /// By spec and by kind of a trial: seconds per training clip (and per epoch of a network).
    trials: HashMap<(Likeness, String), Vec<f64>>,
    /// By the set of features: seconds per computed feature.
    features: HashMap<String, Vec<f64>>,
    /// By the trials, within the experiment or in any: bytes of the run folder.
    bytes: HashMap<String, Vec<u64>>,
    clips_of: HashMap<String, usize>,
}

/// Only so many of the newest runs are read.
const MAX_RUNS: usize = 200;

impl PastRuns {
    /// Reads the costs of the runs in `runs`, those of `experiment` first.
    pub fn read(runs: &Path, experiment: &str) -> PastRuns {
        let mut all = run_dir::all(runs);
        let own = runs.join(experiment);
        all.sort_by_key(|run| {
            (run.parent() != Some(own.as_path()), std::cmp::Reverse(run.file_name().map(ToOwned::to_owned)))
        });
        let mut past = PastRuns::default();
        for run in all.into_iter().take(MAX_RUNS) {
            let Ok(record) = run_dir::read_record(&run) else { continue };
            let config = run_dir::resolved_config(&run);
            if let Some(experiment) = record.status.is_final().then(|| load_from_run(&config, &[]).ok()).flatten() {
                let experiment = Experiment { name: record.experiment.clone(), ..experiment };
                past.add(&run, &record, &experiment);
            }
        }
        past
    }

    fn add(&mut self, run: &Path, record: &RunRecord, experiment: &Experiment) {
        self.clips_of.insert(record.data.hash.clone(), record.data.clips);
        let taken_over = record.reused.as_ref().map_or(&[][..], |taken| &taken.trials);
        let log = fs::read_to_string(run_dir::log_file(run)).unwrap_or_default();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        for event in events.filter(|event| event["event"] == "unit") {
            let details = &event["details"];
            let (Some(name), Some(fit)) = (details["unit"].as_str(), details["seconds"]["fit"].as_f64()) else {
                continue;
            };
            if taken_over.iter().any(|trial| trial == name) {
                continue;
            }
            let Some(trial) = run::trials_of(experiment).into_iter().find(|trial| trial.to_string() == name) else {
                continue;
            };
            let seconds = fit + details["seconds"]["predict"].as_f64().unwrap_or(0.0);
            let share = seconds / work(experiment, &trial.model, record.data.clips);
            for key in keys(experiment, &trial) {
                self.trials.entry(key).or_default().push(share);
            }
        }
        if record.cache.misses > 0
            && let Some(seconds) = record.seconds.get("features")
        {
            let name = features_of(experiment);
            self.features.entry(name).or_default().push(seconds / record.cache.misses as f64);
        }
        let bytes = run_dir::usage(run).bytes;
        for shape in shapes(experiment) {
            self.bytes.entry(shape).or_default().push(bytes);
        }
    }

    /// The number of recordings that a run on this data used.
    fn clips(&self, data_hash: &str, planned: usize) -> usize {
        self.clips_of.get(data_hash).copied().unwrap_or(planned).min(planned)
    }

    /// The duration of the models of a point; None if one of them has no past run.
    pub fn models(&self, point: &SweepPoint, clips: usize) -> Option<Estimate> {
        let experiment = point.experiment();
        let hash = &point.dataset.as_ref().ok()?.0.data_hash;
        let clips = self.clips(hash, clips);
        let mut whole = Estimate { seconds: 0.0, past: usize::MAX, likeness: Likeness::Same };
        for trial in run::trials_of(experiment) {
            // An ensemble is not fitted.
            if experiment.models[&trial.model].as_ensemble().is_some() {
                continue;
            }
            let (likeness, shares) = self.shares(experiment, &trial)?;
            whole.seconds += mean(shares)? * work(experiment, &trial.model, clips);
            whole.past = whole.past.min(shares.len());
            whole.likeness = whole.likeness.min(likeness);
        }
        Some(whole)
    }

    /// The seconds per recording (and epoch) of past trials like this one.
    fn shares(&self, experiment: &Experiment, trial: &run_dir::Trial) -> Option<(Likeness, &Vec<f64>)> {
        keys(experiment, trial).into_iter().find_map(|key| Some((key.0, self.trials.get(&key)?)))
    }

    /// The seconds of one trial; None without a past run of its like.
    pub fn trial(&self, experiment: &Experiment, trial: &run_dir::Trial, clips: usize) -> Option<f64> {
        let (_, shares) = self.shares(experiment, trial)?;
        Some(mean(shares)? * work(experiment, &trial.model, clips))
    }

    /// The duration of computing so many features.
    pub fn features(&self, experiment: &Experiment, misses: usize) -> Option<f64> {
        Some(mean(self.features.get(&features_of(experiment))?)? * misses as f64)
    }

    /// The size of the run folder of a point.
    pub fn bytes(&self, experiment: &Experiment) -> Option<u64> {
        let sizes = shapes(experiment).iter().find_map(|shape| self.bytes.get(shape))?;
        Some(sizes.iter().sum::<u64>() / sizes.len() as u64)
    }
}

/// The amount of work: recordings, times the epochs of a network.
fn work(experiment: &Experiment, model: &str, clips: usize) -> f64 {
    let network = experiment.models[model].as_network();
    let epochs = network.map_or(1, |network| network.training().epochs.max(1));
    clips.max(1) as f64 * epochs as f64
}

/// The keys of a trial in [`PastRuns`], the most similar first.
fn keys(experiment: &Experiment, trial: &run_dir::Trial) -> [(Likeness, String); 2] {
    let (feature, model) = (experiment.features.get(&trial.features), &experiment.models[&trial.model]);
    let input = serde_json::json!([feature, experiment.audio, experiment.evaluate.windows()]);
    let same = serde_json::json!([input, model]).to_string();
    let kind = serde_json::json!([input, model.kind()]).to_string();
    [(Likeness::Same, same), (Likeness::Kind, kind)]
}

fn features_of(experiment: &Experiment) -> String {
    let mut specs: Vec<String> = experiment.features.values().map(|spec| serde_json::json!(spec).to_string()).collect();
    specs.sort_unstable();
    specs.dedup();
    serde_json::json!([specs, experiment.audio, experiment.evaluate.windows()]).to_string()
}

/// Runs with equal keys have folders of about the same size. The key of the same experiment comes first.
fn shapes(experiment: &Experiment) -> [String; 2] {
    let trials: Vec<String> = run::trials_of(experiment)
        .iter()
        .map(|trial| format!("{} {}", trial.features, experiment.models[&trial.model].kind()))
        .collect();
    [Some(&experiment.name), None].map(|name| serde_json::json!([name, trials, experiment.save_models]).to_string())
}
