//! Named arrays of f32: what a fitted model saves, and how a restored model takes them back.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use timbre_inputs::dataset::feature_set::FeatureSet;

/// A named array of f32.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: TensorValues,
}

/// The values of a tensor, row-major.
#[derive(Clone)]
pub enum TensorValues {
    InMemory(Vec<f32>),
    /// As large as the training set, and therefore read in blocks when it is written.
    Rows(FeatureSet),
}

impl Tensor {
    pub fn new(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Tensor {
        Tensor { name: name.to_owned(), shape, values: TensorValues::InMemory(values) }
    }

    /// Calls `write` with the values, block by block.
    pub fn for_each_block(&self, mut write: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        match &self.values {
            TensorValues::InMemory(values) => write(values),
            TensorValues::Rows(set) => {
                let mut block = Vec::new();
                chunk_ranges(set.len(), set.block_rows()).into_iter().try_for_each(|rows| {
                    set.read_rows(rows, &mut block)?;
                    write(&block)
                })
            }
        }
    }

    /// All values, in memory.
    pub fn into_values(self) -> Result<Vec<f32>> {
        match self.values {
            TensorValues::InMemory(values) => Ok(values),
            TensorValues::Rows(set) => {
                let mut values = Vec::new();
                set.read_rows(0..set.len(), &mut values)?;
                Ok(values)
            }
        }
    }
}

/// `0..len` in ranges of `size`; the last one may be shorter.
pub(crate) fn chunk_ranges(len: usize, size: usize) -> Vec<Range<usize>> {
    let size = size.max(1);
    (0..len).step_by(size).map(|start| start..(start + size).min(len)).collect()
}

/// Removes the tensor with that name from the list and returns its shape and values.
pub(crate) fn take_shaped(tensors: &mut Vec<Tensor>, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let at = tensors.iter().position(|t| t.name == name).with_context(|| format!("the tensor `{name}` is missing"))?;
    let tensor = tensors.swap_remove(at);
    let shape = tensor.shape.clone();
    let values = tensor.into_values()?;
    ensure!(
        shape.iter().product::<usize>() == values.len(),
        "the tensor `{name}` has {} values, which does not fit its shape {shape:?}",
        values.len()
    );
    Ok((shape, values))
}

pub(crate) fn take_tensor(tensors: &mut Vec<Tensor>, name: &str) -> Result<Vec<f32>> {
    take_shaped(tensors, name).map(|(_, values)| values)
}

/// Removes a matrix from the list and returns its numbers of rows and columns, and its values.
pub(crate) fn take_matrix(tensors: &mut Vec<Tensor>, name: &str) -> Result<(usize, usize, Vec<f32>)> {
    let (shape, values) = take_shaped(tensors, name)?;
    let [rows, columns] = shape[..] else { bail!("the tensor `{name}` has the shape {shape:?}, not two dimensions") };
    Ok((rows, columns, values))
}
