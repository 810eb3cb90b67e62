//! `timbre compare`: the runs of the folder, side by side.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Ended, print};
use crate::cli::Common;
use crate::compare::{self, Compared};
use crate::files;
use crate::run_dir;
use crate::tables;

pub fn compare(common: &Common, chosen: &[String], csv: Option<&Path>) -> Result<Ended> {
    let folders: Vec<PathBuf> = if chosen.is_empty() {
        run_dir::run_folders(&common.runs)
            .iter()
            .map(|home| home.join("latest"))
            .filter(|p| p.join("run.json").is_file())
            .collect()
    } else {
        chosen.iter().map(|name| run_dir::find(&common.runs, name)).collect::<Result<_>>()?
    };
    if folders.is_empty() {
        bail!("there is no run in {}: start one with `timbre run EXP`", common.runs.display());
    }
    let runs: Vec<Compared> = folders.iter().map(|folder| Compared::read(folder)).collect::<Result<_>>()?;
    if let Some(file) = csv {
        write_csv(file, &runs)?;
    }
    print(&compare::text(&runs))?;
    Ok(Ended::Done)
}

fn write_csv(file: &Path, runs: &[Compared]) -> Result<()> {
    let folder = file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = file.file_name().with_context(|| format!("{} is no file name", file.display()))?;
    files::write_atomically(&folder.join(name), |out| tables::write_csv(compare::table(runs)?, out))
}
