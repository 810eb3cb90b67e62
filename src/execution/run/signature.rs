//! The signature of a run: configuration, recordings and stage versions as one hash.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::model_source;
use super::prepare::PreparedDataset;
use super::scoring;
use timbre_evaluation::{aggregation, metrics, threshold_search};
use timbre_experiment::{EvaluateSpec, Experiment};
use timbre_inputs::{augment::chain, data::split, features::extraction};
use timbre_models::ModelSpec;
use timbre_runs::run_dir::Trial;
use timbre_signal::{audio, windows};

type Versions = BTreeMap<String, u32>;

impl PreparedDataset {
    /// The signature of a run: a hash of everything that changes a result (configuration, recordings, versions of the stages).
    pub fn signature(&self, experiment: &Experiment) -> String {
        let text = format!("{}\n{}\n{}", experiment.canonical_json(), self.data_hash, self.stages(experiment));
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The version of every stage, and the hashes of the files that a run reads beside the recordings.
    fn stages(&self, experiment: &Experiment) -> Value {
        let mut versions = json!({
            "runner": scoring::VERSION,
            "data": experiment.data.as_kind().version(),
            "precompute": extraction::VERSION,
            "decoding": audio::VERSION,
            "metrics": metrics::VERSION,
            "split": split::VERSION,
            "features": experiment.features.iter().map(|(n, f)| (n.clone(), f.as_kind().version())).collect::<Versions>(),
            "models": experiment.models.iter().map(|(n, m)| (n.clone(), m.as_kind().version())).collect::<Versions>(),
            "files": self.model_files,
        });
        let decisions = aggregation::version(experiment.evaluate.task);
        if experiment.evaluate.windows().is_some() {
            versions["windows"] = json!([windows::VERSION, decisions]);
        } else if decisions > 1 {
            // Version 1 is left out: runs from before this entry existed keep their signature.
            versions["decisions"] = json!(decisions);
        }
        if self.models_from.is_some() {
            versions["models_from"] = json!(model_source::VERSION);
        }
        let teachers = self.teachers.identities(experiment);
        if !teachers.is_empty() {
            versions["teachers"] = json!(teachers);
        }
        if experiment.evaluate.search.is_some() {
            versions["search"] = json!(threshold_search::VERSION);
        }
        if !experiment.augment.is_empty() {
            versions["augment"] = experiment.augment.iter().map(|spec| spec.as_kind().version()).collect();
            versions["augment_chain"] = json!(chain::VERSION);
        }
        if !self.augment_files.is_empty() {
            versions["augment_files"] = json!(self.augment_files);
        }
        versions
    }

    /// The stages for `run.json`: one hash stands for thousands of background files.
    pub fn stages_summary(&self, experiment: &Experiment) -> Value {
        let mut stages = self.stages(experiment);
        if let Some(files) = stages.get_mut("augment_files") {
            *files = json!(blake3::hash(files.to_string().as_bytes()).to_hex().to_string());
        }
        stages
    }

    /// The signature of a fit: a hash of everything that decides the fitted model, and of nothing that only scores it. None for ensembles,
    /// which are made of finished trials.
    pub fn fit_signature(&self, experiment: &Experiment, trial: &Trial) -> Option<String> {
        let spec = &experiment.models[&trial.model];
        if spec.as_ensemble().is_some() || self.models_from.is_some() {
            return None;
        }
        let mut alone = experiment.clone();
        alone.features.retain(|name, _| *name == trial.features);
        alone.models.retain(|name, _| *name == trial.model);
        alone.seeds = vec![trial.seed];
        // A network that monitors a metric of its decisions is another network with another threshold.
        let monitors_decisions = spec.as_network().is_some_and(|network| network.training().monitors_decisions());
        let (metric, searches) =
            (alone.evaluate.metric(), matches!(experiment.models[&trial.model], ModelSpec::Search(_)));
        let EvaluateSpec { task, cutoff, cutoffs, at_most, at_least_one, .. } = alone.evaluate;
        alone.evaluate = match monitors_decisions || searches {
            true => EvaluateSpec { task, cutoff, cutoffs, at_most, at_least_one, ..EvaluateSpec::default() },
            false => EvaluateSpec { task, ..EvaluateSpec::default() },
        };
        // A search chooses by the headline metric of its decisions.
        alone.evaluate.metric = searches.then_some(metric);
        Some(self.signature(&alone))
    }

    /// The signature without the keys that only affect finished trials: runs with an equal one have equal trials.
    pub fn training_signature(&self, experiment: &Experiment) -> String {
        let mut training = experiment.clone();
        training.evaluate.search = None;
        training.evaluate.bootstrap = 0;
        training.evaluate.by_tag.clear();
        if !training.models.values().any(|spec| spec.as_kind().depends_on_metric()) {
            training.evaluate.metric = None;
        }
        self.signature(&training)
    }
}
