//! Tests over all kinds of augmentations, and what the tests of single kinds share.

use rayon::prelude::*;
use serde_json::json;
use timbre_core::seed::Seed;
use timbre_signal::dsp::level;

use super::tests::{IMAGE_SHAPE, context, empty_pool, five_clips_of, waveform};
use super::{AugmentContext, AugmentKind, AugmentSpec, Draw, Effect, Image, Waveform, chain};
use crate::fingerprint::{self, Fingerprint};

/// A tone of 440 Hz at 8 kHz.
pub fn tone(samples: usize) -> Vec<f32> {
    tone_of(440.0, samples, 8000)
}

pub fn tone_of(hz: f64, samples: usize, sample_rate: u32) -> Vec<f32> {
    let sample = |n| (std::f64::consts::TAU * hz * n as f64 / f64::from(sample_rate)).sin() as f32;
    (0..samples).map(sample).collect()
}

/// The draws of a spec for a clip at 8 kHz in an empty pool.
pub fn drawn(spec: &impl AugmentKind, samples: usize, seed: u64) -> Vec<Draw> {
    let pool = empty_pool();
    let context = AugmentContext { sample_rate: 8000, samples, row: 0, pool: &pool };
    spec.draw(&context, &mut Seed::new(seed).rng()).unwrap()
}

/// The samples at 8 kHz after a draw.
pub fn apply(draw: &impl Effect, samples: &[f32]) -> Vec<f32> {
    let mut output = waveform(samples);
    draw.apply_to_waveform(&mut output, &empty_pool()).unwrap();
    output.samples
}

/// The gain in decibels of a draw on a tone at 22,050 Hz, after the transient.
pub fn gain_at(draw: &impl Effect, hz: f64) -> f64 {
    let samples = tone_of(hz, 44_100, 22_050);
    let mut output = Waveform { samples: samples.clone(), sample_rate: 22_050, targets: vec![] };
    draw.apply_to_waveform(&mut output, &empty_pool()).unwrap();
    let late = |samples: &[f32]| level::rms(&samples[11_025..33_075]);
    20.0 * (late(&output.samples) / late(&samples)).log10()
}

/// Every kind with its defaults; a choice, which has no useful defaults, chooses between two others.
fn every_spec() -> impl Iterator<Item = AugmentSpec> {
    let choices = json!([{ "kind": "gain" }, { "kind": "time_mask" }]);
    AugmentSpec::KINDS.iter().map(move |kind| {
        let spec: AugmentSpec = serde_json::from_value(json!({ "kind": kind })).unwrap();
        match spec.as_kind().faults(22_050)[..] {
            [] => spec,
            _ => serde_json::from_value(json!({ "kind": kind, "of": choices })).unwrap(),
        }
    })
}

/// The samples after the waveform draws of a spec.
fn applied(spec: &AugmentSpec, samples: &[f32], seed: u64) -> Vec<f32> {
    let pool = empty_pool();
    let context = AugmentContext { sample_rate: 8000, samples: samples.len(), row: 0, pool: &pool };
    let mut output = waveform(samples);
    let mut draws = spec.as_kind().draw(&context, &mut Seed::new(seed).rng()).unwrap();
    draws.retain(|draw| !draw.as_kind().changes_image());
    // As in the chain: as many source samples as the draws need, padded with silence.
    output.samples.resize(chain::source_samples(&draws, samples.len()), 0.0);
    chain::apply_to_waveform(&draws, &mut output, samples.len(), &pool).unwrap();
    output.samples
}

#[test]
fn the_study_measures_every_kind_that_has_an_effect_of_its_own() {
    let study = include_str!("../../../../experiments/augment_study.toml");
    for kind in AugmentSpec::KINDS.iter().filter(|kind| !["one_of", "some_of", "biquad"].contains(kind)) {
        assert!(study.contains(&format!("{{ kind = \"{kind}\", p = 0.5 }}")), "{kind} is not declared");
        assert!(study.contains(&format!("[\"{kind}\"],")), "no network is trained with {kind} alone");
        let with_all = study.rsplit_once("    [\n").unwrap().1;
        assert!(with_all.contains(&format!("\"{kind}\",")), "{kind} is not among all");
    }
}

#[test]
fn the_defaults_of_every_kind_are_valid_and_its_draws_are_read_as_written() {
    let pool = empty_pool();
    for spec in every_spec() {
        assert_eq!(spec.as_kind().faults(22_050), [], "{}", spec.kind());
        let draws = spec.as_kind().draw(&context(&pool, 0), &mut Seed::new(1).rng()).unwrap();
        let text = serde_json::to_string(&draws).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Draw>>(&text).unwrap(), draws, "{text}");
    }
}

#[test]
fn every_kind_keeps_the_length_of_every_clip_and_gives_finite_samples() {
    let clips = [vec![], vec![0.5], vec![-1.0, 1.0], vec![0.0; 3000], vec![1e-30; 500], tone(4001), vec![1e4; 700]];
    for spec in every_spec() {
        let kind = spec.kind();
        for (n, clip) in clips.iter().enumerate() {
            for seed in 0..12 {
                let output = applied(&spec, clip, seed);
                assert_eq!(output.len(), clip.len(), "{kind}, clip {n}");
                assert!(output.iter().all(|x| x.is_finite()), "{kind}, clip {n}, seed {seed}");
            }
        }
    }
}

#[test]
fn silence_stays_silent_under_every_kind() {
    for spec in every_spec() {
        for seed in 0..12 {
            assert!(applied(&spec, &[0.0; 2000], seed).iter().all(|&x| x == 0.0), "{}", spec.kind());
        }
    }
}

#[test]
fn every_kind_gives_the_same_bits_on_any_thread() {
    let clip = tone(3000);
    for spec in every_spec() {
        let serial: Vec<_> = (0..8).map(|seed| applied(&spec, &clip, seed)).collect();
        let parallel: Vec<_> = (0..8u64).into_par_iter().map(|seed| applied(&spec, &clip, seed)).collect();
        assert_eq!(serial, parallel, "{}", spec.kind());
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "fingerprints are those of x86-64")]
fn the_numbers_of_every_kind_belong_to_its_version() {
    const SAMPLES: usize = 4000;
    let pool = five_clips_of(SAMPLES);
    let of_spec = |spec: AugmentSpec| {
        let mut bytes = Vec::new();
        for seed in 0..4 {
            let row = seed as usize;
            let context = AugmentContext { sample_rate: 8000, samples: SAMPLES, row, pool: &pool };
            let draws = spec.as_kind().draw(&context, &mut Seed::new(seed).rng()).unwrap();
            bytes.extend(serde_json::to_vec(&draws).unwrap());
            let (on_waveform, on_image) = chain::split_by_stage(&draws);
            let mut clip = waveform(&pool.clips[row].samples);
            clip.targets = vec![0.0, 1.0, 0.0];
            clip.samples.resize(chain::source_samples(on_waveform, SAMPLES), 0.25);
            chain::apply_to_waveform(on_waveform, &mut clip, SAMPLES, &pool).unwrap();
            let [rows, cols] = IMAGE_SHAPE;
            let mut values = clip.samples[..rows * cols].to_vec();
            let mut image = Image { rows, cols, channel: 0, values: &mut values, targets: &mut clip.targets };
            chain::apply_to_image(on_image, &mut image, &pool).unwrap();
            for values in [&clip.samples, &values, &clip.targets] {
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        Fingerprint::new(spec.kind(), spec.as_kind().version(), &bytes)
    };
    fingerprint::check("augmentations", every_spec().map(of_spec));
}
