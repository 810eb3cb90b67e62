//! The training loop of all networks.

pub mod feeding;

use anyhow::{Result, bail};

use super::device::Device;
use super::networks::{InputShape, LayerRow, NetworkKind};
use super::training::TrainingCrop;
use super::{Classifier, FeatureChoice, Job, ModelKind, Tensor};
use crate::dataset::FeatureSet;
use crate::labels::Task;

/// Every network is a model.
impl<K: NetworkKind> ModelKind for K {
    fn version(&self) -> u32 {
        NetworkKind::version(self)
    }

    fn features(&self) -> &FeatureChoice {
        NetworkKind::features(self)
    }

    fn fit(&self, _train: &FeatureSet, _job: &Job) -> Result<Box<dyn Classifier>> {
        bail!("there is no training loop yet")
    }

    fn restore(&self, _tensors: Vec<Tensor>, _n_classes: usize, _device: &Device) -> Result<Box<dyn Classifier>> {
        bail!("there is no training loop yet")
    }

    fn is_for(&self, _task: Task) -> bool {
        true
    }

    fn is_network(&self) -> bool {
        true
    }

    fn crops_at_random(&self) -> bool {
        self.training().crop == TrainingCrop::Random
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Option<Result<Vec<LayerRow>>> {
        Some(NetworkKind::layers(self, input, n_classes))
    }

    fn faults(&self) -> Vec<(String, String)> {
        NetworkKind::faults(self)
    }
}
