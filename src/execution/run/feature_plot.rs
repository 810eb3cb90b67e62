//! Computes the features of one recording, for a plot.

use anyhow::{Context, Result};

use super::Settings;
use super::augmentation_preview::row_of_clip;
use super::prepare::PreparedDataset;
use timbre_core::error::UserError;
use timbre_experiment::Experiment;
use timbre_inputs::features::{ClipAnalysis, ClipOrigin, FeatureMatrix, FeatureSpec, axes};
use timbre_signal::audio;

/// A feature of the recording.
pub struct PlottedFeature {
    pub name: String,
    pub matrix: FeatureMatrix,
    pub axes: axes::FeatureAxes,
}

/// The path of a recording in its data set, and every feature of its clip. `clip` is that path, or a part of it that no other has.
pub fn of_clip(experiment: &Experiment, settings: &Settings, clip: &str) -> Result<(String, Vec<PlottedFeature>)> {
    let data = PreparedDataset::new(experiment, settings)?;
    let records = &data.set.records;
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let record = &records[row_of_clip(&ids, clip, &format!("recording of {}", data.set.name))?];
    let rate = experiment.audio.sample_rate;
    let clip = audio::load_file(&record.path, record.excerpt.as_ref(), &experiment.audio)
        .map_err(|why| UserError::usage(format!("{}: {why}", record.id)))?;
    let place = ClipOrigin { recording: &record.id, start: None };
    let analysis = ClipAnalysis::new(&clip).at(place);
    let feature = |(name, spec): (&String, &FeatureSpec)| -> Result<PlottedFeature> {
        let matrix =
            spec.as_kind().build(rate)?.extract_finite(&analysis).with_context(|| format!("features.{name}"))?;
        let axes = axes::axes(spec, [matrix.rows, matrix.cols], rate, clip.samples.len());
        Ok(PlottedFeature { name: name.clone(), matrix, axes })
    };
    let features = experiment.features.iter().map(feature).collect::<Result<_>>()?;
    Ok((record.id.clone(), features))
}
