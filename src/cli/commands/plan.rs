//! `timbre check` and `timbre plan`: show what a run would compute, without computing it.
//!
//! Both list and hash the recordings, and generate a missing demo set.

use anyhow::Result;
use serde_json::json;

use super::{ExitStatus, again, expand_grid, print, resolve, settings};
use crate::cli::args::{ExperimentArgs, GlobalArgs};
use crate::execution::run::prepare::PreparedDataset;
use crate::execution::run::trials_of;
use crate::execution::sweep;
use timbre_core::text::thousands;
use timbre_experiment::{members::ENSEMBLE_FEATURES, shapes};
use timbre_inputs::{data::MissingData, features::extraction::Extraction};
use timbre_models::networks::{InputShape, LayerRow};
use timbre_runs::{run_dir::Trial, tables::aligned};

pub fn check(common: &GlobalArgs, target: &ExperimentArgs) -> Result<ExitStatus> {
    match plan(common, target, false) {
        // The file is valid. Missing recordings are worth a message but are not an error of the file.
        Err(error) if error.is::<MissingData>() => {
            print(&format!("`{}` is valid.\n{error}\n", target.experiment))?;
            Ok(ExitStatus::Done)
        }
        other => other,
    }
}

pub fn plan(common: &GlobalArgs, target: &ExperimentArgs, as_json: bool) -> Result<ExitStatus> {
    let expanded = expand_grid(common, target)?;
    let settings = settings(common, false);
    if expanded.is_grid() {
        let plan = sweep::plan::plan(&expanded, &settings)?;
        print(&if as_json { format!("{}\n", plan.json()) } else { plan.text() })?;
        settings.printer.message(&format!("Next: timbre run {}", again(common, target)));
        return Ok(ExitStatus::Done);
    }
    let experiment = &expanded.points[0].rounds[0].experiment;
    let dataset = PreparedDataset::new(experiment, &settings)?;
    let extraction = Extraction::new(&experiment.audio, &experiment.features, experiment.evaluate.windows())?;
    let (hits, misses) = dataset.count_cached(experiment, &extraction, &settings.feature_cache()?)?;
    let units: Vec<Trial> = trials_of(experiment);
    let chosen = dataset.expected_clips(experiment);
    let clips = chosen.len();
    for &seed in &experiment.seeds {
        dataset.split(experiment, &chosen, seed)?;
    }
    let signature = dataset.signature(experiment);
    if as_json {
        let plan = json!({
            "schema": timbre_runs::run_dir::SCHEMA,
            "experiment": experiment.name,
            "signature": signature,
            "data": dataset.set.name,
            "classes": dataset.set.classes,
            "clips": clips,
            "cache": { "hits": hits, "misses": misses },
            "units": units.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        print(&format!("{plan}\n"))?;
        return Ok(ExitStatus::Done);
    }
    let mut text = format!("`{}` is valid. A run would:\n", experiment.name);
    text += &format!("  read     {clips} clips of `{}` in {} classes", dataset.set.name, dataset.set.classes.len());
    if dataset.set_aside > 0 {
        text += &format!(" (skipping {} with several labels)", dataset.set_aside);
    }
    text += &format!("\n  compute  {misses} features ({hits} in the cache): {}\n", list(extraction.names()));
    if !experiment.augment.is_empty() {
        text += &format!(
            "  augment  training clips of networks: {}\n",
            list(experiment.augment.iter().map(|spec| spec.name()))
        );
    }
    let (fused, fitted): (Vec<&Trial>, Vec<&Trial>) = units.iter().partition(|unit| unit.features == ENSEMBLE_FEATURES);
    for (word, units) in [("fit ", fitted), ("fuse", fused)].into_iter().filter(|(_, units)| !units.is_empty()) {
        let names: Vec<String> = units.iter().map(ToString::to_string).collect();
        text += &format!("  {word}     {} models: {}\n", units.len(), list(names.iter().map(String::as_str)));
    }
    text += &format!(
        "  write    {}\n",
        settings.runs.join(&experiment.name).join(format!("<time>-{}", &signature[..8])).display()
    );
    print(&text)?;
    settings.printer.message(&format!("Next: timbre run {}", again(common, target)));
    Ok(ExitStatus::Done)
}

/// `timbre run --dry-run`: prints the plan, and the layers of each network on each feature.
pub fn dry_run(common: &GlobalArgs, target: &ExperimentArgs) -> Result<ExitStatus> {
    let ended = plan(common, target, false)?;
    let resolved = resolve(common, target)?;
    let experiment = &resolved.experiment;
    let settings = settings(common, false);
    let classes = experiment.data.as_kind().load(&settings.data_dirs())?.classes.len();
    for (model, spec) in &experiment.models {
        let Some(network) = spec.as_kind().as_network() else { continue };
        for (name, feature) in &experiment.features {
            if spec.as_kind().features().0.as_ref().is_some_and(|chosen| !chosen.contains(name)) {
                continue;
            }
            let title = format!("\n{name}.{model}: {} of {classes} classes", spec.kind());
            let Some(input) = shapes::feature_shape(&experiment.audio, feature) else {
                print(&format!(
                    "{title}: the input has the length of each recording (audio.clip_seconds is not set)\n"
                ))?;
                continue;
            };
            print(&format!("{title}\n{}", layer_table(input, &network.layers(input, classes)?)))?;
        }
    }
    Ok(ended)
}

/// The table of layers, from the input down, with totals in the last row.
fn layer_table(input: InputShape, layers: &[LayerRow]) -> String {
    let line = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
    let shape = |sizes: &[usize]| sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let mut lines = vec![line(["layer", "type", "output", "parameters", "multiply-adds"])];
    lines.push(line(["input", "", &shape(&[input.channels, input.height, input.width]), "", ""]));
    for row in layers {
        let (parameters, work) = (count(row.parameters), count(row.multiply_adds));
        lines.push(line([&row.name, &row.kind, &shape(&row.output), &parameters, &work]));
    }
    let sum = |of: fn(&LayerRow) -> u64| count(layers.iter().map(of).sum());
    lines.push(line(["total", "", "", &sum(|row| row.parameters), &sum(|row| row.multiply_adds)]));
    aligned(&lines, 3)
}

/// `11,175,883`; empty for 0.
fn count(number: u64) -> String {
    if number == 0 { String::new() } else { thousands(number) }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
