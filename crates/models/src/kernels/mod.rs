//! Our own operations for the CPU: the ones that networks spend their time in, with their gradients.
//!
//! They belong to burn's `flex` backend; on every other device the layers call burn's own. Numbers are the same for any number
//! of threads: sums are cut by sizes, never by threads, and added in the order of the pieces.

mod bridge;
mod gather;
mod images;
mod memory;
mod norm;
mod pool;
mod simd;
mod tiles;
mod weight_gradient;
mod winograd;

pub mod batch_norm;
pub mod convolution;
pub mod max_pool;

#[cfg(test)]
mod twins;

pub use images::Window;

use burn::tensor::{DType, Tensor};

/// Whether the kernels take this tensor: f32 on the CPU.
pub fn supports<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.device().inner() == burn::tensor::Device::flex()
}
