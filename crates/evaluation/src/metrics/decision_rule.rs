//! From probabilities to decisions to scores. Only this module distinguishes the two tasks.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::aggregation::{self, Aggregate};
use crate::metrics::{
    self, Scores, TrivialBaseline, multi_label, multi_label_baselines, probability_scores, single_label,
    single_label_baselines,
};
use crate::predictions::{Predictions, WindowPredictions};
use timbre_core::labels::{Labels, Task};

/// How decisions are taken and scored: the keys of `[evaluate]`, with class names resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionRule {
    /// One class per recording, or any number.
    pub task: Task,
    /// Multi-label: a class is decided if its probability is at least this threshold; a window votes if it is above it.
    pub cutoff: f64,
    /// One threshold per class, in the order of the classes; empty: `cutoff` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cutoffs: Vec<f64>,
    /// How the windows of a recording become one score per class.
    pub aggregate: Aggregate,
    /// With votes: a class is decided if more than this share of the windows voted for it.
    pub window_fraction: f64,
    /// Multi-label: at most this number of classes, those with the highest scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<usize>,
    /// Multi-label: where no class is decided, decide the class with the highest score.
    pub at_least_one: bool,
}

impl Default for DecisionRule {
    fn default() -> Self {
        DecisionRule {
            task: Task::SingleLabel,
            cutoff: 0.5,
            cutoffs: Vec::new(),
            aggregate: Aggregate::Mean,
            window_fraction: 0.26,
            at_most: None,
            at_least_one: false,
        }
    }
}

/// Scores and decisions of recordings.
#[derive(Clone, Debug, PartialEq)]
pub struct Decisions {
    /// One score per recording and class, from 0 to 1.
    pub scores: Predictions,
    /// The classes of each recording, ascending.
    pub decided: Vec<Vec<usize>>,
}

impl DecisionRule {
    /// One threshold for each of `n_classes` classes.
    pub fn cutoffs(&self, n_classes: usize) -> Vec<f64> {
        if self.cutoffs.is_empty() {
            return vec![self.cutoff; n_classes];
        }
        assert_eq!(self.cutoffs.len(), n_classes, "one threshold per class, or one for all");
        self.cutoffs.clone()
    }

    /// The classes of each clip, ascending: the most likely one, or all that reach their threshold.
    pub fn decide(&self, predictions: &Predictions) -> Vec<Vec<usize>> {
        match self.task {
            Task::SingleLabel => predictions.most_likely_classes().into_iter().map(|class| vec![class]).collect(),
            Task::MultiLabel => {
                let cutoffs = self.cutoffs(predictions.n_classes);
                let named = |row: &[f32]| self.limit_classes(aggregation::at_or_above(row, &cutoffs), row);
                predictions.probabilities.chunks_exact(predictions.n_classes.max(1)).map(named).collect()
            }
        }
    }

    /// The scores and the classes of recordings that were predicted in windows.
    pub fn decide_windows(&self, windows: &WindowPredictions) -> Decisions {
        let n_classes = windows.n_classes;
        let cutoffs = self.cutoffs(n_classes);
        let scores = self.aggregate.clip_scores(windows, &cutoffs);
        if self.task == Task::SingleLabel || self.aggregate != Aggregate::Vote {
            let decided = self.decide(&scores);
            return Decisions { scores, decided };
        }
        // Votes are counted, not read from the rounded shares: a share that equals the fraction is not above it.
        let votes = aggregation::votes(windows, &cutoffs);
        let decided = votes.chunks_exact(n_classes.max(1)).enumerate().map(|(recording, votes)| {
            let needed = aggregation::votes_needed(windows.windows_of(recording).len(), self.window_fraction);
            let named = (0..n_classes).filter(|&class| votes[class] >= needed).collect();
            self.limit_classes(named, scores.row(recording))
        });
        let decided = decided.collect();
        Decisions { scores, decided }
    }

    /// Scores and classes of recordings: from their windows where there are any, otherwise from one row of predictions per clip.
    pub fn decide_recordings(&self, predictions: &Predictions, windows: Option<&WindowPredictions>) -> Decisions {
        match windows {
            Some(windows) => self.decide_windows(windows),
            None => Decisions { scores: predictions.clone(), decided: self.decide(predictions) },
        }
    }

    fn limit_classes(&self, named: Vec<usize>, scores: &[f32]) -> Vec<usize> {
        aggregation::limit_classes(named, scores, self.at_most, self.at_least_one)
    }

    /// Scores decisions against the true classes of each clip.
    pub fn score(&self, truth: &[Labels], decided: &[Vec<usize>], n_classes: usize) -> Scores {
        match self.task {
            Task::SingleLabel => single_label(&single_classes(truth), &single_classes(decided), n_classes),
            Task::MultiLabel => multi_label(truth, decided, n_classes),
        }
    }

    /// [`decide`](Self::decide), then [`score`](Self::score), with the scores of the probabilities.
    pub fn scores(&self, truth: &[Labels], predictions: &Predictions) -> Scores {
        let mut scores = self.score(truth, &self.decide(predictions), predictions.n_classes);
        scores.metrics.extend(probability_scores(self.task, truth, predictions));
        scores
    }

    /// The scores of the trivial baselines.
    pub fn baselines(&self, train: &[Vec<usize>], truth: &[Labels], n_classes: usize) -> Vec<TrivialBaseline> {
        match self.task {
            Task::SingleLabel => single_label_baselines(&single_classes(train), &single_classes(truth), n_classes),
            Task::MultiLabel => multi_label_baselines(train, truth, n_classes),
        }
    }

    /// The names of the metrics, in the order of the tables.
    pub fn metrics(&self) -> Vec<String> {
        metrics::names(self.task).map(str::to_owned).collect()
    }
}

fn single_classes<T: Deref<Target = [usize]>>(classes: &[T]) -> Vec<usize> {
    let one = |classes: &T| match classes[..] {
        [class] => class,
        _ => panic!("a clip of a single-label task has one class"),
    };
    classes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn multi_label_votes() -> DecisionRule {
        DecisionRule { task: Task::MultiLabel, aggregate: Aggregate::Vote, ..DecisionRule::default() }
    }

    fn windows(n_classes: usize, recordings: &[&[f32]]) -> WindowPredictions {
        let starts: Vec<Vec<f64>> = recordings.iter().map(|r| vec![0.0; r.len() / n_classes]).collect();
        WindowPredictions::new(Predictions { n_classes, probabilities: recordings.concat() }, &starts)
    }

    proptest! {
        #[test]
        fn votes_are_decided_as_in_the_reference(
            ps in prop::collection::vec(0.0f32..=1.0, 1..20), cutoff in 0.0..1.0f64, fraction in 0.0..1.0f64,
        ) {
            let decision_rule = DecisionRule { cutoff, window_fraction: fraction, ..multi_label_votes() };
            let decisions = decision_rule.decide_windows(&windows(1, &[&ps]));
            let passed = ps.iter().filter(|&&p| p > cutoff as f32).count();
            let is_there = passed as f64 / ps.len() as f64 > fraction;
            prop_assert_eq!(decisions.decided, vec![if is_there { vec![0] } else { vec![] }]);
        }
    }

    #[test]
    fn a_share_equal_to_the_fraction_is_not_above_it() {
        // 13 of 50 windows are 26 % to the last bit of f64, and more than that once rounded to f32.
        let ps: Vec<f32> = (0..50).map(|w| if w < 13 { 0.9 } else { 0.1 }).collect();
        let decisions = multi_label_votes().decide_windows(&windows(1, &[&ps]));
        assert_eq!((decisions.decided, decisions.scores.probabilities), (vec![vec![]], vec![0.26]));
        assert_eq!(
            DecisionRule { window_fraction: 0.25, ..multi_label_votes() }.decide_windows(&windows(1, &[&ps])).decided,
            [[0]]
        );
    }

    #[test]
    fn a_share_of_neighbours_equal_to_the_threshold_does_not_vote_and_is_named() {
        for tenths in 0..=10u8 {
            let (share, cutoff) = (f32::from(tenths) / 10.0, f64::from(tenths) / 10.0);
            let decision_rule = DecisionRule { cutoff, ..multi_label_votes() };
            assert_eq!(
                decision_rule.decide_windows(&windows(1, &[&[share]])).decided,
                [Vec::<usize>::new()],
                "{cutoff}"
            );
            let clip = Predictions { n_classes: 1, probabilities: vec![share] };
            assert_eq!(decision_rule.decide(&clip), [[0]], "{cutoff}");
        }
    }

    #[test]
    fn each_class_can_have_its_own_threshold() {
        let clips = Predictions { n_classes: 2, probabilities: vec![0.45, 0.45, 0.6, 0.39] };
        let decision_rule = DecisionRule { cutoffs: vec![0.5, 0.4], ..multi_label_votes() };
        assert_eq!(decision_rule.decide(&clips), [vec![1], vec![0]]);
        let decisions = decision_rule.decide_windows(&windows(2, &[&[0.45, 0.45], &[0.6, 0.39]]));
        assert_eq!(decisions.decided, [vec![1], vec![0]]);
    }

    #[test]
    fn the_loudest_class_always_reaches_its_threshold_and_limits_hold_for_every_aggregation() {
        let quiet = windows(3, &[&[0.01, 0.03, 0.02, 0.01, 0.03, 0.028]]);
        let decision_rule = DecisionRule { aggregate: Aggregate::Loudest, ..multi_label_votes() };
        assert_eq!(decision_rule.decide_windows(&quiet).decided, [[1, 2]]);
        assert_eq!(DecisionRule { at_most: Some(1), ..decision_rule }.decide_windows(&quiet).decided, [[1]]);
        assert_eq!(multi_label_votes().decide_windows(&quiet).decided, [Vec::<usize>::new()]);
        // No window votes for any class: all shares are 0, and the first class is the first of the highest.
        assert_eq!(DecisionRule { at_least_one: true, ..multi_label_votes() }.decide_windows(&quiet).decided, [[0]]);
        let mean = DecisionRule { at_least_one: true, aggregate: Aggregate::Mean, ..multi_label_votes() };
        assert_eq!(mean.decide_windows(&quiet).decided, [[1]]);
    }

    #[test]
    fn for_a_single_label_the_most_likely_class_over_all_windows_is_decided() {
        let decision_rule = DecisionRule::default();
        let decisions = decision_rule.decide_windows(&windows(2, &[&[0.9, 0.1, 0.3, 0.7, 0.4, 0.6], &[0.5, 0.5]]));
        assert_eq!(decisions.decided, [[0], [0]], "the largest mean, of equal means the first");
    }

    #[test]
    fn the_rule_of_an_older_run_is_read() {
        let decision_rule: DecisionRule = serde_json::from_str(r#"{ "task": "multi_label", "cutoff": 0.6 }"#).unwrap();
        assert_eq!(decision_rule, DecisionRule { task: Task::MultiLabel, cutoff: 0.6, ..DecisionRule::default() });
        assert_eq!(
            serde_json::from_str::<DecisionRule>(&serde_json::to_string(&decision_rule).unwrap()).unwrap(),
            decision_rule
        );
    }
}
