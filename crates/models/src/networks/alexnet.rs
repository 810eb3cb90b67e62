//! AlexNet in torchvision's layout ("One weird trick", without local response norms): five convolutions, three overlapping max
//! pools, an average pool to 6×6, and three linear layers.
//!
//! Conventions and differences from the peers:
//! * One input channel by default (`channels`); imported weights for three channels are folded into one.
//! * Initial weights are PyTorch's defaults, as in torchvision.
//! * Parameters as PyTorch counts them: 61,100,840 with three channels and 1000 classes.

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

/// AlexNet: torchvision's layout. Its own classifier has 55 million parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alexnet {
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

impl Default for Alexnet {
    fn default() -> Self {
        Alexnet { channels: 1, head: HeadKind::Linear, dropout: 0.5 }
    }
}

const LAST_FILTERS: usize = 256;
/// The first layer of the second group: the three convolutions after the second pool.
const SECOND_GROUP: usize = 6;

impl Alexnet {
    fn with_plan<R>(&self, n_classes: usize, act: impl FnOnce(Plan) -> R) -> R {
        let classifier = [
            LayerSpec::Dropout(self.dropout),
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            LayerSpec::Dropout(self.dropout),
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            LayerSpec::Linear(n_classes),
        ];
        act(Plan {
            channels: self.channels,
            features: &convolutions(),
            filters: LAST_FILTERS,
            pooled: [6, 6],
            classifier: &classifier,
            head: self.head,
        })
    }
}

impl NetworkKind for Alexnet {
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
        Ok(init::initialize(Network::Alexnet(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        sequential::group_of(path, SECOND_GROUP)
    }
}

fn convolutions() -> Vec<LayerSpec> {
    let pool = LayerSpec::MaxPool(Window::square(3, 2, 0));
    vec![
        LayerSpec::Conv(64, Window::square(11, 4, 2)),
        LayerSpec::Relu,
        pool,
        LayerSpec::Conv(192, Window::square(5, 1, 2)),
        LayerSpec::Relu,
        pool,
        LayerSpec::Conv(384, Window::square(3, 1, 1)),
        LayerSpec::Relu,
        LayerSpec::Conv(256, Window::square(3, 1, 1)),
        LayerSpec::Relu,
        LayerSpec::Conv(LAST_FILTERS, Window::square(3, 1, 1)),
        LayerSpec::Relu,
        pool,
    ]
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::torch_default(name, fans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_torchvision() {
        let input = InputShape { channels: 1, height: 96, width: 156 };
        let count = |channels, n_classes| -> u64 {
            let net = Alexnet { channels, ..Default::default() };
            net.layers(input, n_classes).unwrap().iter().map(|row| row.parameters).sum()
        };
        assert_eq!(count(3, 1000), 61_100_840);
        assert_eq!(count(1, 11), 61_100_840 - 2 * 64 * 121 - 989 * 4097);
    }

    #[test]
    fn an_image_that_is_too_small_for_three_pools_is_refused() {
        let layers = |height, width| Alexnet::default().layers(InputShape { channels: 1, height, width }, 11);
        assert!(layers(63, 63).is_ok());
        let error = layers(62, 63).unwrap_err().to_string();
        assert!(error.contains("62 × 63") && error.contains("`features.12`"), "{error}");
    }
}
