//! The search for a learning rate.
//!
//! Conventions: fastai's `lr_find`: a hundred steps whose rate grows from 1e-7 to 10 in equal ratios; losses are smoothed by a
//! moving average with decay 0.98, corrected for its start; it ends at four times the best smoothed loss. The suggestion is
//! its `valley`: of the longest falling subsequence of the curve (without the first ten and the last five points), the point
//! half-way, counted in thirds.

use anyhow::{Context, Result};

use crate::RateCurve;

pub const STEPS: usize = 100;
const LEAST: f64 = 1e-7;
const MOST: f64 = 10.0;
const SMOOTHING: f64 = 0.98;
/// Times the best smoothed loss, at which nothing more is to be learnt.
const END: f64 = 4.0;
/// Points of the curve that the suggestion does not look at.
const SKIPPED: (usize, usize) = (STEPS / 10, 5);

/// A search under way.
#[derive(Default)]
pub struct LearningRateFinder {
    mean: f64,
    best: f64,
    points: Vec<(f64, f64)>,
}

impl LearningRateFinder {
    /// The rate of the next step; nothing when the search is over.
    pub fn next_rate(&self) -> Option<f64> {
        let done = self.points.len();
        let is_over =
            done == STEPS || self.points.last().is_some_and(|&(_, loss)| loss > END * self.best || loss.is_nan());
        (!is_over).then(|| rate(done))
    }

    /// The loss of a step at [`Self::next_rate`].
    pub fn push(&mut self, loss: f64) {
        let done = self.points.len();
        self.mean = SMOOTHING * self.mean + (1.0 - SMOOTHING) * loss;
        let smooth = self.mean / (1.0 - SMOOTHING.powi(done as i32 + 1));
        self.best = if done == 0 { smooth } else { self.best.min(smooth) };
        self.points.push((rate(done), smooth));
    }

    /// The curve, with a suggestion where it falls anywhere.
    pub fn curve(self) -> Result<RateCurve> {
        let points: Vec<(f64, f64)> = self.points.into_iter().filter(|(_, loss)| loss.is_finite()).collect();
        let from = SKIPPED.0.min(points.len());
        let looked_at = &points[from..points.len().saturating_sub(SKIPPED.1).max(from)];
        let losses: Vec<f64> = looked_at.iter().map(|&(_, loss)| loss).collect();
        let at = valley(&losses).with_context(|| {
            let tried = points.len();
            format!(
                "search for a learning rate: the loss fell at none of {tried} rates; write a `learning_rate` instead"
            )
        })?;
        Ok(RateCurve { suggestion: looked_at[at].0, points })
    }
}

fn rate(step: usize) -> f64 {
    LEAST * (MOST / LEAST).powf(step as f64 / STEPS as f64)
}

/// A point half-way down the longest falling subsequence; nothing if no value is lower than one before it.
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
    // fastai takes the subsequence for a stretch without gaps that ends here, and begins one point before it.
    Some((end + length / 3 + length / 6).saturating_sub(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_grow_in_equal_ratios() {
        assert_eq!(rate(0), 1e-7);
        assert!((rate(50) / 1e-3 - 1.0).abs() < 1e-9 && (rate(100) / 10.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_search_ends_at_four_times_the_best_loss_or_after_a_hundred_steps() {
        let mut calm = LearningRateFinder::default();
        while calm.next_rate().is_some() {
            calm.push(1.0);
        }
        assert_eq!(calm.points.len(), STEPS);
        // The mean of equal losses is that loss: its start is corrected for.
        assert!(calm.points.iter().all(|(_, loss)| (loss - 1.0).abs() < 1e-12));
        for end in [1000.0, f64::NAN, f64::INFINITY] {
            let mut wild = LearningRateFinder::default();
            (0..30).for_each(|_| wild.push(1.0));
            assert!(wild.next_rate().is_some());
            wild.push(end);
            assert!(wild.next_rate().is_none(), "{end}");
        }
    }

    #[test]
    fn the_suggestion_lies_on_the_slope() {
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
    fn the_valley_is_counted_in_thirds_of_the_longest_fall() {
        // A rise, then nine falling values: indices 3 to 11, so that the stretch is from 2 to 11.
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
