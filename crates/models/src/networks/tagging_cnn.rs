//! The convolutional network of music-auto_tagging-keras (Choi): a batch norm over the bands, five 3×3 convolutions with batch
//! norm, ELU and a max pool each, and a linear classifier.
//!
//! Conventions and differences from the peers:
//! * As in the code of that project: 64, 128, 128, 128 and 64 filters and pools of 2×4, 2×4, 2×4, 3×5 and 4×4 reduce 96 × 1366 to
//!   one value per filter. Its README, and the weights it offers, describe a larger network (865,950).
//! * 449,138 parameters for 50 classes and 96 × 1366 as Keras counts them, with the means and variances of the batch norms;
//!   447,922 without them, as PyTorch counts.
//! * The momentum of the running means is a tenth per step, as in PyTorch; Keras's hundredth needs more steps than small sets have.
//! * Initial weights are Keras's: Glorot uniform, biases zero. The last sigmoid is part of the loss.
//! * Every input that is large enough for the pools is accepted; the last layer then has more inputs.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::activation::elu;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::head::{self, Fc, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, MaxPool2d, MaxPool2dConfig,
};
use super::sequential::padding_of;
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::{Optimizer, Schedule, Training};
use timbre_core::seed::Seed;

/// Choi's convolutional network for music tagging; made for mel spectrograms of 96 × 1366.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaggingCnn {
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

const BLOCKS: [BlockSpec; 5] = [
    BlockSpec { filters: 64, pool: [2, 4] },
    BlockSpec { filters: 128, pool: [2, 4] },
    BlockSpec { filters: 128, pool: [2, 4] },
    BlockSpec { filters: 128, pool: [3, 5] },
    BlockSpec { filters: 64, pool: [4, 4] },
];

impl NetworkKind for TaggingCnn {
    fn version(&self) -> u32 {
        1
    }

    fn training_defaults() -> Training {
        Training { optimizer: Optimizer::Adam, schedule: Schedule::Constant, weight_decay: 0.0, ..Training::default() }
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = LayerTable::new(input, 1)?;
        backbone_rows(&BLOCKS, &mut table)?;
        self.head.rows(&mut table, n_classes, |table| table.linear("fc", n_classes, true));
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        let mut table = LayerTable::new(input, 1)?;
        backbone_rows(&BLOCKS, &mut table)?;
        let (filters, values) = (table.shape[0], table.shape.iter().product());
        let net = Net {
            features: Backbone::new(&BLOCKS, input.height, 0.0, device),
            output: Output::new(self.head, filters, n_classes, device, || Fc::new(values, n_classes, device)),
        };
        Ok(init::initialize(Network::TaggingCnn(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        2
    }

    fn group_of(&self, path: &str) -> usize {
        usize::from(head::is_head(path))
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::glorot_uniform(name, fans))
}

#[derive(Module, Debug)]
pub struct Net {
    features: Backbone,
    output: Output<Fc>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = self.features.forward(images, pass);
        match &self.output {
            Output::Own(own) => own.fc.forward(map.flatten(1, 3)),
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let map = self.features.graph(graph, images);
        match &self.output {
            Output::Own(own) => {
                let rows = graph.flatten(&map);
                graph.linear(&own.fc, &rows)
            }
            Output::Head(head) => head.graph(graph, &map),
        }
    }
}

/// A convolution and the max pool after it.
pub struct BlockSpec {
    pub filters: usize,
    pub pool: [usize; 2],
}

/// The convolutional part of both tagging networks: a batch norm over the bands, then blocks.
#[derive(Module, Debug)]
pub struct Backbone {
    bn0: BatchNorm,
    blocks: Vec<Block>,
    dropout: Dropout,
}

#[derive(Module, Debug)]
pub struct Block {
    conv: Conv2d,
    bn: BatchNorm,
    pool: MaxPool2d,
}

/// The epsilon of Keras's batch norms.
const EPSILON: f64 = 1e-3;

/// Adds the rows of a [`Backbone`] to the layer table.
pub fn backbone_rows(plans: &[BlockSpec], table: &mut LayerTable) -> Result<()> {
    table.norm_of("features.bn0", table.shape[1]);
    for (number, plan) in plans.iter().enumerate() {
        table.conv(&format!("features.blocks.{number}.conv"), plan.filters, Window::square(3, 1, 1), true)?;
        table.norm(&format!("features.blocks.{number}.bn"));
        table.max_pool(&format!("features.blocks.{number}.pool"), Window::adjacent(plan.pool))?;
    }
    Ok(())
}

impl Backbone {
    pub fn new(plans: &[BlockSpec], bands: usize, dropout: f64, device: &Device) -> Backbone {
        let norm = |features| BatchNormConfig::new(features).with_epsilon(EPSILON).init(device);
        let mut before = 1;
        let blocks = plans.iter().map(|plan| {
            let channels = [std::mem::replace(&mut before, plan.filters), plan.filters];
            let conv = Conv2dConfig::new(channels, [3, 3]).with_padding(padding_of(Window::square(3, 1, 1)));
            let pool = MaxPool2dConfig::new(plan.pool).with_strides(plan.pool).init();
            Block { conv: conv.init(device), bn: norm(plan.filters), pool }
        });
        Backbone { blocks: blocks.collect(), bn0: norm(bands), dropout: Dropout::new(dropout) }
    }

    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<4> {
        let by_band = self.bn0.forward(images.swap_dims(1, 2)).swap_dims(1, 2);
        self.blocks.iter().fold(by_band, |x, block| {
            let x = elu(block.bn.forward(block.conv.forward(x)), 1.0);
            self.dropout.forward(block.pool.forward(x), pass)
        })
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let by_band = graph.swap(images, 1, 2);
        let by_band = self.bn0.graph(graph, &by_band);
        let x = graph.swap(&by_band, 1, 2);
        self.blocks.iter().fold(x, |x, block| {
            let x = block.conv.graph(graph, &x);
            let x = block.bn.graph(graph, &x);
            // Its default is 1, as here.
            let x = graph.each("Elu", &x);
            block.pool.graph(graph, &x)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_those_of_keras_and_of_pytorch() {
        let input = InputShape { channels: 1, height: 96, width: 1366 };
        let rows = TaggingCnn::default().layers(input, 50).unwrap();
        let trained: u64 = rows.iter().map(|row| row.parameters).sum();
        let statistics: u64 = rows.iter().map(|row| row.statistics).sum();
        assert_eq!(trained + statistics, 449_138);
        assert_eq!(trained, 447_922);
    }

    #[test]
    fn an_image_that_is_too_small_for_the_pools_is_refused() {
        let layers = |height, width| TaggingCnn::default().layers(InputShape { channels: 1, height, width }, 5);
        assert!(layers(96, 1280).is_ok());
        assert!(layers(128, 2000).is_ok());
        for (height, width) in [(95, 1366), (96, 1279)] {
            let error = layers(height, width).unwrap_err().to_string();
            assert!(error.contains(&format!("{height} × {width}")) && error.contains("longer clips"), "{error}");
        }
    }
}
