//! The precision-recall curve and the ROC curve: what each threshold decides.
//!
//! Conventions: scikit-learn's `precision_recall_curve` in reverse order (the highest score first) and without its last point
//! at recall 0; `roc_curve(drop_intermediate=False)` without its first point (0, 0). A case is predicted positive if its score is
//! at least the threshold; equal scores are one step. The area under the steps of precision by recall is the average precision, and the area
//! under the lines of recall (the true positive rate) by false positive rate is the ROC AUC.

/// What a threshold equal to this score decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdPoint {
    /// The threshold.
    pub cutoff: f32,
    /// Cases predicted positive.
    pub named: u64,
    /// Cases predicted positive that are positive.
    pub hits: u64,
    /// `hits / named`.
    pub precision: f64,
    /// The true positive rate.
    pub recall: f64,
    /// The share of the negatives that are predicted positive.
    pub false_positive_rate: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
}

/// From cases with a score and whether they are positive. Without positives recall is 0, without negatives the false positive rate.
pub fn threshold_curve(cases: impl Iterator<Item = (f32, bool)>) -> Vec<ThresholdPoint> {
    let mut cases: Vec<(f32, bool)> = cases.collect();
    cases.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let positives = cases.iter().filter(|case| case.1).count() as u64;
    let negatives = cases.len() as u64 - positives;
    let (mut named, mut hits) = (0, 0);
    let mut steps = Vec::new();
    for equals in cases.chunk_by(|a, b| a.0 == b.0) {
        named += equals.len() as u64;
        hits += equals.iter().filter(|case| case.1).count() as u64;
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        steps.push(ThresholdPoint {
            cutoff: equals[0].0,
            named,
            hits,
            precision: share(hits, named),
            recall: share(hits, positives),
            false_positive_rate: share(named - hits, negatives),
            f1: share(2 * hits, named + positives),
        });
    }
    steps
}

/// At most about that number of points: every n-th, the first and the last.
pub fn thinned(steps: &[ThresholdPoint], most: usize) -> impl Iterator<Item = &ThresholdPoint> + Clone {
    let every = steps.len().div_ceil(most).max(1);
    steps.iter().enumerate().filter(move |(n, _)| n % every == 0 || n + 1 == steps.len()).map(|(_, step)| step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::average_precision::average_precision;
    use super::super::roc_auc::roc_auc;
    use super::super::sorted_scores::SortedScores;
    use super::*;

    #[test]
    fn f1_is_the_harmonic_mean_of_precision_and_recall() {
        let cases = [(0.9, true), (0.8, false), (0.7, true), (0.7, true), (0.1, false)];
        let steps = threshold_curve(cases.into_iter());
        let harmonic = |step: &ThresholdPoint| 2.0 * step.precision * step.recall / (step.precision + step.recall);
        assert!(steps.iter().all(|step| (step.f1 - harmonic(step)).abs() < 1e-15));
        assert_eq!(steps.iter().map(|step| step.f1).collect::<Vec<_>>(), [0.5, 0.4, 6.0 / 7.0, 0.75]);
    }

    #[test]
    fn a_thinned_curve_keeps_every_nth_point_the_first_and_the_last() {
        let steps = |n: u16| threshold_curve((0..n).map(|score| (f32::from(score), score % 2 == 0)));
        let named = |n, most| thinned(&steps(n), most).map(|step| step.named).collect::<Vec<_>>();
        assert_eq!(named(10, 4), [1, 4, 7, 10]);
        assert_eq!(named(9, 4), [1, 4, 7, 9]);
        assert_eq!(named(3, 4), [1, 2, 3]);
        assert!(named(0, 4).is_empty());
    }

    proptest! {
        #[test]
        fn the_area_under_the_steps_is_the_average_precision(
            cases in prop::collection::vec((0u8..12, any::<bool>()), 1..60)
        ) {
            let cases: Vec<(f32, bool)> = cases.into_iter().map(|(score, positives)| (f32::from(score) / 12.0, positives)).collect();
            let mut before = 0.0;
            let mut area = 0.0;
            for step in threshold_curve(cases.iter().copied()) {
                area += (step.recall - before) * step.precision;
                before = step.recall;
            }
            let ranked = SortedScores::new(cases.iter().enumerate().map(|(i, &(score, positives))| (i as u32, score, positives)));
            prop_assert!((area - average_precision(&ranked, &|_| 1)).abs() < 1e-12);
        }

        #[test]
        fn the_area_under_the_lines_is_the_roc_auc(cases in prop::collection::vec((0u8..12, any::<bool>()), 1..60)) {
            let cases: Vec<(f32, bool)> = cases.into_iter().map(|(score, positives)| (f32::from(score), positives)).collect();
            let (mut before, mut area) = ((0.0, 0.0), 0.0);
            for step in threshold_curve(cases.iter().copied()) {
                area += (step.false_positive_rate - before.0) * (step.recall + before.1) / 2.0;
                before = (step.false_positive_rate, step.recall);
            }
            let ranked = SortedScores::new(cases.iter().enumerate().map(|(i, &(score, positives))| (i as u32, score, positives)));
            if let Some(expected) = roc_auc(&ranked, &|_| 1) {
                prop_assert!((area - expected).abs() < 1e-12);
            }
        }

        #[test]
        fn a_threshold_at_a_point_selects_the_cases_of_that_point(cases in prop::collection::vec((0u8..12, any::<bool>()), 1..60)) {
            let cases: Vec<(f32, bool)> = cases.into_iter().map(|(score, positives)| (f32::from(score), positives)).collect();
            for step in threshold_curve(cases.iter().copied()) {
                let named = || cases.iter().filter(|case| case.0 >= step.cutoff);
                prop_assert_eq!(named().count() as u64, step.named);
                prop_assert_eq!(named().filter(|case| case.1).count() as u64, step.hits);
            }
        }
    }
}
