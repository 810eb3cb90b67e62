//! Nearest class mean.
//!
//! Conventions: as scikit-learn's NearestCentroid with the Euclidean metric; of equally near means the first class wins, a
//! class without training rows is never chosen. Means and distances are f64, the means are kept as f32.
//!
//! The probabilities are not scikit-learn's (it assumes Gaussian classes): a class gets the share 1/d² of its mean at
//! distance d, so that the likeliest class is always the nearest mean; a clip that lies on a mean belongs to it wholly.
//! With several labels a clip see `templates.rs`.
//!
//! Memory: a block of rows, and one f64 row a class.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calibrated_centroids::CalibratedCentroids;
use super::products::squared_distance;
use super::scaling::Scaler;
use super::{ensure_columns, predict_row_by_row, probability_row};
use crate::classifier::ensure_trainable;
use crate::device::Device;
use crate::tensor::{chunk_ranges, take_matrix, take_tensor};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor};
use timbre_core::labels::Task;
use timbre_evaluation::predictions::{Predictions, argmax};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Columns that one thread adds up at a time.
const STRIP: usize = 4096;

/// Nearest class mean: each class is the average of its training clips, a clip gets the class whose average is nearest. With
/// several labels a class is given by how much nearer a clip is to the clips that have it than to those that lack it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NearestCentroid {
    /// The feature, or features, to train on: a name or a list of names. Left out: every feature of the experiment.
    #[serde(skip_serializing_if = "FeatureChoice::is_all")]
    pub features: FeatureChoice,
    /// Bring every column to zero mean and unit variance of the training clips first. Default: false.
    pub standardize: bool,
}

impl ModelKind for NearestCentroid {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        let scaler = self.standardize.then(|| Scaler::fit(train)).transpose()?;
        let Sums { counts, sums, all } = Sums::new(train, scaler.as_ref())?;
        let mean = |sum: &[f64], count: f32| -> Vec<f32> {
            sum.iter().map(|&sum| (sum / f64::from(count).max(1.0)) as f32).collect()
        };
        let centroids = sums.chunks_exact(train.dims()).zip(&counts).flat_map(|(sum, &n)| mean(sum, n)).collect();
        if context.decision_rule.task == Task::MultiLabel {
            let all = mean(&all, train.len() as f32);
            let templates = CalibratedCentroids::fit(train, scaler.as_ref(), all, centroids, counts)?;
            return Ok(Box::new(Several { templates, scaler }));
        }
        Ok(Box::new(Fitted { dims: train.dims(), counts, centroids, scaler }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, _device: &Device) -> Result<Box<dyn Classifier>> {
        if tensors.iter().any(|tensor| tensor.name == "slopes") {
            let templates = CalibratedCentroids::restore(&mut tensors, n_classes)?;
            let scaler = Scaler::take(&mut tensors, self.standardize, templates.dims())?;
            return Ok(Box::new(Several { templates, scaler }));
        }
        let (classes, dims, centroids) = take_matrix(&mut tensors, "centroids")?;
        let counts = take_tensor(&mut tensors, "counts")?;
        ensure!(
            classes == n_classes && counts.len() == n_classes,
            "`centroids` has {classes} classes and `counts` {}, {n_classes} are wanted",
            counts.len()
        );
        let scaler = Scaler::take(&mut tensors, self.standardize, dims)?;
        Ok(Box::new(Fitted { dims, counts, centroids, scaler }))
    }
}

/// The rows of each class, and of all, added up.
struct Sums {
    /// Rows a class.
    counts: Vec<f32>,
    /// Row-major, a row a class.
    sums: Vec<f64>,
    all: Vec<f64>,
}

impl Sums {
    fn new(train: &FeatureSet, scaler: Option<&Scaler>) -> Result<Sums> {
        let (dims, n_classes) = (train.dims(), train.n_classes());
        let mut counts = vec![0.0f32; n_classes];
        train.labels().iter().flatten().for_each(|&class| counts[class] += 1.0);
        let (mut sums, mut all) = (vec![0.0f64; n_classes * dims], vec![0.0f64; dims]);
        let mut block = Vec::new();
        for rows in chunk_ranges(train.len(), train.block_rows()) {
            train.read_rows(rows.clone(), &mut block)?;
            if let Some(scaler) = scaler {
                scaler.apply(&mut block);
            }
            let labels = &train.labels()[rows];
            // A class is summed by one thread, in the order of its rows.
            sums.par_chunks_exact_mut(dims).enumerate().for_each(|(class, sum)| {
                for (row, _) in block.chunks_exact(dims).zip(labels).filter(|(_, labels)| labels.contains(&class)) {
                    sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
                }
            });
            all.par_chunks_mut(STRIP).enumerate().for_each(|(strip, sum)| {
                for row in block.chunks_exact(dims) {
                    sum.iter_mut().zip(&row[strip * STRIP..]).for_each(|(sum, &x)| *sum += f64::from(x));
                }
            });
        }
        Ok(Sums { counts, sums, all })
    }
}

/// For several labels a clip.
struct Several {
    templates: CalibratedCentroids,
    scaler: Option<Scaler>,
}

impl Classifier for Several {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure_columns(set, self.templates.dims())?;
        self.templates.predict(set, self.scaler.as_ref())
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = self.templates.tensors();
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
    }
}

struct Fitted {
    dims: usize,
    /// Training rows a class.
    counts: Vec<f32>,
    centroids: Vec<f32>,
    scaler: Option<Scaler>,
}

impl Fitted {
    fn probabilities(&self, row: &[f32]) -> Vec<f32> {
        let squares: Vec<f64> = self
            .counts
            .iter()
            .zip(self.centroids.chunks_exact(self.dims))
            .map(|(&count, mean)| if count > 0.0 { squared_distance(row, mean) } else { f64::INFINITY })
            .collect();
        let nearest = argmax(&squares.iter().map(|d| -d).collect::<Vec<_>>());
        // Shares relative to the nearest mean: 1 for it, so that no square of a distance overflows or divides by zero.
        let least = squares[nearest];
        let weights: Vec<f64> = squares.iter().map(|&d| if d == least { 1.0 } else { least / d }).collect();
        let total: f64 = weights.iter().sum();
        probability_row(&weights.iter().map(|w| w / total).collect::<Vec<_>>(), nearest)
    }
}

impl Classifier for Fitted {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure_columns(set, self.dims)?;
        predict_row_by_row(set, self.scaler.as_ref(), self.counts.len(), |row| self.probabilities(row))
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let n_classes = self.counts.len();
        let mut tensors = vec![
            Tensor::new("centroids", vec![n_classes, self.dims], self.centroids.clone()),
            Tensor::new("counts", vec![n_classes], self.counts.clone()),
        ];
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::Seed;

    fn fit(values: &[f32], targets: &[usize], n_classes: usize) -> Box<dyn Classifier> {
        let dims = values.len() / targets.len();
        let train = FeatureSet::from_memory(values.to_vec(), dims, targets.to_vec(), n_classes);
        NearestCentroid::default().fit(&train, &FitContext::standalone(Seed::new(1))).unwrap()
    }

    fn predict(model: &dyn Classifier, values: &[f32], dims: usize) -> Predictions {
        let rows = values.len() / dims;
        model.predict(&FeatureSet::from_memory(values.to_vec(), dims, vec![0; rows], 9)).unwrap()
    }

    #[test]
    fn the_share_of_a_class_is_its_inverse_squared_distance() {
        let model = fit(&[-1.0, 1.0, 3.0, 5.0], &[0, 0, 1, 1], 2);
        assert_eq!(predict(&*model, &[1.0, 3.0, 4.0], 1).probabilities, [0.9, 0.1, 0.1, 0.9, 0.0, 1.0]);
    }

    #[test]
    fn of_equally_near_means_the_first_class_wins() {
        let model = fit(&[2.0, 0.0], &[1, 2], 4);
        assert_eq!(predict(&*model, &[1.0], 1).most_likely_classes(), [1]);
    }

    #[test]
    fn a_class_without_training_rows_gets_nothing() {
        let model = fit(&[1.0, 2.0, 9.0, 9.0], &[1, 3], 4);
        let predictions = predict(&*model, &[0.0, 0.0, 9.0, 9.0], 2);
        assert!((0..2).all(|clip| predictions.row(clip)[0] == 0.0 && predictions.row(clip)[2] == 0.0));
        assert_eq!(predictions.most_likely_classes(), [1, 3]);
    }

    #[test]
    fn means_too_close_for_f32_shares_are_still_told_apart() {
        let model = fit(&[1.0, 1.000_000_1], &[0, 1], 2);
        assert_eq!(predict(&*model, &[1e4, -1e4], 1).most_likely_classes(), [1, 0]);
    }

    #[test]
    fn features_of_another_length_are_refused() {
        let message = fit(&[1.0, 2.0], &[0, 1], 2)
            .predict(&FeatureSet::from_memory(vec![1.0, 2.0], 2, vec![0], 2))
            .unwrap_err()
            .to_string();
        assert!(message.contains("2 columns") && message.contains("trained on 1"), "{message}");
    }
}
