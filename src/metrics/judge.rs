//! From probabilities to decisions to scores: the one place that knows the task.

use serde::{Deserialize, Serialize};

use crate::labels::Task;
use crate::metrics::{
    self, Baseline, Scores, multi_label, multi_label_baselines, ranked_scores, single_label, single_label_baselines,
};
use crate::predictions::Predictions;

/// How decisions are taken and scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    pub task: Task,
    /// With several labels: a class is decided whose probability is at least this.
    pub cutoff: f64,
}

impl Default for Judge {
    fn default() -> Self {
        Judge { task: Task::SingleLabel, cutoff: 0.5 }
    }
}

impl Judge {
    /// The classes of each clip, ascending: the likeliest one, or all that reach the cut-off.
    pub fn decide(&self, predictions: &Predictions) -> Vec<Vec<usize>> {
        match self.task {
            Task::SingleLabel => predictions.decisions().into_iter().map(|class| vec![class]).collect(),
            Task::MultiLabel => {
                let present = |row: &[f32]| (0..row.len()).filter(|&c| f64::from(row[c]) >= self.cutoff).collect();
                predictions.probabilities.chunks_exact(predictions.n_classes.max(1)).map(present).collect()
            }
        }
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
        scores.metrics.extend(ranked_scores(self.task, truth, predictions));
        scores
    }

    /// What no model at all would score.
    pub fn baselines(&self, train: &[Vec<usize>], truth: &[Vec<usize>], n_classes: usize) -> Vec<Baseline> {
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
