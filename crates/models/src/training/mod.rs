//! The training loop of all networks.
//!
//! `run.rs` is the loop; what it needs lies beside it, a file each: losses, optimisers, schedules, samplers, the average of
//! weights, what epochs are judged by, checkpoints, the search for a learning rate, the feeding of clips.

pub mod data_loader;

mod weight_ema;
mod checkpoint;
pub mod device_mel;
mod device_examples;
mod nonfinite_batch;
mod learning_rate_finder;
mod inputs;
mod learner;
mod loss;
mod epoch_loss;
mod trained_network;
mod early_stopping;
mod optimizer;
mod parameters;
mod epoch_log;
mod training_loop;
mod sampler;
mod schedule;
pub mod hyperparameters;
mod batch_source;

#[cfg(test)]
mod test_fit;
#[cfg(test)]
mod tests_training;
#[cfg(test)]
mod tests_resuming;

use std::path::PathBuf;

use anyhow::Result;

use crate::device::Device;
use crate::networks::{InputShape, LayerRow, NetworkKind};
use crate::training::hyperparameters::{Keys, TrainingCrop};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor, ensure_trainable};
use early_stopping::Monitor;
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;
use trained_network::TrainedNetwork;

/// Every network is a model.
impl<K: NetworkKind> ModelKind for K {
    /// Of the network and of the loop.
    fn version(&self) -> u32 {
        1000 * NetworkKind::version(self) + training_loop::VERSION
    }

    fn features(&self) -> &FeatureChoice {
        Keys::features(self)
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        Ok(Box::new(training_loop::train(self, train, context)?))
    }

    fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        Ok(Box::new(TrainedNetwork::restore(self, tensors, n_classes, device)?))
    }

    fn is_network(&self) -> bool {
        true
    }

    fn crops_at_random(&self) -> bool {
        self.training().crop == TrainingCrop::Random
    }

    fn augmentations(&self) -> Option<Vec<String>> {
        self.training().augment
    }

    fn replay(&self) -> Option<PathBuf> {
        self.training().replay.map(PathBuf::from)
    }

    fn epochs(&self) -> usize {
        self.training().epochs
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Option<Result<Vec<LayerRow>>> {
        Some(NetworkKind::layers(self, input, n_classes))
    }

    fn faults(&self) -> Vec<(String, String)> {
        let mut faults = NetworkKind::faults(self);
        faults.extend(self.training().faults(self.groups()));
        faults
    }

    fn task_faults(&self, decision_rule: &DecisionRule) -> Vec<(String, String)> {
        let monitor = Monitor::new(&self.training().monitor, None, decision_rule, true);
        monitor.err().map(|error| ("monitor".to_owned(), error.to_string())).into_iter().collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let training = self.training();
        training.init.into_iter().chain(training.replay).map(PathBuf::from).collect()
    }
}
