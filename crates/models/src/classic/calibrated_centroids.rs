//! Nearest centroid for several labels: how much nearer a clip is to the clips that have a class than to those that lack it.
//!
//! Conventions: a class has two centroids, the mean of the training clips that have it and the mean of those that lack it. The
//! margin of a clip is its squared distance to the second minus that to the first, and a logistic curve over the margin gives
//! the probability. The two means and the mean of all clips are collinear, so a margin is one inner product.
//!
//! The curve is Platt's with the smoothed targets that keep it finite where classes are separable (as `_SigmoidCalibration` in
//! scikit-learn; Lin, Lin and Weng 2007), except that its slope is never negative: a clip nearer to a class never has a lower
//! probability. It is fitted to the margins that each training clip would have if it were left out of the means: otherwise a few
//! clips with many columns all seem near. This needs no second fit: without x, a mean of n clips is n/(n - 1) times as far from
//! x as with it. A mean of n clips is on average s²/n away from its true position (s² is the mean square around it); this much
//! is subtracted from a squared distance, so that a left-out clip does not seem farther away than a new clip would.
//!
//! A class with one training clip has a curve fitted to its absence alone and stays near 0. A class without training clips gets
//! probability 0, a class that all have gets 1. No peer has this model: scikit-learn's nearest centroid takes one label per
//! clip.
//!
//! Memory: a block of rows; one f64 row per class; two numbers per class and training clip.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::newton::sigmoid;
use super::scaling::Scaler;
use crate::products::{PANEL_COLUMNS, dot64};
use crate::tensor::{Tensor, chunk_ranges, take_matrix, take_tensor};
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Rows that one thread compares at a time, while a panel of the centroids is in cache.
const STRIP: usize = 16;
/// The maximum number of Newton steps for a curve; usually a handful suffice.
const MOST_STEPS: usize = 100;

/// The centroids of every class, and the calibration of their margins.
pub struct CalibratedCentroids {
    dims: usize,
    /// The number of training clips.
    rows: f32,
    /// The number of training clips of each class.
    counts: Vec<f32>,
    /// The mean of all clips.
    mean: Vec<f32>,
    /// The mean of the clips that have each class, row-major.
    centroids: Vec<f32>,
    /// The difference from the mean of all clips to each centroid, row-major.
    differences: Vec<f64>,
    /// The squared length of each difference.
    lengths: Vec<f64>,
    curves: Vec<Curve>,
}

/// The logistic curve from a margin to a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Curve {
    slope: f32,
    offset: f32,
}

impl Curve {
    const NEVER: Curve = Curve { slope: 0.0, offset: f32::NEG_INFINITY };
    const ALWAYS: Curve = Curve { slope: 0.0, offset: f32::MAX };

    fn at(self, margin: f64) -> f32 {
        sigmoid(f64::from(self.slope) * margin + f64::from(self.offset)) as f32
    }
}

/// A clip relative to the mean of all: its squared distance, and its inner product with each class's difference.
struct RelativeClip {
    square: f64,
    products: Vec<f64>,
}

impl CalibratedCentroids {
    /// From the mean of all rows, the means of the rows of each class, and their numbers. The curves are fitted in a pass over
    /// `train`.
    pub fn fit(
        train: &FeatureSet,
        scaler: Option<&Scaler>,
        mean: Vec<f32>,
        centroids: Vec<f32>,
        counts: Vec<f32>,
    ) -> Result<CalibratedCentroids> {
        let mut centroids_of_classes =
            CalibratedCentroids::new(train.len() as f32, mean, centroids, counts, Vec::new());
        let relative = centroids_of_classes.relative_to_mean(train, scaler)?;
        let curves = (0..centroids_of_classes.counts.len()).into_par_iter().map(|class| {
            let has: Vec<bool> = train.labels().iter().map(|labels| labels.contains(&class)).collect();
            centroids_of_classes.curve(class, &relative, &has)
        });
        centroids_of_classes.curves = curves.collect();
        Ok(centroids_of_classes)
    }

    fn new(
        rows: f32,
        mean: Vec<f32>,
        centroids: Vec<f32>,
        counts: Vec<f32>,
        curves: Vec<Curve>,
    ) -> CalibratedCentroids {
        let dims = mean.len();
        let from_mean = |row: &[f32]| row.iter().zip(&mean).map(|(&x, &m)| f64::from(x) - f64::from(m)).collect();
        // A class without clips has a difference of zero: its centroid is undefined.
        let rows_and_counts = centroids.chunks_exact(dims).zip(&counts);
        let differences: Vec<f64> = rows_and_counts
            .flat_map(|(row, &count)| if count > 0.0 { from_mean(row) } else { vec![0.0f64; dims] })
            .collect();
        let lengths = differences.chunks_exact(dims).map(|difference| dot64(difference, difference)).collect();
        CalibratedCentroids { dims, rows, counts, mean, centroids, differences, lengths, curves }
    }

    pub fn restore(tensors: &mut Vec<Tensor>, n_classes: usize) -> Result<CalibratedCentroids> {
        let (classes, dims, centroids) = take_matrix(tensors, "centroids")?;
        let mut take = |name: &str, wanted: usize| -> Result<Vec<f32>> {
            let values = take_tensor(tensors, name)?;
            ensure!(values.len() == wanted, "`{name}` has {} values, expected {wanted}", values.len());
            Ok(values)
        };
        ensure!(classes == n_classes, "`centroids` has {classes} classes, expected {n_classes}");
        let (mean, counts, rows) = (take("mean", dims)?, take("counts", n_classes)?, take("clips", 1)?);
        let (slopes, offsets) = (take("slopes", n_classes)?, take("offsets", n_classes)?);
        let curves = slopes.into_iter().zip(offsets).map(|(slope, offset)| Curve { slope, offset }).collect();
        Ok(CalibratedCentroids::new(rows[0], mean, centroids, counts, curves))
    }

    pub fn tensors(&self) -> Vec<Tensor> {
        let n_classes = self.counts.len();
        let of_curves = |number: fn(&Curve) -> f32| self.curves.iter().map(number).collect();
        vec![
            Tensor::new("centroids", vec![n_classes, self.dims], self.centroids.clone()),
            Tensor::new("mean", vec![self.dims], self.mean.clone()),
            Tensor::new("counts", vec![n_classes], self.counts.clone()),
            Tensor::new("clips", vec![1], vec![self.rows]),
            Tensor::new("slopes", vec![n_classes], of_curves(|curve| curve.slope)),
            Tensor::new("offsets", vec![n_classes], of_curves(|curve| curve.offset)),
        ]
    }

    pub fn dims(&self) -> usize {
        self.dims
    }

    pub fn predict(&self, set: &FeatureSet, scaler: Option<&Scaler>) -> Result<Predictions> {
        let row = |relative: RelativeClip| -> Vec<f32> {
            let margin = |class: usize| self.margin(class, self.distances(class, &relative));
            self.curves.iter().enumerate().map(|(class, curve)| curve.at(margin(class))).collect()
        };
        let probabilities = self.relative_to_mean(set, scaler)?.into_iter().flat_map(row).collect();
        Ok(Predictions { n_classes: self.counts.len(), probabilities })
    }

    /// Every clip of a set relative to the mean of all training clips.
    fn relative_to_mean(&self, set: &FeatureSet, scaler: Option<&Scaler>) -> Result<Vec<RelativeClip>> {
        let mut relative = Vec::with_capacity(set.len());
        let mut block = Vec::new();
        for rows in chunk_ranges(set.len(), set.block_rows()) {
            set.read_rows(rows, &mut block)?;
            if let Some(scaler) = scaler {
                scaler.apply(&mut block);
            }
            let strips: Vec<Vec<RelativeClip>> =
                block.par_chunks(STRIP * self.dims).map(|strip| self.relative_to_mean_in_strip(strip)).collect();
            relative.extend(strips.into_iter().flatten());
        }
        Ok(relative)
    }

    /// Panel by panel, so that a row's sums do not depend on the rows beside it.
    fn relative_to_mean_in_strip(&self, strip: &[f32]) -> Vec<RelativeClip> {
        let n_classes = self.counts.len();
        let nothing = || RelativeClip { square: 0.0, products: vec![0.0; n_classes] };
        let mut relative: Vec<RelativeClip> = strip.chunks_exact(self.dims).map(|_| nothing()).collect();
        let mut wide = Vec::with_capacity(PANEL_COLUMNS);
        for columns in chunk_ranges(self.dims, PANEL_COLUMNS) {
            for (row, relative) in strip.chunks_exact(self.dims).zip(&mut relative) {
                let pairs = row[columns.clone()].iter().zip(&self.mean[columns.clone()]);
                wide.clear();
                wide.extend(pairs.map(|(&x, &m)| f64::from(x) - f64::from(m)));
                relative.square += dot64(&wide, &wide);
                for (product, difference) in relative.products.iter_mut().zip(self.differences.chunks_exact(self.dims))
                {
                    *product += dot64(&wide, &difference[columns.clone()]);
                }
            }
        }
        relative
    }

    /// The number of clips that have the class over the number that lack it: the mean of all divides the line between the two means
    /// in this ratio.
    fn ratio(&self, class: usize) -> f64 {
        let count = f64::from(self.counts[class]);
        count / (f64::from(self.rows) - count)
    }

    /// The squared distances to the mean of the clips that have the class, and to the mean of those that lack it.
    fn distances(&self, class: usize, relative: &RelativeClip) -> [f64; 2] {
        let (product, length, ratio) = (relative.products[class], self.lengths[class], self.ratio(class));
        let to = |share: f64| (relative.square - 2.0 * share * product + share * share * length).max(0.0);
        [to(1.0), to(-ratio)]
    }

    fn margin(&self, class: usize, [having, lacking]: [f64; 2]) -> f64 {
        let is_open = self.counts[class] > 0.0 && self.counts[class] < self.rows;
        if is_open { lacking - having } else { 0.0 }
    }

    fn curve(&self, class: usize, relative: &[RelativeClip], has: &[bool]) -> Curve {
        let positives = f64::from(self.counts[class]);
        let negatives = f64::from(self.rows) - positives;
        if positives == 0.0 {
            return Curve::NEVER;
        }
        if negatives == 0.0 {
            return Curve::ALWAYS;
        }
        let near: Vec<[f64; 2]> = relative.iter().map(|relative| self.distances(class, relative)).collect();
        let sum = |side: usize, of: bool| -> f64 {
            near.iter().zip(has).filter(|&(_, &has)| has == of).map(|(d, _)| d[side]).sum()
        };
        // The mean square around each mean. For a single clip it is unknown and taken from the other mean.
        let spread = |sum: f64, count: f64| (count > 1.0).then(|| sum / (count - 1.0));
        let (having, lacking) = (spread(sum(0, true), positives), spread(sum(1, false), negatives));
        let (having, lacking) = (having.or(lacking).unwrap_or(0.0), lacking.or(having).unwrap_or(0.0));
        let mut margins = Vec::with_capacity(near.len());
        let mut sides = Vec::with_capacity(near.len());
        for (&[to_having, to_lacking], &has) in near.iter().zip(has) {
            // The only clip of its side leaves no mean behind.
            if (if has { positives } else { negatives }) < 2.0 {
                continue;
            }
            margins.push(if has {
                corrected(to_lacking, lacking, negatives) - left_out(to_having, having, positives)
            } else {
                left_out(to_lacking, lacking, negatives) - corrected(to_having, having, positives)
            });
            sides.push(has);
        }
        let (slope, offset) = platt(&margins, &sides);
        // New clips get the plain margin: the subtracted amounts move into the offset.
        let taken_off = having / positives - lacking / negatives;
        Curve { slope: slope as f32, offset: (offset + slope * taken_off) as f32 }
    }
}

/// A squared distance to the mean of `count` clips, minus the expected error of that mean.
fn corrected(square: f64, spread: f64, count: f64) -> f64 {
    square - spread / count
}

/// The same for a clip of that mean, as if it had been left out.
fn left_out(square: f64, spread: f64, count: f64) -> f64 {
    corrected(square * (count / (count - 1.0)).powi(2), spread, count - 1.0)
}

/// Slope and offset of the logistic curve from margins to class membership; the slope is not negative.
pub(super) fn platt(margins: &[f64], has: &[bool]) -> (f64, f64) {
    let n = margins.len() as f64;
    let positives = has.iter().filter(|&&has| has).count() as f64;
    let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (n - positives + 2.0));
    let target = |has: bool| if has { high } else { low };
    let mean = margins.iter().sum::<f64>() / n.max(1.0);
    let scale = (margins.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / n.max(1.0)).sqrt();
    let share = has.iter().map(|&has| target(has)).sum::<f64>() / n.max(1.0);
    // Without clips both sides are equally likely.
    let flat = if n == 0.0 { 0.0 } else { (share / (1.0 - share)).ln() };
    if n == 0.0 || scale <= f64::EPSILON * mean.abs() {
        return (0.0, flat);
    }
    // In units of their spread around their mean, the two unknowns have the same scale.
    let points: Vec<(f64, f64)> = margins.iter().zip(has).map(|(m, &has)| ((m - mean) / scale, target(has))).collect();
    let loss = |a: f64, b: f64| -> f64 {
        let of = |&(x, t): &(f64, f64)| {
            let z = a * x + b;
            z.max(0.0) + (-z.abs()).exp().ln_1p() - t * z
        };
        points.iter().map(of).sum()
    };
    let (mut a, mut b) = (0.0, flat);
    for _ in 0..MOST_STEPS {
        let mut gradient = [0.0; 2];
        let mut bend = [1e-12, 0.0, 1e-12];
        for &(x, t) in &points {
            let p = sigmoid(a * x + b);
            let (residual, weight) = (p - t, p * (1.0 - p));
            gradient[0] += residual * x;
            gradient[1] += residual;
            bend[0] += weight * x * x;
            bend[1] += weight * x;
            bend[2] += weight;
        }
        if gradient[0].hypot(gradient[1]) <= 1e-10 * n {
            break;
        }
        let determinant = bend[0] * bend[2] - bend[1] * bend[1];
        let step_a = -(bend[2] * gradient[0] - bend[1] * gradient[1]) / determinant;
        let step_b = -(bend[0] * gradient[1] - bend[1] * gradient[0]) / determinant;
        let (before, slope) = (loss(a, b), gradient[0] * step_a + gradient[1] * step_b);
        let mut length = 1.0;
        while loss(a + length * step_a, b + length * step_b) > before + 1e-4 * length * slope && length > 1e-10 {
            length /= 2.0;
        }
        a += length * step_a;
        b += length * step_b;
    }
    if a <= 0.0 { (0.0, flat) } else { (a / scale, b - a * mean / scale) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::nearest_centroid::NearestCentroid;
    use crate::{FitContext, ModelKind};
    use timbre_core::{
        labels::Task,
        seed::{Seed, uniform},
    };
    use timbre_evaluation::metrics::DecisionRule;

    fn context() -> FitContext<'static> {
        FitContext {
            decision_rule: DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() },
            ..FitContext::standalone(Seed::new(1))
        }
    }

    /// Noise around a position of its own for each class; a clip of several classes is at the sum of their positions.
    fn set(rows: usize, dims: usize, signal: f64, seed: u64) -> FeatureSet {
        let mut rng = Seed::new(seed).rng();
        let labels: Vec<Vec<usize>> = (0..rows)
            .map(|row| (0..4).filter(|class| (row * 7 + row / 5) % (class + 2) == 0).collect::<Vec<usize>>())
            .collect();
        let mut values = Vec::new();
        for labels in &labels {
            for column in 0..dims {
                let positives = labels.iter().filter(|&&class| column % 4 == class).count() as f64;
                values.push((uniform(&mut rng) - 0.5 + signal * positives + 3.0) as f32);
            }
        }
        FeatureSet::from_matrices(values, [1, dims], labels, 4)
    }

    fn rows_of(set: &FeatureSet) -> Vec<f32> {
        let mut values = Vec::new();
        set.read_rows(0..set.len(), &mut values).unwrap();
        values
    }

    fn mean_of<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<f64> {
        let rows: Vec<&[f32]> = rows.collect();
        let column = |c: usize| rows.iter().map(|row| f64::from(row[c])).sum::<f64>() / rows.len() as f64;
        (0..rows[0].len()).map(column).collect()
    }

    fn squared_distance(row: &[f32], mean: &[f64]) -> f64 {
        row.iter().zip(mean).map(|(&x, m)| (f64::from(x) - m).powi(2)).sum()
    }

    /// The slow twin: every clip is actually left out of the means that it is compared with.
    fn slow_margins(train: &FeatureSet, class: usize) -> Vec<f64> {
        let values = rows_of(train);
        let rows: Vec<&[f32]> = values.chunks_exact(train.dims()).collect();
        let has = |row: usize| train.labels()[row].contains(&class);
        let spread = |of: bool| {
            let members = || (0..rows.len()).filter(|&row| has(row) == of);
            let mean = mean_of(members().map(|row| rows[row]));
            members().map(|row| squared_distance(rows[row], &mean)).sum::<f64>() / (members().count() - 1) as f64
        };
        let corrected = |row: usize, of: bool| {
            let members = || (0..rows.len()).filter(|&other| has(other) == of && other != row);
            let mean = mean_of(members().map(|other| rows[other]));
            squared_distance(rows[row], &mean) - spread(of) / members().count() as f64
        };
        (0..rows.len()).map(|row| corrected(row, false) - corrected(row, true)).collect()
    }

    #[test]
    fn the_curve_equals_that_of_clips_that_were_actually_left_out() {
        for (rows, dims) in [(40, 6), (25, 60)] {
            let train = set(rows, dims, 0.2, 3);
            let tensors = NearestCentroid::default().fit(&train, &context()).unwrap().tensors().unwrap();
            let of = |name: &str| tensors.iter().find(|t| t.name == name).unwrap().clone().into_values().unwrap();
            for class in 0..4 {
                let has: Vec<bool> = train.labels().iter().map(|l| l.contains(&class)).collect();
                let (slope, _) = platt(&slow_margins(&train, class), &has);
                let ours = f64::from(of("slopes")[class]);
                assert!((ours - slope).abs() <= 1e-4 * slope.abs(), "{rows}×{dims} class {class}: {ours} {slope}");
            }
        }
    }

    #[test]
    fn noise_gives_every_clip_about_the_frequency_of_the_class() {
        let (train, test) = (set(60, 400, 0.0, 5), set(200, 400, 0.0, 6));
        let predictions = NearestCentroid::default().fit(&train, &context()).unwrap().predict(&test).unwrap();
        for class in 0..4 {
            let share = train.labels().iter().filter(|l| l.contains(&class)).count() as f64 / 60.0;
            let mean = (0..200).map(|clip| f64::from(predictions.row(clip)[class])).sum::<f64>() / 200.0;
            assert!((mean - share).abs() < 0.12, "class {class}: {mean} of {share}");
        }
    }

    #[test]
    fn a_signal_is_detected_in_every_class_whatever_the_other_classes() {
        let (train, test) = (set(120, 40, 0.25, 5), set(200, 40, 0.25, 6));
        let predictions = NearestCentroid::default().fit(&train, &context()).unwrap().predict(&test).unwrap();
        let right = (0..200)
            .flat_map(|clip| (0..4).map(move |class| (clip, class)))
            .filter(|&(clip, class)| (predictions.row(clip)[class] >= 0.5) == test.labels()[clip].contains(&class));
        let share = right.count() as f64 / 800.0;
        assert!(share > 0.9, "{share}");
    }

    #[test]
    fn a_class_of_no_clip_gets_probability_0_and_a_class_of_all_clips_1() {
        let values: Vec<f32> = (0..12).map(|i| (i * 5 % 7) as f32).collect();
        let labels = (0..6).map(|row| if row % 2 == 0 { vec![1] } else { vec![0, 1] }).collect();
        let train = FeatureSet::from_matrices(values, [1, 2], labels, 3);
        let predictions = NearestCentroid::default().fit(&train, &context()).unwrap().predict(&train).unwrap();
        for clip in 0..6 {
            let row = predictions.row(clip);
            assert!(row[0] > 0.0 && row[0] < 1.0 && row[1] == 1.0 && row[2] == 0.0, "{row:?}");
        }
    }

    #[test]
    fn a_class_with_a_single_clip_stays_near_0() {
        let mut labels = vec![vec![]; 20];
        labels[3] = vec![0];
        let values = (0..40).map(|i| ((i * 13) % 17) as f32).collect();
        let train = FeatureSet::from_matrices(values, [1, 2], labels, 1);
        let predictions = NearestCentroid::default().fit(&train, &context()).unwrap().predict(&train).unwrap();
        assert!(predictions.probabilities.iter().all(|&p| p > 0.0 && p < 0.1), "{predictions:?}");
    }

    #[test]
    fn the_slope_is_not_negative_and_the_curve_is_finite_for_separable_sides() {
        assert_eq!(platt(&[3.0, 2.0, 1.0, 0.0], &[false, false, true, true]).0, 0.0);
        assert_eq!(platt(&[1.0, 1.0], &[false, true]), (0.0, 0.0));
        let (slope, offset) = platt(&[-1e6, -1.0, 1.0, 1e6], &[false, false, true, true]);
        assert!(slope > 0.0 && slope.is_finite() && offset.is_finite());
    }
}
