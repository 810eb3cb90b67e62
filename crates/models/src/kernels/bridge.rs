//! Converts between tensors of burn's CPU backend and the slices that the kernels read and write.
//!
//! All other code sees tensors as `[image, channel, row, column]`. The kernels' results are stored with the channels last, as
//! their strides say: the next kernel reads them in place, all other code reads them by their strides.

use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

use super::images::Images;

/// A tensor stored with the channels last; copied only if it was not.
pub struct ChannelsLast {
    /// `[image, row, column, channel]`, dense.
    tensor: FlexTensor,
}

impl ChannelsLast {
    pub fn of(tensor: &FlexTensor) -> ChannelsLast {
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

/// A tensor `[image, channel, row, column]` from values stored with the channels last.
pub fn channels_last(values: Vec<f32>, [count, height, width, channels]: [usize; 4]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, [count, height, width, channels])).permute(&[0, 3, 1, 2])
}

pub fn dense<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A dense tensor of the shape of another.
pub fn like(other: &FlexTensor, values: Vec<f32>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, other.layout().shape().clone()))
}

/// A dense tensor of the shape of another but for its last axis.
pub fn with_last_axis(other: &FlexTensor, values: Vec<f32>, len: usize) -> FlexTensor {
    let mut shape: Vec<usize> = other.layout().shape().iter().copied().collect();
    shape.pop();
    shape.push(len);
    FlexTensor::from_data(TensorData::new(values, shape))
}

pub fn shape_of<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    std::array::from_fn(|axis| tensor.layout().shape()[axis])
}

/// The values of a dense tensor.
pub fn values_of(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the kernels need dense tensors of f32")
}
