//! MobileNetV3-Large in torchvision's layout: inverted residual blocks with depthwise convolutions, of which some squeeze and excite,
//! global average pooling, and two linear layers.
//!
//! Conventions and differences from the peers:
//! * One input channel by default (`channels`); imported weights for three channels are folded into one. With more channels, a
//!   one-channel image is repeated.
//! * `width` is torchvision's `width_mult`: channels are multiplied and rounded to multiples of 8.
//! * Batch norms have an epsilon of 0.001, and a batch has a weight of 0.01 in their running statistics.
//! * Initial weights: He's normal (fan-out) for convolutions, a normal with a standard deviation of 0.01 for linear layers, biases zero.
//! * Parameters as PyTorch counts them for 1000 classes and three channels: 5,483,032.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::activation::hard_swish;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::inverted_residual::{self, Activation, BlockSpec, LayerSpec, Norms, Part, PartSpec};
use super::layer_table::LayerTable;
use super::layers::{Linear, LinearConfig};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind, repeat_channels, repeat_channels_graph, sequential};
use crate::hyperparameters::Training;
use timbre_core::seed::Seed;

/// MobileNetV3-Large: torchvision's layout, for images of one channel or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MobilenetV3Large {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The factor on the channels of all layers. Default: 1.
    #[schemars(range(min = 0.1, max = 4.0))]
    pub width: f64,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for MobilenetV3Large {
    fn default() -> Self {
        MobilenetV3Large { channels: 1, width: 1.0, head: HeadKind::Linear }
    }
}

const NORMS: Norms = Norms { epsilon: 1e-3, momentum: 0.01 };
/// The first layer of the second parameter group.
const SECOND_GROUP: usize = 7;
/// Channels of the first layer.
const FIRST: usize = 16;
/// Hidden values of the classifier.
const HIDDEN: usize = 1280;
/// Kernel, hidden channels, channels, squeeze and excitation, hard swish (or ReLU), stride.
const BLOCKS: [(usize, usize, usize, bool, bool, usize); 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

impl MobilenetV3Large {
    fn wide(&self, channels: usize) -> usize {
        inverted_residual::rounded(channels as f64 * self.width)
    }

    fn parts(&self) -> Vec<PartSpec> {
        let conv = LayerSpec::conv;
        let mut before = self.wide(FIRST);
        let mut parts = vec![PartSpec::Layer(conv(before, 3, 2, Activation::Hardswish))];
        for (kernel, hidden, after, squeezes, hard, stride) in BLOCKS {
            let (hidden, after) = (self.wide(hidden), self.wide(after));
            let activation = if hard { Activation::Hardswish } else { Activation::Relu };
            let mut layers = Vec::new();
            if hidden != before {
                layers.push(conv(hidden, 1, 1, activation));
            }
            layers.push(LayerSpec::Conv { filters: hidden, kernel, stride, depthwise: true, activation });
            if squeezes {
                let squeezed = inverted_residual::rounded((hidden / 4) as f64);
                layers.push(LayerSpec::Squeeze { hidden: squeezed, hard: true });
            }
            layers.push(conv(after, 1, 1, Activation::None));
            let shortcut = stride == 1 && before == after;
            parts.push(PartSpec::Block(BlockSpec { layers, shortcut, left_out: 0.0 }));
            before = after;
        }
        parts.push(PartSpec::Layer(conv(self.last(), 1, 1, Activation::Hardswish)));
        parts
    }

    /// Channels of the last map.
    fn last(&self) -> usize {
        6 * self.wide(BLOCKS[BLOCKS.len() - 1].2)
    }
}

impl NetworkKind for MobilenetV3Large {
    fn version(&self) -> u32 {
        1
    }

    fn training_defaults() -> Training {
        Training { batch_size: 16, ..Training::default() }
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = LayerTable::new(input, self.channels)?;
        inverted_residual::rows(&self.parts(), &mut table)?;
        self.head.rows(&mut table, n_classes, |table| {
            table.average_pool("avgpool", [1, 1]);
            table.linear("classifier.0", self.wide(HIDDEN), true);
            table.linear("classifier.3", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let (last, hidden) = (self.last(), self.wide(HIDDEN));
        let net = Net {
            channels: self.channels,
            features: inverted_residual::build(&self.parts(), self.channels, NORMS, device),
            output: Output::new(self.head, last, n_classes, device, || Classifier {
                classifier: vec![
                    Layer::Linear(LinearConfig::new(last, hidden).init(device)),
                    Layer::Hardswish(0),
                    Layer::Dropout(Dropout::new(0.2)),
                    Layer::Linear(LinearConfig::new(hidden, n_classes).init(device)),
                ],
            }),
        };
        Ok(init::initialize(Network::MobilenetV3Large(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        sequential::group_of(path, SECOND_GROUP)
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| match name.starts_with("classifier.") {
        true if name.ends_with("weight") => InitDistribution::Normal(0.01),
        _ => init::he_fan_out(name, fans),
    })
}

#[derive(Module, Debug)]
pub struct Net {
    channels: usize,
    features: Vec<Part>,
    output: Output<Classifier>,
}

#[derive(Module, Debug)]
pub struct Classifier {
    classifier: Vec<Layer>,
}

#[derive(Module, Debug)]
pub enum Layer {
    Linear(Linear),
    Hardswish(usize),
    Dropout(Dropout),
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = inverted_residual::forward(&self.features, repeat_channels(images, self.channels), pass);
        match &self.output {
            Output::Own(own) => own.classifier.iter().fold(head::mean(map), |x, layer| match layer {
                Layer::Linear(layer) => layer.forward(x),
                Layer::Hardswish(_) => hard_swish(x),
                Layer::Dropout(layer) => layer.forward(x, pass),
            }),
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let x = repeat_channels_graph(graph, images, self.channels);
        let map = inverted_residual::graph_of(&self.features, graph, x);
        match &self.output {
            Output::Own(own) => {
                let mean = graph.mean(&map);
                own.classifier.iter().fold(mean, |x, layer| match layer {
                    Layer::Linear(layer) => graph.linear(layer, &x),
                    Layer::Hardswish(_) => graph.each("HardSwish", &x),
                    Layer::Dropout(_) => x,
                })
            }
            Output::Head(head) => head.graph(graph, &map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_torchvision() {
        let count = |spec: MobilenetV3Large, classes: usize| {
            let rows = spec.layers(InputShape { channels: 3, height: 224, width: 224 }, classes).unwrap();
            rows.iter().map(|row| row.parameters).sum::<u64>()
        };
        let coloured = || MobilenetV3Large { channels: 3, ..Default::default() };
        assert_eq!(count(coloured(), 1000), 5_483_032);
    }
}
