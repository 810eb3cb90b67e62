//! `timbre report`: rewrite the report of a run or of a sweep.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ExitStatus, print};
use crate::cli::args::{FigureArgs, GlobalArgs, Length};
use crate::execution::run::AudioSource;
use timbre_core::{progress::Printer, text::count};
use timbre_inputs::data::DataDirs;
use timbre_reports::{
    plot::{FileStyle, ImageFormat, PAGE_WIDTH},
    run_report::{self, FigureFile, FigureOptions, FindRecording},
    sweep_report,
};
use timbre_runs::{
    run_dir::{self, ReportFile},
    sweep_record::SweepDir,
    sweep_table,
};
use timbre_signal::audio::Excerpt;

pub fn report(common: &GlobalArgs, run: &str, recordings: Option<&Path>, figures: &FigureArgs) -> Result<ExitStatus> {
    if let Some(sweep) = SweepDir::find(&common.runs, run) {
        return report_sweep(common, &sweep);
    }
    let folder = run_dir::find(&common.runs, run)?;
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    let printer = Printer::new(common.quiet);
    let known = match recordings {
        Some(_) => HashMap::new(),
        None => known(common, &folder),
    };
    let find: FindRecording = &|id| match recordings {
        Some(root) => {
            let (path, excerpt) = Excerpt::split_name(id);
            Some((root.join(path), excerpt)).filter(|(path, _)| path.is_file())
        }
        None => known.get(id).cloned(),
    };
    let report = run_report::run_report(&folder, true, find)?;
    // The figures were requested, so they are written even if the run folder is read-only.
    let written = report.write(&folder);
    print(&format!("{}\n", report.sentence))?;
    if report.playable == 0 && report.missing > 0 {
        printer.message("No recordings found for spectrograms and players: pass their folder with --recordings DIR");
    }
    let width = figure_options(figures).style.layout_width();
    if figures.figures.is_some() && width != PAGE_WIDTH {
        write_figures(figures, &run_report::figures(&folder, width)?, printer)?;
    } else {
        write_figures(figures, &report.figures, printer)?;
    }
    written.with_context(|| format!("cannot write the report of {}", folder.display()))?;
    printer.message(&format!("Next: open {}", folder.join(ReportFile::Html.name()).display()));
    Ok(ExitStatus::Done)
}

/// Rewrites the report of a sweep.
fn report_sweep(common: &GlobalArgs, sweep: &SweepDir) -> Result<ExitStatus> {
    let record = sweep.read_with_results()?;
    sweep_report::write(sweep, &record, &sweep_table::rows(&record))?;
    let done = format!("{} of {} done", record.finished(), count(record.expected(), "point"));
    print(&match record.best_on_validation() {
        Some((best, score)) => {
            let tie = record.tie_for_best();
            format!("{done}; best on the validation split: point {}, {score}.{tie}\n", best.number)
        }
        None => format!("{done}\n"),
    })?;
    Printer::new(common.quiet).message(&format!("Next: open {}", sweep.report().display()));
    Ok(ExitStatus::Done)
}

/// Writes figures into the requested folder.
pub fn write_figures(to: &FigureArgs, figures: &[FigureFile], printer: Printer) -> Result<()> {
    let Some(folder) = &to.figures else { return Ok(()) };
    let smaller = run_report::write_figures(figures, folder, &figure_options(to))?;
    printer.message(&format!("{} in {}", count(figures.len(), "figure"), folder.display()));
    for (name, size) in smaller {
        printer.message(&format!("{name}: its text is {size:.1}pt, because its names or classes need more width"));
    }
    Ok(())
}

/// The wanted format and size of figures.
pub fn figure_options(to: &FigureArgs) -> FigureOptions {
    let format = if to.pdf { ImageFormat::Pdf } else { ImageFormat::from_flag(to.png) };
    let points = |length: Option<Length>| length.map(|length| length.0);
    let style = FileStyle { format, width: points(to.width), font_size: points(to.font_size), dpi: to.dpi };
    FigureOptions { style, captions: to.captions }
}

/// The recordings of the data set by id; empty if the data set is missing.
pub(super) fn known(common: &GlobalArgs, run: &Path) -> HashMap<String, AudioSource> {
    let Ok(experiment) = timbre_experiment::load_from_run(&run_dir::resolved_config(run), &[]) else {
        return HashMap::new();
    };
    let places = DataDirs { data_dir: PathBuf::from("data"), cache_dir: common.cache.clone() };
    // A set that was removed from the cache is not generated again: the report goes without its sounds.
    let records = experiment.data.load_listed_planned(&places).map_or(Vec::new(), |set| set.records);
    // A recording of a URL that was not downloaded is an empty file.
    let is_here = |path: &Path| path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0);
    let on_disk = records.into_iter().filter(|record| is_here(&record.path));
    on_disk.map(|record| (record.id, (record.path, record.excerpt))).collect()
}
