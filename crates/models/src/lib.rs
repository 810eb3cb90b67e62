//! Models: a [`FeatureSet`] becomes a [`Classifier`].
//!
//! A model reads its features in blocks of [`BLOCK_BYTES`](timbre_inputs::dataset::feature_set::BLOCK_BYTES) and never holds
//! a large set in memory as a whole; each model's file states what it holds. Sums over rows or columns are f64 in a fixed
//! order, so the number of threads does not change a bit.

#![allow(unsafe_code, reason = "SIMD kernels, disjoint writes of parallel loops, queries of the GPU drivers")]

// The features that a model is fitted on.
mod feature_choice;
// What a fit reports while it trains.
mod callback;
// What a search within a model found.
mod search_results;
// What every model does: `ModelKind`, `Classifier`.
mod classifier;
// Models that are no networks.
pub mod classic;
// Network architectures.
pub mod networks;
// The training keys of networks.
pub mod hyperparameters;
// The training loop of networks.
pub mod training;
// Pretrained networks as a feature.
pub mod embedding;
// The CPU and GPUs.
pub mod device;
// Matrix products.
mod products;
// CPU kernels of networks.
mod kernels;
// How far a recording is from the training recordings.
pub mod training_distance;
// Named arrays of a fitted model.
mod tensor;
// Safetensors files.
pub mod tensor_file;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use anyhow::{Context, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

use classic::ensemble::Ensemble;
use classic::{
    bagging, decision_tree, ensemble, extra_trees, gmm, grid_search::GridSearch, hist_gradient_boosting, knn,
    known_rows, linear_svm, logistic, mlp, naive_bayes, nearest_centroid, pretrained, random_forest, svm,
};
use device::Device;
use networks::NetworkModel;
use timbre_inputs::dataset::feature_set::FeatureSet;

pub use callback::{Epoch, NoCallback, RateCurve, TrainingCallback};
pub use classifier::{Classifier, FitContext, Importances, ModelColumn, ModelKind, ValidationCurve};
pub use feature_choice::FeatureChoice;
pub use search_results::{CandidateScores, SearchResults, mean_and_deviation};
pub use tensor::{Tensor, TensorValues};

networks::model_registry! {
    {
        /// A model by its `kind`, with one value for each key.
        pub enum SingleModel: ModelKind
    }
    {
        "average" => nearest_centroid::NearestCentroid,
        "knn" => knn::Knn,
        "logistic" => logistic::Logistic,
        "linear_svm" => linear_svm::LinearSvm,
        "svm" => svm::Svm,
        "naive_bayes" => naive_bayes::NaiveBayes,
        "decision_tree" => decision_tree::DecisionTree,
        "bagging" => bagging::Bagging,
        "random_forest" => random_forest::RandomForest,
        "extra_trees" => extra_trees::ExtraTrees,
        "hist_gradient_boosting" => hist_gradient_boosting::HistGradientBoosting,
        "gmm" => gmm::Gmm,
        "mlp" => mlp::Mlp,
        "pretrained" => pretrained::Pretrained,
    }
    networks
    {
        "ensemble" => ensemble::Ensemble,
    }
}

/// A model by its `kind`. Keys of a classic model may have several values, of which cross-validation chooses.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSpec {
    Single(Box<SingleModel>),
    Search(Box<GridSearch>),
}

impl From<SingleModel> for ModelSpec {
    fn from(single: SingleModel) -> Self {
        ModelSpec::Single(Box::new(single))
    }
}

impl Serialize for ModelSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ModelSpec::Single(single) => single.serialize(serializer),
            ModelSpec::Search(search) => search.table().map_err(S::Error::custom)?.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ModelSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = serde_json::Map::deserialize(deserializer)?;
        if let Some(search) = GridSearch::of(&table).map_err(|error| D::Error::custom(format!("{error:#}")))? {
            return Ok(ModelSpec::Search(Box::new(search)));
        }
        SingleModel::deserialize(serde_json::Value::Object(table)).map(ModelSpec::from).map_err(D::Error::custom)
    }
}

/// The word in the schema that marks a key whose value may be several, of which a search chooses.
pub const SEARCHABLE: &str = "x-searchable";

impl JsonSchema for ModelSpec {
    fn schema_name() -> Cow<'static, str> {
        "ModelSpec".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SingleModel::json_schema(generator);
        let kinds = schema.get_mut("oneOf").and_then(serde_json::Value::as_array_mut);
        for variant in kinds.into_iter().flatten() {
            let Some(keys) = variant["properties"].as_object_mut() else { continue };
            let kind = serde_json::json!({ "kind": keys["kind"]["const"] });
            // An ensemble needs members, so it cannot be made of its kind alone.
            let Ok(spec) = serde_json::from_value::<SingleModel>(kind) else { continue };
            if spec.as_network().is_some() || !spec.as_kind().learns() {
                continue;
            }
            keys.iter_mut()
                .filter(|(key, _)| !["kind", "features"].contains(&key.as_str()))
                .for_each(|(_, own)| own[SEARCHABLE] = true.into());
            keys.insert(
                classic::grid_search::FOLDS.to_owned(),
                serde_json::json!({
                    "description": "The number of folds of songs that choose between the values, if a key has several, as in `k = [1, 3, 5]`. Default: 5.",
                    "type": "integer", "minimum": 2
                }),
            );
        }
        schema
    }
}

impl ModelSpec {
    /// Every kind, in the order of its registration.
    pub const KINDS: &'static [&'static str] = SingleModel::KINDS;

    /// The word that selects this kind in a TOML file.
    pub fn kind(&self) -> &'static str {
        match self {
            ModelSpec::Single(single) => single.kind(),
            ModelSpec::Search(search) => search.first().kind(),
        }
    }

    /// What this model can do.
    pub fn as_kind(&self) -> &dyn ModelKind {
        match self {
            ModelSpec::Single(single) => single.as_kind(),
            ModelSpec::Search(search) => search.as_ref(),
        }
    }

    /// The network, if this is one: it computes on a [`Device`] and sees new training examples in each epoch.
    pub fn as_network(&self) -> Option<&dyn NetworkModel> {
        match self {
            ModelSpec::Single(single) => single.as_network(),
            ModelSpec::Search(_) => None,
        }
    }

    /// The ensemble, if this is one: it combines other models of the experiment and is fitted to no feature.
    pub fn as_ensemble(&self) -> Option<&Ensemble> {
        match self {
            ModelSpec::Single(single) => match single.as_ref() {
                SingleModel::Ensemble(ensemble) => Some(ensemble),
                _ => None,
            },
            ModelSpec::Search(_) => None,
        }
    }

    /// Fits the model to a training set, of which some labels may be unknown.
    pub fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        let kind = self.as_kind();
        if let ModelSpec::Search(search) = self {
            return search.fit(train, context);
        }
        if known_rows::applies(kind, train, context.decision_rule.task) {
            return known_rows::fit(kind, train, context);
        }
        kind.fit(train, context)
    }

    /// The fitted model from the tensors it saved ([`Classifier::tensors`]). It predicts the same bits on the same device.
    pub fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        let restored = match known_rows::are_of_known_rows(&tensors) {
            true if matches!(self, ModelSpec::Single(_)) => {
                known_rows::restore(self.as_kind(), tensors, n_classes, device)
            }
            _ => self.as_kind().restore(tensors, n_classes, device),
        };
        restored.with_context(|| format!("restore a model of kind `{}` from its tensors", self.kind()))
    }
}
