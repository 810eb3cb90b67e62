//! Copies finished trials from another run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{RunDir, Trial, model_folder, network_folder, trials_folder};
use timbre_core::files;

/// The trials that a run copied, and the run they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReusedTrials {
    pub run: PathBuf,
    pub signature: String,
    #[serde(rename = "units")]
    pub trials: Vec<String>,
}

impl RunDir {
    /// Copies the learning curves of a network, and what else its training wrote.
    pub fn copy_network_files(&self, from: &Path, trial: &Trial) -> Result<()> {
        copy_folder(&network_folder(from, trial), &network_folder(self.path(), trial))
    }

    /// Copies a finished trial of another run: the files of its network, its model, and last its record.
    pub fn copy_trial(&self, from: &Path, trial: &Trial) -> Result<()> {
        self.copy_network_files(from, trial)?;
        copy_folder(&model_folder(from, trial), &model_folder(self.path(), trial))?;
        let prefix = format!("{trial}.");
        copy_files(&trials_folder(from), &trials_folder(self.path()), |name| name.starts_with(&prefix))
    }
}

/// Copies the files of a folder, if there is one.
fn copy_folder(source: &Path, target: &Path) -> Result<()> {
    if !source.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(target).with_context(|| format!("cannot create {}", target.display()))?;
    copy_files(source, target, |_| true)
}

/// Copies the files whose name passes `wanted`; JSON files last, because they mark the copy as complete.
fn copy_files(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let cannot = || format!("cannot read {}", from.display());
    let mut names: Vec<String> = fs::read_dir(from)
        .with_context(cannot)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| wanted(name) && !name.starts_with('.'))
        .collect();
    names.sort_by_key(|name| (name.ends_with(".json"), name.clone()));
    for name in names {
        let mut source =
            fs::File::open(from.join(&name)).with_context(|| format!("cannot read {}", from.join(&name).display()))?;
        files::write_atomically(&to.join(&name), |out| {
            std::io::copy(&mut source, out)?;
            Ok(())
        })?;
    }
    Ok(())
}
