//! What happens to a whole recording before it is resampled and cut: silence at its ends is trimmed, then its level is set.
//!
//! Conventions: `trim` is `librosa.effects.trim` (frames of 2048 samples every 512, centred, with zeros beyond the ends; the reference is the loudest
//! frame), at the rate of the recording, which librosa has already resampled. `normalize = "peak"` is `librosa.util.normalize`: the largest
//! magnitude becomes 1. `"rms"` sets the root mean square to 0.1 (-20 dB of full scale), `"lufs"` the integrated loudness to -23 LUFS (ITU-R BS.1770, EBU
//! R 128) of the mixed channel. A gain is not limited, so samples may exceed 1. A recording whose loudness is below -70 LUFS keeps its level.
//!
//! Memory: the whole recording, which is held to know its level.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AudioSpec, Recording};
use crate::dsp::loudness;

const FRAME: usize = 2048;
const HOP: usize = 512;
/// librosa's `amin` of amplitudes.
const LEAST: f64 = 1e-5;
const RMS: f64 = 0.1;
const LUFS: f64 = -23.0;

/// How the level of a recording is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// The largest magnitude is 1.
    Peak,
    /// The root mean square is 0.1.
    Rms,
    /// The integrated loudness is -23 LUFS.
    Lufs,
}

impl Normalize {
    fn gain(self, samples: &[f32], sample_rate: u32) -> f64 {
        match self {
            Normalize::Peak => 1.0 / samples.iter().fold(0.0, |most: f64, s| most.max(f64::from(s.abs()))),
            Normalize::Rms => {
                let power = samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
                RMS / power.sqrt()
            }
            Normalize::Lufs => {
                loudness::integrated(samples, sample_rate).map_or(1.0, |own| libm::pow(10.0, (LUFS - own) / 20.0))
            }
        }
    }
}

impl AudioSpec {
    /// Whether a recording must be known as a whole before it is cut.
    pub(super) fn prepares(&self) -> bool {
        self.trim.is_some() || self.normalize.is_some()
    }
}

impl Recording {
    /// Trims and normalizes, if `spec` says so.
    pub fn prepared(mut self, spec: &AudioSpec) -> Recording {
        prepare(&mut self.samples, self.sample_rate, spec);
        self
    }
}

pub(super) fn prepare(samples: &mut Vec<f32>, sample_rate: u32, spec: &AudioSpec) {
    if let Some(top_db) = spec.trim {
        let (start, end) = sounding(samples, top_db);
        samples.truncate(end);
        samples.drain(..start);
    }
    if let Some(normalize) = spec.normalize {
        let gain = normalize.gain(samples, sample_rate);
        if gain.is_finite() {
            samples.iter_mut().for_each(|sample| *sample = (f64::from(*sample) * gain) as f32);
        }
    }
}

/// The samples from the first to the last frame that is at most `top_db` below the loudest.
fn sounding(samples: &[f32], top_db: f64) -> (usize, usize) {
    // Sums of whole hops, so that a frame is four of them.
    let hops: Vec<f64> =
        samples.chunks(HOP).map(|hop| hop.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>()).collect();
    let frames = 1 + samples.len() / HOP;
    let half = FRAME / HOP / 2;
    let level = |frame: usize| {
        let inside = frame.saturating_sub(half)..(frame + half).min(hops.len());
        (hops[inside].iter().sum::<f64>() / FRAME as f64).sqrt().max(LEAST)
    };
    let levels: Vec<f64> = (0..frames).map(level).collect();
    let loudest = levels.iter().copied().fold(LEAST, f64::max);
    let sounds = |level: &f64| 20.0 * libm::log10(level / loudest) > -top_db;
    let first = levels.iter().position(sounds).unwrap_or(0);
    let last = levels.iter().rposition(sounds).unwrap_or(frames - 1);
    ((first * HOP).min(samples.len()), ((last + 1) * HOP).min(samples.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(samples: usize, level: f32) -> Vec<f32> {
        (0..samples).map(|n| level * (n as f32 * 0.3).sin()).collect()
    }

    fn prepared(samples: Vec<f32>, spec: AudioSpec) -> Vec<f32> {
        Recording { samples, sample_rate: 16000, channels: 1 }.prepared(&spec).samples
    }

    #[test]
    fn silence_is_trimmed_at_both_ends_to_whole_frames() {
        let samples = [vec![0.0; 8000], tone(10000, 0.5), vec![0.0; 12000]].concat();
        let trimmed = prepared(samples.clone(), AudioSpec { trim: Some(60.0), ..AudioSpec::default() });
        // librosa.effects.trim(y, top_db=60) keeps the samples 7168 to 19456.
        assert_eq!(trimmed, samples[7168..19456]);
        let whole = tone(5000, 0.1);
        assert_eq!(prepared(whole.clone(), AudioSpec { trim: Some(60.0), ..AudioSpec::default() }), whole);
    }

    #[test]
    fn each_normalization_sets_its_level() {
        let level = |normalize| {
            let spec = AudioSpec { normalize: Some(normalize), ..AudioSpec::default() };
            prepared(tone(32000, 0.02), spec)
        };
        let peak = level(Normalize::Peak).iter().fold(0.0f32, |most, s| most.max(s.abs()));
        assert_eq!(peak, 1.0);
        let samples = level(Normalize::Rms);
        let rms = (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt();
        assert!((rms - 0.1).abs() < 1e-7, "{rms}");
        let loudness = loudness::integrated(&level(Normalize::Lufs), 16000).unwrap();
        assert!((loudness + 23.0).abs() < 1e-4, "{loudness}");
    }

    #[test]
    fn a_recording_below_the_gate_keeps_its_level() {
        let quiet = tone(16000, 1e-6);
        let spec = AudioSpec { normalize: Some(Normalize::Lufs), ..AudioSpec::default() };
        assert_eq!(prepared(quiet.clone(), spec), quiet);
    }
}
