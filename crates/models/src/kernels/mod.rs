//! CPU kernels for the operations in which networks spend most of their time, with their gradients.
//!
//! They extend burn's `flex` backend; on every other device the layers call burn's own operations. Results do not depend on the
//! number of threads: sums are split by sizes, never by threads, and added in the order of the parts.

mod bridge;
mod gather;
mod images;
mod memory;
mod norm;
mod pool;
mod simd;
mod sums;
mod tiles;
mod weight_gradient;
mod winograd;

pub mod attention;
pub mod batch_norm;
pub mod convolution;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod max_pool;

#[cfg(test)]
mod twins;

pub use images::Window;

use burn::tensor::{DType, Tensor};

/// Whether the kernels can compute this tensor: f32 on the CPU.
pub fn supports<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.device().inner() == burn::tensor::Device::flex()
}
