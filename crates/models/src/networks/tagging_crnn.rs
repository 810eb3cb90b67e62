//! The convolutional recurrent network of music-auto_tagging-keras (Choi): zeros before and after the clip, a batch norm over the
//! bands, four 3×3 convolutions with batch norm, ELU, a pool and dropout each, two recurrent layers over time, and one layer
//! that decides from the last state.
//!
//! Conventions and differences from the peers:
//! * As the code has it: 64, 128, 128 and 128 filters, pools of 2×2, 3×3, 4×4 and 4×4, 32 units in both recurrent layers
//!   (`gru.rs`: Keras 1's).
//! * 395,186 numbers for 50 classes and 96 × 1366 as Keras counts parameters, with the means and variances of the batch norms;
//!   394,098 without them, as PyTorch counts. The README of the project says 396,786.
//! * Running means follow by a tenth a step, as in PyTorch; Keras's hundredth needs more steps than small sets have.
//! * First weights are Keras's: Glorot's uniform, orthogonal recurrent weights, biases zero. The last sigmoid is part of the loss.
//! * Any input that the pools leave something of is taken; where bands are left, they go side by side into the recurrence.
//! * The heads "per_class" and "attention" see the states of all frames.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::gru::{self, Gru};
use super::head::{self, Head, HeadKind};
use super::init::{self, Fans, InitDistribution};
use super::layers::{Dropout, DropoutConfig, Linear, LinearConfig};
use super::rows::LayerTable;
use super::tagging_cnn::{Backbone, BlockSpec, backbone_rows};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::training::hyperparameters::{Optimizer, Schedule, network_spec};
use timbre_core::registry::Fault;
use timbre_core::seed::Seed;

network_spec! {
    /// Choi's convolutional recurrent network for music tagging; made for mel spectrograms of 96 × 1366.
    pub struct TaggingCrnn {
        /// Frames of zeros before and after the clip. Default: 37.
        #[schemars(range(min = 0, max = 10000))]
        pub padding: usize = 37,
        /// Dropout before the head, 0 to below 1. Default: 0.3.
        #[schemars(range(min = 0.0, max = 0.99))]
        pub dropout: f64 = 0.3,
        /// What decides: "linear", "per_class" or "attention". Default: "linear".
        pub head: HeadKind = HeadKind::Linear,
    } defaults {
        optimizer: Optimizer::Adam,
        schedule: Schedule::Constant,
        weight_decay: 0.0,
    }
}

const BLOCKS: [BlockSpec; 4] = [
    BlockSpec { filters: 64, pool: [2, 2] },
    BlockSpec { filters: 128, pool: [3, 3] },
    BlockSpec { filters: 128, pool: [4, 4] },
    BlockSpec { filters: 128, pool: [4, 4] },
];
const BLOCK_DROPOUT: f64 = 0.1;
const HIDDEN: usize = 32;

impl TaggingCrnn {
    /// Up to the sequence that the recurrence reads, `[frames, values]`.
    fn table(&self, input: InputShape) -> Result<LayerTable> {
        let mut table = LayerTable::new(input, 1)?;
        let padded = vec![1, input.height, input.width + 2 * self.padding];
        table.add("pad", format!("{} zero frames on both sides", self.padding), padded, 0, 0);
        backbone_rows(&BLOCKS, &mut table)?;
        table.shape = vec![table.shape[2], table.shape[0] * table.shape[1]];
        Ok(table)
    }
}

impl NetworkKind for TaggingCrnn {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self) -> Vec<Fault> {
        self.head.sequence_faults()
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = self.table(input)?;
        gru::row("gru1", HIDDEN, &mut table);
        gru::row("gru2", HIDDEN, &mut table);
        table.shape.reverse();
        self.head.rows(&mut table, n_classes, |table| {
            table.add("last", "the last state".to_owned(), vec![HIDDEN], 0, 0);
            table.linear("fc", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        let [_, values] = self.table(input)?.shape[..] else { unreachable!("a sequence") };
        let net = Net {
            padding: self.padding,
            features: Backbone::new(&BLOCKS, input.height, BLOCK_DROPOUT, device),
            gru1: Gru::new(values, HIDDEN, device),
            gru2: Gru::new(HIDDEN, HIDDEN, device),
            dropout: DropoutConfig::new(self.dropout).init(),
            fc: (self.head == HeadKind::Linear).then(|| LinearConfig::new(HIDDEN, n_classes).init(device)),
            head: self.head.build(HIDDEN, n_classes, device),
        };
        Ok(init::fill(Network::TaggingCrnn(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        if head::is_head(path) { 2 } else { usize::from(path.starts_with("gru")) }
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    let special = head::initial_weights(name, fans).or_else(|| gru::initial_weights(name, fans));
    special.unwrap_or_else(|| init::glorot_uniform(name, fans))
}

#[derive(Module, Debug)]
pub struct Net {
    padding: usize,
    features: Backbone,
    gru1: Gru,
    gru2: Gru,
    dropout: Dropout,
    fc: Option<Linear>,
    head: Option<Head>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let map = self.features.forward(self.padded(images));
        let [clips, channels, height, frames] = map.dims();
        let sequence = map.reshape([clips, channels * height, frames]).swap_dims(1, 2);
        let states = self.gru2.forward(self.gru1.forward(sequence));
        match (&self.fc, &self.head) {
            (Some(fc), _) => {
                let last = states.narrow(1, frames - 1, 1).reshape([clips, HIDDEN]);
                fc.forward(self.dropout.forward(last))
            }
            (None, Some(head)) => {
                let map = self.dropout.forward(states).swap_dims(1, 2).reshape([clips, HIDDEN, 1, frames]);
                head.forward(map)
            }
            (None, None) => unreachable!("a network is built with its classifier or with another head"),
        }
    }

    fn padded(&self, images: Tensor<4>) -> Tensor<4> {
        if self.padding == 0 {
            return images;
        }
        let [clips, channels, height, _] = images.dims();
        let silence = Tensor::zeros([clips, channels, height, self.padding], &images.device());
        Tensor::cat(vec![silence.clone(), images, silence], 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_code_by_keras_and_by_pytorch() {
        let input = InputShape { channels: 1, height: 96, width: 1366 };
        let rows = TaggingCrnn::default().layers(input, 50).unwrap();
        let learnt: u64 = rows.iter().map(|row| row.parameters).sum();
        let statistics: u64 = rows.iter().map(|row| row.statistics).sum();
        assert_eq!(learnt + statistics, 395_186);
        assert_eq!(learnt, 394_098);
        let sequence = rows.iter().find(|row| row.name == "gru1").unwrap();
        assert_eq!(sequence.output, [15, 32]);
    }

    #[test]
    fn an_image_that_the_pools_leave_nothing_of_is_refused_with_a_sentence() {
        let layers = |height, width| TaggingCrnn::default().layers(InputShape { channels: 1, height, width }, 5);
        assert!(layers(96, 22).is_ok());
        assert!(layers(192, 100).is_ok());
        for (height, width) in [(95, 1366), (96, 21)] {
            let error = layers(height, width).unwrap_err().to_string();
            assert!(error.contains(&format!("{height} × {width}")), "{error}");
        }
    }

    #[test]
    fn a_head_that_needs_an_image_is_a_fault_of_the_configuration() {
        let faults = TaggingCrnn { head: HeadKind::Concat, ..Default::default() }.faults();
        assert_eq!(faults[0].key, "head");
        assert!(faults[0].sentence.contains("attention"), "{faults:?}");
        assert!(TaggingCrnn { head: HeadKind::Attention, ..Default::default() }.faults().is_empty());
    }
}
