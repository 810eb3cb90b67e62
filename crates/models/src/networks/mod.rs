//! Network architectures: an image of a feature in, one logit per class out.
//!
//! A network is described first (its spec and its layer table, which is arithmetic only) and built second. Tensors have
//! PyTorch's names and layouts (`state_dict.rs`), so that weights can be exchanged in both directions. Every random number of the
//! initialization comes from a seed named after the path of its parameter.

pub mod dropout;
pub mod head;
pub mod layers;
pub mod onnx;
mod onnx_layers;
pub mod precision;
pub mod pretrained;
pub mod state_dict;
pub mod training_pass;

mod gru;
mod init;
mod inverted_residual;
mod layer_table;
mod sequential;
pub mod parameters;
mod spec;
mod transformer;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::Serialize;

use crate::hyperparameters::Training;
use timbre_core::{registry::Fault, seed::Seed};
use timbre_inputs::features::FeatureSpec;
use training_pass::TrainingPass;

pub use spec::{NetworkModel, NetworkSpec};

/// Makes everything that depends on the list of networks: the modules, the enum [`Network`] with its forward pass, the type
/// of each spec (`CnnSmall` is `NetworkSpec<cnn_small::CnnSmall>`), and [`model_registry`], the registry of models with the
/// networks in it.
macro_rules! networks {
    ($dollar:tt $($module:ident { $($kind:literal => $Name:ident,)+ })+) => {
        $(pub mod $module;)+

        $($(pub type $Name = NetworkSpec<$module::$Name>;)+)+

        /// A network of any kind. It is one enum, so that the training loop is compiled once.
        #[derive(Module, Debug)]
        pub enum Network {
            $($($Name($module::Net),)+)+
        }

        impl Network {
            /// Maps `[clips, channels, height, width]` to logits, `[clips, classes]`. Dropout is active in a training step.
            pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
                match self {
                    $($(Network::$Name(net) => net.forward(images, pass),)+)+
                }
            }

            /// [`forward`](Network::forward) as nodes of an ONNX graph, without dropout.
            pub fn graph(&self, graph: &mut onnx::Graph, images: &onnx::Value) -> onnx::Value {
                match self {
                    $($(Network::$Name(net) => net.graph(graph, images),)+)+
                }
            }
        }

        impl crate::SingleModel {
            /// The network, if this is one.
            pub fn as_network(&self) -> Option<&dyn NetworkModel> {
                match self {
                    $($(crate::SingleModel::$Name(spec) => Some(spec),)+)+
                    _ => None,
                }
            }
        }

        /// Calls `registry!` with the networks in the place of `networks`.
        macro_rules! model_registry {
            ({ $dollar($dollar head:tt)* } { $dollar($dollar before:tt)* } networks { $dollar($dollar after:tt)* }) => {
                timbre_core::registry! {
                    $dollar($dollar head)* {
                        $dollar($dollar before)*
                        $($($kind => networks::$Name,)+)+
                        $dollar($dollar after)*
                    }
                }
            };
        }
        pub(crate) use model_registry;
    };
}

// The list of networks: a new one needs its file and a line here.
networks! { $
    cnn_small { "cnn_small" => CnnSmall, }
    resnet { "resnet18" => Resnet18, "resnet34" => Resnet34, "resnet50" => Resnet50, }
    vgg16_bn { "vgg16_bn" => Vgg16Bn, }
    alexnet { "alexnet" => Alexnet, }
    tagging_cnn { "tagging_cnn" => TaggingCnn, }
    tagging_crnn { "tagging_crnn" => TaggingCrnn, }
    conv1d_mfcc { "conv1d_mfcc" => Conv1dMfcc, }
    musicnn { "musicnn" => Musicnn, }
    musicnn_vgg { "musicnn_vgg" => MusicnnVgg, }
    ast { "ast" => Ast, }
    masked_autoencoder { "masked_autoencoder" => MaskedAutoencoder, }
    mobilenet_v3 { "mobilenet_v3_large" => MobilenetV3Large, }
    efficientnet_v2 { "efficientnet_v2_s" => EfficientnetV2S, }
    convnext { "convnext_tiny" => ConvnextTiny, }
    passt { "passt" => Passt, }
    beats { "beats" => Beats, }
    panns { "cnn6" => Cnn6, "cnn10" => Cnn10, "cnn14" => Cnn14, }
}

/// The shape of one input image: channels × height (bands) × width (frames).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InputShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl InputShape {
    /// That of a feature of clips with so many samples; None if they are too short.
    pub fn of(feature: &FeatureSpec, samples: usize) -> Option<InputShape> {
        let kind = feature.as_kind();
        let ([rows, width], channels) = (kind.shape(samples)?, kind.channels());
        Some(InputShape { channels, height: rows / channels, width })
    }

    /// The number of values.
    pub fn values(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// A row of the layer table, which `run --dry-run` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerRow {
    /// The path of the layer, as in the names of its tensors.
    pub name: String,
    /// The type of the layer for people: `conv 3×3, 64, stride 2`.
    pub kind: String,
    /// The shape of the output of one clip.
    pub output: Vec<usize>,
    /// Trainable values, as PyTorch counts parameters.
    pub parameters: u64,
    /// Running means and variances, which Keras also counts as parameters.
    pub statistics: u64,
    /// Multiply-adds per clip.
    pub multiply_adds: u64,
}

/// An architecture: implemented by the struct of a network's own keys. [`NetworkSpec`] adds the keys of the training and
/// makes a model of it.
pub trait NetworkKind: Send + Sync {
    /// Raised by hand when the same spec gives another network or other initial weights.
    fn version(&self) -> u32;

    /// The defaults of the training keys where they differ from [`Training::default`].
    fn training_defaults() -> Training
    where
        Self: Sized,
    {
        Training::default()
    }

    /// Faults in the network's own keys.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// The layer table. Fails with a sentence if the input is too small or has the wrong number of channels.
    fn layers(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>>;

    /// The network with its initial weights on `device` (for training: a device with autodiff).
    fn build(&self, input: InputShape, n_classes: usize, seed: Seed, device: &Device) -> Result<Network>;

    /// The number of parameter groups for learning rates and freezing, from the input to the head; the last is the head.
    fn groups(&self) -> usize;

    /// The group of a tensor by its name ([`state_dict::torch_name`] of its path).
    fn group_of(&self, path: &str) -> usize;

    /// The number of layers for `layer_decay`, from the input to the head.
    fn depth(&self) -> usize {
        self.groups()
    }

    /// The layer of a tensor for `layer_decay`, by its name.
    fn depth_of(&self, path: &str) -> usize {
        self.group_of(path)
    }

    /// The factor on the sum of squares of this tensor that is added to the loss, independent of the weight decay of the
    /// training: Keras's `kernel_regularizer=l2(…)`. Its gradient is twice the factor times the tensor.
    fn l2(&self, _path: &str) -> f64 {
        0.0
    }
}

/// Repeats a one-channel image for a network with several channels.
fn repeat_channels(images: Tensor<4>, channels: usize) -> Tensor<4> {
    if images.dims()[1] == channels { images } else { images.repeat_dim(1, channels) }
}

fn repeat_channels_graph(graph: &mut onnx::Graph, images: &onnx::Value, channels: usize) -> onnx::Value {
    if images.shape[1] == channels { images.clone() } else { graph.concat(&vec![images; channels], 1) }
}

#[cfg(test)]
mod tests;
