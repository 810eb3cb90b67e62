//! Paired differences against scipy, statsmodels and scikit-learn (`tests/golden/make_significance.py`).

use serde_json::Value;
use timbre_core::{labels::Task, seed::Seed};
use timbre_evaluation::{metrics, predictions::Predictions};
use timbre_reports::comparison::significance::{PairedScore, SeedPairing, difference, holm, mcnemar};

use crate::test_dir::golden;

fn labels<T: From<Vec<usize>>>(letters: &Value) -> Vec<T> {
    letters.as_str().unwrap().bytes().map(|letter| vec![usize::from(letter - b'a')].into()).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

#[test]
fn differences_intervals_and_p_values_equal_scipy() {
    let document = golden("significance.json");
    let cases = document["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 28);
    let mut exact = 0;
    for case in cases {
        let song: Vec<usize> = numbers(&case["song"]).into_iter().map(|n| n as usize).collect();
        let songs = song.iter().max().unwrap() + 1;
        let n_classes = case["classes"].as_u64().unwrap() as usize;
        let once = labels(&case["truth"]);
        let truth = [once.clone(), once].concat();
        let said = Predictions { n_classes, probabilities: vec![0.0; truth.len() * n_classes] };
        let sides = case["reference"].as_array().unwrap().iter().zip(case["line"].as_array().unwrap());
        let decided: Vec<Vec<Vec<usize>>> = sides.map(|(a, b)| [labels(a), labels(b)].concat()).collect();
        let metric = case["metric"].as_str().unwrap();
        let mut pairs = Vec::new();
        for (seed, decided) in decided.iter().enumerate() {
            pairs.push(PairedScore {
                seeds: (seed, seed),
                song: song.clone(),
                differs: (0..song.len()).map(|clip| decided[clip] != decided[song.len() + clip]).collect(),
                score: metrics::weighted_metric(Task::SingleLabel, metric, &truth, decided, &said),
            });
        }
        let found = difference(&pairs, SeedPairing::Matched, songs, 8000, 0.95, Seed::new(1)).unwrap();
        let theirs = |key: &str| case[key].as_f64().unwrap();
        assert!((found.mean - theirs("difference")).abs() < 1e-12, "{} in {case}", found.mean);
        // All exchanges are tried: at most 2^12 of them.
        assert!((found.p_permutation - theirs("permutation")).abs() < 1e-9, "{} in {case}", found.p_permutation);
        let bootstrap = |key: &str| case["bootstrap"][key].as_f64().unwrap();
        // Two samples of the same distribution: a quantile may fall on one step of a clip or on the next.
        let step = 1.01 / song.len() as f64;
        assert!((found.interval.0 - bootstrap("low")).abs() < step, "{:?} in {case}", found.interval);
        assert!((found.interval.1 - bootstrap("high")).abs() < step, "{:?} in {case}", found.interval);
        let p = bootstrap("p");
        let chance = 0.002 + 4.0 * (p * (1.0 - p / 2.0) / 2000.0).sqrt();
        assert!((found.p_bootstrap - p).abs() < chance.max(0.004), "{} in {case}", found.p_bootstrap);
        if let Some(theirs) = case["mcnemar"].as_f64() {
            assert!((found.p_permutation - theirs).abs() < 1e-9, "{} in {case}", found.p_permutation);
            exact += 1;
        }
    }
    assert_eq!(exact, 7);
}

#[test]
fn holm_correction_equals_statsmodels() {
    for case in golden("significance.json")["holm"].as_array().unwrap() {
        let ours = holm(&numbers(&case["p"]));
        assert!(ours.iter().zip(numbers(&case["holm"])).all(|(a, b)| (a - b).abs() < 1e-12), "{ours:?} in {case}");
    }
}

#[test]
fn mcnemar_test_equals_statsmodels() {
    for case in golden("significance.json")["mcnemar"].as_array().unwrap() {
        let count = |key: &str| case[key].as_u64().unwrap() as usize;
        let ours = mcnemar(count("one"), count("other"));
        assert!((ours - case["p"].as_f64().unwrap()).abs() < 1e-9, "{ours} in {case}");
    }
}
