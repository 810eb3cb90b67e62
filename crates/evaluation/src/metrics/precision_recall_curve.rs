//! Precision and recall along every cut-off: what a cut-off would have given.
//!
//! Conventions: scikit-learn's `precision_recall_curve`, the other way round (the highest score first) and without its last point at
//! recall 0. A case counts as named if its score is at least the cut-off; equal scores are one step. The area of its steps is
//! the average precision.

/// What a cut-off at this very score gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecallPoint {
    pub cutoff: f32,
    /// Cases named, and those of them that are there.
    pub named: u64,
    pub hits: u64,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// Of cases with a score, and whether they are there; without any that is there recall is 0.
pub fn precision_recall_curve(cases: impl Iterator<Item = (f32, bool)>) -> Vec<PrecisionRecallPoint> {
    let mut cases: Vec<(f32, bool)> = cases.collect();
    cases.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let there = cases.iter().filter(|case| case.1).count() as u64;
    let (mut named, mut hits) = (0, 0);
    let mut steps = Vec::new();
    for equals in cases.chunk_by(|a, b| a.0 == b.0) {
        named += equals.len() as u64;
        hits += equals.iter().filter(|case| case.1).count() as u64;
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        steps.push(PrecisionRecallPoint {
            cutoff: equals[0].0,
            named,
            hits,
            precision: share(hits, named),
            recall: share(hits, there),
            f1: share(2 * hits, named + there),
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::average_precision::average_precision;
    use super::super::sorted_scores::SortedScores;
    use super::*;

    proptest! {
        #[test]
        fn the_area_of_the_steps_is_the_average_precision(
            cases in prop::collection::vec((0u8..12, any::<bool>()), 1..60)
        ) {
            let cases: Vec<(f32, bool)> = cases.into_iter().map(|(score, there)| (f32::from(score) / 12.0, there)).collect();
            let mut before = 0.0;
            let mut area = 0.0;
            for step in precision_recall_curve(cases.iter().copied()) {
                area += (step.recall - before) * step.precision;
                before = step.recall;
            }
            let ranked = SortedScores::new(cases.iter().enumerate().map(|(i, &(score, there))| (i as u32, score, there)));
            prop_assert!((area - average_precision(&ranked, |_| 1)).abs() < 1e-12);
        }

        #[test]
        fn a_cutoff_at_a_step_names_what_the_step_says(cases in prop::collection::vec((0u8..12, any::<bool>()), 1..60)) {
            let cases: Vec<(f32, bool)> = cases.into_iter().map(|(score, there)| (f32::from(score), there)).collect();
            for step in precision_recall_curve(cases.iter().copied()) {
                let named = || cases.iter().filter(|case| case.0 >= step.cutoff);
                prop_assert_eq!(named().count() as u64, step.named);
                prop_assert_eq!(named().filter(|case| case.1).count() as u64, step.hits);
            }
        }
    }
}
