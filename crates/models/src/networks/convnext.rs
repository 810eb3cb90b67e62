//! ConvNeXt-Tiny in torchvision's layout: patches of 4×4, four stages of blocks (a depthwise 7×7 convolution, layer norm, two linear
//! layers, a scale for each channel), global average pooling, layer norm, one linear layer.
//!
//! Conventions and differences from the peers:
//! * One input channel by default (`channels`); imported weights for three channels are folded into one. With more channels, a
//!   one-channel image is repeated.
//! * `width` multiplies all channels; torchvision has only 1 (96 to 768 channels).
//! * A training step leaves blocks out for some clips (stochastic depth): none of the first, 10 % of the last. GELU is exact (by the
//!   error function); layer norms have an epsilon of 1e-6.
//! * Initial weights: a normal with a standard deviation of 0.02 (torchvision cuts it at 100 deviations), biases zero, scales 1e-6.
//! * Parameters as PyTorch counts them for 1000 classes and three channels: 28,589,128.

use anyhow::Result;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::StochasticDepth;
use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{Conv2d, Conv2dConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, gelu};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind, repeat_channels, repeat_channels_graph, sequential};
use crate::hyperparameters::Training;
use timbre_core::seed::Seed;

/// ConvNeXt-Tiny: torchvision's layout, for images of one channel or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConvnextTiny {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The factor on the channels of all layers. Default: 1.
    #[schemars(range(min = 0.05, max = 4.0))]
    pub width: f64,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for ConvnextTiny {
    fn default() -> Self {
        ConvnextTiny { channels: 1, width: 1.0, head: HeadKind::Linear }
    }
}

const CHANNELS: [usize; 4] = [96, 192, 384, 768];
const BLOCKS: [usize; 4] = [3, 3, 9, 3];
/// The first layer of the second parameter group.
const SECOND_GROUP: usize = 4;
/// The hidden values of a block, in channels.
const HIDDEN: usize = 4;
const EPSILON: f64 = 1e-6;
/// The share of the clips for which a training step leaves the last block out.
const LEFT_OUT: f64 = 0.1;
const INITIAL_SCALE: f64 = 1e-6;

impl ConvnextTiny {
    fn wide(&self) -> [usize; 4] {
        CHANNELS.map(|channels| ((channels as f64 * self.width).round() as usize).max(1))
    }
}

/// The patches of the image, and the halving between two stages.
fn window(stage: usize) -> Window {
    let size = if stage == 0 { 4 } else { 2 };
    Window::square(size, size, 0)
}

impl NetworkKind for ConvnextTiny {
    fn version(&self) -> u32 {
        2
    }

    fn training_defaults() -> Training {
        Training { batch_size: 16, ..Training::default() }
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = LayerTable::new(input, self.channels)?;
        let norm = |table: &mut LayerTable, name: &str| {
            let (map, channels) = (table.shape.clone(), table.shape[0]);
            table.add(name, format!("layer norm {channels}"), map, 2 * channels, 0);
        };
        for (stage, channels) in self.wide().into_iter().enumerate() {
            let name = format!("features.{}", 2 * stage);
            if stage == 0 {
                table.conv(&format!("{name}.0"), channels, window(stage), true)?;
                norm(&mut table, &format!("{name}.1"));
            } else {
                norm(&mut table, &format!("{name}.0"));
                table.conv(&format!("{name}.1"), channels, window(stage), true)?;
            }
            for block in 0..BLOCKS[stage] {
                let name = |layer: &str| format!("features.{}.{block}.{layer}", 2 * stage + 1);
                table.depthwise_conv(&name("block.0"), Window::square(7, 1, 3), true)?;
                norm(&mut table, &name("block.2"));
                let map = table.shape.clone();
                let (pixels, hidden) = (map[1] * map[2], HIDDEN * channels);
                for (layer, from, to) in [("block.3", channels, hidden), ("block.5", hidden, channels)] {
                    let kind = format!("linear {to} per pixel");
                    table.add(&name(layer), kind, vec![to, map[1], map[2]], from * to + to, from * to * pixels);
                }
                let name = format!("features.{}.{block}", 2 * stage + 1);
                table.add(&name, format!("scale {channels}"), map, channels, 0);
            }
        }
        self.head.rows(&mut table, n_classes, |table| {
            table.average_pool("avgpool", [1, 1]);
            norm(table, "classifier.0");
            table.linear("classifier.2", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let wide = self.wide();
        let conv = |stage: usize| {
            let before = if stage == 0 { self.channels } else { wide[stage - 1] };
            let Window { kernel, stride, .. } = window(stage);
            Conv2dConfig::new([before, wide[stage]], kernel).with_stride(stride).init(device)
        };
        let norm = |channels: usize| LayerNormConfig::new(channels).with_epsilon(EPSILON).init(device);
        let all: usize = BLOCKS.iter().sum();
        let mut features = Vec::with_capacity(2 * CHANNELS.len());
        for (stage, channels) in wide.into_iter().enumerate() {
            features.push(match stage {
                0 => Part::Stem((conv(0), norm(channels))),
                _ => Part::Halving((norm(wide[stage - 1]), conv(stage))),
            });
            let before: usize = BLOCKS[..stage].iter().sum();
            let block = |number: usize| {
                let depthwise = Conv2dConfig::new([channels; 2], [7, 7])
                    .with_padding(sequential::padding_of(Window::square(7, 1, 3)))
                    .with_groups(channels)
                    .init(device);
                Block {
                    block: vec![
                        Layer::Conv(depthwise),
                        Layer::Other(0),
                        Layer::Norm(norm(channels)),
                        Layer::Linear(LinearConfig::new(channels, HIDDEN * channels).init(device)),
                        Layer::Other(0),
                        Layer::Linear(LinearConfig::new(HIDDEN * channels, channels).init(device)),
                    ],
                    layer_scale: Param::from_tensor(Tensor::zeros([channels, 1, 1], device)),
                    stochastic_depth: StochasticDepth::new(LEFT_OUT * (before + number) as f64 / (all - 1) as f64),
                }
            };
            features.push(Part::Stage((0..BLOCKS[stage]).map(block).collect()));
        }
        let last = wide[CHANNELS.len() - 1];
        let net = Net {
            channels: self.channels,
            features,
            output: Output::new(self.head, last, n_classes, device, || Classifier {
                classifier: vec![
                    Layer::Norm(norm(last)),
                    Layer::Other(0),
                    Layer::Linear(LinearConfig::new(last, n_classes).init(device)),
                ],
            }),
        };
        Ok(init::initialize(Network::ConvnextTiny(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        sequential::group_of(path, SECOND_GROUP)
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or(match name.rsplit('.').next() {
        Some("layer_scale") => InitDistribution::Constant(INITIAL_SCALE),
        Some("bias") => InitDistribution::Constant(0.0),
        _ => InitDistribution::Normal(0.02),
    })
}

#[derive(Module, Debug)]
pub struct Net {
    channels: usize,
    features: Vec<Part>,
    output: Output<Classifier>,
}

#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Part {
    Stem((Conv2d, LayerNorm)),
    Halving((LayerNorm, Conv2d)),
    Stage(Vec<Block>),
}

#[derive(Module, Debug)]
pub struct Block {
    block: Vec<Layer>,
    layer_scale: Param<Tensor<3>>,
    stochastic_depth: StochasticDepth,
}

/// A layer, numbered as in torchvision.
#[derive(Module, Debug)]
pub enum Layer {
    Conv(Conv2d),
    Norm(LayerNorm),
    Linear(Linear),
    /// A layer without parameters.
    Other(usize),
}

#[derive(Module, Debug)]
pub struct Classifier {
    classifier: Vec<Layer>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let x = repeat_channels(images, self.channels);
        let map = self.features.iter().fold(x, |x, part| match part {
            Part::Stem((conv, norm)) => over_channels(conv.forward(x), |x| norm.forward(x)),
            Part::Halving((norm, conv)) => conv.forward(over_channels(x, |x| norm.forward(x))),
            Part::Stage(blocks) => blocks.iter().fold(x, |x, block| block.forward(x, pass)),
        });
        match &self.output {
            Output::Own(own) => own.classifier.iter().fold(head::mean(map), |x, layer| match layer {
                Layer::Norm(norm) => norm.forward(x),
                Layer::Linear(linear) => linear.forward(x),
                Layer::Conv(_) | Layer::Other(_) => x,
            }),
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let mut x = repeat_channels_graph(graph, images, self.channels);
        for part in &self.features {
            x = match part {
                Part::Stem((conv, norm)) => {
                    let x = conv.graph(graph, &x);
                    norm_over_channels(norm, graph, &x)
                }
                Part::Halving((norm, conv)) => {
                    let x = norm_over_channels(norm, graph, &x);
                    conv.graph(graph, &x)
                }
                Part::Stage(blocks) => blocks.iter().fold(x, |x, block| block.graph(graph, &x)),
            };
        }
        match &self.output {
            Output::Own(own) => {
                let mean = graph.mean(&x);
                own.classifier.iter().fold(mean, |x, layer| match layer {
                    Layer::Norm(norm) => graph.layer_norm(norm, &x),
                    Layer::Linear(linear) => graph.linear(linear, &x),
                    Layer::Conv(_) | Layer::Other(_) => x,
                })
            }
            Output::Head(head) => head.graph(graph, &x),
        }
    }
}

/// Applies a layer to the channels of each pixel.
fn over_channels(x: Tensor<4>, layer: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    layer(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}

fn norm_over_channels(norm: &LayerNorm, graph: &mut Graph, x: &Value) -> Value {
    let x = graph.permute(x, &[0, 2, 3, 1]);
    let x = graph.layer_norm(norm, &x);
    graph.permute(&x, &[0, 3, 1, 2])
}

impl Block {
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let mut branch = x.clone();
        for (number, layer) in self.block.iter().enumerate() {
            branch = match layer {
                Layer::Conv(conv) => conv.graph(graph, &branch),
                Layer::Norm(norm) => graph.layer_norm(norm, &branch),
                Layer::Linear(linear) => graph.linear(linear, &branch),
                // The channels become the last axis.
                Layer::Other(_) if number == 1 => graph.permute(&branch, &[0, 2, 3, 1]),
                Layer::Other(_) => graph.gelu(&branch),
            };
        }
        let branch = graph.permute(&branch, &[0, 3, 1, 2]);
        let scale = graph.weights(self.layer_scale.val());
        let branch = graph.mul(&branch, &scale);
        graph.add(x, &branch)
    }

    fn forward(&self, x: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<4> {
        let [Layer::Conv(conv), _, Layer::Norm(norm), Layer::Linear(first), _, Layer::Linear(second)] = &self.block[..] else {
            unreachable!("the layers of a block are those of its construction")
        };
        let branch = over_channels(conv.forward(x.clone()), |x| second.forward(gelu(first.forward(norm.forward(x)))));
        let branch = branch * self.layer_scale.val().unsqueeze::<4>();
        x + self.stochastic_depth.forward(branch, pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_torchvision() {
        let spec = ConvnextTiny { channels: 3, ..Default::default() };
        let rows = spec.layers(InputShape { channels: 3, height: 224, width: 224 }, 1000).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), 28_589_128);
    }
}
