//! The commands of the example workflow (`.github/workflows/experiment.yml`), run as GitHub would run them.

use std::fs;
use std::process::{Command, Output};

use crate::test_dir::{TINY, TestDir, text};

/// The commands of a step: its `run`, as one line or as a block.
fn commands(step: &str) -> String {
    let workflow = concat!(env!("CARGO_MANIFEST_DIR"), "/.github/workflows/experiment.yml");
    let workflow = fs::read_to_string(workflow).unwrap();
    let after = workflow.split_once(&format!("- name: {step}\n")).unwrap_or_else(|| panic!("no step {step}")).1;
    let (first, rest) = after.trim_start().strip_prefix("run:").expect("a step of commands").split_once('\n').unwrap();
    match first.trim() {
        "|" => rest
            .lines()
            .take_while(|line| line.starts_with("          "))
            .map(|line| format!("{}\n", &line[10..]))
            .collect(),
        one => one.to_owned(),
    }
}

/// A checkout with an experiment, and the program where the workflow builds it.
fn checkout() -> TestDir {
    let dir = TestDir::new();
    ["target/release", "experiments/baselines"].iter().for_each(|folder| fs::create_dir_all(dir.path(folder)).unwrap());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_timbre"), dir.path("target/release/timbre")).unwrap();
    fs::write(dir.path("experiments/tiny.toml"), TINY).unwrap();
    dir
}

fn step(dir: &TestDir, name: &str, variables: &[(&str, &str)]) -> Output {
    let mut bash = Command::new("bash");
    // The options of GitHub's shell.
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &commands(name)]).current_dir(dir.path(""));
    bash.env_remove("TIMBRE_CACHE").env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", dir.path("summary.md"));
    bash.env("EXP", "tiny").env("DATA", "").env("TOLERANCE", "").envs(variables.iter().copied()).output().unwrap()
}

fn succeed(dir: &TestDir, name: &str, variables: &[(&str, &str)]) -> String {
    let output = step(dir, name, variables);
    assert!(output.status.success(), "{name}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_example_workflow_runs_an_experiment_and_compares_it_with_its_baseline() {
    let dir = checkout();
    succeed(&dir, "Check", &[]);
    succeed(&dir, "Run", &[]);
    assert!(
        succeed(&dir, "Compare with the baseline", &[])
            .contains("::notice title=tiny::no experiments/baselines/tiny.json")
    );

    dir.done(&["baseline", "save", "tiny/latest", "--out", "experiments/baselines/tiny.json", "-q"]);
    succeed(&dir, "Run", &[("DATA", "demo")]);
    succeed(&dir, "Compare with the baseline", &[("TOLERANCE", "accuracy=0.03")]);
    assert!(dir.read("summary.md").contains("accuracy"));
    assert!(dir.read("baseline-check.xml").starts_with("<?xml"));

    let worse = TINY.replace("[models.knn]", "[models.knn]\nk = 60");
    fs::write(dir.path("experiments/tiny.toml"), worse).unwrap();
    succeed(&dir, "Run", &[]);
    let fallen = step(&dir, "Compare with the baseline", &[]);
    assert_eq!(fallen.status.code(), Some(5));
    assert!(text(&fallen.stdout).contains("::error "), "{}", text(&fallen.stdout));
}

#[test]
fn the_example_workflow_fails_with_the_reason() {
    let dir = checkout();
    fs::write(dir.path("experiments/tiny.toml"), TINY.replace("clip_seconds", "clip_second")).unwrap();
    let wrong = step(&dir, "Check", &[]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("did you mean `clip_seconds`"), "{}", text(&wrong.stderr));
    let run = step(&dir, "Run", &[]);
    assert_eq!(run.status.code(), Some(1));
    assert!(
        text(&run.stdout).contains("::error title=tiny::timbre run ended with exit code 2"),
        "{}",
        text(&run.stdout)
    );
}
