//! Models: a [`FeatureSet`] becomes a [`Classifier`].
//!
//! A model reads its features in blocks of [`BLOCK_BYTES`](timbre_inputs::dataset::feature_set::BLOCK_BYTES) and never holds
//! a large set in memory as a whole; each model's file states what it holds. Sums over rows or columns are f64 in a fixed
//! order, so the number of threads does not change a bit.

#![allow(unsafe_code, reason = "SIMD kernels, disjoint writes of parallel loops, queries of the GPU drivers")]

pub mod classic;
pub mod device;
pub mod networks;
pub mod tensor_file;
pub mod training;

mod classifier;
mod feature_choice;
mod kernels;
mod tensor;

#[cfg(test)]
mod tests;

use anyhow::{Context, Result};

use classic::{
    bagging, decision_tree, ensemble, extra_trees, gmm, hist_gradient_boosting, knn, known_rows, linear_svm, logistic,
    mlp, naive_bayes, nearest_centroid, random_forest, svm,
};
use device::Device;
use timbre_inputs::dataset::feature_set::FeatureSet;

pub use classifier::{Classifier, FitContext, ModelKind, ValidationCurve};
pub use feature_choice::FeatureChoice;
pub use tensor::{Tensor, TensorValues};
pub use training::callback::{Epoch, NoCallback, RateCurve, TrainingCallback};

networks::model_registry! {
    {
        /// A model by its `kind`.
        pub enum ModelSpec: ModelKind
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
    }
    networks
    {
        "ensemble" => ensemble::Ensemble,
    }
}

impl ModelSpec {
    /// Fits the model to a training set, of which some labels may be unknown.
    pub fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        let kind = self.as_kind();
        if known_rows::applies(kind, train, context.decision_rule.task) {
            return known_rows::fit(kind, train, context);
        }
        kind.fit(train, context)
    }

    /// The fitted model from the tensors it saved ([`Classifier::tensors`]). It predicts the same bits on the same device.
    pub fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        let restored = match known_rows::are_of_known_rows(&tensors) {
            true => known_rows::restore(self.as_kind(), tensors, n_classes, device),
            false => self.as_kind().restore(tensors, n_classes, device),
        };
        restored.with_context(|| format!("restore a model of kind `{}` from its tensors", self.kind()))
    }
}
