//! A small network that a CPU trains in a minute or two.

use anyhow::{Result, ensure};
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};

use super::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Dropout, DropoutConfig, Linear, LinearConfig, MaxPool2d,
    MaxPool2dConfig, PaddingConfig2d,
};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::models::FeatureChoice;
use crate::models::training::{Training, network_spec};
use crate::seed::Seed;

network_spec! {
    /// A small convolutional network: blocks of a 3×3 convolution, batch norm, ReLU and a 2×2 pool, then the mean over the image.
    pub struct CnnSmall {
        /// Filters of each block. Default: [16, 32, 64, 128].
        #[schemars(length(min = 1, max = 8))]
        pub filters: Vec<usize> = vec![16, 32, 64, 128],
        /// Dropout before the last layer, 0 to below 1. Default: 0.2.
        #[schemars(range(min = 0.0, max = 0.99))]
        pub dropout: f64 = 0.2,
    } defaults {
        epochs: 20,
    }
}

impl NetworkKind for CnnSmall {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn training(&self) -> Training {
        self.training()
    }

    fn layers(&self, input: InputShape, _n_classes: usize) -> Result<Vec<LayerRow>> {
        let least = 1usize << self.filters.len();
        ensure!(
            input.height >= least && input.width >= least,
            "{} blocks halve an image {} times: it must have {least} rows and columns, not {} × {}",
            self.filters.len(),
            self.filters.len(),
            input.height,
            input.width
        );
        Ok(Vec::new())
    }

    fn build(&self, input: InputShape, n_classes: usize, _seed: Seed, device: &Device) -> Result<Network> {
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
        Ok(Network::CnnSmall(Net {
            blocks,
            pool: MaxPool2dConfig::new([2, 2]).init(),
            dropout: DropoutConfig::new(self.dropout).init(),
            fc: LinearConfig::new(before, n_classes).init(device),
        }))
    }

    fn groups(&self) -> usize {
        2
    }

    fn group_of(&self, path: &str) -> usize {
        usize::from(path.starts_with("fc"))
    }
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
    fc: Linear,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for block in &self.blocks {
            x = self.pool.forward(relu(block.bn.forward(block.conv.forward(x))));
        }
        let [clips, channels, ..] = x.dims();
        let x = x.reshape([clips as i32, channels as i32, -1]).mean_dim(2).squeeze_dim::<2>(2);
        self.fc.forward(self.dropout.forward(x))
    }
}
