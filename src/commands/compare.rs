//! `timbre compare`: the runs of the folder, side by side.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use serde_json::json;

use super::report::write_figures;
use super::{Ended, baseline, print};
use crate::cli::{Common, CompareRuns, Gate};
use crate::compare::{self, CannotCompare, Chosen, Comparison, Wanted};
use crate::files;
use crate::progress::Show;
use crate::report;
use crate::run_dir;
use crate::tables;

pub fn compare(common: &Common, what: &CompareRuns, gate: &Gate) -> Result<Ended> {
    if gate.baseline.is_some() {
        let wants_files = [&what.csv, &what.md, &what.html, &what.figures.figures].iter().any(|file| file.is_some());
        if wants_files {
            write_files(common, &found(common, what, &beside(common, what, gate))?, what)?;
        }
        return baseline::hold(common, &what.chosen, gate);
    }
    let found = found(common, what, &what.chosen)?;
    write_files(common, &found, what)?;
    print(&if what.json { format!("{}\n", json!(found)) } else { compare::text(&found) })?;
    Ok(Ended::Done)
}

/// The baseline, where it is a run and no file, and what is held against it.
fn beside(common: &Common, what: &CompareRuns, gate: &Gate) -> Vec<String> {
    let run = gate.baseline.iter().filter(|name| run_dir::find(&common.runs, name).is_ok());
    run.chain(&what.chosen).cloned().collect()
}

fn found(common: &Common, what: &CompareRuns, names: &[String]) -> Result<Comparison> {
    let mut chosen = match names {
        [] => compare::newest(&common.runs),
        names => compare::choose(&common.runs, names)?,
    };
    let mut reference = (0, None);
    if let Some(name) = &what.reference {
        reference = place_of(&mut chosen, compare::choose(&common.runs, std::slice::from_ref(name))?, name)?;
    }
    if chosen.is_empty() {
        bail!("there is no run in {}: start one with `timbre run EXP`", common.runs.display());
    }
    let show = Show::fitting(common.quiet);
    let wanted = Wanted {
        reference: reference.0,
        model: reference.1,
        metrics: what.metric.clone(),
        split: what.split.clone(),
        resamples: what.resamples.map(|n| n as usize),
    };
    compare::compare(&chosen, &wanted, show)
}

fn write_files(common: &Common, found: &Comparison, what: &CompareRuns) -> Result<()> {
    if let Some(file) = &what.csv {
        write(file, |out| tables::write_csv(compare::csv(found)?, out))?;
    }
    if let Some(file) = &what.md {
        write(file, |out| Ok(out.write_all(compare::markdown(found).as_bytes())?))?;
    }
    if let Some(file) = &what.html {
        write(file, |out| Ok(out.write_all(report::of_comparison(found).as_bytes())?))?;
    }
    if what.figures.figures.is_some() {
        write_figures(&what.figures, &report::comparison_figures(found), Show::fitting(common.quiet))?;
    }
    Ok(())
}

/// The place of the reference among the runs, and its model where one is named. It is put in front where it is not one of them.
fn place_of(chosen: &mut Vec<Chosen>, reference: Vec<Chosen>, name: &str) -> Result<(usize, Option<String>)> {
    let [reference] = <[Chosen; 1]>::try_from(reference)
        .map_err(|many| CannotCompare(format!("`{name}` is {} runs: the reference is one", many.len())))?;
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let holds = |one: &Chosen| {
        whole(&one.path) == whole(&reference.path) && (one.model.is_none() || one.model == reference.model)
    };
    let model = reference.model.clone();
    let at = chosen.iter().position(holds).unwrap_or_else(|| {
        chosen.insert(0, reference);
        0
    });
    Ok((at, model))
}

fn write(file: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let folder = file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = file.file_name().with_context(|| format!("{} is no file name", file.display()))?;
    files::write_atomically(&folder.join(name), write)
}
