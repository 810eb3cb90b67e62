//! Nearest centroid: a clip gets the class whose mean is nearest.
//!
//! Conventions: as scikit-learn's NearestCentroid with the Euclidean metric. Of equally near means the first class wins; a
//! class without training rows is never chosen. Means and distances are f64; the means are kept as f32.
//!
//! The probabilities differ from scikit-learn's, which assumes Gaussian classes: a class gets the share 1/d² for its mean at
//! distance d. The most likely class is thus always the nearest mean, and a clip on a mean belongs to it entirely.
//! `calibrated_centroids.rs` has the model for several labels per clip.
//!
//! Memory: a block of rows, and one f64 row per class.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::calibrated_centroids::CalibratedCentroids;
use super::reduced;
use super::row_model::Prepared;
use super::scaling::Scaler;
use super::{ensure_columns, predict_row_by_row};
use crate::classifier::ensure_trainable;
use crate::classifier::probability_row;
use crate::device::Device;
use crate::products::squared_distance;
use crate::tensor::{chunk_ranges, take_matrix, take_tensor};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor};
use timbre_core::{labels::Task, registry::Fault};
use timbre_evaluation::predictions::{Predictions, argmax};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Columns that one thread sums at a time.
const STRIP: usize = 4096;

row_spec! {
    /// Nearest centroid: each class is the mean of its training clips, and a clip gets the class with the nearest mean. With several
    /// labels, a class is the more likely, the nearer a clip is to the clips that have it compared to those that lack it.
    pub struct NearestCentroid {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: false.
        pub standardize: bool = false,
    }
}

impl ModelKind for NearestCentroid {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        if self.preparing().reduces() {
            return reduced::fit(self, &self.preparing(), &self.of_prepared(), train, context);
        }
        ensure_trainable(self, train)?;
        let scaler = self.standardize.then(|| Scaler::fit(train)).transpose()?;
        let Sums { counts, sums, all } = Sums::new(train, scaler.as_ref())?;
        let mean = |sum: &[f64], count: f32| -> Vec<f32> {
            sum.iter().map(|&sum| (sum / f64::from(count).max(1.0)) as f32).collect()
        };
        let centroids = sums.chunks_exact(train.dims()).zip(&counts).flat_map(|(sum, &n)| mean(sum, n)).collect();
        if context.decision_rule.task == Task::MultiLabel {
            let all = mean(&all, train.len() as f32);
            let centroids = CalibratedCentroids::fit(train, scaler.as_ref(), all, centroids, counts)?;
            return Ok(Box::new(MultiLabelFitted { centroids, scaler }));
        }
        Ok(Box::new(Fitted { dims: train.dims(), counts, centroids, scaler }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        if self.preparing().reduces() {
            return reduced::restore(&self.preparing(), &self.of_prepared(), tensors, n_classes, device);
        }
        if tensors.iter().any(|tensor| tensor.name == "slopes") {
            let centroids = CalibratedCentroids::restore(&mut tensors, n_classes)?;
            let scaler = Scaler::take(&mut tensors, self.standardize, centroids.dims())?;
            return Ok(Box::new(MultiLabelFitted { centroids, scaler }));
        }
        let (classes, dims, centroids) = take_matrix(&mut tensors, "centroids")?;
        let counts = take_tensor(&mut tensors, "counts")?;
        ensure!(
            classes == n_classes && counts.len() == n_classes,
            "`centroids` has {classes} classes and `counts` {}, expected {n_classes}",
            counts.len()
        );
        let scaler = Scaler::take(&mut tensors, self.standardize, dims)?;
        Ok(Box::new(Fitted { dims, counts, centroids, scaler }))
    }

    fn size_faults(&self, clips: usize, columns: Option<usize>) -> Vec<Fault> {
        self.preparing().size_faults(clips, columns)
    }

    fn faults(&self) -> Vec<Fault> {
        self.preparing().faults()
    }
}

/// The sums of the rows of each class, and of all rows.
struct Sums {
    /// The number of rows of each class.
    counts: Vec<f32>,
    /// Row-major, one row per class.
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
            // One thread sums a class, in the order of its rows.
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

/// The fitted model for several labels per clip.
struct MultiLabelFitted {
    centroids: CalibratedCentroids,
    scaler: Option<Scaler>,
}

impl Classifier for MultiLabelFitted {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure_columns(set, self.centroids.dims())?;
        self.centroids.predict(set, self.scaler.as_ref())
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = self.centroids.tensors();
        tensors.extend(self.scaler.iter().flat_map(Scaler::tensors));
        Ok(tensors)
    }
}

struct Fitted {
    dims: usize,
    /// The number of training rows of each class.
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
        // Shares relative to the nearest mean, whose share is 1, so that no squared distance overflows or divides by zero.
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
    fn the_first_of_equally_near_means_wins() {
        let model = fit(&[2.0, 0.0], &[1, 2], 4);
        assert_eq!(predict(&*model, &[1.0], 1).most_likely_classes(), [1]);
    }

    #[test]
    fn a_class_without_training_rows_gets_probability_0() {
        let model = fit(&[1.0, 2.0, 9.0, 9.0], &[1, 3], 4);
        let predictions = predict(&*model, &[0.0, 0.0, 9.0, 9.0], 2);
        assert!((0..2).all(|clip| predictions.row(clip)[0] == 0.0 && predictions.row(clip)[2] == 0.0));
        assert_eq!(predictions.most_likely_classes(), [1, 3]);
    }

    #[test]
    fn means_too_close_for_f32_shares_still_differ() {
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
