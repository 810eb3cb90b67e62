//! Units of another run: copied, not fitted again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{RunDir, Trial};
use timbre_core::files;

/// Where units of a run come from that it did not fit itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReusedTrials {
    pub run: PathBuf,
    pub signature: String,
    pub units: Vec<String>,
}

impl RunDir {
    /// Copies a finished unit of another run: what its networks left, its model, and at last the record that makes it done.
    pub fn take_over(&self, from: &Path, unit: &Trial) -> Result<()> {
        for folder in ["networks", "models"] {
            let (source, target) =
                (from.join(folder).join(unit.to_string()), self.path().join(folder).join(unit.to_string()));
            if source.is_dir() {
                fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
                files::remove_temp_files(&target);
                copy_all(&source, &target, |_| true)?;
            }
        }
        let own = format!("{unit}.");
        copy_all(&from.join("units"), &self.path().join("units"), |name| name.starts_with(&own))
    }
}

/// Copies the files whose name `wanted` says, JSON last: it is the mark that all else is there.
fn copy_all(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
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
