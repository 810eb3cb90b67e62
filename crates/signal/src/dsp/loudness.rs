//! Integrated loudness of one channel after ITU-R BS.1770-4.
//!
//! Conventions: the two K-weighting filters are the recommendation's, re-derived for any sample rate from their analogue
//! prototypes (the constants of libebur128, which give the recommendation's own coefficients at 48 kHz; pyloudnorm calls them
//! "DeMan"). Blocks of 400 ms every 100 ms; an incomplete block at the end is ignored. Gates at -70 LUFS and at 10 LU below
//! the mean of the blocks that pass the first. A clip shorter than a block is one block.

use std::f64::consts::PI;

use crate::dsp::iir::{FilterState, Section};

/// Loudness in LUFS; `None` if every block is below the absolute gate.
pub fn integrated(samples: &[f32], sample_rate: u32) -> Option<f64> {
    let powers = block_powers(samples, sample_rate);
    let mean_above = |gate: f64| {
        let (sum, n) = powers.iter().filter(|&&p| p > gate).fold((0.0, 0usize), |(sum, n), p| (sum + p, n + 1));
        (n > 0).then(|| sum / n as f64)
    };
    let absolute = power_of(-70.0);
    let first = mean_above(absolute)?;
    // The relative gate is 10 LU below; the absolute gate still applies.
    Some(lufs(mean_above(absolute.max(first / 10.0))?))
}

fn lufs(power: f64) -> f64 {
    10.0 * libm::log10(power) - 0.691
}

fn power_of(lufs: f64) -> f64 {
    libm::pow(10.0, (lufs + 0.691) / 10.0)
}

/// Mean square of each block after K-weighting.
fn block_powers(samples: &[f32], sample_rate: u32) -> Vec<f64> {
    let place = |tenth: usize| (tenth as u64 * u64::from(sample_rate) / 10) as usize;
    let tenths = (0..).take_while(|&tenth| place(tenth + 1) <= samples.len()).count();
    let sections = k_weighting(sample_rate);
    let mut states = [FilterState::default(); 2];
    let mut energy = |samples: &[f32]| weighted_energy(&sections, &mut states, samples);
    if tenths < 4 {
        return if samples.is_empty() { Vec::new() } else { vec![energy(samples) / samples.len() as f64] };
    }
    let energies: Vec<f64> = (0..tenths).map(|tenth| energy(&samples[place(tenth)..place(tenth + 1)])).collect();
    let block =
        |(tenth, energies): (usize, &[f64])| energies.iter().sum::<f64>() / (place(tenth + 4) - place(tenth)) as f64;
    energies.windows(4).enumerate().map(block).collect()
}

fn weighted_energy(sections: &[Section; 2], states: &mut [FilterState; 2], samples: &[f32]) -> f64 {
    let mut buffer = [0.0f64; 512];
    let mut sum = 0.0;
    for samples in samples.chunks(buffer.len()) {
        let buffer = &mut buffer[..samples.len()];
        for (wide, &sample) in buffer.iter_mut().zip(samples) {
            *wide = f64::from(sample);
        }
        for (section, state) in sections.iter().zip(&mut *states) {
            section.run(state, buffer);
        }
        let (fours, rest) = buffer.as_chunks::<4>();
        let mut sums = [0.0f64; 4];
        for four in fours {
            for (sum, x) in sums.iter_mut().zip(four) {
                *sum += x * x;
            }
        }
        sum += sums.iter().sum::<f64>() + rest.iter().map(|x| x * x).sum::<f64>();
    }
    sum
}

/// The two stages of K-weighting: a shelf for the head, and a high-pass.
fn k_weighting(sample_rate: u32) -> [Section; 2] {
    let warped = |hz: f64| libm::tan(PI * (hz / f64::from(sample_rate)).min(0.49));
    let section = |k: f64, q: f64, b: [f64; 3]| {
        let a0 = 1.0 + k / q + k * k;
        (b.map(|b| b / a0), [2.0 * (k * k - 1.0) / a0, (1.0 - k / q + k * k) / a0])
    };
    let (k, q) = (warped(1_681.974_450_955_533), 0.707_175_236_955_419_6);
    let high = libm::pow(10.0, 3.999_843_853_973_347 / 20.0);
    let middle = libm::pow(high, 0.499_666_774_154_541_6);
    let numerator = [high + middle * k / q + k * k, 2.0 * (k * k - high), high - middle * k / q + k * k];
    let (b, a) = section(k, q, numerator);
    let shelf = Section { b, a };
    let (k, q) = (warped(38.135_470_876_024_44), 0.500_327_037_323_877_3);
    // The recommendation leaves this numerator unscaled.
    let (_, a) = section(k, q, [0.0; 3]);
    [shelf, Section { b: [1.0, -2.0, 1.0], a }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, amplitude: f64, seconds: f64, sample_rate: u32) -> Vec<f32> {
        let sample =
            |n| (amplitude * (std::f64::consts::TAU * hz * f64::from(n) / f64::from(sample_rate)).sin()) as f32;
        (0..(seconds * f64::from(sample_rate)) as u32).map(sample).collect()
    }

    #[test]
    fn the_filters_at_48_khz_equal_those_of_the_recommendation() {
        let [shelf, high_pass] = k_weighting(48_000);
        for (found, expected) in [
            (shelf.b[0], 1.53512485958697),
            (shelf.b[1], -2.69169618940638),
            (shelf.b[2], 1.19839281085285),
            (shelf.a[0], -1.69065929318241),
            (shelf.a[1], 0.73248077421585),
            (high_pass.a[0], -1.99004745483398),
            (high_pass.a[1], 0.99007225036621),
        ] {
            assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
        }
    }

    #[test]
    fn a_full_scale_tone_of_997_hz_has_minus_3_lufs() {
        // The recommendation: a 0 dBFS tone of 997 Hz in one channel is -3.01 LKFS.
        for rate in [22_050, 44_100, 48_000] {
            let loudness = integrated(&tone(997.0, 1.0, 3.0, rate), rate).unwrap();
            assert!((loudness + 3.01).abs() < 0.03, "{rate} Hz: {loudness}");
        }
    }

    #[test]
    fn silence_is_gated_out() {
        let mut samples = tone(997.0, 0.1, 4.0, 48_000);
        let alone = integrated(&samples, 48_000).unwrap();
        samples.extend(vec![0.0; 48_000 * 8]);
        let before_silence = integrated(&samples, 48_000).unwrap();
        // Three blocks reach into the silence.
        assert!((alone - before_silence).abs() < 0.2, "{alone} {before_silence}");
        samples.extend(tone(997.0, 0.001, 8.0, 48_000));
        assert!((integrated(&samples, 48_000).unwrap() - before_silence).abs() < 0.1, "40 dB below is gated out");
    }

    #[test]
    fn empty_silent_and_single_sample_clips_are_accepted() {
        assert_eq!(integrated(&[], 22_050), None);
        assert_eq!(integrated(&[0.0; 30_000], 22_050), None);
        assert!(integrated(&[1.0], 22_050).unwrap().is_finite());
    }
}
