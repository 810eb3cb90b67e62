//! What the tests of several augmentations ask: a tone, a draw, an answer to a tone.

use super::tests::{alone, sound};
use super::{AugmentContext, AugmentKind, Draw, Effect, Sound};
use timbre_core::seed::Seed;

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
    let scene = AugmentContext { sample_rate: 8000, samples, row: 0, company: &company };
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
    let late = |samples: &[f32]| timbre_signal::dsp::level::rms(&samples[11_025..33_075]);
    20.0 * (late(&heard.samples) / late(&samples)).log10()
}

mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::augment::{AugmentSpec, chain};

    /// Every kind with its defaults, drawn for a clip and done to it.
    fn done(kind: &str, samples: &[f32], seed: u64) -> Vec<f32> {
        let spec: AugmentSpec = serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
        let company = alone();
        let scene = AugmentContext { sample_rate: 8000, samples: samples.len(), row: 0, company: &company };
        let mut heard = sound(samples);
        let mut draws = spec.as_kind().draw(&scene, &mut Seed::new(seed).rng()).unwrap();
        draws.retain(|draw| !draw.as_kind().is_on_image());
        // As the chain does it: as much as the draws ask for, silence where there is no more.
        heard.samples.resize(chain::span(&draws, samples.len()), 0.0);
        chain::play_on_sound(&draws, &mut heard, samples.len(), &company).unwrap();
        heard.samples
    }

    #[test]
    fn every_kind_keeps_the_length_and_no_clip_is_too_short_or_too_quiet() {
        let clips = [vec![], vec![0.5], vec![-1.0, 1.0], vec![0.0; 3000], vec![1e-30; 500], tone(4001), vec![1e4; 700]];
        for kind in AugmentSpec::KINDS {
            for (n, clip) in clips.iter().enumerate() {
                for seed in 0..12 {
                    let heard = done(kind, clip, seed);
                    assert_eq!(heard.len(), clip.len(), "{kind}, clip {n}");
                    assert!(heard.iter().all(|x| x.is_finite()), "{kind}, clip {n}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn silence_stays_silent_whatever_is_done_to_it() {
        for kind in AugmentSpec::KINDS {
            for seed in 0..12 {
                assert!(done(kind, &[0.0; 2000], seed).iter().all(|&x| x == 0.0), "{kind}");
            }
        }
    }

    #[test]
    fn the_same_draw_gives_the_same_bits_on_any_thread() {
        let clip = tone(3000);
        for kind in AugmentSpec::KINDS {
            let alone: Vec<_> = (0..8).map(|seed| done(kind, &clip, seed)).collect();
            let together: Vec<_> = (0..8u64).into_par_iter().map(|seed| done(kind, &clip, seed)).collect();
            assert_eq!(alone, together, "{kind}");
        }
    }
}
