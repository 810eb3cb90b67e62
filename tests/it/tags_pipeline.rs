//! Tags of the data as inputs and as auxiliary targets of a network.

use serde_json::Value;

use crate::test_dir::{TestDir, text};

const TAGS: &str = r#"
[data]
use = "demo"
clips_per_class = 12
test_recordings = 2
[audio]
sample_rate = 16000
clip_seconds = 1.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.mel]
n_fft = 1024
hop_length = 1024
n_mels = 32
[models.plain]
kind = "cnn_small"
filters = [8]
epochs = 2
[models.inputs]
kind = "cnn_small"
filters = [8]
epochs = 2
tags = ["genre"]
tag_dropout = 0.5
[models.targets]
kind = "cnn_small"
filters = [8]
epochs = 2
auxiliary = { genre = 0.3 }
"#;

fn shapes(dir: &TestDir, run: &str, model: &str) -> Value {
    let bytes = dir.bytes(&format!("{run}/models/mel.{model}.s1/model.safetensors"));
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice(&bytes[8..8 + length]).unwrap()
}

#[test]
fn tags_shape_a_network_and_a_recording_without_them_is_predicted_too() {
    let dir = TestDir::with(&[("net.toml", TAGS)]);
    dir.done(&["run", "net.toml", "--device", "cpu", "-q"]);
    let run = "runs/net/latest";
    let record: Value = serde_json::from_str(&dir.read(&format!("{run}/models/mel.inputs.s1/model.json"))).unwrap();
    let genres = record["tags"]["genre"].as_array().unwrap().len();
    assert!(genres > 1, "{record}");
    assert!(record["tags"].get("drums").is_none());
    let (inputs, targets, plain) =
        (shapes(&dir, run, "inputs"), shapes(&dir, run, "targets"), shapes(&dir, run, "plain"));
    // Eleven classes, then the genres.
    let outputs = |header: &Value| {
        header.as_object().unwrap().iter().find(|(name, _)| name.ends_with("fc.bias")).unwrap().1["shape"][0].as_u64()
    };
    assert_eq!((outputs(&plain), outputs(&inputs), outputs(&targets)), (Some(11), Some(11), Some(11 + genres as u64)));
    assert!(inputs.get("input.tag_rows").is_some() && targets.get("output.auxiliary").is_some());
    assert!(plain.get("input.tag_rows").is_none() && plain.get("output.auxiliary").is_none());
    // How far recordings may be from those of training has nothing to do with their tags.
    let distance = |model: &str| dir.bytes(&format!("{run}/models/mel.{model}.s1/training_distance.safetensors"));
    assert_eq!(distance("inputs"), distance("plain"));
    // A file has no tags.
    let clip = dir.a_recording();
    for model in ["inputs", "targets"] {
        let which = format!("{run}:mel.{model}");
        let output = dir.done(&["predict", &which, clip.to_str().unwrap(), "--format", "json"]);
        let answer = text(&output.stdout);
        assert!(serde_json::from_str::<Value>(&answer).is_ok() && answer.contains("\"cel\""), "{answer}");
    }
    // The saved networks are evaluated with the tags of the recordings, as when they were trained.
    dir.done(&["evaluate", run, "--device", "cpu", "-q"]);
    assert_eq!(dir.read("runs/net_evaluated/latest/results.csv"), dir.read(&format!("{run}/results.csv")));
}

#[test]
fn tags_that_no_training_recording_has_are_told_before_the_run() {
    let dir = TestDir::with(&[("net.toml", &TAGS.replace("[\"genre\"]", "[\"mood\"]"))]);
    let output = dir.timbre(&["check", "net.toml"]);
    let message = text(&output.stdout);
    assert!(message.contains("models.inputs.tags: no recording has the tag mood; the tags are"), "{message}");
    let wrong = TestDir::with(&[("net.toml", &TAGS.replace("genre = 0.3", "genre = -1"))]);
    assert!(text(&wrong.timbre(&["check", "net.toml"]).stderr).contains("the weights must not be negative"));
}
