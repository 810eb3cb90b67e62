//! Runs side by side: what differs in their configuration, what came of it, and whether the difference may be luck.
//!
//! Everything is read from the folders of the runs; scores of resampled or exchanged recordings come from [`timbre_evaluation::metrics`].

use anyhow::{Result, bail};

use timbre_core::progress::Printer;

mod run_selection;
mod comparison;
mod diff;
mod diff_text;
mod config_keys;
mod compared_models;
mod notes;
mod pairing;
mod sweep_runs;
mod run;
mod text_tables;
pub mod significance;
mod terminal;
mod short_values;
mod csv_markdown;

pub use comparison::*;
pub use csv_markdown::{csv, markdown};
pub use diff::{RunDiff, diff};
pub use diff_text::diff_text;
pub use run_selection::{RunSelection, SelectedRun, newest, select_run, select_runs};
pub use short_values::short_names;
pub use terminal::text;

use compared_models::ModelComparer;
use run::{ModelKey, Run};
use timbre_core::error::UserError;
use timbre_evaluation::metrics;
use timbre_experiment::suggest;

/// Raised when [`Comparison`] changes its form.
pub const SCHEMA: u32 = 1;

const LEVEL: f64 = 0.95;

/// What is to be shown of the runs.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// The place of the reference in the list of runs; the first with results unless told.
    pub reference: Option<usize>,
    /// The one model of it to which all lines are compared, where one is named.
    pub model: Option<String>,
    /// The headline metric of the reference unless told.
    pub metrics: Vec<String>,
    /// The test side unless told.
    pub split: Option<String>,
    /// Draws behind each interval and p; unless told as many as the number of tests asks for.
    pub resamples: Option<usize>,
}

/// Compares the runs, in their order.
pub fn compare(choice: &RunSelection, wanted: &CompareOptions, printer: Printer) -> Result<Comparison> {
    let Fit { runs, models, at, notes: mut said_before } = fit(choice)?;
    let chosen_places: Vec<Option<ModelKey>> = models
        .iter()
        .zip(&runs)
        .map(|(model, run)| {
            model.as_ref().map(|model| run_selection::place(&run.places(), model, &run.name())).transpose()
        })
        .collect::<Result<_>>()?;
    let with_results = || runs.iter().position(|run| !run.results.is_empty()).unwrap_or(0);
    let reference = wanted.reference.and_then(|told| at.iter().position(|&at| at == told)).unwrap_or_else(with_results);
    let Some(first) = runs.get(reference) else {
        let why = if said_before.is_empty() { String::new() } else { format!(": {}", said_before.join("; ")) };
        bail!(UserError::usage(format!("there is no run to compare{why}")));
    };
    if wanted.reference.is_none() && reference > 0 {
        let (is, number) = if reference == 1 {
            ("run 1 has".to_owned(), 2)
        } else {
            (format!("runs 1 to {reference} have"), reference + 1)
        };
        said_before.push(format!("{is} no results: the reference is run {number}"));
    }
    let places_of = |at: usize| match &chosen_places[at] {
        Some(place) => vec![place.clone()],
        None => runs[at].places(),
    };
    let own = places_of(reference);
    let place = match &wanted.model {
        Some(model) => Some(run_selection::place(&first.places(), model, &first.name())?),
        None => (own.len() == 1).then(|| own[0].clone()),
    };
    let reference = Reference { run: reference, place };
    let split = split(&runs, wanted.split.as_deref())?;
    let metrics = shown_metrics(first, &wanted.metrics)?;
    let mut all: Vec<ModelKey> = Vec::new();
    for place in (0..runs.len()).flat_map(places_of) {
        if !all.contains(&place) {
            all.push(place);
        }
    }
    let lines: Vec<(usize, ModelKey)> = all
        .iter()
        .flat_map(|place| (0..runs.len()).map(move |run| (run, place)))
        .filter(|(run, place)| places_of(*run).contains(place))
        .map(|(run, place)| (run, place.clone()))
        .collect();
    let draws = wanted.resamples.unwrap_or(DRAWS);
    let mut work =
        ModelComparer { runs: &runs, reference: &reference, split: &split, metrics: &metrics, resamples: draws, draws };
    if wanted.resamples.is_none() && enough(lines.len() * metrics.len()) > DRAWS {
        work.resamples = enough(work.tests(&lines));
    }
    let resamples = work.resamples;
    let (mut lines, notes_of_lines) = work.lines(&lines, printer);
    let tests = correct(&mut lines);
    let mut notes = said_before;
    notes.extend(notes_of_lines);
    notes.extend(notes::notes(&work, &lines, tests));
    let flat: Vec<&[(String, String)]> = runs.iter().map(|run| run.keys.as_slice()).collect();
    Ok(Comparison {
        schema: SCHEMA,
        metrics: metrics.clone(),
        level: LEVEL,
        resamples,
        runs: runs.iter().enumerate().map(|(at, run)| run.described(at + 1)).collect(),
        keys: config_keys::differing(&flat),
        baselines: work.baselines(),
        lines,
        tests,
        notes,
        reference: reference.clone(),
        split: split.clone(),
    })
}

/// The runs that can be compared.
struct Fit {
    runs: Vec<Run>,
    /// The one model of each that was chosen, and its place in the choice.
    models: Vec<Option<String>>,
    at: Vec<usize>,
    notes: Vec<String>,
}

/// Reads the runs. Those that nobody named are left out if they cannot be read or have no results yet, and that is said.
fn fit(choice: &RunSelection) -> Result<Fit> {
    let mut fit = Fit { runs: Vec::new(), models: Vec::new(), at: Vec::new(), notes: choice.notes.clone() };
    let mut without: Vec<String> = Vec::new();
    for (at, one) in choice.runs.iter().enumerate() {
        match Run::read(&one.path) {
            Err(error) if one.by_name => return Err(error),
            Err(error) => fit.notes.push(format!("left out: {error:#}")),
            Ok(run) if !one.by_name && run.results.is_empty() => {
                without.push(format!("{} ({})", run.path.display(), text_tables::status(run.record.status)));
            }
            Ok(run) => {
                fit.runs.push(run);
                fit.models.push(one.model.clone());
                fit.at.push(at);
            }
        }
    }
    if !without.is_empty() {
        let more = without.len().saturating_sub(TOLD);
        let shown = without[..without.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        fit.notes.push(format!("left out, without any result: {shown}{more}"));
    }
    Ok(fit)
}

/// So many of a list are named in a sentence.
const TOLD: usize = 3;

/// Draws behind the interval of a line, and the fewest behind a test.
const DRAWS: usize = 2000;

/// The least p is 2 / (resamples + 1): enough of them that one clear difference among so many is below 0.05 when corrected.
fn enough(tests: usize) -> usize {
    (50 * tests).max(DRAWS)
}

fn split(runs: &[Run], wanted: Option<&str>) -> Result<String> {
    let mut there: Vec<&str> = Vec::new();
    for row in runs.iter().flat_map(|run| &run.results) {
        if !there.contains(&row.split.as_str()) {
            there.push(&row.split);
        }
    }
    match wanted {
        Some(wanted) if there.contains(&wanted) || there.is_empty() => Ok(wanted.to_owned()),
        Some(wanted) => bail!(UserError::usage(format!("no run has a split `{wanted}`, only: {}", there.join(", ")))),
        None => Ok(["test", "validation"].into_iter().find(|name| there.contains(name)).unwrap_or("test").to_owned()),
    }
}

fn shown_metrics(reference: &Run, wanted: &[String]) -> Result<Vec<String>> {
    let known: Vec<&str> = match &reference.decision_rule {
        Ok(decision_rule) => metrics::names(decision_rule.task).collect(),
        Err(_) => Vec::new(),
    };
    let mut shown: Vec<String> = Vec::new();
    for name in wanted {
        let names =
            if name == "all" { known.iter().map(|name| (*name).to_owned()).collect() } else { vec![name.clone()] };
        for name in names {
            if !known.is_empty() && !known.contains(&name.as_str()) {
                let help = suggest::help(&name, known.iter().copied(), "Metrics of this task");
                bail!(UserError::usage(format!("unknown metric `{name}`: {help}")));
            }
            if !shown.contains(&name) {
                shown.push(name);
            }
        }
    }
    if shown.is_empty() {
        shown.push(reference.record.metric.clone());
    }
    Ok(shown)
}

/// Holm over every test of the table; how many there are.
fn correct(lines: &mut [ComparedModel]) -> usize {
    let mut tests: Vec<(usize, usize)> = Vec::new();
    for (at, line) in lines.iter_mut().enumerate() {
        for (score, own) in line.scores.iter_mut().enumerate() {
            match &mut own.versus {
                Versus::Paired(paired) if paired.is_same() => paired.verdict = Outcome::Open,
                Versus::Paired(_) => tests.push((at, score)),
                Versus::Reference | Versus::Not(_) => {}
            }
        }
    }
    let ps: Vec<f64> = tests.iter().map(|&(line, score)| paired_mut(lines, line, score).p).collect();
    for (&(line, score), p) in tests.iter().zip(significance::holm(&ps)) {
        let own = paired_mut(lines, line, score);
        own.p_holm = p;
        if p > 1.0 - LEVEL {
            own.verdict = Outcome::Open;
        }
    }
    ps.len()
}

fn paired_mut(lines: &mut [ComparedModel], line: usize, score: usize) -> &mut Paired {
    match &mut lines[line].scores[score].versus {
        Versus::Paired(paired) => paired,
        _ => unreachable!("only those that are paired were listed"),
    }
}
