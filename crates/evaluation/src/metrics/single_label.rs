//! Scores of decisions for one class per clip. [`tally`](super::tally) has the conventions. Without clips every score is 0.

use indexmap::IndexMap;
use serde::Serialize;

use super::tally::{ClassCounts, Tally};
use timbre_core::labels::Task;

/// The scores of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// Clips of this class.
    pub support: u64,
    /// Clips decided to be of this class.
    pub predicted: u64,
    /// Clips for which both are true.
    pub hits: u64,
    /// From 0 to 1; 0 where it is undefined, like the next two.
    pub precision: f64,
    /// `hits / support`.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
}

impl From<&ClassCounts> for ClassScores {
    fn from(class: &ClassCounts) -> ClassScores {
        let &ClassCounts { support, predicted, hits, .. } = class;
        ClassScores { support, predicted, hits, precision: class.precision(), recall: class.recall(), f1: class.f1() }
    }
}

/// The scores of a set of decisions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// The number of clips.
    pub n: usize,
    /// The metrics by name, in the order of the tables.
    pub metrics: IndexMap<String, f64>,
    /// One entry per class of the data set.
    pub per_class: Vec<ClassScores>,
    /// Rows are the truth, columns the decisions.
    pub confusion: Vec<Vec<u64>>,
}

/// Scores `decided` against `truth`; both have class numbers below `n_classes`.
pub fn single_label(truth: &[usize], decided: &[usize], n_classes: usize) -> Scores {
    assert_eq!(truth.len(), decided.len(), "one decision per clip");
    let mut confusion = vec![vec![0u64; n_classes]; n_classes];
    let mut tally = Tally::new(n_classes);
    for (&truth, &decided) in truth.iter().zip(decided) {
        confusion[truth][decided] += 1;
        tally.count_known(&[truth], &[decided], 1);
    }
    let per_class = tally.classes.iter().map(ClassScores::from).collect();
    Scores { n: truth.len(), metrics: tally.metrics(Task::SingleLabel), per_class, confusion }
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
                let least = if ["matthews", "cohen_kappa"].contains(&name.as_str()) { -1.0 - 1e-12 } else { 0.0 };
                prop_assert!((least..=1.0 + 1e-12).contains(&value), "{name} {value}");
            }
            prop_assert_eq!(scores.confusion.iter().flatten().sum::<u64>() as usize, truth.len());
        }

        #[test]
        fn a_perfect_table_scores_one_whatever_classes_are_missing((k, pairs) in cases()) {
            prop_assume!(!pairs.is_empty());
            let truth: Vec<usize> = pairs.into_iter().map(|(truth, _)| truth).collect();
            let scores = single_label(&truth, &truth, k + 2);
            // With a single class these two are 0.
            let is_of_chance = |name: &str| ["matthews", "cohen_kappa"].contains(&name);
            for (name, &value) in scores.metrics.iter().filter(|(name, _)| !is_of_chance(name)) {
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
