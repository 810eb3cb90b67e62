//! The decoded recordings of a training set, kept in memory while there is room.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use timbre_signal::audio::{self, AudioSpec, Excerpt, Recording};

use crate::augment::chain;
use crate::features::cache::Hash;
use crate::features::extraction::decode_unchanged;

/// The limit for decoded recordings in memory, in bytes.
pub const MAX_DECODED_BYTES: usize = 2 << 30;

/// The recording of a row.
#[derive(Clone, Debug, Default)]
pub struct ExampleSource {
    pub path: PathBuf,
    /// The part of the file, if the recording is not all of it.
    pub excerpt: Option<Excerpt>,
    /// The name of its random streams; independent of the folder of the data.
    pub id: String,
    /// The hash of its bytes, under which its row of the cache was computed.
    pub content: Hash,
    pub song: String,
    /// Tags from the data set.
    pub tags: BTreeMap<String, String>,
}

/// The recordings of a training set.
pub struct Recordings {
    sources: Vec<ExampleSource>,
    audio: AudioSpec,
    /// Whether to keep recordings that are no longer than a clip: their cached rows may suffice.
    keeps_short: bool,
    /// The state of each recording after it was first decoded, unless there was no room for it.
    pub(super) decoded: Vec<OnceLock<Decoded>>,
    /// Free bytes.
    pub(super) free: AtomicUsize,
}

pub(super) enum Decoded {
    /// No longer than a clip, and not kept.
    Short,
    Kept(Recording),
}

impl Recordings {
    pub fn new(sources: Vec<ExampleSource>, audio: AudioSpec, keeps_short: bool) -> Recordings {
        let decoded = sources.iter().map(|_| OnceLock::new()).collect();
        Recordings { sources, audio, keeps_short, decoded, free: MAX_DECODED_BYTES.into() }
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

    /// The recording of a row; `None` if short recordings are not kept and it is no longer than a clip, so that the cache has
    /// all of it. A recording is decoded on first use, and each time if there is no room for it.
    pub fn find(&self, row: usize) -> Result<Option<Cow<'_, Recording>>> {
        if self.decoded[row].get().is_none() {
            let recording = self.decode(row)?;
            if !self.keeps_short && recording.max_start(&self.audio) == 0 {
                // Another thread may have set the same value.
                let _ = self.decoded[row].set(Decoded::Short);
            } else if let Some(rejected) = self.keep(row, recording) {
                return Ok(Some(Cow::Owned(rejected)));
            }
        }
        Ok(match self.decoded[row].get().expect("set above") {
            Decoded::Short => None,
            Decoded::Kept(recording) => Some(Cow::Borrowed(recording)),
        })
    }

    /// The recording of a row, short or not.
    pub fn load(&self, row: usize) -> Result<Cow<'_, Recording>> {
        Ok(match self.find(row)? {
            Some(recording) => recording,
            None => Cow::Owned(self.decode(row)?),
        })
    }

    pub fn decode(&self, row: usize) -> Result<Recording> {
        let ExampleSource { path, excerpt, content, .. } = &self.sources[row];
        decode_unchanged(path, excerpt.as_ref(), content, &self.audio)?
            .with_context(|| format!("cannot decode {} any more", path.display()))
    }

    /// Keeps a recording if there is room for it, else returns it.
    pub(super) fn keep(&self, row: usize, recording: Recording) -> Option<Recording> {
        let rate = recording.sample_rate.min(self.audio.sample_rate);
        let bytes = 4 * audio::resampled_len(recording.samples.len(), recording.sample_rate, rate);
        let take = |free: usize| free.checked_sub(bytes);
        if self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Some(recording);
        }
        let samples = audio::resample(&recording.samples, recording.sample_rate, rate, self.audio.resampler);
        let kept = Recording { samples, sample_rate: rate, ..recording };
        if self.decoded[row].set(Decoded::Kept(kept)).is_err() {
            // Another thread kept the same recording first.
            self.free.fetch_add(bytes, Ordering::Relaxed);
        }
        None
    }

    /// The number of samples of a recording at the sample rate of the experiment.
    pub fn resampled_len(&self, recording: &Recording) -> usize {
        audio::resampled_len(recording.samples.len(), recording.sample_rate, self.audio.sample_rate)
    }

    /// A part of a recording: [`chain::piece`].
    pub fn piece(&self, recording: &Recording, begin: usize, length: usize) -> Vec<f32> {
        chain::piece(recording, &self.audio, begin, length)
    }
}
