//! The area under the ROC curve: the share of (positive, negative) pairs in which the positive has the higher score; equal
//! scores count half.
//!
//! Conventions: scikit-learn's `roc_auc_score`. Without a positive or without a negative it is undefined (positive NaN with a
//! warning, which makes every mean undefined). Here such a class or clip is left out of the mean, since it poses no question.
//! A mean of nothing is undefined and an empty cell in the tables.

use super::sorted_scores::SortedScores;

/// From 0 to 1; None without a positive or without a negative. `times` says how often each case counts.
pub fn roc_auc(ranked: &SortedScores, times: &dyn Fn(usize) -> u32) -> Option<f64> {
    // Twice the number of pairs in the right order, as an integer.
    let mut twice: u128 = 0;
    let (positives, negatives) = ranked.each_step(times, |step| {
        let above = step.so_far.0 - step.new.0;
        twice += u128::from(step.new.1) * u128::from(2 * above + step.new.0);
    });
    let pairs = u128::from(positives) * u128::from(negatives);
    (pairs > 0).then(|| twice as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_area_is_the_share_of_pairs_in_the_right_order(items in prop::collection::vec((0u8..6, any::<bool>()), 0..40)) {
            let ranked = SortedScores::new(items.iter().enumerate().map(|(i, &(s, positive))| (i as u32, f32::from(s), positive)));
            let of = |wanted: bool| items.iter().filter(move |(_, positive)| *positive == wanted).map(|(score, _)| *score);
            let worth = |p: u8, n: u8| if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
            let pairs: Vec<f64> = of(true).flat_map(|p| of(false).map(move |n| worth(p, n))).collect();
            let naive = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
            match (roc_auc(&ranked, &|_| 1), naive) {
                (Some(ours), Some(naive)) => prop_assert!((ours - naive).abs() < 1e-12),
                (ours, naive) => prop_assert_eq!(ours, naive),
            }
        }
    }
}
