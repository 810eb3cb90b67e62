//! Linear layers with their gradients, as an operation of burn's CPU backend: sums begin at the bias, and no factor is transposed.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::bridge::{dense, shape_of, values_of, with_last_axis};
use super::simd::{Kernel, Vector, on_best};
use super::sums::over_parts;
use crate::products::{View, add_product_in_parallel};

/// Rows whose gradients of the bias are summed in f32.
const ROWS: usize = 64;

#[backend_extension(Flex, Autodiff)]
pub trait Linear: Backend {
    fn linear_layer(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `x · weight + bias` along the last axis, on the CPU. The weight is `[in, out]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::linear_layer(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()))
}

fn forward(x: &FlexTensor, weight: &FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
    let [inputs, outputs] = shape_of(&weight);
    let rows = values_of(&x).len() / inputs;
    let mut out = values_of(&bias).repeat(rows);
    let (x_rows, weights) = (View::new(values_of(&x), rows, inputs, inputs, 1), matrix(&weight, inputs, outputs));
    add_product_in_parallel(&mut out, outputs, 1, x_rows, weights);
    with_last_axis(&x, out, outputs)
}

fn matrix(tensor: &FlexTensor, rows: usize, columns: usize) -> View<'_, f32> {
    View::new(values_of(tensor), rows, columns, columns, 1)
}

/// Adds rows to the sums of their columns.
struct AddRows<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for AddRows<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        for row in self.rows.chunks_exact(self.sums.len()) {
            self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// The sum of each column: f32 within a part, f64 over the parts.
fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    let of_part = |rows: &[f32]| {
        let mut sums = vec![0.0; columns];
        on_best(columns, AddRows { rows, sums: &mut sums });
        sums
    };
    let parts: Vec<Vec<f32>> = values.par_chunks(ROWS * columns).map(of_part).collect();
    over_parts(columns, parts.iter().map(Vec::as_slice))
}

impl Linear for Flex {
    fn linear_layer(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        forward(&x, &weight, &bias)
    }
}

#[derive(Debug)]
struct LinearBackward;

impl Backward<Flex, 3> for LinearBackward {
    /// Inputs and weights.
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let ([x_node, weight_node, bias_node], (x, weight)) = (ops.parents, ops.state);
        let [inputs, outputs] = shape_of(&weight);
        let rows = values_of(&dy).len() / outputs;
        let slopes = matrix(&dy, rows, outputs);
        if let Some(node) = x_node {
            let weight = weight.to_contiguous();
            let mut dx = vec![0.0; rows * inputs];
            add_product_in_parallel(&mut dx, inputs, 1, slopes, matrix(&weight, inputs, outputs).transposed());
            grads.register::<Flex>(node.id, with_last_axis(&dy, dx, inputs));
        }
        if let Some(node) = weight_node {
            let x = x.to_contiguous();
            let mut dw = vec![0.0; inputs * outputs];
            add_product_in_parallel(&mut dw, outputs, 1, matrix(&x, rows, inputs).transposed(), slopes);
            grads.register::<Flex>(node.id, dense(dw, [inputs, outputs]));
        }
        if let Some(node) = bias_node {
            grads.register::<Flex>(node.id, dense(column_sums(values_of(&dy), outputs), [outputs]));
        }
    }
}

impl<C: CheckpointStrategy> Linear for Autodiff<Flex, C> {
    fn linear_layer(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let out = forward(&x, &weight, &bias);
        match LinearBackward.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, weight), out),
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
        for (shape, outputs) in [([1, 1, 1], 1), ([2, 70, 33], 17), ([3, 5, 64], 130)] {
            let [clips, tokens, inputs] = shape;
            let x = Tensor::<3>::from_data(TensorData::new(noise(clips * tokens * inputs, 1), shape), &device);
            let weight = TensorData::new(noise(inputs * outputs, 2), [inputs, outputs]);
            let weight = Tensor::<2>::from_data(weight, &device).require_grad();
            let bias = Tensor::<1>::from_data(TensorData::new(noise(outputs, 3), [outputs]), &device).require_grad();
            let dy = TensorData::new(noise(clips * tokens * outputs, 4), [clips, tokens, outputs]);
            let dy = Tensor::<3>::from_data(dy, &device);
            let x = x.require_grad();
            let of = |out: Tensor<3>| {
                let all = (out.clone() * dy.clone()).sum().backward();
                [
                    read(out),
                    read(x.grad(&all).unwrap()),
                    read(weight.grad(&all).unwrap()),
                    read(bias.grad(&all).unwrap()),
                ]
            };
            let ours = of(linear(x.clone(), weight.clone(), bias.clone()));
            let theirs = of(module::linear(x.clone(), weight.clone(), Some(bias.clone())));
            for (ours, theirs) in ours.iter().flatten().zip(theirs.iter().flatten()) {
                assert!((ours - theirs).abs() < 2e-5, "{shape:?}: {ours}, burn {theirs}");
            }
        }
    }

    #[test]
    fn inputs_and_frozen_weights_without_a_gradient_get_none() {
        let device = Device::flex().autodiff();
        let tensor = |len: usize| Tensor::<1>::from_data(TensorData::new(noise(len, 1), [len]), &device);
        let (x, weight, bias) = (tensor(6).reshape([2, 3]), tensor(12).reshape([3, 4]), tensor(4).require_grad());
        let grads = linear(x.clone(), weight.clone(), bias.clone()).sum().backward();
        assert_eq!(read(bias.grad(&grads).unwrap()), [2.0; 4]);
        assert!(x.grad(&grads).is_none() && weight.grad(&grads).is_none());
    }
}
