//! From what the units predicted to the rows of the result table: metrics, intervals, trivial baselines.

use crate::experiment::Experiment;
use crate::metrics::{self, Judge, Scores, Verdict};
use crate::run_dir::{NO_FEATURES, ResultRow, SplitRecord, Unit, UnitRecord};
use crate::seed::Seed;
use crate::tables::Scored;

/// Raised by hand when the same predictions give other rows, or the same units other predictions.
pub const VERSION: u32 = 1;

/// The headline metric of what was said of recordings; None where it is undefined.
pub fn headline(experiment: &Experiment, judge: &Judge, truth: &[Vec<usize>], said: &Verdict) -> Option<f64> {
    let metric = experiment.evaluate.metric().name();
    metrics::resampled(judge.task, metric, truth, &said.decided, &said.scores)(&vec![1; truth.len()])
}

/// The scores of every unit on every side of its split.
pub fn scored<'a>(units: &'a [UnitRecord], judge: &Judge) -> Vec<Scored<'a>> {
    let sides = units.iter().flat_map(|unit| unit.splits.iter().map(move |split| (&unit.unit, split)));
    sides.map(|(unit, split)| Scored::new(unit, split, judge)).collect()
}

/// The units that are done, with their rows: each is judged once.
pub struct Done {
    pub units: Vec<UnitRecord>,
    rows: Vec<ResultRow>,
    judge: Judge,
}

impl Done {
    /// None yet.
    pub fn new(judge: Judge) -> Done {
        Done { units: Vec::new(), rows: Vec::new(), judge }
    }

    /// Who judges them.
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    pub fn push(&mut self, experiment: &Experiment, unit: UnitRecord) {
        self.rows.extend(rows_of(experiment, &self.judge, &unit));
        self.units.push(unit);
    }

    /// The rows of `results.csv`: the units in their order, then the baselines.
    pub fn rows(&self, experiment: &Experiment) -> Vec<ResultRow> {
        self.rows.iter().cloned().chain(baseline_rows(experiment, &self.judge, &self.units)).collect()
    }
}

/// The rows of one unit: one a side of its split.
fn rows_of(experiment: &Experiment, judge: &Judge, unit: &UnitRecord) -> Vec<ResultRow> {
    scored(std::slice::from_ref(unit), judge)
        .iter()
        .map(|s| row(experiment, judge, s.unit.clone(), s.split, &s.decided, &s.scores))
        .collect()
}

/// The rows that stand below those of the units.
fn baseline_rows(experiment: &Experiment, judge: &Judge, units: &[UnitRecord]) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    // The split depends on the seed alone, so the first unit of each seed speaks for all.
    for &seed in &experiment.seeds {
        let Some(first) = units.iter().find(|u| u.unit.seed == seed) else { continue };
        for split in &first.splits {
            rows.extend(baselines(judge, first, split));
        }
    }
    rows
}

fn baselines(judge: &Judge, unit: &UnitRecord, split: &SplitRecord) -> Vec<ResultRow> {
    let counted = unit.trained_on.iter().enumerate();
    let train: Vec<Vec<usize>> = counted.flat_map(|(class, &n)| std::iter::repeat_n(vec![class], n)).collect();
    let row = |baseline: metrics::Baseline| ResultRow {
        unit: Unit { features: NO_FEATURES.to_owned(), model: baseline.name.to_owned(), seed: unit.unit.seed },
        split: split.split.clone(),
        n: split.clips.len(),
        metrics: baseline.metrics,
    };
    judge.baselines(&train, &split.truth(), split.predictions.n_classes).into_iter().map(row).collect()
}

fn row(
    experiment: &Experiment,
    judge: &Judge,
    unit: Unit,
    split: &SplitRecord,
    decided: &[Vec<usize>],
    scores: &Scores,
) -> ResultRow {
    let metric = experiment.evaluate.metric().name();
    let mut metrics = scores.metrics.clone();
    if experiment.evaluate.bootstrap > 0 {
        let truth = split.truth();
        let songs: Vec<&str> = split.clips.iter().map(|c| c.song.as_str()).collect();
        let statistic = metrics::resampled(judge.task, metric, &truth, decided, &split.predictions);
        // The same resamples for every unit: intervals of two models differ by the models alone.
        let seed = Seed::new(unit.seed).child("bootstrap").child(&split.split);
        let (low, high) = metrics::bootstrap_interval(&songs, statistic, experiment.evaluate.bootstrap, 0.95, seed);
        // An undefined metric has no interval: empty cells, as its own.
        if low.is_finite() {
            metrics.insert(format!("{metric}_low"), low);
            metrics.insert(format!("{metric}_high"), high);
        }
    }
    ResultRow { unit, split: split.split.clone(), n: split.clips.len(), metrics }
}
