//! Augmentations in whole runs: the same bytes on any number of threads, after kills, and with replayed draws.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::test_dir::{TestDir, text};

/// A small network whose clips differ in each epoch.
const TINY: &str = r#"
[data]
use = "demo"
clips_per_class = 8
test_recordings = 2
[audio]
sample_rate = 16000
clip_seconds = 2.0
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
dropout = 0.3
crop = "random"
[[augment]]
kind = "translate"
[[augment]]
kind = "gain"
p = 0.5
[[augment]]
kind = "mix"
p = 0.5
same_genre = true
[[augment]]
kind = "one_of"
p = 0.5
of = [{ kind = "time_mask" }, { kind = "frequency_mask" }, { kind = "mixup" }, { kind = "cutmix" }]
"#;

impl TestDir {
    /// Runs the experiment, writing to the runs folder of that name.
    fn run_into(&self, runs: &str, more: &[&str]) {
        self.done(&[&["run", "net.toml", "--device", "cpu", "-q", "--runs", runs], more].concat());
    }

    /// What must be the same in equal runs: results, weights, learning curves without times.
    fn outcome(&self, runs: &str) -> (Vec<u8>, Vec<u8>, Vec<Vec<String>>) {
        let of = |file: &str| self.bytes(&format!("{runs}/net/latest/{file}"));
        let curves = text(&of("epochs.csv"));
        let curves = curves.lines().map(|line| line.split(',').rev().skip(3).map(str::to_owned).collect()).collect();
        (of("results.csv"), of("models/mel.cnn_small.s1/model.safetensors"), curves)
    }
}

fn lines_of(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

fn json_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn threads_kills_and_replays_do_not_change_a_byte() {
    let dir = TestDir::with(&[("net.toml", TINY)]);
    dir.run_into("two", &["--jobs", "2"]);
    let two = dir.outcome("two");
    dir.run_into("one", &["--jobs", "1"]);
    assert!(dir.outcome("one") == two, "the number of threads changes the results");

    for epoch in [1, 3] {
        let mut command = dir.command(&["run", "net.toml", "--device", "cpu", "-q", "--runs", "killed"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let home = dir.path("killed/net");
        loop {
            assert!(child.try_wait().unwrap().is_none(), "the run ended before epoch {epoch} was seen");
            let folders = fs::read_dir(&home).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut folders = folders.filter(|folder| !folder.is_symlink());
            if folders.any(|folder| lines_of(&folder.join("epochs.csv")) > epoch) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    dir.run_into("killed", &["--jobs", "1"]);
    assert!(dir.outcome("killed") == two, "the kills change the results");

    // Without augmentations the training is different.
    dir.run_into("plain", &["--set", "models.cnn_small.augment=[]"]);
    assert!(dir.outcome("plain") != two);

    // Draws are recorded, then replayed by a network without augmentations.
    dir.done(&["data", "augment", "net.toml", "--out", "recorded", "-q"]);
    let replayed = ["--set", "models.cnn_small.replay=recorded/draws.jsonl", "--set", "models.cnn_small.augment=[]"];
    dir.run_into("replayed", &replayed);
    let again = dir.outcome("replayed");
    assert!(again.1 == two.1 && again.2 == two.2, "replayed draws change the results");
    let all = json_lines(&dir.path("recorded/draws.jsonl"));
    let clips: BTreeSet<&str> = all.iter().map(|line| line["clip"].as_str().unwrap()).collect();
    assert_eq!(all.len(), 6 * clips.len(), "every training clip in every epoch");
    // Only training clips are mixed in.
    let draws = all.iter().flat_map(|line| line["draws"].as_array().unwrap());
    let partners: BTreeSet<&str> = draws
        .flat_map(|draw| {
            let parts = draw["parts"].as_array().into_iter().flatten().map(|part| &part["clip"]);
            parts.chain([&draw["partner"]]).filter_map(Value::as_str).collect::<Vec<_>>()
        })
        .collect();
    assert!(partners.len() > 10 && partners.is_subset(&clips), "{partners:?}");
    // More epochs than were recorded.
    let longer = [&replayed[..], &["--set", "models.cnn_small.epochs=7"]].concat();
    let output = dir.command(&[&["run", "net.toml", "--device", "cpu"], &longer[..]].concat()).output().unwrap();
    assert!(!output.status.success() && text(&output.stderr).contains("in epoch 7"), "{}", text(&output.stderr));
}

#[test]
fn the_written_files_of_a_clip_are_its_training_examples() {
    let dir = TestDir::with(&[("net.toml", TINY)]);
    let only_sound = ["--set", "models.cnn_small.augment=[\"translate\", \"gain\", \"mix\"]"];
    dir.done(&[&["data", "augment", "net.toml", "--out", "all", "--count", "3", "-q"], &only_sound[..]].concat());
    let all = json_lines(&dir.path("all/draws.jsonl"));
    let clip = all[0]["clip"].as_str().unwrap();
    let output = dir.done(
        &[&["data", "augment", "net.toml", "--clip", clip, "--count", "3", "--out", "one"], &only_sound[..]].concat(),
    );
    let one = json_lines(&dir.path("one/draws.jsonl"));
    assert_eq!(text(&output.stdout), text(&dir.bytes("one/draws.jsonl")));
    assert!(one == all.iter().filter(|line| line["clip"] == clip).cloned().collect::<Vec<_>>());
    for epoch in 1..=3 {
        let name = |end: &str| format!("one/epoch-{epoch:03}{end}");
        let sound = dir.bytes(&name(".wav"));
        // A header and two seconds of floats.
        assert_eq!(sound.len(), 58 + 4 * 32_000);
        assert_ne!(sound, dir.bytes(&name(".before.wav")));
        assert!(dir.bytes(&name(".png")).starts_with(b"\x89PNG") && text(&dir.bytes(&name(".svg"))).contains("after"));
    }
    let unknown = dir.command(&["data", "augment", "net.toml", "--clip", "nobody", "--out", "none"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("no training clip") && text(&unknown.stderr).contains("nobody"));
    // With -vv the program prints the draws.
    let loud = dir.done(
        &[&["data", "augment", "net.toml", "--clip", clip, "--count", "1", "--out", "loud", "-vv"], &only_sound[..]]
            .concat(),
    );
    assert!(text(&loud.stderr).contains("\"kind\":\"translate\""), "{}", text(&loud.stderr));
}

/// Two models on fixed copies of the training clips.
const COPIES: &str = r#"
[data]
use = "demo"
clips_per_class = 8
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
[models.knn]
[models.cnn_small]
filters = [8]
epochs = 2
[[augment]]
kind = "pitch_shift"
semitones = { any = [-1.0, 1.0] }
copies = 2
"#;

#[test]
fn copies_enlarge_the_training_set_of_every_model_and_no_other_subset() {
    let dir = TestDir::with(&[("net.toml", COPIES)]);
    let plain = ["--set", "augment.pitch_shift=false", "--runs", "plain"];
    let planned = text(&dir.done(&["plan", "net.toml"]).stdout);
    assert!(planned.contains("copy     training clips, for every model: 2 by pitch_shift"), "{planned}");
    dir.done(&[&["run", "net.toml", "--device", "cpu", "-q"][..], &plain].concat());
    let clips = 88;
    let output = dir.done(&["run", "net.toml", "--device", "cpu", "--runs", "copies"]);
    let record: Value = serde_json::from_str(&dir.read("copies/net/latest/run.json")).unwrap();
    let table = dir.read("copies/net/latest/recordings.csv");
    let place = table.lines().next().unwrap().split(',').position(|name| name == "split").unwrap();
    let train = table.lines().filter(|line| line.split(',').nth(place) == Some("training")).count();
    // The clips are in the cache already; each training clip has two copies.
    assert_eq!(
        (&record["cache"]["hits"], &record["cache"]["misses"]),
        (&clips.into(), &(2 * train).into()),
        "{}",
        text(&output.stderr)
    );
    // A nearest-neighbour model is its training rows.
    let model = |runs: &str| dir.bytes(&format!("{runs}/net/latest/models/mel.knn.s1/model.safetensors")).len() as f64;
    assert!((model("copies") / model("plain") - 3.0).abs() < 0.1, "{} and {}", model("copies"), model("plain"));
    let evaluated = |runs: &str, column: &str| {
        let table = dir.read(&format!("{runs}/net/latest/results.csv"));
        let place = table.lines().next().unwrap().split(',').position(|name| name == column).unwrap();
        table.lines().skip(1).map(|line| line.split(',').nth(place).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(evaluated("copies", "n"), evaluated("plain", "n"));
    assert_ne!(dir.bytes("copies/net/latest/predictions.parquet"), dir.bytes("plain/net/latest/predictions.parquet"));
    // A second run finds every copy.
    dir.done(&["run", "net.toml", "--device", "cpu", "-q", "--runs", "again", "--fresh"]);
    for file in ["results.csv", "models/mel.knn.s1/model.safetensors", "models/mel.cnn_small.s1/model.safetensors"] {
        assert!(
            dir.bytes(&format!("again/net/latest/{file}")) == dir.bytes(&format!("copies/net/latest/{file}")),
            "{file}"
        );
    }
}
