//! The work of an experiment in several processes, as several machines would do it: shards, merge, single trials.
//!
//! Each process has a cache folder of its own; they share the folders of the parts and the runs.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::test_dir::{TestDir, text};

const TWO_FEATURES: &str = r#"
max_unusable = 0.1
[data]
kind = "folder"
root = "set/IRMAS-TrainingData"
[audio]
sample_rate = 16000
clip_seconds = 2.0
[split]
kind = "holdout"
validation = 0.25
test = 0.25
[features.mel]
n_mels = 16
[features.contrast]
[models.knn]
[models.logistic]
[models.both]
kind = "ensemble"
members = ["mel.knn", "contrast.logistic"]
[evaluate]
bootstrap = 50
"#;

/// Recordings that all processes read, and a silent one that cannot be used.
fn project(experiment: &str) -> TestDir {
    let dir = TestDir::with(&[("two.toml", experiment)]);
    dir.done(&["data", "make", "demo", "--clips-per-class", "6", "--out", "data/set", "-q"]);
    let silent = dir.path("data/set/IRMAS-TrainingData/cel/silent.wav");
    let mut writer = hound::WavWriter::create(
        silent,
        hound::WavSpec {
            channels: 1,
            sample_rate: 16000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        },
    )
    .unwrap();
    (0..48000).for_each(|_| writer.write_sample(0i16).unwrap());
    writer.finalize().unwrap();
    dir
}

fn shard(dir: &TestDir, of: &str, cache: &str) -> Command {
    dir.command(&["features", "two.toml", "-q", "--shard", of, "--cache", cache, "--parts", "parts", "--jobs", "1"])
}

fn started(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Sends a signal as soon as the process has begun to write features. Returns its exit code.
fn end_within_the_features(dir: &TestDir, mut child: Child, cache: &str, signal: &str) -> Option<i32> {
    let clock = Instant::now();
    let has_begun = || {
        let packs = fs::read_dir(dir.path(cache).join("features")).into_iter().flatten().flatten();
        packs.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|ending| ending == "pack"))
    };
    while !has_begun() && child.try_wait().unwrap().is_none() {
        assert!(clock.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    child.wait().unwrap().code()
}

#[test]
fn shards_of_several_machines_give_the_results_of_one() {
    let dir = project(TWO_FEATURES);
    dir.run("two.toml", &["--runs", "one", "--cache", "cache-of-one"]);

    // Killed in the middle: no commit mark, and the next attempt goes on in the cache of the machine.
    end_within_the_features(&dir, started(shard(&dir, "0/3", "cache-0")), "cache-0", "-KILL");
    let merge = ["merge", "two.toml", "-q", "--cache", "merged", "--parts", "parts"];
    assert!(!dir.timbre(&merge).status.success());
    let mut attempts = vec![started(shard(&dir, "0/3", "cache-0")), started(shard(&dir, "0/3", "another-cache"))];
    attempts.push(started(shard(&dir, "2/3", "cache-2")));
    assert!(attempts.iter_mut().all(|attempt| attempt.wait().unwrap().success()), "two attempts at once do no harm");

    let missing = dir.timbre(&merge);
    assert_eq!((missing.status.code(), text(&missing.stdout).as_str()), (Some(6), "1\n"));
    assert!(shard(&dir, "1/3", "cache-1").env("SLURM_ARRAY_TASK_ID", "1").status().unwrap().success());
    let again = shard(&dir, "auto/3", "cache-1").env("SLURM_ARRAY_TASK_ID", "1").output().unwrap();
    assert!(text(&again.stdout).contains("finished before"), "{}", text(&again.stdout));

    let parts = fs::read_dir(dir.path("parts")).unwrap().flatten();
    let packs = parts.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "pack")).count();
    assert_eq!(packs, 3, "both attempts wrote the same bytes under the same name");
    let merged = dir.done(&merge);
    assert!(text(&merged.stdout).contains("1 unusable recording"), "{}", text(&merged.stdout));
    let run = dir.run("two.toml", &["--runs", "several", "--cache", "merged"]);
    assert_eq!(run["cache"]["misses"], 0, "no feature is computed again");
    for file in ["results.csv", "predictions.parquet", "hardest.csv", "unusable.jsonl"] {
        let [one, several] = ["one", "several"].map(|runs| dir.bytes(&format!("{runs}/two/latest/{file}")));
        assert!(one == several, "{file} differs");
    }
}

#[test]
fn parts_of_another_plan_are_refused_with_the_difference() {
    let dir = project(TWO_FEATURES);
    assert!(shard(&dir, "0/2", "cache").status().unwrap().success());
    fs::write(dir.path("two.toml"), TWO_FEATURES.replace("n_mels = 16", "n_mels = 24")).unwrap();
    for output in [
        shard(&dir, "0/2", "cache").output().unwrap(),
        dir.timbre(&["merge", "two.toml", "--cache", "cache", "--parts", "parts"]),
    ] {
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(7) && said.contains("n_mels 16 → 24"), "{said}");
    }
    let other_number = shard(&dir, "0/4", "cache").output().unwrap();
    assert_eq!(other_number.status.code(), Some(7));
    assert!(text(&other_number.stderr).contains("shards 2 → 4"), "{}", text(&other_number.stderr));
}

#[test]
fn a_damaged_part_and_an_edited_recording_make_their_shards_missing() {
    let dir = project(TWO_FEATURES);
    for of in ["0/3", "1/3", "2/3"] {
        assert!(shard(&dir, of, "cache").status().unwrap().success());
    }
    let part = fs::read_dir(dir.path("parts")).unwrap().flatten().map(|entry| entry.path());
    let part = part.into_iter().find(|path| path.to_string_lossy().contains("part-1-")).unwrap();
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).unwrap();
    let merge = ["merge", "two.toml", "--cache", "merged", "--parts", "parts"];
    let output = dir.timbre(&merge);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(6), "1\n"));
    assert!(text(&output.stderr).contains("shard 1: its part is missing or damaged"), "{}", text(&output.stderr));
    assert!(shard(&dir, "1/3", "cache").status().unwrap().success());
    assert!(dir.timbre(&merge).status.success());

    let edited = dir.a_recording_of("data/set/IRMAS-TrainingData/flu");
    let bytes = fs::read(&edited).unwrap();
    fs::write(&edited, &bytes[..bytes.len() - 2000]).unwrap();
    let output = dir.timbre(&merge);
    assert!(text(&output.stderr).contains("its recordings have changed since"), "{}", text(&output.stderr));
    let missing = text(&output.stdout).trim().to_owned();
    assert!(shard(&dir, &format!("{missing}/3"), "cache").status().unwrap().success());
    assert!(dir.timbre(&merge).status.success());
}

#[test]
fn a_shard_stops_on_the_signal_before_the_time_limit_and_continues() {
    let slow = TWO_FEATURES.replace("[features.contrast]", "[features.contrast]\n[features.cqt]\n[features.tempogram]");
    let dir = project(&slow);
    let code = end_within_the_features(&dir, started(shard(&dir, "0/1", "cache")), "cache", "-USR1");
    assert_eq!(code, Some(75));
    assert!(!dir.path("parts/part-0.json").exists());
    let output = shard(&dir, "0/1", "cache").output().unwrap();
    assert!(output.status.success());
    let manifest: serde_json::Value = serde_json::from_str(&dir.read("parts/part-0.json")).unwrap();
    let (rows, computed) = (manifest["part"]["rows"].as_u64().unwrap(), manifest["computed"].as_u64().unwrap());
    assert!(computed < rows, "{computed} of {rows} computed after the signal");
}

#[test]
fn windows_and_copies_of_shards_are_those_of_one_machine() {
    let with_windows = TWO_FEATURES.replace(
        "[evaluate]",
        "[[augment]]\nkind = \"noise\"\ncopies = 2\n[evaluate]\nmode = \"windows\"\nwindow = { seconds = 2.0 }",
    );
    let dir = project(&with_windows);
    dir.run("two.toml", &["--runs", "one", "--cache", "cache-of-one"]);
    for of in ["0/2", "1/2"] {
        assert!(shard(&dir, of, &format!("cache-{}", &of[..1])).status().unwrap().success());
    }
    let merged = dir.done(&["merge", "two.toml", "--cache", "merged", "--parts", "parts"]);
    let run = dir.run("two.toml", &["--runs", "several", "--cache", "merged"]);
    // Without the silent recording a few others are in another subset.
    let left = run["cache"]["misses"].as_u64().unwrap();
    assert!(left < 10 && text(&merged.stderr).contains("the run computes them"), "{left}: {}", text(&merged.stderr));
    assert!(dir.bytes("one/two/latest/results.csv") == dir.bytes("several/two/latest/results.csv"));
}

#[test]
fn trials_in_processes_of_their_own_give_the_tables_of_one_run() {
    let dir = project(TWO_FEATURES);
    dir.run("two.toml", &["--runs", "one"]);
    let merge = ["merge", "two.toml", "-q", "--trials", "--device", "cpu", "--runs", "several"];
    let missing = dir.timbre(&merge);
    let ids: Vec<String> = text(&missing.stdout).lines().map(str::to_owned).collect();
    assert_eq!(missing.status.code(), Some(6));
    assert_eq!(ids, ["mel.knn.s1", "mel.logistic.s1", "contrast.knn.s1", "contrast.logistic.s1"]);
    let trial =
        |id: &str| dir.command(&["run", "two.toml", "-q", "--device", "cpu", "--runs", "several", "--only-trial", id]);
    let mut running: Vec<Child> = ids.iter().map(|id| started(trial(id))).collect();
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    let again = trial("mel.knn.s1").output().unwrap();
    assert!(text(&again.stdout).contains("finished before"), "{}", text(&again.stdout));
    assert_eq!(trial("mel.kn.s1").status().unwrap().code(), Some(4));
    dir.done(&merge);
    for file in ["results.csv", "predictions.parquet", "hardest.csv"] {
        let [one, several] = ["one", "several"].map(|runs| dir.bytes(&format!("{runs}/two/latest/{file}")));
        assert!(one == several, "{file} differs");
    }
}

#[test]
fn trials_of_folders_that_are_not_shared_are_collected() {
    let dir = project(TWO_FEATURES);
    dir.run("two.toml", &["--runs", "one"]);
    let trial = |id: &str, runs: &str, more: &[&str]| {
        let run = ["run", "two.toml", "-q", "--device", "cpu", "--runs", runs, "--only-trial", id];
        dir.done(&[&run[..], more].concat());
    };
    trial("mel.knn.s1", "here", &[]);
    trial("mel.logistic.s1", "there/runs", &[]);
    trial("contrast.knn.s1", "there/runs", &[]);
    // Of another configuration.
    trial("contrast.logistic.s1", "there/runs", &["--set", "audio.clip_seconds=1.0"]);
    let collect = ["collect", "two.toml", "there", "--runs", "here"];
    let output = dir.timbre(&collect);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(6), "contrast.logistic.s1\n".to_owned()));
    assert!(text(&output.stderr).contains("2 trials copied"), "{}", text(&output.stderr));
    trial("contrast.logistic.s1", "elsewhere", &[]);
    let output = dir.done(&[&collect[..], &["elsewhere"]].concat());
    assert!(text(&output.stderr).contains("1 trial copied"), "{}", text(&output.stderr));
    dir.done(&["merge", "two.toml", "-q", "--trials", "--device", "cpu", "--runs", "here"]);
    for file in ["results.csv", "predictions.parquet"] {
        assert!(
            dir.bytes(&format!("one/two/latest/{file}")) == dir.bytes(&format!("here/two/latest/{file}")),
            "{file}"
        );
    }
    let none = dir.timbre(&["collect", "two.toml", "nowhere"]);
    assert_eq!((none.status.code(), text(&none.stderr).contains("nowhere is not a folder")), (Some(2), true));
}

#[test]
fn trials_of_a_sweep_give_the_table_of_one_sweep() {
    let dir =
        project(&format!("{TWO_FEATURES}[grid]\n\"models.knn.k\" = [1, 3]\n\"evaluate.metric\" = [\"f1_macro\"]\n"));
    let sweep = |runs: &str| {
        let output = dir.timbre(&["run", "two.toml", "-q", "--device", "cpu", "--runs", runs]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    sweep("one");
    let plan = dir.done(&["plan", "two.toml", "--json", "-q", "--runs", "several", "--device", "cpu", "--shards", "2"]);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let items = plan["items"].as_array().unwrap();
    let fits: Vec<Vec<&str>> = items
        .iter()
        .filter(|item| item["kind"] == "fit")
        .map(|item| item["argv"].as_array().unwrap().iter().skip(1).map(|word| word.as_str().unwrap()).collect())
        .collect();
    // The logistic models of both points are fitted in the same way.
    assert_eq!(fits.len(), 6, "{fits:?}");
    let commands = items.iter().filter(|item| item["kind"] != "merge");
    let ids: Vec<&str> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    for item in commands {
        assert!(item["needs"].as_array().unwrap().iter().all(|id| ids.contains(&id.as_str().unwrap())));
    }
    for fit in &fits {
        dir.done(fit);
    }
    dir.done(&["merge", "two.toml", "-q", "--trials", "--device", "cpu", "--runs", "several"]);
    assert_eq!(dir.read("one/two/grid_results.csv"), dir.read("several/two/grid_results.csv"));
    let after = dir.done(&["plan", "two.toml", "--json", "-q", "--runs", "several"]);
    let after: serde_json::Value = serde_json::from_slice(&after.stdout).unwrap();
    assert_eq!(after["items"].as_array().unwrap().len(), 1, "the tables alone");
}

#[test]
fn the_plan_has_the_hash_of_the_parts() {
    let dir = project(TWO_FEATURES);
    let plan = dir.done(&["plan", "two.toml", "--json", "-q", "--shards", "2", "--parts", "parts"]);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let items = plan["items"].as_array().unwrap();
    for item in items.iter().filter(|item| item["kind"] == "features") {
        let argv: Vec<&str> = item["argv"].as_array().unwrap().iter().skip(1).map(|w| w.as_str().unwrap()).collect();
        dir.done(&argv);
        let manifest = item["outputs"][0].as_str().unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&dir.read(manifest)).unwrap();
        assert_eq!(manifest["plan_hash"], plan["plan_hash"]);
    }
    let past: Vec<bool> = items.iter().filter(|i| i["kind"] == "fit").map(|i| i["seconds"].is_null()).collect();
    assert_eq!(past, [true; 4], "no past run");
    dir.run("two.toml", &["--cache", "elsewhere"]);
    let plan = dir.done(&[
        "plan",
        "two.toml",
        "--json",
        "-q",
        "--shards",
        "2",
        "--parts",
        "new",
        "--cache",
        "empty",
        "--set",
        "seeds=[2]",
    ]);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let estimated = plan["items"].as_array().unwrap().iter().filter(|item| item["kind"] != "merge");
    assert!(estimated.into_iter().all(|item| item["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0)));
}

/// Compares with a file of `tests/golden/job_files`. `TIMBRE_BLESS=1` rewrites it.
fn is_golden(dir: &TestDir, name: &str, output: &str) {
    let folder = fs::canonicalize(dir.path("")).unwrap().display().to_string();
    let program = env!("CARGO_BIN_EXE_timbre");
    let text = output.replace(&folder, "/project").replace(program, "/usr/bin/timbre");
    let path = format!("{}/tests/golden/job_files/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TIMBRE_BLESS").is_some() {
        fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "{name} differs (TIMBRE_BLESS=1 rewrites it). Found:\n{text}");
}

#[test]
fn the_files_for_other_programs_are_as_written_down() {
    let network = format!("{TWO_FEATURES}[models.net]\nkind = \"cnn_small\"\nfeatures = [\"mel\"]\n");
    let dir = project(&network);
    let emit = |format: &str, more: &[&str]| {
        let output =
            dir.done(&[&["launch", "emit", "two.toml", "-q", "--shards", "3", "--format", format], more].concat());
        text(&output.stdout)
    };
    is_golden(&dir, "k8s.yaml", &emit("k8s", &["--image", "registry/timbre:1", "--claim", "music", "--cpus", "8"]));
    is_golden(&dir, "hq.toml", &emit("hq", &[]));
    is_golden(&dir, "parallel.sh", &emit("parallel", &["--at-once", "2", "--set", "models.knn.k=3"]));
    is_golden(&dir, "Snakefile", &emit("snakemake", &["--memory", "6"]));
    let slurm =
        ["launch", "slurm", "two.toml", "-q", "--shards", "3", "--dry-run", "--at-once", "2", "--sbatch=--time=60"];
    is_golden(&dir, "slurm.txt", &text(&dir.done(&slurm).stdout));
}

#[test]
fn a_sweep_that_chooses_by_scores_has_no_single_trials() {
    let halving = "[grid]\nhalving = { key = \"models.net.epochs\", from = 1, to = 4, eta = 2 }\n\"models.net.learning_rate\" = [1e-3, 1e-2]\n";
    let dir = project(&format!("{TWO_FEATURES}[models.net]\nkind = \"cnn_small\"\nfeatures = [\"mel\"]\n{halving}"));
    let refused = dir.timbre(&["run", "two.toml", "-q", "--only-trial", "1/mel.net.s1"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("by the scores of others"), "{}", text(&refused.stderr));
    let plan = dir.done(&["plan", "two.toml", "--json", "-q", "--shards", "1"]);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let last = plan["items"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["argv"][1]), (&serde_json::json!("fit"), &serde_json::json!("run")));
}
