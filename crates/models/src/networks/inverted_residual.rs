//! The layers that torchvision's MobileNetV3 and EfficientNetV2 share: convolutions with batch norm and activation, squeeze and
//! excitation, and inverted residual blocks of them. Numbers of layers are those of torchvision's `Sequential`s.
//!
//! A list of [`PartSpec`]s describes a network; the rows of the layer table and the layers themselves follow from it.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::activation::{hard_sigmoid, hard_swish, relu, sigmoid, silu};
use burn::tensor::{Device, Tensor};

use super::dropout::StochasticDepth;
use super::head;
use super::layer_table::{LayerTable, Window};
use super::layers::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig};
use super::onnx::{Attribute, Graph, Value};
use super::sequential::padding_of;
use super::training_pass::TrainingPass;

/// What follows a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    Relu,
    Hardswish,
    Silu,
}

/// A layer before it is built.
#[derive(Clone, Copy, Debug)]
pub enum LayerSpec {
    /// A convolution without bias, a batch norm and an activation.
    Conv { filters: usize, kernel: usize, stride: usize, depthwise: bool, activation: Activation },
    /// Squeeze and excitation with so many hidden channels: with ReLU and a hard sigmoid, or with SiLU and a sigmoid.
    Squeeze { hidden: usize, hard: bool },
}

/// An inverted residual block before it is built.
#[derive(Clone, Debug)]
pub struct BlockSpec {
    pub layers: Vec<LayerSpec>,
    /// Whether the input is added.
    pub shortcut: bool,
    /// The share of the clips for which a training step leaves the block out.
    pub left_out: f64,
}

/// A numbered part of a network before it is built.
#[derive(Clone, Debug)]
pub enum PartSpec {
    Layer(LayerSpec),
    Block(BlockSpec),
    Stage(Vec<BlockSpec>),
}

/// The batch norms of a network.
#[derive(Clone, Copy, Debug)]
pub struct Norms {
    pub epsilon: f64,
    pub momentum: f64,
}

/// Channels as torchvision rounds them: a multiple of 8 that is not more than a tenth smaller.
pub fn rounded(channels: f64) -> usize {
    const MULTIPLE: f64 = 8.0;
    let nearest = (((channels + MULTIPLE / 2.0) / MULTIPLE).floor() * MULTIPLE).max(MULTIPLE);
    (if nearest < 0.9 * channels { nearest + MULTIPLE } else { nearest }) as usize
}

impl LayerSpec {
    /// A convolution over all channels.
    pub fn conv(filters: usize, kernel: usize, stride: usize, activation: Activation) -> LayerSpec {
        LayerSpec::Conv { filters, kernel, stride, depthwise: false, activation }
    }

    fn window(kernel: usize, stride: usize) -> Window {
        Window::square(kernel, stride, kernel / 2)
    }

    fn rows(self, name: &str, table: &mut LayerTable) -> Result<()> {
        match self {
            LayerSpec::Conv { filters, kernel, stride, depthwise, .. } => {
                let window = LayerSpec::window(kernel, stride);
                match depthwise {
                    true => table.depthwise_conv(&format!("{name}.0"), window, false)?,
                    false => table.conv(&format!("{name}.0"), filters, window, false)?,
                }
                table.norm(&format!("{name}.1"));
            }
            LayerSpec::Squeeze { hidden, .. } => {
                let map = table.shape.clone();
                let (channels, window) = (map[0], Window::square(1, 1, 0));
                table.average_pool(&format!("{name}.avgpool"), [1, 1]);
                table.conv(&format!("{name}.fc1"), hidden, window, true)?;
                table.conv(&format!("{name}.fc2"), channels, window, true)?;
                table.shape = map;
            }
        }
        Ok(())
    }

    /// The layer, and the channels after it.
    fn build(self, channels: usize, norms: Norms, device: &Device) -> (Layer, usize) {
        match self {
            LayerSpec::Conv { filters, kernel, stride, depthwise, activation } => {
                let filters = if depthwise { channels } else { filters };
                let conv = Conv2dConfig::new([channels, filters], [kernel; 2])
                    .with_stride([stride; 2])
                    .with_padding(padding_of(LayerSpec::window(kernel, stride)))
                    .with_groups(if depthwise { channels } else { 1 })
                    .with_bias(false)
                    .init(device);
                let norm = BatchNormConfig::new(filters).with_epsilon(norms.epsilon).with_momentum(norms.momentum);
                let pair = (conv, norm.init(device));
                let layer = match activation {
                    Activation::None => Layer::Plain(pair),
                    Activation::Relu => Layer::Relu(pair),
                    Activation::Hardswish => Layer::Hardswish(pair),
                    Activation::Silu => Layer::Silu(pair),
                };
                (layer, filters)
            }
            LayerSpec::Squeeze { hidden, hard } => {
                let conv = |channels: [usize; 2]| Conv2dConfig::new(channels, [1, 1]).init(device);
                let (fc1, fc2) = (conv([channels, hidden]), conv([hidden, channels]));
                (Layer::Squeeze(SqueezeExcitation { fc1, fc2, hard }), channels)
            }
        }
    }
}

/// Adds the rows of these parts to the table.
pub fn rows(parts: &[PartSpec], table: &mut LayerTable) -> Result<()> {
    let block = |spec: &BlockSpec, name: &str, table: &mut LayerTable| {
        let mut layers = spec.layers.iter().enumerate();
        layers.try_for_each(|(number, layer)| layer.rows(&format!("{name}.block.{number}"), table))
    };
    for (number, part) in parts.iter().enumerate() {
        let name = format!("features.{number}");
        match part {
            PartSpec::Layer(layer) => layer.rows(&name, table)?,
            PartSpec::Block(spec) => block(spec, &name, table)?,
            PartSpec::Stage(blocks) => {
                for (number, spec) in blocks.iter().enumerate() {
                    block(spec, &format!("{name}.{number}"), table)?;
                }
            }
        }
    }
    Ok(())
}

/// Builds the parts for an input with this number of channels.
pub fn build(parts: &[PartSpec], mut channels: usize, norms: Norms, device: &Device) -> Vec<Part> {
    let mut layer = |spec: &LayerSpec| {
        let (layer, after) = spec.build(channels, norms, device);
        channels = after;
        layer
    };
    let mut block = |spec: &BlockSpec| Block {
        block: spec.layers.iter().map(&mut layer).collect(),
        shortcut: spec.shortcut,
        stochastic_depth: StochasticDepth::new(spec.left_out),
    };
    let mut built = Vec::with_capacity(parts.len());
    for part in parts {
        built.push(match part {
            // A layer is a block of one layer that is not numbered.
            PartSpec::Layer(spec) => {
                let of_one = BlockSpec { layers: vec![*spec], shortcut: false, left_out: 0.0 };
                Part::Layer(block(&of_one).block.remove(0))
            }
            PartSpec::Block(spec) => Part::Block(block(spec)),
            PartSpec::Stage(blocks) => Part::Stage(blocks.iter().map(&mut block).collect()),
        });
    }
    built
}

#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Part {
    Layer(Layer),
    Block(Block),
    Stage(Vec<Block>),
}

/// A convolution with its batch norm, or squeeze and excitation. The variants are no part of the names of the tensors.
#[derive(Module, Debug)]
pub enum Layer {
    Plain((Conv2d, BatchNorm)),
    Relu((Conv2d, BatchNorm)),
    Hardswish((Conv2d, BatchNorm)),
    Silu((Conv2d, BatchNorm)),
    Squeeze(SqueezeExcitation),
}

#[derive(Module, Debug)]
pub struct Block {
    block: Vec<Layer>,
    shortcut: bool,
    stochastic_depth: StochasticDepth,
}

#[derive(Module, Debug)]
pub struct SqueezeExcitation {
    fc1: Conv2d,
    fc2: Conv2d,
    hard: bool,
}

pub fn forward(parts: &[Part], x: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<4> {
    parts.iter().fold(x, |x, part| match part {
        Part::Layer(layer) => layer.forward(x),
        Part::Block(block) => block.forward(x, pass),
        Part::Stage(blocks) => blocks.iter().fold(x, |x, block| block.forward(x, pass)),
    })
}

impl Block {
    fn forward(&self, x: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<4> {
        let branch = self.block.iter().fold(x.clone(), |x, layer| layer.forward(x));
        if self.shortcut { x + self.stochastic_depth.forward(branch, pass) } else { branch }
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Layer::Plain((conv, norm)) => norm.forward(conv.forward(x)),
            Layer::Relu((conv, norm)) => norm.forward_relu(conv.forward(x)),
            Layer::Hardswish((conv, norm)) => hard_swish(norm.forward(conv.forward(x))),
            Layer::Silu((conv, norm)) => silu(norm.forward(conv.forward(x))),
            Layer::Squeeze(squeeze) => squeeze.forward(x),
        }
    }
}

impl SqueezeExcitation {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [clips, channels, ..] = x.dims();
        let hidden = self.fc1.forward(head::mean(x.clone()).reshape([clips, channels, 1, 1]));
        let hidden = if self.hard { relu(hidden) } else { silu(hidden) };
        let scale = self.fc2.forward(hidden);
        let scale = if self.hard { hard_sigmoid(scale, 1.0 / 6.0, 0.5) } else { sigmoid(scale) };
        x * scale
    }
}

/// [`forward`] as nodes.
pub fn graph_of(parts: &[Part], graph: &mut Graph, x: Value) -> Value {
    parts.iter().fold(x, |x, part| match part {
        Part::Layer(layer) => layer.graph(graph, &x),
        Part::Block(block) => block.graph(graph, &x),
        Part::Stage(blocks) => blocks.iter().fold(x, |x, block| block.graph(graph, &x)),
    })
}

impl Block {
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let branch = self.block.iter().fold(x.clone(), |x, layer| layer.graph(graph, &x));
        if self.shortcut { graph.add(x, &branch) } else { branch }
    }
}

impl Layer {
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let (Layer::Plain((conv, norm))
        | Layer::Relu((conv, norm))
        | Layer::Hardswish((conv, norm))
        | Layer::Silu((conv, norm))) = self
        else {
            let Layer::Squeeze(squeeze) = self else { unreachable!("all other layers are convolutions") };
            return squeeze.graph(graph, x);
        };
        let x = conv.graph(graph, x);
        let x = norm.graph(graph, &x);
        match self {
            Layer::Relu(_) => graph.relu(&x),
            Layer::Hardswish(_) => graph.each("HardSwish", &x),
            Layer::Silu(_) => graph.silu(&x),
            Layer::Plain(_) | Layer::Squeeze(_) => x,
        }
    }
}

impl SqueezeExcitation {
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let mean = graph.mean(x);
        let mean = graph.reshape(&mean, &[x.shape[1], 1, 1]);
        let hidden = self.fc1.graph(graph, &mean);
        let hidden = if self.hard { graph.relu(&hidden) } else { graph.silu(&hidden) };
        let scale = self.fc2.graph(graph, &hidden);
        let scale = match self.hard {
            true => graph.node("HardSigmoid", &[&scale], &[Attribute::Float("alpha", 1.0 / 6.0)], &scale.shape),
            false => graph.each("Sigmoid", &scale),
        };
        graph.mul(x, &scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_to_multiples_of_eight() {
        assert_eq!([16.0, 18.0, 20.0, 3.0, 4.5, 11.9, 30.0].map(rounded), [16, 24, 24, 8, 8, 16, 32]);
    }
}
