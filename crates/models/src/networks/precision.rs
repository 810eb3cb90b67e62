//! The precision of the factors of convolutions and matrix products in a training step.
//!
//! In `bf16` the factors are rounded to 8 significant bits; sums, weights, norms and losses stay in f32, as in PyTorch's autocast. It holds
//! for the layers that run within [`with`], on this thread. A GPU computes with the rounded numbers; the CPU rounds them and
//! computes in f32, which gives the same up to the order of the sums, and is slower than f32.

use std::cell::Cell;

use burn::tensor::{DType, Tensor};

use crate::hyperparameters::Precision;

thread_local! {
    static FACTORS: Cell<Precision> = const { Cell::new(Precision::F32) };
}

/// Calls `work` with factors of this precision.
pub fn with<T>(precision: Precision, work: impl FnOnce() -> T) -> T {
    /// Restores the precision, after a panic as well.
    struct Before(Precision);
    impl Drop for Before {
        fn drop(&mut self) {
            FACTORS.set(self.0);
        }
    }
    let _before = Before(FACTORS.replace(precision));
    work()
}

/// Whether factors are f32, so that nothing is rounded.
pub fn is_full() -> bool {
    FACTORS.get() == Precision::F32
}

/// The product of two factors, which `multiply` computes.
pub fn product<const A: usize, const B: usize, const C: usize>(
    a: Tensor<A>,
    b: Tensor<B>,
    multiply: impl FnOnce(Tensor<A>, Tensor<B>) -> Tensor<C>,
) -> Tensor<C> {
    if is_full() {
        return multiply(a, b);
    }
    let (a, b) = (a.cast(DType::BF16), b.cast(DType::BF16));
    match a.device().inner() == burn::tensor::Device::flex() {
        true => multiply(a.cast(DType::F32), b.cast(DType::F32)),
        false => multiply(a, b).cast(DType::F32),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::device::read;

    fn column(values: [f32; 2], device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, 1]), device)
    }

    #[test]
    fn factors_have_8_significant_bits_and_their_product_has_all() {
        let device = Device::flex();
        let (a, b) = (column([1.0 + 1.0 / 512.0, 3.0], &device), column([1.0 + 1.0 / 128.0, 1.0], &device));
        let multiply = || read(product(a.clone(), b.clone(), |a, b| a * b));
        assert_eq!(multiply(), [(1.0 + 1.0 / 512.0) * (1.0 + 1.0 / 128.0), 3.0]);
        // The first is halfway between 1 and 1 + 1 / 128, and not far enough for the second; the product of the rounded factors is exact.
        assert_eq!(with(Precision::Bf16, multiply), [1.0 + 1.0 / 128.0, 3.0]);
        let third = column([1.0 + 3.0 / 128.0, 0.0], &device);
        let squared = with(Precision::Bf16, || read(product(third.clone(), third.clone(), |a, b| a * b)));
        assert_eq!(squared[0], (1.0 + 3.0 / 128.0) * (1.0 + 3.0 / 128.0), "more than 8 bits");
    }

    #[test]
    fn the_precision_ends_with_the_work_and_after_a_panic() {
        assert!(!with(Precision::Bf16, is_full) && is_full());
        let panicked = std::panic::catch_unwind(|| with(Precision::Bf16, || panic!("on purpose")));
        assert!(panicked.is_err() && is_full());
    }

    #[test]
    fn gradients_pass_through_the_rounding() {
        let device = Device::flex().autodiff();
        let (a, b) = (column([1.5, -2.0], &device).require_grad(), column([0.25, 3.0], &device));
        let sum = with(Precision::Bf16, || product(a.clone(), b, |a, b| a * b)).sum();
        assert_eq!(read(a.grad(&sum.backward()).unwrap()), [0.25, 3.0]);
    }
}
