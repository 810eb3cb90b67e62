//! The expected calibration error: how far predicted probabilities are from observed frequencies.
//!
//! Conventions: 15 bins of equal width, `(k/15, (k+1)/15]` with 0 in the first (the bins of scikit-learn's `calibration_curve`
//! with `n_bins=15`); the mean over the cases of |observed frequency - mean probability| of their bin. With one class per clip
//! a case is a clip with the probability of the decided class (Guo et al. 2017); with several, a case is a pair of clip and
//! class. Without cases the error is 0. The mean probability of a bin is summed in the order of the clips.

use super::WeightedScore;
use crate::predictions::{Predictions, argmax};
use timbre_core::labels::{Labels, Task};

/// The number of bins.
pub const BINS: usize = 15;

/// The bin of a probability.
pub fn bin(probability: f64) -> usize {
    // The edges of numpy.linspace, so that a probability on an edge falls on the same side.
    let step = 1.0 / BINS as f64;
    (1..BINS).filter(|&edge| edge as f64 * step < probability).count()
}

/// The cases of one bin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bin {
    cases: u64,
    positive: u64,
    probability: f64,
}

/// The cases of all bins, ascending by probability.
#[derive(Clone, Debug, Default)]
pub struct Bins([Bin; BINS]);

impl Bins {
    /// Adds a case `times` times, with its probability (0 to 1) and whether it is positive. `bin` is [`bin`](bin()) of the probability.
    pub fn add(&mut self, bin: usize, probability: f64, positive: bool, times: u32) {
        let own = &mut self.0[bin];
        own.cases += u64::from(times);
        own.positive += if positive { u64::from(times) } else { 0 };
        own.probability += probability * f64::from(times);
    }

    /// For each bin with cases: the mean predicted probability, the observed frequency, the number of cases.
    pub fn filled(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.0.iter().filter(|bin| bin.cases > 0).map(|bin| {
            let cases = bin.cases as f64;
            (bin.probability / cases, bin.positive as f64 / cases, bin.cases)
        })
    }

    /// The expected calibration error, from 0 to 1.
    pub fn error(&self) -> f64 {
        let cases: u64 = self.0.iter().map(|bin| bin.cases).sum();
        let gap = |bin: &Bin| (bin.positive as f64 - bin.probability).abs();
        self.0.iter().map(gap).sum::<f64>() / cases.max(1) as f64
    }
}

/// The calibration error, prepared for any weights of the clips.
pub(super) fn calibration_error<'a>(
    task: Task,
    truth: &'a [Labels],
    predictions: &'a Predictions,
) -> WeightedScore<'a> {
    let mut cases: Vec<(u32, u8, bool, f64)> = Vec::new();
    for (clip, truth) in truth.iter().enumerate() {
        let row = predictions.row(clip);
        let classes = match task {
            Task::SingleLabel => argmax(row)..argmax(row) + 1,
            Task::MultiLabel => 0..row.len(),
        };
        cases.extend(classes.filter(|&class| truth.is_known(class)).map(|class| {
            let p = f64::from(row[class]);
            (clip as u32, bin(p) as u8, truth.contains(&class), p)
        }));
    }
    Box::new(move |times| {
        let mut bins = Bins::default();
        for &(clip, bin, positive, p) in &cases {
            bins.add(usize::from(bin), p, positive, times[clip as usize]);
        }
        Some(bins.error())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_on_an_edge_belongs_to_the_bin_below() {
        assert_eq!([0.0, 1.0 / 15.0, 0.0667, 0.2, 0.2001, 1.0].map(bin), [0, 0, 1, 2, 3, 14]);
    }

    #[test]
    fn the_error_is_the_mean_gap_over_the_cases() {
        let mut bins = Bins::default();
        bins.add(bin(0.9), 0.9, true, 1);
        bins.add(bin(0.9), 0.9, false, 1);
        bins.add(bin(0.25), 0.25, false, 2);
        assert!((bins.error() - (0.8 + 0.5) / 4.0).abs() < 1e-12);
        assert_eq!(bins.filled().collect::<Vec<_>>(), [(0.25, 0.0, 2), (0.9, 0.5, 2)]);
        assert_eq!(Bins::default().error(), 0.0);
    }
}
