//! Models: a [`FeatureSet`] becomes a [`Classifier`].
//!
//! A model reads its features in blocks of [`BLOCK_BYTES`](timbre_inputs::dataset::feature_set::BLOCK_BYTES) and never holds all of a large set;
//! the header of each model's file says what it holds. Sums over rows or columns are f64 in a fixed order: the number of
//! threads changes no bit.

#![allow(unsafe_code, reason = "SIMD kernels, disjoint writes of parallel loops, queries of the GPU drivers")]

pub mod classic;
pub mod device;
mod kernels;
pub mod networks;
pub mod training;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail, ensure};
use indexmap::IndexMap;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use timbre_core::progress::Printer;
use timbre_core::registry::Fault;
use timbre_core::seed::Seed;
use timbre_evaluation::metrics::DecisionRule;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

use classic::{ensemble, knn, logistic, nearest_centroid};
use device::Device;
use networks::{InputShape, LayerRow, NetworkModel};

networks::model_registry! {
    {
        /// A model by its `kind`.
        pub enum ModelSpec: ModelKind
    }
    {
        "average" => nearest_centroid::NearestCentroid,
        "knn" => knn::Knn,
        "logistic" => logistic::Logistic,
    }
    networks
    {
        "ensemble" => ensemble::Ensemble,
    }
}

impl ModelSpec {
    /// The fitted model that wrote `tensors` ([`Classifier::tensors`]): its predictions are the same bits on the same device.
    pub fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        self.as_kind()
            .restore(tensors, n_classes, device)
            .with_context(|| format!("restore a model of kind `{}` from its tensors", self.kind()))
    }
}

/// A fitted model.
pub trait Classifier: Send + Sync {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions>;

    /// Everything the model has learnt, to be written to `model.safetensors`.
    fn tensors(&self) -> Result<Vec<Tensor>>;

    /// [`Self::predict`], and where the spec asks for it the same model at other values of one of its parameters (kNN: at
    /// other k).
    fn predict_with_curve(&self, set: &FeatureSet) -> Result<(Predictions, Option<ValidationCurve>)> {
        Ok((self.predict(set)?, None))
    }

    /// Facts about the fit for the log and `run.json`: iterations, tolerance reached.
    fn notes(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What each kind of model gives.
pub trait ModelKind {
    /// Raised by hand when the same spec gives other numbers than before.
    fn version(&self) -> u32;

    /// The features it is trained on, one after the other.
    fn features(&self) -> &FeatureChoice;

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>>;

    /// The way back from [`Classifier::tensors`].
    fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>>;

    /// What is wrong with its keys for that task.
    fn task_faults(&self, _judge: &DecisionRule) -> Vec<Fault> {
        Vec::new()
    }

    /// The files that it reads beside its training set: what lies in them changes the model.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The network, if this is one.
    fn as_network(&self) -> Option<&dyn NetworkModel> {
        None
    }

    /// Whether it computes on a [`Device`], and sees fresh examples each epoch.
    fn is_network(&self) -> bool {
        self.as_network().is_some()
    }

    /// Whether it trains on another part of a long recording in each epoch (see [`timbre_inputs::dataset::examples`]).
    fn crops_at_random(&self) -> bool {
        false
    }

    /// Itself, if it is made of other models of the experiment instead of being fitted to a feature.
    fn as_ensemble(&self) -> Option<&ensemble::Ensemble> {
        None
    }

    /// Whether what it becomes depends on the headline metric of the experiment: then runs with another metric have other units.
    fn depends_on_metric(&self) -> bool {
        false
    }

    /// The augmentations that its training clips go through, by name; nothing: all of the experiment. Only networks have any.
    fn augmentations(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }

    /// The file of recorded draws that it plays again.
    fn replay(&self) -> Option<PathBuf> {
        None
    }

    /// How often a network sees every training clip.
    fn epochs(&self) -> usize {
        0
    }

    /// The layers of a network for such an input; nothing for other models.
    fn layers(&self, _input: InputShape, _n_classes: usize) -> Option<Result<Vec<LayerRow>>> {
        None
    }

    /// What is wrong between or within the keys of a spec: the key, and a sentence that says what to write instead.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

/// What a fit is told beside its training set.
pub struct FitContext<'a> {
    pub seed: Seed,
    /// The task, and how predictions become decisions.
    pub decision_rule: DecisionRule,
    /// What epochs are judged on.
    pub validation: Option<&'a FeatureSet>,
    pub device: &'a Device,
    /// Where checkpoints lie, of this fit alone. Nothing: none are written.
    pub checkpoints: Option<&'a Path>,
    /// Set by a signal: the epoch in hand is left, and the fit ends with [`Cancelled`](timbre_core::cancel::Cancelled).
    pub stop: &'a AtomicBool,
    pub printer: Printer,
    pub callback: &'a dyn TrainingCallback,
}

impl FitContext<'_> {
    /// A fit that nobody looks at, on the CPU.
    pub fn standalone(seed: Seed) -> FitContext<'static> {
        static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);
        static NEVER: AtomicBool = AtomicBool::new(false);
        FitContext {
            seed,
            decision_rule: DecisionRule::default(),
            validation: None,
            device: &CPU,
            checkpoints: None,
            stop: &NEVER,
            printer: Printer::Quiet,
            callback: &NoCallback,
        }
    }
}

/// Who looks on while a network is trained: the folder of the run.
pub trait TrainingCallback: Sync {
    /// After every epoch, and once after a checkpoint was read: all epochs so far.
    fn on_epoch_end(&self, _history: &[Epoch]) -> Result<()> {
        Ok(())
    }

    /// What the search for a learning rate has found.
    fn on_rates_found(&self, _curve: &RateCurve) -> Result<()> {
        Ok(())
    }
}

/// Looks away.
pub struct NoCallback;

impl TrainingCallback for NoCallback {}

/// A line of `epochs.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// At its end.
    pub learning_rate: f64,
    pub train_loss: f64,
    pub validation_loss: Option<f64>,
    /// On the validation split.
    pub metrics: IndexMap<String, f64>,
    /// Whether it is the best so far.
    pub best: bool,
    pub seconds: f64,
    pub clips_per_second: f64,
    /// The share of the time in which the device waited for clips.
    pub waited: f64,
}

/// Losses along learning rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateCurve {
    /// (learning rate, smoothed loss), ascending.
    pub points: Vec<(f64, f64)>,
    pub suggestion: f64,
}

/// A named array of f32.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: TensorValues,
}

/// The numbers of a tensor, row-major.
#[derive(Clone)]
pub enum TensorValues {
    InMemory(Vec<f32>),
    /// As large as the training set: read in blocks when it is written.
    Rows(FeatureSet),
}

impl Tensor {
    pub fn new(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Tensor {
        Tensor { name: name.to_owned(), shape, values: TensorValues::InMemory(values) }
    }

    /// Calls `write` with the values, block after block.
    pub fn for_each_block(&self, mut write: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        match &self.values {
            TensorValues::InMemory(values) => write(values),
            TensorValues::Rows(set) => {
                let mut block = Vec::new();
                chunk_ranges(set.len(), set.block_rows()).into_iter().try_for_each(|rows| {
                    set.read_rows(rows, &mut block)?;
                    write(&block)
                })
            }
        }
    }

    /// The whole of the values in memory.
    pub fn into_values(self) -> Result<Vec<f32>> {
        match self.values {
            TensorValues::InMemory(values) => Ok(values),
            TensorValues::Rows(set) => {
                let mut values = Vec::new();
                set.read_rows(0..set.len(), &mut values)?;
                Ok(values)
            }
        }
    }
}

/// Predictions along one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationCurve {
    pub parameter: String,
    pub points: Vec<(f64, Predictions)>,
}

/// `features = "mel"`, `features = ["raw", "mel"]`, or left out: every feature of the experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureChoice(pub Option<Vec<String>>);

impl FeatureChoice {
    /// Whether every feature is meant.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }
}

impl Serialize for FeatureChoice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FeatureChoice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> serde::de::Visitor<'de> for OneOrMany {
            type Value = FeatureChoice;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("the name of a feature or a list of names")
            }
            fn visit_str<E>(self, name: &str) -> Result<FeatureChoice, E> {
                Ok(FeatureChoice(Some(vec![name.to_owned()])))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<FeatureChoice, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(FeatureChoice(Some(names)))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for FeatureChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FeatureChoice".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The name of a feature, or a list of names; left out: every feature of the experiment.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
        })
    }
}

/// `0..len` cut into chunk_ranges of `size`, the last one shorter.
fn chunk_ranges(len: usize, size: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    (0..len).step_by(size).map(|start| start..(start + size).min(len)).collect()
}

/// A spec made by hand goes through the same check as one from a file, and an empty training set is refused.
fn ensure_trainable(kind: &dyn ModelKind, train: &FeatureSet) -> Result<()> {
    if let Some(Fault { key, sentence }) = kind.faults().into_iter().next() {
        bail!("`{key}`: {sentence}");
    }
    ensure!(
        !train.is_empty(),
        "fit a model: the training part has no clip; give it some with the split of the data set"
    );
    ensure!(train.dims() > 0, "fit a model: the feature has no columns");
    Ok(())
}

fn ensure_columns(set: &FeatureSet, dims: usize) -> Result<()> {
    ensure!(
        set.dims() == dims,
        "predict: the features have {} columns, the model was trained on {dims}; compute them with the same settings",
        set.dims()
    );
    Ok(())
}

/// The predictions of a model that looks at one scaled row at a time; blocks are read one after the other, rows in parallel.
fn predict_row_by_row(
    set: &FeatureSet,
    scaler: Option<&classic::scaling::Scaler>,
    n_classes: usize,
    probabilities_of: impl Fn(&[f32]) -> Vec<f32> + Sync,
) -> Result<Predictions> {
    let mut probabilities = Vec::with_capacity(set.len() * n_classes);
    let mut block = Vec::new();
    for rows in chunk_ranges(set.len(), set.block_rows()) {
        set.read_rows(rows, &mut block)?;
        if let Some(scaler) = scaler {
            scaler.apply(&mut block);
        }
        let rows: Vec<Vec<f32>> = block.par_chunks_exact(set.dims()).map(&probabilities_of).collect();
        probabilities.extend(rows.into_iter().flatten());
    }
    Ok(Predictions { n_classes, probabilities })
}

/// Takes the tensor of that name out of the list: its shape and its values.
fn take_shaped(tensors: &mut Vec<Tensor>, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let at = tensors.iter().position(|t| t.name == name).with_context(|| format!("the tensor `{name}` is missing"))?;
    let tensor = tensors.swap_remove(at);
    let shape = tensor.shape.clone();
    let values = tensor.into_values()?;
    ensure!(
        shape.iter().product::<usize>() == values.len(),
        "the tensor `{name}` has {} values, its shape {shape:?} asks for another number",
        values.len()
    );
    Ok((shape, values))
}

fn take_tensor(tensors: &mut Vec<Tensor>, name: &str) -> Result<Vec<f32>> {
    take_shaped(tensors, name).map(|(_, values)| values)
}

/// Takes a matrix, and gives its numbers of rows and columns.
fn take_matrix(tensors: &mut Vec<Tensor>, name: &str) -> Result<(usize, usize, Vec<f32>)> {
    let (shape, values) = take_shaped(tensors, name)?;
    let [rows, columns] = shape[..] else { bail!("the tensor `{name}` has the shape {shape:?}, not two sizes") };
    Ok((rows, columns, values))
}

fn take_scaler(tensors: &mut Vec<Tensor>, standardize: bool, dims: usize) -> Result<Option<classic::scaling::Scaler>> {
    if !standardize {
        return Ok(None);
    }
    let (mean, std) = (take_tensor(tensors, "scale_mean")?, take_tensor(tensors, "scale_std")?);
    classic::scaling::Scaler::restore(mean, std, dims).map(Some)
}

/// Shares as f32 probabilities whose largest is `winner`, also where rounding to f32 made several equal: the decision taken
/// in f64 is the decision that is read from the table.
fn probability_row(shares: &[f64], winner: usize) -> Vec<f32> {
    let mut row: Vec<f32> = shares.iter().map(|&p| p as f32).collect();
    let rival = row.iter().enumerate().filter(|&(i, _)| i != winner).map(|(_, &p)| p).fold(0.0, f32::max);
    if row[winner] <= rival {
        row[winner] = rival.next_up();
    }
    row
}

/// The first of the largest.
fn argmax(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::labels::Task;
    use timbre_core::seed::uniform;

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
            specs.push(ModelSpec::NearestCentroid(nearest_centroid::NearestCentroid {
                standardize,
                ..Default::default()
            }));
            for metric in [knn::Metric::Euclidean, knn::Metric::Cosine, knn::Metric::Manhattan] {
                let weights = knn::Weights::Distance;
                specs.push(ModelSpec::Knn(knn::Knn { standardize, metric, weights, ..Default::default() }));
            }
            for multi in [logistic::Multi::Ovr, logistic::Multi::Multinomial] {
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
        let spec = logistic::Logistic { multi: logistic::Multi::Multinomial, ..Default::default() };
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

    #[test]
    fn the_winner_stays_the_winner_when_f32_makes_a_tie() {
        let row = probability_row(&[0.5 - 1e-12, 0.5 + 1e-12], 1);
        assert!(row[1] > row[0] && row[1] - row[0] < 1e-6);
        assert_eq!(probability_row(&[0.25, 0.75], 1), [0.25, 0.75]);
    }
}
