//! `timbre export`: write runs in other tools' formats.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{ExitStatus, print};
use crate::cli::args::{ExportCommand, GlobalArgs};
use crate::inference::find_model;
use timbre_core::{error::UserError, files, progress::Printer};
use timbre_runs::{
    exports::{mlflow::FileStore, onnx},
    run_dir,
};

pub fn export(common: &GlobalArgs, command: &ExportCommand) -> Result<ExitStatus> {
    match command {
        ExportCommand::Mlflow { folder, chosen, models } => mlflow(common, folder, chosen, *models),
        ExportCommand::Onnx { name, out } => network(common, name, out),
    }
}

fn mlflow(common: &GlobalArgs, folder: &Path, chosen: &[String], models: bool) -> Result<ExitStatus> {
    let runs: Vec<PathBuf> = if chosen.is_empty() {
        let ended = |run: &PathBuf| run_dir::read_record(run).is_ok_and(|record| !record.results.is_empty());
        run_dir::all(&common.runs).into_iter().filter(ended).collect()
    } else {
        chosen.iter().map(|name| run_dir::find(&common.runs, name)).collect::<Result<_>>()?
    };
    if runs.is_empty() {
        let sentence = format!("no runs with results in {}: start one with `timbre run EXP`", common.runs.display());
        return Err(UserError::usage(sentence).into());
    }
    let store = FileStore::open(folder, models)?;
    let mut written = 0;
    for run in &runs {
        written += store.add(run)?;
    }
    let plural = if runs.len() == 1 { "" } else { "s" };
    print(&format!("{} run{plural} exported as {written} MLflow runs in {}\n", runs.len(), folder.display()))?;
    let next = format!("mlflow migrate-filestore --source {0} --target sqlite:///{0}/mlflow.db", folder.display());
    Printer::new(common.quiet).message(&format!("Next: {next}"));
    Ok(ExitStatus::Done)
}

fn network(common: &GlobalArgs, name: &str, out: &Path) -> Result<ExitStatus> {
    let (run, record, model) = find_model(&common.runs, name)?;
    files::write_bytes(&files::create_parent_folder(out)?, &onnx::file(&run, &model)?)?;
    print(&format!("the network {model} of {} exported to {}\n", record.experiment, out.display()))?;
    Ok(ExitStatus::Done)
}
