//! Standardization: columns scaled to zero mean and unit variance over the training rows.
//!
//! Conventions: as scikit-learn's StandardScaler: population variance (divided by n, not n - 1); a constant column becomes 0
//! everywhere. Mean and deviation are computed in f64 in two sweeps over a block of whole columns that is read once. They are
//! kept as f32, the form in which they are stored, so a restored model scales with the same bits.
//!
//! Memory: one block of columns, and two numbers per column.

use std::ops::Range;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use crate::tensor::{Tensor, chunk_ranges, take_tensor};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The mean to subtract from each column and the standard deviation to divide it by. A deviation of 0 marks a constant column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaler {
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// What a fit does to the columns of its training rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    Raw,
    /// Zero mean.
    Centred,
    /// Zero mean and unit variance.
    Standardized,
}

impl Scaler {
    /// The mean and standard deviation of every column, in one pass over the set.
    pub fn fit(set: &FeatureSet) -> Result<Scaler> {
        Self::fit_with(set, Scaling::Standardized)
    }

    /// [`Self::fit`] with another scaling: what it leaves alone has mean 0 and deviation 1.
    pub fn fit_with(set: &FeatureSet, scaling: Scaling) -> Result<Scaler> {
        let mut scaler = Scaler::default();
        let mut block = Vec::new();
        for columns in chunk_ranges(set.dims(), set.block_columns()) {
            set.read(0..set.len(), columns.clone(), &mut block)?;
            scaler.push_columns(&block, columns.len(), scaling);
        }
        Ok(scaler)
    }

    /// Adds the columns of a block that has every row. Blocks come from left to right and start from the default scaler.
    pub fn push_columns(&mut self, block: &[f32], width: usize, scaling: Scaling) {
        let strips: Vec<_> =
            chunk_ranges(width, 256).into_par_iter().map(|strip| column_moments(block, width, strip)).collect();
        for (mean, std) in strips.into_iter().flatten() {
            self.mean.push(if scaling == Scaling::Raw { 0.0 } else { mean as f32 });
            self.std.push(if scaling == Scaling::Standardized { std as f32 } else { 1.0 });
        }
    }

    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Scales a block of whole rows in place.
    pub fn apply(&self, block: &mut [f32]) {
        if self.mean.is_empty() {
            return;
        }
        block.par_chunks_exact_mut(self.mean.len()).for_each(|row| {
            for ((x, &mean), &std) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *x = scaled(*x, mean, std) as f32;
            }
        });
    }

    /// The scaled `columns` of one row, in f64.
    pub fn widen(&self, columns: Range<usize>, row: &[f32], out: &mut [f64]) {
        let (mean, std) = (&self.mean[columns.clone()], &self.std[columns]);
        for (((out, &x), &mean), &std) in out.iter_mut().zip(row).zip(mean).zip(std) {
            *out = scaled(x, mean, std);
        }
    }

    /// The tensors saved beside a model: `scale_mean`, `scale_std`.
    pub fn tensors(&self) -> Vec<Tensor> {
        let tensor = |name: &str, values: &Vec<f32>| Tensor::new(name, vec![values.len()], values.clone());
        vec![tensor("scale_mean", &self.mean), tensor("scale_std", &self.std)]
    }

    /// Removes the tensors of [`Self::tensors`] from the list and restores the scaler; None without `standardize`.
    pub fn take(tensors: &mut Vec<Tensor>, standardize: bool, dims: usize) -> Result<Option<Scaler>> {
        if !standardize {
            return Ok(None);
        }
        let (mean, std) = (take_tensor(tensors, "scale_mean")?, take_tensor(tensors, "scale_std")?);
        ensure!(
            mean.len() == dims && std.len() == dims,
            "restore a scaler: `scale_mean` has {} and `scale_std` {} values for {dims} columns",
            mean.len(),
            std.len()
        );
        Ok(Some(Scaler { mean, std }))
    }
}

#[inline(always)]
fn scaled(x: f32, mean: f32, std: f32) -> f64 {
    // A constant column is 0 for every row, even for a test row that differs. NaN stays NaN.
    if std == 0.0 { 0.0 } else { (f64::from(x) - f64::from(mean)) / f64::from(std) }
}

fn column_moments(block: &[f32], width: usize, strip: Range<usize>) -> Vec<(f64, f64)> {
    let n = (block.len() / width).max(1) as f64;
    let mut means = vec![0.0f64; strip.len()];
    for row in block.chunks_exact(width) {
        means.iter_mut().zip(&row[strip.clone()]).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    means.iter_mut().for_each(|sum| *sum /= n);
    let mut squares = vec![0.0f64; strip.len()];
    for row in block.chunks_exact(width) {
        for ((square, &x), &mean) in squares.iter_mut().zip(&row[strip.clone()]).zip(&means) {
            *square += (f64::from(x) - mean).powi(2);
        }
    }
    means
        .into_iter()
        .zip(squares)
        .map(|(mean, square)| {
            let variance = square / n;
            // The variance that rounding alone leaves in a constant column (scikit-learn's bound).
            let rounding = n * f64::EPSILON * variance + (n * mean * f64::EPSILON).powi(2);
            (mean, if variance <= rounding { 0.0 } else { variance.sqrt() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(values: Vec<f32>, dims: usize) -> FeatureSet {
        let rows = values.len() / dims;
        FeatureSet::from_memory(values, dims, vec![0; rows], 1)
    }

    proptest! {
        #[test]
        fn scaled_columns_have_zero_mean_and_unit_variance(
            offset in -1e3f32..1e3, values in prop::collection::vec((-8i8..9).prop_map(|x| f32::from(x) / 8.0), 30..90),
        ) {
            let rows = values.len() / 3;
            let mut block: Vec<f32> = values[..rows * 3].iter().enumerate().map(|(i, x)| x + offset * (i % 3) as f32).collect();
            Scaler::fit(&set(block.clone(), 3)).unwrap().apply(&mut block);
            for at in 0..3 {
                let column: Vec<f64> = block.iter().skip(at).step_by(3).map(|&x| x.into()).collect();
                if column.iter().all(|&x| x == 0.0) {
                    let mut before = values[..rows * 3].iter().skip(at).step_by(3);
                    let first = before.next().unwrap();
                    prop_assert!(before.all(|x| (x - first).abs() < 1e-3), "only a constant column becomes 0");
                    continue;
                }
                let mean = column.iter().sum::<f64>() / rows as f64;
                let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
                prop_assert!(mean.abs() < 2e-3 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
            }
        }
    }

    #[test]
    fn a_constant_column_becomes_zero_even_for_a_row_that_differs() {
        let scaler = Scaler::fit(&set(vec![0.1, 1.0, 0.1, 2.0, 0.1, 3.0], 2)).unwrap();
        let mut block = vec![0.1, 2.0, 7.0, 2.0];
        scaler.apply(&mut block);
        assert_eq!(block, [0.0; 4]);
    }

    #[test]
    fn a_large_mean_does_not_cost_digits_of_the_variance() {
        let values: Vec<f32> = (0..1000).map(|i| 1e6 + (i % 2) as f32).collect();
        let scaler = Scaler::fit(&set(values, 1)).unwrap();
        assert_eq!((scaler.mean[0], scaler.std[0]), (1_000_000.5, 0.5));
    }
}
