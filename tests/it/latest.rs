//! A run or a sweep on other data or of another configuration that becomes `latest` is announced.

use std::fs;

use serde_json::{Value, json};

use crate::test_dir::{TINY, TWO_MODELS, TestDir, text};

fn stderr(dir: &TestDir, arguments: &[&str]) -> String {
    text(&dir.done(arguments).stderr)
}

#[test]
fn a_latest_run_on_other_data_or_of_another_configuration_is_announced() {
    let dir = TestDir::with(&[("x.toml", TWO_MODELS)]);
    fs::create_dir_all(dir.path("data")).unwrap();
    fs::write(dir.path("data/clash.toml"), "kind = \"demo\"\nclips_per_class = 10\ntest_recordings = 2\nseed = 2\n")
        .unwrap();
    let first = stderr(&dir, &["run", "x.toml"]);
    assert!(!first.contains("`latest`"), "{first}");
    let again = stderr(&dir, &["run", "x.toml"]);
    assert!(!again.contains("`latest`"), "{again}");
    let other = ["run", "x.toml", "--set", "audio.clip_seconds=2"];
    let shorter = stderr(&dir, &other);
    let said = "`latest` of x now points to a run of another configuration: audio.clip_seconds = ";
    assert!(shorter.contains(&format!("{said}2.0 (before: 3.0)\n")), "{shorter}");
    let back = stderr(&dir, &["run", "x.toml"]);
    assert!(back.contains(&format!("{said}3.0 (before: 2.0)\n")), "{back}");
    assert!(!stderr(&dir, &["run", "x.toml", "-q"]).contains("`latest`"));
    let clash = stderr(&dir, &["run", "x.toml", "--data", "clash"]);
    assert!(clash.contains("`latest` of x now points to a run on other data: clash (before: demo)\n"), "{clash}");
    let record: Value = serde_json::from_str(&dir.read("runs/x/latest/run.json")).unwrap();
    assert_eq!(record["arguments"], json!({ "experiment": "x.toml", "data": "clash" }));

    // Who predicts with `latest` sees whose model it is.
    let recording = dir.recordings().join("IRMAS-TrainingData/cel");
    let predicted = dir.done(&["predict", "x", recording.to_str().unwrap(), "--json"]);
    assert!(text(&predicted.stderr).contains(", trained on clash\n"), "{}", text(&predicted.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&predicted.stdout).unwrap()["data"], "clash");
}

#[test]
fn a_table_of_a_sweep_with_another_base_configuration_is_announced() {
    let dir = TestDir::with(&[("s.toml", &format!("{TINY}[grid]\n\"models.knn.k\" = [1, 3]\n"))]);
    let first = stderr(&dir, &["run", "s.toml"]);
    let axes = stderr(&dir, &["run", "s.toml", "--set", "grid.\"models.knn.k\"=[1, 5]"]);
    let back = stderr(&dir, &["run", "s.toml"]);
    for printed in [first, axes, back] {
        assert!(!printed.contains("now has") && !printed.contains("`latest`"), "{printed}");
    }
    let earlier = dir.read("runs/s/grid_results.csv");
    let other = stderr(&dir, &["run", "s.toml", "--set", "audio.clip_seconds=0.5"]);
    let change = "of another configuration: audio.clip_seconds = 0.5 (before: 1.0)";
    let again = "The earlier runs are kept; this writes their table again: timbre run s.toml\n";
    assert!(other.contains(&format!("The table of s now has runs {change}. {again}")), "{other}");
    assert!(other.contains(&format!("`latest` of s now points to a run {change}\n")), "{other}");
    assert_ne!(dir.read("runs/s/grid_results.csv"), earlier);
    dir.done(&["run", "s.toml", "-q"]);
    assert_eq!(dir.read("runs/s/grid_results.csv"), earlier);
}

#[test]
fn a_run_without_a_usable_model_leaves_latest_where_it_was() {
    let dir = TestDir::with(&[("x.toml", TINY)]);
    // Every model fails, but only when it is fitted: the columns of the feature are constant.
    let fails = ["--set", "models.knn.select={ score = \"l1\", c = 1e-12 }"];
    let failing = |more: &[&str]| {
        let output = dir.timbre(&[&["run", "x.toml"], &fails[..], more].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let latest = || fs::read_link(dir.path("runs/x/latest")).unwrap();
    failing(&[]);
    let failed = latest();
    dir.done(&["run", "x.toml"]);
    let usable = latest();
    assert_ne!(usable, failed);
    let (table, printed) = failing(&["--fresh"]);
    assert_eq!((latest(), table.as_str()), (usable.clone(), ""));
    let sentence = format!("`latest` of x still points to {}", usable.display());
    assert!(printed.contains(&sentence) && !printed.contains("Next:"), "{printed}");
    let refused = dir.timbre(&["predict", &format!("runs/x/{}", failed.display()), "."]);
    assert!(text(&refused.stderr).contains("has no models: all failed, centroid.knn.s1"), "{}", text(&refused.stderr));
}
