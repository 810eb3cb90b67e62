//! `timbre run` and `timbre features`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Ended, again, declare, grid, listen_for_signals, print, settings, start_threads};
use crate::cli::{Common, OfGrid, Pool, Target};
use crate::experiment::{Declared, Experiment};
use crate::models::device::{Device, DeviceChoice, NoDevice};
use crate::progress::{Show, tell};
use crate::run_dir::{SCHEMA, Status};
use crate::runner::{self, RunOutcome, Settings};
use crate::tables::Grid;

pub fn run(
    common: &Common,
    target: &Target,
    pool: &Pool,
    device: DeviceChoice,
    json: bool,
    fresh: bool,
    of_grid: &OfGrid,
) -> Result<Ended> {
    let declared = declare(common, target)?;
    let settings = settings(common, fresh);
    let settings = Settings { device: choose(first_rounds(&declared), device, settings.show)?, ..settings };
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    if declared.is_grid() {
        return grid::run(&declared, &settings, of_grid, json, &again(common, target));
    }
    grid::refuse(&declared, of_grid)?;
    let outcome = runner::run(&declared.points[0].rounds[0], &settings)?;
    if json {
        print(&format!("{}\n", summary(&outcome)))?;
    } else {
        print(&Grid::new(&outcome.record.results, &outcome.record.metric).text())?;
    }
    say_the_end(&outcome, settings.show);
    Ok(match outcome.record.status {
        Status::TooManyUnusable => Ended::TooManyUnusable,
        Status::Failed => Ended::Unexpected,
        _ => Ended::Done,
    })
}

fn first_rounds(declared: &Declared) -> impl Iterator<Item = &Experiment> {
    declared.points.iter().map(|point| &point.rounds[0].experiment)
}

/// The device for the networks of an experiment, or of many. Without networks nothing is opened, unless a GPU is asked for by name: then
/// it is there, or this is an error.
pub(super) fn choose<'a>(
    mut experiments: impl Iterator<Item = &'a Experiment>,
    device: DeviceChoice,
    show: Show,
) -> Result<Device, NoDevice> {
    let is_network = |experiment: &Experiment| experiment.models.values().any(|spec| spec.as_kind().is_network());
    let has_networks = experiments.any(is_network);
    let is_named = matches!(device, DeviceChoice::Gpu(..));
    if !has_networks && !is_named {
        return Ok(Device::cpu());
    }
    let chosen = device.choose()?;
    if has_networks {
        show.say(&chosen.sentence);
    } else {
        show.say(&format!("no model is a network: all compute on the CPU, none on {device}"));
    }
    Ok(chosen.device)
}

/// The one object of `--json`.
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

fn say_the_end(outcome: &RunOutcome, show: Show) {
    let (record, path) = (&outcome.record, outcome.path.display());
    let unusable = record.data.unusable;
    if unusable > 0 {
        let all = unusable + record.data.clips;
        show.say(&format!("{unusable} of {all} recordings could not be used: see {path}/unusable.jsonl"));
    }
    if record.data.set_aside > 0 {
        show.say(&format!("{} recordings carry several labels and were left aside", record.data.set_aside));
    }
    if record.status == Status::TooManyUnusable {
        show.say("That is more than `max_unusable` allows: the run counts as failed (code 3).");
    }
    // Also with --quiet: an exit code alone explains nothing.
    for (unit, why) in &record.failures {
        tell(&format!("timbre: {unit} failed: {why}"));
    }
    if let Some(why) = &outcome.no_report {
        tell(&format!("timbre: the run is finished, its report is not: {why}. Next: timbre report {path}"));
    }
    if outcome.reused {
        show.say(&format!(
            "This very run was finished on {}; --fresh runs it again.",
            record.ended.as_deref().unwrap_or("?")
        ));
    }
    show.say(&format!("{path}\nNext: timbre compare {path}"));
}

pub fn features(common: &Common, target: &Target, pool: &Pool) -> Result<Ended> {
    let declared = declare(common, target)?;
    let settings = settings(common, false);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let (cache, unusable) = if declared.is_grid() {
        crate::grid::only_features(&declared, &settings)?
    } else {
        runner::features(&declared.points[0].rounds[0].experiment, &settings)?
    };
    print(&format!(
        "{} features computed, {} found in the cache, {unusable} recordings unusable\n",
        cache.misses, cache.hits
    ))?;
    settings.show.say(&format!("Next: timbre run {}", again(common, target)));
    Ok(Ended::Done)
}
