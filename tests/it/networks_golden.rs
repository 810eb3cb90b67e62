//! Compares the networks with PyTorch (`tests/golden/make_networks.py`): names, shapes, layers, logits, imported weights.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor as Array, TensorData};
use serde_json::Value;
use timbre_core::seed::Seed;
use timbre_models::{
    ModelSpec, Tensor,
    networks::{InputShape, Network, NetworkKind, cnn_small, pretrained, state_dict, training_pass::TrainingPass},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/networks")
}

fn cases_of(kinds: &[&str]) -> Vec<Value> {
    let document: Value = serde_json::from_slice(&fs::read(folder().join("networks.json")).unwrap()).unwrap();
    let cases = document["cases"].as_array().unwrap().iter();
    let chosen: Vec<Value> = cases.filter(|case| kinds.contains(&case["kind"].as_str().unwrap())).cloned().collect();
    assert!(chosen.len() >= kinds.len());
    chosen
}

fn sizes(list: &Value) -> Vec<usize> {
    list.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

fn spec_of(case: &Value) -> ModelSpec {
    let mut spec = case["keys"].clone();
    spec["kind"] = case["kind"].clone();
    serde_json::from_value(spec).unwrap()
}

fn network_of(spec: &ModelSpec) -> &dyn NetworkKind {
    spec.as_network().expect("a network").kind()
}

fn is_network(kind: &str) -> bool {
    let spec = serde_json::from_value::<ModelSpec>(serde_json::json!({ "kind": kind }));
    spec.is_ok_and(|spec| spec.as_network().is_some())
}

fn input_of(case: &Value) -> InputShape {
    let image = sizes(&case["image"]);
    InputShape { channels: 1, height: image[0], width: image[1] }
}

fn classes_of(case: &Value) -> usize {
    case["classes"].as_u64().unwrap() as usize
}

fn built(case: &Value) -> Network {
    network_of(&spec_of(case)).build(input_of(case), classes_of(case), Seed::new(1), &Device::flex()).unwrap()
}

/// Values by the same formula as the generator.
fn filled(name: &str, shape: &[usize]) -> Tensor {
    let seed = name.bytes().fold(0x811C_9DC5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let fan_in = shape.iter().skip(1).product::<usize>() as f64;
    let value = |number: usize| {
        let mut x = (number as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        x ^= x >> 16;
        x = x.wrapping_mul(0x7FEB_352D);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        let u = f64::from(x) / f64::from(1u32 << 31) - 1.0;
        let scaled = if name.ends_with("running_var") {
            1.0 + 0.5 * u
        } else if shape.len() == 1 {
            (if name.ends_with("weight") { 1.0 } else { 0.0 }) + 0.2 * u
        } else if name == "input" {
            u
        } else {
            u * (4.0 / fan_in).sqrt()
        };
        scaled as f32
    };
    Tensor::new(name, shape.to_vec(), (0..shape.iter().product()).map(value).collect())
}

/// The whole state dict of a case.
fn state_of(case: &Value) -> Vec<Tensor> {
    let named = case["state"].as_array().unwrap().iter();
    named.map(|pair| filled(pair[0].as_str().unwrap(), &sizes(&pair[1]))).collect()
}

fn images_of(case: &Value) -> Array<4> {
    let InputShape { height, width, .. } = input_of(case);
    let shape = [case["clips"].as_u64().unwrap() as usize, 1, height, width];
    Array::from_data(TensorData::new(filled("input", &shape).into_values().unwrap(), shape), &Device::flex())
}

fn largest_difference(network: &Network, case: &Value) -> f64 {
    let logits = network.forward(images_of(case), None).into_data().try_into_vec::<f32>().unwrap();
    let expected = case["logits"].as_array().unwrap();
    assert_eq!(logits.len(), expected.len());
    let differences =
        logits.iter().zip(expected).map(|(&ours, theirs)| (f64::from(ours) - theirs.as_f64().unwrap()).abs());
    differences.fold(0.0, f64::max)
}

fn assert_agrees(kinds: &[&str]) {
    assert_all_agree(cases_of(kinds));
}

fn assert_all_agree(cases: Vec<Value>) {
    for case in cases {
        let label = format!("{} {} fold={}", case["kind"], case["keys"], case["fold"]);
        let (network, report) = pretrained::import_tensors(state_of(&case), built(&case)).unwrap();
        assert!(report.skipped.is_empty() && report.missing.is_empty(), "{label}: {report}");
        assert_eq!(report.reshaped.len(), usize::from(case["fold"] == true), "{label}: {report}");
        let difference = largest_difference(&network, &case);
        println!("{label}: {difference:.1e}");
        assert!(difference < 1e-4, "{label}: logits differ by {difference}");
    }
}

#[test]
fn resnets_give_the_logits_of_torchvision_with_three_channels_and_folded_into_one() {
    assert_agrees(&["resnet18", "resnet34", "resnet50"]);
}

#[test]
fn networks_of_depthwise_convolutions_give_the_logits_of_torchvision() {
    assert_agrees(&["mobilenet_v3_large", "efficientnet_v2_s", "convnext_tiny"]);
}

#[test]
fn vgg16_bn_gives_the_logits_of_torchvision_with_three_channels_and_folded_into_one() {
    assert_agrees(&["vgg16_bn"]);
}

#[test]
fn alexnet_gives_the_logits_of_torchvision_with_three_channels_and_folded_into_one() {
    assert_agrees(&["alexnet"]);
}

#[test]
fn the_other_networks_give_the_logits_of_pytorch_with_every_head() {
    assert_agrees(&["cnn_small", "tagging_cnn", "tagging_crnn", "conv1d_mfcc"]);
}

#[test]
fn the_networks_with_published_weights_give_the_logits_of_pytorch_with_every_head() {
    assert_agrees(&["musicnn", "musicnn_vgg", "cnn6", "cnn10", "cnn14", "ast", "passt", "beats"]);
}

/// Needs `TIMBRE_PEERS`: a virtual environment with `torch`, `torchvision`, `transformers` and `hear21passt`.
#[test]
#[ignore = "needs PyTorch and some minutes: make test-peers"]
fn transformers_of_the_published_sizes_give_the_logits_of_pytorch() {
    let peers = std::env::var_os("TIMBRE_PEERS").expect("TIMBRE_PEERS names a virtual environment");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/full_size_logits.py");
    let output = std::process::Command::new(PathBuf::from(peers).join("bin/python")).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_all_agree(serde_json::from_slice(&output.stdout).unwrap());
}

#[test]
fn a_transformer_of_hugging_face_gives_its_logits() {
    let spec: ModelSpec =
        serde_json::from_value(serde_json::json!({ "kind": "ast", "embed_dim": 24, "depth": 2, "heads": 3 })).unwrap();
    let input = InputShape { channels: 1, height: 128, width: 64 };
    let expected: Value = serde_json::from_slice(&fs::read(folder().join("hugging_face_ast.json")).unwrap()).unwrap();
    let case = serde_json::json!({ "image": [128, 64], "clips": 2, "logits": expected });
    // Version 5 has other names in memory than in its files.
    let in_memory = pretrained::read(&folder().join("hugging_face_ast.safetensors")).unwrap();
    let mut in_file = in_memory.clone();
    for tensor in &mut in_file {
        for (new, old) in [
            (".layers.", ".encoder.layer."),
            (".attention.q_proj.", ".attention.attention.query."),
            (".attention.k_proj.", ".attention.attention.key."),
            (".attention.v_proj.", ".attention.attention.value."),
            (".attention.o_proj.", ".attention.output.dense."),
            (".mlp.fc1.", ".intermediate.dense."),
            (".mlp.fc2.", ".output.dense."),
        ] {
            tensor.name = tensor.name.replace(new, old);
        }
    }
    for tensors in [in_memory, in_file] {
        let network = network_of(&spec).build(input, 5, Seed::new(1), &Device::flex()).unwrap();
        let (network, report) = pretrained::import_tensors(tensors, network).unwrap();
        assert!(report.skipped.is_empty() && report.missing.is_empty() && report.reshaped.is_empty(), "{report}");
        let difference = largest_difference(&network, &case);
        println!("Hugging Face's AST: {difference:.1e}");
        assert!(difference < 1e-4, "logits differ by {difference}");
    }
}

#[test]
fn names_shapes_and_the_layer_table_are_those_of_pytorch() {
    let networks: Vec<&str> = ModelSpec::KINDS.iter().copied().filter(|kind| is_network(kind)).collect();
    for case in cases_of(&networks).iter().filter(|case| case["fold"] == false) {
        let label = format!("{} {}", case["kind"], case["keys"]);
        let mut ours = state_dict::shapes(&built(case));
        let mut theirs: Vec<(String, Vec<usize>)> = case["state"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_str().unwrap().to_owned(), sizes(&pair[1])))
            .collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{label}");
        let layers = case["layers"].as_array().unwrap().iter();
        let layers: HashMap<&str, &Value> = layers.map(|layer| (layer["name"].as_str().unwrap(), layer)).collect();
        let rows = network_of(&spec_of(case)).layers(input_of(case), classes_of(case)).unwrap();
        let mut compared = 0;
        for row in &rows {
            let Some(layer) = layers.get(row.name.as_str()) else {
                // Pools and means that PyTorch computes with functions, layers of the attention, which put the frames first, and what
                // belongs to no layer without parts: the tokens and positions of a transformer, scales, gates.
                let is_free = row.name == "v" || row.name.ends_with("_token") || row.name.ends_with("_pos_embed");
                let is_scale = row.kind.starts_with("scale") || row.kind.starts_with("gate");
                let is_known = row.parameters == 0 || row.name.starts_with("head") || is_free || is_scale;
                assert!(is_known, "{label}: no layer `{}`", row.name);
                continue;
            };
            let mut output = sizes(&layer["output"]);
            match row.name.as_str() {
                "head.attention" | "head.value" => output.reverse(),
                // The generator brings the bands to the front for this norm.
                "features.bn0" => output.swap(0, 1),
                "bn0" => output.rotate_right(1),
                // BEATs has time along the rows and tokens last under its convolution; its bias has no batch.
                "patch_embedding" => output.swap(1, 2),
                "encoder.pos_conv.0" => output.reverse(),
                "encoder.layers.0.self_attn.relative_attention_bias" => output.insert(0, output[0]),
                // ConvNeXt brings the channels to the end.
                name if case["kind"] == "convnext_tiny" && name.contains(".block.") && !name.ends_with(".0") => {
                    output.rotate_right(1);
                }
                _ => {}
            }
            assert_eq!(row.output, output, "{label}: `{}`", row.name);
            assert_eq!(row.parameters, layer["parameters"].as_u64().unwrap(), "{label}: `{}`", row.name);
            compared += 1;
        }
        assert!(compared >= 5, "{label}: {compared} layers compared");
    }
}

/// The network of the generator's `small_files`: filters 4 and 8, three channels, five classes.
fn small(channels: usize, classes: usize) -> Network {
    let kind = cnn_small::CnnSmall { filters: vec![4, 8], ..Default::default() };
    kind.build(InputShape { channels, height: 8, width: 8 }, classes, Seed::new(1), &Device::flex()).unwrap()
}

fn values_of(network: &Network) -> HashMap<String, Vec<f32>> {
    state_dict::tensors(network).into_iter().map(|t| (t.name.clone(), t.into_values().unwrap())).collect()
}

#[test]
fn every_file_format_gives_the_tensors_that_pytorch_wrote() {
    for (file, tolerance) in
        [("small.safetensors", 0.0), ("small.pth", 0.0), ("legacy.pth", 0.0), ("whole.pt", 0.0), ("nested.pth", 1e-3)]
    {
        let (network, report) = pretrained::import(&folder().join(file), small(3, 5)).unwrap();
        let found = values_of(&network);
        assert_eq!((report.loaded.len(), report.skipped.len(), report.missing.len()), (12, 0, 0), "{file}: {report}");
        for (name, shape) in state_dict::shapes(&network) {
            for (ours, theirs) in found[&name].iter().zip(filled(&name, &shape).into_values().unwrap()) {
                assert!((ours - theirs).abs() <= tolerance, "{file}: `{name}` has {ours}, not {theirs}");
            }
        }
    }
}

#[test]
fn three_channels_are_folded_into_one_and_a_head_of_another_size_is_skipped() {
    let fresh = small(1, 3);
    let initial_weights = values_of(&fresh);
    let (network, report) = pretrained::import(&folder().join("small.pth"), fresh).unwrap();
    let found = values_of(&network);
    let theirs = filled("blocks.0.conv.weight", &[4, 3, 3, 3]).into_values().unwrap();
    for (at, sum) in found["blocks.0.conv.weight"].iter().enumerate() {
        let (filter, place) = (at / 9, at % 9);
        let expected: f32 = (0..3).map(|channel| theirs[(filter * 3 + channel) * 9 + place]).sum();
        assert!((sum - expected).abs() < 1e-6);
    }
    assert_eq!(found["fc.weight"], initial_weights["fc.weight"]);
    assert_eq!(found["fc.bias"], initial_weights["fc.bias"]);
    assert_ne!(found["blocks.1.bn.running_var"], initial_weights["blocks.1.bn.running_var"]);
    let text = report.to_string();
    assert!(text.starts_with("9 tensors loaded unchanged, 1 reshaped, 2 skipped, 2 missing"), "{text}");
    assert!(text.contains("reshaped  `blocks.0.conv.weight`: summed over 3 input channels"), "{text}");
    assert!(text.contains("skipped  `fc.weight`: [5, 8] in the file, [3, 8] in the network"), "{text}");
    assert!(text.contains("missing  `fc.bias`: keeps its initial weights"), "{text}");
}

#[test]
fn foreign_truncated_and_malicious_files_are_refused_and_nothing_is_executed() {
    let scratch = tempfile::tempdir().unwrap();
    let refused = |path: &Path| format!("{:#}", pretrained::import(path, small(3, 5)).expect_err("a refusal"));
    let write = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    for name in ["small.pth", "legacy.pth", "small.safetensors"] {
        let whole = fs::read(folder().join(name)).unwrap();
        for share in 0..20 {
            let text = refused(&write(name, &whole[..whole.len() * share / 20]));
            assert!(text.contains("truncated") && text.contains(name), "{name} cut at {share}/20: {text}");
        }
    }
    for name in ["page.pth", "page.safetensors"] {
        assert!(refused(&write(name, b"<html>404 not found</html>")).contains("truncated, or not"));
    }
    assert!(refused(&write("weights.h5", b"HDF")).contains(".safetensors file or from a .pth"));
    assert!(refused(&scratch.path().join("nowhere.pth")).contains("nowhere.pth"));
    let text = refused(&folder().join("runs.pth"));
    assert!(text.contains("runs.pth"), "{text}");
    assert!(!Path::new("executed-by-unpickling").exists(), "the pickle was executed");
}

#[test]
fn a_file_with_a_wrong_byte_gives_an_error_or_a_network_and_never_a_panic() {
    let scratch = tempfile::tempdir().unwrap();
    let mut refusals = 0;
    for name in ["small.pth", "legacy.pth", "whole.pt", "small.safetensors"] {
        let whole = fs::read(folder().join(name)).unwrap();
        for at in (0..whole.len()).step_by(37) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x95;
            let path = scratch.path().join(name);
            fs::write(&path, &damaged).unwrap();
            refusals += usize::from(pretrained::import(&path, small(3, 5)).is_err());
        }
    }
    assert!(refusals > 100, "{refusals} of the damaged files were refused");
}

#[test]
fn weights_of_another_network_are_refused() {
    let case = &cases_of(&["resnet18"])[0];
    let text = format!("{:#}", pretrained::import(&folder().join("small.pth"), built(case)).expect_err("a refusal"));
    assert!(text.contains("another network") && text.contains("`conv1.weight`"), "{text}");
    let deeper = &cases_of(&["resnet34"])[0];
    let text = format!(
        "{:#}",
        pretrained::import_tensors(state_of(&cases_of(&["conv1d_mfcc"])[0]), built(deeper)).unwrap_err()
    );
    assert!(text.contains("0 of the 180 tensors before the head match"), "{text}");
}

#[test]
fn prefixes_of_wrappers_and_the_numbers_of_fastai_are_understood() {
    let cases = cases_of(&["resnet18"]);
    let case = cases.iter().find(|case| case["keys"]["head"] == "concat").unwrap();
    let numbers = [
        ("conv1.", "0.0."),
        ("bn1.", "0.1."),
        ("layer1.", "0.4."),
        ("layer2.", "0.5."),
        ("layer3.", "0.6."),
        ("layer4.", "0.7."),
        ("head.bn1.", "1.2."),
        ("head.fc1.", "1.4."),
        ("head.bn2.", "1.6."),
        ("head.fc2.", "1.8."),
    ];
    let mut tensors = state_of(case);
    for tensor in &mut tensors {
        let (name, number) = numbers.iter().find(|(name, _)| tensor.name.starts_with(name)).unwrap();
        tensor.name = format!("model.module.{number}{}", &tensor.name[name.len()..]);
    }
    tensors.push(Tensor::new("model.module.0.1.num_batches_tracked", vec![], vec![7.0]));
    let (network, report) = pretrained::import_tensors(tensors, built(case)).unwrap();
    assert_eq!((report.skipped.len(), report.missing.len()), (0, 0), "{report}");
    assert!(largest_difference(&network, case) < 1e-4);
}

#[test]
fn a_masked_autoencoder_has_the_loss_the_gradient_and_the_logits_of_pytorch() {
    let golden: Value = serde_json::from_slice(&fs::read(folder().join("masked_autoencoder.json")).unwrap()).unwrap();
    let spec: ModelSpec =
        serde_json::from_value(serde_json::json!({ "kind": "masked_autoencoder", "embed_dim": 24, "depth": 2,
        "heads": 3, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2, "hidden": 0.66 }))
        .unwrap();
    let (input, device) = (InputShape { channels: 1, height: 33, width: 50 }, Device::flex().autodiff());
    let network = network_of(&spec).build(input, 5, Seed::new(1), &device).unwrap();
    let state = state_dict::shapes(&network).into_iter().map(|(name, shape)| filled(&name, &shape)).collect();
    let (network, report) = pretrained::import_tensors(state, network).unwrap();
    assert!(report.missing.is_empty() && report.skipped.is_empty(), "{report}");
    let shape = [2, 1, 33, 50];
    let data = TensorData::new(filled("input", &shape).into_values().unwrap(), shape);
    let images = Array::<4>::from_data(data, &device).require_grad();
    let assert_equal = |name: &str, found: Vec<f32>| {
        let expected = golden[name].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.into_iter().map(f64::from).zip(expected.iter().map(|v| v.as_f64().unwrap())) {
            assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{name}: {found} {expected}");
        }
    };
    assert_equal("logits", network.forward(images.clone(), None).into_data().try_into_vec().unwrap());
    let pass = TrainingPass::new(Seed::new(2));
    let _ = network.forward(images.clone(), Some(&pass));
    let loss = pass.take_loss().expect("the error of the reconstruction");
    let value = f64::from(loss.clone().into_data().try_into_vec::<f32>().unwrap()[0]);
    let expected = golden["loss"].as_f64().unwrap();
    assert!((value - expected).abs() < 1e-5 * expected, "{value} {expected}");
    let gradient = images.grad(&loss.backward()).unwrap().into_data().try_into_vec::<f32>().unwrap();
    assert_equal("gradient", gradient.into_iter().step_by(37).collect());
}
