//! A small network over time for MFCCs: two convolutions of width 3 with a max pool each, two dense layers with dropout and an L2
//! penalty, and a linear classifier.
//!
//! Conventions and differences from the peers:
//! * Convolutions run along the frames; the coefficients are the input channels. (Keras's `Conv1D` runs along the first axis of its
//!   input; with 20 coefficients in 20 frames the numbers are the same either way.)
//! * 160,709 parameters for five classes and 20 × 20. Convolutions without padding and pools of 2 leave 20 → 18 → 9 → 7 → 3
//!   frames of 128 filters for the first dense layer.
//! * The L2 penalty is Keras's: `l2` times the sum of the squared weights of both dense layers is added to the loss,
//!   independent of `weight_decay`.
//! * Initial weights are Keras's: Glorot uniform, biases zero. The last softmax is part of the loss.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::LayerTable;
use super::layers::{Conv1d, Conv1dConfig, Linear, LinearConfig, MaxPool1d, MaxPool1dConfig};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::{Optimizer, Schedule, Training};
use timbre_core::{registry::Fault, seed::Seed};

/// A small network over time, made for 20 MFCCs in 20 frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Conv1dMfcc {
    /// Dropout after both dense layers, 0 to below 1. Default: 0.5.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Factor on the sum of squared weights of the dense layers that is added to the loss. Default: 0.001.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub l2: f64,
    /// The head: "linear" (with both dense layers), "per_class" or "attention". Default: "linear".
    pub head: HeadKind,
}

impl Default for Conv1dMfcc {
    fn default() -> Self {
        Conv1dMfcc { dropout: 0.5, l2: 0.001, head: HeadKind::Linear }
    }
}

const FILTERS: [usize; 2] = [64, 128];
const DENSE: [usize; 2] = [256, 128];
const KERNEL: usize = 3;
const POOL: usize = 2;

impl Conv1dMfcc {
    /// The table up to the last pool, with the output `[filters, frames]`.
    fn table(input: InputShape) -> Result<LayerTable> {
        let mut table = LayerTable::new(input, 1)?;
        table.shape = vec![input.height, input.width];
        for (number, filters) in FILTERS.into_iter().enumerate() {
            table.conv_over_time(&format!("conv{}", number + 1), filters, KERNEL)?;
            table.max_pool_over_time(&format!("pool{}", number + 1), POOL)?;
        }
        Ok(table)
    }
}

impl NetworkKind for Conv1dMfcc {
    fn version(&self) -> u32 {
        1
    }

    fn training_defaults() -> Training {
        Training {
            epochs: 50,
            optimizer: Optimizer::Adam,
            learning_rate: 1e-5,
            schedule: Schedule::Constant,
            weight_decay: 0.0,
            patience: Some(10),
            ..Training::default()
        }
    }

    fn faults(&self) -> Vec<Fault> {
        self.head.sequence_faults()
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = Self::table(input)?;
        self.head.rows(&mut table, n_classes, |table| {
            table.linear("fc1", DENSE[0], true);
            table.linear("fc2", DENSE[1], true);
            table.linear("fc", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        let values = Self::table(input)?.shape.iter().product();
        let conv = |from, to| Conv1dConfig::new(from, to, KERNEL).init(device);
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let net = Net {
            conv1: conv(input.height, FILTERS[0]),
            conv2: conv(FILTERS[0], FILTERS[1]),
            pool: MaxPool1dConfig::new(POOL).with_stride(POOL).init(),
            dropout: Dropout::new(self.dropout),
            output: Output::new(self.head, FILTERS[1], n_classes, device, || Dense {
                fc1: linear(values, DENSE[0]),
                fc2: linear(DENSE[0], DENSE[1]),
                fc: linear(DENSE[1], n_classes),
            }),
        };
        Ok(init::initialize(Network::Conv1dMfcc(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        2
    }

    fn group_of(&self, path: &str) -> usize {
        usize::from(!path.starts_with("conv"))
    }

    fn l2(&self, path: &str) -> f64 {
        if matches!(path, "fc1.weight" | "fc2.weight") { self.l2 } else { 0.0 }
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| init::glorot_uniform(name, fans))
}

#[derive(Module, Debug)]
pub struct Net {
    conv1: Conv1d,
    conv2: Conv1d,
    pool: MaxPool1d,
    dropout: Dropout,
    output: Output<Dense>,
}

/// The network's own classifier.
#[derive(Module, Debug)]
pub struct Dense {
    fc1: Linear,
    fc2: Linear,
    fc: Linear,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let [clips, _, coefficients, frames] = images.dims();
        let x = images.reshape([clips, coefficients, frames]);
        let x = self.pool.forward(relu(self.conv1.forward(x)));
        let map = self.pool.forward(relu(self.conv2.forward(x)));
        match &self.output {
            Output::Own(own) => {
                let x = self.dropout.forward(relu(own.fc1.forward(map.flatten::<2>(1, 2))), pass);
                let x = self.dropout.forward(relu(own.fc2.forward(x)), pass);
                own.fc.forward(x)
            }
            Output::Head(head) => head.forward(map.unsqueeze_dim(2), pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let mut x = graph.reshape(images, &images.shape[2..]);
        for conv in [&self.conv1, &self.conv2] {
            x = graph.conv1d(conv, &x);
            x = graph.relu(&x);
            x = graph.max_pool1d(&self.pool, &x);
        }
        match &self.output {
            Output::Own(own) => {
                let mut x = graph.flatten(&x);
                for dense in [&own.fc1, &own.fc2] {
                    x = graph.linear(dense, &x);
                    x = graph.relu(&x);
                }
                graph.linear(&own.fc, &x)
            }
            Output::Head(head) => {
                let map = graph.reshape(&x, &[x.shape[1], 1, x.shape[2]]);
                head.graph(graph, &map)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(height: usize, width: usize) -> InputShape {
        InputShape { channels: 1, height, width }
    }

    #[test]
    fn five_classes_on_20_by_20_have_160_709_parameters() {
        let rows = Conv1dMfcc::default().layers(image(20, 20), 5).unwrap();
        assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), 160_709);
        let shapes: Vec<&[usize]> = rows.iter().map(|row| row.output.as_slice()).collect();
        assert_eq!(shapes[..4], [&[64, 18][..], &[64, 9], &[128, 7], &[128, 3]]);
    }

    #[test]
    fn only_the_dense_layers_are_penalised() {
        let spec = Conv1dMfcc::default();
        let network = spec.build(image(20, 20), 5, Seed::new(1), &Device::flex()).unwrap();
        let names = super::super::state_dict::shapes(&network).into_iter().map(|(name, _)| name);
        let penalised: Vec<String> = names.filter(|name| spec.l2(name) > 0.0).collect();
        assert_eq!(penalised, ["fc1.weight", "fc2.weight"]);
    }

    #[test]
    fn too_few_frames_are_refused() {
        assert!(Conv1dMfcc::default().layers(image(13, 10), 5).is_ok());
        let error = Conv1dMfcc::default().layers(image(13, 9), 5).unwrap_err().to_string();
        assert!(error.contains("13 × 9") && error.contains("`pool2`"), "{error}");
    }
}
