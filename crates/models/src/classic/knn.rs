//! k nearest neighbours.
//!
//! Conventions: as scikit-learn's KNeighborsClassifier with `algorithm="brute"`. Of classes with equal votes the first wins.
//! With `weights = "distance"` a neighbour counts 1/d; if some are at distance 0, only they count. Differences: of equally near
//! training clips the earlier one comes first (scikit-learn's order is that of a partial sort, so it may choose another when a
//! tie crosses the k-th place), and a clip is at cosine distance 0 from itself exactly (scikit-learn leaves a rounding error
//! there, which decides who counts under distance weights).
//! With `class_weight` a vote counts in inverse proportion to the frequency of its class, which scikit-learn does not have.
//! With several labels per clip the probability of a class is the share of the neighbours that have it, as in
//! KNeighborsClassifier on an indicator matrix. The threshold decides whether half is enough (for scikit-learn's `predict` it
//! is not).
//!
//! Memory: fitting copies nothing; the model keeps a reference to its training rows and streams them (see `neighbours.rs`).
//! Only `tensors` allocates the whole training matrix, since it returns it.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ensure_columns;
pub use super::neighbours::Distance;
use super::neighbours::{Neighbour, nearest};
use super::reduced;
use super::row_model::{ClassWeight, Prepared};
use super::scaling::Scaler;
use crate::classifier::ensure_trainable;
use crate::classifier::probability_row;
use crate::device::Device;
use crate::tensor::{take_matrix, take_shaped};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor, TensorValues, ValidationCurve};
use timbre_core::{
    labels::{Labels, Task},
    registry::Fault,
    text::count,
};
use timbre_evaluation::predictions::{Predictions, argmax};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// How much each neighbour counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// One vote each.
    #[default]
    Uniform,
    /// One over the distance.
    Distance,
}

row_spec! {
    /// k nearest neighbours: a clip gets the most frequent class among the most similar training clips.
    pub struct Knn {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: false.
        pub standardize: bool = false,
        /// The number of neighbours that vote. Default: 5.
        #[schemars(range(min = 1))]
        pub k: usize = 5,
        /// The distance between two clips: "euclidean", "cosine" or "manhattan". Default: "euclidean".
        pub metric: Distance = Distance::Euclidean,
        /// How much each neighbour counts: "uniform" or "distance" (one over its distance). Default: "uniform".
        pub weights: Weights = Weights::Uniform,
        /// Other values of k to score with the same search, for a validation curve. Default: none.
        #[schemars(inner(range(min = 1)))]
        pub curve_k: Vec<usize> = Vec::new(),
        /// "balanced" weights the votes in inverse proportion to the frequency of the class among the training clips. Default: all
        /// count 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub class_weight: Option<ClassWeight> = None,
    }
}

impl Knn {
    fn ensure_enough(&self, rows: usize) -> Result<()> {
        match self.size_faults(rows, None).first() {
            Some(Fault { key, sentence }) => bail!("fit knn: `{key}`: {sentence}"),
            None => Ok(()),
        }
    }
}

impl ModelKind for Knn {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn size_faults(&self, clips: usize, columns: Option<usize>) -> Vec<Fault> {
        let largest = [("k", Some(self.k)), ("curve_k", self.curve_k.iter().copied().max())];
        let fault = |(key, largest): (&str, Option<usize>)| {
            let most = largest.filter(|&most| most > clips)?;
            let sentence = format!(
                "{most} neighbours are needed, but the training split has {}; lower it, or train on more clips",
                count(clips, "clip")
            );
            Some(Fault::new(key, sentence))
        };
        largest.into_iter().filter_map(fault).chain(self.preparing().size_faults(clips, columns)).collect()
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        if self.preparing().reduces() {
            return reduced::fit(self, &self.preparing(), &self.of_prepared(), train, context);
        }
        ensure_trainable(self, train)?;
        self.ensure_enough(train.len())?;
        let scaler = self.standardize.then(|| Scaler::fit(train)).transpose()?;
        Ok(Box::new(Fitted::new(self.clone(), context.decision_rule.task, train.clone(), scaler)))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        if self.preparing().reduces() {
            return reduced::restore(&self.preparing(), &self.of_prepared(), tensors, n_classes, device);
        }
        let (rows, dims, values) = take_matrix(&mut tensors, "train")?;
        let (shape, labels) = take_shaped(&mut tensors, "train_labels")?;
        let (task, labels) = match shape[..] {
            [count] if count == rows => (Task::SingleLabel, class_numbers(&labels, n_classes)?),
            [count, classes] if (count, classes) == (rows, n_classes) => {
                (Task::MultiLabel, indicator_rows(&labels, n_classes)?)
            }
            _ => bail!("`train` has {rows} rows, but `train_labels` for {n_classes} classes has the shape {shape:?}"),
        };
        self.ensure_enough(rows)?;
        let scaler = Scaler::take(&mut tensors, self.standardize, dims)?;
        let train = FeatureSet::from_matrices(values, [1, dims], labels, n_classes);
        Ok(Box::new(Fitted::new(self.clone(), task, train, scaler)))
    }

    /// For several labels the curve is drawn in the headline metric.
    fn depends_on_metric(&self) -> bool {
        !self.curve_k.is_empty()
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.k == 0 {
            faults.push(Fault::new("k", "write 1 or more: at least one neighbour must vote"));
        }
        if self.curve_k.contains(&0) {
            faults.push(Fault::new("curve_k", "write only values of 1 or more: at least one neighbour must vote"));
        }
        let mut sorted = self.curve_k.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            faults.push(Fault::new("curve_k", format!("{} is listed twice: write each value once", pair[0])));
        }
        faults.extend(self.preparing().faults());
        faults
    }
}

/// The class of each row.
fn class_numbers(labels: &[f32], n_classes: usize) -> Result<Vec<Vec<usize>>> {
    let valid = |label: &f32| *label >= 0.0 && label.fract() == 0.0 && (*label as usize) < n_classes;
    ensure!(labels.iter().all(valid), "`train_labels` must contain only class numbers below {n_classes}");
    Ok(labels.iter().map(|&label| vec![label as usize]).collect())
}

/// The classes of each row from an indicator matrix.
fn indicator_rows(marks: &[f32], n_classes: usize) -> Result<Vec<Vec<usize>>> {
    ensure!(marks.iter().all(|&mark| mark == 0.0 || mark == 1.0), "`train_labels` must contain only 0 and 1");
    let classes = |row: &[f32]| (0..n_classes).filter(|&class| row[class] == 1.0).collect();
    Ok(marks.chunks_exact(n_classes).map(classes).collect())
}

struct Fitted {
    spec: Knn,
    task: Task,
    train: FeatureSet,
    scaler: Option<Scaler>,
    /// What a vote for each class counts, and with several labels one against it.
    votes: Vec<[f64; 2]>,
}

impl Fitted {
    fn new(spec: Knn, task: Task, train: FeatureSet, scaler: Option<Scaler>) -> Self {
        let mut counts = vec![0.0; train.n_classes()];
        train.labels().iter().flatten().for_each(|&class| counts[class] += 1.0);
        let (n, present) = (train.len() as f64, counts.iter().filter(|&&count| count > 0.0).count() as f64);
        let votes = |&count: &f64| match (spec.class_weight, task) {
            (None, _) => [1.0, 1.0],
            (Some(ClassWeight::Balanced), Task::SingleLabel) => [n / (present * count.max(1.0)), 1.0],
            (Some(ClassWeight::Balanced), Task::MultiLabel) => {
                [n / (2.0 * count.max(1.0)), n / (2.0 * (n - count).max(1.0))]
            }
        };
        let votes = counts.iter().map(votes).collect();
        Fitted { spec, task, train, scaler, votes }
    }

    fn search(&self, set: &FeatureSet, count: usize) -> Result<Vec<Vec<Neighbour>>> {
        ensure_columns(set, self.train.dims())?;
        nearest(&self.train, set, self.scaler.as_ref(), self.spec.metric, count)
    }

    fn vote(&self, neighbours: &[Vec<Neighbour>], k: usize) -> Predictions {
        let n_classes = self.train.n_classes();
        let probabilities = neighbours.iter().flat_map(|row| self.share(&row[..k])).collect();
        Predictions { n_classes, probabilities }
    }

    fn share(&self, neighbours: &[Neighbour]) -> Vec<f32> {
        let has_exact_match = neighbours.iter().any(|n| n.distance <= 0.0);
        let mut votes = vec![0.0f64; self.train.n_classes()];
        let mut total = 0.0;
        for neighbour in neighbours {
            let vote = match self.spec.weights {
                Weights::Uniform => 1.0,
                Weights::Distance if has_exact_match => f64::from(u8::from(neighbour.distance <= 0.0)),
                Weights::Distance => neighbour.distance.recip(),
            };
            total += vote;
            self.train.labels()[neighbour.row].iter().for_each(|&class| votes[class] += vote);
        }
        if self.task == Task::MultiLabel {
            let share = |(vote, [with, without]): (&f64, &[f64; 2])| {
                let (with, without) = (vote * with, (total - vote) * without);
                (with / (with + without)) as f32
            };
            let is_weighted = self.spec.class_weight.is_some();
            let plain = || votes.iter().map(|vote| (vote / total) as f32).collect();
            return if is_weighted { votes.iter().zip(&self.votes).map(share).collect() } else { plain() };
        }
        votes.iter_mut().zip(&self.votes).for_each(|(vote, [weight, _])| *vote *= weight);
        let winner = argmax(&votes);
        let total: f64 = votes.iter().sum();
        votes.iter_mut().for_each(|vote| *vote /= total);
        probability_row(&votes, winner)
    }
}

impl Classifier for Fitted {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        Ok(self.vote(&self.search(set, self.spec.k)?, self.spec.k))
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let (rows, dims) = (self.train.len(), self.train.dims());
        let n_classes = self.train.n_classes();
        let (shape, labels) = match self.task {
            Task::SingleLabel => (vec![rows], self.train.targets().iter().map(|&class| class as f32).collect()),
            Task::MultiLabel => {
                let mark = |row: &Labels, class: usize| f32::from(u8::from(row.contains(&class)));
                let marks = |row| (0..n_classes).map(move |class| mark(row, class));
                (vec![rows, n_classes], self.train.labels().iter().flat_map(marks).collect())
            }
        };
        let mut tensors = vec![
            Tensor {
                name: "train".to_owned(),
                shape: vec![rows, dims],
                values: TensorValues::Rows(self.train.clone()),
            },
            Tensor::new("train_labels", shape, labels),
        ];
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
    }

    /// One search with the largest k serves all values.
    fn predict_with_curve(&self, set: &FeatureSet) -> Result<(Predictions, Option<ValidationCurve>)> {
        let Some(&most) = self.spec.curve_k.iter().max() else { return Ok((self.predict(set)?, None)) };
        let neighbours = self.search(set, most.max(self.spec.k))?;
        let points = self.spec.curve_k.iter().map(|&k| (k as f64, self.vote(&neighbours, k))).collect();
        Ok((self.vote(&neighbours, self.spec.k), Some(ValidationCurve { parameter: "k".into(), points })))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use timbre_core::seed::Seed;

    /// The slow twin: every distance term by term, a stable sort, a count of votes.
    fn slow(spec: &Knn, train: &[Vec<f32>], labels: &[usize], row: &[f32]) -> usize {
        let distance = |other: &Vec<f32>| {
            let pairs = || row.iter().zip(other).map(|(&a, &b)| (f64::from(a), f64::from(b)));
            let sum = |term: fn(f64, f64) -> f64| pairs().map(|(a, b)| term(a, b)).sum::<f64>();
            match spec.metric {
                Distance::Euclidean => sum(|a, b| (a - b).powi(2)).sqrt(),
                Distance::Manhattan => sum(|a, b| (a - b).abs()),
                Distance::Cosine => {
                    let norms = sum(|a, _| a * a).sqrt() * sum(|_, b| b * b).sqrt();
                    if norms == 0.0 { 1.0 } else { 1.0 - sum(|a, b| a * b) / norms }
                }
            }
        };
        let mut order: Vec<(f64, usize)> = train.iter().map(distance).zip(0..).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut votes = [0.0; 4];
        let exact = order[..spec.k].iter().any(|&(d, _)| d <= 0.0);
        for &(d, i) in &order[..spec.k] {
            votes[labels[i]] += match spec.weights {
                Weights::Uniform => 1.0,
                Weights::Distance if exact => f64::from(u8::from(d <= 0.0)),
                Weights::Distance => 1.0 / d,
            };
        }
        argmax(&votes)
    }

    fn rows(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<f32>>> {
        // Small integers, so that distances are exact and ties frequent.
        prop::collection::vec(prop::collection::vec((-3i8..4).prop_map(f32::from), 3), count)
    }

    proptest! {
        #[test]
        fn the_neighbours_equal_those_of_the_slow_twin(
            train in rows(7..60), test in rows(1..40), k in 1usize..7, manhattan: bool, distance: bool,
        ) {
            let labels: Vec<usize> = (0..train.len()).map(|row| row * 7 % 4).collect();
            let metric = if manhattan { Distance::Manhattan } else { Distance::Euclidean };
            let weights = if distance { Weights::Distance } else { Weights::Uniform };
            let spec = Knn { k, metric, weights, ..Knn::default() };
            let set = FeatureSet::from_memory(train.concat(), 3, labels.clone(), 4);
            let test_set = FeatureSet::from_memory(test.concat(), 3, vec![0; test.len()], 4);
            let decisions = spec.fit(&set, &FitContext::standalone(Seed::new(1))).unwrap().predict(&test_set).unwrap().most_likely_classes();
            for (row, decision) in test.iter().zip(decisions) {
                // Sums of 1/d may differ in the last bit where two classes tie; otherwise the twins agree.
                if weights == Weights::Uniform {
                    prop_assert_eq!(decision, slow(&spec, &train, &labels, row));
                }
            }
        }

        #[test]
        fn distance_and_cosine_votes_equal_those_of_the_slow_twin(
            values in prop::collection::vec(prop::collection::vec(-1.0f32..1.0, 5), 12..50), k in 1usize..6, cosine: bool,
        ) {
            let (test, train) = values.split_at(3);
            let labels: Vec<usize> = (0..train.len()).map(|row| row * 7 % 4).collect();
            let metric = if cosine { Distance::Cosine } else { Distance::Euclidean };
            let spec = Knn { k, metric, weights: Weights::Distance, ..Knn::default() };
            let set = FeatureSet::from_memory(train.concat(), 5, labels.clone(), 4);
            let test_set = FeatureSet::from_memory(test.concat(), 5, vec![0; 3], 4);
            let decisions = spec.fit(&set, &FitContext::standalone(Seed::new(1))).unwrap().predict(&test_set).unwrap().most_likely_classes();
            for (row, decision) in test.iter().zip(decisions) {
                prop_assert_eq!(decision, slow(&spec, train, &labels, row));
            }
        }
    }

    #[test]
    fn a_common_offset_far_larger_than_the_differences_changes_nothing() {
        // ‖a‖² is 1e10 times the squared distance: the product form alone would lose most digits in f32.
        let rows: Vec<f32> = (0..40).flat_map(|i| [1e5 + (i as f32) * 0.5, 1e5]).collect();
        let train = FeatureSet::from_memory(rows.clone(), 2, (0..40).collect(), 40);
        let model = Knn { k: 1, ..Knn::default() }.fit(&train, &FitContext::standalone(Seed::new(1))).unwrap();
        assert_eq!(model.predict(&train).unwrap().most_likely_classes(), (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn the_curve_at_k_is_the_prediction_at_k() {
        let values: Vec<f32> = (0..90).map(|i| ((i * 37) % 90) as f32).collect();
        let train = FeatureSet::from_memory(values, 3, (0..30).map(|i| i % 4).collect(), 4);
        let curve_k = vec![1, 2, 9, 15];
        let model = Knn { curve_k: curve_k.clone(), ..Knn::default() }
            .fit(&train, &FitContext::standalone(Seed::new(1)))
            .unwrap();
        let curve = model.predict_with_curve(&train).unwrap().1.unwrap();
        assert_eq!(curve.parameter, "k");
        for (k, (at, predictions)) in curve_k.into_iter().zip(curve.points) {
            let alone = Knn { k, ..Knn::default() }.fit(&train, &FitContext::standalone(Seed::new(1))).unwrap();
            assert_eq!((k as f64, alone.predict(&train).unwrap()), (at, predictions));
        }
        let without = Knn::default().fit(&train, &FitContext::standalone(Seed::new(1))).unwrap();
        assert!(without.predict_with_curve(&train).unwrap().1.is_none());
    }

    #[test]
    fn more_neighbours_than_training_clips_is_an_error_that_names_the_keys_to_lower() {
        let train = FeatureSet::from_memory(vec![1.0, 2.0, 3.0], 1, vec![0, 1, 0], 2);
        let spec = Knn { k: 2, curve_k: vec![1, 4], ..Knn::default() };
        let error = spec
            .fit(&train, &FitContext::standalone(Seed::new(1)))
            .err()
            .expect("four neighbours of three clips")
            .to_string();
        assert!(error.contains("4 neighbours") && error.contains("3 clips") && error.contains("`curve_k`"), "{error}");
    }

    #[test]
    fn zero_neighbours_are_a_fault() {
        let faults = Knn { k: 0, curve_k: vec![0, 3, 3], ..Knn::default() }.faults();
        assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["k", "curve_k", "curve_k"]);
        assert!(Knn::default().faults().is_empty());
    }
}
