//! How far the features of a recording are from those of the training recordings, whatever the model: out-of-distribution
//! detection, so that a sound unlike everything in training gets a warning beside its probabilities.
//!
//! Conventions
//! - A clip is summarized by means over time and (with several frames) standard deviations over time of its bands; more than
//!   `BANDS` rows are averaged in groups of adjacent rows. The values are standardized by the training clips.
//! - The distance is that of the `K`-th nearest training clip (Sun and others, "Out-of-distribution detection with deep nearest
//!   neighbors", 2022; scikit-learn's `NearestNeighbors`), Euclidean, divided by the root of the number of values. The distance of
//!   Mahalanobis was worse on the demo set: directions in which training clips hardly differ dominate it.
//! - The limit is the 99th percentile of the validation recordings (nearest rank), so it says nothing about the labels. Of fewer
//!   than `FEWEST` there is none.
//! - Sums are f64 in the order of the rows: the number of threads changes no bit.
//!
//! The summary forgets the order of frames, and of a waveform (one row) it keeps only offset and loudness.

use anyhow::{Result, ensure};

use crate::tensor::{Tensor, take_matrix, take_tensor};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Bands of a summary.
const BANDS: usize = 64;
/// The neighbour whose distance counts.
const K: usize = 5;
/// The most training clips that are kept, evenly spaced: 2.5 MB with 128 values.
const MOST: usize = 5000;
/// With fewer validation recordings, more than one recording in twenty would be beyond the limit by chance.
const FEWEST: usize = 20;
/// The share of the validation recordings within the limit.
const WITHIN: f64 = 0.99;

/// The training clips, and the distance that validation recordings keep from them.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingDistance {
    mean: Vec<f32>,
    /// 1 / standard deviation; 0 for a value that is constant in training.
    scale: Vec<f32>,
    /// The standardized summaries of training clips, one row per clip.
    train: Vec<f32>,
    limit: f32,
}

impl TrainingDistance {
    /// `validation` gives the distances of the validation recordings. None if there are too few recordings.
    pub fn fit(
        train: &FeatureSet,
        validation: impl FnOnce(&TrainingDistance) -> Result<Vec<f64>>,
    ) -> Result<Option<TrainingDistance>> {
        let n = train.len().min(MOST);
        if n < K {
            return Ok(None);
        }
        let mut row = vec![0.0; train.dims()];
        let mut summaries = Vec::with_capacity(n);
        for at in 0..n {
            train.read_row(at * train.len() / n, &mut row)?;
            summaries.push(summary(&row, train.shape()));
        }
        let mut fitted = TrainingDistance::of_summaries(&summaries);
        let mut distances = validation(&fitted)?;
        if distances.len() < FEWEST {
            return Ok(None);
        }
        distances.sort_by(f64::total_cmp);
        let rank = (WITHIN * distances.len() as f64).ceil() as usize;
        let limit = distances[rank.clamp(1, distances.len()) - 1];
        // Rounded up: the recording whose distance it is lies within.
        fitted.limit = (limit as f32).next_up();
        Ok((limit.is_finite() && limit > 0.0).then_some(fitted))
    }

    /// The training clips with these summaries, and the limit 1.
    fn of_summaries(rows: &[Vec<f64>]) -> TrainingDistance {
        let (n, d) = (rows.len() as f64, rows[0].len());
        let mean: Vec<f64> = (0..d).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / n).collect();
        let deviation = |c: usize| (rows.iter().map(|row| (row[c] - mean[c]).powi(2)).sum::<f64>() / n).sqrt();
        // Rounding leaves a tiny deviation in a column of equal values.
        let scale = |c: usize| Some(deviation(c)).filter(|s| *s > 1e-9 * mean[c].abs()).map_or(0.0, |s| 1.0 / s);
        let scale = (0..d).map(|c| scale(c) as f32).collect();
        let mean = mean.iter().map(|&value| value as f32).collect();
        let mut fitted = TrainingDistance { mean, scale, train: Vec::new(), limit: 1.0 };
        fitted.train = rows.iter().flat_map(|row| fitted.standardize(row)).collect();
        fitted
    }

    fn standardize(&self, summary: &[f64]) -> Vec<f32> {
        let one = |((x, mean), scale): ((&f64, &f32), &f32)| ((x - f64::from(*mean)) * f64::from(*scale)) as f32;
        summary.iter().zip(&self.mean).zip(&self.scale).map(one).collect()
    }

    /// The distance of a feature matrix (bands × frames, row-major) as a multiple of the limit: more than 1 is unlike the training
    /// recordings. None for a matrix with another number of bands.
    pub fn of(&self, values: &[f32], shape: [usize; 2]) -> Option<f64> {
        let summary = summary(values, shape);
        (summary.len() == self.mean.len()).then(|| self.of_summary(&summary) / f64::from(self.limit))
    }

    fn of_summary(&self, summary: &[f64]) -> f64 {
        let (row, d) = (self.standardize(summary), self.mean.len());
        let square =
            |clip: &[f32]| clip.iter().zip(&row).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>();
        let mut squares: Vec<f64> = self.train.chunks_exact(d).map(square).collect();
        let (_, kth, _) = squares.select_nth_unstable_by(K - 1, f64::total_cmp);
        (*kth / d as f64).sqrt()
    }

    /// The parameters as named arrays.
    pub fn tensors(&self) -> Vec<Tensor> {
        let d = self.mean.len();
        vec![
            Tensor::new("mean", vec![d], self.mean.clone()),
            Tensor::new("scale", vec![d], self.scale.clone()),
            Tensor::new("train", vec![self.train.len() / d, d], self.train.clone()),
            Tensor::new("limit", vec![1], vec![self.limit]),
        ]
    }

    pub fn restore(mut tensors: Vec<Tensor>) -> Result<TrainingDistance> {
        let (n, columns, train) = take_matrix(&mut tensors, "train")?;
        let mut take = |name: &str| take_tensor(&mut tensors, name);
        let (mean, scale, limit) = (take("mean")?, take("scale")?, take("limit")?);
        let d = mean.len();
        ensure!(
            n >= K && d > 0 && columns == d && scale.len() == d && limit.len() == 1 && limit[0] > 0.0,
            "the tensors of the distance from the training recordings do not fit together"
        );
        Ok(TrainingDistance { mean, scale, train, limit: limit[0] })
    }
}

/// The middle of the distances of the windows of a recording: half of them must be unlike the training recordings. None without any.
pub fn median(mut distances: Vec<f64>) -> Option<f64> {
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len().saturating_sub(1) / 2).copied()
}

/// Means and standard deviations over time of groups of bands.
fn summary(values: &[f32], [rows, cols]: [usize; 2]) -> Vec<f64> {
    let bands = rows.min(BANDS);
    let (mut means, mut deviations) = (Vec::with_capacity(2 * bands), Vec::with_capacity(bands));
    for band in 0..bands {
        let group = band * rows / bands..(band + 1) * rows / bands;
        let mut frames = vec![0.0; cols];
        for row in values[group.start * cols..group.end * cols].chunks_exact(cols.max(1)) {
            frames.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let (size, n) = (group.len() as f64, cols as f64);
        frames.iter_mut().for_each(|sum| *sum /= size);
        let mean = frames.iter().sum::<f64>() / n;
        means.push(mean);
        deviations.push((frames.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt());
    }
    if cols > 1 {
        means.extend(deviations);
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows from a linear congruential generator, as in `make_training_distance.py`.
    fn rows(n: usize, d: usize) -> Vec<Vec<f64>> {
        let mut state = 1u64;
        let mut next = || {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            state as f64 / f64::from(1u32 << 31)
        };
        let raw: Vec<Vec<f64>> = (0..n).map(|_| (0..d).map(|_| next() - 0.5).collect()).collect();
        // Columns that depend on their neighbours, on scales of their own.
        raw.iter()
            .map(|row| (0..d).map(|c| (row[c] + 0.8 * row[(c + 1) % d]) * 10f64.powi(c as i32) + 3.0).collect())
            .collect()
    }

    #[test]
    fn distances_are_those_of_scikit_learn() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/golden/training_distance.json")).unwrap();
        for case in golden.as_array().unwrap() {
            let size = |key: &str| case[key].as_u64().unwrap() as usize;
            let rows = rows(size("n") + 3, size("d"));
            let fitted = TrainingDistance::of_summaries(&rows[..size("n")]);
            for (row, golden) in rows[size("n")..].iter().zip(case["distances"].as_array().unwrap()) {
                let (found, golden) = (fitted.of_summary(row), golden.as_f64().unwrap());
                assert!((found / golden - 1.0).abs() < 1e-5, "{found} {golden}");
            }
        }
    }

    fn set(rows: &[Vec<f64>], cols: usize) -> FeatureSet {
        let values = rows.iter().flatten().map(|&value| value as f32).collect();
        FeatureSet::from_matrices(values, [rows[0].len() / cols, cols], vec![vec![0]; rows.len()], 1)
    }

    #[test]
    fn one_validation_recording_in_a_hundred_is_beyond_the_limit_and_other_sounds_are() {
        let all = rows(400, 6);
        let (train, validation) = (set(&all[..200], 2), &all[200..]);
        let of = |one: &TrainingDistance, row: &[f64]| {
            one.of(&row.iter().map(|&v| v as f32).collect::<Vec<_>>(), [3, 2]).unwrap()
        };
        let fit = |n: usize| {
            TrainingDistance::fit(&train, |one| Ok(validation[..n].iter().map(|row| of(one, row)).collect())).unwrap()
        };
        let fitted = fit(200).unwrap();
        let beyond = validation.iter().filter(|row| of(&fitted, row) > 1.0).count();
        assert_eq!(beyond, 2);
        assert!(of(&fitted, &[3.0, 30.0, -300.0, 3000.0, 30_000.0, 3e6]) > 3.0);
        assert_eq!(fitted.of(&[0.0; 4], [2, 2]), None, "another number of bands");
        assert_eq!(fit(FEWEST - 1), None);
        let restored = TrainingDistance::restore(fitted.tensors()).unwrap();
        assert_eq!(restored, fitted);
    }

    #[test]
    fn a_value_that_is_constant_in_training_is_ignored() {
        let mut all = rows(60, 3);
        all.iter_mut().for_each(|row| row[1] = 7.0);
        let fitted = TrainingDistance::of_summaries(&all);
        let mut other = all[5].clone();
        other[1] = -900.0;
        assert_eq!(fitted.of_summary(&other), fitted.of_summary(&all[5]));
        let same = set(&vec![vec![1.0, 2.0]; 30], 1);
        assert_eq!(
            TrainingDistance::fit(&same, |one| Ok(vec![one.of(&[1.0, 2.0], [2, 1]).unwrap(); 30])).unwrap(),
            None
        );
    }

    #[test]
    fn a_summary_has_means_and_deviations_of_groups_of_bands() {
        assert_eq!(summary(&[1.0, 3.0, 5.0, 5.0], [2, 2]), [2.0, 5.0, 1.0, 0.0]);
        assert_eq!(summary(&[1.0, 3.0], [2, 1]), [1.0, 3.0]);
        let many: Vec<f32> = (0..128).map(|value| value as f32).collect();
        let found = summary(&many, [128, 1]);
        assert_eq!((found.len(), found[0], found[63]), (64, 0.5, 126.5));
        assert_eq!(median(vec![3.0, 1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
