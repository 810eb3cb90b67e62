//! k nearest neighbours.
//!
//! Conventions: as scikit-learn's KNeighborsClassifier with `algorithm="brute"`. Of classes with equal votes the first wins.
//! With `weights = "distance"` a neighbour counts 1/d; where some are at distance 0 they alone count. Differences: of
//! equally near training clips the earlier one comes first (scikit-learn's order is that of a partial sort, so it may take
//! another when a tie crosses the k-th place), and a clip is at cosine distance 0 from itself exactly (scikit-learn leaves a
//! rounding error there, which decides who counts under distance weights).
//!
//! Memory: fitting copies nothing, the model keeps the place of its training rows and streams them (see `neighbours.rs`).
//! Only `tensors` allocates the whole training matrix, since that is what is asked for.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::neighbours::{Neighbour, nearest};
use super::scaling::Scaler;
use super::{
    Classifier, Curve, FeatureChoice, ModelKind, Tensor, ensure_columns, ensure_trainable, first_largest,
    probability_row, take_matrix, take_scaler, take_tensor,
};
use crate::dataset::FeatureSet;
use crate::predictions::Predictions;
use crate::seed::Seed;

/// How far two clips are from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The root of the summed squared differences.
    #[default]
    Euclidean,
    /// One minus the cosine of the angle: loudness does not count.
    Cosine,
    /// The sum of the absolute differences.
    Manhattan,
}

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

/// k nearest neighbours: a clip gets the commonest class among the training clips most like it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Knn {
    /// The feature, or features, to train on: a name or a list of names. Left out: every feature of the experiment.
    #[serde(skip_serializing_if = "FeatureChoice::is_all")]
    pub features: FeatureChoice,
    /// Bring every column to zero mean and unit variance of the training clips first. Default: false.
    pub standardize: bool,
    /// How many neighbours vote. Default: 5.
    #[schemars(range(min = 1))]
    pub k: usize,
    /// How the distance between two clips is measured: "euclidean", "cosine" or "manhattan". Default: "euclidean".
    pub metric: Metric,
    /// How much each neighbour counts: "uniform" or "distance" (one over its distance). Default: "uniform".
    pub weights: Weights,
    /// Other values of k to score from the same search, for a curve over k. Default: none.
    #[schemars(inner(range(min = 1)))]
    pub curve_k: Vec<usize>,
}

impl Default for Knn {
    fn default() -> Self {
        Knn {
            features: FeatureChoice::default(),
            standardize: false,
            k: 5,
            metric: Metric::Euclidean,
            weights: Weights::Uniform,
            curve_k: Vec::new(),
        }
    }
}

impl Knn {
    fn ensure_enough(&self, rows: usize) -> Result<()> {
        let most = self.curve_k.iter().copied().fold(self.k, usize::max);
        ensure!(
            most <= rows,
            "fit knn: {most} neighbours are asked for and the training part has {rows} clips; lower `k` and `curve_k`, or \
             train on more clips"
        );
        Ok(())
    }
}

impl ModelKind for Knn {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, _seed: Seed) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        self.ensure_enough(train.len())?;
        let scaler = self.standardize.then(|| Scaler::fit(train)).transpose()?;
        Ok(Box::new(Fitted { spec: self.clone(), train: train.clone(), scaler }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize) -> Result<Box<dyn Classifier>> {
        let (rows, dims, values) = take_matrix(&mut tensors, "train")?;
        let labels = take_tensor(&mut tensors, "train_labels")?.values;
        ensure!(labels.len() == rows, "`train` has {rows} rows and `train_labels` {}", labels.len());
        let valid = |label: &f32| *label >= 0.0 && label.fract() == 0.0 && (*label as usize) < n_classes;
        ensure!(labels.iter().all(valid), "`train_labels` holds something else than classes below {n_classes}");
        self.ensure_enough(rows)?;
        let scaler = take_scaler(&mut tensors, self.standardize, dims)?;
        let targets = labels.into_iter().map(|label| label as usize).collect();
        let train = FeatureSet::from_memory(values, dims, targets, n_classes);
        Ok(Box::new(Fitted { spec: self.clone(), train, scaler }))
    }

    fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if self.k == 0 {
            faults.push(("k".to_owned(), "at least one neighbour must vote: write 1 or more".to_owned()));
        }
        if self.curve_k.contains(&0) {
            faults
                .push(("curve_k".to_owned(), "at least one neighbour must vote: every value is 1 or more".to_owned()));
        }
        let mut sorted = self.curve_k.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            faults.push(("curve_k".to_owned(), format!("{} is listed twice: write each value once", pair[0])));
        }
        faults
    }
}

struct Fitted {
    spec: Knn,
    train: FeatureSet,
    scaler: Option<Scaler>,
}

impl Fitted {
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
        let on_the_spot = neighbours.iter().any(|n| n.distance <= 0.0);
        let mut votes = vec![0.0f64; self.train.n_classes()];
        for neighbour in neighbours {
            votes[self.train.targets()[neighbour.row]] += match self.spec.weights {
                Weights::Uniform => 1.0,
                Weights::Distance if on_the_spot => f64::from(u8::from(neighbour.distance <= 0.0)),
                Weights::Distance => neighbour.distance.recip(),
            };
        }
        let winner = first_largest(&votes);
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
        let mut values = Vec::new();
        self.train.read_rows(0..rows, &mut values)?;
        let labels = self.train.targets().iter().map(|&class| class as f32).collect();
        let mut tensors = vec![
            Tensor { name: "train".into(), shape: vec![rows, dims], values },
            Tensor { name: "train_labels".into(), shape: vec![rows], values: labels },
        ];
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
    }

    fn curve(&self, set: &FeatureSet) -> Result<Option<Curve>> {
        let Some(&most) = self.spec.curve_k.iter().max() else { return Ok(None) };
        let neighbours = self.search(set, most)?;
        let points = self.spec.curve_k.iter().map(|&k| (k as f64, self.vote(&neighbours, k))).collect();
        Ok(Some(Curve { parameter: "k".into(), points }))
    }
}
