//! `timbre run` of an experiment with a grid.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Ended, print};
use crate::cli::OfGrid;
use crate::experiment::Declared;
use crate::grid::state::{GridStatus, PointRecord, PointStatus, SCHEMA};
use crate::grid::telling::{counted, tell_failures, tell_missing_reports};
use crate::grid::{self, GridOutcome, How, NotThisGrid, table};
use crate::precompute::Stopped;
use crate::run_dir;
use crate::runner::Settings;

pub fn run(declared: &Declared, settings: &Settings, of_grid: &OfGrid, as_json: bool, again: &str) -> Result<Ended> {
    let how = How {
        fail_fast: of_grid.fail_fast,
        retry_failed: of_grid.retry_failed,
        only: of_grid.only.clone(),
        at_once: usize::from(of_grid.at_once),
    };
    let outcome = match grid::run(declared, settings, &how) {
        Err(error) if error.is::<Stopped>() => {
            settings.show.say(&format!("stopped\nNext: timbre run {again}"));
            return Ok(Ended::Stopped);
        }
        outcome => outcome?,
    };
    let record = &outcome.record;
    if as_json {
        print(&format!("{}\n", summary(&outcome)))?;
    } else {
        print(&table::text(record))?;
    }
    let failed: Vec<&PointRecord> = record.points.iter().filter(|p| p.status == PointStatus::Failed).collect();
    // Once more at the end, where they are seen; also with --quiet.
    tell_failures(failed.iter().copied(), record.points.len());
    tell_missing_reports(&outcome.no_report);
    settings.show.say(&format!("{}\n{}", sentence(&outcome), outcome.home.table().display()));
    settings.show.say(&match (failed.is_empty(), record.waiting()) {
        // A halving has no --retry-failed: it chooses anew.
        (false, _) if record.halving.is_some() => format!("Next: timbre run {again}"),
        (false, _) => format!("Next: timbre run {again} --retry-failed"),
        (true, 0) => format!("Next: timbre compare {}", settings.runs.join(&declared.name).display()),
        (true, _) => format!("Next: timbre run {again}"),
    });
    Ok(if !failed.is_empty() {
        Ended::SomeFailed
    } else if record.count(PointStatus::TooManyUnusable) > 0 {
        Ended::TooManyUnusable
    } else {
        Ended::Done
    })
}

/// How it stands: `3 of 4 points are done, 1 failed; 2 were run now`.
fn sentence(outcome: &GridOutcome) -> String {
    let record = &outcome.record;
    let (failed, waiting) = (record.count(PointStatus::Failed), record.waiting());
    let mut text = format!("{} of {} done", record.finished(), counted(record.expected()));
    if failed > 0 {
        text += &format!(", {failed} failed");
    }
    if waiting > 0 {
        text += &format!(", {waiting} not run");
    }
    text + &match outcome.ran {
        0 => "; none was run now".to_owned(),
        1 => "; 1 was run now".to_owned(),
        ran => format!("; {ran} were run now"),
    }
}

/// Options of grids are no options of a single run.
pub fn refuse(declared: &Declared, of_grid: &OfGrid) -> Result<()> {
    let given = [
        ("--fail-fast", of_grid.fail_fast),
        ("--keep-going", of_grid.keep_going),
        ("--retry-failed", of_grid.retry_failed),
        ("--only", !of_grid.only.is_empty()),
        ("--at-once", of_grid.at_once > 1),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!(NotThisGrid(format!("{option}: `{}` has no [grid]", declared.name))),
        None => Ok(()),
    }
}

/// The one object of `--json`.
fn summary(outcome: &GridOutcome) -> Value {
    let record = &outcome.record;
    let status = match record.status {
        GridStatus::Done => json!("ok"),
        other => json!(other),
    };
    let no_report = |point: &PointRecord| {
        let of_point = outcome.no_report.iter().find(|of| of.round == point.round && of.name == point.name);
        of_point.map(|of| of.why.as_str())
    };
    let point = |point: &PointRecord| {
        let run = point.run.as_ref().filter(|_| point.status.is_final());
        let results = run.and_then(|run| run_dir::read_record(run).ok()).map(|run| run.results);
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
        "grid": outcome.home.file(),
        "table": outcome.home.table(),
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
