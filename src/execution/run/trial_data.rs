//! The feature sets and training examples of one trial.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::prepare::PreparedDataset;
use super::select::Selection;
use timbre_core::{labels::Labels, seed::Seed};
use timbre_experiment::Experiment;
use timbre_inputs::augment::Chain;
use timbre_inputs::dataset::examples::{ExampleSpec, Replay, TrainingExamples};
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::features::extraction::Extraction;
use timbre_models::training::hyperparameters::TrainingCrop;
use timbre_runs::run_dir::Trial;

pub struct TrialData<'a> {
    pub experiment: &'a Experiment,
    pub extraction: &'a Extraction<'a>,
    pub dataset: &'a PreparedDataset,
    pub trial: &'a Trial,
    pub selection: &'a Selection,
}

/// `rows` are indices into `selection.clips`.
impl TrialData<'_> {
    /// One row per clip.
    pub fn clips(&self, rows: &[usize]) -> Result<FeatureSet> {
        let column = self.column();
        let cached = rows.iter().map(|&row| self.selection.features[row][column].clone()).collect();
        FeatureSet::from_cache(&self.trial.features, cached, self.labels(rows), self.n_classes())
    }

    /// One row per window of these recordings.
    pub fn windows(&self, rows: &[usize]) -> Result<FeatureSet> {
        let column = self.column();
        let cached = rows.iter().map(|&row| self.selection.windows[row][column].clone()).collect();
        FeatureSet::from_windows(&self.trial.features, cached, &self.labels(rows), self.n_classes())
    }

    /// The start of each window of these recordings, in seconds.
    pub fn window_starts(&self, rows: &[usize]) -> Vec<Vec<f64>> {
        let (column, rate) = (self.column(), f64::from(self.experiment.audio.sample_rate));
        let of_recording = |&row: &usize| {
            let starts = self.selection.windows[row][column].starts();
            starts.iter().map(|&start| start as f64 / rate).collect()
        };
        rows.iter().map(of_recording).collect()
    }

    /// The classes of these recordings.
    pub fn labels(&self, rows: &[usize]) -> Vec<Labels> {
        let records = &self.dataset.set.records;
        rows.iter().map(|&row| records[self.selection.clips[row]].labels.clone()).collect()
    }

    /// The song of each of these recordings, as a number.
    fn songs(&self, rows: &[usize]) -> Vec<usize> {
        let records = &self.dataset.set.records;
        let names: Vec<&str> = rows.iter().map(|&row| records[self.selection.clips[row]].group.as_str()).collect();
        let known: BTreeMap<&str, usize> = {
            let distinct: BTreeSet<&str> = names.iter().copied().collect();
            distinct.into_iter().zip(0..).collect()
        };
        names.iter().map(|name| known[name]).collect()
    }

    /// The index of the trial's feature.
    fn column(&self) -> usize {
        let mut names = self.extraction.names();
        names.position(|n| n == self.trial.features).expect("a trial has a feature of the experiment")
    }

    fn n_classes(&self) -> usize {
        self.dataset.set.classes.len()
    }

    /// The training subset. For a network that crops at random or augments, it generates new examples in each epoch.
    pub fn training_set(&self, rows: &[usize]) -> Result<FeatureSet> {
        let records = &self.dataset.set.records;
        let weights = rows.iter().map(|&row| records[self.selection.clips[row]].weight).collect();
        let train = self.clips(rows)?.with_weights(weights).with_groups(self.songs(rows));
        Ok(match self.training_examples(&train, rows)? {
            Some(examples) => train.with_generator(Arc::new(examples)),
            None => train,
        })
    }

    /// The generator of training examples; None for a model that trains on the cached features alone.
    pub fn training_examples(&self, train: &FeatureSet, rows: &[usize]) -> Result<Option<TrainingExamples>> {
        let Some(network) = self.experiment.models[&self.trial.model].as_kind().as_network() else { return Ok(None) };
        let training = network.training();
        let chain = Chain::select(&self.experiment.augment, training.augment.as_deref());
        let replay = training.replay.as_ref().map(|path| Replay::read(Path::new(path), self.trial.seed)).transpose()?;
        let spec = ExampleSpec { random_crop: training.crop == TrainingCrop::Random, chain, replay };
        if !spec.random_crop && spec.chain.is_empty() && spec.replay.is_none() {
            return Ok(None);
        }
        let sources: Vec<_> = rows.iter().map(|&row| self.dataset.source(self.selection.clips[row])).collect();
        if let Some(replay) = &spec.replay {
            replay.ensure_complete(sources.iter().map(|source| source.id.as_str()), training.epochs)?;
        }
        let seed = Seed::new(self.trial.seed).child("waves");
        let feature = &self.experiment.features[&self.trial.features];
        let caches = self.dataset.example_caches.clone();
        TrainingExamples::new(train, sources, &self.experiment.audio, feature, seed, spec, caches).map(Some)
    }
}
