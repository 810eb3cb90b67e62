//! Heads: the layers between the last feature map of a network and its logits.
//!
//! A feature map is `[clips, channels, height, frames]`; a network over time alone has height 1.

use burn::module::{Module, ModuleDisplay, Param};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::init::{self, Fans, InitDistribution};
use super::layer_table::LayerTable;
use super::layers::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use super::onnx::{Graph, Value};
use super::training_pass::TrainingPass;
use timbre_core::registry::Fault;

/// The head of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// The network's own classifier.
    #[default]
    Linear,
    /// fastai's: global max and average pooling, then two layers with batch norms.
    Concat,
    /// Global average pooling, then a small network for each class.
    PerClass,
    /// Attention pooling over time: each class weights the frames and averages its logits per frame.
    Attention,
}

impl HeadKind {
    pub const ALL: [HeadKind; 4] = [HeadKind::Linear, HeadKind::Concat, HeadKind::PerClass, HeadKind::Attention];
}

/// Hidden units per class of the head "per_class".
const PER_CLASS: usize = 16;
/// Hidden units of fastai's head.
const HIDDEN: usize = 512;

/// A head other than the network's own classifier. A network has only one, so the size of the enum does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Head {
    Concat(Concat),
    PerClass(PerClass),
    Attention(Attention),
}

/// The end of a network: its own classifier, or a head. It adds nothing to the names of the tensors
/// ([`torch_name`](super::state_dict::torch_name)): those of the classifier are its own, those of a head begin with `head.`.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Output<C: Module + ModuleDisplay> {
    Own(C),
    Head(Head),
}

impl<C: Module + ModuleDisplay> Output<C> {
    pub fn new(
        kind: HeadKind,
        channels: usize,
        n_classes: usize,
        device: &Device,
        own: impl FnOnce() -> C,
    ) -> Output<C> {
        kind.build(channels, n_classes, device).map_or_else(|| Output::Own(own()), Output::Head)
    }
}

/// A classifier of one linear layer, `fc`.
#[derive(Module, Debug)]
pub struct Fc {
    pub fc: Linear,
}

impl Fc {
    pub fn new(inputs: usize, n_classes: usize, device: &Device) -> Fc {
        Fc { fc: LinearConfig::new(inputs, n_classes).init(device) }
    }

    /// The linear layer after global average pooling.
    pub fn graph_of_mean(&self, graph: &mut Graph, map: &Value) -> Value {
        let mean = graph.mean(map);
        graph.linear(&self.fc, &mean)
    }
}

impl HeadKind {
    /// The faults of the head of a network whose last map has no height.
    pub fn sequence_faults(self) -> Vec<Fault> {
        let sentence = "\"concat\" pools over an image, and the last feature map of this network has no height; write \
                        \"linear\", \"per_class\" or \"attention\"";
        match self {
            HeadKind::Concat => vec![Fault::new("head", sentence)],
            _ => Vec::new(),
        }
    }

    /// `None` for the network's own classifier.
    fn build(self, channels: usize, n_classes: usize, device: &Device) -> Option<Head> {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let without_bias = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        match self {
            HeadKind::Linear => None,
            HeadKind::Concat => Some(Head::Concat(Concat {
                bn1: BatchNormConfig::new(2 * channels).init(device),
                dropout1: Dropout::new(0.25),
                fc1: without_bias(2 * channels, HIDDEN),
                bn2: BatchNormConfig::new(HIDDEN).init(device),
                dropout2: Dropout::new(0.5),
                fc2: without_bias(HIDDEN, n_classes),
            })),
            HeadKind::PerClass => Some(Head::PerClass(PerClass {
                hidden: linear(channels, n_classes * PER_CLASS),
                weight: Param::from_tensor(Tensor::zeros([PER_CLASS, n_classes], device)),
                bias: Param::from_tensor(Tensor::zeros([n_classes], device)),
            })),
            HeadKind::Attention => Some(Head::Attention(Attention {
                attention: linear(channels, n_classes),
                value: linear(channels, n_classes),
            })),
        }
    }

    /// Adds the rows of the head to the layer table; `own` adds those of the network's own classifier.
    pub fn rows(self, table: &mut LayerTable, n_classes: usize, own: impl FnOnce(&mut LayerTable)) {
        let [channels, .., frames] = table.shape[..] else {
            panic!("a head needs a feature map, not {:?}", table.shape)
        };
        match self {
            HeadKind::Linear => own(table),
            HeadKind::Concat => {
                table.add("head.pool", "max and average pool".to_owned(), vec![2 * channels], 0, 0);
                table.norm("head.bn1");
                table.linear("head.fc1", HIDDEN, false);
                table.norm("head.bn2");
                table.linear("head.fc2", n_classes, false);
            }
            HeadKind::PerClass => {
                table.average_pool("head.pool", [1, 1]);
                table.linear("head.hidden", n_classes * PER_CLASS, true);
                let weights = n_classes * PER_CLASS;
                let kind = format!("{n_classes} × linear 1 of {PER_CLASS}");
                table.add("head", kind, vec![n_classes], weights + n_classes, weights);
            }
            HeadKind::Attention => {
                table.average_pool("head.pool", [1, frames]);
                let weights = channels * n_classes;
                for name in ["head.attention", "head.value"] {
                    let kind = format!("linear {n_classes} per frame");
                    table.add(name, kind, vec![n_classes, frames], weights + n_classes, weights * frames);
                }
                table.add("head.mean", "weighted mean over time".to_owned(), vec![n_classes], 0, n_classes * frames);
            }
        }
    }
}

impl Head {
    pub fn forward(&self, map: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        match self {
            Head::Concat(head) => head.forward(map, pass),
            Head::PerClass(head) => head.forward(map),
            Head::Attention(head) => head.forward(map),
        }
    }
}

impl Head {
    pub fn graph(&self, graph: &mut Graph, map: &Value) -> Value {
        match self {
            Head::Concat(head) => {
                let parts = ["ReduceMax", "ReduceMean"].map(|operator| graph.reduce(operator, map, &[2, 3]));
                let x = graph.concat(&[&parts[0], &parts[1]], 1);
                let x = head.bn1.graph(graph, &x);
                let x = graph.linear(&head.fc1, &x);
                let x = graph.relu(&x);
                let x = head.bn2.graph(graph, &x);
                graph.linear(&head.fc2, &x)
            }
            Head::PerClass(head) => {
                let [units, classes] = head.weight.dims();
                let mean = graph.mean(map);
                let hidden = graph.linear(&head.hidden, &mean);
                let hidden = graph.relu(&hidden);
                let hidden = graph.reshape(&hidden, &[classes, units]);
                let weight = graph.weights(head.weight.val().swap_dims(0, 1));
                let products = graph.mul(&hidden, &weight);
                let sums = graph.sum(&products, 2);
                let bias = graph.weights(head.bias.val());
                graph.add(&sums, &bias)
            }
            Head::Attention(head) => {
                let sequence = graph.reduce("ReduceMean", map, &[2]);
                let sequence = graph.swap(&sequence, 1, 2);
                let weights = graph.linear(&head.attention, &sequence);
                let weights = graph.softmax(&weights, 1);
                let values = graph.linear(&head.value, &sequence);
                let products = graph.mul(&weights, &values);
                graph.sum(&products, 1)
            }
        }
    }
}

/// The initial distribution of a tensor of a head; `None` for other tensors, whose distribution is the network's.
pub fn initial_weights(name: &str, fans: Fans) -> Option<InitDistribution> {
    Some(match name.strip_prefix("head.")? {
        // fastai initializes the layers that it adds with `kaiming_normal_`.
        "fc1.weight" | "fc2.weight" => init::he_fan_in(name, fans),
        // As in PANNs.
        at if at.starts_with("attention.") || at.starts_with("value.") => init::glorot_uniform(name, fans),
        _ => init::torch_default(name, fans),
    })
}

/// Whether a tensor belongs to the head or the network's own classifier, by its name: the last group of layers.
pub fn is_head(name: &str) -> bool {
    ["head.", "head_dist.", "fc.", "fc_audioset.", "mlp_head.", "classifier.", "predictor."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Global average pooling.
pub fn mean(map: Tensor<4>) -> Tensor<2> {
    let [clips, channels, height, width] = map.dims();
    map.reshape([clips, channels, height * width]).mean_dim(2).reshape([clips, channels])
}

#[derive(Module, Debug)]
pub struct Concat {
    bn1: BatchNorm,
    dropout1: Dropout,
    fc1: Linear,
    bn2: BatchNorm,
    dropout2: Dropout,
    fc2: Linear,
}

impl Concat {
    fn forward(&self, map: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let [clips, channels, height, width] = map.dims();
        let max = map.clone().reshape([clips, channels, height * width]).max_dim(2).reshape([clips, channels]);
        let x = Tensor::cat(vec![max, mean(map)], 1);
        let x = relu(self.fc1.forward(self.dropout1.forward(self.bn1.forward(x), pass)));
        self.fc2.forward(self.dropout2.forward(self.bn2.forward(x), pass))
    }
}

#[derive(Module, Debug)]
pub struct PerClass {
    /// The hidden units of all classes, class after class.
    hidden: Linear,
    /// `[hidden units, classes]`.
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl PerClass {
    fn forward(&self, map: Tensor<4>) -> Tensor<2> {
        let hidden = relu(self.hidden.forward(mean(map)));
        let [units, classes] = self.weight.dims();
        let clips = hidden.dims()[0];
        let hidden = hidden.reshape([clips, classes, units]);
        let weights = self.weight.val().swap_dims(0, 1).unsqueeze::<3>();
        (hidden * weights).sum_dim(2).reshape([clips, classes]) + self.bias.val().unsqueeze::<2>()
    }
}

#[derive(Module, Debug)]
pub struct Attention {
    attention: Linear,
    value: Linear,
}

impl Attention {
    fn forward(&self, map: Tensor<4>) -> Tensor<2> {
        let [clips, channels, height, frames] = map.dims();
        let over_height = if height == 1 { map } else { map.mean_dim(2) };
        let sequence = over_height.reshape([clips, channels, frames]).swap_dims(1, 2);
        let weights = softmax(self.attention.forward(sequence.clone()), 1);
        let logits = (weights * self.value.forward(sequence)).sum_dim(1);
        let classes = logits.dims()[2];
        logits.reshape([clips, classes])
    }
}
