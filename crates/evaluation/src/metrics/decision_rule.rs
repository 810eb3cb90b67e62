//! From probabilities to decisions to scores: the one place that knows the task.

use serde::{Deserialize, Serialize};

use crate::aggregation::{self, Aggregate};
use crate::metrics::{
    self, Scores, TrivialBaseline, multi_label, multi_label_baselines, probability_scores, single_label,
    single_label_baselines,
};
use crate::predictions::{Predictions, WindowPredictions};
use timbre_core::labels::Task;

/// How decisions are taken and scored: all that `[evaluate]` says of it, with the class names looked up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionRule {
    pub task: Task,
    /// With several labels: a class is decided whose probability is at least this; a window votes for one above it.
    pub cutoff: f64,
    /// A cut-off a class, in the order of the classes; empty: `cutoff` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cutoffs: Vec<f64>,
    /// How the windows of a recording become a score a class.
    pub aggregate: Aggregate,
    /// With votes: a class is decided if more than this share of the windows voted for it.
    pub window_fraction: f64,
    /// With several labels: no more than so many classes, those with the highest scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<usize>,
    /// With several labels: where nothing is decided, the class with the highest score is.
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

/// What is said of recordings from their windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Decisions {
    /// One score a class and recording, from 0 to 1.
    pub scores: Predictions,
    /// The classes of each recording, ascending.
    pub decided: Vec<Vec<usize>>,
}

impl DecisionRule {
    /// A cut-off for each of so many classes.
    pub fn cutoffs(&self, n_classes: usize) -> Vec<f64> {
        if self.cutoffs.is_empty() {
            return vec![self.cutoff; n_classes];
        }
        assert_eq!(self.cutoffs.len(), n_classes, "a cut-off a class, or one for all");
        self.cutoffs.clone()
    }

    /// The classes of each clip that is heard as one, ascending: the likeliest one, or all that reach their cut-off.
    pub fn decide(&self, predictions: &Predictions) -> Vec<Vec<usize>> {
        match self.task {
            Task::SingleLabel => predictions.most_likely_classes().into_iter().map(|class| vec![class]).collect(),
            Task::MultiLabel => {
                let cutoffs = self.cutoffs(predictions.n_classes);
                let named = |row: &[f32]| self.limited(aggregation::reaching(row, &cutoffs), row);
                predictions.probabilities.chunks_exact(predictions.n_classes.max(1)).map(named).collect()
            }
        }
    }

    /// The scores and the classes of each recording that is heard in windows.
    pub fn decide_windows(&self, windows: &WindowPredictions) -> Decisions {
        let n_classes = windows.n_classes;
        let cutoffs = self.cutoffs(n_classes);
        let scores = self.aggregate.clip_scores(windows, &cutoffs);
        if self.task == Task::SingleLabel || self.aggregate != Aggregate::Vote {
            let decided = self.decide(&scores);
            return Decisions { scores, decided };
        }
        // Counted, not read from the rounded shares: a share that equals the fraction is not more than it.
        let votes = aggregation::votes(windows, &cutoffs);
        let decided = votes.chunks_exact(n_classes.max(1)).enumerate().map(|(recording, votes)| {
            let needed = aggregation::votes_needed(windows.windows_of(recording).len(), self.window_fraction);
            let named = (0..n_classes).filter(|&class| votes[class] >= needed).collect();
            self.limited(named, scores.row(recording))
        });
        let decided = decided.collect();
        Decisions { scores, decided }
    }

    /// What is said of recordings: from their windows where they were heard in windows, otherwise from `said`, a row a clip.
    pub fn decide_recordings(&self, said: &Predictions, windows: Option<&WindowPredictions>) -> Decisions {
        match windows {
            Some(windows) => self.decide_windows(windows),
            None => Decisions { scores: said.clone(), decided: self.decide(said) },
        }
    }

    fn limited(&self, named: Vec<usize>, scores: &[f32]) -> Vec<usize> {
        aggregation::limited(named, scores, self.at_most, self.at_least_one)
    }

    /// Scores decisions against the classes of each clip.
    pub fn score(&self, truth: &[Vec<usize>], decided: &[Vec<usize>], n_classes: usize) -> Scores {
        match self.task {
            Task::SingleLabel => single_label(&only(truth), &only(decided), n_classes),
            Task::MultiLabel => multi_label(truth, decided, n_classes),
        }
    }

    /// [`decide`](Self::decide), then [`score`](Self::score), and the scores of the probabilities.
    pub fn scores(&self, truth: &[Vec<usize>], predictions: &Predictions) -> Scores {
        let mut scores = self.score(truth, &self.decide(predictions), predictions.n_classes);
        scores.metrics.extend(probability_scores(self.task, truth, predictions));
        scores
    }

    /// What no model at all would score.
    pub fn baselines(&self, train: &[Vec<usize>], truth: &[Vec<usize>], n_classes: usize) -> Vec<TrivialBaseline> {
        match self.task {
            Task::SingleLabel => single_label_baselines(&only(train), &only(truth), n_classes),
            Task::MultiLabel => multi_label_baselines(train, truth, n_classes),
        }
    }

    /// The names of the scores, in the order of the tables.
    pub fn metrics(&self) -> Vec<String> {
        metrics::names(self.task).map(str::to_owned).collect()
    }
}

fn only(classes: &[Vec<usize>]) -> Vec<usize> {
    let one = |classes: &Vec<usize>| match classes[..] {
        [class] => class,
        _ => panic!("a clip of a single-label task has one class"),
    };
    classes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn several() -> DecisionRule {
        DecisionRule { task: Task::MultiLabel, aggregate: Aggregate::Vote, ..DecisionRule::default() }
    }

    fn windows(n_classes: usize, recordings: &[&[f32]]) -> WindowPredictions {
        let starts: Vec<Vec<f64>> = recordings.iter().map(|r| vec![0.0; r.len() / n_classes]).collect();
        WindowPredictions::new(Predictions { n_classes, probabilities: recordings.concat() }, &starts)
    }

    proptest! {
        #[test]
        fn a_vote_is_decided_as_the_reference_does_it(
            ps in prop::collection::vec(0.0f32..=1.0, 1..20), cutoff in 0.0..1.0f64, fraction in 0.0..1.0f64,
        ) {
            let decision_rule = DecisionRule { cutoff, window_fraction: fraction, ..several() };
            let verdict = decision_rule.decide_windows(&windows(1, &[&ps]));
            let passed = ps.iter().filter(|&&p| f64::from(p) > cutoff).count();
            let is_there = passed as f64 / ps.len() as f64 > fraction;
            prop_assert_eq!(verdict.decided, vec![if is_there { vec![0] } else { vec![] }]);
        }
    }

    #[test]
    fn a_share_that_equals_the_fraction_is_not_more_than_it() {
        // 13 of 50 windows are 26 % to the last bit of f64, and more than that once rounded to f32.
        let ps: Vec<f32> = (0..50).map(|w| if w < 13 { 0.9 } else { 0.1 }).collect();
        let verdict = several().decide_windows(&windows(1, &[&ps]));
        assert_eq!((verdict.decided, verdict.scores.probabilities), (vec![vec![]], vec![0.26]));
        assert_eq!(
            DecisionRule { window_fraction: 0.25, ..several() }.decide_windows(&windows(1, &[&ps])).decided,
            [[0]]
        );
    }

    #[test]
    fn each_class_may_have_a_cut_off_of_its_own() {
        let clips = Predictions { n_classes: 2, probabilities: vec![0.45, 0.45, 0.6, 0.39] };
        let decision_rule = DecisionRule { cutoffs: vec![0.5, 0.4], ..several() };
        assert_eq!(decision_rule.decide(&clips), [vec![1], vec![0]]);
        let verdict = decision_rule.decide_windows(&windows(2, &[&[0.45, 0.45], &[0.6, 0.39]]));
        assert_eq!(verdict.decided, [vec![1], vec![0]]);
    }

    #[test]
    fn the_loudest_class_always_reaches_its_cut_off_and_limits_hold_for_every_aggregate() {
        let quiet = windows(3, &[&[0.01, 0.03, 0.02, 0.01, 0.03, 0.028]]);
        let decision_rule = DecisionRule { aggregate: Aggregate::Loudest, ..several() };
        assert_eq!(decision_rule.decide_windows(&quiet).decided, [[1, 2]]);
        assert_eq!(DecisionRule { at_most: Some(1), ..decision_rule }.decide_windows(&quiet).decided, [[1]]);
        assert_eq!(several().decide_windows(&quiet).decided, [Vec::<usize>::new()]);
        // No window votes for any class: all shares are 0, and the first class is the first of the highest.
        assert_eq!(DecisionRule { at_least_one: true, ..several() }.decide_windows(&quiet).decided, [[0]]);
        let mean = DecisionRule { at_least_one: true, aggregate: Aggregate::Mean, ..several() };
        assert_eq!(mean.decide_windows(&quiet).decided, [[1]]);
    }

    #[test]
    fn of_one_label_the_likeliest_class_over_all_windows_is_decided() {
        let decision_rule = DecisionRule::default();
        let verdict = decision_rule.decide_windows(&windows(2, &[&[0.9, 0.1, 0.3, 0.7, 0.4, 0.6], &[0.5, 0.5]]));
        assert_eq!(verdict.decided, [[0], [0]], "the mean, and of equals the first");
    }

    #[test]
    fn a_judge_of_an_older_run_is_read() {
        let decision_rule: DecisionRule = serde_json::from_str(r#"{ "task": "multi_label", "cutoff": 0.6 }"#).unwrap();
        assert_eq!(decision_rule, DecisionRule { task: Task::MultiLabel, cutoff: 0.6, ..DecisionRule::default() });
        assert_eq!(
            serde_json::from_str::<DecisionRule>(&serde_json::to_string(&decision_rule).unwrap()).unwrap(),
            decision_rule
        );
    }
}
