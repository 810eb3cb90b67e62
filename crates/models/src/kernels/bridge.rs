//! From a tensor of burn's CPU backend to the numbers the kernels read, and back.
//!
//! Tensors are `[image, channel, row, column]` to everybody. What the kernels make lies in memory with the channels last and
//! says so in its strides: the next kernel reads it where it lies, anybody else reads it by its strides.

use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

use super::images::Images;
use super::memory;

/// A tensor whose channels lie together; copied only if they did not.
pub struct ChannelsLast {
    /// `[image, row, column, channel]`, dense.
    tensor: FlexTensor,
}

impl ChannelsLast {
    pub fn of(tensor: &FlexTensor) -> ChannelsLast {
        memory::keep();
        let [_, channels, height, width] = shape_of(tensor);
        if channels == 1 || height * width == 1 {
            // Both orders are the same.
            let shape = [tensor.layout().shape()[0], height, width, channels];
            return ChannelsLast { tensor: tensor.to_contiguous().reshape(shape.into()) };
        }
        ChannelsLast { tensor: tensor.permute(&[0, 2, 3, 1]).to_contiguous() }
    }

    pub fn images(&self) -> Images<'_> {
        Images::new(values_of(&self.tensor), shape_of(&self.tensor))
    }
}

/// A tensor `[image, channel, row, column]` of numbers that lie with the channels last.
pub fn channels_last(values: Vec<f32>, [count, height, width, channels]: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, [count, height, width, channels])).permute(&[0, 3, 1, 2])
}

pub fn dense<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

pub fn shape_of<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    std::array::from_fn(|axis| tensor.layout().shape()[axis])
}

/// The numbers of a dense tensor.
pub fn values_of(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the kernels are given dense tensors of f32")
}
