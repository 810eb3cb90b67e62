//! Every feature compared with librosa 0.11 and Pillow: `tests/golden/make_features.py` made the arrays; and the preset `torchaudio` with
//! torchaudio: `tests/golden/make_torchaudio.py`.
//!
//! Decibels (and mfcc, which are sums of decibels) are compared absolutely, within 1e-3 dB. Floats are compared relatively,
//! element by element, within 1e-4. Elements below 1e-9 of the largest of their array are compared with 1e-4 of that 1e-9,
//! because there both sides contain only the rounding of their own f64 transform. Values in which larger ones cancel, such as
//! derivatives, are compared with the largest of their row ("absolute"), or a thousandth of the largest of the array; those of a
//! tempogram and a constant-Q transform with the largest of the array ("peak"). Cases with a tolerance of their own have a known difference, which
//! docs/features.md states.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config_project::Project;
use serde::Deserialize;
use timbre_inputs::features::{ClipAnalysis, FeatureSpec};
use timbre_signal::audio::Clip;

#[derive(Deserialize)]
struct Index {
    sample_rate: u32,
    signals: BTreeMap<String, Span>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Span {
    offset: usize,
    length: usize,
}

#[derive(Deserialize)]
struct Case {
    signal: String,
    spec: FeatureSpec,
    unit: Unit,
    rows: usize,
    cols: usize,
    offset: usize,
    /// The columns in the file; all if omitted.
    kept: Option<Vec<usize>>,
    /// The largest error of a case with a known difference.
    tolerance: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Float,
    Db,
    Absolute,
    Peak,
}

const LARGEST_RELATIVE_ERROR: f64 = 1e-4;
const LARGEST_ERROR_IN_DB: f64 = 1e-3;
const ROUNDING_FLOOR: f64 = 1e-9;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/features")
}

fn floats(name: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn index() -> Index {
    serde_json::from_str(&std::fs::read_to_string(folder().join("index.json")).unwrap()).unwrap()
}

/// The largest error over the columns in the file: relative (see above) or in dB.
fn error(case: &Case, clip: &Clip, golden: &[f32]) -> f64 {
    let extractor = case.spec.as_kind().build(clip.sample_rate).unwrap();
    let matrix = extractor.extract(&ClipAnalysis::new(clip)).unwrap();
    assert_eq!((matrix.rows, matrix.cols), (case.rows, case.cols), "{:?}", case.spec);
    let kept = case.kept.clone().unwrap_or_else(|| (0..case.cols).collect());
    let golden = &golden[case.offset..case.offset + case.rows * kept.len()];
    let largest = golden.iter().map(|&g| f64::from(g.abs())).fold(0.0, f64::max);
    let mut worst = 0.0f64;
    for (row, expected) in golden.chunks_exact(kept.len()).enumerate() {
        let largest_of_row = expected.iter().map(|&g| f64::from(g.abs())).fold(0.0, f64::max);
        for (&col, &expected) in kept.iter().zip(expected) {
            let (found, expected) = (f64::from(matrix.values[row * case.cols + col]), f64::from(expected));
            let difference = (found - expected).abs();
            assert!(!difference.is_nan(), "{:?}: {found} at row {row}, column {col}", case.spec);
            worst = worst.max(match case.unit {
                Unit::Db => difference,
                _ if difference == 0.0 => 0.0,
                Unit::Peak => difference / largest,
                Unit::Absolute => difference / largest_of_row.max(1e-3 * largest),
                Unit::Float => difference / expected.abs().max(ROUNDING_FLOOR * largest),
            });
        }
    }
    worst
}

#[test]
fn every_feature_equals_librosa() {
    let (index, signals, golden) = (index(), floats("signals.f32"), floats("arrays.f32"));
    let mut faults = Vec::new();
    let mut worst: BTreeMap<(&str, bool, bool), f64> = BTreeMap::new();
    for case in &index.cases {
        let Span { offset, length } = index.signals[&case.signal];
        let clip = Clip { samples: signals[offset..offset + length].to_vec(), sample_rate: index.sample_rate };
        let error = error(case, &clip, &golden);
        let db = case.unit == Unit::Db;
        if error > case.tolerance.unwrap_or(if db { LARGEST_ERROR_IN_DB } else { LARGEST_RELATIVE_ERROR }) {
            faults.push(format!("{error:e} on {}: {:?}", case.signal, case.spec));
        }
        let worst = worst.entry((case.spec.kind(), db, case.tolerance.is_some())).or_default();
        *worst = worst.max(error);
    }
    for ((kind, db, loose), error) in worst {
        let known = if loose { ", known difference" } else { "" };
        println!("{kind}: largest error {error:.1e}{}{known}", if db { " dB" } else { ", relative" });
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), index.cases.len(), faults.join("\n"));
}

#[test]
fn the_golden_cases_cover_every_kind() {
    let index = index();
    // Their values come from files (`embedding.rs`, `onnx.rs`), or they have a test below.
    let elsewhere = ["embedding", "onnx", "imported", "passt_mel"];
    for kind in FeatureSpec::KINDS.iter().filter(|kind| !elsewhere.contains(kind)) {
        assert!(index.cases.iter().any(|case| case.spec.kind() == *kind), "{kind}");
    }
    assert!(index.cases.len() > 100);
}

#[test]
fn the_preset_torchaudio_gives_torchaudios_features() {
    #[derive(Deserialize)]
    struct Peer {
        signal: String,
        keys: serde_json::Map<String, serde_json::Value>,
        unit: Unit,
        rows: usize,
        cols: usize,
        kept: Vec<usize>,
        values: Vec<f32>,
    }
    let (index, signals) = (index(), floats("signals.f32"));
    let peers = std::fs::read_to_string(folder().with_file_name("torchaudio.json")).unwrap();
    let peers: Vec<Peer> = serde_json::from_str(&peers).unwrap();
    let mut faults = Vec::new();
    for Peer { signal, keys, unit, rows, cols, kept, values } in peers {
        let line = |(key, value): (&String, &serde_json::Value)| format!("{key} = {value}\n");
        let keys: String = keys.iter().map(line).collect();
        let text = format!("[features.x]\npreset = \"torchaudio\"\n{keys}[models.average]\n");
        let resolved = Project::new(&[("experiments/x.toml", &text)]).resolve("x").unwrap();
        let spec = resolved.experiment.features["x"].clone();
        let Span { offset, length } = index.signals[&signal];
        let clip = Clip { samples: signals[offset..offset + length].to_vec(), sample_rate: index.sample_rate };
        let case = Case { signal, spec, unit, rows, cols, offset: 0, kept: Some(kept), tolerance: None };
        let error = error(&case, &clip, &values);
        println!("{error:e} on {}: {keys}", case.signal);
        if error > if unit == Unit::Db { LARGEST_ERROR_IN_DB } else { LARGEST_RELATIVE_ERROR } {
            faults.push(format!("{error:e} on {}: {keys}", case.signal));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The signal of `tests/golden/make_passt_mel.py`.
fn noise_and_tone(samples: usize) -> Vec<f32> {
    let value = |n: usize| {
        let mut x = (n as u32).wrapping_mul(2_654_435_761);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        let noise = f64::from(x) / f64::from(1u32 << 31) - 1.0;
        let loudness = if n < samples / 2 { 0.5 } else { 1e-4 };
        (loudness * (noise + (0.05 * n as f64).sin())) as f32
    };
    (0..samples).map(value).collect()
}

#[test]
fn the_bands_of_passt_are_those_of_its_package() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/passt_mel.json");
    let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let mut spec = case["keys"].clone();
        spec["kind"] = "passt_mel".into();
        let spec: FeatureSpec = serde_json::from_value(spec).unwrap();
        let sample_rate = case["sample_rate"].as_u64().unwrap() as u32;
        let samples = noise_and_tone(case["samples"].as_u64().unwrap() as usize);
        let extractor = spec.as_kind().build(sample_rate).unwrap();
        let matrix = extractor.extract(&ClipAnalysis::new(&Clip { samples, sample_rate })).unwrap();
        assert_eq!(matrix.cols as u64, case["cols"].as_u64().unwrap());
        let mut largest: f64 = 0.0;
        for (frame, numbers) in case["kept"].as_array().unwrap().iter().zip(case["frames"].as_array().unwrap()) {
            let frame = frame.as_u64().unwrap() as usize;
            for (band, expected) in numbers.as_array().unwrap().iter().enumerate() {
                let found = f64::from(matrix.values[band * matrix.cols + frame]);
                largest = largest.max((found - expected.as_f64().unwrap()).abs());
            }
        }
        println!("{}: {largest:.1e}", case["keys"]);
        assert!(largest < 1e-4, "{}: {largest}", case["keys"]);
    }
}
