//! `timbre run` end to end: recordings in, run folder out, also with kills and unusable files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::test_dir::{TWO_MODELS, TestDir, text};

/// A small demo set: large enough for every class in every subset.
const SMALL: [&str; 3] = ["data.clips_per_class=10", "data.test_recordings=2", "split.validation=0.0"];

impl TestDir {
    /// `timbre run quickstart` on the small set, its runs in `runs`.
    fn quickstart(&self, runs: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["run", "quickstart", "--json", "-q", "--runs", runs]);
        SMALL.iter().for_each(|key| {
            command.args(["--set", key]);
        });
        command.args(more);
        command
    }
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{:?}\n{}", output.status, text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn results(dir: &TestDir, runs: &str) -> String {
    fs::read_to_string(dir.path(runs).join("quickstart/latest/results.csv")).unwrap()
}

#[test]
fn quickstart_writes_every_file_of_the_run_folder() {
    let dir = TestDir::new();
    let result = json(&dir.quickstart("runs", &[]).output().unwrap());
    assert_eq!(result["status"], "ok");
    assert_eq!(result["schema"], 1);
    // 5 features × 3 models, and two baselines.
    assert_eq!(result["results"].as_array().unwrap().len(), 17);
    let run = dir.path(result["run"].as_str().unwrap());
    for file in [
        "config.toml",
        "config.resolved.toml",
        "run.json",
        "results.csv",
        "results.parquet",
        "grid.csv",
        "predictions.parquet",
        "per_class.csv",
        "confusion.csv",
        "hardest.csv",
        "unusable.jsonl",
        "log.jsonl",
        "models/mel.knn.s1/model.safetensors",
        "models/mel.knn.s1/model.json",
    ] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let grid = fs::read_to_string(run.join("grid.csv")).unwrap();
    let lines: Vec<&str> = grid.lines().collect();
    assert_eq!(lines[0], "features,average,knn,logistic");
    let features: Vec<&str> = lines[1..].iter().map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(features, ["raw", "fft", "mel", "centroid", "bandwidth"]);
}

#[test]
fn a_second_start_computes_nothing_and_gives_the_same_rows() {
    let dir = TestDir::new();
    let first = json(&dir.quickstart("runs", &[]).output().unwrap());
    let second = json(&dir.quickstart("runs", &[]).output().unwrap());
    assert!(first["cache"]["misses"].as_u64().unwrap() > 0);
    assert_eq!(second["cache"]["misses"], 0);
    assert_eq!(second["cache"]["hits"], first["cache"]["misses"]);
    assert_eq!((&second["run"], &second["results"]), (&first["run"], &first["results"]));
}

#[test]
fn the_number_of_threads_does_not_change_the_bytes() {
    let dir = TestDir::new();
    json(&dir.quickstart("one", &["--jobs", "1", "--cache", "cache1"]).output().unwrap());
    json(&dir.quickstart("two", &["--jobs", "2", "--cache", "cache2"]).output().unwrap());
    let again = json(&dir.quickstart("two-again", &["--jobs", "2", "--cache", "cache2", "--fresh"]).output().unwrap());
    assert_eq!(again["cache"]["misses"], 0, "the features were there");
    assert_eq!(results(&dir, "one"), results(&dir, "two"));
    assert_eq!(results(&dir, "one"), results(&dir, "two-again"));
}

/// Kills `child` with SIGKILL as soon as `reached` is true. Returns whether it was still running.
fn kill_when(child: &mut std::process::Child, reached: impl Fn() -> bool) -> bool {
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if reached() {
            child.kill().unwrap();
            return child.wait().unwrap().code().is_none();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_run_that_is_killed_repeatedly_gives_the_same_bytes() {
    let dir = TestDir::new();
    json(&dir.quickstart("undisturbed", &["--cache", "cache1"]).output().unwrap());
    let (runs, features) = (dir.path("killed/quickstart"), dir.path("cache2/features"));
    let files_in = |folder: &Path| fs::read_dir(folder).map_or(0, |d| d.flatten().count());
    let trials = || {
        let folders = fs::read_dir(&runs).into_iter().flatten().flatten();
        folders.map(|run| files_in(&run.path().join("units"))).max().unwrap_or(0)
    };
    let bytes_in = |folder: &Path| {
        let size = |e: fs::DirEntry| e.metadata().map_or(0, |m| m.len());
        fs::read_dir(folder).map_or(0, |d| d.flatten().map(size).sum::<u64>())
    };
    // While the data is generated, twice while features are computed, and after the first, the fifth and the twelfth trial.
    let moments: [Box<dyn Fn() -> bool>; 6] = [
        Box::new(|| dir.path("cache2").is_dir()),
        Box::new(|| bytes_in(&features) > 2_000_000),
        Box::new(|| bytes_in(&features) > 20_000_000),
        Box::new(|| trials() >= 1),
        Box::new(|| trials() >= 5),
        Box::new(|| trials() >= 12),
    ];
    let mut killed = 0;
    for moment in moments {
        let mut child = dir.quickstart("killed", &["--cache", "cache2"]).stdout(Stdio::null()).spawn().unwrap();
        killed += usize::from(kill_when(&mut child, moment));
    }
    assert!(killed >= 5, "only {killed} kills found the program running");
    let end = json(&dir.quickstart("killed", &["--cache", "cache2"]).output().unwrap());
    assert_eq!(end["status"], "ok");
    assert_eq!(results(&dir, "undisturbed"), results(&dir, "killed"));
    let folders = fs::read_dir(dir.path("killed/quickstart")).unwrap().flatten();
    assert_eq!(folders.filter(|e| e.file_type().unwrap().is_dir()).count(), 1, "the same folder is taken up again");
}

#[test]
fn a_cache_that_changes_during_a_run_gives_failed_trials_and_never_other_numbers() {
    use std::os::unix::fs::FileExt;
    let dir = TestDir::with(&[("tiny.toml", TWO_MODELS)]);
    let seeds: Vec<String> = (1..=30).map(|seed| seed.to_string()).collect();
    let seeds = format!("seeds=[{}]", seeds.join(", "));
    let tiny = |runs: &str| dir.command(&["run", "tiny.toml", "-q", "--runs", runs, "--set", &seeds]);
    let results = |runs: &str| dir.read(&format!("{runs}/tiny/latest/results.csv"));
    assert!(tiny("undisturbed").output().unwrap().status.success());
    let child = tiny("disturbed").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = dir.path("disturbed/tiny");
    let has_trial = |run: fs::DirEntry| run.path().join("units/fft.average.s1.json").is_file();
    while !fs::read_dir(&runs).is_ok_and(|runs| runs.flatten().any(has_trial)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let packs = fs::read_dir(dir.path("data/.cache/features")).unwrap().flatten().map(|entry| entry.path());
    for pack in packs.filter(|path| path.extension().is_some_and(|extension| extension == "pack")) {
        let file = fs::File::options().write(true).open(pack).unwrap();
        let half = file.metadata().unwrap().len() / 2;
        file.write_all_at(&vec![0x3f; half as usize], half).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("feature cache was changed"), "{}", text(&output.stderr));
    let record: Value = serde_json::from_str(&dir.read("disturbed/tiny/latest/run.json")).unwrap();
    assert_eq!(record["status"], "failed");
    let expected = results("undisturbed");
    let rows = results("disturbed");
    assert!(rows.lines().count() < expected.lines().count());
    assert!(rows.lines().all(|row| expected.lines().any(|expected| expected == row)), "finished trials are right");
    assert!(tiny("disturbed").output().unwrap().status.success());
    assert_eq!(results("disturbed"), expected, "the next start repairs the rest");
}

#[test]
fn a_run_whose_folder_is_removed_says_so_and_the_next_start_makes_it_again() {
    let dir = TestDir::with(&[("tiny.toml", TWO_MODELS)]);
    let seeds: Vec<String> = (1..=30).map(|seed| seed.to_string()).collect();
    let seeds = format!("seeds=[{}]", seeds.join(", "));
    let tiny = || dir.command(&["run", "tiny.toml", "--set", &seeds]);
    let mut child = tiny().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = dir.path("runs/tiny");
    let with_trial = |run: &fs::DirEntry| run.path().join("units/fft.average.s1.json").is_file();
    let run = loop {
        match fs::read_dir(&runs).ok().and_then(|runs| runs.flatten().find(with_trial)) {
            Some(run) => break run.path(),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first trial");
    };
    while run.exists() {
        let _ = fs::remove_dir_all(&run);
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.lines().last().unwrap().contains("was removed"), "{said}");
    assert!(tiny().output().unwrap().status.success());
}

#[test]
fn a_finished_run_is_shown_where_nothing_can_be_written() {
    let dir = TestDir::with(&[("tiny.toml", TWO_MODELS)]);
    let first = dir.run("tiny.toml", &[]);
    // Like a read-only folder, also for root.
    fs::remove_file(dir.path("runs/tiny/.lock")).unwrap();
    fs::create_dir(dir.path("runs/tiny/.lock")).unwrap();
    fs::remove_file(dir.path("runs/tiny/latest")).unwrap();
    fs::create_dir(dir.path("runs/tiny/latest")).unwrap();
    let again = dir.run("tiny.toml", &[]);
    assert_eq!((&again["status"], &again["run"], &again["results"]), (&"ok".into(), &first["run"], &first["results"]));
    let fresh = dir.timbre(&["run", "tiny.toml", "--fresh"]);
    assert_eq!(fresh.status.code(), Some(1));
    assert!(text(&fresh.stderr).contains("cannot write in"), "{}", text(&fresh.stderr));
}

#[test]
fn a_generated_set_that_was_killed_leaves_nothing_after_the_next_start() {
    let dir = TestDir::new();
    let make = || dir.command(&["data", "make", "demo", "--clips-per-class", "30", "--out", "set", "-q"]);
    let names = || {
        let entries = fs::read_dir(dir.path(".")).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let mut child = make().stdout(Stdio::null()).spawn().unwrap();
    assert!(kill_when(&mut child, || names().iter().any(|name| name.starts_with(".set."))));
    assert!(!dir.path("set").exists() && names().len() == 1, "{:?}", names());
    assert!(make().output().unwrap().status.success());
    assert_eq!(names(), ["set"]);
}

#[test]
fn ctrl_c_exits_with_75_and_the_next_start_continues() {
    let dir = TestDir::new();
    let child = dir.quickstart("runs", &["--jobs", "1"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let features = dir.path("data/.cache/features");
    // The first pack shows that features are being computed.
    while !fs::read_dir(&features)
        .is_ok_and(|mut d| d.any(|e| e.unwrap().path().extension().is_some_and(|x| x == "pack")))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    let end = json(&dir.quickstart("runs", &[]).output().unwrap());
    assert!(end["cache"]["hits"].as_u64().unwrap() > 0, "what was computed before the signal is in the cache");
}

/// One folder per class, copied from the demo set.
fn folder_of_clips(dir: &TestDir, name: &str) -> PathBuf {
    let made = dir.timbre(&["data", "make", "demo", "--clips-per-class", "10", "--out", "demo-set", "-q"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let root = dir.path(name);
    for class in fs::read_dir(dir.path("demo-set/IRMAS-TrainingData")).unwrap().flatten() {
        let into = root.join(class.file_name());
        fs::create_dir_all(&into).unwrap();
        for clip in fs::read_dir(class.path()).unwrap().flatten() {
            fs::copy(clip.path(), into.join(clip.file_name())).unwrap();
        }
    }
    root
}

fn experiment_on_folder(dir: &TestDir, name: &str, root: &Path, more: &str) {
    let song = r"\](\d+)__\d+\.wav$";
    let text = format!(
        "extends = \"quickstart.toml\"\n{more}\n[data]\nkind = \"folder\"\nroot = '{}'\ngroup = '{song}'\n[split]\nkind = \"holdout\"\nvalidation = 0.0\n",
        root.display()
    );
    fs::write(dir.path(name), text).unwrap();
}

#[test]
fn unusable_files_are_listed_and_change_no_result() {
    let dir = TestDir::new();
    let clean = folder_of_clips(&dir, "clean");
    let dirty = folder_of_clips_copy(&dir, &clean, "dirty");
    let class = dirty.join("cel");
    let good = fs::read(fs::read_dir(&class).unwrap().next().unwrap().unwrap().path()).unwrap();
    fs::write(class.join("empty]0001__1.wav"), b"").unwrap();
    fs::write(class.join("truncated]0002__1.wav"), &good[..good.len() / 2]).unwrap();
    fs::write(class.join("text]0003__1.wav"), "this is a letter, not a recording\n".repeat(40)).unwrap();
    let mut float = wav_head(3, 32, 4 * 66_150);
    float.extend((0..66_150u32).flat_map(|i| if i == 500 { f32::NAN } else { 0.25 }.to_le_bytes()));
    fs::write(class.join("nan]0004__1.wav"), float).unwrap();
    let mut silent = wav_head(1, 16, 2 * 66_150);
    silent.extend(vec![0u8; 2 * 66_150]);
    fs::write(class.join("silent]0005__1.wav"), silent).unwrap();
    experiment_on_folder(&dir, "clean.toml", &clean, "");
    experiment_on_folder(&dir, "dirty.toml", &dirty, "max_unusable = 0.05");
    json(&dir.timbre(&["run", "clean.toml", "--json", "-q"]));
    let result = json(&dir.timbre(&["run", "dirty.toml", "--json", "-q"]));
    assert_eq!(result["unusable"], 5);
    let listed = fs::read_to_string(dir.path("runs/dirty/latest/unusable.jsonl")).unwrap();
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut reasons: Vec<(&str, &str)> =
        listed.iter().map(|v| (v["path"].as_str().unwrap(), v["reason"].as_str().unwrap())).collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            ("cel/empty]0001__1.wav", "empty"),
            ("cel/nan]0004__1.wav", "not_finite"),
            ("cel/silent]0005__1.wav", "silent"),
            ("cel/text]0003__1.wav", "not_audio"),
            ("cel/truncated]0002__1.wav", "truncated"),
        ]
    );
    let of = |name: &str| fs::read_to_string(dir.path(&format!("runs/{name}/latest/results.csv"))).unwrap();
    assert_eq!(of("clean"), of("dirty"));
    // With a stricter limit everything is written, and the exit code reports the excess.
    experiment_on_folder(&dir, "strict.toml", &dirty, "max_unusable = 0.001");
    let strict = dir.timbre(&["run", "strict.toml", "-q"]);
    assert_eq!(strict.status.code(), Some(3));
    assert_eq!(of("strict"), of("clean"));
    // A finished run that is shown again applies the current limit.
    let lenient = dir.timbre(&["run", "strict.toml", "-q", "--set", "max_unusable=0.5"]);
    assert_eq!(lenient.status.code(), Some(0));
}

fn folder_of_clips_copy(dir: &TestDir, from: &Path, name: &str) -> PathBuf {
    let root = dir.path(name);
    for class in fs::read_dir(from).unwrap().flatten() {
        fs::create_dir_all(root.join(class.file_name())).unwrap();
        for clip in fs::read_dir(class.path()).unwrap().flatten() {
            fs::copy(clip.path(), root.join(class.file_name()).join(clip.file_name())).unwrap();
        }
    }
    root
}

/// The head of a mono WAV file at 22,050 Hz.
fn wav_head(format: u16, bits: u16, data: u32) -> Vec<u8> {
    let mut head = b"RIFF".to_vec();
    head.extend((36 + data).to_le_bytes());
    head.extend(b"WAVEfmt ");
    head.extend(16u32.to_le_bytes());
    head.extend(format.to_le_bytes());
    head.extend(1u16.to_le_bytes());
    head.extend(22_050u32.to_le_bytes());
    head.extend((22_050 * u32::from(bits) / 8).to_le_bytes());
    head.extend((bits / 8).to_le_bytes());
    head.extend(bits.to_le_bytes());
    head.extend(b"data");
    head.extend(data.to_le_bytes());
    head
}

#[test]
fn a_folder_without_readable_files_exits_with_4() {
    let dir = TestDir::new();
    let root = dir.path("silent");
    fs::create_dir_all(root.join("cel")).unwrap();
    fs::create_dir_all(root.join("flu")).unwrap();
    for class in ["cel", "flu"] {
        fs::write(root.join(class).join("a]0001__1.wav"), b"").unwrap();
    }
    experiment_on_folder(&dir, "silent.toml", &root, "");
    let output = dir.timbre(&["run", "silent.toml", "-q"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
}

#[test]
fn misspelt_keys_are_usage_errors_with_a_suggestion_each() {
    let dir = TestDir::new();
    fs::write(dir.path("x.toml"), "extends = \"quickstart.toml\"\n[features.mel]\nn_mel = 64\n[models.knn]\nkk = 3\n")
        .unwrap();
    let output = dir.timbre(&["check", "x.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("x.toml:3:1") && stderr.contains("n_mels") && stderr.contains("x.toml:5:1"), "{stderr}");
    assert!(output.stdout.is_empty(), "stdout is for data");
}

#[test]
fn a_missing_gpu_is_a_usage_error() {
    let output = TestDir::new().timbre(&["run", "quickstart", "--device", "cuda"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--device cpu"), "{}", text(&output.stderr));
}

#[test]
fn missing_data_is_explained() {
    let dir = TestDir::new();
    let output = dir.timbre(&["run", "simple_models"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    for word in ["IRMAS-TrainingData", "4fd9f5ed5a18d8e2687e6360b5f60afe", "1290750", "DATA=demo"] {
        assert!(stderr.contains(word), "{word} is missing in: {stderr}");
    }
}

#[test]
fn simple_models_runs_on_the_demo_data_and_draws_its_curve() {
    let dir = TestDir::new();
    let output =
        dir.timbre(&["run", "simple_models", "--data", "demo", "--json", "-q", "--set", SMALL[0], "--set", SMALL[1]]);
    assert_eq!(json(&output)["status"], "ok");
    let curves = fs::read_to_string(dir.path("runs/simple_models/latest/curves.csv")).unwrap();
    assert_eq!(curves.lines().filter(|line| line.starts_with("mel,knn,1,test,k,")).count(), 15, "{curves}");
}

#[test]
fn a_second_process_on_the_same_run_fails() {
    let dir = TestDir::new();
    json(&dir.quickstart("runs", &["--set", "seeds=[7]"]).output().unwrap());
    let run = fs::canonicalize(dir.path("runs/quickstart/latest")).unwrap();
    // Unfinished, and locked by another process.
    let record = fs::read_to_string(run.join("run.json")).unwrap();
    fs::write(run.join("run.json"), record.replace("\"status\": \"done\"", "\"status\": \"running\"")).unwrap();
    let lock = fs::File::create(run.join(".lock")).unwrap();
    lock.lock().unwrap();
    let output = dir.quickstart("runs", &["--set", "seeds=[7]"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another process"), "{}", text(&output.stderr));
}

#[test]
fn an_edited_recording_is_computed_again_and_a_moved_folder_is_not() {
    let dir = TestDir::new();
    let root = folder_of_clips(&dir, "here");
    experiment_on_folder(&dir, "x.toml", &root, "");
    let first = json(&dir.timbre(&["run", "x.toml", "--json", "-q"]));
    let moved = dir.path("there");
    fs::rename(&root, &moved).unwrap();
    experiment_on_folder(&dir, "x.toml", &moved, "");
    let second = json(&dir.timbre(&["run", "x.toml", "--json", "-q"]));
    assert_eq!((&second["cache"]["misses"], &second["run"]), (&Value::from(0), &first["run"]));
    let clip = fs::read_dir(moved.join("flu")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&clip).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&clip, bytes).unwrap();
    let third = json(&dir.timbre(&["run", "x.toml", "--json", "-q"]));
    assert_eq!(third["cache"]["misses"], 5, "five features of one recording");
    assert_ne!(third["run"], first["run"]);
}

#[test]
fn copies_of_a_recording_in_two_songs_stay_on_one_side() {
    let dir = TestDir::new();
    let root = folder_of_clips(&dir, "copies");
    for (c, class) in fs::read_dir(&root).unwrap().flatten().enumerate() {
        // A copy of each clip, as a song of its own.
        for (i, clip) in fs::read_dir(class.path()).unwrap().flatten().collect::<Vec<_>>().iter().enumerate() {
            fs::copy(clip.path(), class.path().join(format!("copy]{}__1.wav", 9000 + 100 * c + i))).unwrap();
        }
    }
    experiment_on_folder(&dir, "copies.toml", &root, "");
    // With a copy in the training subset, one nearest neighbour on raw samples would be always right.
    let result = json(&dir.timbre(&["run", "copies.toml", "--json", "-q", "--set", "models.knn.k=1"]));
    let raw =
        result["results"].as_array().unwrap().iter().find(|r| r["features"] == "raw" && r["model"] == "knn").unwrap();
    assert!(raw["metrics"]["accuracy"].as_f64().unwrap() < 0.5, "{raw}");
}

#[test]
fn a_cache_that_rots_on_disk_changes_no_result() {
    let dir = TestDir::new();
    json(&dir.quickstart("runs", &[]).output().unwrap());
    let before = results(&dir, "runs");
    let features = fs::read_dir(dir.path("data/.cache/features")).unwrap().flatten();
    let pack = features.map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "pack")).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[10_000_000..14_000_000].fill(0);
    fs::write(&pack, bytes).unwrap();
    let again = json(&dir.quickstart("runs", &["--fresh"]).output().unwrap());
    assert!(again["cache"]["misses"].as_u64().unwrap() > 0);
    assert_eq!(results(&dir, "runs"), before);
}

#[test]
fn a_table_that_was_removed_from_a_finished_run_is_written_again() {
    let dir = TestDir::new();
    json(&dir.quickstart("runs", &[]).output().unwrap());
    let before = results(&dir, "runs");
    fs::remove_file(dir.path("runs/quickstart/latest/results.csv")).unwrap();
    json(&dir.quickstart("runs", &[]).output().unwrap());
    assert_eq!(results(&dir, "runs"), before);
}

#[test]
fn a_split_that_cannot_be_made_is_told_by_check_and_by_run() {
    let dir = TestDir::new();
    for command in ["check", "run"] {
        let output = dir.timbre(&[command, "quickstart", "--set", "data.clips_per_class=1", "--set", SMALL[1]]);
        assert_eq!(output.status.code(), Some(2), "{command}: {}", text(&output.stderr));
    }
}

#[test]
fn models_that_were_not_saved_are_made_when_they_are_asked_for() {
    let dir = TestDir::new();
    let first = json(&dir.quickstart("runs", &["--set", "save_models=false"]).output().unwrap());
    let sets = SMALL.iter().flat_map(|key| ["--set", key]).chain(["--set", "save_models=false"]);
    let printed = text(&dir.done(&["run", "quickstart"].into_iter().chain(sets).collect::<Vec<_>>()).stderr);
    assert!(printed.contains("Next: timbre run quickstart --set save_models=true keeps the models"), "{printed}");
    let model = dir.path(first["run"].as_str().unwrap()).join("models/mel.logistic.s1/model.json");
    assert!(!model.exists());
    let second = json(&dir.quickstart("runs", &[]).output().unwrap());
    assert!(model.is_file());
    assert_eq!((&first["run"], &first["results"]), (&second["run"], &second["results"]));
}

#[test]
fn latest_is_the_run_that_was_shown_last() {
    let dir = TestDir::new();
    let latest = || fs::canonicalize(dir.path("runs/quickstart/latest")).unwrap();
    let first = json(&dir.quickstart("runs", &[]).output().unwrap());
    json(&dir.quickstart("runs", &["--set", "models.knn.k=3"]).output().unwrap());
    json(&dir.quickstart("runs", &[]).output().unwrap());
    assert_eq!(latest(), fs::canonicalize(dir.path(first["run"].as_str().unwrap())).unwrap());
}

#[test]
fn a_run_goes_on_where_nobody_reads_what_it_says() {
    let dir = TestDir::with(&[("two.toml", TWO_MODELS)]);
    let mut command = dir.command(&["run", "two.toml", "-v"]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Like `| head`, which closes the pipe.
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    assert!(dir.path("runs/two/latest/report.html").is_file());
}

#[test]
fn runs_are_listed_and_compared() {
    let dir = TestDir::new();
    json(&dir.quickstart("runs", &[]).output().unwrap());
    json(&dir.quickstart("runs", &["--set", "models.knn.k=3"]).output().unwrap());
    let listed = json(&dir.timbre(&["runs", "--json"]));
    let runs: Vec<&str> = listed["runs"].as_array().unwrap().iter().map(|r| r["run"].as_str().unwrap()).collect();
    assert_eq!(runs.len(), 2);
    let compared = dir.timbre(&["compare", runs[1], runs[0], "--csv", "out/compared.csv"]);
    assert!(compared.status.success(), "{}", text(&compared.stderr));
    assert!(text(&compared.stdout).contains("models.knn.k: 5 | 3"), "{}", text(&compared.stdout));
    // A header; fifteen models and two trivial baselines of each run.
    assert_eq!(fs::read_to_string(dir.path("out/compared.csv")).unwrap().lines().count(), 1 + 2 * 17);
}
