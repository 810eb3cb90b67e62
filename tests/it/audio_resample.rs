//! Compares the resampler with tones, a direct sum in f64, and librosa.

use std::f64::consts::{PI, TAU};

use proptest::prelude::*;
use timbre_inputs::features::{ClipAnalysis, FeatureSpec};
use timbre_signal::audio::{self, Clip, ResampleFilter, resample_range, resampled_len};

/// Usual pairs and odd ones, down and up.
const PAIRS: [(u32, u32); 9] = [
    (44100, 22050),
    (48000, 22050),
    (44100, 16000),
    (44100, 32000),
    (8000, 22050),
    (22050, 44100),
    (44099, 22050),
    (22050, 44099),
    (16001, 3001),
];

/// With the default filter.
fn resample(input: &[f32], from: u32, to: u32) -> Vec<f32> {
    audio::resample(input, from, to, ResampleFilter::default())
}

fn tone(hertz: f64, rate: u32, n: usize) -> Vec<f32> {
    (0..n).map(|i| (TAU * hertz * i as f64 / f64::from(rate) + 0.3).sin() as f32).collect()
}

/// Eight thousand samples at the lower rate: several times the length of the filter.
fn long_enough(from: u32, to: u32) -> usize {
    from as usize * 8192 / from.min(to) as usize
}

/// The samples that are further from both ends than the reach of the filter.
fn inside(samples: &[f32], from: u32, to: u32) -> std::ops::Range<usize> {
    let edge = (f64::from(to) / f64::from(from.min(to)) * 1024.0) as usize + 1;
    assert!(samples.len() > 3 * edge, "the test signal is long enough");
    edge..samples.len() - edge
}

fn decibels(amplitude: f64) -> f64 {
    20.0 * amplitude.log10()
}

#[test]
fn a_tone_above_the_new_nyquist_frequency_is_attenuated_by_90_db() {
    for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
        let nyquist = f64::from(to) / 2.0;
        let top = f64::from(from) / 2.0;
        for part in [0.0001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 0.99] {
            let hertz = nyquist + part * (top - nyquist);
            let output = resample(&tone(hertz, from, long_enough(from, to)), from, to);
            let loudest = inside(&output, from, to).map(|i| output[i].abs()).fold(0.0, f32::max);
            assert!(decibels(f64::from(loudest)) < -90.0, "{from} to {to}: {hertz} Hz at {}", decibels(loudest.into()));
        }
    }
}

#[test]
fn a_tone_in_the_passband_keeps_its_amplitude_and_phase_without_artefacts() {
    for (from, to) in PAIRS {
        let nyquist = f64::from(from.min(to)) / 2.0;
        for part in [0.01, 0.1, 0.37, 0.5, 0.75, 0.9, 0.94] {
            let hertz = part * nyquist;
            let output = resample(&tone(hertz, from, long_enough(from, to)), from, to);
            // The same tone at the new rate, sample 0 at sample 0. Any difference is image, alias, ripple or delay.
            let expected = tone(hertz, to, output.len());
            let inside = inside(&output, from, to);
            let power: f64 = inside.clone().map(|i| f64::from(expected[i]).powi(2)).sum();
            let along: f64 = inside.clone().map(|i| f64::from(expected[i]) * f64::from(output[i])).sum();
            let gain = along / power;
            assert!(decibels(gain).abs() < 0.01, "{from} to {to}: {hertz} Hz by {} dB", decibels(gain));
            let rest = inside.map(|i| (f64::from(output[i]) - gain * f64::from(expected[i])).abs()).fold(0.0, f64::max);
            assert!(decibels(rest) < -90.0, "{from} to {to}: beside {hertz} Hz lies {} dB", decibels(rest));
        }
    }
}

#[test]
fn an_impulse_stays_at_its_position_and_rings_symmetrically() {
    for (from, to) in PAIRS {
        let gcd = (1..=from.min(to)).rev().find(|d| from % d == 0 && to % d == 0).expect("one divides all");
        let (step, parts) = ((from / gcd) as usize, (to / gcd) as usize);
        let before = 4000usize.div_ceil(step) * step;
        let mut input = vec![0.0f32; 2 * before + 1];
        input[before] = 1.0;
        let output = resample(&input, from, to);
        let centre = before / step * parts;
        let peak = (0..output.len()).max_by(|a, b| output[*a].total_cmp(&output[*b])).expect("not empty");
        assert_eq!(peak, centre, "{from} to {to}");
        for k in 1..centre.min(output.len() - centre - 1) {
            let (left, right) = (output[centre - k], output[centre + k]);
            assert!((left - right).abs() < 2e-6, "{from} to {to}: {left} and {right} at {k}");
        }
    }
}

/// The windowed sinc itself, summed in f64 for one output after the other.
fn direct_sum(input: &[f32], from: u32, to: u32) -> Vec<f64> {
    let gcd =
        (1..=from.min(to)).rev().find(|d| from.is_multiple_of(*d) && to.is_multiple_of(*d)).expect("one divides all")
            as usize;
    let low = from.min(to) as usize / gcd;
    // The filter spans an even number of common blocks of the lower rate, 512 samples at least; 512 for odd pairs.
    let span = if low <= 512 { 512usize.div_ceil(2 * low) * 2 * low } else { 512 };
    let slower = (f64::from(from) / f64::from(to)).max(1.0);
    let half = span as f64 / 2.0 * slower;
    let below = [13.745_202_940_783_823, 121.735_325_863_749_34, 5_964.163_279_612_051];
    let below: f64 = below.iter().zip(1..).map(|(k, power)| k / (span as f64).powi(power)).sum();
    let cutoff = 1.0 / (1.0 + below) / slower;
    (0..resampled_len(input.len(), from, to))
        .map(|n| {
            let at = n as f64 * f64::from(from) / f64::from(to);
            let first = (at - half).ceil().max(0.0) as usize;
            let last = ((at + half).floor() as usize).min(input.len() - 1);
            (first..=last)
                .map(|k| {
                    let t = k as f64 - at;
                    let x = PI * cutoff * t;
                    let sinc = if x.abs() < 1e-12 { 1.0 } else { x.sin() / x };
                    let c = |m: f64| (m * PI * t / half).cos();
                    let window = 0.35875 + 0.48829 * c(1.0) + 0.14128 * c(2.0) + 0.01168 * c(3.0);
                    f64::from(input[k]) * cutoff * sinc * window * window
                })
                .sum()
        })
        .collect()
}

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = timbre_core::seed::Seed::new(seed).rng();
    (0..n).map(|_| (2.0 * timbre_core::seed::uniform(&mut rng) - 1.0) as f32).collect()
}

#[test]
fn every_pair_equals_a_direct_sum_in_f64() {
    for (from, to) in PAIRS.into_iter().chain([(96000, 1000), (44100, 44101)]) {
        let input = noise(3001, 7);
        let (fast, slow) = (resample(&input, from, to), direct_sum(&input, from, to));
        assert_eq!(fast.len(), slow.len());
        for (n, (a, b)) in fast.iter().zip(&slow).enumerate() {
            assert!((f64::from(*a) - b).abs() < 5e-6, "{from} to {to}: {a} and {b} at {n}");
        }
    }
}

#[test]
fn any_order_of_rates_on_any_thread_gives_the_same_bytes() {
    let input = noise(5000, 3);
    let alone: Vec<Vec<f32>> = PAIRS.iter().map(|(from, to)| resample(&input, *from, *to)).collect();
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let (input, alone) = (&input, &alone);
            scope.spawn(move || {
                for round in 0..2 * PAIRS.len() {
                    let which = (round * (turn + 1) + turn) % PAIRS.len();
                    let (from, to) = PAIRS[which];
                    // More pairs than the cache holds, so that engines are dropped and rebuilt.
                    resample(&input[..200], 9000 + round as u32, 8000);
                    assert_eq!(resample(input, from, to), alone[which]);
                }
            });
        }
    });
}

#[test]
fn within_the_passband_the_samples_equal_librosas_soxr_hq() {
    // Against exact band-limited resampling (the spectrum cut in one FFT over the whole signal) this filter errs by 4e-7
    // for both rates, soxr by 1e-7 and, where its ratio is not a whole number, by 6e-5: most of the second bound is soxr's.
    for (rate, bound) in [(22050, 2e-6), (16000, 1e-4)] {
        let read = |end: &str| -> Vec<f32> {
            let path = format!("{}/tests/golden/audio/noise_{rate}.{end}.f32", env!("CARGO_MANIFEST_DIR"));
            bytemuck::pod_collect_to_vec(&std::fs::read(path).expect("a golden file"))
        };
        let (ours, librosas) = (resample(&read("in"), 44100, rate), read("out"));
        assert_eq!(ours.len(), librosas.len());
        let worst = ours.iter().zip(&librosas).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < bound, "{rate}: {worst}");
    }
}

#[test]
fn soxr_hq_gives_soxrs_numbers_up_to_the_top_mel_band_and_the_default_filter_does_not() {
    let read = |rate: u32| -> Vec<f32> {
        let path = format!("{}/tests/golden/soxr/{rate}.f32", env!("CARGO_MANIFEST_DIR"));
        bytemuck::pod_collect_to_vec(&std::fs::read(path).expect("a golden file"))
    };
    let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for (rate, of_samples, of_decibels) in [(22050, 2e-6, 0.001), (16000, 5e-4, 0.05)] {
        let (input, mut soxrs) = (read(44100), read(rate));
        let ours = audio::resample(&input, 44100, rate, ResampleFilter::SoxrHq);
        // soxr rounds the length, librosa takes the ceiling.
        assert!(ours.len() - soxrs.len() < 2);
        soxrs.resize(ours.len(), 0.0);
        assert!(worst(&ours, &soxrs) < of_samples, "{rate}: {}", worst(&ours, &soxrs));
        let spec = serde_json::json!({ "kind": "mel", "n_fft": 512, "hop_length": 128, "n_mels": 40, "db": true });
        let spec: FeatureSpec = serde_json::from_value(spec).expect("a spec");
        let extractor = spec.as_kind().build(rate).expect("a mel spectrogram");
        // The last four of forty bands.
        let top = |samples: &[f32]| {
            let clip = Clip { samples: samples.to_vec(), sample_rate: rate };
            let image = extractor.extract(&ClipAnalysis::new(&clip)).expect("long enough");
            image.values[36 * image.cols..].to_vec()
        };
        assert!(worst(&top(&ours), &top(&soxrs)) < of_decibels, "{rate}: {} dB", worst(&top(&ours), &top(&soxrs)));
        let other = worst(&top(&resample(&input, 44100, rate)), &top(&soxrs));
        assert!(other > 0.5, "{rate}: the default filter differs by {other} dB");
    }
}

#[test]
fn the_length_is_the_ceiling_of_the_exact_ratio() {
    assert_eq!(resampled_len(132300, 44100, 22050), 66150);
    assert_eq!(resampled_len(132301, 44100, 22050), 66151);
    assert_eq!(resampled_len(1, 384000, 1000), 1);
    assert_eq!(resampled_len(0, 44100, 22050), 0);
    assert_eq!(resampled_len(usize::MAX / 400, 1000, 384000), usize::MAX / 400 * 384);
    assert!(resample(&[], 44100, 22050).is_empty());
    assert_eq!(resample(&[0.25, 0.5], 8000, 8000), [0.25, 0.5]);
}

fn any_pair() -> impl Strategy<Value = (u32, u32)> {
    prop_oneof![prop::sample::select(PAIRS.to_vec()), (1000u32..50000, 1000u32..50000)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_part_of_the_output_equals_the_same_part_of_the_whole((from, to) in any_pair(), n in 1usize..9000, a in 0.0..1.0, b in 0.0..1.0, soxr: bool) {
        let input = noise(n, 11);
        let filter = if soxr { ResampleFilter::SoxrHq } else { ResampleFilter::BlackmanHarris };
        let whole = audio::resample(&input, from, to, filter);
        let dir = |share: f64| (share * whole.len() as f64) as usize;
        let range = dir(a).min(dir(b))..dir(a).max(dir(b));
        prop_assert_eq!(&resample_range(&input, from, to, filter, range.clone())[..], &whole[range]);
    }

    #[test]
    fn the_sum_of_two_signals_becomes_the_sum_of_their_outputs((from, to) in any_pair(), n in 1usize..4000) {
        let (x, y) = (noise(n, 1), noise(n, 2));
        let mixed: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 0.5 * x - 0.25 * y).collect();
        let (x, y, mixed) = (resample(&x, from, to), resample(&y, from, to), resample(&mixed, from, to));
        for i in 0..mixed.len() {
            prop_assert!((mixed[i] - (0.5 * x[i] - 0.25 * y[i])).abs() < 5e-6);
        }
    }

    #[test]
    fn silence_before_a_recording_only_shifts_it((from, to) in prop::sample::select(PAIRS[..6].to_vec()), n in 1usize..4000) {
        let gcd = (1..=from.min(to)).rev().find(|d| from % d == 0 && to % d == 0).expect("one divides all");
        let (step, parts) = ((from / gcd) as usize, (to / gcd) as usize);
        let blocks = 1500usize.div_ceil(step.min(parts));
        let input = noise(n, 5);
        let later = [vec![0.0; blocks * step], input.clone()].concat();
        let (here, there) = (resample(&input, from, to), resample(&later, from, to));
        for (i, sample) in here.iter().enumerate() {
            prop_assert!((sample - there[blocks * parts + i]).abs() < 5e-6);
        }
    }
}
