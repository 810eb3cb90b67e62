//! Convolution with its gradients, as an operation of burn's CPU backend.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::bridge::{ChannelsLast, channels_last, dense, shape_of, values_of};
use super::images::Window;
use super::{gather, weight_gradient, winograd};

#[backend_extension(Flex, Autodiff)]
pub trait Convolve: Backend {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;
}

/// `x * weight` on the CPU, without groups.
pub fn convolve(x: Tensor<4>, weight: Tensor<4>, window: Window) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::convolve(x.into_dispatch(), weight.into_dispatch(), window))
}

impl Convolve for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, window: Window) -> FlexTensor {
        let (x, weight) = (ChannelsLast::of(&x), weight.to_contiguous());
        let (x, [out_channels, ..]) = (x.images(), shape_of::<4>(&weight));
        let [height, width] = window.output(x.height, x.width);
        let weight = values_of(&weight);
        let out = if winograd::pays(&window, [height, width], [x.channels, out_channels]) {
            winograd::forward(&x, weight, out_channels, &window)
        } else {
            gather::forward(&x, weight, None, out_channels, &window)
        };
        channels_last(out, [x.count, height, width, out_channels])
    }
}

#[derive(Debug)]
struct ConvolveBackward;

impl Backward<Flex, 2> for ConvolveBackward {
    type State = (FlexTensor, FlexTensor, Window);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let (x, weight, window) = ops.state;
        let dy = ChannelsLast::of(&grads.consume::<Flex>(&ops.node));
        // The images themselves need no gradient: the first layer of a network skips it.
        if let Some(node) = x_node {
            let ([count, channels, height, width], weight) = (shape_of(&x), weight.to_contiguous());
            let (dy, weight) = (dy.images(), values_of(&weight));
            let dx = if winograd::pays(&window, [height, width], [dy.channels, channels]) {
                winograd::input_gradient(&dy, weight, channels, &window)
            } else {
                gather::input_gradient(&dy, weight, channels, [height, width], &window)
            };
            grads.register::<Flex>(node.id, channels_last(dx, [count, height, width, channels]));
        }
        if let Some(node) = weight_node {
            let dw = weight_gradient::weight_gradient(&ChannelsLast::of(&x).images(), &dy.images(), &window);
            grads.register::<Flex>(node.id, dense(dw, shape_of::<4>(&weight)));
        }
    }
}

impl<C: CheckpointStrategy> Convolve for Autodiff<Flex, C> {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let out = Flex::convolve(x.clone(), weight.clone(), window);
        match ConvolveBackward.prepare::<C>([x_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x, weight, window), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, module};

    use super::super::twins::*;
    use super::*;

    fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::from_data(burn::tensor::TensorData::new(values, shape), device)
    }

    fn largest(difference: Tensor<4>) -> f32 {
        difference.abs().max().into_scalar()
    }

    #[test]
    fn outputs_and_gradients_equal_those_of_burn() {
        let device = Device::flex().autodiff();
        for case in cases() {
            let ([count, height, width, inputs], window) = (case.shape, case.window);
            let x = tensor(case.x(), [count, inputs, height, width], &device).require_grad();
            let shape = [case.out_channels, inputs, window.kernel[0], window.kernel[1]];
            let weight = tensor(case.weight(), shape, &device).require_grad();
            let options = ConvOptions::new(window.stride, window.padding, window.dilation, 1);
            let ours = convolve(x.clone(), weight.clone(), window);
            let theirs = module::conv2d(x.clone(), weight.clone(), None, options);
            assert_eq!(ours.dims(), theirs.dims());
            assert!(largest(ours.clone() - theirs.clone()) < 2e-3);
            let dy = tensor(case.dy(), ours.dims(), &device);
            let (ours, theirs) = ((ours * dy.clone()).sum().backward(), (theirs * dy).sum().backward());
            assert!(largest(x.grad(&ours).unwrap() - x.grad(&theirs).unwrap()) < 2e-3);
            assert!(largest(weight.grad(&ours).unwrap() - weight.grad(&theirs).unwrap()) < 1e-2);
        }
    }

    #[test]
    fn an_image_alone_gives_the_same_bits_as_in_a_batch() {
        let device = Device::flex();
        for (channels, size) in [(64, [40, 33]), (32, [6, 5]), (1, [20, 20])] {
            let shape = [5, channels, size[0], size[1]];
            let x = tensor(noise(shape.iter().product(), 1), shape, &device);
            let weight = tensor(noise(64 * channels * 9, 2), [64, channels, 3, 3], &device);
            let together = convolve(x.clone(), weight.clone(), square(3, 1, 1)).narrow(0, 3, 1);
            let alone = convolve(x.narrow(0, 3, 1), weight, square(3, 1, 1));
            assert_eq!(together.into_data(), alone.into_data());
        }
    }

    #[test]
    fn images_and_frozen_weights_without_a_gradient_get_none() {
        let device = Device::flex().autodiff();
        let (x, weight) = (noise(2 * 3 * 8 * 8, 1), noise(4 * 3 * 9, 2));
        let (x, weight) = (tensor(x, [2, 3, 8, 8], &device), tensor(weight, [4, 3, 3, 3], &device));
        let trainable = weight.clone().require_grad();
        let grads = convolve(x.clone(), trainable.clone(), square(3, 1, 1)).sum().backward();
        assert!(trainable.grad(&grads).is_some() && x.grad(&grads).is_none());
        let x = x.require_grad();
        let grads = convolve(x.clone(), weight.clone(), square(3, 1, 1)).sum().backward();
        assert!(x.grad(&grads).is_some() && weight.grad(&grads).is_none());
    }
}
