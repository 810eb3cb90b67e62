//! `timbre evaluate`: saved models on other recordings and with other evaluation keys.

use std::fs;

use serde_json::Value;
use timbre_signal::audio::wav_write::write_f32;

use crate::test_dir::{OFFICIAL_SPLIT, TestDir, text};

const MODELS: &str = r#"
[models.logistic]
[models.knn]
[models.both]
kind = "ensemble"
members = ["logistic", "knn"]
weights = "search"
[evaluate]
task = "multi_label"
bootstrap = 50
"#;

fn experiment() -> String {
    format!("seeds = [1, 2]{OFFICIAL_SPLIT}{MODELS}")
}

fn evaluate(dir: &TestDir, arguments: &[&str]) -> (String, Value) {
    let output = dir.done(&[&["evaluate"], arguments, &["--json"]].concat());
    (text(&output.stderr), serde_json::from_slice(&output.stdout).unwrap())
}

fn rows<'a>(summary: &'a Value, model: &str, split: &str) -> Vec<&'a Value> {
    let all = summary["results"].as_array().unwrap().iter();
    all.filter(|row| row["model"] == model && row["split"] == split).collect()
}

#[test]
fn models_are_evaluated_with_other_keys_as_a_run_with_these_keys_does() {
    let dir = TestDir::with(&[("multi.toml", &experiment())]);
    let first = dir.run("multi.toml", &[]);
    let keys = ["--set", "evaluate.mode=windows", "--set", "evaluate.cutoff=0.4"];
    let (_, evaluated) = evaluate(&dir, &[&["multi/latest"], &keys[..]].concat());
    let fitted = dir.run("multi.toml", &[&keys[..], &["--fresh"]].concat());
    // The ensemble keeps the weights that its run found with its own keys.
    for model in ["logistic", "knn"] {
        for split in ["validation", "test"] {
            let (here, there) = (rows(&evaluated, model, split), rows(&fitted, model, split));
            assert!(here.len() == 2 && here == there, "{model} on the {split} split: {here:?}\n{there:?}");
        }
    }
    assert_eq!(rows(&evaluated, "both", "test").len(), 2);
    assert!(evaluated["run"].as_str().unwrap().starts_with("runs/multi_evaluated/"), "{evaluated}");

    // One model, of both seeds; one trial; an ensemble with its members.
    let (_, of_model) = evaluate(&dir, &["multi/latest:mel.knn"]);
    assert_eq!((rows(&of_model, "knn", "test").len(), rows(&of_model, "logistic", "test").len()), (2, 0));
    let (_, of_trial) = evaluate(&dir, &["multi/latest:mel.knn.s2"]);
    assert_eq!(rows(&of_trial, "knn", "test").len(), 1);
    let (_, of_ensemble) = evaluate(&dir, &["multi/latest:+.both.s1"]);
    assert_eq!(rows(&of_ensemble, "both", "test").len(), 1);

    // The two evaluations are compared clip by clip, and differ in these keys alone.
    let compared =
        text(&dir.done(&["compare", first["run"].as_str().unwrap(), evaluated["run"].as_str().unwrap()]).stdout);
    assert!(compared.contains("evaluate.cutoff") && !compared.contains("data.use"), "{compared}");
    let of_knn = |line: &&str| line.starts_with("2 ") && line.contains(" knn ");
    let paired = compared.lines().find(of_knn).unwrap();
    assert!(["open", "better", "worse", "same"].iter().any(|verdict| paired.contains(verdict)), "{compared}");
}

#[test]
fn models_of_windows_are_evaluated_on_the_central_clip_too() {
    let windows =
        "mode = \"windows\"\nwindow = { seconds = 3.0, hop = 1.0 }\naggregate = \"vote\"\nwindow_fraction = 0.3\n";
    let of_windows = experiment().replace("[evaluate]\n", &format!("[evaluate]\n{windows}"));
    let dir = TestDir::with(&[("multi.toml", &of_windows), ("centre.toml", &experiment())]);
    dir.run("multi.toml", &[]);
    let (_, centre) =
        evaluate(&dir, &["multi/latest", "--set", "evaluate.mode=centre", "--set", "evaluate.cutoff=0.4"]);
    let fitted = dir.run("centre.toml", &["--set", "evaluate.cutoff=0.4"]);
    assert_eq!(rows(&centre, "knn", "test"), rows(&fitted, "knn", "test"));
    // Another rule over the windows needs no fraction.
    let (_, mean) = evaluate(&dir, &["multi/latest", "--set", "evaluate.aggregate=mean"]);
    assert_eq!(rows(&mean, "knn", "test").len(), 2);
}

#[test]
fn models_are_evaluated_on_another_set_without_the_recordings_that_they_were_trained_on() {
    let single = experiment()
        .replace("multi_label", "single_label")
        .replace("kind = \"official\"\nvalidation = 0.2", "kind = \"holdout\"\nvalidation = 0.2");
    let dir = TestDir::with(&[("single.toml", &single)]);
    let summary = dir.run("single.toml", &[]);
    let run = summary["run"].as_str().unwrap();
    let made = dir.recordings().join("IRMAS-TrainingData");
    // Classes in another order, one that the models do not know, and copies of recordings for training and for testing.
    for (class, name) in [("voi", "voi"), ("cel", "cel"), ("flu", "harp")] {
        fs::create_dir_all(dir.path(&format!("mine/{name}"))).unwrap();
        for file in fs::read_dir(made.join(class)).unwrap().flatten() {
            fs::copy(file.path(), dir.path(&format!("mine/{name}")).join(file.file_name())).unwrap();
        }
    }
    let (printed, evaluated) = evaluate(&dir, &["single/latest:mel.knn.s1", "--data", "./mine"]);
    let table = dir.read(&format!("{run}/recordings.csv"));
    let tested = table
        .lines()
        .filter(|line| ["cel", "voi"].iter().any(|class| line.contains(&format!("TrainingData/{class}/"))));
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let at = header.iter().position(|name| *name == "split_s1").expect("the seeds differ");
    let new = tested.filter(|line| line.split(',').nth(at) == Some("test")).count();
    assert!(new > 0, "{table}");
    assert_eq!(rows(&evaluated, "knn", "test")[0]["n"], new, "{printed}");
    assert!(printed.contains("do not know harp"), "{printed}");
    assert!(printed.contains("left out, because the models were trained or chosen on them"), "{printed}");
    let predicted = dir.read(&format!("{}/per_class.csv", evaluated["run"].as_str().unwrap()));
    assert!(predicted.contains("cel") && !predicted.contains("harp"), "{predicted}");

    let again = dir.timbre(&["evaluate", "single/latest", "--data", "./mine", "--set", "models.knn.k=3"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("had a part in the fit"), "{}", text(&again.stderr));
}

/// Writes one cut of eight songs in each of two classes, the data set `name` whose songs are numbers.
fn cuts(dir: &TestDir, name: &str, cut: &str, offset: f32) {
    for (class, hertz) in [("owl", 300.0), ("wren", 900.0)] {
        fs::create_dir_all(dir.path(&format!("data/{name}/{class}"))).unwrap();
        for song in 0..8_u8 {
            let hertz = hertz + offset + 10.0 * f32::from(song);
            let samples: Vec<f32> =
                (0..4000_u16).map(|n| (hertz * f32::from(n) / 8000.0 * std::f32::consts::TAU).sin() * 0.5).collect();
            write_f32(&dir.path(&format!("data/{name}/{class}/{song:02}{cut}.wav")), &samples, 8000).unwrap();
        }
    }
    fs::write(dir.path(&format!("data/{name}.toml")), "kind = \"folder\"\ngroup = '^(\\d+)'\n").unwrap();
}

const BIRDS: &str = r#"
[data]
use = "birds"
[audio]
sample_rate = 8000
clip_seconds = 0.5
[split]
kind = "holdout"
test = 0.25
validation = 0.25
[features.centroid]
n_fft = 256
hop_length = 128
[models.average]
[evaluate]
bootstrap = 0
"#;

#[test]
fn other_cuts_of_songs_that_the_models_know_are_left_out_or_warned_of() {
    const NAMES: &str = "of songs that the models were trained on or chosen with";
    const NO_SONGS: &str = "every file counts as a song of its own in ";
    let dir = TestDir::with(&[("x.toml", BIRDS)]);
    cuts(&dir, "birds", "a", 0.0);
    cuts(&dir, "other", "b", 3.0);
    let summary = dir.run("x.toml", &[]);
    let run = summary["run"].as_str().unwrap();
    let table = dir.read(&format!("{run}/recordings.csv"));
    let tested = table.lines().filter(|line| line.ends_with(",test")).count();
    assert!(tested > 0 && tested < 16 && tested % 2 == 0, "{table}");

    // Another set: all are tested, with a warning.
    let (printed, evaluated) = evaluate(&dir, &[run, "--data", "other"]);
    assert_eq!(rows(&evaluated, "average", "test")[0]["n"], 16, "{printed}");
    let seen = 8 - tested / 2;
    let sentence = format!("{seen} of the 8 songs on test have the names {NAMES}: ");
    let of_run = evaluated["run"].as_str().unwrap();
    let report = dir.read(&format!("{of_run}/report.md"));
    let record: Value = serde_json::from_str(&dir.read(&format!("{of_run}/run.json"))).unwrap();
    let warnings = record["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains(&sentence)), "{warnings:?}");
    assert!(printed.contains(&sentence) && report.contains(&sentence), "{printed}\n{report}");
    assert!(!printed.contains(NO_SONGS), "{printed}");

    // The same set, to which another cut of each song was added.
    cuts(&dir, "birds", "b", 5.0);
    let (printed, evaluated) = evaluate(&dir, &[run, "--data", "birds"]);
    assert_eq!(rows(&evaluated, "average", "test")[0]["n"], 2 * tested, "{printed}");
    let left_out = format!("{} recordings are left out, because the models were trained or chosen on", 32 - 2 * tested);
    assert!(printed.contains(&left_out) && !printed.contains(NAMES), "{printed}");

    // A run without songs cannot tell.
    fs::write(dir.path("data/nameless.toml"), "kind = \"folder\"\nroot = \"birds\"\n").unwrap();
    let summary = dir.run("x.toml", &["--set", "data.use=nameless"]);
    let run = summary["run"].as_str().unwrap();
    let (printed, _) = evaluate(&dir, &[run, "--data", "other"]);
    assert!(
        printed.contains(&format!("{NO_SONGS}{run}")) && printed.contains("`nameless` has no `group`"),
        "{printed}"
    );
    assert!(!printed.contains(NAMES), "{printed}");
}
