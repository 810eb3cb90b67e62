//! Tests of every registered kind of model: restoring, thread invariance, serialization, refused inputs.

use crate::classic::{knn, logistic};
use crate::networks::InputShape;
use crate::*;
use timbre_core::{
    labels::Task,
    seed::{Seed, uniform},
};
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;

const CLASSES: usize = 4;

/// Noise with a little signal. With several labels a third of the rows has a second class and some have none.
fn noisy_set(rows: usize, shape: [usize; 2], task: Task) -> FeatureSet {
    let mut rng = Seed::new(2).rng();
    let labels = |row: usize| {
        let class = row * 5 % CLASSES;
        let mut labels = match row % 9 {
            0 if task == Task::MultiLabel => vec![],
            1..4 if task == Task::MultiLabel => vec![class, (class + 1) % CLASSES],
            _ => vec![class],
        };
        labels.sort_unstable();
        labels
    };
    let dims = shape[0] * shape[1];
    let signal = |i: usize| (i / dims * 5 % CLASSES * (i % 3)) as f64 * 0.1;
    let values = (0..rows * dims).map(|i| (uniform(&mut rng) + signal(i)) as f32).collect();
    FeatureSet::from_matrices(values, shape, (0..rows).map(labels).collect(), CLASSES)
}

/// One spec of every registered kind that learns from a feature, and further specs of the classic models.
fn every_spec() -> Vec<ModelSpec> {
    let spec = |kind: &str, keys: &str| toml::from_str::<ModelSpec>(&format!("kind = \"{kind}\"\n{keys}"));
    let mut specs = Vec::new();
    for kind in ModelSpec::KINDS.iter().filter(|kind| !["ensemble", "pretrained"].contains(kind)) {
        let keys = match (spec(kind, "").unwrap().as_network().is_some(), *kind) {
            // Their own heads have 50 to 120 million parameters.
            (true, "vgg16_bn" | "alexnet") => "epochs = 1\nbatch_size = 3\nhead = \"per_class\"",
            // burn multiplies a row of 1506 values alone in another order than several of them (docs/networks.md).
            (true, "musicnn") => "epochs = 1\nbatch_size = 3\nhead = \"per_class\"",
            (true, "cnn6" | "cnn10" | "cnn14") => "epochs = 1\nbatch_size = 3\nfilters = 2",
            (true, "ast" | "passt") => "epochs = 1\nbatch_size = 3\nembed_dim = 24\ndepth = 2\nheads = 3",
            (true, "masked_autoencoder") => {
                "epochs = 1\nbatch_size = 3\nembed_dim = 24\ndepth = 2\nheads = 3\ndecoder_dim = 16\ndecoder_depth = 1\ndecoder_heads = 2"
            }
            (true, "beats") => {
                "epochs = 1\nbatch_size = 3\nembed_dim = 24\ndepth = 2\nheads = 3\nhidden_dim = 48\nconv_pos = 8\nconv_pos_groups = 4"
            }
            (true, "mobilenet_v3_large" | "efficientnet_v2_s" | "convnext_tiny") => {
                "epochs = 1\nbatch_size = 3\nwidth = 0.2"
            }
            (true, _) => "epochs = 1\nbatch_size = 3",
            // Small enough for many fits.
            (false, "bagging") => "standardize = true\nn_estimators = 2",
            (false, "random_forest" | "extra_trees") => "standardize = true\nn_estimators = 8",
            (false, "hist_gradient_boosting") => "standardize = true\nmax_iterations = 3",
            (false, "mlp") => "standardize = true\nmax_iterations = 3\nhidden_layer_sizes = [12, 8]",
            (false, "linear_svm") => "standardize = true\ntolerance = 1e-2",
            (false, _) => "standardize = true",
        };
        specs.push(spec(kind, keys).unwrap());
    }
    for standardize in [false, true] {
        for metric in [knn::Distance::Euclidean, knn::Distance::Cosine, knn::Distance::Manhattan] {
            let weights = knn::Weights::Distance;
            specs.push(SingleModel::Knn(knn::Knn { standardize, metric, weights, ..Default::default() }).into());
        }
        for multi in [logistic::MultiClass::Ovr, logistic::MultiClass::Multinomial] {
            specs.push(SingleModel::Logistic(logistic::Logistic { standardize, multi, ..Default::default() }).into());
        }
    }
    let reduced = "select = { score = \"f_classif\", k = 30 }\npca = 5";
    for kind in ["average", "knn", "logistic", "naive_bayes"] {
        specs.push(spec(kind, &format!("standardize = true\n{reduced}")).unwrap());
    }
    specs.push(spec("svm", "kernel = \"linear\"\ngamma = 0.1\nclass_weight = \"balanced\"").unwrap());
    specs.push(spec("gmm", "n_components = 2\ncovariance = \"full\"\npca = 5").unwrap());
    specs.push(spec("logistic", "class_weight = \"balanced\"").unwrap());
    specs.push(spec("logistic", "penalty = \"l1\"\nc = 0.1").unwrap());
    specs.push(spec("logistic", "penalty = \"elasticnet\"\nl1_ratio = 0.5\nc = 0.1\nstandardize = false").unwrap());
    specs.push(spec("knn", "class_weight = \"balanced\"").unwrap());
    specs
}

/// Training and test set: for classic models more than one tile of the Gram matrix and more than one panel of columns, or
/// more rows than columns; for networks a few small images.
fn sets(spec: &ModelSpec, task: Task) -> Vec<[FeatureSet; 2]> {
    let set = |rows: usize, shape: [usize; 2]| noisy_set(rows, shape, task);
    if let Some(network) = spec.as_network() {
        let accepts = |height, width| network.layers(InputShape { channels: 1, height, width }, CLASSES).is_ok();
        let width = if accepts(20, 20) { 20 } else { (96..).find(|&width| accepts(96, width)).expect("some width") };
        let shape = if width == 20 { [20, 20] } else { [96, width] };
        return vec![[set(6, shape), set(3, shape)]];
    }
    vec![[set(300, [1, 1500]), set(70, [1, 1500])], [set(400, [1, 150]), set(70, [1, 150])]]
}

fn context(task: Task) -> FitContext<'static> {
    let decision_rule = DecisionRule { task, ..DecisionRule::default() };
    FitContext { decision_rule, ..FitContext::standalone(Seed::new(1)) }
}

/// Whether to test the model with that task. Networks take both alike, so one is enough for them.
fn suits(spec: &ModelSpec, task: Task) -> bool {
    let is_network = spec.as_network().is_some();
    spec.as_kind().task_faults(&context(task).decision_rule).is_empty() && !(is_network && task == Task::MultiLabel)
}

fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

/// Networks whose products have another order of sums for one clip than for a batch.
const WITHIN_ROUNDING: [&str; 7] =
    ["resnet50", "mobilenet_v3_large", "efficientnet_v2_s", "convnext_tiny", "masked_autoencoder", "passt", "beats"];

#[test]
fn every_model_is_restored_to_the_bit_and_threads_do_not_change_a_bit() {
    for (spec, task) in every_spec().iter().flat_map(|spec| [(spec, Task::SingleLabel), (spec, Task::MultiLabel)]) {
        for [train, test] in sets(spec, task).iter().filter(|_| suits(spec, task)) {
            let run = || {
                let fitted = spec.as_kind().fit(train, &context(task)).unwrap();
                let tensors = fitted.tensors().unwrap();
                let restored = spec.restore(tensors.clone(), CLASSES, &Device::cpu()).unwrap();
                let predictions = fitted.predict(test).unwrap();
                assert_eq!(predictions, restored.predict(test).unwrap(), "{spec:?}");
                // A row alone is predicted as in the set.
                let mut row = Vec::new();
                test.read_rows(2..3, &mut row).unwrap();
                let one = FeatureSet::from_matrices(row, test.shape(), vec![vec![0]], CLASSES);
                let alone = fitted.predict(&one).unwrap();
                if WITHIN_ROUNDING.contains(&spec.kind()) {
                    let pairs = alone.row(0).iter().zip(predictions.row(2));
                    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6), "{spec:?}");
                } else {
                    assert_eq!(alone.row(0), predictions.row(2), "{spec:?}");
                }
                let values = tensors.into_iter().map(|t| (t.name.clone(), t.into_values().unwrap()));
                (values.collect::<Vec<_>>(), predictions)
            };
            assert!(on_threads(3, run) == on_threads(1, run), "{spec:?} on {:?}", train.shape());
        }
    }
}

#[test]
fn a_missing_tensor_is_named() {
    for spec in every_spec().into_iter().filter(|spec| spec.as_network().is_none()) {
        let fitted =
            spec.as_kind().fit(&noisy_set(90, [1, 37], Task::SingleLabel), &context(Task::SingleLabel)).unwrap();
        let tensors = fitted.tensors().unwrap();
        for missing in 0..tensors.len() {
            let mut fewer = tensors.clone();
            let name = fewer.remove(missing).name;
            let error = spec.restore(fewer, CLASSES, &Device::cpu()).err().expect("a tensor is missing");
            assert!(format!("{error:#}").contains(&format!("`{name}` is missing")), "{error:#}");
        }
    }
}

#[test]
fn one_softmax_is_refused_for_several_labels_with_the_valid_value() {
    let spec = logistic::Logistic { multi: logistic::MultiClass::Multinomial, ..Default::default() };
    let faults = spec.task_faults(&context(Task::MultiLabel).decision_rule);
    assert!(faults[0].key == "multi" && faults[0].sentence.contains("\"ovr\""), "{faults:?}");
    let train = noisy_set(40, [1, 5], Task::MultiLabel);
    let error = spec.fit(&train, &context(Task::MultiLabel)).err().expect("it is refused");
    assert!(error.to_string().contains("`multi`"), "{error}");
}

#[test]
fn every_spec_has_no_faults_and_is_the_same_after_writing_and_reading() {
    for spec in every_spec() {
        assert!(spec.as_kind().faults().is_empty(), "{spec:?}");
        let text = toml::to_string(&spec).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("features")), "the default choice is left out: {text}");
        assert_eq!(toml::from_str::<ModelSpec>(&text).unwrap(), spec);
    }
    for kind in ModelSpec::KINDS {
        let unknown = format!("kind = \"{kind}\"\nmembers = [\"a\", \"b\"]\nno_such_key = 3");
        assert!(toml::from_str::<ModelSpec>(&unknown).is_err(), "{kind}");
    }
    let spec: ModelSpec = toml::from_str("kind = \"knn\"\nfeatures = [\"raw\", \"mel\"]").unwrap();
    assert_eq!(spec.as_kind().features().0.as_deref().unwrap(), ["raw", "mel"]);
}

#[test]
fn an_empty_training_set_is_refused() {
    for spec in every_spec() {
        let empty = FeatureSet::from_memory(Vec::new(), 3, Vec::new(), CLASSES);
        assert!(spec.as_kind().fit(&empty, &FitContext::standalone(Seed::new(1))).is_err(), "{spec:?}");
    }
}
