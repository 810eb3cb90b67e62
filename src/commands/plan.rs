//! `timbre check` and `timbre plan`: what an experiment would do, without doing it. The recordings are listed and hashed for
//! that, and a demo set that is not there yet is made.

use anyhow::Result;
use serde_json::json;

use super::{Ended, again, print, resolve, settings};
use crate::cli::{Common, Target};
use crate::data::MissingData;
use crate::precompute::Extraction;
use crate::runner::material::Material;
use crate::runner::units_of;

pub fn check(common: &Common, target: &Target) -> Result<Ended> {
    match plan(common, target, false) {
        // The file is sound; that its data lies elsewhere is worth knowing, but no fault of the file.
        Err(error) if error.is::<MissingData>() => {
            print(&format!("`{}` is sound.\n{error}\n", target.experiment))?;
            Ok(Ended::Done)
        }
        other => other,
    }
}

pub fn plan(common: &Common, target: &Target, as_json: bool) -> Result<Ended> {
    let resolved = resolve(common, target)?;
    let experiment = &resolved.experiment;
    let settings = settings(common, false);
    let material = Material::gather(experiment, &settings)?;
    let extraction = Extraction::new(&experiment.audio, &experiment.features)?;
    let (hits, misses) = material.look(experiment, &extraction, &settings.store()?);
    let units: Vec<String> = units_of(experiment).iter().map(ToString::to_string).collect();
    let chosen = material.all_chosen(experiment);
    let clips = chosen.len();
    for &seed in &experiment.seeds {
        material.split(experiment, &chosen, seed)?;
    }
    let signature = material.signature(experiment);
    if as_json {
        let plan = json!({
            "schema": crate::run_dir::SCHEMA,
            "experiment": experiment.name,
            "signature": signature,
            "data": material.set.name,
            "classes": material.set.classes,
            "clips": clips,
            "cache": { "hits": hits, "misses": misses },
            "units": units,
        });
        print(&format!("{plan}\n"))?;
        return Ok(Ended::Done);
    }
    let mut text = format!("`{}` is sound. It would\n", experiment.name);
    text += &format!("  read     {clips} clips of `{}` in {} classes", material.set.name, material.set.classes.len());
    if material.set_aside > 0 {
        text += &format!(" ({} more carry several labels)", material.set_aside);
    }
    text += &format!("\n  compute  {misses} features ({hits} are in the cache): {}\n", list(extraction.names()));
    text += &format!("  fit      {} models: {}\n", units.len(), list(units.iter().map(String::as_str)));
    text += &format!(
        "  write    {}\n",
        settings.runs.join(&experiment.name).join(format!("<time>-{}", &signature[..8])).display()
    );
    print(&text)?;
    settings.show.say(&format!("Next: timbre run {}", again(common, target)));
    Ok(Ended::Done)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
