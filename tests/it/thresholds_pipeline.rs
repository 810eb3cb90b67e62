//! The threshold search on finished runs: its scores equal those of a new evaluation, and it never tunes on the test split silently.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;

use polars_core::prelude::DataFrame;
use polars_io::prelude::{ParquetReader, SerReader};
use serde_json::Value;
use timbre::inference::Predictor;

use crate::test_dir::{TestDir, text};

const BASE: &str = r#"
[data]
use = "demo"
clips_per_class = 6
test_recordings = 12
training_share_of_test = 0.5
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "official"
validation = 0.3
[features.mel]
n_fft = 1024
hop_length = 1000
n_mels = 32
[models.cnn_small]
filters = [8, 16]
epochs = 2
batch_size = 16
loss = "bce"
"#;

const WINDOWS: &str = r#"
[evaluate]
task = "multi_label"
mode = "windows"
cutoff = 0.5
window_fraction = 0.25
bootstrap = 20
"#;

const CENTRE: &str = "\n[evaluate]\ntask = \"multi_label\"\nbootstrap = 20\n";

const SEARCH: &str = r#"
[evaluate.search]
cutoff = "0.40..0.60/0.01"
window_fraction = "0.05..0.90/0.05"
per_class = true
resamples = 30
"#;

impl TestDir {
    /// Stdout and stderr of a successful command.
    fn output_of(&self, arguments: &[&str]) -> (String, String) {
        let output = self.done(arguments);
        (text(&output.stdout), text(&output.stderr))
    }

    fn rows(&self, name: &str) -> Vec<HashMap<String, String>> {
        let text = self.read(name);
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().split(',').collect();
        let row = |line: &str| head.iter().map(|&h| h.to_owned()).zip(line.split(',').map(str::to_owned)).collect();
        lines.map(row).collect()
    }
}

fn parquet(path: PathBuf) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
}

/// The classes and the window probabilities of each recording of a split.
fn window_predictions(dir: &TestDir, run: &str, split: &str, classes: &[String]) -> Vec<(Vec<bool>, Vec<Vec<f32>>)> {
    let texts = |table: &DataFrame, name: &str| -> Vec<String> {
        let column = table.column(name).unwrap().str().unwrap().clone();
        (0..table.height()).map(|row| column.get(row).unwrap().to_owned()).collect()
    };
    let predictions = parquet(dir.path(run).join("predictions.parquet"));
    let windows = parquet(dir.path(run).join("windows.parquet"));
    let (splits, paths, truths) =
        (texts(&predictions, "split"), texts(&predictions, "path"), texts(&predictions, "truth"));
    let (window_splits, window_paths) = (texts(&windows, "split"), texts(&windows, "path"));
    let columns: Vec<Vec<f32>> = classes
        .iter()
        .map(|class| {
            let column = windows.column(class).unwrap().f32().unwrap().clone();
            (0..windows.height()).map(|row| column.get(row).unwrap()).collect()
        })
        .collect();
    (0..predictions.height())
        .filter(|&row| splits[row] == split)
        .map(|row| {
            let truth = classes.iter().map(|class| truths[row].split(';').any(|name| name == class)).collect();
            let own = (0..windows.height()).filter(|&w| window_splits[w] == split && window_paths[w] == paths[row]);
            (truth, own.map(|w| columns.iter().map(|column| column[w]).collect()).collect())
        })
        .collect()
}

/// The classes and the probabilities of the clip of each recording of a split.
fn clip_predictions(dir: &TestDir, run: &str, split: &str, classes: &[String]) -> Vec<(Vec<bool>, Vec<Vec<f32>>)> {
    let table = parquet(dir.path(run).join("predictions.parquet"));
    let texts = |name: &str| {
        let column = table.column(name).unwrap().str().unwrap().clone();
        (0..table.height()).map(|row| column.get(row).unwrap().to_owned()).collect::<Vec<String>>()
    };
    let (splits, truths) = (texts("split"), texts("truth"));
    let p = |class: &String, row: usize| table.column(class).unwrap().f32().unwrap().get(row).unwrap();
    let rows = (0..table.height()).filter(|&row| splits[row] == split);
    rows.map(|row| {
        let truth = classes.iter().map(|class| truths[row].split(';').any(|name| name == class)).collect();
        (truth, vec![classes.iter().map(|class| p(class, row)).collect()])
    })
    .collect()
}

/// Micro F1 and exact match by definition.
fn naive(window_predictions: &[(Vec<bool>, Vec<Vec<f32>>)], cutoff: f64, fraction: f64) -> (f64, f64) {
    let (mut hits, mut named, mut exact) = (0, 0, 0);
    for (truth, windows) in window_predictions {
        let is_decided = |class: usize| {
            let votes = windows.iter().filter(|row| row[class] > cutoff as f32).count();
            votes as f64 / windows.len() as f64 > fraction
        };
        let decided: Vec<bool> = (0..truth.len()).map(is_decided).collect();
        hits += truth.iter().zip(&decided).filter(|(t, d)| **t && **d).count();
        named += truth.iter().filter(|t| **t).count() + decided.iter().filter(|d| **d).count();
        exact += usize::from(*truth == decided);
    }
    (if named == 0 { 0.0 } else { 2.0 * hits as f64 / named as f64 }, exact as f64 / window_predictions.len() as f64)
}

fn number(row: &HashMap<String, String>, key: &str) -> f64 {
    row[key].parse().unwrap_or_else(|_| panic!("{key}: {:?}", row[key]))
}

#[test]
fn a_search_gives_the_scores_of_an_evaluation_and_fits_nothing_again() {
    let dir = TestDir::with(&[
        ("x.toml", &format!("{BASE}{WINDOWS}")),
        ("y.toml", &format!("extends = \"x.toml\"\n{SEARCH}")),
    ]);
    dir.done(&["run", "x.toml", "--device", "cpu", "-q"]);
    let (_, printed) = dir.output_of(&["run", "y.toml", "--device", "cpu"]);
    assert!(printed.contains("Reusing 1 of 1 models from"), "{printed}");
    let record: Value = serde_json::from_str(&dir.read("runs/y/latest/run.json")).unwrap();
    assert_eq!(record["taken_over"]["units"][0], "mel.cnn_small.s1");
    let trial = "units/mel.cnn_small.s1.json";
    assert_eq!(dir.read(&format!("runs/x/latest/{trial}")), dir.read(&format!("runs/y/latest/{trial}")));
    assert_eq!(dir.read("runs/x/latest/results.csv"), dir.read("runs/y/latest/results.csv"));
    assert!(dir.path("runs/y/latest/models/mel.cnn_small.s1/model.json").is_file());

    let classes: Vec<String> = serde_json::from_value(record["classes"].clone()).unwrap();
    let sides: HashMap<&str, _> =
        ["validation", "test"].map(|split| (split, window_predictions(&dir, "runs/y/latest", split, &classes))).into();
    let rows = dir.rows("runs/y/latest/thresholds.csv");
    assert_eq!(rows.len(), 21 * 18 + 1);
    for row in &rows {
        assert_eq!(row["tuned_on"], "validation");
        let own = &sides[row["split"].as_str()];
        let (f1, exact) = naive(own, number(row, "cutoff"), number(row, "window_fraction"));
        assert!((number(row, "f1_micro") - f1).abs() < 1e-12, "{row:?}, not {f1}");
        assert!((number(row, "exact_match") - exact).abs() < 1e-12, "{row:?}, not {exact}");
        assert_eq!(number(row, "n") as usize, own.len());
    }
    let most = rows.iter().filter(|r| r["split"] == "validation").map(|r| number(r, "f1_micro")).fold(0.0, f64::max);
    let chosen: Vec<_> = rows.iter().filter(|row| row["chosen_by"] == "f1_micro").collect();
    assert_eq!(chosen.iter().map(|row| row["split"].as_str()).collect::<Vec<_>>(), ["validation", "test"]);
    assert_eq!(number(chosen[0], "f1_micro"), most);
    assert_eq!(
        (&chosen[0]["cutoff"], &chosen[0]["window_fraction"]),
        (&chosen[1]["cutoff"], &chosen[1]["window_fraction"])
    );

    let grid = dir.read("runs/y/latest/thresholds_f1_micro.csv");
    let lines: Vec<Vec<&str>> = grid.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines[0][0], lines[0][1], lines[0].len()), ("f1_micro on validation (tuned on validation)", "0.4", 22));
    for (line, row) in lines[1..].iter().flat_map(|line| (1..22).map(move |at| (line[at], line[0], at))).zip(&rows) {
        assert_eq!(line.0, row["f1_micro"]);
        assert_eq!((line.1, lines[0][line.2]), (row["window_fraction"].as_str(), row["cutoff"].as_str()));
    }
    let report: Value = serde_json::from_str(&dir.read("runs/y/latest/thresholds.json")).unwrap();
    let trial = &report["units"][0];
    assert_eq!(trial["score"].as_f64().unwrap(), most);
    assert!(trial["per_class"]["score"].as_f64().unwrap() >= most);
    assert!(trial["luck"]["plateau"]["points"].as_u64().unwrap() >= 1);
    assert_eq!(dir.rows("runs/y/latest/thresholds_per_class.csv").len(), classes.len());
    assert!(dir.read("runs/y/latest/thresholds_f1_micro.svg").contains("tuned on validation"));

    // The command finds the same for a run without a search, and needs no model.
    fs::remove_dir_all(dir.path("runs/x/latest/models")).unwrap();
    fs::remove_dir_all(dir.path("runs/x/latest/units")).unwrap();
    let keys = ["cutoff=0.40..0.60/0.01", "window_fraction=0.05..0.90/0.05", "per_class=true", "resamples=30"];
    let set: Vec<String> = keys.iter().map(|key| format!("--set=evaluate.search.{key}")).collect();
    let arguments: Vec<&str> = ["thresholds", "x/latest"].into_iter().chain(set.iter().map(String::as_str)).collect();
    let (printed, hint) = dir.output_of(&arguments);
    assert!(hint.contains("--set evaluate.cutoff="), "{hint}");
    assert!(printed.contains("tuned on validation") && printed.contains("cutoffs = {"), "{printed}");
    for file in ["thresholds.csv", "thresholds_f1_micro.csv", "thresholds_f1_micro.svg", "thresholds.json"] {
        let (a, b) = (dir.read(&format!("runs/x/latest/{file}")), dir.read(&format!("runs/y/latest/{file}")));
        assert!(a == b, "{file} differs");
    }

    // Other keys are refused, and so is the test split without an explicit option.
    for (wrong, words) in [
        ("models.cnn_small.epochs=3", "only evaluate.search.* can be set"),
        ("evaluate.search.tune_on=test", "on_test = true"),
        ("evaluate.search.metric=lrap", "is not a metric of decisions"),
        ("evaluate.search.cutof=0.5", "cutoff"),
    ] {
        let output = dir.timbre(&["thresholds", "x/latest", "--set", wrong]);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {printed}");
        assert!(printed.contains(words), "{wrong}: {printed}");
    }
    let (printed, hint) = dir.output_of(&["thresholds", "x/latest", "--on-test", "--metric", "hamming", "--json"]);
    assert!(!hint.contains("--set"), "{hint}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&report["tuned_on"], &report["metric"]), (&"test".into(), &"hamming".into()));
    assert!(dir.rows("runs/x/latest/thresholds.csv").iter().all(|row| row["tuned_on"] == "test"));
    assert!(dir.read("runs/x/latest/thresholds_hamming.csv").starts_with("hamming on test (tuned on test),"));
    assert!(dir.read("runs/x/latest/thresholds_hamming.svg").contains("not a test result"));

    // Another search replaces the files of the run; the run makes its own again without fitting anything.
    dir.done(&["thresholds", "y/latest", "--metric", "hamming"]);
    assert!(!dir.path("runs/y/latest/thresholds_f1_micro.svg").exists());
    let fitted = || {
        let trial = dir.path("runs/y/latest/units/mel.cnn_small.s1.json");
        fs::metadata(trial).unwrap().modified().unwrap()
    };
    let before = fitted();
    dir.done(&["run", "y.toml", "--device", "cpu", "-q"]);
    assert_eq!(fitted(), before);
    assert_eq!(dir.rows("runs/y/latest/thresholds.csv"), rows);
    assert!(!dir.path("runs/y/latest/thresholds_hamming.svg").exists());

    // Other training settings reuse nothing.
    let (_, printed) = dir.output_of(&["run", "y.toml", "--device", "cpu", "--set", "models.cnn_small.epochs=1"]);
    assert!(!printed.contains("Reusing"), "{printed}");
}

#[test]
fn without_windows_only_thresholds_are_searched() {
    let dir = TestDir::with(&[("c.toml", &format!("{BASE}{CENTRE}")), ("s.toml", &BASE.replace("loss = \"bce\"", ""))]);
    dir.done(&["run", "c.toml", "--device", "cpu", "-q", "--set", "models.cnn_small.epochs=1"]);
    dir.done(&["thresholds", "c/latest", "--set", "evaluate.search.cutoff=0.40..0.60/0.02"]);
    let rows = dir.rows("runs/c/latest/thresholds.csv");
    assert_eq!(rows.len(), 11 + 1);
    assert!(rows.iter().all(|row| row["window_fraction"].is_empty()));
    // At the threshold of the run the search has the scores of the run.
    let results = dir.rows("runs/c/latest/results.csv");
    let as_run = results.iter().find(|row| row["split"] == "validation" && row["model"] == "cnn_small").unwrap();
    let own = rows.iter().find(|row| row["cutoff"] == "0.5").unwrap();
    for metric in ["f1_micro", "hamming", "f1_samples", "jaccard_weighted", "exact_match"] {
        assert_eq!(own[metric], as_run[metric], "{metric}");
    }
    // A single-label task has no threshold.
    dir.done(&["run", "s.toml", "--device", "cpu", "-q", "--set", "models.cnn_small.epochs=1"]);
    assert_eq!(dir.timbre(&["thresholds", "s/latest"]).status.code(), Some(2));
}

/// Ten neighbours: every probability is a number of tenths.
fn tenths(p: f32) -> u32 {
    let tenths = (p * 10.0).round();
    assert!((p * 10.0 - tenths).abs() < 1e-4, "{p} is not a share of ten neighbours");
    tenths as u32
}

#[test]
fn shares_equal_to_a_threshold_are_decided_alike_by_the_run_the_search_and_predict() {
    let knn = format!("{}[models.knn]\nk = 10\n", BASE.split_once("[models").unwrap().0);
    let dir = TestDir::with(&[
        ("w.toml", &format!("{knn}{}", WINDOWS.replace("cutoff = 0.5", "cutoff = 0.3"))),
        ("c.toml", &format!("{knn}{CENTRE}cutoff = 0.7\n")),
    ]);
    let f1 = |sets: &[(Vec<bool>, Vec<bool>)]| {
        let both = |set: &(Vec<bool>, Vec<bool>)| set.0.iter().zip(&set.1).filter(|(t, d)| **t && **d).count();
        let named = |set: &(Vec<bool>, Vec<bool>)| set.0.iter().chain(&set.1).filter(|is| **is).count();
        2.0 * sets.iter().map(both).sum::<usize>() as f64 / sets.iter().map(named).sum::<usize>() as f64
    };
    let mut on_threshold = 0;
    for name in ["w", "c"] {
        dir.done(&["run", &format!("{name}.toml"), "-q"]);
        dir.done(&[
            "thresholds",
            &format!("{name}/latest"),
            "--set=evaluate.search.cutoff=0.1..0.9/0.1",
            "--set=evaluate.search.window_fraction=0.25..0.25/0.01",
        ]);
        let run = format!("runs/{name}/latest");
        let record: Value = serde_json::from_str(&dir.read(&format!("{run}/run.json"))).unwrap();
        let classes: Vec<String> = serde_json::from_value(record["classes"].clone()).unwrap();
        let results = dir.rows(&format!("{run}/results.csv"));
        let search = dir.rows(&format!("{run}/thresholds.csv"));
        let predictor = Predictor::open(&dir.path("runs"), &format!("{name}/latest")).unwrap();
        for split in ["validation", "test"] {
            let recordings = match name {
                "w" => window_predictions(&dir, &run, split, &classes),
                _ => clip_predictions(&dir, &run, split, &classes),
            };
            // The decisions at a threshold of `cutoff` tenths, from whole numbers of neighbours and windows.
            let decided = |windows: &[Vec<f32>], cutoff: u32| -> Vec<bool> {
                let of_class = |class: usize| match name {
                    "w" => 4 * windows.iter().filter(|row| tenths(row[class]) > cutoff).count() > windows.len(),
                    _ => tenths(windows[0][class]) >= cutoff,
                };
                (0..classes.len()).map(of_class).collect()
            };
            let at = |cutoff| {
                let sets = recordings.iter().map(|(truth, windows)| (truth.clone(), decided(windows, cutoff)));
                f1(&sets.collect::<Vec<_>>())
            };
            let own = if name == "w" { 3 } else { 7 };
            let row = results.iter().find(|row| row["split"] == split && row["model"] == "knn").unwrap();
            assert!((number(row, "f1_micro") - at(own)).abs() < 1e-12, "{name} {split}: {row:?}, not {}", at(own));
            for row in search.iter().filter(|row| row["split"] == split) {
                let cutoff = (10.0 * number(row, "cutoff")).round() as u32;
                assert!((number(row, "f1_micro") - at(cutoff)).abs() < 1e-12, "{name}: {row:?}, not {}", at(cutoff));
            }
            let all = recordings.iter().flat_map(|(_, windows)| windows.iter().flatten());
            on_threshold += all.filter(|&&p| tenths(p) == own).count();
        }
        for class in ["cel", "pia"] {
            let recording = fs::read_dir(dir.recordings().join("IRMAS-TrainingData").join(class)).unwrap();
            for entry in recording.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "wav")) {
                let prediction = predictor.predict_file(&entry.path()).unwrap();
                let expected = classes.iter().enumerate().filter(|(class, _)| match &prediction.windows {
                    Some(windows) => {
                        4 * windows.rows_of(0).filter(|row| tenths(row[*class]) > 3).count() > windows.starts.len()
                    }
                    None => tenths(prediction.probabilities[*class]) >= 7,
                });
                let expected: Vec<&str> = expected.map(|(_, class)| class.as_str()).collect();
                assert_eq!(predictor.decided_classes(&prediction), expected, "{name} {:?}", entry.path());
            }
        }
    }
    assert!(on_threshold > 20, "{on_threshold} probabilities equal the threshold");
}
