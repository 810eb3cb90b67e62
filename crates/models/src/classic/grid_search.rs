//! Search within a model: keys with several values, of which cross-validation on the training subset chooses.
//!
//! Conventions: scikit-learn's `GridSearchCV`. Every combination of the values is fitted to all folds but one and scored on that one by the
//! headline metric, at the thresholds of the experiment; the mean over the folds decides, and of equal means the first. The chosen model is then
//! fitted to the whole training subset. The standard deviation is that of the folds without correction. Folds are those of
//! `StratifiedGroupKFold`: a song is in one fold, and classes are spread evenly. Standardization, selection and components are part of the
//! model, so they are fitted to the training folds alone. No validation or test recording takes part.
//!
//! A fold in which the metric is undefined leaves the combination without a mean, and it is ranked last.
//!
//! Memory: as many fits at once as there are threads.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::device::Device;
use crate::search_results::{CandidateScores, SearchResults};
use crate::tensor::take_tensor;
use crate::{
    Classifier, FeatureChoice, FitContext, Importances, ModelKind, ModelSpec, SingleModel, Tensor, ValidationCurve,
};
use timbre_core::{cancel::Cancelled, range::RangeSpec, registry::Fault, seed::Seed};
use timbre_evaluation::{metrics::DecisionRule, metrics::weighted_metric, predictions::Predictions};
use timbre_inputs::{data::split::grouped_folds, dataset::feature_set::FeatureSet};

/// The key of the number of folds.
pub const FOLDS: &str = "cv";
const DEFAULT_FOLDS: usize = 5;
/// More combinations are taken for a mistake.
const MOST: usize = 1_000;
/// The tensor with the number of the chosen combination.
const CHOSEN: &str = "search.chosen";

/// A model with several values of some keys.
#[derive(Clone, Debug, PartialEq)]
pub struct GridSearch {
    /// The values of each key, in the order of the file.
    values: IndexMap<String, Vec<Value>>,
    folds: usize,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    params: IndexMap<String, Value>,
    spec: SingleModel,
}

/// The score of a fit on its fold, with the seconds of the fit and of the prediction.
type Scored = (Option<f64>, f64, f64);

/// Whether the value of a key is several: a list, or a range.
fn is_several(value: &Value) -> bool {
    value.is_array() || value.as_object().is_some_and(|range| range.contains_key("from"))
}

fn parse(table: &Map<String, Value>) -> Result<SingleModel, serde_json::Error> {
    SingleModel::deserialize(Value::Object(table.clone()))
}

impl GridSearch {
    /// The search that a table of a model asks for; None if it has one value for each key.
    pub fn of(table: &Map<String, Value>) -> Result<Option<GridSearch>> {
        let Some(kind) = table.get("kind").and_then(Value::as_str) else { return Ok(None) };
        // A key that takes a list itself is no search, such as `curve_k`.
        let takes = |key: &str, value: &Value| {
            parse(&Map::from_iter([("kind".to_owned(), json!(kind)), (key.to_owned(), value.clone())])).is_ok()
        };
        let searched: Vec<&String> = table
            .iter()
            .filter(|(key, value)| *key != "features" && is_several(value) && !takes(key, value))
            .map(|(key, _)| key)
            .collect();
        let plain = parse(&Map::from_iter([("kind".to_owned(), json!(kind))]));
        let is_classic = plain.is_ok_and(|spec| is_classic(&spec));
        if !is_classic || (searched.is_empty() && !table.contains_key(FOLDS)) {
            return Ok(None);
        }
        ensure!(!searched.is_empty(), "`{FOLDS}` is the number of folds of a search, but no key has several values");
        let folds = match table.get(FOLDS) {
            None => DEFAULT_FOLDS,
            Some(folds) => {
                folds.as_u64().filter(|&folds| folds >= 2).context("write 2 or more folds for `cv`")? as usize
            }
        };
        let mut values = IndexMap::new();
        for key in searched {
            let listed = match &table[key] {
                Value::Array(values) => values.clone(),
                range => {
                    let range: RangeSpec = serde_json::from_value(range.clone()).with_context(|| format!("`{key}`"))?;
                    let takes_fractions = takes(key, &json!(0.5));
                    range.values(!takes_fractions).with_context(|| format!("`{key}`"))?
                }
            };
            ensure!(!listed.is_empty(), "`{key}` has no value");
            if let Some(twice) = (1..listed.len()).find(|&at| listed[..at].contains(&listed[at])) {
                bail!("`{key}` has the value {} twice", listed[twice]);
            }
            values.insert(key.clone(), listed);
        }
        let all = values.values().try_fold(1usize, |all, own| all.checked_mul(own.len())).filter(|&all| all <= MOST);
        let Some(all) = all else {
            bail!("the search has more than {MOST} combinations; write fewer values, or use `[grid]` with `sample`")
        };
        let candidate = |number: usize| -> Result<Candidate> {
            let mut rest = number;
            let mut params: Vec<(String, Value)> = Vec::new();
            for (key, own) in values.iter().rev() {
                params.push((key.clone(), own[rest % own.len()].clone()));
                rest /= own.len();
            }
            let params: IndexMap<String, Value> = params.into_iter().rev().collect();
            let mut own = table.clone();
            own.remove(FOLDS);
            own.extend(params.iter().map(|(key, value)| (key.clone(), value.clone())));
            Ok(Candidate { spec: parse(&own)?, params })
        };
        let candidates = (0..all).map(candidate).collect::<Result<_>>()?;
        Ok(Some(GridSearch { values, folds, candidates }))
    }

    /// A model that stands for all: they differ in the searched keys alone.
    pub fn first(&self) -> &SingleModel {
        &self.candidates[0].spec
    }

    /// The table of the model with every default and the values of the searched keys.
    pub fn table(&self) -> Result<Map<String, Value>, serde_json::Error> {
        let Value::Object(mut table) = serde_json::to_value(self.first())? else { unreachable!("a model is a table") };
        table.extend(self.values.iter().map(|(key, values)| (key.clone(), json!(values))));
        table.insert(FOLDS.to_owned(), json!(self.folds));
        Ok(table)
    }

    /// The faults of all models, each once.
    fn faults_of(&self, of: impl Fn(&dyn ModelKind) -> Vec<Fault>) -> Vec<Fault> {
        let mut all: Vec<Fault> = Vec::new();
        for fault in self.candidates.iter().flat_map(|own| of(own.spec.as_kind())) {
            if !all.contains(&fault) {
                all.push(fault);
            }
        }
        all
    }

    fn search(&self, train: &FeatureSet, context: &FitContext) -> Result<SearchResults> {
        let each: Vec<usize> = (0..train.len()).collect();
        let groups = train.groups().unwrap_or(&each);
        let folds = grouped_folds(groups, train.labels(), train.n_classes(), self.folds, Seed::new(0).child("cv"))
            .context("search the values of a model")?;
        let part = |fold: usize, inside: bool| {
            let rows: Vec<usize> = (0..train.len()).filter(|&row| (folds[row] == fold) == inside).collect();
            let labels = rows.iter().map(|&row| train.labels()[row].clone()).collect();
            train.subset(rows, labels, train.n_classes())
        };
        let parts: Vec<[FeatureSet; 2]> = (0..self.folds).map(|fold| [part(fold, false), part(fold, true)]).collect();
        let tasks: Vec<(usize, usize)> =
            (0..self.candidates.len()).flat_map(|own| (0..self.folds).map(move |fold| (own, fold))).collect();
        let one = |&(candidate, fold): &(usize, usize)| -> Result<Scored> {
            if context.stop.load(Ordering::Relaxed) {
                return Err(Cancelled.into());
            }
            let [kept, held_out] = &parts[fold];
            let context = FitContext {
                seed: context.seed.child("cv").child(fold),
                decision_rule: context.decision_rule.clone(),
                ..*context
            };
            let clock = Instant::now();
            let model = ModelSpec::from(self.candidates[candidate].spec.clone()).fit(kept, &context)?;
            let fitted = clock.elapsed().as_secs_f64();
            let predictions = model.predict(held_out)?;
            let score = score(&context.decision_rule, context.metric, held_out, &predictions);
            Ok((score, fitted, clock.elapsed().as_secs_f64() - fitted))
        };
        let done: Vec<Scored> = tasks.par_iter().map(one).collect::<Result<_>>()?;
        let scores = |(candidate, done): (&Candidate, &[Scored])| CandidateScores {
            params: candidate.params.clone(),
            scores: done.iter().map(|own| own.0).collect(),
            fit_seconds: done.iter().map(|own| own.1).collect(),
            score_seconds: done.iter().map(|own| own.2).collect(),
        };
        let candidates = self.candidates.iter().zip(done.chunks_exact(self.folds)).map(scores).collect();
        let mut results = SearchResults { metric: context.metric.to_owned(), candidates, chosen: 0 };
        results.chosen = results.ranks().iter().position(|&rank| rank == 1).unwrap_or(0);
        Ok(results)
    }
}

/// Whether a model is fitted to rows of features: no network, no ensemble.
fn is_classic(spec: &SingleModel) -> bool {
    spec.as_network().is_none() && !matches!(spec, SingleModel::Ensemble(_)) && spec.as_kind().learns()
}

fn score(rule: &DecisionRule, metric: &str, set: &FeatureSet, predictions: &Predictions) -> Option<f64> {
    let decided = rule.decide(predictions);
    weighted_metric(rule.task, metric, set.labels(), &decided, predictions)(&vec![1; set.len()])
}

impl ModelKind for GridSearch {
    fn version(&self) -> u32 {
        self.first().as_kind().version()
    }

    fn features(&self) -> &FeatureChoice {
        self.first().as_kind().features()
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        crate::classifier::ensure_trainable(self, train)?;
        let results = self.search(train, context)?;
        let model = ModelSpec::from(self.candidates[results.chosen].spec.clone()).fit(train, context)?;
        Ok(Box::new(Searched { model, chosen: results.chosen, results: Some(results) }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        let chosen = take_tensor(&mut tensors, CHOSEN)?.first().map_or(usize::MAX, |&number| number as usize);
        ensure!(chosen < self.candidates.len(), "`{CHOSEN}` names none of the {} combinations", self.candidates.len());
        let model = ModelSpec::from(self.candidates[chosen].spec.clone()).restore(tensors, n_classes, device)?;
        Ok(Box::new(Searched { model, chosen, results: None }))
    }

    fn faults(&self) -> Vec<Fault> {
        self.faults_of(|kind| kind.faults())
    }

    fn task_faults(&self, decision_rule: &DecisionRule) -> Vec<Fault> {
        self.faults_of(|kind| kind.task_faults(decision_rule))
    }

    /// The models are fitted to all folds but one.
    fn size_faults(&self, clips: usize, columns: Option<usize>) -> Vec<Fault> {
        self.faults_of(|kind| kind.size_faults(clips - clips.div_ceil(self.folds), columns))
    }

    fn class_size_warning(&self, clips: usize) -> Option<Fault> {
        self.faults_of(|kind| kind.class_size_warning(clips).into_iter().collect()).into_iter().next()
    }

    fn uses_weights(&self) -> bool {
        self.first().as_kind().uses_weights()
    }

    fn has_importances(&self) -> bool {
        self.first().as_kind().has_importances()
    }

    fn depends_on_metric(&self) -> bool {
        true
    }
}

struct Searched {
    model: Box<dyn Classifier>,
    chosen: usize,
    /// None in a restored model.
    results: Option<SearchResults>,
}

impl Classifier for Searched {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        self.model.predict(set)
    }

    fn predict_with_curve(&self, set: &FeatureSet) -> Result<(Predictions, Option<ValidationCurve>)> {
        self.model.predict_with_curve(set)
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = vec![Tensor::new(CHOSEN, vec![1], vec![self.chosen as f32])];
        tensors.extend(self.model.tensors()?);
        Ok(tensors)
    }

    fn importances(&self) -> Vec<Importances> {
        self.model.importances()
    }

    fn search_results(&self) -> Option<&SearchResults> {
        self.results.as_ref()
    }

    fn notes(&self) -> Vec<(String, String)> {
        let mut notes = Vec::new();
        if let Some(results) = &self.results {
            notes.push(("chosen".to_owned(), results.chosen().text()));
            let score =
                results.chosen().mean().map_or("undefined".to_owned(), |(mean, sd)| format!("{mean:.4} ± {sd:.4}"));
            let folds = results.chosen().scores.len();
            notes.push((format!("{} of {folds}-fold cross-validation", results.metric), score));
        }
        notes.extend(self.model.notes());
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::uniform;

    fn search(keys: &str) -> ModelSpec {
        toml::from_str(&format!("kind = \"knn\"\n{keys}")).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Two noisy classes in one dimension: a single neighbour overfits.
    fn noisy(rows: usize) -> FeatureSet {
        let mut rng = Seed::new(4).rng();
        let targets: Vec<usize> = (0..rows).map(|row| row % 2).collect();
        let values = targets.iter().map(|&class| (class as f64 + 2.0 * uniform(&mut rng)) as f32).collect();
        FeatureSet::from_memory(values, 1, targets, 2)
    }

    #[test]
    fn the_chosen_values_are_the_best_on_the_folds_and_are_fitted_to_all_rows() {
        let (train, context) = (noisy(200), FitContext::standalone(Seed::new(1)));
        let model = search("k = [1, 25]\ncv = 4").fit(&train, &context).unwrap();
        let results = model.search_results().unwrap();
        assert_eq!((results.chosen().text(), results.candidates[1].scores.len()), ("k = 25".to_owned(), 4));
        assert_eq!(results.ranks(), [2, 1]);
        let alone = search("k = 25").fit(&train, &context).unwrap();
        let probes = noisy(60);
        assert_eq!(model.predict(&probes).unwrap(), alone.predict(&probes).unwrap());
        assert_eq!(model.notes()[0], ("chosen".to_owned(), "k = 25".to_owned()));
    }

    #[test]
    fn a_restored_search_has_the_chosen_values() {
        let (train, context) = (noisy(120), FitContext::standalone(Seed::new(1)));
        let spec = search("k = [1, 15, 3]\nmetric = [\"euclidean\", \"manhattan\"]\ncv = 3");
        let model = spec.fit(&train, &context).unwrap();
        let restored = spec.restore(model.tensors().unwrap(), 2, &Device::cpu()).unwrap();
        assert_eq!(restored.predict(&train).unwrap(), model.predict(&train).unwrap());
        let written: ModelSpec = toml::from_str(&toml::to_string(&spec).unwrap()).unwrap();
        assert_eq!(written, spec);
    }

    #[test]
    fn recordings_of_one_song_are_in_one_fold() {
        // Each song is a point far from all others with one class: a neighbour of the same song would be right, all others are wrong by design.
        let rows = 40;
        let targets: Vec<usize> = (0..rows).map(|row| row / 4 % 2).collect();
        let values = (0..rows).map(|row| (row / 4) as f32).collect();
        let set = FeatureSet::from_memory(values, 1, targets, 2);
        let accuracy = |set: &FeatureSet| {
            let model = search("k = [1, 2]\ncv = 5").fit(set, &FitContext::standalone(Seed::new(1))).unwrap();
            model.search_results().unwrap().candidates[0].mean().unwrap().0
        };
        let songs = (0..rows).map(|row| row / 4).collect();
        assert_eq!(accuracy(&set), 1.0);
        assert!(accuracy(&set.with_groups(songs)) < 0.6);
    }

    #[test]
    fn neither_threads_nor_their_number_change_the_scores() {
        let train = noisy(150);
        let scores = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let spec: ModelSpec =
                toml::from_str("kind = \"random_forest\"\nn_estimators = 5\nmax_depth = [1, 4]\ncv = 3").unwrap();
            let model = pool.install(|| spec.fit(&train, &FitContext::standalone(Seed::new(1))).unwrap());
            let results = model.search_results().unwrap();
            (
                results.candidates.iter().map(|own| own.scores.clone()).collect::<Vec<_>>(),
                model.predict(&train).unwrap(),
            )
        };
        assert_eq!(scores(1), scores(3));
    }

    #[test]
    fn ranges_are_values_and_keys_that_take_lists_are_no_search() {
        let values = |keys: &str| match search(keys) {
            ModelSpec::Search(search) => search.values,
            ModelSpec::Single(_) => IndexMap::new(),
        };
        assert_eq!(values("k = { from = 1, to = 9, steps = 5 }")["k"], [1, 3, 5, 7, 9]);
        assert!(values("k = 3\ncurve_k = [1, 3]\nfeatures = [\"a\", \"b\"]").is_empty());
        let spec: ModelSpec =
            toml::from_str("kind = \"logistic\"\nc = { from = 0.01, to = 100, steps = 5, log = true }").unwrap();
        let ModelSpec::Search(search) = spec else { panic!("a range is a search") };
        assert_eq!(search.values["c"], [0.01, 0.1, 1.0, 10.0, 100.0]);
        let spec: ModelSpec = toml::from_str("kind = \"mlp\"\nhidden_layer_sizes = [[8], [8, 4]]").unwrap();
        assert!(matches!(spec, ModelSpec::Search(_)));
        for wrong in [
            "k = []",
            "k = [1, 1]",
            "k = [1, \"x\"]",
            "cv = 3",
            "k = [1, 2]\ncv = 1",
            "k = { from = 5, to = 1, steps = 3 }",
        ] {
            assert!(toml::from_str::<ModelSpec>(&format!("kind = \"knn\"\n{wrong}")).is_err(), "{wrong}");
        }
        assert_eq!(search_faults("k = [0, 3]").len(), 1);
    }

    fn search_faults(keys: &str) -> Vec<Fault> {
        search(keys).as_kind().faults()
    }
}
