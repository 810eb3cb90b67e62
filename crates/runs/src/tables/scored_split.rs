//! The scores of a trial on one subset, and the tables that come from its decisions.

use anyhow::Result;
use polars_core::prelude::{Column, DataFrame};

use super::{class_column, class_list, frame, keys};
use crate::run_dir::{ClassAreas, SplitRecord, Trial};
use timbre_core::labels::{Classes, Labels};
use timbre_evaluation::metrics::{
    self, ClassScores, DecisionRule, Scores,
    threshold_curve::{ThresholdPoint, thinned, threshold_curve},
};

/// The scores of a trial on one subset.
pub struct ScoredSplit<'a> {
    pub trial: &'a Trial,
    pub split: &'a SplitRecord,
    pub scores: Scores,
    /// The classes decided for each clip.
    pub decided: Vec<Vec<usize>>,
}

impl<'a> ScoredSplit<'a> {
    pub fn new(trial: &'a Trial, split: &'a SplitRecord, decision_rule: &DecisionRule) -> ScoredSplit<'a> {
        let (truth, decided) = (split.truth(), split.decided(decision_rule));
        let mut scores = decision_rule.score(&truth, &decided, split.predictions.n_classes);
        scores.metrics.extend(metrics::probability_scores(decision_rule.task, &truth, &split.predictions));
        ScoredSplit { trial, split, scores, decided }
    }

    /// The wrong clips, those with the least likely truth first: sorted by the probability of the true class, or in a
    /// multi-label task by the likelihood of all classes.
    pub fn hardest(&self) -> Vec<usize> {
        let split = self.split;
        let mut wrong: Vec<(f64, usize)> = (0..split.clips.len())
            .filter(|&c| !split.clips[c].truth.is_exactly(&self.decided[c]))
            .map(|c| {
                let (row, truth) = (split.predictions.row(c), &split.clips[c].truth);
                (if self.scores.confusion.is_empty() { likelihood(row, truth) } else { f64::from(row[truth[0]]) }, c)
            })
            .collect();
        wrong.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| split.clips[a.1].path.cmp(&split.clips[b.1].path)));
        wrong.into_iter().map(|(_, clip)| clip).collect()
    }

    /// The norm of the gradient of the cross-entropy of a clip with respect to the outputs of the model, the distance between
    /// probabilities and truth (EL2N of Paul et al. 2021): 0 for a certain and right prediction, √2 for a certain and wrong one
    /// with one label.
    pub fn gradient(&self, clip: usize) -> f32 {
        let truth = &self.split.clips[clip].truth;
        // Softmax has one distribution over all classes, sigmoids have one output for each.
        let share = if self.scores.confusion.is_empty() { 1.0 } else { 1.0 / truth.len().max(1) as f32 };
        let row = self.split.predictions.row(clip).iter().enumerate();
        let known = row.filter(|(class, _)| truth.is_known(*class));
        let target = |class: &usize| if truth.contains(class) { share } else { 0.0 };
        known.map(|(class, p)| (p - target(&class)).powi(2)).sum::<f32>().sqrt()
    }

    /// The mean predicted probability of these classes; None without classes.
    pub fn mean_probability(&self, clip: usize, labels: &[usize]) -> Option<f32> {
        let row = self.split.predictions.row(clip);
        let sum: f32 = labels.iter().map(|&label| row[label]).sum();
        (!labels.is_empty()).then_some(sum / labels.len() as f32)
    }
}

/// The mean log-likelihood of the presence or absence of each known class.
fn likelihood(row: &[f32], truth: &Labels) -> f64 {
    let of = |(class, &p): (usize, &f32)| {
        let p = f64::from(p).clamp(1e-7, 1.0 - 1e-7);
        if truth.contains(&class) { p.ln() } else { (1.0 - p).ln() }
    };
    let known = row.iter().enumerate().filter(|(class, _)| truth.is_known(*class));
    known.map(of).sum::<f64>() / (row.len() - truth.unknown().len()).max(1) as f64
}

/// Support, precision, recall, F1, false positives and false negatives of each class.
pub fn per_class(scored: &[ScoredSplit], classes: &Classes) -> Result<DataFrame> {
    let rows = scored.iter().flat_map(|s| s.scores.per_class.iter().enumerate().map(move |(class, c)| (s, class, c)));
    let mut columns = keys(rows.clone().map(|(s, ..)| (s.trial, s.split.split.as_str())));
    columns.push(Column::new("class".into(), rows.clone().map(|(_, k, _)| classes.name(k)).collect::<Vec<_>>()));
    columns.push(Column::new("support".into(), rows.clone().map(|(.., c)| c.support).collect::<Vec<_>>()));
    columns.push(Column::new("predicted".into(), rows.clone().map(|(.., c)| c.predicted).collect::<Vec<_>>()));
    columns.push(Column::new("precision".into(), rows.clone().map(|(.., c)| c.precision).collect::<Vec<_>>()));
    columns.push(Column::new("recall".into(), rows.clone().map(|(.., c)| c.recall).collect::<Vec<_>>()));
    columns.push(Column::new("f1".into(), rows.clone().map(|(.., c)| c.f1).collect::<Vec<_>>()));
    let wrong = |of: fn(&ClassScores) -> u64| rows.clone().map(|(.., c)| of(c)).collect::<Vec<_>>();
    columns.push(Column::new("false_positives".into(), wrong(|c| c.predicted - c.hits)));
    columns.push(Column::new("false_negatives".into(), wrong(|c| c.support - c.hits)));
    let areas: Vec<ClassAreas> = scored.iter().flat_map(|s| s.split.areas()).collect();
    columns
        .push(Column::new("average_precision".into(), areas.iter().map(|a| a.average_precision).collect::<Vec<_>>()));
    columns.push(Column::new("roc_auc".into(), areas.iter().map(|a| a.roc_auc).collect::<Vec<_>>()));
    frame(rows.count(), columns)
}

/// Points of a curve in `threshold_curves.csv`: as many as a picture can show.
const POINTS: usize = 500;

/// What each threshold decides: the ROC and the precision-recall curve of each class with recordings, and of all pairs of recording and
/// class, which have no class.
pub fn threshold_curves(scored: &[ScoredSplit], classes: &Classes) -> Result<DataFrame> {
    let of_split = |one: &ScoredSplit| {
        let occurring = (0..classes.len()).filter(|&class| one.scores.per_class[class].support > 0);
        let own = occurring.map(|class| (Some(class), threshold_curve(one.split.cases(class))));
        own.chain(std::iter::once((None, threshold_curve(one.split.pairs())))).collect::<Vec<_>>()
    };
    let curves: Vec<_> = scored.iter().map(|one| (one, of_split(one))).collect();
    let of = curves.iter().flat_map(|(one, curves)| curves.iter().map(move |(class, steps)| (*one, *class, steps)));
    let rows = of.flat_map(|(one, class, steps)| thinned(steps, POINTS).map(move |step| (one, class, step)));
    let mut columns = keys(rows.clone().map(|(s, ..)| (s.trial, s.split.split.as_str())));
    let class = rows.clone().map(|(_, class, _)| class.map(|class| classes.name(class)));
    columns.push(Column::new("class".into(), class.collect::<Vec<_>>()));
    columns.push(Column::new("threshold".into(), rows.clone().map(|(.., p)| p.cutoff).collect::<Vec<_>>()));
    columns.push(Column::new("true_positives".into(), rows.clone().map(|(.., p)| p.hits).collect::<Vec<_>>()));
    columns
        .push(Column::new("false_positives".into(), rows.clone().map(|(.., p)| p.named - p.hits).collect::<Vec<_>>()));
    let share = |name: &str, of: fn(&ThresholdPoint) -> f64| {
        Column::new(name.into(), rows.clone().map(|(.., point)| of(point)).collect::<Vec<_>>())
    };
    columns.push(share("precision", |p| p.precision));
    columns.push(share("recall", |p| p.recall));
    columns.push(share("false_positive_rate", |p| p.false_positive_rate));
    columns.push(share("f1", |p| p.f1));
    frame(rows.clone().count(), columns)
}

/// The confusion matrix. Single-label: one row per true class, one column per decided class. Multi-label: one row per class with its
/// four counts.
pub fn confusion(scored: &[ScoredSplit], classes: &Classes) -> Result<DataFrame> {
    if scored.iter().all(|s| s.scores.confusion.is_empty()) {
        return confusion_by_class(scored, classes);
    }
    let rows =
        scored.iter().flat_map(|s| s.scores.confusion.iter().enumerate().map(move |(truth, row)| (s, truth, row)));
    let mut columns = keys(rows.clone().map(|(s, ..)| (s.trial, s.split.split.as_str())));
    columns.push(Column::new("truth".into(), rows.clone().map(|(_, t, _)| classes.name(t)).collect::<Vec<_>>()));
    for (decision, name) in classes.names().iter().enumerate() {
        let counts: Vec<u64> = rows.clone().map(|(.., row)| row[decision]).collect();
        columns.push(Column::new(class_column(name), counts));
    }
    frame(rows.count(), columns)
}

fn confusion_by_class(scored: &[ScoredSplit], classes: &Classes) -> Result<DataFrame> {
    let rows = scored.iter().flat_map(|s| s.scores.per_class.iter().enumerate().map(move |(class, c)| (s, class, c)));
    let mut columns = keys(rows.clone().map(|(s, ..)| (s.trial, s.split.split.as_str())));
    columns.push(Column::new("class".into(), rows.clone().map(|(_, k, _)| classes.name(k)).collect::<Vec<_>>()));
    let count = |name: &str, of: &dyn Fn(&ScoredSplit, usize, &ClassScores) -> u64| {
        Column::new(name.into(), rows.clone().map(|(s, class, c)| of(s, class, c)).collect::<Vec<_>>())
    };
    let known = |s: &ScoredSplit, class| s.split.clips.iter().filter(|clip| clip.truth.is_known(class)).count() as u64;
    columns.push(count("true_positives", &|_, _, c| c.hits));
    columns.push(count("false_positives", &|_, _, c| c.predicted - c.hits));
    columns.push(count("false_negatives", &|_, _, c| c.support - c.hits));
    columns.push(count("true_negatives", &|s, class, c| known(s, class) + c.hits - c.support - c.predicted));
    frame(rows.clone().count(), columns)
}

/// The number of clips per trial and split in `hardest.csv`.
const HARDEST: usize = 25;

/// [`ScoredSplit::hardest`]. `p_truth` is the mean probability of the true classes, `p_decided` that of the decided classes; empty
/// without classes. `gradient` is [`ScoredSplit::gradient`].
pub fn hardest(scored: &[ScoredSplit], classes: &Classes) -> Result<DataFrame> {
    let rows: Vec<(&ScoredSplit, usize)> =
        scored.iter().flat_map(|one| one.hardest().into_iter().take(HARDEST).map(move |clip| (one, clip))).collect();
    let clip = |r: &(&ScoredSplit, usize)| r.0.split.clips[r.1].clone();
    let mut columns = keys(rows.iter().map(|r| (r.0.trial, r.0.split.split.as_str())));
    columns.push(Column::new("path".into(), rows.iter().map(|r| clip(r).path).collect::<Vec<_>>()));
    columns.push(Column::new(
        "truth".into(),
        rows.iter().map(|r| class_list(classes, &clip(r).truth)).collect::<Vec<_>>(),
    ));
    let decided = |r: &(&ScoredSplit, usize)| class_list(classes, &r.0.decided[r.1]);
    columns.push(Column::new("decided".into(), rows.iter().map(decided).collect::<Vec<_>>()));
    let given = |labels: &dyn Fn(&(&ScoredSplit, usize)) -> Vec<usize>| {
        rows.iter().map(|r| r.0.mean_probability(r.1, &labels(r))).collect::<Vec<Option<f32>>>()
    };
    columns.push(Column::new("p_truth".into(), given(&|r| clip(r).truth.to_vec())));
    columns.push(Column::new("p_decided".into(), given(&|r| r.0.decided[r.1].clone())));
    columns.push(Column::new("gradient".into(), rows.iter().map(|r| r.0.gradient(r.1)).collect::<Vec<_>>()));
    frame(rows.len(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_of_a_clip_is_the_distance_between_probabilities_and_truth() {
        let trial = Trial { features: "mel".into(), model: "knn".into(), seed: 1 };
        let gradient = |truth: Labels, probabilities: Vec<f32>, rule: &DecisionRule| {
            let clip = crate::run_dir::ClipTruth { path: "a".into(), song: "s".into(), truth };
            let predictions = timbre_evaluation::predictions::Predictions { n_classes: 3, probabilities };
            let split =
                SplitRecord { split: "test".into(), clips: vec![clip], predictions, windows: None, curve: vec![] };
            ScoredSplit::new(&trial, &split, rule).gradient(0)
        };
        let one = DecisionRule::default();
        assert_eq!(gradient(vec![1].into(), vec![0.0, 1.0, 0.0], &one), 0.0);
        assert_eq!(gradient(vec![1].into(), vec![1.0, 0.0, 0.0], &one), 2.0f32.sqrt());
        let several = DecisionRule { task: timbre_core::labels::Task::MultiLabel, ..one };
        assert_eq!(gradient(vec![0, 2].into(), vec![1.0, 0.5, 1.0], &several), 0.5);
    }
}
