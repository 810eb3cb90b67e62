//! AlexNet, as torchvision has it ("One weird trick", without local response norms): five convolutions, three overlapping pools,
//! an average pool to 6×6, and three linear layers.
//!
//! Conventions and differences from the peers:
//! * One input channel unless `channels` says otherwise; weights for three are folded into one when they are imported.
//! * First weights are PyTorch's defaults, as in torchvision.
//! * Parameters as PyTorch counts them: 61,100,840 with three channels and 1000 classes.

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
    /// AlexNet: torchvision's layout. Its own classifier has 55 million parameters.
    pub struct Alexnet {
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
const POOLED: [usize; 2] = [6, 6];
const LAST_FILTERS: usize = 256;

impl NetworkKind for Alexnet {
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
        Ok(init::fill(Network::Alexnet(net), seed, initial_weights))
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

/// The three convolutions behind the second pool.
const SECOND_GROUP: usize = 6;

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

impl Alexnet {
    fn classifier(&self, n_classes: usize) -> Vec<LayerSpec> {
        let drop = LayerSpec::Dropout(self.dropout);
        vec![
            drop,
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            drop,
            LayerSpec::Linear(4096),
            LayerSpec::Relu,
            LayerSpec::Linear(n_classes),
        ]
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::torch_default(name, fans))
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
            let net = Alexnet { channels, ..Default::default() };
            net.layers(input, n_classes).unwrap().iter().map(|row| row.parameters).sum()
        };
        assert_eq!(count(3, 1000), 61_100_840);
        assert_eq!(count(1, 11), 61_100_840 - 2 * 64 * 121 - 989 * 4097);
    }

    #[test]
    fn an_image_that_three_pools_leave_nothing_of_is_refused_with_a_sentence() {
        let layers = |height, width| Alexnet::default().layers(InputShape { channels: 1, height, width }, 11);
        assert!(layers(63, 63).is_ok());
        let error = layers(62, 63).unwrap_err().to_string();
        assert!(error.contains("62 × 63") && error.contains("`features.12`"), "{error}");
    }
}
