//! The files of a threshold search, and its record `thresholds.json`.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use indexmap::IndexMap;
use serde::Deserialize;

use super::{RunDir, Trial};
use timbre_core::files;

/// A file of a threshold search. `Grid` and `Picture` show the best trial, or the named one.
#[derive(Clone, Debug, PartialEq)]
pub enum ThresholdFile<'a> {
    /// One row per point, with every metric.
    Long,
    /// Chosen points, plateaus, selection bias.
    Report,
    /// One threshold per class.
    PerClass,
    /// One metric: one row per window fraction, one column per threshold.
    Grid { metric: &'a str, trial: Option<&'a Trial> },
    /// `Grid` as a heat map.
    Picture { metric: &'a str, trial: Option<&'a Trial> },
}

impl ThresholdFile<'_> {
    pub fn name(&self) -> String {
        let of = |metric: &str, trial: &Option<&Trial>, ending: &str| match trial {
            Some(trial) => format!("thresholds_{metric}.{trial}.{ending}"),
            None => format!("thresholds_{metric}.{ending}"),
        };
        match self {
            ThresholdFile::Long => "thresholds.csv".to_owned(),
            ThresholdFile::Report => "thresholds.json".to_owned(),
            ThresholdFile::PerClass => "thresholds_per_class.csv".to_owned(),
            ThresholdFile::Grid { metric, trial } => of(metric, trial, "csv"),
            ThresholdFile::Picture { metric, trial } => of(metric, trial, "svg"),
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

    /// Removes the files of an earlier search; first the one that marks the search as complete.
    pub fn remove_thresholds(&self) -> Result<()> {
        let cannot = || format!("cannot remove the earlier search in {}", self.path().display());
        let mut names: Vec<OsString> =
            fs::read_dir(self.path()).with_context(cannot)?.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| name.to_string_lossy().starts_with("thresholds"));
        names.sort_by_key(|name| name.to_string_lossy() != ThresholdFile::Long.name());
        names.iter().try_for_each(|name| fs::remove_file(self.path().join(name)).with_context(cannot))
    }
}

/// Scores by metric; None where undefined.
type Scores = IndexMap<String, Option<f64>>;

/// The part of `thresholds.json` that reports show.
#[derive(Clone, Debug, Deserialize)]
pub struct SearchRecord {
    pub metric: String,
    /// The split on which the point was chosen.
    pub tuned_on: String,
    pub as_run: SearchedAsRun,
    #[serde(rename = "units")]
    pub trials: Vec<SearchedTrial>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SearchedAsRun {
    pub cutoff: f64,
    /// One per class; empty if one threshold applies to all classes.
    pub cutoffs: Vec<f64>,
    pub window_fraction: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SearchedTrial {
    #[serde(flatten)]
    pub trial: Trial,
    pub recordings: usize,
    pub songs: usize,
    /// Whether they are files, because the data set names no songs.
    #[serde(default)]
    pub no_songs: bool,
    pub of_several_windows: usize,
    pub points: usize,
    pub cutoff: f64,
    /// None where one score decides a recording.
    pub window_fraction: Option<f64>,
    /// The score of the chosen point on the split on which it was chosen.
    pub score: Option<f64>,
    /// The axes on which the chosen point is the first or last value.
    pub on_the_edge: Vec<String>,
    #[serde(rename = "luck")]
    pub bias: Option<SelectionBias>,
    pub per_class: Option<SearchedByClass>,
    /// The split on which the point was chosen comes first.
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

/// The points that are not distinguishable from the best one, and their ranges.
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

/// The scores of one split with three choices of thresholds.
#[derive(Clone, Debug, Deserialize)]
pub struct SearchedSplit {
    pub split: String,
    pub n: usize,
    pub as_run: Scores,
    pub chosen: Scores,
    pub per_class: Option<Scores>,
}

/// The last search of a run; None without one, or if its record cannot be parsed.
pub fn read_search(run: &Path) -> Option<SearchRecord> {
    serde_json::from_slice(&fs::read(run.join(ThresholdFile::Report.name())).ok()?).ok()
}

/// The heat map of the best trial of a search: its file name without extension, and the SVG.
pub fn read_threshold_plot(run: &Path, search: &SearchRecord) -> Option<(String, String)> {
    let plot = ThresholdFile::Picture { metric: &search.metric, trial: None };
    let file = run.join(plot.name());
    Some((file.file_stem()?.to_string_lossy().into_owned(), fs::read_to_string(&file).ok()?))
}
