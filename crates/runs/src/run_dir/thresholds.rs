//! The files of a threshold search, by name.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indexmap::IndexMap;
use serde::Deserialize;

use super::{RunDir, Trial};
use timbre_core::files;

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
    Grid { metric: &'a str, unit: Option<&'a Trial> },
    /// The same as a picture.
    Picture { metric: &'a str, unit: Option<&'a Trial> },
}

impl ThresholdFile<'_> {
    pub fn name(&self) -> String {
        let of = |metric: &str, unit: &Option<&Trial>, ending: &str| match unit {
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

/// Scores by the names of their metrics; one that is undefined is nothing.
type Scores = IndexMap<String, Option<f64>>;

/// What `thresholds.json` says of the last search, as far as people are told.
#[derive(Clone, Debug, Deserialize)]
pub struct SearchRecord {
    pub metric: String,
    /// The split that chose.
    pub tuned_on: String,
    pub as_run: SearchedAsRun,
    pub units: Vec<SearchedTrial>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SearchedAsRun {
    pub cutoff: f64,
    /// One a class; empty where one holds for all.
    pub cutoffs: Vec<f64>,
    pub window_fraction: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SearchedTrial {
    #[serde(flatten)]
    pub trial: Trial,
    pub recordings: usize,
    pub songs: usize,
    pub of_several_windows: usize,
    pub points: usize,
    pub cutoff: f64,
    /// Nothing where recordings are decided by one score.
    pub window_fraction: Option<f64>,
    /// Of the chosen point on the split that chose.
    pub score: Option<f64>,
    /// Axes at whose end the chosen point lies.
    pub on_the_edge: Vec<String>,
    pub luck: Option<SelectionBias>,
    pub per_class: Option<SearchedByClass>,
    /// The split that chose first.
    pub splits: Vec<SearchedSplit>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SelectionBias {
    pub resamples: usize,
    pub elsewhere: Option<f64>,
    pub optimism: Option<f64>,
    pub regret: Option<f64>,
    pub plateau: Plateau,
}

/// Points that cannot be told from the best, and from where to where they reach.
#[derive(Clone, Debug, Deserialize)]
pub struct Plateau {
    pub points: usize,
    pub cutoff: [f64; 2],
    pub window_fraction: Option<[f64; 2]>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SearchedByClass {
    pub cutoffs: IndexMap<String, f64>,
    pub score: Option<f64>,
    pub elsewhere: Option<f64>,
    pub optimism: Option<f64>,
}

/// Scores of one split, decided in three ways.
#[derive(Clone, Debug, Deserialize)]
pub struct SearchedSplit {
    pub split: String,
    pub n: usize,
    pub as_run: Scores,
    pub chosen: Scores,
    pub per_class: Option<Scores>,
}

/// The last search of a run; nothing where there was none, or it cannot be understood.
pub fn read_search(run: &Path) -> Option<SearchRecord> {
    serde_json::from_slice(&fs::read(run.join(ThresholdFile::Report.name())).ok()?).ok()
}

/// The picture of a search, that of its best unit: its name without the ending, and the picture.
pub fn read_threshold_plot(run: &Path, search: &SearchRecord) -> Option<(String, String)> {
    let picture = ThresholdFile::Picture { metric: &search.metric, unit: None };
    let file = run.join(picture.name());
    Some((file.file_stem()?.to_string_lossy().into_owned(), fs::read_to_string(&file).ok()?))
}
