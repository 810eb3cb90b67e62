//! The patchout spectrogram transformer (PaSST; Koutini, Schlüter, Eghbal-zadeh and Widmer): a transformer over overlapping patches
//! with separate positions in frequency and time, of which a training step leaves out some patches at random (patchout).
//!
//! Conventions and differences from the peers:
//! * Made for the feature `passt_mel`: 128 bands of 32 kHz audio, scaled by the network's own numbers, with positions for 998 frames (10 s)
//!   (`normalize = "none"`).
//! * Names of the tensors are those of the original code and of the package `hear21passt`. `head_dist` is kept and, as there, not used.
//! * A clip shorter than `input_frames` takes the first positions in time; in training a random stretch of them. A longer one is refused,
//!   where the original code cuts it: raise `input_frames`. Published positions are cut at the end, or interpolated linearly if there are
//!   more.
//! * Patchout applies in training only. The patches that are left out are the same for all clips of a batch and drawn anew for each.
//!   Times, frequencies and single patches come from the seed of the step, on every device.
//! * Neither dropout nor stochastic depth, as in the original recipe.
//! * Parameters as PyTorch counts them, with `head_dist`: 86,153,758 for 527 classes, 85,360,150 for 11.

use anyhow::{Result, ensure};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::training_pass::TrainingPass;
use super::head::{self, HeadKind, Output};
use super::init::{self, Fans, InitDistribution};
use super::layer_table::LayerTable;
use super::layers::{LayerNorm, Linear, LinearConfig};
use super::transformer::{self, Block, EXTRA, HeadLayer, PATCH, PatchEmbed, Size};
use super::onnx::{Graph, Value};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::{Normalize, Training};
use timbre_core::{
    registry::Fault,
    seed::{Seed, uniform},
};

/// PaSST: a transformer over patches of the image, of which a training step leaves some out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Passt {
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
    /// The frames for which there are positions; clips may be shorter. Default: 998, the 10 s of the published weights.
    #[schemars(range(min = 16, max = 100000))]
    pub input_frames: usize,
    /// Structured patchout: columns of patches that a training step leaves out. The recipe has 40 for 10 s. Default: 0.
    pub s_patchout_t: usize,
    /// Structured patchout: rows of patches that a training step leaves out. The recipe has 4 of 12. Default: 0.
    pub s_patchout_f: usize,
    /// Unstructured patchout: patches that a training step leaves out. Default: 0.
    pub u_patchout: usize,
    /// The head: "linear" (the mean of the two extra tokens), or "concat" (fastai's), "per_class" or "attention" over the patches, which
    /// excludes unstructured patchout. Default: "linear".
    pub head: HeadKind,
}

impl Default for Passt {
    fn default() -> Self {
        Passt {
            embed_dim: 768,
            depth: 12,
            heads: 12,
            stride: 10,
            input_frames: 998,
            s_patchout_t: 0,
            s_patchout_f: 0,
            u_patchout: 0,
            head: HeadKind::Linear,
        }
    }
}

impl Passt {
    fn size(&self) -> Size {
        Size { embed_dim: self.embed_dim, depth: self.depth, heads: self.heads, stride: self.stride }
    }

    /// The columns of patches for which there are positions.
    fn positions_in_time(&self) -> usize {
        (self.input_frames.max(PATCH) - PATCH) / self.stride + 1
    }

    /// The rows and columns of patches.
    fn grid(&self, input: InputShape) -> Result<[usize; 2]> {
        let mut table = LayerTable::new(input, 1)?;
        table.conv("patch_embed.proj", 1, self.size().patch_window(), true)?;
        let [rows, columns] = [table.shape[1], table.shape[2]];
        ensure!(
            columns <= self.positions_in_time(),
            "the clips have {} frames and the network has positions for {}: set `input_frames` to {}",
            input.width,
            self.input_frames,
            input.width
        );
        for (key, left_out, all, what) in [
            ("s_patchout_t", self.s_patchout_t, columns, "columns"),
            ("s_patchout_f", self.s_patchout_f, rows, "rows"),
        ] {
            ensure!(left_out < all, "`{key}` leaves out {left_out} of the {all} {what} of patches: lower it");
        }
        let kept = (columns - self.s_patchout_t) * (rows - self.s_patchout_f);
        ensure!(
            self.u_patchout < kept,
            "`u_patchout` leaves out {} of the {kept} patches that the other patchouts keep: lower it",
            self.u_patchout
        );
        Ok([rows, columns])
    }
}

impl NetworkKind for Passt {
    fn version(&self) -> u32 {
        2
    }

    fn training_defaults() -> Training {
        Training { batch_size: 8, learning_rate: 2e-5, normalize: Normalize::None, ..Training::default() }
    }

    fn faults(&self) -> Vec<Fault> {
        let sentence = "needs the map of all patches, which unstructured patchout destroys: write `s_patchout_t` and `s_patchout_f`, or \
                        `head = \"linear\"`";
        let mapped = self.u_patchout > 0 && self.head != HeadKind::Linear;
        Fault::of_keys([("heads", self.size().heads_fault()), ("head", mapped.then(|| sentence.to_owned()))])
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let (size, [rows, columns]) = (self.embed_dim, self.grid(input)?);
        let tokens = rows * columns + EXTRA;
        let mut table = LayerTable::new(input, 1)?;
        for (name, what, count) in [
            ("cls_token", "token", 1),
            ("dist_token", "token", 1),
            ("new_pos_embed", "positions of the tokens", EXTRA),
            ("freq_new_pos_embed", "positions in frequency", rows),
            ("time_new_pos_embed", "positions in time", self.positions_in_time()),
        ] {
            table.add(name, format!("{count} {what}"), table.shape.clone(), count * size, 0);
        }
        table.conv("patch_embed.proj", size, self.size().patch_window(), true)?;
        self.size().rows(&mut table, "", tokens);
        table.shape = vec![size, rows, columns];
        self.head.rows(&mut table, n_classes, |table| {
            self.size().head_rows(table, "head", n_classes);
            table.shape = vec![size];
            table.linear("head_dist", n_classes, true);
        });
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        if let Some(Fault { key, sentence }) = self.faults().into_iter().next() {
            anyhow::bail!("`{key}`: {sentence}");
        }
        let (size, [rows, _]) = (self.size(), self.grid(input)?);
        let values = self.embed_dim;
        let zeros = |tokens: usize| Param::from_tensor(Tensor::zeros([1, tokens, values], device));
        let net = Net {
            cls_token: zeros(1),
            dist_token: zeros(1),
            new_pos_embed: zeros(EXTRA),
            freq_new_pos_embed: Param::from_tensor(Tensor::zeros([1, values, rows, 1], device)),
            time_new_pos_embed: Param::from_tensor(Tensor::zeros([1, values, 1, self.positions_in_time()], device)),
            patch_embed: size.patch_embed(device),
            blocks: size.blocks(device),
            norm: size.norm(device),
            output: Output::new(self.head, values, n_classes, device, || Classifier {
                head: size.head(n_classes, device),
                head_dist: LinearConfig::new(values, n_classes).init(device),
            }),
            patchout: [self.s_patchout_f, self.s_patchout_t, self.u_patchout],
        };
        Ok(init::initialize(Network::Passt(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        if head::is_head(path) { 2 } else { self.size().group_of(path, "") }
    }

    /// The embeddings, each block, and the head with the norm before it.
    fn depth(&self) -> usize {
        self.depth + 2
    }

    fn depth_of(&self, path: &str) -> usize {
        if head::is_head(path) { self.depth + 1 } else { self.size().depth_of(path, "") }
    }
}

fn initial_weights(name: &str, fans: Fans) -> InitDistribution {
    let is_own = ["head.0.", "head.1.", "head_dist."].iter().any(|own| name.starts_with(own));
    let other = if is_own { None } else { head::initial_weights(name, fans) };
    other.unwrap_or_else(|| transformer::initial_weights(name))
}

#[derive(Module, Debug)]
pub struct Net {
    cls_token: Param<Tensor<3>>,
    dist_token: Param<Tensor<3>>,
    /// The positions of the extra tokens.
    new_pos_embed: Param<Tensor<3>>,
    freq_new_pos_embed: Param<Tensor<4>>,
    time_new_pos_embed: Param<Tensor<4>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    output: Output<Classifier>,
    /// Rows, columns and single patches that a training step leaves out.
    patchout: [usize; 3],
}

#[derive(Module, Debug)]
pub struct Classifier {
    head: Vec<HeadLayer>,
    head_dist: Linear,
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let (tokens, grid) = self.tokens(images, pass);
        match &self.output {
            Output::Own(own) => transformer::classify(&own.head, transformer::extra_tokens(tokens)),
            Output::Head(head) => head.forward(transformer::map_of_patches(tokens, grid), pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let map = self.patch_embed.proj.graph(graph, images);
        let (size, rows, columns) = (map.shape[1], map.shape[2], map.shape[3]);
        let over_time = graph.weights(self.time_new_pos_embed.val().narrow(3, 0, columns));
        let map = graph.add(&map, &over_time);
        let over_bands = graph.weights(self.freq_new_pos_embed.val());
        let map = graph.add(&map, &over_bands);
        let patches = graph.reshape(&map, &[size, rows * columns]);
        let patches = graph.swap(&patches, 1, 2);
        let extra = Tensor::cat(vec![self.cls_token.val(), self.dist_token.val()], 1) + self.new_pos_embed.val();
        let extra = graph.weights(extra);
        let extra = graph.for_each_clip(&extra, &patches);
        let tokens = graph.concat(&[&extra, &patches], 1);
        let tokens = transformer::graph_of_blocks(&self.blocks, &self.norm, graph, tokens);
        match &self.output {
            Output::Own(own) => transformer::graph_of_head(&own.head, graph, &tokens),
            Output::Head(head) => {
                let map = transformer::graph_of_map(graph, &tokens, [rows, columns]);
                head.graph(graph, &map)
            }
        }
    }

    /// The mean of the two extra tokens, `[clips, embed_dim]`.
    pub fn penultimate(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        Some(transformer::extra_tokens(self.tokens(images, None).0))
    }

    /// All tokens, and the rows and columns of patches; patches are left out in training.
    fn tokens(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> (Tensor<3>, [usize; 2]) {
        let map = self.patch_embed.proj.forward(images);
        let [clips, size, mut rows, mut columns] = map.dims();
        let positions = self.time_new_pos_embed.val();
        let spare = positions.dims()[3] - columns;
        let first = pass.map_or(0, |pass| {
            let mut rng = pass.next_seed().rng();
            (uniform(&mut rng) * (spare + 1) as f64) as usize
        });
        let mut map = map + positions.narrow(3, first, columns) + self.freq_new_pos_embed.val();
        let [left_out_rows, left_out_columns, left_out] = self.patchout;
        if let Some(pass) = pass {
            map = keep(map, 3, columns - left_out_columns, pass);
            map = keep(map, 2, rows - left_out_rows, pass);
            [rows, columns] = [rows - left_out_rows, columns - left_out_columns];
        }
        let mut patches = map.reshape([clips, size, rows * columns]).swap_dims(1, 2);
        if let Some(pass) = pass {
            patches = keep(patches, 1, rows * columns - left_out, pass);
        }
        let extra = Tensor::cat(vec![self.cls_token.val(), self.dist_token.val()], 1) + self.new_pos_embed.val();
        let tokens = Tensor::cat(vec![extra.expand([clips, EXTRA, size]), patches], 1);
        let tokens = self.blocks.iter().fold(tokens, |tokens, block| block.forward(tokens));
        (self.norm.forward(tokens), [rows, columns])
    }
}

/// Some places along an axis, drawn at random, in their order.
fn keep<const D: usize>(x: Tensor<D>, axis: usize, count: usize, pass: &TrainingPass) -> Tensor<D> {
    let all = x.dims()[axis];
    if count == all {
        return x;
    }
    let kept: Vec<i64> = transformer::drawn(all, count, pass.next_seed()).into_iter().map(|place| place as i64).collect();
    let kept = Tensor::<1, Int>::from_data(&kept[..], &x.device());
    x.select(axis, kept)
}

/// Positions in time `[1, size, 1, columns]` for another number of columns: cut at the end, or interpolated linearly.
pub fn resized_positions(values: &[f32], from: &[usize], to: &[usize]) -> Option<Vec<f32>> {
    let ([1, size, 1, before], [1, other, 1, after]) = (from, to) else { return None };
    let (&before, &after) = (before, after);
    if size != other || before == 0 {
        return None;
    }
    let resized = |row: &[f32]| -> Vec<f32> {
        match after <= before {
            true => row[..after].to_vec(),
            false => transformer::interpolated(row, after),
        }
    };
    Some(values.chunks_exact(before).flat_map(resized).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    fn image(width: usize) -> InputShape {
        InputShape { channels: 1, height: 128, width }
    }

    fn small(change: impl FnOnce(&mut Passt)) -> Passt {
        let mut spec = Passt { embed_dim: 12, depth: 1, heads: 2, input_frames: 76, ..Passt::default() };
        change(&mut spec);
        spec
    }

    #[test]
    fn parameters_are_those_of_the_published_network() {
        for (classes, expected) in [(527, 86_153_758), (20, 85_373_992), (11, 85_360_150)] {
            let rows = Passt::default().layers(image(998), classes).unwrap();
            assert_eq!(rows.iter().map(|row| row.parameters).sum::<u64>(), expected);
        }
    }

    #[test]
    fn a_clip_without_positions_and_too_much_patchout_are_refused_with_the_key() {
        let error = |spec: Passt, width| spec.layers(image(width), 3).unwrap_err().to_string();
        assert!(Passt::default().layers(image(1000), 3).is_ok());
        assert!(error(Passt::default(), 1006).contains("set `input_frames` to 1006"));
        assert!(error(small(|spec| spec.s_patchout_t = 7), 76).contains("`s_patchout_t` leaves out 7 of the 7 columns"));
        assert!(error(small(|spec| spec.s_patchout_f = 12), 76).contains("`s_patchout_f` leaves out 12 of the 12 rows"));
        let all = small(|spec| (spec.s_patchout_t, spec.s_patchout_f, spec.u_patchout) = (6, 11, 1));
        assert!(error(all, 76).contains("`u_patchout` leaves out 1 of the 1 patches"));
        let heads = small(|spec| (spec.u_patchout, spec.head) = (1, HeadKind::Attention)).faults();
        assert_eq!(heads[0].key, "head");
    }

    #[test]
    fn patchout_and_the_place_in_time_differ_from_step_to_step_in_training_only() {
        let device = Device::flex();
        let logits = |spec: &Passt, width: usize, seed: Option<u64>| {
            let Network::Passt(net) = spec.build(image(width), 3, Seed::new(4), &device).unwrap() else { panic!() };
            device.seed(1);
            let images = Tensor::random([2, 1, 128, width], Distribution::Uniform(-1.0, 1.0), &device);
            let pass = seed.map(|seed| TrainingPass::new(Seed::new(seed)));
            net.forward(images, pass.as_ref()).into_data().try_into_vec::<f32>().unwrap()
        };
        let none = small(|_| ());
        assert_eq!(logits(&none, 76, Some(1)), logits(&none, 76, None));
        // A shorter clip has another place in time.
        assert!((2..9).any(|seed| logits(&none, 36, Some(seed)) != logits(&none, 36, Some(1))));
        for patchout in [[2, 0, 0], [0, 3, 0], [0, 0, 20], [2, 3, 20]] {
            let spec = small(|spec| [spec.s_patchout_t, spec.s_patchout_f, spec.u_patchout] = patchout);
            assert_eq!(logits(&spec, 76, None), logits(&none, 76, None), "{patchout:?}");
            assert_ne!(logits(&spec, 76, Some(1)), logits(&spec, 76, Some(2)), "{patchout:?}");
            assert_eq!(logits(&spec, 76, Some(3)), logits(&spec, 76, Some(3)), "{patchout:?}");
        }
    }

    #[test]
    fn positions_are_cut_at_the_end_or_interpolated() {
        let resized = |after: usize| resized_positions(&[0.0, 1.0, 2.0, 6.0, 5.0, 4.0], &[1, 2, 1, 3], &[1, 2, 1, after]);
        assert_eq!(resized(2).unwrap(), [0.0, 1.0, 6.0, 5.0]);
        assert_eq!(resized(6).unwrap(), [0.0, 0.25, 0.75, 1.25, 1.75, 2.0, 6.0, 5.75, 5.25, 4.75, 4.25, 4.0]);
        assert!(resized_positions(&[0.0; 6], &[1, 2, 1, 3], &[1, 3, 1, 2]).is_none());
    }
}
