//! The training loop of all networks.
//!
//! `run.rs` is the loop; what it needs lies beside it, a file each: losses, optimisers, schedules, samplers, the average of
//! weights, what epochs are judged by, checkpoints, the search for a learning rate, the feeding of clips.

pub mod feeding;

mod average;
mod checkpoint;
pub mod device_mel;
mod device_waves;
mod faulty;
mod finder;
mod inputs;
mod learner;
mod loss;
mod losses;
mod model;
mod monitor;
mod optimizer;
mod parameters;
mod report;
mod run;
mod sampler;
mod schedule;
pub mod hyperparameters;
mod supply;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_learning;
#[cfg(test)]
mod tests_of_resuming;

use std::path::PathBuf;

use anyhow::Result;

use crate::device::Device;
use crate::networks::{InputShape, LayerRow, NetworkKind};
use crate::training::hyperparameters::{Keys, TrainingCrop};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor, ensure_trainable};
use model::TrainedNetwork;
use monitor::Monitor;
use timbre_core::registry::Fault;
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Every network is a model.
impl<K: NetworkKind> ModelKind for K {
    /// Of the network and of the loop.
    fn version(&self) -> u32 {
        1000 * NetworkKind::version(self) + run::VERSION
    }

    fn features(&self) -> &FeatureChoice {
        Keys::features(self)
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        Ok(Box::new(run::train(self, train, context)?))
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

    fn faults(&self) -> Vec<Fault> {
        let mut faults = NetworkKind::faults(self);
        faults.extend(self.training().faults(self.groups()));
        faults
    }

    fn task_faults(&self, decision_rule: &DecisionRule) -> Vec<Fault> {
        let monitor = Monitor::new(&self.training().monitor, None, decision_rule, true);
        monitor.err().map(|error| Fault::new("monitor", error.to_string())).into_iter().collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let training = self.training();
        training.init.into_iter().chain(training.replay).map(PathBuf::from).collect()
    }
}
