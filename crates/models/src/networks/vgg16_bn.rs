//! VGG16 with batch norms, as torchvision has it: thirteen 3×3 convolutions in five blocks, each ended by a 2×2 pool, an average
//! pool to 7×7, and three linear layers.
//!
//! Conventions and differences from the peers:
//! * One input channel unless `channels` says otherwise; weights for three are folded into one when they are imported.
//! * First weights are torchvision's distributions: He's normal over the outputs for convolutions, a normal of deviation 0.01 for
//!   linear layers, biases zero.
//! * Parameters as PyTorch counts them: 138,365,992 with three channels and 1000 classes. 89 % of them stand in the classifier;
//!   the other heads leave it away.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::head::{self, Head, HeadKind};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use super::sequential::{self, Layer, LayerSpec};
use super::{InputShape, LayerRow, Network, NetworkKind, repeat_channels};
use crate::training::hyperparameters::network_spec;
use timbre_core::seed::Seed;

network_spec! {
    /// VGG16 with batch norms: torchvision's layout. Large: its own classifier alone has 120 million parameters.
    pub struct Vgg16Bn {
        /// Input channels; a one-channel image is repeated. Default: 1.
        #[schemars(range(min = 1, max = 64))]
        pub channels: usize = 1,
        /// What decides: "linear" (its own three layers), "concat" (fastai's), "per_class" or "attention". Default: "linear".
        pub head: HeadKind = HeadKind::Linear,
        /// Dropout in the head "linear", 0 to below 1. Default: 0.5.
        #[schemars(range(min = 0.0, max = 0.99))]
        pub dropout: f64 = 0.5,
    } defaults {
        batch_size: 16,
        learning_rate: 1e-4,
    }
}

/// The image that the classifier looks at, whatever the size of the input.
const POOLED: [usize; 2] = [7, 7];
const LAST_FILTERS: usize = 512;

impl NetworkKind for Vgg16Bn {
    fn version(&self) -> u32 {
        1
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = LayerTable::new(input, self.channels)?;
        sequential::rows(&convolutions(), "features", &mut table)?;
        self.head.rows(&mut table, n_classes, |table| {
            table.average_pool("avgpool", POOLED);
            sequential::rows(&self.classifier(n_classes), "classifier", table)
                .expect("no window slides in a classifier");
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        self.layers(input, n_classes)?;
        let own = if self.head == HeadKind::Linear { self.classifier(n_classes) } else { Vec::new() };
        let net = Net {
            channels: self.channels,
            features: sequential::build(&convolutions(), self.channels, device),
            avgpool: AdaptiveAvgPool2dConfig::new(POOLED).init(),
            classifier: sequential::build(&own, LAST_FILTERS * POOLED[0] * POOLED[1], device),
            head: self.head.build(LAST_FILTERS, n_classes, device),
        };
        Ok(init::fill(Network::Vgg16Bn(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        if head::is_head(path) {
            return 2;
        }
        let number = path.strip_prefix("features.").and_then(|rest| rest.split('.').next()?.parse().ok());
        usize::from(number.is_some_and(|number: usize| number >= SECOND_GROUP))
    }
}

/// The last two blocks: where fastai, too, cuts VGG's body.
const SECOND_GROUP: usize = 24;

/// Blocks of convolutions: how many, and how many filters.
const BLOCKS: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];

fn convolutions() -> Vec<LayerSpec> {
    let mut plans = Vec::new();
    for (count, filters) in BLOCKS {
        for _ in 0..count {
            plans.extend([LayerSpec::Conv(filters, Window::square(3, 1, 1)), LayerSpec::Norm, LayerSpec::Relu]);
        }
        plans.push(LayerSpec::MaxPool(Window::apart([2, 2])));
    }
    plans
}

impl Vgg16Bn {
    fn classifier(&self, n_classes: usize) -> Vec<LayerSpec> {
        let drop = LayerSpec::Dropout(self.dropout);
        vec![
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            drop,
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            drop,
            LayerSpec::Linear(n_classes),
        ]
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| match name.starts_with("classifier.") {
        true if name.ends_with(".weight") => InitDistribution::Normal(0.01),
        _ => init::he_fan_out(name, fans),
    })
}

#[derive(Module, Debug)]
pub struct Net {
    channels: usize,
    features: Vec<Layer>,
    avgpool: AdaptiveAvgPool2d,
    /// Empty where there is another head.
    classifier: Vec<Layer>,
    head: Option<Head>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let map = sequential::forward(&self.features, repeat_channels(images, self.channels));
        match &self.head {
            None => sequential::classify(&self.classifier, self.avgpool.forward(map)),
            Some(head) => head.forward(map),
        }
    }
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
    fn an_image_that_five_pools_leave_nothing_of_is_refused_with_a_sentence() {
        let layers = |height, width| Vgg16Bn::default().layers(InputShape { channels: 1, height, width }, 11);
        assert!(layers(32, 32).is_ok());
        let error = layers(31, 156).unwrap_err().to_string();
        assert!(error.contains("31 × 156") && error.contains("`features.43`"), "{error}");
    }
}
