//! Writes the tables of a threshold search.
//!
//! `thresholds.csv` is a long table: every point on the split that was tuned on, then the chosen point on the other splits. `tuned_on`
//! names that split in every row, `chosen_by` names the metric in the rows of chosen points.

use anyhow::Result;
use polars_core::prelude::{Column, DataFrame};

use super::{DecisionScores, ThresholdSearch, TrialThresholds, best_trial};
use timbre_evaluation::{metrics::decision_scores::NAMES, threshold_search::Point};
use timbre_runs::{
    run_dir::{RunDir, ThresholdFile},
    tables::{frame, keys, mark_leaky, write_csv},
};

/// Writes all tables except the long one ([`write_long`]).
pub fn write(search: &ThresholdSearch, dir: &RunDir, found: &[TrialThresholds]) -> Result<()> {
    let metric = search.metric.name();
    let grid = |trial, found: &TrialThresholds| {
        write_table(search, dir, &ThresholdFile::Grid { metric, trial }, grid(search, found)?)
    };
    best_trial(found, search.metric_at()).map_or(Ok(()), |best| grid(None, best))?;
    if found.len() > 1 {
        found.iter().try_for_each(|own| grid(Some(&own.trial), own))?;
    }
    if search.spec.per_class {
        write_table(search, dir, &ThresholdFile::PerClass, per_class(search, found)?)?;
    }
    Ok(())
}

/// Writes the table of every point with every metric.
pub fn write_long(search: &ThresholdSearch, dir: &RunDir, found: &[TrialThresholds]) -> Result<()> {
    write_table(search, dir, &ThresholdFile::Long, long(search, found)?)
}

fn write_table(search: &ThresholdSearch, dir: &RunDir, file: &ThresholdFile, frame: DataFrame) -> Result<()> {
    let frame = if search.is_leaky { mark_leaky(frame)? } else { frame };
    dir.write_thresholds(file, |out| write_csv(frame, out))
}

struct Row<'a> {
    found: &'a TrialThresholds,
    point: Point,
    split: &'a str,
    n: usize,
    scores: &'a DecisionScores,
    is_chosen: bool,
}

fn long(search: &ThresholdSearch, found: &[TrialThresholds]) -> Result<DataFrame> {
    let mut rows = Vec::new();
    for own in found {
        let (first, others) = own.splits.split_first().expect("one split was tuned on");
        for fraction in 0..own.fractions.len().max(1) {
            for cutoff in 0..own.cutoffs.len() {
                let point = Point { cutoff, fraction };
                let scores = own.surface.at(point);
                let is_chosen = point == own.chosen;
                rows.push(Row { found: own, point, split: &first.split, n: first.n, scores, is_chosen });
            }
        }
        for other in others {
            let (split, scores) = (other.split.as_str(), &other.chosen);
            rows.push(Row { found: own, point: own.chosen, split, n: other.n, scores, is_chosen: true });
        }
    }
    let mut columns = keys(rows.iter().map(|row| (&row.found.trial, row.split)));
    // The split column is beside `n`, as in every table of thresholds.
    let split = columns.pop().expect("keys end with the split");
    columns.push(Column::new("tuned_on".into(), vec![search.tuned_on(); rows.len()]));
    let chosen_by = |row: &Row| row.is_chosen.then_some(search.metric.name());
    columns.push(Column::new("chosen_by".into(), rows.iter().map(chosen_by).collect::<Vec<Option<&str>>>()));
    columns
        .push(Column::new("cutoff".into(), rows.iter().map(|r| r.found.cutoffs[r.point.cutoff]).collect::<Vec<_>>()));
    let fraction = |row: &Row| row.found.fractions.get(row.point.fraction).copied();
    columns.push(Column::new("window_fraction".into(), rows.iter().map(fraction).collect::<Vec<Option<f64>>>()));
    columns.push(split);
    columns.push(Column::new("n".into(), rows.iter().map(|row| row.n as u64).collect::<Vec<_>>()));
    for (at, name) in NAMES.iter().enumerate() {
        columns.push(Column::new((*name).into(), rows.iter().map(|row| row.scores[at]).collect::<Vec<_>>()));
    }
    frame(rows.len(), columns)
}

/// The scores as a grid for spreadsheets. The corner cell names metric and split.
fn grid(search: &ThresholdSearch, found: &TrialThresholds) -> Result<DataFrame> {
    let split = search.tuned_on();
    let corner = format!("{} on {split} (tuned on {split})", search.metric.name());
    let height = found.fractions.len().max(1);
    let down: Vec<String> =
        (0..height).map(|at| found.fractions.get(at).map_or("-".to_owned(), ToString::to_string)).collect();
    let mut columns = vec![Column::new(corner.into(), down)];
    for (cutoff, value) in found.cutoffs.iter().enumerate() {
        let score = |fraction: usize| found.surface.at(Point { cutoff, fraction })[search.metric_at()];
        columns.push(Column::new(value.to_string().into(), (0..height).map(score).collect::<Vec<_>>()));
    }
    frame(height, columns)
}

fn per_class(search: &ThresholdSearch, found: &[TrialThresholds]) -> Result<DataFrame> {
    let rows: Vec<(&TrialThresholds, usize, f64)> = found
        .iter()
        .flat_map(|own| {
            own.class_cutoffs().into_iter().flatten().enumerate().map(move |(class, value)| (own, class, value))
        })
        .collect();
    let mut columns = keys(rows.iter().map(|row| (&row.0.trial, search.tuned_on())));
    columns.pop();
    let words = |word: &'static str| vec![word; rows.len()];
    columns.push(Column::new("tuned_on".into(), words(search.tuned_on())));
    columns.push(Column::new("chosen_by".into(), words(search.metric.name())));
    columns.push(Column::new("class".into(), rows.iter().map(|row| search.classes.name(row.1)).collect::<Vec<_>>()));
    columns.push(Column::new("cutoff".into(), rows.iter().map(|row| row.2).collect::<Vec<_>>()));
    columns.push(Column::new(
        "window_fraction".into(),
        rows.iter().map(|row| row.0.fraction()).collect::<Vec<Option<f64>>>(),
    ));
    frame(rows.len(), columns)
}
