//! Gaussian naive Bayes: each column of each class is an independent normal distribution.
//!
//! Conventions: as scikit-learn's GaussianNB: the variances are those of the population, and `var_smoothing` times the largest
//! variance of a column over all clips is added to each. Means and variances are stored as f32.

use std::ops::Range;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::row_model::{Problem, RowClassifier, RowModel};
use super::rows::Rows;
use crate::Tensor;
use crate::tensor::{chunk_ranges, take_matrix, take_tensor};
use timbre_core::registry::Fault;
use timbre_evaluation::predictions::argmax;

row_spec! {
    /// Gaussian naive Bayes: each column of each class is an independent normal distribution.
    pub struct NaiveBayes {
        /// Standardize every column to zero mean and unit variance over the training clips first. Default: false.
        pub standardize: bool = false,
        /// The share of the largest variance of a column that is added to every variance. Default: 1e-9.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub var_smoothing: f64 = 1e-9,
    }
}

row_model!(NaiveBayes, version 2);

impl RowModel for NaiveBayes {
    type Fitted = Gaussians;

    fn own_faults(&self) -> Vec<Fault> {
        let possible = (0.0..=1.0).contains(&self.var_smoothing);
        Fault::of_keys([(
            "var_smoothing",
            (!possible).then(|| "write a share between 0 and 1, such as 1e-9".to_owned()),
        )])
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Gaussians> {
        let &Problem { rows, targets, classes, .. } = problem;
        let Moments { shares, means, variances } = Moments::of(rows, targets, classes);
        // The variance of a column over all rows: within the classes, and between them.
        let variance = |column: usize| -> f64 {
            let of_class = |class: usize| class * rows.dims + column;
            let mean: f64 = shares.iter().enumerate().map(|(class, share)| share * means[of_class(class)]).sum();
            let spread = |(class, share): (usize, &f64)| {
                share * (variances[of_class(class)] + (means[of_class(class)] - mean).powi(2))
            };
            shares.iter().enumerate().map(spread).sum()
        };
        let widest = (0..rows.dims).map(variance).fold(0.0, f64::max);
        // A column that is the same everywhere keeps a variance that can be divided by.
        let smoothed =
            |variance: &f64| (variance + self.var_smoothing * widest).max(f64::from(f32::MIN_POSITIVE)) as f32;
        let variances = variances.iter().map(smoothed).collect();
        let [priors, means] = [shares, means].map(|values| values.into_iter().map(|value| value as f32).collect());
        Ok(Gaussians::new(rows.dims, priors, means, variances))
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Gaussians> {
        let priors = take_tensor(tensors, &format!("{prefix}priors"))?;
        let (mean_rows, mean_columns, means) = take_matrix(tensors, &format!("{prefix}means"))?;
        let (rows, columns, variances) = take_matrix(tensors, &format!("{prefix}variances"))?;
        ensure!(
            priors.len() == classes && [mean_rows, mean_columns, rows, columns] == [classes, dims, classes, dims],
            "`{prefix}means` has {mean_rows} classes of {mean_columns} columns, expected {classes} of {dims}"
        );
        Ok(Gaussians::new(dims, priors, means, variances))
    }
}

/// The share of the rows in each class, and the mean and variance of each column over them, one row per class.
struct Moments {
    shares: Vec<f64>,
    means: Vec<f64>,
    variances: Vec<f64>,
}

impl Moments {
    fn of(rows: &Rows, targets: &[usize], classes: usize) -> Moments {
        let mut counts = vec![0.0; classes];
        targets.iter().for_each(|&class| counts[class] += 1.0);
        // Each column is summed in the order of the rows, so that the width of the blocks changes no bit.
        let width = rows.dims.div_ceil(2 * rayon::current_num_threads()).clamp(64, 512);
        let blocks = chunk_ranges(rows.dims, width);
        let sums_of = |columns: &Range<usize>| {
            let width = columns.len();
            let (mut means, mut variances) = (vec![0.0; classes * width], vec![0.0; classes * width]);
            let values = || rows.iter().zip(targets).map(|(row, &class)| (&row[columns.clone()], class * width));
            let divide = |sums: &mut [f64]| {
                let of_class = |(sums, n): (&mut [f64], &f64)| sums.iter_mut().for_each(|sum| *sum /= n.max(1.0));
                sums.chunks_exact_mut(width).zip(&counts).for_each(of_class);
            };
            for (row, at) in values() {
                means[at..at + width].iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
            }
            divide(&mut means);
            for (row, at) in values() {
                let means = &means[at..at + width];
                let add = |((square, &x), mean): ((&mut f64, &f32), &f64)| *square += (f64::from(x) - mean).powi(2);
                variances[at..at + width].iter_mut().zip(row).zip(means).for_each(add);
            }
            divide(&mut variances);
            (means, variances)
        };
        let found: Vec<(Vec<f64>, Vec<f64>)> = blocks.par_iter().map(sums_of).collect();
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for class in 0..classes {
            for (columns, (block_means, block_variances)) in blocks.iter().zip(&found) {
                let of_class = class * columns.len()..(class + 1) * columns.len();
                means.extend_from_slice(&block_means[of_class.clone()]);
                variances.extend_from_slice(&block_variances[of_class]);
            }
        }
        let n = rows.len() as f64;
        Moments { shares: counts.into_iter().map(|count| count / n).collect(), means, variances }
    }
}

pub struct Gaussians {
    dims: usize,
    /// The share of each class among the training clips.
    priors: Vec<f32>,
    /// Row-major, one row per class.
    means: Vec<f32>,
    variances: Vec<f32>,
    /// Of each class the logarithm of its prior and of the density at its mean.
    peaks: Vec<f64>,
}

impl Gaussians {
    fn new(dims: usize, priors: Vec<f32>, means: Vec<f32>, variances: Vec<f32>) -> Gaussians {
        let peak = |(&prior, variances): (&f32, &[f32])| {
            let logs = variances.iter().map(|&variance| (std::f64::consts::TAU * f64::from(variance)).ln());
            f64::from(prior).ln() - 0.5 * logs.sum::<f64>()
        };
        let peaks = priors.iter().zip(variances.chunks_exact(dims)).map(peak).collect();
        Gaussians { dims, priors, means, variances, peaks }
    }
}

/// The sum of the squared distances from the means, each divided by its variance. Eight partial sums in a fixed order.
fn scaled_distance(row: &[f32], means: &[f32], variances: &[f32]) -> f64 {
    let term = |x: f32, mean: f32, variance: f32| (f64::from(x) - f64::from(mean)).powi(2) / f64::from(variance);
    let ((row, row_rest), (means, means_rest)) = (row.as_chunks::<8>(), means.as_chunks::<8>());
    let (variances, variances_rest) = variances.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for ((x, mean), variance) in row.iter().zip(means).zip(variances) {
        (0..8).for_each(|i| lanes[i] += term(x[i], mean[i], variance[i]));
    }
    let rest = row_rest.iter().zip(means_rest).zip(variances_rest);
    lanes.iter().sum::<f64>() + rest.map(|((&x, &mean), &variance)| term(x, mean, variance)).sum::<f64>()
}

/// The shares of classes with these logarithms of their densities, and the largest.
pub(super) fn shares_of_logs(logs: &[f64]) -> (Vec<f64>, usize) {
    let winner = argmax(logs);
    let mut shares: Vec<f64> = logs.iter().map(|log| (log - logs[winner]).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
    (shares, winner)
}

impl RowClassifier for Gaussians {
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize) {
        let classes = self.means.chunks_exact(self.dims).zip(self.variances.chunks_exact(self.dims));
        let log =
            |(&peak, (means, variances)): (&f64, (&[f32], &[f32]))| peak - 0.5 * scaled_distance(row, means, variances);
        shares_of_logs(&self.peaks.iter().zip(classes).map(log).collect::<Vec<_>>())
    }

    fn tensors(&self, prefix: &str) -> Vec<Tensor> {
        let shape = vec![self.priors.len(), self.dims];
        vec![
            Tensor::new(&format!("{prefix}priors"), vec![self.priors.len()], self.priors.clone()),
            Tensor::new(&format!("{prefix}means"), shape.clone(), self.means.clone()),
            Tensor::new(&format!("{prefix}variances"), shape, self.variances.clone()),
        ]
    }
}
