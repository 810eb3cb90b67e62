//! The rule on hand-made baselines.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use timbre_core::error::UserError;

/// A baseline with one model per name, each with these metrics.
fn baseline(trials: &[(&str, &[(&str, f64)])]) -> ReferenceScores {
    let trials: Vec<_> = trials
        .iter()
        .map(|(model, metrics)| {
            serde_json::json!({
                "features": "mel", "model": model, "split": "test", "seeds": [1],
                "metrics": metrics.iter().map(|(name, value)| (name.to_string(), (*value).into())).collect::<serde_json::Map<_, _>>(),
                "intervals": {},
            })
        })
        .collect();
    serde_json::from_value(serde_json::json!({
        "schema": 1, "experiment": "x", "signature": "0123456789abcdef", "metric": "accuracy", "classes": ["a", "b"],
        "data": { "name": "demo", "hash": "00", "clips": 10 },
        "clips": { "test": { "1": { "n": 10, "hash": "aa" } } },
        "units": trials,
    }))
    .unwrap()
}

fn accuracy(value: f64) -> ReferenceScores {
    baseline(&[("knn", &[("accuracy", value)])])
}

fn tolerance(metric: &str, by: f64) -> Tolerance {
    Tolerance { metric: metric.into(), by }
}

fn passes(run: &ReferenceScores, against: &ReferenceScores, tolerances: &[Tolerance]) -> bool {
    compare(run, against, tolerances, &[]).unwrap().passed()
}

proptest! {
    #[test]
    fn an_equal_run_passes_with_any_tolerance(score in -1e3..1e3f64, by in 0.0..2.0f64) {
        prop_assert!(passes(&accuracy(score), &accuracy(score), &[]));
        prop_assert!(passes(&accuracy(score), &accuracy(score), &[tolerance("accuracy", by)]));
    }

    #[test]
    fn a_better_run_passes_and_a_worse_one_fails_beyond_the_tolerance(
        score in 0.0..1.0f64, step in 1e-6..1.0f64, by in 0.0..0.5f64,
    ) {
        let tolerances = [tolerance("accuracy", by)];
        prop_assert!(passes(&accuracy(score + step), &accuracy(score), &tolerances));
        prop_assert!(!passes(&accuracy(score - by - step), &accuracy(score), &tolerances));
        prop_assert!(passes(&accuracy(score - by), &accuracy(score), &tolerances), "by the tolerance exactly");
    }

    #[test]
    fn larger_losses_are_worse(metric in prop::sample::select(vec!["log_loss", "calibration_error", "ranking_loss"]),
                                 a in 0.0..9.0f64, b in 0.0..9.0f64) {
        let worse = worse_by(metric, a, b);
        prop_assert_eq!(worse, -worse_by("accuracy", a, b));
        prop_assert_eq!(worse > 0.0, b > a);
        let one = |value| baseline(&[("knn", &[("accuracy", 0.5), (metric, value)])]);
        prop_assert_eq!(passes(&one(b), &one(a), &[tolerance(metric, 0.0)]), b <= a + 1e-9);
    }

    #[test]
    fn a_larger_tolerance_never_fails_a_passing_run(a in 0.0..1.0f64, b in 0.0..1.0f64, small in 0.0..1.0f64, more in 0.0..1.0f64) {
        let with = |by| passes(&accuracy(b), &accuracy(a), &[tolerance("accuracy", by)]);
        prop_assert!(!with(small) || with(small + more));
    }

    #[test]
    fn one_fallen_model_fails_the_check(scores in prop::collection::vec(0.1..1.0f64, 1..8), at in any::<prop::sample::Index>()) {
        let names: Vec<String> = (0..scores.len()).map(|n| format!("m{n}")).collect();
        let of = |scores: &[f64]| {
            let metrics: Vec<[(&str, f64); 1]> = scores.iter().map(|&score| [("accuracy", score)]).collect();
            baseline(&names.iter().zip(&metrics).map(|(name, m)| (name.as_str(), &m[..])).collect::<Vec<_>>())
        };
        let mut fallen = scores.clone();
        let at = at.index(scores.len());
        fallen[at] -= 0.05;
        let report = compare(&of(&fallen), &of(&scores), &[tolerance("accuracy", 0.01)], &[]).unwrap();
        prop_assert!(!report.passed());
        prop_assert_eq!(report.fallen().map(|check| check.model.clone()).collect::<Vec<_>>(), [format!("mel.m{at}")]);
    }

    #[test]
    fn equal_baselines_are_equal_bytes_and_read_back(scores in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 1..5)) {
        let own = baseline(&[("knn", &scores.iter().enumerate().map(|(n, &s)| (["accuracy", "f1_macro", "matthews", "log_loss"][n % 4], s)).collect::<Vec<_>>())]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made/b.json");
        prop_assert!(own.write(&file).unwrap(), "written");
        prop_assert!(!own.write(&file).unwrap(), "equal bytes");
        let back = ReferenceScores::read(&file).unwrap();
        prop_assert_eq!(&back.models, &own.models);
        prop_assert_eq!(back.bytes(), own.bytes());
    }
}

#[test]
fn nan_counts_as_fallen() {
    assert!(has_fallen(f64::NAN, 0.5));
    assert!(!has_fallen(0.72 - 0.71, 0.01), "rounding is not a fall");
}

#[test]
fn missing_models_and_metrics_fail_unless_allowed() {
    let against = baseline(&[("knn", &[("accuracy", 0.5), ("f1_macro", 0.4)]), ("svm", &[("accuracy", 0.5)])]);
    let run = accuracy(0.9);
    let tolerances = [tolerance("accuracy", 0.1), tolerance("f1_macro", 0.1)];
    let report = compare(&run, &against, &tolerances, &[]).unwrap();
    assert!(!report.passed());
    let missing: Vec<String> = report.missing().map(|check| format!("{} {}", check.model, check.metric)).collect();
    assert_eq!(missing, ["mel.knn f1_macro", "mel.svm accuracy"]);
    assert!(compare(&run, &against, &tolerances, &[IssueKind::Missing]).unwrap().passed());
    assert!(!compare(&run, &against, &tolerances, &[IssueKind::Clips]).unwrap().passed());
    let mut failed = run.clone();
    failed.origin.failures.insert("mel.svm.s1".into(), "out of memory".into());
    let report = compare(&failed, &against, &[], &[]).unwrap();
    assert!(text::reasons(&report).iter().any(|(why, _)| why.contains("mel.svm.s1 failed: out of memory")));
}

#[test]
fn other_classes_other_clips_and_an_unfinished_run_fail_unless_allowed() {
    let against = accuracy(0.5);
    let mut run = accuracy(0.5);
    run.classes = vec!["b".into(), "c".into()];
    run.clips.get_mut("test").unwrap().get_mut("1").unwrap().hash = "bb".into();
    run.origin.unfinished = vec!["the run was stopped before its end".into()];
    let all = [IssueKind::Unfinished, IssueKind::Classes, IssueKind::Clips];
    let report = compare(&run, &against, &[], &[]).unwrap();
    assert_eq!(report.issues.iter().map(|issue| issue.kind).collect::<Vec<_>>(), all);
    assert!(report.issues[1].sentence.contains("only in the run: c; only in the baseline: a"), "{:?}", report.issues);
    for left_out in all {
        let allowed: Vec<IssueKind> = all.into_iter().filter(|kind| *kind != left_out).collect();
        assert!(!compare(&run, &against, &[], &allowed).unwrap().passed(), "{left_out:?}");
    }
    assert!(compare(&run, &against, &[], &all).unwrap().passed());
    // The order of the classes changes no score.
    run = accuracy(0.5);
    run.classes.reverse();
    assert!(passes(&run, &against, &[]));
    // Unknown clips count as different.
    run.clips.clear();
    assert!(!passes(&run, &against, &[]));
    assert!(!passes(&against, &run, &[]));
}

#[test]
fn an_impossible_check_is_an_error() {
    let against = accuracy(0.5);
    let refused = |tolerances: &[Tolerance]| compare(&against, &against, tolerances, &[]).unwrap_err();
    let unknown = refused(&[tolerance("f1_micro", 0.1)]);
    assert!(unknown.is::<UserError>() && unknown.to_string().contains("only: accuracy"), "{unknown}");
    assert!(refused(&[tolerance("accuracy", 0.1), tolerance("accuracy", 0.2)]).to_string().contains("twice"));
    assert!(compare(&against, &baseline(&[]), &[], &[]).is_err(), "the baseline has no models");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.json");
    for damaged in ["", "{}", "[1]", "{\"schema\":2}", "{\"schema\":1,\"experiment\":\"x\"}"] {
        std::fs::write(&file, damaged).unwrap();
        assert!(ReferenceScores::read(&file).unwrap_err().is::<UserError>(), "{damaged}");
    }
    let no_run = |_: &str| unreachable!("the name is a file");
    assert!(ReferenceScores::find("none.json", no_run).unwrap_err().is::<UserError>());
}

#[test]
fn a_baseline_replaces_only_files_and_only_if_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("b.sock");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(accuracy(0.5).write(&socket).unwrap_err().is::<UserError>());
    assert!(accuracy(0.5).write(folder.path()).unwrap_err().is::<UserError>());
    let file = folder.path().join("b.json");
    let written: Vec<bool> = [0.5, 0.5, 0.6].map(|score| accuracy(score).write(&file).unwrap()).to_vec();
    assert_eq!(written, [true, false, true], "also a file of equal length");
}

#[test]
fn a_fall_is_reported_with_the_interval_of_the_baseline() {
    let mut against = accuracy(0.5);
    against.models[0].intervals.insert("accuracy".into(), (0.4, 0.6));
    let message = |score: f64, by: f64| {
        let report = compare(&accuracy(score), &against, &[tolerance("accuracy", by)], &[]).unwrap();
        text::sentence(&report, &report.checks[0])
    };
    assert!(message(0.45, 0.0).contains("fell by 0.0500, from 0.5000 to 0.4500"), "{}", message(0.45, 0.0));
    assert!(message(0.45, 0.0).contains("inside the baseline's 95 % interval, 0.4000 to 0.6000"));
    assert!(message(0.3, 0.0).contains("outside the baseline's 95 % interval"));
    assert!(message(0.49999999, 0.0).contains("from 0.50000000 to 0.49999999"), "{}", message(0.49999999, 0.0));
}

/// Names that try to inject something into each format.
const HOSTILE: [&str; 6] =
    ["::error::a\n::error::b", "<b>|x|`y`", "\u{1b}[31mred", "]]>&\"'", "%0A::set-env name=x::y", "\u{202e}backwards"];

#[test]
fn no_name_breaks_out_of_its_line_cell_or_attribute() {
    for name in HOSTILE {
        let mut against = baseline(&[(name, &[("accuracy", 0.9)])]);
        against.experiment = name.into();
        let mut run = baseline(&[(name, &[("accuracy", 0.1)])]);
        run.experiment = name.into();
        run.classes = vec![name.into()];
        run.origin.unfinished = vec![format!("{name} failed")];
        let report = compare(&run, &against, &[], &[]).unwrap();

        let lines = github::annotations(&report, Some(Path::new(name)));
        assert_eq!(lines.lines().count(), text::reasons(&report).len(), "{lines}");
        assert!(lines.lines().all(|line| line.starts_with("::error file=") && line.matches(",title=").count() == 1));

        let table = text::text(&report);
        assert!(!table.contains("\u{1b}") && !table.lines().any(|line| line.starts_with("::")), "{table:?}");

        let section = markdown::section(&report);
        assert!(!section.contains("<b>") && !section.contains('\u{1b}'), "{section}");
        let row = section.lines().find(|line| line.starts_with("| FELL")).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), text::HEAD.len() + 1, "{row}");

        let xml = junit::document(&report);
        assert!(xml.chars().all(|c| c == '\n' || !c.is_control()), "{xml:?}");
        assert_eq!(xml.matches("<testcase ").count(), 4, "{xml}");
        assert_eq!(xml.matches("<failure ").count(), 1);
    }
}
