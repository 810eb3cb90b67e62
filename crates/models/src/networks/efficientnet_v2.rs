//! EfficientNetV2-S in torchvision's layout: fused inverted residual blocks, then blocks with depthwise convolutions that squeeze and
//! excite, global average pooling, one linear layer.
//!
//! Conventions and differences from the peers:
//! * One input channel by default (`channels`); imported weights for three channels are folded into one. With more channels, a
//!   one-channel image is repeated.
//! * `width` multiplies all channels, rounded to multiples of 8; torchvision has only 1.
//! * Batch norms have an epsilon of 0.001. A training step leaves blocks out for some clips (stochastic depth): none of the first, 20 % of
//!   the last.
//! * Initial weights: He's normal (fan-out) for convolutions, torchvision's uniform distribution for the linear layer, biases zero.
//! * Parameters as PyTorch counts them for 1000 classes and three channels: 21,458,488.

use anyhow::Result;
use burn::module::Module;
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

/// EfficientNetV2-S: torchvision's layout, for images of one channel or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EfficientnetV2S {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The factor on the channels of all layers. Default: 1.
    #[schemars(range(min = 0.1, max = 4.0))]
    pub width: f64,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for EfficientnetV2S {
    fn default() -> Self {
        EfficientnetV2S { channels: 1, width: 1.0, head: HeadKind::Linear }
    }
}

const NORMS: Norms = Norms { epsilon: 1e-3, momentum: 0.1 };
/// The first layer of the second parameter group.
const SECOND_GROUP: usize = 4;
/// Channels of the first layer and of the last.
const FIRST: usize = 24;
const LAST: usize = 1280;
/// The share of the clips for which a training step leaves the last block out.
const LEFT_OUT: f64 = 0.2;

/// A stage of blocks; `expansion` is the factor on the channels within a block.
struct Stage {
    /// One full convolution in place of one of 1×1 and a depthwise one.
    fused: bool,
    expansion: usize,
    stride: usize,
    channels: usize,
    blocks: usize,
}

const fn stage(fused: bool, expansion: usize, stride: usize, channels: usize, blocks: usize) -> Stage {
    Stage { fused, expansion, stride, channels, blocks }
}

const STAGES: [Stage; 6] = [
    stage(true, 1, 1, 24, 2),
    stage(true, 4, 2, 48, 4),
    stage(true, 4, 2, 64, 4),
    stage(false, 4, 2, 128, 6),
    stage(false, 6, 1, 160, 9),
    stage(false, 6, 2, 256, 15),
];

impl EfficientnetV2S {
    fn wide(&self, channels: usize) -> usize {
        inverted_residual::rounded(channels as f64 * self.width)
    }

    fn parts(&self) -> Vec<PartSpec> {
        let conv = LayerSpec::conv;
        let mut before = self.wide(FIRST);
        let mut parts = vec![PartSpec::Layer(conv(before, 3, 2, Activation::Silu))];
        let all: usize = STAGES.iter().map(|stage| stage.blocks).sum();
        let mut done = 0;
        for stage in &STAGES {
            let after = self.wide(stage.channels);
            let mut blocks = Vec::with_capacity(stage.blocks);
            for number in 0..stage.blocks {
                let stride = if number == 0 { stage.stride } else { 1 };
                let hidden = inverted_residual::rounded((before * stage.expansion) as f64);
                let layers = match (stage.fused, hidden == before) {
                    (true, true) => vec![conv(after, 3, stride, Activation::Silu)],
                    (true, false) => vec![conv(hidden, 3, stride, Activation::Silu), conv(after, 1, 1, Activation::None)],
                    (false, _) => vec![
                        conv(hidden, 1, 1, Activation::Silu),
                        LayerSpec::Conv { filters: hidden, kernel: 3, stride, depthwise: true, activation: Activation::Silu },
                        LayerSpec::Squeeze { hidden: (before / 4).max(1), hard: false },
                        conv(after, 1, 1, Activation::None),
                    ],
                };
                let left_out = LEFT_OUT * done as f64 / all as f64;
                blocks.push(BlockSpec { layers, shortcut: stride == 1 && before == after, left_out });
                (before, done) = (after, done + 1);
            }
            parts.push(PartSpec::Stage(blocks));
        }
        parts.push(PartSpec::Layer(conv(self.wide(LAST), 1, 1, Activation::Silu)));
        parts
    }
}

impl NetworkKind for EfficientnetV2S {
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
            table.linear("classifier.1", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let last = self.wide(LAST);
        let net = Net {
            channels: self.channels,
            features: inverted_residual::build(&self.parts(), self.channels, NORMS, device),
            output: Output::new(self.head, last, n_classes, device, || Classifier {
                classifier: (Dropout::new(0.2), LinearConfig::new(last, n_classes).init(device)),
            }),
        };
        Ok(init::initialize(Network::EfficientnetV2S(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        sequential::group_of(path, SECOND_GROUP)
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| match name {
        "classifier.1.weight" => InitDistribution::Uniform(1.0 / (fans.outputs as f64).sqrt()),
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
    classifier: (Dropout, Linear),
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = inverted_residual::forward(&self.features, repeat_channels(images, self.channels), pass);
        match &self.output {
            Output::Own(Classifier { classifier: (drop, linear) }) => {
                linear.forward(drop.forward(head::mean(map), pass))
            }
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let x = repeat_channels_graph(graph, images, self.channels);
        let map = inverted_residual::graph_of(&self.features, graph, x);
        match &self.output {
            Output::Own(Classifier { classifier: (_, linear) }) => {
                let mean = graph.mean(&map);
                graph.linear(linear, &mean)
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
        let spec = EfficientnetV2S { channels: 3, ..Default::default() };
        let rows = spec.layers(InputShape { channels: 3, height: 224, width: 224 }, 1000).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), 21_458_488);
    }
}
