//! Recordings that would take all memory, never end, or have no finite feature: each is listed with its reason, and costs the
//! others nothing.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use serde_json::Value;
use timbre_signal::audio::wav_write::write_f32;

use crate::test_dir::{TestDir, text};

/// Ten short tones in each of two classes, the data set `tones` and the experiment `tones`.
fn tones(audio: &str, features: &str) -> TestDir {
    let experiment = format!(
        "max_unusable = 0.9\n[data]\nuse = \"tones\"\n[audio]\nsample_rate = 8000\n{audio}\n[split]\nkind = \"holdout\"\n\
         test = 0.2\nvalidation = 0.2\n{features}\n[models.average]\n"
    );
    let dir = TestDir::new();
    for folder in ["data/tones/low", "data/tones/high", "experiments"] {
        fs::create_dir_all(dir.path(folder)).unwrap();
    }
    fs::write(dir.path("experiments/tones.toml"), experiment).unwrap();
    fs::write(dir.path("data/tones.toml"), "kind = \"folder\"\n").unwrap();
    for n in 0..10 {
        for (class, hertz) in [("low", 300.0), ("high", 900.0)] {
            let samples = tone(0.4, hertz + 10.0 * n as f32, 8000);
            write_f32(&dir.path(&format!("data/tones/{class}/{n}.wav")), &samples, 8000).unwrap();
        }
    }
    dir
}

fn tone(level: f32, hertz: f32, samples: usize) -> Vec<f32> {
    (0..samples).map(|i| level * (hertz * i as f32 / 8000.0 * std::f32::consts::TAU).sin()).collect()
}

/// A WAVE file of 8-bit samples that all lie at -1. The file is sparse: it takes no room on the disk.
fn sparse_wave(dir: &TestDir, name: &str, samples: u32, rate: u32) {
    let mut head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    head.extend(rate.to_le_bytes().into_iter().chain(rate.to_le_bytes()));
    head.extend(*b"\x01\0\x08\0data");
    head.extend(samples.to_le_bytes());
    let path = dir.path(name);
    fs::write(&path, &head).unwrap();
    File::options().write(true).open(path).unwrap().set_len(head.len() as u64 + u64::from(samples)).unwrap();
}

/// Path and reason of each unusable recording of the newest run, sorted.
fn unusable(dir: &TestDir) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(!line["message"].as_str().unwrap().is_empty());
        let [path, reason] = ["path", "reason"].map(|key| line[key].as_str().unwrap().to_owned());
        (path, reason)
    };
    let mut lines: Vec<_> = dir.read("runs/tones/latest/unusable.jsonl").lines().map(line).collect();
    lines.sort();
    lines
}

fn pairs(lines: &[(String, String)]) -> Vec<(&str, &str)> {
    lines.iter().map(|(path, reason)| (path.as_str(), reason.as_str())).collect()
}

#[test]
fn pipes_devices_and_huge_files_in_a_folder_are_listed_and_never_opened() {
    let dir = tones("clip_seconds = 0.5", "[features.fft]");
    let low = |name: &str| dir.path("data/tones/low").join(name);
    assert!(Command::new("mkfifo").arg(low("pipe.wav")).status().unwrap().success());
    symlink("/dev/zero", low("device.wav")).unwrap();
    File::create(low("terabyte.wav")).unwrap().set_len(1 << 40).unwrap();
    sparse_wave(&dir, "data/tones/low/hours.wav", 8_000_000, 1000);
    let expected = [
        ("low/device.wav", "unreadable"),
        ("low/hours.wav", "too_long"),
        ("low/pipe.wav", "unreadable"),
        ("low/terabyte.wav", "too_large"),
    ];

    assert_eq!(dir.run("tones", &[])["unusable"], 4);
    assert_eq!(pairs(&unusable(&dir)), expected);

    let check = dir.timbre(&["data", "check", "tones"]);
    assert_eq!(check.status.code(), Some(3), "{}", text(&check.stderr));
    for (path, code) in expected {
        assert!(text(&check.stdout).contains(&format!("{path}: {code}: ")), "{}", text(&check.stdout));
    }
    let described = text(&dir.done(&["data", "describe", "tones"]).stdout);
    assert!(described.contains("3 files are cut off or have no readable header"), "{described}");

    fs::remove_file(low("terabyte.wav")).unwrap();
    let predicted = dir.timbre(&["predict", "tones", "data/tones/low", "--clip", "--json"]);
    let report: Value = serde_json::from_slice(&predicted.stdout).unwrap();
    let unusable: Vec<&str> =
        report["unusable"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(unusable, ["data/tones/low/device.wav", "data/tones/low/pipe.wav"]);
    // A clip of a long recording is predicted.
    assert_eq!(report["files"].as_array().unwrap().len(), 11);
}

#[test]
fn check_names_what_a_run_will_list_as_unusable_and_has_its_exit_code() {
    let dir = tones("clip_seconds = 0.5\nmax_bytes = 10000000", "[features.fft]");
    let low = |name: &str| dir.path("data/tones/low").join(name);
    fs::write(low("empty.wav"), "").unwrap();
    fs::write(low("text.wav"), "This is a text, and no audio at all.\n").unwrap();
    File::create(low("large.wav")).unwrap().set_len(20_000_000).unwrap();
    sparse_wave(&dir, "data/tones/low/hours.wav", 8_000_000, 1000);
    sparse_wave(&dir, "data/tones/low/nothing.wav", 0, 8000);
    let expected = [
        ("low/empty.wav", "empty"),
        ("low/hours.wav", "too_long"),
        ("low/large.wav", "too_large"),
        ("low/nothing.wav", "no_samples"),
        ("low/text.wav", "not_audio"),
    ];
    let ends = |command: &str, more: &[&str], code: i32| {
        let output = dir.timbre(&[&[command, "tones"], more].concat());
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{command} {more:?}: {printed}");
        printed
    };
    let checked = ends("check", &[], 0);
    assert!(checked.contains("read     20 clips") && checked.contains("Next: timbre run"), "{checked}");
    assert!(checked.contains("warning: 5 of 25 recordings unusable: low/empty.wav: empty: "), "{checked}");
    let plan: Value = serde_json::from_slice(&dir.done(&["plan", "tones", "--json"]).stdout).unwrap();
    let planned = plan["unusable"].as_array().unwrap().iter();
    let planned: Vec<_> = planned.map(|own| ["path", "reason"].map(|key| own[key].as_str().unwrap())).collect();
    assert_eq!(planned, expected.map(|(path, reason)| [path, reason]));
    ends("run", &[], 0);
    assert_eq!(pairs(&unusable(&dir)), expected);

    let strict = ["--set", "max_unusable=0.1"];
    let checked = ends("check", &strict, 3);
    assert!(checked.contains("error: 5 of 25 recordings unusable, more than max_unusable = 0.1 allows"), "{checked}");
    assert!(checked.contains("has errors") && !checked.contains("Next:"), "{checked}");
    let before = fs::read_link(dir.path("runs/tones/latest")).unwrap();
    let failed = ends("run", &[&strict[..], &["--fresh"]].concat(), 3);
    assert!(failed.contains("This run failed: `latest` of tones still points to "), "{failed}");
    assert_eq!(fs::read_link(dir.path("runs/tones/latest")).unwrap(), before);

    for n in 0..10 {
        ["low", "high"]
            .iter()
            .for_each(|class| fs::write(dir.path(&format!("data/tones/{class}/{n}.wav")), "").unwrap());
    }
    let sentence = "none of the 25 recordings of `tones` can be used";
    assert!(ends("check", &[], 4).contains(sentence) && ends("run", &[], 4).contains(sentence));
}

/// Runs the program with an address space that the whole recording would exceed.
fn in_little_memory(dir: &TestDir, arguments: &str) -> Output {
    let line = format!("ulimit -v 1500000; exec '{}' {arguments}", env!("CARGO_BIN_EXE_timbre"));
    let mut command = dir.command(&[]);
    let folder = command.get_current_dir().unwrap().to_owned();
    command = Command::new("sh");
    command.args(["-c", &line]).current_dir(folder).env_remove("TIMBRE_CACHE");
    command.output().unwrap()
}

#[test]
fn a_recording_larger_than_the_memory_gives_its_clip_or_is_listed() {
    const RUN: &str = "run tones --device cpu --jobs 1 -q";
    let dir = tones("clip_seconds = 0.5\nmax_seconds = 1e6", "[features.raw]");
    // As f32, 1.6 GB.
    sparse_wave(&dir, "data/tones/low/long.wav", 400_000_000, 8000);
    let output = in_little_memory(&dir, RUN);
    assert!(output.status.success(), "{:?} {}", output.status, text(&output.stderr));
    assert_eq!(unusable(&dir), []);
    let output = in_little_memory(&dir, "predict tones data/tones/low/long.wav --clip --jobs 1 --json");
    assert!(output.status.success(), "{:?} {}", output.status, text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["files"][0]["seconds"], 50_000.0);

    let whole = tones("max_seconds = 1e6", "[features.centroid]\nsummary = [\"mean\"]");
    sparse_wave(&whole, "data/tones/low/long.wav", 400_000_000, 8000);
    let output = in_little_memory(&whole, RUN);
    assert!(output.status.success(), "{:?} {}", output.status, text(&output.stderr));
    assert_eq!(pairs(&unusable(&whole)), [("low/long.wav", "out_of_memory")]);
    // `data check` counts and checks block by block.
    let output = in_little_memory(&whole, "data check tones");
    assert!(text(&output.stdout).contains("low/long.wav: too_long"), "{}", text(&output.stdout));
}

#[test]
fn a_feature_that_cannot_be_computed_is_remembered_and_the_others_are_cached() {
    let features =
        "[features.centroid]\nsummary = [\"mean\"]\n[features.mel]\npower = 3.0\ncenter = false\nsummary = [\"mean\"]";
    let dir = tones("", features);
    write_f32(&dir.path("data/tones/low/short.wav"), &tone(0.4, 300.0, 1500), 8000).unwrap();
    write_f32(&dir.path("data/tones/low/loud.wav"), &tone(1e11, 300.0, 8000), 8000).unwrap();
    let expected = [("low/loud.wav", "no_feature"), ("low/short.wav", "no_feature")];

    let first = dir.run("tones", &[]);
    assert_eq!(pairs(&unusable(&dir)), expected);
    let listed = dir.read("runs/tones/latest/unusable.jsonl");
    assert!(listed.contains("`mel` cannot be computed") && listed.contains("not finite"), "{listed}");
    // 22 recordings of two features each.
    assert_eq!(first["cache"]["misses"], 44);

    let again = dir.run("tones", &["--fresh"]);
    assert_eq!((&again["cache"]["misses"], &again["cache"]["hits"]), (&0.into(), &44.into()));
    assert_eq!(pairs(&unusable(&dir)), expected);
    assert_eq!(dir.read("runs/tones/latest/unusable.jsonl"), listed);

    let predicted = dir.timbre(&["predict", "tones:mel.average.s1", "data/tones/low/loud.wav", "--json"]);
    let report: Value = serde_json::from_slice(&predicted.stdout).unwrap();
    assert_eq!(report["unusable"][0]["code"], "no_feature", "{report}");

    // An experiment without that feature finds the other in the cache.
    let one =
        dir.read("experiments/tones.toml").split("[features.mel]").next().unwrap().to_owned() + "[models.average]\n";
    fs::write(dir.path("experiments/tones.toml"), one).unwrap();
    let one = dir.run("tones", &[]);
    assert_eq!((&one["cache"]["misses"], &one["unusable"]), (&0.into(), &0.into()));

    let predicted = dir.timbre(&["predict", "tones", "data/tones/low/loud.wav", "--json"]);
    assert_eq!(predicted.status.code(), Some(0), "{}", text(&predicted.stderr));
}
