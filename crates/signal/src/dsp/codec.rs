//! Simulates a lossy codec like MP3: a modified cosine transform whose coefficients are quantised by bit rate and masking
//! curve, and a low-pass by bit rate.
//!
//! What it does: frames of 576 coefficients (sine window, half overlapped) like the long blocks of MP3; bands of one Bark; a
//! masking curve from the energies of the bands, spread over their neighbours (27 dB per Bark downwards, 15 dB upwards) and
//! lowered by 12 dB, with a floor at -96 dB of full scale. The allowed noise is this curve, raised or lowered in each frame
//! until the frame fits the bit rate; a coefficient costs half the binary logarithm of one plus its ratio of power to noise.
//! Quantisation is uniform with MP3's rounding (0.4054), so weak coefficients vanish and bands flicker: the audible artefact.
//!
//! What it leaves out: bit stream, Huffman tables and bit reservoir, the switch to short blocks (transients smear over a
//! frame at every bit rate), stereo, and the polyphase filter bank with its aliasing.

use std::cell::RefCell;
use std::f64::consts::PI;
use std::sync::Arc;

use timbre_fft::{Complex, RealPlannerF32, RealToComplex};

use crate::dsp::decibel::decibels;

/// Coefficients per frame.
const FRAME: usize = 576;
const QUARTER: usize = FRAME / 2;

/// The modified cosine transform: 2 · 576 samples to 576 coefficients, and back by overlap-add.
struct Transform {
    window: Vec<f32>,
    /// `exp(-iπ (8n + 1) / (8 · 576))`.
    twiddles: Vec<Complex<f32>>,
    fft: Arc<dyn RealToComplex<f32>>,
    parts: [Vec<f32>; 2],
    spectra: [Vec<Complex<f32>>; 2],
    scratch: Vec<Complex<f32>>,
}

impl Transform {
    fn new() -> Transform {
        let fft = RealPlannerF32::new().forward(QUARTER);
        let twiddle = |n: usize| {
            let angle = -PI * (8 * n + 1) as f64 / (8 * FRAME) as f64;
            Complex::new(angle.cos() as f32, angle.sin() as f32)
        };
        Transform {
            window: (0..2 * FRAME).map(|n| (PI * (n as f64 + 0.5) / (2 * FRAME) as f64).sin() as f32).collect(),
            twiddles: (0..QUARTER).map(twiddle).collect(),
            parts: [fft.make_input_vec(), fft.make_input_vec()],
            spectra: [fft.make_output_vec(), fft.make_output_vec()],
            scratch: fft.make_scratch_vec(),
            fft,
        }
    }

    /// `X[k] = sum over n of v[n] cos(π / N (n + 1/2)(k + 1/2))`, in place; applied twice it multiplies by N / 2. Computed by a
    /// complex FFT of half the length, as two real ones.
    fn cosine_four(&mut self, values: &mut [f32; FRAME]) {
        for n in 0..QUARTER {
            let z = Complex::new(values[2 * n], values[FRAME - 1 - 2 * n]) * self.twiddles[n];
            (self.parts[0][n], self.parts[1][n]) = (z.re, z.im);
        }
        for (part, spectrum) in self.parts.iter_mut().zip(&mut self.spectra) {
            self.fft.process_with_scratch(part, spectrum, &mut self.scratch).expect("buffers of the plan's lengths");
        }
        let [real, imaginary] = &self.spectra;
        for k in 0..QUARTER {
            let (a, b) = if k <= QUARTER / 2 {
                (real[k], imaginary[k])
            } else {
                (real[QUARTER - k].conj(), imaginary[QUARTER - k].conj())
            };
            let y = Complex::new(a.re - b.im, a.im + b.re) * self.twiddles[k];
            values[2 * k] = y.re;
            values[FRAME - 1 - 2 * k] = -y.im;
        }
    }

    fn forward(&mut self, samples: &[f32], out: &mut [f32; FRAME]) {
        let x = |n: usize| samples[n] * self.window[n];
        for n in 0..QUARTER {
            out[n] = -x(3 * QUARTER - 1 - n) - x(3 * QUARTER + n);
            out[QUARTER + n] = x(n) - x(FRAME - 1 - n);
        }
        self.cosine_four(out);
    }

    /// Adds the inverse transform to the overlap of the previous frame in `samples`.
    fn add_backward(&mut self, values: &mut [f32; FRAME], samples: &mut [f32]) {
        self.cosine_four(values);
        let scale = 2.0 / FRAME as f32;
        for n in 0..QUARTER {
            let (early, late) = (scale * values[QUARTER + n], scale * values[n]);
            samples[n] += self.window[n] * early;
            samples[FRAME - 1 - n] -= self.window[FRAME - 1 - n] * early;
            samples[3 * QUARTER - 1 - n] -= self.window[3 * QUARTER - 1 - n] * late;
            samples[3 * QUARTER + n] -= self.window[3 * QUARTER + n] * late;
        }
    }
}

/// Bit rate of a stereo stream in kbit/s, and LAME's low-pass for it in Hz.
const LOW_PASS: [(f64, f64); 17] = [
    (8.0, 2000.0),
    (16.0, 3700.0),
    (24.0, 3900.0),
    (32.0, 5500.0),
    (40.0, 7000.0),
    (48.0, 7500.0),
    (56.0, 10_000.0),
    (64.0, 11_000.0),
    (80.0, 13_500.0),
    (96.0, 15_100.0),
    (112.0, 15_600.0),
    (128.0, 17_000.0),
    (160.0, 17_500.0),
    (192.0, 18_600.0),
    (224.0, 19_400.0),
    (256.0, 19_700.0),
    (320.0, 20_500.0),
];

/// The highest coded frequency at `kilobits` kbit/s for one channel: LAME's choice for two channels that share twice as many.
fn low_pass_hz(kilobits: f64) -> f64 {
    let stereo = 2.0 * kilobits;
    let (first, last) = (LOW_PASS[0], LOW_PASS[LOW_PASS.len() - 1]);
    if stereo <= first.0 {
        return first.1 * stereo / first.0;
    }
    let between = LOW_PASS.windows(2).find(|pair| stereo <= pair[1].0);
    between.map_or(last.1, |pair| {
        let share = (stereo - pair[0].0) / (pair[1].0 - pair[0].0);
        pair[0].1 + share * (pair[1].1 - pair[0].1)
    })
}

/// Encodes and decodes in place, at `kilobits` kbit/s for the one channel, without delay or change of length.
pub fn encode_decode(samples: &mut [f32], kilobits: f64, sample_rate: u32) {
    thread_local! {
        static TRANSFORM: RefCell<Transform> = RefCell::new(Transform::new());
    }
    TRANSFORM.with_borrow_mut(|transform| {
        let bands = bands(low_pass_hz(kilobits), sample_rate);
        let budget = (1000.0 * kilobits * FRAME as f64 / f64::from(sample_rate)) as f32;
        modify_frames(transform, samples, |frame| quantise(frame, &bands, budget));
    });
}

/// Transforms, modifies each frame, and transforms back.
fn modify_frames(transform: &mut Transform, samples: &mut [f32], mut change: impl FnMut(&mut [f32; FRAME])) {
    // A frame of silence before the clip and at least one after it, so that every sample lies in two frames.
    let frames = samples.len().div_ceil(FRAME) + 1;
    let mut padded = vec![0.0f32; (frames + 1) * FRAME];
    padded[FRAME..FRAME + samples.len()].copy_from_slice(samples);
    let mut sum = vec![0.0f32; padded.len()];
    let mut frame = [0.0f32; FRAME];
    for index in 0..frames {
        let span = index * FRAME..(index + 2) * FRAME;
        transform.forward(&padded[span.clone()], &mut frame);
        change(&mut frame);
        transform.add_backward(&mut frame, &mut sum[span]);
    }
    samples.copy_from_slice(&sum[FRAME..FRAME + samples.len()]);
}

/// The first coefficient of each band, one Bark wide (Traunmüller's formula), up to the low-pass, and the end of the last.
fn bands(low_pass: f64, sample_rate: u32) -> Vec<usize> {
    let hz = |k: usize| (k as f64 + 0.5) * f64::from(sample_rate) / (2 * FRAME) as f64;
    let bark = |hz: f64| 26.81 * hz / (1960.0 + hz) - 0.53;
    let end = (0..FRAME).take_while(|&k| hz(k) <= low_pass).count();
    let mut edges = vec![0];
    for k in 1..end {
        let from = edges[edges.len() - 1];
        if bark(hz(k)) - bark(hz(from)) >= 1.0 && k - from >= 4 {
            edges.push(k);
        }
    }
    edges.push(end.max(1));
    edges
}

fn quantise(frame: &mut [f32; FRAME], bands: &[usize], budget: f32) {
    // The maximum number of bands: 25 at 48 kHz.
    const MAX_BANDS: usize = 32;
    let n = (bands.len() - 1).min(MAX_BANDS);
    let mut powers = [0.0f32; MAX_BANDS];
    for (power, band) in powers.iter_mut().zip(bands.windows(2)) {
        let values = &frame[band[0]..band[1]];
        *power = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
    }
    let mut noise = masked(&powers[..n]);
    let width = |band: usize| (bands[band + 1] - bands[band]) as f32;
    let bits = |noise: &[f32; MAX_BANDS], factor: f32| -> f32 {
        (0..n)
            .map(|band| {
                // Half a binary logarithm, by way of decibels.
                width(band) * 0.166_096_4 * decibels(1.0 + powers[band] / (noise[band] * factor))
            })
            .sum()
    };
    // Bisection of the noise level in decibels: seven steps are accurate to half a decibel.
    let (mut low, mut high) = (-20.0f32, 60.0f32);
    for _ in 0..7 {
        let middle = 0.5 * (low + high);
        let fits = bits(&noise, crate::dsp::decibel::db_to_amplitude(2.0 * middle)) <= budget;
        if fits { high = middle } else { low = middle }
    }
    let factor = crate::dsp::decibel::db_to_amplitude(2.0 * high);
    noise.iter_mut().for_each(|noise| *noise *= factor);
    for (band, edges) in bands.windows(2).enumerate().take(n) {
        // The noise of uniform steps has a power of a twelfth of their square.
        let step = (12.0 * noise[band]).sqrt();
        round_to(&mut frame[edges[0]..edges[1]], step);
    }
    frame[bands[n]..].fill(0.0);
}

/// The masked noise power per coefficient of each band.
fn masked<const MAX_BANDS: usize>(powers: &[f32]) -> [f32; MAX_BANDS] {
    // A coefficient of a full-scale sine has a power of about (576 / 2)².
    let floor = (QUARTER * QUARTER) as f32 * 2.5e-10;
    let (up, down, below) = (0.031_622_78, 0.001_995_26, 0.063_095_73);
    let mut mask = [0.0f32; MAX_BANDS];
    let mut spread = 0.0f32;
    for (mask, &power) in mask.iter_mut().zip(powers) {
        spread = power + up * spread;
        *mask = spread;
    }
    spread = 0.0;
    for (mask, &power) in mask.iter_mut().zip(powers).rev() {
        *mask += down * spread;
        spread = power + down * spread;
    }
    mask.map(|power| power * below + floor)
}

/// Rounds to multiples of `step`; magnitudes are rounded up from 0.5946 on, as in MP3.
fn round_to(values: &mut [f32], step: f32) {
    let inverse = 1.0 / step;
    for value in values {
        let steps = value.abs() * inverse + 0.4054;
        // A larger f32 has no fraction and would not fit an i32.
        let whole = if steps < 8_388_608.0 { steps as i32 as f32 } else { steps };
        *value = (whole * step).copysign(*value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsp::{level, noise};

    fn gaussians(seed: u64, n: usize) -> Vec<f32> {
        let mut samples = vec![0.0; n];
        noise::fill(noise::Colour::Pink, seed, &mut samples);
        let loudness = level::rms(&samples) as f32;
        level::scale(&mut samples, 0.1 / loudness.max(1e-9));
        samples
    }

    /// Signal-to-noise ratio in decibels.
    fn signal_to_noise_db(kilobits: f64, samples: &[f32]) -> f64 {
        let mut coded = samples.to_vec();
        encode_decode(&mut coded, kilobits, 44_100);
        let error: Vec<f32> = coded.iter().zip(samples).map(|(a, b)| a - b).collect();
        10.0 * (level::energy(samples) / level::energy(&error)).log10()
    }

    #[test]
    fn the_fast_transform_equals_the_definition() {
        let samples = gaussians(1, 2 * FRAME);
        let mut transform = Transform::new();
        let mut fast = [0.0; FRAME];
        transform.forward(&samples, &mut fast);
        for (k, &fast) in fast.iter().enumerate() {
            let slow: f64 = (0..2 * FRAME)
                .map(|n| {
                    let phase = PI / FRAME as f64 * (n as f64 + 0.5 + QUARTER as f64) * (k as f64 + 0.5);
                    f64::from(samples[n]) * (PI * (n as f64 + 0.5) / (2 * FRAME) as f64).sin() * phase.cos()
                })
                .sum();
            assert!((f64::from(fast) - slow).abs() < 1e-4, "{k}: {fast} {slow}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn unmodified_frames_reconstruct_the_clip(n in 0usize..3000, seed: u64) {
            let samples = gaussians(seed, n);
            let mut back = samples.clone();
            modify_frames(&mut Transform::new(), &mut back, |_| ());
            prop_assert!(back.iter().zip(&samples).all(|(a, b)| (a - b).abs() < 1e-6));
        }

        #[test]
        fn any_clip_at_any_bit_rate_stays_finite(n in 0usize..2000, seed: u64, kilobits in 1.0f64..400.0, rate in 1000u32..200_000) {
            let mut samples = gaussians(seed, n);
            encode_decode(&mut samples, kilobits, rate);
            prop_assert!(samples.iter().all(|x| x.abs() < 100.0));
        }
    }

    #[test]
    fn the_signal_to_noise_ratio_rises_with_the_bit_rate() {
        let samples = gaussians(3, 44_100);
        let ratios: Vec<f64> =
            [8.0, 16.0, 32.0, 64.0, 128.0].map(|kilobits| signal_to_noise_db(kilobits, &samples)).to_vec();
        assert!(ratios.windows(2).all(|pair| pair[0] < pair[1]), "{ratios:?}");
        // About 6 dB per bit and coefficient below the low-pass.
        assert!(ratios[0] > 1.0 && ratios[2] > 6.0 && ratios[4] > 15.0, "{ratios:?}");
    }

    #[test]
    fn frequencies_above_the_low_pass_are_removed_and_silence_stays_silent() {
        let mut tone: Vec<f32> =
            (0..44_100).map(|n| (f64::from(n) * 2.0 * PI * 15_000.0 / 44_100.0).sin() as f32).collect();
        encode_decode(&mut tone, 32.0, 44_100);
        assert!(level::rms(&tone[2000..42_000]) < 1e-3, "32 kbit/s end at 11 kHz");
        let mut silence = vec![0.0; 5000];
        encode_decode(&mut silence, 32.0, 44_100);
        assert!(silence.iter().all(|&x| x == 0.0));
    }

    #[test]
    fn the_low_pass_rises_with_the_bit_rate() {
        assert_eq!(low_pass_hz(64.0), 17_000.0);
        assert_eq!(low_pass_hz(4.0), 2000.0);
        assert_eq!(low_pass_hz(1000.0), 20_500.0);
        assert!((1..400).all(|k| low_pass_hz(f64::from(k)) <= low_pass_hz(f64::from(k + 1))));
    }
}
