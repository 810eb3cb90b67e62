//! Simulates a clip that was resampled to a lower rate and back.
//!
//! `band_limited` does it well: a low-pass, as a sinc in a Kaiser window over 128 samples of the lower rate, flat to 90 % of
//! the lower Nyquist frequency and 90 dB down from there on. `aliased` does it badly, without a filter: both conversions
//! interpolate linearly, so frequencies above the lower Nyquist frequency are mirrored below it (audiomentations' `Aliasing`).

use std::f64::consts::PI;

use crate::dsp::convolve::convolve_about;

/// Length of the window in samples of the lower rate.
const SPAN: f64 = 128.0;
/// Shape of the Kaiser window, for 90 dB.
const BETA: f64 = 8.96;

/// Resamples to `rate` and back with a low-pass.
pub fn band_limited(samples: &mut Vec<f32>, rate: f64, sample_rate: u32) {
    let ratio = rate / f64::from(sample_rate);
    if ratio >= 1.0 {
        return;
    }
    let reach = (SPAN / 2.0 / ratio).ceil() as usize;
    // The transition ends at the lower Nyquist frequency.
    let cutoff = 0.95 * ratio;
    let tap = |n: usize| {
        let time = n as f64 - reach as f64;
        let inside = time / (SPAN / 2.0 / ratio);
        let window =
            if inside.abs() < 1.0 { bessel((1.0 - inside * inside).sqrt() * BETA) / bessel(BETA) } else { 0.0 };
        let angle = PI * cutoff * time;
        let sinc = if time == 0.0 { 1.0 } else { libm::sin(angle) / angle };
        (cutoff * sinc * window) as f32
    };
    // The response is symmetric.
    let half: Vec<f32> = (0..=reach).map(tap).collect();
    let response: Vec<f32> = half.iter().chain(half[..reach].iter().rev()).copied().collect();
    // The part of the response before the clip falls on silence.
    convolve_about(samples, &response, reach);
}

/// The modified Bessel function of order 0, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..60 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
        if term < 1e-12 * sum {
            break;
        }
    }
    sum
}

/// Resamples to `rate` and back by linear interpolation. The first and last sample of the lower rate continue beyond the ends.
pub fn aliased(samples: &mut [f32], rate: f64, sample_rate: u32) {
    let ratio = rate / f64::from(sample_rate);
    if ratio >= 1.0 || samples.is_empty() {
        return;
    }
    let n = (samples.len() as f64 * ratio).ceil() as usize;
    let between = |values: &[f32], place: f64| {
        let whole = place as usize;
        let last = values.len() - 1;
        if whole >= last {
            return values[last];
        }
        let share = (place - whole as f64) as f32;
        values[whole] + share * (values[whole + 1] - values[whole])
    };
    let low: Vec<f32> = (0..n).map(|n| between(samples, n as f64 / ratio)).collect();
    for (n, sample) in samples.iter_mut().enumerate() {
        *sample = between(&low, n as f64 * ratio);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsp::level;

    fn tone(hz: f64) -> Vec<f32> {
        (0..22_050).map(|n| (2.0 * PI * hz * f64::from(n) / 22_050.0).sin() as f32).collect()
    }

    #[test]
    fn frequencies_below_the_lower_nyquist_frequency_stay_and_higher_ones_vanish() {
        for hz in [100.0, 1000.0, 3600.0] {
            let (mut output, samples) = (tone(hz), tone(hz));
            band_limited(&mut output, 8000.0, 22_050);
            let error: Vec<f32> = output.iter().zip(&samples).map(|(a, b)| a - b).collect();
            assert!(level::peak(&error[400..21_600]) < 2e-3, "{hz} Hz: {}", level::peak(&error[400..21_600]));
        }
        for hz in [4010.0, 6000.0, 11_000.0] {
            let mut output = tone(hz);
            band_limited(&mut output, 8000.0, 22_050);
            assert!(level::peak(&output[400..21_600]) < 1e-4, "{hz} Hz");
        }
    }

    #[test]
    fn without_a_filter_higher_frequencies_are_mirrored() {
        let mut output = tone(7000.0);
        aliased(&mut output, 8000.0, 22_050);
        // 7000 Hz at 8000 Hz is 1000 Hz.
        let at = |hz: f64| {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, &x) in output.iter().enumerate() {
                let angle = 2.0 * PI * hz * n as f64 / 22_050.0;
                re += f64::from(x) * angle.cos();
                im += f64::from(x) * angle.sin();
            }
            (re * re + im * im).sqrt() / 11_025.0
        };
        assert!(at(1000.0) > 0.3 && at(7000.0) < 0.2, "{} {}", at(1000.0), at(7000.0));
    }

    proptest! {
        #[test]
        fn lengths_stay_at_any_rate(n in 0usize..600, rate in 100.0f64..30_000.0) {
            let mut samples: Vec<f32> = (0..n).map(|n| (n as f32 * 0.7).sin()).collect();
            band_limited(&mut samples, rate, 22_050);
            prop_assert_eq!(samples.len(), n);
            aliased(&mut samples, rate, 22_050);
            prop_assert!(samples.iter().all(|x| x.abs() < 3.0));
        }
    }
}
