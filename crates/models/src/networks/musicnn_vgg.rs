//! The VGG of the PyPI package `musicnn`: five 3×3 convolutions with a ReLU, a batch norm, a max pool and dropout each, and a linear
//! classifier. `docs/musicnn_weights.py` converts the trained weights of the package.
//!
//! Conventions and differences from the peers:
//! * Made for 96 mel bands of 16 kHz audio, compressed as log10(1 + 10,000 x), in windows of 187 frames (3 s). Other images are
//!   accepted: the last map is averaged to 1 × 2, the size that it has for 96 × 187.
//! * The batch norms have PyTorch's epsilon, 1e-5; TensorFlow's is 1e-3. The conversion adds the difference to the variances.
//! * The first pool takes four frames and one band, and moves by two of each, as in the package.
//! * Parameters as PyTorch counts them: 605,748 for 50 tags.
//! * Initial weights are TensorFlow's: Glorot uniform, biases zero. The last sigmoid is part of the loss.

use anyhow::Result;
use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::head::{self, HeadKind};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::Window;
use super::sequential::{self, LayerSpec, Plan};
use super::{InputShape, LayerRow, Network, NetworkKind};
use timbre_core::seed::Seed;

pub use super::sequential::Net;

/// The VGG of the package musicnn: a network for music tagging, made for 96 mel bands in windows of 187 frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MusicnnVgg {
    /// Filters of each convolution. Default: 128.
    #[schemars(range(min = 1, max = 4096))]
    pub filters: usize,
    /// The head: "linear" (the network's own layer), "concat" (fastai's), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for MusicnnVgg {
    fn default() -> Self {
        MusicnnVgg { filters: 128, head: HeadKind::Linear }
    }
}

const POOL_DROPOUT: f64 = 0.25;
const LAST_DROPOUT: f64 = 0.5;
/// The first layer of the second group: the last two convolutions.
const SECOND_GROUP: usize = 16;

impl MusicnnVgg {
    fn with_plan<R>(&self, n_classes: usize, act: impl FnOnce(Plan) -> R) -> R {
        let first = Window { kernel: [1, 4], stride: [2, 2], padding: [0, 0] };
        let pools = [first, Window::adjacent([2, 2]), Window::adjacent([2, 2]), Window::adjacent([2, 2])];
        let mut features = vec![LayerSpec::Norm];
        for pool in pools.into_iter().chain([Window::adjacent([4, 4])]) {
            let conv = LayerSpec::Conv(self.filters, Window::square(3, 1, 1));
            features.extend([conv, LayerSpec::Relu, LayerSpec::Norm, LayerSpec::MaxPool(pool)]);
            features.push(LayerSpec::Dropout(POOL_DROPOUT));
        }
        // The last pool is followed by the dropout of the classifier.
        features.pop();
        let classifier = [LayerSpec::Dropout(LAST_DROPOUT), LayerSpec::Linear(n_classes)];
        act(Plan {
            channels: 1,
            features: &features,
            filters: self.filters,
            pooled: [1, 2],
            classifier: &classifier,
            head: self.head,
        })
    }
}

impl NetworkKind for MusicnnVgg {
    fn version(&self) -> u32 {
        1
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        self.with_plan(n_classes, |plan| plan.rows(input, n_classes))
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let net = self.with_plan(n_classes, |plan| plan.build(n_classes, device));
        Ok(init::initialize(Network::MusicnnVgg(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        sequential::group_of(path, SECOND_GROUP)
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::glorot_uniform(name, fans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_published_network() {
        let input = InputShape { channels: 1, height: 96, width: 187 };
        let rows = MusicnnVgg::default().layers(input, 50).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), 605_748);
        let last = rows.iter().rfind(|row| row.name.starts_with("features")).unwrap();
        assert_eq!(last.output, [128, 1, 2]);
    }
}
