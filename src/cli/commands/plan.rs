//! `timbre check` and `timbre plan`: show what a run would compute, without computing it.
//!
//! Both list and hash the recordings and read their headers. A data set that a run would generate is not generated.

use anyhow::{Error, Result};
use serde_json::{Value, json};

use super::{ExitStatus, again, exit_of, expand_grid, launch, print, print_data, resolve, settings};
use crate::cli::args::{ExperimentArgs, GlobalArgs, ItemArgs};
use crate::execution::run::prepare::PreparedDataset;
use crate::execution::run::{select::extraction_of, trials_of};
use crate::execution::sweep;
use timbre_core::text::{count, thousands};
use timbre_experiment::{ConfigError, ConfigErrors, ExpandedGrid, members::ENSEMBLE_FEATURES, shapes};
use timbre_inputs::{augment::AugmentSpec, data::MissingData};
use timbre_models::networks::{InputShape, LayerRow};
use timbre_runs::{run_dir::Trial, tables::aligned};

/// Ends with the exit code that a run would have, as far as that is known.
pub fn check(common: &GlobalArgs, target: &ExperimentArgs, as_json: bool) -> Result<ExitStatus> {
    let ended = show(common, target, as_json, None);
    if as_json {
        return ended.or_else(print_errors);
    }
    if ended.as_ref().is_err_and(|error| error.is::<MissingData>()) {
        print(&format!("`{}` is valid, but its recordings are missing.\n", target.experiment))?;
    }
    ended
}

/// Prints an error as the object of `check --json`, and returns its exit code.
fn print_errors(error: Error) -> Result<ExitStatus> {
    let errors = match error.downcast_ref::<ConfigErrors>() {
        Some(all) => all.iter().map(error_json).collect(),
        None => vec![
            json!({ "file": null, "line": null, "column": null, "key": null, "message": format!("{error:#}"), "help": null }),
        ],
    };
    print_data(&format!("{}\n", json!({ "schema": timbre_runs::run_dir::SCHEMA, "errors": errors })))?;
    Ok(exit_of(&error))
}

/// What an error has no value for is null.
fn error_json(error: &ConfigError) -> Value {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let number = |number: usize| Some(number).filter(|number| *number > 0);
    json!({
        "file": text(&error.place), "line": number(error.line), "column": number(error.column),
        "key": text(&error.key), "message": error.message, "help": text(&error.help),
    })
}

/// With `items` as JSON, and with the work items.
pub fn plan(common: &GlobalArgs, target: &ExperimentArgs, items: Option<&ItemArgs>) -> Result<ExitStatus> {
    show(common, target, items.is_some(), items)?;
    Ok(ExitStatus::Done)
}

/// Adds the work items, unless the data of a point cannot be read.
fn add_items(
    plan: &mut Value,
    common: &GlobalArgs,
    target: &ExperimentArgs,
    grid: &ExpandedGrid,
    items: Option<&ItemArgs>,
) {
    let Some(items) = items else { return };
    match launch::plan_items(common, target, grid, &settings(common, false), items, "timbre") {
        Ok(work) => {
            (plan["plan_hash"], plan["shards"], plan["items"]) =
                (json!(work.plan_hash), json!(work.shards), json!(work.items))
        }
        Err(error) => {
            (plan["plan_hash"], plan["items"], plan["no_items"]) = (Value::Null, json!([]), json!(format!("{error:#}")))
        }
    }
}

/// Prints the plan, and returns how a run would end.
fn show(common: &GlobalArgs, target: &ExperimentArgs, as_json: bool, items: Option<&ItemArgs>) -> Result<ExitStatus> {
    let expanded = expand_grid(common, target)?;
    let settings = settings(common, false);
    if expanded.is_grid() {
        let plan = sweep::plan::plan(&expanded, &settings)?;
        if as_json {
            let mut json = plan.json();
            add_items(&mut json, common, target, &expanded, items);
            print_data(&format!("{json}\n"))?;
        } else {
            print(&plan.text())?;
        }
        if plan.exit_status() == ExitStatus::Done {
            settings.printer.message(&format!("Next: timbre run {}", again(common, target)));
        }
        return Ok(plan.exit_status());
    }
    let experiment = &expanded.points[0].rounds[0].experiment;
    let dataset = PreparedDataset::planned(experiment, &settings)?;
    let extraction = extraction_of(experiment)?;
    let (hits, misses) = dataset.count_cached(experiment, &extraction, &settings.feature_cache_of(&extraction)?)?;
    let trials: Vec<Trial> = trials_of(experiment);
    let inspection = dataset.inspect(experiment)?;
    let clips = inspection.clips;
    let ended = match inspection.failures.is_empty() {
        false => ExitStatus::Failed,
        true if inspection.too_many_unusable => ExitStatus::TooManyUnusable,
        true => ExitStatus::Done,
    };
    // It depends on the contents of the recordings.
    let signature = dataset.planned.is_none().then(|| dataset.signature(experiment));
    if as_json {
        let failures = inspection.failures.iter().map(|(trial, why)| (trial.to_string(), json!(why)));
        let mut plan = json!({
            "schema": timbre_runs::run_dir::SCHEMA,
            "experiment": experiment.name,
            "signature": signature,
            "data": dataset.set.name,
            "to_generate": if dataset.planned.is_some() { dataset.set.records.len() } else { 0 },
            "classes": dataset.set.classes,
            "clips": clips,
            "cache": { "hits": hits, "misses": misses },
            "units": trials.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "failures": failures.collect::<serde_json::Map<_, _>>(),
            "unusable": dataset.unusable_lines(&inspection.unusable),
            "warnings": inspection.warnings,
        });
        add_items(&mut plan, common, target, &expanded, items);
        print_data(&format!("{plan}\n"))?;
        return Ok(ended);
    }
    let mut text = match inspection.failures.len() {
        0 if inspection.too_many_unusable => {
            format!("`{}` has errors: too many recordings are unusable. A run would:\n", experiment.name)
        }
        0 => format!("`{}` is valid. A run would:\n", experiment.name),
        n => format!("`{}` has errors: {} would fail. A run would:\n", experiment.name, count(n, "model")),
    };
    if dataset.planned.is_some() {
        let recordings = count(dataset.set.records.len(), "recording");
        text += &format!("  generate {recordings} of `{}`, which are not there yet\n", dataset.set.name);
    }
    text += &format!(
        "  read     {} of `{}` in {}",
        count(clips, "clip"),
        dataset.set.name,
        count(dataset.set.classes.len(), "class")
    );
    if dataset.set_aside > 0 {
        text += &format!(" (skipping {} without exactly one class)", dataset.set_aside);
    }
    text += &format!("\n  compute  {} ({hits} in the cache): {}\n", count(misses, "feature"), list(extraction.names()));
    let (copied, per_epoch): (Vec<&AugmentSpec>, Vec<_>) =
        experiment.augment.iter().partition(|spec| spec.as_kind().copies() > 0);
    if !copied.is_empty() {
        let counted = copied.iter().map(|spec| format!("{} by {}", spec.as_kind().copies(), spec.name()));
        text += &format!("  copy     training clips, for every model: {}\n", counted.collect::<Vec<_>>().join(", "));
    }
    if !per_epoch.is_empty() {
        text += &format!("  augment  training clips of networks: {}\n", list(per_epoch.iter().map(|spec| spec.name())));
    }
    let (fused, fitted): (Vec<&Trial>, Vec<&Trial>) =
        trials.iter().partition(|trial| trial.features == ENSEMBLE_FEATURES);
    for (word, trials) in [("fit ", fitted), ("fuse", fused)].into_iter().filter(|(_, trials)| !trials.is_empty()) {
        let names: Vec<String> = trials.iter().map(ToString::to_string).collect();
        text += &format!("  {word}     {}: {}\n", count(trials.len(), "model"), list(names.iter().map(String::as_str)));
    }
    let folder = signature.as_ref().map_or("<time>-<signature>".to_owned(), |text| format!("<time>-{}", &text[..8]));
    text += &format!("  write    {}\n", settings.runs.join(&experiment.name).join(folder).display());
    for (trial, why) in &inspection.failures {
        text += &format!("error: {trial}: {why}\n");
    }
    if let Some(unusable) = dataset.unusable_text(experiment, &inspection) {
        let word = if inspection.too_many_unusable { "error" } else { "warning" };
        text += &format!("{word}: {unusable}\n");
    }
    inspection.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
    print(&text)?;
    if ended == ExitStatus::Done {
        settings.printer.message(&format!("Next: timbre run {}", again(common, target)));
    }
    Ok(ended)
}

/// `timbre run --dry-run`: prints the plan, and the layers of each network on each feature.
pub fn dry_run(common: &GlobalArgs, target: &ExperimentArgs) -> Result<ExitStatus> {
    let ended = plan(common, target, None)?;
    let resolved = resolve(common, target)?;
    let experiment = &resolved.experiment;
    let settings = settings(common, false);
    let classes = experiment.data.load_listed_planned(&settings.data_dirs())?.classes.len();
    for (model, spec) in &experiment.models {
        let Some(network) = spec.as_network() else { continue };
        for (name, feature) in &experiment.features {
            if spec.as_kind().features().0.as_ref().is_some_and(|chosen| !chosen.contains(name)) {
                continue;
            }
            let title = format!("\n{name}.{model}: {} of {}", spec.kind(), count(classes, "class"));
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
        let (parameters, work) = (amount(row.parameters), amount(row.multiply_adds));
        lines.push(line([&row.name, &row.kind, &shape(&row.output), &parameters, &work]));
    }
    let sum = |of: fn(&LayerRow) -> u64| amount(layers.iter().map(of).sum());
    lines.push(line(["total", "", "", &sum(|row| row.parameters), &sum(|row| row.multiply_adds)]));
    aligned(&lines, 3)
}

/// `11,175,883`; empty for 0.
fn amount(number: u64) -> String {
    if number == 0 { String::new() } else { thousands(number) }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
