//! `timbre runs`: correct whatever happens to the folders and the index.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::test_dir::{TestDir, text};

/// A row of a run's results.
fn row(model: &str, seed: u64, split: &str, accuracy: f64, log_loss: f64) -> Value {
    json!({ "features": if model == "chance" { "-" } else { "mel" }, "model": model, "seed": seed, "split": split, "n": 20,
            "metrics": { "accuracy": accuracy, "log_loss": log_loss, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1 } })
}

fn record(experiment: &str, number: usize) -> Value {
    json!({
        "schema": 1, "experiment": experiment, "description": "", "signature": format!("{number:08x}{}", "0".repeat(56)),
        "status": "done", "started": format!("2026-11-{:02}T10:00:00.000Z", 1 + number), "ended": null, "seeds": [1],
        "classes": ["a", "b"], "metric": "accuracy",
        "data": { "name": "demo", "hash": "00", "clips": 40, "unusable": 0, "set_aside": 0 },
        "cache": { "hits": 0, "misses": 0 }, "seconds": { "total": 10.0 + number as f64 }, "failures": {},
        "results": [row("knn", 1, "test", 0.5, 1.5), row("svm", 1, "test", 0.7, 1.25), row("chance", 1, "test", 0.9, 9.0)],
        "environment": null,
    })
}

impl TestDir {
    fn folder(&self, record: &Value) -> PathBuf {
        let word = |key: &str| record[key].as_str().unwrap();
        let name = format!("{}-{}", &word("started")[..10].replace('-', ""), &word("signature")[..8]);
        self.path("runs").join(word("experiment")).join(name)
    }

    fn write(&self, record: &Value) -> PathBuf {
        let folder = self.folder(record);
        fs::create_dir_all(&folder).unwrap();
        let part = folder.join(".part");
        fs::write(&part, record.to_string()).unwrap();
        fs::rename(part, folder.join("run.json")).unwrap();
        folder
    }

    fn listed(&self, more: &[&str]) -> Vec<Value> {
        let output = self.done(&[&["runs", "--json"], more].concat());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["schema"], 1);
        value["runs"].as_array().unwrap().clone()
    }

    /// The experiments of the list.
    fn names(&self, more: &[&str]) -> Vec<String> {
        self.listed(more).iter().map(|run| run["experiment"].as_str().unwrap().to_owned()).collect()
    }
}

/// Waits until files count as settled and may be indexed.
fn settle() {
    std::thread::sleep(Duration::from_millis(2100));
}

const INDEX: &str = "runs/.runs.index";

#[test]
fn changed_and_removed_runs_are_noticed_despite_the_index() {
    let dir = TestDir::new();
    let records: Vec<Value> = (0..6).map(|n| record("x", n)).collect();
    records.iter().for_each(|record| drop(dir.write(record)));
    settle();
    let before = dir.listed(&[]);
    assert_eq!(before.len(), 6);
    assert!(dir.path(INDEX).is_file());
    assert_eq!(dir.listed(&[]), before, "from the index");

    // Replaced like the program does, with equal length.
    let mut changed = records[0].clone();
    changed["results"][1]["metrics"]["accuracy"] = json!(0.8);
    dir.write(&changed);
    // Written in place, with equal length and the previous time.
    let file = dir.folder(&records[1]).join("run.json");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, records[1].to_string().replace("0.7", "0.6")).unwrap();
    File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    fs::remove_dir_all(dir.folder(&records[2])).unwrap();
    // The folder stays, the run is gone.
    fs::remove_file(dir.folder(&records[3]).join("run.json")).unwrap();
    dir.write(&record("new", 7));

    let after = dir.listed(&[]);
    let score = |n: usize| {
        let signature = &records[n]["signature"];
        after.iter().find(|run| run["signature"] == *signature).map(|run| run["best"]["score"].as_f64().unwrap())
    };
    assert_eq!([0, 1, 2, 3, 4].map(score), [Some(0.8), Some(0.6), None, None, Some(0.7)]);
    assert_eq!(after.len(), 5);
    fs::remove_file(dir.path(INDEX)).unwrap();
    assert_eq!(dir.listed(&[]), after, "without an index");
}

#[test]
fn a_damaged_index_is_replaced_silently() {
    let dir = TestDir::new();
    (0..3).for_each(|n| drop(dir.write(&record("x", n))));
    settle();
    let right = dir.listed(&[]);
    let whole = dir.bytes(INDEX);
    // Truncated, with a changed number, of another version, not text.
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).step_by(97).map(|length| whole[..length].to_vec()).collect();
    damaged.push(String::from_utf8(whole.clone()).unwrap().replace("0.7", "0.9").into_bytes());
    damaged.push(String::from_utf8(whole.clone()).unwrap().replace("\"version\":1", "\"version\":0").into_bytes());
    damaged.push(vec![0xff; 100]);
    for bytes in damaged {
        fs::write(dir.path(INDEX), &bytes).unwrap();
        let output = dir.done(&["runs", "--json"]);
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["runs"], json!(right));
        assert_eq!(text(&output.stderr), "");
        assert_eq!(dir.bytes(INDEX), whole);
    }
}

#[test]
fn the_list_is_correct_without_a_writable_index() {
    let dir = TestDir::new();
    dir.write(&record("x", 0));
    settle();
    // Even root cannot replace a folder by a file.
    fs::create_dir_all(dir.path(INDEX).join("in the way")).unwrap();
    let output = dir.done(&["runs", "--json"]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(dir.listed(&[]).len(), 1);
    let leftovers = fs::read_dir(dir.path("runs")).unwrap().flatten();
    assert!(leftovers.map(|e| e.file_name()).all(|name| !name.to_string_lossy().starts_with(".part-")));
}

#[test]
fn concurrent_processes_list_every_run() {
    let dir = TestDir::new();
    (0..20).for_each(|n| drop(dir.write(&record("x", n))));
    settle();
    for _ in 0..3 {
        let start = || dir.command(&["runs", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let started: Vec<_> = (0..8).map(|_| start()).collect();
        for process in started {
            let output = process.wait_with_output().unwrap();
            let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(listed["runs"].as_array().unwrap().len(), 20);
        }
        fs::remove_file(dir.path(INDEX)).unwrap();
    }
}

#[test]
fn a_run_is_running_only_while_a_process_works_on_it() {
    let dir = TestDir::new();
    let mut running = record("x", 1);
    (running["status"], running["results"]) = (json!("running"), json!([]));
    let folder = dir.write(&running);
    let lock = File::create(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(dir.listed(&[])[0]["status"], "running");
    settle();
    drop(lock);
    let cut_off = &dir.listed(&[])[0];
    assert_eq!((&cut_off["status"], &cut_off["best"]), (&json!("cut-off"), &Value::Null));
    let output = dir.done(&["runs"]);
    assert!(
        text(&output.stdout).lines().nth(2).unwrap().ends_with("accuracy      –     –     –"),
        "{}",
        text(&output.stdout)
    );
    assert!(text(&output.stderr).trim_end().lines().last().unwrap().starts_with("Next: timbre run x"));
}

#[test]
fn failed_and_unreadable_runs_are_reported() {
    let dir = TestDir::new();
    let mut failed = record("failed", 1);
    (failed["status"], failed["failures"]) = (json!("failed"), json!({ "mel.svm.s1": "diverged" }));
    dir.write(&failed);
    let mut unusable = record("unusable", 2);
    (unusable["status"], unusable["data"]["unusable"]) = (json!("too_many_unusable"), json!(7));
    dir.write(&unusable);
    let mut broken = record("broken", 3);
    broken["schema"] = json!(99);
    dir.write(&broken);
    let output = dir.done(&["runs"]);
    let lines = text(&output.stdout);
    assert!(lines.contains("failed (1 of its trials)") && lines.contains("too-many-unusable (7)"), "{lines}");
    assert!(text(&output.stderr).contains("left out") && text(&output.stderr).contains("broken"));
    assert!(!lines.contains('\u{1b}'), "no colours into a pipe");
    let widths: Vec<usize> =
        lines.lines().filter(|l| l.contains("accuracy")).map(|l| l.find("accuracy").unwrap()).collect();
    assert!(widths.len() == 2 && widths[0] == widths[1], "aligned: {lines}");
}

#[test]
fn the_validation_split_selects_the_best_model_and_the_test_split_scores_it() {
    let dir = TestDir::new();
    let mut both = record("both", 1);
    both["results"] = json!([
        row("knn", 1, "validation", 0.9, 1.0),
        row("knn", 1, "test", 0.4, 1.5),
        row("svm", 1, "validation", 0.8, 0.5),
        row("svm", 1, "test", 0.6, 1.25),
    ]);
    dir.write(&both);
    let mut seeds = record("seeds", 2);
    seeds["results"] = json!([
        row("knn", 1, "test", 0.5, 1.0),
        row("knn", 2, "test", 0.75, 1.0),
        row("svm", 1, "test", 0.7, 1.0),
        row("svm", 2, "test", 0.3, 1.0),
    ]);
    dir.write(&seeds);
    let best = |more: &[&str]| dir.listed(more)[0]["best"].clone();
    let chosen = best(&["both"]);
    assert_eq!(
        (&chosen["unit"], &chosen["score"], &chosen["chosen_on"]),
        (&json!("mel.knn"), &json!(0.4), &json!("validation"))
    );
    let of_loss = best(&["both", "--metric", "log_loss"]);
    assert_eq!((&of_loss["unit"], &of_loss["score"]), (&json!("mel.svm"), &json!(1.25)), "smaller is better");
    assert_eq!(of_loss["low"], Value::Null, "it has no interval");
    let mean = best(&["seeds"]);
    assert_eq!((&mean["unit"], &mean["score"], &mean["low"]), (&json!("mel.knn"), &json!(0.625), &json!(0.525)));
    assert!(text(&dir.done(&["runs", "seeds"]).stderr).contains("* best model selected on the test split"));
    assert!(!text(&dir.done(&["runs", "both"]).stderr).contains("optimistic"));
}

#[test]
fn runs_are_filtered_sorted_and_limited() {
    let dir = TestDir::new();
    for (n, (name, score, status)) in
        [("grid_a", 0.6, "done"), ("grid_b", 0.8, "done"), ("other", 0.7, "stopped"), ("grid_c", 0.5, "failed")]
            .iter()
            .enumerate()
    {
        let mut own = record(name, n);
        own["status"] = json!(status);
        own["results"][1]["metrics"]["accuracy"] = json!(score);
        dir.write(&own);
    }
    assert_eq!(dir.names(&[]), ["grid_c", "other", "grid_b", "grid_a"], "the newest first");
    assert_eq!(dir.names(&["grid_*"]), ["grid_c", "grid_b", "grid_a"]);
    assert_eq!(dir.names(&["grid_a", "other"]), ["other", "grid_a"]);
    let run = dir.listed(&["grid_b"])[0]["run"].as_str().unwrap().to_owned();
    assert_eq!(dir.names(&[&run]), ["grid_b"], "a run is named as in the other commands");
    assert_eq!(dir.names(&[&run, "other"]), ["other", "grid_b"]);
    assert_eq!(dir.names(&["--sort", "score"]), ["grid_b", "other", "grid_a", "grid_c"]);
    assert_eq!(dir.names(&["--sort", "score", "--reverse", "--limit", "1"]), ["grid_c"]);
    assert_eq!(dir.names(&["--sort", "seconds"]), ["grid_c", "other", "grid_b", "grid_a"]);
    assert_eq!(dir.names(&["--sort", "experiment"]), ["grid_a", "grid_b", "grid_c", "other"]);
    assert_eq!(dir.names(&["--status", "done,failed"]), ["grid_c", "grid_b", "grid_a"]);
    assert_eq!(dir.names(&["--where", "accuracy>=0.7"]), ["other", "grid_b"]);
    assert_eq!(dir.names(&["--where", "accuracy>=0.6", "--where", "accuracy<=0.7"]), ["other", "grid_a"]);
    assert_eq!(dir.names(&["--since", "2026-11-02", "--until", "2026-11-03"]), ["other", "grid_b"]);
    assert_eq!(dir.names(&["--metric", "f1_micro"]), Vec::<String>::new());
    let next = |name: &str| text(&dir.done(&["runs", name]).stderr).lines().last().unwrap_or_default().to_owned();
    assert!(next("grid_b").ends_with("/report.html"), "one run can be compared with nothing: {}", next("grid_b"));
    assert!(next("grid_[ab]").starts_with("Next: timbre compare "), "{}", next("grid_[ab]"));
    let none = dir.done(&["runs", "--status", "running"]);
    assert!(text(&none.stdout).is_empty() && text(&none.stderr).contains("No runs match (4 runs in total)"));
    let unknown = dir.timbre(&["runs", "grid_a", "othr"]);
    assert!(unknown.status.code() == Some(2) && unknown.stdout.is_empty());
    let sentence = "no run or experiment with runs is called `othr`: did you mean `other`? Experiments with runs: grid_a, grid_b, grid_c, other";
    assert!(text(&unknown.stderr).contains(sentence), "{}", text(&unknown.stderr));
    assert_eq!(dir.names(&["nothing_*"]), Vec::<String>::new(), "a pattern may match nothing");
    for wrong in [["--metric", "acuracy"], ["--where", "accuracy=1"], ["--since", "yesterday"], ["--status", "fine"]] {
        assert_eq!(dir.timbre(&["runs", wrong[0], wrong[1]]).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_next_command_of_a_stopped_run_repeats_its_arguments() {
    let dir = TestDir::new();
    let mut stopped = record("x", 1);
    stopped["status"] = json!("stopped");
    dir.write(&stopped);
    let next = |more: &[&str]| text(&dir.done(&[&["runs"], more].concat()).stderr);
    assert!(next(&[]).contains("Next: timbre run x (the same command"), "{}", next(&[]));
    stopped["arguments"] =
        json!({ "experiment": "mine/x.toml", "data": "clash", "set": ["models.knn.k=3", "seeds=[1, 2]"] });
    dir.write(&stopped);
    let wanted = "Next: timbre run mine/x.toml --data clash --set 'models.knn.k=3' --set 'seeds=[1, 2]'";
    assert!(next(&[]).contains(&format!("{wanted} (the same command")), "{}", next(&[]));
    fs::rename(dir.path("runs"), dir.path("other runs")).unwrap();
    let moved = next(&["--runs", "other runs"]);
    assert!(moved.contains(&format!("{wanted} --runs 'other runs' (the same command")), "{moved}");
}

#[test]
fn a_missing_default_folder_is_an_empty_list() {
    let dir = TestDir::new();
    let output = dir.done(&["runs"]);
    assert!(text(&output.stderr).contains("Next: timbre run"));
    assert!(!dir.path("runs").exists());
}

#[test]
fn a_missing_named_folder_is_an_error() {
    let output = TestDir::new().timbre(&["runs", "--runs", "rusn"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no such directory: rusn"), "{}", text(&output.stderr));
}

#[test]
fn an_unreadable_folder_is_reported() {
    let dir = TestDir::new();
    fs::write(dir.path("a_file"), "").unwrap();
    let output = dir.done(&["runs", "--runs", "a_file"]);
    assert!(text(&output.stderr).contains("cannot read the folder a_file"), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("No runs yet"), "{}", text(&output.stderr));
}
