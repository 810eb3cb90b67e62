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
use super::tally::share;

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
    weighted(truth, decided, &vec![1; truth.len()], n_classes)
}

/// As [`single_label`], each clip counted so many times.
pub(super) fn weighted(truth: &[usize], decided: &[usize], times: &[u32], n_classes: usize) -> Scores {
    let mut confusion = vec![vec![0u64; n_classes]; n_classes];
    truth.iter().zip(decided).zip(times).for_each(|((&t, &d), &times)| confusion[t][d] += u64::from(times));
    let per_class: Vec<ClassScores> = (0..n_classes)
        .map(|class| {
            let hits = confusion[class][class];
            let support = confusion[class].iter().sum();
            let predicted = confusion.iter().map(|row| row[class]).sum();
            ClassScores {
                support,
                predicted,
                hits,
                precision: share(hits, predicted),
                recall: share(hits, support),
                f1: share(2 * hits, support + predicted),
            }
        })
        .collect();

    let n: u64 = times.iter().copied().map(u64::from).sum();
    let hits: u64 = (0..n_classes).map(|class| confusion[class][class]).sum();
    let occurring: Vec<&ClassScores> = per_class.iter().filter(|c| c.support + c.predicted > 0).collect();
    let supported: Vec<&ClassScores> = per_class.iter().filter(|c| c.support > 0).collect();
    let weighted = per_class.iter().map(|c| c.f1 * c.support as f64).sum::<f64>() / n.max(1) as f64;
    let metrics = [
        share(hits, n),
        mean(&occurring, |c| c.precision),
        mean(&occurring, |c| c.recall),
        mean(&occurring, |c| c.f1),
        weighted,
        mean(&supported, |c| c.recall),
        matthews(&per_class, hits, n),
    ];
    let metrics = SINGLE_LABEL.iter().zip(metrics).map(|(name, value)| ((*name).to_owned(), value)).collect();
    Scores { n: n as usize, metrics, per_class, confusion }
}

fn mean(classes: &[&ClassScores], score: impl Fn(&ClassScores) -> f64) -> f64 {
    classes.iter().map(|class| score(class)).sum::<f64>() / classes.len().max(1) as f64
}

fn matthews(classes: &[ClassScores], hits: u64, n: u64) -> f64 {
    let sum = |term: fn(&ClassScores) -> u64| classes.iter().map(|c| i128::from(term(c))).sum::<i128>();
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
