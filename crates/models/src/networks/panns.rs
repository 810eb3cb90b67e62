//! Cnn6, Cnn10 and Cnn14 of PANNs (Kong et al.): a batch norm over the bands, blocks of convolutions with batch norm, ReLU and an
//! average pool, pooling over the clip, and two linear layers. Their weights trained on AudioSet are read unchanged (`init`).
//!
//! Conventions and differences from the peers:
//! * Made for 64 mel bands in decibels of 32 kHz audio (`n_fft` 1024, hop 320, 50 to 14,000 Hz); every image that is large enough for
//!   the pools is accepted.
//! * Convolutions see time × bands, as the published weights do: the image is transposed first.
//! * Names and layouts of the tensors are those of the published files; their front end (`spectrogram_extractor`, `logmel_extractor`)
//!   is skipped.
//! * Parameters as PyTorch counts them, for 527 classes: Cnn6 4,837,455, Cnn10 5,219,279, Cnn14 80,753,615.
//! * Initial weights are those of the published code: Glorot uniform, biases zero. The last sigmoid is part of the loss.

use anyhow::Result;
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
use super::layers::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Linear, LinearConfig, average_pool};
use super::onnx::{Graph, Value};
use super::sequential::padding_of;
use super::{InputShape, LayerRow, Network, NetworkKind};
use timbre_core::seed::Seed;

/// The convolutions of a network.
struct Blocks {
    count: usize,
    /// The side of a kernel, and the convolutions of a block.
    kernel: usize,
    convolutions: usize,
    /// The blocks that end with a pool of 2×2.
    pooled: usize,
}

/// Declares a network of this form and its spec.
macro_rules! panns {
    ($(#[$meta:meta])* $Spec:ident, $blocks:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// Filters of the first block; each block has twice as many as the one before. The published weights have 64.
            /// Default: 64.
            #[schemars(range(min = 1, max = 1024))]
            pub filters: usize,
            /// The head: "linear" (the network's own two layers), "concat" (fastai's), "per_class" or "attention".
            /// Default: "linear".
            pub head: HeadKind,
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec { filters: 64, head: HeadKind::Linear }
            }
        }

        impl NetworkKind for $Spec {
            fn version(&self) -> u32 {
                1
            }

            fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
                layers($blocks, self.filters, self.head, input, n_classes)
            }

            fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
                self.layers(input, n_classes)?;
                let net = Net::new($blocks, self.filters, self.head, input.height, n_classes, device);
                Ok(init::initialize(Network::$Spec(net), seed, initial_weights))
            }

            fn groups(&self) -> usize {
                3
            }

            fn group_of(&self, path: &str) -> usize {
                group_of(path, $blocks.count)
            }
        }
    };
}

panns! {
    /// Cnn6 of PANNs: four convolutions of 5×5; made for 64 mel bands of 32 kHz audio.
    Cnn6, Blocks { count: 4, kernel: 5, convolutions: 1, pooled: 4 }
}
panns! {
    /// Cnn10 of PANNs: eight convolutions of 3×3; made for 64 mel bands of 32 kHz audio.
    Cnn10, Blocks { count: 4, kernel: 3, convolutions: 2, pooled: 4 }
}
panns! {
    /// Cnn14 of PANNs: twelve convolutions of 3×3; made for 64 mel bands of 32 kHz audio.
    Cnn14, Blocks { count: 6, kernel: 3, convolutions: 2, pooled: 5 }
}

const BLOCK_DROPOUT: f64 = 0.2;
const HEAD_DROPOUT: f64 = 0.5;

/// The second half of the blocks is a group of its own.
fn group_of(path: &str, blocks: usize) -> usize {
    let number = path.strip_prefix("conv_block").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match number {
        Some(number) => usize::from(number > blocks / 2),
        None => 2 * usize::from(path.split('.').next() != Some("bn0")),
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::glorot_uniform(name, fans))
}

fn layers(
    blocks: Blocks,
    filters: usize,
    head: HeadKind,
    input: InputShape,
    n_classes: usize,
) -> Result<Vec<LayerRow>> {
    let mut table = LayerTable::new(input, 1)?;
    table.norm_of("bn0", input.height);
    table.shape = vec![1, input.width, input.height];
    for number in 0..blocks.count {
        let (name, filters) = (format!("conv_block{}", number + 1), filters << number);
        for conv in 1..=blocks.convolutions {
            table.conv(&format!("{name}.conv{conv}"), filters, window(blocks.kernel), false)?;
            table.norm(&format!("{name}.bn{conv}"));
        }
        if number < blocks.pooled {
            table.average_pool_by(&format!("{name}.pool"), Window::adjacent([2, 2]))?;
        }
    }
    // A head expects bands × frames.
    table.shape.swap(1, 2);
    let last = filters << (blocks.count - 1);
    head.rows(&mut table, n_classes, |table| {
        table.add("pool", "mean over bands, max and mean over time".to_owned(), vec![last], 0, 0);
        table.linear("fc1", last, true);
        table.linear("fc_audioset", n_classes, true);
    });
    Ok(table.into_rows())
}

fn window(kernel: usize) -> Window {
    Window::square(kernel, 1, kernel / 2)
}

#[derive(Module, Debug)]
pub struct Net {
    bn0: BatchNorm,
    conv_block1: Block,
    conv_block2: Block,
    conv_block3: Block,
    conv_block4: Block,
    conv_block5: Option<Block>,
    conv_block6: Option<Block>,
    dropout: Dropout,
    output: Output<Classifier>,
}

#[derive(Module, Debug)]
pub struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Option<Conv2d>,
    bn2: Option<BatchNorm>,
    pool: usize,
}

#[derive(Module, Debug)]
pub struct Classifier {
    dropout: Dropout,
    fc1: Linear,
    fc_audioset: Linear,
}

impl Net {
    fn new(
        blocks: Blocks,
        filters: usize,
        head: HeadKind,
        bands: usize,
        n_classes: usize,
        device: &Device,
    ) -> Net {
        let conv = |from, to| {
            let config = Conv2dConfig::new([from, to], [blocks.kernel; 2]).with_bias(false);
            config.with_padding(padding_of(window(blocks.kernel))).init(device)
        };
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        let block = |number: usize| {
            let to = filters << number;
            let from = if number == 0 { 1 } else { to / 2 };
            let second = blocks.convolutions == 2;
            Block {
                conv1: conv(from, to),
                bn1: norm(to),
                conv2: second.then(|| conv(to, to)),
                bn2: second.then(|| norm(to)),
                pool: if number < blocks.pooled { 2 } else { 1 },
            }
        };
        let last = filters << (blocks.count - 1);
        Net {
            bn0: norm(bands),
            conv_block1: block(0),
            conv_block2: block(1),
            conv_block3: block(2),
            conv_block4: block(3),
            conv_block5: (blocks.count > 4).then(|| block(4)),
            conv_block6: (blocks.count > 5).then(|| block(5)),
            dropout: Dropout::new(BLOCK_DROPOUT),
            output: Output::new(head, last, n_classes, device, || Classifier {
                dropout: Dropout::new(HEAD_DROPOUT),
                fc1: LinearConfig::new(last, last).init(device),
                fc_audioset: LinearConfig::new(last, n_classes).init(device),
            }),
        }
    }

    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = self.map(images, pass);
        match &self.output {
            Output::Own(own) => {
                own.fc_audioset.forward(own.dropout.forward(own.penultimate(map, pass), pass))
            }
            Output::Head(head) => head.forward(map.swap_dims(2, 3), pass),
        }
    }

    /// The output of the first linear layer, `[clips, filters of the last block]`.
    pub fn penultimate(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        match &self.output {
            Output::Own(own) => Some(own.penultimate(self.map(images, None), None)),
            Output::Head(_) => None,
        }
    }

    /// The last feature map, `[clips, channels, frames, bands]`.
    fn map(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<4> {
        let [clips, _, bands, frames] = images.dims();
        let x = self.bn0.forward(images.reshape([clips, bands, frames, 1]));
        let x = x.reshape([clips, 1, bands, frames]).swap_dims(2, 3);
        let first = [&self.conv_block1, &self.conv_block2, &self.conv_block3, &self.conv_block4];
        let blocks = first.into_iter().chain(&self.conv_block5).chain(&self.conv_block6);
        blocks.fold(x, |x, block| self.dropout.forward(block.forward(x), pass))
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let (bands, frames) = (images.shape[2], images.shape[3]);
        let x = graph.reshape(images, &[bands, frames, 1]);
        let x = self.bn0.graph(graph, &x);
        let x = graph.reshape(&x, &[1, bands, frames]);
        let x = graph.swap(&x, 2, 3);
        let first = [&self.conv_block1, &self.conv_block2, &self.conv_block3, &self.conv_block4];
        let blocks = first.into_iter().chain(&self.conv_block5).chain(&self.conv_block6);
        let map = blocks.fold(x, |x, block| block.graph(graph, &x));
        match &self.output {
            Output::Own(own) => {
                let x = graph.reduce("ReduceMean", &map, &[3]);
                let pooled = ["ReduceMax", "ReduceMean"].map(|operator| graph.reduce(operator, &x, &[2]));
                let x = graph.add(&pooled[0], &pooled[1]);
                let x = graph.linear(&own.fc1, &x);
                let x = graph.relu(&x);
                graph.linear(&own.fc_audioset, &x)
            }
            Output::Head(head) => {
                let map = graph.swap(&map, 2, 3);
                head.graph(graph, &map)
            }
        }
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.bn1.forward_relu(self.conv1.forward(x));
        if let (Some(conv), Some(norm)) = (&self.conv2, &self.bn2) {
            x = norm.forward_relu(conv.forward(x));
        }
        if self.pool > 1 { average_pool(x, [self.pool; 2]) } else { x }
    }

    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let x = self.conv1.graph(graph, x);
        let mut x = self.bn1.graph_relu(graph, &x);
        if let (Some(conv), Some(norm)) = (&self.conv2, &self.bn2) {
            x = conv.graph(graph, &x);
            x = norm.graph_relu(graph, &x);
        }
        let size = [self.pool; 2];
        if self.pool > 1 { graph.pool("AveragePool", &x, &size, &size, &[[0, 0]; 2]) } else { x }
    }
}

impl Classifier {
    fn penultimate(&self, map: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let [clips, channels, frames, _] = map.dims();
        let x = map.mean_dim(3).reshape([clips, channels, frames]);
        let x = x.clone().max_dim(2) + x.mean_dim(2);
        relu(self.fc1.forward(self.dropout.forward(x.reshape([clips, channels]), pass)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_published_networks() {
        let input = InputShape { channels: 1, height: 64, width: 1001 };
        let count = |rows: Vec<LayerRow>| rows.iter().map(|row| row.parameters).sum::<u64>();
        assert_eq!(count(Cnn6::default().layers(input, 527).unwrap()), 4_837_455);
        assert_eq!(count(Cnn10::default().layers(input, 527).unwrap()), 5_219_279);
        assert_eq!(count(Cnn14::default().layers(input, 527).unwrap()), 80_753_615);
    }

    #[test]
    fn an_image_that_is_too_small_for_the_pools_is_refused() {
        let layers = |height, width| Cnn14::default().layers(InputShape { channels: 1, height, width }, 5);
        assert!(layers(32, 32).is_ok());
        let error = layers(64, 31).unwrap_err().to_string();
        assert!(error.contains("64 × 31") && error.contains("conv_block5"), "{error}");
    }
}
