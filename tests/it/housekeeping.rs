//! `timbre rm` and `timbre gc`: what is removed, what stays, and that nothing is removed without consent.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use timbre_runs::run_dir::{self, RunDir};

use crate::test_dir::{TWO_MODELS, TestDir, text};

const DAY: u64 = 86_400;

/// Every path below the folder with its size, links by their target.
fn tree(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            found.push((path.clone(), format!("{:?}", fs::read_link(&path).unwrap())));
        } else if path.is_dir() {
            found.extend(tree(&path));
            found.push((path, "folder".into()));
        } else {
            found.push((path.clone(), fs::metadata(&path).unwrap().len().to_string()));
        }
    }
    found.sort();
    found
}

/// A run folder whose last write was some days ago.
fn run(dir: &TestDir, name: &str, status: &str, signature: &str, days: u64) -> PathBuf {
    let path = dir.path("runs/x").join(name);
    fs::create_dir_all(path.join("units")).unwrap();
    fs::write(dir.path("runs/x/.lock"), "").unwrap();
    let results = r#"[{"features":"mel","model":"knn","seed":1,"split":"test","n":1,"metrics":{"accuracy":1.0}}]"#;
    let record = format!(
        r#"{{"schema":1,"experiment":"x","description":"","signature":"{signature}","status":"{status}","started":"","ended":null,
            "seeds":[1],"classes":[],"metric":"accuracy","data":{{"name":"d","hash":"","clips":1,"unusable":0,"set_aside":0}},
            "cache":{{"hits":0,"misses":0}},"seconds":{{}},"failures":{{}},"results":{results},"environment":null}}"#
    );
    write(&path.join("run.json"), &record, days * DAY);
    path
}

fn write(path: &Path, bytes: &str, seconds_ago: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
}

const A: &str = "aaaaaaaaaaaaaaaa";

#[test]
fn gc_removes_only_stale_and_superseded_runs() {
    let dir = TestDir::new();
    let goes = [
        run(&dir, "20260101T000000Z-00000001", "stopped", "0000000100000000", 40),
        run(&dir, "20260101T000000Z-00000002", "failed", "0000000200000000", 40),
        run(&dir, "20260101T000000Z-00000003", "running", "0000000300000000", 40),
        run(&dir, "20260101T000000Z-aaaaaaaa", "done", A, 40),
    ];
    let stays = [
        run(&dir, "20260201T000000Z-aaaaaaaa", "done", A, 35),
        run(&dir, "20260101T000000Z-00000004", "done", "0000000400000000", 400),
        run(&dir, "20260101T000000Z-00000005", "too_many_unusable", "0000000500000000", 400),
        run(&dir, "20260101T000000Z-00000006", "stopped", "0000000600000000", 3),
    ];
    // A run with a later write than its record; a half-removed one; one without a record.
    write(&stays[3].join("log.jsonl"), "{}", DAY);
    write(&dir.path("runs/x/.removed-20260101T000000Z-00000007/run.json"), "{}", 2 * DAY);
    write(&dir.path("runs/x/20260101T000000Z-00000008/config.toml"), "", 40 * DAY);
    // Files that are not runs.
    write(&dir.path("runs/x/photos/cat.jpg"), "meow", 400 * DAY);
    write(&dir.path("runs/notes/20260101T000000Z-00000009.txt"), "dear", 400 * DAY);
    write(&dir.path("runs/x/20260101T000000Z-0000000a/run.json"), "{ half", 400 * DAY);
    // In runs that stay.
    write(&stays[1].join("units/.part-abc"), "old", 2 * DAY);
    write(&stays[1].join("units/.part-def"), "new", 60);
    write(&stays[1].join("checkpoints/mel.net.s1/1.safetensors"), "large", 60);
    write(&stays[3].join("checkpoints/mel.net.s1/1.safetensors"), "large", 60);
    write(&stays[3].join("checkpoints/mel.other.s1/1.safetensors"), "large", 60);
    write(&stays[3].join("units/mel.other.s1.json"), "{}", 60);
    symlink("20260101T000000Z-00000001", dir.path("runs/x/latest")).unwrap();

    let before = tree(&dir.path("runs"));
    let output = dir.done(&["gc", "--dry-run"]);
    assert_eq!(tree(&dir.path("runs")), before, "a dry run changes nothing");
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), goes.len() + 5, "{lines}");
    for path in &goes {
        assert!(lines.contains(path.file_name().unwrap().to_str().unwrap()), "{lines}");
    }
    assert!(lines.contains("superseded by 20260201T000000Z-aaaaaaaa"), "{lines}");
    assert!(text(&output.stderr).contains("0000000a"), "a damaged record is reported: {}", text(&output.stderr));

    let refused = dir.timbre(&["gc"]);
    assert_eq!((refused.status.code(), tree(&dir.path("runs"))), (Some(2), before), "without consent");

    dir.done(&["gc", "--yes"]);
    goes.iter().for_each(|path| assert!(!path.exists(), "{}", path.display()));
    stays.iter().for_each(|path| assert!(path.join("run.json").is_file(), "{}", path.display()));
    for (name, is_there) in [
        (".removed-20260101T000000Z-00000007", false),
        ("20260101T000000Z-00000008", false),
        ("photos/cat.jpg", true),
        ("../notes/20260101T000000Z-00000009.txt", true),
        ("20260101T000000Z-0000000a/run.json", true),
        ("20260101T000000Z-00000004/units/.part-abc", false),
        ("20260101T000000Z-00000004/units/.part-def", true),
        ("20260101T000000Z-00000004/checkpoints", false),
        ("20260101T000000Z-00000006/checkpoints/mel.net.s1/1.safetensors", true),
        ("20260101T000000Z-00000006/checkpoints/mel.other.s1", false),
    ] {
        assert_eq!(dir.path("runs/x").join(name).exists(), is_there, "{name}");
    }
    assert_eq!(dir.path("runs/x/latest").canonicalize().unwrap(), stays[0].canonicalize().unwrap());
    let again = dir.done(&["gc", "--yes"]);
    assert_eq!(text(&again.stdout), "", "nothing is left to remove");
}

#[test]
fn runs_in_progress_are_not_removed() {
    let dir = TestDir::new();
    let held = run(&dir, "20260101T000000Z-00000001", "stopped", "0000000100000000", 40);
    let free = run(&dir, "20260101T000000Z-00000002", "stopped", "0000000200000000", 40);
    let lock = RunDir::lock(held.clone()).unwrap();
    let output = dir.done(&["gc", "--dry-run", "--days", "0"]);
    assert!(!text(&output.stdout).contains("00000001"), "{}", text(&output.stdout));
    let names = [&held, &free].map(|path| path.to_str().unwrap());
    let removed = dir.timbre(&["rm", "--yes", names[0], names[1]]);
    assert_eq!(removed.status.code(), Some(1), "{}", text(&removed.stderr));
    assert!(text(&removed.stderr).contains("another process is working on"), "{}", text(&removed.stderr));
    assert!(held.join("run.json").is_file() && !free.exists());
    drop(lock);
    dir.done(&["rm", "--yes", names[0]]);
    assert!(!dir.path("runs/x").exists(), "the folder of an experiment is removed with its last run");
}

#[test]
fn rm_asks_and_removes_only_named_runs() {
    let dir = TestDir::new();
    let young = run(&dir, "20260301T000000Z-00000003", "done", "0000000300000000", 1);
    let old = run(&dir, "20260101T000000Z-00000001", "done", "0000000100000000", 1);
    run(&dir, "20260401T000000Z-00000004", "stopped", "0000000400000000", 1);
    run_dir::make_latest(&young).unwrap();
    let before = tree(&dir.path("runs"));
    for (arguments, code) in [
        (&["rm", "x/latest"][..], 2),
        (&["rm", "x/latest", "--dry-run"], 0),
        (&["rm", "x", "--yes"], 2),
        (&["rm", "", "--yes"], 2),
        (&["rm", ".", "--yes"], 2),
        (&["rm", "..", "--yes"], 2),
        (&["rm", "/", "--yes"], 2),
        (&["rm", "runs", "--yes"], 2),
        (&["rm", "--yes", "--", "-rf"], 2),
        (&["rm", "x/../../runs", "--yes"], 2),
        (&["rm", "x/nothing", "x/latest", "--yes"], 2),
        (&["rm", "00000", "--yes"], 2),
        (&["rm", "--yes"], 2),
    ] {
        let output = dir.timbre(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(tree(&dir.path("runs")), before, "{arguments:?}");
    }
    // A shell expands runs/x/2026*3 and latest to the same run twice.
    dir.done(&["rm", "--yes", "runs/x/latest", young.to_str().unwrap()]);
    assert!(!young.exists());
    assert_eq!(dir.path("runs/x/latest").canonicalize().unwrap(), old.canonicalize().unwrap(), "not the stopped one");
    dir.done(&["rm", "--yes", "00000001"]);
    assert!(!old.exists() && !dir.path("runs/x/latest").is_symlink());
}

#[test]
fn rm_does_not_follow_a_link_out_of_the_folder_of_runs() {
    let dir = TestDir::new();
    let own = run(&dir, "20260101T000000Z-00000001", "done", "0000000100000000", 1);
    let made = run(&dir, "20260201T000000Z-00000002", "done", "0000000200000000", 1);
    let elsewhere = dir.path("archive/x/20260201T000000Z-00000002");
    fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    fs::rename(made, &elsewhere).unwrap();
    symlink(&elsewhere, dir.path("runs/x/latest")).unwrap();
    symlink(dir.path("archive/x"), dir.path("runs/linked")).unwrap();
    let absolute = dir.path("runs/x/latest");
    let below_a_link = "linked/20260201T000000Z-00000002";
    for name in ["x/latest", "runs/x/latest", "./runs/x/latest", absolute.to_str().unwrap(), below_a_link] {
        let output = dir.timbre(&["rm", "--yes", name]);
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains("outside of runs"), "{name}: {error}");
        assert!(elsewhere.join("run.json").is_file() && own.is_dir() && absolute.is_symlink(), "{name}");
    }
    dir.done(&["rm", "--yes", elsewhere.to_str().unwrap()]);
    assert!(!elsewhere.exists() && own.is_dir());
}

#[test]
fn hostile_folders_are_not_removed() {
    let dir = TestDir::new();
    let outside = dir.path("outside");
    write(&outside.join("thesis.tex"), "years", 400 * DAY);
    // A record of another program, a link with the name of a run, links inside a run, a name that moves the cursor.
    write(&dir.path("photos/run.json"), r#"{"schema":1}"#, 400 * DAY);
    let inside = run(&dir, "20260101T000000Z-00000001", "stopped", "0000000100000000", 40);
    symlink(&outside, inside.join("models")).unwrap();
    symlink(&outside, inside.join("checkpoints")).unwrap();
    symlink(&outside, dir.path("runs/x/20260101T000000Z-00000002")).unwrap();
    symlink(&outside, dir.path("runs/elsewhere")).unwrap();
    let strange = dir.path("runs/x/20260101T000000Z-0000\u{1b}[2J");
    write(&strange.join("run.json"), &fs::read_to_string(inside.join("run.json")).unwrap(), 40 * DAY);
    for name in ["photos", "outside", "runs/x/20260101T000000Z-00000002", "runs/elsewhere"] {
        let output = dir.timbre(&["rm", "--yes", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output.stderr));
    }
    let here = dir.command(&["rm", "--yes", "."]).current_dir(&inside).output().unwrap();
    assert_eq!(here.status.code(), Some(2), "{}", text(&here.stderr));
    // The links were made just now.
    dir.done(&["gc", "--yes", "--days", "0"]);
    assert!(!inside.exists() && strange.is_dir(), "it is not the name of a run");
    let output = dir.done(&["rm", "--yes", strange.to_str().unwrap()]);
    assert!(!text(&output.stdout).contains('\u{1b}') && !strange.exists());
    assert_eq!(fs::read_to_string(outside.join("thesis.tex")).unwrap(), "years");
    assert!(dir.path("photos/run.json").is_file());
}

#[test]
fn a_run_does_not_need_the_run_whose_trials_it_reused() {
    let dir = TestDir::with(&[("tiny.toml", TWO_MODELS)]);
    dir.done(&["run", "tiny.toml", "-q"]);
    let first = dir.path("runs/tiny/latest").canonicalize().unwrap();
    dir.done(&["run", "tiny.toml", "-q", "--set", "evaluate.bootstrap=50"]);
    let second = dir.path("runs/tiny/latest").canonicalize().unwrap();
    let taken = run_dir::read_record(&second).unwrap().reused.expect("its trials were reused");
    let from = dir.path(taken.run.to_str().unwrap()).canonicalize().unwrap();
    assert_eq!((taken.trials.len(), from), (2, first.clone()));
    let before = dir.bytes("runs/tiny/latest/results.csv");
    dir.done(&["rm", "--yes", first.to_str().unwrap()]);
    assert!(!first.exists());
    assert_eq!(dir.path("runs/tiny/latest").canonicalize().unwrap(), second);
    let again = dir.done(&["run", "tiny.toml", "--set", "evaluate.bootstrap=50"]);
    assert!(text(&again.stderr).contains("Already finished on"), "{}", text(&again.stderr));
    // From its trials alone.
    fs::remove_file(second.join("results.csv")).unwrap();
    dir.done(&["run", "tiny.toml", "-q", "--set", "evaluate.bootstrap=50"]);
    assert_eq!(dir.bytes("runs/tiny/latest/results.csv"), before);
    let recording = dir.recordings().join("IRMAS-TrainingData/cel");
    dir.done(&["predict", "tiny/latest:fft.logistic.s1", recording.to_str().unwrap(), "-q"]);
    dir.done(&["gc", "--yes", "--days", "0"]);
    assert!(second.is_dir());
}
