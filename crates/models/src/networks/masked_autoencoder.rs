//! A masked autoencoder (He et al. 2021; on spectrograms AudioMAE, Huang et al. 2022): learns from the images alone. The encoder, a
//! transformer, sees a small part of the patches; a small decoder, which is not used later, reconstructs the others.
//!
//! Conventions and differences from the peers:
//! * The encoder is that of `ast` with a stride of 16, and its tensors have the same names: `init` of an `ast` reads them.
//! * Each clip of each step has its own hidden patches, drawn from all of them, without regard to bands or frames.
//! * The loss is the mean squared error of the hidden patches. With `normalize_patches` each patch has mean 0 and variance 1 first (its
//!   variance divided by n − 1, plus 1e-6), as in both papers.
//! * Positions are learnt, as in AST; both papers have fixed sines. The decoder attends to all patches, in AudioMAE's later blocks
//!   to local windows.
//! * A linear layer on the mean of the patches learns the classes meanwhile. No gradient of it reaches the encoder, so the
//!   encoder knows no label, and the metrics are those of a linear probe. In training the layer sees the mean of the visible patches, in
//!   prediction that of all.
//! * The loss of the training is the sum of both; that of the validation is the layer's alone.

use anyhow::{Result, ensure};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ast::Transformer;
use super::head;
use super::init::{self, Fans, InitDistribution};
use super::layer_table::LayerTable;
use super::layers::{LayerNorm, Linear, LinearConfig};
use super::onnx::{Graph, Value};
use super::training_pass::TrainingPass;
use super::transformer::{self, Block, EXTRA, PATCH, Size, linear_row};
use super::{InputShape, LayerRow, Network, NetworkKind};
use crate::hyperparameters::{Normalize, Training};
use timbre_core::{registry::Fault, seed::Seed};

/// A masked autoencoder: learns to reconstruct hidden patches of the image, as a start for an `ast`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedAutoencoder {
    /// Values of a token. Default: 768.
    #[schemars(range(min = 1, max = 8192))]
    pub embed_dim: usize,
    /// Blocks of attention. Default: 12.
    #[schemars(range(min = 1, max = 96))]
    pub depth: usize,
    /// Heads of each attention; they divide `embed_dim`. Default: 12.
    #[schemars(range(min = 1, max = 512))]
    pub heads: usize,
    /// The share of the patches that is hidden. Default: 0.8.
    #[schemars(range(min = 0.01, max = 0.99))]
    pub hidden: f64,
    /// Scale each patch to mean 0 and variance 1 before it is compared. Default: true.
    pub normalize_patches: bool,
    /// Values of a token in the decoder. Default: 512.
    #[schemars(range(min = 1, max = 8192))]
    pub decoder_dim: usize,
    /// Blocks of the decoder. Default: 8.
    #[schemars(range(min = 1, max = 96))]
    pub decoder_depth: usize,
    /// Heads of each attention in the decoder; they divide `decoder_dim`. Default: 16.
    #[schemars(range(min = 1, max = 512))]
    pub decoder_heads: usize,
}

impl Default for MaskedAutoencoder {
    fn default() -> Self {
        MaskedAutoencoder {
            embed_dim: 768,
            depth: 12,
            heads: 12,
            hidden: 0.8,
            normalize_patches: true,
            decoder_dim: 512,
            decoder_depth: 8,
            decoder_heads: 16,
        }
    }
}

/// The values of a patch.
const VALUES: usize = PATCH * PATCH;
/// Added to the variance of a patch.
const EPSILON: f64 = 1e-6;

impl MaskedAutoencoder {
    fn encoder(&self) -> Size {
        Size { embed_dim: self.embed_dim, depth: self.depth, heads: self.heads, stride: PATCH }
    }

    fn decoder(&self) -> Size {
        Size { embed_dim: self.decoder_dim, depth: self.decoder_depth, heads: self.decoder_heads, stride: PATCH }
    }

    /// The table up to the patches, the number of patches, and how many of them are visible: at least one is, and at least one is not.
    fn patches(&self, input: InputShape) -> Result<(LayerTable, usize, usize)> {
        let mut table = LayerTable::new(input, 1)?;
        table.conv("v.patch_embed.proj", self.embed_dim, self.encoder().patch_window(), true)?;
        let patches = table.shape[1] * table.shape[2];
        ensure!(
            patches > 1,
            "the image of {} × {} is one patch of {PATCH} × {PATCH}, and some of several are hidden: use longer clips or more bands",
            input.height,
            input.width
        );
        let visible = ((1.0 - self.hidden) * patches as f64).round() as usize;
        Ok((table, patches, visible.clamp(1, patches - 1)))
    }
}

impl NetworkKind for MaskedAutoencoder {
    fn version(&self) -> u32 {
        2
    }

    fn training_defaults() -> Training {
        Training {
            batch_size: 32,
            learning_rate: 1e-3,
            weight_decay: 0.05,
            normalize: Normalize::GlobalHalf,
            restore_best: false,
            ..Training::default()
        }
    }

    fn faults(&self) -> Vec<Fault> {
        Fault::of_keys([("heads", self.encoder().heads_fault()), ("decoder_heads", self.decoder().heads_fault())])
    }

    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let (encoder, decoder) = (self.encoder(), self.decoder());
        let (mut table, patches, visible) = self.patches(input)?;
        let positions = |tokens: usize| format!("{tokens} positions");
        let learnt = (2 * EXTRA + patches) * self.embed_dim;
        table.add("v", positions(EXTRA + patches), vec![EXTRA + visible, self.embed_dim], learnt, 0);
        encoder.rows(&mut table, "v.", EXTRA + visible);
        linear_row(&mut table, "decoder.embed", EXTRA + visible, [self.embed_dim, self.decoder_dim]);
        let learnt = (EXTRA + patches + 1) * self.decoder_dim;
        table.add("decoder", positions(EXTRA + patches), vec![EXTRA + patches, self.decoder_dim], learnt, 0);
        decoder.rows(&mut table, "decoder.", EXTRA + patches);
        linear_row(&mut table, "decoder.pred", patches - visible, [self.decoder_dim, VALUES]);
        table.add("mean", "mean of the encoder's patches".to_owned(), vec![self.embed_dim], 0, 0);
        table.linear("fc", n_classes, true);
        Ok(table.into_rows())
    }

    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network> {
        if let Some(Fault { key, sentence }) = self.faults().into_iter().next() {
            anyhow::bail!("`{key}`: {sentence}");
        }
        let (encoder, decoder) = (self.encoder(), self.decoder());
        let (_, patches, visible) = self.patches(input)?;
        let net = Net {
            v: Transformer::new(encoder, patches, device),
            decoder: Decoder {
                embed: LinearConfig::new(self.embed_dim, self.decoder_dim).init(device),
                mask_token: decoder.tokens(1, device),
                pos_embed: decoder.tokens(EXTRA + patches, device),
                blocks: decoder.blocks(device),
                norm: decoder.norm(device),
                pred: LinearConfig::new(self.decoder_dim, VALUES).init(device),
            },
            fc: LinearConfig::new(self.embed_dim, n_classes).init(device),
            visible,
            normalize_patches: self.normalize_patches,
        };
        Ok(init::initialize(Network::MaskedAutoencoder(net), seed, initial_weights))
    }

    fn groups(&self) -> usize {
        3
    }

    fn group_of(&self, path: &str) -> usize {
        if head::is_head(path) || path.starts_with("decoder.") { 2 } else { self.encoder().group_of(path, "v.") }
    }
}

fn initial_weights(name: &str, _: Fans) -> InitDistribution {
    transformer::initial_weights(name)
}

#[derive(Module, Debug)]
pub struct Net {
    v: Transformer,
    decoder: Decoder,
    /// The layer that learns the classes.
    fc: Linear,
    /// Patches that the encoder sees in training.
    visible: usize,
    normalize_patches: bool,
}

#[derive(Module, Debug)]
pub struct Decoder {
    embed: Linear,
    /// Stands for a hidden patch.
    mask_token: Param<Tensor<3>>,
    /// The positions of the extra tokens, then those of the patches.
    pos_embed: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pred: Linear,
}

/// Which patches of a batch are hidden. Rows count through the patches of all clips.
struct Mask {
    /// The rows of the visible patches.
    visible: Vec<i64>,
    /// The rows of the hidden patches.
    hidden: Vec<i64>,
    /// For each patch its place among the visible ones; their number if it is hidden.
    places: Vec<i64>,
}

impl Mask {
    /// Draws the visible patches of each clip.
    fn draw(clips: usize, patches: usize, visible: usize, seed: Seed) -> Mask {
        let nowhere = (clips * visible) as i64;
        let mut mask = Mask { visible: Vec::new(), hidden: Vec::new(), places: vec![nowhere; clips * patches] };
        for clip in 0..clips {
            for patch in transformer::drawn(patches, visible, seed.child(clip)) {
                mask.places[clip * patches + patch] = mask.visible.len() as i64;
                mask.visible.push((clip * patches + patch) as i64);
            }
        }
        mask.hidden = (0..mask.places.len()).filter(|&row| mask.places[row] == nowhere).map(|row| row as i64).collect();
        mask
    }
}

/// Some rows of a matrix.
fn rows(matrix: Tensor<2>, rows: &[i64]) -> Tensor<2> {
    let numbers = Tensor::<1, Int>::from_data(rows, &matrix.device());
    matrix.select(0, numbers)
}

/// The patches of images as rows: `[clips × patches, VALUES]`.
fn patch_values(images: Tensor<4>, [high, wide]: [usize; 2]) -> Tensor<2> {
    let clips = images.dims()[0];
    let whole = images.narrow(2, 0, high * PATCH).narrow(3, 0, wide * PATCH);
    let cut: Tensor<5> = whole.reshape([clips, high, PATCH, wide, PATCH]);
    cut.swap_dims(2, 3).reshape([clips * high * wide, VALUES])
}

impl Net {
    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let Some(pass) = pass else { return self.classes(self.v.forward(images).0) };
        let (clips, patches) = (images.dims()[0], self.decoder.pos_embed.dims()[1] - EXTRA);
        let mask = Mask::draw(clips, patches, self.visible, pass.next_seed());
        let (tokens, loss) = self.reconstruct(images, &mask);
        pass.add_loss(loss);
        self.classes(tokens.detach())
    }

    /// The tokens of the visible patches, and the error of the hidden ones.
    fn reconstruct(&self, images: Tensor<4>, mask: &Mask) -> (Tensor<3>, Tensor<1>) {
        let (patches, grid) = self.v.patches(images.clone());
        let [clips, count, size] = patches.dims();
        let visible = rows(patches.reshape([clips * count, size]), &mask.visible);
        let tokens = self.v.encode(visible.reshape([clips, self.visible, size]));
        let wanted = rows(patch_values(images, grid), &mask.hidden);
        let found = self.decoder.forward(tokens.clone(), mask);
        let loss = (found - self.scaled(wanted)).square().mean();
        (tokens, loss)
    }

    /// The logits of the mean of the patches.
    fn classes(&self, tokens: Tensor<3>) -> Tensor<2> {
        let [clips, count, size] = tokens.dims();
        let mean = tokens.narrow(1, EXTRA, count - EXTRA).mean_dim(1);
        self.fc.forward(mean.reshape([clips, size]))
    }

    /// Patches as they are reconstructed.
    fn scaled(&self, patches: Tensor<2>) -> Tensor<2> {
        if !self.normalize_patches {
            return patches;
        }
        let (variance, mean) = patches.clone().var_mean(1);
        (patches - mean) / (variance + EPSILON).sqrt()
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let (tokens, [high, wide]) = self.v.graph(graph, images);
        let patches = graph.narrow(&tokens, 1, EXTRA, high * wide);
        let mean = graph.reduce("ReduceMean", &patches, &[1]);
        graph.linear(&self.fc, &mean)
    }
}

impl Decoder {
    /// The values of the hidden patches from the tokens of the encoder.
    fn forward(&self, tokens: Tensor<3>, mask: &Mask) -> Tensor<2> {
        let x = self.embed.forward(tokens);
        let [clips, count, size] = x.dims();
        let (visible, patches) = (count - EXTRA, mask.places.len() / clips);
        let extra = x.clone().narrow(1, 0, EXTRA);
        let seen = x.narrow(1, EXTRA, visible).reshape([clips * visible, size]);
        let all = rows(Tensor::cat(vec![seen, self.mask_token.val().reshape([1, size])], 0), &mask.places);
        let x = Tensor::cat(vec![extra, all.reshape([clips, patches, size])], 1) + self.pos_embed.val();
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = self.norm.forward(x).narrow(1, EXTRA, patches).reshape([clips * patches, size]);
        self.pred.forward(rows(x, &mask.hidden))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::networks::{ast::Ast, pretrained, state_dict};
    use crate::networks::parameters;

    fn tiny() -> MaskedAutoencoder {
        let keys = json!({ "embed_dim": 24, "depth": 2, "heads": 3, "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2,
            "hidden": 0.66 });
        serde_json::from_value(keys).unwrap()
    }

    fn image(height: usize, width: usize) -> InputShape {
        InputShape { channels: 1, height, width }
    }

    fn images(clips: usize, of: InputShape, device: &Device) -> Tensor<4> {
        Tensor::random([clips, 1, of.height, of.width], burn::tensor::Distribution::Normal(0.0, 1.0), device)
    }

    #[test]
    fn each_clip_hides_patches_of_its_own_and_every_patch_is_visible_or_hidden() {
        let mask = Mask::draw(3, 10, 4, Seed::new(1));
        assert_eq!((mask.visible.len(), mask.hidden.len()), (12, 18));
        let mut all = [mask.visible.clone(), mask.hidden.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<i64>>());
        for (place, &row) in mask.visible.iter().enumerate() {
            assert_eq!(mask.places[row as usize], place as i64);
        }
        assert!(mask.hidden.iter().all(|&row| mask.places[row as usize] == 12));
        let of = |clip: i64| mask.visible.iter().filter(move |&&row| row / 10 == clip).map(|row| row % 10);
        assert!(!of(0).eq(of(1)) || !of(1).eq(of(2)), "the clips have different patches");
    }

    #[test]
    fn patches_are_cut_out_row_by_row_and_what_is_left_over_is_not_used() {
        let values: Vec<f32> = (0..33 * 50).map(|n| n as f32).collect();
        let image = Tensor::<4>::from_data(burn::tensor::TensorData::new(values, [1, 1, 33, 50]), &Device::flex());
        let found = patch_values(image, [2, 3]).into_data().try_into_vec::<f32>().unwrap();
        for (patch, values) in found.chunks_exact(VALUES).enumerate() {
            let corner = (patch / 3 * 16 * 50 + patch % 3 * 16) as f32;
            assert_eq!((values[0], values[15], values[16]), (corner, corner + 15.0, corner + 50.0));
        }
    }

    #[test]
    fn the_classes_teach_the_encoder_nothing_and_the_reconstruction_teaches_it() {
        let (of, device) = (image(32, 64), Device::flex().autodiff());
        let network = tiny().build(of, 3, Seed::new(1), &device).unwrap();
        let pass = TrainingPass::new(Seed::new(2));
        let logits = network.forward(images(2, of, &device), Some(&pass));
        let paths = |mut gradients| -> Vec<String> {
            let found = parameters::gradients(&network, &mut gradients).into_iter();
            found.filter(|(_, gradient)| gradient.clone().abs().sum().into_scalar::<f32>() > 0.0).map(|(path, _)| path).collect()
        };
        assert!(paths(logits.square().sum().backward()).iter().all(|path| path.starts_with("fc.")));
        let taught = paths(pass.take_loss().unwrap().backward());
        assert!(taught.iter().any(|path| path.starts_with("v.")) && !taught.iter().any(|path| path.starts_with("fc.")));
        assert!(taught.iter().any(|path| path == "decoder.mask_token"), "{taught:?}");
        assert!(pass.take_loss().is_none(), "a loss is taken once");
    }

    #[test]
    fn its_encoder_starts_an_ast_of_the_same_size() {
        let of = image(32, 64);
        let trained = tiny().build(of, 3, Seed::new(1), &Device::flex()).unwrap();
        let ast = Ast { embed_dim: 24, depth: 2, heads: 3, stride: PATCH, ..Ast::default() };
        let fresh = ast.build(of, 5, Seed::new(2), &Device::flex()).unwrap();
        let tensors = state_dict::tensors(&trained);
        let (started, report) = pretrained::import_tensors(tensors.clone(), fresh).unwrap();
        assert!(report.missing.iter().all(|name| name.starts_with("mlp_head.")), "{report}");
        assert!(report.skipped.iter().all(|(name, _)| name.starts_with("decoder.") || name.starts_with("fc.")), "{report}");
        let values = |tensors: Vec<crate::Tensor>| -> Vec<(String, Vec<f32>)> {
            let encoder = tensors.into_iter().filter(|tensor| tensor.name.starts_with("v."));
            encoder.map(|tensor| (tensor.name.clone(), tensor.into_values().unwrap())).collect()
        };
        assert_eq!(values(state_dict::tensors(&started)), values(tensors));
    }
}
