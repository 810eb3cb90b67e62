//! The state dict of a network: all its tensors with PyTorch's names and layouts.
//!
//! A name is the path of a tensor through the network: `layer1.0.bn2.running_var`. Batch norms have `weight` and `bias` as in
//! PyTorch (burn: `gamma`, `beta`); matrices are `[out, in]` (burn: `[in, out]`); all other tensors have the same layout in
//! both. Running means and variances are included; `num_batches_tracked` is not, because nothing reads it.
//!
//! Burn's running statistics are shared between clones of a network and lag one step behind. Here they are always up to
//! date when they are read, and loading never changes a clone.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor as Array, TensorData};

use super::Network;
use crate::Tensor;
use crate::device::read;

/// PyTorch's name for a path of burn's modules (`Resnet18.layer1.0.bn1.gamma` becomes `layer1.0.bn1.weight`). Variants of an enum
/// are left out, and so is [`Output`](super::head::Output) except for the word `head`. A PyTorch name stays unchanged.
pub fn torch_name(path: &str) -> String {
    let renamed = path.split('.').filter_map(|part| match part {
        "gamma" => Some("weight"),
        "beta" => Some("bias"),
        "output" => None,
        "Head" => Some("head"),
        variant if variant.starts_with(|first: char| first.is_ascii_uppercase()) => None,
        other => Some(other),
    });
    renamed.collect::<Vec<_>>().join(".")
}

/// Whether the tensor is a running mean or variance, which is updated from the data without a gradient.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// All tensors of the network.
pub fn tensors(network: &Network) -> Vec<Tensor> {
    let mut reader = Reader { path: Path::default(), with_values: true, found: Vec::new() };
    // In a network without autodiff the statistics are up to date.
    network.valid().visit(&mut reader);
    reader.found
}

/// The names and shapes of [`tensors`], in their order.
pub fn shapes(network: &Network) -> Vec<(String, Vec<usize>)> {
    let mut reader = Reader { path: Path::default(), with_values: false, found: Vec::new() };
    network.visit(&mut reader);
    reader.found.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
}

/// The number of trainable values, as PyTorch counts parameters, and of running means and variances, which Keras counts too.
pub fn counts(network: &Network) -> (u64, u64) {
    shapes(network).iter().fold((0, 0), |(trainable, statistics), (name, shape)| {
        let count = shape.iter().product::<usize>() as u64;
        if is_statistic(name) { (trainable, statistics + count) } else { (trainable + count, statistics) }
    })
}

/// The network with exactly these tensors, on its own device. Every name and every shape must match.
pub fn load(network: Network, tensors: &[Tensor]) -> Result<Network> {
    let mut given: HashMap<&str, &Tensor> = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if given.insert(&tensor.name, tensor).is_some() {
            bail!("load a network: the tensor `{}` occurs twice", tensor.name);
        }
    }
    let expected = shapes(&network);
    for (name, shape) in &expected {
        match given.get(name.as_str()) {
            None => bail!("load a network: the tensor `{name}` is missing; the file belongs to another network"),
            Some(tensor) if tensor.shape != *shape => bail!(
                "load a network: the tensor `{name}` has the shape {:?}, the network {shape:?}; build it with the same keys \
                 and the same classes",
                tensor.shape
            ),
            Some(_) => {}
        }
    }
    if given.len() > expected.len() {
        let expected: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let unknown = given
            .keys()
            .filter(|name| !expected.contains(*name))
            .min()
            .expect("there are more tensors than in the network");
        bail!("load a network: the network has no tensor `{unknown}`; the file belongs to another network");
    }
    let mut values = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        values.insert(tensor.name.clone(), tensor.clone().into_values()?);
    }
    for (name, shape) in &expected {
        let count = values[name].len();
        if count != shape.iter().product::<usize>() {
            bail!("load a network: the tensor `{name}` has {count} values, which does not match its shape {shape:?}");
        }
    }
    Ok(map_values(own_statistics(network), |parameter| values.remove(&parameter.name).expect("checked above")))
}

/// The network with running statistics that it shares with no clone.
fn own_statistics(network: Network) -> Network {
    let trains = network.devices().iter().any(|device| device.is_autodiff());
    let network = network.valid();
    if trains { network.train() } else { network }
}

/// The name and shape of a tensor that gets new values.
pub struct Parameter {
    pub name: String,
    /// In PyTorch's layout.
    pub shape: Vec<usize>,
}

/// Replaces the values of all tensors; `values` returns them in PyTorch's layout.
pub(super) fn map_values(network: Network, values: impl FnMut(&Parameter) -> Vec<f32>) -> Network {
    network.map(&mut Writer { path: Path::default(), values })
}

/// The path of the module that is being visited.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn name(&self) -> String {
        torch_name(&self.0.join("."))
    }
}

fn torch_shape(mut shape: Vec<usize>) -> Vec<usize> {
    if shape.len() == 2 {
        shape.reverse();
    }
    shape
}

struct Reader {
    path: Path,
    with_values: bool,
    found: Vec<Tensor>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Array<D>>) {
        let shape = param.lazy_shape().to_vec();
        let mut values = Vec::new();
        if self.with_values {
            values = read(param.val());
            if let [rows, columns] = shape[..] {
                values = transposed(&values, rows, columns);
            }
        }
        self.found.push(Tensor::new(&self.path.name(), torch_shape(shape), values));
    }
}

struct Writer<F> {
    path: Path,
    values: F,
}

impl<F: FnMut(&Parameter) -> Vec<f32>> ModuleMapper for Writer<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Array<D>>) -> Param<Array<D>> {
        let shape = param.lazy_shape().to_vec();
        let parameter = Parameter { name: self.path.name(), shape: torch_shape(shape.clone()) };
        let mut values = (self.values)(&parameter);
        if let [rows, columns] = shape[..] {
            values = transposed(&values, columns, rows);
        }
        let array = Array::from_data(TensorData::new(values, shape), &param.lazy_device());
        let id = param.id;
        // Keeps `requires_grad`; burn does not draw its own initial values.
        param.transform_for_load(array, id)
    }
}

/// Transposes a row-major matrix tile by tile: walking down a column of a large matrix misses the cache at every step.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut out = vec![0.0; values.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                for column in left..columns.min(left + TILE) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
