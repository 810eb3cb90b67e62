//! The convolutional recurrent network of music-auto_tagging-keras (Choi): zero padding before and after the clip, a batch norm
//! over the bands, four 3×3 convolutions with batch norm, ELU, a max pool and dropout each, two recurrent layers over time, and a
//! linear classifier of the last state.
//!
//! Conventions and differences from the peers:
//! * As in the code of that project: 64, 128, 128 and 128 filters, pools of 2×2, 3×3, 4×4 and 4×4, 32 units in both recurrent layers
//!   (`gru.rs`: Keras 1's).
//! * 395,186 parameters for 50 classes and 96 × 1366 as Keras counts them, with the means and variances of the batch norms;
//!   394,098 without them, as PyTorch counts. The README of that project says 396,786.
//! * The momentum of the running means is a tenth per step, as in PyTorch; Keras's hundredth needs more steps than small sets have.
//! * Initial weights are Keras's: Glorot uniform, orthogonal recurrent weights, biases zero. The last sigmoid is part of the loss.
//! * Every input that is large enough for the pools is accepted; remaining bands are concatenated for the recurrence.
//! * The heads "per_class" and "attention" use the states of all frames.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::gru::{self, Gru};
use super::head::{self, Fc, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::LayerTable;
use super::tagging_cnn::{Backbone, BlockSpec, backbone_rows};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::{Optimizer, Schedule, Training};
use timbre_core::{registry::Fault, seed::Seed};

/// Choi's convolutional recurrent network for music tagging; made for mel spectrograms of 96 × 1366.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaggingCrnn {
    /// Zero frames before and after the clip. Default: 37.
    #[schemars(range(min = 0, max = 10000))]
    pub padding: usize,
    /// Max pooling over frames in the four blocks: the recurrent layers see the frames divided by their product. Smaller pools
    /// suit clips of a few seconds. Default: [2, 3, 4, 4], for 29 s.
    pub time_pools: [usize; 4],
    /// Dropout before the head, 0 to below 1. Default: 0.3.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// The head: "linear", "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for TaggingCrnn {
    fn default() -> Self {
        TaggingCrnn { padding: 37, time_pools: [2, 3, 4, 4], dropout: 0.3, head: HeadKind::Linear }
    }
}

/// Filters and pooling over bands of the blocks.
const BLOCKS: [(usize, usize); 4] = [(64, 2), (128, 3), (128, 4), (128, 4)];
const BLOCK_DROPOUT: f64 = 0.1;
const HIDDEN: usize = 32;

impl TaggingCrnn {
    fn blocks(&self) -> [BlockSpec; 4] {
        std::array::from_fn(|n| BlockSpec { filters: BLOCKS[n].0, pool: [BLOCKS[n].1, self.time_pools[n]] })
    }

    /// The table up to the input of the recurrent layers, `[frames, values]`.
    fn table(&self, input: InputShape) -> Result<LayerTable> {
        let mut table = LayerTable::new(input, 1)?;
        let padded = vec![1, input.height, input.width + 2 * self.padding];
        table.add("pad", format!("{} zero frames on each side", self.padding), padded, 0, 0);
        backbone_rows(&self.blocks(), &mut table)?;
        table.shape = vec![table.shape[2], table.shape[0] * table.shape[1]];
        Ok(table)
    }
}

impl NetworkKind for TaggingCrnn {
    fn version(&self) -> u32 {
        1
    }

    fn training_defaults() -> Training {
        Training { optimizer: Optimizer::Adam, schedule: Schedule::Constant, weight_decay: 0.0, ..Training::default() }
    }

    fn faults(&self) -> Vec<Fault> {
        let pools = self.time_pools.contains(&0);
        let fault = pools.then(|| Fault::new("time_pools", "write four numbers of frames, each 1 or more"));
        self.head.sequence_faults().into_iter().chain(fault).collect()
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = self.table(input)?;
        gru::row("gru1", HIDDEN, &mut table);
        gru::row("gru2", HIDDEN, &mut table);
        table.shape.reverse();
        self.head.rows(&mut table, n_classes, |table| {
            table.add("last", "last state".to_owned(), vec![HIDDEN], 0, 0);
            table.linear("fc", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        let [_, values] = self.table(input)?.shape[..] else { unreachable!("a sequence") };
        let net = Net {
            padding: self.padding,
            features: Backbone::new(&self.blocks(), input.height, BLOCK_DROPOUT, device),
            gru1: Gru::new(values, HIDDEN, device),
            gru2: Gru::new(HIDDEN, HIDDEN, device),
            dropout: Dropout::new(self.dropout),
            output: Output::new(self.head, HIDDEN, n_classes, device, || Fc::new(HIDDEN, n_classes, device)),
        };
        Ok(init::initialize(Network::TaggingCrnn(net), seed, initial_weights))
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
    output: Output<Fc>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = self.features.forward(self.padded(images), pass);
        let [clips, channels, height, frames] = map.dims();
        let sequence = map.reshape([clips, channels * height, frames]).swap_dims(1, 2);
        let states = self.gru2.forward(self.gru1.forward(sequence));
        match &self.output {
            Output::Own(own) => {
                let last = states.narrow(1, frames - 1, 1).reshape([clips, HIDDEN]);
                own.fc.forward(self.dropout.forward(last, pass))
            }
            Output::Head(head) => {
                let states = self.dropout.forward(states, pass);
                head.forward(states.swap_dims(1, 2).reshape([clips, HIDDEN, 1, frames]), pass)
            }
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let mut x = images.clone();
        if self.padding > 0 {
            let silence = graph.constant(&vec![0.0; images.shape[2] * self.padding], &[1, 1, images.shape[2], self.padding]);
            let silence = graph.for_each_clip(&silence, images);
            x = graph.concat(&[&silence, images, &silence], 3);
        }
        let map = self.features.graph(graph, &x);
        let frames = map.shape[3];
        let sequence = graph.reshape(&map, &[map.shape[1] * map.shape[2], frames]);
        let sequence = graph.swap(&sequence, 1, 2);
        let states = self.gru1.graph(graph, &sequence);
        let states = self.gru2.graph(graph, &states);
        match &self.output {
            Output::Own(own) => {
                let last = graph.narrow(&states, 1, frames - 1, 1);
                let last = graph.flatten(&last);
                graph.linear(&own.fc, &last)
            }
            Output::Head(head) => {
                let map = graph.swap(&states, 1, 2);
                let map = graph.reshape(&map, &[HIDDEN, 1, frames]);
                head.graph(graph, &map)
            }
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
    fn parameter_counts_are_those_of_keras_and_of_pytorch() {
        let input = InputShape { channels: 1, height: 96, width: 1366 };
        let rows = TaggingCrnn::default().layers(input, 50).unwrap();
        let trained: u64 = rows.iter().map(|row| row.parameters).sum();
        let statistics: u64 = rows.iter().map(|row| row.statistics).sum();
        assert_eq!(trained + statistics, 395_186);
        assert_eq!(trained, 394_098);
        let sequence = rows.iter().find(|row| row.name == "gru1").unwrap();
        assert_eq!(sequence.output, [15, 32]);
    }

    #[test]
    fn an_image_that_is_too_small_for_the_pools_is_refused() {
        let layers = |height, width| TaggingCrnn::default().layers(InputShape { channels: 1, height, width }, 5);
        assert!(layers(96, 22).is_ok());
        assert!(layers(192, 100).is_ok());
        for (height, width) in [(95, 1366), (96, 21)] {
            let error = layers(height, width).unwrap_err().to_string();
            assert!(error.contains(&format!("{height} × {width}")), "{error}");
        }
    }

    #[test]
    fn a_head_that_needs_an_image_is_refused() {
        let faults = TaggingCrnn { head: HeadKind::Concat, ..Default::default() }.faults();
        assert_eq!(faults[0].key, "head");
        assert!(faults[0].sentence.contains("attention"), "{faults:?}");
        assert!(TaggingCrnn { head: HeadKind::Attention, ..Default::default() }.faults().is_empty());
    }
}
