//! `timbre compare`: compare runs, or check a run against a baseline.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};

use serde_json::json;

use super::report::{figure_options, write_figures};
use super::{ExitStatus, baseline, print, print_data, terminal_width};
use crate::cli::args::{BaselineArgs, CompareArgs, GlobalArgs};
use timbre_core::{error::UserError, files, progress::Printer};
use timbre_reports::{
    comparison::{self, CompareOptions, Comparison, RunSelection, SelectedRun},
    run_report,
};
use timbre_runs::tables;

pub fn compare(common: &GlobalArgs, what: &CompareArgs, check: &BaselineArgs) -> Result<ExitStatus> {
    if let Some(name) = &check.baseline {
        // First, so that an ambiguous name is refused before anything is written.
        let inputs = baseline::check_inputs(common, &what.chosen, name)?;
        let wants_files = [&what.csv, &what.md, &what.html, &what.figures.figures].iter().any(|file| file.is_some());
        if wants_files {
            write_files(common, &found(common, what, &with_baseline(what, name))?, what)?;
        }
        return baseline::check(common, inputs, check);
    }
    let found = found(common, what, &what.chosen)?;
    write_files(common, &found, what)?;
    if what.json {
        print_data(&format!("{}\n", json!(found)))?;
    } else {
        print(&comparison::text(&found, terminal_width()))?;
    }
    Ok(ExitStatus::Done)
}

/// The baseline, if it is a run and not a file, followed by the run to check.
fn with_baseline(what: &CompareArgs, baseline: &String) -> Vec<String> {
    let run = Some(baseline).filter(|name| !Path::new(name).is_file());
    run.into_iter().chain(&what.chosen).cloned().collect()
}

fn found(common: &GlobalArgs, what: &CompareArgs, names: &[String]) -> Result<Comparison> {
    let mut chosen = match names {
        [] => comparison::newest(&common.runs),
        names => comparison::select_runs(&common.runs, names)?,
    };
    let (mut reference, mut model) = (None, None);
    if let Some(name) = &what.reference {
        let (at, own) = place_of(&mut chosen, comparison::select_run(&common.runs, name)?);
        (reference, model) = (Some(at), own);
    }
    if chosen.runs.is_empty() {
        let runs = common.runs.display();
        bail!(UserError::usage(format!("no runs in {runs}: start one with `timbre run EXP`")));
    }
    let printer = Printer::new(common.quiet);
    let wanted = CompareOptions {
        reference,
        model,
        metrics: what.metric.clone(),
        split: what.split.clone(),
        resamples: what.resamples.map(|n| n as usize),
    };
    comparison::compare(&chosen, &wanted, printer)
}

fn write_files(common: &GlobalArgs, found: &Comparison, what: &CompareArgs) -> Result<()> {
    if let Some(file) = &what.csv {
        write(file, |out| tables::write_csv(comparison::csv(found)?, out))?;
    }
    if let Some(file) = &what.md {
        write(file, |out| Ok(out.write_all(comparison::markdown(found).as_bytes())?))?;
    }
    if let Some(file) = &what.html {
        write(file, |out| Ok(out.write_all(run_report::comparison_page(found).as_bytes())?))?;
    }
    if what.figures.figures.is_some() {
        let width = figure_options(&what.figures).style.layout_width();
        write_figures(&what.figures, &run_report::comparison_figures(found, width), Printer::new(common.quiet))?;
    }
    Ok(())
}

/// The index of the reference among the runs, and its model if one is named. A reference that is not among them is inserted
/// in front.
fn place_of(choice: &mut RunSelection, reference: SelectedRun) -> (usize, Option<String>) {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let holds = |one: &SelectedRun| {
        whole(&one.path) == whole(&reference.path) && (one.model.is_none() || one.model == reference.model)
    };
    let model = reference.model.clone();
    let at = choice.runs.iter().position(holds).unwrap_or_else(|| {
        choice.runs.insert(0, reference);
        0
    });
    choice.runs[at].by_name = true;
    (at, model)
}

fn write(file: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    files::write_atomically(&files::create_parent_folder(file)?, write)
}
