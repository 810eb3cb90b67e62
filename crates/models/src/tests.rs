//! Every kind of model: restored from its tensors, fitted on one thread and on many, refused where it must be.

use crate::classic::{knn, logistic, nearest_centroid};
use crate::*;
use timbre_core::labels::Task;
use timbre_core::seed::{Seed, uniform};
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;

fn noisy_set(rows: usize, dims: usize) -> FeatureSet {
    let mut rng = Seed::new(2).rng();
    let targets: Vec<usize> = (0..rows).map(|row| row * 5 % 4).collect();
    let values =
        (0..rows * dims).map(|i| (uniform(&mut rng) + (targets[i / dims] * (i % 3)) as f64 * 0.1) as f32).collect();
    FeatureSet::from_memory(values, dims, targets, 4)
}

fn every_spec() -> Vec<ModelSpec> {
    let mut specs = Vec::new();
    for standardize in [false, true] {
        specs.push(ModelSpec::NearestCentroid(nearest_centroid::NearestCentroid { standardize, ..Default::default() }));
        for metric in [knn::Distance::Euclidean, knn::Distance::Cosine, knn::Distance::Manhattan] {
            let weights = knn::Weights::Distance;
            specs.push(ModelSpec::Knn(knn::Knn { standardize, metric, weights, ..Default::default() }));
        }
        for multi in [logistic::MultiClass::Ovr, logistic::MultiClass::Multinomial] {
            specs.push(ModelSpec::Logistic(logistic::Logistic { standardize, multi, ..Default::default() }));
        }
    }
    specs
}

#[test]
fn a_restored_model_predicts_the_same_bits() {
    let (train, test) = (noisy_set(90, 37), noisy_set(31, 37));
    for spec in every_spec() {
        let fitted = spec.as_kind().fit(&train, &FitContext::standalone(Seed::new(1))).unwrap();
        let tensors = fitted.tensors().unwrap();
        let restored = spec.restore(tensors.clone(), 4, &Device::cpu()).unwrap();
        assert_eq!(fitted.predict(&test).unwrap(), restored.predict(&test).unwrap(), "{spec:?}");
        for missing in 0..tensors.len() {
            let mut fewer = tensors.clone();
            let name = fewer.remove(missing).name;
            let error = format!("{:#}", spec.restore(fewer, 4, &Device::cpu()).err().expect("a tensor is missing"));
            assert!(error.contains(&format!("`{name}` is missing")), "{error}");
        }
    }
}

#[test]
fn one_thread_and_many_learn_and_predict_the_same_bits() {
    // More than one tile of the Gram matrix, more than one panel of columns; and more rows than columns.
    for (rows, dims) in [(300, 1500), (400, 150)] {
        let (train, test) = (noisy_set(rows, dims), noisy_set(70, dims));
        for spec in every_spec() {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let fitted = spec.as_kind().fit(&train, &FitContext::standalone(Seed::new(1))).unwrap();
                    let learnt: Vec<(String, Vec<f32>)> = fitted
                        .tensors()
                        .unwrap()
                        .into_iter()
                        .map(|t| (t.name.clone(), t.into_values().unwrap()))
                        .collect();
                    (learnt, fitted.predict(&test).unwrap())
                })
            };
            let alone = run(1);
            assert!([2, 5].into_iter().all(|threads| run(threads) == alone), "{spec:?} on {rows}×{dims}");
        }
    }
}

fn several_labels() -> FitContext<'static> {
    FitContext {
        decision_rule: DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() },
        ..FitContext::standalone(Seed::new(1))
    }
}

/// The noisy set, a third of its rows with a second class and some with none.
fn noisy_with_several(rows: usize, dims: usize) -> FeatureSet {
    let set = noisy_set(rows, dims);
    let labels = (0..rows).map(|row| {
        let mut labels = vec![set.targets()[row]];
        match row % 9 {
            0 => labels.clear(),
            1..4 => labels.push((labels[0] + 1) % 4),
            _ => {}
        }
        labels.sort_unstable();
        labels
    });
    let mut values = Vec::new();
    set.read_rows(0..rows, &mut values).unwrap();
    FeatureSet::from_matrices(values, [1, dims], labels.collect(), 4)
}

fn for_several() -> impl Iterator<Item = ModelSpec> {
    let decision_rule = several_labels().decision_rule;
    every_spec().into_iter().filter(move |spec| spec.as_kind().task_faults(&decision_rule).is_empty())
}

#[test]
fn with_several_labels_too_a_model_is_restored_and_threads_change_no_bit() {
    let (train, test) = (noisy_with_several(300, 1100), noisy_with_several(70, 1100));
    for spec in for_several() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let fitted = spec.as_kind().fit(&train, &several_labels()).unwrap();
                let restored = spec.restore(fitted.tensors().unwrap(), 4, &Device::cpu()).unwrap();
                let said = fitted.predict(&test).unwrap();
                assert_eq!(said, restored.predict(&test).unwrap(), "{spec:?}");
                said
            })
        };
        let alone = run(1);
        assert_eq!(run(3), alone, "{spec:?}");
        // What is asked of one recording is what is said of it among others.
        let mut row = Vec::new();
        test.read_rows(11..12, &mut row).unwrap();
        let one = FeatureSet::from_matrices(row, [1, 1100], vec![vec![]], 4);
        let fitted = spec.as_kind().fit(&train, &several_labels()).unwrap();
        assert_eq!(fitted.predict(&one).unwrap().row(0), alone.row(11), "{spec:?}");
    }
}

#[test]
fn one_softmax_is_refused_for_several_labels_with_what_to_write() {
    let spec = logistic::Logistic { multi: logistic::MultiClass::Multinomial, ..Default::default() };
    let faults = spec.task_faults(&several_labels().decision_rule);
    assert!(faults[0].key == "multi" && faults[0].sentence.contains("\"ovr\""), "{faults:?}");
    let error = spec.fit(&noisy_with_several(40, 5), &several_labels()).err().expect("it is refused");
    assert!(error.to_string().contains("`multi`"), "{error}");
}

#[test]
fn a_spec_written_and_read_again_is_the_same_spec() {
    for spec in every_spec() {
        let text = toml::to_string(&spec).unwrap();
        assert!(!text.contains("features"), "the default choice is left out: {text}");
        assert_eq!(toml::from_str::<ModelSpec>(&text).unwrap(), spec);
    }
    let spec: ModelSpec = toml::from_str("kind = \"knn\"\nfeatures = [\"raw\", \"mel\"]").unwrap();
    assert_eq!(spec.as_kind().features().0.as_deref().unwrap(), ["raw", "mel"]);
    assert!(toml::from_str::<ModelSpec>("kind = \"knn\"\nneighbours = 3").is_err());
}

#[test]
fn an_empty_training_part_is_refused() {
    for spec in every_spec() {
        let nothing = FeatureSet::from_memory(Vec::new(), 3, Vec::new(), 4);
        assert!(spec.as_kind().fit(&nothing, &FitContext::standalone(Seed::new(1))).is_err());
    }
}
