//! Loads a ResNet18 of a run with `docs/read_in_pytorch.py`: PyTorch computes the same logits from the same features.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use timbre_core::seed::Seed;
use timbre_inputs::features::ClipAnalysis;
use timbre_models::networks::{InputShape, NetworkKind, resnet, state_dict};
use timbre_runs::run_dir;
use timbre_signal::audio;

use crate::trained_model::{Trained, path_text, text};

const SMALL: &str = r#"
[data]
use = "demo"
clips_per_class = 6
test_recordings = 2
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.2
[features.mel]
n_fft = 1024
hop_length = 1024
n_mels = 32
[models.resnet18]
epochs = 2
batch_size = 16
"#;

/// Features of real clips, the logits of our network, and the folder of the model.
struct Logits {
    trained: Trained,
    folder: PathBuf,
    features: Vec<Vec<f32>>,
    shape: InputShape,
    logits: Vec<Vec<f32>>,
    recordings: Vec<PathBuf>,
}

fn model() -> Logits {
    let trained = Trained::of("small", SMALL);
    let run = trained.runs().join("small/latest");
    let (record, tensors) = run_dir::read_model(&run, "mel.resnet18.s1").unwrap();
    let values = |name: &str| tensors.iter().find(|t| t.name == name).unwrap().clone().into_values().unwrap();
    let size = values("input.shape");
    let shape = InputShape { channels: 1, height: size[1] as usize, width: size[2] as usize };
    let (mean, deviation) = (values("input.mean"), values("input.deviation"));
    let weights: Vec<_> =
        tensors.iter().filter(|t| !t.name.starts_with("input.") && !t.name.starts_with("output.")).cloned().collect();
    let device = burn::tensor::Device::flex();
    let network = resnet::Resnet18::default().build(shape, 11, Seed::new(1), &device).unwrap();
    let network = state_dict::load(network, &weights).unwrap();
    let extractor = record.feature.as_kind().build(record.audio.sample_rate).unwrap();
    let recordings: Vec<PathBuf> =
        ["cel", "gac", "voi"].iter().map(|class| trained.recordings_of(class).remove(0)).collect();
    let mut features = Vec::new();
    let mut logits = Vec::new();
    for path in &recordings {
        let clip = audio::load_file(path, None, &record.audio).unwrap();
        let matrix = extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (shape.height, shape.width));
        let row = |at: usize| if mean.len() == 1 { 0 } else { at / shape.width };
        let image: Vec<f32> =
            matrix.values.iter().enumerate().map(|(at, v)| (v - mean[row(at)]) / deviation[row(at)]).collect();
        let image = burn::tensor::TensorData::new(image, [1, 1, shape.height, shape.width]);
        let out = network.forward(burn::tensor::Tensor::from_data(image, &device), None).into_data();
        logits.push(out.as_slice::<f32>().unwrap().to_vec());
        features.push(matrix.values);
    }
    Logits { folder: run.join("models/mel.resnet18.s1"), trained, features, shape, logits, recordings }
}

#[test]
fn these_logits_give_the_probabilities_of_predict() {
    let model = model();
    let files: Vec<&str> = model.recordings.iter().map(|path| path_text(path)).collect();
    let output = model.trained.timbre(&[&["predict", "small/latest", "--csv", "--clip", "-q"], &files[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<String> = text(&output.stdout).lines().skip(1).map(str::to_owned).collect();
    assert_eq!(lines.len(), model.logits.len());
    for (line, logits) in lines.iter().zip(&model.logits) {
        let predicted: Vec<f64> = line.split(',').rev().skip(8).take(11).map(|p| p.parse().unwrap()).collect();
        let largest = logits.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = logits.iter().map(|&z| f64::from(z - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for (predicted, power) in predicted.iter().rev().zip(&powers) {
            assert!((predicted - power / sum).abs() < 1e-5, "{predicted} and {}", power / sum);
        }
    }
}

/// Needs `TIMBRE_PEERS`: a virtual environment with `torch`, `torchvision` and `numpy`.
#[test]
#[ignore = "needs PyTorch: make test-peers"]
fn pytorch_computes_the_same_logits() {
    let peers = std::env::var_os("TIMBRE_PEERS").expect("TIMBRE_PEERS names a virtual environment");
    let model = model();
    let file = model.trained.path("features.npy");
    write_npy(&file, &[model.features.len(), model.shape.height, model.shape.width], &model.features.concat());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/read_in_pytorch.py");
    let output = Command::new(PathBuf::from(peers).join("bin/python"))
        .arg(script)
        .arg(&model.folder)
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let theirs: Vec<Vec<f64>> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), model.logits.len());
    let pairs = || theirs.iter().flatten().zip(model.logits.iter().flatten().map(|&z| f64::from(z)));
    let largest = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let size = pairs().map(|(a, _)| a.abs()).fold(0.0, f64::max);
    eprintln!("largest difference of a logit {largest:.2e}, largest logit {size:.2}");
    assert!(size > 0.1 && largest < 1e-4 * size.max(1.0), "{largest} beside {size}");
}

/// Writes NumPy's format, version 1.
pub fn write_npy(path: &Path, shape: &[usize], values: &[f32]) {
    let mut head =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape:?}, }}").replace('[', "(").replace(']', ")");
    while (10 + head.len() + 1) % 64 != 0 {
        head.push(' ');
    }
    head.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}
