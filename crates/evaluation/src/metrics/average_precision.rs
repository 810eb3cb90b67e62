//! Average precision: the precision at each distinct score, weighted by the recall that it adds, without interpolation.
//!
//! Conventions: scikit-learn's `average_precision_score`. Equal scores are one step. Without any positive it is 0 (in
//! scikit-learn too, with a warning). Such a class counts in the macro mean and such a clip in the mean over clips: a set that
//! lacks classes has a low mean, as it has a low macro F1.

use super::sorted_scores::SortedScores;

/// From 0 to 1. `times` says how often each case counts.
pub fn average_precision(ranked: &SortedScores, times: &dyn Fn(usize) -> u32) -> f64 {
    let mut sum = 0.0;
    let (positives, _) = ranked.each_step(times, |step| {
        // Steps without a positive add no recall.
        if step.new.0 > 0 {
            sum += step.new.0 as f64 * step.so_far.0 as f64 / (step.so_far.0 + step.so_far.1) as f64;
        }
    });
    if positives == 0 { 0.0 } else { sum / positives as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_are_one_step_and_without_positives_it_is_0() {
        let of = |items: &[(f32, bool)]| {
            let items = items.iter().enumerate().map(|(i, &(score, positive))| (i as u32, score, positive));
            average_precision(&SortedScores::new(items), &|_| 1)
        };
        assert_eq!(of(&[(0.9, true), (0.9, false), (0.5, true)]), 0.5 * 0.5 + 0.5 * (2.0 / 3.0));
        assert_eq!(of(&[(0.9, false)]), 0.0);
        assert_eq!(of(&[(0.9, true), (0.1, false)]), 1.0);
    }
}
