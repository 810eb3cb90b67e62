//! `timbre data suspects`, `timbre data label-studio` and corrections: a wrong label is found, sent to people, and corrected.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use timbre_evaluation::label_errors::{label_errors, presence_errors};
use timbre_signal::audio::wav_write::write_pcm16;

use crate::test_dir::{TestDir, golden, text};

fn numbers<T: serde::de::DeserializeOwned>(of: &Value) -> T {
    serde_json::from_value(of.clone()).unwrap()
}

#[test]
fn label_errors_are_those_of_cleanlab_in_its_order() {
    let golden = golden("label_errors.json");
    for of in golden["single"].as_array().unwrap() {
        let (given, probabilities): (Vec<usize>, Vec<f64>) = (numbers(&of["given"]), numbers(&of["probabilities"]));
        let errors = label_errors(&given, &probabilities, numbers(&of["classes"]));
        let rows: Vec<usize> = errors.iter().map(|error| error.row).collect();
        assert_eq!(rows, numbers::<Vec<usize>>(&of["errors"]));
    }
    let of = &golden["several"];
    let (given, probabilities): (Vec<Vec<usize>>, Vec<f64>) = (numbers(&of["given"]), numbers(&of["probabilities"]));
    let classes: usize = numbers(&of["classes"]);
    let mut rows: Vec<usize> = (0..classes)
        .flat_map(|class| {
            let has: Vec<bool> = given.iter().map(|labels| labels.contains(&class)).collect();
            let p: Vec<f64> = probabilities.iter().skip(class).step_by(classes).copied().collect();
            presence_errors(&has, &p).into_iter().map(|error| error.row)
        })
        .collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows, numbers::<Vec<usize>>(&of["errors"]));
}

const EXPERIMENT: &str = r#"
seeds = [1, 2, 3, 4]
[data]
use = "tones"
[split]
kind = "cross_validation"
folds = 4
[features.mfcc]
summary = ["mean"]
[models.logistic]
[evaluate]
bootstrap = 0
"#;

/// Low and high tones; `low/05.wav` is a high one.
fn tones() -> TestDir {
    let dir = TestDir::with(&[("x.toml", EXPERIMENT)]);
    for (class, hertz) in [("low", 300.0), ("high", 2000.0)] {
        fs::create_dir_all(dir.path("data/tones").join(class)).unwrap();
        for n in 0..12 {
            let hertz = if (class, n) == ("low", 5) { 2030.0 } else { hertz + 10.0 * f64::from(n) };
            let sample = |t: i32| (9000.0 * (std::f64::consts::TAU * hertz * f64::from(t) / 8000.0).sin()) as i16;
            let samples: Vec<i16> = (0..8000).map(sample).collect();
            write_pcm16(&dir.path(&format!("data/tones/{class}/{n:02}.wav")), &samples, 1, 8000).unwrap();
        }
    }
    fs::write(dir.path("data/tones.toml"), "kind = \"folder\"\n").unwrap();
    dir
}

#[test]
fn a_wrong_label_is_found_labelled_again_and_corrected() {
    let dir = tones();
    dir.run("x.toml", &[]);
    let output = dir.done(&["data", "suspects", "x", "--csv", "suspects.csv", "--html", "suspects.html"]);
    let printed = text(&output.stdout);
    assert!(printed.contains("1 of 24 recordings probably have a wrong label"), "{printed}");
    let csv = dir.read("suspects.csv");
    assert!(csv.starts_with("recording,labels,likely,self_confidence\nlow/05.wav,low,high,0."), "{csv}");
    let page = dir.read("suspects.html");
    assert!(page.contains("<audio ") && page.contains("low/05.wav") && !page.contains("high/05.wav"));
    let suspects: Value =
        serde_json::from_slice(&dir.done(&["data", "suspects", "x:mfcc.logistic", "--json"]).stdout).unwrap();
    assert_eq!((suspects[0]["recording"].as_str(), &suspects[0]["likely"]), (Some("low/05.wav"), &json!(["high"])));
    assert_eq!(dir.timbre(&["data", "suspects", "x:mfcc.knn"]).status.code(), Some(2));

    dir.done(&["data", "label-studio", "export", "x", "--choose", "suspects", "--out", "tasks.json"]);
    let mut tasks: Value = serde_json::from_str(&dir.read("tasks.json")).unwrap();
    assert_eq!(tasks.as_array().unwrap().len(), 1);
    assert_eq!(
        tasks[0]["data"],
        json!({
            "audio": "/data/local-files/?d=low/05.wav", "recording": "low/05.wav", "part": "the whole recording", "labels": "low",
        })
    );
    let prediction = &tasks[0]["predictions"][0];
    assert_eq!(
        (prediction["model_version"].as_str(), &prediction["result"][0]["value"]),
        (Some("x:mfcc.logistic"), &json!({ "choices": ["high"] }))
    );
    assert!(dir.read("tasks.xml").contains("<Choice value=\"low\"/>"));
    for (choose, number) in [("random", 5), ("hardest", 1)] {
        dir.done(&["data", "label-studio", "export", "x", "--choose", choose, "--number", "5", "--out", "more.json"]);
        let more: Value = serde_json::from_str(&dir.read("more.json")).unwrap();
        assert_eq!(more.as_array().unwrap().len(), number, "{choose}");
    }

    // A person accepts the prediction.
    let mut annotation = tasks[0]["predictions"][0].clone();
    annotation["was_cancelled"] = false.into();
    annotation["created_at"] = "2026-01-01T10:00:00Z".into();
    tasks[0]["annotations"] = json!([annotation]);
    fs::write(dir.path("export.json"), tasks.to_string()).unwrap();
    let output = dir.done(&["data", "label-studio", "import", "export.json", "--out", "data/corrections.csv"]);
    assert!(
        text(&output.stdout).contains("1 of 1 annotated recording changed, 1 correction in all"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(dir.read("data/corrections.csv"), "recording,labels\nlow/05.wav,high\n");

    fs::write(dir.path("data/tones.toml"), "kind = \"folder\"\ncorrections = \"corrections.csv\"\n").unwrap();
    let described = text(&dir.done(&["data", "describe", "tones"]).stdout);
    assert!(described.contains("labels of 1 recording corrected by corrections.csv: low/05.wav"), "{described}");
    dir.run("x.toml", &[]);
    let printed = text(&dir.done(&["data", "suspects", "x"]).stdout);
    assert!(printed.starts_with("0 of 24 recordings"), "{printed}");
    assert_eq!(dir.timbre(&["data", "label-studio", "import", "tasks.json", "--out", "c.csv"]).status.code(), Some(2));
}

/// Needs `TIMBRE_PEERS`: a virtual environment with `label-studio-sdk`.
#[test]
#[ignore = "needs label-studio-sdk: make test-peers"]
fn label_studio_accepts_the_configuration_and_the_tasks() {
    let peers = std::env::var_os("TIMBRE_PEERS").expect("TIMBRE_PEERS names a virtual environment");
    let dir = tones();
    for task in ["single_label", "multi_label"] {
        dir.run("x.toml", &["--set", &format!("evaluate.task=\"{task}\"")]);
        dir.done(&["data", "label-studio", "export", "x", "--choose", "random", "--out", "tasks.json"]);
        let script = "import json\nfrom label_studio_sdk.label_interface import LabelInterface\n\
            interface = LabelInterface(open('tasks.xml').read())\ninterface.validate()\ntasks = json.load(open('tasks.json'))\n\
            assert len(tasks) == 24\nfor task in tasks:\n    assert interface.validate_task({'data': task['data']})\n    \
            assert interface.validate_prediction(task['predictions'][0]), task\n";
        let mut command = std::process::Command::new(Path::new(&peers).join("bin/python"));
        let output = command.args(["-c", script]).current_dir(dir.path("")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}
