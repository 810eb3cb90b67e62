//! What the tests of several augmentations ask: a tone, a draw, an answer to a tone.

use super::tests::{alone, sound};
use super::{AugmentKind, Draw, Effect, Scene, Sound};
use crate::seed::Seed;

/// Of 440 Hz at 8 kHz.
pub fn tone(samples: usize) -> Vec<f32> {
    tone_of(440.0, samples, 8000)
}

pub fn tone_of(hz: f64, samples: usize, sample_rate: u32) -> Vec<f32> {
    let sample = |n| (std::f64::consts::TAU * hz * n as f64 / f64::from(sample_rate)).sin() as f32;
    (0..samples).map(sample).collect()
}

/// What a spec draws for a clip at 8 kHz that has no company.
pub fn drawn(spec: &impl AugmentKind, samples: usize, seed: u64) -> Vec<Draw> {
    let company = alone();
    let scene = Scene { sample_rate: 8000, samples, row: 0, company: &company };
    spec.draw(&scene, &mut Seed::new(seed).rng()).unwrap()
}

/// What a draw makes of samples at 8 kHz.
pub fn heard(draw: &impl Effect, samples: &[f32]) -> Vec<f32> {
    let mut heard = sound(samples);
    draw.on_sound(&mut heard, &alone()).unwrap();
    heard.samples
}

/// Decibels by which a draw changes a tone at 22,050 Hz, once it has settled.
pub fn gain_at(draw: &impl Effect, hz: f64) -> f64 {
    let samples = tone_of(hz, 44_100, 22_050);
    let mut heard = Sound { samples: samples.clone(), sample_rate: 22_050, targets: vec![] };
    draw.on_sound(&mut heard, &alone()).unwrap();
    let late = |samples: &[f32]| crate::dsp::level::rms(&samples[11_025..33_075]);
    20.0 * (late(&heard.samples) / late(&samples)).log10()
}
