//! Time stretch and pitch shift: a phase vocoder with locked phases that leaves onsets alone.
//!
//! Conventions
//! - `time_stretch` by a rate as librosa's: 2 is twice as fast; n samples become round(n / rate), a half to the even number.
//!   `pitch_shift` by semitones (fractions, too) keeps the length to the sample. Rates 1/4 to 4, pitches of -24 to 24 semitones.
//! - Output sample m sounds like recording sample m · rate, but for a few milliseconds around onsets (`map.rs`). Beyond the ends of a clip
//!   is silence; a clip that is cut out of a sound begins and ends as abruptly as it did.
//! - A rate of 1 and a shift of 0 give the clip back. Twice the input is twice the output, to the bit.
//! - The level is kept: that of partials as they are, that of noise on the average of the clip (frames of stretched noise do not add up as
//!   those of the recording did; librosa loses 3 dB). A click that is shifted by a factor becomes as many times lower and briefer: the same
//!   as playing it faster.
//!
//! Where it differs from librosa's `effects`: windows of 116 ms at every rate (librosa: 2048 samples) because partials of low chords lie so close;
//! phases are those of spectral peaks, and all bins around a peak turn with it (`lock.rs`); pitch is shifted by laying the bins of a
//! frame on those of a shorter or longer one (`lengths.rs`), without a resampler.
//!
//! The same input gives the same bytes on whichever thread; between processors, FFTs of other instruction sets round differently.

pub mod angles;
pub mod frame_sizes;
pub mod onsets;
pub mod time_map;
pub mod phase_lock;
pub mod frames;

use frame_sizes::FrameSizes;
use onsets::onsets;
use time_map::TimeMap;

/// How much slower or faster, lower or higher is possible.
pub const MAX_FACTOR: f64 = 4.0;

/// How many samples `samples` become.
pub fn stretched_len(samples: usize, rate: f64) -> usize {
    (samples as f64 / rate).round_ties_even() as usize
}

/// `rate` times as fast, at the same pitch. Panics on a rate outside 1/4 to 4: the caller has checked it.
pub fn time_stretch(samples: &[f32], sample_rate: u32, rate: f64) -> Vec<f32> {
    assert!((1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&rate), "a rate of {rate}");
    if rate == 1.0 {
        return samples.to_vec();
    }
    vocode(samples, sample_rate, stretched_len(samples.len(), rate), 1.0)
}

/// `semitones` higher, at the same pace. Panics on more than two octaves either way: the caller has checked it.
pub fn pitch_shift(samples: &[f32], sample_rate: u32, semitones: f64) -> Vec<f32> {
    // libm: the same bits on every machine.
    let pitch = libm::exp2(semitones / 12.0);
    assert!((1.0 / MAX_FACTOR..=MAX_FACTOR).contains(&pitch), "a shift by {semitones} semitones");
    if semitones == 0.0 {
        return samples.to_vec();
    }
    vocode(samples, sample_rate, samples.len(), pitch)
}

/// The whole clip in `output` samples, every frequency `pitch` times as high.
fn vocode(samples: &[f32], sample_rate: u32, output: usize, pitch: f64) -> Vec<f32> {
    if samples.is_empty() || output == 0 {
        return vec![0.0; output];
    }
    let shape = FrameSizes::new(sample_rate, samples.len() as f64 / output as f64, pitch);
    let reach = shape.synthesis / 2;
    let map = TimeMap::new(samples.len(), output, &onsets(samples, sample_rate), pitch, reach);
    // Every frame that reaches into the output, so that the windows sum up at its ends, too.
    let before = (reach - 1) / shape.hop;
    let count = before + (output + reach).div_ceil(shape.hop);
    let first = -((before * shape.hop) as isize);
    let positions = map.positions((0..count).map(|frame| first + (frame * shape.hop) as isize));
    frames::run(samples, &shape, &positions, first, output)
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

    /// White enough, and the same everywhere.
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

    /// The frequency of a tone from the angle that it turns by between its two halves, starting from what it should be.
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
            let heard = pitch_shift(&tone(440.0, 66150), RATE, semitones);
            assert_eq!(heard.len(), 66150);
            let cents = 1200.0 * (frequency(&heard, right) / right).log2();
            assert!(cents.abs() < 0.1, "{semitones} semitones: {cents} cents off");
            let level = 10.0 * (power(&heard) / 0.125).log10();
            assert!(level.abs() < 0.05, "{semitones} semitones: {level} dB");
        }
    }

    #[test]
    fn a_stretched_tone_keeps_its_pitch_and_its_level_up_to_the_ends() {
        for rate in [0.25, 0.8, 1.01, 1.25, 2.0, 4.0] {
            let heard = time_stretch(&tone(440.0, 66150), RATE, rate);
            assert_eq!(heard.len(), stretched_len(66150, rate));
            let cents = 1200.0 * (frequency(&heard, 440.0) / 440.0).log2();
            assert!(cents.abs() < 0.1, "{rate}: {cents} cents off");
            for part in [&heard[..1000], &heard[heard.len() - 1000..]] {
                assert!((10.0 * (power(part) / 0.125).log10()).abs() < 0.3, "{rate}");
                assert!(part.iter().all(|x| x.abs() < 0.52), "no clicks at the ends");
            }
        }
    }

    #[test]
    fn what_is_neither_stretched_nor_shifted_comes_out_as_it_went_in() {
        let clip = noise(20_000, 1);
        let heard = vocode(&clip, RATE, clip.len(), 1.0);
        // All but what lies at half the rate exactly.
        let off: f64 = clip.iter().zip(&heard).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 20_000.0;
        assert!(off < 2e-3 * power(&clip), "{off}");
        assert_eq!(time_stretch(&clip, RATE, 1.0), clip);
        assert_eq!(pitch_shift(&clip, RATE, 0.0), clip);
    }

    #[test]
    fn a_click_stays_a_click_in_its_place() {
        let mut clip = vec![0.0; 66150];
        for at in [5000, 21_000, 40_000, 60_000] {
            clip[at] = 0.8;
        }
        for rate in [0.5, 0.8, 1.25, 2.0] {
            let heard = time_stretch(&clip, RATE, rate);
            let around = |at: usize| {
                let place = (at as f64 / rate).round() as usize;
                heard[place - 2..place + 3].iter().map(|x| x * x).sum::<f32>()
            };
            let inside: f32 = [5000, 21_000, 40_000, 60_000].map(around).iter().sum();
            let all: f32 = heard.iter().map(|x| x * x).sum();
            assert!(inside > 0.99 * all && (all / (4.0 * 0.64) - 1.0).abs() < 0.03, "{rate}: {inside} of {all}");
        }
        let heard = pitch_shift(&clip, RATE, 5.0);
        let inside: f32 = [5000, 21_000, 40_000, 60_000]
            .map(|at| heard[at - 8..at + 9].iter().map(|x| x * x).sum::<f32>())
            .iter()
            .sum();
        let all: f32 = heard.iter().map(|x| x * x).sum();
        assert!(inside > 0.97 * all, "{inside} of {all}");
    }

    #[test]
    fn noise_keeps_its_level() {
        let clip = noise(66150, 3);
        for rate in [0.5, 0.8, 1.25, 2.0] {
            let level = 10.0 * (power(&time_stretch(&clip, RATE, rate)) / power(&clip)).log10();
            assert!(level.abs() < 0.2, "{rate}: {level} dB");
        }
        // Down: all of it in less band. Up: what would lie beyond half the rate is gone.
        let level = 10.0 * (power(&pitch_shift(&clip, RATE, -4.0)) / power(&clip)).log10();
        assert!(level.abs() < 0.3, "{level} dB");
        let level = 10.0 * (power(&pitch_shift(&clip, RATE, 4.0)) / power(&clip)).log10()
            + 10.0 * 2f64.powf(4.0 / 12.0).log10();
        assert!(level.abs() < 0.3, "{level} dB");
    }

    #[test]
    fn nothing_is_folded_back_from_beyond_half_the_rate() {
        // 8 kHz an octave up is 16 kHz, 5 kHz beyond.
        let heard = pitch_shift(&tone(8000.0, 66150), RATE, 12.0);
        assert!(power(&heard[4000..60_000]) < 1e-7, "{}", power(&heard[4000..60_000]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn lengths_are_kept_to_the_sample_and_nothing_is_infinite(
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
        fn half_the_sound_is_half_the_output(samples in 1usize..9000, rate in 0.25f64..=4.0, semitones in -24.0f64..=24.0) {
            let clip = noise(samples, samples as u64);
            let soft: Vec<f32> = clip.iter().map(|x| 0.5 * x).collect();
            let halved = |values: Vec<f32>| -> Vec<f32> { values.iter().map(|x| 0.5 * x).collect() };
            prop_assert_eq!(time_stretch(&soft, RATE, rate), halved(time_stretch(&clip, RATE, rate)));
            prop_assert_eq!(pitch_shift(&soft, RATE, semitones), halved(pitch_shift(&clip, RATE, semitones)));
        }

        #[test]
        fn what_came_before_on_the_thread_changes_nothing(samples in 1usize..9000, semitones in -24.0f64..=24.0) {
            let clip = noise(samples, samples as u64);
            let first = pitch_shift(&clip, RATE, semitones);
            let elsewhere = std::thread::scope(|scope| scope.spawn(|| pitch_shift(&clip, RATE, semitones)).join().unwrap());
            time_stretch(&clip, 8000, 0.7);
            prop_assert_eq!(&pitch_shift(&clip, RATE, semitones), &first);
            prop_assert_eq!(&elsewhere, &first);
        }
    }
}
