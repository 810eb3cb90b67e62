//! `timbre export onnx`: networks as ONNX files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::{Value, json};
use timbre_core::seed::Seed;
use timbre_models::networks::{InputShape, NetworkKind, state_dict};
use timbre_models::{ModelSpec, Tensor as Named, training::onnx_file};

use crate::feature_files::{npy, parquet};
use crate::read_in_pytorch::write_npy;
use crate::test_dir::{TestDir, text};

const CLASSES: usize = 5;

/// A network with a head, small enough for a test.
fn networks() -> Vec<(String, ModelSpec)> {
    let heads = ["linear", "concat", "per_class", "attention"];
    let mut all = Vec::new();
    for (kind, head) in ModelSpec::KINDS.iter().flat_map(|kind| heads.map(|head| (kind, head))) {
        let mut table = json!({ "kind": kind });
        // It is the default, and a network may have no other.
        if head != "linear" {
            table["head"] = json!(head);
        }
        let small = match *kind {
            "cnn6" | "cnn10" | "cnn14" => json!({ "filters": 4 }),
            "ast" | "passt" => json!({ "embed_dim": 24, "depth": 2, "heads": 3 }),
            "beats" => json!({ "patch_dim": 16, "embed_dim": 24, "hidden_dim": 48, "depth": 2, "heads": 3,
                "conv_pos": 8, "conv_pos_groups": 4 }),
            "masked_autoencoder" => {
                json!({ "embed_dim": 24, "depth": 2, "heads": 3, "decoder_dim": 16, "decoder_depth": 1,
                "decoder_heads": 2 })
            }
            "mobilenet_v3_large" | "efficientnet_v2_s" | "convnext_tiny" => json!({ "width": 0.2, "channels": 3 }),
            _ => json!({}),
        };
        table.as_object_mut().unwrap().extend(small.as_object().unwrap().clone());
        // VGG's own classifier has 500 MB.
        let Ok(spec) = serde_json::from_value::<ModelSpec>(table) else { continue };
        let is_heavy =
            matches!((*kind, head), ("vgg16_bn", "linear") | ("resnet34" | "resnet50", "concat" | "per_class"));
        let is_network = spec.as_network().is_some();
        if is_network && spec.as_kind().faults().is_empty() && !is_heavy {
            all.push((format!("{kind}-{head}"), spec));
        }
    }
    all
}

fn smallest_image(kind: &dyn NetworkKind) -> InputShape {
    let image = |height, width| InputShape { channels: 1, height, width };
    let accepts = |height, width| kind.layers(image(height, width), CLASSES).is_ok();
    let width = (1..).find(|&width| accepts(1000, width)).unwrap();
    let height = (1..).find(|&height| accepts(height, width)).unwrap();
    image(height + 1, width + 1)
}

/// Values from -1 to 1.
fn noise(count: usize, seed: usize) -> impl Iterator<Item = f32> {
    (seed..seed + count).map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u16 as f32 / 32_768.0 - 1.0)
}

/// Writes a network with weights that no initialization leaves at 0 or 1, and two clips; the logits of burn.
fn write(folder: &Path, name: &str, spec: &ModelSpec) -> Vec<f32> {
    let (network, device) = (spec.as_network().unwrap(), Device::flex());
    let input = smallest_image(network.kind());
    let built = network.kind().build(input, CLASSES, Seed::new(1), &device).unwrap();
    let mut tensors = state_dict::tensors(&built);
    for (number, tensor) in tensors.iter_mut().enumerate() {
        let size = if tensor.name.ends_with("weight") { 0.02 } else { 0.2 };
        let values = tensor.clone().into_values().unwrap();
        let moved = noise(values.len(), number).zip(values).map(|(noise, value)| value + size * noise).collect();
        *tensor = Named::new(&tensor.name, tensor.shape.clone(), moved);
    }
    let loaded = state_dict::load(built, &tensors).unwrap();
    let InputShape { channels, height, width } = input;
    let sizes = [2, channels, height, width];
    let features: Vec<f32> = noise(2 * input.values(), 7).collect();
    let (mean, deviation): (Vec<f32>, Vec<f32>) = noise(height, 3).map(|x| (0.1 * x, 0.7 + 0.1 * x)).unzip();
    let row = |at: usize| at / width % height;
    let images = features.iter().enumerate().map(|(at, value)| (value - mean[row(at)]) / deviation[row(at)]).collect();
    let logits = loaded.forward(Tensor::from_data(TensorData::new::<f32, _>(images, sizes), &device), None);
    tensors.extend([
        Named::new("input.shape", vec![3], [channels, height, width].map(|size| size as f32).to_vec()),
        Named::new("input.mean", vec![height], mean),
        Named::new("input.deviation", vec![height], deviation),
        Named::new("output.probabilities", vec![1], vec![0.0]),
    ]);
    let file = onnx_file(network, tensors, CLASSES, vec![("classes", "[]".to_owned())]).unwrap();
    fs::write(folder.join(format!("{name}.onnx")), file).unwrap();
    write_npy(&folder.join(format!("{name}.npy")), &sizes, &features);
    logits.into_data().try_into_vec().unwrap()
}

/// The values of an output, and their largest difference without the optimizations of ONNX Runtime.
type Reference = (Vec<f32>, f32);

/// The outputs of ONNX Runtime for each `NAME.onnx` and `NAME.npy` of a folder.
pub fn onnx_runtime(folder: &Path) -> HashMap<String, HashMap<String, Reference>> {
    let peers = std::env::var_os("TIMBRE_PEERS").expect("TIMBRE_PEERS names a virtual environment");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/onnx_reference.py");
    let output = Command::new(PathBuf::from(peers).join("bin/python")).arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn largest_difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Needs `TIMBRE_PEERS`: a virtual environment with `onnx`, `onnxruntime` and `numpy`.
#[test]
#[ignore = "needs ONNX Runtime: make test-peers"]
fn onnx_runtime_computes_the_logits_of_every_network() {
    let dir = tempfile::tempdir().unwrap();
    let networks = networks();
    let kinds: std::collections::BTreeSet<&str> = networks.iter().map(|(_, spec)| spec.kind()).collect();
    let registered = ModelSpec::KINDS.iter().filter(|kind| {
        let spec = serde_json::from_value::<ModelSpec>(json!({ "kind": kind }));
        spec.is_ok_and(|spec| spec.as_network().is_some())
    });
    assert_eq!(kinds, registered.copied().collect());
    let ours: Vec<Vec<f32>> = networks.iter().map(|(name, spec)| write(dir.path(), name, spec)).collect();
    let theirs = onnx_runtime(dir.path());
    let mut faults = Vec::new();
    for ((name, _), ours) in networks.iter().zip(&ours) {
        let (theirs, _) = &theirs[name]["logits"];
        let largest = ours.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
        let difference = largest_difference(ours, theirs);
        eprintln!("{name}: {difference:.1e}, largest logit {largest:.2}");
        if !(difference < 1e-4 * largest.max(1.0) && largest > 1e-3) {
            faults.push(name);
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

/// A quick network, and a classic model beside it.
pub const QUICK: &str = r#"
[data]
use = "demo"
clips_per_class = 6
test_recordings = 2
[data.labels]
include = ["cel", "pia"]
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.34
[features.mel]
n_fft = 1024
hop_length = 1024
n_mels = 32
[models.cnn_small]
epochs = 2
batch_size = 16
[models.knn]
k = 1
[evaluate]
bootstrap = 0
"#;

#[test]
fn a_saved_network_is_exported_with_its_front_end() {
    let dir = TestDir::with(&[("quick.toml", QUICK)]);
    dir.run("quick.toml", &[]);
    let refused = |arguments: &[&str]| {
        let output = dir.timbre(&[&["export", "onnx"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let classic = refused(&["quick/latest:mel.knn.s1"]);
    assert!(classic.contains("of the kind knn, and only networks"), "{classic}");
    assert!(refused(&["quick/latest:mel.svm"]).contains("mel.cnn_small.s1"));
    dir.done(&["export", "onnx", "quick/latest:mel.cnn_small", "--out", "files/cnn.onnx"]);
    let bytes = dir.bytes("files/cnn.onnx");
    let described: Value =
        serde_json::from_slice(&dir.bytes("runs/quick/latest/models/mel.cnn_small.s1/model.json")).unwrap();
    for key in ["classes", "audio", "feature", "model", "judge"] {
        let json = described[key].to_string();
        assert!(bytes.windows(json.len()).any(|window| window == json.as_bytes()), "{key}: {json}");
    }
}

/// Networks of two channels, with rows for tags, and with outputs beside the classes.
const SPECIAL: &str = r#"
[features.change]
kind = "delta"
of = "mel"
[features.two]
kind = "stack"
channels = true
of = ["mel", "change"]
[models.channels]
kind = "cnn_small"
features = ["two"]
filters = [8]
epochs = 2
[models.tagged]
kind = "cnn_small"
features = ["mel"]
filters = [8]
epochs = 2
tags = ["genre"]
[models.auxiliary]
kind = "cnn_small"
features = ["mel"]
filters = [8]
epochs = 2
auxiliary = { genre = 0.3 }
"#;

/// Needs `TIMBRE_PEERS`: a virtual environment with `onnx`, `onnxruntime` and `numpy`.
#[test]
#[ignore = "needs ONNX Runtime: make test-peers"]
fn onnx_runtime_predicts_as_the_run_with_channels_tags_and_further_outputs() {
    let dir = TestDir::with(&[("net.toml", &format!("{QUICK}{SPECIAL}"))]);
    dir.run("net.toml", &["--set", "models.cnn_small=false", "--set", "models.knn=false"]);
    dir.done(&["features", "net.toml", "-q", "--out", "out", "--format", "npy"]);
    let recordings = dir.read("out/recordings.csv");
    let paths: Vec<&str> = recordings.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    let predicted = parquet(&dir, "runs/net/latest/predictions.parquet");
    let column = |name: &str| predicted.column(name).unwrap().as_materialized_series().clone();
    fs::create_dir(dir.path("files")).unwrap();
    let models = [("channels", "two"), ("tagged", "mel"), ("auxiliary", "mel")];
    for (model, feature) in models {
        let which = format!("{feature}.{model}");
        dir.done(&["export", "onnx", &format!("net/latest:{which}"), "--out", &format!("files/{model}.onnx")]);
        let (shape, values) = npy(&dir.bytes(&format!("out/{feature}.npy")));
        let channels = if model == "channels" { 2 } else { 1 };
        let mut images = vec![shape[0], channels, shape[1] / channels, shape[2]];
        let mut input = values.clone();
        if model == "tagged" {
            let record: Value =
                serde_json::from_slice(&dir.bytes(&format!("runs/net/latest/models/{which}.s1/model.json"))).unwrap();
            let genres: Vec<String> = serde_json::from_value(record["tags"]["genre"].clone()).unwrap();
            images[2] += genres.len();
            // The genre of a recording is in its name.
            let row = |path: &str, genre: &String| {
                let here = if path.contains(&format!("[{genre}]")) { 1.0 } else { 0.0 };
                vec![here; shape[2]]
            };
            let clips = values.chunks_exact(shape[1] * shape[2]).zip(&paths);
            input = clips
                .flat_map(|(clip, path)| clip.iter().copied().chain(genres.iter().flat_map(|genre| row(path, genre))))
                .collect();
            assert!(input.len() > values.len() && genres.len() > 1);
        }
        write_npy(&dir.path(&format!("files/{model}.npy")), &images, &input);
    }
    let theirs = onnx_runtime(&dir.path("files"));
    let text_of = |name: &str, at: usize| column(name).get(at).unwrap().get_str().unwrap().to_owned();
    for (model, _) in models {
        let (logits, _) = &theirs[model]["logits"];
        assert_eq!(logits.len(), 2 * paths.len(), "{model}: two classes");
        let mut compared = 0;
        for at in (0..predicted.height()).filter(|&at| text_of("model", at) == model) {
            let clip = paths.iter().position(|path| *path == text_of("path", at)).unwrap();
            let [cello, piano] = logits[2 * clip..][..2] else { unreachable!() };
            let expected = 1.0 / (1.0 + (piano - cello).exp());
            let found = column("cel").f32().unwrap().get(at).unwrap();
            assert!((found - expected).abs() < 1e-5, "{model}: {found} {expected}");
            compared += 1;
        }
        assert!(compared >= 4, "{model}: {compared}");
    }
}
