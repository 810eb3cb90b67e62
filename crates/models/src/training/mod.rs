//! Training of networks.
//!
//! `training_loop.rs` is the loop over epochs. The parts that it uses have a file each: loss, optimizer, learning-rate schedule,
//! sampler, moving average of weights, early stopping, checkpoints, learning-rate finder, data loader.

pub mod data_loader;
pub mod device_mel;

mod batch_source;
mod checkpoint;
mod device_examples;
mod early_stopping;
mod epoch_log;
mod epoch_loss;
mod inputs;
mod learner;
mod learning_rate_finder;
mod loss;
mod nonfinite_batch;
mod optimizer;
mod sampler;
mod schedule;
mod trained_network;
mod training_loop;
mod weight_ema;

#[cfg(test)]
mod test_fit;
#[cfg(test)]
mod tests_resuming;
#[cfg(test)]
mod tests_training;

use std::path::PathBuf;

use anyhow::Result;

use crate::classifier::ensure_trainable;
use crate::device::{Device, guarded};
use crate::hyperparameters::Training;
use crate::networks::{NetworkKind, NetworkSpec};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor};
use early_stopping::Monitor;
use timbre_core::registry::Fault;
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;
use trained_network::TrainedNetwork;

pub use trained_network::onnx_file;

/// Every network is a model.
impl<K: NetworkKind> ModelKind for NetworkSpec<K> {
    /// Combines the versions of the network and of the training loop.
    fn version(&self) -> u32 {
        1000 * self.network.version() + training_loop::VERSION
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        let work = || training_loop::train(self, train, context);
        Ok(Box::new(guarded(context.device, self.training.batch_size, work)?))
    }

    fn restore(&self, tensors: Vec<Tensor>, n_classes: usize, device: &Device) -> Result<Box<dyn Classifier>> {
        let work = || TrainedNetwork::restore(self, tensors, n_classes, device);
        Ok(Box::new(guarded(device, self.training.batch_size, work)?))
    }

    fn is_network(&self) -> bool {
        true
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = self.network.faults();
        faults.extend(self.training.faults(self.network.groups()));
        faults
    }

    fn task_faults(&self, decision_rule: &DecisionRule) -> Vec<Fault> {
        let monitor = Monitor::new(&self.training.monitor, None, decision_rule, true);
        monitor.err().map(|error| Fault::new("monitor", error.to_string())).into_iter().collect()
    }

    fn files(&self) -> Vec<PathBuf> {
        let Training { init, replay, .. } = &self.training;
        init.iter().chain(replay).map(PathBuf::from).collect()
    }
}
