//! The golden outputs of ONNX Runtime (`tests/golden/make_onnx.py`), and files that are not what they should be.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::network::{Array, Network};
use crate::features::{ClipAnalysis, FeatureMatrix, FeatureSpec};
use timbre_signal::audio::Clip;

const RATE: u32 = 16_000;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/onnx")
}

/// The values of the generator.
fn formula(count: usize) -> Vec<f32> {
    (0..count as i64).map(|n| ((n * n * 37 + n * 911) % 4096) as f32 / 2048.0 - 1.0).collect()
}

fn spec(mut keys: serde_json::Value) -> FeatureSpec {
    let file = golden().join(keys["file"].as_str().unwrap());
    keys["file"] = json!(file);
    serde_json::from_value(keys).unwrap()
}

fn extract(spec: &FeatureSpec, samples: usize) -> FeatureMatrix {
    let clip = Clip { samples: formula(samples), sample_rate: RATE };
    spec.as_kind().build(RATE).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap()
}

fn sentences(spec: &FeatureSpec) -> String {
    spec.as_kind().faults(RATE).iter().map(|fault| format!("{}: {}\n", fault.key, fault.sentence)).collect()
}

fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[derive(Deserialize)]
struct Cases {
    features: Vec<OfFeature>,
    arrays: Vec<OfArray>,
}

#[derive(Deserialize)]
struct OfFeature {
    keys: serde_json::Value,
    samples: usize,
    shape: [usize; 2],
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct OfArray {
    file: String,
    output: String,
    input: Vec<usize>,
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let cases: Cases = serde_json::from_slice(&std::fs::read(golden().join("cases.json")).unwrap()).unwrap();
    let mut largest: f32 = 0.0;
    for case in cases.features {
        let spec = spec(case.keys);
        let matrix = extract(&spec, case.samples);
        assert_eq!([matrix.rows, matrix.cols], case.shape, "{spec:?}");
        assert_eq!(spec.as_kind().shape(case.samples), Some(case.shape), "{spec:?}");
        largest = largest.max(largest_difference(&matrix.values, &case.values));
    }
    for case in cases.arrays {
        let network = Network::of(&golden().join(&case.file), &case.output).unwrap();
        let input = Array { values: formula(case.input.iter().product()), shape: case.input };
        let output = network.run(&input).unwrap();
        assert_eq!(output.shape, case.shape, "{}", case.file);
        largest = largest.max(largest_difference(&output.values, &case.values));
    }
    println!("largest difference {largest:.1e}");
    assert!(largest < 1e-5, "{largest}");
}

#[test]
fn a_feature_lies_in_the_input_by_the_sizes_of_its_axes() {
    // Bands before frames, and frames before bands; only the rows of a patch tell.
    let mel = |n_mels: usize| json!({ "kind": "mel", "n_mels": n_mels, "n_fft": 512, "hop_length": 512 });
    let bands = spec(json!({ "kind": "onnx", "file": "bands.onnx", "of": mel(16) }));
    assert_eq!((bands.as_kind().shape(9000), sentences(&bands)), (Some([5, 1]), String::new()));
    assert_eq!(extract(&bands, 9000).values.len(), 5);
    let sequence = spec(json!({ "kind": "onnx", "file": "sequence.onnx", "of": mel(16), "pool": "none" }));
    let frames = extract(&sequence, 16_000);
    // 32 frames are two patches of 12.
    assert_eq!([frames.rows, frames.cols], [3, 24]);
    let image = FeatureMatrix { rows: 16, cols: 32, values: formula(16 * 32) };
    let network = Network::of(&golden().join("sequence.onnx"), "").unwrap();
    let transposed: Vec<f32> = (0..12 * 16).map(|at| image.values[at % 16 * 32 + at / 16]).collect();
    let layout = super::extractor::Layout::of(network.input(), [16, 32], true).unwrap();
    assert_eq!(layout.input(&image, 0).values, transposed);
    let wrong = sentences(&spec(json!({ "kind": "onnx", "file": "sequence.onnx", "of": mel(20) })));
    assert!(wrong.contains("1 × 12 × 16") && wrong.contains("20 rows"), "{wrong}");
    let wave = sentences(&spec(json!({ "kind": "onnx", "file": "bands.onnx" })));
    assert!(wave.contains("one axis is needed for the samples"), "{wave}");
}

#[test]
fn clips_are_resampled_to_the_rate_of_the_network() {
    let keys = json!({ "kind": "onnx", "file": "wave.onnx", "output": "scores", "sample_rate": 8000 });
    assert_eq!(extract(&spec(keys.clone()), 9000).values.len(), 4);
    let mut framewise = keys;
    framewise["pool"] = json!("none");
    assert!(sentences(&spec(framewise)).contains("`sample_rate = 8000` in [audio]"));
}

#[test]
fn an_output_is_named_if_there_are_several() {
    let keys = |more: serde_json::Value| {
        let mut keys = json!({ "kind": "onnx", "file": "wave_fixed.onnx" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sentences(&spec(keys))
    };
    let several = keys(json!({}));
    assert!(several.contains("2 outputs") && several.contains("`map`, `scores`"), "{several}");
    let unknown = keys(json!({ "output": "score" }));
    assert!(unknown.contains("no tensor `score`"), "{unknown}");
    let axis = keys(json!({ "output": "scores", "axis": 2 }));
    assert!(axis.contains("[1, 4]") && axis.contains("no `axis` 2"), "{axis}");
    assert_eq!(keys(json!({ "output": "scores" })), "");
}

#[test]
fn damaged_and_hostile_files_are_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let sentence_of = |bytes: &[u8], output: &str| {
        number.set(number.get() + 1);
        let path = dir.path().join(format!("{}.onnx", number.get()));
        std::fs::write(&path, bytes).unwrap();
        let spec: FeatureSpec =
            serde_json::from_value(json!({ "kind": "onnx", "file": path, "output": output })).unwrap();
        assert!(spec.as_kind().shape(5000).is_none() || sentences(&spec).is_empty());
        sentences(&spec)
    };
    let whole = std::fs::read(golden().join("wave.onnx")).unwrap();
    assert_eq!(sentence_of(&whole, "scores"), "");
    assert!(sentence_of(b"", "").contains("not an ONNX file"));
    assert!(sentence_of(b"RIFF....WAVEfmt ", "").contains("not an ONNX file"));
    assert!(sentence_of(&whole[..whole.len() / 2], "").contains("not an ONNX file"));
    let replaced = |from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let mut bytes = whole.clone();
        let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        places.iter().for_each(|&at| bytes[at..at + to.len()].copy_from_slice(to));
        bytes
    };
    let unknown = sentence_of(&replaced(b"Tanh", b"Tank"), "scores");
    assert!(unknown.contains("operators that tract cannot run: `Tank`"), "{unknown}");
    // The dimensions of the first weights, 8 × 1 × 64, as 120 × 1 × 64.
    let larger = sentence_of(&replaced(&[8, 8, 8, 1, 8, 64], &[8, 120, 8, 1, 8, 64]), "scores");
    assert!(larger.contains("declares 7680 values and has 512"), "{larger}");
    // Every byte of a file may be wrong: a sentence or a network, never a panic.
    let fixed = std::fs::read(golden().join("wave_fixed.onnx")).unwrap();
    for at in (0..fixed.len()).step_by(41) {
        let mut bytes = fixed.clone();
        bytes[at] ^= 0x55;
        sentence_of(&bytes, "scores");
    }
}
