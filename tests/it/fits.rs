//! Fits that are used by other runs: a run that only scores a model fits nothing again.

use serde_json::Value;

use crate::test_dir::{OFFICIAL_SPLIT, TINY, TestDir, text};

const MODELS: &str = r#"
[models.logistic]
[models.cnn_small]
filters = [4, 8]
epochs = 2
batch_size = 16
[evaluate]
task = "multi_label"
bootstrap = 50
"#;

fn experiment() -> String {
    format!("{OFFICIAL_SPLIT}{MODELS}")
}

/// The output of a run on stderr, and its record.
fn run(dir: &TestDir, more: &[&str]) -> (String, Value) {
    let output = dir.done(&[&["run", "fits.toml", "--device", "cpu", "--json"], more].concat());
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = summary["run"].as_str().unwrap();
    (text(&output.stderr), serde_json::from_str(&dir.read(&format!("{run}/run.json"))).unwrap())
}

/// The models that were not fitted by this run.
fn from_others(record: &Value) -> Vec<&str> {
    record["fitted_in"].as_object().map_or(Vec::new(), |fits| fits.keys().map(String::as_str).collect())
}

/// Everything that a run measures, without times.
fn results(record: &Value) -> &Value {
    &record["results"]
}

#[test]
fn evaluation_keys_fit_nothing_again_and_give_the_results_of_a_fit() {
    let dir = TestDir::with(&[("fits.toml", &experiment())]);
    let (_, first) = run(&dir, &[]);
    assert!(from_others(&first).is_empty());
    let windows: &[&str] = &["--set", "evaluate.mode=windows", "--set", "evaluate.window_fraction=0.4"];
    for keys in [&["--set", "evaluate.cutoff=0.3"], windows] {
        let (printed, scored) = run(&dir, keys);
        assert!(printed.contains("fitted in the same way"), "{printed}");
        assert_eq!(from_others(&scored), ["mel.logistic.s1", "mel.cnn_small.s1"]);
        let (_, fitted) = run(&dir, &[keys, &["--fresh"]].concat());
        assert!(from_others(&fitted).is_empty());
        assert_eq!(results(&scored), results(&fitted));
        assert_ne!(results(&scored), results(&first));
    }
}

#[test]
fn only_what_has_changed_is_fitted() {
    let dir = TestDir::with(&[("fits.toml", &experiment())]);
    run(&dir, &[]);
    // Another model, another feature, and a changed key of one model.
    let even =
        ["kind=mel", "n_fft=1024", "hop_length=1000", "n_mels=32"].map(|key| format!("--set=features.even.{key}"));
    let (_, more) = run(&dir, &[&["--set=models.knn.k=3"][..], &even.each_ref().map(String::as_str)].concat());
    assert_eq!(from_others(&more), ["mel.logistic.s1", "mel.cnn_small.s1"]);
    let (_, slower) = run(&dir, &["--set", "models.cnn_small.learning_rate=0.01"]);
    assert_eq!(from_others(&slower), ["mel.logistic.s1"]);
    // Other recordings for training.
    let (_, other) = run(&dir, &["--set", "split.validation=0.3"]);
    assert!(from_others(&other).is_empty());
}

#[test]
fn a_network_that_monitors_decisions_is_fitted_for_other_thresholds() {
    let experiment = experiment().replace("epochs = 2", "epochs = 2\nmonitor = \"f1_micro\"");
    let dir = TestDir::with(&[("fits.toml", &experiment)]);
    run(&dir, &[]);
    let (_, other) = run(&dir, &["--set", "evaluate.cutoff=0.3"]);
    assert_eq!(from_others(&other), ["mel.logistic.s1"]);
    // Windows have no part in the training.
    let (_, windows) = run(&dir, &["--set", "evaluate.mode=windows"]);
    assert_eq!(from_others(&windows), ["mel.logistic.s1", "mel.cnn_small.s1"]);
}

#[test]
fn a_search_within_a_model_is_scored_on_songs_of_the_training_split_and_recorded() {
    let keys = "k = [1, 3, 5]\nweights = [\"uniform\", \"distance\"]\ncv = 3\n[models.logistic]\nc = { from = 0.1, to = 10, steps = 3, log = true }\n";
    let dir = TestDir::with(&[("tiny.toml", &TINY.replace("[models.knn]", &format!("[models.knn]\n{keys}")))]);
    dir.done(&["run", "tiny.toml", "-q", "--set", "save_models=true"]);
    let table = dir.read("runs/tiny/latest/cv_results.csv");
    let mut lines = table.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    for column in
        ["mean_fit_time", "std_score_time", "param_k", "param_c", "params", "split2_test_score", "split4_test_score"]
    {
        assert!(columns.contains(&column), "{column} in {columns:?}");
    }
    assert_eq!(columns[columns.len() - 3..], ["mean_test_score", "std_test_score", "rank_test_score"]);
    assert_eq!(lines.clone().filter(|line| line.contains(",knn,")).count(), 6);
    assert_eq!(lines.filter(|line| line.contains(",logistic,")).count(), 3);
    let trial: Value = serde_json::from_str(&dir.read("runs/tiny/latest/units/centroid.knn.s1.json")).unwrap();
    let model: Value = serde_json::from_str(&dir.read("runs/tiny/latest/models/centroid.knn.s1/model.json")).unwrap();
    let chosen = trial["search"]["chosen"].as_u64().unwrap() as usize;
    assert_eq!(model["chosen"], trial["search"]["candidates"][chosen]["params"]);
    assert!(
        dir.read("runs/tiny/latest/report.html").contains("Search by 3-fold cross-validation on the training split")
    );
    // The same model with the chosen values alone has the same results.
    let row = |path: &str| {
        let results = dir.read(path);
        results.lines().find(|line| line.contains(",knn,") && line.contains(",test,")).unwrap().to_owned()
    };
    let searched = row("runs/tiny/latest/results.csv");
    let text = dir.read("tiny.toml").replace("k = [1, 3, 5]\n", &format!("k = {}\n", model["chosen"]["k"]));
    let text = text.replace(
        "weights = [\"uniform\", \"distance\"]\ncv = 3\n",
        &format!("weights = {}\n", model["chosen"]["weights"]),
    );
    std::fs::write(dir.path("plain.toml"), text).unwrap();
    dir.done(&["run", "plain.toml", "-q"]);
    assert_eq!(row("runs/plain/latest/results.csv"), searched);
}

const WITH_IMPORTANCES: &str = r#"
save_models = true
[data]
use = "demo"
clips_per_class = 12
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
validation = 0.25
test = 0.25
[features.timbre]
kind = "mfcc"
n_mfcc = 3
summary = ["mean", "std"]
[features.both]
kind = "concat"
of = ["timbre", { kind = "rms", summary = ["max"] }]
[models.logistic]
[models.linear_svm]
[models.random_forest]
n_estimators = 5
[models.hist_gradient_boosting]
max_iterations = 3
[models.knn]
[models.chosen]
kind = "logistic"
select = { score = "mutual_info_classif", k = 2 }
[models.reduced]
kind = "linear_svm"
pca = 2
[evaluate]
bootstrap = 0
"#;

#[test]
fn coefficients_and_importances_are_saved_under_the_names_of_the_columns() {
    let dir = TestDir::with(&[("a.toml", WITH_IMPORTANCES)]);
    dir.done(&["run", "a.toml", "-q"]);
    let table = dir.read("runs/a/latest/importances.csv");
    assert_eq!(table.lines().next(), Some("features,model,seed,class,column,name,value"));
    let of = |feature: &str, model: &str| -> Vec<Vec<String>> {
        let start = format!("{feature},{model},1,");
        let lines = table.lines().filter(|line| line.starts_with(&start));
        lines.map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let names =
        ["timbre.mean[0]", "timbre.mean[1]", "timbre.mean[2]", "timbre.std[0]", "timbre.std[1]", "timbre.std[2]"];
    let forest = of("both", "random_forest");
    let found: Vec<&str> = forest.iter().map(|cells| cells[5].as_str()).collect();
    assert_eq!(found, [&names[..], &["rms.max[0]"]].concat());
    assert!(forest.iter().all(|cells| cells[3].is_empty()), "{forest:?}");
    for model in ["random_forest", "hist_gradient_boosting"] {
        let sum: f64 = of("timbre", model).iter().map(|cells| cells[6].parse::<f64>().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{model}: {sum}");
    }
    let record: Value = serde_json::from_str(&dir.read("runs/a/latest/run.json")).unwrap();
    let classes = record["classes"].as_array().unwrap().len();
    for (model, columns) in [("logistic", 6), ("linear_svm", 6), ("chosen", 2), ("reduced", 2)] {
        let rows = of("timbre", model);
        assert_eq!(rows.len(), classes * columns, "{model}");
        assert_eq!(rows[0][3], record["classes"][0].as_str().unwrap(), "{model}");
    }
    assert!(of("timbre", "chosen").iter().all(|cells| names[cells[4].parse::<usize>().unwrap()] == cells[5]));
    assert_eq!(of("timbre", "reduced")[1][5], "pca[1]");
    assert!(of("timbre", "knn").is_empty());
    // A run that copies the trials of another has the same table.
    dir.done(&["run", "a.toml", "-q", "--set", "evaluate.bootstrap=50"]);
    assert_eq!(dir.read("runs/a/latest/importances.csv"), table);
}
