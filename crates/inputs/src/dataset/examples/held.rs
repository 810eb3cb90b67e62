//! Decoded recordings, held as long as there is room for them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};

use super::ExampleSource;
use timbre_signal::audio::{self, AudioSpec, Recording};

/// What decoded recordings may take.
pub const HELD_BYTES: usize = 2 << 30;

/// The recordings of a training part.
pub struct Recordings {
    sources: Vec<ExampleSource>,
    audio: AudioSpec,
    /// Whether those that are no longer than a clip are of any use beside their cached rows.
    holds_short: bool,
    /// What the first reading of each recording has found, where it is kept.
    pub(super) known: Vec<OnceLock<Known>>,
    /// Bytes that are left for recordings.
    pub(super) left: AtomicUsize,
}

pub enum Known {
    /// No longer than a clip, and not held.
    Short,
    Held(Recording),
}

/// A recording when it is wanted.
pub enum Found<'a> {
    /// No longer than a clip: the cache has all of it.
    Short,
    Held(&'a Recording),
    /// There was no room for it.
    Passing(Recording),
}

impl Recordings {
    pub fn new(sources: Vec<ExampleSource>, audio: AudioSpec, holds_short: bool) -> Recordings {
        let known = sources.iter().map(|_| OnceLock::new()).collect();
        Recordings { sources, audio, holds_short, known, left: HELD_BYTES.into() }
    }

    pub fn len(&self) -> usize {
        self.sources.len()
    }

    pub fn source(&self, row: usize) -> &ExampleSource {
        &self.sources[row]
    }

    pub fn audio(&self) -> &AudioSpec {
        &self.audio
    }

    /// The recording of a row: decoded when it is first wanted, and again where it could not be held.
    pub fn find(&self, row: usize) -> Result<Found<'_>> {
        if self.known[row].get().is_none() {
            let recording = self.decode(row)?;
            if !self.holds_short && recording.max_start(&self.audio) == 0 {
                // If another thread has found the same meanwhile, all the better.
                let _ = self.known[row].set(Known::Short);
            } else if let Some(unkept) = self.keep(row, recording) {
                return Ok(Found::Passing(unkept));
            }
        }
        Ok(match self.known[row].get().expect("it has just been found out") {
            Known::Short => Found::Short,
            Known::Held(recording) => Found::Held(recording),
        })
    }

    pub fn decode(&self, row: usize) -> Result<Recording> {
        let ExampleSource { path, content, .. } = &self.sources[row];
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {} any more: run again", path.display()))?;
        if blake3::hash(&bytes).as_bytes() != content {
            bail!("{} was changed while this run was training on it: run again", path.display());
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        audio::decode(&bytes, extension).with_context(|| format!("cannot use {} any more", path.display()))
    }

    /// Keeps a recording if there is room for it, or gives it back as it came.
    pub(super) fn keep(&self, row: usize, recording: Recording) -> Option<Recording> {
        let rate = recording.sample_rate.min(self.audio.sample_rate);
        let bytes = 4 * audio::resampled_len(recording.samples.len(), recording.sample_rate, rate);
        let take = |left: usize| left.checked_sub(bytes);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Some(recording);
        }
        let samples = audio::resample(&recording.samples, recording.sample_rate, rate);
        let held = Recording { samples, sample_rate: rate, ..recording };
        if self.known[row].set(Known::Held(held)).is_err() {
            // Another thread was faster with the same one.
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        None
    }

    /// How many samples a recording has at the wanted rate.
    pub fn whole(&self, recording: &Recording) -> usize {
        audio::resampled_len(recording.samples.len(), recording.sample_rate, self.audio.sample_rate)
    }

    /// `length` samples of a recording at the wanted rate, from `begin` on or as much earlier as it takes for the recording to
    /// fill them; silence follows a shorter one.
    pub fn piece(&self, recording: &Recording, begin: usize, length: usize) -> Vec<f32> {
        let whole = self.whole(recording);
        let begin = begin.min(whole.saturating_sub(length));
        let range = begin..whole.min(begin + length);
        let mut samples =
            audio::resample_range(&recording.samples, recording.sample_rate, self.audio.sample_rate, range);
        samples.resize(length, 0.0);
        samples
    }
}
