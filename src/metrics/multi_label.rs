//! Every class that is present in a clip.
//!
//! Conventions: scikit-learn's for indicator matrices with `zero_division=0`; all classes of the data set are columns, and the
//! macro means run over all of them. `hamming` is the score, one minus scikit-learn's `hamming_loss`. A clip with neither a
//! class nor a decision has a sample-wise F1 and Jaccard index of 0, as there. Of no clips at all every score is 0.

use super::single_label::{ClassScores, Scores, share};

/// Scores `decided` against `truth`: for each clip its classes, ascending, below `n_classes`.
pub fn multi_label(truth: &[Vec<usize>], decided: &[Vec<usize>], n_classes: usize) -> Scores {
    assert_eq!(truth.len(), decided.len(), "one decision a clip");
    let (mut hits, mut support, mut predicted) = (vec![0u64; n_classes], vec![0u64; n_classes], vec![0u64; n_classes]);
    let (mut exact, mut f1_samples, mut jaccard_samples) = (0, 0.0, 0.0);
    for (truth, decided) in truth.iter().zip(decided) {
        truth.iter().for_each(|&class| support[class] += 1);
        decided.iter().for_each(|&class| predicted[class] += 1);
        let both = decided.iter().filter(|class| truth.contains(class));
        let common = both.inspect(|&&class| hits[class] += 1).count() as u64;
        let named = (truth.len() + decided.len()) as u64;
        exact += u64::from(truth == decided);
        f1_samples += share(2 * common, named);
        jaccard_samples += share(common, named - common);
    }
    let per_class: Vec<ClassScores> = (0..n_classes)
        .map(|class| ClassScores {
            support: support[class],
            predicted: predicted[class],
            hits: hits[class],
            precision: share(hits[class], predicted[class]),
            recall: share(hits[class], support[class]),
            f1: share(2 * hits[class], support[class] + predicted[class]),
        })
        .collect();
    let n = truth.len() as u64;
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    let (all_hits, all_support, all_predicted) = (sum(&hits), sum(&support), sum(&predicted));
    let cells = n * n_classes as u64;
    let wrong = all_support + all_predicted - 2 * all_hits;
    let macro_mean =
        |score: fn(&ClassScores) -> f64| per_class.iter().map(score).sum::<f64>() / n_classes.max(1) as f64;
    let weighted = per_class.iter().map(|c| c.f1 * c.support as f64).sum::<f64>() / all_support.max(1) as f64;
    let metrics = [
        ("hamming", share(cells - wrong, cells)),
        ("exact_match", share(exact, n)),
        ("precision_micro", share(all_hits, all_predicted)),
        ("recall_micro", share(all_hits, all_support)),
        ("f1_micro", share(2 * all_hits, all_support + all_predicted)),
        ("precision_macro", macro_mean(|c| c.precision)),
        ("recall_macro", macro_mean(|c| c.recall)),
        ("f1_macro", macro_mean(|c| c.f1)),
        ("f1_weighted", weighted),
        ("f1_samples", f1_samples / n.max(1) as f64),
        ("jaccard_samples", jaccard_samples / n.max(1) as f64),
    ];
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Scores { n: truth.len(), metrics, per_class, confusion: Vec::new() }
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
