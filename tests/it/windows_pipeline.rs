//! Evaluation in windows, in whole runs: every window is predicted as if it were alone, also after kills.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use polars_core::prelude::DataFrame;
use polars_io::prelude::{ParquetReader, SerReader};
use serde_json::Value;
use timbre_inputs::{dataset::feature_set::FeatureSet, features::ClipAnalysis};
use timbre_models::device::Device;
use timbre_runs::run_dir;
use timbre_signal::audio::{self, Clip};

use crate::test_dir::{OFFICIAL_SPLIT, TestDir};

/// A small network that is trained on part of the long recordings, in random crops; one second is a whole number of frames for
/// one feature and none for the other.
const NETWORK: &str = r#"
[features.even]
kind = "mel"
n_fft = 1024
hop_length = 1000
n_mels = 32
[models.cnn_small]
filters = [8, 16]
epochs = 3
batch_size = 16
loss = "bce"
crop = "random"
[evaluate]
task = "multi_label"
mode = "windows"
cutoff = 0.53
cutoffs = { voi = 0.5 }
window_fraction = 0.25
bootstrap = 50
"#;

/// Classic models of a single-label task; five windows of one second per clip of 3 s.
const SIMPLE: &str = r#"
[data]
use = "demo"
clips_per_class = 10
test_recordings = 2
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.2
validation = 0.2
[features.mel]
n_fft = 1024
hop_length = 500
n_mels = 32
summary = ["mean", "std"]
[features.centroid]
n_fft = 1024
summary = ["mean", "std"]
[models.average]
[models.knn]
k = 3
curve_k = [1, 3]
[models.logistic]
[evaluate]
mode = "windows"
window = { seconds = 1.0, hop = 0.5 }
bootstrap = 50
"#;

impl TestDir {
    /// A file of the newest run.
    fn of_run(&self, runs: &str, file: &str) -> Vec<u8> {
        fs::read(self.path(runs).join("x/latest").join(file)).unwrap_or_else(|error| panic!("{runs}, {file}: {error}"))
    }

    fn assert_same(&self, runs: [&str; 2]) {
        for file in ["results.csv", "windows.parquet", "predictions.parquet", "hardest.csv", "grid.csv"] {
            assert!(self.of_run(runs[0], file) == self.of_run(runs[1], file), "{file} differs");
        }
    }
}

fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
}

fn texts(table: &DataFrame, name: &str) -> Vec<String> {
    let column = table.column(name).unwrap().str().unwrap();
    (0..table.height()).map(|row| column.get(row).unwrap().to_owned()).collect()
}

fn floats(table: &DataFrame, name: &str) -> Vec<f32> {
    let column = table.column(name).unwrap().f32().unwrap();
    (0..table.height()).map(|row| column.get(row).unwrap()).collect()
}

/// The starts of windows, until one reaches the end.
fn naive_starts(samples: usize, length: usize, hop: usize) -> Vec<usize> {
    let mut starts = vec![0];
    while starts[starts.len() - 1] + length < samples {
        starts.push((starts[starts.len() - 1] + hop).min(samples - length));
    }
    starts
}

/// The predictions of the saved model for windows that are cut by hand, each alone.
fn naive(run: &Path, model: &str, recording: &Path, seconds: f64, hop: f64) -> Vec<(f64, Vec<f32>)> {
    let (saved, tensors) = run_dir::read_model(run, model).unwrap();
    let classifier = saved.model.restore(tensors, saved.classes.len(), &Device::cpu()).unwrap();
    let rate = saved.audio.sample_rate;
    let extractor = saved.feature.as_kind().build(rate).unwrap();
    let decoded = audio::decode(&fs::read(recording).unwrap(), Some("wav")).unwrap();
    let whole = audio::resample(&decoded.samples, decoded.sample_rate, rate, audio::ResampleFilter::default());
    let (length, hop) = ((seconds * f64::from(rate)) as usize, (hop * f64::from(rate)) as usize);
    let predict = |start: usize| {
        let mut samples: Vec<f32> = whole[start..].iter().copied().take(length).collect();
        samples.resize(length, 0.0);
        let matrix = extractor.extract(&ClipAnalysis::new(&Clip { samples, sample_rate: rate })).unwrap();
        let set =
            FeatureSet::from_matrices(matrix.values, [matrix.rows, matrix.cols], vec![vec![0]], saved.classes.len());
        (start as f64 / f64::from(rate), classifier.predict(&set).unwrap().probabilities)
    };
    naive_starts(whole.len(), length, hop).into_iter().map(predict).collect()
}

/// The rows of a model in `windows.parquet`, by split and recording, in their order.
type Windows = BTreeMap<(String, String), Vec<(f64, Vec<f32>)>>;

fn windows_of(run: &Path, feature: &str, model: &str, classes: &[String]) -> Windows {
    let table = parquet(&run.join("windows.parquet"));
    let (features, models) = (texts(&table, "features"), texts(&table, "model"));
    let (splits, paths) = (texts(&table, "split"), texts(&table, "path"));
    let starts = table.column("start").unwrap().f64().unwrap();
    let columns: Vec<Vec<f32>> = classes.iter().map(|class| floats(&table, class)).collect();
    let mut windows = Windows::new();
    for row in (0..table.height()).filter(|&row| features[row] == feature && models[row] == model) {
        let predicted = columns.iter().map(|column| column[row]).collect();
        let key = (splits[row].clone(), paths[row].clone());
        windows.entry(key).or_default().push((starts.get(row).unwrap(), predicted));
    }
    windows
}

fn classes(result: &Value, dir: &TestDir) -> Vec<String> {
    let run = dir.path(result["run"].as_str().unwrap());
    let record: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    record["classes"].as_array().unwrap().iter().map(|class| class.as_str().unwrap().to_owned()).collect()
}

fn score(result: &Value, feature: &str, model: &str, split: &str, metric: &str) -> f64 {
    let rows = result["results"].as_array().unwrap();
    let is_meant = |row: &&Value| row["features"] == feature && row["model"] == model && row["split"] == split;
    rows.iter().find(is_meant).unwrap()["metrics"][metric].as_f64().unwrap()
}

#[test]
fn window_predictions_equal_single_predictions_and_votes_are_counted() {
    let dir = TestDir::with(&[("x.toml", &format!("{OFFICIAL_SPLIT}{NETWORK}"))]);
    let result = dir.run("x.toml", &[]);
    let (run, names) = (dir.path(result["run"].as_str().unwrap()), classes(&result, &dir));
    let cutoffs: Vec<f64> = names.iter().map(|name| if name == "voi" { 0.5 } else { 0.53 }).collect();
    for feature in ["mel", "even"] {
        let windows = windows_of(&run, feature, "cnn_small", &names);
        let long = windows.values().filter(|windows| windows.len() > 3).count();
        assert!(long >= 3, "{long} recordings of {} have more than three windows", windows.len());
        let clips = parquet(&run.join("predictions.parquet"));
        let (features, splits) = (texts(&clips, "features"), texts(&clips, "split"));
        let (paths, truths) = (texts(&clips, "path"), texts(&clips, "truth"));
        let columns: Vec<Vec<f32>> = names.iter().map(|class| floats(&clips, class)).collect();
        let (mut right, mut cells, mut named) = (0, 0, 0);
        let rows: Vec<usize> = (0..clips.height()).filter(|&row| features[row] == feature).collect();
        assert_eq!(rows.len(), windows.len(), "each recording has windows");
        for row in rows {
            let predicted = &windows[&(splits[row].clone(), paths[row].clone())];
            let alone = naive(&run, &format!("{feature}.cnn_small.s1"), &dir.recordings().join(&paths[row]), 3.0, 1.0);
            assert!(*predicted == alone, "{} of {feature}", paths[row]);
            for (class, name) in names.iter().enumerate() {
                let votes = predicted.iter().filter(|(_, ps)| ps[class] > cutoffs[class] as f32).count();
                let share = votes as f64 / predicted.len() as f64;
                assert_eq!(columns[class][row], share as f32, "{} of {}", name, paths[row]);
                if splits[row] == "test" {
                    let (decided, is_there) = (share > 0.25, truths[row].split(';').any(|truth| truth == name));
                    right += usize::from(decided == is_there);
                    named += usize::from(decided);
                    cells += 1;
                }
            }
        }
        assert!(named > 0 && named < cells, "{named} of {cells} are named");
        let hamming = score(&result, feature, "cnn_small", "test", "hamming");
        assert!((hamming - right as f64 / cells as f64).abs() < 1e-12, "{hamming} is not {right} of {cells}");
    }
}

#[test]
fn the_mean_of_windows_decides_in_a_single_label_task() {
    let dir = TestDir::with(&[("x.toml", SIMPLE)]);
    let result = dir.run("x.toml", &[]);
    let (run, names) = (dir.path(result["run"].as_str().unwrap()), classes(&result, &dir));
    for model in ["average", "knn", "logistic"] {
        let windows = windows_of(&run, "mel", model, &names);
        let (mut right, mut n) = (0, 0);
        for ((split, path), predicted) in windows.iter().filter(|((split, _), _)| split == "test") {
            assert_eq!((split.as_str(), predicted.len()), ("test", 5));
            assert!(
                *predicted == naive(&run, &format!("mel.{model}.s1"), &dir.recordings().join(path), 1.0, 0.5),
                "{path}"
            );
            let mean = |class: usize| {
                predicted.iter().map(|(_, ps)| f64::from(ps[class])).sum::<f64>() / predicted.len() as f64
            };
            let likeliest =
                (1..names.len()).fold(0, |best, c| if mean(c) as f32 > mean(best) as f32 { c } else { best });
            right += usize::from(path.contains(&format!("/{}/", names[likeliest])));
            n += 1;
        }
        let accuracy = score(&result, "mel", model, "test", "accuracy");
        assert!((accuracy - right as f64 / n as f64).abs() < 1e-12, "{model}: {accuracy} is not {right} of {n}");
    }
    let curves = String::from_utf8(dir.of_run("runs", "curves.csv")).unwrap();
    let at_3 = curves.lines().find(|line| line.starts_with("mel,knn,1,test,k,3.0,")).unwrap();
    let column = curves.lines().next().unwrap().split(',').position(|name| name == "accuracy").unwrap();
    let accuracy: f64 = at_3.split(',').nth(column).unwrap().parse().unwrap();
    assert_eq!(accuracy, score(&result, "mel", "knn", "test", "accuracy"), "the curve is evaluated in windows, too");
}

/// Kills `child` with SIGKILL as soon as `reached` is true. Returns whether it was still running.
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

#[test]
fn windows_have_equal_bytes_after_kills_and_on_one_thread() {
    let dir = TestDir::with(&[("x.toml", SIMPLE)]);
    dir.run("x.toml", &["--runs", "undisturbed", "--cache", "cache1"]);
    dir.run("x.toml", &["--runs", "one", "--cache", "cache2", "--jobs", "1"]);
    dir.assert_same(["undisturbed", "one"]);
    let trials = |ending: &str| {
        let runs = fs::read_dir(dir.path("killed/x")).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = runs.flat_map(|run| fs::read_dir(run.join("units")).into_iter().flatten().flatten());
        files.filter(|file| file.file_name().to_string_lossy().ends_with(ending)).count()
    };
    let features = dir.path("cache3/features");
    let bytes =
        || fs::read_dir(&features).map_or(0, |d| d.flatten().map(|e| e.metadata().map_or(0, |m| m.len())).sum());
    // While features are computed; after the windows of the first trial, maybe before its record; after the fourth.
    let moments: [&dyn Fn() -> bool; 4] =
        [&|| bytes() > 20_000u64, &|| bytes() > 60_000, &|| trials(".windows") >= 1, &|| trials(".json") >= 4];
    let mut killed = 0;
    for moment in moments {
        let mut command = dir.command(&["run", "x.toml", "-q", "--runs", "killed", "--cache", "cache3"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        killed += usize::from(kill_when(&mut child, moment));
    }
    assert!(killed >= 3, "only {killed} kills found the program running");
    dir.run("x.toml", &["--runs", "killed", "--cache", "cache3"]);
    dir.assert_same(["undisturbed", "killed"]);
    // A trial whose windows are damaged counts as unfinished.
    let run = fs::canonicalize(dir.path("killed/x/latest")).unwrap();
    fs::write(run.join("units/mel.knn.s1.windows"), b"rotten").unwrap();
    fs::remove_file(run.join("windows.parquet")).unwrap();
    dir.run("x.toml", &["--runs", "killed", "--cache", "cache3"]);
    dir.assert_same(["undisturbed", "killed"]);
}

#[test]
fn windows_are_cached_until_their_spec_changes() {
    let dir = TestDir::with(&[("x.toml", SIMPLE)]);
    let counts = |result: &Value| {
        let count = |name: &str| result["cache"][name].as_u64().unwrap();
        (count("hits"), count("misses"))
    };
    let plan = |set: &str| -> Value {
        let output = dir.command(&["plan", "x.toml", "--json", "--set", set]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let first = dir.run("x.toml", &[]);
    let (_, all) = counts(&first);
    assert!(all > 2 * 110, "clips and windows of two features: {all}");
    assert_eq!(
        counts(&dir.run("x.toml", &["--set", "evaluate.aggregate=max"])),
        (all, 0),
        "evaluated another way, computed once"
    );
    let hop = "evaluate.window.hop=0.4";
    assert_eq!(plan(hop)["cache"], serde_json::json!({ "hits": 2 * 110, "misses": all - 2 * 110 }));
    assert_eq!(
        counts(&dir.run("x.toml", &["--set", hop])),
        (2 * 110, all - 2 * 110),
        "of another hop, the windows alone"
    );
    assert_eq!(
        counts(&dir.run("x.toml", &["--set", "audio.crop=start"])),
        (all - 2 * 110, 2 * 110),
        "of another clip, the clips"
    );
    // Without windows there is no window table.
    let centre = TestDir::with(&[(
        "x.toml",
        &SIMPLE.replace("mode = \"windows\"\nwindow = { seconds = 1.0, hop = 0.5 }\n", ""),
    )]);
    let result = centre.run("x.toml", &[]);
    assert_eq!(counts(&result).1, 2 * 110);
    let run = centre.path(result["run"].as_str().unwrap());
    assert!(!run.join("windows.parquet").exists() && !run.join("units/mel.knn.s1.windows").exists());
}

#[test]
fn unusable_evaluation_files_change_no_result() {
    let dir = TestDir::with(&[("x.toml", "")]);
    let made = ["data", "make", "demo", "--clips-per-class", "10", "--out", "demo-set", "-q"];
    assert!(dir.command(&made).status().unwrap().success());
    for folder in ["clean", "dirty"] {
        for class in fs::read_dir(dir.path("demo-set/IRMAS-TrainingData")).unwrap().flatten() {
            let into = dir.path(folder).join(class.file_name());
            fs::create_dir_all(&into).unwrap();
            for clip in fs::read_dir(class.path()).unwrap().flatten() {
                fs::copy(clip.path(), into.join(clip.file_name())).unwrap();
            }
        }
    }
    // Before all others of their class, so that the limit would choose them.
    for n in 0..6 {
        fs::write(dir.path("dirty/cel").join(format!("000]{n:04}__1.wav")), "no sound\n".repeat(50 + n)).unwrap();
    }
    let run = |folder: &str| {
        let data = format!(
            "max_unusable = 0.5\n[data]\nkind = \"folder\"\nroot = '{}'\ngroup = '\\](\\d+)__\\d+\\.wav$'\nlimit_per_class = 9\n",
            dir.path(folder).display()
        );
        let rest = SIMPLE.split_once("[audio]").unwrap().1;
        fs::write(dir.path("x.toml"), format!("{data}[audio]{rest}")).unwrap();
        dir.run("x.toml", &["--runs", &format!("{folder}-runs")])
    };
    assert_eq!(run("clean")["unusable"], 0);
    assert_eq!(run("dirty")["unusable"], 6);
    dir.assert_same(["clean-runs", "dirty-runs"]);
}
