//! A trained network: predicts in batches, and is saved as tensors and restored from them.

use std::thread;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device as BurnDevice;

use super::data_loader::{self, DataLoader, LoaderSpec};
use super::inputs::{self, Normalization};
use super::loss::OutputActivation;
use crate::Classifier;
use crate::device::{Device, guarded, read};
use crate::networks::{InputShape, Network, NetworkModel, onnx::Graph, state_dict};
use crate::tensor::{Tensor, take_tensor};
use timbre_core::seed::Seed;
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::{
    feature_set::{BLOCK_BYTES, FeatureSet},
    tags::TagRows,
};

/// Batches that the data loader prefetches.
pub const PREFETCH: usize = 2;

/// The tensor that states how logits become probabilities.
const OUTPUT: &str = "output.probabilities";

/// The number of outputs beside the classes, if there are any.
const AUXILIARY: &str = "output.auxiliary";

/// The number of rows for tags below the image, if there are any.
const TAG_ROWS: &str = "input.tag_rows";

/// A trained network with everything that it needs to predict.
pub struct TrainedNetwork {
    pub network: Network,
    pub normalization: Normalization,
    pub shape: InputShape,
    pub output: OutputActivation,
    pub n_classes: usize,
    /// Outputs that it learnt beside the classes.
    pub auxiliary: usize,
    /// Rows for tags below the image.
    pub tag_rows: usize,
    pub batch_size: usize,
    pub device: Device,
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
        let auxiliary = take_count(&mut tensors, AUXILIARY)?;
        let tag_rows = take_count(&mut tensors, TAG_ROWS)?;
        let outputs = n_classes + auxiliary;
        // The network allocates what its description asks for. If it is only a little more, the missing tensor is named below.
        let layers = model.kind().layers(shape, outputs)?;
        let wanted: u64 = layers.iter().map(|row| row.parameters + row.statistics).sum();
        let given: u64 = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum();
        ensure!(
            wanted <= given + (BLOCK_BYTES / 4) as u64,
            "the network has {wanted} numbers and the file {given}: it belongs to another network"
        );
        // All initial weights are replaced, so the seed does not matter.
        let network = model.kind().build(shape, outputs, Seed::new(0), &device.burn())?;
        let network = state_dict::load(network, &tensors)?.valid();
        let (batch_size, device) = (model.training().batch_size, device.clone());
        let notes = Vec::new();
        Ok(TrainedNetwork {
            network,
            normalization,
            shape,
            output,
            n_classes,
            auxiliary,
            tag_rows,
            batch_size,
            device,
            notes,
        })
    }
}

/// A saved network as an ONNX file: features before normalization in, the logits of the classes out.
pub fn onnx_file(
    model: &dyn NetworkModel,
    tensors: Vec<Tensor>,
    n_classes: usize,
    mut metadata: Vec<(&str, String)>,
) -> Result<Vec<u8>> {
    let trained = TrainedNetwork::restore(model, tensors, n_classes, &Device::cpu())?;
    let InputShape { channels, height, width } = trained.shape;
    let (mut graph, input) = Graph::new([channels, height, width]);
    let images = trained.normalization.graph(&mut graph, &input);
    let mut logits = trained.network.graph(&mut graph, &images);
    if trained.auxiliary > 0 {
        logits = graph.narrow(&logits, 1, 0, n_classes);
    }
    metadata.push(("probabilities", trained.output.describe().to_owned()));
    if trained.tag_rows > 0 {
        metadata.push(("tag_rows", trained.tag_rows.to_string()));
    }
    Ok(graph.into_file(&input, &logits, &metadata))
}

/// A number of outputs or inputs; 0 if the file has no such tensor.
fn take_count(tensors: &mut Vec<Tensor>, name: &str) -> Result<usize> {
    if !tensors.iter().any(|tensor| tensor.name == name) {
        return Ok(0);
    }
    let number = take_tensor(tensors, name)?.first().copied().unwrap_or_default();
    ensure!((0.0..=65_536.0).contains(&number) && number.fract() == 0.0, "`{name}` is {number}, which is not a count");
    Ok(number as usize)
}

impl Classifier for TrainedNetwork {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        let without_tags;
        let lacks_tags = self.tag_rows > 0 && set.shape() == [self.shape.height - self.tag_rows, self.shape.width];
        let set = if lacks_tags {
            without_tags = set.clone().with_tag_rows(TagRows::unknown(self.tag_rows, set.len()));
            &without_tags
        } else {
            set
        };
        ensure!(
            set.shape() == [self.shape.channels * self.shape.height, self.shape.width],
            "predict: the features are {:?}, the network was trained on {} × {}; compute them with the same settings",
            set.shape(),
            self.shape.channels * self.shape.height,
            self.shape.width
        );
        let set = &set.clone().with_channels(self.shape.channels);
        let (batch_size, device) = (self.batch_size, self.device.burn());
        let work = || logits(&self.network, set, &self.normalization, batch_size, &device, &mut || Ok(()));
        let logits = guarded(&self.device, batch_size, work)?;
        Ok(probabilities(&logits, self.n_classes + self.auxiliary, self.n_classes, self.output))
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = guarded(&self.device, self.batch_size, || Ok(state_dict::tensors(&self.network)))?;
        tensors.push(inputs::shape_tensor(self.shape));
        tensors.extend(self.normalization.tensors());
        tensors.push(Tensor::new(OUTPUT, vec![1], vec![self.output.code()]));
        let counts = [(AUXILIARY, self.auxiliary), (TAG_ROWS, self.tag_rows)];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        tensors.extend(counts.map(|(name, count)| Tensor::new(name, vec![1], vec![count as f32])));
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
            logits.extend(read(network.forward(images, None)));
        }
        Ok(logits)
    })
}

/// The probabilities of the classes, which are the first of the outputs.
pub fn probabilities(logits: &[f32], outputs: usize, n_classes: usize, output: OutputActivation) -> Predictions {
    let rows = logits.chunks_exact(outputs.max(1)).flat_map(|row| output.probabilities(&row[..n_classes]));
    Predictions { n_classes, probabilities: rows.collect() }
}
