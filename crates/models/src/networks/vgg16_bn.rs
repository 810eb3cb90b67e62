//! VGG16 with batch norms in torchvision's layout: thirteen 3×3 convolutions in five blocks, each followed by a 2×2 max pool,
//! an average pool to 7×7, and three linear layers.
//!
//! Conventions and differences from the peers:
//! * One input channel by default (`channels`); imported weights for three channels are folded into one.
//! * Initial weights follow torchvision's distributions: He's normal (fan-out) for convolutions, a normal with standard deviation
//!   0.01 for linear layers, biases zero.
//! * Parameters as PyTorch counts them: 138,365,992 with three channels and 1000 classes. 89 % of them are in the classifier;
//!   the other heads omit it.

use anyhow::Result;
use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::head::{self, HeadKind};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::Window;
use super::sequential::{self, LayerSpec, Plan};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::Training;
use timbre_core::seed::Seed;

pub use super::sequential::Net;

/// VGG16 with batch norms: torchvision's layout. Large: its own classifier alone has 120 million parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vgg16Bn {
    /// Input channels; a one-channel image is repeated. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub channels: usize,
    /// The head: "linear" (the network's own three layers), "concat" (fastai's), "per_class" or "attention".
    /// Default: "linear".
    pub head: HeadKind,
    /// Dropout in the head "linear", 0 to below 1. Default: 0.5.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
}

impl Default for Vgg16Bn {
    fn default() -> Self {
        Vgg16Bn { channels: 1, head: HeadKind::Linear, dropout: 0.5 }
    }
}

const LAST_FILTERS: usize = 512;
/// The first layer of the second group: the last two blocks, where fastai also cuts VGG's body.
const SECOND_GROUP: usize = 24;
/// Blocks of convolutions: how many, and how many filters.
const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, LAST_FILTERS)];

impl Vgg16Bn {
    fn with_plan<R>(&self, n_classes: usize, act: impl FnOnce(Plan) -> R) -> R {
        let classifier = [
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            LayerSpec::Dropout(self.dropout),
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            LayerSpec::Dropout(self.dropout),
            LayerSpec::Linear(n_classes),
        ];
        act(Plan {
            channels: self.channels,
            features: &convolutions(),
            filters: LAST_FILTERS,
            pooled: [7, 7],
            classifier: &classifier,
            head: self.head,
        })
    }
}

impl NetworkKind for Vgg16Bn {
    fn version(&self) -> u32 {
        1
    }

    fn training_defaults() -> Training {
        Training { batch_size: 16, learning_rate: 1e-4, ..Training::default() }
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        self.with_plan(n_classes, |plan| plan.rows(input, n_classes))
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let net = self.with_plan(n_classes, |plan| plan.build(n_classes, device));
        Ok(init::initialize(Network::Vgg16Bn(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        sequential::group_of(path, SECOND_GROUP)
    }
}

fn convolutions() -> Vec<LayerSpec> {
    let mut layers = Vec::new();
    for (count, filters) in BLOCKS {
        for _ in 0..count {
            layers.extend([LayerSpec::Conv(filters, Window::square(3, 1, 1)), LayerSpec::Norm, LayerSpec::Relu]);
        }
        layers.push(LayerSpec::MaxPool(Window::adjacent([2, 2])));
    }
    layers
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| match name.starts_with("classifier.") {
        true if name.ends_with(".weight") => InitDistribution::Normal(0.01),
        _ => init::he_fan_out(name, fans),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_torchvision() {
        let input = InputShape { channels: 1, height: 96, width: 156 };
        let count = |channels, n_classes| -> u64 {
            let net = Vgg16Bn { channels, ..Default::default() };
            net.layers(input, n_classes).unwrap().iter().map(|row| row.parameters).sum()
        };
        assert_eq!(count(3, 1000), 138_365_992);
        assert_eq!(count(1, 1000), 138_365_992 - 2 * 64 * 9);
        assert_eq!(count(3, 11), 138_365_992 - 989 * 4097);
    }

    #[test]
    fn an_image_that_is_too_small_for_five_pools_is_refused() {
        let layers = |height, width| Vgg16Bn::default().layers(InputShape { channels: 1, height, width }, 11);
        assert!(layers(32, 32).is_ok());
        let error = layers(31, 156).unwrap_err().to_string();
        assert!(error.contains("31 × 156") && error.contains("`features.43`"), "{error}");
    }
}
