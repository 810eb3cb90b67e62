//! The numbers of a network under PyTorch's names and in PyTorch's layouts.
//!
//! A name is the path of a tensor through the network: `layer1.0.bn2.running_var`. Batch norms say `weight` and `bias` as
//! PyTorch does (burn: `gamma`, `beta`); matrices are `[out, in]` (burn: `[in, out]`), all other tensors lie as burn has them.
//! Running means and variances belong to a network; `num_batches_tracked` does not, because nothing reads it.
//!
//! Burn's running statistics are shared between clones of a network and lag one step behind. Here they are always read after
//! that step, and loading never writes into a clone.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor as Array, TensorData};

use super::Network;
use crate::Tensor;

/// PyTorch's name for a path of burn's modules (`Resnet.layer1.0.bn1.gamma` is `layer1.0.bn1.weight`): variants of an enum
/// are no part of it. A name of PyTorch's stays as it is.
pub fn torch_name(path: &str) -> String {
    let parts = path.split('.').filter(|part| !part.starts_with(|first: char| first.is_ascii_uppercase()));
    let renamed = parts.map(|part| match part {
        "gamma" => "weight",
        "beta" => "bias",
        other => other,
    });
    renamed.collect::<Vec<_>>().join(".")
}

/// Whether the number follows the data and no gradient.
pub fn is_statistic(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

/// Every number of the network.
pub fn tensors(network: &Network) -> Vec<Tensor> {
    let mut reader = Reader { path: Path::default(), with_values: true, found: Vec::new() };
    // A network without autodiff has its statistics up to date.
    network.valid().visit(&mut reader);
    reader.found
}

/// The names and shapes of [`tensors`], in their order.
pub fn shapes(network: &Network) -> Vec<(String, Vec<usize>)> {
    let mut reader = Reader { path: Path::default(), with_values: false, found: Vec::new() };
    network.visit(&mut reader);
    reader.found.into_iter().map(|tensor| (tensor.name, tensor.shape)).collect()
}

/// Numbers that training moves, as PyTorch counts parameters; and means and variances, which Keras counts, too.
pub fn counts(network: &Network) -> (u64, u64) {
    shapes(network).iter().fold((0, 0), |(learnt, statistics), (name, shape)| {
        let count = shape.iter().product::<usize>() as u64;
        if is_statistic(name) { (learnt, statistics + count) } else { (learnt + count, statistics) }
    })
}

/// The network with exactly these numbers, on its own device: every name and every shape must fit.
pub fn load(network: Network, tensors: &[Tensor]) -> Result<Network> {
    let mut given: HashMap<&str, &Tensor> = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if given.insert(&tensor.name, tensor).is_some() {
            bail!("load a network: the tensor `{}` is there twice", tensor.name);
        }
    }
    let asked = shapes(&network);
    for (name, shape) in &asked {
        match given.get(name.as_str()) {
            None => bail!("load a network: the tensor `{name}` is missing; the file belongs to another network"),
            Some(tensor) if tensor.shape != *shape => bail!(
                "load a network: the tensor `{name}` is {:?}, the network has {shape:?} there; build it with the same keys and \
                 the same classes",
                tensor.shape
            ),
            Some(_) => {}
        }
    }
    if given.len() > asked.len() {
        let asked: HashSet<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
        let unknown = given.keys().filter(|name| !asked.contains(*name)).min().expect("more were given than asked for");
        bail!("load a network: it has no tensor `{unknown}`; the file belongs to another network");
    }
    let mut values = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        values.insert(tensor.name.clone(), tensor.clone().into_values()?);
    }
    for (name, shape) in &asked {
        let count = values[name].len();
        if count != shape.iter().product::<usize>() {
            bail!(
                "load a network: the tensor `{name}` has {count} values, its shape {shape:?} asks for another number"
            );
        }
    }
    Ok(map_values(own_statistics(network), |parameter| values.remove(&parameter.name).expect("checked above")))
}

/// A network whose running statistics no clone shares.
fn own_statistics(network: Network) -> Network {
    let trains = network.devices().iter().any(|device| device.is_autodiff());
    let network = network.valid();
    if trains { network.train() } else { network }
}

/// A tensor of a network on the way to new values.
pub struct Parameter {
    pub name: String,
    /// As PyTorch has it.
    pub shape: Vec<usize>,
}

/// The network with other values, in PyTorch's layout.
pub(super) fn map_values(network: Network, values: impl FnMut(&Parameter) -> Vec<f32>) -> Network {
    network.map(&mut Writer { path: Path::default(), values })
}

/// Where a walk through a network is.
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
            let data = param.val().into_data().convert::<f32>();
            values = data.try_into_vec::<f32>().expect("just converted to f32");
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
        // Keeps whether it learns; the values that burn would have drawn are never drawn.
        param.transform_for_load(array, id)
    }
}

/// A row-major matrix with rows for columns, tile by tile: a column of a large one misses the cache at every step.
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
