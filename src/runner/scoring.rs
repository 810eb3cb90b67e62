//! From what the units predicted to the rows of the result table: metrics, intervals, trivial baselines.

use crate::experiment::Experiment;
use crate::metrics::{self, Scores};
use crate::run_dir::{NO_FEATURES, ResultRow, SplitRecord, Unit, UnitRecord};
use crate::seed::Seed;
use crate::tables::Scored;

/// Raised by hand when the same predictions give other rows, or the same units other predictions.
pub const VERSION: u32 = 1;

fn truth(split: &SplitRecord) -> Vec<usize> {
    split.clips.iter().map(|c| c.truth).collect()
}

/// The scores of every unit on every side of its split.
pub fn scored(units: &[UnitRecord]) -> Vec<Scored<'_>> {
    let judge = |split: &SplitRecord| {
        metrics::single_label(&truth(split), &split.predictions.decisions(), split.predictions.n_classes)
    };
    units
        .iter()
        .flat_map(|u| u.splits.iter().map(move |split| Scored { unit: &u.unit, split, scores: judge(split) }))
        .collect()
}

/// The units that are done, with their rows: each is judged once.
#[derive(Default)]
pub struct Done {
    pub units: Vec<UnitRecord>,
    rows: Vec<ResultRow>,
}

impl Done {
    pub fn push(&mut self, experiment: &Experiment, unit: UnitRecord) {
        self.rows.extend(rows_of(experiment, &unit));
        self.units.push(unit);
    }

    /// The rows of `results.csv`: the units in their order, then the baselines.
    pub fn rows(&self, experiment: &Experiment) -> Vec<ResultRow> {
        self.rows.iter().cloned().chain(baseline_rows(experiment, &self.units)).collect()
    }
}

/// The rows of one unit: one a side of its split.
fn rows_of(experiment: &Experiment, unit: &UnitRecord) -> Vec<ResultRow> {
    scored(std::slice::from_ref(unit))
        .iter()
        .map(|s| row(experiment, s.unit.clone(), s.split, &s.split.predictions.decisions(), &s.scores))
        .collect()
}

/// The rows that stand below those of the units.
fn baseline_rows(experiment: &Experiment, units: &[UnitRecord]) -> Vec<ResultRow> {
    let mut rows = Vec::new();
    // The split depends on the seed alone, so the first unit of each seed speaks for all.
    for &seed in &experiment.seeds {
        let Some(first) = units.iter().find(|u| u.unit.seed == seed) else { continue };
        for split in &first.splits {
            rows.extend(baselines(first, split));
        }
    }
    rows
}

fn baselines(unit: &UnitRecord, split: &SplitRecord) -> Vec<ResultRow> {
    let train: Vec<usize> =
        unit.trained_on.iter().enumerate().flat_map(|(class, &n)| std::iter::repeat_n(class, n)).collect();
    let row = |baseline: metrics::Baseline| ResultRow {
        unit: Unit { features: NO_FEATURES.to_owned(), model: baseline.name.to_owned(), seed: unit.unit.seed },
        split: split.split.clone(),
        n: split.clips.len(),
        metrics: baseline.metrics,
    };
    metrics::single_label_baselines(&train, &truth(split), split.predictions.n_classes).into_iter().map(row).collect()
}

fn row(experiment: &Experiment, unit: Unit, split: &SplitRecord, decided: &[usize], scores: &Scores) -> ResultRow {
    let metric = experiment.evaluate.metric.name();
    let mut metrics = scores.metrics.clone();
    if experiment.evaluate.bootstrap > 0 {
        let truth = truth(split);
        let songs: Vec<&str> = split.clips.iter().map(|c| c.song.as_str()).collect();
        let n_classes = split.predictions.n_classes;
        let statistic = |clips: &[usize]| {
            let truth: Vec<usize> = clips.iter().map(|&c| truth[c]).collect();
            let decided: Vec<usize> = clips.iter().map(|&c| decided[c]).collect();
            metrics::single_label(&truth, &decided, n_classes).metrics[metric]
        };
        // The same resamples for every unit: intervals of two models differ by the models alone.
        let seed = Seed::new(unit.seed).child("bootstrap").child(&split.split);
        let (low, high) = metrics::bootstrap_interval(&songs, statistic, experiment.evaluate.bootstrap, 0.95, seed);
        metrics.insert(format!("{metric}_low"), low);
        metrics.insert(format!("{metric}_high"), high);
    }
    ResultRow { unit, split: split.split.clone(), n: split.clips.len(), metrics }
}
