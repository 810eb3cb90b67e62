//! Sweeps through the command line: what is run, what is reused, and what a kill leaves.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::test_dir::{TINY, TestDir, text};

fn dir(grid: &str) -> TestDir {
    TestDir::with(&[("tiny.toml", &format!("{TINY}{grid}"))])
}

const TWELVE: &str =
    "[grid]\n\"models.knn.k\" = [1, 2, 3, 5]\n\"models.knn.metric\" = [\"euclidean\", \"cosine\", \"manhattan\"]\n";

fn run(dir: &TestDir, more: &[&str]) -> Command {
    let mut command = dir.command(&["run", "tiny.toml", "-q", "--json"]);
    command.args(more);
    command
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{:?}\n{}", output.status, text(&output.stderr)))
}

fn run_folders(dir: &TestDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.path("runs/tiny")).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path()).collect()
}

fn table(dir: &TestDir) -> String {
    dir.read("runs/tiny/grid_results.csv")
}

#[test]
fn a_second_start_runs_only_missing_points() {
    let dir = dir(TWELVE);
    let planned = dir.done(&["plan", "tiny.toml", "--json", "-q"]);
    let planned: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!((planned["to_run"].as_u64(), planned["estimate"]["model_seconds"].as_f64()), (Some(12), None));
    let first = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((&first["status"], first["schema"].as_u64()), (&Value::from("ok"), Some(1)));
    assert_eq!(first["counts"]["ran"], 12);
    assert_eq!(run_folders(&dir).len(), 12);
    let csv = table(&dir);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("point,models.knn.k,models.knn.metric,status,features,model,split,n,seeds,accuracy"));
    // Validation and test.
    assert_eq!(lines.len(), 1 + 2 * 12);
    assert!(lines[1].starts_with("1,1,euclidean,done,centroid,knn,validation,"), "{}", lines[1]);
    // The table equals the results of the run.
    let own = &first["points"][0]["results"].as_array().unwrap().iter().find(|row| row["model"] == "knn").unwrap()["metrics"]
        ["accuracy"];
    assert_eq!(lines[1].split(',').nth(9).unwrap().parse::<f64>().unwrap(), own.as_f64().unwrap());

    let again = json(&run(&dir, &[]).output().unwrap());
    assert_eq!(again["counts"]["ran"], 0);
    assert_eq!(table(&dir), csv);
    // A new value runs only its points. A removed value keeps its runs.
    let more = ["--set", "grid.\"models.knn.k\"=[2, 3, 5, 7]"];
    let changed = json(&run(&dir, &more).output().unwrap());
    assert_eq!((changed["counts"]["ran"].as_u64(), changed["counts"]["points"].as_u64()), (Some(3), Some(12)));
    assert_eq!(run_folders(&dir).len(), 15);
    // Runs of another experiment are reused, and the plan uses past runs.
    fs::copy(dir.path("tiny.toml"), dir.path("other.toml")).unwrap();
    let other = json(&dir.done(&["run", "other.toml", "-q", "--json", "--set", "grid.\"models.knn.k\"=[1, 9]"]));
    assert_eq!(other["counts"]["ran"], 3);
    let planned = dir.done(&["plan", "tiny.toml", "--json", "-q", "--set", "grid.\"models.knn.k\"=[11, 12]"]);
    let planned: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert!(planned["estimate"]["model_seconds"].as_f64().unwrap() > 0.0, "{planned}");
    assert_eq!(planned["to_run"], 6);
}

#[test]
fn the_report_of_a_sweep_shows_the_best_point_the_axes_and_the_failures() {
    let dir = dir("[grid]\n\"models.knn.k\" = [1, 3, 500]\n\"models.knn.metric\" = [\"euclidean\", \"cosine\"]\n");
    let summary = json(&run(&dir, &[]).output().unwrap());
    let page = dir.read("runs/tiny/grid.html");
    let scored = summary["points"].as_array().unwrap().iter().filter(|point| point["score"]["value"].is_number());
    let value = |point: &Value| point["score"]["value"].as_f64().unwrap();
    let best = scored.clone().reduce(|best, other| if value(other) > value(best) { other } else { best }).unwrap();
    assert!(page.contains(&format!("Best on the validation split: point {}, accuracy", best["point"])), "{page}");
    assert!(page.contains(&format!("--set &#39;models.knn.k={}&#39;", best["values"]["models.knn.k"])), "{page}");
    assert!(page.contains("On the test split it has accuracy"), "{page}");
    for section in ["id=\"axes\"", "id=\"pairs\"", "id=\"points\"", "id=\"failures\""] {
        assert!(page.contains(section), "{section}");
    }
    // Three values of one axis, two of the other, and a link to the report of each finished point.
    assert_eq!(page.matches("heat best").count(), 1);
    assert_eq!(page.matches("/report.html\">").count(), scored.count());
    fs::remove_file(dir.path("runs/tiny/grid.html")).unwrap();
    let printed = text(&dir.done(&["report", "tiny"]).stdout).to_owned();
    assert!(printed.contains("4 of 6 points done; best on the validation split: point"), "{printed}");
    assert_eq!(dir.read("runs/tiny/grid.html"), page);
}

#[test]
fn only_selects_points() {
    let dir = dir(TWELVE);
    let some = json(&run(&dir, &["--only", "k=3", "--only", "metric=cosine"]).output().unwrap());
    assert_eq!((some["counts"]["ran"].as_u64(), some["counts"]["waiting"].as_u64()), (Some(1), Some(11)));
    assert_eq!(some["status"], "stopped");
    let some = json(&run(&dir, &["--only", "cosine"]).output().unwrap());
    assert_eq!(some["counts"]["ran"], 3);
    let none = run(&dir, &["--only", "k=77"]).output().unwrap();
    assert_eq!(none.status.code(), Some(4), "{}", text(&none.stderr));
    let no_grid = dir.timbre(&["run", "quickstart", "--only", "k=3"]);
    assert_eq!(no_grid.status.code(), Some(2));
}

/// k = 500 exceeds the number of training clips.
const FAILING: &str = "[grid]\n\"models.knn.k\" = [500, 1, 501, 3]\n";

#[test]
fn other_points_run_after_a_failure_and_failed_ones_are_retried() {
    let dir = dir(FAILING);
    let output = run(&dir, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let printed = text(&output.stderr);
    // When it happens, and again at the end.
    assert!(printed.matches("models.knn.k=500").count() >= 2 && printed.contains("log.jsonl"), "{printed}");
    let summary = json(&output);
    assert_eq!((summary["counts"]["done"].as_u64(), summary["counts"]["failed"].as_u64()), (Some(2), Some(2)));
    assert!(table(&dir).contains("1,500,failed,"), "{}", table(&dir));
    let again = run(&dir, &["--retry-failed"]).output().unwrap();
    assert_eq!((again.status.code(), run_folders(&dir).len()), (Some(6), 4));
    let whole = run(&dir, &["--set", "grid.\"models.knn.k\"=[1, 3]", "--retry-failed"]).output().unwrap();
    assert_eq!(whole.status.code(), Some(4), "nothing has failed: {}", text(&whole.stderr));
}

#[test]
fn a_removed_run_makes_a_sweep_incomplete() {
    let ks: Vec<String> = (1..=16).map(|k| k.to_string()).collect();
    let dir = dir(&format!("[grid]\n\"models.knn.k\" = [{}]\n", ks.join(", ")));
    dir.done(&["features", "tiny.toml", "-q"]);
    let child =
        dir.command(&["run", "tiny.toml", "--set", "models.knn.metric=cosine"]).stderr(Stdio::piped()).spawn().unwrap();
    // The first finished run.
    let done = loop {
        let is_done = |run: &PathBuf| {
            fs::read_to_string(run.join("run.json")).is_ok_and(|record| record.contains("\"done\""))
                && run.join("report.md").is_file()
        };
        match run_folders(&dir).into_iter().find(is_done) {
            Some(run) => break run,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    // Until the process has let it go.
    while !dir.timbre(&["rm", "--yes", done.to_str().unwrap()]).status.success() {}
    let output = child.wait_with_output().unwrap();
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{printed}");
    assert!(printed.contains("15 of 16 points done, 1 not run"), "{printed}");
    let only = ["run", "tiny.toml", "-q", "--set", "models.knn.metric=cosine", "--only", "k=16"];
    assert_eq!(dir.timbre(&only).status.code(), Some(0), "points that are not selected are not missing");
    assert_eq!(dir.timbre(&only[..5]).status.code(), Some(0), "the same command runs the point again");
}

/// Another model beside the one of the grid.
const TWO_MODELS: &str = "[models.average]\n[grid]\n\"models.knn.k\" = [1, 3]\n";

/// The lines of the points, and the scores in `grid.json`.
fn scores(dir: &TestDir, more: &[&str]) -> (String, Vec<Value>) {
    let output = dir.done(&[&["run", "tiny.toml"], more].concat());
    let record: Value = serde_json::from_str(&dir.read("runs/tiny/grid.json")).unwrap();
    let scores = record["points"].as_array().unwrap().iter().map(|point| point["score"].clone()).collect();
    (text(&output.stderr), scores)
}

#[test]
fn the_score_of_a_point_names_the_best_model_on_the_validation_split() {
    let dir = dir(TWO_MODELS);
    let (printed, scores) = scores(&dir, &[]);
    let csv = table(&dir);
    for (at, score) in scores.iter().enumerate() {
        let best =
            csv.lines().filter(|line| line.starts_with(&format!("{},", at + 1)) && line.contains(",validation,"));
        let best = best.map(|line| line.split(',').collect::<Vec<_>>());
        // Of equal scores the first model's.
        let best = best.map(|cells| (cells[8].parse::<f64>().unwrap(), format!("{}.{}", cells[3], cells[4])));
        let best = best.reduce(|best, other| if other.0 > best.0 { other } else { best }).unwrap();
        assert_eq!(
            (score["value"].as_f64().unwrap(), score["model"].as_str().unwrap()),
            (best.0, best.1.as_str()),
            "{csv}"
        );
        let line = format!("[{}/2] k={}  accuracy {:.3} ({}, validation)", at + 1, 1 + 2 * at, best.0, best.1);
        assert!(printed.contains(&line), "{line}\n{printed}");
    }
    assert!(!printed.contains("no validation split"), "{printed}");

    // The best point, and the options that give its score without the grid.
    let best = scores.iter().map(|score| score["value"].as_f64().unwrap()).fold(0.0, f64::max);
    let at = scores.iter().position(|score| score["value"] == best).unwrap();
    let option = format!("--set 'models.knn.k={}'", 1 + 2 * at);
    let line = format!("Best of 2 points on the validation split: point {}, accuracy {best:.3}", at + 1);
    let (_, options) = printed.split_once(&line).unwrap_or_else(|| panic!("{line}\n{printed}"));
    assert_eq!(options.lines().nth(1), Some(format!("  {option}").as_str()));
    let alone = dir.run("tiny.toml", &["--set", &format!("models.knn.k={}", 1 + 2 * at)]);
    let record: Value = serde_json::from_str(&dir.read("runs/tiny/grid.json")).unwrap();
    let of_point = record["points"][at]["run"].as_str().unwrap();
    assert_eq!(alone["run"], format!("runs/{of_point}"), "the run of the point is the run of its options");
}

#[test]
fn without_a_validation_split_a_point_of_several_models_has_no_score() {
    let dir = dir(TWO_MODELS);
    let (printed, of_two) = scores(&dir, &["--set", "split.validation=0.0"]);
    assert_eq!(of_two, [Value::Null, Value::Null]);
    assert_eq!(printed.matches("no validation split").count(), 1, "{printed}");
    assert!(printed.contains("[1/2] k=1  ") && !printed.contains("  accuracy 0"), "{printed}");
    fs::write(dir.path("tiny.toml"), format!("{TINY}[grid]\n\"models.knn.k\" = [1, 3]\n")).unwrap();
    let (printed, of_one) = scores(&dir, &["--set", "split.validation=0.0"]);
    assert!(of_one.iter().all(|score| score["model"] == "centroid.knn" && score["split"] == "test"), "{of_one:?}");
    assert!(printed.contains("(centroid.knn, test)") && !printed.contains("no validation split"), "{printed}");
}

#[test]
fn fail_fast_starts_no_point_after_a_failure() {
    let dir = dir(FAILING);
    let output = run(&dir, &["--fail-fast"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let summary = json(&output);
    assert_eq!((summary["counts"]["failed"].as_u64(), summary["counts"]["waiting"].as_u64()), (Some(1), Some(3)));
}

#[test]
fn the_table_has_the_mean_and_deviation_over_seeds() {
    let dir = dir("[grid]\n\"models.knn.k\" = [1, 3]\n");
    let summary = json(&run(&dir, &["--set", "seeds=[1,2,3]"]).output().unwrap());
    assert_eq!(summary["counts"]["points"], 2);
    let csv = table(&dir);
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let column =
        |name: &str| head.iter().position(|column| *column == name).unwrap_or_else(|| panic!("{name}: {head:?}"));
    let line: Vec<&str> = csv.lines().find(|line| line.contains(",test,")).unwrap().split(',').collect();
    let rows = summary["points"][0]["results"].as_array().unwrap();
    let values: Vec<f64> = rows
        .iter()
        .filter(|row| row["model"] == "knn" && row["split"] == "test")
        .map(|row| row["metrics"]["accuracy"].as_f64().unwrap())
        .collect();
    let mean = values.iter().sum::<f64>() / 3.0;
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert_eq!((values.len(), line[column("seeds")]), (3, "3"));
    assert!((line[column("accuracy")].parse::<f64>().unwrap() - mean).abs() < 1e-12);
    assert!((line[column("accuracy_sd")].parse::<f64>().unwrap() - sd).abs() < 1e-12);
}

#[test]
fn an_evaluation_axis_reuses_trials() {
    let dir = dir("[grid]\n\"evaluate.metric\" = [\"accuracy\", \"f1_macro\"]\n");
    let summary = json(&run(&dir, &[]).output().unwrap());
    let of = |point: usize| {
        let run = summary["points"][point]["run"].as_str().unwrap();
        serde_json::from_str::<Value>(&dir.read(&format!("{run}/run.json"))).unwrap()
    };
    assert_eq!(of(1)["taken_over"]["units"][0], "centroid.knn.s1");
    assert_eq!(of(1)["metric"], "f1_macro");
}

/// Any whole number can be the budget; that of kNN is quick.
const HALVING: &str = "[grid]\nhalving = { key = \"models.knn.k\", from = 1, to = 4, eta = 2 }\n\"models.knn.metric\" = [\"euclidean\", \"cosine\", \"manhattan\"]\n\"models.knn.weights\" = [\"uniform\", \"distance\"]\n";

fn planned(dir: &TestDir) -> Value {
    serde_json::from_slice(&dir.done(&["plan", "tiny.toml", "--json", "-q"]).stdout).unwrap()
}

#[test]
fn the_plan_of_successive_halving_has_finished_and_later_rounds() {
    let dir = dir(HALVING);
    let of_rounds = |plan: &Value, key: &str| -> Vec<u64> {
        plan["rounds"].as_array().unwrap().iter().map(|round| round[key].as_u64().unwrap()).collect()
    };
    let before = planned(&dir);
    assert_eq!((&before["to_run"], of_rounds(&before, "points")), (&Value::from(10), vec![6, 3, 1]));
    assert_eq!((of_rounds(&before, "round"), of_rounds(&before, "budget")), (vec![1, 2, 3], vec![1, 2, 4]));
    let summary = json(&run(&dir, &[]).output().unwrap());
    let after = planned(&dir);
    assert_eq!((&after["to_run"], after["points"].as_array().unwrap().len()), (&Value::from(0), 10));
    // The last two rounds are missing: the points of the second are known, those of the third are estimated.
    for point in summary["points"].as_array().unwrap().iter().filter(|point| point["round"] != 1) {
        fs::remove_dir_all(dir.path(point["run"].as_str().unwrap())).unwrap();
    }
    let between = planned(&dir);
    assert_eq!((&between["to_run"], of_rounds(&between, "to_run")), (&Value::from(4), vec![0, 3, 1]));
    assert!(between["rounds"][2]["seconds"].as_f64().unwrap() > 0.0, "{between}");
    assert!(between["estimate"]["run_bytes"].as_u64() > between["rounds"][2]["bytes"].as_u64(), "{between}");
    let printed = text(&dir.done(&["plan", "tiny.toml", "-q"]).stdout);
    assert!(printed.contains("then round 3 of 3 (k = 4): the best 1 point"), "{printed}");
    assert!(printed.contains("4 of 10 points of all 3 rounds to run"), "{printed}");
    assert_eq!(json(&run(&dir, &[]).output().unwrap())["counts"]["ran"], 4);
}

#[test]
fn successive_halving_keeps_the_best_points() {
    let dir = dir(HALVING);
    let summary = json(&run(&dir, &[]).output().unwrap());
    let points = summary["points"].as_array().unwrap();
    let of = |round: u64| points.iter().filter(|p| p["round"] == round).collect::<Vec<_>>();
    assert_eq!([1, 2, 3].map(|round| of(round).len()), [6, 3, 1]);
    let score = |point: &Value| point["score"]["value"].as_f64().unwrap();
    assert!(points.iter().all(|point| point["score"]["split"] == "validation"));
    let kept: Vec<u64> = of(2).iter().map(|point| point["point"].as_u64().unwrap()).collect();
    let worst_kept =
        of(1).into_iter().filter(|p| kept.contains(&p["point"].as_u64().unwrap())).map(score).fold(1.0, f64::min);
    let best_left =
        of(1).into_iter().filter(|p| !kept.contains(&p["point"].as_u64().unwrap())).map(score).fold(0.0, f64::max);
    assert!(worst_kept >= best_left, "{worst_kept} < {best_left}");
    let again = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((again["counts"]["ran"].as_u64(), again["counts"]["points"].as_u64()), (Some(0), Some(10)));
}

#[test]
fn a_search_chooses_points_by_validation_scores_and_continues_with_the_same_ones() {
    let grid = "[grid]\nsampler = \"tpe\"\nsample = 7\nstartup = 3\nbatch = 2\n\"models.knn.k\" = \"1..20/1\"\n\"models.knn.metric\" = [\"euclidean\", \"cosine\"]\n";
    let (dir, shorter) = (dir(grid), dir(&grid.replace("sample = 7", "sample = 5")));
    let plan = planned(&dir);
    assert_eq!((&plan["to_run"], &plan["chosen_later"]), (&Value::from(3), &Value::from(4)), "{plan}");
    let summary = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((&summary["status"], &summary["counts"]["points"]), (&Value::from("ok"), &Value::from(7)));
    let names = |summary: &Value| -> Vec<String> {
        summary["points"].as_array().unwrap().iter().map(|point| point["values"].to_string()).collect()
    };
    assert!(summary["points"].as_array().unwrap().iter().all(|point| point["score"]["split"] == "validation"));
    // A smaller sample is its beginning; more points continue it, and the rest is found.
    let five = json(&run(&shorter, &[]).output().unwrap());
    assert_eq!(names(&five), names(&summary)[..5]);
    let seven = json(&run(&shorter, &["--set", "grid.sample=7"]).output().unwrap());
    assert_eq!((names(&seven), &seven["counts"]["ran"]), (names(&summary), &Value::from(2)));
    let again = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((&again["counts"]["ran"], names(&again)), (&Value::from(0), names(&summary)));
    assert_eq!(planned(&dir)["points"].as_array().unwrap().len(), 7);
    let refused = run(&dir, &["--retry-failed"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_sweep_that_is_killed_repeatedly_gives_the_same_table() {
    let (dir, undisturbed) = (dir(TWELVE), dir(TWELVE));
    run(&undisturbed, &[]).output().unwrap();
    let begun = || run_folders(&dir).len();
    let mut killed = 0;
    for moment in [1, 3, 5, 8, 11] {
        let mut child = run(&dir, &[]).stdout(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() && begun() < moment {
            std::thread::sleep(Duration::from_millis(1));
        }
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed >= 3, "only {killed} kills found the program running");
    let end = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((&end["status"], run_folders(&dir).len()), (&Value::from("ok"), 12));
    assert_eq!(table(&dir), table(&undisturbed));
}

#[test]
fn two_processes_share_a_sweep_that_can_be_watched() {
    let dir = dir(TWELVE);
    dir.done(&["features", "tiny.toml", "-q"]);
    let start = || run(&dir, &["--at-once", "2"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start()];
    while !dir.path("runs/tiny/grid.json").is_file() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let watched = dir.done(&["watch", "tiny"]);
    let ran: Vec<u64> = both
        .into_iter()
        .map(|child| json(&child.wait_with_output().unwrap())["counts"]["ran"].as_u64().unwrap())
        .collect();
    assert_eq!((ran.iter().sum::<u64>(), run_folders(&dir).len()), (12, 12), "{ran:?}");
    let printed = text(&watched.stdout);
    assert!(printed.lines().last().unwrap().contains("12/12 points done"), "{printed}");
    // Without a running process, `watch` prints the end at once.
    assert!(text(&dir.done(&["watch"]).stdout).contains("(done)"));
}

#[test]
fn a_signal_exits_with_75_and_the_next_start_continues() {
    let dir = dir(TWELVE);
    let child = run(&dir, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while run_folders(&dir).is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    let record: Value = serde_json::from_str(&dir.read("runs/tiny/grid.json")).unwrap();
    assert_eq!(record["status"], "stopped");
    assert_eq!(json(&run(&dir, &[]).output().unwrap())["status"], "ok");
}

const TWO: &str = "[grid]\n\"models.knn.k\" = [1, 3]\n";

#[test]
fn a_sweep_runs_one_point_at_a_time_on_each_device() {
    let (together, alone) = (dir(TWO), dir(TWO));
    let end = json(&run(&together, &["--devices", "cpu,cpu"]).output().unwrap());
    assert_eq!((&end["status"], &end["counts"]["ran"]), (&Value::from("ok"), &Value::from(2)));
    run(&alone, &[]).output().unwrap();
    assert_eq!(table(&together), table(&alone));
    for other in [["--devices", "gpu"], ["--devices", "cpu,cuda:4000"], ["--at-once", "2"]] {
        let refused = run(&together, &[&["--devices", "cpu", "--fresh"][..], &other].concat()).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    }
    let plain = TestDir::with(&[("plain.toml", TINY)]);
    let refused = plain.timbre(&["run", "plain.toml", "--devices", "cpu,cpu"]);
    assert!(text(&refused.stderr).contains("--devices: `plain` has no [grid]"), "{}", text(&refused.stderr));
}

#[test]
fn a_missing_report_is_written_by_the_next_start() {
    let dir = dir(TWO);
    let runs: Vec<String> = json(&run(&dir, &[]).output().unwrap())["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["run"].as_str().unwrap().to_owned())
        .collect();
    let report = |run: &str| dir.path(&format!("{run}/report.html"));
    let written = fs::read(report(&runs[0])).unwrap();
    fs::remove_file(report(&runs[0])).unwrap();
    fs::remove_file(dir.path(&format!("{}/report.md", runs[1]))).unwrap();
    let again = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((&again["counts"]["ran"], fs::read(report(&runs[0])).unwrap()), (&Value::from(0), written));
    assert!(dir.path(&format!("{}/report.md", runs[1])).is_file());
    // A file cannot replace a folder.
    fs::remove_file(report(&runs[1])).unwrap();
    fs::create_dir(report(&runs[1])).unwrap();
    let output = run(&dir, &[]).output().unwrap();
    let (printed, summary) = (text(&output.stderr), json(&output));
    assert!(printed.contains("models.knn.k=3 is finished, but its report could not be written"), "{printed}");
    assert!(printed.contains("1 point finished without a report") && printed.contains(&runs[1]), "{printed}");
    assert!(summary["points"][0]["no_report"].is_null() && summary["points"][1]["no_report"].is_string(), "{summary}");
}

#[test]
fn failures_are_printed_again_if_the_sweep_cannot_continue() {
    let ks: Vec<String> = (500..700).map(|k| k.to_string()).collect();
    let dir = dir(&format!("[grid]\n\"models.knn.k\" = [{}]\n", ks.join(", ")));
    let child = run(&dir, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let grid = dir.path("runs/tiny/grid.json");
    while !fs::read_to_string(&grid).is_ok_and(|text| text.contains("\"failed\"")) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // From now on the record cannot be written, as on a full disk.
    while fs::create_dir(&grid).is_err() {
        let _ = fs::remove_file(&grid);
    }
    let output = child.wait_with_output().unwrap();
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("of 200 points failed:") && printed.matches("models.knn.k=500").count() >= 2, "{printed}");
}

#[test]
fn a_finished_sweep_is_shown_from_a_read_only_folder() {
    let dir = dir(TWO);
    run(&dir, &[]).output().unwrap();
    // Like a read-only folder, also for root.
    fs::remove_file(dir.path("runs/tiny/.grid.running")).unwrap();
    fs::create_dir(dir.path("runs/tiny/.grid.running")).unwrap();
    let again = json(&run(&dir, &[]).output().unwrap());
    assert_eq!((&again["status"], &again["counts"]["done"]), (&Value::from("ok"), &Value::from(2)));
    let more = run(&dir, &["--set", "grid.\"models.knn.k\"=[1, 5]"]).output().unwrap();
    assert!(text(&more.stderr).contains("cannot write in"), "{}", text(&more.stderr));
}

#[test]
fn messages_keep_the_folders_and_count_failures() {
    let dir = dir(FAILING);
    let folders = ["--runs", "my runs", "--cache", "elsewhere"];
    let planned = dir.timbre(&[&["plan", "tiny.toml"], &folders[..]].concat());
    let next = "Next: timbre run tiny.toml --runs 'my runs' --cache elsewhere";
    assert!(!text(&planned.stderr).contains("Next:"), "two points cannot be fitted: {}", text(&planned.stderr));
    let output = dir.timbre(&[&["run", "tiny.toml"], &folders[..]].concat());
    let printed = text(&output.stderr);
    assert!(printed.contains("2 of 4 points done, 2 failed (4 new)"), "{printed}");
    assert!(printed.contains(&format!("{next} --retry-failed")), "{printed}");
    let none = dir.timbre(&[&["run", "tiny.toml", "--only", "metrics=1"], &folders[..]].concat());
    assert!(text(&none.stderr).contains("the grid has no axis `metrics`: axes here: k"), "{}", text(&none.stderr));
}

#[test]
fn a_misspelt_axis_is_a_usage_error() {
    let dir = dir("[grid]\n\"models.knn.kk\" = [1, 3]\n");
    let output = run(&dir, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean `k`?"), "{}", text(&output.stderr));
    assert!(!dir.path("runs").exists());
}

#[test]
fn a_large_sweep_over_decisions_scores_its_points_from_one_run() {
    let dir = TestDir::new();
    let experiment = "[data]\nuse = \"demo\"\nclips_per_class = 3\ntest_recordings = 12\n[audio]\nsample_rate = 16000\nclip_seconds = 1.0\n\
                      [split]\nkind = \"official\"\n[features.centroid]\n[features.rms]\n[models.knn]\nk = 3\n\
                      [evaluate]\ntask = \"multi_label\"\nmode = \"windows\"\nwindow = { seconds = 1.0, hop = 0.5 }\nbootstrap = 20\n";
    let axes = "[grid]\n\"evaluate.cutoff\" = \"0.05..0.95/0.09\"\n\"evaluate.window_fraction\" = \"0.0..0.9/0.09\"\n";
    fs::write(dir.path("one.toml"), experiment).unwrap();
    fs::write(dir.path("many.toml"), format!("{experiment}{axes}")).unwrap();
    let run = ["run", "many.toml", "--device", "cpu"];
    let said = text(&dir.done(&run).stderr);
    assert!(said.contains("120 points scored from the predictions of runs/many/"), "{said}");
    let entries = fs::read_dir(dir.path("runs/many")).unwrap().flatten();
    assert_eq!(entries.filter(|entry| entry.file_type().unwrap().is_dir()).count(), 1);
    let table = dir.read("runs/many/grid_results.csv");
    let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<String>>();
    let head = cells(table.lines().next().unwrap());
    assert_eq!(table.lines().count(), 1 + 2 * 121);
    // A point has the numbers of its run.
    for number in ["40", "121"] {
        let point = table.lines().map(cells).find(|row| row[0] == number).unwrap();
        let set = [format!("evaluate.cutoff={}", point[1]), format!("evaluate.window_fraction={}", point[2])];
        // Elsewhere, or the sweep would show this run.
        dir.done(&["run", "one.toml", "--device", "cpu", "--runs", "elsewhere", "--set", &set[0], "--set", &set[1]]);
        let alone = dir.read("elsewhere/one/latest/results.csv");
        let names = cells(alone.lines().next().unwrap());
        for line in alone.lines().skip(1).map(cells).filter(|line| line[0] != "-") {
            let of_point = table.lines().map(cells).find(|row| row[0] == number && row[4] == line[0]).unwrap();
            for (name, value) in
                names.iter().zip(&line).skip(5).filter(|(name, _)| !name.ends_with("_low") && !name.ends_with("_high"))
            {
                let at = head.iter().position(|own| own == name).unwrap();
                assert_eq!(&of_point[at], value, "{name} of point {number}");
            }
        }
    }
    // Nothing is scored again, unless the run with the predictions is gone.
    let said = text(&dir.done(&run).stderr);
    assert!(said.contains("121 points: 121 finished, 0 to run") && !said.contains("scored from"), "{said}");
    assert!(dir.read("runs/many/grid_results.csv") == table);
    let planned = text(&dir.done(&["plan", "many.toml"]).stdout);
    assert!(planned.contains("0 of 121 points to run"), "{planned}");
    let source = fs::canonicalize(dir.path("runs/many/latest")).unwrap();
    fs::remove_dir_all(source).unwrap();
    let said = text(&dir.done(&run).stderr);
    assert!(said.contains("120 points scored"), "{said}");
    assert!(dir.read("runs/many/grid_results.csv") == table);
}
