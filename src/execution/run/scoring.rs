//! Scores predictions: the rows of `results.csv` with metrics, intervals and trivial baselines.

use timbre_core::{labels::Labels, seed::Seed};
use timbre_evaluation::metrics::{self, DecisionRule, Decisions, Metric, Scores};
use timbre_experiment::Experiment;
use timbre_runs::{
    run_dir::{NO_FEATURES, ResultRow, SplitRecord, Trial, TrialRecord},
    tables::ScoredSplit,
};

/// Raise it when equal predictions give other rows, or equal trials other predictions.
pub const VERSION: u32 = 2;

/// The headline metric of decisions; None where it is undefined.
pub fn headline(
    experiment: &Experiment,
    decision_rule: &DecisionRule,
    truth: &[Labels],
    Decisions { decided, scores }: &Decisions,
) -> Option<f64> {
    let metric = experiment.evaluate.metric().name();
    metrics::weighted_metric(decision_rule.task, metric, truth, decided, scores)(&vec![1; truth.len()])
}

/// A metric of decisions, and its interval if the experiment has a bootstrap. None where it is undefined.
pub fn with_interval(
    experiment: &Experiment,
    metric: Metric,
    truth: &[Labels],
    decisions: &Decisions,
    songs: &[&str],
    seed: Seed,
) -> (Option<f64>, Option<(f64, f64)>) {
    let Decisions { decided, scores } = decisions;
    let statistic = metrics::weighted_metric(experiment.evaluate.task, metric.name(), truth, decided, scores);
    let score = statistic(&vec![1; truth.len()]);
    let resamples = experiment.evaluate.bootstrap;
    let interval = (resamples > 0).then(|| metrics::bootstrap_interval(songs, statistic, resamples, LEVEL, seed));
    (score, interval.filter(|(low, high)| low.is_finite() && high.is_finite()))
}

/// The level of the intervals.
const LEVEL: f64 = 0.95;

/// Equal resamples for every trial: the intervals of two models differ by the models alone.
pub fn bootstrap_seed(trial: &Trial, split: &str) -> Seed {
    Seed::new(trial.seed).child("bootstrap").child(split)
}

/// The scores of every trial on every subset.
pub fn scored<'a>(trials: &'a [TrialRecord], decision_rule: &DecisionRule) -> Vec<ScoredSplit<'a>> {
    let splits = trials.iter().flat_map(|trial| trial.splits.iter().map(move |split| (&trial.trial, split)));
    splits.map(|(trial, split)| ScoredSplit::new(trial, split, decision_rule)).collect()
}

/// The finished trials with their rows. Each trial is scored once.
pub struct FinishedTrials {
    pub trials: Vec<TrialRecord>,
    rows: Vec<ResultRow>,
    decision_rule: DecisionRule,
}

impl FinishedTrials {
    pub fn new(decision_rule: DecisionRule) -> FinishedTrials {
        FinishedTrials { trials: Vec::new(), rows: Vec::new(), decision_rule }
    }

    pub fn decision_rule(&self) -> &DecisionRule {
        &self.decision_rule
    }

    pub fn push(&mut self, experiment: &Experiment, trial: TrialRecord) {
        self.rows.extend(rows_of(experiment, &self.decision_rule, &trial));
        self.trials.push(trial);
    }

    /// The rows of `results.csv`: the trials in their order, then the trivial baselines.
    pub fn rows(&self, experiment: &Experiment) -> Vec<ResultRow> {
        self.rows.iter().cloned().chain(baseline_rows(experiment, &self.decision_rule, &self.trials)).collect()
    }
}

/// The rows of a trial by another rule, from its predictions: without intervals. `truths` are the labels of each subset.
pub fn rescored_rows(decision_rule: &DecisionRule, trial: &TrialRecord, truths: &[Vec<Labels>]) -> Vec<ResultRow> {
    let row = |(split, truth): (&SplitRecord, &Vec<Labels>)| {
        let Decisions { decided, scores } = decision_rule.decide_recordings(&split.predictions, split.windows.as_ref());
        let mut metrics = decision_rule.score(truth, &decided, scores.n_classes).metrics;
        metrics.extend(metrics::probability_scores(decision_rule.task, truth, &scores));
        metrics.retain(|_, value| value.is_finite());
        ResultRow { trial: trial.trial.clone(), split: split.split.clone(), n: split.clips.len(), metrics }
    };
    trial.splits.iter().zip(truths).map(row).collect()
}

/// One row per subset.
fn rows_of(experiment: &Experiment, decision_rule: &DecisionRule, trial: &TrialRecord) -> Vec<ResultRow> {
    scored(std::slice::from_ref(trial), decision_rule)
        .iter()
        .map(|s| row(experiment, decision_rule, s.trial.clone(), s.split, &s.decided, &s.scores))
        .collect()
}

fn baseline_rows(experiment: &Experiment, decision_rule: &DecisionRule, trials: &[TrialRecord]) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    // The split depends on the seed alone, so the first trial of each seed is enough.
    for &seed in &experiment.seeds {
        let Some(first) = trials.iter().find(|u| u.trial.seed == seed) else { continue };
        for split in &first.splits {
            rows.extend(baselines(decision_rule, first, split));
        }
    }
    rows
}

fn baselines(decision_rule: &DecisionRule, trial: &TrialRecord, split: &SplitRecord) -> Vec<ResultRow> {
    let counted = trial.trained_on.iter().enumerate();
    let train: Vec<Vec<usize>> = counted.flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
    let row = |baseline: metrics::TrivialBaseline| ResultRow {
        trial: Trial { features: NO_FEATURES.to_owned(), model: baseline.name.to_owned(), seed: trial.trial.seed },
        split: split.split.clone(),
        n: split.clips.len(),
        metrics: baseline.metrics,
    };
    decision_rule.baselines(&train, &split.truth(), split.predictions.n_classes).into_iter().map(row).collect()
}

fn row(
    experiment: &Experiment,
    decision_rule: &DecisionRule,
    trial: Trial,
    split: &SplitRecord,
    decided: &[Vec<usize>],
    scores: &Scores,
) -> ResultRow {
    let metric = experiment.evaluate.metric().name();
    let mut metrics = scores.metrics.clone();
    if experiment.evaluate.bootstrap > 0 {
        let truth = split.truth();
        let songs: Vec<&str> = split.clips.iter().map(|c| c.song.as_str()).collect();
        let statistic = metrics::weighted_metric(decision_rule.task, metric, &truth, decided, &split.predictions);
        let seed = bootstrap_seed(&trial, &split.split);
        let (low, high) = metrics::bootstrap_interval(&songs, statistic, experiment.evaluate.bootstrap, LEVEL, seed);
        // An undefined metric has no interval either.
        metrics.insert(format!("{metric}_low"), low);
        metrics.insert(format!("{metric}_high"), high);
    }
    // The cells of undefined metrics stay empty.
    metrics.retain(|_, value| value.is_finite());
    ResultRow { trial, split: split.split.clone(), n: split.clips.len(), metrics }
}
