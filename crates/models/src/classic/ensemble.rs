//! An ensemble: late fusion of other models of the experiment.
//!
//! It is the only model that is not fitted to a feature. Its members are trained as without it; then the run fuses their
//! predictions (`fusion.rs`), seed by seed. Weights are searched on the validation split alone, so the score on that split is
//! optimistic afterwards, like that of a network with early stopping; the test split is not affected.

use std::fmt;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::fusion::Fuse;
use crate::device::Device;
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor};
use timbre_core::registry::Fault;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// An ensemble of other models of the experiment: combines their probabilities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {
    /// The models, as `feature.model`; just `model` if it has one feature or is an ensemble.
    #[schemars(length(min = 2))]
    pub members: Vec<String>,
    /// How the probabilities are combined: "mean", "mean_logits" or "rank_mean" (the mean of the ranks within each member's
    /// predictions on the validation split). Default: "mean".
    #[serde(default)]
    pub fuse: Fuse,
    /// The weight of each member: a list in the order of the members, or "search" (the weights with the best score on the validation
    /// split, by the metric of the experiment). Default: equal weights.
    #[serde(default, skip_serializing_if = "EnsembleWeights::is_equal")]
    pub weights: EnsembleWeights,
}

impl Ensemble {
    /// The key that needs a validation split, and its value, if there is one.
    pub fn needs_validation(&self) -> Option<(&'static str, &'static str)> {
        match (&self.weights, self.fuse) {
            (EnsembleWeights::Search, _) => Some(("weights", "search")),
            (_, Fuse::RankMean) => Some(("fuse", "rank_mean")),
            _ => None,
        }
    }
}

/// An ensemble is trained on no feature.
static NO_FEATURE: FeatureChoice = FeatureChoice(Some(Vec::new()));

const NOT_FITTED: &str = "an ensemble combines the predictions of its members and is not fitted or restored by itself";

impl ModelKind for Ensemble {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &NO_FEATURE
    }

    fn fit(&self, _train: &FeatureSet, _job: &FitContext) -> Result<Box<dyn Classifier>> {
        bail!(NOT_FITTED)
    }

    fn restore(&self, _tensors: Vec<Tensor>, _n_classes: usize, _device: &Device) -> Result<Box<dyn Classifier>> {
        bail!(NOT_FITTED)
    }

    fn depends_on_metric(&self) -> bool {
        self.weights == EnsembleWeights::Search
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.members.len() < 2 {
            faults.push(Fault::new("members", "name two or more models"));
        }
        if let EnsembleWeights::Given(weights) = &self.weights {
            let mut fault = |sentence: String| faults.push(Fault::new("weights", sentence));
            if weights.len() != self.members.len() {
                fault(format!("{} weights for {} members: write one per member", weights.len(), self.members.len()));
            }
            if weights.iter().any(|weight| !weight.is_finite() || *weight < 0.0) {
                fault("write weights of 0 or more".to_owned());
            } else if !weights.iter().any(|&weight| weight > 0.0) {
                fault("write at least one weight above 0".to_owned());
            }
        }
        faults
    }
}

/// `weights = [0.5, 0.5]`, `weights = "search"`, or absent for equal weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum EnsembleWeights {
    #[default]
    Equal,
    Given(Vec<f64>),
    Search,
}

impl EnsembleWeights {
    pub fn is_equal(&self) -> bool {
        *self == EnsembleWeights::Equal
    }
}

const SEARCH: &str = "search";

impl Serialize for EnsembleWeights {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EnsembleWeights::Equal => serializer.serialize_none(),
            EnsembleWeights::Given(weights) => weights.serialize(serializer),
            EnsembleWeights::Search => serializer.serialize_str(SEARCH),
        }
    }
}

impl<'de> Deserialize<'de> for EnsembleWeights {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrSearch;
        impl<'de> serde::de::Visitor<'de> for ListOrSearch {
            type Value = EnsembleWeights;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of weights or \"search\"")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<EnsembleWeights, E> {
                match word {
                    SEARCH => Ok(EnsembleWeights::Search),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
            fn visit_unit<E>(self) -> Result<EnsembleWeights, E> {
                Ok(EnsembleWeights::Equal)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<EnsembleWeights, A::Error> {
                let mut weights = Vec::new();
                while let Some(weight) = seq.next_element()? {
                    weights.push(weight);
                }
                Ok(EnsembleWeights::Given(weights))
            }
        }
        deserializer.deserialize_any(ListOrSearch)
    }
}

impl JsonSchema for EnsembleWeights {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EnsembleWeights".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "One weight per member, or the word search.",
            "anyOf": [
                { "type": "array", "items": { "type": "number", "minimum": 0.0 } },
                { "type": "string", "enum": [SEARCH] }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelSpec;

    fn read(text: &str) -> Ensemble {
        let spec: ModelSpec =
            toml::from_str(&format!("kind = \"ensemble\"\nmembers = [\"a\", \"b\"]\n{text}")).unwrap();
        let again: ModelSpec = toml::from_str(&toml::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        spec.as_ensemble().unwrap().clone()
    }

    #[test]
    fn weights_are_a_list_the_word_search_or_absent() {
        assert_eq!(read("").weights, EnsembleWeights::Equal);
        assert_eq!(read("weights = [1, 0.5]").weights, EnsembleWeights::Given(vec![1.0, 0.5]));
        let searched = read("weights = \"search\"\nfuse = \"rank_mean\"");
        assert_eq!((searched.weights, searched.fuse), (EnsembleWeights::Search, Fuse::RankMean));
        assert!(toml::from_str::<Ensemble>("members = [\"a\", \"b\"]\nweights = \"find\"").is_err());
    }

    #[test]
    fn a_wrong_number_of_weights_negative_and_zero_weights_are_faults() {
        for (weights, says) in [("[1.0]", "1 weights for 2"), ("[1.0, -1.0]", "0 or more"), ("[0, 0]", "above 0")] {
            let faults = read(&format!("weights = {weights}")).faults();
            assert!(faults.len() == 1 && faults[0].sentence.contains(says), "{faults:?}");
        }
        assert!(read("weights = [0, 3]").faults().is_empty());
        assert_eq!(Ensemble::default().faults()[0].key, "members");
    }

    #[test]
    fn the_search_and_ranks_need_a_validation_split() {
        assert_eq!(read("").needs_validation(), None);
        assert_eq!(read("weights = \"search\"").needs_validation(), Some(("weights", "search")));
        assert_eq!(read("fuse = \"rank_mean\"\nweights = [1, 2]").needs_validation(), Some(("fuse", "rank_mean")));
    }
}
