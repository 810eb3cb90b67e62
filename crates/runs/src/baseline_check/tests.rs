//! The rule, on baselines made by hand.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use timbre_core::error::UserError;

/// A baseline of one trial a name, each with these metrics.
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
    fn an_equal_run_passes_whatever_the_tolerance(score in -1e3..1e3f64, by in 0.0..2.0f64) {
        prop_assert!(passes(&accuracy(score), &accuracy(score), &[]));
        prop_assert!(passes(&accuracy(score), &accuracy(score), &[tolerance("accuracy", by)]));
    }

    #[test]
    fn a_better_run_passes_and_one_worse_by_more_than_the_tolerance_does_not(
        score in 0.0..1.0f64, step in 1e-6..1.0f64, by in 0.0..0.5f64,
    ) {
        let tolerances = [tolerance("accuracy", by)];
        prop_assert!(passes(&accuracy(score + step), &accuracy(score), &tolerances));
        prop_assert!(!passes(&accuracy(score - by - step), &accuracy(score), &tolerances));
        prop_assert!(passes(&accuracy(score - by), &accuracy(score), &tolerances), "by the tolerance exactly");
    }

    #[test]
    fn a_loss_goes_the_other_way(metric in prop::sample::select(vec!["log_loss", "calibration_error", "ranking_loss"]),
                                 a in 0.0..9.0f64, b in 0.0..9.0f64) {
        let worse = worse_by(metric, a, b);
        prop_assert_eq!(worse, -worse_by("accuracy", a, b));
        prop_assert_eq!(worse > 0.0, b > a);
        let one = |value| baseline(&[("knn", &[("accuracy", 0.5), (metric, value)])]);
        prop_assert_eq!(passes(&one(b), &one(a), &[tolerance(metric, 0.0)]), b <= a + 1e-9);
    }

    #[test]
    fn more_tolerance_never_fails_what_less_passes(a in 0.0..1.0f64, b in 0.0..1.0f64, small in 0.0..1.0f64, more in 0.0..1.0f64) {
        let with = |by| passes(&accuracy(b), &accuracy(a), &[tolerance("accuracy", by)]);
        prop_assert!(!with(small) || with(small + more));
    }

    #[test]
    fn one_fallen_unit_fails_all_wherever_it_stands(scores in prop::collection::vec(0.1..1.0f64, 1..8), at in any::<prop::sample::Index>()) {
        let names: Vec<String> = (0..scores.len()).map(|n| format!("m{n}")).collect();
        let of = |scores: &[f64]| {
            let metrics: Vec<[(&str, f64); 1]> = scores.iter().map(|&score| [("accuracy", score)]).collect();
            baseline(&names.iter().zip(&metrics).map(|(name, m)| (name.as_str(), &m[..])).collect::<Vec<_>>())
        };
        let mut fallen = scores.clone();
        let at = at.index(scores.len());
        fallen[at] -= 0.05;
        let judged = compare(&of(&fallen), &of(&scores), &[tolerance("accuracy", 0.01)], &[]).unwrap();
        prop_assert!(!judged.passed());
        prop_assert_eq!(judged.fallen().map(|check| check.trial.clone()).collect::<Vec<_>>(), [format!("mel.m{at}")]);
    }

    #[test]
    fn a_baseline_file_reads_back_as_itself_and_equal_ones_are_equal_bytes(scores in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 1..5)) {
        let own = baseline(&[("knn", &scores.iter().enumerate().map(|(n, &s)| (["accuracy", "f1_macro", "matthews", "log_loss"][n % 4], s)).collect::<Vec<_>>())]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made/b.json");
        prop_assert!(own.write(&file).unwrap(), "written");
        prop_assert!(!own.write(&file).unwrap(), "left alone");
        let back = ReferenceScores::read(&file).unwrap();
        prop_assert_eq!(&back.trials, &own.trials);
        prop_assert_eq!(back.bytes(), own.bytes());
    }
}

#[test]
fn a_score_that_is_no_number_has_fallen() {
    assert!(has_fallen(f64::NAN, 0.5));
    assert!(!has_fallen(0.72 - 0.71, 0.01), "rounding alone is no fall");
}

#[test]
fn what_the_run_lacks_does_not_pass_unless_allowed() {
    let against = baseline(&[("knn", &[("accuracy", 0.5), ("f1_macro", 0.4)]), ("svm", &[("accuracy", 0.5)])]);
    let run = accuracy(0.9);
    let asked = [tolerance("accuracy", 0.1), tolerance("f1_macro", 0.1)];
    let judged = compare(&run, &against, &asked, &[]).unwrap();
    assert!(!judged.passed());
    let missing: Vec<String> = judged.missing().map(|check| format!("{} {}", check.trial, check.metric)).collect();
    assert_eq!(missing, ["mel.knn f1_macro", "mel.svm accuracy"]);
    assert!(compare(&run, &against, &asked, &[IssueKind::Missing]).unwrap().passed());
    assert!(!compare(&run, &against, &asked, &[IssueKind::Clips]).unwrap().passed());
    let mut failed = run.clone();
    failed.origin.failures.insert("mel.svm.s1".into(), "out of memory".into());
    let judged = compare(&failed, &against, &[], &[]).unwrap();
    assert!(
        text::reasons(&judged).iter().any(|(why, _)| why.contains("mel.svm.s1 could not be fitted: out of memory"))
    );
}

#[test]
fn other_classes_other_clips_and_a_run_that_is_not_over_are_said_and_do_not_pass() {
    let against = accuracy(0.5);
    let mut run = accuracy(0.5);
    run.classes = vec!["b".into(), "c".into()];
    run.clips.get_mut("test").unwrap().get_mut("1").unwrap().hash = "bb".into();
    run.origin.unfinished = vec!["the run was stopped before its end".into()];
    let all = [IssueKind::Unfinished, IssueKind::Classes, IssueKind::Clips];
    let judged = compare(&run, &against, &[], &[]).unwrap();
    assert_eq!(judged.doubts.iter().map(|doubt| doubt.kind).collect::<Vec<_>>(), all);
    assert!(judged.doubts[1].sentence.contains("only in the run: c; only in the baseline: a"), "{:?}", judged.doubts);
    for left_out in all {
        let allowed: Vec<IssueKind> = all.into_iter().filter(|kind| *kind != left_out).collect();
        assert!(!compare(&run, &against, &[], &allowed).unwrap().passed(), "{left_out:?}");
    }
    assert!(compare(&run, &against, &[], &all).unwrap().passed());
    // The order of classes changes no score of a trial.
    run = accuracy(0.5);
    run.classes.reverse();
    assert!(passes(&run, &against, &[]));
    // Unknown clips are no equal clips.
    run.clips.clear();
    assert!(!passes(&run, &against, &[]));
    assert!(!passes(&against, &run, &[]));
}

#[test]
fn what_cannot_be_asked_is_an_error_and_not_a_pass() {
    let against = accuracy(0.5);
    let refused = |tolerances: &[Tolerance]| compare(&against, &against, tolerances, &[]).unwrap_err();
    let unknown = refused(&[tolerance("f1_micro", 0.1)]);
    assert!(unknown.is::<UserError>() && unknown.to_string().contains("only: accuracy"), "{unknown}");
    assert!(refused(&[tolerance("accuracy", 0.1), tolerance("accuracy", 0.2)]).to_string().contains("twice"));
    assert!(compare(&against, &baseline(&[]), &[], &[]).is_err(), "nothing to hold against");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("b.json");
    for damaged in ["", "{}", "[1]", "{\"schema\":2}", "{\"schema\":1,\"experiment\":\"x\"}"] {
        std::fs::write(&file, damaged).unwrap();
        assert!(ReferenceScores::read(&file).unwrap_err().is::<UserError>(), "{damaged}");
    }
    let no_run = |_: &str| unreachable!("a file is meant");
    assert!(ReferenceScores::find("none.json", no_run).unwrap_err().is::<UserError>());
}

#[test]
fn a_baseline_replaces_files_alone_and_only_where_something_changed() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("b.sock");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(accuracy(0.5).write(&socket).unwrap_err().is::<UserError>());
    assert!(accuracy(0.5).write(folder.path()).unwrap_err().is::<UserError>());
    let file = folder.path().join("b.json");
    let written: Vec<bool> = [0.5, 0.5, 0.6].map(|score| accuracy(score).write(&file).unwrap()).to_vec();
    assert_eq!(written, [true, false, true], "a score of the same length, too");
}

#[test]
fn the_interval_of_the_baseline_is_told_beside_a_fall() {
    let mut against = accuracy(0.5);
    against.trials[0].intervals.insert("accuracy".into(), (0.4, 0.6));
    let told = |score: f64, by: f64| {
        let judged = compare(&accuracy(score), &against, &[tolerance("accuracy", by)], &[]).unwrap();
        text::sentence(&judged, &judged.checks[0])
    };
    assert!(told(0.45, 0.0).contains("fell by 0.0500, from 0.5000 to 0.4500"), "{}", told(0.45, 0.0));
    assert!(told(0.45, 0.0).contains("inside the baseline's 95 % interval, 0.4000 to 0.6000"));
    assert!(told(0.3, 0.0).contains("outside the baseline's 95 % interval"));
    assert!(told(0.49999999, 0.0).contains("from 0.50000000 to 0.49999999"), "{}", told(0.49999999, 0.0));
}

/// Names that try to be something else in each of the forms.
const HOSTILE: [&str; 6] =
    ["::error::a\n::error::b", "<b>|x|`y`", "\u{1b}[31mred", "]]>&\"'", "%0A::set-env name=x::y", "\u{202e}backwards"];

#[test]
fn no_name_breaks_out_of_its_line_its_cell_or_its_attribute() {
    for name in HOSTILE {
        let mut against = baseline(&[(name, &[("accuracy", 0.9)])]);
        against.experiment = name.into();
        let mut run = baseline(&[(name, &[("accuracy", 0.1)])]);
        run.experiment = name.into();
        run.classes = vec![name.into()];
        run.origin.unfinished = vec![format!("{name} failed")];
        let judged = compare(&run, &against, &[], &[]).unwrap();

        let lines = github::annotations(&judged, Some(Path::new(name)));
        assert_eq!(lines.lines().count(), text::reasons(&judged).len(), "{lines}");
        assert!(lines.lines().all(|line| line.starts_with("::error file=") && line.matches(",title=").count() == 1));

        let told = text::text(&judged);
        assert!(!told.contains("\u{1b}") && !told.lines().any(|line| line.starts_with("::")), "{told:?}");

        let section = markdown::section(&judged);
        assert!(!section.contains("<b>") && !section.contains('\u{1b}'), "{section}");
        let row = section.lines().find(|line| line.starts_with("| FELL")).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), text::HEAD.len() + 1, "{row}");

        let xml = junit::document(&judged);
        assert!(xml.chars().all(|c| c == '\n' || !c.is_control()), "{xml:?}");
        assert_eq!(xml.matches("<testcase ").count(), 4, "{xml}");
        assert_eq!(xml.matches("<failure ").count(), 1);
    }
}
