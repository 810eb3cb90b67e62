//! The files of a threshold search, by name.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{RunDir, Unit};
use crate::files;

/// What a search writes into the folder of a run. Grid and picture are those of the best unit, or of the named one.
#[derive(Clone, Debug, PartialEq)]
pub enum ThresholdFile<'a> {
    /// Every point with every metric.
    Long,
    /// Chosen points, plateaus, what is luck.
    Report,
    /// A cut-off a class.
    PerClass,
    /// One metric: fractions down, cut-offs across.
    Grid { metric: &'a str, unit: Option<&'a Unit> },
    /// The same as a picture.
    Picture { metric: &'a str, unit: Option<&'a Unit> },
}

impl ThresholdFile<'_> {
    pub fn name(&self) -> String {
        let of = |metric: &str, unit: &Option<&Unit>, ending: &str| match unit {
            Some(unit) => format!("thresholds_{metric}.{unit}.{ending}"),
            None => format!("thresholds_{metric}.{ending}"),
        };
        match self {
            ThresholdFile::Long => "thresholds.csv".to_owned(),
            ThresholdFile::Report => "thresholds.json".to_owned(),
            ThresholdFile::PerClass => "thresholds_per_class.csv".to_owned(),
            ThresholdFile::Grid { metric, unit } => of(metric, unit, "csv"),
            ThresholdFile::Picture { metric, unit } => of(metric, unit, "svg"),
        }
    }
}

impl RunDir {
    pub fn write_thresholds(
        &self,
        file: &ThresholdFile,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        files::write_atomically(&self.path().join(file.name()), write)
    }
}

impl RunDir {
    /// Removes what an earlier search has left, the mark that it was whole first.
    pub fn remove_thresholds(&self) -> Result<()> {
        let cannot = || format!("cannot remove the earlier search in {}", self.path().display());
        let mut names: Vec<OsString> =
            fs::read_dir(self.path()).with_context(cannot)?.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| name.to_string_lossy().starts_with("thresholds"));
        names.sort_by_key(|name| name.to_string_lossy() != ThresholdFile::Long.name());
        names.iter().try_for_each(|name| fs::remove_file(self.path().join(name)).with_context(cannot))
    }
}

/// The configuration of a run, as run.
pub fn resolved_config(run: &Path) -> PathBuf {
    run.join("config.resolved.toml")
}

/// The picture of the last search, that of its best unit: its name without the ending, and the picture.
pub fn threshold_picture(run: &Path) -> Option<(String, String)> {
    let report: Value = serde_json::from_slice(&fs::read(run.join(ThresholdFile::Report.name())).ok()?).ok()?;
    let picture = ThresholdFile::Picture { metric: report["metric"].as_str()?, unit: None };
    let file = run.join(picture.name());
    Some((file.file_stem()?.to_string_lossy().into_owned(), fs::read_to_string(&file).ok()?))
}
