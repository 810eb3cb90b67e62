//! Exports for other tools: DVC metrics, MLflow's file store, completions and manual pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::test_dir::{TestDir, text};

const SMALL: &str = r#"
description = "čelo & \"harp\": two seeds"
seeds = [1, 2]
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
hop_length = 1024
n_mels = 32
[models.average]
[models.cnn_small]
filters = [4, 8]
epochs = 3
batch_size = 16
"#;

fn dir() -> TestDir {
    let dir = TestDir::with(&[("small.toml", SMALL)]);
    dir.done(&["run", "small.toml", "-q", "--device", "cpu"]);
    dir
}

#[test]
fn metrics_json_has_the_means_of_results_csv() {
    let dir = dir();
    let bytes = dir.bytes("runs/small/latest/metrics.json");
    let metrics: Value = serde_json::from_slice(&bytes).unwrap();
    let csv = dir.read("runs/small/latest/results.csv");
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let accuracy = head.iter().position(|name| *name == "accuracy").unwrap();
    let mut of: BTreeMap<(String, String, String), Vec<f64>> = BTreeMap::new();
    for cells in csv.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>()) {
        let key = (cells[3].to_owned(), cells[0].to_owned(), cells[1].to_owned());
        of.entry(key).or_default().push(cells[accuracy].parse().unwrap());
    }
    assert_eq!(of.len(), 2 * 4, "two models and two baselines on two sides");
    for ((split, features, model), values) in of {
        let exported = &metrics[&split][&features][&model];
        assert_eq!(
            exported["accuracy"].as_f64().unwrap(),
            values.iter().sum::<f64>() / 2.0,
            "{split} {features} {model}"
        );
        assert_eq!(exported["seeds"], 2);
    }
    fs::remove_file(dir.path("runs/small/latest/metrics.json")).unwrap();
    dir.done(&["run", "small.toml", "-q", "--device", "cpu"]);
    assert_eq!(dir.bytes("runs/small/latest/metrics.json"), bytes);
}

/// The folders of the runs in a file store.
fn runs_in(store: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| {
        fs::read_dir(path).unwrap().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect::<Vec<_>>()
    };
    let mut runs: Vec<PathBuf> = folders(store).iter().flat_map(|experiment| folders(experiment)).collect();
    runs.sort();
    runs
}

#[test]
fn a_run_becomes_an_mlflow_run_with_nested_trials() {
    let dir = dir();
    let output = dir.done(&["export", "mlflow", "ml store"]);
    assert_eq!(text(&output.stdout), "1 run exported as 5 MLflow runs in ml store\n");
    let runs = runs_in(&dir.path("ml store"));
    assert_eq!(runs.len(), 5);
    let named = |name: &str| {
        runs.iter().find(|run| fs::read_to_string(run.join("tags/mlflow.runName")).unwrap().contains(name)).unwrap()
    };
    let trial = named("mel.cnn_small.s2");
    let lines = fs::read_to_string(trial.join("metrics/epochs/train_loss")).unwrap();
    let steps: Vec<&str> = lines.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(steps, ["1", "2", "3"]);
    assert_eq!(fs::read_to_string(trial.join("params/models.cnn_small.epochs")).unwrap(), "3");
    assert!(trial.join("artifacts/network/epochs.svg").is_file() && !trial.join("artifacts/model").exists());
    let whole = named("Z-");
    assert_eq!(
        fs::read_to_string(trial.join("tags/mlflow.parentRunId")).unwrap(),
        whole.file_name().unwrap().to_str().unwrap()
    );
    assert_eq!(fs::read_to_string(whole.join("params/models.cnn_small.epochs")).unwrap(), "3");
    assert!(whole.join("metrics/test/mel/average/accuracy").is_file() && whole.join("artifacts/results.csv").is_file());
    // A second export with the models replaces the first.
    dir.done(&["export", "mlflow", "ml store", "small/latest", "--models"]);
    assert_eq!(runs_in(&dir.path("ml store")), runs);
    assert!(trial.join("artifacts/model/model.safetensors").is_file());
}

#[test]
#[ignore = "needs MLflow: make test-peers"]
fn mlflow_opens_the_store_and_migrates_it() {
    let peers =
        PathBuf::from(std::env::var_os("TIMBRE_PEERS").expect("TIMBRE_PEERS is a virtual environment")).join("bin");
    let dir = dir();
    dir.done(&["export", "mlflow", "store"]);
    let script = r#"
import json, sys
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.entities import ViewType
store = FileStore(sys.argv[2]) if sys.argv[1] == "file" else SqlAlchemyStore(sys.argv[2], "artifacts")
experiment = store.get_experiment_by_name("small")
runs = store.search_runs([experiment.experiment_id], "", ViewType.ACTIVE_ONLY, max_results=100)
print(json.dumps({
    run.info.run_name: {
        "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
        "seconds": run.info.end_time - run.info.start_time,
        "losses": [[m.step, m.value] for m in store.get_metric_history(run.info.run_id, "epochs/train_loss")],
    } for run in runs
}))
"#;
    let ask = |kind: &str, at: &str| -> Value {
        let mut command = Command::new(peers.join("python"));
        command.args(["-c", script, kind, at]).env("MLFLOW_ALLOW_FILE_STORE", "true").current_dir(dir.path("."));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(text(&output.stdout).lines().last().unwrap().as_bytes()).unwrap()
    };
    let of_files = ask("file", dir.path("store").to_str().unwrap());
    assert_eq!(of_files.as_object().unwrap().len(), 5);
    let trial = &of_files["mel.cnn_small.s1"];
    assert_eq!((&trial["status"], trial["losses"].as_array().unwrap().len()), (&"FINISHED".into(), 3));
    let record: Value = serde_json::from_slice(&dir.bytes("runs/small/latest/run.json")).unwrap();
    let rows = record["results"].as_array().unwrap();
    let row =
        rows.iter().find(|row| row["model"] == "cnn_small" && row["seed"] == 1 && row["split"] == "test").unwrap();
    for (name, value) in row["metrics"].as_object().unwrap() {
        assert_eq!(trial["metrics"][format!("test/{name}")], *value, "{name}");
    }
    let (_, whole) = of_files.as_object().unwrap().iter().find(|(name, _)| name.contains("Z-")).unwrap();
    assert_eq!(whole["tags"]["mlflow.note.content"], "čelo & \"harp\": two seeds");
    let database = format!("sqlite:///{}", dir.path("mlflow.db").display());
    let mut migrate = Command::new(peers.join("mlflow"));
    migrate.args(["migrate-filestore", "--source"]).arg(dir.path("store")).args(["--target", &database]);
    let migrated = migrate.current_dir(dir.path(".")).output().unwrap();
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    assert_eq!(ask("sql", &database), of_files, "what was migrated is what was exported");
}

#[test]
fn an_impossible_export_exits_with_2() {
    let dir = TestDir::new();
    let none = dir.timbre(&["export", "mlflow", "store"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("timbre run") && !dir.path("store").exists(), "{}", text(&none.stderr));
}

/// Checks that a program reads a text on its stdin without an error or a warning.
fn accepts(program: &str, arguments: &[&str], input: &[u8], what: &str) {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{what}: {}", text(&output.stderr));
}

#[test]
fn there_are_completions_for_five_shells() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = dir.done(&["completions", shell]).stdout;
        assert!(text(&script).contains("reproduce"), "{shell}");
    }
    assert_eq!(dir.timbre(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
#[ignore = "needs bash, zsh and fish: make test-peers"]
fn shells_accept_the_completions() {
    let dir = TestDir::new();
    for shell in ["bash", "zsh", "fish"] {
        accepts(shell, &["-n"], &dir.done(&["completions", shell]).stdout, shell);
    }
}

/// Writes the manual pages; their paths.
fn pages(dir: &TestDir) -> Vec<PathBuf> {
    dir.done(&["man", "--out", "pages/man1"]);
    fs::read_dir(dir.path("pages/man1")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = TestDir::new();
    let pages = pages(&dir);
    let names: Vec<String> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    for name in ["timbre.1", "timbre-run.1", "timbre-rm.1", "timbre-export-mlflow.1", "timbre-data-make.1"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert_eq!(dir.done(&["man"]).stdout, dir.bytes("pages/man1/timbre.1"));
    let page = dir.read("pages/man1/timbre.1");
    for section in [
        ".SH FILES\n.TP\n",
        ".SH ENVIRONMENT\n.TP\n",
        ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nsuccess\n",
        ".SH \"SEE ALSO\"\n",
    ] {
        assert!(page.contains(section), "{section}");
    }
    // A page has the variables that concern its command.
    assert!(
        dir.read("pages/man1/timbre-serve.1").contains("TIMBRE_TOKEN")
            && !dir.read("pages/man1/timbre-rm.1").contains("TIMBRE_TOKEN")
    );
    for name in ["run", "check", "compare", "predict", "serve", "report"] {
        let page = dir.read(&format!("pages/man1/timbre-{name}.1"));
        assert!(page.contains(".SH EXAMPLES\n.nf\n") && !page.contains(".SH EXTRA"), "{page}");
    }
}

#[test]
#[ignore = "needs groff: make test-peers"]
fn manual_pages_have_no_warnings() {
    let dir = TestDir::new();
    for page in pages(&dir) {
        let arguments = ["-man", "-Tutf8", "-ww", "-K", "utf8", "-z"];
        accepts("groff", &arguments, &fs::read(&page).unwrap(), &page.display().to_string());
    }
}

/// A finished run of an experiment of the project.
fn with_own_experiment() -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("experiments")).unwrap();
    fs::write(dir.path("experiments/own.toml"), crate::test_dir::TINY).unwrap();
    dir.done(&["run", "own", "-q"]);
    dir
}

#[test]
fn the_names_that_shells_complete_are_those_of_the_project_and_its_runs() {
    let dir = with_own_experiment();
    let values = |arguments: &[&str]| -> Vec<String> {
        let output = dir.done(&[&["completions", "--values"], arguments].concat());
        text(&output.stdout).lines().map(str::to_owned).collect()
    };
    let has = |all: &[String], names: &[&str]| names.iter().all(|name| all.iter().any(|one| one == name));
    assert!(has(&values(&["experiments"]), &["own", "quickstart"]));
    let runs = values(&["runs"]);
    assert!(runs[0] == "own" && runs[1].starts_with("own/2"), "{runs:?}");
    let models = values(&["models"]);
    assert!(
        models.contains(&runs[1]) && models.iter().any(|name| name.starts_with("own:") && !name.contains(".s1")),
        "{models:?}"
    );
    assert!(has(&values(&["metrics"]), &["accuracy", "f1_micro"]));
    assert!(has(&values(&["data"]), &["demo"]));
    assert!(has(&values(&["keys", "--of", "own"]), &["audio.clip_seconds=", "data.clips_per_class="]));
    assert!(values(&["keys", "--of", "nothing"]).is_empty());
    assert_eq!(dir.timbre(&["completions"]).status.code(), Some(2));
}

/// Completes a line in bash, with the program of this test.
fn completed(dir: &TestDir, words: &[&str]) -> Vec<String> {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(timbre completions bash)\nCOMP_WORDS=({})\nCOMP_CWORD={}\ncompopt() {{ :; }}\n_timbre_values timbre \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1
    );
    let path = format!("{}:{}", dir.path("bin").display(), std::env::var("PATH").unwrap());
    let output =
        Command::new("bash").args(["-c", &script]).current_dir(dir.path("")).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_experiments_runs_models_metrics_and_keys() {
    let dir = with_own_experiment();
    fs::create_dir(dir.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_timbre"), dir.path("bin/timbre")).unwrap();
    let models = text(&dir.done(&["completions", "--values", "models"]).stdout);
    let model = models.lines().find_map(|name| name.strip_prefix("own:")).unwrap().to_owned();
    assert_eq!(completed(&dir, &["timbre", "run", "ow"]), ["own"]);
    assert!(completed(&dir, &["timbre", "report", "own/"])[0].starts_with("own/2"));
    // Bash divides words at colons.
    assert_eq!(completed(&dir, &["timbre", "predict", "own", ":", &model[..3]]), [model.as_str()]);
    assert_eq!(completed(&dir, &["timbre", "compare", "--metric", "roc_auc_sa"]), ["roc_auc_samples"]);
    assert_eq!(completed(&dir, &["timbre", "run", "own", "--set", "audio.clip_s"]), ["audio.clip_seconds="]);
    assert!(completed(&dir, &["timbre", "pla"]).contains(&"plan".to_owned()));
    // After the run, `predict` takes files.
    assert!(completed(&dir, &["timbre", "predict", "own", "own"]).is_empty());
}
