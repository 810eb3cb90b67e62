//! Ensembles and multi-label runs of classic models: fusion equals the definition, runs resume, invalid ones are refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use timbre::inference::Predictor;
use timbre_runs::run_dir::{self, Trial};

use crate::test_dir::{TestDir, text};

/// Three classic models on two small features, multi-label, and ensembles of them.
const MULTI_LABEL: &str = r#"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 12
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "official"
validation = 0.2
held_out = 0.2
[features.mel]
n_fft = 1024
hop_length = 1024
n_mels = 32
[features.mfcc]
n_fft = 1024
hop_length = 2048
[models.average]
standardize = true
[models.knn]
k = 3
curve_k = [1, 3]
[models.logistic]
features = "mel"
[models.outer]
kind = "ensemble"
members = ["searched", "mfcc.average"]
weights = [3, 1]
[models.searched]
kind = "ensemble"
members = ["logistic", "mel.knn", "mfcc.knn"]
weights = "search"
[models.equal]
kind = "ensemble"
members = ["logistic", "mel.knn", "mfcc.knn"]
[models.ranks]
kind = "ensemble"
members = ["logistic", "mfcc.knn"]
fuse = "rank_mean"
[evaluate]
task = "multi_label"
cutoff = 0.3
bootstrap = 20
"#;

/// The file of a recording. Some names on disk are decomposed Unicode, those in the tables are not.
fn file_of(recordings: &Path, id: &str) -> Option<PathBuf> {
    let path = recordings.join(id);
    path.is_file().then_some(path)
}

fn trial(run: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(run.join(format!("units/{name}.json"))).unwrap()).unwrap()
}

fn split_record<'a>(trial: &'a Value, split: &str) -> &'a Value {
    trial["splits"].as_array().unwrap().iter().find(|split_record| split_record["split"] == split).unwrap()
}

fn probabilities(trial: &Value, split: &str) -> Vec<f64> {
    let numbers = split_record(trial, split)["predictions"]["probabilities"].as_array().unwrap();
    numbers.iter().map(|p| p.as_f64().unwrap()).collect()
}

fn metric(result: &Value, features: &str, model: &str, split: &str) -> f64 {
    let rows = result["results"].as_array().unwrap();
    let row = rows.iter().find(|r| r["features"] == features && r["model"] == model && r["split"] == split);
    row.unwrap_or_else(|| panic!("{features} {model} {split}"))["metrics"]["f1_micro"].as_f64().unwrap()
}

#[test]
fn fused_members_equal_the_definition_in_every_split() {
    let dir = TestDir::with(&[("fused.toml", MULTI_LABEL)]);
    let result = dir.run("fused.toml", &[]);
    let run = dir.path(result["run"].as_str().unwrap());
    let members = ["mel.logistic.s1", "mel.knn.s1", "mfcc.knn.s1"].map(|name| trial(&run, name));
    let (equal, searched, outer) = (trial(&run, "+.equal.s1"), trial(&run, "+.searched.s1"), trial(&run, "+.outer.s1"));
    let weights = members.iter().map(|member| {
        let name = format!(
            "weight of {}.{}.s1",
            member["unit"]["features"].as_str().unwrap(),
            member["unit"]["model"].as_str().unwrap()
        );
        searched["notes"][name].as_str().unwrap().parse::<f64>().unwrap()
    });
    let weights: Vec<f64> = weights.collect();
    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{weights:?}");
    for split in ["validation", "test", "held_out"] {
        let each: Vec<Vec<f64>> = members.iter().map(|member| probabilities(member, split)).collect();
        let mean = |weights: &[f64]| -> Vec<f64> {
            (0..each[0].len())
                .map(|i| each.iter().zip(weights).map(|(probabilities, w)| probabilities[i] * w).sum())
                .collect()
        };
        let near = |fused: Vec<f64>, by_hand: Vec<f64>| {
            let off = fused.iter().zip(&by_hand).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(fused.len() == by_hand.len() && off < 1e-4, "{split}: {off}");
        };
        near(probabilities(&equal, split), mean(&[1.0 / 3.0; 3]));
        near(probabilities(&searched, split), mean(&weights));
        let inner = trial(&run, "mfcc.average.s1");
        let pairs = probabilities(&searched, split).into_iter().zip(probabilities(&inner, split));
        near(probabilities(&outer, split), pairs.map(|(a, b)| 0.75 * a + 0.25 * b).collect());
        assert_eq!(split_record(&equal, split)["clips"], split_record(&members[0], split)["clips"]);
    }
    // The corners of the grid and its centre are single members and equal weights: none is better on the split of the search.
    let best = metric(&result, "+", "searched", "validation");
    for (features, model) in [("mel", "logistic"), ("mel", "knn"), ("mfcc", "knn"), ("+", "equal")] {
        assert!(best >= metric(&result, features, model, "validation"), "{features} {model}");
    }
    let grid = dir.read("runs/fused/latest/grid.csv");
    let lines: Vec<&str> = grid.lines().collect();
    assert_eq!(lines[0], "features,average,knn,logistic,searched,outer,equal,ranks");
    assert!(lines.last().unwrap().starts_with("+,–,–,–,0."), "{grid}");
    for model in ["equal", "searched", "outer", "ranks"] {
        let saved: Value =
            serde_json::from_str(&dir.read(&format!("runs/fused/latest/models/+.{model}.s1/model.json"))).unwrap();
        for member in saved["members"].as_array().unwrap() {
            let folder = run.join("models").join(member.as_str().unwrap());
            assert!(folder.join("model.json").is_file(), "{member}");
        }
    }
}

#[test]
fn results_are_listed_by_the_number_of_labels_and_curves_use_the_multi_label_metric() {
    let dir = TestDir::with(&[("fused.toml", MULTI_LABEL)]);
    let result = dir.run("fused.toml", &[]);
    let table = dir.read("runs/fused/latest/by_labels.csv");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(&lines[0][..6], ["features", "model", "seed", "split", "labels", "n"]);
    let n = |features: &str, model: &str, split: &str, labels: &str| -> usize {
        let row = lines.iter().find(|l| (l[0], l[1], l[3], l[4]) == (features, model, split, labels));
        row.map_or(0, |row| row[5].parse().unwrap())
    };
    for (features, model) in [("mel", "logistic"), ("+", "equal"), ("-", "nothing")] {
        let (one, several) = (n(features, model, "test", "1"), n(features, model, "test", "2+"));
        assert!(one > 0 && several > 0 && one + several == 12, "{features} {model}: {one} {several}");
        assert!(n(features, model, "held_out", "1") >= 11);
        assert_eq!(n(features, model, "held_out", "2+"), 0, "training clips have one label");
    }
    let whole = |split: &str| {
        let rows = result["results"].as_array().unwrap();
        rows.iter().find(|r| r["model"] == "equal" && r["split"] == split).unwrap()["n"].as_u64().unwrap() as usize
    };
    assert_eq!(whole("held_out"), n("+", "equal", "held_out", "1"));
    let curves = dir.read("runs/fused/latest/curves.csv");
    assert_eq!(
        curves.lines().next().unwrap(),
        "features,model,seed,split,parameter,value,n,f1_micro,f1_micro_low,f1_micro_high"
    );
}

#[test]
fn neither_threads_nor_a_lost_trial_change_a_byte_and_no_member_is_fitted_again() {
    let dir = TestDir::with(&[("fused.toml", MULTI_LABEL)]);
    dir.run("fused.toml", &["--jobs", "1", "--runs", "one"]);
    let result = dir.run("fused.toml", &["--jobs", "2", "--runs", "two"]);
    let tables = ["results.csv", "grid.csv", "by_labels.csv", "predictions.parquet"];
    let bytes = |runs: &str| tables.map(|table| fs::read(dir.path(runs).join("fused/latest").join(table)).unwrap());
    let before = bytes("one");
    assert!(before == bytes("two"), "threads");
    // The state after a kill between the last member and the end.
    let run = dir.path(result["run"].as_str().unwrap());
    for file in ["results.csv", "units/+.searched.s1.json", "units/+.outer.s1.json"] {
        fs::remove_file(run.join(file)).unwrap();
    }
    let written = |name: &str| fs::metadata(run.join("units").join(name)).unwrap().modified().unwrap();
    let (member, kept) = (written("mel.logistic.s1.json"), written("+.equal.s1.json"));
    dir.run("fused.toml", &["--runs", "two"]);
    assert!(before == bytes("two"), "a second start");
    assert_eq!((written("mel.logistic.s1.json"), written("+.equal.s1.json")), (member, kept));
    // An ensemble with a lost member is fused again.
    for file in ["results.csv", "units/mel.knn.s1.json"] {
        fs::remove_file(run.join(file)).unwrap();
    }
    dir.run("fused.toml", &["--runs", "two"]);
    assert!(before == bytes("two"), "a third start");
    assert_eq!(written("mel.logistic.s1.json"), member);
    assert_ne!(written("+.equal.s1.json"), kept);
}

#[test]
fn weights_are_not_searched_without_a_validation_split() {
    let dir = TestDir::with(&[("fused.toml", &MULTI_LABEL.replace("validation = 0.2\n", ""))]);
    for command in ["check", "run"] {
        let output = dir.timbre(&[command, "fused.toml"]);
        let sentence = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {sentence}");
        assert!(sentence.contains("models.searched.weights") && sentence.contains("validation = 0.1"), "{sentence}");
    }
    assert!(!dir.path("runs/fused/latest").exists());
}

#[test]
fn single_label_shares_are_fused_to_shares() {
    let one_label = MULTI_LABEL
        .replace(
            "kind = \"official\"\nvalidation = 0.2\nheld_out = 0.2",
            "kind = \"holdout\"\ntest = 0.2\nvalidation = 0.2",
        )
        .replace("task = \"multi_label\"\ncutoff = 0.3\n", "");
    let dir = TestDir::with(&[("fused.toml", &one_label)]);
    let result = dir.run("fused.toml", &["--set", "models.outer.fuse=mean_logits"]);
    let run = dir.path(result["run"].as_str().unwrap());
    for model in ["equal", "searched", "outer", "ranks"] {
        let probabilities = probabilities(&trial(&run, &format!("+.{model}.s1")), "test");
        for row in probabilities.chunks_exact(11) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{model}: {row:?}");
        }
    }
    assert!(!run.join("by_labels.csv").exists(), "every recording has one label");
}

#[test]
fn a_saved_ensemble_predicts_the_same_as_the_run_for_every_test_recording() {
    let dir = TestDir::with(&[("fused.toml", MULTI_LABEL)]);
    let result = dir.run("fused.toml", &[]);
    let run = dir.path(result["run"].as_str().unwrap());
    let made = fs::read_dir(dir.path("data/.cache")).unwrap().flatten().map(|entry| entry.path());
    let recordings = made.into_iter().find(|path| path.join("IRMAS-TrainingData").is_dir()).unwrap();
    for model in ["+.equal.s1", "+.searched.s1", "+.outer.s1", "+.ranks.s1"] {
        let predictor = Predictor::open(&dir.path("runs"), &format!("fused/latest:{model}")).unwrap();
        let trial = trial(&run, model);
        let split_record = split_record(&trial, "test");
        let mut count = 0;
        for (clip, row) in
            split_record["clips"].as_array().unwrap().iter().zip(probabilities(&trial, "test").chunks_exact(11))
        {
            let Some(file) = file_of(&recordings, clip["path"].as_str().unwrap()) else { continue };
            let predicted = predictor.predict_file(&file).unwrap();
            count += 1;
            let row: Vec<f32> = row.iter().map(|&p| p as f32).collect();
            assert_eq!(predicted.probabilities, row, "{model} on {}", clip["path"]);
        }
        assert!(count >= 6, "{model}: {count} recordings");
    }
    let equal = trial(&run, "+.equal.s1");
    let mut clips = split_record(&equal, "test")["clips"].as_array().unwrap().iter();
    let clip = clips.find_map(|clip| file_of(&recordings, clip["path"].as_str().unwrap())).unwrap();
    let output = dir.timbre(&["predict", "fused/latest:+.ranks.s1", clip.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["model"]["model"], "+.ranks.s1");
    // A missing or changed member is named.
    fs::remove_file(run.join("models/mel.knn.s1/model.safetensors")).unwrap();
    let error = Predictor::open(&dir.path("runs"), "fused/latest:+.outer.s1").err().expect("a member is gone");
    let sentence = format!("{error:#}");
    assert!(sentence.contains("the member mel.knn.s1 of the ensemble +.searched.s1"), "{sentence}");
    let description = run.join("models/+.equal.s1/model.json");
    let changed = fs::read_to_string(&description).unwrap().replace("\"mel.knn.s1\"", "\"+.equal.s1\"");
    fs::write(&description, changed).unwrap();
    let error = Predictor::open(&dir.path("runs"), "fused/latest:+.equal.s1").err().expect("a cycle");
    assert!(format!("{error:#}").contains("contains itself"), "{error:#}");
}

#[test]
fn windows_are_fused_one_by_one_and_predicted_again_to_the_bit() {
    let in_windows =
        MULTI_LABEL.replace("cutoff = 0.3", "cutoff = 0.3\nmode = \"windows\"\nwindow = { seconds = 3.0, hop = 2.0 }");
    let dir = TestDir::with(&[("fused.toml", &in_windows)]);
    let result = dir.run("fused.toml", &["--jobs", "2"]);
    let run = dir.path(result["run"].as_str().unwrap());
    let of = |name: &str| {
        let (features, model) = name.split_once('.').unwrap();
        let trial = Trial { features: features.into(), model: model.into(), seed: 1 };
        let record = run_dir::read_trial(&run, &trial).unwrap();
        record.splits.into_iter().find(|split_record| split_record.split == "test").unwrap()
    };
    let windows = |name: &str| of(name).windows.unwrap();
    let members = ["mel.logistic", "mel.knn", "mfcc.knn"].map(windows);
    let fused = windows("+.equal");
    assert_eq!((&fused.bounds, &fused.starts), (&members[0].bounds, &members[0].starts));
    assert!(fused.starts.len() > fused.len(), "recordings have several windows");
    for (i, p) in fused.probabilities.iter().enumerate() {
        let mean = members.iter().map(|member| f64::from(member.probabilities[i])).sum::<f64>() / 3.0;
        assert!((f64::from(*p) - mean).abs() < 1e-6);
    }
    let made = fs::read_dir(dir.path("data/.cache")).unwrap().flatten().map(|entry| entry.path());
    let recordings = made.into_iter().find(|path| path.join("IRMAS-TrainingData").is_dir()).unwrap();
    for model in ["+.searched", "+.ranks"] {
        let (split_record, predictor) =
            (of(model), Predictor::open(&dir.path("runs"), &format!("fused/latest:{model}.s1")));
        let (probabilities, predictor) = (split_record.windows.unwrap(), predictor.unwrap());
        for (recording, clip) in split_record.clips.iter().enumerate() {
            let Some(file) = file_of(&recordings, &clip.path) else { continue };
            let predicted = predictor.predict_file(&file).unwrap();
            let rows: Vec<f32> = probabilities.rows_of(recording).flatten().copied().collect();
            assert_eq!(predicted.windows.unwrap().probabilities, rows, "{model} on {}", clip.path);
            assert_eq!(predicted.probabilities, split_record.predictions.row(recording), "{model} on {}", clip.path);
        }
    }
}
