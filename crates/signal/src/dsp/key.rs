//! Estimates the musical key of a recording.
//!
//! Conventions: a chroma has twelve pitch classes, C first, tuned to A = 440 Hz: each bin from `LOWEST` to `HIGHEST` adds its
//! magnitude to the nearest pitch class. Frames are `FRAME_SECONDS` long. The key is the one of 24 whose profile (Krumhansl and
//! Kessler 1982) correlates best with the mean chroma. The tuning is not estimated: a recording that is half a semitone off
//! may be estimated a semitone off.

use serde::{Deserialize, Serialize};

use super::stft::{PadMode, StftPlan, StftSpec};
use super::window::Window;

const LOWEST: f64 = 65.0;
const HIGHEST: f64 = 2100.0;
/// Long enough to separate the semitones of the tenor range.
const FRAME_SECONDS: f64 = 0.19;

/// Weights of the pitch classes in a major key, the tonic first.
const MAJOR: [f64; 12] = [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88];
/// The same for a minor key.
const MINOR: [f64; 12] = [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17];

/// A key: its tonic, 0 for C to 11 for B, and its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub tonic: u8,
    pub minor: bool,
}

/// The key of a recording; `None` for silence and for less than a frame.
pub fn estimate(samples: &[f32], sample_rate: u32) -> Option<Key> {
    from_chroma(&chroma(samples, sample_rate)?)
}

/// The energy of each pitch class, C first; `None` for silence and for less than a frame.
fn chroma(samples: &[f32], sample_rate: u32) -> Option<[f64; 12]> {
    let n_fft = frame_length(sample_rate, FRAME_SECONDS);
    let plan = StftPlan::new(StftSpec {
        n_fft,
        hop_length: n_fft / 2,
        win_length: n_fft,
        window: Window::Hann,
        center: false,
        pad_mode: PadMode::Constant,
    });
    let spectrogram = plan.power(samples);
    let class_of: Vec<Option<usize>> = plan.spec().frequencies(sample_rate).into_iter().map(pitch_class).collect();
    let mut chroma = [0.0; 12];
    for frame in spectrogram.power.chunks_exact(spectrogram.bins) {
        for (power, class) in frame.iter().zip(&class_of) {
            if let Some(class) = class {
                chroma[*class] += f64::from(*power).sqrt();
            }
        }
    }
    (chroma.iter().sum::<f64>() > 0.0).then_some(chroma)
}

/// The power of two nearest to `seconds`.
pub(super) fn frame_length(sample_rate: u32, seconds: f64) -> usize {
    1 << (f64::from(sample_rate) * seconds).log2().round().max(5.0) as u32
}

fn pitch_class(hertz: f64) -> Option<usize> {
    (LOWEST..=HIGHEST).contains(&hertz).then(|| (69.0 + 12.0 * (hertz / 440.0).log2()).round() as usize % 12)
}

/// The key with the best-correlated profile; `None` if all pitch classes are equal.
fn from_chroma(chroma: &[f64; 12]) -> Option<Key> {
    let keys = (0..24u8).map(|number| Key { tonic: number % 12, minor: number >= 12 });
    let fit = |key: Key| {
        let profile = if key.minor { &MINOR } else { &MAJOR };
        let turned: [f64; 12] = std::array::from_fn(|class| profile[(class + 12 - usize::from(key.tonic)) % 12]);
        correlation(chroma, &turned)
    };
    let scored = keys.map(|key| (key, fit(key))).filter(|(_, fit)| fit.is_finite());
    // The first of equals, so that the result does not depend on rounding.
    scored.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(key, _)| key)
}

fn correlation(a: &[f64; 12], b: &[f64; 12]) -> f64 {
    let mean = |values: &[f64; 12]| values.iter().sum::<f64>() / 12.0;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |of: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| of(a - mean_a, b - mean_b)).sum::<f64>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// A sequence of chords; each note has six partials.
    fn chords(chords: &[[i32; 3]], transposed: i32, sample_rate: u32) -> Vec<f32> {
        let length = sample_rate as usize;
        let mut samples = vec![0.0f32; length * chords.len()];
        for (number, chord) in chords.iter().enumerate() {
            for (note, partial) in chord.iter().flat_map(|note| (1..=6).map(move |partial| (note, partial))) {
                let hertz = 440.0 * 2f64.powf(f64::from(note + transposed - 69) / 12.0) * f64::from(partial);
                for (n, sample) in samples[number * length..][..length].iter_mut().enumerate() {
                    *sample +=
                        (0.1 / f64::from(partial) * (TAU * hertz * n as f64 / f64::from(sample_rate)).sin()) as f32;
                }
            }
        }
        samples
    }

    /// C F G C, and A minor, D minor, E, A minor.
    const CADENCES: [[[i32; 3]; 4]; 2] = [
        [[60, 64, 67], [60, 65, 69], [62, 67, 71], [60, 64, 67]],
        [[57, 60, 64], [57, 62, 65], [56, 59, 64], [57, 60, 64]],
    ];

    #[test]
    fn cadences_are_recognised_in_every_key() {
        for sample_rate in [16000, 22050] {
            for transposed in 0..12 {
                for (cadence, tonic, minor) in [(0, 0, false), (1, 9, true)] {
                    let estimated =
                        estimate(&chords(&CADENCES[cadence], transposed, sample_rate), sample_rate).unwrap();
                    let expected = Key { tonic: ((tonic + transposed) % 12) as u8, minor };
                    assert_eq!(estimated, expected, "transposed by {transposed} at {sample_rate} Hz");
                }
            }
        }
    }

    #[test]
    fn a_tone_is_assigned_to_its_pitch_class() {
        let tone: Vec<f32> = (0..22050).map(|n| (TAU * 440.0 * f64::from(n) / 22050.0).sin() as f32).collect();
        let chroma = chroma(&tone, 22050).unwrap();
        assert!(chroma[9] > 0.9 * chroma.iter().sum::<f64>(), "{chroma:?}");
    }

    #[test]
    fn silent_and_short_recordings_have_no_key() {
        assert_eq!(estimate(&[0.0; 22050], 22050), None);
        assert_eq!(estimate(&[0.5; 100], 22050), None);
        assert_eq!(estimate(&[], 22050), None);
        assert_eq!(from_chroma(&[1.0; 12]), None);
    }
}
