//! The tensors of a network by path, each as a flat one.
//!
//! A path is the name in `networks/state.rs`: `blocks.0.conv.weight`. The values lie as the network has them. Statistics of
//! batch norms are walked over with the weights; no gradient reaches them.

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use indexmap::IndexMap;

use crate::networks::{Network, state_dict};

/// Where a tensor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    pub path: String,
    pub shape: Vec<usize>,
    /// Whether gradients are asked for: not of statistics, nor of what is frozen.
    pub learns: bool,
    pub in_batch_norm: bool,
}

/// Visits every tensor in the order of the fields, outside the graph of gradients.
pub fn visit(network: &Network, each: &mut dyn FnMut(&ParameterInfo, Tensor<1>)) {
    network.visit(&mut Visit { stack: Stack::default(), each });
}

/// Puts other values in the place of every tensor. What learnt before goes on learning.
pub fn map(network: Network, each: &mut dyn FnMut(&ParameterInfo, Tensor<1>) -> Tensor<1>) -> Network {
    settle(&network);
    network.map(&mut Map { stack: Stack::default(), each })
}

/// Like [`map`], over what learns alone.
pub fn map_trainable(network: Network, each: &mut dyn FnMut(&ParameterInfo, Tensor<1>) -> Tensor<1>) -> Network {
    network.map(&mut Map {
        stack: Stack::default(),
        each: &mut |place, values| if place.learns { each(place, values) } else { values },
    })
}

/// Takes the gradients of what learns out of `gradients`, by path.
pub fn gradients(network: &Network, gradients: &mut Gradients) -> IndexMap<String, Tensor<1>> {
    let mut found = IndexMap::new();
    network.visit(&mut Take { stack: Stack::default(), gradients, found: &mut found });
    found
}

/// Decides of each tensor whether it learns, and of each batch norm whether its statistics move.
pub fn set_trainable(
    network: Network,
    learns: &dyn Fn(&str, bool) -> bool,
    statistics_move: &dyn Fn(&str) -> bool,
) -> Network {
    network.map(&mut SetLearning { stack: Stack::default(), learns, statistics_move })
}

/// Brings statistics that a forward pass has left pending to where a walk finds them.
pub fn settle(network: &Network) {
    // Only `valid` and `train` of burn's running states do so for all of them.
    drop(network.valid());
}

/// Lets `change` work on the values of a tensor on the CPU, in place where nothing else holds them.
pub fn in_place(values: Tensor<1>, change: impl FnOnce(&mut [f32])) -> Tensor<1> {
    let device = values.device();
    let mut data = values.into_data();
    change(data.as_mut_slice::<f32>().expect("networks are f32"));
    Tensor::from_data(data, &device)
}

/// The values of a tensor, copied from its device.
pub fn copied(values: Tensor<1>) -> Vec<f32> {
    values.into_data().try_into_vec::<f32>().expect("networks are f32")
}

/// A flat tensor of these values.
pub fn flat(values: Vec<f32>, device: &burn::tensor::Device) -> Tensor<1> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// The way from the root to the field at hand, with the kinds of the structs that hold it.
#[derive(Default)]
struct Stack(Vec<(String, String)>);

impl Stack {
    fn enter(&mut self, name: &str, container: &str) {
        self.0.push((name.to_owned(), container.to_owned()));
    }

    fn exit(&mut self) {
        self.0.pop();
    }

    fn path(&self) -> String {
        state_dict::torch_name(&self.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("."))
    }

    fn in_batch_norm(&self) -> bool {
        self.0.last().is_some_and(|(_, container)| container == "Struct:BatchNorm")
    }

    fn place(&self, shape: Vec<usize>, learns: bool) -> ParameterInfo {
        ParameterInfo { path: self.path(), shape, learns, in_batch_norm: self.in_batch_norm() }
    }
}

/// The calls with which burn says where a walk is.
macro_rules! follow {
    () => {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.stack.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.stack.exit();
        }
    };
}

struct Visit<'a> {
    stack: Stack,
    each: &'a mut dyn FnMut(&ParameterInfo, Tensor<1>),
}

impl ModuleVisitor for Visit<'_> {
    follow!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val();
        let place = self.stack.place(values.dims().to_vec(), values.is_require_grad());
        let length = values.shape().num_elements();
        (self.each)(&place, values.inner().reshape([length]));
    }
}

struct Map<'a> {
    stack: Stack,
    each: &'a mut dyn FnMut(&ParameterInfo, Tensor<1>) -> Tensor<1>,
}

impl ModuleMapper for Map<'_> {
    follow!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Nothing else holds the values after this, so that they can change in place.
        let (id, values, mapper) = param.consume();
        let (shape, learns, tracked) = (values.shape(), values.is_require_grad(), values.is_autodiff());
        let place = self.stack.place(shape.to_vec(), learns);
        let changed = (self.each)(&place, values.inner().reshape([shape.num_elements()])).reshape(shape);
        let changed = if tracked { Tensor::from_inner(changed).set_require_grad(learns) } else { changed };
        Param::from_mapped_value(id, changed, mapper)
    }
}

struct Take<'a> {
    stack: Stack,
    gradients: &'a mut Gradients,
    found: &'a mut IndexMap<String, Tensor<1>>,
}

impl ModuleVisitor for Take<'_> {
    follow!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            let length = gradient.shape().num_elements();
            self.found.insert(self.stack.path(), gradient.reshape([length]));
        }
    }
}

struct SetLearning<'a> {
    stack: Stack,
    learns: &'a dyn Fn(&str, bool) -> bool,
    statistics_move: &'a dyn Fn(&str) -> bool,
}

impl ModuleMapper for SetLearning<'_> {
    follow!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let learns = (self.learns)(&self.stack.path(), self.stack.in_batch_norm());
        param.set_require_grad(learns)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        if self.stack.in_batch_norm() {
            let moves = (self.statistics_move)(&self.stack.path());
            return flag.with_value(moves);
        }
        flag
    }
}
