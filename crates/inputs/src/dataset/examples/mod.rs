//! Training examples made of the wave, another one in each epoch: what a network learns from when one row of the cache a
//! recording is not enough.
//!
//! A recording that is longer than a clip is cut at a place drawn from (seed, epoch, recording), uniform over every place at
//! which a whole clip begins, or where `audio.crop` says. Then the draws of the network's augmentations are done: those on the wave,
//! then the feature is computed, then those on the image (see [`crate::augment`]). Every draw has an address (seed, epoch,
//! recording, name of the augmentation), so neither the order of the epoch nor the number of threads nor a resumed training
//! changes it; a recording that is drawn twice in an epoch is the same example. Where nothing is drawn on the wave and the clip
//! lies where the cache cut it, the example is made of the cached row, which it would be bit for bit.
//!
//! Draws that change the tempo take a longer or shorter piece of the recording, with the clip in its middle as far as the recording
//! reaches, and silence where it ends.
//!
//! Memory: decoded recordings, mono and at the lower of their own and the wanted rate, until [`HELD_BYTES`] are full. Those
//! that come later are decoded in each epoch: as each epoch asks for every recording once, in another order, throwing
//! another one out for them would gain nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::augment::{AugmentContext, Chain, Draw, Image, Music, Sound, chain};
use crate::dataset::feature_set::{ExampleGenerator, FeatureSet, WaveformSource};
use crate::features::cache::Hash;
use crate::features::{ClipAnalysis, Extractor, FeatureSpec};
use timbre_core::seed::{Seed, uniform_below};
use timbre_signal::audio::{AudioSpec, Clip, Crop, Recording};

mod clip_pool;
mod held;
mod tempo_key;
mod replay;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod augment_tests;

pub use held::HELD_BYTES;
pub use replay::{DrawRecord, Replay};

use held::{Found, Recordings};

/// The recording of a row.
#[derive(Clone, Debug, Default)]
pub struct ExampleSource {
    pub path: PathBuf,
    /// Names its random draws: where the folder of the data lies must not matter.
    pub id: String,
    /// Of its bytes: the hash under which its row of the cache was computed.
    pub content: Hash,
    pub song: String,
    /// What the data set says of it.
    pub tags: BTreeMap<String, String>,
}

/// How a network hears its training recordings.
#[derive(Debug)]
pub struct ExampleSpec {
    /// Cut at another place in each epoch, or where `audio.crop` says.
    pub random_crop: bool,
    pub chain: Chain,
    /// Recorded draws in the place of those of the chain.
    pub replay: Option<Replay>,
}

/// The training part of a network, cut and augmented anew in each epoch.
pub struct TrainingExamples {
    cached: FeatureSet,
    recordings: Recordings,
    rows: HashMap<String, usize>,
    feature: FeatureSpec,
    extractor: Box<dyn Extractor>,
    seed: Seed,
    hearing: ExampleSpec,
    /// Of each row, where the chain asks for it.
    music: Vec<Music>,
}

/// One example with all that led to it.
pub struct TracedExample {
    pub start: Option<usize>,
    pub draws: Vec<Draw>,
    /// The clip and its feature before any draw.
    pub clip: Vec<f32>,
    pub clip_image: Vec<f32>,
    /// After the draws on the wave.
    pub samples: Vec<f32>,
    /// After all draws: what the network gets, before it is scaled.
    pub image: Vec<f32>,
    /// How much of each class is in it.
    pub targets: Vec<f32>,
}

impl TrainingExamples {
    /// The rows of `cached` afresh, `sources` in their order: `FeatureSet::with_generator` takes it.
    pub fn new(
        cached: &FeatureSet,
        sources: Vec<ExampleSource>,
        audio: &AudioSpec,
        feature: &FeatureSpec,
        seed: Seed,
        hearing: ExampleSpec,
    ) -> Result<TrainingExamples> {
        ensure!(!cached.has_generator(), "make fresh examples: the examples of the set are fresh already");
        ensure!(
            sources.len() == cached.len(),
            "make fresh examples: {} recordings are no match for {} rows",
            sources.len(),
            cached.len()
        );
        ensure!(audio.clip_seconds.is_some(), "make fresh examples: set `audio.clip_seconds` to the length of a clip");
        let extractor = feature.as_kind().build(audio.sample_rate).context("set up a feature for fresh examples")?;
        let rows = sources.iter().enumerate().map(|(row, source)| (source.id.clone(), row)).collect();
        // Only what is done to waves needs those that the cache has whole.
        let holds_short = hearing.replay.is_some() || hearing.chain.is_on_sound();
        let recordings = Recordings::new(sources, audio.clone(), holds_short);
        let (cached, feature) = (cached.clone(), feature.clone());
        let mut waves =
            TrainingExamples { cached, recordings, rows, feature, extractor, seed, hearing, music: Vec::new() };
        if waves.hearing.chain.wants_music() {
            waves.music = tempo_key::of_all(&waves.recordings)?;
        }
        Ok(waves)
    }

    pub fn len(&self) -> usize {
        self.cached.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cached.is_empty()
    }

    /// The row of a recording.
    pub fn row(&self, id: &str) -> Option<usize> {
        self.rows.get(id).copied()
    }

    pub fn id(&self, row: usize) -> &str {
        &self.recordings.source(row).id
    }

    fn audio(&self) -> &AudioSpec {
        self.recordings.audio()
    }

    fn samples(&self) -> usize {
        self.audio().clip_samples().expect("fresh examples have a length")
    }

    /// Where the recording of `row` is cut in an epoch, if it is so many samples longer than a clip.
    fn draw(&self, row: usize, epoch: usize, spare: usize) -> usize {
        let address = self.seed.child("crop").child(epoch).child(self.id(row));
        uniform_below(&mut address.rng(), spare as u64 + 1) as usize
    }

    /// Where a recording is cut in an epoch; nothing where `audio.crop` says it.
    fn start(&self, row: usize, epoch: usize, recording: &Recording) -> Result<Option<usize>> {
        if let Some(replay) = &self.hearing.replay {
            return Ok(replay.of(epoch, self.id(row))?.start);
        }
        let spare = recording.max_start(self.audio());
        Ok((self.hearing.random_crop && spare > 0).then(|| self.draw(row, epoch, spare)))
    }

    /// What is done to a row in an epoch.
    fn draws(&self, row: usize, epoch: usize) -> Result<Vec<Draw>> {
        let draws = match &self.hearing.replay {
            Some(replay) => replay.of(epoch, self.id(row))?.draws.clone(),
            None if self.hearing.chain.is_empty() => return Ok(Vec::new()),
            None => {
                let address = self.seed.child("augment").child(epoch).child(self.id(row));
                let sample_rate = self.audio().sample_rate;
                let scene = AugmentContext { sample_rate, samples: self.samples(), row, company: self };
                self.hearing.chain.draw(address, &scene).with_context(|| format!("augment {}", self.id(row)))?
            }
        };
        if tracing::enabled!(tracing::Level::DEBUG) {
            let shown = serde_json::to_string(&draws)?;
            tracing::debug!(target: "timbre::augment", "epoch {} {} {shown}", epoch + 1, self.id(row));
        }
        Ok(draws)
    }

    /// Whether clips may lie elsewhere than where the cache cut them.
    fn may_be_cut(&self) -> bool {
        self.hearing.random_crop || self.hearing.replay.is_some()
    }

    /// A clip after the draws on the wave.
    fn sound(
        &self,
        recording: &Recording,
        start: Option<usize>,
        on_sound: &[Draw],
        targets: &mut [f32],
    ) -> Result<Vec<f32>> {
        let samples = self.samples();
        let spare = recording.max_start(self.audio());
        let start = start.unwrap_or(match self.audio().crop {
            Crop::Start => 0,
            Crop::Centre => spare / 2,
        });
        let span = chain::span(on_sound, samples);
        // The clip in the middle of its piece.
        let begin = (start + samples / 2).saturating_sub(span / 2);
        let piece = self.recordings.piece(recording, if span == samples { start } else { begin }, span);
        let mut sound = Sound { samples: piece, sample_rate: self.audio().sample_rate, targets: targets.to_vec() };
        chain::play_on_sound(on_sound, &mut sound, samples, self)?;
        targets.copy_from_slice(&sound.targets);
        Ok(sound.samples)
    }

    /// The feature of a clip.
    fn extract(&self, samples: Vec<f32>, out: &mut [f32]) -> Result<Vec<f32>> {
        let clip = Clip { samples, sample_rate: self.audio().sample_rate };
        let matrix = self.extractor.extract(&ClipAnalysis::new(&clip))?;
        ensure!(
            [matrix.rows, matrix.cols] == self.cached.shape(),
            "cut a clip: its feature is {} × {}, and the cached ones are {:?}",
            matrix.rows,
            matrix.cols,
            self.cached.shape()
        );
        out.copy_from_slice(&matrix.values);
        Ok(clip.samples)
    }

    fn finish(&self, on_image: &[Draw], values: &mut [f32], targets: &mut [f32]) -> Result<()> {
        let [rows, cols] = self.cached.shape();
        chain::play_on_image(on_image, &mut Image { rows, cols, values, targets }, self)
    }

    /// What is drawn for a row in an epoch.
    pub fn draws_for(&self, row: usize, epoch: usize) -> Result<(Option<usize>, Vec<Draw>)> {
        let start = match self.may_be_cut() {
            false => None,
            true => match self.recordings.find(row)? {
                Found::Short => None,
                Found::Held(recording) => self.start(row, epoch, recording)?,
                Found::Passing(recording) => self.start(row, epoch, &recording)?,
            },
        };
        Ok((start, self.draws(row, epoch)?))
    }

    /// The example of a row in an epoch, with what it was made of.
    pub fn trace(&self, row: usize, epoch: usize) -> Result<TracedExample> {
        let passing;
        let recording = match self.recordings.find(row)? {
            Found::Held(recording) => recording,
            Found::Passing(recording) => {
                passing = recording;
                &passing
            }
            Found::Short => {
                passing = self.recordings.decode(row)?;
                &passing
            }
        };
        let (start, draws) = (self.start(row, epoch, recording)?, self.draws(row, epoch)?);
        let mut targets = vec![0.0; self.cached.n_classes()];
        self.cached.write_targets(row, &mut targets);
        let (on_sound, on_image) = chain::parted(&draws);
        let dims = self.cached.dims();
        let (mut clip_image, mut image) = (vec![0.0; dims], vec![0.0; dims]);
        let clip = self.sound(recording, start, &[], &mut targets)?;
        let clip = self.extract(clip, &mut clip_image)?;
        let samples = self.sound(recording, start, on_sound, &mut targets)?;
        let samples = self.extract(samples, &mut image)?;
        self.finish(on_image, &mut image, &mut targets)?;
        Ok(TracedExample { start, draws, clip, clip_image, samples, image, targets })
    }
}

impl ExampleGenerator for TrainingExamples {
    fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
        let draws = self.draws(row, epoch)?;
        let (on_sound, on_image) = chain::parted(&draws);
        let of_recording = |recording: &Recording, out: &mut [f32], targets: &mut [f32]| {
            let start = self.start(row, epoch, recording)?;
            if on_sound.is_empty() && start.is_none() {
                return self.cached.read_row(row, out);
            }
            let samples = self.sound(recording, start, on_sound, targets)?;
            self.extract(samples, out).map(drop)
        };
        if on_sound.is_empty() && !self.may_be_cut() {
            self.cached.read_row(row, out)?;
        } else {
            match self.recordings.find(row)? {
                Found::Short => self.cached.read_row(row, out)?,
                Found::Held(recording) => of_recording(recording, out, targets)?,
                Found::Passing(recording) => of_recording(&recording, out, targets)?,
            }
        }
        self.finish(on_image, out, targets)
    }

    fn waveforms(&self) -> Option<&dyn WaveformSource> {
        // A device cuts, and that is all it does.
        let only_cut = self.hearing.random_crop && self.hearing.replay.is_none() && self.hearing.chain.is_empty();
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
        let whole = self.recordings.whole(&recording);
        Ok(self.recordings.piece(&recording, 0, whole.max(self.samples())))
    }

    fn start(&self, row: usize, epoch: usize, samples: usize) -> usize {
        self.draw(row, epoch, samples - self.samples())
    }
}
