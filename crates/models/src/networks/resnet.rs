//! ResNet18, ResNet34 and ResNet50 in torchvision's layout: a 7×7 convolution with stride 2, a 3×3 max pool with stride 2, four
//! stages of residual blocks (of ResNet50: bottlenecks with the stride in the 3×3 convolution), global average pooling, one linear
//! layer.
//!
//! Conventions and differences from the peers:
//! * One input channel by default (`channels`); imported weights for three channels are folded into one. With more channels, a
//!   one-channel image is repeated.
//! * Initial weights follow torchvision's distributions: He's normal (fan-out) for convolutions, PyTorch's default for the
//!   linear layer.
//! * `head = "concat"` is the head of fastai's `vision_learner`; the parameter groups are fastai's `body[:6]`, `body[6:]` and
//!   the head.
//! * Parameters as PyTorch counts them, without running means and variances: ResNet18 for 11 classes 11,175,883 with one
//!   channel, 11,182,155 with three; with fastai's head and one channel 11,703,232. ResNet50 for 1000 classes with three: 25,557,032.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::training_pass::TrainingPass;
use super::head::{self, Fc, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, MaxPool2d, MaxPool2dConfig, PaddingConfig2d,
};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind, repeat_channels, repeat_channels_graph};
use crate::hyperparameters::Training;
use timbre_core::seed::Seed;

/// ResNet18: torchvision's layout, for images of one channel or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet18 {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for Resnet18 {
    fn default() -> Self {
        Resnet18 { channels: 1, head: HeadKind::Linear }
    }
}

/// ResNet34: torchvision's layout, for images of one channel or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet34 {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for Resnet34 {
    fn default() -> Self {
        Resnet34 { channels: 1, head: HeadKind::Linear }
    }
}

/// ResNet50: torchvision's layout of bottlenecks, for images of one channel or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet50 {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for Resnet50 {
    fn default() -> Self {
        Resnet50 { channels: 1, head: HeadKind::Linear }
    }
}

/// The number of blocks of each stage, and their type.
#[derive(Clone, Copy)]
struct Stages {
    blocks: [usize; 4],
    /// A 3×3 convolution between two of 1×1, of which the last has four times the filters.
    bottleneck: bool,
}

impl Stages {
    /// The channels after a block, in filters.
    fn expansion(self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }
}

/// All have the same keys and differ in their blocks.
macro_rules! resnet {
    ($Spec:ident, $stages:expr) => {
        impl NetworkKind for $Spec {
            fn version(&self) -> u32 {
                1
            }

            fn training_defaults() -> Training {
                Training { batch_size: 16, ..Training::default() }
            }

            fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
                layers(self.channels, $stages, self.head, input, n_classes)
            }

            fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
                self.layers(input, n_classes)?;
                let net = Net::new(self.channels, $stages, self.head, n_classes, device);
                Ok(init::initialize(Network::$Spec(net), seed, initial_weights))
            }

            fn groups(&self) -> usize {
                3
            }

            fn group_of(&self, path: &str) -> usize {
                group_of(path)
            }
        }
    };
}
resnet!(Resnet18, Stages { blocks: [2, 2, 2, 2], bottleneck: false });
resnet!(Resnet34, Stages { blocks: [3, 4, 6, 3], bottleneck: false });
resnet!(Resnet50, Stages { blocks: [3, 4, 6, 3], bottleneck: true });

const STAGES: [&str; 4] = ["layer1", "layer2", "layer3", "layer4"];
const FILTERS: [usize; 4] = [64, 128, 256, 512];

fn group_of(path: &str) -> usize {
    if head::is_head(path) {
        2
    } else if path.starts_with("layer3.") || path.starts_with("layer4.") {
        1
    } else {
        0
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| {
        let rule = if name.starts_with("fc.") { init::torch_default } else { init::he_fan_out };
        rule(name, fans)
    })
}

fn layers(
    channels: usize,
    stages: Stages,
    head: HeadKind,
    input: InputShape,
    n_classes: usize,
) -> Result<Vec<LayerRow>> {
    let mut table = LayerTable::new(input, channels)?;
    table.conv("conv1", 64, Window::square(7, 2, 3), false)?;
    table.norm("bn1");
    table.max_pool("maxpool", Window::square(3, 2, 1))?;
    for (number, (stage, filters)) in STAGES.into_iter().zip(FILTERS).enumerate() {
        for block in 0..stages.blocks[number] {
            let name = |layer: &str| format!("{stage}.{block}.{layer}");
            let before = table.shape.clone();
            let (stride, after) = (stride_of(number, block), filters * stages.expansion());
            if stages.bottleneck {
                table.conv(&name("conv1"), filters, Window::square(1, 1, 0), false)?;
                table.norm(&name("bn1"));
                table.conv(&name("conv2"), filters, Window::square(3, stride, 1), false)?;
                table.norm(&name("bn2"));
                table.conv(&name("conv3"), after, Window::square(1, 1, 0), false)?;
                table.norm(&name("bn3"));
            } else {
                table.conv(&name("conv1"), filters, Window::square(3, stride, 1), false)?;
                table.norm(&name("bn1"));
                table.conv(&name("conv2"), filters, Window::square(3, 1, 1), false)?;
                table.norm(&name("bn2"));
            }
            if stride > 1 || before[0] != after {
                table.shape = before;
                table.conv(&name("downsample.0"), after, Window::square(1, stride, 0), false)?;
                table.norm(&name("downsample.1"));
            }
        }
    }
    head.rows(&mut table, n_classes, |table| {
        table.average_pool("avgpool", [1, 1]);
        table.linear("fc", n_classes, true);
    });
    Ok(table.into_rows())
}

/// The first block of each stage but the first halves the image.
fn stride_of(stage: usize, block: usize) -> usize {
    if stage > 0 && block == 0 { 2 } else { 1 }
}

fn conv(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = kernel / 2;
    Conv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_bias(false)
        .init(device)
}

fn norm(channels: usize, device: &Device) -> BatchNorm {
    BatchNormConfig::new(channels).init(device)
}

#[derive(Module, Debug)]
pub struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    /// The last convolution of a bottleneck.
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm>,
    downsample: Option<(Conv2d, BatchNorm)>,
}

impl Block {
    fn new(before: usize, filters: usize, stride: usize, stages: Stages, device: &Device) -> Block {
        let after = filters * stages.expansion();
        let [first, second] = if stages.bottleneck { [(1, 1), (3, stride)] } else { [(3, stride), (3, 1)] };
        Block {
            conv1: conv([before, filters], first.0, first.1, device),
            bn1: norm(filters, device),
            conv2: conv([filters, filters], second.0, second.1, device),
            bn2: norm(filters, device),
            conv3: stages.bottleneck.then(|| conv([filters, after], 1, 1, device)),
            bn3: stages.bottleneck.then(|| norm(after, device)),
            downsample: (stride > 1 || before != after)
                .then(|| (conv([before, after], 1, stride, device), norm(after, device))),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(conv.forward(x.clone())),
            None => x.clone(),
        };
        let x = self.bn1.forward_relu(self.conv1.forward(x));
        let x = self.conv2.forward(x);
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => bn3.forward_add_relu(conv3.forward(self.bn2.forward_relu(x)), shortcut),
            _ => self.bn2.forward_add_relu(x, shortcut),
        }
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let shortcut = match &self.downsample {
            Some((conv, bn)) => {
                let x = conv.graph(graph, x);
                bn.graph(graph, &x)
            }
            None => x.clone(),
        };
        let x = self.conv1.graph(graph, x);
        let x = self.bn1.graph_relu(graph, &x);
        let mut x = self.conv2.graph(graph, &x);
        if let Some(conv3) = &self.conv3 {
            x = self.bn2.graph_relu(graph, &x);
            x = conv3.graph(graph, &x);
        }
        let x = self.bn3.as_ref().unwrap_or(&self.bn2).graph(graph, &x);
        let x = graph.add(&x, &shortcut);
        graph.relu(&x)
    }
}

#[derive(Module, Debug)]
pub struct Net {
    channels: usize,
    conv1: Conv2d,
    bn1: BatchNorm,
    maxpool: MaxPool2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    output: Output<Fc>,
}

impl Net {
    fn new(channels: usize, stages: Stages, head: HeadKind, n_classes: usize, device: &Device) -> Net {
        let mut before = FILTERS[0];
        let mut stage = |number: usize| -> Vec<Block> {
            let after = FILTERS[number] * stages.expansion();
            let block = |block: usize| {
                let before = std::mem::replace(&mut before, after);
                Block::new(before, FILTERS[number], stride_of(number, block), stages, device)
            };
            (0..stages.blocks[number]).map(block).collect()
        };
        let last = FILTERS[3] * stages.expansion();
        Net {
            channels,
            conv1: conv([channels, FILTERS[0]], 7, 2, device),
            bn1: norm(FILTERS[0], device),
            maxpool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            output: Output::new(head, last, n_classes, device, || Fc::new(last, n_classes, device)),
        }
    }

    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let x = repeat_channels(images, self.channels);
        let x = self.maxpool.forward(self.bn1.forward_relu(self.conv1.forward(x)));
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let map = stages.into_iter().flatten().fold(x, |x, block| block.forward(x));
        match &self.output {
            Output::Own(own) => own.fc.forward(head::mean(map)),
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let x = repeat_channels_graph(graph, images, self.channels);
        let x = self.conv1.graph(graph, &x);
        let x = self.bn1.graph_relu(graph, &x);
        let x = self.maxpool.graph(graph, &x);
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let map = stages.into_iter().flatten().fold(x, |x, block| block.graph(graph, &x));
        match &self.output {
            Output::Own(own) => own.graph_of_mean(graph, &map),
            Output::Head(head) => head.graph(graph, &map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(kind: &dyn NetworkKind, n_classes: usize) -> u64 {
        let input = InputShape { channels: 1, height: 256, width: 156 };
        kind.layers(input, n_classes).unwrap().iter().map(|row| row.parameters).sum()
    }

    #[test]
    fn parameters_are_those_of_torchvision_and_fastai() {
        let net = |channels, head| Resnet18 { channels, head };
        assert_eq!(parameters(&net(1, HeadKind::Linear), 11), 11_175_883);
        assert_eq!(parameters(&net(3, HeadKind::Linear), 11), 11_182_155);
        assert_eq!(parameters(&net(3, HeadKind::Linear), 1000), 11_689_512);
        assert_eq!(parameters(&net(1, HeadKind::Concat), 11), 11_703_232);
        assert_eq!(parameters(&net(3, HeadKind::Concat), 11), 11_709_504);
        let deeper = Resnet34 { channels: 3, ..Default::default() };
        assert_eq!(parameters(&deeper, 1000), 21_797_672);
        let bottlenecks = Resnet50 { channels: 3, ..Default::default() };
        assert_eq!(parameters(&bottlenecks, 1000), 25_557_032);
        assert_eq!(parameters(&bottlenecks, 11), 23_530_571);
    }

    #[test]
    fn multiply_adds_are_those_of_the_counters_of_pytorch() {
        let input = InputShape { channels: 3, height: 224, width: 224 };
        let rows = Resnet18 { channels: 3, ..Default::default() }.layers(input, 1000).unwrap();
        let sum: u64 = rows.iter().map(|row| row.multiply_adds).sum();
        assert_eq!(sum, 1_814_073_344);
    }

    #[test]
    fn initial_weights_have_the_standard_deviations_of_torchvision() {
        let input = InputShape { channels: 1, height: 64, width: 64 };
        let network = Resnet18::default().build(input, 11, Seed::new(3), &Device::flex()).unwrap();
        for tensor in super::super::state_dict::tensors(&network) {
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            let values = tensor.into_values().unwrap();
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            let deviation =
                (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            let expected = match shape[..] {
                [outputs, _, height, width] => (2.0 / (outputs * height * width) as f64).sqrt(),
                _ if name.starts_with("fc.") => (1.0 / 512f64 / 3.0).sqrt(),
                _ => 0.0,
            };
            // 11 biases give a poor estimate of a deviation.
            let slack = if values.len() < 100 { 0.5 } else { 0.05 };
            assert!((deviation - expected).abs() <= slack * expected, "{name}: {deviation} for {expected}");
            let constant = if name.ends_with("running_var") || name.contains("bn") && name.ends_with("weight") {
                1.0
            } else {
                0.0
            };
            if expected == 0.0 && !name.contains("downsample") {
                assert_eq!(mean, constant, "{name}");
            }
        }
    }
}
