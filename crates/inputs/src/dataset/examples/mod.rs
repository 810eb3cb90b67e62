//! Training examples: networks see each recording cut and augmented differently in every epoch.
//!
//! A recording that is longer than a clip is cut at a random position (uniform over all positions of a complete clip) or
//! where `audio.crop` says. Then the augmentations of the network are applied: first those on the waveform, then the feature is
//! computed, then those on the image (see [`crate::augment`]). Every draw has an address (seed, epoch, recording, name of the
//! augmentation), so neither the order of the epoch nor the number of threads nor a resumed training changes it; a recording
//! that is drawn twice in an epoch gives the same example. If no draw changes the waveform and the clip lies where the cache
//! cut it, the example starts from the cached row, which has the same bits.
//!
//! Draws that change the tempo use a longer or shorter piece of the recording with the clip in its middle, as far as the
//! recording reaches; silence follows its end.
//!
//! Memory: decoded recordings are kept in mono, at the lower of their own and the requested sample rate, up to
//! [`MAX_DECODED_BYTES`]. Further recordings are decoded in each epoch. Replacing kept recordings would gain nothing, because each
//! epoch asks for every recording once, in a different order.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use timbre_core::seed::{Seed, uniform_below};
use timbre_signal::audio::{AudioSpec, Clip, Recording};

use super::recordings::Recordings;
use crate::augment::copies::FixedCopy;
use crate::augment::{AugmentContext, Backgrounds, Chain, Draw, Image, TempoAndKey, chain};
use crate::dataset::feature_set::FeatureSet;
use crate::dataset::row_source::{ExampleGenerator, WaveformSource};
use crate::features::cache::Hash;
use crate::features::{ClipAnalysis, Extractor, FeatureSpec};

mod clip_pool;
mod replay;
mod tempo_key;
#[cfg(test)]
mod augment_tests;
#[cfg(test)]
mod tests;

pub use super::recordings::{ExampleSource, MAX_DECODED_BYTES};
pub use replay::{DrawRecord, Replay};

/// How the training examples of a network are made.
#[derive(Debug)]
pub struct ExampleSpec {
    /// Whether to cut at a different position in each epoch instead of where `audio.crop` says.
    pub random_crop: bool,
    pub chain: Chain,
    /// The fixed copies of every recording; the chain changes them too.
    pub copies: Vec<FixedCopy>,
    /// Recorded draws that replace those of the chain.
    pub replay: Option<Replay>,
}

/// What the training sets of a run share: decoded background recordings, and estimates by content hash and sample rate.
#[derive(Default)]
pub struct ExampleCaches {
    backgrounds: Backgrounds,
    tempo_and_key: Mutex<HashMap<(Hash, u32), TempoAndKey>>,
}

/// The training set of a network, cut and augmented differently in each epoch. The rows of the recordings come first, then those of
/// their first copies, then those of their second copies.
pub struct TrainingExamples {
    cached: FeatureSet,
    recordings: Recordings,
    rows: HashMap<String, usize>,
    feature: FeatureSpec,
    extractor: Box<dyn Extractor>,
    seed: Seed,
    spec: ExampleSpec,
    caches: Arc<ExampleCaches>,
    /// Of each row, if the chain needs it.
    tempo_and_key: Vec<TempoAndKey>,
}

/// An example with its intermediate results.
pub struct TracedExample {
    pub start: Option<usize>,
    pub draws: Vec<Draw>,
    /// The clip and its feature before all draws.
    pub clip: Vec<f32>,
    pub clip_image: Vec<f32>,
    /// The samples after the waveform draws.
    pub samples: Vec<f32>,
    /// The image after all draws: the input of the network before scaling.
    pub image: Vec<f32>,
    /// The share of each class.
    pub targets: Vec<f32>,
}

impl TrainingExamples {
    /// Examples for the rows of `cached`, whose recordings are `sources`; see [`FeatureSet::with_generator`].
    pub fn new(
        cached: &FeatureSet,
        sources: Vec<ExampleSource>,
        audio: &AudioSpec,
        feature: &FeatureSpec,
        seed: Seed,
        spec: ExampleSpec,
        caches: Arc<ExampleCaches>,
    ) -> Result<TrainingExamples> {
        ensure!(!cached.has_generator(), "make training examples: the set generates its examples already");
        ensure!(
            sources.len() * (1 + spec.copies.len()) == cached.len(),
            "make training examples: {} recordings with {} copies each do not match {} rows",
            sources.len(),
            spec.copies.len(),
            cached.len()
        );
        ensure!(
            audio.clip_seconds.is_some(),
            "make training examples: set `audio.clip_seconds` to the length of a clip"
        );
        let extractor =
            feature.as_kind().build(audio.sample_rate).context("set up the feature of training examples")?;
        let rows = sources.iter().enumerate().map(|(row, source)| (source.id.clone(), row)).collect();
        // Only waveform draws need short recordings, of which the cache has the whole feature.
        let keeps_short = spec.replay.is_some() || spec.chain.changes_waveform();
        let recordings = Recordings::new(sources, audio.clone(), keeps_short);
        let tempo_and_key = match spec.chain.needs_tempo_and_key() {
            true => tempo_key::estimate_all(&recordings, &caches)?,
            false => Vec::new(),
        };
        let (cached, feature) = (cached.clone(), feature.clone());
        Ok(TrainingExamples { cached, recordings, rows, feature, extractor, seed, spec, caches, tempo_and_key })
    }

    /// The number of recordings.
    pub fn len(&self) -> usize {
        self.recordings.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of a recording.
    pub fn row(&self, id: &str) -> Option<usize> {
        self.rows.get(id).copied()
    }

    pub fn id(&self, row: usize) -> &str {
        &self.recordings.source(row % self.len()).id
    }

    fn audio(&self) -> &AudioSpec {
        self.recordings.audio()
    }

    fn samples(&self) -> usize {
        self.audio().clip_samples().expect("training examples have a length")
    }

    /// The random stream of a row in an epoch.
    fn address(&self, stage: &str, row: usize, epoch: usize) -> Seed {
        let address = self.seed.child(stage).child(epoch).child(self.id(row));
        if row < self.len() { address } else { address.child(row / self.len()) }
    }

    /// The draws that make the copy of a row.
    fn fixed_draws(&self, row: usize) -> Result<Vec<Draw>> {
        let Some(copy) = (row / self.len()).checked_sub(1) else { return Ok(Vec::new()) };
        let content = &self.recordings.source(row % self.len()).content;
        self.spec.copies[copy].draws(content, self.audio().sample_rate, self.samples())
    }

    /// The random start of the clip of `row` in an epoch, from 0 to `max_start`.
    fn random_start(&self, row: usize, epoch: usize, max_start: usize) -> usize {
        let address = self.address("crop", row, epoch);
        uniform_below(&mut address.rng(), max_start as u64 + 1) as usize
    }

    /// The start of the clip in its recording; `None` if `audio.crop` decides.
    fn start_of(&self, row: usize, epoch: usize, recording: &Recording) -> Result<Option<usize>> {
        if let Some(replay) = &self.spec.replay {
            return Ok(replay.record(epoch, self.id(row))?.start);
        }
        let max_start = recording.max_start(self.audio());
        Ok((self.spec.random_crop && max_start > 0).then(|| self.random_start(row, epoch, max_start)))
    }

    fn draws(&self, row: usize, epoch: usize) -> Result<Vec<Draw>> {
        let draws = match &self.spec.replay {
            Some(replay) => replay.record(epoch, self.id(row))?.draws.clone(),
            None if self.spec.chain.is_empty() => return Ok(Vec::new()),
            None => {
                let (sample_rate, row_of_recording) = (self.audio().sample_rate, row % self.len());
                let context =
                    AugmentContext { sample_rate, samples: self.samples(), row: row_of_recording, pool: self };
                let drawn = self.spec.chain.draw(self.address("augment", row, epoch), epoch, &context);
                drawn.with_context(|| format!("augment {}", self.id(row)))?
            }
        };
        if tracing::enabled!(tracing::Level::DEBUG) {
            let shown = serde_json::to_string(&draws)?;
            tracing::debug!(target: "timbre::augment", "epoch {} {} {shown}", epoch + 1, self.id(row));
        }
        Ok(draws)
    }

    /// Whether clips may start elsewhere than in the cache.
    fn may_be_cut(&self) -> bool {
        self.spec.random_crop || self.spec.replay.is_some()
    }

    /// The samples of a clip after the waveform draws.
    fn augmented_waveform(
        &self,
        recording: &Recording,
        start: Option<usize>,
        on_waveform: &[Draw],
        targets: &mut [f32],
    ) -> Result<Vec<f32>> {
        chain::augmented_clip(recording, self.audio(), start, on_waveform, targets, self)
    }

    /// Writes the feature of a clip to `out`, and returns the samples.
    fn extract(&self, samples: Vec<f32>, out: &mut [f32]) -> Result<Vec<f32>> {
        let clip = Clip { samples, sample_rate: self.audio().sample_rate };
        let matrix = self.extractor.extract_finite(&ClipAnalysis::new(&clip))?;
        ensure!(
            [matrix.rows, matrix.cols] == self.cached.shape(),
            "make a training example: its feature is {} × {}, but the cached features are {:?}",
            matrix.rows,
            matrix.cols,
            self.cached.shape()
        );
        out.copy_from_slice(&matrix.values);
        Ok(clip.samples)
    }

    fn apply_to_image(&self, on_image: &[Draw], values: &mut [f32], targets: &mut [f32]) -> Result<()> {
        let [rows, cols] = self.cached.image_shape();
        let given = targets.to_vec();
        for (channel, values) in values.chunks_exact_mut(rows * cols).enumerate() {
            // What mixes clips changes the targets once.
            targets.copy_from_slice(&given);
            chain::apply_to_image(on_image, &mut Image { rows, cols, channel, values, targets }, self)?;
        }
        Ok(())
    }

    /// The start of the clip and the draws of a row in an epoch.
    pub fn draws_for(&self, row: usize, epoch: usize) -> Result<(Option<usize>, Vec<Draw>)> {
        let recording = if self.may_be_cut() { self.recordings.find(row)? } else { None };
        let start = match recording {
            Some(recording) => self.start_of(row, epoch, &recording)?,
            None => None,
        };
        Ok((start, self.draws(row, epoch)?))
    }

    /// The example of a row in an epoch with its intermediate results.
    pub fn trace(&self, row: usize, epoch: usize) -> Result<TracedExample> {
        let recording = self.recordings.load(row)?;
        let (start, draws) = (self.start_of(row, epoch, &recording)?, self.draws(row, epoch)?);
        let mut targets = vec![0.0; self.cached.n_classes()];
        self.cached.write_targets(row, &mut targets);
        let (on_waveform, on_image) = chain::split_by_stage(&draws);
        let dims = self.cached.dims();
        let (mut clip_image, mut image) = (vec![0.0; dims], vec![0.0; dims]);
        let clip = self.augmented_waveform(&recording, start, &[], &mut targets)?;
        let clip = self.extract(clip, &mut clip_image)?;
        let samples = self.augmented_waveform(&recording, start, on_waveform, &mut targets)?;
        let samples = self.extract(samples, &mut image)?;
        self.apply_to_image(on_image, &mut image, &mut targets)?;
        Ok(TracedExample { start, draws, clip, clip_image, samples, image, targets })
    }
}

impl ExampleGenerator for TrainingExamples {
    fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
        let draws = self.draws(row, epoch)?;
        let (on_waveform, on_image) = chain::split_by_stage(&draws);
        let is_cached = on_waveform.is_empty() && !self.may_be_cut();
        let recording = if is_cached { None } else { self.recordings.find(row % self.len())? };
        let start = match &recording {
            Some(recording) => self.start_of(row, epoch, recording)?,
            None => None,
        };
        match recording {
            Some(recording) if start.is_some() || !on_waveform.is_empty() => {
                let on_waveform = [&self.fixed_draws(row)?, on_waveform].concat();
                let samples = self.augmented_waveform(&recording, start, &on_waveform, targets)?;
                self.extract(samples, out)?;
            }
            _ => self.cached.read_row(row, out)?,
        }
        self.apply_to_image(on_image, out, targets)
    }

    fn waveforms(&self) -> Option<&dyn WaveformSource> {
        // A device can cut, and nothing else.
        let is_unchanged = self.spec.chain.is_empty() && self.spec.copies.is_empty();
        let only_cut = self.spec.random_crop && self.spec.replay.is_none() && is_unchanged;
        only_cut.then_some(self)
    }
}

impl WaveformSource for TrainingExamples {
    fn feature(&self) -> &FeatureSpec {
        &self.feature
    }

    fn sample_rate(&self) -> u32 {
        self.audio().sample_rate
    }

    fn clip_samples(&self) -> usize {
        self.samples()
    }

    fn waveform(&self, row: usize) -> Result<Vec<f32>> {
        let recording = self.recordings.decode(row)?;
        let whole = self.recordings.resampled_len(&recording);
        Ok(self.recordings.piece(&recording, 0, whole.max(self.samples())))
    }

    fn start(&self, row: usize, epoch: usize, samples: usize) -> usize {
        self.random_start(row, epoch, samples - self.samples())
    }
}
