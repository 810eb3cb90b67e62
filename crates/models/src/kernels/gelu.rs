//! GELU by the error function, as an operation of burn's CPU backend.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::bridge::{like, values_of};
use super::simd::{Kernel, Vector, exp, on_best};

/// Values of a task.
const PART: usize = 16 << 10;

#[backend_extension(Flex, Autodiff)]
pub trait Gelu: Backend {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// `x Φ(x)` on the CPU, where Φ is the cumulative normal distribution.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::exact_gelu(x.into_dispatch()))
}

/// Φ(x), and the density at x, with a relative error of a few units in the last place.
///
/// Φ(-t √2) is exp(-t²) erfcx(t) / 2, and erfcx, the scaled complement of the error function, is smooth: a polynomial in
/// 1 / (1 + 0.42 t), fitted by `gelu.py` with a relative error of 4e-8.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const COEFFICIENTS: [f32; 9] = [
        2.585_851e-5,
        0.236_328_08,
        0.243_562_6,
        0.177_339_5,
        0.314_130_3,
        -0.203_094_47,
        0.510_233_76,
        -0.356_905_85,
        0.078_380_3,
    ];
    let falling = exp(-0.5 * x * x);
    let k = 1.0 / (1.0 + 0.42 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let scaled = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| sum * k + coefficient);
    let below = 0.5 * falling * scaled;
    // 1 / sqrt(2 pi)
    (if x < 0.0 { below } else { 1.0 - below }, 0.398_942_3 * falling)
}

/// Computes each value of `out` from that of `x`, and that of `dy` for a gradient.
struct Each<'a> {
    x: &'a [f32],
    dy: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Each<'_> {
    type Result = ();

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) {
        match self.dy {
            None => self.out.iter_mut().zip(self.x).for_each(|(out, &x)| *out = x * normal(x).0),
            Some(dy) => self.out.iter_mut().zip(self.x).zip(dy).for_each(|((out, &x), dy)| {
                let (below, density) = normal(x);
                *out = dy * (below + x * density);
            }),
        }
    }
}

fn compute(x: &FlexTensor, dy: Option<&FlexTensor>) -> FlexTensor {
    let (x, dy) = (x.to_contiguous(), dy.map(FlexTensor::to_contiguous));
    let (values, slopes) = (values_of(&x), dy.as_ref().map(values_of));
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(PART).enumerate().for_each(|(nth, out)| {
        let here = nth * PART..nth * PART + out.len();
        on_best(0, Each { x: &values[here.clone()], dy: slopes.map(|slopes| &slopes[here]), out });
    });
    like(&x, out)
}

impl Gelu for Flex {
    fn exact_gelu(x: FlexTensor) -> FlexTensor {
        compute(&x, None)
    }
}

#[derive(Debug)]
struct GeluBackward;

impl Backward<Flex, 1> for GeluBackward {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        if let [Some(node)] = ops.parents {
            grads.register::<Flex>(node.id, compute(&ops.state, Some(&dy)));
        }
    }
}

impl<C: CheckpointStrategy> Gelu for Autodiff<Flex, C> {
    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let out = compute(&x, None);
        match GeluBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(x, out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, activation};

    use super::*;
    use crate::device::read;

    #[test]
    fn values_and_gradients_equal_those_of_the_error_function() {
        let device = Device::flex().autodiff();
        let values: Vec<f32> = (-13_000..13_000).map(|i| i as f32 / 1000.0).collect();
        let x = Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), &device).require_grad();
        let of = |y: Tensor<1>| {
            let gradient = x.grad(&y.clone().sum().backward()).unwrap();
            (read(y), read(gradient))
        };
        let (ours, theirs) = (of(gelu(x.clone())), of(activation::gelu(x.clone())));
        for (ours, theirs) in [(&ours.0, &theirs.0), (&ours.1, &theirs.1)] {
            for ((ours, theirs), x) in ours.iter().zip(theirs).zip(&values) {
                assert!((ours - theirs).abs() <= 4e-7 * (1.0 + x.abs()), "{x}: {ours}, burn {theirs}");
            }
        }
        // The tail, where one minus the error function cancels.
        let tail = |x: f32| f64::from(x) * 0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2);
        for (ours, &x) in ours.0.iter().zip(&values).filter(|(_, x)| (-9.0..0.0).contains(*x)) {
            assert!((f64::from(*ours) / tail(x) - 1.0).abs() < 1e-5, "{x}: {ours}");
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let x = Tensor::<2>::from_data(TensorData::new(vec![f32::NAN, 1.0], [2, 1]), &Device::flex());
        let y = read(gelu(x));
        assert!(y[0].is_nan() && (y[1] - 0.841_344_7).abs() < 1e-6, "{y:?}");
    }
}
