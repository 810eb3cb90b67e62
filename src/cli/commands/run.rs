//! `timbre run` and `timbre features`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::device::{choose, first_rounds};
use super::latest::RunIdentity;
use super::{
    ExitStatus, again, expand_grid, grid, listen_for_signals, print, print_data, resolve, settings, start_threads,
    wrapped,
};
use crate::cli::args::{ExperimentArgs, GlobalArgs, GridArgs, ThreadArgs};
use crate::cli::colours::eprint_coloured;
use crate::execution::run::feature_plot::{self, PlottedFeature};
use crate::execution::run::{self, FeatureFormat, RunOutcome, Settings};
use crate::inference;
use timbre_core::{error::UserError, files, progress::Printer, text::count};
use timbre_experiment::{ExpandedGrid, ResolvedExperiment};
use timbre_models::device::DeviceChoice;
use timbre_reports::plot::feature_view::{FeatureView, feature_view};
use timbre_reports::plot::{self, ImageFormat};
use timbre_reports::run_report;
use timbre_runs::{
    run_dir::{self, ReportFile, SCHEMA, Status, unusable_file},
    tables::ScoreGrid,
};

pub fn run(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    pool: &ThreadArgs,
    device: DeviceChoice,
    json: bool,
    fresh: bool,
    grid_args: &GridArgs,
) -> Result<ExitStatus> {
    let expanded = expand_grid(common, target)?;
    let settings = settings(common, fresh);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    run_expanded(common, target, &expanded, settings, device, json, grid_args)
}

/// Runs an experiment or a sweep on a device.
pub(super) fn run_expanded(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    expanded: &ExpandedGrid,
    settings: Settings,
    device: DeviceChoice,
    json: bool,
    grid_args: &GridArgs,
) -> Result<ExitStatus> {
    if expanded.is_grid() && !grid_args.devices.is_empty() {
        return grid::run(common, expanded, &settings, grid_args, json, &again(common, target));
    }
    let settings = Settings { device: choose(first_rounds(expanded), device, settings.printer)?, ..settings };
    if expanded.is_grid() {
        return grid::run(common, expanded, &settings, grid_args, json, &again(common, target));
    }
    grid::refuse(expanded, grid_args)?;
    run_one(&expanded.points[0].rounds[0], &settings, json)
}

/// Runs one experiment, and prints its score grid or one JSON object.
pub(super) fn run_one(resolved: &ResolvedExperiment, settings: &Settings, json: bool) -> Result<ExitStatus> {
    let latest_before = RunIdentity::of_latest(&settings.runs, &resolved.experiment.name);
    let outcome = run::run(resolved, settings)?;
    if json {
        print_data(&format!("{}\n", summary(&outcome)))?;
    } else if !outcome.record.results.is_empty() {
        print(&ScoreGrid::new(&outcome.record.results, &outcome.record.metric).text())?;
        outcome.record.leaky_split().map_or(Ok(()), |sentence| print(&format!("{sentence}\n")))?;
    }
    print_outcome(&outcome, settings.printer, latest_before);
    Ok(match outcome.record.status {
        Status::TooManyUnusable => ExitStatus::TooManyUnusable,
        Status::Failed => ExitStatus::Failed,
        _ => ExitStatus::Done,
    })
}

/// The object of `--json`.
fn summary(outcome: &RunOutcome) -> Value {
    let status = match outcome.record.status {
        Status::Done => json!("ok"),
        other => json!(other),
    };
    json!({
        "schema": SCHEMA,
        "status": status,
        "run": outcome.path,
        "cache": outcome.record.cache,
        "unusable": outcome.record.data.unusable,
        "results": outcome.record.results,
    })
}

fn print_outcome(outcome: &RunOutcome, printer: Printer, latest_before: Option<RunIdentity>) {
    let (record, path) = (&outcome.record, outcome.path.display());
    let unusable = record.data.unusable;
    if unusable > 0 {
        let all = unusable + record.data.clips;
        let list = unusable_file(&outcome.path);
        printer.message(&format!("{unusable} of {} unusable: see {}", count(all, "recording"), list.display()));
    }
    if record.data.set_aside > 0 {
        printer.message(&format!(
            "{} without exactly one class skipped (`evaluate.task = \"multi_label\"` uses any number)",
            count(record.data.set_aside, "recording")
        ));
    }
    if record.status == Status::TooManyUnusable {
        printer.message("More than `max_unusable` allows: the run counts as failed (exit code 3).");
    }
    // Printed with --quiet too, because an exit code alone explains nothing.
    for (trial, why) in &record.failures {
        eprint_coloured(&format!("error: {trial} failed: {why}"));
    }
    if let Some(why) = &outcome.report_error {
        eprint_coloured(&format!("warning: the run is finished, its report is not: {why}. Next: timbre report {path}"));
    }
    if outcome.reused {
        // A run that computes prints them when it starts.
        record.warnings.iter().for_each(|warning| printer.message(&wrapped(&format!("warning: {warning}"))));
        printer.message(&format!(
            "Already finished on {}; use --fresh to run it again.",
            record.ended.as_deref().unwrap_or("?")
        ));
    }
    let latest = run_dir::latest(outcome.path.parent().unwrap_or(&outcome.path));
    let target = std::fs::canonicalize(&latest).unwrap_or(latest);
    if std::fs::canonicalize(&outcome.path).is_ok_and(|path| path == target) {
        let change = latest_before.and_then(|before| RunIdentity::read(&outcome.path)?.change_since(&before, &[]));
        if let Some(change) = change {
            printer.message(&format!("`latest` of {} now points to a run {change}", record.experiment));
        }
    } else {
        let why = if record.results.is_empty() { "No model of this run can be used" } else { "This run failed" };
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        printer.message(&format!("{why}: `latest` of {} still points to {name}", record.experiment));
    }
    if !record.results.is_empty()
        && let Some(sentence) = outcome.conclusion.clone().or_else(|| run_report::conclusion(&outcome.path).ok())
    {
        printer.message(&wrapped(&sentence));
    }
    let shown = if run_dir::has_report(&outcome.path) {
        outcome.path.join(ReportFile::Html.name())
    } else {
        outcome.path.clone()
    };
    printer.message(&shown.display().to_string());
    match (record.status, inference::default_model(&outcome.path, record)) {
        (Status::Done, Some(_)) => printer.message(&format!("Next: timbre serve {path}")),
        (Status::Done, None) if !run_dir::models(&outcome.path).is_empty() => {
            printer.message(&format!(
                "Next: timbre serve {path}:MODEL (with `split.validation` the run chooses the best)"
            ));
        }
        (Status::Done, None) if !record.results.is_empty() => {
            let name = &record.experiment;
            printer.message(&format!(
                "Next: timbre run {name} --set save_models=true keeps the models, for `timbre serve`"
            ));
        }
        _ => {}
    }
}

/// Draws the features of one recording.
pub fn plot_features(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    clip: &str,
    folder: Option<&Path>,
    format: ImageFormat,
) -> Result<ExitStatus> {
    let experiment = resolve(common, target)?.experiment;
    let (id, features) = feature_plot::of_clip(&experiment, &settings(common, false), clip)?;
    let views: Vec<FeatureView> =
        features.into_iter().map(|PlottedFeature { name, matrix, axes }| FeatureView { name, matrix, axes }).collect();
    let picture = feature_view(&format!("{id}, features of {}", experiment.name), &views).as_file();
    let word: String = id.chars().map(|c| if c.is_alphanumeric() || "-.".contains(c) { c } else { '_' }).collect();
    let name = format!("{}.{word}.{}", experiment.name, format.extension());
    let path = folder.unwrap_or(Path::new("")).join(name);
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    files::write_bytes(&path, &plot::bytes(&picture, format)?)?;
    print(&format!("{}\n", path.display()))?;
    Ok(ExitStatus::Done)
}

pub fn features(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    out: Option<&Path>,
    format: FeatureFormat,
    pool: &ThreadArgs,
) -> Result<ExitStatus> {
    let expanded = expand_grid(common, target)?;
    if expanded.is_grid() && out.is_some() {
        bail!(UserError::usage(
            "`--out` needs one experiment, and this is a grid: fix its axes with `--set`, or leave `--out` out"
                .to_owned()
        ));
    }
    let settings = settings(common, false);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let (cache, unusable) = if expanded.is_grid() {
        crate::execution::sweep::only_features(&expanded, &settings)?
    } else {
        run::features(&expanded.points[0].rounds[0].experiment, &settings, out.map(|out| (out, format)))?
    };
    print(&format!(
        "{} computed, {} found in the cache, {}\n",
        count(cache.misses, "feature"),
        cache.hits,
        count(unusable, "unusable recording")
    ))?;
    match out {
        Some(out) => settings.printer.message(&format!("written to {}", out.display())),
        None => settings.printer.message(&format!("Next: timbre run {}", again(common, target))),
    }
    Ok(ExitStatus::Done)
}
