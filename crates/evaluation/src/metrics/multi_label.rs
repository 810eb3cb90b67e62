//! Scores of decisions for any number of classes per clip.
//!
//! Conventions: scikit-learn's for indicator matrices with `zero_division=0`; all classes of the data set are columns, and the
//! macro means run over all of them. A clip with neither a true nor a decided class has sample-wise scores of 0, as in
//! scikit-learn. Weighted means are 0 if no clip has a class, and every score is 0 without clips. False positives of a class
//! are `predicted - hits`, false negatives `support - hits`.

use super::single_label::{ClassScores, Scores};
use super::tally::Tally;
use timbre_core::labels::{Labels, Task};

/// Scores `decided` against `truth`: the classes of each clip, ascending, below `n_classes`.
pub fn multi_label(truth: &[Labels], decided: &[Vec<usize>], n_classes: usize) -> Scores {
    assert_eq!(truth.len(), decided.len(), "one decision per clip");
    let mut tally = Tally::new(n_classes);
    truth.iter().zip(decided).for_each(|(truth, decided)| tally.count(truth, decided, 1));
    let per_class = tally.classes.iter().map(ClassScores::from).collect();
    Scores { n: truth.len(), metrics: tally.metrics(Task::MultiLabel), per_class, confusion: Vec::new() }
}

/// Which classes are decided wrongly beside which true ones: for each class (rows) the number of its recordings that were
/// wrongly decided to have each other class; on the diagonal the number that were rightly decided to have it.
pub fn multi_label_confusion(truth: &[Labels], decided: &[Vec<usize>], n_classes: usize) -> Vec<Vec<u64>> {
    let mut counts = vec![vec![0; n_classes]; n_classes];
    for (truth, decided) in truth.iter().zip(decided) {
        for &own in truth.present() {
            let is_counted = |other: &&usize| **other == own || (!truth.contains(other) && truth.is_known(**other));
            decided.iter().filter(is_counted).for_each(|&other| counts[own][other] += 1);
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
    fn a_wrong_class_counts_for_every_true_class() {
        let counts = multi_label_confusion(&[vec![0, 1].into(), vec![2].into()], &[vec![0, 2], vec![2]], 3);
        assert_eq!(counts, [[1, 0, 1], [0, 0, 1], [0, 0, 1]]);
        let partial = Labels::new(vec![0, 1], vec![2]);
        assert_eq!(multi_label_confusion(&[partial], &[vec![0, 2]], 3), [[1, 0, 0], [0; 3], [0; 3]]);
    }

    proptest! {
        #[test]
        fn every_score_is_between_0_and_1_and_the_truth_itself_scores_1((k, pairs) in cases()) {
            let (own, decided): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let truth: Vec<Labels> = own.iter().cloned().map(Labels::from).collect();
            let scores = multi_label(&truth, &decided, k);
            prop_assert!(scores.metrics.values().all(|value| (0.0..=1.0 + 1e-12).contains(value)));
            let own = multi_label(&truth, &own, k);
            prop_assert_eq!((own.metrics["hamming"], own.metrics["exact_match"]), (1.0, 1.0));
        }

        #[test]
        fn with_one_class_a_clip_micro_f1_is_accuracy(pairs in prop::collection::vec((0usize..5, 0usize..5), 1..40)) {
            let (truth, decided): (Vec<usize>, Vec<usize>) = pairs.into_iter().unzip();
            let as_sets = |classes: &[usize]| classes.iter().map(|&c| vec![c]).collect::<Vec<_>>();
            let truths: Vec<Labels> = as_sets(&truth).into_iter().map(Labels::from).collect();
            let many = multi_label(&truths, &as_sets(&decided), 5);
            let one = single_label(&truth, &decided, 5);
            prop_assert!((many.metrics["f1_micro"] - one.metrics["accuracy"]).abs() < 1e-12);
            prop_assert_eq!(many.per_class, one.per_class);
        }
    }

    #[test]
    fn no_decision_is_right_about_absent_classes() {
        let scores = multi_label(&[vec![0, 1].into(), Labels::default()], &[vec![], vec![]], 4);
        assert_eq!((scores.metrics["hamming"], scores.metrics["exact_match"]), (0.75, 0.5));
        assert_eq!((scores.metrics["f1_micro"], scores.metrics["f1_samples"]), (0.0, 0.0));
        assert!(multi_label(&[], &[], 3).metrics.values().all(|&value| value == 0.0));
    }
}
