//! The comparison table of a sweep (`grid_results.csv`): one row per point, model and split.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use indexmap::{IndexMap, IndexSet};
use polars_core::prelude::{Column, DataFrame};
use serde_json::Value as Json;

use crate::run_dir::{self, ResultRow, RunRecord};
use crate::sweep_record::{PointRecord, PointScore, PointStatus, SweepRecord};
use crate::tables::{self, aligned, cell};
use timbre_core::{files, text::cut};
use timbre_evaluation::metrics::{
    gain,
    replicates::{self, metric_of_interval_bound},
};

/// One model of a point on one split.
pub struct Row<'a> {
    pub point: &'a PointRecord,
    /// None for a point without results.
    pub cell: Option<Cell>,
}

/// The scores of a model on a feature, over its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub features: String,
    pub model: String,
    pub split: String,
    pub n: usize,
    pub metric: String,
    /// One value per seed, by metric.
    pub metrics: IndexMap<String, Vec<f64>>,
    /// Whether its split divided songs.
    pub leaky: bool,
}

impl Cell {
    pub fn mean(&self, metric: &str) -> Option<f64> {
        replicates::mean(self.metrics.get(metric)?)
    }
}

/// The models of a run, or its trivial baselines, with their seeds grouped.
pub fn cells(record: &RunRecord, baselines: bool) -> Vec<Cell> {
    cells_of(&record.results, &record.metric, record.leaky_split().is_some(), baselines)
}

fn cells_of(results: &[ResultRow], metric: &str, leaky: bool, baselines: bool) -> Vec<Cell> {
    let rows = results.iter().filter(|row| row.is_baseline() == baselines);
    let one = |((features, model, split), rows): ((&str, &str, &str), Vec<&ResultRow>)| {
        let mut metrics: IndexMap<String, Vec<f64>> = IndexMap::new();
        for (name, value) in rows.iter().flat_map(|row| &row.metrics) {
            metrics.entry(name.clone()).or_default().push(*value);
        }
        Cell {
            features: features.to_owned(),
            model: model.to_owned(),
            split: split.to_owned(),
            n: rows[0].n,
            metric: metric.to_owned(),
            metrics,
            leaky,
        }
    };
    run_dir::replicates(rows).into_iter().map(one).collect()
}

/// The headline score of a run: that of its best model on the validation split. Without a validation split, that of its only model
/// on the test split, and none with several models: the best of them would be selected on the test split.
pub fn score(record: &RunRecord, model: Option<&str>) -> Option<PointScore> {
    score_of(&record.results, &record.metric, model)
}

/// [`score`] of results by a headline metric.
pub fn score_of(results: &[ResultRow], metric: &str, model: Option<&str>) -> Option<PointScore> {
    let cells = cells_of(results, metric, false, false);
    let on = |split: &str| -> Vec<&Cell> {
        let of_model = |cell: &&Cell| cell.split == split && model.is_none_or(|model| cell.model == model);
        cells.iter().filter(of_model).collect()
    };
    let (validation, test) = (on("validation"), on("test"));
    let shown = if validation.is_empty() && test.len() == 1 { test } else { validation };
    let best = shown
        .into_iter()
        .filter_map(|cell| Some((cell, cell.mean(metric)?)))
        .reduce(|best, other| if gain(metric, other.1) > gain(metric, best.1) { other } else { best });
    let (cell, value) = best?;
    let model = Some(format!("{}.{}", cell.features, cell.model));
    Some(PointScore { metric: metric.to_owned(), split: cell.split.clone(), value, model })
}

/// The rows of a sweep, from the runs of its points.
pub fn rows(grid: &SweepRecord) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    // The points without a run of their own name one run.
    let mut known: HashMap<&Path, Option<RunRecord>> = HashMap::new();
    for point in &grid.points {
        let run = point.run.as_deref().filter(|_| point.status.is_final());
        let record = run.and_then(|run| known.entry(run).or_insert_with(|| run_dir::read_record(run).ok()).as_ref());
        let cells = record.map_or(Vec::new(), |record| match point.rescored {
            true => cells_of(&point.results, &record.metric, record.leaky_split().is_some(), false),
            false => cells(record, false),
        });
        if cells.is_empty() {
            rows.push(Row { point, cell: None });
        }
        rows.extend(cells.into_iter().map(|cell| Row { point, cell: Some(cell) }));
    }
    rows
}

/// The table: axis values first, then the mean and the standard deviation of each metric over the seeds. It does not depend on when
/// or where the points ran: equal sweeps give equal bytes.
pub fn frame(grid: &SweepRecord, rows: &[Row]) -> Result<DataFrame> {
    let mut columns =
        vec![Column::new("point".into(), rows.iter().map(|row| row.point.number as u64).collect::<Vec<_>>())];
    if let Some(halving) = &grid.halving {
        columns.push(Column::new("round".into(), rows.iter().map(|r| r.point.round as u64).collect::<Vec<_>>()));
        let budgets: Vec<Option<u64>> = rows.iter().map(|row| row.point.budget).collect();
        columns.push(Column::new(halving.key.as_str().into(), budgets));
    }
    for axis in &grid.axes {
        let words: Vec<String> = rows.iter().map(|row| cell_text(row.point.values.get(&axis.key))).collect();
        columns.push(Column::new(axis.key.as_str().into(), words));
    }
    columns.push(Column::new("status".into(), rows.iter().map(|row| row.point.status.name()).collect::<Vec<_>>()));
    let of_cell = |name: &str, of: fn(&Cell) -> &str| {
        let words: Vec<Option<&str>> = rows.iter().map(|row| row.cell.as_ref().map(of)).collect();
        Column::new(name.into(), words)
    };
    columns.push(of_cell("features", |cell| &cell.features));
    columns.push(of_cell("model", |cell| &cell.model));
    columns.push(of_cell("split", |cell| &cell.split));
    let numbers = |of: &dyn Fn(&Cell) -> Option<u64>| -> Vec<Option<u64>> {
        rows.iter().map(|row| row.cell.as_ref().and_then(of)).collect()
    };
    columns.push(Column::new("n".into(), numbers(&|cell| Some(cell.n as u64))));
    columns.push(Column::new("seeds".into(), numbers(&|cell| cell.metrics.values().map(|v| v.len() as u64).max())));
    let cells = || rows.iter().filter_map(|row| row.cell.as_ref());
    let names: IndexSet<&String> = cells().flat_map(|cell| cell.metrics.keys()).collect();
    for name in &names {
        let is_bound =
            metric_of_interval_bound(name).is_some_and(|metric| names.iter().any(|other| other.as_str() == metric));
        let values = |of: &dyn Fn(&[f64]) -> Option<f64>| -> Vec<Option<f64>> {
            rows.iter().map(|row| of(row.cell.as_ref()?.metrics.get(*name)?)).collect()
        };
        // An interval belongs to the recordings of one seed: the mean of intervals is not an interval.
        let mean = values(&|v| replicates::mean(v).filter(|_| !is_bound || v.len() == 1));
        let sd = values(&replicates::deviation);
        if mean.iter().any(Option::is_some) {
            columns.push(Column::new(name.as_str().into(), mean));
        }
        if !is_bound && sd.iter().any(Option::is_some) {
            columns.push(Column::new(format!("{name}_sd").into(), sd));
        }
    }
    columns.push(Column::new(
        "signature".into(),
        rows.iter().map(|row| row.point.signature.as_deref().map(|s| &s[..s.len().min(16)])).collect::<Vec<_>>(),
    ));
    if cells().any(|cell| cell.leaky) {
        let leaky: Vec<Option<bool>> = rows.iter().map(|row| row.cell.as_ref().map(|cell| cell.leaky)).collect();
        columns.push(Column::new("leaky".into(), leaky));
    }
    tables::frame(rows.len(), columns)
}

pub fn write(path: &std::path::Path, grid: &SweepRecord) -> Result<()> {
    let rows = rows(grid);
    files::write_atomically(path, |out| tables::write_csv(frame(grid, &rows)?, out))
}

/// An axis value as the text of a cell.
pub fn cell_text(value: Option<&Json>) -> String {
    match value {
        None => String::new(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The values of a point with short keys, for a line of a terminal: `k=3 weights=uniform`.
pub fn short_title(values: &IndexMap<String, Json>) -> String {
    const VALUE: usize = 16;
    let keys: Vec<&str> = values.keys().map(String::as_str).collect();
    let pairs = short_names(&keys).into_iter().zip(values.values());
    let pairs = pairs.map(|(name, value)| format!("{name}={}", cut(&cell_text(Some(value)), VALUE)));
    pairs.collect::<Vec<_>>().join(" ")
}

/// The shortest distinct ends of keys: `k` for `models.knn.k`.
pub fn short_names<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    timbre_core::text::short_names(keys, &[])
}

/// `epochs` for `models.cnn.epochs`.
pub fn short_name(key: &str) -> &str {
    short_names(&[key])[0]
}

/// The rows of one model of a point, one for each split.
pub struct ModelRows<'a> {
    pub point: &'a PointRecord,
    /// Empty for a point without results, as is `model`.
    pub features: &'a str,
    pub model: &'a str,
    cells: Vec<&'a Cell>,
}

impl<'a> ModelRows<'a> {
    pub fn on(&self, split: &str) -> Option<&'a Cell> {
        self.cells.iter().copied().find(|cell| cell.split == split)
    }

    pub fn metric(&self) -> Option<&'a str> {
        Some(&self.cells.first()?.metric)
    }
}

/// The rows by model, and the splits that they have, `test` last.
pub fn by_model<'a>(rows: &'a [Row<'a>]) -> (Vec<ModelRows<'a>>, Vec<&'a str>) {
    let mut splits: IndexSet<&str> = IndexSet::new();
    let mut models: IndexMap<(usize, usize, &str, &str), ModelRows> = IndexMap::new();
    for Row { point, cell } in rows {
        let (features, model) = cell.as_ref().map_or(("", ""), |cell| (&cell.features, &cell.model));
        splits.extend(cell.as_ref().map(|cell| cell.split.as_str()));
        let own = models.entry((point.round, point.number, features, model));
        let own = own.or_insert_with(|| ModelRows { point, features, model, cells: Vec::new() });
        own.cells.extend(cell);
    }
    splits.sort_by_key(|split| *split == "test");
    (models.into_values().collect(), splits.into_iter().collect())
}

/// The metric of all models; none if points differ in it.
pub fn common_metric<'a>(models: &[ModelRows<'a>]) -> Option<&'a str> {
    let metrics: IndexSet<&str> = models.iter().filter_map(ModelRows::metric).collect();
    (metrics.len() == 1).then(|| metrics[0])
}

/// The table of a terminal has at most so many lines.
const MAX_LINES: usize = 60;

/// The table for a terminal: the headline metric on each split.
pub fn text(grid: &SweepRecord, rows: &[Row]) -> String {
    let (models, splits) = by_model(rows);
    let mut keys: Vec<&str> = grid.halving.iter().map(|halving| halving.key.as_str()).collect();
    keys.extend(grid.axes.iter().map(|axis| axis.key.as_str()));
    let mut head = vec!["point".to_owned()];
    head.extend(short_names(&keys).into_iter().map(str::to_owned));
    head.extend(["features", "model"].map(str::to_owned));
    let one_metric = common_metric(&models);
    if one_metric.is_none() {
        head.push("metric".to_owned());
    }
    let words = head.len();
    head.extend(
        splits.iter().map(|split| one_metric.map_or((*split).to_owned(), |metric| format!("{metric} ({split})"))),
    );
    let mut lines = vec![head];
    for own in models.iter().take(MAX_LINES) {
        let point = own.point;
        let mut line = vec![point.number.to_string()];
        line.extend(grid.halving.iter().map(|_| point.budget.map_or(String::new(), |budget| budget.to_string())));
        line.extend(grid.axes.iter().map(|axis| cell_text(point.values.get(&axis.key))));
        let features = match own.metric() {
            None => format!("({})", point.status.name()),
            Some(_) => own.features.to_owned(),
        };
        line.extend([features, own.model.to_owned()]);
        if one_metric.is_none() {
            line.push(own.metric().unwrap_or_default().to_owned());
        }
        for split in &splits {
            line.push(own.on(split).map_or(String::new(), |c| cell(c.metrics.get(&c.metric).map_or(&[][..], |v| v))));
        }
        lines.push(line);
    }
    tables::fit(&mut lines, 1..words);
    let mut text = aligned(&lines, words);
    if models.len() > MAX_LINES {
        text += &format!("… and {} more lines\n", models.len() - MAX_LINES);
    }
    let first = grid.points.iter().find(|point| point.status == PointStatus::Done).and_then(|point| point.run.as_ref());
    let baselines = first.and_then(|run| run_dir::read_record(run).ok()).map_or(Vec::new(), |r| cells(&r, true));
    for own in baselines.iter().filter(|own| own.split == "test") {
        let Some(values) = own.metrics.get(&own.metric) else { continue };
        text += &format!("baseline {} ({}, test): {}\n", own.model, own.metric, cell(values));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shortened_to_distinct_ends() {
        let keys = ["models.knn.k", "features.mel.db", "features.fft.db", "evaluate.metric"];
        assert_eq!(short_names(&keys), ["k", "mel.db", "fft.db", "metric"]);
        assert_eq!(short_names(&["k", "models.k"]), ["k", "models.k"]);
        let values = [("models.knn.k", 3.into()), ("models.knn.weights", "uniform".into())];
        let values = values.into_iter().map(|(key, value): (&str, Json)| (key.to_owned(), value)).collect();
        assert_eq!(short_title(&values), "k=3 weights=uniform");
    }
}
