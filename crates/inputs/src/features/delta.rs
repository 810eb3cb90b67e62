//! `delta`: the slope of another feature over time, `librosa.feature.delta`: the derivative of a polynomial fitted to `width`
//! frames. `order = 2` is delta-delta.
//!
//! The first and last frames get the derivative at the first and last whole window, as with librosa's `mode="interp"`. A clip
//! with fewer frames than the window, which librosa refuses, continues with its first and last frame (`mode="nearest"`).

use std::path::PathBuf;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::{Normalize, PostProcess, Statistic};
use crate::features::{
    ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, FeatureSpec, Kind, ensure_valid, mfcc::Mfcc,
};

/// The derivative over time of another feature: as many rows and columns as that has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Delta {
    /// The feature, a table with its `kind` and keys, or the name of another feature of the experiment. Default: `mfcc`.
    #[schemars(schema_with = "super::concat::part_schema")]
    pub of: Box<FeatureSpec>,
    /// The number of frames of a fit, an odd number. Default 9.
    #[schemars(range(min = 3, max = 1001))]
    pub width: usize,
    /// The derivative: 1 is delta, 2 is delta-delta. Default 1.
    #[schemars(range(min = 1, max = 4))]
    pub order: usize,
    /// Normalisation within each clip to zero mean and unit variance: "clip" (all values together) or "row" (each row over
    /// time). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for Delta {
    fn default() -> Self {
        let of = Box::new(FeatureSpec::Mfcc(Mfcc::default()));
        Delta { of, width: 9, order: 1, normalize: None, summary: Vec::new() }
    }
}

impl Delta {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }
}

impl Kind for Delta {
    /// Raised with the version of the other feature.
    fn version(&self) -> u32 {
        self.of.as_kind().version()
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let of_other = |Fault { key, sentence }: Fault| Fault::new("of", format!("`{key}`: {sentence}"));
        let mut faults: Vec<Fault> = self.of.as_kind().faults(sample_rate).into_iter().map(of_other).collect();
        faults.extend(self.post().faults());
        let width = (self.width < 3 || self.width.is_multiple_of(2) || self.width > 1001).then(|| {
            format!("a window of {} frames is not possible; choose an odd number from 3 to 1001, such as 9", self.width)
        });
        let order = (!(1..=4).contains(&self.order) || self.order >= self.width)
            .then(|| format!("a derivative of order {} is not possible; choose 1, or 2 for delta-delta", self.order));
        faults.extend(Fault::of_keys([("width", width), ("order", order)]));
        faults
    }
}

impl FeatureKind for Delta {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        let [rows, cols] = self.of.as_kind().shape(samples)?;
        self.post().shape(rows, cols)
    }

    fn frame_length(&self) -> Option<usize> {
        self.of.as_kind().frame_length()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.of.as_kind().files()
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("delta", self.faults(sample_rate))?;
        Ok(Box::new(Derivative {
            of: self.of.as_kind().build(sample_rate)?,
            weights: weights(self.width, self.order),
            post: self.post(),
        }))
    }
}

/// The weights of a window of frames whose sum is the derivative of the fitted polynomial of degree `order`. Its derivative of
/// that order is the same everywhere.
fn weights(width: usize, order: usize) -> Vec<f64> {
    let at = |i: usize| i as f64 - (width / 2) as f64;
    // Monic polynomials that are orthogonal on the window; a projection on the last gives the leading coefficient.
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for power in 0..=order {
        let mut values: Vec<f64> = (0..width).map(|i| at(i).powi(power as i32)).collect();
        for other in &basis {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let share = dot(&values, other) / dot(other, other);
            values.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
        }
        basis.push(values);
    }
    let last = &basis[order];
    let square: f64 = last.iter().map(|x| x * x).sum();
    let factorial: f64 = (1..=order).map(|k| k as f64).product();
    last.iter().map(|x| factorial * x / square).collect()
}

struct Derivative {
    of: Box<dyn Extractor>,
    weights: Vec<f64>,
    post: PostProcess,
}

impl Derivative {
    fn of_row(&self, row: &[f32], out: &mut [f32]) {
        let (width, half, last) = (self.weights.len(), self.weights.len() / 2, row.len() - 1);
        for (t, out) in out.iter_mut().enumerate() {
            let centre = if row.len() >= width { t.clamp(half, last - half) } else { t };
            let frame = |i: usize| f64::from(row[(centre + i).saturating_sub(half).min(last)]);
            *out = self.weights.iter().enumerate().map(|(i, weight)| weight * frame(i)).sum::<f64>() as f32;
        }
    }
}

impl Extractor for Derivative {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let FeatureMatrix { rows, cols, values } = self.of.extract(clip)?;
        let mut slopes = vec![0.0; values.len()];
        values.chunks_exact(cols).zip(slopes.chunks_exact_mut(cols)).for_each(|(row, out)| self.of_row(row, out));
        Ok(self.post.apply(rows, cols, slopes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derivative(width: usize, order: usize, row: &[f32]) -> Vec<f32> {
        let of = FeatureSpec::Mfcc(Mfcc::default()).as_kind().build(22050).unwrap();
        let mut out = vec![0.0; row.len()];
        let weights = weights(width, order);
        Derivative { of, weights, post: PostProcess::new(None, None, &[]) }.of_row(row, &mut out);
        out
    }

    #[test]
    fn a_line_has_its_slope_and_a_parabola_its_curvature_everywhere() {
        let line: Vec<f32> = (0..20).map(|t| 3.0 * t as f32 + 1.0).collect();
        assert!(derivative(9, 1, &line).iter().all(|slope| (slope - 3.0).abs() < 1e-5));
        let parabola: Vec<f32> = (0..20).map(|t| 0.5 * (t * t) as f32).collect();
        assert!(derivative(5, 2, &parabola).iter().all(|bend| (bend - 1.0).abs() < 1e-4));
    }

    #[test]
    fn a_clip_shorter_than_the_window_continues_with_its_ends() {
        assert_eq!(derivative(9, 1, &[2.0]), [0.0]);
        // [0, 0, 0, 0, 0, 6, 6, 6, 6] about the first frame: (1 + 2 + 3 + 4) * 6 / 60.
        assert!((derivative(9, 1, &[0.0, 6.0])[0] - 1.0).abs() < 1e-6);
    }
}
