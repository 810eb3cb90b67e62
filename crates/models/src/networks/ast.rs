//! The audio spectrogram transformer (AST; Gong, Chung and Glass): overlapping patches of the image as tokens, two extra tokens,
//! blocks of attention, and a linear classifier of the mean of the two tokens. Weights of the original code and of Hugging Face are
//! read (`init`).
//!
//! Conventions and differences from the peers:
//! * Made for 128 Kaldi mel bands of 16 kHz audio in 1024 frames (10.24 s), with mean zero and standard deviation one half
//!   (`normalize = "global_half"`, the default).
//! * Names of the tensors are those of the original code; `query`, `key` and `value` of Hugging Face become its `qkv`.
//! * Positions of another number of frames are cut from the middle of the published ones, or interpolated linearly if there are more.
//! * The epsilon of the layer norms is 1e-6 in the blocks and 1e-5 in the classifier, as in the original code; Hugging Face has 1e-12.
//! * Neither dropout nor stochastic depth, as in the original recipe.
//! * Parameters as PyTorch counts them: 86,594,063 for 527 classes, 86,197,259 for 11, both for 1024 frames.

use anyhow::{Result, ensure};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layers::LayerNorm;
use super::layer_table::LayerTable;
use super::transformer::{self, Block, EXTRA, HeadLayer, PatchEmbed, Size};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::Tensor as Named;
use crate::hyperparameters::{Normalize, Training};
use timbre_core::{registry::Fault, seed::Seed};

/// The audio spectrogram transformer: attention over patches of the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ast {
    /// Values of a token. Default: 768.
    #[schemars(range(min = 1, max = 8192))]
    pub embed_dim: usize,
    /// Blocks of attention. Default: 12.
    #[schemars(range(min = 1, max = 96))]
    pub depth: usize,
    /// Heads of each attention; they divide `embed_dim`. Default: 12.
    #[schemars(range(min = 1, max = 512))]
    pub heads: usize,
    /// Bands and frames from one patch to the next; a patch has 16 of both. Default: 10.
    #[schemars(range(min = 1, max = 16))]
    pub stride: usize,
    /// The head: "linear" (the mean of the two extra tokens), or "concat" (fastai's), "per_class" or "attention" over the patches.
    /// Default: "linear".
    pub head: HeadKind,
}

impl Default for Ast {
    fn default() -> Self {
        Ast { embed_dim: 768, depth: 12, heads: 12, stride: 10, head: HeadKind::Linear }
    }
}

impl Ast {
    fn size(&self) -> Size {
        Size { embed_dim: self.embed_dim, depth: self.depth, heads: self.heads, stride: self.stride }
    }

    /// The rows and columns of patches.
    fn grid(&self, input: InputShape) -> Result<[usize; 2]> {
        let mut table = LayerTable::new(input, 1)?;
        table.conv("v.patch_embed.proj", 1, self.size().patch_window(), true)?;
        Ok([table.shape[1], table.shape[2]])
    }
}

impl NetworkKind for Ast {
    fn version(&self) -> u32 {
        3
    }

    fn training_defaults() -> Training {
        Training { batch_size: 8, learning_rate: 1e-5, normalize: Normalize::GlobalHalf, ..Training::default() }
    }

    fn faults(&self) -> Vec<Fault> {
        Fault::of_keys([("heads", self.size().heads_fault())])
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let (size, [rows, columns]) = (self.embed_dim, self.grid(input)?);
        let tokens = rows * columns + EXTRA;
        let mut table = LayerTable::new(input, 1)?;
        table.add("v", format!("{tokens} positions, {EXTRA} tokens"), table.shape.clone(), (EXTRA + tokens) * size, 0);
        table.conv("v.patch_embed.proj", size, self.size().patch_window(), true)?;
        self.size().rows(&mut table, "v.", tokens);
        table.shape = vec![size, rows, columns];
        self.head.rows(&mut table, n_classes, |table| self.size().head_rows(table, "mlp_head", n_classes));
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        if let Some(Fault { key, sentence }) = self.faults().into_iter().next() {
            anyhow::bail!("`{key}`: {sentence}");
        }
        let (size, [rows, columns]) = (self.size(), self.grid(input)?);
        let net = Net {
            v: Transformer::new(size, rows * columns, device),
            output: Output::new(self.head, self.embed_dim, n_classes, device, || Classifier {
                mlp_head: size.head(n_classes, device),
            }),
        };
        Ok(init::initialize(Network::Ast(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        if head::is_head(path) { 2 } else { self.size().group_of(path, "v.") }
    }

    /// The embeddings, each block, and the head with the norm before it.
    fn depth(&self) -> usize {
        self.depth + 2
    }

    fn depth_of(&self, path: &str) -> usize {
        if head::is_head(path) { self.depth + 1 } else { self.size().depth_of(path, "v.") }
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    head::initial_weights(name, fans).unwrap_or_else(|| transformer::initial_weights(name))
}

#[derive(Module, Debug)]
pub struct Net {
    v: Transformer,
    output: Output<Classifier>,
}

#[derive(Module, Debug)]
pub struct Transformer {
    cls_token: Param<Tensor<3>>,
    dist_token: Param<Tensor<3>>,
    /// The positions of the extra tokens, then those of the patches, row by row.
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
pub struct Classifier {
    mlp_head: Vec<HeadLayer>,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let (tokens, grid) = self.v.forward(images);
        match &self.output {
            Output::Own(own) => transformer::classify(&own.mlp_head, transformer::extra_tokens(tokens)),
            Output::Head(head) => head.forward(transformer::map_of_patches(tokens, grid), pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let (tokens, grid) = self.v.graph(graph, images);
        match &self.output {
            Output::Own(own) => transformer::graph_of_head(&own.mlp_head, graph, &tokens),
            Output::Head(head) => {
                let map = transformer::graph_of_map(graph, &tokens, grid);
                head.graph(graph, &map)
            }
        }
    }

    /// The mean of the two extra tokens, `[clips, embed_dim]`.
    pub fn penultimate(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        Some(transformer::extra_tokens(self.v.forward(images).0))
    }
}

impl Transformer {
    /// For images of so many patches.
    pub fn new(size: Size, patches: usize, device: &Device) -> Transformer {
        Transformer {
            cls_token: size.tokens(1, device),
            dist_token: size.tokens(1, device),
            pos_embed: size.tokens(EXTRA + patches, device),
            patch_embed: size.patch_embed(device),
            blocks: size.blocks(device),
            norm: size.norm(device),
        }
    }

    /// All tokens of images, and the rows and columns of patches.
    pub fn forward(&self, images: Tensor<4>) -> (Tensor<3>, [usize; 2]) {
        let (patches, grid) = self.patches(images);
        (self.encode(patches), grid)
    }

    /// The patches of images with their positions, `[clips, patches, embed_dim]`, and their rows and columns.
    pub fn patches(&self, images: Tensor<4>) -> (Tensor<3>, [usize; 2]) {
        let map = self.patch_embed.proj.forward(images);
        let [clips, size, rows, columns] = map.dims();
        let patches = map.reshape([clips, size, rows * columns]).swap_dims(1, 2);
        (patches + self.pos_embed.val().narrow(1, EXTRA, rows * columns), [rows, columns])
    }

    /// The extra tokens and those of patches after all blocks.
    pub fn encode(&self, patches: Tensor<3>) -> Tensor<3> {
        let [clips, _, size] = patches.dims();
        let extra = Tensor::cat(vec![self.cls_token.val(), self.dist_token.val()], 1);
        let extra = extra + self.pos_embed.val().narrow(1, 0, EXTRA);
        let tokens = Tensor::cat(vec![extra.expand([clips, EXTRA, size]), patches], 1);
        let tokens = self.blocks.iter().fold(tokens, |tokens, block| block.forward(tokens));
        self.norm.forward(tokens)
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> (Value, [usize; 2]) {
        let map = self.patch_embed.proj.graph(graph, images);
        let (rows, columns) = (map.shape[2], map.shape[3]);
        let patches = graph.reshape(&map, &[map.shape[1], rows * columns]);
        let patches = graph.swap(&patches, 1, 2);
        let extra = graph.weights(Tensor::cat(vec![self.cls_token.val(), self.dist_token.val()], 1));
        let extra = graph.for_each_clip(&extra, &patches);
        let tokens = graph.concat(&[&extra, &patches], 1);
        let positions = graph.weights(self.pos_embed.val());
        let tokens = graph.add(&tokens, &positions);
        (transformer::graph_of_blocks(&self.blocks, &self.norm, graph, tokens), [rows, columns])
    }
}

/// The tensors of Hugging Face's AST (with the names of its files, and with those of version 5 in memory) with the names of the
/// original code; other tensors are unchanged.
pub fn from_hugging_face(tensors: Vec<Named>) -> Result<Vec<Named>> {
    const PREFIX: &str = "audio_spectrogram_transformer.";
    if !tensors.iter().any(|tensor| tensor.name.starts_with(PREFIX)) {
        return Ok(tensors);
    }
    let mut renamed = Vec::with_capacity(tensors.len());
    let mut parts: Vec<(String, usize, Named)> = Vec::new();
    for mut tensor in tensors {
        let mut name = tensor.name.strip_prefix(PREFIX).unwrap_or(&tensor.name).to_owned();
        for (theirs, ours) in [
            ("embeddings.cls_token", "v.cls_token"),
            ("embeddings.distillation_token", "v.dist_token"),
            ("embeddings.position_embeddings", "v.pos_embed"),
            ("embeddings.patch_embeddings.projection.", "v.patch_embed.proj."),
            ("encoder.layer.", "v.blocks."),
            (".layernorm_before.", ".norm1."),
            (".layernorm_after.", ".norm2."),
            (".attention.output.dense.", ".attn.proj."),
            (".attention.o_proj.", ".attn.proj."),
            (".intermediate.dense.", ".mlp.fc1."),
            (".output.dense.", ".mlp.fc2."),
            ("classifier.layernorm.", "mlp_head.0."),
            ("classifier.dense.", "mlp_head.1."),
        ] {
            name = name.replace(theirs, ours);
        }
        for (theirs, ours) in [("layernorm.", "v.norm."), ("layers.", "v.blocks.")] {
            if let Some(rest) = name.strip_prefix(theirs) {
                name = format!("{ours}{rest}");
            }
        }
        let is_part = |part: &[&str; 2]| part.iter().any(|part| name.contains(part));
        let [query, key, value] = [".attention.attention.query.", ".attention.attention.key.", ".attention.attention.value."];
        let part = [[query, ".attention.q_proj."], [key, ".attention.k_proj."], [value, ".attention.v_proj."]];
        match part.iter().position(is_part) {
            Some(part) => {
                let (block, rest) = name.split_once(".attention.").expect("just found");
                let kind = rest.rsplit('.').next().unwrap_or_default();
                parts.push((format!("{block}.attn.qkv.{kind}"), part, tensor));
            }
            None => {
                tensor.name = name;
                renamed.push(tensor);
            }
        }
    }
    parts.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    for three in parts.chunk_by(|a, b| a.0 == b.0) {
        let name = &three[0].0;
        ensure!(three.len() == 3, "`{name}` needs a query, a key and a value, and the file has {} of them", three.len());
        let mut shape = three[0].2.shape.clone();
        shape[0] *= 3;
        let values = three.iter().map(|(.., tensor)| tensor.clone().into_values()).collect::<Result<Vec<_>>>()?;
        ensure!(values.iter().all(|part| part.len() == values[0].len()), "query, key and value of `{name}` differ in size");
        renamed.push(Named::new(name, shape, values.concat()));
    }
    Ok(renamed)
}

/// Positions `[1, tokens, size]` for another number of columns of patches: cut from the middle, or interpolated linearly. None if the
/// sizes do not belong to grids with as many rows.
pub fn resized_positions(values: &[f32], from: &[usize], to: &[usize]) -> Option<Vec<f32>> {
    // The rows of 128 bands at the published stride.
    const ROWS: usize = 12;
    let ([1, before, size], [1, after, other]) = (from, to) else { return None };
    let columns = |tokens: usize| tokens.checked_sub(EXTRA).filter(|n| *n > 0 && n.is_multiple_of(ROWS)).map(|n| n / ROWS);
    let (before, after) = (columns(*before)?, columns(*after)?);
    if size != other {
        return None;
    }
    let patch = |row: usize, column: usize| &values[(EXTRA + row * before + column) * size..][..*size];
    let mut out = values[..EXTRA * size].to_vec();
    for row in 0..ROWS {
        for column in 0..after {
            if after <= before {
                out.extend(patch(row, before / 2 - after / 2 + column));
                continue;
            }
            // As `torch.nn.functional.interpolate` without aligned corners.
            let at = ((column as f64 + 0.5) * before as f64 / after as f64 - 0.5).max(0.0);
            let (left, share) = (at as usize, at.fract() as f32);
            let right = (left + 1).min(before - 1);
            out.extend(patch(row, left).iter().zip(patch(row, right)).map(|(a, b)| a + (b - a) * share));
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize) -> InputShape {
        InputShape { channels: 1, height: 128, width }
    }

    #[test]
    fn parameters_are_those_of_the_published_network() {
        for (classes, expected) in [(527, 86_594_063), (11, 86_197_259)] {
            let rows = Ast::default().layers(image(1024), classes).unwrap();
            assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), expected);
        }
    }

    #[test]
    fn heads_that_do_not_divide_the_tokens_are_a_fault() {
        let faults = Ast { heads: 5, ..Ast::default() }.faults();
        assert!(faults[0].key == "heads" && faults[0].sentence.contains("5 heads"), "{faults:?}");
    }

    #[test]
    fn positions_are_cut_from_the_middle_and_interpolated_beyond_the_ends() {
        // Two values of the extra tokens, then 12 rows of four columns with their numbers.
        let values: Vec<f32> = [-1.0, -2.0].into_iter().chain((0..48).map(|n| (n % 4) as f32)).collect();
        let cut = resized_positions(&values, &[1, 50, 1], &[1, 26, 1]).unwrap();
        assert_eq!(cut[..6], [-1.0, -2.0, 1.0, 2.0, 1.0, 2.0]);
        let wide = resized_positions(&values, &[1, 50, 1], &[1, 98, 1]).unwrap();
        assert_eq!(wide[2..10], [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]);
        assert_eq!(resized_positions(&values, &[1, 50, 1], &[1, 51, 1]), None);
    }
}
