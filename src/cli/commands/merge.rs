//! `timbre merge` and `timbre collect`, and `timbre features --shard` and `timbre run --only-trial`, whose work it brings together.

use anyhow::Result;

use super::{
    ExitStatus, again, device, expand_grid, listen_for_signals, print, print_data, run, settings, start_threads,
};
use crate::cli::args::{CollectArgs, ExperimentArgs, GlobalArgs, GridArgs, MergeArgs, PartsArgs, ThreadArgs};
use crate::execution::run::Settings;
use crate::execution::scale_out::merge::{Merged, merge as merge_parts};
use crate::execution::scale_out::shard::{Shard, array_spec};
use crate::execution::scale_out::{
    collect::collect as collect_trials, feature_plan, features, manifest::PartsFolder, trials,
};
use timbre_core::text::count;
use timbre_experiment::ExpandedGrid;
use timbre_models::device::DeviceChoice;

pub fn merge(common: &GlobalArgs, args: &MergeArgs) -> Result<ExitStatus> {
    let grid = expand_grid(common, &args.target)?;
    let settings = settings(common, false);
    start_threads(&args.pool)?;
    listen_for_signals(&settings.stop)?;
    if args.trials {
        let all_points = GridArgs { at_once: 1, ..GridArgs::default() };
        if let Some(missing) = missing_trials(&grid, &settings, &again(common, &args.target))? {
            return Ok(missing);
        }
        return run::run_expanded(common, &args.target, &grid, settings, args.device, false, &all_points);
    }
    let folder = PartsFolder::new(args.parts.parts.as_deref(), &settings, &grid.name);
    match merge_parts(&grid, &settings, &folder)? {
        Merged::Missing { shards, of, why } => {
            print_data(&format!("{}\n", array_spec(&shards)))?;
            for (shard, why) in why {
                settings.printer.message(&format!("shard {shard}: {why}"));
            }
            settings.printer.message(&format!(
                "{} of {of} missing in {}",
                count(shards.len(), "shard"),
                folder.path().display()
            ));
            Ok(ExitStatus::SomeFailed)
        }
        Merged::Done { parts, records, taken, unusable, left } => {
            print(&format!(
                "{}: {}, {} of them new, {}\n",
                count(parts, "part"),
                count(records, "record"),
                taken,
                count(unusable, "unusable recording")
            ))?;
            if left > 0 {
                settings.printer.message(&format!(
                    "{} of recordings that replace unusable ones, or are in another subset without them, are in no part: the run computes them",
                    count(left, "feature")
                ));
            }
            settings.printer.message(&format!("Next: timbre run {}", again(common, &args.target)));
            Ok(ExitStatus::Done)
        }
    }
}

pub fn collect(common: &GlobalArgs, args: &CollectArgs) -> Result<ExitStatus> {
    let grid = expand_grid(common, &args.target)?;
    let settings = settings(common, false);
    listen_for_signals(&settings.stop)?;
    let done = collect_trials(&grid, &settings, &args.folders)?;
    for (trial, run) in &done.taken {
        settings.printer.message(&format!("{trial}: from {}", run.display()));
    }
    for trial in &done.missing {
        print_data(&format!("{trial}\n"))?;
    }
    let again = again(common, &args.target);
    let next = match done.missing.len() {
        0 => format!("Next: timbre merge {again} --trials"),
        missing => format!(
            "{} missing: no run in these folders has them with this configuration and these recordings (`timbre run {again} --only-trial ID` runs one)",
            count(missing, "trial")
        ),
    };
    settings.printer.message(&format!("{} copied", count(done.taken.len(), "trial")));
    settings.printer.message(&next);
    Ok(if done.missing.is_empty() { ExitStatus::Done } else { ExitStatus::SomeFailed })
}

/// Prints the trials that are not finished, if there are any.
fn missing_trials(grid: &ExpandedGrid, settings: &Settings, again: &str) -> Result<Option<ExitStatus>> {
    trials::ensure_all_are_known(grid)?;
    let points = feature_plan::load(grid, settings, None)?;
    let missing = trials::unfinished(&points, settings);
    if missing.is_empty() {
        return Ok(None);
    }
    for (point, trial) in &missing {
        print_data(&format!("{}\n", trials::trial_id(grid, point.number, trial)))?;
    }
    settings.printer.message(&format!(
        "{} missing: `timbre run {again} --only-trial ID` runs one, and without --only-trial all of them",
        count(missing.len(), "trial"),
    ));
    Ok(Some(ExitStatus::SomeFailed))
}

/// `timbre features --shard`.
pub fn shard(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    shard: Shard,
    parts: &PartsArgs,
    pool: &ThreadArgs,
) -> Result<ExitStatus> {
    let grid = expand_grid(common, target)?;
    let settings = settings(common, false);
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let folder = PartsFolder::new(parts.parts.as_deref(), &settings, &grid.name);
    let done = features::compute(&grid, &settings, shard, &folder)?;
    let manifest = &done.manifest;
    let recordings = manifest.inputs.iter().map(Vec::len).max().unwrap_or(0);
    print(&format!(
        "shard {shard}: {}, {}, {}, {}\n",
        count(recordings, "recording"),
        count(manifest.part.rows, "record"),
        match done.skipped {
            true => format!("finished before by {}", manifest.attempt),
            false => format!("{} computed", count(manifest.computed, "feature")),
        },
        count(manifest.unusable.len(), "unusable recording")
    ))?;
    settings.printer.message(&folder.manifest_path(manifest.shard).display().to_string());
    Ok(ExitStatus::Done)
}

/// `timbre run --only-trial`.
pub fn only_trial(
    common: &GlobalArgs,
    target: &ExperimentArgs,
    pool: &ThreadArgs,
    device: DeviceChoice,
    id: &str,
) -> Result<ExitStatus> {
    let grid = expand_grid(common, target)?;
    let settings = settings(common, false);
    let settings =
        Settings { device: device::choose(device::first_rounds(&grid), device, settings.printer)?, ..settings };
    start_threads(pool)?;
    listen_for_signals(&settings.stop)?;
    let done = trials::run_one(&grid, &settings, id)?;
    let word = if done.finished_before { "finished before" } else { "finished" };
    print(&format!("{id}: {word} in {}\n", done.run.display()))?;
    Ok(ExitStatus::Done)
}
