//! Models: a [`FeatureSet`] becomes a [`Classifier`].
//!
//! A model reads its features in blocks of [`BLOCK_BYTES`](crate::dataset::BLOCK_BYTES) and never holds all of a large set;
//! the header of each model's file says what it holds. Sums over rows or columns are f64 in a fixed order: the number of
//! threads changes no bit.

pub mod average;
pub mod knn;
pub mod logistic;

mod neighbours;
mod newton;
mod primal;
mod products;
mod scaling;
mod span;

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::FeatureSet;
use crate::predictions::Predictions;
use crate::seed::Seed;

registry! {
    /// A model by its `kind`.
    pub enum ModelSpec: ModelKind {
        "average" => average::Average,
        "knn" => knn::Knn,
        "logistic" => logistic::Logistic,
    }
}

impl ModelSpec {
    /// The fitted model that wrote `tensors` ([`Classifier::tensors`]): its predictions are the same bits.
    pub fn restore(&self, tensors: Vec<Tensor>, n_classes: usize) -> Result<Box<dyn Classifier>> {
        self.as_kind()
            .restore(tensors, n_classes)
            .with_context(|| format!("restore a model of kind `{}` from its tensors", self.kind()))
    }
}

/// A fitted model.
pub trait Classifier: Send + Sync {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions>;

    /// Everything the model has learnt, to be written to `model.safetensors`.
    fn tensors(&self) -> Result<Vec<Tensor>>;

    /// The same model at other values of one of its parameters (kNN: at other k), where the spec asks for it.
    fn curve(&self, _set: &FeatureSet) -> Result<Option<Curve>> {
        Ok(None)
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

    fn fit(&self, train: &FeatureSet, seed: Seed) -> Result<Box<dyn Classifier>>;

    /// The way back from [`Classifier::tensors`].
    fn restore(&self, tensors: Vec<Tensor>, n_classes: usize) -> Result<Box<dyn Classifier>>;

    /// What is wrong between or within the keys of a spec: the key, and a sentence that says what to write instead.
    fn faults(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// A named array of f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Predictions along one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
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

/// `0..len` cut into pieces of `size`, the last one shorter.
fn pieces(len: usize, size: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    (0..len).step_by(size).map(|start| start..(start + size).min(len)).collect()
}

/// A spec made by hand goes through the same check as one from a file, and an empty training set is refused.
fn ensure_trainable(kind: &dyn ModelKind, train: &FeatureSet) -> Result<()> {
    if let Some((key, sentence)) = kind.faults().into_iter().next() {
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

/// Takes the tensor of that name out of the list.
fn take_tensor(tensors: &mut Vec<Tensor>, name: &str) -> Result<Tensor> {
    let at = tensors.iter().position(|t| t.name == name).with_context(|| format!("the tensor `{name}` is missing"))?;
    let tensor = tensors.swap_remove(at);
    ensure!(
        tensor.shape.iter().product::<usize>() == tensor.values.len(),
        "the tensor `{name}` has {} values, its shape {:?} asks for another number",
        tensor.values.len(),
        tensor.shape
    );
    Ok(tensor)
}

/// Takes a matrix, and gives its numbers of rows and columns.
fn take_matrix(tensors: &mut Vec<Tensor>, name: &str) -> Result<(usize, usize, Vec<f32>)> {
    let tensor = take_tensor(tensors, name)?;
    let [rows, columns] = tensor.shape[..] else {
        bail!("the tensor `{name}` has the shape {:?}, not two sizes", tensor.shape)
    };
    Ok((rows, columns, tensor.values))
}

fn take_scaler(tensors: &mut Vec<Tensor>, standardize: bool, dims: usize) -> Result<Option<scaling::Scaler>> {
    if !standardize {
        return Ok(None);
    }
    let (mean, std) = (take_tensor(tensors, "scale_mean")?, take_tensor(tensors, "scale_std")?);
    scaling::Scaler::restore(mean, std, dims).map(Some)
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
fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}
