//! The features of a unit for the sides of its split: what is trained on may differ from epoch to epoch.

use std::sync::Arc;

use anyhow::Result;

use super::material::{Material, Selection};
use crate::augment::Chain;
use crate::dataset::FeatureSet;
use crate::experiment::Experiment;
use crate::precompute::Extraction;
use crate::run_dir::Unit;
use crate::seed::Seed;
use crate::waves::{Hearing, Replay, Waves};

pub struct Sets<'a> {
    pub experiment: &'a Experiment,
    pub extraction: &'a Extraction<'a>,
    pub material: &'a Material,
    pub unit: &'a Unit,
    pub selection: &'a Selection,
}

impl Sets<'_> {
    pub fn of(&self, rows: &[usize]) -> Result<FeatureSet> {
        let mut names = self.extraction.names();
        let column = names.position(|n| n == self.unit.features).expect("units name features of the experiment");
        let set = &self.material.set;
        let stored = rows.iter().map(|&row| self.selection.stored[row][column].clone()).collect();
        let labels = rows.iter().map(|&row| set.records[self.selection.clips[row]].labels.clone()).collect();
        FeatureSet::from_store(&self.unit.features, stored, labels, set.classes.len())
    }

    /// The training part: fresh in each epoch, where the model is a network that crops at random or augments.
    pub fn for_training(&self, rows: &[usize]) -> Result<FeatureSet> {
        let train = self.of(rows)?;
        Ok(match self.waves(&train, rows)? {
            Some(waves) => train.with_fresh(Arc::new(waves)),
            None => train,
        })
    }

    /// The waves of the training part, where the model asks for more than its cached rows.
    pub fn waves(&self, train: &FeatureSet, rows: &[usize]) -> Result<Option<Waves>> {
        let model = self.experiment.models[&self.unit.model].as_kind();
        let chain = Chain::of(&self.experiment.augment, model.augmentations().as_deref());
        let replay = model.replay().map(|path| Replay::read(&path, self.unit.seed)).transpose()?;
        let hearing = Hearing { random_crop: model.crops_at_random(), chain, replay };
        if !hearing.random_crop && hearing.chain.is_empty() && hearing.replay.is_none() {
            return Ok(None);
        }
        let sources: Vec<_> = rows.iter().map(|&row| self.material.source(self.selection.clips[row])).collect();
        if let Some(replay) = &hearing.replay {
            replay.ensure_whole(sources.iter().map(|source| source.id.as_str()), model.epochs())?;
        }
        let seed = Seed::new(self.unit.seed).child("waves");
        let feature = &self.experiment.features[&self.unit.features];
        Waves::new(train, sources, &self.experiment.audio, feature, seed, hearing).map(Some)
    }
}
