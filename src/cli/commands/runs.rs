//! `timbre runs`: list runs.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{ExitStatus, arguments_text, print_data, terminal_width, write_out};
use crate::cli::args::{DEFAULT_RUNS, GlobalArgs, RunsArgs};
use crate::cli::colours::{eprint_coloured, is_coloured};
use timbre_core::suggest;
use timbre_core::{error::UserError, progress::Printer, text::count};
use timbre_inputs::data::split::LEAKY;
use timbre_runs::{
    listing::{self, ListedRun, RunFilter, RunState},
    run_dir,
};

/// Number of unreadable runs that are listed one by one.
const MAX_LISTED: usize = 10;

pub fn runs(common: &GlobalArgs, wanted: &RunsArgs) -> Result<ExitStatus> {
    // The default folder does not exist before the first run; a missing folder that the user named may be misspelt.
    if !common.runs.exists() && common.runs != Path::new(DEFAULT_RUNS) {
        bail!(UserError::usage(format!("no such directory: {}", common.runs.display())));
    }
    let listing = listing::list(&common.runs);
    for why in listing.unreadable.iter().take(MAX_LISTED) {
        eprint_coloured(&format!("warning: left out: {why}"));
    }
    if listing.unreadable.len() > MAX_LISTED {
        eprint_coloured(&format!("warning: left out: {} more", listing.unreadable.len() - MAX_LISTED));
    }
    let (all, are_unreadable) = (listing.runs.len(), !listing.unreadable.is_empty());
    let runs = choice(common, wanted, &listing.runs)?.of(listing.runs);
    if wanted.json {
        let list: Vec<Value> = runs.iter().map(|run| run.json(wanted.metric)).collect();
        print_data(&format!("{}\n", json!({ "schema": run_dir::SCHEMA, "runs": list })))?;
        return Ok(ExitStatus::Done);
    }
    let printer = Printer::new(common.quiet);
    if runs.is_empty() {
        printer.message(&match all {
            0 if are_unreadable => "No readable runs".to_owned(),
            0 => "No runs yet. Next: timbre run quickstart".to_owned(),
            _ => format!("No runs match ({} in total). Next: timbre runs", count(all, "run")),
        });
        return Ok(ExitStatus::Done);
    }
    // Its cells are printable, and the colours are escape sequences.
    write_out(&listing::text(&runs, wanted.metric, terminal_width(), is_coloured(&io::stdout())))?;
    if runs.len() < all {
        printer.message(&format!("{} of {}", runs.len(), count(all, "run")));
    }
    if runs.iter().any(|run| run.entry.is_selected_on_reported_split()) {
        printer.message("* best model selected on the test split (no validation split), so its score is optimistic");
    }
    if runs.iter().any(|run| run.entry.leaky) {
        printer.message(&format!("† {LEAKY}"));
    }
    printer.message(&format!("Next: {}", next(common, &runs)));
    Ok(ExitStatus::Done)
}

/// The filter. A name is that of an experiment, or of a run as in the other commands; one that is neither is an error. A pattern may
/// match nothing.
fn choice(common: &GlobalArgs, wanted: &RunsArgs, listed: &[ListedRun]) -> Result<RunFilter> {
    let known: BTreeSet<&str> = listed.iter().map(|run| run.entry.experiment.as_str()).collect();
    let is_experiment = |name: &&String| name.contains(['*', '?', '[']) || known.contains(name.as_str());
    let (experiments, runs): (Vec<&String>, Vec<&String>) = wanted.experiments.iter().partition(is_experiment);
    let find = |name: &&String| {
        run_dir::find(&common.runs, name).map_err(|_| {
            let help = suggest::help(name, known.iter().copied(), "Experiments with runs");
            UserError::usage(format!("no run or experiment with runs is called `{name}`: {help}"))
        })
    };
    Ok(RunFilter {
        experiments: experiments.into_iter().cloned().collect(),
        runs: runs.iter().map(find).collect::<Result<_, _>>()?,
        states: wanted.status.clone(),
        metric: wanted.metric.map(str::to_owned),
        bounds: wanted.bounds.clone(),
        since: wanted.since.clone(),
        until: wanted.until.clone(),
        sort: wanted.sort,
        reverse: wanted.reverse,
        limit: wanted.limit,
    })
}

/// The suggested next command: resume an interrupted run, look at a failed one, or compare.
fn next(common: &GlobalArgs, runs: &[ListedRun]) -> String {
    if let Some(run) = runs.iter().find(|run| run.state.is_resumable()) {
        let arguments = run_dir::read_record(&run.run).ok().and_then(|record| record.arguments);
        let again = arguments.map_or(run.entry.experiment.clone(), |arguments| arguments_text(common, &arguments));
        return format!("timbre run {again} (the same command as before resumes {})", run.run.display());
    }
    let done: Vec<String> = runs
        .iter()
        .filter(|run| run.state == RunState::Done)
        .map(|run| run.run.display().to_string())
        .take(2)
        .collect();
    match done.as_slice() {
        [] => match runs.iter().find(|run| run.state == RunState::Failed) {
            Some(run) => format!("look at {}", run_dir::log_file(&run.run).display()),
            None => format!("timbre compare {}", runs[0].run.display()),
        },
        // It can be compared with nothing.
        [run] => format!("open {run}/{}", run_dir::ReportFile::Html.name()),
        // The older run first: it is the reference.
        some => format!("timbre compare {}", some.iter().rev().cloned().collect::<Vec<_>>().join(" ")),
    }
}
