//! Compares time stretch and pitch shift with librosa 0.11 on signals with a known exact result; `tests/golden/make_vocoder.py`
//! wrote librosa's scores.
//!
//! There is no margin: the spectral convergence must be at most librosa's on every signal, and the level accurate to 0.5 dB
//! (librosa loses up to 6 dB).

use std::f64::consts::{PI, TAU};

use serde::Deserialize;
use timbre_signal::dsp::{
    stft::{PadMode, StftPlan, StftSpec},
    vocoder::{pitch_shift, time_stretch},
    window::Window,
};

const RATE: u32 = 22050;
const FS: f64 = RATE as f64;
const SECONDS: f64 = 3.0;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    signal: String,
    change: String,
    by: f64,
    convergence: f64,
}

/// `n` samples of a named signal, `rate` times as fast and `pitch` times as high, by the formulas of the generator.
fn signal(name: &str, n: usize, pitch: f64, rate: f64) -> Vec<f32> {
    let samples: Vec<f64> = match name {
        "a tone" => partials(&[440.0], 1, 0.5, n, pitch),
        "a high tone" => partials(&[3000.0], 1, 0.5, n, pitch),
        "a chord" => partials(&[220.0, 277.18, 329.63], 8, 0.2, n, pitch),
        "a low chord" => partials(&[110.0, 138.59, 164.81, 220.0], 8, 0.2, n, pitch),
        "a glide" => {
            let frequency = |t: f64| 220.0 + 220.0 / SECONDS * t;
            moving(frequency, |t| 220.0 * t + 110.0 / SECONDS * t * t, n, pitch, rate)
        }
        "vibrato" => {
            let swing = TAU * 5.5;
            let frequency = |t: f64| 330.0 * (1.0 + 0.01 * (swing * t).sin());
            moving(frequency, |t| 330.0 * (t - 0.01 / swing * (swing * t).cos()), n, pitch, rate)
        }
        "four clicks a second" => clicks(0.25, n, pitch, rate),
        "ten clicks a second" => clicks(0.1, n, pitch, rate),
        "noise" => noise(n),
        other => panic!("no signal is called {other}"),
    };
    samples.into_iter().map(|x| x as f32).collect()
}

fn partials(frequencies: &[f64], harmonics: u32, level: f64, n: usize, pitch: f64) -> Vec<f64> {
    let mut out = vec![0.0; n];
    for frequency in frequencies {
        for harmonic in (1..=harmonics).map(f64::from) {
            let output = frequency * harmonic * pitch;
            if output < FS / 2.0 {
                for (i, x) in out.iter_mut().enumerate() {
                    let phase = TAU * output * i as f64 / FS + harmonic * frequency / 7.0;
                    *x += level / harmonic * phase.sin();
                }
            }
        }
    }
    out
}

fn moving(frequency: impl Fn(f64) -> f64, cycles: impl Fn(f64) -> f64, n: usize, pitch: f64, rate: f64) -> Vec<f64> {
    let at = |i: usize| {
        let t = i as f64 / FS * rate;
        let output = (1..=12).map(f64::from).filter(|h| h * frequency(t) * pitch < FS / 2.0);
        output.map(|h| 0.2 / h * (TAU * h * cycles(t) * pitch / rate + h).sin()).sum()
    };
    (0..n).map(at).collect()
}

fn clicks(period: f64, n: usize, pitch: f64, rate: f64) -> Vec<f64> {
    let band = pitch.min(1.0);
    let mut out = vec![0.0; n];
    for k in 0..(SECONDS / period) as usize {
        let place = ((0.05 + k as f64 * period) / rate * FS + 0.5).floor();
        if place < n as f64 {
            for (i, x) in out.iter_mut().enumerate() {
                let turn = PI * band * (i as f64 - place);
                *x += 0.8 / pitch * band * if turn == 0.0 { 1.0 } else { turn.sin() / turn };
            }
        }
    }
    out
}

fn noise(n: usize) -> Vec<f64> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// Frame-major, 1025 bins.
fn magnitudes(samples: &[f32]) -> Vec<f64> {
    let spec = StftSpec {
        n_fft: 2048,
        hop_length: 512,
        win_length: 2048,
        window: Window::Hann,
        center: true,
        pad_mode: PadMode::Constant,
    };
    StftPlan::new(spec).power(samples).power.iter().map(|&p| f64::from(p).sqrt()).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64
}

/// The spectral convergence, and the level in decibels.
fn scores(case: &Case) -> (f64, f64) {
    let input = signal(&case.signal, (SECONDS * FS) as usize, 1.0, 1.0);
    let (output, pitch, rate) = match &case.change[..] {
        "stretch" => (time_stretch(&input, RATE, case.by), 1.0, case.by),
        _ => (pitch_shift(&input, RATE, case.by), 2f64.powf(case.by / 12.0), 1.0),
    };
    let (got, right, wanted) = if case.signal == "noise" {
        let average = |samples: &[f32]| -> Vec<f64> {
            let all = magnitudes(samples);
            let frames = (all.len() / 1025) as f64;
            (0..1025).map(|k| all[k..].iter().step_by(1025).map(|m| m * m).sum::<f64>() / frames).collect()
        };
        let flat = (average(&input).iter().sum::<f64>() / 1025.0 / pitch).sqrt();
        let right = (0..1025).map(|k| if f64::from(k) < 1025.0 * pitch.min(1.0) { flat } else { 0.0 }).collect();
        (average(&output).iter().map(|p| p.sqrt()).collect::<Vec<f64>>(), right, power(&input) / pitch.max(1.0))
    } else {
        let right = signal(&case.signal, output.len(), pitch, rate);
        (magnitudes(&output), magnitudes(&right), power(&right))
    };
    let off = norm(got.iter().zip(&right).map(|(a, b)| a - b)) / norm(right.iter().copied());
    (off, 10.0 * (power(&output) / wanted).log10())
}

#[test]
fn stretched_and_shifted_spectra_are_at_least_as_exact_as_librosas() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/vocoder.json")).unwrap();
    assert_eq!(golden.cases.len(), 45);
    let mut faults = Vec::new();
    for case in &golden.cases {
        let (off, level) = scores(case);
        let line = format!(
            "{}, {} by {}: {off:.4}, librosa {:.4}; {level:+.2} dB",
            case.signal, case.change, case.by, case.convergence
        );
        println!("{line}");
        if off > case.convergence || level.abs() > 0.5 {
            faults.push(line);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
