//! `timbre export`: write runs in other tools' formats.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{ExitStatus, print};
use crate::cli::args::{ExportCommand, GlobalArgs};
use timbre_core::{error::UserError, progress::Printer};
use timbre_runs::{exports::mlflow::FileStore, run_dir};

pub fn export(common: &GlobalArgs, command: &ExportCommand) -> Result<ExitStatus> {
    match command {
        ExportCommand::Mlflow { folder, chosen, models } => mlflow(common, folder, chosen, *models),
        ExportCommand::Onnx { .. } => Err(UserError::usage(
            "ONNX is not written: burn, which the networks are made of, can only read it. Saved networks are safetensors with \
             PyTorch's names and layouts: docs/read_in_pytorch.py is a reader of thirty lines, and torch.onnx.export writes what it \
             has read"
                .to_owned(),
        )
        .into()),
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
