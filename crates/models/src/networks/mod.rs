//! Networks: an image of a feature becomes a logit a class.
//!
//! A network is described first (its spec, and the table of its layers, which is arithmetic alone) and built second. Names and
//! layouts of its tensors are PyTorch's (`state.rs`), so that weights travel both ways. Every random number of the
//! initialisation is named by the path of its parameter.

pub mod alexnet;
pub mod cnn_small;
pub mod conv1d_mfcc;
pub mod dropout;
pub mod head;
pub mod layers;
pub mod resnet;
pub mod state;
pub mod tagging_cnn;
pub mod tagging_crnn;
pub mod vgg16_bn;
pub mod weights;

mod gru;
mod init;
mod rows;
mod steps;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;

use crate::training::hyperparameters::Keys;
use timbre_core::registry::Fault;
use timbre_core::seed::Seed;

/// What goes in, without the batch: channels × height (bands) × width (frames).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InputShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// A line of the table that `run --dry-run` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerRow {
    /// The path of the layer, as in the names of its tensors.
    pub name: String,
    /// What it is, for people: `conv 3×3, 64, stride 2`.
    pub kind: String,
    /// What comes out, without the batch.
    pub output: Vec<usize>,
    /// Numbers that training moves, as PyTorch counts parameters.
    pub parameters: u64,
    /// Running means and variances, which Keras counts as parameters, too.
    pub statistics: u64,
    /// Multiplications with an addition, for one clip.
    pub multiply_adds: u64,
}

/// What each kind of network gives. [`crate::training`] makes a model of it.
pub trait NetworkKind: Keys + Send + Sync {
    /// Raised by hand when the same spec gives another network, or other first weights.
    fn version(&self) -> u32;

    /// What is wrong between or within the keys of the network itself.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// Fails with a sentence if the input is too small for the network, or of another form.
    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>>;

    /// The network with its first weights, on `device` (for training: with autodiff).
    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network>;

    /// Groups of layers for rates and freezing, from the input to the head; the last is the head.
    fn groups(&self) -> usize;

    /// The group of a tensor by its name ([`state::torch_name`] its path).
    fn group_of(&self, path: &str) -> usize;

    /// What the sum of the squares of this tensor is multiplied with before it is added to the loss, beside the weight decay
    /// of the training: Keras's `kernel_regularizer=l2(…)`. Its gradient is twice that times the tensor.
    fn l2(&self, _path: &str) -> f64 {
        0.0
    }
}

/// Every network. One enum, so that the training loop is compiled once.
#[derive(Module, Debug)]
pub enum Network {
    CnnSmall(cnn_small::Net),
    Resnet(resnet::Net),
    Vgg16Bn(vgg16_bn::Net),
    Alexnet(alexnet::Net),
    TaggingCnn(tagging_cnn::Net),
    TaggingCrnn(tagging_crnn::Net),
    Conv1dMfcc(conv1d_mfcc::Net),
}

impl Network {
    /// From `[clips, channels, height, width]` to logits, `[clips, classes]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Network::CnnSmall(net) => net.forward(images),
            Network::Resnet(net) => net.forward(images),
            Network::Vgg16Bn(net) => net.forward(images),
            Network::Alexnet(net) => net.forward(images),
            Network::TaggingCnn(net) => net.forward(images),
            Network::TaggingCrnn(net) => net.forward(images),
            Network::Conv1dMfcc(net) => net.forward(images),
        }
    }
}

/// One channel as often as the network has channels.
fn repeat_channels(images: Tensor<4>, channels: usize) -> Tensor<4> {
    if images.dims()[1] == channels { images } else { images.repeat_dim(1, channels) }
}

#[cfg(test)]
mod tests;
