//! Scores of single-label and multi-label predictions against scikit-learn (`tests/golden/make_metrics.py`).

use serde_json::Value;
use timbre_core::labels::Task;
use timbre_evaluation::metrics::{ClassScores, Scores, multi_label, names, probability_scores, single_label};
use timbre_evaluation::predictions::Predictions;

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/metrics/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    document["cases"].as_array().unwrap().clone()
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
        let sets = |key: &str| case[key].as_array().unwrap().iter().map(labels).collect::<Vec<_>>();
        let scores = multi_label(&sets("truth"), &sets("decided"), classes);
        assert_equal(&scores, case);
        let n = scores.n as u64;
        let four =
            |c: &ClassScores| [n + c.hits - c.support - c.predicted, c.predicted - c.hits, c.support - c.hits, c.hits];
        let theirs: Vec<u64> = case["confusion"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(scores.per_class.iter().flat_map(four).collect::<Vec<_>>(), theirs);
    }
}

fn assert_probability_scores(task: Task, case: &Value, truth: &[Vec<usize>]) {
    let levels = case["levels"].as_u64().unwrap() as f32;
    let numbers = case["scores"].as_str().unwrap().split(' ');
    let probabilities = numbers.map(|number| number.parse::<f32>().unwrap() / levels).collect();
    let n_classes = case["classes"].as_u64().unwrap() as usize;
    let scores = probability_scores(task, truth, &Predictions { n_classes, probabilities });
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
fn multi_label_probability_scores_equal_scikit_learn() {
    let cases = cases("ranked");
    assert_eq!(cases.len(), 200);
    for case in &cases {
        let truth: Vec<Vec<usize>> = case["truth"].as_array().unwrap().iter().map(labels).collect();
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
        let truth: Vec<Vec<usize>> = labels(&case["truth"]).into_iter().map(|class| vec![class]).collect();
        assert_probability_scores(Task::SingleLabel, case, &truth);
    }
}
