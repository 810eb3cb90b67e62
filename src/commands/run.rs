//! `timbre run` and `timbre features`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Ended, again, listen_for_signals, print, resolve, settings, start_threads};
use crate::cli::{Common, Device, Pool, Target};
use crate::progress::Show;
use crate::run_dir::{SCHEMA, Status};
use crate::runner::{self, RunOutcome};
use crate::tables::Grid;

pub fn run(common: &Common, target: &Target, pool: &Pool, device: Device, json: bool, fresh: bool) -> Result<Ended> {
    let resolved = resolve(common, target)?;
    if matches!(device, Device::Cuda | Device::Wgpu) {
        eprintln!("timbre: no model of this version computes on a GPU: leave --device out, or say --device cpu");
        return Ok(Ended::Usage);
    }
    let settings = settings(common, fresh);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let outcome = runner::run(&resolved, &settings)?;
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
        eprintln!("timbre: {unit} failed: {why}");
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
    let resolved = resolve(common, target)?;
    let settings = settings(common, false);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let (cache, unusable) = runner::features(&resolved.experiment, &settings)?;
    print(&format!(
        "{} features computed, {} found in the cache, {unusable} recordings unusable\n",
        cache.misses, cache.hits
    ))?;
    settings.show.say(&format!("Next: timbre run {}", again(common, target)));
    Ok(Ended::Done)
}
