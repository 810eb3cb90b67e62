//! Networks in whole runs: training, killing, resuming, saving, prediction.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::test_dir::{TestDir, text};

/// A small network on small images, trained in a few seconds.
const TINY: &str = r#"
[data]
use = "demo"
clips_per_class = 8
test_recordings = 12
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.mel]
n_fft = 1024
hop_length = 1024
n_mels = 32
[models.cnn_small]
filters = [8, 16]
epochs = 6
batch_size = 16
"#;

fn metric(result: &Value, model: &str, metric: &str) -> f64 {
    let rows = result["results"].as_array().unwrap();
    let row = rows.iter().find(|row| row["model"] == model && row["split"] == "test").unwrap();
    row["metrics"][metric].as_f64().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The rows of `epochs.csv` without the columns about time.
fn curves(csv: &str) -> Vec<Vec<String>> {
    csv.lines().map(|line| line.split(',').rev().skip(3).map(str::to_owned).collect()).collect()
}

#[test]
fn a_network_learns_writes_its_curves_and_predicts() {
    let dir = TestDir::with(&[("net.toml", TINY)]);
    let result = dir.run("net.toml", &[]);
    assert!(metric(&result, "cnn_small", "accuracy") > metric(&result, "commonest", "accuracy"));
    let run = dir.path(result["run"].as_str().unwrap());
    let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
    let lines: Vec<&str> = epochs.lines().collect();
    assert_eq!(lines.len(), 7, "a line per epoch: {epochs}");
    assert!(lines[0].starts_with("features,model,seed,epoch,learning_rate,train_loss,validation_loss,accuracy,"));
    assert!(!run.join("checkpoints").exists(), "the trial is done");

    let demo = fs::read_dir(dir.path("data/.cache")).unwrap().flatten();
    let demo = demo.map(|entry| entry.path()).find(|path| path.join("IRMAS-TrainingData").is_dir()).unwrap();
    let clip = fs::read_dir(demo.join("IRMAS-TrainingData/pia")).unwrap().flatten().next().unwrap().path();
    let predict = |threads: &str| {
        let arguments = ["predict", "net/latest", clip.to_str().unwrap(), "--json", "-q", "--jobs", threads];
        json_of(&dir.command(&arguments).output().unwrap())
    };
    let predicted = predict("1");
    assert_eq!(predicted, predict("2"));
    let shares = predicted["files"][0]["classes"].as_array().unwrap();
    let sum: f64 = shares.iter().map(|share| share["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5 && shares.len() == 11, "{predicted}");
}

/// A mel spectrogram and its changes over time, as three channels.
const CHANNELS: &str = r#"
[features.change]
kind = "delta"
of = "mel"
[features.three]
kind = "stack"
channels = true
of = ["mel", "change", { kind = "delta", of = "mel", order = 2 }]
[[augment]]
kind = "frequency_mask"
[[augment]]
kind = "cutmix"
p = 0.5
"#;

#[test]
fn a_network_takes_the_features_of_a_stack_as_channels() {
    let own = TINY.replace("epochs = 6", "epochs = 2\nfeatures = [\"three\"]");
    let dir = TestDir::with(&[("net.toml", &format!("{own}{CHANNELS}"))]);
    let result = dir.run("net.toml", &[]);
    let run = result["run"].as_str().unwrap();
    let weights = dir.bytes(&format!("{run}/models/three.cnn_small.s1/model.safetensors"));
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&weights[8..8 + length]).unwrap();
    let shapes: Vec<&Value> = header.as_object().unwrap().values().map(|tensor| &tensor["shape"]).collect();
    assert!(shapes.contains(&&serde_json::json!([8, 3, 3, 3])), "the first filters see three channels: {header}");
    // The saved network takes the same channels.
    let clip = dir.path(run).join("demo.wav");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/audio/f32le.wav"), &clip).unwrap();
    let predicted =
        json_of(&dir.command(&["predict", "net/latest", clip.to_str().unwrap(), "--json", "-q"]).output().unwrap());
    assert_eq!(predicted["files"][0]["classes"].as_array().unwrap().len(), 11, "{predicted}");

    let one = ["--set", "models.resnet18.features=[\"three\"]", "--set", "models.cnn_small=false"];
    let refused = dir.command(&[&["check", "net.toml"][..], &one].concat()).output().unwrap();
    let sentence = "the feature has 3 channels and the network 1; if the network has a key `channels`, set it to 3";
    assert!(text(&refused.stderr).contains(sentence), "{}", text(&refused.stderr));
    dir.done(&[&["check", "net.toml", "--set", "models.resnet18.channels=3"][..], &one].concat());
}

#[test]
fn a_network_learns_from_the_predictions_of_another_run_without_labels() {
    let (data, network) = TINY.split_once("[models.cnn_small]").unwrap();
    let network = format!("[models.cnn_small]{network}teacher = \"teacher\"\nteacher_weight = 1.0\n");
    let student = format!("{data}{}learning_rate = 0.02\n", network.replace("epochs = 6", "epochs = 30"));
    let dir = TestDir::with(&[("teacher.toml", &format!("{data}[models.logistic]\n")), ("student.toml", &student)]);
    let refused = dir.timbre(&["check", "student.toml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("models.cnn_small.teacher: "), "{}", text(&refused.stderr));

    dir.run("teacher.toml", &[]);
    let result = dir.run("student.toml", &[]);
    let run = dir.path(result["run"].as_str().unwrap());
    let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
    let column = |at: usize| -> Vec<f64> {
        epochs.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().parse().unwrap()).collect()
    };
    let (distance, of_labels) = (column(5), column(6));
    assert!(distance[29] < 0.8 * distance[0], "{distance:?}");
    // The loss of the labels, which the training never sees, falls below that of an even guess, ln 11.
    assert!(of_labels[29] < 2.2, "{of_labels:?}");

    let warning = "models.cnn_small.teacher: teacher was trained on";
    let same = dir.done(&["check", "student.toml"]);
    assert!(!text(&same.stdout).contains(warning), "{}", text(&same.stdout));
    let other = dir.done(&["check", "student.toml", "--set", "seeds=[9]"]);
    assert!(text(&other.stdout).contains(warning), "{}", text(&other.stdout));

    // Another teacher makes another run.
    dir.run("teacher.toml", &["--set", "models.logistic.penalize_bias=true"]);
    assert_ne!(dir.run("student.toml", &[])["run"], result["run"]);
}

/// Kills `child` with SIGKILL when `reached` returns true. Returns whether it was still running.
fn kill_when(child: &mut std::process::Child, reached: impl Fn() -> bool) -> bool {
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if reached() {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn lines_of(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

#[test]
fn a_training_killed_repeatedly_ends_with_the_bits_of_an_uninterrupted_one() {
    let dir = TestDir::with(&[(
        "net.toml",
        &format!("{TINY}dropout = 0.4\nema = 0.9\nschedule = \"plateau\"\nplateau_patience = 1\n"),
    )]);
    dir.run("net.toml", &["--runs", "uninterrupted"]);
    for epoch in 1..5 {
        let mut command = dir.command(&["run", "net.toml", "--device", "cpu", "-q", "--runs", "killed"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let home = dir.path("killed/net");
        let reached = || {
            let folders = fs::read_dir(&home).into_iter().flatten().flatten().map(|entry| entry.path());
            folders.filter(|folder| !folder.is_symlink()).any(|folder| lines_of(&folder.join("epochs.csv")) > epoch)
        };
        assert!(kill_when(&mut child, reached), "it ended before epoch {epoch} could be seen");
    }
    dir.run("net.toml", &["--runs", "killed", "--jobs", "1"]);
    let folders = fs::read_dir(dir.path("killed/net")).unwrap().flatten();
    let folders = folders.filter(|entry| entry.file_type().unwrap().is_dir()).count();
    assert_eq!(folders, 1, "every start continues in the same folder");
    for file in ["results.csv", "models/mel.cnn_small.s1/model.safetensors"] {
        let of = |runs: &str| dir.bytes(&format!("{runs}/net/latest/{file}"));
        assert!(of("killed") == of("uninterrupted"), "{file} differs");
    }
    let of = |runs: &str| curves(&text(&dir.bytes(&format!("{runs}/net/latest/epochs.csv"))));
    assert_eq!(of("killed"), of("uninterrupted"));
}

#[test]
fn ctrl_c_stops_a_training_with_code_75() {
    let dir = TestDir::with(&[("net.toml", TINY)]);
    let mut command = dir.command(&["run", "net.toml", "--device", "cpu", "--set", "models.cnn_small.epochs=100000"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let home = dir.path("runs/net");
    let training = || {
        let folders = fs::read_dir(&home).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.into_iter().any(|folder| folder.join("epochs.csv").is_file())
    };
    while !training() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("run the same command again"), "{}", text(&output.stderr));
}

#[test]
fn multi_label_recordings_are_trained_with_random_crops_and_scored_with_the_threshold() {
    let several = TINY
        .replace("[split]\nkind = \"holdout\"\ntest = 0.2\n", "[split]\nkind = \"official\"\n")
        .replace("test_recordings = 12", "test_recordings = 12\ntraining_share_of_test = 0.5");
    let dir = TestDir::with(&[(
        "net.toml",
        &format!("{several}crop = \"random\"\n[evaluate]\ntask = \"multi_label\"\ncutoff = 0.3\n"),
    )]);
    let result = dir.run("net.toml", &[]);
    assert!(metric(&result, "nothing", "hamming") > 0.5 && metric(&result, "all", "recall_micro") == 1.0);
    // The Hamming score rewards silence, so its conclusion has micro F1 beside it.
    let judged = dir.done(&["run", "net.toml", "--device", "cpu", "--set", "evaluate.metric=hamming"]);
    let [hamming, f1] = ["hamming", "f1_micro"].map(|name| metric(&result, "cnn_small", name));
    let sentence = format!("mel.cnn_small has hamming {hamming:.3} (f1_micro {f1:.3}) on the test split");
    assert!(text(&judged.stderr).contains(&sentence), "{sentence}: {}", text(&judged.stderr));
    let run = dir.path(result["run"].as_str().unwrap());
    let epochs = fs::read_to_string(run.join("epochs.csv")).unwrap();
    let losses: Vec<f64> =
        epochs.lines().skip(1).map(|line| line.split(',').nth(5).unwrap().parse().unwrap()).collect();
    assert!(losses[5] < losses[0], "{losses:?}");
    let confusion = fs::read_to_string(run.join("confusion.csv")).unwrap();
    assert!(confusion.starts_with("features,model,seed,split,class,true_positives,false_positives,"), "{confusion}");
    // The crops are drawn from the seed: a repeated run gives the same bits.
    let model = "net/latest/models/mel.cnn_small.s1/model.safetensors";
    dir.run("net.toml", &["--runs", "again", "--jobs", "1"]);
    assert!(dir.bytes(&format!("runs/{model}")) == dir.bytes(&format!("again/{model}")));
    // Without random crops the weights differ.
    dir.run("net.toml", &["--runs", "centre", "--set", "models.cnn_small.crop=fixed"]);
    assert!(dir.bytes(&format!("runs/{model}")) != dir.bytes(&format!("centre/{model}")));
}

#[test]
fn a_dry_run_prints_the_layers_and_trains_nothing() {
    let dir = TestDir::with(&[("net.toml", TINY)]);
    let output = dir.command(&["run", "net.toml", "--dry-run"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("mel.cnn_small: cnn_small of 11 classes") && said.contains("multiply-adds"), "{said}");
    assert!(!dir.path("runs").exists());
}

#[test]
fn a_network_that_does_not_suit_its_feature_or_weights_is_refused_before_anything_runs() {
    let dir = TestDir::with(&[("net.toml", TINY)]);
    for (set, sentence) in [
        ("models.cnn_small.filters=[8,8,8,8,8,8,8]", "cannot be the input of `cnn_small`"),
        ("models.cnn_small.init=nowhere.safetensors", "cannot read nowhere.safetensors"),
        ("models.cnn_small.monitor=f1_mirco", "f1_mirco"),
    ] {
        let output = dir.command(&["run", "net.toml", "--set", set]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{set}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(sentence), "{set}: {}", text(&output.stderr));
        assert!(!dir.path("runs").exists(), "{set}");
    }
}
