//! Precision and recall as Keras' metrics `Precision()` and `Recall()` report them for one label: over all pairs of clip and class,
//! of which those with a probability above 0.5 are predicted.
//!
//! Conventions: a probability of exactly 0.5 is not above it, and precision is 0 if no pair is. A clip whose most likely class has at most 0.5
//! counts as no prediction, so recall is at most the accuracy. scikit-learn's `average="micro"` of one label is the accuracy.

use super::WeightedScore;
use crate::predictions::Predictions;
use timbre_core::labels::Labels;

const THRESHOLD: f32 = 0.5;

pub fn precision<'a>(truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    share(truth, predictions, |predicted, _| predicted)
}

pub fn recall<'a>(truth: &'a [Labels], predictions: &'a Predictions) -> WeightedScore<'a> {
    share(truth, predictions, |_, present| present)
}

/// The pairs that are predicted and present, as a share of a number of predicted or of present pairs.
fn share<'a>(truth: &'a [Labels], predictions: &'a Predictions, whole: fn(u64, u64) -> u64) -> WeightedScore<'a> {
    let counts = |(clip, truth): (usize, &Labels)| {
        let row = predictions.row(clip);
        let predicted = || (0..row.len()).filter(|&class| row[class] > THRESHOLD);
        let hits = predicted().filter(|class| truth.contains(class)).count() as u64;
        (hits, whole(predicted().count() as u64, truth.len() as u64))
    };
    let clips: Vec<(u64, u64)> = truth.iter().enumerate().map(counts).collect();
    Box::new(move |times| {
        let add = |sum: (u64, u64), (own, &times): (&(u64, u64), &u32)| {
            (sum.0 + own.0 * u64::from(times), sum.1 + own.1 * u64::from(times))
        };
        let (hits, whole) = clips.iter().zip(times).fold((0, 0), add);
        Some(hits as f64 / whole.max(1) as f64)
    })
}
