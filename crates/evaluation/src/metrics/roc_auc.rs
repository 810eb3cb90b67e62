//! The area under the ROC curve: the share of (positive, negative) pairs in which the positive has the higher score, a pair
//! of equals counted half.
//!
//! Conventions: scikit-learn's `roc_auc_score`. Where there is no positive or no negative it is undefined (NaN there, with a
//! warning, and so is every mean that it is part of); here such a class, and such a clip, is left out of the mean: nothing
//! was asked of it. A mean of nothing is undefined, an empty cell in the tables.

use super::sorted_scores::SortedScores;

pub fn roc_auc(ranked: &SortedScores, times: impl Fn(usize) -> u32) -> Option<f64> {
    // Twice the number of pairs that are in order, in whole numbers.
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
        fn it_is_the_share_of_pairs_in_order(items in prop::collection::vec((0u8..6, any::<bool>()), 0..40)) {
            let ranked = SortedScores::new(items.iter().enumerate().map(|(i, &(s, there))| (i as u32, f32::from(s), there)));
            let of = |wanted: bool| items.iter().filter(move |(_, there)| *there == wanted).map(|(score, _)| *score);
            let worth = |p: u8, n: u8| if p > n { 1.0 } else if p == n { 0.5 } else { 0.0 };
            let pairs: Vec<f64> = of(true).flat_map(|p| of(false).map(move |n| worth(p, n))).collect();
            let naive = (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64);
            match (roc_auc(&ranked, |_| 1), naive) {
                (Some(ours), Some(naive)) => prop_assert!((ours - naive).abs() < 1e-12),
                (ours, naive) => prop_assert_eq!(ours, naive),
            }
        }
    }
}
