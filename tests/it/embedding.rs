//! Features from pretrained networks and from other programs, through the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::Device;
use timbre_core::seed::Seed;
use timbre_models::networks::{InputShape, NetworkKind, musicnn::Musicnn, pretrained, state_dict};
use timbre_models::tensor_file::write_safetensors;

use crate::test_dir::{FEW, TestDir, text};

fn write_weights(path: &Path, seed: u64) {
    let input = InputShape { channels: 1, height: 96, width: 187 };
    let network = Musicnn::default().build(input, 50, Seed::new(seed), &Device::flex()).unwrap();
    let mut bytes = Vec::new();
    write_safetensors(&state_dict::tensors(&network), &[], &mut bytes).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_embedding_belongs_to_the_contents_of_its_weights() {
    let embedding = format!("{FEW}[features.emb]\nkind = \"embedding\"\nweights = \"w.safetensors\"\n");
    let dir = TestDir::with(&[("emb.toml", &embedding)]);
    for command in ["check", "run"] {
        let refused = dir.timbre(&[command, "emb.toml"]);
        let message = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains("w.safetensors") && message.contains("the feature `emb` needs it"), "{message}");
    }
    write_weights(&dir.path("w.safetensors"), 1);
    let record = || -> serde_json::Value {
        dir.run("emb.toml", &[]);
        serde_json::from_slice(&dir.bytes("runs/emb/latest/run.json")).unwrap()
    };
    let first = record();
    assert_eq!(first["signature"], record()["signature"]);
    dir.done(&["predict", "emb/latest", dir.a_recording().to_str().unwrap()]);
    write_weights(&dir.path("w.safetensors"), 2);
    let stale = dir.timbre(&["predict", "emb/latest", dir.a_recording().to_str().unwrap()]);
    assert!(!stale.status.success() && text(&stale.stderr).contains("--fresh"), "{}", text(&stale.stderr));
    let other = record();
    assert_ne!(first["signature"], other["signature"]);
    assert!(other["cache"]["misses"].as_u64().unwrap() > 0, "{}", other["cache"]);
    fs::write(dir.path("w.safetensors"), b"cut").unwrap();
    let cut = text(&dir.timbre(&["run", "emb.toml"]).stderr);
    assert!(cut.contains("truncated, or not a safetensors file"), "{cut}");
}

#[test]
fn the_scores_of_a_network_are_a_classifier_by_a_map_of_labels() {
    let scores = "[features.scores]\nkind = \"embedding\"\nweights = \"w.safetensors\"\nlayer = \"scores\"\n";
    let model = "[models.tags]\nkind = \"pretrained\"\nlabels = \"labels.txt\"\n";
    let experiment = FEW.replace("[models.knn]\nk = 1\n", "") + scores + model;
    let mapped = format!("{experiment}[models.tags.map]\npia = [\"tag 1\", \"tag 2\"]\n");
    let mut labels: Vec<String> = (0..50).map(|number| format!("tag {number}")).collect();
    labels[7] = "Cello".to_owned();
    let dir = TestDir::with(&[("none.toml", &experiment), ("tags.toml", &mapped), ("labels.txt", &labels.join("\n"))]);
    write_weights(&dir.path("w.safetensors"), 1);
    for command in ["check", "run"] {
        let refused = dir.timbre(&[command, "none.toml"]);
        let message = text(&refused.stderr) + &text(&refused.stdout);
        assert!(!refused.status.success() && message.contains("no label for the class `pia`"), "{message}");
    }
    dir.run("tags.toml", &[]);
    // The model that was saved has the map, and nothing else.
    let model = dir.path("runs/tags/latest/models/scores.tags.s1/model.safetensors");
    let tensors = pretrained::read(&model).unwrap();
    let map = tensors.into_iter().find(|tensor| tensor.name == "labels_of_classes").unwrap().into_values().unwrap();
    let columns = |class: usize| (0..50).filter(|label| map[class * 50 + label] == 1.0).collect::<Vec<usize>>();
    assert_eq!((map.len(), columns(0), columns(1)), (100, vec![7], vec![1, 2]));
    dir.done(&["predict", "tags/latest", dir.a_recording().to_str().unwrap()]);
    // Fewer labels than the network has scores.
    std::fs::write(dir.path("labels.txt"), "Cello\ntag 1\ntag 2\n").unwrap();
    let other = dir.timbre(&["check", "tags.toml"]);
    let message = text(&other.stderr) + &text(&other.stdout);
    assert!(!other.status.success() && message.contains("3 labels and the feature 50 values"), "{message}");
}

#[test]
fn an_imported_feature_gives_the_results_of_the_feature_that_was_written() {
    let centroid = format!("{FEW}[features.x]\nkind = \"centroid\"\nsummary = [\"mean\", \"std\"]\n");
    let imported =
        format!("{FEW}[features.x]\nkind = \"imported\"\ntable = \"out/x.npy\"\nrows = \"out/recordings.csv\"\n");
    let dir = TestDir::with(&[("own.toml", &centroid), ("other.toml", &imported)]);
    dir.done(&["features", "own.toml", "--out", "out", "--format", "npy"]);
    let (own, other) = (dir.run("own.toml", &[]), dir.run("other.toml", &[]));
    assert_eq!(own["results"], other["results"]);
    let new = dir.timbre(&["predict", "other/latest", dir.a_recording().to_str().unwrap()]);
    assert!(text(&new.stderr).contains("a new or changed one has none"), "{}", text(&new.stderr));
}

/// Needs `TIMBRE_MUSICNN`: a virtual environment with TensorFlow and the package `musicnn`, whose wheel is in its folder.
#[test]
#[ignore = "needs the package musicnn and TensorFlow: make test-peers"]
fn the_package_musicnn_gives_the_same_tags() {
    let peers = PathBuf::from(std::env::var_os("TIMBRE_MUSICNN").expect("TIMBRE_MUSICNN names a virtual environment"));
    let wheel = peers.join("musicnn-0.1.0-py3-none-any.whl");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let feature = |name: &str, network: &str, layer: &str| {
        format!(
            "[features.{name}]\nkind = \"embedding\"\nnetwork = \"{network}\"\nweights = \"mtt_{file}.safetensors\"\nlayer = \"{layer}\"\n",
            file = network.trim_start_matches("musicnn_")
        )
    };
    let features = [
        feature("musicnn", "musicnn", "penultimate"),
        feature("musicnn_scores", "musicnn", "scores"),
        feature("vgg", "musicnn_vgg", "penultimate"),
        feature("vgg_scores", "musicnn_vgg", "scores"),
    ];
    let experiment = FEW.replace("[audio]\n", "[audio]\nresampler = \"soxr_hq\"\n") + &features.concat();
    let dir = TestDir::with(&[("emb.toml", &experiment)]);
    let python = |script: &str, arguments: &[&std::ffi::OsStr]| {
        let command = Command::new(peers.join("bin/python")).arg(root.join(script)).args(arguments).output().unwrap();
        assert!(command.status.success(), "{}", text(&command.stderr));
        command.stdout
    };
    python("docs/musicnn_weights.py", &[wheel.as_os_str(), dir.path(".").as_os_str()]);
    dir.done(&["features", "emb.toml", "--out", "out", "--format", "npy"]);
    let table = dir.read("out/recordings.csv");
    let first = table.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    let recording = dir.recordings().join(&first);
    for (model, name) in [("MTT_musicnn", "musicnn"), ("MTT_vgg", "vgg")] {
        let printed = python("tests/peers/musicnn_reference.py", &[recording.as_os_str(), model.as_ref()]);
        let line = text(&printed).lines().last().unwrap().to_owned();
        let theirs: serde_json::Value = serde_json::from_str(&line).unwrap();
        for (layer, file) in [("penultimate", name.to_owned()), ("scores", format!("{name}_scores"))] {
            let expected: Vec<f64> = serde_json::from_value(theirs[layer].clone()).unwrap();
            let bytes = dir.bytes(&format!("out/{file}.npy"));
            let start = bytes.len() - bytes.len() % 4;
            let values: Vec<f32> =
                bytes[128..start].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let largest = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            let differences = values.iter().zip(&expected).map(|(ours, theirs)| (f64::from(*ours) - theirs).abs());
            let difference = differences.fold(0.0, f64::max);
            eprintln!("{model}, {layer}: {difference:.1e} beside {largest:.2}");
            // The resamplers differ above 91 % of the band, and the logarithm makes faint bands loud.
            assert!(difference < 1e-3 * largest.max(1.0), "{model}, {layer}: {difference} beside {largest}");
        }
    }
}
