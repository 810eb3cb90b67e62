//! Tests the commands `timbre compare` and `timbre diff` on runs of the demo set.

use std::fs;

use serde_json::Value;

use crate::test_dir::{TestDir, text};

/// Two quick models with two seeds; each seed draws its own test clips.
const SMALL: &str = r#"
description = "small"
seeds = [1, 2]
save_models = true
[data]
use = "demo"
clips_per_class = 10
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
test = 0.3
[features.fft]
[features.centroid]
[models.average]
[models.knn]
k = 5
[evaluate]
bootstrap = 200
"#;

const QUICK: [&str; 2] = ["--resamples", "200"];

fn with_two_runs() -> TestDir {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    dir.done(&["run", "small.toml", "-q", "--set", "models.knn.k=1", "--runs", "others"]);
    dir
}

fn json(dir: &TestDir, arguments: &[&str]) -> Value {
    let value: Value = serde_json::from_slice(&dir.done(arguments).stdout).unwrap();
    assert_finite(&value);
    value
}

/// Checks that no number is null, which is how serde writes NaN. Only these keys may be null.
fn assert_finite(value: &Value) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            let optional = [
                "place",
                "sd",
                "interval",
                "mean",
                "mcnemar",
                "parameters",
                "clips_per_second",
                "training_seconds",
                "seconds",
                "common",
            ];
            assert!(!value.is_null() || optional.contains(&key.as_str()), "{key} is null");
            assert_finite(value);
        }),
        Value::Array(list) => list.iter().for_each(assert_finite),
        _ => {}
    }
}

fn line<'a>(comparison: &'a Value, run: usize, features: &str, model: &str) -> &'a Value {
    let lines = comparison["lines"].as_array().unwrap();
    lines.iter().find(|l| l["run"] == run && l["features"] == features && l["model"] == model).unwrap()
}

#[test]
fn two_runs_are_compared_on_their_common_test_clips_in_every_format() {
    let dir = with_two_runs();
    let both = ["compare", "small", "others/small/latest"];
    let forms = ["--csv", "out/c.csv", "--md", "out/c.md", "--html", "out/c.html", "--figures", "out/figures", "--png"];
    let output = dir.done(&[&both[..], &QUICK, &forms].concat());
    for name in ["scores", "differences"] {
        let file = dir.path(&format!("out/figures/accuracy.{name}.png"));
        assert!(std::fs::read(file).unwrap().starts_with(b"\x89PNG"));
    }
    let shown = text(&output.stdout);
    assert!(shown.contains("models.knn.k: 5 | 1"), "{shown}");
    assert!(!shown.contains("NaN") && !shown.contains("inf"), "{shown}");
    let found = json(&dir, &[&both[..], &QUICK, &["--json"]].concat());
    assert_eq!(found["runs"].as_array().unwrap().len(), 2);
    assert_eq!(found["tests"], 2, "the averages are the same in both");
    let knn = &line(&found, 1, "fft", "knn")["scores"][0];
    let paired = &knn["versus"]["paired"];
    assert_eq!(paired["seeds"], serde_json::json!([[1, 1], [2, 2]]));
    assert!(paired["clips"].as_u64().unwrap() > 30 && paired["songs"].as_u64() <= paired["clips"].as_u64());
    // All test clips are common, so the difference is that of the means of the tables.
    let mean = |run: usize| line(&found, run, "fft", "knn")["scores"][0]["mean"].as_f64().unwrap();
    assert!((paired["difference"].as_f64().unwrap() - (mean(1) - mean(0))).abs() < 1e-12, "{paired}");
    assert!(knn["sd"].is_number() && knn["interval"].is_array());
    // The other model is equal in both runs.
    let same = &line(&found, 1, "fft", "average")["scores"][0]["versus"]["paired"];
    assert_eq!(
        (&same["difference"], &same["p_bootstrap"], &same["p"], &same["verdict"]),
        (&0.0.into(), &1.0.into(), &1.0.into(), &"same".into())
    );
    let cost = &line(&found, 1, "fft", "knn")["cost"];
    assert!(cost["training_seconds"].is_number() && cost["clips_per_second"].is_number(), "{cost}");
    assert!(cost["parameters"].as_u64().unwrap() > 1000, "a kNN keeps its training set: {cost}");

    let csv = dir.read("out/c.csv");
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        lines[0].starts_with("run,experiment,signature,path,status,models.knn.k,features,model,split,metric,mean"),
        "{}",
        lines[0]
    );
    assert_eq!(lines.len(), 1 + 8 + 4, "eight lines of models, two trivial baselines a run");
    assert!(!csv.contains("NaN") && !csv.contains("inf"), "{csv}");
    let (md, html) = (dir.read("out/c.md"), dir.read("out/c.html"));
    assert!(md.contains("| run | models.knn.k | features | model |"), "{md}");
    assert!(html.to_lowercase().starts_with("<!doctype html>") && html.contains("models.knn.k"), "{html}");
    assert!(!html.contains("https:") && !html.contains("src=\"http"), "a page of its own");
}

#[test]
fn a_run_against_its_copy_differs_by_zero_and_the_output_is_reproducible() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    // A run that is named twice is shown once; a copy is another run.
    let named_twice = text(&dir.done(&[&["compare", "small", "small/latest"][..], &QUICK].concat()).stdout);
    assert!(named_twice.contains("named twice and shown once") && !named_twice.contains("\n2: "), "{named_twice}");
    let run = fs::canonicalize(dir.path("runs/small/latest")).unwrap();
    copy(&run, &dir.path("runs/copy/1"));
    let twice = [&["compare", "small", "runs/copy/1", "--json", "--metric", "all"][..], &QUICK].concat();
    let found = json(&dir, &twice);
    for line in found["lines"].as_array().unwrap().iter().filter(|line| line["run"] == 1) {
        for score in line["scores"].as_array().unwrap() {
            let paired = &score["versus"]["paired"];
            for key in ["p_bootstrap", "p_permutation", "p", "p_holm"] {
                assert_eq!(paired[key], 1.0, "{line}");
            }
            assert_eq!((&paired["difference"], &paired["interval"]), (&0.0.into(), &serde_json::json!([0.0, 0.0])));
        }
    }
    assert_eq!((&found["keys"], &found["tests"]), (&serde_json::json!([]), &0.into()));
    assert_eq!(dir.done(&twice).stdout, dir.done(&[&twice[..], &["-q"]].concat()).stdout);
    let difference = json(&dir, &["diff", "small", "small", "--json"]);
    assert_eq!((&difference["data"]["same"], &difference["configuration"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(difference["models"].as_array().unwrap().len(), 4);
    assert!(
        difference["models"].as_array().unwrap().iter().all(|m| m["common"]["changed_sides"] == serde_json::json!([]))
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn an_unreadable_run_is_left_out_unless_it_is_named() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    let run = fs::canonicalize(dir.path("runs/small/latest")).unwrap();
    let [broken, empty] = ["runs/a_broken/20260101T000000Z-b6d8f8ec", "runs/b_empty/1"].map(|name| dir.path(name));
    [&broken, &empty].into_iter().for_each(|to| copy(&run, to));
    fs::write(broken.join("run.json"), "{\"schema\": 1,").unwrap();
    let mut value: Value = serde_json::from_slice(&fs::read(empty.join("run.json")).unwrap()).unwrap();
    (value["status"], value["results"]) = ("failed".into(), serde_json::json!([]));
    fs::write(empty.join("run.json"), value.to_string()).unwrap();
    fs::remove_file(empty.join("results.csv")).unwrap();
    let shown = text(&dir.done(&[&["compare"][..], &QUICK].concat()).stdout);
    assert!(shown.starts_with("1: small "), "{shown}");
    assert!(shown.contains("left out: ") && shown.contains("left out, no results: "), "{shown}");
    let second = text(&dir.done(&[&["compare", "b_empty/1", "small"][..], &QUICK].concat()).stdout);
    assert!(second.contains("run 1 has no results: the reference is run 2"), "{second}");
    for name in ["a_broken/20260101T000000Z-b6d8f8ec", "b6d8f8ec"] {
        let refused = dir.timbre(&["compare", name]);
        assert!(!refused.status.success() && text(&refused.stderr).contains("repairs it"), "{}", text(&refused.stderr));
    }
    assert_eq!(dir.timbre(&["compare", "--runs", "nowhere"]).status.code(), Some(2));
}

#[test]
fn unreadable_predictions_are_reported_once_per_run() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    let run = fs::canonicalize(dir.path("runs/small/latest")).unwrap();
    let damaged = dir.path("runs/damaged/1");
    copy(&run, &damaged);
    let file = damaged.join("predictions.parquet");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let alone = text(&dir.done(&[&["compare", "runs/damaged/1"][..], &QUICK].concat()).stdout);
    assert_eq!(alone.matches("cannot read its predictions").count(), 1, "{alone}");
    assert!(!alone.contains("intervals: 95 %"), "{alone}");
    let both = text(&dir.done(&[&["compare", "small", "runs/damaged/1"][..], &QUICK].concat()).stdout);
    assert!(both.trim_end().ends_with("could be paired with one of run 1"), "{both}");
    let difference = text(&dir.done(&["diff", "small", "runs/damaged/1"]).stdout);
    assert_eq!(difference.matches("predictions.parquet").count(), 1, "{difference}");
    assert!(difference.contains("No model was compared"), "{difference}");
}

#[test]
fn one_model_can_be_the_reference_of_all_others_of_its_run() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    let found =
        json(&dir, &[&["compare", "small", "--reference", "small:centroid.average", "--json"][..], &QUICK].concat());
    assert_eq!(found["reference"]["place"], serde_json::json!(["centroid", "average"]));
    let paired = found["lines"].as_array().unwrap().iter().filter(|l| l["scores"][0]["versus"]["paired"].is_object());
    assert_eq!(paired.count(), 3, "every other model");
    let pinned = json(&dir, &[&["compare", "small:fft.knn", "small:centroid.knn", "--json"][..], &QUICK].concat());
    assert_eq!(pinned["lines"].as_array().unwrap().len(), 2);
    assert_eq!(pinned["tests"], 1);
    let unknown = dir.timbre(&["compare", "small:mel.knn"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("fft.average"), "{}", text(&unknown.stderr));
    let metric = dir.timbre(&["compare", "small", "--metric", "acuracy"]);
    assert_eq!(metric.status.code(), Some(2));
    assert!(text(&metric.stderr).contains("accuracy"), "{}", text(&metric.stderr));
}

#[test]
fn runs_without_common_clips_or_with_different_classes_are_shown_but_not_paired() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    dir.done(&["run", "small.toml", "-q", "--runs", "other"]);
    let run = fs::canonicalize(dir.path("other/small/latest")).unwrap();
    // The same recordings under different paths.
    rename_paths(&run, |path| format!("elsewhere/{path}"));
    let both = [&["compare", "small", "other/small", "--json"][..], &QUICK].concat();
    let found = json(&dir, &both);
    let versus = &line(&found, 1, "fft", "knn")["scores"][0]["versus"];
    assert_eq!(versus["not"], "no recording was tested in both");
    assert!(line(&found, 1, "fft", "knn")["scores"][0]["mean"].is_number());
    assert_eq!(found["tests"], 0);
    let shown = text(&dir.done(&[&["compare", "small", "other/small"][..], &QUICK].concat()).stdout);
    assert!(shown.contains("no recording was tested in both"), "{shown}");

    // A different class list: one class has a different name.
    let record = fs::read_to_string(run.join("run.json")).unwrap();
    let mut value: Value = serde_json::from_str(&record).unwrap();
    value["classes"][0] = "kazoo".into();
    fs::write(run.join("run.json"), value.to_string()).unwrap();
    let found = json(&dir, &both);
    let why = line(&found, 1, "fft", "knn")["scores"][0]["versus"]["not"].as_str().unwrap().to_owned();
    assert!(why.contains("cannot read") || why.contains("its classes differ"), "{why}");
}

/// Changes the paths in the trial records of a run and removes its table of predictions.
fn rename_paths(run: &std::path::Path, rename: impl Fn(&str) -> String) {
    fs::remove_file(run.join("predictions.parquet")).unwrap();
    for entry in fs::read_dir(run.join("units")).unwrap().flatten() {
        let mut trial: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
        for split in trial["splits"].as_array_mut().unwrap() {
            for clip in split["clips"].as_array_mut().unwrap() {
                clip["path"] = rename(clip["path"].as_str().unwrap()).into();
            }
        }
        fs::write(entry.path(), trial.to_string()).unwrap();
    }
}

#[test]
fn an_unfinished_run_is_compared_as_far_as_it_got_with_a_note() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    dir.done(&["run", "small.toml", "-q", "--runs", "other"]);
    // The state of a killed run: its record has the status `running` and no rows.
    let run = fs::canonicalize(dir.path("other/small/latest")).unwrap();
    let mut value: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    value["status"] = "running".into();
    value["results"] = serde_json::json!([]);
    fs::write(run.join("run.json"), value.to_string()).unwrap();
    fs::remove_file(run.join("predictions.parquet")).unwrap();
    let results: String =
        fs::read_to_string(run.join("results.csv")).unwrap().lines().take(3).map(|l| format!("{l}\n")).collect();
    fs::write(run.join("results.csv"), results).unwrap();
    let found = json(&dir, &[&["compare", "small", "other/small", "--json"][..], &QUICK].concat());
    let own: Vec<&Value> = found["lines"].as_array().unwrap().iter().filter(|line| line["run"] == 1).collect();
    assert!(!own.is_empty() && own.len() < 4, "{own:?}");
    assert!(own.iter().all(|line| line["scores"][0]["versus"]["paired"]["difference"] == 0.0), "{own:?}");
    assert!(found["notes"].as_array().unwrap().iter().any(|n| n.as_str().unwrap().contains("run 2 is not finished")));
    // A run without any results is listed.
    fs::remove_file(run.join("results.csv")).unwrap();
    let shown = text(&dir.done(&["compare", "small", "other/small"]).stdout);
    assert!(shown.contains("running (or killed)"), "{shown}");
    dir.done(&["compare", "other/small"]);
    dir.done(&["diff", "small", "other/small"]);
}

#[test]
fn a_diff_lists_keys_recordings_and_changed_decisions() {
    let dir = with_two_runs();
    // In the second run one recording has different content and one is missing.
    let run = fs::canonicalize(dir.path("others/small/latest")).unwrap();
    let list = fs::read_to_string(run.join("recordings.csv")).unwrap();
    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    let gone = lines.remove(1).split(',').next().unwrap().to_owned();
    let content = lines[0].split(',').position(|column| column == "content").unwrap();
    let mut cells: Vec<String> = lines[1].split(',').map(str::to_owned).collect();
    let changed = cells[0].clone();
    cells[content] = "0".repeat(64);
    lines[1] = cells.join(",");
    fs::write(run.join("recordings.csv"), lines.join("\n") + "\n").unwrap();
    let mut value: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    value["data"]["hash"] = "other".into();
    value["environment"]["host"] = "elsewhere".into();
    fs::write(run.join("run.json"), value.to_string()).unwrap();
    let both = ["diff", "small", "others/small"];
    let found = json(&dir, &[&both[..], &["--json"]].concat());
    assert_eq!(found["configuration"][0]["name"], "models.knn.k");
    assert_eq!(found["data"]["only_in"], serde_json::json!([[gone], []]));
    assert_eq!(found["data"]["content"], serde_json::json!([changed]));
    assert!(found["environment"].as_array().unwrap().iter().any(|key| key["name"] == "host"));
    let models = found["models"].as_array().unwrap();
    let knn = &models.iter().find(|m| m["places"][0] == serde_json::json!(["fft", "knn"])).unwrap()["common"];
    let sides = knn["changed_sides"].as_array().unwrap();
    assert!(!sides.is_empty(), "one neighbour instead of five changes some decisions");
    assert!(sides.iter().all(|clip| clip["right"][0] != clip["right"][1]));
    let net: i64 = sides.iter().map(|c| c["right"][1].as_i64().unwrap() - c["right"][0].as_i64().unwrap()).sum();
    let count = |key: &str| knn[key].as_i64().unwrap();
    assert_eq!(net, count("only_second_right") - count("only_first_right"));
    let shown = text(&dir.done(&both).stdout);
    for part in ["models.knn.k: 5 | 1", "only in run 1: 1", "different content: 1", "host:", "changed decisions"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    // The recording with different content is left out of the difference.
    let compared = json(&dir, &[&["compare", "small", "others/small", "--json"][..], &QUICK].concat());
    let noted =
        compared["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains("different content"));
    assert_eq!(noted, knn["left_out"] != 0, "{}", compared["notes"]);
}

#[test]
fn patterns_and_prefixes_name_runs() {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q"]);
    dir.done(&["run", "small.toml", "-q", "--set", "models.knn.k=1"]);
    let found = json(&dir, &[&["compare", "small/*", "--json"][..], &QUICK].concat());
    assert_eq!(found["runs"].as_array().unwrap().len(), 2);
    let none = dir.timbre(&["compare", "x*"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
    let two = dir.timbre(&["compare", "small", "--reference", "small/*"]);
    assert_eq!(two.status.code(), Some(2), "{}", text(&two.stderr));
}

#[test]
fn runs_that_do_not_know_the_same_songs_are_noted() {
    let dir = with_two_runs();
    // Two recordings of each song.
    for class in ["cel", "flu", "org"] {
        let from = dir.recordings().join("IRMAS-TrainingData").join(class);
        let mut names: Vec<_> = fs::read_dir(from).unwrap().flatten().map(|entry| entry.path()).collect();
        names.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
        names.sort();
        fs::create_dir_all(dir.path("clips").join(class)).unwrap();
        for (at, path) in names.iter().enumerate() {
            fs::copy(path, dir.path("clips").join(class).join(format!("{class}{}-{}.wav", at / 2, at % 2))).unwrap();
        }
    }
    let files = "[data]\nkind = \"folder\"\nroot = \"../clips\"\n";
    let common = "seeds = [1, 2, 3]\n[audio]\nclip_seconds = 1.0\n[split]\nkind = \"holdout\"\ntest = 0.5\n[features.fft]\n\
                  [models.knn]\nk = 1\n";
    let group = "group = '^([a-z]+[0-9]+)-'\n";
    fs::write(dir.path("files.toml"), format!("{common}{files}")).unwrap();
    fs::write(dir.path("songs.toml"), format!("{common}{files}{group}")).unwrap();
    dir.done(&["run", "files.toml", "-q"]);
    dir.done(&["run", "songs.toml", "-q"]);
    let notes = |runs: [&str; 2]| {
        let found = json(&dir, &[&["compare", "--json"], &runs[..], &QUICK].concat());
        let notes = found["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned());
        notes.filter(|note| note.contains("songs in run")).collect::<Vec<_>>()
    };
    for (runs, unaware) in [(["files", "songs"], 1), (["songs", "files"], 2)] {
        let notes = notes(runs);
        assert!(notes.len() == 1 && notes[0].contains(&format!("run {unaware} does not know all songs")), "{notes:?}");
    }
    dir.done(&["run", "songs.toml", "-q", "--set", "models.knn.k=3"]);
    let both: Vec<String> = fs::read_dir(dir.path("runs/songs"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    assert!(notes([&both[0], &both[1]]).is_empty());
}

#[test]
fn the_best_model_of_each_run_on_its_validation_split_is_compared_first() {
    let dir = TestDir::with(&[("small.toml", &SMALL.replace("test = 0.3", "test = 0.3\nvalidation = 0.2"))]);
    dir.done(&["run", "small.toml", "-q"]);
    dir.done(&["run", "small.toml", "-q", "--set", "models.knn.k=1", "--runs", "others"]);
    let both = ["compare", "small", "others/small/latest"];
    let found = json(&dir, &[&both[..], &QUICK, &["--json"]].concat());
    let best = found["best"].as_array().unwrap();
    assert_eq!(best.len(), 2);
    let mut runs: Vec<u64> = best.iter().map(|line| line["run"].as_u64().unwrap()).collect();
    runs.sort_unstable();
    assert_eq!(runs, [0, 1]);
    let mean = |line: &Value| line["scores"][0]["mean"].as_f64().unwrap();
    assert!(mean(&best[0]) >= mean(&best[1]), "the highest score first");
    for line in best {
        // The best of the run on the validation split, whatever its test score.
        let of_run = |line: &Value| {
            let path = found["runs"][line["run"].as_u64().unwrap() as usize]["path"].as_str().unwrap().to_owned();
            let results = dir.read(&format!("{path}/results.csv"));
            let head: Vec<String> = results.lines().next().unwrap().split(',').map(str::to_owned).collect();
            let at = |name: &str| head.iter().position(|own| own == name).unwrap();
            let mut means: Vec<(String, f64)> = Vec::new();
            for row in results.lines().skip(1).map(|row| row.split(',').collect::<Vec<_>>()) {
                if row[at("split")] == "validation" && row[at("features")] != "-" {
                    let name = format!("{}.{}", row[at("features")], row[at("model")]);
                    let value: f64 = row[at("accuracy")].parse().unwrap();
                    match means.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, sum)) => *sum += value,
                        None => means.push((name, value)),
                    }
                }
            }
            means
        };
        let chosen = format!("{}.{}", line["features"].as_str().unwrap(), line["model"].as_str().unwrap());
        let means = of_run(line);
        let own = means.iter().find(|(name, _)| *name == chosen).unwrap().1;
        assert!(means.iter().all(|(_, mean)| own >= *mean - 1e-12), "{chosen}: {means:?}");
    }
    let shown = text(&dir.done(&[&both[..], &QUICK].concat()).stdout);
    let [headline, table, every] =
        ["Best: ", "accuracy (test), best models", "\naccuracy (test)\n"].map(|part| shown.find(part).expect(&shown));
    assert!(headline < table && table < every, "{shown}");
    // Where nothing chose, there is no best model.
    let two = with_two_runs();
    let without = json(&two, &[&both[..], &QUICK, &["--json"]].concat());
    assert_eq!(without["best"], serde_json::json!([]));
}

#[test]
fn the_folds_of_a_cross_validation_are_pooled() {
    let folds = SMALL
        .replace("kind = \"holdout\"\ntest = 0.3", "kind = \"cross_validation\"\nfolds = 2")
        .replace("bootstrap = 200", "bootstrap = 0");
    let dir = TestDir::with(&[("small.toml", &folds)]);
    dir.done(&["run", "small.toml", "-q"]);
    let found =
        json(&dir, &[&["compare", "small", "--reference", "small:fft.average"], &QUICK[..], &["--json"]].concat());
    let paired = &line(&found, 0, "fft", "knn")["scores"][0]["versus"]["paired"];
    assert_eq!(paired["clips"], 110, "every recording is tested once: {paired}");
    assert_eq!(paired["seeds"].as_array().unwrap().len(), 1, "{paired}");
    let notes = found["notes"].to_string();
    assert!(notes.contains("the predictions of all folds are pooled"), "{notes}");
}
