//! Time stretch and pitch shift: a phase vocoder with phase locking that preserves onsets.
//!
//! Conventions
//! - `time_stretch` by a rate as in librosa: 2 is twice as fast; n samples become round(n / rate), halves to even.
//!   `pitch_shift` by semitones (also fractions) keeps the exact length. Rates 1/4 to 4, shifts -24 to 24 semitones.
//! - Output sample m corresponds to recording sample m · rate, except for a few milliseconds around onsets (`time_map.rs`).
//!   Beyond the ends of a clip is silence; a clip that begins or ends abruptly still does.
//! - A rate of 1 and a shift of 0 return the clip. Twice the input gives twice the output, bit for bit.
//! - The level is preserved: of partials exactly, of noise on the average of the clip (overlapping frames of stretched noise
//!   lose level; librosa loses 3 dB). A shifted click is scaled in amplitude and length, as by playing it faster.
//!
//! Differences to librosa's `effects`: windows of 116 ms at every rate (librosa: 2048 samples), because the partials of low
//! chords are close together; phases follow spectral peaks, and all bins around a peak rotate with it (`phase_lock.rs`); pitch is
//! shifted by placing the bins of a frame on those of a shorter or longer one (`frame_sizes.rs`), without a resampler.
//!
//! The same input gives the same bytes on any thread. Between processors, FFTs of other instruction sets round differently.

pub(crate) mod angles;
pub mod frame_sizes;
mod onsets;
mod time_map;
mod phase_lock;
mod frames;

use frame_sizes::FrameSizes;
use onsets::onsets;
use time_map::TimeMap;

/// Largest factor of time stretch and pitch shift, in both directions.
pub const MAX_FACTOR: f64 = 4.0;

/// Number of samples after a time stretch of `samples` samples.
pub fn stretched_len(samples: usize, rate: f64) -> usize {
    (samples as f64 / rate).round_ties_even() as usize
}

/// Stretches time: `rate` times as fast at the same pitch. Panics on a rate outside 1/4 to 4: the caller validates it.
///
/// ```
/// let clip = vec![0.1; 22050];
/// assert_eq!(timbre_signal::dsp::vocoder::time_stretch(&clip, 22050, 2.0).len(), 11025);
/// ```
pub fn time_stretch(samples: &[f32], sample_rate: u32, rate: f64) -> Vec<f32> {
    assert!((1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&rate), "a rate of {rate}");
    if rate == 1.0 {
        return samples.to_vec();
    }
    vocode(samples, sample_rate, stretched_len(samples.len(), rate), 1.0)
}

/// Shifts the pitch by `semitones` at the same tempo. Panics beyond two octaves: the caller validates it.
///
/// ```
/// let clip = vec![0.1; 22050];
/// assert_eq!(timbre_signal::dsp::vocoder::pitch_shift(&clip, 22050, -3.5).len(), 22050);
/// ```
pub fn pitch_shift(samples: &[f32], sample_rate: u32, semitones: f64) -> Vec<f32> {
    // libm gives the same bits on every machine.
    let pitch = libm::exp2(semitones / 12.0);
    assert!((1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&pitch), "a shift by {semitones} semitones");
    if semitones == 0.0 {
        return samples.to_vec();
    }
    vocode(samples, sample_rate, samples.len(), pitch)
}

/// Renders the clip in `output` samples with every frequency multiplied by `pitch`.
fn vocode(samples: &[f32], sample_rate: u32, output: usize, pitch: f64) -> Vec<f32> {
    if samples.is_empty() || output == 0 {
        return vec![0.0; output];
    }
    let sizes = FrameSizes::new(sample_rate, samples.len() as f64 / output as f64, pitch);
    let reach = sizes.synthesis / 2;
    let map = TimeMap::new(samples.len(), output, &onsets(samples, sample_rate), pitch, reach);
    // Every frame that reaches into the output, so that the windows sum up at its ends, too.
    let before = (reach - 1) / sizes.hop;
    let count = before + (output + reach).div_ceil(sizes.hop);
    let first = -((before * sizes.hop) as isize);
    let positions = map.positions((0..count).map(|frame| first + (frame * sizes.hop) as isize));
    frames::run(samples, &sizes, &positions, first, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    const RATE: u32 = 22050;

    fn tone(hertz: f64, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| (0.5 * (TAU * hertz * n as f64 / f64::from(RATE)).sin()) as f32).collect()
    }

    /// Pseudorandom noise, equal on every machine.
    fn noise(samples: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..samples).map(|_| next()).collect()
    }

    fn power(samples: &[f32]) -> f64 {
        samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64
    }

    /// The frequency of a tone near `near`, from the phase difference of its two halves.
    fn frequency(samples: &[f32], near: f64) -> f64 {
        let half = samples.len() / 2;
        let angle = |from: usize| {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, &x) in samples[from..from + half].iter().enumerate() {
                let window = (TAU * 0.5 * i as f64 / half as f64).sin().powi(2);
                let turn = TAU * near * (from + i) as f64 / f64::from(RATE);
                re += f64::from(x) * window * turn.cos();
                im -= f64::from(x) * window * turn.sin();
            }
            im.atan2(re)
        };
        let mut turned = angle(half) - angle(0);
        turned -= TAU * (turned / TAU).round();
        near + turned / TAU * f64::from(RATE) / half as f64
    }

    #[test]
    fn concert_pitch_three_semitones_up_is_523_25_hz_within_a_cent() {
        for semitones in [3.0, -4.0, 0.37, 12.0, -12.0, 24.0, -24.0, 7.5] {
            let right = 440.0 * 2f64.powf(semitones / 12.0);
            let output_samples = pitch_shift(&tone(440.0, 66150), RATE, semitones);
            assert_eq!(output_samples.len(), 66150);
            let cents = 1200.0 * (frequency(&output_samples, right) / right).log2();
            assert!(cents.abs() < 0.1, "{semitones} semitones: {cents} cents off");
            let level = 10.0 * (power(&output_samples) / 0.125).log10();
            assert!(level.abs() < 0.05, "{semitones} semitones: {level} dB");
        }
    }

    #[test]
    fn a_stretched_tone_keeps_its_pitch_and_its_level_up_to_the_ends() {
        for rate in [0.25, 0.8, 1.01, 1.25, 2.0, 4.0] {
            let output_samples = time_stretch(&tone(440.0, 66150), RATE, rate);
            assert_eq!(output_samples.len(), stretched_len(66150, rate));
            let cents = 1200.0 * (frequency(&output_samples, 440.0) / 440.0).log2();
            assert!(cents.abs() < 0.1, "{rate}: {cents} cents off");
            for part in [&output_samples[..1000], &output_samples[output_samples.len() - 1000..]] {
                assert!((10.0 * (power(part) / 0.125).log10()).abs() < 0.3, "{rate}");
                assert!(part.iter().all(|x| x.abs() < 0.52), "no clicks at the ends");
            }
        }
    }

    #[test]
    fn a_clip_without_stretch_and_shift_stays_unchanged() {
        let clip = noise(20_000, 1);
        let output_samples = vocode(&clip, RATE, clip.len(), 1.0);
        // All but the component at exactly half the rate.
        let off: f64 = clip.iter().zip(&output_samples).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 20_000.0;
        assert!(off < 2e-3 * power(&clip), "{off}");
        assert_eq!(time_stretch(&clip, RATE, 1.0), clip);
        assert_eq!(pitch_shift(&clip, RATE, 0.0), clip);
    }

    #[test]
    fn a_click_stays_a_click_at_its_position() {
        let mut clip = vec![0.0; 66150];
        for at in [5000, 21_000, 40_000, 60_000] {
            clip[at] = 0.8;
        }
        for rate in [0.5, 0.8, 1.25, 2.0] {
            let output_samples = time_stretch(&clip, RATE, rate);
            let around = |at: usize| {
                let place = (at as f64 / rate).round() as usize;
                output_samples[place - 2..place + 3].iter().map(|x| x * x).sum::<f32>()
            };
            let inside: f32 = [5000, 21_000, 40_000, 60_000].map(around).iter().sum();
            let all: f32 = output_samples.iter().map(|x| x * x).sum();
            assert!(inside > 0.99 * all && (all / (4.0 * 0.64) - 1.0).abs() < 0.03, "{rate}: {inside} of {all}");
        }
        let output_samples = pitch_shift(&clip, RATE, 5.0);
        let inside: f32 = [5000, 21_000, 40_000, 60_000]
            .map(|at| output_samples[at - 8..at + 9].iter().map(|x| x * x).sum::<f32>())
            .iter()
            .sum();
        let all: f32 = output_samples.iter().map(|x| x * x).sum();
        assert!(inside > 0.97 * all, "{inside} of {all}");
    }

    #[test]
    fn noise_keeps_its_level() {
        let clip = noise(66150, 3);
        for rate in [0.5, 0.8, 1.25, 2.0] {
            let level = 10.0 * (power(&time_stretch(&clip, RATE, rate)) / power(&clip)).log10();
            assert!(level.abs() < 0.2, "{rate}: {level} dB");
        }
        // Down: all of it in less band. Up: frequencies beyond half the rate are gone.
        let level = 10.0 * (power(&pitch_shift(&clip, RATE, -4.0)) / power(&clip)).log10();
        assert!(level.abs() < 0.3, "{level} dB");
        let level = 10.0 * (power(&pitch_shift(&clip, RATE, 4.0)) / power(&clip)).log10()
            + 10.0 * 2f64.powf(4.0 / 12.0).log10();
        assert!(level.abs() < 0.3, "{level} dB");
    }

    #[test]
    fn frequencies_beyond_half_the_rate_do_not_alias() {
        // 8 kHz an octave up is 16 kHz, 5 kHz beyond.
        let output_samples = pitch_shift(&tone(8000.0, 66150), RATE, 12.0);
        assert!(power(&output_samples[4000..60_000]) < 1e-7, "{}", power(&output_samples[4000..60_000]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn lengths_are_exact_and_samples_finite(
            samples in 0usize..9000, rate in 0.25f64..=4.0, semitones in -24.0f64..=24.0, sample_rate in 1000u32..50_000,
        ) {
            let clip = noise(samples, samples as u64);
            let slow = time_stretch(&clip, sample_rate, rate);
            prop_assert_eq!(slow.len(), (samples as f64 / rate).round_ties_even() as usize);
            let high = pitch_shift(&clip, sample_rate, semitones);
            prop_assert_eq!(high.len(), samples);
            prop_assert!(slow.iter().chain(&high).all(|x| x.is_finite() && x.abs() < 8.0));
        }

        #[test]
        fn silence_stays_silence(samples in 0usize..9000, rate in 0.25f64..=4.0, semitones in -24.0f64..=24.0) {
            prop_assert!(time_stretch(&vec![0.0; samples], RATE, rate).iter().all(|&x| x == 0.0));
            prop_assert!(pitch_shift(&vec![0.0; samples], RATE, semitones).iter().all(|&x| x == 0.0));
        }

        #[test]
        fn half_the_amplitude_gives_half_the_output(samples in 1usize..9000, rate in 0.25f64..=4.0, semitones in -24.0f64..=24.0) {
            let clip = noise(samples, samples as u64);
            let soft: Vec<f32> = clip.iter().map(|x| 0.5 * x).collect();
            let halved = |values: Vec<f32>| -> Vec<f32> { values.iter().map(|x| 0.5 * x).collect() };
            prop_assert_eq!(time_stretch(&soft, RATE, rate), halved(time_stretch(&clip, RATE, rate)));
            prop_assert_eq!(pitch_shift(&soft, RATE, semitones), halved(pitch_shift(&clip, RATE, semitones)));
        }

        #[test]
        fn earlier_work_on_the_thread_changes_nothing(samples in 1usize..9000, semitones in -24.0f64..=24.0) {
            let clip = noise(samples, samples as u64);
            let first = pitch_shift(&clip, RATE, semitones);
            let elsewhere = std::thread::scope(|scope| scope.spawn(|| pitch_shift(&clip, RATE, semitones)).join().unwrap());
            time_stretch(&clip, 8000, 0.7);
            prop_assert_eq!(&pitch_shift(&clip, RATE, semitones), &first);
            prop_assert_eq!(&elsewhere, &first);
        }
    }
}
