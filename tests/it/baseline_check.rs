//! The baseline check on whole runs: an equal run passes, a worse one exits with 5 and explains it.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::test_dir::{TestDir, text};

const EXPERIMENT: &str = r#"
seeds = [1, 2]
[data]
use = "demo"
clips_per_class = 8
test_recordings = 2
[audio]
sample_rate = 16000
clip_seconds = 3.0
[split]
kind = "holdout"
test = 0.25
[features.mel]
n_mels = 32
db = true
[models.average]
[models.knn]
k = 1
[evaluate]
bootstrap = 50
"#;

impl TestDir {
    fn experiment() -> TestDir {
        TestDir::with(&[("small.toml", EXPERIMENT)])
    }

    /// Runs the experiment. Returns the run folder.
    fn run_small(&self, more: &[&str]) -> String {
        let output = self.done(&[&["run", "small.toml", "-q", "--json"], more].concat());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["run"].as_str().unwrap().to_owned()
    }

    fn check_against(&self, run: &str, baseline: &str, more: &[&str]) -> Output {
        self.command(&[&["compare", run, "--baseline", baseline], more].concat())
            .env_remove("GITHUB_ACTIONS")
            .output()
            .unwrap()
    }
}

/// So many neighbours that the classes mix.
const WORSE: [&str; 2] = ["--set", "models.knn.k=50"];

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn an_equal_run_passes_and_a_worse_one_exits_with_5_and_names_the_fallen_metrics() {
    let dir = TestDir::experiment();
    let good = dir.run_small(&[]);
    dir.done(&["baseline", "save", &good, "--out", "ci/small.json"]);
    let again = dir.run_small(&["--fresh"]);
    assert_ne!(good, again);
    for baseline in ["ci/small.json", &good] {
        let output = dir.check_against(&again, baseline, &[]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("Passed."), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("same signature"), "{}", text(&output.stdout));
    }

    let worse = dir.run_small(&WORSE);
    for baseline in ["ci/small.json", &good] {
        let output = dir.check_against(&worse, baseline, &["--tolerance", "accuracy=0.01"]);
        assert_eq!(code(&output), 5);
        let stderr = text(&output.stderr);
        let sentence = stderr.lines().find(|line| line.contains("mel.knn: accuracy fell by ")).expect(&stderr);
        assert!(
            sentence.contains(", from ") && sentence.contains(baseline) && sentence.contains("95 % interval"),
            "{sentence}"
        );
        assert!(!stderr.contains("mel.average: accuracy fell"), "{stderr}");
        assert!(stderr.trim_end().lines().last().unwrap().starts_with("Next: "));
        assert_eq!(code(&dir.check_against(&worse, baseline, &["--tolerance", "accuracy=1"])), 0);
    }
    // In the other direction it is better.
    assert_eq!(code(&dir.check_against(&good, &worse, &[])), 0);
    let losses =
        |run: &str, against: &str| code(&dir.check_against(run, against, &["--tolerance", "calibration_error=0"]));
    let (one, other) = (losses(&good, &worse), losses(&worse, &good));
    assert_eq!(one + other, 5, "one of the two is worse, and only that fails: {one} {other}");
}

#[test]
fn equal_runs_give_equal_baseline_files() {
    let dir = TestDir::experiment();
    let first = dir.run_small(&[]);
    dir.done(&["baseline", "save", &first, "--out", "b.json"]);
    let (bytes, time) = (dir.bytes("b.json"), fs::metadata(dir.path("b.json")).unwrap().modified().unwrap());
    let second = dir.run_small(&["--fresh"]);
    let output = dir.done(&["baseline", "save", &second, "--out", "b.json"]);
    assert!(text(&output.stderr).contains("unchanged"), "{}", text(&output.stderr));
    assert_eq!((dir.bytes("b.json"), fs::metadata(dir.path("b.json")).unwrap().modified().unwrap()), (bytes, time));
    let value: Value = serde_json::from_str(&dir.read("b.json")).unwrap();
    let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["schema", "experiment", "signature", "metric", "classes", "data", "clips", "units"]);
    assert!(dir.read("b.json").starts_with("{\n  \"schema\": 1,\n  \"experiment\": \"small\","));
    assert_eq!(value["units"].as_array().unwrap().len(), 2, "two models over two seeds, no trivial baselines");
    assert_eq!(value["units"][0]["seeds"], json!([1, 2]));
    assert_eq!(value["clips"]["test"].as_object().unwrap().len(), 2, "the clips of each seed");
}

#[test]
fn incomparable_and_unfinished_runs_do_not_pass() {
    let dir = TestDir::experiment();
    let good = dir.run_small(&[]);
    dir.done(&["baseline", "save", &good, "--out", "b.json"]);
    let fails = |run: &str, word: &str, sentence: &str| {
        let output = dir.check_against(run, "b.json", &["--tolerance", "accuracy=1"]);
        let stderr = text(&output.stderr);
        assert_eq!(code(&output), 5, "{stderr}");
        assert!(stderr.contains(sentence) && stderr.contains(&format!("--allow {word}")), "{stderr}");
        let allowed = dir.check_against(run, "b.json", &["--tolerance", "accuracy=1", "--allow", word]);
        assert_eq!(code(&allowed), 0, "{}", text(&allowed.stderr));
        assert!(text(&allowed.stderr).contains("warning: allowed: ") && text(&allowed.stderr).contains(sentence));
    };
    fails(&dir.run_small(&["--set", "seeds=[1,3]"]), "clips", "other test clips");
    let fewer = EXPERIMENT.replace("[models.average]\n", "");
    fs::write(dir.path("small.toml"), fewer).unwrap();
    fails(&dir.run_small(&[]), "missing", "mel.average: no accuracy");

    let edit = |change: &dyn Fn(&mut Value)| {
        let file = dir.path(&good).join("run.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let before = record.clone();
        change(&mut record);
        fs::write(&file, record.to_string()).unwrap();
        before
    };
    let before = edit(&|record| record["status"] = json!("stopped"));
    fails(&good, "unfinished", "stopped before its end");
    let refused = dir.timbre(&["baseline", "save", &good, "--out", "c.json"]);
    assert_eq!((code(&refused), dir.path("c.json").exists()), (2, false));
    edit(&|record| *record = before.clone());
    edit(&|record| record["classes"][0] = json!("theremin"));
    fails(&good, "classes", "only in the run: theremin");
    edit(&|record| *record = before.clone());
    fs::remove_file(dir.path(&good).join("predictions.parquet")).unwrap();
    fails(&good, "clips", "its test clips are unknown");
}

#[test]
fn ci_formats_are_written_on_request() {
    let dir = TestDir::experiment();
    let good = dir.run_small(&[]);
    dir.done(&["baseline", "save", &good, "--out", "ci/b.json"]);
    let worse = dir.run_small(&WORSE);
    let files = ["--summary", "out/summary.md", "--junit", "out/junit.xml"];
    let output = dir.check_against(&worse, "ci/b.json", &files);
    assert_eq!(code(&output), 5);
    assert!(!text(&output.stdout).contains("::error"), "no CI asks");
    let junit = dir.read("out/junit.xml");
    assert!(
        junit.contains("<testcase classname=\"timbre.small\" name=\"mel.knn accuracy\"") && junit.contains("<failure ")
    );
    assert!(junit.contains("tests=\"5\" failures=\"1\" errors=\"0\""), "{junit}");
    assert_eq!(code(&dir.check_against(&good, "ci/b.json", &files)), 0);
    assert!(dir.read("out/junit.xml").contains("failures=\"0\""), "replaced");
    let summary = dir.read("out/summary.md");
    let titles: Vec<&str> = summary.lines().filter(|line| line.starts_with("### ")).collect();
    assert_eq!(
        titles,
        ["### small: worse than its baseline, or not comparable", "### small: no worse than its baseline"]
    );

    let annotated = dir.check_against(&worse, "ci/b.json", &["--annotate", "github"]);
    let annotation = text(&annotated.stdout);
    let line = annotation.lines().find(|line| line.starts_with("::error ")).expect(&annotation);
    assert!(line.starts_with("::error file=ci/b.json,title=timbre%3A small::mel.knn: accuracy fell by"), "{line}");
    assert!(line.contains("95 %25 interval"), "{line}");
    let on_github = dir.command(&["compare", &worse, "--baseline", "ci/b.json"]).env("GITHUB_ACTIONS", "true").output();
    assert!(text(&on_github.unwrap().stdout).contains("::error "));
}

#[test]
fn an_impossible_check_exits_with_2() {
    let dir = TestDir::experiment();
    let good = dir.run_small(&[]);
    let refused = |arguments: &[&str], sentence: &str| {
        let output = dir.timbre(&[&["compare"], arguments].concat());
        assert_eq!(code(&output), 2, "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(sentence), "{}", text(&output.stderr));
    };
    refused(&[&good, "--baseline", "none.json"], "timbre baseline save");
    refused(&[&good, "--baseline", "small.toml"], "is not a baseline");
    refused(&[&good, "--baseline", "nowhere"], "no run `nowhere`");
    refused(&[&good, &good, "--baseline", &good], "takes one run");
    refused(&[&good, "--baseline", &good, "--tolerance", "f1_micro=0.1"], "has no f1_micro, only: accuracy");
    refused(&[&good, "--baseline", &good, "--tolerance", "acuracy=0.1"], "did you mean `accuracy`");
    refused(&[&good, "--baseline", &good, "--tolerance", "accuracy=-1"], "is not a tolerance");
    refused(&[&good, "--junit", "x.xml"], "--baseline");
    // The default run is the latest one of the experiment of the baseline.
    let own = dir.done(&["compare", "--baseline", &good]);
    assert!(text(&own.stdout).contains("the run is its own baseline"), "{}", text(&own.stdout));
}
