//! Compares runs: differing configuration, scores, and paired significance tests.
//!
//! All input comes from the run folders. [`timbre_evaluation::metrics`] computes the scores of resampled and exchanged recordings.

use anyhow::{Result, bail};

use timbre_core::progress::Printer;

mod run_selection;
mod schema;
mod diff;
mod diff_text;
pub(crate) mod config_keys;
mod compared_models;
mod best;
mod pooled_folds;
mod notes;
mod pairing;
mod sweep_runs;
mod run;
mod text_tables;
pub mod significance;
mod terminal;
mod short_values;
mod csv_markdown;

pub(crate) use best::{sentences as best_sentences, view as best_view};
pub(crate) use compared_models::mean_interval;
pub use config_keys::flat as config_keys;
pub use csv_markdown::{csv, markdown};
pub use diff::{RunDiff, diff};
pub use diff_text::diff_text;
pub(crate) use pairing::SeedDecisions;
pub(crate) use run::recordings;
pub use run_selection::{RunSelection, SelectedRun, newest, select_run, select_runs};
pub use schema::*;
pub use terminal::text;
pub(crate) use text_tables::seconds_cell;

use compared_models::ModelComparer;
use run::{ModelKey, Run};
use timbre_core::error::UserError;
use timbre_core::suggest;
use timbre_evaluation::metrics;

/// Version of the JSON form of [`Comparison`].
pub const SCHEMA: u32 = 1;

/// Confidence level of all intervals; p-values are significant below 1 - `LEVEL`.
const LEVEL: f64 = 0.95;

/// Options of a comparison.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// Index of the reference in the list of runs. Default: the first run with results.
    pub reference: Option<usize>,
    /// The model of the reference that every other model is compared with. Default: the same model on the same features.
    pub model: Option<String>,
    /// Metrics to show. Default: the headline metric of the reference.
    pub metrics: Vec<String>,
    /// Split to show. Default: `test`, or `validation` if no run has a test split.
    pub split: Option<String>,
    /// Resamples of each interval and p-value. Default: chosen from the number of tests.
    pub resamples: Option<usize>,
}

/// The keys of two resolved configurations that differ, sorted by name. The description is left out.
pub fn differing_keys(before: &str, now: &str) -> Result<Vec<DifferingKey>> {
    Ok(config_keys::differing(&[&config_keys::flat(before)?, &config_keys::flat(now)?]))
}

/// Compares the selected runs and keeps their order.
pub fn compare(selection: &RunSelection, options: &CompareOptions, printer: Printer) -> Result<Comparison> {
    let ReadableRuns { runs, models, at, mut notes } = read_runs(selection)?;
    let selected: Vec<Option<ModelKey>> = models
        .iter()
        .zip(&runs)
        .map(|(model, run)| {
            model.as_ref().map(|model| run_selection::find_model(&run.model_keys(), model, &run.name())).transpose()
        })
        .collect::<Result<_>>()?;
    let with_results = || runs.iter().position(|run| !run.results.is_empty()).unwrap_or(0);
    let reference =
        options.reference.and_then(|index| at.iter().position(|&at| at == index)).unwrap_or_else(with_results);
    let Some(first) = runs.get(reference) else {
        let why = if notes.is_empty() { String::new() } else { format!(": {}", notes.join("; ")) };
        bail!(UserError::usage(format!("no run to compare{why}")));
    };
    if options.reference.is_none() && reference > 0 {
        let (runs_have, number) = if reference == 1 {
            ("run 1 has".to_owned(), 2)
        } else {
            (format!("runs 1 to {reference} have"), reference + 1)
        };
        notes.push(format!("{runs_have} no results: the reference is run {number}"));
    }
    let keys_of = |at: usize| match &selected[at] {
        Some(place) => vec![place.clone()],
        None => runs[at].model_keys(),
    };
    let own = keys_of(reference);
    let place = match &options.model {
        Some(model) => Some(run_selection::find_model(&first.model_keys(), model, &first.name())?),
        None => (own.len() == 1).then(|| own[0].clone()),
    };
    let reference = Reference { run: reference, place };
    let split = split(&runs, options.split.as_deref())?;
    let metrics = shown_metrics(first, &options.metrics)?;
    let mut all: Vec<ModelKey> = Vec::new();
    for key in (0..runs.len()).flat_map(keys_of) {
        if !all.contains(&key) {
            all.push(key);
        }
    }
    let lines: Vec<(usize, ModelKey)> = all
        .iter()
        .flat_map(|key| (0..runs.len()).map(move |run| (run, key)))
        .filter(|(run, key)| keys_of(*run).contains(key))
        .map(|(run, key)| (run, key.clone()))
        .collect();
    let interval_resamples = options.resamples.unwrap_or(RESAMPLES);
    let mut work = ModelComparer {
        runs: &runs,
        reference: &reference,
        split: &split,
        metrics: &metrics,
        resamples: interval_resamples,
        interval_resamples,
    };
    if options.resamples.is_none() && resamples_for(lines.len() * metrics.len()) > RESAMPLES {
        work.resamples = resamples_for(work.tests(&lines));
    }
    let resamples = work.resamples;
    let (mut lines, notes_of_lines) = work.lines(&lines, printer);
    let tests = correct(&mut lines);
    let (best, notes_of_best) = best::best(&work, keys_of, printer);
    notes.extend(notes_of_lines);
    notes.extend(notes_of_best);
    notes.extend(notes::notes(&work, &lines, tests, !best.is_empty()));
    let flat: Vec<&[(String, String)]> = runs.iter().map(|run| run.keys.as_slice()).collect();
    Ok(Comparison {
        schema: SCHEMA,
        resampled: work.resampled(),
        metrics: metrics.clone(),
        level: LEVEL,
        resamples,
        runs: runs.iter().enumerate().map(|(at, run)| run.summary(at + 1)).collect(),
        keys: config_keys::differing(&flat),
        baselines: work.baselines(),
        best,
        lines,
        tests,
        notes,
        reference: reference.clone(),
        split: split.clone(),
    })
}

/// The runs that could be read.
struct ReadableRuns {
    runs: Vec<Run>,
    /// For each run its selected model, if one was named, and its index in the selection.
    models: Vec<Option<String>>,
    at: Vec<usize>,
    notes: Vec<String>,
}

/// Reads the selected runs. A run that was not named explicitly and that is unreadable or without results is left out with a note.
fn read_runs(selection: &RunSelection) -> Result<ReadableRuns> {
    let mut readable =
        ReadableRuns { runs: Vec::new(), models: Vec::new(), at: Vec::new(), notes: selection.notes.clone() };
    let mut without: Vec<String> = Vec::new();
    for (at, one) in selection.runs.iter().enumerate() {
        match Run::read(&one.path) {
            Err(error) if one.by_name => return Err(error),
            Err(error) => readable.notes.push(format!("left out: {error:#}")),
            Ok(run) if !one.by_name && run.results.is_empty() => {
                without.push(format!("{} ({})", run.path.display(), text_tables::status(run.record.status)));
            }
            Ok(run) => {
                readable.runs.push(run);
                readable.models.push(one.model.clone());
                readable.at.push(at);
            }
        }
    }
    if !without.is_empty() {
        let more = without.len().saturating_sub(LISTED);
        let shown = without[..without.len() - more].join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        readable.notes.push(format!("left out, no results: {shown}{more}"));
    }
    Ok(readable)
}

/// Entries of a list that a note names.
const LISTED: usize = 3;

/// Resamples of an interval, and the least number of resamples of a test.
const RESAMPLES: usize = 2000;

/// Resamples that let one clear difference among so many tests stay below 0.05 after correction: the smallest p is 2 / (resamples + 1).
fn resamples_for(tests: usize) -> usize {
    (50 * tests).max(RESAMPLES)
}

fn split(runs: &[Run], wanted: Option<&str>) -> Result<String> {
    let mut available: Vec<&str> = Vec::new();
    for row in runs.iter().flat_map(|run| &run.results) {
        if !available.contains(&row.split.as_str()) {
            available.push(&row.split);
        }
    }
    match wanted {
        Some(wanted) if available.contains(&wanted) || available.is_empty() => Ok(wanted.to_owned()),
        Some(wanted) => {
            bail!(UserError::usage(format!("no run has a split `{wanted}`, only: {}", available.join(", "))))
        }
        None => {
            Ok(["test", "validation"].into_iter().find(|name| available.contains(name)).unwrap_or("test").to_owned())
        }
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

/// Applies Holm's correction over every test of the table and returns their number.
fn correct(lines: &mut [ComparedModel]) -> usize {
    let mut tests: Vec<(usize, usize)> = Vec::new();
    for (at, line) in lines.iter_mut().enumerate() {
        for (score, own) in line.scores.iter_mut().enumerate() {
            match &mut own.versus {
                Versus::Paired(paired) if paired.is_same() => paired.outcome = Outcome::Same,
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
            own.outcome = Outcome::Open;
        }
    }
    ps.len()
}

fn paired_mut(lines: &mut [ComparedModel], line: usize, score: usize) -> &mut Paired {
    match &mut lines[line].scores[score].versus {
        Versus::Paired(paired) => paired,
        _ => unreachable!("only paired scores were collected"),
    }
}
