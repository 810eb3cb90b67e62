//! The learning-rate finder: a range test that suggests a learning rate.
//!
//! Conventions: fastai's `lr_find`: a hundred steps with rates growing geometrically from 1e-7 to 10; losses are smoothed by an
//! exponential moving average with decay 0.98 and bias correction; the test stops at four times the best smoothed loss. The suggestion
//! is fastai's `valley`: the point half-way, counted in thirds, of the longest decreasing subsequence of the curve (without the
//! first ten and the last five points).

use anyhow::{Context, Result};

use crate::RateCurve;

pub const STEPS: usize = 100;
const LEAST: f64 = 1e-7;
const MOST: f64 = 10.0;
const SMOOTHING: f64 = 0.98;
/// The test stops at this multiple of the best smoothed loss.
const END: f64 = 4.0;
/// Points at both ends of the curve that the suggestion ignores.
const SKIPPED: (usize, usize) = (STEPS / 10, 5);

/// A range test in progress.
#[derive(Default)]
pub struct LearningRateFinder {
    mean: f64,
    best: f64,
    points: Vec<(f64, f64)>,
}

impl LearningRateFinder {
    /// The rate of the next step; `None` when the test is over.
    pub fn next_rate(&self) -> Option<f64> {
        let done = self.points.len();
        let is_over =
            done == STEPS || self.points.last().is_some_and(|&(_, loss)| loss > END * self.best || loss.is_nan());
        (!is_over).then(|| rate(done))
    }

    /// Adds the loss of a step at [`Self::next_rate`].
    pub fn push(&mut self, loss: f64) {
        let done = self.points.len();
        self.mean = SMOOTHING * self.mean + (1.0 - SMOOTHING) * loss;
        let smooth = self.mean / (1.0 - SMOOTHING.powi(done as i32 + 1));
        self.best = if done == 0 { smooth } else { self.best.min(smooth) };
        self.points.push((rate(done), smooth));
    }

    /// The curve with its suggestion. Fails if the loss never decreased.
    pub fn curve(self) -> Result<RateCurve> {
        let points: Vec<(f64, f64)> = self.points.into_iter().filter(|(_, loss)| loss.is_finite()).collect();
        let from = SKIPPED.0.min(points.len());
        let considered = &points[from..points.len().saturating_sub(SKIPPED.1).max(from)];
        let losses: Vec<f64> = considered.iter().map(|&(_, loss)| loss).collect();
        let at = valley(&losses).with_context(|| {
            let tried = points.len();
            format!("find a learning rate: the loss decreased at none of {tried} rates; set `learning_rate` instead")
        })?;
        Ok(RateCurve { suggestion: considered[at].0, points })
    }
}

fn rate(step: usize) -> f64 {
    LEAST * (MOST / LEAST).powf(step as f64 / STEPS as f64)
}

/// A point half-way down the longest decreasing subsequence; `None` if no value is lower than an earlier one.
fn valley(losses: &[f64]) -> Option<usize> {
    let mut lengths = vec![1usize; losses.len()];
    let mut end = 0;
    for i in 1..losses.len() {
        for j in 0..i {
            if losses[i] < losses[j] && lengths[i] < lengths[j] + 1 {
                lengths[i] = lengths[j] + 1;
            }
        }
        if lengths[i] > lengths[end] {
            end = i;
        }
    }
    let length = *lengths.get(end).filter(|&&length| length > 1)?;
    // fastai treats the subsequence as contiguous up to this end, starting one point before it.
    Some((end + length / 3 + length / 6).saturating_sub(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_grow_geometrically() {
        assert_eq!(rate(0), 1e-7);
        assert!((rate(50) / 1e-3 - 1.0).abs() < 1e-9 && (rate(100) / 10.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_test_ends_at_four_times_the_best_loss_or_after_a_hundred_steps() {
        let mut flat = LearningRateFinder::default();
        while flat.next_rate().is_some() {
            flat.push(1.0);
        }
        assert_eq!(flat.points.len(), STEPS);
        // With bias correction the mean of equal losses is that loss.
        assert!(flat.points.iter().all(|(_, loss)| (loss - 1.0).abs() < 1e-12));
        for end in [1000.0, f64::NAN, f64::INFINITY] {
            let mut diverging = LearningRateFinder::default();
            (0..30).for_each(|_| diverging.push(1.0));
            assert!(diverging.next_rate().is_some());
            diverging.push(end);
            assert!(diverging.next_rate().is_none(), "{end}");
        }
    }

    #[test]
    fn the_suggestion_is_on_the_slope() {
        let mut finder = LearningRateFinder::default();
        while let Some(rate) = finder.next_rate() {
            // Flat up to 1e-4, down to 1e-2, then up.
            let slope = (rate.log10() + 4.0).clamp(0.0, 2.0) / 2.0;
            finder.push(2.0 - 1.5 * slope + if rate > 0.03 { rate * 40.0 } else { 0.0 });
        }
        let curve = finder.curve().unwrap();
        assert!((1e-4..1e-2).contains(&curve.suggestion), "{}", curve.suggestion);
    }

    #[test]
    fn the_valley_is_counted_in_thirds_of_the_longest_decrease() {
        // An increase, then nine decreasing values: indices 3 to 11, so that the run is from 2 to 11.
        let losses = [1.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 20.0];
        assert_eq!(valley(&losses), Some(2 + 3 + 1));
        assert_eq!(valley(&[1.0, 1.0, 2.0]), None);
        assert_eq!(valley(&[]), None);
        let rising: Vec<f64> = (0..60).map(f64::from).collect();
        let mut finder = LearningRateFinder::default();
        rising.iter().for_each(|&loss| finder.push(1.0 + loss));
        assert!(finder.curve().unwrap_err().to_string().contains("learning_rate"));
    }
}
