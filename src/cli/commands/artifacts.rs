//! The plots, threshold files and reports of a run, as `timbre run` writes them.

use std::path::Path;

use anyhow::Result;

use crate::execution::run::{AudioSource, RunArtifacts};
use timbre_core::{files, labels::Classes};
use timbre_experiment::Experiment;
use timbre_models::{Epoch, RateCurve};
use timbre_reports::{
    plot, run_report,
    thresholds::{self, ThresholdSearch, TrialThresholds, summary_text},
};
use timbre_runs::run_dir::{NetworkFile, RunDir, Trial, TrialRecord};

pub(super) struct WrittenArtifacts;

impl RunArtifacts for WrittenArtifacts {
    fn plot_learning_curves(&self, dir: &RunDir, trial: &Trial, history: &[Epoch]) -> Result<()> {
        let svg = plot::learning_curves(&trial.to_string(), history);
        files::write_bytes(&dir.network_file(trial, NetworkFile::LearningCurves)?, svg.as_bytes())
    }

    fn plot_learning_rates(&self, dir: &RunDir, trial: &Trial, curve: &RateCurve) -> Result<()> {
        let svg = plot::rate_finder(&trial.to_string(), curve);
        files::write_bytes(&dir.network_file(trial, NetworkFile::LearningRatePlot)?, svg.as_bytes())
    }

    fn search_thresholds(
        &self,
        dir: &RunDir,
        experiment: &Experiment,
        classes: &Classes,
        trials: &[TrialRecord],
    ) -> Result<Vec<String>> {
        let evaluate = &experiment.evaluate;
        let Some(spec) = evaluate.search.as_ref().filter(|_| !trials.is_empty()) else { return Ok(Vec::new()) };
        let (metric, decision_rule) = (spec.metric(evaluate.metric()), evaluate.decision_rule(classes));
        let search = ThresholdSearch { spec, metric, decision_rule, classes, is_leaky: experiment.split.is_leaky() };
        let found: Vec<TrialThresholds> =
            trials.iter().map(|own| search.search_trial(&own.trial, &own.splits)).collect::<Result<_>>()?;
        search.write(dir, &found)?;
        Ok(found.iter().map(|own| summary_text(&search, own).trim_end().to_owned()).collect())
    }

    fn has_thresholds(&self, run: &Path, experiment: &Experiment, trials: usize) -> bool {
        // `timbre thresholds` may have replaced the files by those of another search.
        experiment
            .evaluate
            .search
            .as_ref()
            .is_none_or(|spec| thresholds::is_written(run, spec, spec.metric(experiment.evaluate.metric()), trials))
    }

    fn write_report(
        &self,
        run: &Path,
        has_media: bool,
        find: &dyn Fn(&str) -> Option<AudioSource>,
    ) -> Result<Option<String>> {
        run_report::write(run, has_media, find).map(Some)
    }
}
