//! A small network that a CPU trains in a minute or two: blocks of a 3×3 convolution, batch norm, ReLU and a 2×2 max pool.
//!
//! The default (16, 32, 64 and 128 filters) has 98,811 parameters for 11 classes. It is initialized like a ResNet.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::head::{self, Fc, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, MaxPool2d, MaxPool2dConfig, PaddingConfig2d};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use timbre_core::seed::Seed;

/// A small convolutional network: blocks of a 3×3 convolution, batch norm, ReLU and a 2×2 max pool, then global average
/// pooling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CnnSmall {
    /// Filters of each block. Default: [16, 32, 64, 128].
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 4096)))]
    pub filters: Vec<usize>,
    /// Dropout before the last layer of the head "linear", 0 to below 1. Default: 0.2.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// The head: "linear", "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for CnnSmall {
    fn default() -> Self {
        CnnSmall { filters: vec![16, 32, 64, 128], dropout: 0.2, head: HeadKind::Linear }
    }
}

impl NetworkKind for CnnSmall {
    fn version(&self) -> u32 {
        1
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = LayerTable::new(input, input.channels)?;
        for (number, &filters) in self.filters.iter().enumerate() {
            table.conv(&format!("blocks.{number}.conv"), filters, Window::square(3, 1, 1), false)?;
            table.norm(&format!("blocks.{number}.bn"));
            table.max_pool(&format!("blocks.{number}.pool"), Window::adjacent([2, 2]))?;
        }
        self.head.rows(&mut table, n_classes, |table| {
            table.average_pool("mean", [1, 1]);
            table.linear("fc", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let mut before = input.channels;
        let blocks = self.filters.iter().map(|&filters| {
            let conv = Conv2dConfig::new([before, filters], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
                .init(device);
            before = filters;
            Block { conv, bn: BatchNormConfig::new(filters).init(device) }
        });
        let blocks = blocks.collect();
        let net = Net {
            blocks,
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dropout: Dropout::new(self.dropout),
            output: Output::new(self.head, before, n_classes, device, || Fc::new(before, n_classes, device)),
        };
        Ok(init::initialize(Network::CnnSmall(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        2
    }

    fn group_of(&self, path: &str) -> usize {
        usize::from(head::is_head(path))
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| {
        let rule = if name.starts_with("fc.") { init::torch_default } else { init::he_fan_out };
        rule(name, fans)
    })
}

#[derive(Module, Debug)]
pub struct Block {
    conv: Conv2d,
    bn: BatchNorm,
}

#[derive(Module, Debug)]
pub struct Net {
    blocks: Vec<Block>,
    pool: MaxPool2d,
    dropout: Dropout,
    output: Output<Fc>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map =
            self.blocks.iter().fold(images, |x, block| self.pool.forward(block.bn.forward_relu(block.conv.forward(x))));
        match &self.output {
            Output::Own(own) => own.fc.forward(self.dropout.forward(head::mean(map), pass)),
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let map = self.blocks.iter().fold(images.clone(), |x, block| {
            let x = block.conv.graph(graph, &x);
            let x = block.bn.graph_relu(graph, &x);
            self.pool.graph(graph, &x)
        });
        match &self.output {
            Output::Own(own) => own.graph_of_mean(graph, &map),
            Output::Head(head) => head.graph(graph, &map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_98_811_parameters_for_11_classes() {
        let input = InputShape { channels: 1, height: 96, width: 130 };
        let rows = CnnSmall::default().layers(input, 11).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), 98_811);
    }

    #[test]
    fn an_image_that_is_too_small_for_the_pools_is_refused() {
        let layers = |height, width| CnnSmall::default().layers(InputShape { channels: 1, height, width }, 3);
        assert!(layers(16, 16).is_ok());
        let error = layers(20, 15).unwrap_err().to_string();
        assert!(error.contains("20 × 15") && error.contains("`blocks.3.pool`"), "{error}");
    }
}
