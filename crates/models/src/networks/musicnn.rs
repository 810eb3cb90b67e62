//! musicnn (Pons and Serra): convolutions over time whose filters span many bands (timbre) or many frames (rhythm), three residual
//! convolutions over time, pooling over the clip, and a dense layer. Weights trained on MagnaTagATune and on the Million Song
//! Dataset are in the PyPI package `musicnn`; `docs/musicnn_weights.py` converts them.
//!
//! Conventions and differences from the peers:
//! * Made for 96 mel bands of 16 kHz audio, compressed as log10(1 + 10,000 x), in windows of 187 frames (3 s); any number of
//!   bands and frames is accepted. The filters span 0.4 and 0.7 of the bands, rounded down.
//! * Parameters as PyTorch counts them: 787,159 for 50 tags and 96 bands.
//! * As in the package, a ReLU comes before each batch norm, whose epsilon is 0.001.
//! * The package interleaves maximum and mean of each channel before its dense layer; here all maxima come first. The conversion
//!   reorders the weights.
//! * The momentum of the running means is a tenth per step, as in PyTorch; TensorFlow's hundredth needs more steps than small
//!   sets have.
//! * Initial weights are TensorFlow's: Glorot uniform, biases zero. The last sigmoid is part of the loss.

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Linear, LinearConfig, PaddingConfig2d,
};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use timbre_core::{registry::Fault, seed::Seed};

/// musicnn: a network for music tagging with wide and long filters; made for 96 mel bands in windows of 187 frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Musicnn {
    /// Filters of each of the three convolutions after the first layer. Default: 64.
    #[schemars(range(min = 1, max = 4096))]
    pub filters: usize,
    /// Units of the dense layer before the output. Default: 200.
    #[schemars(range(min = 1, max = 65536))]
    pub units: usize,
    /// Dropout before and after the dense layer, 0 to below 1. Default: 0.5.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// The head: "linear" (with the dense layer), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for Musicnn {
    fn default() -> Self {
        Musicnn { filters: 64, units: 200, dropout: 0.5, head: HeadKind::Linear }
    }
}

/// TensorFlow's default for batch norms.
const EPSILON: f64 = 1e-3;
/// Filters over bands: how many, and the share of the bands that each spans, in tenths.
const TIMBRE_FILTERS: usize = 204;
const TIMBRE_TENTHS: [usize; 2] = [4, 7];
/// The frames of filters over bands and of the later convolutions.
const FRAMES: usize = 7;
/// Filters over time: how many, and the frames that each spans.
const RHYTHM_FILTERS: usize = 51;
const RHYTHM_FRAMES: [usize; 3] = [128, 64, 32];
/// Channels of all filters of the first layer.
const FRONT: usize = TIMBRE_FILTERS * TIMBRE_TENTHS.len() + RHYTHM_FILTERS * RHYTHM_FRAMES.len();
const MIDDLE_LAYERS: usize = 3;

impl Musicnn {
    fn channels(&self) -> usize {
        FRONT + MIDDLE_LAYERS * self.filters
    }

    /// The table up to the map of all channels, `[channels, 1, frames]`.
    fn table(&self, input: InputShape) -> Result<LayerTable> {
        let mut table = LayerTable::new(input, 1)?;
        table.norm("input_norm");
        let image = table.shape.clone();
        let [_, bands, frames] = image[..] else { unreachable!("an image") };
        ensure!(bands * TIMBRE_TENTHS[0] >= 10, "musicnn needs at least three bands, and the feature has {bands}");
        let kernels = first_kernels(bands);
        for (number, [height, width]) in kernels.into_iter().enumerate() {
            let (name, filters) = (format!("front.{number}"), first_filters(number));
            let positions = bands - height + 1;
            let weights = filters * height * width;
            table.shape.clone_from(&image);
            let kind = format!("conv {height}×{width}, {filters}");
            let output = vec![filters, positions, frames];
            table.add(&format!("{name}.conv"), kind, output, weights + filters, weights * positions * frames);
            table.norm(&format!("{name}.norm"));
            table.add(&format!("{name}.pool"), "max over bands".to_owned(), vec![filters, 1, frames], 0, 0);
        }
        table.add("front", "all filters".to_owned(), vec![FRONT, 1, frames], 0, 0);
        for number in 0..MIDDLE_LAYERS {
            let window = Window { kernel: [1, FRAMES], stride: [1, 1], padding: [0, FRAMES / 2] };
            table.conv(&format!("middle.{number}.conv"), self.filters, window, true)?;
            table.norm(&format!("middle.{number}.norm"));
        }
        table.add("middle", "all channels".to_owned(), vec![self.channels(), 1, frames], 0, 0);
        Ok(table)
    }
}

/// The kernels of the first layer for this number of bands: bands × frames.
fn first_kernels(bands: usize) -> Vec<[usize; 2]> {
    let timbre = TIMBRE_TENTHS.map(|tenths| [tenths * bands / 10, FRAMES]);
    timbre.into_iter().chain(RHYTHM_FRAMES.map(|frames| [1, frames])).collect()
}

fn first_filters(number: usize) -> usize {
    if number < TIMBRE_TENTHS.len() { TIMBRE_FILTERS } else { RHYTHM_FILTERS }
}

impl NetworkKind for Musicnn {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self) -> Vec<Fault> {
        self.head.sequence_faults()
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = self.table(input)?;
        self.head.rows(&mut table, n_classes, |table| {
            table.add("pool", "max and mean over time".to_owned(), vec![2 * self.channels()], 0, 0);
            table.norm("pool_norm");
            table.linear("dense", self.units, true);
            table.norm("dense_norm");
            table.linear("fc", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.table(input)?;
        let norm = |channels| BatchNormConfig::new(channels).with_epsilon(EPSILON).init(device);
        // Zeros before and after a filter over time as in TensorFlow: one less before than after for an even length.
        let conv = |from, filters, [height, width]: [usize; 2]| {
            let (before, after) = ((width - 1) / 2, width / 2);
            let padding = PaddingConfig2d::Explicit(0, before, 0, after);
            Block {
                conv: Conv2dConfig::new([from, filters], [height, width]).with_padding(padding).init(device),
                norm: norm(filters),
            }
        };
        let kernels = first_kernels(input.height).into_iter().enumerate();
        let (channels, units) = (self.channels(), self.units);
        let net = Net {
            input_norm: norm(1),
            front: kernels.map(|(number, kernel)| conv(1, first_filters(number), kernel)).collect(),
            middle: (0..MIDDLE_LAYERS)
                .map(|number| conv(if number == 0 { FRONT } else { self.filters }, self.filters, [1, FRAMES]))
                .collect(),
            output: Output::new(self.head, channels, n_classes, device, || Dense {
                pool_norm: norm(2 * channels),
                dropout1: Dropout::new(self.dropout),
                dense: LinearConfig::new(2 * channels, units).init(device),
                dense_norm: norm(units),
                dropout2: Dropout::new(self.dropout),
                fc: LinearConfig::new(units, n_classes).init(device),
            }),
        };
        Ok(init::initialize(Network::Musicnn(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        match path.split('.').next() {
            Some("input_norm" | "front") => 0,
            Some("middle") => 1,
            _ => 2,
        }
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::glorot_uniform(name, fans))
}

#[derive(Module, Debug)]
pub struct Net {
    input_norm: BatchNorm,
    front: Vec<Block>,
    middle: Vec<Block>,
    output: Output<Dense>,
}

/// A convolution, a ReLU and a batch norm, in this order.
#[derive(Module, Debug)]
pub struct Block {
    conv: Conv2d,
    norm: BatchNorm,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(relu(self.conv.forward(x)))
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let x = self.conv.graph(graph, x);
        let x = graph.relu(&x);
        self.norm.graph(graph, &x)
    }
}

#[derive(Module, Debug)]
pub struct Dense {
    pool_norm: BatchNorm,
    dropout1: Dropout,
    dense: Linear,
    dense_norm: BatchNorm,
    dropout2: Dropout,
    fc: Linear,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = self.map(images);
        match &self.output {
            Output::Own(own) => own.fc.forward(own.dropout2.forward(own.penultimate(map, pass), pass)),
            Output::Head(head) => head.forward(map, pass),
        }
    }

    /// The output of the dense layer after its batch norm, `[clips, units]`.
    pub fn penultimate(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        match &self.output {
            Output::Own(own) => Some(own.penultimate(self.map(images), None)),
            Output::Head(_) => None,
        }
    }

    /// The channels of the first layer and of the three convolutions, `[clips, channels, 1, frames]`.
    fn map(&self, images: Tensor<4>) -> Tensor<4> {
        let x = self.input_norm.forward(images);
        let front: Vec<_> = self.front.iter().map(|block| block.forward(x.clone()).max_dim(2)).collect();
        let mut maps = vec![Tensor::cat(front, 1)];
        for (number, block) in self.middle.iter().enumerate() {
            let before = maps[number].clone();
            let after = block.forward(before.clone());
            maps.push(if number == 0 { after } else { after + before });
        }
        Tensor::cat(maps, 1)
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let x = self.input_norm.graph(graph, images);
        let mut front = Vec::new();
        for block in &self.front {
            let map = block.graph(graph, &x);
            let map = graph.reduce("ReduceMax", &map, &[2]);
            front.push(graph.reshape(&map, &[map.shape[1], 1, map.shape[2]]));
        }
        let mut maps = vec![graph.concat(&front.iter().collect::<Vec<_>>(), 1)];
        for (number, block) in self.middle.iter().enumerate() {
            let after = block.graph(graph, &maps[number]);
            maps.push(if number == 0 { after } else { graph.add(&after, &maps[number]) });
        }
        let map = graph.concat(&maps.iter().collect::<Vec<_>>(), 1);
        match &self.output {
            Output::Own(own) => {
                let pooled = ["ReduceMax", "ReduceMean"].map(|operator| graph.reduce(operator, &map, &[2, 3]));
                let x = graph.concat(&[&pooled[0], &pooled[1]], 1);
                let x = own.pool_norm.graph(graph, &x);
                let x = graph.linear(&own.dense, &x);
                let x = graph.relu(&x);
                let x = own.dense_norm.graph(graph, &x);
                graph.linear(&own.fc, &x)
            }
            Output::Head(head) => head.graph(graph, &map),
        }
    }
}

impl Dense {
    fn penultimate(&self, map: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let [clips, channels, _, _] = map.dims();
        let max = map.clone().max_dim(3).reshape([clips, channels]);
        let pooled = self.pool_norm.forward(Tensor::cat(vec![max, head::mean(map)], 1));
        self.dense_norm.forward(relu(self.dense.forward(self.dropout1.forward(pooled, pass))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize) -> InputShape {
        InputShape { channels: 1, height, width }
    }

    #[test]
    fn parameters_are_those_of_the_published_network() {
        let rows = Musicnn::default().layers(image(96, 187), 50).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), 787_159);
    }

    #[test]
    fn too_few_bands_are_refused() {
        assert!(Musicnn::default().layers(image(3, 1), 5).is_ok());
        let error = Musicnn::default().layers(image(2, 187), 5).unwrap_err().to_string();
        assert!(error.contains("at least three bands"), "{error}");
    }
}
