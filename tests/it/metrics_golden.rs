//! Scores of single-label and multi-label predictions against scikit-learn (`tests/golden/make_metrics.py`).

use indexmap::IndexMap;
use serde_json::Value;
use timbre_core::labels::{Labels, Task};
use timbre_evaluation::metrics::{
    ClassScores, DecisionRule, Scores, decision_scores, multi_label, names, probability_scores, single_label,
    weighted_metric,
};
use timbre_evaluation::predictions::Predictions;
use timbre_evaluation::threshold_search::ThresholdGrid;

use crate::test_dir::golden;

fn cases(name: &str) -> Vec<Value> {
    golden(&format!("metrics/{name}.json"))["cases"].as_array().unwrap().clone()
}

fn assert_equal(scores: &Scores, case: &Value) {
    let close = |ours: f64, theirs: &Value, what: &str| {
        let theirs = theirs.as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-12, "{what}: {ours}, not {theirs}, in {case}");
    };
    for (name, theirs) in case["metrics"].as_object().unwrap() {
        close(scores.metrics[name], theirs, name);
    }
    assert_eq!(scores.metrics.len(), case["metrics"].as_object().unwrap().len());
    let terms: [fn(&ClassScores) -> f64; 4] = [|c| c.precision, |c| c.recall, |c| c.f1, |c| c.support as f64];
    for (which, (term, theirs)) in terms.iter().zip(case["per_class"].as_array().unwrap()).enumerate() {
        let ours: f64 = scores.per_class.iter().enumerate().map(|(i, c)| (i + 1) as f64 * term(c)).sum();
        let theirs = theirs.as_f64().unwrap();
        // A weighted sum of up to 11 scores, not one score: the bound grows with it.
        assert!((ours - theirs).abs() < 1e-11, "per class {which}: {ours}, not {theirs}, in {case}");
    }
}

fn labels(letters: &Value) -> Vec<usize> {
    letters.as_str().unwrap().bytes().map(|letter| usize::from(letter - b'a')).collect()
}

fn sets(case: &Value, key: &str) -> Vec<Vec<usize>> {
    case[key].as_array().unwrap().iter().map(labels).collect()
}

#[test]
fn single_label_scores_equal_scikit_learn() {
    let cases = cases("single_label");
    assert_eq!(cases.len(), 300);
    for case in &cases {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let scores = single_label(&labels(&case["truth"]), &labels(&case["decided"]), classes);
        assert_equal(&scores, case);
        let confusion: Vec<u64> = scores.confusion.concat();
        let theirs: Vec<u64> = case["confusion"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(confusion, theirs);
    }
}

#[test]
fn multi_label_scores_equal_scikit_learn() {
    let cases = cases("multi_label");
    assert_eq!(cases.len(), 200);
    for case in &cases {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let truth: Vec<Labels> = sets(case, "truth").into_iter().map(Labels::from).collect();
        let scores = multi_label(&truth, &sets(case, "decided"), classes);
        assert_equal(&scores, case);
        let n = scores.n as u64;
        let four =
            |c: &ClassScores| [n + c.hits - c.support - c.predicted, c.predicted - c.hits, c.support - c.hits, c.hits];
        let theirs: Vec<u64> = case["confusion"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(scores.per_class.iter().flat_map(four).collect::<Vec<_>>(), theirs);
    }
}

fn predictions(case: &Value) -> Predictions {
    let levels = case["levels"].as_u64().unwrap() as f32;
    let numbers = case["scores"].as_str().unwrap().split(' ');
    let probabilities = numbers.map(|number| number.parse::<f32>().unwrap() / levels).collect();
    Predictions { n_classes: case["classes"].as_u64().unwrap() as usize, probabilities }
}

fn assert_probability_scores(task: Task, case: &Value, truth: &[Labels]) {
    assert_scores(task, &probability_scores(task, truth, &predictions(case)), case);
}

fn assert_scores(task: Task, scores: &IndexMap<String, f64>, case: &Value) {
    let theirs = case["metrics"].as_object().unwrap();
    for (name, theirs) in theirs {
        let ours = scores.get(name).copied();
        let close = match (ours, theirs.as_f64()) {
            (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1e-10,
            (None, None) => true,
            _ => false,
        };
        assert!(close, "{name}: {ours:?}, not {theirs}, in {case}");
    }
    assert!(names(task).filter(|name| theirs.contains_key(*name)).count() == theirs.len());
}

#[test]
fn unknown_labels_take_no_part_in_any_score() {
    let cases = cases("masked");
    assert_eq!(cases.len(), 150);
    for case in &cases {
        let unknown = sets(case, "unknown").into_iter();
        let truth: Vec<Labels> = sets(case, "truth")
            .into_iter()
            .zip(unknown)
            .map(|(present, unknown)| Labels::new(present, unknown))
            .collect();
        let predictions = predictions(case);
        let rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
        assert_eq!(rule.decide(&predictions), sets(case, "decided"));
        assert_scores(Task::MultiLabel, &rule.scores(&truth, &predictions).metrics, case);
        // The same numbers in a bootstrap that draws every clip once, and in the threshold search.
        let (once, decided) = (vec![1; truth.len()], sets(case, "decided"));
        let grid = ThresholdGrid::of_scores(&predictions, &truth, vec![0.5]);
        let tally = grid.surface(&once).scores[0];
        for (name, value) in rule.scores(&truth, &predictions).metrics {
            let weighted = weighted_metric(Task::MultiLabel, &name, &truth, &decided, &predictions);
            assert_eq!(weighted(&once), Some(value), "{name}");
            if let Some(at) = decision_scores::position(&name) {
                assert_eq!(tally[at], value, "{name}");
            }
        }
    }
    assert!(cases.iter().any(|case| case["metrics"]["roc_auc_macro"].is_null()));
}

#[test]
fn multi_label_probability_scores_equal_scikit_learn() {
    let cases = cases("ranked");
    assert_eq!(cases.len(), 200);
    for case in &cases {
        let truth: Vec<Labels> = sets(case, "truth").into_iter().map(Labels::from).collect();
        assert_probability_scores(Task::MultiLabel, case, &truth);
    }
    let undefined = |case: &&Value| case["metrics"]["roc_auc_samples"].is_null();
    assert!(cases.iter().any(|case| undefined(&case)) && !cases.iter().all(|case| undefined(&case)));
}

#[test]
fn single_label_probability_scores_equal_scikit_learn() {
    let cases = cases("single_label_ranked");
    assert_eq!(cases.len(), 150);
    for case in &cases {
        let truth: Vec<Labels> = labels(&case["truth"]).into_iter().map(|class| vec![class].into()).collect();
        assert_probability_scores(Task::SingleLabel, case, &truth);
    }
}
