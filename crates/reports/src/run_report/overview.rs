//! Shows all models: the score grid of the headline metric, the best models with their intervals, every row of the results.

use super::citation;
use super::conclusion::baseline_label;
use super::figures::Figure;
use super::report_data::{RankedModel, ReportData, mean};
use crate::comparison::{SeedDecisions, mean_interval};
use crate::page::{self, Cell, Heading, folded, paragraph, table};
use crate::plot::{self, Interval};
use timbre_core::text::count;
use timbre_evaluation::metrics::is_loss;
use timbre_runs::{
    run_dir::{self, ResultRow, TrialRecord},
    tables::{cell, resampled},
};

/// Rows of the table of results; results.csv has all.
const ROWS: usize = 400;
/// Models shown with intervals.
const INTERVALS: usize = 15;

/// A score grid of more models gets the full width of the page.
const NARROW: usize = 4;

pub fn html(run: &ReportData, best: Option<&Figure>) -> String {
    let cells = run.grid.models.len() * run.grid.features.len() * run.record.seeds.len();
    let grid = if cells > 1 { heat_table(run) } else { String::new() };
    let (above, beside) = if run.grid.models.len() > NARROW { (grid, String::new()) } else { (String::new(), grid) };
    let figure = best.map_or(String::new(), Figure::html);
    above + &page::beside(&(beside + &trivial_baselines(run)), &figure) + &citation::cost(run) + &results(run)
}

/// The figure of the best models with their intervals, highest first, and the legend for its file.
pub fn best_models(run: &ReportData) -> Option<(Figure, String)> {
    let scored = run.ranked.iter().filter(|own| !own.mean.is_nan());
    let mut shown: Vec<Interval> = scored.take(INTERVALS).map(|own| interval(run, own)).collect();
    if shown.is_empty() {
        return None;
    }
    shown.sort_by(|a, b| b.value.total_cmp(&a.value));
    let trivial = best_trivial(run).map(|(name, score)| (score, format!("{name} {score:.3}")));
    let drawn = resampled(run.has_no_songs);
    // A figure file has no caption and little room for a footer.
    let has_lines = shown.iter().any(|own| own.ends.is_some());
    let (of_seeds, legend) = match run.record.seeds.len() {
        0 | 1 if !has_lines => (String::new(), "no intervals"),
        0 | 1 => (String::new(), "lines: 95 % intervals"),
        seeds if !has_lines => (format!(", mean of {seeds} seeds"), "no intervals; small circles: seeds"),
        seeds => (format!(", mean of {seeds} seeds"), "lines: 95 % intervals; small circles: seeds"),
    };
    let drawing = plot::intervals(
        "Models and the best trivial baseline",
        &format!("{} ({}){of_seeds}", run.metric(), run.split()),
        &shown,
        trivial.as_ref().map(|(score, words)| (*score, words.as_str())),
        run.figure_width,
    );
    let more = if run.ranked.len() > shown.len() {
        format!(" The best {} of {} on the {} split.", shown.len(), run.ranked.len(), run.ranked_on)
    } else {
        String::new()
    };
    let lines = match run.record.seeds.len() {
        0 | 1 if !has_lines => "Without intervals.".to_owned(),
        0 | 1 => format!("Lines: 95 % intervals of a bootstrap over {drawn}."),
        seeds if !has_lines => format!("Means of {seeds} seeds, without intervals; small circles: seeds."),
        seeds => format!(
            "Means of {seeds} seeds; lines: 95 % intervals of a bootstrap over {drawn} and seeds; small circles: seeds."
        ),
    };
    let caption =
        format!("{lines} Highest on the {} split first. Dashed: the best trivial baseline.{more}", run.split());
    Some((Figure { name: "models", drawing, caption }, legend.to_owned()))
}

fn interval(run: &ReportData, own: &RankedModel) -> Interval {
    let metric = run.metric();
    let (ends, seeds) = match own.rows.as_slice() {
        [only] => {
            let end = |which: &str| only.metrics.get(&format!("{metric}_{which}")).copied();
            (end("low").zip(end("high")), Vec::new())
        }
        several => {
            let seeds = several.iter().filter_map(|row| row.metrics.get(metric).copied());
            (interval_over_seeds(run, own), seeds.collect())
        }
    };
    Interval { name: own.name(), value: own.mean, ends, seeds }
}

/// The interval of the mean, as `compare` computes it. None without a bootstrap, or without the predictions of every seed.
fn interval_over_seeds(run: &ReportData, own: &RankedModel) -> Option<(f64, f64)> {
    let resamples = Some(run.experiment.evaluate.bootstrap).filter(|&resamples| resamples > 0)?;
    let trials: Vec<TrialRecord> =
        own.trials().map(|trial| run_dir::read_trial(&run.path, trial)).collect::<Option<_>>()?;
    let by_seed: Vec<SeedDecisions> = trials
        .iter()
        .map(|own| Some(SeedDecisions::new(own.trial.seed, run.split_of(own)?, &run.decision_rule)))
        .collect::<Option<_>>()?;
    mean_interval(&by_seed, &run.decision_rule, run.metric(), resamples)
}

/// The trivial baseline with the highest score.
pub fn best_trivial(run: &ReportData) -> Option<(String, f64)> {
    let means = run.grid.baselines.iter().map(|(name, values)| (name.clone(), mean(values.iter().copied())));
    means.filter(|(_, score)| !score.is_nan()).reduce(|a, b| if b.1 > a.1 { b } else { a })
}

fn trivial_baselines(run: &ReportData) -> String {
    let row = |(name, values): &(String, Vec<f64>)| {
        vec![
            Cell::text(&baseline_label(name)),
            Cell { sort: Some(mean(values.iter().copied())), ..Cell::text(&cell(values)) },
        ]
    };
    let rows: Vec<Vec<Cell>> = run.grid.baselines.iter().map(row).collect();
    let score = format!("{} ({})", run.metric(), run.split());
    table("Trivial baselines", &[("baseline", false), (&score, true)], &rows)
}

/// The score grid as a heat table: features as rows, models as columns.
fn heat_table(run: &ReportData) -> String {
    let grid = &run.grid;
    let means: Vec<Vec<f64>> =
        grid.cells.iter().map(|row| row.iter().map(|values| mean(values.iter().copied())).collect()).collect();
    // The same scale in every report, so that a colour means the same score above the trivial baseline.
    let range = (best_trivial(run).map_or(0.0, |(_, score)| score), 1.0);
    let best = run.ranked.first();
    let is_best = |feature: &str, model: &str| best.is_some_and(|own| own.features == feature && own.model == model);
    let heat = |value: f64, values: &[f64], is_best: bool| {
        if value.is_nan() {
            return Cell::number(None);
        }
        let heated = Cell { sort: Some(value), ..Cell::text(&cell(values)) }.heated(value, range);
        if is_best { Cell { class: "heat best", ..heated } } else { heated }
    };
    let mut headings: Vec<Heading> = vec![("features", false)];
    headings.extend(grid.models.iter().map(|model| (model.as_str(), true)));
    let rows: Vec<Vec<Cell>> = grid
        .features
        .iter()
        .zip(grid.cells.iter().zip(&means))
        .map(|(feature, (cells, means))| {
            let cells = cells.iter().zip(means).zip(&grid.models);
            let cells = cells.map(|((values, &mean), model)| heat(mean, values, is_best(feature, model)));
            std::iter::once(Cell::text(feature)).chain(cells).collect()
        })
        .collect();
    let seeds = if run.record.seeds.len() > 1 { ", mean ± standard deviation over the seeds" } else { "" };
    let framed = match best {
        Some(best) if run.ranked_on != run.split() => {
            format!(" Framed: {}, the best on the {} split.", best.name(), run.ranked_on)
        }
        Some(best) => format!(" Framed: {}, the best.", best.name()),
        None => String::new(),
    };
    let caption = format!(
        "{} on the {} split{seeds}. Colour: from the best trivial baseline to 1.{framed}",
        run.metric(),
        run.split()
    );
    table(&caption, &headings, &rows)
}

fn results(run: &ReportData) -> String {
    let rows = &run.record.results;
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|row| row.metrics.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let words: Vec<String> = names
        .iter()
        .map(|name| if is_loss(name) { format!("{name} (smaller is better)") } else { (*name).to_owned() })
        .collect();
    let mut headings: Vec<Heading> =
        vec![("features", false), ("model", false), ("seed", true), ("split", false), ("n", true)];
    headings.extend(words.iter().map(|name| (name.as_str(), true)));
    let line = |row: &ResultRow| {
        let mut cells = vec![
            Cell::text(&row.trial.features),
            Cell::text(&row.trial.model),
            Cell::count(row.trial.seed),
            Cell::text(&row.split),
            Cell::count(row.n as u64),
        ];
        cells.extend(names.iter().map(|name| Cell::number(row.metrics.get(*name).copied())));
        cells
    };
    let over_seeds = |((features, model, split), rows): ((&str, &str, &str), Vec<&ResultRow>)| {
        let values = |of: &dyn Fn(&ResultRow) -> Option<f64>| {
            let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
            Cell::text(&cell(if values.len() == rows.len() { &values } else { &[] }))
        };
        let mut cells = vec![
            Cell::text(features),
            Cell::text(model),
            Cell::text("all"),
            Cell::text(split),
            values(&|row| Some(row.n as f64)),
        ];
        cells.extend(names.iter().map(|name| values(&|row| row.metrics.get(*name).copied())));
        cells
    };
    let mut lines: Vec<Vec<Cell>> = match run.record.seeds.len() {
        0 | 1 => Vec::new(),
        _ => run_dir::replicates(rows).into_iter().map(over_seeds).collect(),
    };
    lines.extend(rows.iter().take(ROWS).map(line));
    let cut = if rows.len() > ROWS {
        paragraph(&format!("The first {ROWS} of {} rows; results.csv has all.", rows.len()))
    } else {
        String::new()
    };
    folded(
        &format!("Every metric of every model: {}", count(rows.len(), "row")),
        &(cut + &table("", &headings, &lines)),
    )
}
