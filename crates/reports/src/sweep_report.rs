//! The report of a sweep (`grid.html`): the best point and how to select it, the warnings of the runs, the effect of each axis, heat
//! tables, every point, failures.
//!
//! Points are ranked by their score on the validation split (`grid.json`). Without a validation split nothing may choose, and the
//! page has the table of all points only.

use std::path::Path;

use anyhow::{Context, Result};
use indexmap::{IndexMap, IndexSet};

use crate::page::{self, Cell, Heading, Page, Section, paragraph, range, table};
use timbre_core::{
    files,
    text::{count, escape_xml},
};
use timbre_evaluation::metrics::replicates;
use timbre_experiment::AxisValues;
use timbre_inputs::data::split::LEAKY;
use timbre_runs::{
    run_dir::{self, ReportFile},
    sweep_record::{PointRecord, PointStatus, SweepDir, SweepRecord},
    sweep_table::{self, ModelRows, Row, cell_text, short_names},
};

/// Rows of the table of all points, so that the page of a large sweep opens at once. `grid_results.csv` has all.
const ROWS: usize = 2000;
/// Pairs of axes with a heat table.
const PAIRS: usize = 6;
/// Warnings below the conclusion.
const WARNINGS: usize = 10;
/// Values of an axis in a heat table.
const WIDEST: usize = 60;

/// Writes the report beside `grid.json`.
pub fn write(sweep: &SweepDir, record: &SweepRecord, rows: &[Row]) -> Result<()> {
    let path = sweep.report();
    files::write_bytes(&path, page(sweep.path(), record, rows).as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The page; links to the reports of the points are relative to `folder`.
fn page(folder: &Path, record: &SweepRecord, rows: &[Row]) -> String {
    let sweep = Sweep { folder, record, rows };
    let mut sections = Vec::new();
    let mut add = |id, title: &str, html: String| {
        if !html.is_empty() {
            sections.push(Section { id, title: title.to_owned(), html });
        }
    };
    add("axes", "Effect of each axis", sweep.effects());
    add("pairs", "Two axes at a time", sweep.heat_tables());
    add("points", "Points", sweep.points());
    add("failures", "Failures", sweep.failures());
    let title = format!("{}: {}", record.experiment, count(record.points.len(), "point"));
    Page { title, signature: String::new(), lead: sweep.lead(), sections }.html()
}

struct Sweep<'a> {
    folder: &'a Path,
    record: &'a SweepRecord,
    rows: &'a [Row<'a>],
}

impl Sweep<'_> {
    fn lead(&self) -> String {
        let record = self.record;
        let mut facts = vec![format!("{} of {} done", record.finished(), count(record.expected(), "point"))];
        let (failed, waiting) = (record.count(PointStatus::Failed), record.waiting());
        facts.extend((failed > 0).then(|| format!("{failed} failed")));
        facts.extend((waiting > 0).then(|| format!("{waiting} not run")));
        let leaky = self.rows.iter().any(|row| row.cell.as_ref().is_some_and(|cell| cell.leaky));
        facts.extend(leaky.then(|| LEAKY.to_owned()));
        facts.extend(record.axes.iter().map(|axis| format!("{}: {}", axis.key, count(axis.values.len(), "value"))));
        let facts = page::facts(&facts);
        let conclusion = match record.best_on_validation() {
            Some((best, score)) => {
                let test = self.on_test(best).map_or(String::new(), |text| format!(" {text}"));
                let tie = record.tie_for_best();
                let sentence = format!("Best on the validation split: point {}, {score}.{tie}{test}", best.number);
                let options = format!("<pre>{}</pre>\n", escape_xml(&best.set_options()));
                format!("<strong>{}</strong>\n{}", escape_xml(&sentence), options)
            }
            None => paragraph(self.why_no_best()),
        };
        let description = if record.description.is_empty() { String::new() } else { paragraph(&record.description) };
        format!("{description}{facts}<div class=\"conclusion open\">{conclusion}</div>\n{}", self.warnings())
    }

    /// The warnings of the runs, each once. A leaky split is a fact of the page.
    fn warnings(&self) -> String {
        let finished = self.record.points.iter().filter(|point| point.status.is_final());
        let runs: IndexSet<&Path> = finished.filter_map(|point| point.run.as_deref()).collect();
        let records = runs.into_iter().filter_map(|run| run_dir::read_record(run).ok());
        let warnings: IndexSet<String> =
            records.flat_map(|record| record.warnings).filter(|warning| warning != LEAKY).collect();
        let shown = warnings.iter().take(WARNINGS).map(|warning| paragraph(&format!("Warning: {warning}.")));
        let more = match warnings.len().saturating_sub(WARNINGS) {
            0 => String::new(),
            n => paragraph(&format!("{} in the reports of the points.", count(n, "more warning"))),
        };
        shown.collect::<String>() + &more
    }

    /// The score of the chosen model of a point on the test split.
    fn on_test(&self, point: &PointRecord) -> Option<String> {
        let model = point.score.as_ref()?.model.as_deref()?;
        let of_model = |row: &&Row| row.point.number == point.number && row.point.round == point.round;
        let mut cells = self.rows.iter().filter(of_model).filter_map(|row| row.cell.as_ref());
        let cell = cells.find(|cell| cell.split == "test" && format!("{}.{}", cell.features, cell.model) == model)?;
        let bound = |end: &str| match &cell.metrics.get(&format!("{}_{end}", cell.metric))?[..] {
            [one] => Some(*one),
            // An interval belongs to the recordings of one seed.
            _ => None,
        };
        let interval =
            bound("low").zip(bound("high")).map_or(String::new(), |(low, high)| format!(", {low:.3} to {high:.3}"));
        let seeds = cell.metrics.get(&cell.metric).map_or(0, Vec::len);
        let seeds = if seeds > 1 { format!(", mean of {seeds} seeds") } else { String::new() };
        Some(format!("On the test split it has {} {:.3}{interval}{seeds}.", cell.metric, cell.mean(&cell.metric)?))
    }

    fn why_no_best(&self) -> &'static str {
        let is_on_validation =
            |point: &PointRecord| point.final_score().is_some_and(|score| score.split == "validation");
        if self.record.waiting() > 0 {
            "Points are missing: the best one is not known yet."
        } else if self.record.points.iter().any(is_on_validation) {
            "There are not two finished points to choose from."
        } else {
            "There is no validation split, so no point is chosen: choosing on the test split would bias its score. Hold out \
             `validation = 0.1` in [split]."
        }
    }

    /// For each value of an axis, the scores of its points over all values of the other axes.
    fn effects(&self) -> String {
        let effect = |axis: &AxisValues| {
            let mut scores: IndexMap<String, Vec<f64>> = IndexMap::new();
            for point in self.record.last_round() {
                let Some(score) = point.final_score() else { continue };
                scores.entry(cell_text(point.values.get(&axis.key))).or_default().push(score.value);
            }
            if scores.len() < 2 {
                return String::new();
            }
            let means: Vec<f64> = scores.values().filter_map(|own| replicates::mean(own)).collect();
            let highest = |own: &Vec<f64>| own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let bests: Vec<f64> = scores.values().map(highest).collect();
            let line = |((value, own), (mean, best)): ((&String, &Vec<f64>), (&f64, &f64))| {
                vec![
                    Cell::text(value),
                    Cell::count(own.len() as u64),
                    heat(*mean, range(means.iter().copied())),
                    heat(*best, range(bests.iter().copied())),
                ]
            };
            let lines: Vec<_> = scores.iter().zip(means.iter().zip(&bests)).map(line).collect();
            let headings: [Heading; 4] = [("value", false), ("points", true), ("mean", true), ("highest", true)];
            format!("<div>\n{}</div>\n", table(&axis.key, &headings, &lines))
        };
        let tables: String = self.record.axes.iter().map(effect).collect();
        if tables.is_empty() {
            return String::new();
        }
        let split = self.scored_split();
        let words = format!(
            "{} of the points with each value, over all values of the other axes. A stronger colour is a higher score. Differences \
             below the width of an interval may be chance.",
            split.map_or("Score".to_owned(), |(metric, split)| format!("{metric} on the {split} split"))
        );
        format!("{}<div class=\"figures\">\n{tables}</div>\n", paragraph(&words))
    }

    fn scored_split(&self) -> Option<(&str, &str)> {
        let score = self.record.points.iter().find_map(PointRecord::final_score)?;
        Some((&score.metric, &score.split))
    }

    /// The score over two axes, for each pair; the other axes have the values of the best point.
    fn heat_tables(&self) -> String {
        let Some((best, _)) = self.record.best_on_validation() else { return String::new() };
        let axes: Vec<&AxisValues> =
            self.record.axes.iter().filter(|axis| (2..=WIDEST).contains(&axis.values.len())).collect();
        let pairs =
            axes.iter().enumerate().flat_map(|(at, one)| axes[at + 1..].iter().map(move |other| (*one, *other)));
        let all: Vec<_> = pairs.collect();
        let tables: String =
            all.iter().take(PAIRS).map(|(rows, columns)| self.heat_table(rows, columns, best)).collect();
        let more = all.len().saturating_sub(PAIRS);
        tables
            + &if more > 0 {
                paragraph(&format!("{} more have no table here.", count(more, "pair")))
            } else {
                String::new()
            }
    }

    fn heat_table(&self, rows: &AxisValues, columns: &AxisValues, best: &PointRecord) -> String {
        let is_fixed = |point: &&PointRecord| {
            let others = point.values.iter().filter(|(key, _)| **key != rows.key && **key != columns.key);
            others.into_iter().all(|(key, value)| best.values.get(key) == Some(value))
        };
        let mut scores: IndexMap<(String, String), &PointRecord> = IndexMap::new();
        for point in self.record.last_round().filter(is_fixed) {
            scores.insert((cell_text(point.values.get(&rows.key)), cell_text(point.values.get(&columns.key))), point);
        }
        let range = range(scores.values().filter_map(|point| Some(point.final_score()?.value)));
        let headings: Vec<String> = columns.values.iter().map(|value| cell_text(Some(value))).collect();
        let mut heads: Vec<Heading> = vec![(&rows.key, false)];
        heads.extend(headings.iter().map(|words| (words.as_str(), true)));
        let line = |value| {
            let row = cell_text(Some(value));
            let cell = |column: &String| match scores.get(&(row.clone(), column.clone())) {
                Some(point) => match point.final_score() {
                    Some(score) if point.number == best.number => {
                        Cell { class: "heat best", ..heat(score.value, range) }
                    }
                    Some(score) => heat(score.value, range),
                    None => Cell::text(point.status.name()),
                },
                None => Cell::number(None),
            };
            std::iter::once(Cell::text(&row)).chain(headings.iter().map(cell)).collect()
        };
        let lines: Vec<Vec<Cell>> = rows.values.iter().map(line).collect();
        let keys: Vec<&str> = best.values.keys().map(String::as_str).collect();
        let others = best.values.iter().zip(short_names(&keys));
        let others = others.filter(|((key, _), _)| **key != rows.key && **key != columns.key);
        let fixed: Vec<String> =
            others.map(|((_, value), name)| format!("{name} = {}", cell_text(Some(value)))).collect();
        let fixed = if fixed.is_empty() { String::new() } else { format!(", with {}", fixed.join(", ")) };
        table(&format!("{} by {}{fixed}. The best point is framed.", rows.key, columns.key), &heads, &lines)
    }

    /// Every model of every point.
    fn points(&self) -> String {
        let (models, splits) = sweep_table::by_model(self.rows);
        let metric = sweep_table::common_metric(&models).unwrap_or("score");
        let mut heads = vec![("point".to_owned(), true)];
        heads.extend(self.record.halving.iter().map(|halving| (halving.key.clone(), true)));
        let keys: Vec<&str> = self.record.axes.iter().map(|axis| axis.key.as_str()).collect();
        heads.extend(short_names(&keys).into_iter().map(|name| (name.to_owned(), false)));
        heads.extend([("features".to_owned(), false), ("model".to_owned(), false)]);
        heads.extend(splits.iter().map(|split| (format!("{metric} ({split})"), true)));
        heads.push(("run".to_owned(), false));
        let headings: Vec<Heading> = heads.iter().map(|(words, is_number)| (words.as_str(), *is_number)).collect();
        let line = |own: &ModelRows| {
            let point = own.point;
            let mut cells = vec![Cell::count(point.number as u64)];
            cells.extend(self.record.halving.iter().map(|_| point.budget.map_or(Cell::number(None), Cell::count)));
            cells.extend(self.record.axes.iter().map(|axis| Cell::text(&cell_text(point.values.get(&axis.key)))));
            cells.push(Cell::text(own.metric().map_or(point.status.name(), |_| own.features)));
            cells.push(Cell::text(own.model));
            let score = |split| own.on(split).and_then(|cell| cell.mean(&cell.metric));
            cells.extend(splits.iter().map(|split| Cell::number(score(split))));
            cells.push(self.link(point));
            cells
        };
        let lines: Vec<Vec<Cell>> = models.iter().take(ROWS).map(line).collect();
        let cut = match models.len() {
            all if all > ROWS => paragraph(&format!("The first {ROWS} of {all} rows; grid_results.csv has all.")),
            _ => String::new(),
        };
        cut + &table("A click on a heading sorts. Several seeds: their mean.", &headings, &lines)
    }

    fn link(&self, point: &PointRecord) -> Cell {
        let own = point.run.as_ref().filter(|_| point.status.is_final() && !point.rescored);
        let Some(run) = own else { return Cell::text("–") };
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        // The beginning of the signature, as in grid_results.csv; the time before it is of no use here.
        let name = name.rsplit('-').next().unwrap_or_default();
        match run.strip_prefix(self.folder) {
            Ok(below) => {
                let page = escape_xml(&below.join(ReportFile::Html.name()).to_string_lossy());
                Cell { html: format!("<a href=\"{page}\">{}</a>", escape_xml(name)), ..Cell::default() }
            }
            // The run of another experiment.
            Err(_) => Cell::text(name),
        }
    }

    fn failures(&self) -> String {
        let failed = self.record.points.iter().filter(|point| point.status == PointStatus::Failed);
        let line = |point: &PointRecord| {
            let why = point.why.as_deref().unwrap_or("unknown");
            vec![Cell::count(point.number as u64), Cell::text(&point.name), Cell::text(why)]
        };
        let lines: Vec<Vec<Cell>> = failed.map(line).collect();
        if lines.is_empty() {
            String::new()
        } else {
            table("", &[("point", true), ("values", false), ("reason", false)], &lines)
        }
    }
}

fn heat(value: f64, range: (f64, f64)) -> Cell {
    Cell::number(Some(value)).heated(value, range)
}
