//! One class a clip.
//!
//! Conventions: scikit-learn's with `zero_division=0`. A class that is never decided has precision 0, one that never occurs
//! recall 0; F1 is 2·hits / (support + predicted). The macro and weighted means run over the classes that occur in the truth
//! or in the decisions (scikit-learn's default labels), not over those of the data set that occur in neither: they would
//! count as failures without a trial. `balanced_accuracy` is the mean recall over the classes that occur in the truth alone.
//! `matthews` is the multi-class correlation R_K, 0 where it is undefined. Of no clips at all every score is 0.

use indexmap::IndexMap;
use serde::Serialize;

use super::metric::SINGLE_LABEL;
use super::tally::{ClassCounts, share};

/// How one class fared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// Clips of this class.
    pub support: u64,
    /// Clips decided to be of this class.
    pub predicted: u64,
    /// Clips for which both are true.
    pub hits: u64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

impl From<&ClassCounts> for ClassScores {
    fn from(class: &ClassCounts) -> ClassScores {
        let [precision, recall, f1, _] = class.scores();
        ClassScores { support: class.support, predicted: class.predicted, hits: class.hits, precision, recall, f1 }
    }
}

/// The scores of one set of decisions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Clips.
    pub n: usize,
    /// The headline numbers by name, in the order in which tables show them.
    pub metrics: IndexMap<String, f64>,
    /// A row a class of the data set.
    pub per_class: Vec<ClassScores>,
    /// Rows are the truth, columns the decisions.
    pub confusion: Vec<Vec<u64>>,
}

/// Scores `decided` against `truth`, class numbers below `n_classes`.
pub fn single_label(truth: &[usize], decided: &[usize], n_classes: usize) -> Scores {
    assert_eq!(truth.len(), decided.len(), "one decision a clip");
    let mut confusion = vec![vec![0u64; n_classes]; n_classes];
    truth.iter().zip(decided).for_each(|(&truth, &decided)| confusion[truth][decided] += 1);
    let classes = counted(truth, decided, &vec![1; truth.len()], n_classes);
    let metrics = SINGLE_LABEL.iter().zip(headline(&classes)).map(|(name, value)| ((*name).to_owned(), value));
    Scores {
        n: truth.len(),
        metrics: metrics.collect(),
        per_class: classes.iter().map(ClassScores::from).collect(),
        confusion,
    }
}

/// How each class fared, each clip counted so many times.
pub(super) fn counted(truth: &[usize], decided: &[usize], times: &[u32], n_classes: usize) -> Vec<ClassCounts> {
    let mut classes = vec![ClassCounts::default(); n_classes];
    for ((&truth, &decided), &times) in truth.iter().zip(decided).zip(times) {
        let times = u64::from(times);
        classes[truth].support += times;
        classes[decided].predicted += times;
        classes[truth].hits += if truth == decided { times } else { 0 };
    }
    classes
}

/// The headline numbers in the order of [`SINGLE_LABEL`]: they follow from these counts alone.
pub(super) fn headline(classes: &[ClassCounts]) -> [f64; SINGLE_LABEL.len()] {
    let sum = |of: fn(&ClassCounts) -> u64| classes.iter().map(of).sum::<u64>();
    let (n, hits) = (sum(|c| c.support), sum(|c| c.hits));
    let (mut occurring, mut supported) = (0usize, 0usize);
    let (mut precision, mut recall, mut f1, mut weighted) = (0.0, 0.0, 0.0, 0.0);
    for class in classes.iter().filter(|class| class.support + class.predicted > 0) {
        let [own_precision, own_recall, own_f1, _] = class.scores();
        occurring += 1;
        supported += usize::from(class.support > 0);
        precision += own_precision;
        // Of a class that does not occur in the truth it is 0.
        recall += own_recall;
        f1 += own_f1;
        weighted += own_f1 * class.support as f64;
    }
    let of = |sum: f64, classes: usize| sum / classes.max(1) as f64;
    [
        share(hits, n),
        of(precision, occurring),
        of(recall, occurring),
        of(f1, occurring),
        weighted / n.max(1) as f64,
        of(recall, supported),
        matthews(classes, hits, n),
    ]
}

fn matthews(classes: &[ClassCounts], hits: u64, n: u64) -> f64 {
    let sum = |term: fn(&ClassCounts) -> u64| classes.iter().map(|c| i128::from(term(c))).sum::<i128>();
    let square = i128::from(n).pow(2);
    let covariance = i128::from(hits) * i128::from(n) - sum(|c| c.support * c.predicted);
    let truth = square - sum(|c| c.support * c.support);
    let decided = square - sum(|c| c.predicted * c.predicted);
    if truth == 0 || decided == 0 { 0.0 } else { covariance as f64 / ((truth as f64).sqrt() * (decided as f64).sqrt()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cases() -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
        (1usize..8).prop_flat_map(|k| (Just(k), prop::collection::vec((0..k, 0..k), 0..60)))
    }

    proptest! {
        #[test]
        fn every_score_lies_between_its_bounds((k, pairs) in cases()) {
            let (truth, decided): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let scores = single_label(&truth, &decided, k);
            for (name, &value) in &scores.metrics {
                let least = if name == "matthews" { -1.0 - 1e-12 } else { 0.0 };
                prop_assert!((least..=1.0 + 1e-12).contains(&value), "{name} {value}");
            }
            prop_assert_eq!(scores.confusion.iter().flatten().sum::<u64>() as usize, truth.len());
        }

        #[test]
        fn a_perfect_table_scores_one_whatever_classes_are_missing((k, pairs) in cases()) {
            prop_assume!(!pairs.is_empty());
            let truth: Vec<usize> = pairs.into_iter().map(|(truth, _)| truth).collect();
            let scores = single_label(&truth, &truth, k + 2);
            for (name, &value) in scores.metrics.iter().filter(|(name, _)| *name != "matthews") {
                prop_assert!((value - 1.0).abs() < 1e-12, "{name} {value}");
            }
        }

        #[test]
        fn renaming_the_classes_changes_no_mean((k, pairs) in cases()) {
            let (truth, decided): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let renamed = |classes: &[usize]| classes.iter().map(|c| k - 1 - c).collect::<Vec<_>>();
            let (a, b) = (single_label(&truth, &decided, k), single_label(&renamed(&truth), &renamed(&decided), k));
            for (name, value) in &a.metrics {
                prop_assert!((value - b.metrics[name]).abs() < 1e-12, "{name}");
            }
        }
    }

    #[test]
    fn no_clips_score_zero() {
        assert!(single_label(&[], &[], 3).metrics.values().all(|&value| value == 0.0));
    }
}
