//! The files of a threshold search, by name.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

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

/// The configuration of a run, as run.
pub fn resolved_config(run: &Path) -> PathBuf {
    run.join("config.resolved.toml")
}
