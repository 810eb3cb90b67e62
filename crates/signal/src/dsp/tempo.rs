//! Estimates the tempo of a recording.
//!
//! Conventions: the tempo is in beats per minute. Onset strength is the spectral flux: the rise of the log magnitudes from
//! frame to frame, summed over the bins, minus its mean over half a second. The tempo is the best lag of its autocorrelation
//! from `SLOWEST` to `FASTEST`, weighted by a Gaussian over log2(tempo) around `USUAL`, one octave wide (as in librosa), and
//! refined by a parabola. On clips of a few seconds it is often twice or half the perceived tempo: compare up to octaves.

use super::key::frame_length;
use super::stft::{PadMode, StftPlan, StftSpec};
use super::window::Window;

const SLOWEST: f64 = 40.0;
const FASTEST: f64 = 240.0;
const USUAL: f64 = 120.0;
const FRAME_SECONDS: f64 = 0.046;
/// Hops per frame.
const HOPS: usize = 4;
/// Factor on magnitudes before the logarithm, so that soft sounds count and noise does not.
const COMPRESSION: f64 = 100.0;

/// The tempo of a recording; `None` without onsets, or if it is shorter than two beats.
pub fn estimate(samples: &[f32], sample_rate: u32) -> Option<f64> {
    let n_fft = frame_length(sample_rate, FRAME_SECONDS);
    let hop_length = n_fft / HOPS;
    let frames_a_second = f64::from(sample_rate) / hop_length as f64;
    let onsets = onsets(samples, n_fft, hop_length, frames_a_second)?;
    let lag_of = |tempo: f64| 60.0 * frames_a_second / tempo;
    let (least, most) = (lag_of(FASTEST).floor() as usize, lag_of(SLOWEST).ceil() as usize);
    let most = most.min(onsets.len() / 2 + onsets.len() / 4);
    if most <= least + 1 {
        return None;
    }
    // The mean over the available pairs: long lags have fewer.
    let correlation = |lag: usize| {
        let pairs = onsets.len() - lag;
        onsets[lag..].iter().zip(&onsets).map(|(a, b)| a * b).sum::<f64>() / pairs as f64
    };
    let weight = |lag: usize| {
        let octaves = (60.0 * frames_a_second / lag as f64 / USUAL).log2();
        (-0.5 * octaves * octaves).exp()
    };
    let scores: Vec<f64> =
        (least - 1..=most + 1).map(|lag| correlation(lag.min(onsets.len() - 1)) * weight(lag)).collect();
    let peaks =
        (1..scores.len() - 1).filter(|&i| scores[i] > 0.0 && scores[i] >= scores[i - 1] && scores[i] >= scores[i + 1]);
    let best = peaks.reduce(|best, next| if scores[next] > scores[best] { next } else { best })?;
    let (before, here, after) = (scores[best - 1], scores[best], scores[best + 1]);
    let bend = before - 2.0 * here + after;
    let aside = if bend < 0.0 { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) } else { 0.0 };
    Some(60.0 * frames_a_second / ((least - 1 + best) as f64 + aside))
}

/// Onset strength per frame; `None` for silence.
fn onsets(samples: &[f32], n_fft: usize, hop_length: usize, frames_a_second: f64) -> Option<Vec<f64>> {
    let plan = StftPlan::new(StftSpec {
        n_fft,
        hop_length,
        win_length: n_fft,
        window: Window::Hann,
        center: false,
        pad_mode: PadMode::Constant,
    });
    let spectrogram = plan.power(samples);
    let loudest = spectrogram.power.iter().fold(0.0f32, |most, power| most.max(*power));
    if loudest == 0.0 || spectrogram.frames < 4 {
        return None;
    }
    let scale = COMPRESSION / f64::from(loudest).sqrt();
    let compressed: Vec<f64> =
        spectrogram.power.iter().map(|&power| (scale * f64::from(power).sqrt()).ln_1p()).collect();
    let frames: Vec<&[f64]> = compressed.chunks_exact(spectrogram.bins).collect();
    let rise = |pair: &[&[f64]]| pair[1].iter().zip(pair[0]).map(|(now, before)| (now - before).max(0.0)).sum::<f64>();
    let flux: Vec<f64> = frames.windows(2).map(rise).collect();
    let around = (0.25 * frames_a_second).ceil() as usize;
    let mean = |at: usize| {
        let near = &flux[at.saturating_sub(around)..flux.len().min(at + around + 1)];
        near.iter().sum::<f64>() / near.len() as f64
    };
    Some((0..flux.len()).map(|at| (flux[at] - mean(at)).max(0.0)).collect())
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// Decaying tones, one per beat, every fourth louder.
    fn beats(tempo: f64, seconds: f64, sample_rate: u32) -> Vec<f32> {
        let rate = f64::from(sample_rate);
        (0..(seconds * rate) as usize)
            .map(|n| {
                let beat = n as f64 / rate * tempo / 60.0;
                let (number, since) = (beat.floor(), beat.fract() * 60.0 / tempo);
                let pitch = [220.0, 330.0, 275.0, 330.0][number as usize % 4];
                let loud = if (number as usize).is_multiple_of(4) { 0.9 } else { 0.6 };
                (loud * (-since * 8.0).exp() * (TAU * pitch * since).sin()) as f32
            })
            .collect()
    }

    fn octaves_apart(a: f64, b: f64) -> f64 {
        let octaves = (a / b).log2();
        (octaves - octaves.round()).abs()
    }

    #[test]
    fn the_tempo_is_right_up_to_octaves() {
        for sample_rate in [16000, 22050] {
            for tempo in [66.0, 80.0, 97.0, 120.0, 133.0, 150.0, 180.0] {
                for seconds in [3.0, 8.0] {
                    let estimated = estimate(&beats(tempo, seconds, sample_rate), sample_rate).unwrap();
                    assert!(
                        octaves_apart(estimated, tempo) < 0.03,
                        "{estimated} for {tempo} in {seconds} s at {sample_rate} Hz"
                    );
                }
            }
        }
    }

    #[test]
    fn common_tempos_are_estimated_in_their_octave() {
        for tempo in [100.0, 120.0, 140.0] {
            let estimated = estimate(&beats(tempo, 8.0, 22050), 22050).unwrap();
            assert!((estimated / tempo - 1.0).abs() < 0.02, "{estimated} for {tempo}");
        }
    }

    #[test]
    fn a_recording_without_onsets_has_no_tempo() {
        assert_eq!(estimate(&[0.0; 66150], 22050), None);
        assert_eq!(estimate(&[0.3; 1000], 22050), None);
        assert_eq!(estimate(&[], 22050), None);
    }
}
