//! The last steps of a feature of frames: resizing, normalization, statistics over time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{Fault, FeatureMatrix};
use timbre_signal::dsp::resize::bilinear;

/// The longest side of a resized image.
const MAX_SIDE: usize = 1 << 14;

/// A statistic that replaces the frames of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    Mean,
    /// The population standard deviation (divided by the number of frames, as in numpy).
    Std,
    /// The population variance.
    Var,
    Sum,
    Min,
    Max,
    Median,
    /// The lower quartile, interpolated linearly as in numpy.
    Q25,
    /// The upper quartile.
    Q75,
    /// The third standardized moment (`scipy.stats.skew`); 0 for a constant row.
    Skewness,
    /// The fourth standardized moment minus 3 (`scipy.stats.kurtosis`); 0 for a constant row.
    Kurtosis,
}

/// What is subtracted and divided by within a clip, before the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// The mean and standard deviation of the whole matrix.
    Clip,
    /// The mean and standard deviation of each row over time (cepstral mean and variance normalisation).
    Row,
}

/// The last steps of every feature of frames: resizing, then statistics over time.
#[derive(Clone, Debug)]
pub(super) struct PostProcess {
    resize: Option<[usize; 2]>,
    normalize: Option<Normalize>,
    summary: Vec<Statistic>,
}

impl PostProcess {
    pub(super) fn new(resize: Option<[usize; 2]>, normalize: Option<Normalize>, summary: &[Statistic]) -> Self {
        PostProcess { resize, normalize, summary: summary.to_vec() }
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some([height, width]) = self.resize
            && !((1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width))
        {
            let sentence =
                format!("an image of {height} x {width} is not possible; both sides must be 1 to {MAX_SIDE}");
            faults.push(Fault::new("resize", sentence));
        }
        if (1..self.summary.len()).any(|i| self.summary[..i].contains(&self.summary[i])) {
            faults.push(Fault::new("summary", "a statistic is repeated; name each once"));
        }
        faults
    }

    /// The shape of the final matrix of an image of this shape; `None` if it has no frames.
    pub(super) fn shape(&self, rows: usize, frames: usize) -> Option<[usize; 2]> {
        let [rows, cols] = self.resize.unwrap_or([rows, frames]);
        let shape = if self.summary.is_empty() { [rows, cols] } else { [self.summary.len() * rows, 1] };
        (frames > 0).then_some(shape)
    }

    /// Makes the final matrix of a band-major image.
    pub(super) fn apply(&self, rows: usize, cols: usize, values: Vec<f32>) -> FeatureMatrix {
        let mut matrix = FeatureMatrix { rows, cols, values };
        if let Some([height, width]) = self.resize {
            let values = bilinear(&matrix.values, (rows, cols), (height, width));
            matrix = FeatureMatrix { rows: height, cols: width, values };
        }
        match self.normalize {
            Some(Normalize::Clip) => standardize(&mut matrix.values),
            Some(Normalize::Row) => matrix.values.chunks_exact_mut(matrix.cols).for_each(standardize),
            None => {}
        }
        if self.summary.is_empty() {
            return matrix;
        }
        let mut sorted = Vec::new();
        let mut values = vec![0.0; self.summary.len() * matrix.rows];
        for (r, row) in matrix.values.chunks_exact(matrix.cols).enumerate() {
            let moments = Moments::of(row);
            for (s, statistic) in self.summary.iter().enumerate() {
                values[s * matrix.rows + r] = moments.statistic(*statistic, row, &mut sorted) as f32;
            }
        }
        FeatureMatrix { rows: values.len(), cols: 1, values }
    }
}

/// The mean of a row and its central moments.
struct Moments {
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(row: &[f32]) -> Self {
        let n = row.len() as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        Moments { mean, variance: row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n }
    }

    fn statistic(&self, statistic: Statistic, row: &[f32], sorted: &mut Vec<f32>) -> f64 {
        match statistic {
            Statistic::Mean => self.mean,
            Statistic::Std => self.variance.sqrt(),
            Statistic::Var => self.variance,
            Statistic::Sum => row.iter().map(|&x| f64::from(x)).sum(),
            Statistic::Min => f64::from(row.iter().copied().fold(f32::INFINITY, f32::min)),
            Statistic::Max => f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
            Statistic::Median => quantile(row, 0.5, sorted),
            Statistic::Q25 => quantile(row, 0.25, sorted),
            Statistic::Q75 => quantile(row, 0.75, sorted),
            Statistic::Skewness => self.standardized(row, 3),
            Statistic::Kurtosis => match self.standardized(row, 4) {
                0.0 => 0.0,
                moment => moment - 3.0,
            },
        }
    }

    /// The mean of a power of the standardized values; 0 for a row that is constant but for rounding.
    fn standardized(&self, row: &[f32], power: i32) -> f64 {
        if self.variance <= (f64::from(f32::EPSILON) * self.mean).powi(2) {
            return 0.0;
        }
        let sum: f64 = row.iter().map(|&x| (f64::from(x) - self.mean).powi(power)).sum();
        sum / row.len() as f64 / self.variance.sqrt().powi(power)
    }
}

/// The quantile of a row, interpolated linearly.
fn quantile(row: &[f32], share: f64, sorted: &mut Vec<f32>) -> f64 {
    sorted.clear();
    sorted.extend_from_slice(row);
    sorted.sort_unstable_by(f32::total_cmp);
    let at = share * (row.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    f64::from(low) + (f64::from(high) - f64::from(low)) * at.fract()
}

/// Scales values to zero mean and unit variance; constant values become 0.
fn standardize(values: &mut [f32]) {
    let Moments { mean, variance } = Moments::of(values);
    let std = variance.sqrt();
    // What rounding leaves in constant values.
    let constant = std <= f64::from(f32::EPSILON) * mean.abs();
    for value in values {
        *value = if constant { 0.0 } else { ((f64::from(*value) - mean) / std) as f32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_column_of_means_and_then_deviations() {
        let post = PostProcess::new(None, None, &[Statistic::Mean, Statistic::Std]);
        let matrix = post.apply(2, 4, vec![1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 4, cols: 1, values: vec![2.0, 5.0, 1.0, 0.0] });
    }

    #[test]
    fn an_image_is_resized_before_its_summary() {
        let post = PostProcess::new(Some([1, 2]), None, &[Statistic::Std]);
        let matrix = post.apply(2, 2, vec![0.0, 2.0, 2.0, 4.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 1, values: vec![1.0] });
    }

    #[test]
    fn without_resize_and_summary_nothing_changes() {
        let matrix = PostProcess::new(None, None, &[]).apply(1, 3, vec![1.0, 2.0, 3.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 3, values: vec![1.0, 2.0, 3.0] });
    }

    #[test]
    fn every_statistic_of_a_row_is_its_definition() {
        use Statistic::*;
        let row = vec![4.0, 1.0, 2.0, 9.0];
        let statistics = [Mean, Std, Var, Sum, Min, Max, Median, Q25, Q75, Skewness, Kurtosis];
        let found = PostProcess::new(None, None, &statistics).apply(1, 4, row).values;
        // numpy and scipy: [4, 1, 2, 9] has mean 4 and deviations 0, -3, -2, 5.
        let variance = 9.5f32;
        let skewness = (-27.0 - 8.0 + 125.0) / 4.0 / variance.powf(1.5);
        let kurtosis = (81.0 + 16.0 + 625.0) / 4.0 / variance.powi(2) - 3.0;
        let expected = [4.0, variance.sqrt(), variance, 16.0, 1.0, 9.0, 3.0, 1.75, 5.25, skewness, kurtosis];
        for ((found, expected), statistic) in found.iter().zip(expected).zip(statistics) {
            assert!((found - expected).abs() < 1e-6, "{statistic:?}: {found} is not {expected}");
        }
    }

    #[test]
    fn a_constant_row_has_no_skewness_and_no_kurtosis() {
        let post = PostProcess::new(None, None, &[Statistic::Skewness, Statistic::Kurtosis]);
        assert_eq!(post.apply(1, 3, vec![0.1; 3]).values, [0.0, 0.0]);
    }

    #[test]
    fn normalization_removes_mean_and_scale_of_the_clip_or_of_each_row() {
        let image = vec![1.0, 3.0, 10.0, 30.0, 5.0, 5.0];
        let rows = PostProcess::new(None, Some(Normalize::Row), &[]).apply(3, 2, image.clone());
        assert_eq!(rows.values, [-1.0, 1.0, -1.0, 1.0, 0.0, 0.0]);
        let clip = PostProcess::new(None, Some(Normalize::Clip), &[]).apply(3, 2, image);
        let Moments { mean, variance } = Moments::of(&clip.values);
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6 && clip.values[0] < clip.values[1]);
    }
}
