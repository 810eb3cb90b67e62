//! Gaussian naive Bayes: each column of each class is an independent normal distribution.
//!
//! Conventions: as scikit-learn's GaussianNB: the variances are those of the population, and `var_smoothing` times the largest
//! variance of a column over all clips is added to each. Means and variances are stored as f32.

use anyhow::{Result, ensure};

use super::preparation::Rows;
use super::row_model::{Problem, RowClassifier, RowModel};
use crate::Tensor;
use crate::tensor::{take_matrix, take_tensor};
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

row_model!(NaiveBayes, version 1);

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
        let all: Vec<usize> = (0..rows.len()).collect();
        let widest = moments(rows, &all).1.into_iter().fold(0.0, f64::max);
        let (mut priors, mut means, mut variances) = (Vec::new(), Vec::new(), Vec::new());
        for class in 0..classes {
            let members: Vec<usize> = all.iter().copied().filter(|&row| targets[row] == class).collect();
            priors.push((members.len() as f64 / rows.len() as f64) as f32);
            let (mean, variance) = moments(rows, &members);
            means.extend(mean.into_iter().map(|mean| mean as f32));
            // A column that is the same everywhere keeps a variance that can be divided by.
            let smoothed =
                |variance: f64| (variance + self.var_smoothing * widest).max(f64::from(f32::MIN_POSITIVE)) as f32;
            variances.extend(variance.into_iter().map(smoothed));
        }
        Ok(Gaussians { dims: rows.dims, priors, means, variances })
    }

    fn restore_rows(&self, tensors: &mut Vec<Tensor>, prefix: &str, classes: usize, dims: usize) -> Result<Gaussians> {
        let priors = take_tensor(tensors, &format!("{prefix}priors"))?;
        let (mean_rows, mean_columns, means) = take_matrix(tensors, &format!("{prefix}means"))?;
        let (rows, columns, variances) = take_matrix(tensors, &format!("{prefix}variances"))?;
        ensure!(
            priors.len() == classes && [mean_rows, mean_columns, rows, columns] == [classes, dims, classes, dims],
            "`{prefix}means` has {mean_rows} classes of {mean_columns} columns, expected {classes} of {dims}"
        );
        Ok(Gaussians { dims, priors, means, variances })
    }
}

/// The mean and variance of each column over some rows.
fn moments(rows: &Rows, members: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let n = members.len().max(1) as f64;
    let (mut mean, mut variance) = (vec![0.0; rows.dims], vec![0.0; rows.dims]);
    for &row in members {
        mean.iter_mut().zip(rows.row(row)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    mean.iter_mut().for_each(|sum| *sum /= n);
    for &row in members {
        for ((square, &x), mean) in variance.iter_mut().zip(rows.row(row)).zip(&mean) {
            *square += (f64::from(x) - mean).powi(2);
        }
    }
    variance.iter_mut().for_each(|square| *square /= n);
    (mean, variance)
}

pub struct Gaussians {
    dims: usize,
    /// The share of each class among the training clips.
    priors: Vec<f32>,
    /// Row-major, one row per class.
    means: Vec<f32>,
    variances: Vec<f32>,
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
        let log = |((means, variances), &prior): ((&[f32], &[f32]), &f32)| {
            let of_column = |((&x, &mean), &variance): ((&f32, &f32), &f32)| {
                let (distance, variance) = (f64::from(x) - f64::from(mean), f64::from(variance));
                distance * distance / variance + (std::f64::consts::TAU * variance).ln()
            };
            f64::from(prior).ln() - 0.5 * row.iter().zip(means).zip(variances).map(of_column).sum::<f64>()
        };
        shares_of_logs(&classes.zip(&self.priors).map(log).collect::<Vec<_>>())
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
