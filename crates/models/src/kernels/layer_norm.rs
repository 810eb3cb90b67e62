//! Layer norm of the last axis, as an operation of burn's CPU backend.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::bridge::{dense, like, shape_of, values_of};
use super::simd::{Kernel, Vector, on_best};
use super::sums::{over_parts, sum};

/// Rows of a task.
const ROWS: usize = 64;

#[backend_extension(Flex, Autodiff)]
pub trait NormalizeRows: Backend {
    fn normalize_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
}

/// Rows with mean 0 and variance 1, times `gamma`, plus `beta`, on the CPU.
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
    Tensor::from_dispatch(Dispatch::normalize_rows(x, gamma, beta, epsilon))
}

/// The mean of a row, and one over its standard deviation.
type Moments = [f32; 2];

struct Forward<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
    moments: &'a mut [Moments],
}

impl Kernel for Forward<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let columns = self.gamma.len();
        let rows = self.x.chunks_exact(columns).zip(self.out.chunks_exact_mut(columns));
        for ((x, out), moments) in rows.zip(self.moments) {
            let mean = sum(columns, |i| x[i]) / columns as f32;
            let variance = sum(columns, |i| (x[i] - mean) * (x[i] - mean)) / columns as f32;
            let factor = 1.0 / (variance + self.epsilon).sqrt();
            *moments = [mean, factor];
            for (i, out) in out.iter_mut().enumerate() {
                *out = (x[i] - mean) * factor * self.gamma[i] + self.beta[i];
            }
        }
    }
}

/// Replaces gradients of the output by those of the input. The sums are of the gradients of `gamma`, then of `beta`.
struct Gradient<'a> {
    x: &'a [f32],
    gamma: &'a [f32],
    moments: &'a [Moments],
    slopes: &'a mut [f32],
    sums: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        let (columns, gamma) = (self.gamma.len(), self.gamma);
        let (of_gamma, of_beta) = self.sums.split_at_mut(columns);
        let rows = self.x.chunks_exact(columns).zip(self.slopes.chunks_exact_mut(columns));
        for ((x, slopes), &[mean, factor]) in rows.zip(self.moments) {
            for i in 0..columns {
                of_gamma[i] += slopes[i] * (x[i] - mean) * factor;
                of_beta[i] += slopes[i];
            }
            let constant = sum(columns, |i| slopes[i] * gamma[i]) / columns as f32;
            let linear = sum(columns, |i| slopes[i] * gamma[i] * (x[i] - mean)) * factor / columns as f32;
            for i in 0..columns {
                slopes[i] = factor * (slopes[i] * gamma[i] - constant - (x[i] - mean) * factor * linear);
            }
        }
    }
}

fn forward(x: &FlexTensor, gamma: &FlexTensor, beta: &FlexTensor, epsilon: f64) -> (FlexTensor, Vec<Moments>) {
    let (x, gamma, beta) = (x.to_contiguous(), gamma.to_contiguous(), beta.to_contiguous());
    let (values, gamma, beta) = (values_of(&x), values_of(&gamma), values_of(&beta));
    let part = ROWS * gamma.len();
    let (mut out, mut moments) = (vec![0.0; values.len()], vec![[0.0; 2]; values.len() / gamma.len()]);
    let parts = out.par_chunks_mut(part).zip(moments.par_chunks_mut(ROWS)).zip(values.par_chunks(part));
    parts.for_each(|((out, moments), x)| {
        on_best(gamma.len(), Forward { x, gamma, beta, epsilon: epsilon as f32, out, moments });
    });
    (like(&x, out), moments)
}

impl NormalizeRows for Flex {
    fn normalize_rows(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> FlexTensor {
        forward(&x, &gamma, &beta, epsilon).0
    }
}

#[derive(Debug)]
struct NormalizeRowsBackward;

impl Backward<Flex, 3> for NormalizeRowsBackward {
    /// Inputs, `gamma`, and the moments of each row.
    type State = (FlexTensor, FlexTensor, Arc<Vec<Moments>>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (x, gamma, moments) = ops.state;
        let [columns] = shape_of(&gamma);
        let (x, gamma) = (x.to_contiguous(), gamma.to_contiguous());
        let part = ROWS * columns;
        let mut slopes = values_of(&dy).to_vec();
        let mut sums = vec![0.0; moments.len().div_ceil(ROWS) * 2 * columns];
        let parts = slopes.par_chunks_mut(part).zip(sums.par_chunks_mut(2 * columns));
        parts.zip(values_of(&x).par_chunks(part)).zip(moments.par_chunks(ROWS)).for_each(
            |(((slopes, sums), x), moments)| {
                on_best(columns, Gradient { x, gamma: values_of(&gamma), moments, slopes, sums });
            },
        );
        let [x_node, gamma_node, beta_node] = ops.parents;
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, like(&dy, slopes));
        }
        for (node, start) in [(gamma_node, 0), (beta_node, columns)] {
            if let Some(node) = node {
                let parts = sums.chunks(2 * columns).map(|part| &part[start..start + columns]);
                grads.register::<Flex>(node.id, dense(over_parts(columns, parts), [columns]));
            }
        }
    }
}

impl<C: CheckpointStrategy> NormalizeRows for Autodiff<Flex, C> {
    fn normalize_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (gamma, gamma_node)) = (x.into_parts(), gamma.into_parts());
        let (beta, beta_node) = beta.into_parts();
        let (out, moments) = forward(&x, &gamma, &beta, epsilon);
        match NormalizeRowsBackward.prepare::<C>([x_node, gamma_node, beta_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, gamma, Arc::new(moments)), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, module};

    use super::super::twins::noise;
    use super::*;
    use crate::device::read;

    #[test]
    fn outputs_and_gradients_equal_those_of_burn() {
        let device = Device::flex().autodiff();
        for [clips, tokens, columns] in [[1, 1, 2], [2, 5, 33], [3, 70, 48]] {
            let tensor = |seed, len| Tensor::<1>::from_data(TensorData::new(noise(len, seed), [len]), &device);
            let shape = [clips, tokens, columns];
            let x = (tensor(1, shape.iter().product()) + 3.0).reshape(shape).require_grad();
            let (gamma, beta) = (tensor(2, columns).require_grad(), tensor(3, columns).require_grad());
            let dy = tensor(4, shape.iter().product()).reshape(shape);
            let of = |out: Tensor<3>| {
                let all = (out.clone() * dy.clone()).sum().backward();
                [
                    read(out),
                    read(x.grad(&all).unwrap()),
                    read(gamma.grad(&all).unwrap()),
                    read(beta.grad(&all).unwrap()),
                ]
            };
            let ours = of(layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-6));
            let theirs = of(module::layer_norm(x.clone(), gamma.clone(), Some(beta.clone()), 1e-6));
            for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                assert!((ours - theirs).abs() < 1e-4 * (1.0 + theirs.abs()), "{shape:?}: {ours}, burn {theirs}");
            }
        }
    }

    #[test]
    fn a_frozen_norm_passes_the_gradient_on_alone() {
        let device = Device::flex().autodiff();
        let tensor = |values: [f32; 2]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [2]), &device);
        let (x, gamma, beta) = (tensor([1.0, 4.0]).require_grad(), tensor([1.0; 2]), tensor([0.0; 2]));
        let grads = layer_norm(x.clone().reshape([1, 2]), gamma.clone(), beta.clone(), 0.0).sum().backward();
        assert!(x.grad(&grads).is_some() && gamma.grad(&grads).is_none() && beta.grad(&grads).is_none());
    }
}
