//! A trained network: predicts in batches, and is saved as tensors and restored from them.

use std::thread;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device as BurnDevice;

use super::data_loader::{self, DataLoader, LoaderSpec};
use super::inputs::{self, Normalization};
use super::loss::OutputActivation;
use crate::Classifier;
use crate::device::Device;
use crate::networks::{InputShape, Network, NetworkModel, state_dict};
use crate::tensor::{Tensor, take_tensor};
use timbre_core::seed::Seed;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::{BLOCK_BYTES, FeatureSet};

/// Batches that the data loader prefetches.
pub const PREFETCH: usize = 2;

/// The tensor that states how logits become probabilities.
const OUTPUT: &str = "output.probabilities";

/// A trained network with everything that it needs to predict.
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
        model: &dyn NetworkModel,
        mut tensors: Vec<Tensor>,
        n_classes: usize,
        device: &Device,
    ) -> Result<TrainedNetwork> {
        let shape = inputs::restore_shape(&mut tensors)?;
        let normalization = Normalization::restore(&mut tensors, shape)?;
        let output = take_tensor(&mut tensors, OUTPUT)?;
        let output = output.first().and_then(|&number| OutputActivation::from_code(number));
        let output = output.with_context(|| format!("`{OUTPUT}` does not name a known output activation"))?;
        // The network allocates what its description asks for. If it is only a little more, the missing tensor is named below.
        let layers = model.kind().layers(shape, n_classes)?;
        let wanted: u64 = layers.iter().map(|row| row.parameters + row.statistics).sum();
        let given: u64 = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
        ensure!(
            wanted <= given + (BLOCK_BYTES / 4) as u64,
            "the network has {wanted} numbers and the file {given}: it belongs to another network"
        );
        // All initial weights are replaced, so the seed does not matter.
        let network = model.kind().build(shape, n_classes, Seed::new(0), &device.burn())?;
        let network = state_dict::load(network, &tensors)?.valid();
        let (batch_size, device) = (model.training().batch_size, device.burn());
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
        let mut tensors = state_dict::tensors(&self.network);
        tensors.push(inputs::shape_tensor(self.shape));
        tensors.extend(self.normalization.tensors());
        tensors.push(Tensor::new(OUTPUT, vec![1], vec![self.output.code()]));
        Ok(tensors)
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.notes.clone()
    }
}

/// The logits of a network (without autodiff) for every clip of a set, row-major. An error of `before_each` batch ends it.
pub fn logits(
    network: &Network,
    set: &FeatureSet,
    normalization: &Normalization,
    batch_size: usize,
    device: &BurnDevice,
    before_each: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<f32>> {
    let order: Vec<usize> = (0..set.len()).collect();
    let transform = |image: &mut [f32]| normalization.apply(image);
    let workers = data_loader::worker_threads(set);
    let spec =
        LoaderSpec { set, order: &order, batch_size, epoch: 0, prefetch: PREFETCH, workers, transform: &transform };
    let mut logits = Vec::with_capacity(set.len() * set.n_classes());
    thread::scope(|scope| {
        for batch in DataLoader::start(scope, spec)? {
            before_each()?;
            let images = inputs::image_batch(batch?.inputs, inputs::shape_of(set), device)?;
            let output = network.forward(images, None).into_data();
            logits.extend_from_slice(output.as_slice::<f32>().expect("networks are f32"));
        }
        Ok(logits)
    })
}

pub fn probabilities(logits: &[f32], n_classes: usize, output: OutputActivation) -> Predictions {
    let rows = logits.chunks_exact(n_classes.max(1)).flat_map(|row| output.probabilities(row));
    Predictions { n_classes, probabilities: rows.collect() }
}
