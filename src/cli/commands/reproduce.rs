//! `timbre reproduce`: repeat a finished run and compare its numbers.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::device::choose;
use super::{ExitStatus, listen_for_signals, print, print_data, settings, start_threads};
use crate::cli::args::{GlobalArgs, ReproduceArgs};
use crate::execution::reproduce::{Reproduction, StoredRun};
use crate::execution::run::Settings;
use timbre_core::error::UserError;
use timbre_models::device::DeviceChoice;
use timbre_runs::{
    run_dir::{self, SCHEMA},
    tables::aligned,
};

pub fn reproduce(common: &GlobalArgs, args: &ReproduceArgs) -> Result<ExitStatus> {
    let run = run_dir::find(&common.runs, &args.run)?;
    let stored = StoredRun::read(&run, root(common)?.as_deref())?;
    let settings = settings(common, true);
    // A GPU would only approximate the numbers of the CPU.
    let device = args.device.unwrap_or(if stored.device() == "cpu" { DeviceChoice::Cpu } else { DeviceChoice::Auto });
    let device = choose(std::iter::once(stored.experiment()), device, settings.printer)?;
    start_threads(&args.pool)?;
    listen_for_signals(&settings.stop)?;
    let on_cpu = device.is_cpu() && stored.device() == "cpu";
    let (stored, folder) = match &args.into {
        Some(_) => (stored, None),
        None => (
            stored.without_models(),
            Some(tempfile::tempdir().context("cannot create a temporary folder: pass one with --into")?),
        ),
    };
    let runs =
        args.into.clone().or(folder.as_ref().map(|folder| folder.path().to_owned())).expect("one of them is there");
    let outcome = stored.rerun(&Settings { runs, device, ..settings.clone() })?;
    let equal = outcome.comparison.within(args.tolerance);
    if args.json {
        print_data(&format!("{}\n", object(&run.display().to_string(), &outcome, args)))?;
    } else {
        print(&text(&outcome, args.tolerance))?;
    }
    if !equal && !on_cpu {
        settings.printer.message("GPU results vary from run to run: set the accepted difference with --tolerance.");
    }
    Ok(if equal { ExitStatus::Done } else { ExitStatus::Regression })
}

/// The new location of the data: the only key that may be set here.
fn root(common: &GlobalArgs) -> Result<Option<String>> {
    let mut root = None;
    for set in &common.set {
        let Some(value) = set.strip_prefix("data.root=") else {
            let sentence = format!("`--set {set}` would change the run: only data.root can be set here");
            return Err(UserError::usage(sentence).into());
        };
        root = Some(value.trim_matches(['"', '\'']).to_owned());
    }
    Ok(root)
}

fn text(outcome: &Reproduction, tolerance: f64) -> String {
    let numbers = &outcome.comparison;
    let mut text = match (outcome.same_bytes, numbers.within(tolerance)) {
        (true, _) => format!("The same: results.csv has the same bytes ({} numbers).\n", numbers.compared),
        (false, true) if numbers.largest.is_empty() => {
            format!("The same: all {} numbers of results.csv are equal, its bytes are not.\n", numbers.compared)
        }
        (false, true) => format!("The same within {tolerance}: {} numbers of results.csv.\n", numbers.compared),
        (false, false) => format!("Not the same: of {} numbers of results.csv some differ.\n", numbers.compared),
    };
    for (only, when) in [(&numbers.only_then, "then"), (&numbers.only_now, "now")] {
        only.iter().for_each(|what| text += &format!("only {when}: {what}\n"));
    }
    if !numbers.largest.is_empty() {
        let head = ["metric", "row", "then", "now", "largest difference", "cells"].map(str::to_owned).to_vec();
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| value.to_string());
        let line = |l: &crate::execution::reproduce::ColumnDifference| {
            let difference = format!("{:.3e}", l.difference);
            vec![l.metric.clone(), l.row.clone(), number(l.then), number(l.now), difference, l.cells.to_string()]
        };
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(numbers.largest.iter().map(line)).collect();
        text += &format!("\n{}\n", aligned(&lines, 2));
    }
    text +=
        if outcome.environment.is_empty() { "The environment is the same.\n" } else { "The environment differs:\n" };
    for (name, then, now) in &outcome.environment {
        text += &format!("  {name}: {} | {}\n", shown(then), shown(now));
    }
    text
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The object of `--json`.
fn object(run: &str, outcome: &Reproduction, args: &ReproduceArgs) -> Value {
    let numbers = &outcome.comparison;
    let finite = |value: f64| value.is_finite().then_some(value);
    let largest: Vec<Value> = numbers
        .largest
        .iter()
        .map(|l| {
            json!({ "metric": l.metric, "row": l.row, "then": l.then, "now": l.now, "difference": finite(l.difference), "cells": l.cells })
        })
        .collect();
    let environment: serde_json::Map<String, Value> =
        outcome.environment.iter().map(|(name, then, now)| (name.clone(), json!([then, now]))).collect();
    json!({
        "schema": SCHEMA,
        "status": if numbers.within(args.tolerance) { "same" } else { "differs" },
        "run": run,
        // A temporary folder is removed before this can be read.
        "again": args.into.as_ref().map(|_| &outcome.new_run),
        "same_bytes": outcome.same_bytes,
        "tolerance": args.tolerance,
        "compared": numbers.compared,
        "largest": largest,
        "only_then": numbers.only_then,
        "only_now": numbers.only_now,
        "environment": environment,
    })
}
