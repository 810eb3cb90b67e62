//! `timbre run` of an experiment with a `[grid]`.

use std::fs;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::device::{choose, first_rounds};
use super::latest::{RunIdentity, SweepIdentity};
use super::report::known;
use super::{ExitStatus, arguments_text, print, print_data};
use crate::cli::args::{GlobalArgs, GridArgs};
use crate::execution::run::Settings;
use crate::execution::sweep::failures::{print_failures, print_missing_reports};
use crate::execution::sweep::{self, SweepOptions, SweepOutcome};
use timbre_core::{cancel::Cancelled, error::UserError, progress::Printer, text::count};
use timbre_experiment::ExpandedGrid;
use timbre_models::device::DeviceChoice;
use timbre_reports::{run_report, sweep_report};
use timbre_runs::{
    run_dir::{self, ReportFile},
    sweep_record::{PointRecord, PointStatus, SCHEMA, SweepDir, SweepRecord, SweepStatus},
    sweep_table,
};

pub fn run(
    common: &GlobalArgs,
    expanded: &ExpandedGrid,
    settings: &Settings,
    grid_args: &GridArgs,
    as_json: bool,
    again: &str,
) -> Result<ExitStatus> {
    let devices = match grid_args.devices.as_slice() {
        [] => vec![settings.device.clone(); usize::from(grid_args.at_once)],
        chosen => {
            let choose = |&device: &DeviceChoice| choose(first_rounds(expanded), device, settings.printer);
            chosen.iter().map(choose).collect::<Result<_, _>>()?
        }
    };
    let how = SweepOptions {
        fail_fast: grid_args.fail_fast,
        retry_failed: grid_args.retry_failed,
        only: grid_args.only.clone(),
        devices,
    };
    let before = SweepIdentity::read(&SweepDir::new(&settings.runs, &expanded.name));
    let latest_before = RunIdentity::of_latest(&settings.runs, &expanded.name);
    let outcome = match sweep::run(expanded, settings, &how) {
        Err(error) if error.is::<Cancelled>() => {
            settings.printer.message(&format!("stopped\nNext: timbre run {again}"));
            return Ok(ExitStatus::Stopped);
        }
        outcome => outcome?,
    };
    let record = &outcome.record;
    let rows = sweep_table::rows(record);
    if as_json {
        print_data(&format!("{}\n", summary(&outcome)))?;
    } else {
        print(&sweep_table::text(record, &rows))?;
    }
    let failed: Vec<&PointRecord> = record.points.iter().filter(|p| p.status == PointStatus::Failed).collect();
    // Repeated at the end, where they are seen; with --quiet too.
    print_failures(failed.iter().copied(), record.points.len());
    print_missing_reports(&outcome.missing_reports);
    settings.printer.message(&format!("{}\n{}", sentence(&outcome), outcome.sweep_dir.table().display()));
    match sweep_report::write(&outcome.sweep_dir, record, &rows) {
        Ok(()) => settings.printer.message(&outcome.sweep_dir.report().display().to_string()),
        Err(error) => settings.printer.message(&format!("warning: the report could not be written: {error:#}")),
    }
    if let Some(best) = best_point(record) {
        settings.printer.message(&best);
        write_best_report(common, record, settings.printer);
    }
    print_changes(common, &outcome, before, latest_before, settings.printer);
    settings.printer.message(&match (failed.is_empty(), record.waiting()) {
        // Successive halving has no --retry-failed: it selects points again.
        (false, _) if record.halving.is_some() => format!("Next: timbre run {again}"),
        (false, _) => format!("Next: timbre run {again} --retry-failed"),
        // Most points have no run to compare.
        (true, 0) if record.points.iter().any(|point| point.rescored) => {
            format!("Next: open {}", outcome.sweep_dir.report().display())
        }
        (true, 0) => format!("Next: timbre compare {}", settings.runs.join(&expanded.name).display()),
        (true, _) => format!("Next: timbre run {again}"),
    });
    Ok(if !failed.is_empty() || outcome.missing > 0 {
        ExitStatus::SomeFailed
    } else if record.count(PointStatus::TooManyUnusable) > 0 {
        ExitStatus::TooManyUnusable
    } else {
        ExitStatus::Done
    })
}

/// Says if the table or `latest` of the experiment passed to runs on other data or of another configuration.
fn print_changes(
    common: &GlobalArgs,
    outcome: &SweepOutcome,
    before: Option<SweepIdentity>,
    latest_before: Option<RunIdentity>,
    printer: Printer,
) {
    let (Some(now), name) = (SweepIdentity::of(&outcome.record), &outcome.record.experiment) else { return };
    if let Some((before, change)) = before.and_then(|before| now.change_since(&before).map(|change| (before, change))) {
        let earlier = before.record();
        let again = earlier.arguments.as_ref().filter(|_| earlier.experiment == *name);
        let again = again.map_or("the same command as before".to_owned(), |arguments| {
            format!("timbre run {}", arguments_text(common, arguments))
        });
        printer.message(&format!(
            "The table of {name} now has runs {change}. The earlier runs are kept; this writes their table again: {again}"
        ));
    }
    if let Some(change) = latest_before.and_then(|before| now.latest_change(outcome.sweep_dir.runs(), &before)) {
        printer.message(&format!("`latest` of {name} now points to a run {change}"));
    }
}

/// The best point on the validation split, and the options that select it.
fn best_point(record: &SweepRecord) -> Option<String> {
    let (best, score) = record.best_on_validation()?;
    Some(format!(
        "Best of {} on the validation split: point {}, {score}.{}\n  {}",
        count(record.last_round().count(), "point"),
        best.number,
        record.tie_for_best(),
        best.set_options()
    ))
}

/// Writes the report of the best point again, with spectrograms and players, unless it has them: the points have reports without them.
fn write_best_report(common: &GlobalArgs, record: &SweepRecord, printer: Printer) {
    let Some(run) = record.best_on_validation().and_then(|(best, _)| best.run.clone()) else { return };
    let report = fs::read_to_string(run.join(ReportFile::Html.name())).unwrap_or_default();
    if !report.contains(run_report::WITHOUT_MEDIA) {
        return;
    }
    let known = known(common, &run);
    if let Err(error) = run_report::write(&run, true, &|id| known.get(id).cloned()) {
        printer.message(&format!("warning: {error:#}"));
    }
}

/// A summary: `3 of 4 points done, 1 failed (2 new)`.
fn sentence(outcome: &SweepOutcome) -> String {
    let record = &outcome.record;
    let (failed, waiting) = (record.count(PointStatus::Failed), record.waiting());
    let mut text = format!("{} of {} done", record.finished(), count(record.expected(), "point"));
    if failed > 0 {
        text += &format!(", {failed} failed");
    }
    if waiting > 0 {
        text += &format!(", {waiting} not run");
    }
    text + &format!(" ({} new)", outcome.ran)
}

/// Refuses grid options for an experiment without a grid.
pub fn refuse(expanded: &ExpandedGrid, grid_args: &GridArgs) -> Result<()> {
    let given = [
        ("--fail-fast", grid_args.fail_fast),
        ("--keep-going", grid_args.keep_going),
        ("--retry-failed", grid_args.retry_failed),
        ("--only", !grid_args.only.is_empty()),
        ("--at-once", grid_args.at_once > 1),
        ("--devices", !grid_args.devices.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!(UserError::usage(format!("{option}: `{}` has no [grid]", expanded.name))),
        None => Ok(()),
    }
}

/// The object of `--json`.
fn summary(outcome: &SweepOutcome) -> Value {
    let record = &outcome.record;
    let status = match record.status {
        SweepStatus::Done => json!("ok"),
        other => json!(other),
    };
    let no_report = |point: &PointRecord| {
        let of_point = outcome.missing_reports.iter().find(|of| of.round == point.round && of.name == point.name);
        of_point.map(|of| of.why.as_str())
    };
    let point = |point: &PointRecord| {
        let run = point.run.as_ref().filter(|_| point.status.is_final());
        let results = match point.rescored {
            true => Some(point.results.clone()),
            false => run.and_then(|run| run_dir::read_record(run).ok()).map(|run| run.results),
        };
        json!({
            "point": point.number, "round": point.round, "budget": point.budget, "values": point.values,
            "status": point.status, "run": point.run, "signature": point.signature, "why": point.why,
            "seconds": point.seconds, "score": point.score, "results": results.unwrap_or_default(),
            "no_report": no_report(point),
        })
    };
    json!({
        "schema": SCHEMA,
        "status": status,
        "grid": outcome.sweep_dir.file(),
        "table": outcome.sweep_dir.table(),
        "axes": record.axes,
        "halving": record.halving,
        "counts": {
            "points": record.points.len(),
            "done": record.finished(),
            "failed": record.count(PointStatus::Failed),
            "waiting": record.waiting(),
            "ran": outcome.ran,
        },
        "points": record.points.iter().map(point).collect::<Vec<_>>(),
    })
}
