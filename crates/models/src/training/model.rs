//! A trained network: predicts in batches, is saved as its numbers and restored from them.

use std::thread;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device as BurnDevice;

use super::feeding::{self, DataLoader, LoaderSpec};
use super::inputs::{self, Normalization};
use super::loss::OutputActivation;
use crate::Classifier;
use crate::device::Device;
use crate::networks::{InputShape, Network, NetworkKind, state};
use crate::tensor::{Tensor, take_tensor};
use timbre_core::seed::Seed;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Batches that are read while one is computed.
pub const AHEAD: usize = 2;

/// How logits become probabilities, as it is saved with a model.
const OUTPUT: &str = "output.probabilities";

/// A network that has learnt, with all that it needs to hear.
pub struct TrainedNetwork {
    pub network: Network,
    pub normalization: Normalization,
    pub shape: InputShape,
    pub output: OutputActivation,
    pub n_classes: usize,
    pub batch_size: usize,
    pub device: BurnDevice,
    pub notes: Vec<(String, String)>,
}

impl TrainedNetwork {
    pub fn restore(
        kind: &dyn NetworkKind,
        mut tensors: Vec<Tensor>,
        n_classes: usize,
        device: &Device,
    ) -> Result<TrainedNetwork> {
        let shape = inputs::restored_shape(&mut tensors)?;
        let normalization = Normalization::restore(&mut tensors, shape)?;
        let output = take_tensor(&mut tensors, OUTPUT)?;
        let output = output.first().and_then(|&number| OutputActivation::of_number(number));
        let output = output.with_context(|| format!("`{OUTPUT}` names no way from logits to probabilities"))?;
        // The first weights are none of those that it ends with.
        let network = kind.build(shape, n_classes, Seed::new(0), &device.burn())?;
        let network = state::load(network, &tensors)?.valid();
        let (batch_size, device) = (kind.training().batch_size, device.burn());
        Ok(TrainedNetwork { network, normalization, shape, output, n_classes, batch_size, device, notes: Vec::new() })
    }
}

impl Classifier for TrainedNetwork {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure!(
            inputs::shape_of(set) == self.shape,
            "predict: the features are {:?}, the network was trained on {} × {}; compute them with the same settings",
            set.shape(),
            self.shape.height,
            self.shape.width
        );
        let logits = logits(&self.network, set, &self.normalization, self.batch_size, &self.device, &mut || Ok(()))?;
        Ok(probabilities(&logits, self.n_classes, self.output))
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = state::tensors(&self.network);
        tensors.push(inputs::saved_shape(self.shape));
        tensors.extend(self.normalization.tensors());
        tensors.push(Tensor::new(OUTPUT, vec![1], vec![self.output.number()]));
        Ok(tensors)
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.clone()
    }
}

/// What a network (apart from training) says of every clip of a set, row-major; `before_each` batch may end it.
pub fn logits(
    network: &Network,
    set: &FeatureSet,
    normalization: &Normalization,
    batch_size: usize,
    device: &BurnDevice,
    before_each: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<f32>> {
    let order: Vec<usize> = (0..set.len()).collect();
    let prepare = |image: &mut [f32]| normalization.apply(image);
    let threads = feeding::worker_threads(set);
    let feed = LoaderSpec { set, order: &order, batch_size, epoch: 0, ahead: AHEAD, threads, prepare: &prepare };
    let mut logits = Vec::with_capacity(set.len() * set.n_classes());
    thread::scope(|scope| {
        for batch in DataLoader::start(scope, feed)? {
            before_each()?;
            let images = inputs::images(batch?.inputs, inputs::shape_of(set), device)?;
            let said = network.forward(images).into_data();
            logits.extend_from_slice(said.as_slice::<f32>().expect("networks are f32"));
        }
        Ok(logits)
    })
}

pub fn probabilities(logits: &[f32], n_classes: usize, output: OutputActivation) -> Predictions {
    let rows = logits.chunks_exact(n_classes.max(1)).flat_map(|row| output.probabilities(row));
    Predictions { n_classes, probabilities: rows.collect() }
}
