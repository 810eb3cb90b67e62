//! `timbre reproduce`: equal results, other results, another signature.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::test_dir::{TestDir, text};

const SMALL: &str = r#"
[data]
use = "demo"
root = "set"
clips_per_class = 8
test_recordings = 2
[audio]
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.25
[features.fft]
[features.centroid]
[models.average]
[models.knn]
"#;

/// A finished run on the recordings in `data/set`.
fn dir() -> (TestDir, PathBuf) {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["data", "make", "demo", "--clips-per-class", "8", "--out", "data/set", "-q"]);
    dir.done(&["run", "small.toml", "-q", "--jobs", "2"]);
    let run = dir.path("runs/small/latest").canonicalize().unwrap();
    (dir, run)
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn ended(output: &Output, code: i32, sentence: &str) {
    let result = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{result}");
    assert!(result.contains(sentence), "{result}");
}

#[test]
fn a_run_is_reproduced_to_the_byte_and_leaves_no_files() {
    let (dir, run) = dir();
    let runs = || fs::read_dir(dir.path("runs/small")).unwrap().count();
    let before = (runs(), dir.bytes("runs/small/latest/run.json"));
    let output = dir.timbre(&["reproduce", "small/latest", "-q"]);
    ended(&output, 0, "The same: results.csv has the same bytes");
    assert_eq!((runs(), dir.bytes("runs/small/latest/run.json")), before);
    // Into another folder, with moved recordings, without a cache, as JSON.
    fs::rename(dir.path("data/set"), dir.path("moved")).unwrap();
    let root = format!("data.root={}", dir.path("moved").display());
    let root = root.as_str();
    let arguments = [
        "reproduce",
        "small/latest",
        "-q",
        "--json",
        "--into",
        "kept",
        "--cache",
        "fresh",
        "--jobs",
        "1",
        "--set",
        root,
    ];
    let output = dir.done(&arguments);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["status"], &result["same_bytes"]), (&"same".into(), &true.into()));
    assert!(result["compared"].as_u64().unwrap() > 50);
    assert!(result["environment"]["threads"].is_array(), "one thread instead of several: {}", result["environment"]);
    let kept = dir.path(result["again"].as_str().unwrap());
    assert!(kept.join("models/fft.knn.s1/model.json").is_file());
    assert_eq!(fs::read(kept.join("results.csv")).unwrap(), fs::read(run.join("results.csv")).unwrap());
}

#[test]
fn other_results_exit_with_5_unless_within_the_tolerance() {
    let (dir, run) = dir();
    let table = run.join("results.csv");
    let row = fs::read_to_string(&table).unwrap().lines().nth(1).unwrap().to_owned();
    let mut cells: Vec<String> = row.split(',').map(str::to_owned).collect();
    let accuracy: f64 = cells[5].parse().unwrap();
    cells[5] = (accuracy + 0.001).to_string();
    edit(&table, &row, &cells.join(","));
    let output = dir.timbre(&["reproduce", "small/latest", "-q"]);
    ended(&output, 5, "1.000e-3");
    assert!(text(&output.stdout).contains(&format!("{}.{}.s1", cells[0], cells[1])), "{}", text(&output.stdout));
    ended(&dir.timbre(&["reproduce", "small/latest", "-q", "--tolerance", "0.01"]), 0, "The same within 0.01");
    edit(&table, &format!("{}\n", cells.join(",")), "");
    ended(&dir.timbre(&["reproduce", "small/latest", "-q", "--tolerance", "1"]), 5, "only now: row");
}

#[test]
fn another_signature_exits_with_7_and_names_the_change() {
    let (dir, run) = dir();
    let reproduce = || dir.timbre(&["reproduce", "small/latest", "-q"]);
    // The configuration.
    let config = run.join("config.resolved.toml");
    let whole = fs::read(&config).unwrap();
    edit(&config, "k = 5", "k = 3");
    ended(&reproduce(), 7, "the configuration has changed");
    fs::write(&config, "[models.knn]\nkind = \"telepathy\"\n").unwrap();
    ended(&reproduce(), 7, "does not understand");
    fs::write(&config, &whole).unwrap();
    // A changed stage, and a run without recorded stages.
    let record = run.join("run.json");
    let result = fs::read(&record).unwrap();
    let mut other: Value = serde_json::from_slice(&result).unwrap();
    let signature = other["signature"].as_str().unwrap().to_owned();
    other["signature"] =
        signature.replacen(&signature[..1], if signature.starts_with('0') { "1" } else { "0" }, 1).into();
    other["environment"]["stages"]["models"]["knn"] = 99.into();
    fs::write(&record, other.to_string()).unwrap();
    ended(&reproduce(), 7, "the stage `models.knn` was 99 and is 1");
    other["environment"].as_object_mut().unwrap().remove("stages");
    fs::write(&record, other.to_string()).unwrap();
    ended(&reproduce(), 7, "did not record its stages");
    fs::write(&record, &result).unwrap();
    // The recordings: one is edited, some are missing, all are missing.
    let class = dir.path("data/set/IRMAS-TrainingData/cel");
    let mut clips: Vec<PathBuf> = fs::read_dir(&class).unwrap().flatten().map(|entry| entry.path()).collect();
    clips.retain(|path| path.extension().is_some_and(|ending| ending == "wav"));
    clips.sort();
    let clip = fs::read(&clips[0]).unwrap();
    let mut edited = clip.clone();
    let last = edited.len() - 1;
    edited[last] ^= 1;
    fs::write(&clips[0], &edited).unwrap();
    ended(&reproduce(), 7, "the recordings of `demo` have changed");
    fs::write(&clips[0], &clip).unwrap();
    ended(&reproduce(), 0, "the same bytes");
    clips.iter().for_each(|path| fs::remove_file(path).unwrap());
    let output = reproduce();
    ended(&output, 7, "are missing: ");
    assert!(text(&output.stderr).contains("cel/"), "{}", text(&output.stderr));
    fs::rename(dir.path("data/set"), dir.path("data/away")).unwrap();
    ended(&reproduce(), 2, "not on disk");
}

#[test]
fn an_impossible_reproduction_exits_with_2() {
    let (dir, run) = dir();
    ended(&dir.timbre(&["reproduce", "small/latest", "--set", "models.knn.k=3"]), 2, "only data.root can be set");
    ended(&dir.timbre(&["reproduce", "other/latest"]), 2, "no run `other/latest`");
    ended(&dir.timbre(&["reproduce", "small/latest", "--tolerance", "-1"]), 2, "tolerance");
    ended(&dir.timbre(&["reproduce", "small/latest", "--tolerance", "NaN"]), 2, "tolerance");
    fs::remove_file(run.join("results.csv")).unwrap();
    ended(&dir.timbre(&["reproduce", "small/latest"]), 2, "is not finished");
}
