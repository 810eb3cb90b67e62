//! The program on a GPU, or on a Vulkan driver that computes on the CPU (`TIMBRE_TEST_DEVICE`, default `wgpu`): a training on
//! waveforms with augmentation, a kill, prediction, serving, and too little memory. Run them with `make test-gpu`.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::test_dir::{TestDir, text};
use crate::test_server::{Server, post};

/// A network that crops at random gets waveforms, and the device computes the mel spectrograms. A test adds the network.
pub const WAVEFORMS: &str = r#"
seeds = [1]
[data]
use = "demo"
clips_per_class = 12
test_recordings = 2
[audio]
sample_rate = 8000
clip_seconds = 1.0
[split]
kind = "holdout"
validation = 0.25
test = 0.25
[features.mel]
n_fft = 512
hop_length = 256
n_mels = 32
[evaluate]
bootstrap = 0
"#;

const NET: &str = r#"
[models.cnn_small]
crop = "random"
filters = [4, 8]
dropout = 0.0
epochs = 4
batch_size = 16
schedule = "constant"
"#;

fn device() -> String {
    std::env::var("TIMBRE_TEST_DEVICE").unwrap_or_else(|_| "wgpu".to_owned())
}

/// Runs the experiment into the folder `runs`; the rows of its epoch table without times.
fn epochs(dir: &TestDir, runs: &str, device: &str) -> Vec<Vec<f64>> {
    let output = dir.done(&["run", "net.toml", "--device", device, "--runs", runs]);
    println!("{}", text(&output.stderr));
    losses(dir, runs)
}

/// Training and validation loss of each epoch.
fn losses(dir: &TestDir, runs: &str) -> Vec<Vec<f64>> {
    let table = dir.read(&format!("{runs}/net/latest/epochs.csv"));
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap_or_else(|| panic!("{header:?}"));
    let wanted = [column("train_loss"), column("validation_loss")];
    lines.map(|line| wanted.map(|at| line.split(',').nth(at).unwrap().parse().unwrap()).to_vec()).collect()
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= tolerance * expected.abs(), "{found} instead of {expected}");
    }
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver that computes on the CPU: make test-gpu"]
fn a_network_trains_on_waveforms_is_killed_resumes_and_answers_as_on_the_cpu() {
    let dir = TestDir::with(&[("net.toml", &format!("{WAVEFORMS}{NET}"))]);
    let on_cpu = epochs(&dir, "cpu", "cpu");
    let on_gpu = epochs(&dir, "gpu", &device());
    // Rounding differences grow with every step.
    assert_close(&on_gpu[..1], &on_cpu[..1], 2e-3);
    assert_close(&on_gpu, &on_cpu, 0.05);

    let mut child = dir
        .command(&["run", "net.toml", "--device", &device(), "-q", "--runs", "killed"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let two_epochs = || {
        let folders = fs::read_dir(dir.path("killed/net")).into_iter().flatten().flatten().map(|entry| entry.path());
        let lines = |file| fs::read_to_string(file).map_or(0, |text| text.lines().count());
        folders.filter(|folder| !folder.is_symlink()).any(|folder| lines(folder.join("epochs.csv")) > 2)
    };
    while !two_epochs() {
        assert!(child.try_wait().unwrap().is_none(), "the training ended before its second epoch");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let output = dir.done(&["run", "net.toml", "--device", &device(), "--runs", "killed"]);
    assert!(text(&output.stderr).contains("resuming after epoch"), "{}", text(&output.stderr));
    assert_close(&losses(&dir, "killed"), &on_gpu, 1e-3);

    let clip = dir.a_recording().display().to_string();
    let predict = |device: &str| -> Value {
        // The server predicts the central clip, too.
        let arguments = ["predict", "net/latest", &clip, "--clip", "--runs", "gpu", "--device", device, "--json", "-q"];
        serde_json::from_slice(&dir.done(&arguments).stdout).unwrap()
    };
    let (on_cpu, on_gpu) = (scores(&predict("cpu")["files"][0]), scores(&predict(&device())["files"][0]));
    assert_close(&[on_gpu], std::slice::from_ref(&on_cpu), 1e-3);

    let server = Server::spawn(dir.command(&[
        "serve",
        "net/latest",
        "--runs",
        "gpu",
        "--device",
        &device(),
        "--addr",
        "127.0.0.1:0",
    ]));
    let answer = post(server.address, "", &fs::read(&clip).unwrap()).json();
    assert_close(&[scores(&answer)], &[on_cpu], 1e-3);
}

/// The score of each class of an answer, in the order of their codes.
fn scores(answer: &Value) -> Vec<f64> {
    let classes =
        answer["classes"].as_array().or(answer["instruments"].as_array()).unwrap_or_else(|| panic!("{answer}"));
    // As `predict` and `serve` call it.
    let score = |class: &Value| class["probability"].as_f64().or(class["confidence"].as_f64()).unwrap();
    let mut scores: Vec<(&str, f64)> =
        classes.iter().map(|class| (class["code"].as_str().unwrap(), score(class))).collect();
    scores.sort_by(|a, b| a.0.cmp(b.0));
    assert_eq!(scores.len(), 11);
    scores.into_iter().map(|(_, score)| score).collect()
}

#[test]
#[ignore = "needs a GPU or a Vulkan driver that computes on the CPU: make test-gpu"]
fn too_little_memory_is_a_sentence_with_a_batch_size_to_try() {
    // The output of the first layer has 512 filters × 1024 × 1024 pixels × 4 bytes × 128 clips: 275 GB.
    let large = format!("{WAVEFORMS}{NET}")
        .replace("filters = [4, 8]", "filters = [512]")
        .replace("batch_size = 16", "batch_size = 128")
        .replace("n_mels = 32", "n_mels = 32\nresize = [1024, 1024]");
    let dir = TestDir::with(&[("net.toml", &large)]);
    let output = dir.timbre(&["run", "net.toml", "--device", &device()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("too little free memory") && message.contains("`batch_size = 64`"), "{message}");
    assert!(!message.contains("panicked"), "{message}");
}
