//! Models: a [`FeatureSet`] becomes a [`Classifier`].

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dataset::FeatureSet;
use crate::predictions::Predictions;
use crate::seed::Seed;

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
