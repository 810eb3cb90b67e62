//! `timbre run` of an experiment with a grid.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Ended, print};
use crate::cli::OfGrid;
use crate::experiment::Declared;
use crate::grid::state::{GridStatus, PointRecord, PointStatus, SCHEMA};
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
    if !failed.is_empty() {
        eprintln!("timbre: {} of {} points failed:", failed.len(), record.points.len());
        for point in &failed {
            eprintln!("  {}: {}", point.name, point.why.as_deref().unwrap_or("?"));
            point.run.iter().for_each(|run| eprintln!("    its log: {}", run_dir::log_file(run).display()));
        }
    }
    let waiting = record.count(PointStatus::Waiting);
    let there = record.points.iter().filter(|point| point.status.is_final()).count();
    settings.show.say(&format!(
        "{there} of {} points are done ({} run now){}\n{}",
        record.points.len(),
        outcome.ran,
        if waiting > 0 { format!(", {waiting} were not run") } else { String::new() },
        outcome.home.table().display()
    ));
    settings.show.say(&match (failed.is_empty(), waiting) {
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
    let point = |point: &PointRecord| {
        let run = point.run.as_ref().filter(|_| point.status.is_final());
        let results = run.and_then(|run| run_dir::read_record(run).ok()).map(|run| run.results);
        json!({
            "point": point.number, "round": point.round, "budget": point.budget, "values": point.values,
            "status": point.status, "run": point.run, "signature": point.signature, "why": point.why,
            "seconds": point.seconds, "score": point.score, "results": results.unwrap_or_default(),
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
            "done": record.points.iter().filter(|point| point.status.is_final()).count(),
            "failed": record.count(PointStatus::Failed),
            "waiting": record.count(PointStatus::Waiting),
            "ran": outcome.ran,
        },
        "points": record.points.iter().map(point).collect::<Vec<_>>(),
    })
}
