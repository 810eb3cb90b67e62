//! BEATs (Chen, Wu, Wang and others): patches without overlap in the order of time, a convolution over them for their positions,
//! and blocks of attention with a bias by distance that a gate of the query scales.
//!
//! Conventions and differences from the peers:
//! * Made for 128 Kaldi mel bands of 16 kHz audio, shifted by 15.41663 and divided by 13.11126 for samples with a full scale of 32768.
//!   Any length; the tokens run over the bands first, then over time.
//! * Names of the tensors are those of the original code, whose checkpoints repeat the bias of the first block in all blocks; here the
//!   copies are skipped. The weight norm of the convolution is kept as `weight_g` and `weight_v`.
//! * The norms come after the sums, with the shortcut scaled by (2 · depth)^¼ (deep norm).
//! * `max_distance` is 800, as in the published checkpoints (the original code has a default of 1280 and reads it from the checkpoint).
//! * Logits are the mean over the tokens of those of the classifier, behind a dropout of 0.1. There is no other dropout and no layer drop.
//! * Parameters as PyTorch counts them: 90,311,792 without the classifier, 90,717,055 with 527 classes.
//! * Initial weights are those of the original code's encoder: Xavier's normal, scaled for 12 blocks of deep norm, or a normal with a
//!   standard deviation of 0.02; biases are zero.

use anyhow::Result;
use burn::module::{Module, Param};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Int, Tensor, module};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dropout::Dropout;
use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::{LayerTable, Window};
use super::layers::{Conv2d, Conv2dConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, gelu};
use super::transformer::{PATCH, attention_row, linear_row, norm_row};
use super::onnx::{Graph, Value};
use super::precision::product;
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::{Normalize, Training};
use timbre_core::{registry::Fault, seed::Seed};

/// BEATs: a transformer over patches in the order of time, with a gated bias by distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Beats {
    /// Values of a patch before the projection. Default: 512.
    #[schemars(range(min = 1, max = 8192))]
    pub patch_dim: usize,
    /// Values of a token. Default: 768.
    #[schemars(range(min = 1, max = 8192))]
    pub embed_dim: usize,
    /// Hidden values of the two linear layers of a block. Default: 3072.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden_dim: usize,
    /// Blocks of attention. Default: 12.
    #[schemars(range(min = 1, max = 96))]
    pub depth: usize,
    /// Heads of each attention; they divide `embed_dim`. Default: 12.
    #[schemars(range(min = 1, max = 512))]
    pub heads: usize,
    /// Tokens under the convolution for the positions. Default: 128.
    #[schemars(range(min = 2, max = 4096))]
    pub conv_pos: usize,
    /// Groups of that convolution; they divide `embed_dim`. Default: 16.
    #[schemars(range(min = 1, max = 512))]
    pub conv_pos_groups: usize,
    /// Distances between tokens that have a bias of their own; an even number of at least 4. Default: 320.
    #[schemars(range(min = 4, max = 65536))]
    pub num_buckets: usize,
    /// The distance from which on all share a bias; more than a quarter of `num_buckets`. Default: 800.
    #[schemars(range(min = 2, max = 1000000))]
    pub max_distance: usize,
    /// The head: "linear" (the mean over the tokens of their logits), or "concat" (fastai's), "per_class" or "attention" over the
    /// patches. Default: "linear".
    pub head: HeadKind,
}

impl Default for Beats {
    fn default() -> Self {
        Beats {
            patch_dim: 512,
            embed_dim: 768,
            hidden_dim: 3072,
            depth: 12,
            heads: 12,
            conv_pos: 128,
            conv_pos_groups: 16,
            num_buckets: 320,
            max_distance: 800,
            head: HeadKind::Linear,
        }
    }
}

/// The values of the gate for each head: two groups of four that are summed.
const GATE: usize = 8;
const EPSILON: f64 = 1e-5;
const DROPOUT: f64 = 0.1;

impl Beats {
    /// The rows and columns of patches.
    fn grid(&self, input: InputShape) -> Result<[usize; 2]> {
        let mut table = LayerTable::new(input, 1)?;
        table.conv("patch_embedding", 1, Window::square(PATCH, PATCH, 0), false)?;
        Ok([table.shape[1], table.shape[2]])
    }

    /// The factor on a shortcut.
    fn alpha(&self) -> f64 {
        (2.0 * self.depth as f64).powf(0.25)
    }
}

impl NetworkKind for Beats {
    fn version(&self) -> u32 {
        2
    }

    fn training_defaults() -> Training {
        Training { batch_size: 8, learning_rate: 1e-5, normalize: Normalize::GlobalHalf, ..Training::default() }
    }

    fn faults(&self) -> Vec<Fault> {
        let divides = |number: usize| number > 0 && self.embed_dim.is_multiple_of(number);
        let sentence = |what: &str, number: usize| format!("{number} {what} do not divide tokens of {} values", self.embed_dim);
        let buckets = self.num_buckets >= 4 && self.num_buckets.is_multiple_of(2);
        let far = self.max_distance > self.num_buckets / 4;
        Fault::of_keys([
            ("heads", (!divides(self.heads)).then(|| sentence("heads", self.heads))),
            ("conv_pos_groups", (!divides(self.conv_pos_groups)).then(|| sentence("groups", self.conv_pos_groups))),
            ("conv_pos", (self.conv_pos < 2).then(|| "must be 2 or more".to_owned())),
            ("num_buckets", (!buckets).then(|| "must be an even number of at least 4".to_owned())),
            ("max_distance", (buckets && !far).then(|| format!("must be above {}, a quarter of `num_buckets`", self.num_buckets / 4))),
        ])
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let (size, [rows, columns]) = (self.embed_dim, self.grid(input)?);
        let tokens = rows * columns;
        let mut table = LayerTable::new(input, 1)?;
        table.conv("patch_embedding", self.patch_dim, Window::square(PATCH, PATCH, 0), false)?;
        norm_row(&mut table, "layer_norm", tokens, self.patch_dim);
        if self.patch_dim != size {
            linear_row(&mut table, "post_extract_proj", tokens, [self.patch_dim, size]);
        }
        let weights = size * (size / self.conv_pos_groups) * self.conv_pos;
        let kind = format!("conv {} over the tokens, {size}, {} groups", self.conv_pos, self.conv_pos_groups);
        table.add("encoder.pos_conv.0", kind, vec![tokens, size], weights + self.conv_pos + size, weights * tokens);
        norm_row(&mut table, "encoder.layer_norm", tokens, size);
        let each = size / self.heads;
        for number in 0..self.depth {
            let name = |layer: &str| format!("encoder.layers.{number}.{layer}");
            if number == 0 {
                let kind = format!("bias of {} distances, {} heads", self.num_buckets, self.heads);
                let biases = self.num_buckets * self.heads;
                let pairs = vec![tokens, tokens, self.heads];
                table.add(&name("self_attn.relative_attention_bias"), kind, pairs, biases, 0);
            }
            for layer in ["q_proj", "k_proj", "v_proj"] {
                linear_row(&mut table, &name(&format!("self_attn.{layer}")), tokens, [size, size]);
            }
            let kind = format!("linear {GATE} per token and head");
            let gates = vec![self.heads, tokens, GATE];
            table.add(&name("self_attn.grep_linear"), kind, gates, each * GATE + GATE, tokens * size * GATE);
            let kind = format!("gate of the bias, {} heads", self.heads);
            table.add(&name("self_attn"), kind, vec![self.heads, tokens, tokens], self.heads, 0);
            attention_row(&mut table, &name("self_attn"), tokens, size, self.heads);
            linear_row(&mut table, &name("self_attn.out_proj"), tokens, [size, size]);
            norm_row(&mut table, &name("self_attn_layer_norm"), tokens, size);
            linear_row(&mut table, &name("fc1"), tokens, [size, self.hidden_dim]);
            linear_row(&mut table, &name("fc2"), tokens, [self.hidden_dim, size]);
            norm_row(&mut table, &name("final_layer_norm"), tokens, size);
        }
        table.shape = vec![size, rows, columns];
        self.head.rows(&mut table, n_classes, |table| {
            linear_row(table, "predictor", tokens, [size, n_classes]);
            table.add("mean", "mean over the tokens".to_owned(), vec![n_classes], 0, 0);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        if let Some(Fault { key, sentence }) = self.faults().into_iter().next() {
            anyhow::bail!("`{key}`: {sentence}");
        }
        self.grid(input)?;
        let size = self.embed_dim;
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let norm = |size| LayerNormConfig::new(size).with_epsilon(EPSILON).init(device);
        let zeros = |shape: [usize; 3]| Param::from_tensor(Tensor::zeros(shape, device));
        let layer = |number: usize| Layer {
            self_attn: Attention {
                relative_attention_bias: (number == 0).then(|| DistanceBias {
                    weight: Param::from_tensor(Tensor::zeros([self.heads, self.num_buckets], device)),
                    max_distance: self.max_distance,
                }),
                q_proj: linear(size, size),
                k_proj: linear(size, size),
                v_proj: linear(size, size),
                out_proj: linear(size, size),
                grep_linear: linear(size / self.heads, GATE),
                grep_a: Param::from_tensor(Tensor::zeros([1, self.heads, 1, 1], device)),
                heads: self.heads,
            },
            self_attn_layer_norm: norm(size),
            fc1: linear(size, self.hidden_dim),
            fc2: linear(self.hidden_dim, size),
            final_layer_norm: norm(size),
            alpha: self.alpha(),
        };
        let patches = Conv2dConfig::new([1, self.patch_dim], [PATCH; 2]).with_stride([PATCH; 2]).with_bias(false);
        let net = Net {
            patch_embedding: patches.init(device),
            layer_norm: norm(self.patch_dim),
            post_extract_proj: (self.patch_dim != size).then(|| linear(self.patch_dim, size)),
            encoder: Encoder {
                pos_conv: vec![PositionConv {
                    weight_g: zeros([1, 1, self.conv_pos]),
                    weight_v: zeros([size, size / self.conv_pos_groups, self.conv_pos]),
                    bias: Param::from_tensor(Tensor::zeros([size], device)),
                    groups: self.conv_pos_groups,
                }],
                layer_norm: norm(size),
                layers: (0..self.depth).map(layer).collect(),
            },
            output: Output::new(self.head, size, n_classes, device, || Classifier {
                predictor_dropout: Dropout::new(DROPOUT),
                predictor: linear(size, n_classes),
            }),
        };
        let network = init::initialize(Network::Beats(net), seed, initial_weights);
        // The norm of the weights as they were drawn, so that the weight norm changes nothing at first.
        Ok(match network {
            Network::Beats(mut net) => {
                let conv = &mut net.encoder.pos_conv[0];
                let norms = conv.norms().detach();
                conv.weight_g = conv.weight_g.clone().map(|old| norms.set_require_grad(old.is_require_grad()));
                Network::Beats(net)
            }
            other => other,
        })
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        if head::is_head(path) {
            return 2;
        }
        usize::from(block_of(path).is_some_and(|number| 2 * number >= self.depth))
    }

    /// The embeddings, each block, and the head.
    fn depth(&self) -> usize {
        self.depth + 2
    }

    fn depth_of(&self, path: &str) -> usize {
        match block_of(path) {
            Some(number) => number + 1,
            None if head::is_head(path) => self.depth + 1,
            None => 0,
        }
    }
}

/// The number of the block of a tensor.
fn block_of(path: &str) -> Option<usize> {
    path.strip_prefix("encoder.layers.")?.split('.').next()?.parse().ok()
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    let last = name.rsplit('.').next().unwrap_or_default();
    let glorot = |gain: f64| InitDistribution::Normal(gain * (2.0 / (fans.inputs + fans.outputs) as f64).sqrt());
    // (8 · depth)^-¼ for the published depth.
    let beta = 96f64.powf(-0.25);
    head::initial_weights(name, fans).unwrap_or(match last {
        "bias" => InitDistribution::Constant(0.0),
        "grep_a" => InitDistribution::Constant(1.0),
        "weight_v" => InitDistribution::Normal((4.0 / fans.outputs as f64).sqrt()),
        _ if name.contains(".q_proj.") || name.contains(".k_proj.") => glorot(1.0),
        _ if [".v_proj.", ".out_proj.", ".fc1.", ".fc2."].iter().any(|layer| name.contains(layer)) => glorot(beta),
        _ => InitDistribution::Normal(0.02),
    })
}

#[derive(Module, Debug)]
pub struct Net {
    patch_embedding: Conv2d,
    layer_norm: LayerNorm,
    post_extract_proj: Option<Linear>,
    encoder: Encoder,
    output: Output<Classifier>,
}

#[derive(Module, Debug)]
pub struct Encoder {
    /// One layer, numbered as in the original code.
    pos_conv: Vec<PositionConv>,
    layer_norm: LayerNorm,
    layers: Vec<Layer>,
}

/// A convolution over the tokens with weight norm: a length for each place of the kernel, and a direction.
#[derive(Module, Debug)]
pub struct PositionConv {
    weight_g: Param<Tensor<3>>,
    weight_v: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    groups: usize,
}

#[derive(Module, Debug)]
pub struct Layer {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
    alpha: f64,
}

#[derive(Module, Debug)]
pub struct Attention {
    /// In the first block; all blocks use it.
    relative_attention_bias: Option<DistanceBias>,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    grep_linear: Linear,
    grep_a: Param<Tensor<4>>,
    heads: usize,
}

/// A bias for each head and distance.
#[derive(Module, Debug)]
pub struct DistanceBias {
    /// Heads × distances, the layout of burn's matrices.
    weight: Param<Tensor<2>>,
    max_distance: usize,
}

#[derive(Module, Debug)]
pub struct Classifier {
    predictor_dropout: Dropout,
    predictor: Linear,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let (tokens, [rows, columns]) = self.tokens(images);
        let [clips, _, size] = tokens.dims();
        match &self.output {
            Output::Own(own) => {
                let logits = own.predictor.forward(own.predictor_dropout.forward(tokens, pass));
                let classes = logits.dims()[2];
                logits.mean_dim(1).reshape([clips, classes])
            }
            Output::Head(head) => {
                let map = tokens.swap_dims(1, 2).reshape([clips, size, columns, rows]).swap_dims(2, 3);
                head.forward(map, pass)
            }
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let x = graph.swap(images, 2, 3);
        let map = self.patch_embedding.graph(graph, &x);
        let (columns, rows) = (map.shape[2], map.shape[3]);
        let x = graph.reshape(&map, &[map.shape[1], columns * rows]);
        let x = graph.swap(&x, 1, 2);
        let mut x = graph.layer_norm(&self.layer_norm, &x);
        if let Some(projection) = &self.post_extract_proj {
            x = graph.linear(projection, &x);
        }
        let positions = self.encoder.pos_conv[0].graph(graph, &x);
        let x = graph.add(&x, &positions);
        let mut x = graph.layer_norm(&self.encoder.layer_norm, &x);
        let first = self.encoder.layers.first().and_then(|layer| layer.self_attn.relative_attention_bias.as_ref());
        let bias = graph.weights(first.expect("the first block has the bias").forward(columns * rows));
        for layer in &self.encoder.layers {
            x = layer.graph(graph, &x, &bias);
        }
        match &self.output {
            Output::Own(own) => {
                let logits = graph.linear(&own.predictor, &x);
                graph.reduce("ReduceMean", &logits, &[1])
            }
            Output::Head(head) => {
                let map = graph.swap(&x, 1, 2);
                let map = graph.reshape(&map, &[map.shape[1], columns, rows]);
                let map = graph.swap(&map, 2, 3);
                head.graph(graph, &map)
            }
        }
    }

    /// The mean of the tokens, `[clips, embed_dim]`.
    pub fn penultimate(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        let tokens = self.tokens(images).0;
        let [clips, _, size] = tokens.dims();
        Some(tokens.mean_dim(1).reshape([clips, size]))
    }

    /// The tokens, and the rows and columns of patches.
    fn tokens(&self, images: Tensor<4>) -> (Tensor<3>, [usize; 2]) {
        // The original code has time along the rows.
        let map = self.patch_embedding.forward(images.swap_dims(2, 3));
        let [clips, size, columns, rows] = map.dims();
        let mut x = self.layer_norm.forward(map.reshape([clips, size, columns * rows]).swap_dims(1, 2));
        if let Some(projection) = &self.post_extract_proj {
            x = projection.forward(x);
        }
        let positions = self.encoder.pos_conv[0].forward(x.clone().swap_dims(1, 2)).swap_dims(1, 2);
        let mut x = self.encoder.layer_norm.forward(x + positions);
        let first = self.encoder.layers.first().and_then(|layer| layer.self_attn.relative_attention_bias.as_ref());
        let bias = first.expect("the first block has the bias").forward(columns * rows);
        for layer in &self.encoder.layers {
            x = layer.forward(x, &bias);
        }
        (x, [rows, columns])
    }
}

impl PositionConv {
    /// The length of the direction at each place of the kernel.
    fn norms(&self) -> Tensor<3> {
        self.weight_v.val().powi_scalar(2).sum_dim(0).sum_dim(1).sqrt()
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, _, tokens] = x.dims();
        let weight = self.weight_v.val() * (self.weight_g.val() / self.norms());
        let padding = weight.dims()[2] / 2;
        let options = ConvOptions::new([1], [padding], [1], self.groups);
        let out = module::conv1d(x, weight, Some(self.bias.val()), options);
        // An even kernel has one place too many.
        gelu(out.narrow(2, 0, tokens))
    }

    /// Of tokens × values, like its output.
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let weight = self.weight_v.val() * (self.weight_g.val() / self.norms());
        let padding = weight.dims()[2] / 2;
        let (weight, bias) = (graph.weights(weight), graph.weights(self.bias.val()));
        let over_time = graph.swap(x, 1, 2);
        let out = graph.conv([&over_time, &weight], Some(&bias), &[1], &[[padding; 2]], self.groups);
        let out = graph.narrow(&out, 2, 0, x.shape[1]);
        let out = graph.gelu(&out);
        graph.swap(&out, 1, 2)
    }
}

impl DistanceBias {
    /// The bias of each pair of tokens, `[1, heads, tokens, tokens]`.
    fn forward(&self, tokens: usize) -> Tensor<4> {
        let weight = self.weight.val();
        let [heads, buckets] = weight.dims();
        let bucket = |distance: i64| bucket_of(distance, buckets, self.max_distance) as i64;
        let pairs: Vec<i64> = (0..tokens as i64)
            .flat_map(|query| (0..tokens as i64).map(move |key| key - query))
            .map(bucket)
            .collect();
        let pairs = Tensor::<1, Int>::from_data(&pairs[..], &weight.device());
        weight.select(1, pairs).reshape([1, heads, tokens, tokens])
    }
}

/// The number of the bias for a distance: half of the numbers are for keys after the query, and half of those for one distance each,
/// the others for distances that grow geometrically.
fn bucket_of(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = half / 2;
    let after = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return after + distance;
    }
    // In f32, as in the original code: the bounds fall on the same distances.
    let share = (distance as f32 / exact as f32).ln() / (max_distance as f64 / exact as f64).ln() as f32;
    let far = exact + (share * (half - exact) as f32) as usize;
    after + far.min(half - 1)
}

impl Layer {
    fn forward(&self, x: Tensor<3>, bias: &Tensor<4>) -> Tensor<3> {
        let attended = self.self_attn.forward(x.clone(), bias);
        let x = self.self_attn_layer_norm.forward(x * self.alpha + attended);
        let hidden = gelu(self.fc1.forward(x.clone()));
        self.final_layer_norm.forward(x * self.alpha + self.fc2.forward(hidden))
    }
}

impl Layer {
    fn graph(&self, graph: &mut Graph, x: &Value, bias: &Value) -> Value {
        let attended = self.self_attn.graph(graph, x, bias);
        let scaled = graph.affine(x, self.alpha, 0.0);
        let x = graph.add(&scaled, &attended);
        let x = graph.layer_norm(&self.self_attn_layer_norm, &x);
        let hidden = graph.linear(&self.fc1, &x);
        let hidden = graph.gelu(&hidden);
        let hidden = graph.linear(&self.fc2, &hidden);
        let scaled = graph.affine(&x, self.alpha, 0.0);
        let x = graph.add(&scaled, &hidden);
        graph.layer_norm(&self.final_layer_norm, &x)
    }
}

impl Attention {
    fn graph(&self, graph: &mut Graph, x: &Value, bias: &Value) -> Value {
        let (tokens, each) = (x.shape[1], x.shape[2] / self.heads);
        let [query, key, value] = [&self.q_proj, &self.k_proj, &self.v_proj].map(|projection| {
            let x = graph.linear(projection, x);
            let x = graph.reshape(&x, &[tokens, self.heads, each]);
            graph.swap(&x, 1, 2)
        });
        let gates = graph.linear(&self.grep_linear, &query);
        let gates = graph.reshape(&gates, &[self.heads, tokens, 2, GATE / 2]);
        let gates = graph.sum(&gates, 4);
        let gates = graph.each("Sigmoid", &gates);
        let [first, second] = [0, 1].map(|number| graph.narrow(&gates, 3, number, 1));
        let factor = graph.weights(self.grep_a.val());
        let gate = graph.mul(&second, &factor);
        let gate = graph.affine(&gate, 1.0, -1.0);
        let gate = graph.mul(&first, &gate);
        let gate = graph.affine(&gate, 1.0, 2.0);
        let bias = graph.mul(&gate, bias);
        let mixed = graph.attention([&query, &key, &value], Some(&bias));
        graph.linear(&self.out_proj, &mixed)
    }

    fn forward(&self, x: Tensor<3>, bias: &Tensor<4>) -> Tensor<3> {
        let [clips, tokens, size] = x.dims();
        let each = size / self.heads;
        let heads = |x: Tensor<3>| x.reshape([clips, tokens, self.heads, each]).swap_dims(1, 2);
        let query = heads(self.q_proj.forward(x.clone()));
        let (key, value) = (heads(self.k_proj.forward(x.clone())), heads(self.v_proj.forward(x)));
        let gates = self.grep_linear.forward(query.clone()).reshape([clips * self.heads * tokens, 2, GATE / 2]);
        let gates = sigmoid(gates.sum_dim(2)).reshape([clips, self.heads, tokens, 2]);
        let (first, second) = (gates.clone().narrow(3, 0, 1), gates.narrow(3, 1, 1));
        let gate = first * (second * self.grep_a.val() - 1.0) + 2.0;
        let products = product(query, key.swap_dims(2, 3), Tensor::matmul) * (each as f64).powf(-0.5);
        let weights = softmax(products + gate * bias.clone(), 3);
        let mixed = product(weights, value, Tensor::matmul);
        self.out_proj.forward(mixed.swap_dims(1, 2).reshape([clips, tokens, size]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_published_network() {
        let input = InputShape { channels: 1, height: 128, width: 998 };
        let rows = Beats::default().layers(input, 527).unwrap();
        let count = |rows: &[LayerRow]| rows.iter().map(|row| row.parameters).sum::<u64>();
        assert_eq!(count(&rows), 90_717_055);
        // Without the classifier and the mean over its tokens.
        assert_eq!(count(&rows[..rows.len() - 2]), 90_311_792);
    }

    #[test]
    fn near_distances_have_a_bias_of_their_own_and_far_ones_share_it() {
        let bucket = |distance| bucket_of(distance, 320, 800);
        assert_eq!([0, -1, 1, -79, 79].map(bucket), [0, 1, 161, 79, 239]);
        assert_eq!(bucket(-80), 80);
        assert_eq!([bucket(-800), bucket(-5000), bucket(800)], [159, 159, 319]);
        assert!(bucket(-120) < bucket(-160) && bucket(-160) < bucket(-400));
    }

    #[test]
    fn keys_that_contradict_each_other_are_named() {
        let keys = |spec: Beats| spec.faults().into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert!(keys(Beats::default()).is_empty());
        assert_eq!(keys(Beats { heads: 7, conv_pos_groups: 5, ..Beats::default() }), ["heads", "conv_pos_groups"]);
        assert_eq!(keys(Beats { num_buckets: 7, ..Beats::default() }), ["num_buckets"]);
        assert_eq!(keys(Beats { max_distance: 80, ..Beats::default() }), ["max_distance"]);
    }
}
