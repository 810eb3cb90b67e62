//! Every class that is present in a clip.
//!
//! Conventions: scikit-learn's for indicator matrices with `zero_division=0`; all classes of the data set are columns, and the
//! macro means run over all of them. `hamming` is the score, one minus scikit-learn's `hamming_loss`. A clip with neither a
//! class nor a decision has sample-wise scores of 0, as there. WeightedScore means of truths without any class are 0, as is every
//! score of no clips at all. False positives of a class are `predicted - hits`, false negatives `support - hits`.

use super::single_label::{ClassScores, Scores};
use super::tally::{NAMES, Tally};

/// Scores `decided` against `truth`: for each clip its classes, ascending, below `n_classes`.
pub fn multi_label(truth: &[Vec<usize>], decided: &[Vec<usize>], n_classes: usize) -> Scores {
    assert_eq!(truth.len(), decided.len(), "one decision a clip");
    let mut tally = Tally::new(n_classes);
    truth.iter().zip(decided).for_each(|(truth, decided)| tally.count(truth, decided, 1));
    let metrics = NAMES.iter().zip(tally.scores()).map(|(name, value)| ((*name).to_owned(), value)).collect();
    let per_class = tally.classes.iter().map(ClassScores::from);
    Scores { n: truth.len(), metrics, per_class: per_class.collect(), confusion: Vec::new() }
}

/// What is named by mistake beside what: for each class (rows) the recordings of it that were wrongly said to be of each other
/// class; on the diagonal those of it that were found.
pub fn multi_label_confusion(truth: &[Vec<usize>], decided: &[Vec<usize>], n_classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; n_classes]; n_classes];
    for (truth, decided) in truth.iter().zip(decided) {
        for &own in truth {
            let is_counted = |said: &&usize| **said == own || !truth.contains(said);
            decided.iter().filter(is_counted).for_each(|&said| counts[own][said] += 1);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::single_label;

    fn sets(k: usize) -> impl Strategy<Value = Vec<usize>> {
        prop::collection::btree_set(0..k, 0..=k).prop_map(|set| set.into_iter().collect())
    }

    type Pair = (Vec<usize>, Vec<usize>);

    fn cases() -> impl Strategy<Value = (usize, Vec<Pair>)> {
        (1usize..7).prop_flat_map(|k| (Just(k), prop::collection::vec((sets(k), sets(k)), 1..40)))
    }

    #[test]
    fn a_mistake_counts_for_every_class_that_is_there() {
        let counts = multi_label_confusion(&[vec![0, 1], vec![2]], &[vec![0, 2], vec![2]], 3);
        assert_eq!(counts, [[1, 0, 1], [0, 0, 1], [0, 0, 1]]);
    }

    proptest! {
        #[test]
        fn every_score_is_a_share_and_truth_itself_scores_one((k, pairs) in cases()) {
            let (truth, decided): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let scores = multi_label(&truth, &decided, k);
            prop_assert!(scores.metrics.values().all(|value| (0.0..=1.0 + 1e-12).contains(value)));
            let own = multi_label(&truth, &truth, k);
            prop_assert_eq!((own.metrics["hamming"], own.metrics["exact_match"]), (1.0, 1.0));
        }

        #[test]
        fn with_one_class_a_clip_micro_f1_is_accuracy(pairs in prop::collection::vec((0usize..5, 0usize..5), 1..40)) {
            let (truth, decided): (Vec<usize>, Vec<usize>) = pairs.into_iter().unzip();
            let as_sets = |classes: &[usize]| classes.iter().map(|&c| vec![c]).collect::<Vec<_>>();
            let many = multi_label(&as_sets(&truth), &as_sets(&decided), 5);
            let one = single_label(&truth, &decided, 5);
            prop_assert!((many.metrics["f1_micro"] - one.metrics["accuracy"]).abs() < 1e-12);
            prop_assert_eq!(many.per_class, one.per_class);
        }
    }

    #[test]
    fn nothing_decided_scores_what_is_absent() {
        let scores = multi_label(&[vec![0, 1], vec![]], &[vec![], vec![]], 4);
        assert_eq!((scores.metrics["hamming"], scores.metrics["exact_match"]), (0.75, 0.5));
        assert_eq!((scores.metrics["f1_micro"], scores.metrics["f1_samples"]), (0.0, 0.0));
        assert!(multi_label(&[], &[], 3).metrics.values().all(|&value| value == 0.0));
    }
}
