//! The classic models against scikit-learn on the same features (`tests/golden/make_models.py`).

use std::path::PathBuf;

use serde_json::{Value, json};
use timbre_core::{labels::Task, seed::Seed};
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_models::{Classifier, FitContext, ModelSpec};

struct Golden {
    name: String,
    train: FeatureSet,
    test: FeatureSet,
    expected: Value,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models")
}

fn document() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("models.json")).unwrap()).unwrap()
}

fn golden_sets() -> Vec<Golden> {
    let Value::Array(sets) = document()["sets"].take() else { panic!("a list of sets") };
    sets.into_iter()
        .map(|expected| {
            let name = expected["name"].as_str().unwrap().to_owned();
            let bytes = std::fs::read(folder().join(format!("{name}.f32"))).unwrap();
            let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            let dims = expected["dims"].as_u64().unwrap() as usize;
            let classes = expected["classes"].as_u64().unwrap() as usize;
            let (labels, truth) = (classes_of(&expected["train"]), classes_of(&expected["truth"]));
            let (train, test) = values.split_at(labels.len() * dims);
            Golden {
                name,
                train: FeatureSet::from_memory(train.to_vec(), dims, labels, classes),
                test: FeatureSet::from_memory(test.to_vec(), dims, truth, classes),
                expected,
            }
        })
        .collect()
}

fn classes_of(list: &Value) -> Vec<usize> {
    list.as_array().unwrap().iter().map(|class| class.as_u64().unwrap() as usize).collect()
}

fn numbers_of(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn fit(spec: Value, train: &FeatureSet) -> Box<dyn Classifier> {
    let spec: ModelSpec = serde_json::from_value(spec).unwrap();
    spec.as_kind().fit(train, &FitContext::standalone(Seed::new(1))).unwrap()
}

fn largest_difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn nearest_centroids_equal_scikit_learn() {
    for golden in golden_sets() {
        for case in golden.expected["average"].as_array().unwrap() {
            let model = fit(json!({ "kind": "average", "standardize": case["standardize"] }), &golden.train);
            let decisions = model.predict(&golden.test).unwrap().most_likely_classes();
            assert_eq!(
                decisions,
                classes_of(&case["decisions"]),
                "{} standardize {}",
                golden.name,
                case["standardize"]
            );
        }
    }
}

#[test]
fn nearest_neighbours_vote_as_in_scikit_learn() {
    for golden in golden_sets() {
        for case in golden.expected["knn"].as_array().unwrap() {
            let spec = json!({ "kind": "knn", "k": case["k"], "metric": case["metric"], "weights": case["weights"] });
            let predictions = fit(spec.clone(), &golden.train).predict(&golden.test).unwrap();
            assert_eq!(predictions.most_likely_classes(), classes_of(&case["decisions"]), "{} {spec}", golden.name);
            let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
            assert!(off < 1e-6, "{} {spec}: {off}", golden.name);
        }
    }
}

#[test]
fn logistic_regression_finds_the_minimum_of_scikit_learn() {
    for golden in golden_sets() {
        for case in golden.expected["logistic"].as_array().unwrap() {
            let spec = json!({
                "kind": "logistic", "multi": case["multi"], "standardize": case["standardize"], "c": case["c"]
            });
            let model = fit(spec.clone(), &golden.train);
            let predictions = model.predict(&golden.test).unwrap();
            let what = format!("{} {spec}", golden.name);
            let hits = |decisions: &[usize]| {
                decisions.iter().zip(golden.test.targets()).filter(|(a, b)| a == b).count() as i64
            };
            let theirs = classes_of(&case["decisions"]);
            assert!((hits(&predictions.most_likely_classes()) - hits(&theirs)).abs() <= 1, "{what}");
            let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
            assert!(off < 1e-3, "{what}: probabilities {off}");
            let tensors = model.tensors().unwrap();
            for tensor in tensors.into_iter().filter(|t| ["weights", "bias"].contains(&&*t.name)) {
                let name = tensor.name.clone();
                let theirs = numbers_of(&case[&name]);
                let size = theirs.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let off = largest_difference(&tensor.into_values().unwrap(), &theirs);
                assert!(off < 1e-3 * size, "{what}: {name} {off} of {size}");
            }
        }
    }
}

#[test]
fn two_classes_are_one_regression_for_both_values_of_multi() {
    let golden = golden_sets().into_iter().find(|golden| golden.name == "wide").unwrap();
    let rows: Vec<usize> = (0..golden.train.len()).filter(|&row| golden.train.targets()[row] < 2).collect();
    let mut values = Vec::new();
    let mut block = Vec::new();
    for &row in &rows {
        golden.train.read_rows(row..row + 1, &mut block).unwrap();
        values.extend_from_slice(&block);
    }
    let targets = rows.iter().map(|&row| golden.train.targets()[row]).collect();
    let train = FeatureSet::from_memory(values, golden.train.dims(), targets, 2);
    let theirs = numbers_of(&document()["two_classes"]["probabilities"]);
    for multi in ["ovr", "multinomial"] {
        let model = fit(json!({ "kind": "logistic", "multi": multi }), &train);
        let off = largest_difference(&model.predict(&golden.test).unwrap().probabilities, &theirs);
        assert!(off < 1e-4, "{multi}: {off}");
    }
}

/// Cases with several labels per row, on the same features and on integers.
fn multi_label_document() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("several.json")).unwrap()).unwrap()
}

fn labels_of(marks: &Value) -> Vec<Vec<usize>> {
    let row = |row: &Value| (0..row.as_array().unwrap().len()).filter(|&class| row[class] == 1).collect();
    marks.as_array().unwrap().iter().map(row).collect()
}

fn fit_multi_label(spec: &Value, train: &FeatureSet) -> Box<dyn Classifier> {
    let spec: ModelSpec = serde_json::from_value(spec.clone()).unwrap();
    let decision_rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
    spec.as_kind().fit(train, &FitContext { decision_rule, ..FitContext::standalone(Seed::new(1)) }).unwrap()
}

#[test]
fn multi_label_probabilities_equal_scikit_learn() {
    let document = multi_label_document();
    for (golden, case) in golden_sets().iter().zip(document["sets"].as_array().unwrap()) {
        assert_eq!(case["name"], golden.name);
        let mut values = Vec::new();
        golden.train.read_rows(0..golden.train.len(), &mut values).unwrap();
        let labels = labels_of(&case["marks"]);
        let train = FeatureSet::from_matrices(values, [1, golden.train.dims()], labels, golden.train.n_classes() + 2);
        for (kind, most) in [("logistic", 1e-4), ("knn", 1e-6), ("average", 1e-4)] {
            for case in case[kind].as_array().unwrap() {
                let mut spec = case.clone();
                spec.as_object_mut().unwrap().remove("probabilities");
                spec["kind"] = kind.into();
                let predictions = fit_multi_label(&spec, &train).predict(&golden.test).unwrap();
                let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
                assert!(off < most, "{} {spec}: {off}", golden.name);
            }
        }
    }
}

#[test]
fn ties_give_the_shares_of_scikit_learn() {
    let document = multi_label_document();
    let values = |rows: &Value| -> Vec<f32> {
        rows.as_array().unwrap().iter().flat_map(numbers_of).map(|number| number as f32).collect()
    };
    let labels = labels_of(&document["ties_marks"]);
    let train = FeatureSet::from_matrices(values(&document["ties_train"]), [1, 3], labels, 4);
    for case in document["ties"].as_array().unwrap() {
        let spec = json!({ "kind": "knn", "k": case["k"], "metric": case["metric"], "weights": case["weights"] });
        let test = values(&case["test"]);
        let test = FeatureSet::from_memory(test.clone(), 3, vec![0; test.len() / 3], 4);
        let predictions = fit_multi_label(&spec, &train).predict(&test).unwrap();
        let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
        assert!(off < 1e-6, "{spec}: {off}");
    }
}

/// The results of the models that hold their training rows in memory, by set.
fn row_cases() -> Vec<(Golden, Value)> {
    let document: Value = serde_json::from_slice(&std::fs::read(folder().join("rows.json")).unwrap()).unwrap();
    golden_sets().into_iter().zip(document["sets"].as_array().unwrap().clone()).collect()
}

/// A case as a spec: without its results and the keys that have no value.
fn spec_of(kind: &str, case: &Value, keys: &[&str]) -> Value {
    let mut spec = json!({ "kind": kind });
    for key in keys.iter().filter(|key| !case[**key].is_null()) {
        spec[*key] = case[*key].clone();
    }
    spec
}

fn tensor(model: &dyn Classifier, name: &str) -> Vec<f32> {
    let tensors = model.tensors().unwrap();
    tensors.into_iter().find(|tensor| tensor.name == name).unwrap().into_values().unwrap()
}

#[test]
fn naive_bayes_equals_scikit_learn() {
    for (golden, cases) in row_cases() {
        for case in cases["naive_bayes"].as_array().unwrap() {
            let predictions =
                fit(spec_of("naive_bayes", case, &["var_smoothing"]), &golden.train).predict(&golden.test).unwrap();
            assert_eq!(predictions.most_likely_classes(), classes_of(&case["decisions"]), "{}", golden.name);
            let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
            assert!(off < 1e-4, "{} {}: {off}", golden.name, case["var_smoothing"]);
        }
    }
}

#[test]
fn support_vector_machines_decide_and_are_sure_as_in_scikit_learn() {
    for (golden, cases) in row_cases() {
        for case in cases["svm"].as_array().unwrap() {
            let mut spec = spec_of("svm", case, &["kernel", "c", "class_weight"]);
            spec["tolerance"] = json!(1e-8);
            let model = fit(spec.clone(), &golden.train);
            let predictions = model.predict(&golden.test).unwrap();
            assert_eq!(predictions.most_likely_classes(), classes_of(&case["decisions"]), "{} {spec}", golden.name);
            // Where votes and coupling disagree, the chosen class is raised to the largest probability.
            let (ours, theirs) = (&predictions.probabilities, numbers_of(&case["probabilities"]));
            let off = |row: usize| largest_difference(&ours[row * 5..row * 5 + 5], &theirs[row * 5..row * 5 + 5]);
            let agree = (0..golden.test.len()).filter(|&row| off(row) < 1e-4).count();
            assert!(agree * 100 >= golden.test.len() * 85, "{} {spec}: {agree}", golden.name);
            let vectors = tensor(&*model, "support_vectors").len() / golden.train.dims();
            assert_eq!(vectors as u64, case["support"].as_u64().unwrap(), "{} {spec}", golden.name);
        }
    }
}

#[test]
fn linear_support_vector_machines_find_the_minimum_of_scikit_learn() {
    for (golden, cases) in row_cases() {
        for case in cases["linear_svm"].as_array().unwrap() {
            let mut spec = spec_of("linear_svm", case, &["c", "class_weight"]);
            spec["tolerance"] = json!(1e-7);
            spec["max_iterations"] = json!(100_000);
            let model = fit(spec.clone(), &golden.train);
            let predictions = model.predict(&golden.test).unwrap();
            for name in ["weights", "bias"] {
                let theirs = numbers_of(&case[name]);
                let size = theirs.iter().fold(0.0f64, |a, b| a.max(b.abs()));
                let off = largest_difference(&tensor(&*model, name), &theirs);
                assert!(off < 1e-4 * size, "{} {spec}: {name} {off} of {size}", golden.name);
            }
            if !case["probabilities"].is_null() {
                let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
                assert!(off < 1e-3, "{} {spec}: {off}", golden.name);
            }
        }
    }
}

#[test]
fn decision_trees_equal_scikit_learn() {
    for (golden, cases) in row_cases() {
        for case in cases["decision_tree"].as_array().unwrap() {
            let spec = spec_of("decision_tree", case, &["criterion", "max_depth", "min_samples_leaf", "class_weight"]);
            let model = fit(spec.clone(), &golden.train);
            let off = largest_difference(
                &model.predict(&golden.test).unwrap().probabilities,
                &numbers_of(&case["probabilities"]),
            );
            assert!(off < 1e-5, "{} {spec}: {off}", golden.name);
            let off = largest_difference(&tensor(&*model, "importances"), &numbers_of(&case["importances"]));
            assert!(off < 1e-5, "{} {spec}: importances {off}", golden.name);
        }
    }
}

#[test]
fn the_mean_of_many_random_trees_is_that_of_scikit_learn() {
    for (golden, cases) in row_cases() {
        for kind in ["random_forest", "extra_trees", "bagging"] {
            let case = &cases["forests"][kind];
            let spec = spec_of(kind, case, &["n_estimators", "min_samples_leaf"]);
            let predictions = fit(spec, &golden.train).predict(&golden.test).unwrap();
            // Two forests differ by chance: the share of one tree is nearly 0 or 1, and deviates by 0.4.
            let deviation = 0.6 / case["n_estimators"].as_f64().unwrap().sqrt();
            let theirs = numbers_of(&case["probabilities"]);
            let largest = largest_difference(&predictions.probabilities, &theirs);
            let squares = predictions.probabilities.iter().zip(&theirs).map(|(&a, b)| (f64::from(a) - b).powi(2));
            let typical = (squares.sum::<f64>() / theirs.len() as f64).sqrt();
            assert!(
                largest < 5.0 * deviation && typical < deviation,
                "{} {kind}: {largest}, typically {typical}",
                golden.name
            );
        }
    }
}

#[test]
fn selection_and_components_before_a_model_equal_scikit_learn() {
    for (golden, cases) in row_cases() {
        for case in cases["preparation"].as_array().unwrap() {
            let mut spec = spec_of("naive_bayes", case, &["pca"]);
            spec["standardize"] = json!(true);
            if !case["select"].is_null() {
                spec["select"] = json!({ "score": "f_classif", "k": case["select"] });
            }
            let predictions = fit(spec.clone(), &golden.train).predict(&golden.test).unwrap();
            let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
            assert!(off < 1e-3, "{} {spec}: {off}", golden.name);
        }
    }
}

/// The cases of a kind against its probabilities.
fn assert_probabilities(kind: &str, keys: &[&str], most: f64) {
    for (golden, cases) in row_cases() {
        for case in cases[kind].as_array().unwrap() {
            let spec = spec_of(kind, case, keys);
            let predictions = fit(spec.clone(), &golden.train).predict(&golden.test).unwrap();
            let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
            assert!(off < most, "{} {spec}: {off}", golden.name);
        }
    }
}

#[test]
fn gradient_boosting_grows_the_trees_of_scikit_learn() {
    let keys = [
        "max_iterations",
        "max_leaf_nodes",
        "min_samples_leaf",
        "max_depth",
        "learning_rate",
        "l2_regularization",
        "class_weight",
    ];
    let mut compared = [0, 0];
    for (golden, cases) in row_cases() {
        for case in cases["hist_gradient_boosting"].as_array().unwrap() {
            let classes = case["classes"].as_u64().unwrap() as usize;
            let rows = (0..golden.train.len()).filter(|&row| golden.train.targets()[row] < classes);
            let rows: Vec<usize> = rows.collect();
            let (mut values, mut block) = (Vec::new(), Vec::new());
            for &row in &rows {
                golden.train.read_rows(row..row + 1, &mut block).unwrap();
                values.extend_from_slice(&block);
            }
            let targets = rows.iter().map(|&row| golden.train.targets()[row]).collect();
            let train = FeatureSet::from_memory(values, golden.train.dims(), targets, classes);
            let spec = spec_of("hist_gradient_boosting", case, &keys);
            let predictions = fit(spec.clone(), &train).predict(&golden.test).unwrap();
            let off = largest_difference(&predictions.probabilities, &numbers_of(&case["probabilities"]));
            assert!(off < 1e-4, "{} {classes} classes, {spec}: {off}", golden.name);
            compared[usize::from(classes == 2)] += 1;
        }
    }
    assert!(compared[0] >= 4 && compared[1] >= 1, "{compared:?}");
}

#[test]
fn mixtures_of_one_component_equal_scikit_learn() {
    assert_probabilities("gmm", &["covariance", "reg_covar", "n_components"], 1e-4);
}

#[test]
fn logistic_regression_with_class_weights_or_a_penalized_bias_equals_scikit_learn() {
    assert_probabilities("logistic", &["multi", "c", "class_weight", "standardize", "penalize_bias"], 1e-4);
}

#[test]
fn an_l1_penalty_keeps_the_columns_of_scikit_learn() {
    for (golden, cases) in row_cases() {
        for case in cases["l1"].as_array().unwrap() {
            let select = json!({ "score": "l1", "c": case["c"] });
            let model = fit(json!({ "kind": "naive_bayes", "standardize": true, "select": select }), &golden.train);
            let columns: Vec<usize> = tensor(&*model, "select.columns").iter().map(|&column| column as usize).collect();
            assert_eq!(columns, classes_of(&case["columns"]), "{} {}", golden.name, case["c"]);
        }
    }
}

#[test]
fn selection_by_mutual_information_keeps_the_columns_with_the_highest_scores_of_scikit_learn() {
    let document: Value = serde_json::from_slice(&std::fs::read(folder().join("selection.json")).unwrap()).unwrap();
    for (golden, cases) in golden_sets().iter().zip(document["sets"].as_array().unwrap()) {
        let scores = numbers_of(&cases["cases"][0]["mutual_information"]);
        let mut best: Vec<usize> = (0..scores.len()).collect();
        best.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        for k in [1, 5, 12] {
            let select = json!({ "score": "mutual_info_classif", "k": k });
            let model = fit(json!({ "kind": "naive_bayes", "standardize": false, "select": select }), &golden.train);
            let columns: Vec<usize> = tensor(&*model, "select.columns").iter().map(|&column| column as usize).collect();
            let mut expected = best[..k].to_vec();
            expected.sort_unstable();
            assert_eq!(columns, expected, "{} k = {k}", golden.name);
        }
    }
}

#[test]
fn l1_and_elastic_net_penalties_find_an_objective_no_higher_than_scikit_learn() {
    let document: Value = serde_json::from_slice(&std::fs::read(folder().join("penalties.json")).unwrap()).unwrap();
    for (golden, cases) in golden_sets().iter().zip(document["sets"].as_array().unwrap()) {
        assert_eq!(cases["name"], golden.name);
        let (n, dims, classes) = (golden.train.len(), golden.train.dims(), golden.train.n_classes());
        let mut raw = Vec::new();
        golden.train.read_rows(0..n, &mut raw).unwrap();
        let rows = standardized(&raw, dims);
        for case in cases["cases"].as_array().unwrap() {
            let mut spec = spec_of("logistic", case, &["penalty", "l1_ratio", "c", "class_weight"]);
            spec["tolerance"] = json!(1e-8);
            let labels = labels_of(&case["marks"]);
            let train = FeatureSet::from_matrices(raw.clone(), [1, dims], labels.clone(), classes);
            let model =
                if case["several"] == true { fit_multi_label(&spec, &train) } else { fit(spec.clone(), &train) };
            let (weights, bias) = (tensor(&*model, "weights"), tensor(&*model, "bias"));
            let (c, ratio) = (case["c"].as_f64().unwrap(), case["l1_ratio"].as_f64().unwrap());
            for (class, theirs) in numbers_of(&case["objectives"]).into_iter().enumerate() {
                let w: Vec<f64> = weights[class * dims..(class + 1) * dims].iter().map(|&w| f64::from(w)).collect();
                let having = labels.iter().filter(|labels| labels.contains(&class)).count();
                let loss = |row: usize| {
                    let has = labels[row].contains(&class);
                    let side = if has { having } else { n - having };
                    let weight = if case["class_weight"].is_null() { 1.0 } else { n as f64 / (2 * side) as f64 };
                    let products = rows[row * dims..(row + 1) * dims].iter().zip(&w).map(|(x, w)| x * w);
                    let z = products.sum::<f64>() + f64::from(bias[class]);
                    let z = if has { -z } else { z };
                    weight * (z.max(0.0) + (-z.abs()).exp().ln_1p())
                };
                let penalty: f64 = w.iter().map(|w| ratio * w.abs() + 0.5 * (1.0 - ratio) * w * w).sum();
                let ours = penalty + c * (0..n).map(loss).sum::<f64>();
                // The weights are rounded to f32.
                assert!(ours <= theirs * (1.0 + 1e-9), "{} {spec} class {class}: {ours}, theirs {theirs}", golden.name);
            }
            let zeros = weights.iter().filter(|&&w| w == 0.0).count();
            assert!(zeros > weights.len() / 3, "{} {spec}: {zeros} of {} weights are 0", golden.name, weights.len());
        }
    }
}

/// Columns with zero mean and unit variance in f64; a constant column is 0.
fn standardized(raw: &[f32], dims: usize) -> Vec<f64> {
    let n = (raw.len() / dims) as f64;
    let column = |column: usize| raw.iter().skip(column).step_by(dims).map(|&x| f64::from(x));
    let mean: Vec<f64> = (0..dims).map(|at| column(at).sum::<f64>() / n).collect();
    let std: Vec<f64> =
        (0..dims).map(|at| (column(at).map(|x| (x - mean[at]).powi(2)).sum::<f64>() / n).sqrt()).collect();
    let scaled = |(at, &x): (usize, &f32)| {
        let (mean, std) = (mean[at % dims], std[at % dims]);
        if std > 1e-9 { (f64::from(x) - mean) / std } else { 0.0 }
    };
    raw.iter().enumerate().map(scaled).collect()
}
