//! The program outside of its repository: `init`, `new`, `list`, `show`, and the search for the project's root.

use std::fs;

use timbre_experiment::{Request, reference, resolve};

use crate::test_dir::{TestDir, text};

/// A set with five short recordings of each of two classes.
fn write_two_classes(dir: &TestDir, folder: &str) {
    for (class, hertz) in [("low", 110.0), ("high", 880.0)] {
        fs::create_dir_all(dir.path(&format!("{folder}/{class}"))).unwrap();
        for take in 0..5 {
            let spec = hound::WavSpec {
                channels: 1,
                sample_rate: 8000,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let path = dir.path(&format!("{folder}/{class}/{take}.wav"));
            let mut file = hound::WavWriter::create(path, spec).unwrap();
            for n in 0..8000 {
                let phase = std::f64::consts::TAU * hertz * (1.0 + f64::from(take) / 50.0) * f64::from(n) / 8000.0;
                file.write_sample((phase.sin() * 9000.0) as i16).unwrap();
            }
            file.finalize().unwrap();
        }
    }
}

#[test]
fn every_built_in_experiment_is_valid_in_an_empty_folder() {
    let dir = TestDir::new();
    let names = reference::experiments(&dir.path(""));
    assert!(names.len() >= 15 && names.iter().all(|(_, description)| !description.is_empty()), "{names:?}");
    for (name, _) in names {
        let request = Request { exp: name.clone(), root: dir.path(""), ..Request::default() };
        resolve(&request).unwrap_or_else(|faults| panic!("{name}: {faults}"));
    }
}

#[test]
fn a_new_project_runs_its_first_experiment_and_is_found_from_a_folder_below() {
    let dir = TestDir::new();
    let made = text(&dir.done(&["init", "music"]).stdout);
    assert!(
        made.contains("created music/experiments/first.toml") && made.contains("cd music && timbre run first"),
        "{made}"
    );
    // A second time keeps what is there.
    fs::write(dir.path("music/README.md"), "mine").unwrap();
    assert!(text(&dir.done(&["init", "music"]).stdout).contains("kept    music/README.md"));
    assert_eq!(dir.read("music/README.md"), "mine");

    write_two_classes(&dir, "music/data/mine");
    let below = dir.path("music/data/mine");
    let arguments =
        ["run", "first", "--data", "mine", "--set", "audio.clip_seconds=0.5", "--set", "split.validation=0.0", "-q"];
    let output = dir.command(&arguments).current_dir(&below).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(dir.path("music/runs/first/latest/results.csv").is_file());

    // Paths on the command line start in the current directory.
    let output = dir.command(&["compare", "first", "--csv", "table.csv"]).current_dir(&below).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(below.join("table.csv").is_file());
    let predicted = ["predict", "first/latest:mfcc.knn.s1", "low/0.wav", "--format", "json"];
    let output = dir.command(&predicted).current_dir(&below).output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("low/0.wav"), "{}", text(&output.stderr));

    // The same from elsewhere.
    let named = dir.done(&["--project", "music", "runs"]);
    assert!(text(&named.stdout).contains("first"), "{}", text(&named.stdout));
    let missing = dir.timbre(&["--project", "nowhere", "runs"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_built_in_experiment_runs_on_a_folder_of_class_folders() {
    let dir = TestDir::new();
    write_two_classes(&dir, "my sounds");
    let results = dir
        .run("quickstart", &["--data", "./my sounds", "--set", "audio.clip_seconds=0.5", "--set", "features={mel={}}"]);
    // The hold-out has one of the five recordings of each class.
    assert!(results["status"] == "ok" && results["results"][0]["n"] == 2, "{results}");
}

#[test]
fn a_copied_experiment_is_valid_and_never_overwrites_a_file() {
    let dir = TestDir::new();
    dir.done(&["new", "mine", "--from", "resnet_aug"]);
    dir.done(&["check", "mine", "--data", "demo"]);
    assert_eq!(dir.timbre(&["new", "mine"]).status.code(), Some(2));
    assert_eq!(dir.timbre(&["new", "../mine"]).status.code(), Some(2));
    let unknown = dir.timbre(&["new", "other", "--from", "resnet_au"]);
    assert!(unknown.status.code() == Some(2) && text(&unknown.stderr).contains("`resnet_aug`"));
}

#[test]
fn the_lists_and_the_reference_name_what_there_is() {
    let dir = TestDir::new();
    for (what, name) in [
        ("experiments", "resnet_aug "),
        ("features", "mfcc "),
        ("models", "resnet18 "),
        ("augmentations", "pitch_shift "),
        ("metrics", "f1_macro "),
        ("data", "irmas "),
    ] {
        let output = text(&dir.done(&["list", what]).stdout);
        assert!(output.lines().any(|line| line.starts_with(name)), "{what}: {output}");
    }
    let shown = text(&dir.done(&["show", "models.resnet18"]).stdout);
    assert!(shown.contains("[models.resnet18]\n") && shown.contains("\nbatch_size = "), "{shown}");
    assert_eq!(dir.timbre(&["show", "models.resnet19"]).status.code(), Some(2));
}

#[test]
fn make_builds_the_cuda_backend_where_the_nvidia_driver_lists_a_gpu() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TestDir::with(&[("nvidia-smi", "#!/bin/sh\ntest \"$LISTS\" = yes\n")]);
    fs::set_permissions(dir.path("nvidia-smi"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path("").display(), std::env::var("PATH").unwrap());
    let built = |lists: &str, device: &str| {
        let mut make = std::process::Command::new("make");
        make.args(["-n", "build", &format!("DEVICE={device}")]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = make.env("PATH", &path).env("LISTS", lists).env_remove("MAKEFLAGS").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(built("yes", "auto").contains("--features cuda") && built("yes", "auto").contains("NVIDIA GPU found"));
    assert!(!built("no", "auto").contains("--features") && !built("yes", "cpu").contains("--features"));
    assert!(built("no", "cuda:1").contains("--features cuda") && built("no", "wgpu").contains("--features wgpu"));
}
