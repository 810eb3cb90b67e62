//! From what the units predicted to the rows of the result table: metrics, intervals, trivial baselines.

use timbre_core::seed::Seed;
use timbre_evaluation::metrics::{self, DecisionRule, Decisions, Scores};
use timbre_experiment::Experiment;
use timbre_runs::run_dir::{NO_FEATURES, ResultRow, SplitRecord, Trial, TrialRecord};
use timbre_runs::tables::ScoredSplit;

/// Raised by hand when the same predictions give other rows, or the same units other predictions.
pub const VERSION: u32 = 1;

/// The headline metric of what was said of recordings; None where it is undefined.
pub fn headline(
    experiment: &Experiment,
    decision_rule: &DecisionRule,
    truth: &[Vec<usize>],
    said: &Decisions,
) -> Option<f64> {
    let metric = experiment.evaluate.metric().name();
    metrics::weighted_metric(decision_rule.task, metric, truth, &said.decided, &said.scores)(&vec![1; truth.len()])
}

/// The scores of every unit on every side of its split.
pub fn scored<'a>(units: &'a [TrialRecord], decision_rule: &DecisionRule) -> Vec<ScoredSplit<'a>> {
    let sides = units.iter().flat_map(|unit| unit.splits.iter().map(move |split| (&unit.trial, split)));
    sides.map(|(unit, split)| ScoredSplit::new(unit, split, decision_rule)).collect()
}

/// The units that are done, with their rows: each is judged once.
pub struct Done {
    pub units: Vec<TrialRecord>,
    rows: Vec<ResultRow>,
    decision_rule: DecisionRule,
}

impl Done {
    /// None yet.
    pub fn new(decision_rule: DecisionRule) -> Done {
        Done { units: Vec::new(), rows: Vec::new(), decision_rule }
    }

    /// Who judges them.
    pub fn decision_rule(&self) -> &DecisionRule {
        &self.decision_rule
    }

    pub fn push(&mut self, experiment: &Experiment, unit: TrialRecord) {
        self.rows.extend(rows_of(experiment, &self.decision_rule, &unit));
        self.units.push(unit);
    }

    /// The rows of `results.csv`: the units in their order, then the baselines.
    pub fn rows(&self, experiment: &Experiment) -> Vec<ResultRow> {
        self.rows.iter().cloned().chain(baseline_rows(experiment, &self.decision_rule, &self.units)).collect()
    }
}

/// The rows of one unit: one a side of its split.
fn rows_of(experiment: &Experiment, decision_rule: &DecisionRule, unit: &TrialRecord) -> Vec<ResultRow> {
    scored(std::slice::from_ref(unit), decision_rule)
        .iter()
        .map(|s| row(experiment, decision_rule, s.trial.clone(), s.split, &s.decided, &s.scores))
        .collect()
}

/// The rows that stand below those of the units.
fn baseline_rows(experiment: &Experiment, decision_rule: &DecisionRule, units: &[TrialRecord]) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    // The split depends on the seed alone, so the first unit of each seed speaks for all.
    for &seed in &experiment.seeds {
        let Some(first) = units.iter().find(|u| u.trial.seed == seed) else { continue };
        for split in &first.splits {
            rows.extend(baselines(decision_rule, first, split));
        }
    }
    rows
}

fn baselines(decision_rule: &DecisionRule, unit: &TrialRecord, split: &SplitRecord) -> Vec<ResultRow> {
    let counted = unit.trained_on.iter().enumerate();
    let train: Vec<Vec<usize>> = counted.flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
    let row = |baseline: metrics::TrivialBaseline| ResultRow {
        trial: Trial { features: NO_FEATURES.to_owned(), model: baseline.name.to_owned(), seed: unit.trial.seed },
        split: split.split.clone(),
        n: split.clips.len(),
        metrics: baseline.metrics,
    };
    decision_rule.baselines(&train, &split.truth(), split.predictions.n_classes).into_iter().map(row).collect()
}

fn row(
    experiment: &Experiment,
    decision_rule: &DecisionRule,
    unit: Trial,
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
        // The same resamples for every unit: intervals of two models differ by the models alone.
        let seed = Seed::new(unit.seed).child("bootstrap").child(&split.split);
        let (low, high) = metrics::bootstrap_interval(&songs, statistic, experiment.evaluate.bootstrap, 0.95, seed);
        // An undefined metric has no interval: empty cells, as its own.
        if low.is_finite() {
            metrics.insert(format!("{metric}_low"), low);
            metrics.insert(format!("{metric}_high"), high);
        }
    }
    ResultRow { trial: unit, split: split.split.clone(), n: split.clips.len(), metrics }
}
