//! What a run leaves for people to look at: plots, the threshold search and the report.
//!
//! Execution calls these methods at the right moment; the command line draws and writes.

use std::path::{Path, PathBuf};

use anyhow::Result;

use timbre_core::labels::Classes;
use timbre_experiment::Experiment;
use timbre_models::{Epoch, RateCurve};
use timbre_runs::run_dir::{RunDir, Trial, TrialRecord};
use timbre_signal::audio::Excerpt;

/// The file of a recording, and the part of it that the recording is.
pub type AudioSource = (PathBuf, Option<Excerpt>);

/// Every method does nothing by default.
#[allow(unused_variables)]
pub trait RunArtifacts: Sync {
    /// Plots the learning curves of a network, after each epoch.
    fn plot_learning_curves(&self, dir: &RunDir, trial: &Trial, history: &[Epoch]) -> Result<()> {
        Ok(())
    }

    /// Plots the search for a learning rate.
    fn plot_learning_rates(&self, dir: &RunDir, trial: &Trial, curve: &RateCurve) -> Result<()> {
        Ok(())
    }

    /// Runs the threshold search of the experiment on finished trials and writes its files. Returns a summary of each trial.
    fn search_thresholds(
        &self,
        dir: &RunDir,
        experiment: &Experiment,
        classes: &Classes,
        trials: &[TrialRecord],
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Whether the files of the threshold search of the experiment are in the run folder.
    fn has_thresholds(&self, run: &Path, experiment: &Experiment, trials: usize) -> bool {
        true
    }

    /// Writes the report of a finished run, with or without spectrograms and players. `find` maps the id of a recording to its file.
    /// Returns its conclusion.
    fn write_report(
        &self,
        run: &Path,
        has_media: bool,
        find: &dyn Fn(&str) -> Option<AudioSource>,
    ) -> Result<Option<String>> {
        Ok(None)
    }
}

/// No artifacts: tables and models alone.
pub struct NoArtifacts;

impl RunArtifacts for NoArtifacts {}
