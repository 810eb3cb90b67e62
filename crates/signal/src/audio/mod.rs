//! Decodes a recording to a [`Clip`] (mono, f32, at the rate of the experiment), or returns an [`Unusable`] with the reason.

use std::ops::Range;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::windows::Short;

mod au;
mod limits;
mod decode;
mod block_decoder;
mod excerpt;
mod formats;
mod mp4;
mod opus;
mod packets;
mod plain;
mod prepare;
mod probe;
mod resample;
mod source;
mod stream;
mod unusable;
mod wav;
pub mod wav_write;
mod webm;

pub use block_decoder::CutOff;
pub use decode::{decode, decode_file, visit_file};
pub use excerpt::Excerpt;
pub use limits::DecodeLimits;
pub use prepare::Normalize;
pub use probe::{Header, probe};
pub use resample::{ResampleFilter, StreamResampler, resample, resample_range, resampled_len};
pub use source::NOT_REGULAR;
pub use stream::{RecordingSource, Stream};
pub use unusable::Unusable;

/// Increase when decoding, mixing or resampling gives other numbers: part of every cache key.
pub const VERSION: u32 = 5;

/// File extensions of the formats that the decoder reads, in lower case. Files with other extensions are not opened.
pub const AUDIO_EXTENSIONS: [&str; 23] = [
    "wav", "wave", "flac", "ogg", "oga", "mp3", "mp2", "mp1", "aac", "m4a", "m4b", "mp4", "aif", "aiff", "aifc", "caf",
    "mka", "mkv", "opus", "weba", "webm", "au", "snd",
];

/// File extensions of audio formats that the decoder does not read, in lower case.
pub const UNREAD_EXTENSIONS: [&str; 19] = [
    "w64", "wma", "asf", "ape", "wv", "tta", "mpc", "amr", "awb", "3gp", "ac3", "eac3", "dts", "dsf", "dff", "ra",
    "sph", "voc", "spx",
];

/// How recordings are read: `[audio]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AudioSpec {
    /// Samples per second after resampling.
    #[schemars(range(min = 1000, max = 384000))]
    pub sample_rate: u32,
    /// Trim what is more than this number of dB below the loudest frame at both ends of a recording, as `librosa.effects.trim` does (its
    /// `top_db` is 60). Default: nothing is trimmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 100.0))]
    pub trim: Option<f64>,
    /// Set the level of a whole recording: "peak" (the largest magnitude is 1), "rms" (0.1) or "lufs" (an integrated loudness of -23 LUFS).
    /// Default: levels stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Length of a clip: longer recordings are cropped, shorter ones filled up. Default: the length of the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 36000.0))]
    pub clip_seconds: Option<f64>,
    /// Which part of a longer recording to take.
    pub crop: Crop,
    /// How to fill a clip with a shorter recording: "pad" (zeros after it), "repeat" (the recording again) or "mirror" (back and
    /// forth).
    #[serde(skip_serializing_if = "Short::is_default")]
    pub short: Short,
    /// The low-pass filter of the resampler. `soxr_hq` is librosa's.
    pub resampler: ResampleFilter,
    /// Longer recordings are listed as unusable.
    #[schemars(range(min = 0.01))]
    pub max_seconds: f64,
    /// Larger files are listed as unusable and are not read.
    #[schemars(range(min = 1))]
    pub max_bytes: u64,
}

impl Default for AudioSpec {
    fn default() -> Self {
        AudioSpec {
            sample_rate: 22050,
            trim: None,
            normalize: None,
            clip_seconds: None,
            crop: Crop::Centre,
            short: Short::default(),
            resampler: ResampleFilter::default(),
            max_seconds: 7200.0,
            max_bytes: 16_000_000_000,
        }
    }
}

impl AudioSpec {
    /// The whole recording at a sample rate.
    pub fn at(sample_rate: u32) -> AudioSpec {
        AudioSpec { sample_rate, ..AudioSpec::default() }
    }

    /// Number of samples of a clip, if all clips have one length.
    pub fn clip_samples(&self) -> Option<usize> {
        self.clip_seconds.map(|seconds| (seconds * f64::from(self.sample_rate)).round() as usize)
    }

    /// The limits of a recording that is held in memory.
    pub fn limits(&self) -> DecodeLimits {
        DecodeLimits { seconds: self.max_seconds, key: Some("audio.max_seconds"), ..DecodeLimits::NONE }
    }

    /// The samples of the clip, among the `whole` samples of the resampled recording.
    pub fn clip_range(&self, whole: usize) -> Range<usize> {
        let frames = self.clip_samples().unwrap_or(whole).min(whole);
        let start = match self.crop {
            Crop::Start => 0,
            Crop::Centre => (whole - frames) / 2,
        };
        start..start + frames
    }
}

/// The part to take of a recording that is longer than `clip_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    Start,
    Centre,
}

/// Mono samples and their rate. Nominal range: -1 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
}

/// Decodes the bytes of a file and resamples and crops them to `spec`. `extension` is the file extension without the dot.
/// The check for silence looks at the whole recording, not at the crop.
pub fn load(bytes: &[u8], extension: Option<&str>, spec: &AudioSpec) -> Result<Clip, Unusable> {
    clip_of(Stream::from_bytes(bytes, extension, spec)?, spec)
}

/// [`load`] from a regular file or an excerpt of one. Of a long recording only the clip is in memory.
pub fn load_file(path: &Path, excerpt: Option<&Excerpt>, spec: &AudioSpec) -> Result<Clip, Unusable> {
    match excerpt {
        Some(_) => Ok(decode_file(path, excerpt, spec.limits())?.prepared(spec).into_clip(spec)),
        None => clip_of(Stream::open_regular(path, spec)?, spec),
    }
}

fn clip_of(stream: Stream, spec: &AudioSpec) -> Result<Clip, Unusable> {
    let clip = stream.with_limits(spec.limits())?.clip(spec, || true)?;
    Ok(clip.expect("never cancelled").0)
}

/// [`probe()`] of a regular file; of an excerpt, with its length.
pub fn probe_file(path: &Path, excerpt: Option<&Excerpt>) -> Result<Header, Unusable> {
    let whole = probe::probe_source(&source::ByteSource::open_regular(path)?, extension(path))?;
    Ok(match excerpt {
        Some(excerpt) => excerpt.header(whole),
        None => whole,
    })
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|extension| extension.to_str())
}

/// A decoded recording: mono, finite, not silent.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub samples: Vec<f32>,
    pub sample_rate: u32,
    /// Number of channels in the file, before mixing.
    pub channels: u16,
}

impl Recording {
    /// Resamples, then crops or fills up.
    pub fn into_clip(self, spec: &AudioSpec) -> Clip {
        let whole = resampled_len(self.samples.len(), self.sample_rate, spec.sample_rate);
        if self.sample_rate == spec.sample_rate && spec.clip_samples().is_none_or(|frames| frames == whole) {
            return Clip { samples: self.samples, sample_rate: spec.sample_rate };
        }
        self.clip_at(spec.clip_range(whole).start, spec)
    }

    /// The last start of a clip, in samples at the rate of `spec`: by how much the recording is longer than a clip.
    pub fn max_start(&self, spec: &AudioSpec) -> usize {
        let whole = resampled_len(self.samples.len(), self.sample_rate, spec.sample_rate);
        whole - spec.clip_samples().map_or(whole, |frames| frames.min(whole))
    }

    /// The clip that begins at sample `start` of the resampled recording, filled up at the end.
    pub fn clip_at(&self, start: usize, spec: &AudioSpec) -> Clip {
        let (from, to) = (self.sample_rate, spec.sample_rate);
        let whole = resampled_len(self.samples.len(), from, to);
        let frames = spec.clip_samples().unwrap_or(whole - start);
        let mut samples = resample_range(&self.samples, from, to, spec.resampler, start..whole.min(start + frames));
        spec.short.fill(&mut samples, frames);
        Clip { samples, sample_rate: to }
    }
}
