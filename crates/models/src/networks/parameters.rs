//! Visits and replaces the tensors of a network by path, each flattened.
//!
//! A path is the name in the state dict (`networks/state_dict.rs`): `blocks.0.conv.weight`. Values have the layout of the network,
//! not PyTorch's. Batch-norm statistics are visited together with the weights; they have no gradient.

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use indexmap::IndexMap;

use crate::device::read;
use crate::networks::{Network, state_dict};

/// A tensor of a network without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    pub path: String,
    pub shape: Vec<usize>,
    /// False for statistics and for frozen tensors.
    pub requires_grad: bool,
    pub in_batch_norm: bool,
}

/// Visits every tensor in the order of the fields, detached from the autodiff graph.
pub fn visit(network: &Network, each: &mut dyn FnMut(&ParameterInfo, Tensor<1>)) {
    network.visit(&mut Visit { stack: Stack::default(), each });
}

/// Replaces the values of every tensor and keeps `requires_grad`.
pub fn map(network: Network, each: &mut dyn FnMut(&ParameterInfo, Tensor<1>) -> Tensor<1>) -> Network {
    sync_statistics(&network);
    network.map(&mut Map { stack: Stack::default(), each })
}

/// Like [`map`], for the tensors with `requires_grad` only.
pub fn map_trainable(network: Network, each: &mut dyn FnMut(&ParameterInfo, Tensor<1>) -> Tensor<1>) -> Network {
    network.map(&mut Map {
        stack: Stack::default(),
        each: &mut |info, values| if info.requires_grad { each(info, values) } else { values },
    })
}

/// Takes all gradients out of `gradients`, by path.
pub fn gradients(network: &Network, gradients: &mut Gradients) -> IndexMap<String, Tensor<1>> {
    let mut found = IndexMap::new();
    network.visit(&mut Take { stack: Stack::default(), gradients, found: &mut found });
    found
}

/// Sets `requires_grad` of each tensor, and for each batch norm whether its statistics are updated.
pub fn set_trainable(
    network: Network,
    trainable: &dyn Fn(&str, bool) -> bool,
    updates_statistics: &dyn Fn(&str) -> bool,
) -> Network {
    network.map(&mut SetLearning { stack: Stack::default(), trainable, updates_statistics })
}

/// Brings statistics that a forward pass has left pending up to date.
pub fn sync_statistics(network: &Network) {
    // Of burn's methods, only `valid` and `train` do so for all running states.
    drop(network.valid());
}

/// Calls `change` with the values of a tensor on the CPU, in place unless they are shared.
pub fn in_place(values: Tensor<1>, change: impl FnOnce(&mut [f32])) -> Tensor<1> {
    let device = values.device();
    let mut data = values.into_data();
    change(data.as_mut_slice::<f32>().expect("networks are f32"));
    Tensor::from_data(data, &device)
}

/// The values of a tensor, copied from its device.
pub fn to_vec(values: Tensor<1>) -> Vec<f32> {
    read(values)
}

/// A one-dimensional tensor with these values.
pub fn flat_tensor(values: Vec<f32>, device: &burn::tensor::Device) -> Tensor<1> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// The path from the root to the current field, with the types of the enclosing structs.
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

    fn info(&self, shape: Vec<usize>, requires_grad: bool) -> ParameterInfo {
        ParameterInfo { path: self.path(), shape, requires_grad, in_batch_norm: self.in_batch_norm() }
    }
}

/// The methods through which burn reports the current path.
macro_rules! track_path {
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
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = param.val();
        let info = self.stack.info(values.dims().to_vec(), values.is_require_grad());
        let length = values.shape().num_elements();
        (self.each)(&info, values.inner().reshape([length]));
    }
}

struct Map<'a> {
    stack: Stack,
    each: &'a mut dyn FnMut(&ParameterInfo, Tensor<1>) -> Tensor<1>,
}

impl ModuleMapper for Map<'_> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Consuming the parameter leaves the values unshared, so that they can change in place.
        let (id, values, mapper) = param.consume();
        let (shape, requires_grad, tracked) = (values.shape(), values.is_require_grad(), values.is_autodiff());
        let info = self.stack.info(shape.to_vec(), requires_grad);
        let changed = (self.each)(&info, values.inner().reshape([shape.num_elements()])).reshape(shape);
        let changed = if tracked { Tensor::from_inner(changed).set_require_grad(requires_grad) } else { changed };
        Param::from_mapped_value(id, changed, mapper)
    }
}

struct Take<'a> {
    stack: Stack,
    gradients: &'a mut Gradients,
    found: &'a mut IndexMap<String, Tensor<1>>,
}

impl ModuleVisitor for Take<'_> {
    track_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            let length = gradient.shape().num_elements();
            self.found.insert(self.stack.path(), gradient.reshape([length]));
        }
    }
}

struct SetLearning<'a> {
    stack: Stack,
    trainable: &'a dyn Fn(&str, bool) -> bool,
    updates_statistics: &'a dyn Fn(&str) -> bool,
}

impl ModuleMapper for SetLearning<'_> {
    track_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let trainable = (self.trainable)(&self.stack.path(), self.stack.in_batch_norm());
        param.set_require_grad(trainable)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        if self.stack.in_batch_norm() {
            let updates = (self.updates_statistics)(&self.stack.path());
            return flag.with_value(updates);
        }
        flag
    }
}
