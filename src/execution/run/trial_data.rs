//! The feature sets and training examples of one trial.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use indexmap::IndexMap;

use super::prepare::PreparedDataset;
use super::select::Selection;
use timbre_core::{error::UserError, labels::Labels, seed::Seed};
use timbre_experiment::Experiment;
use timbre_inputs::augment::{Chain, copies::FixedCopy};
use timbre_inputs::dataset::examples::{ExampleSpec, Replay, TrainingExamples};
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::dataset::tags::{self, AuxiliaryTargets, TagRows, TagValues};
use timbre_inputs::features::extraction::Extraction;
use timbre_models::hyperparameters::{Training, TrainingCrop};
use timbre_runs::run_dir::Trial;

pub struct TrialData<'a> {
    pub experiment: &'a Experiment,
    pub extraction: &'a Extraction<'a>,
    pub dataset: &'a PreparedDataset,
    pub trial: &'a Trial,
    pub selection: &'a Selection,
    /// The values of tags that the network of the trial sees beside the image.
    pub tags: TagValues,
}

/// `rows` are indices into `selection.clips`.
impl TrialData<'_> {
    /// One row per clip.
    pub fn clips(&self, rows: &[usize]) -> Result<FeatureSet> {
        Ok(self.with_tags(self.with_copies(rows, &[])?, rows, 0.0))
    }

    /// The tags of these recordings.
    fn tags_of(&self, rows: &[usize]) -> Vec<&BTreeMap<String, String>> {
        let records = &self.dataset.set.records;
        rows.iter().map(|&row| &records[self.selection.clips[row]].tags).collect()
    }

    /// The values that the tags which the network of the trial sees have in these recordings.
    pub fn tag_values(&self, rows: &[usize]) -> Result<TagValues> {
        let Some(network) = self.experiment.models[&self.trial.model].as_network() else {
            return Ok(TagValues::default());
        };
        self.ensure_values(tags::values_of(&network.training().tags, &self.tags_of(rows)))
    }

    fn ensure_values(&self, values: TagValues) -> Result<TagValues> {
        if let Some((tag, _)) = values.iter().find(|(_, values)| values.is_empty()) {
            let (model, set) = (&self.trial.model, &self.dataset.set.name);
            let sentence = format!("models.{model}: no training recording of `{set}` has the tag `{tag}`");
            bail!(UserError::usage(sentence));
        }
        Ok(values)
    }

    /// The same set with the tags of these recordings, one per row, if the network sees any.
    fn with_tags(&self, set: FeatureSet, rows: &[usize], dropout: f64) -> FeatureSet {
        if self.tags.is_empty() {
            return set;
        }
        let sizes = self.tags.values().map(Vec::len).collect();
        let places = self.tags_of(rows).into_iter().map(|own| tags::places(&self.tags, own)).collect();
        set.with_tag_rows(TagRows { sizes, places, dropout, seed: Seed::new(self.trial.seed).child("tags") })
    }

    /// The same set with the values of the tags that the network learns beside the classes.
    fn with_auxiliary(&self, set: FeatureSet, rows: &[usize], weights: &IndexMap<String, f64>) -> Result<FeatureSet> {
        if weights.is_empty() {
            return Ok(set);
        }
        let own = self.tags_of(rows);
        let values = self.ensure_values(tags::values_of(weights.keys(), &own))?;
        let tags = values.values().map(Vec::len).zip(weights.values().copied()).collect();
        let rows = own.into_iter().map(|own| tags::places(&values, own)).collect();
        Ok(set.with_auxiliary(AuxiliaryTargets { tags, rows }))
    }

    /// One row per window of these recordings.
    pub fn windows(&self, rows: &[usize]) -> Result<FeatureSet> {
        let column = self.column();
        let n_windows = |&row: &usize| self.selection.windows[row][column].starts().len();
        let repeated: Vec<usize> = rows.iter().flat_map(|row| std::iter::repeat_n(*row, n_windows(row))).collect();
        Ok(self.with_tags(self.untagged_windows(rows)?, &repeated, 0.0))
    }

    /// One row per window of these recordings, without tags.
    pub(super) fn untagged_windows(&self, rows: &[usize]) -> Result<FeatureSet> {
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
        let copies = self.copies();
        // The recordings, then their first copies, then their second copies.
        let all = rows.repeat(1 + copies.len());
        let weights = all.iter().map(|&row| records[self.selection.clips[row]].weight).collect();
        let train = self.with_copies(rows, &copies)?.with_weights(weights).with_groups(self.songs(&all));
        let train = match self.training_examples(&train, rows)? {
            Some(examples) => train.with_generator(Arc::new(examples)),
            None => train,
        };
        let Some(network) = self.experiment.models[&self.trial.model].as_network() else { return Ok(train) };
        let Training { tag_dropout, auxiliary, .. } = network.training();
        self.with_auxiliary(self.with_tags(train, &all, *tag_dropout), &all, auxiliary)
    }

    /// The places of the copies that the model trains on among those of the experiment.
    pub(super) fn copies(&self) -> Vec<usize> {
        let chosen = self.experiment.models[&self.trial.model].as_network();
        let chosen = chosen.and_then(|network| network.training().augment.as_ref());
        let is_chosen = |copy: &FixedCopy| chosen.is_none_or(|names| names.contains(&copy.name));
        let copies = self.extraction.copies().iter().enumerate();
        copies.filter(|(_, copy)| is_chosen(copy)).map(|(place, _)| place).collect()
    }

    /// One row per clip, then one per copy of each clip; without tags.
    pub(super) fn with_copies(&self, rows: &[usize], copies: &[usize]) -> Result<FeatureSet> {
        let (column, columns) = (self.column(), self.extraction.names().count());
        let clips = rows.iter().map(|&row| self.selection.features[row][column].clone());
        let copied =
            |&copy: &usize| rows.iter().map(move |&row| self.selection.copies[row][copy * columns + column].clone());
        let cached = clips.chain(copies.iter().flat_map(copied)).collect();
        let labels = self.labels(&rows.repeat(1 + copies.len()));
        let set = FeatureSet::from_cache(&self.trial.features, cached, labels, self.n_classes())?;
        Ok(set.with_channels(self.experiment.features[&self.trial.features].as_kind().channels()))
    }

    /// The generator of training examples; None for a model that trains on the cached features alone.
    pub fn training_examples(&self, train: &FeatureSet, rows: &[usize]) -> Result<Option<TrainingExamples>> {
        let Some(network) = self.experiment.models[&self.trial.model].as_network() else { return Ok(None) };
        let training = network.training();
        let chain = Chain::select(&self.experiment.augment, training.augment.as_deref());
        let replay = training.replay.as_ref().map(|path| Replay::read(Path::new(path), self.trial.seed)).transpose()?;
        let copies = self.copies().into_iter().map(|place| self.extraction.copies()[place].clone()).collect();
        let spec = ExampleSpec { random_crop: training.crop == TrainingCrop::Random, chain, copies, replay };
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
