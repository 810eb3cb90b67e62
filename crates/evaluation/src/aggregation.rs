//! Aggregation: predictions of windows become scores and decisions for recordings. Pure functions over probabilities.
//!
//! Conventions
//! - A vote counts the windows whose probability is **more than** the threshold (TOML key `cutoff`), and a class is present if
//!   **more than** the fraction of the windows voted for it: both comparisons are strict, as in the reference. For every other
//!   aggregation a class is present if its score is **at least** the threshold, as for the probability of a single clip.
//! - Probabilities and scores are f32, so a threshold is rounded to f32 before the comparison: 3 of 10 is then equal to 0.3,
//!   neither above nor below it. [`is_above`] and [`reaches`] are the only comparisons with a threshold.
//! - Sums run over the windows of a recording in their order, in f64; a score is rounded to f32 once. Logits are taken of
//!   probabilities clamped to 1e-7 from 0 and 1, so that one certain window does not outweigh all others.
//! - Of equal scores the first class wins.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::predictions::{Predictions, WindowPredictions};
use timbre_core::labels::Task;

/// Raise the number of a task by hand when the same windows give different scores or decisions.
pub fn version(task: Task) -> u32 {
    match task {
        // Uses no thresholds.
        Task::SingleLabel => 1,
        Task::MultiLabel => 2,
    }
}

/// Whether a window with this probability votes at a threshold.
pub fn is_above(p: f32, cutoff: f64) -> bool {
    p > cutoff as f32
}

/// Whether a class with this score is named at a threshold.
pub fn reaches(score: f32, cutoff: f64) -> bool {
    score >= cutoff as f32
}

/// How the windows of a recording become one score per class, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The share of the windows whose probability is more than the threshold.
    Vote,
    /// The mean of the probabilities (S1 in the literature).
    #[default]
    Mean,
    /// The largest probability.
    Max,
    /// The mean of the logits, as a probability.
    MeanLogits,
    /// The sum over the windows, divided by the largest sum of any class (S2 in the literature): the loudest class has 1.
    Loudest,
    /// The weighted mean of the probabilities; the weights are the softmax over the windows of the class's logit.
    Attention,
}

impl Aggregate {
    /// One score per recording and class. Only votes use the thresholds, one per class.
    pub fn clip_scores(self, windows: &WindowPredictions, cutoffs: &[f64]) -> Predictions {
        let n_classes = windows.n_classes;
        if self == Aggregate::Vote {
            let counts = votes(windows, cutoffs);
            let share = |(r, votes): (usize, &[usize])| {
                let all = windows.windows_of(r).len().max(1) as f64;
                votes.iter().map(|&count| (count as f64 / all) as f32).collect::<Vec<f32>>()
            };
            let probabilities = counts.chunks_exact(n_classes.max(1)).enumerate().flat_map(share).collect();
            return Predictions { n_classes, probabilities };
        }
        let probabilities = (0..windows.len()).flat_map(|r| self.scores_of(windows, r)).map(|s| s as f32).collect();
        Predictions { n_classes, probabilities }
    }

    fn scores_of(self, windows: &WindowPredictions, recording: usize) -> Vec<f64> {
        let n = windows.windows_of(recording).len().max(1) as f64;
        let sum = |term: fn(f64) -> f64| {
            let mut sums = vec![0.0; windows.n_classes];
            for row in windows.rows_of(recording) {
                sums.iter_mut().zip(row).for_each(|(sum, &p)| *sum += term(f64::from(p)));
            }
            sums
        };
        match self {
            Aggregate::Vote => unreachable!("votes are counted by `votes`"),
            Aggregate::Mean => sum(|p| p).into_iter().map(|sum| sum / n).collect(),
            Aggregate::Max => {
                let mut most = vec![0.0f64; windows.n_classes];
                for row in windows.rows_of(recording) {
                    most.iter_mut().zip(row).for_each(|(most, &p)| *most = most.max(f64::from(p)));
                }
                most
            }
            Aggregate::MeanLogits => sum(logit).into_iter().map(|sum| 1.0 / (1.0 + (-sum / n).exp())).collect(),
            Aggregate::Loudest => {
                let sums = sum(|p| p);
                let loudest = sums.iter().copied().fold(0.0, f64::max);
                sums.into_iter().map(|sum| if loudest > 0.0 { sum / loudest } else { 0.0 }).collect()
            }
            // The softmax of a logit is proportional to the odds.
            Aggregate::Attention => {
                let (odds, weighted) = (sum(odds), sum(|p| odds(p) * p));
                weighted.into_iter().zip(odds).map(|(weighted, odds)| weighted / odds).collect()
            }
        }
    }
}

/// Logits are taken of probabilities at least this far from 0 and 1.
const NEAREST: f64 = 1e-7;

fn odds(p: f64) -> f64 {
    let p = p.clamp(NEAREST, 1.0 - NEAREST);
    p / (1.0 - p)
}

fn logit(p: f64) -> f64 {
    odds(p).ln()
}

/// For each recording and class, the number of windows whose probability is more than the class's threshold.
pub fn votes(windows: &WindowPredictions, cutoffs: &[f64]) -> Vec<usize> {
    let n_classes = windows.n_classes;
    assert_eq!(cutoffs.len(), n_classes, "one threshold per class");
    let mut votes = vec![0; windows.len() * n_classes];
    for (recording, votes) in votes.chunks_exact_mut(n_classes.max(1)).enumerate() {
        for row in windows.rows_of(recording) {
            for ((count, &p), &cutoff) in votes.iter_mut().zip(row).zip(cutoffs) {
                *count += usize::from(is_above(p, cutoff));
            }
        }
    }
    votes
}

/// The smallest number of votes that is more than `fraction` of the windows. All code that needs this rule calls this function.
/// A fraction of 1 or more needs one vote more than there are windows.
pub fn votes_needed(windows: usize, fraction: f64) -> usize {
    let enough = |votes: usize| votes as f64 / windows as f64 > fraction;
    let mut votes = ((fraction * windows as f64).max(0.0) as usize).min(windows);
    while votes > 0 && enough(votes - 1) {
        votes -= 1;
    }
    while votes <= windows && !enough(votes) {
        votes += 1;
    }
    votes
}

/// The classes whose score is at least their threshold, ascending.
pub fn at_or_above(scores: &[f32], cutoffs: &[f64]) -> Vec<usize> {
    assert_eq!(cutoffs.len(), scores.len(), "one threshold per class");
    (0..scores.len()).filter(|&class| reaches(scores[class], cutoffs[class])).collect()
}

/// Keeps the `at_most` named classes with the highest scores. With `at_least_one`, names the class with the highest score
/// where none is named. Of equal scores the first classes win. Ascending.
pub fn limit_classes(mut named: Vec<usize>, scores: &[f32], at_most: Option<usize>, at_least_one: bool) -> Vec<usize> {
    let by_score = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    if named.is_empty() && at_least_one {
        named.extend((0..scores.len()).min_by(by_score));
    }
    if let Some(most) = at_most.filter(|&most| most < named.len()) {
        named.sort_by(by_score);
        named.truncate(most);
        named.sort_unstable();
    }
    named
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Aggregate; 6] = [
        Aggregate::Vote,
        Aggregate::Mean,
        Aggregate::Max,
        Aggregate::MeanLogits,
        Aggregate::Loudest,
        Aggregate::Attention,
    ];

    /// Recordings of 1 to 9 windows and 1 to 5 classes, with ties, certain windows and values equal to a threshold.
    fn cases() -> impl Strategy<Value = (WindowPredictions, Vec<f64>)> {
        let p = prop_oneof![
            4 => 0.0f32..=1.0,
            1 => prop::sample::select(vec![0.0f32, 0.25, 0.5, 0.75, 1.0, 1.0f32.next_down(), 1e-9]),
        ];
        let cutoff = prop_oneof![0.0..=1.0f64, prop::sample::select(vec![0.25, 0.5, 0.56, 1.0])];
        (1usize..6, prop::collection::vec(1usize..10, 1..6)).prop_flat_map(move |(k, counts)| {
            let n: usize = counts.iter().sum();
            let starts: Vec<Vec<f64>> = counts.iter().map(|&n| (0..n).map(|w| w as f64).collect()).collect();
            (prop::collection::vec(p.clone(), n * k), prop::collection::vec(cutoff.clone(), k)).prop_map(
                move |(probabilities, cutoffs)| {
                    (WindowPredictions::new(Predictions { n_classes: k, probabilities }, &starts), cutoffs)
                },
            )
        })
    }

    /// The definitions, for one class of one recording at a time, from the list of its probabilities.
    fn slow(aggregate: Aggregate, of_all_classes: &[Vec<f64>], class: usize, cutoff: f32) -> f64 {
        let own = &of_all_classes[class];
        let n = own.len() as f64;
        let logits: Vec<f64> = own.iter().map(|p| p.clamp(1e-7, 1.0 - 1e-7)).map(|p| p.ln() - (1.0 - p).ln()).collect();
        match aggregate {
            Aggregate::Vote => own.iter().filter(|&&p| p > f64::from(cutoff)).count() as f64 / n,
            Aggregate::Mean => own.iter().sum::<f64>() / n,
            Aggregate::Max => own.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Aggregate::MeanLogits => {
                let x = logits.iter().sum::<f64>() / n;
                x.exp() / (1.0 + x.exp())
            }
            Aggregate::Loudest => {
                let sums: Vec<f64> = of_all_classes.iter().map(|ps| ps.iter().sum()).collect();
                let largest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if largest == 0.0 { 0.0 } else { sums[class] / largest }
            }
            Aggregate::Attention => {
                let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = logits.iter().map(|x| (x - top).exp()).collect();
                let all: f64 = weights.iter().sum();
                weights.iter().zip(own).map(|(w, p)| w / all * p).sum()
            }
        }
    }

    proptest! {
        #[test]
        fn each_aggregation_equals_its_definition((windows, cutoffs) in cases()) {
            for aggregate in ALL {
                let scores = aggregate.clip_scores(&windows, &cutoffs);
                prop_assert_eq!(scores.len(), windows.len());
                for r in 0..windows.len() {
                    let of_class = |c: usize| windows.rows_of(r).map(|row| f64::from(row[c])).collect::<Vec<f64>>();
                    let all: Vec<Vec<f64>> = (0..windows.n_classes).map(of_class).collect();
                    for (class, &score) in scores.row(r).iter().enumerate() {
                        let expected = slow(aggregate, &all, class, cutoffs[class] as f32);
                        prop_assert!((f64::from(score) - expected).abs() < 1e-6, "{aggregate:?}: {score} is not {expected}");
                        prop_assert!((0.0..=1.0).contains(&score), "{aggregate:?}: {score}");
                    }
                }
            }
        }

        #[test]
        fn for_a_single_window_every_mean_is_its_probability(ps in prop::collection::vec(0.0f32..=1.0, 1..6)) {
            let k = ps.len();
            let windows = WindowPredictions::new(Predictions { n_classes: k, probabilities: ps.clone() }, &[vec![0.0]]);
            for aggregate in [Aggregate::Mean, Aggregate::Max] {
                prop_assert_eq!(&aggregate.clip_scores(&windows, &vec![0.5; k]).probabilities, &ps);
            }
            for aggregate in [Aggregate::MeanLogits, Aggregate::Attention] {
                let scores = aggregate.clip_scores(&windows, &vec![0.5; k]);
                prop_assert!(scores.probabilities.iter().zip(&ps).all(|(a, b)| (a - b).abs() < 1e-6));
            }
        }

        #[test]
        fn votes_needed_is_the_first_count_above_the_fraction(windows in 1usize..400, fraction in -0.2..1.3f64) {
            let slow = (0..=windows).find(|&c| c as f64 / windows as f64 > fraction).unwrap_or(windows + 1);
            prop_assert_eq!(votes_needed(windows, fraction), slow);
        }

        #[test]
        fn votes_needed_is_strict_when_the_fraction_equals_a_count(windows in 1usize..400, share in 0.0..1.0f64) {
            let count = (share * windows as f64) as usize;
            prop_assert_eq!(votes_needed(windows, count as f64 / windows as f64), count + 1);
        }

        #[test]
        fn limits_keep_the_highest_scores_and_at_least_one_class(
            scores in prop::collection::vec(prop::sample::select(vec![0.0f32, 0.2, 0.4, 0.6, 0.8]), 1..8),
            (cutoff, most, one) in (0.0..1.0f64, 1usize..9, any::<bool>()),
        ) {
            let cutoffs = vec![cutoff; scores.len()];
            let named = limit_classes(at_or_above(&scores, &cutoffs), &scores, Some(most), one);
            // Takes the highest remaining named class each time; of equal scores the first.
            let mut expected: Vec<usize> = Vec::new();
            while expected.len() < most {
                let open = (0..scores.len()).filter(|c| scores[*c] >= cutoff as f32 && !expected.contains(c));
                let Some(next) = open.reduce(|best, c| if scores[c] > scores[best] { c } else { best }) else { break };
                expected.push(next);
            }
            if expected.is_empty() && one {
                expected.push((0..scores.len()).reduce(|best, c| if scores[c] > scores[best] { c } else { best }).unwrap());
            }
            expected.sort_unstable();
            prop_assert_eq!(named, expected);
        }
    }

    #[test]
    fn shares_are_compared_with_decimal_thresholds_as_exact_fractions() {
        for (all, digits) in (1..=30u64).flat_map(|all| [10u64, 100, 1000].map(|digits| (all, digits))) {
            for (share, numerator) in (0..=all).flat_map(|share| (0..=digits).map(move |n| (share, n))) {
                let (p, cutoff) = ((share as f64 / all as f64) as f32, numerator as f64 / digits as f64);
                let what = format!("{share} of {all} at {cutoff}");
                assert_eq!(is_above(p, cutoff), share * digits > numerator * all, "{what}");
                assert_eq!(reaches(p, cutoff), share * digits >= numerator * all, "{what}");
                // The same with a quotient of f32, as networks and other tools compute it.
                assert_eq!(is_above(share as f32 / all as f32, cutoff), share * digits > numerator * all, "{what}");
            }
        }
    }

    #[test]
    fn a_window_at_the_threshold_does_not_vote_but_a_clip_at_it_is_named() {
        let windows = WindowPredictions::new(
            Predictions { n_classes: 1, probabilities: vec![0.5, 0.5, 0.75, 0.25] },
            &[vec![0.0, 1.0, 2.0, 3.0]],
        );
        assert_eq!(votes(&windows, &[0.5]), [1]);
        assert_eq!(at_or_above(&[0.5], &[0.5]), [0]);
        assert_eq!((votes_needed(4, 0.25), votes_needed(4, 0.24), votes_needed(4, 0.0)), (2, 1, 1));
        // 18 windows and the fraction of the reference: five windows are more than 26 %.
        assert_eq!(votes_needed(18, 0.26), 5);
    }
}
