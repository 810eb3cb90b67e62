//! The parts of vision transformers, with timm's names: patches, blocks of attention with the norms first, and a head.
//!
//! GELU is exact (by the error function). Initial weights are normal with a standard deviation of 0.02, biases zero; timm cuts the
//! normal at two deviations.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::init::InitDistribution;
use super::layer_table::{LayerTable, Window};
use super::layers::{Conv2d, Conv2dConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, attention, gelu};
use super::onnx::{Graph, Value};
use timbre_core::seed::{Seed, uniform};

/// Bands and frames of a patch.
pub const PATCH: usize = 16;
/// The tokens before those of the patches: class and distillation.
pub const EXTRA: usize = 2;
/// The hidden values of a block, in sizes of a token.
const HIDDEN: usize = 4;
/// The epsilon of the layer norms before the classifier.
const EPSILON: f64 = 1e-6;

/// The size of a transformer.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub embed_dim: usize,
    pub depth: usize,
    pub heads: usize,
    /// Bands and frames from one patch to the next.
    pub stride: usize,
}

impl Size {
    /// What is wrong with the number of heads.
    pub fn heads_fault(self) -> Option<String> {
        let divides = self.heads > 0 && self.embed_dim.is_multiple_of(self.heads);
        (!divides).then(|| format!("{} heads do not divide tokens of {} values", self.heads, self.embed_dim))
    }

    pub fn patch_window(self) -> Window {
        Window::square(PATCH, self.stride, 0)
    }

    pub fn patch_embed(self, device: &Device) -> PatchEmbed {
        let config = Conv2dConfig::new([1, self.embed_dim], [PATCH; 2]).with_stride([self.stride; 2]);
        PatchEmbed { proj: config.init(device) }
    }

    /// Learnt tokens, or positions of so many tokens.
    pub fn tokens(self, count: usize, device: &Device) -> Param<Tensor<3>> {
        Param::from_tensor(Tensor::zeros([1, count, self.embed_dim], device))
    }

    pub fn norm(self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.embed_dim).with_epsilon(EPSILON).init(device)
    }

    pub fn blocks(self, device: &Device) -> Vec<Block> {
        let size = self.embed_dim;
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let block = |_| Block {
            norm1: self.norm(device),
            attn: Attention { qkv: linear(size, 3 * size), proj: linear(size, size), heads: self.heads },
            norm2: self.norm(device),
            mlp: Mlp { fc1: linear(size, HIDDEN * size), fc2: linear(HIDDEN * size, size) },
        };
        (0..self.depth).map(block).collect()
    }

    /// A layer norm and a linear layer.
    pub fn head(self, n_classes: usize, device: &Device) -> Vec<HeadLayer> {
        let norm = LayerNormConfig::new(self.embed_dim).init(device);
        vec![HeadLayer::Norm(norm), HeadLayer::Linear(LinearConfig::new(self.embed_dim, n_classes).init(device))]
    }

    /// Adds the rows of the blocks, and of the norm after them, to the layer table.
    pub fn rows(self, table: &mut LayerTable, prefix: &str, tokens: usize) {
        let size = self.embed_dim;
        for number in 0..self.depth {
            let name = format!("{prefix}blocks.{number}");
            norm_row(table, &format!("{name}.norm1"), tokens, size);
            linear_row(table, &format!("{name}.attn.qkv"), tokens, [size, 3 * size]);
            attention_row(table, &format!("{name}.attn"), tokens, size, self.heads);
            linear_row(table, &format!("{name}.attn.proj"), tokens, [size, size]);
            norm_row(table, &format!("{name}.norm2"), tokens, size);
            linear_row(table, &format!("{name}.mlp.fc1"), tokens, [size, HIDDEN * size]);
            linear_row(table, &format!("{name}.mlp.fc2"), tokens, [HIDDEN * size, size]);
        }
        norm_row(table, &format!("{prefix}norm"), tokens, size);
    }

    /// Adds the rows of [`Size::head`] to the layer table.
    pub fn head_rows(self, table: &mut LayerTable, name: &str, n_classes: usize) {
        let size = self.embed_dim;
        table.add(&format!("{name}.0"), format!("layer norm {size}"), vec![size], 2 * size, 0);
        table.linear(&format!("{name}.1"), n_classes, true);
    }

    /// The parameter group of a tensor below the head: the embeddings and the first half of the blocks, or the second half.
    pub fn group_of(self, path: &str, prefix: &str) -> usize {
        usize::from(is_norm(path, prefix) || block_of(path, prefix).is_some_and(|number| 2 * number >= self.depth))
    }

    /// The layer of a tensor below the head: the embeddings, then the blocks, then the norm after them, which belongs to the head.
    pub fn depth_of(self, path: &str, prefix: &str) -> usize {
        match block_of(path, prefix) {
            Some(number) => number + 1,
            None if is_norm(path, prefix) => self.depth + 1,
            None => 0,
        }
    }
}

/// A layer norm of each token.
pub fn norm_row(table: &mut LayerTable, name: &str, tokens: usize, size: usize) {
    table.add(name, format!("layer norm {size}"), vec![tokens, size], 2 * size, 0);
}

/// A linear layer for each token.
pub fn linear_row(table: &mut LayerTable, name: &str, tokens: usize, [from, to]: [usize; 2]) {
    table.add(name, format!("linear {to} per token"), vec![tokens, to], from * to + to, from * to * tokens);
}

/// The products of an attention.
pub fn attention_row(table: &mut LayerTable, name: &str, tokens: usize, size: usize, heads: usize) {
    let products = 2 * tokens * tokens * size;
    table.add(name, format!("attention, {heads} heads"), vec![tokens, size], 0, products);
}

fn is_norm(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("norm."))
}

/// The number of the block of a tensor.
fn block_of(path: &str, prefix: &str) -> Option<usize> {
    path.strip_prefix(prefix)?.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
}

/// Normal weights, and biases of zero.
pub fn initial_weights(name: &str) -> InitDistribution {
    match name.ends_with("bias") {
        true => InitDistribution::Constant(0.0),
        false => InitDistribution::Normal(0.02),
    }
}

#[derive(Module, Debug)]
pub struct PatchEmbed {
    pub proj: Conv2d,
}

#[derive(Module, Debug)]
pub struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
pub struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
pub enum HeadLayer {
    Norm(LayerNorm),
    Linear(Linear),
}

/// A layer norm and a linear layer in sequence.
pub fn classify(head: &[HeadLayer], x: Tensor<2>) -> Tensor<2> {
    head.iter().fold(x, |x, layer| match layer {
        HeadLayer::Norm(layer) => layer.forward(x),
        HeadLayer::Linear(layer) => layer.forward(x),
    })
}

/// The mean of the two extra tokens.
pub fn extra_tokens(tokens: Tensor<3>) -> Tensor<2> {
    let [clips, _, size] = tokens.dims();
    tokens.narrow(1, 0, EXTRA).mean_dim(1).reshape([clips, size])
}

/// The tokens of the patches as a feature map with these rows and columns.
pub fn map_of_patches(tokens: Tensor<3>, [rows, columns]: [usize; 2]) -> Tensor<4> {
    let [clips, count, size] = tokens.dims();
    let patches = tokens.narrow(1, EXTRA, count - EXTRA).swap_dims(1, 2);
    patches.reshape([clips, size, rows, columns])
}

impl Block {
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.norm1.forward(x));
        x.clone() + self.mlp.fc2.forward(gelu(self.mlp.fc1.forward(self.norm2.forward(x))))
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.proj.forward(attention(self.qkv.forward(x), self.heads))
    }
}

/// The blocks, and the norm after them.
pub fn graph_of_blocks(blocks: &[Block], norm: &LayerNorm, graph: &mut Graph, tokens: Value) -> Value {
    let tokens = blocks.iter().fold(tokens, |tokens, block| block.graph(graph, &tokens));
    graph.layer_norm(norm, &tokens)
}

/// [`classify`] of the [`extra_tokens`] as nodes.
pub fn graph_of_head(head: &[HeadLayer], graph: &mut Graph, tokens: &Value) -> Value {
    let extra = graph.narrow(tokens, 1, 0, EXTRA);
    let mean = graph.reduce("ReduceMean", &extra, &[1]);
    head.iter().fold(mean, |x, layer| match layer {
        HeadLayer::Norm(layer) => graph.layer_norm(layer, &x),
        HeadLayer::Linear(layer) => graph.linear(layer, &x),
    })
}

/// [`map_of_patches`] as nodes.
pub fn graph_of_map(graph: &mut Graph, tokens: &Value, [rows, columns]: [usize; 2]) -> Value {
    let patches = graph.narrow(tokens, 1, EXTRA, tokens.shape[1] - EXTRA);
    let patches = graph.swap(&patches, 1, 2);
    graph.reshape(&patches, &[patches.shape[1], rows, columns])
}

impl Block {
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let normed = graph.layer_norm(&self.norm1, x);
        let attended = self.attn.graph(graph, &normed);
        let x = graph.add(x, &attended);
        let normed = graph.layer_norm(&self.norm2, &x);
        let hidden = graph.linear(&self.mlp.fc1, &normed);
        let hidden = graph.gelu(&hidden);
        let hidden = graph.linear(&self.mlp.fc2, &hidden);
        graph.add(&x, &hidden)
    }
}

impl Attention {
    fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let (tokens, size) = (x.shape[1], x.shape[2]);
        let each = size / self.heads;
        let qkv = graph.linear(&self.qkv, x);
        let qkv = graph.reshape(&qkv, &[tokens, 3 * self.heads, each]);
        let qkv = graph.swap(&qkv, 1, 2);
        let [query, key, value] = [0, 1, 2].map(|part| graph.narrow(&qkv, 1, part * self.heads, self.heads));
        let mixed = graph.attention([&query, &key, &value], None);
        graph.linear(&self.proj, &mixed)
    }
}

/// `count` different numbers below `all`, ascending.
pub fn drawn(all: usize, count: usize, seed: Seed) -> Vec<usize> {
    let (mut rng, mut numbers) = (seed.rng(), (0..all).collect::<Vec<usize>>());
    for at in 0..count {
        numbers.swap(at, at + (uniform(&mut rng) * (all - at) as f64) as usize);
    }
    numbers.truncate(count);
    numbers.sort_unstable();
    numbers
}

/// Values resampled linearly to `count`, as `torch.nn.functional.interpolate` without aligned corners.
pub fn interpolated(values: &[f32], count: usize) -> Vec<f32> {
    let before = values.len();
    let value = |at: usize| {
        let at = ((at as f64 + 0.5) * before as f64 / count as f64 - 0.5).max(0.0);
        let (left, share) = (at as usize, at.fract() as f32);
        let right = values[(left + 1).min(before - 1)];
        values[left] + (right - values[left]) * share
    };
    (0..count).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_drawn_without_repetition_and_each_as_often() {
        let mut counts = [0; 6];
        for seed in 0..3000 {
            let numbers = drawn(6, 4, Seed::new(seed));
            assert!(numbers.len() == 4 && numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
            numbers.into_iter().for_each(|number| counts[number] += 1);
        }
        assert!(counts.iter().all(|&count| (1900..2100).contains(&count)), "{counts:?}");
    }
}
