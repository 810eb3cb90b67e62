//! `timbre baseline save` and `timbre compare RUN --baseline …`: check whether a run is worse than a baseline.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{ExitStatus, print, print_data};
use crate::cli::args::{Annotate, BaselineArgs, BaselineCommand, GlobalArgs};
use crate::cli::colours::eprint_coloured;
use timbre_core::{error::UserError, files, progress::Printer, text::count};
use timbre_reports::comparison;
use timbre_runs::baseline_check::{self, CheckReport, ReferenceScores, github, junit, markdown, text};

pub fn baseline(common: &GlobalArgs, command: BaselineCommand) -> Result<ExitStatus> {
    match command {
        BaselineCommand::Save { run, out } => save(common, &run, &out),
    }
}

fn save(common: &GlobalArgs, run: &str, out: &Path) -> Result<ExitStatus> {
    let baseline = ReferenceScores::of_run(&whole(common, run)?)?;
    let unfit = baseline.origin.unfinished.first().cloned();
    let unfit = unfit.or_else(|| baseline.models.is_empty().then(|| "it has no results".to_owned()));
    if let Some(why) = unfit {
        bail!(UserError::usage(format!("{} is no baseline: {why}", baseline.origin.path.display())));
    }
    let written = baseline.write(out)?;
    let printer = Printer::new(common.quiet);
    let split = baseline.split();
    let models = baseline.models_of(split).count();
    let done = if written { "written" } else { "unchanged" };
    printer.message(&format!(
        "{}: {} of {} on the {split} split, {done}",
        out.display(),
        count(models, "model"),
        baseline.title()
    ));
    if baseline.clips.is_empty() {
        printer.message(
            "It does not list the evaluated clips (predictions.parquet is missing): no run can pass the check.",
        );
    }
    printer.message(&format!("Next: git add {0}, then timbre compare RUN --baseline {0}", out.display()));
    Ok(ExitStatus::Done)
}

/// The folder of one whole run. A grid has several runs and is refused.
fn whole(common: &GlobalArgs, name: &str) -> Result<PathBuf> {
    let one = comparison::select_run(&common.runs, name)?;
    if let Some(model) = one.model {
        bail!(UserError::usage(format!("`{name}` is one model: remove `:{model}`, the check covers whole runs")));
    }
    Ok(one.path)
}

/// What is held against what.
pub struct CheckInputs {
    run: PathBuf,
    baseline: ReferenceScores,
}

/// The run to check and its baseline.
pub fn check_inputs(common: &GlobalArgs, chosen: &[String], name: &str) -> Result<CheckInputs> {
    let baseline = ReferenceScores::find(name, |run| whole(common, run))?;
    let run = match chosen {
        [one] => whole(common, one)?,
        // Default: the latest run of the baseline's experiment.
        [] => whole(common, &baseline.experiment)?,
        _ => bail!(UserError::usage(format!("--baseline takes one run, not {}", chosen.len()))),
    };
    Ok(CheckInputs { run, baseline })
}

/// Checks a run against a baseline.
pub fn check(common: &GlobalArgs, inputs: CheckInputs, options: &BaselineArgs) -> Result<ExitStatus> {
    let CheckInputs { run, baseline } = inputs;
    let report =
        baseline_check::compare(&ReferenceScores::of_run(&run)?, &baseline, &options.tolerance, &options.allow)?;
    print(&text::text(&report))?;
    if is_for_github(options) {
        print_data(&github::annotations(&report, annotated(&baseline).as_deref()))?;
    }
    if let Some(file) = &options.summary {
        append(file, &markdown::section(&report))?;
    }
    if let Some(file) = &options.junit {
        files::write_bytes(&files::create_parent_folder(file)?, junit::document(&report).as_bytes())?;
    }
    print_outcome(&report, Printer::new(common.quiet));
    Ok(if report.passed() { ExitStatus::Done } else { ExitStatus::Regression })
}

fn print_outcome(report: &CheckReport, printer: Printer) {
    for (sentence, allowed) in text::reasons(report) {
        // Printed with --quiet too, because an exit code alone explains nothing.
        match allowed {
            true => eprint_coloured(&format!("warning: allowed: {sentence}")),
            false => eprint_coloured(&format!("error: {sentence}")),
        }
    }
    let (run, baseline) = (report.run.1.display(), &report.baseline.1);
    match (report.passed(), baseline.is_dir()) {
        (true, _) => {
            printer.message(&format!("Passed.\nNext: timbre baseline save {run} --out FILE.json makes this run the baseline"))
        }
        (false, true) => printer.message(&format!(
            "Not passed: {} (code 5).\nNext: timbre compare {} {run}",
            text::summary(report),
            baseline.display()
        )),
        (false, false) => printer.message(&format!(
            "Not passed: {} (code 5).\nNext: timbre compare {run}, or, if it is meant to be so: timbre baseline save {run} --out {}",
            text::summary(report),
            baseline.display()
        )),
    }
}

fn is_for_github(options: &BaselineArgs) -> bool {
    match options.annotate {
        Some(annotate) => annotate == Annotate::Github,
        None => std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
    }
}

/// The file that annotations refer to: the baseline, or the experiment.
fn annotated(baseline: &ReferenceScores) -> Option<PathBuf> {
    let path = &baseline.origin.path;
    let experiment = Path::new("experiments").join(&baseline.experiment).with_extension("toml");
    let file = if path.is_file() { path.clone() } else { Some(experiment).filter(|file| file.is_file())? };
    // CI systems expect paths relative to the repository root, where the job starts.
    let from_here = std::env::current_dir().ok().and_then(|here| file.strip_prefix(here).ok().map(Path::to_owned));
    Some(from_here.unwrap_or(file))
}

fn append(path: &Path, section: &str) -> Result<()> {
    let path = files::create_parent_folder(path)?;
    let file = std::fs::File::options().create(true).append(true).open(&path);
    // A single write, so that two jobs do not interleave their lines.
    let written = file.and_then(|mut file| file.write_all(section.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
