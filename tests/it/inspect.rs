//! What `check`, `run` and `data` say about recordings and splits that would mislead, before anything is decoded.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use timbre_signal::audio::wav_write::write_f32;

use crate::test_dir::{TestDir, text};

/// A quick experiment on the set `birds`.
const TINY: &str = r#"
save_models = false
[data]
use = "birds"
[audio]
sample_rate = 8000
clip_seconds = 0.5
[features.centroid]
n_fft = 256
hop_length = 128
[models.average]
[evaluate]
bootstrap = 20
"#;

/// Writes a tone; another `hz` is another recording.
fn tone(path: &Path, seconds: f64, hz: f64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let samples: Vec<f32> =
        (0..(seconds * 8000.0) as usize).map(|n| (n as f64 * hz * 0.000785).sin() as f32 * 0.5).collect();
    write_f32(path, &samples, 8000).unwrap();
}

/// A folder set of `per_class` recordings of half a second in each class, described by `birds.toml` with these keys.
fn birds(classes: &[&str], per_class: usize, keys: &str, experiment: &str) -> TestDir {
    let dir = TestDir::with(&[("x.toml", experiment)]);
    fs::create_dir_all(dir.path("data")).unwrap();
    fs::write(dir.path("data/birds.toml"), format!("kind = \"folder\"\n{keys}\n")).unwrap();
    for (c, class) in classes.iter().enumerate() {
        for n in 0..per_class {
            let path = dir.path(&format!("data/birds/{class}/{n:02}.wav"));
            tone(&path, 0.5, 200.0 + 300.0 * c as f64 + n as f64);
        }
    }
    dir
}

/// What a command printed on both streams, with its exit code.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn subsets(dir: &TestDir) -> Vec<(String, String)> {
    let csv = dir.read("runs/x/latest/recordings.csv");
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("path,song,labels,content,split"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[0].to_owned(), cells[4].to_owned())
    };
    lines.map(row).collect()
}

#[test]
fn a_set_without_songs_is_warned_of_and_its_intervals_are_over_files() {
    let dir = birds(&["owl", "wren"], 8, "", TINY);
    let sentence = "every file counts as a song of its own";
    for command in [&["check", "x.toml"][..], &["run", "x.toml"], &["data", "describe", "birds"]] {
        let (code, printed) = said(&dir.timbre(command));
        assert_eq!((code, printed.contains(sentence)), (Some(0), true), "{command:?}: {printed}");
    }
    let record: Value = serde_json::from_str(&dir.read("runs/x/latest/run.json")).unwrap();
    assert!(record["warnings"][0].as_str().unwrap().contains(sentence), "{record}");
    let (html, markdown) = (dir.read("runs/x/latest/report.html"), dir.read("runs/x/latest/report.md"));
    assert!(html.contains("a bootstrap over files") && !html.contains("over songs"));
    assert!(markdown.contains(sentence) && markdown.contains("recordings, every file a song of its own"), "{markdown}");
    let (_, compared) = said(&dir.timbre(&["compare", "x/latest"]));
    assert!(compared.contains("bootstrap over files") && compared.contains(sentence), "{compared}");
    // A finished run that is shown again says it again.
    assert!(said(&dir.timbre(&["run", "x.toml"])).1.contains(sentence));
    fs::write(dir.path("y.toml"), TINY.to_owned() + "[models.knn]\n[grid]\n\"models.knn.k\" = [1, 2]\n").unwrap();
    dir.done(&["run", "y.toml"]);
    assert_eq!(dir.read("runs/y/grid.html").matches(sentence).count(), 1, "the points have the same warning");

    let named = birds(&["owl", "wren"], 8, "group = '^(\\d)'", TINY);
    let (code, printed) = said(&named.timbre(&["run", "x.toml"]));
    assert_eq!((code, printed.contains("song of its own")), (Some(2), false), "one song is in both classes: {printed}");
    let named = birds(&["owl", "wren"], 8, "group = '^(\\d+)'", TINY);
    assert!(!said(&named.timbre(&["run", "x.toml"])).1.contains("song of its own"));
    assert!(named.read("runs/x/latest/report.html").contains("a bootstrap over songs"));
}

#[test]
fn a_data_check_has_the_warnings_of_a_description() {
    let dir = birds(&["owl"], 4, "", TINY);
    fs::create_dir(dir.path("data/birds/eagle")).unwrap();
    (0..6).for_each(|n| fs::write(dir.path(&format!("data/birds/owl/{n}.w64")), b"riff").unwrap());
    let described = text(&dir.done(&["data", "describe", "birds"]).stdout);
    let warnings: Vec<&str> = described.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    let sentences = ["class folders without a recording: eagle", "6 .w64", "a song of its own", "one class, owl"];
    assert_eq!(warnings.len(), sentences.len(), "{described}");
    for (warning, sentence) in warnings.iter().zip(sentences) {
        assert!(warning.contains(sentence), "{described}");
    }
    let checked = text(&dir.done(&["data", "check", "birds", "--html", "check.html"]).stdout);
    let page = dir.read("check.html").replace("<code>", "`").replace("</code>", "`");
    for warning in &warnings {
        assert!(checked.contains(&format!("warning: {warning}\n")), "{checked}");
        assert!(page.contains(&format!("Warning: {warning}.")), "{page}");
    }
    // They are no findings.
    let output = dir.done(&["data", "check", "birds", "--json", "--deny", "unusable,counts,unused_file"]);
    let audit: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(audit["warnings"], serde_json::json!(warnings));

    let dir = birds(&["owl", "wren"], 4, "group = '^(\\d+)'", TINY);
    let output = dir.done(&["data", "check", "birds", "--json"]);
    let audit: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(audit["warnings"], serde_json::json!([]), "{audit}");
}

#[test]
fn a_data_check_refuses_what_a_run_with_these_limits_would_refuse() {
    let dir = birds(&["owl", "wren"], 2, "", TINY);
    tone(&dir.path("data/birds/owl/short.wav"), 0.1, 700.0);
    let check = |limit: &str| said(&dir.timbre(&["data", "check", "birds", "--set", limit]));
    for (limit, reason) in [("audio.max_seconds=0.2", "too_long"), ("audio.max_bytes=8000", "too_large")] {
        let (code, printed) = check(limit);
        assert_eq!((code, printed.matches(&format!(": {reason}: ")).count()), (Some(3), 4), "{limit}: {printed}");
        assert!(printed.contains("5 recordings: 4 unusable"), "{limit}: {printed}");
    }
    assert_eq!(check("audio.max_seconds=0.6").0, Some(0));
    for wrong in ["audio.max_seconds=0", "audio.max_secnds=1"] {
        assert_eq!(check(wrong).0, Some(2), "{wrong}");
    }
}

#[test]
fn recordings_that_a_hold_out_leaves_out_are_counted_and_named() {
    let dir = birds(&["training/owl", "training/wren"], 8, "part_folders = true", TINY);
    for (n, file) in ["validation/owl/a.wav", "test/owl/b.wav", "test/wren/c.wav"].iter().enumerate() {
        tone(&dir.path(&format!("data/birds/{file}")), 0.5, 1000.0 + n as f64);
    }
    let sentence = "3 recordings take no part, because the split `holdout` divides the training recordings alone: 1 of the \
                    validation subset and 2 of the testing subset (test/owl/b.wav, test/wren/c.wav, validation/owl/a.wav)";
    for command in ["check", "run"] {
        let (code, printed) = said(&dir.timbre(&[command, "x.toml"]));
        assert_eq!((code, printed.contains(sentence)), (Some(0), true), "{command}: {printed}");
        let (code, printed) = said(&dir.timbre(&[command, "x.toml", "--set", "split.kind=official"]));
        assert_eq!((code, printed.contains("no part")), (Some(0), false), "{command}: {printed}");
    }
    let (_, described) = said(&dir.timbre(&["data", "describe", "birds"]));
    assert!(described.contains("uses the training recordings alone, without 3"), "{described}");
}

#[test]
fn a_line_break_in_the_name_of_a_recording_makes_no_line() {
    let dir = birds(&["owl", "wren"], 6, "", &format!("max_unusable = 0.5\n{TINY}"));
    fs::write(dir.path("data/birds/owl/x\nFORGED.wav"), "no sound").unwrap();
    for command in ["check", "run"] {
        let (code, printed) = said(&dir.timbre(&[command, "x.toml"]));
        assert_eq!((code, printed.contains("FORGED")), (Some(0), command == "check"), "{command}: {printed}");
        assert!(!printed.lines().any(|line| line.starts_with("FORGED")), "{command}: {printed}");
    }
}

#[test]
fn folds_of_the_set_that_the_split_does_not_use_are_named() {
    // The tens of the file's number are its fold.
    let dir = birds(&["owl", "wren"], 14, "fold = '^(\\d)'\ngroup = '^(\\d+)'", TINY);
    let sentence = "the 2 folds of the data set have no part in the split `holdout`";
    let official = ["--set", "split.kind=cross_validation", "--set", "split.folds=official", "--set", "seeds=[1,2]"];
    for command in ["check", "run"] {
        let (code, printed) = said(&dir.timbre(&[command, "x.toml"]));
        assert_eq!((code, printed.contains(sentence)), (Some(0), true), "{command}: {printed}");
        let (code, printed) = said(&dir.timbre(&[&[command, "x.toml"], &official[..]].concat()));
        assert_eq!((code, printed.contains("have no part")), (Some(0), false), "{command}: {printed}");
    }
}

#[test]
fn a_set_that_makes_scores_meaningless_is_warned_of() {
    let check = |dir: &TestDir, more: &[&str]| {
        let (code, printed) = said(&dir.timbre(&[&["check", "x.toml"], more].concat()));
        assert_eq!(code, Some(0), "{printed}");
        printed
    };
    let alone = birds(&["owl"], 6, "", TINY);
    assert!(check(&alone, &[]).contains("all recordings are of one class, owl"));
    assert!(said(&alone.timbre(&["run", "x.toml"])).1.contains("all recordings are of one class, owl"));

    let dir = birds(&["owl", "wren"], 8, "group = '^(\\d+)'", TINY);
    assert!(!check(&dir, &[]).contains("warning"));
    fs::create_dir(dir.path("data/birds/eagle")).unwrap();
    let printed = check(&dir, &[]);
    assert!(printed.contains("class folders without a recording: eagle"), "{printed}");
    assert!(said(&dir.timbre(&["data", "describe", "birds"])).1.contains("without a recording: eagle"));

    tone(&dir.path("data/birds/owl/90.wav"), 0.05, 440.0);
    let printed = check(&dir, &[]);
    assert!(printed.contains("1 recording is shorter than half a clip (audio.clip_seconds = 0.5)"), "{printed}");
    assert!(printed.contains("the shortest, owl/90.wav, has 0.05 s"), "{printed}");
    let printed = check(&dir, &["--set", "audio.clip_seconds=0.02"]);
    assert!(printed.contains("a clip of 160 samples is shorter than a frame of `centroid` (n_fft = 256)"), "{printed}");
    let output =
        dir.timbre(&["check", "x.toml", "--set", "audio.clip_seconds=0.02", "--set", "features.centroid.center=false"]);
    assert_eq!(said(&output).0, Some(4), "{}", said(&output).1);
    let output =
        dir.timbre(&["run", "x.toml", "--set", "audio.clip_seconds=0.02", "--set", "features.centroid.center=false"]);
    assert_eq!(said(&output).0, Some(4), "{}", said(&output).1);
}

#[test]
fn classes_without_test_recordings_are_named() {
    let dir = birds(&["training/owl", "training/wren"], 4, "part_folders = true\ngroup = '^(\\d+)'", TINY);
    tone(&dir.path("data/birds/test/owl/90.wav"), 0.5, 999.0);
    for command in ["check", "run"] {
        let (_, printed) = said(&dir.timbre(&[command, "x.toml", "--set", "split.kind=official"]));
        assert!(printed.contains("warning: no test recording of 1 of 2 classes: wren"), "{command}: {printed}");
        assert!(!printed.contains("no training recording"), "{command}: {printed}");
    }
    // All recordings of the owl are of one song, which stays in training.
    let held = birds(&[], 0, "group = '^(\\w)'", TINY);
    for (n, name) in ["owl/a1", "owl/a2", "owl/a3", "wren/b1", "wren/c1", "wren/d1", "wren/e1"].iter().enumerate() {
        tone(&held.path(&format!("data/birds/{name}.wav")), 0.5, 300.0 + n as f64);
    }
    let sentence = "warning: no test recording of 1 of 2 classes: owl";
    for more in [&[][..], &["--set", "data.limit_per_class=3"]] {
        let (_, printed) = said(&held.timbre(&[&["check", "x.toml"], more].concat()));
        assert!(printed.contains(sentence), "{printed}");
    }
}

#[test]
fn check_says_that_the_clips_differ_in_length_and_run_computes_nothing_for_it() {
    let experiment = TINY.replace("clip_seconds = 0.5", "");
    let dir = birds(&["owl", "wren"], 8, "group = '^(\\d+)'", &experiment);
    assert_eq!(dir.timbre(&["check", "x.toml"]).status.code(), Some(0));
    (0..4).for_each(|n| tone(&dir.path(&format!("data/birds/owl/9{n}.wav")), 0.8, 444.0 + f64::from(n)));
    let sentence = "the clips differ in length, so `centroid` has";
    let (code, printed) = said(&dir.timbre(&["check", "x.toml"]));
    assert_eq!((code, printed.contains(sentence)), (Some(1), true), "{printed}");
    assert!(printed.contains("has errors: 1 model would fail") && !printed.contains("Next:"), "{printed}");
    let (code, printed) = said(&dir.timbre(&["run", "x.toml"]));
    assert_eq!((code, printed.contains(sentence)), (Some(1), true), "{printed}");
    let run =
        fs::read_dir(dir.path("runs/x")).unwrap().flatten().map(|e| e.path()).find(|p| p.join("run.json").is_file());
    let record: Value = serde_json::from_slice(&fs::read(run.unwrap().join("run.json")).unwrap()).unwrap();
    assert_eq!((&record["status"], &record["cache"]["misses"]), (&Value::from("failed"), &Value::from(0)));
    let summary = ["--set", "features.centroid.summary=[\"mean\"]"];
    for command in ["check", "run"] {
        let (code, printed) = said(&dir.timbre(&[&[command, "x.toml"], &summary[..]].concat()));
        assert_eq!(code, Some(0), "{command}: {printed}");
    }
    // As many as may be unusable: they would be left out.
    (1..4).for_each(|n| fs::remove_file(dir.path(&format!("data/birds/owl/9{n}.wav"))).unwrap());
    let (code, printed) = said(&dir.timbre(&["check", "x.toml", "--set", "max_unusable=0.1"]));
    assert_eq!((code, printed.contains(&format!("warning: {sentence}"))), (Some(0), true), "{printed}");
}

#[test]
fn check_knows_that_a_model_needs_more_clips() {
    let experiment = TINY.to_owned() + "[models.knn]\nk = 99\n";
    let dir = birds(&["owl", "wren"], 8, "group = '^(\\d+)'", &experiment);
    let (code, printed) = said(&dir.timbre(&["check", "x.toml"]));
    assert_eq!(code, Some(1), "{printed}");
    assert!(
        printed
            .contains("error: centroid.knn.s1: models.knn.k: 99 neighbours are needed, but the training split has 1"),
        "{printed}"
    );
    // The other model is fitted all the same.
    let (code, printed) = said(&dir.timbre(&["run", "x.toml"]));
    assert_eq!((code, printed.contains("warning: centroid.knn.s1 will fail")), (Some(1), true), "{printed}");
    fs::write(dir.path("y.toml"), experiment + "[grid]\n\"models.knn.k\" = [1, 99]\n").unwrap();
    for command in ["check", "run"] {
        let (code, printed) = said(&dir.timbre(&[command, "y.toml"]));
        assert_eq!(code, Some(6), "{command}: {printed}");
        assert!(command == "run" || !printed.contains("Next:"), "{printed}");
    }
    assert_eq!(dir.timbre(&["plan", "y.toml"]).status.code(), Some(0));
}

#[test]
fn one_fault_has_one_exit_code() {
    let dir = birds(&["owl", "wren"], 4, "fold = 'x(\\d)'", TINY);
    for command in [
        &["check", "x.toml"][..],
        &["plan", "x.toml"],
        &["run", "x.toml"],
        &["data", "describe", "birds"],
        &["data", "check", "birds"],
    ] {
        let (code, printed) = said(&dir.timbre(command));
        assert_eq!((code, printed.contains("`fold` does not match")), (Some(2), true), "{command:?}: {printed}");
    }
    fs::remove_dir_all(dir.path("data/birds")).unwrap();
    for command in [&["check", "x.toml"][..], &["plan", "x.toml"], &["run", "x.toml"], &["data", "describe", "birds"]] {
        let (code, printed) = said(&dir.timbre(command));
        assert_eq!((code, printed.contains("not on disk")), (Some(2), true), "{command:?}: {printed}");
    }
}

#[test]
fn a_faulty_data_set_is_listed_beside_the_others() {
    let dir = birds(&["owl", "wren"], 1, "", TINY);
    fs::write(dir.path("data/broken.toml"), "kind = \"csv\"\n").unwrap();
    let output = dir.timbre(&["data", "list"]);
    let (listed, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(listed.contains("2 recordings") && listed.contains("demo"), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("broken") && line.trim_end().ends_with("faulty")), "{listed}");
    assert!(errors.contains("data/broken.toml:1:8: unknown kind `csv`"), "{errors}");
    assert!(dir.timbre(&["doctor"]).status.success());
    // What cannot be read of the recordings is below the table, too.
    let root = dir.path("data/birds");
    fs::write(dir.path("data/broken.toml"), format!("kind = \"folder\"\nfold = '^(x)'\nroot = {root:?}\n")).unwrap();
    let output = dir.timbre(&["data", "list"]);
    let (listed, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), errors.contains("broken: ")), (Some(2), true), "{listed}{errors}");
    fs::remove_file(dir.path("data/broken.toml")).unwrap();
    assert_eq!(dir.timbre(&["data", "list"]).status.code(), Some(0));
}

#[test]
fn a_wrong_layout_is_not_called_missing() {
    let dir = birds(&["."], 2, "", TINY);
    let (code, printed) = said(&dir.timbre(&["check", "x.toml"]));
    assert_eq!(code, Some(2));
    assert!(printed.contains("found 2 recordings outside of one: 00.wav, 01.wav"), "{printed}");
    assert!(!printed.contains("not on disk"), "{printed}");
    // An empty folder holds nothing in any format.
    ["00.wav", "01.wav"].iter().for_each(|name| fs::remove_file(dir.path("data/birds").join(name)).unwrap());
    fs::create_dir(dir.path("data/birds/owl")).unwrap();
    let (_, printed) = said(&dir.timbre(&["check", "x.toml"]));
    assert!(
        printed.contains("not on disk") && printed.contains("flac") && printed.contains("found        owl in"),
        "{printed}"
    );
}

#[test]
fn copies_in_two_official_subsets_are_blamed_and_not_the_songs() {
    let dir = birds(&["training/owl", "training/wren", "test/owl", "test/wren"], 3, "part_folders = true", TINY);
    fs::copy(dir.path("data/birds/training/owl/01.wav"), dir.path("data/birds/test/owl/copy.wav")).unwrap();
    for command in ["check", "run"] {
        let (code, printed) = said(&dir.timbre(&[command, "x.toml", "--set", "split.kind=official"]));
        assert_eq!(code, Some(2), "{printed}");
        assert!(
            printed.contains("\"test/owl/copy.wav\" and \"training/owl/01.wav\" are byte-identical"),
            "{command}: {printed}"
        );
        assert!(!printed.contains("correct the `group`"), "{command}: {printed}");
    }
}

#[test]
fn nothing_is_generated_to_check_to_plan_or_to_report() {
    let experiment = "[data]\nuse = \"demo\"\nclips_per_class = 4\ntest_recordings = 4\n[audio]\nclip_seconds = 1.0\n\
                      [split]\ntest = 0.3\n[features.centroid]\n[models.average]\n";
    let dir = TestDir::new();
    fs::write(dir.path("x.toml"), experiment).unwrap();
    fs::write(dir.path("y.toml"), format!("{experiment}[grid]\nseeds = [[1], [2]]\n")).unwrap();
    let is_made = || {
        let cache = fs::read_dir(dir.path("data/.cache")).into_iter().flatten().flatten();
        cache
            .filter(|entry| entry.path().is_dir())
            .any(|entry| entry.file_name().to_string_lossy().starts_with("demo-"))
    };
    let (code, before) = said(&dir.timbre(&["check", "x.toml"]));
    assert_eq!((code, is_made()), (Some(0), false), "{before}");
    assert!(before.contains("generate 48 recordings of `demo`"), "{before}");
    assert!(before.contains("read     44 clips of `demo` in 11 classes"), "{before}");
    assert!(before.contains("compute  44 features (0 in the cache)"), "{before}");
    let plan = dir.done(&["plan", "x.toml", "--json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!((&plan["signature"], &plan["to_generate"], is_made()), (&Value::Null, &Value::from(48), false));
    dir.done(&["run", "x.toml", "--dry-run"]);
    assert!(!is_made());
    dir.run("x.toml", &[]);
    assert!(is_made());
    assert!(!said(&dir.timbre(&["check", "x.toml"])).1.contains("generate"));
    fs::remove_dir_all(dir.recordings()).unwrap();
    let (code, printed) = said(&dir.timbre(&["report", "x/latest"]));
    assert_eq!((code, is_made()), (Some(0), false), "{printed}");
    assert!(printed.contains("No recordings found"), "{printed}");
}

#[test]
fn recordings_csv_has_the_subset_of_each_recording() {
    let dir = birds(&["training/owl", "training/wren", "test/owl"], 8, "part_folders = true\ngroup = '(\\d+)'", TINY);
    // The songs of the test set are songs of their own.
    for n in 0..8 {
        let name = |n: usize| dir.path(&format!("data/birds/test/owl/{n:02}.wav"));
        fs::rename(name(n), dir.path(&format!("data/birds/test/owl/5{n}.wav"))).unwrap();
    }
    dir.run("x.toml", &["--set", "data.limit_per_class=5", "--set", "split.validation=0.2"]);
    let found = subsets(&dir);
    let of =
        |subset: &str| found.iter().filter(|(_, own)| own == subset).map(|(path, _)| path.as_str()).collect::<Vec<_>>();
    assert_eq!(found.len(), 16, "a hold-out cannot use the test subset");
    assert_eq!(of("").len(), 6, "{found:?}");
    assert!(of("").iter().all(|path| ["05", "06", "07"].iter().any(|n| path.contains(n))), "the limit: {found:?}");
    let trial = fs::read_dir(dir.path("runs/x/latest/units")).unwrap().flatten().map(|e| e.path());
    let trial = trial.into_iter().find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
    let trial: Value = serde_json::from_slice(&fs::read(trial).unwrap()).unwrap();
    let trained: u64 = trial["trained_on"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(of("training").len() as u64, trained);
    for (name, split) in [("validation", &trial["splits"][0]), ("test", &trial["splits"][1])] {
        assert_eq!(split["split"], name);
        let mut paths: Vec<&str> =
            split["clips"].as_array().unwrap().iter().map(|c| c["path"].as_str().unwrap()).collect();
        paths.sort_unstable();
        assert_eq!(of(name), paths);
    }
    dir.run("x.toml", &["--set", "seeds=[1, 2, 3]"]);
    let csv = dir.read("runs/x/latest/recordings.csv");
    assert!(csv.starts_with("path,song,labels,content,split_s1,split_s2,split_s3\n"), "{csv}");
}

#[test]
fn errors_are_json_on_request_with_the_same_exit_codes() {
    let dir = birds(&["owl", "wren"], 8, "", TINY);
    let check = |more: &[&str]| {
        let arguments = [&["check", "x.toml"], more].concat();
        let json = dir.timbre(&[&arguments[..], &["--json"]].concat());
        assert_eq!(dir.timbre(&arguments).status.code(), json.status.code(), "{more:?}");
        (json.status.code(), serde_json::from_slice::<Value>(&json.stdout).unwrap())
    };
    let (code, plan) = check(&[]);
    assert_eq!((code, plan["experiment"].as_str(), plan["clips"].as_u64()), (Some(0), Some("x"), Some(16)));
    let wrong = TINY.replace("n_fft = 256", "n_ftt = 256").replace("bootstrap = 20", "bootstrap = \"many\"");
    fs::write(dir.path("x.toml"), wrong).unwrap();
    let (code, found) = check(&["--set", "seedz=[1]"]);
    let errors = found["errors"].as_array().unwrap();
    assert_eq!((code, errors.len()), (Some(2), 3), "{found}");
    let error =
        |key: &str| errors.iter().find(|error| error["key"] == key).unwrap_or_else(|| panic!("{key} in {found}"));
    let misspelt = error("features.centroid.n_ftt");
    assert_eq!((misspelt["file"].as_str(), misspelt["line"].as_u64()), (Some("x.toml"), Some(9)), "{misspelt}");
    assert!(misspelt["help"].as_str().unwrap().contains("`n_fft`"), "{misspelt}");
    assert!(error("evaluate.bootstrap")["message"].is_string());
    assert!(error("seedz")["file"].as_str().unwrap().contains("--set"));
    // An error that is not about a line has only a message.
    fs::write(dir.path("x.toml"), TINY.replace("use = \"birds\"", "kind = \"folder\"\nroot = \"nowhere\"")).unwrap();
    let (code, found) = check(&[]);
    assert_eq!((code, found["errors"][0]["line"].is_null()), (Some(2), true), "{found}");
}

#[test]
fn a_verbose_run_prints_the_time_of_each_stage_and_model() {
    let dir = birds(&["owl", "wren"], 8, "", TINY);
    let printed = text(&dir.done(&["run", "x.toml", "-v"]).stderr);
    for words in ["data: ", "features: ", "centroid.average.s1: fit ", "models: ", "tables: ", "report: "] {
        assert!(printed.contains(words), "{words} in {printed}");
    }
    assert!(!text(&dir.done(&["run", "x.toml", "--fresh"]).stderr).contains("fit "));
}

#[test]
fn with_one_song_no_interval_and_no_difference_is_told() {
    let dir = birds(&["training/owl", "training/wren"], 8, "part_folders = true\ngroup = '(\\d+)'", TINY);
    for (n, class) in ["owl", "wren"].iter().enumerate() {
        tone(&dir.path(&format!("data/birds/test/{class}/50.wav")), 0.5, 210.0 + 300.0 * n as f64);
    }
    let run = |more: &[&str]| {
        let (code, printed) = said(&dir.timbre(&[&["run", "x.toml", "--set", "split.kind=official"], more].concat()));
        assert_eq!(code, Some(0), "{printed}");
        printed
    };
    let sentence = "One song: no interval and no difference can be told.";
    let printed = run(&[]);
    assert!(printed.contains("No conclusion: centroid.average") && printed.contains(sentence), "{printed}");
    assert!(dir.read("runs/x/latest/report.md").contains(sentence));
    assert!(dir.read("runs/x/latest/report.html").contains("Without intervals."));
    let results = dir.read("runs/x/latest/results.csv");
    assert!(results.contains("accuracy") && !results.contains("accuracy_low"), "{results}");
    let first = fs::canonicalize(dir.path("runs/x/latest")).unwrap();
    run(&["--set", "features.centroid.summary=[\"mean\"]"]);
    let (code, compared) = said(&dir.timbre(&["compare", first.to_str().unwrap(), "x/latest"]));
    assert_eq!(code, Some(0), "{compared}");
    assert!(compared.contains("one common song: no interval and no difference can be told"), "{compared}");
    assert!(compared.contains("run 1: one song: no interval") && !compared.contains("95 %, bootstrap"), "{compared}");

    tone(&dir.path("data/birds/test/owl/51.wav"), 0.5, 211.0);
    let printed = run(&[]);
    let sentence = "Only 2 songs: intervals over fewer than 5 are unreliable.";
    assert!(printed.contains(sentence) && !printed.contains("Better than trivial"), "{printed}");
}

#[test]
fn check_knows_what_a_model_cannot_be_made_of() {
    let dir = birds(&["owl", "wren"], 8, "group = '^(\\d+)'", TINY);
    let small = format!("init = '{}/tests/golden/networks/small.pth'", env!("CARGO_MANIFEST_DIR"));
    let cases = [
        ("logistic", "pca = 33", 1, "models.logistic.pca: 33 components are asked for; choose up to "),
        ("svm", "pca = 25\nselect = { score = \"l1\", k = 9 }", 1, "models.svm.pca: 25 components are asked for"),
        (
            "average",
            "select = { score = \"f_classif\", k = 9999 }",
            1,
            "9999 columns are kept, but the feature has 1024",
        ),
        ("resnet18", small.as_str(), 1, "the file holds another network"),
        ("resnet18", "init = 'nowhere.pth'", 2, "cannot read nowhere.pth, which the model `resnet18` needs"),
    ];
    for (model, keys, code, sentence) in cases {
        let features = "[features.mel]\nn_fft = 256\nhop_length = 128\nn_mels = 32\n";
        let (data, _) = TINY.split_once("[features").unwrap();
        fs::write(dir.path("x.toml"), format!("{data}{features}[models.{model}]\n{keys}\n")).unwrap();
        for command in ["check", "run"] {
            let (found, printed) = said(&dir.timbre(&[command, "x.toml"]));
            assert_eq!((found, printed.contains(sentence)), (Some(code), true), "{command} {keys}: {printed}");
            assert!(!printed.contains("Next:"), "{printed}");
        }
        let cached = fs::read_dir(dir.path("data/.cache/features")).into_iter().flatten().flatten();
        let packs = cached.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack"));
        assert_eq!(packs.count(), 0, "no feature was computed for {keys}");
    }
}

#[test]
fn a_mixture_of_more_components_than_clips_is_warned_of() {
    let dir = birds(&["owl", "wren"], 8, "group = '^(\\d+)'", &TINY.replace("[models.average]", "[models.gmm]"));
    assert!(!said(&dir.timbre(&["check", "x.toml"])).1.contains("n_components"));
    let (code, printed) = said(&dir.timbre(&["check", "x.toml", "--set", "models.gmm.n_components=50"]));
    let sentence = "warning: models.gmm.n_components: 50 components, but a class has only ";
    assert_eq!((code, printed.contains(sentence)), (Some(0), true), "{printed}");
}

#[test]
fn check_and_run_agree_about_recordings_and_windows_shorter_than_a_frame() {
    let whole = TINY
        .replace("clip_seconds = 0.5\n", "")
        .replace("hop_length = 128\n", "hop_length = 128\ncenter = false\nsummary = [\"mean\"]\n");
    let dir = birds(&["owl", "wren"], 8, "", &whole);
    let both = |more: &[&str], code: i32| {
        ["check", "run"].map(|command| {
            let (ended, printed) = said(&dir.timbre(&[&[command, "x.toml"], more].concat()));
            assert_eq!(ended, Some(code), "{command} {more:?}: {printed}");
            printed
        })
    };
    // A frame has 256 samples.
    let windows = ["--set", "evaluate.mode=windows", "--set", "evaluate.window.seconds=0.02"];
    for printed in both(&windows, 2) {
        assert!(printed.contains("a window of 160 samples has no frame of `centroid` (n_fft = 256)"), "{printed}");
    }

    tone(&dir.path("data/birds/owl/90.wav"), 0.02, 440.0);
    tone(&dir.path("data/birds/wren/91.wav"), 0.02, 880.0);
    for (limit, code) in [("max_unusable=0.5", 0), ("max_unusable=0.01", 3)] {
        let [checked, _] = both(&["--set", limit], code);
        assert!(checked.contains("2 of 18 recordings unusable") && !checked.contains("differ in length"), "{checked}");
        assert!(checked.contains("owl/90.wav: no_feature: `centroid` cannot be computed"), "{checked}");
        assert_eq!(dir.read("runs/x/latest/unusable.jsonl").matches("no_feature").count(), 2);
    }

    for (class, hz) in [("owl", 200.0), ("wren", 500.0)] {
        (0..8).for_each(|n| tone(&dir.path(&format!("data/birds/{class}/{n:02}.wav")), 0.02, hz + f64::from(n)));
    }
    for printed in both(&[], 4) {
        assert!(printed.contains("none of the 18 recordings of `birds` can be used"), "{printed}");
    }
}
