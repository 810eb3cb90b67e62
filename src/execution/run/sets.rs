//! The features of a unit for the sides of its split: what is trained on may differ from epoch to epoch.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::material::{Material, Selection};
use timbre_core::seed::Seed;
use timbre_experiment::Experiment;
use timbre_inputs::augment::Chain;
use timbre_inputs::dataset::examples::{ExampleSpec, Replay, TrainingExamples};
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::features::extraction::Extraction;
use timbre_models::training::hyperparameters::TrainingCrop;
use timbre_runs::run_dir::Trial;

pub struct Sets<'a> {
    pub experiment: &'a Experiment,
    pub extraction: &'a Extraction<'a>,
    pub material: &'a Material,
    pub trial: &'a Trial,
    pub selection: &'a Selection,
}

impl Sets<'_> {
    pub fn of(&self, rows: &[usize]) -> Result<FeatureSet> {
        let column = self.column();
        let stored = rows.iter().map(|&row| self.selection.stored[row][column].clone()).collect();
        FeatureSet::from_cache(&self.trial.features, stored, self.labels(rows), self.n_classes())
    }

    /// Every window of these recordings, a row each.
    pub fn in_windows(&self, rows: &[usize]) -> Result<FeatureSet> {
        let column = self.column();
        let stored = rows.iter().map(|&row| self.selection.windows[row][column].clone()).collect();
        FeatureSet::from_windows(&self.trial.features, stored, &self.labels(rows), self.n_classes())
    }

    /// Where the windows of these recordings begin, in seconds.
    pub fn starts(&self, rows: &[usize]) -> Vec<Vec<f64>> {
        let (column, rate) = (self.column(), f64::from(self.experiment.audio.sample_rate));
        let of_one = |&row: &usize| {
            let starts = self.selection.windows[row][column].starts();
            starts.iter().map(|&start| start as f64 / rate).collect()
        };
        rows.iter().map(of_one).collect()
    }

    /// The classes of these recordings.
    pub fn labels(&self, rows: &[usize]) -> Vec<Vec<usize>> {
        let records = &self.material.set.records;
        rows.iter().map(|&row| records[self.selection.clips[row]].labels.clone()).collect()
    }

    /// Which of the features the unit is about.
    fn column(&self) -> usize {
        let mut names = self.extraction.names();
        names.position(|n| n == self.trial.features).expect("units name features of the experiment")
    }

    fn n_classes(&self) -> usize {
        self.material.set.classes.len()
    }

    /// The training part: fresh in each epoch, where the model is a network that crops at random or augments.
    pub fn for_training(&self, rows: &[usize]) -> Result<FeatureSet> {
        let train = self.of(rows)?;
        Ok(match self.waves(&train, rows)? {
            Some(waves) => train.with_generator(Arc::new(waves)),
            None => train,
        })
    }

    /// The waves of the training part, where the model asks for more than its cached rows.
    pub fn waves(&self, train: &FeatureSet, rows: &[usize]) -> Result<Option<TrainingExamples>> {
        let Some(network) = self.experiment.models[&self.trial.model].as_kind().as_network() else { return Ok(None) };
        let training = network.training();
        let chain = Chain::of(&self.experiment.augment, training.augment.as_deref());
        let replay = training.replay.as_ref().map(|path| Replay::read(Path::new(path), self.trial.seed)).transpose()?;
        let hearing = ExampleSpec { random_crop: training.crop == TrainingCrop::Random, chain, replay };
        if !hearing.random_crop && hearing.chain.is_empty() && hearing.replay.is_none() {
            return Ok(None);
        }
        let sources: Vec<_> = rows.iter().map(|&row| self.material.source(self.selection.clips[row])).collect();
        if let Some(replay) = &hearing.replay {
            replay.ensure_complete(sources.iter().map(|source| source.id.as_str()), training.epochs)?;
        }
        let seed = Seed::new(self.trial.seed).child("waves");
        let feature = &self.experiment.features[&self.trial.features];
        TrainingExamples::new(train, sources, &self.experiment.audio, feature, seed, hearing).map(Some)
    }
}
