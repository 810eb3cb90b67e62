//! What a model kind does, what it is fitted with and what comes out: [`ModelKind`], [`FitContext`], [`Classifier`].

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail, ensure};

use timbre_core::{labels::Classes, progress::Printer, registry::Fault, seed::Seed};
use timbre_evaluation::{metrics::DecisionRule, predictions::Predictions};
use timbre_inputs::dataset::feature_set::FeatureSet;

use crate::callback::{NoCallback, TrainingCallback};
use crate::device::Device;
use crate::feature_choice::FeatureChoice;
use crate::search_results::SearchResults;
use crate::tensor::Tensor;

/// A fitted model.
pub trait Classifier: Send + Sync {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions>;

    /// All parameters of the fitted model, as `model.safetensors` stores them.
    fn tensors(&self) -> Result<Vec<Tensor>>;

    /// [`Self::predict`], and the predictions at other values of one hyperparameter where the spec asks for them (kNN: k).
    fn predict_with_curve(&self, set: &FeatureSet) -> Result<(Predictions, Option<ValidationCurve>)> {
        Ok((self.predict(set)?, None))
    }

    /// What a search within the model found, if its spec has several values for a key; None in a restored model.
    fn search_results(&self) -> Option<&SearchResults> {
        None
    }

    /// How much each column counts, for kinds that say so ([`ModelKind::has_importances`]).
    fn importances(&self) -> Vec<Importances> {
        Vec::new()
    }

    /// Facts about the fit for the log and `run.json`, such as iterations and the tolerance reached.
    fn notes(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// How much the columns that a model sees count: coefficients of a linear model, importances of trees.
#[derive(Clone, Debug, PartialEq)]
pub struct Importances {
    /// The class, if each has values of its own.
    pub class: Option<usize>,
    pub columns: Vec<(ModelColumn, f32)>,
}

/// A column that a model sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelColumn {
    /// A column of the feature.
    Feature(usize),
    /// A principal component.
    Component(usize),
}

/// Predictions along one hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationCurve {
    pub parameter: String,
    pub points: Vec<(f64, Predictions)>,
}

/// The methods of every kind of model. Its implementor is the spec that an experiment file holds.
pub trait ModelKind {
    /// Raise this number by hand when the same spec gives different numbers than before.
    fn version(&self) -> u32;

    /// The features to train on; the model is fitted to each of them separately.
    fn features(&self) -> &FeatureChoice;

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>>;

    /// The fitted model from the tensors that [`Classifier::tensors`] returned.
    fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>>;

    /// Invalid keys and combinations of keys.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// Keys that do not suit the task or the decision rule.
    fn task_faults(&self, _decision_rule: &DecisionRule) -> Vec<Fault> {
        Vec::new()
    }

    /// Keys that a training set of so many clips is too small for, or a feature of so many columns, if their number is known.
    fn size_faults(&self, _clips: usize, _columns: Option<usize>) -> Vec<Fault> {
        Vec::new()
    }

    /// Keys that do not suit the classes of the data set.
    fn class_faults(&self, _classes: &Classes) -> Vec<Fault> {
        Vec::new()
    }

    /// Whether the fit learns from the training clips.
    fn learns(&self) -> bool {
        true
    }

    /// A warning if the class with the fewest training clips, so many, has too few for a key.
    fn class_size_warning(&self, _clips: usize) -> Option<Fault> {
        None
    }

    /// Whether the fit takes the weights of clips; otherwise every clip counts the same.
    fn uses_weights(&self) -> bool {
        self.is_network()
    }

    /// Whether the fitted model has [`Classifier::importances`].
    fn has_importances(&self) -> bool {
        false
    }

    /// Files that the fit reads beside its training set. Their contents change the model.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Whether the result depends on the headline metric of the experiment. Trials are then not shared between runs with
    /// different metrics.
    fn depends_on_metric(&self) -> bool {
        false
    }

    /// Whether this is a network: it computes on a [`Device`] and sees new training examples in each epoch.
    fn is_network(&self) -> bool {
        false
    }
}

/// Everything that a fit needs beside its training set.
pub struct FitContext<'a> {
    /// The name of the model in messages.
    pub name: &'a str,
    pub seed: Seed,
    /// The task, and how predictions become decisions.
    pub decision_rule: DecisionRule,
    /// The classes of the data set; empty in a fit that needs no names.
    pub classes: &'a Classes,
    /// The headline metric.
    pub metric: &'a str,
    /// The set that scores each epoch.
    pub validation: Option<&'a FeatureSet>,
    pub device: &'a Device,
    /// The folder of this fit's checkpoints. None: no checkpoints are written.
    pub checkpoints: Option<&'a Path>,
    /// Set by a signal. The fit abandons the current epoch and returns [`Cancelled`](timbre_core::cancel::Cancelled).
    pub stop: &'a AtomicBool,
    pub printer: Printer,
    pub callback: &'a dyn TrainingCallback,
}

impl FitContext<'_> {
    /// A fit on the CPU without callback, output or checkpoints.
    pub fn standalone(seed: Seed) -> FitContext<'static> {
        static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);
        static NEVER: AtomicBool = AtomicBool::new(false);
        static NAMELESS: LazyLock<Classes> = LazyLock::new(Classes::default);
        FitContext {
            name: "model",
            seed,
            decision_rule: DecisionRule::default(),
            classes: &NAMELESS,
            metric: "accuracy",
            validation: None,
            device: &CPU,
            checkpoints: None,
            stop: &NEVER,
            printer: Printer::Quiet,
            callback: &NoCallback,
        }
    }
}

/// Checks a spec that was built in code as strictly as one from a file, and refuses an empty training set.
pub(crate) fn ensure_trainable(kind: &dyn ModelKind, train: &FeatureSet) -> Result<()> {
    if let Some(Fault { key, sentence }) = kind.faults().into_iter().next() {
        bail!("`{key}`: {sentence}");
    }
    ensure!(!train.is_empty(), "fit a model: the training split has no clips; change the split of the data set");
    ensure!(train.dims() > 0, "fit a model: the feature has no columns");
    Ok(())
}

/// Shares as f32 probabilities in which `winner` is the largest, even where rounding to f32 made several equal: the
/// decision that is read from the table is the one that was taken in f64.
pub(crate) fn probability_row(shares: &[f64], winner: usize) -> Vec<f32> {
    let mut row: Vec<f32> = shares.iter().map(|&p| p as f32).collect();
    let rival = row.iter().enumerate().filter(|&(i, _)| i != winner).map(|(_, &p)| p).fold(0.0, f32::max);
    if row[winner] <= rival {
        row[winner] = rival.next_up();
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_winner_keeps_the_largest_probability_when_f32_makes_a_tie() {
        let row = probability_row(&[0.5 - 1e-12, 0.5 + 1e-12], 1);
        assert!(row[1] > row[0] && row[1] - row[0] < 1e-6);
        assert_eq!(probability_row(&[0.25, 0.75], 1), [0.25, 0.75]);
    }
}
