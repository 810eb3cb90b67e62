//! What a grid will cost, from what runs like its points have cost. What no past run tells is not guessed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use super::point::Candidate;
use crate::execution::run;
use timbre_evaluation::metrics::replicates::mean;
use timbre_experiment::{Experiment, load_from_run};
use timbre_runs::run_dir::{self, RunRecord};

/// How near a past run has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Likeness {
    /// A model of that kind.
    Kind,
    /// The very model, on the very feature.
    Same,
}

/// Seconds with how they are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    pub seconds: f64,
    /// Of how many past trials, or runs, this is the mean.
    pub of: usize,
    pub likeness: Likeness,
}

impl Known {
    /// Of a point as these are, on the whole; nothing where nothing is known of any.
    pub fn mean(all: impl Iterator<Item = Known>) -> Option<Known> {
        let (mut points, mut sum) = (0, Known { seconds: 0.0, of: usize::MAX, likeness: Likeness::Same });
        for known in all {
            points += 1;
            sum.seconds += known.seconds;
            (sum.of, sum.likeness) = (sum.of.min(known.of), sum.likeness.min(known.likeness));
        }
        (points > 0).then(|| Known { seconds: sum.seconds / points as f64, ..sum })
    }
}

/// What past runs have cost.
#[derive(Default)]
pub struct Past {
    /// By trial spec and by kind: seconds a training clip (of a network also an epoch).
    trials: HashMap<(Likeness, String), Vec<f64>>,
    /// By the set of features: seconds a feature that was computed.
    features: HashMap<String, Vec<f64>>,
    /// By the trials, in an experiment or in any: bytes of the run folder.
    bytes: HashMap<String, Vec<u64>>,
    clips_of: HashMap<String, usize>,
}

/// The newest runs tell enough.
const RUNS: usize = 200;

impl Past {
    /// Reads what the runs below `runs` have cost, those of `experiment` first.
    pub fn read(runs: &Path, experiment: &str) -> Past {
        let mut all = run_dir::all(runs);
        let own = runs.join(experiment);
        all.sort_by_key(|run| {
            (run.parent() != Some(own.as_path()), std::cmp::Reverse(run.file_name().map(ToOwned::to_owned)))
        });
        let mut past = Past::default();
        for run in all.into_iter().take(RUNS) {
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

    /// How many recordings a run on this data used.
    fn clips(&self, data_hash: &str, planned: usize) -> usize {
        self.clips_of.get(data_hash).copied().unwrap_or(planned).min(planned)
    }

    /// The models of a point; None where one of them has never been run.
    pub fn models(&self, candidate: &Candidate, clips: usize) -> Option<Known> {
        let experiment = candidate.experiment();
        let hash = &candidate.dataset.as_ref().ok()?.0.data_hash;
        let clips = self.clips(hash, clips);
        let mut whole = Known { seconds: 0.0, of: usize::MAX, likeness: Likeness::Same };
        for trial in run::trials_of(experiment) {
            // What is fused is not fitted.
            if experiment.models[&trial.model].as_kind().as_ensemble().is_some() {
                continue;
            }
            let found = keys(experiment, &trial).into_iter().find_map(|key| Some((key.0, self.trials.get(&key)?)));
            let (likeness, shares) = found?;
            whole.seconds += mean(shares)? * work(experiment, &trial.model, clips);
            whole.of = whole.of.min(shares.len());
            whole.likeness = whole.likeness.min(likeness);
        }
        Some(whole)
    }

    /// Seconds for so many features.
    pub fn features(&self, experiment: &Experiment, misses: usize) -> Option<f64> {
        Some(mean(self.features.get(&features_of(experiment))?)? * misses as f64)
    }

    /// Bytes that the folder of a point takes.
    pub fn bytes(&self, experiment: &Experiment) -> Option<u64> {
        let sizes = shapes(experiment).iter().find_map(|shape| self.bytes.get(shape))?;
        Some(sizes.iter().sum::<u64>() / sizes.len() as u64)
    }
}

/// What time grows with: recordings, and of a network epochs.
fn work(experiment: &Experiment, model: &str, clips: usize) -> f64 {
    let spec = experiment.models[model].as_kind();
    let epochs = if spec.is_network() { spec.epochs().max(1) } else { 1 };
    clips.max(1) as f64 * epochs as f64
}

/// The names under which a trial is known, the nearest first.
fn keys(experiment: &Experiment, trial: &run_dir::Trial) -> [(Likeness, String); 2] {
    let (feature, model) = (experiment.features.get(&trial.features), &experiment.models[&trial.model]);
    let heard = serde_json::json!([feature, experiment.audio, experiment.evaluate.windows()]);
    let same = serde_json::json!([heard, model]).to_string();
    let kind = serde_json::json!([heard, model.kind()]).to_string();
    [(Likeness::Same, same), (Likeness::Kind, kind)]
}

fn features_of(experiment: &Experiment) -> String {
    let mut specs: Vec<String> = experiment.features.values().map(|spec| serde_json::json!(spec).to_string()).collect();
    specs.sort_unstable();
    specs.dedup();
    serde_json::json!([specs, experiment.audio, experiment.evaluate.windows()]).to_string()
}

/// Runs of the same shape leave folders of about the same size; those of the same experiment first.
fn shapes(experiment: &Experiment) -> [String; 2] {
    let trials: Vec<String> = run::trials_of(experiment)
        .iter()
        .map(|trial| format!("{} {}", trial.features, experiment.models[&trial.model].kind()))
        .collect();
    [Some(&experiment.name), None].map(|name| serde_json::json!([name, trials, experiment.save_models]).to_string())
}
