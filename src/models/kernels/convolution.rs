//! The convolution as an operation of burn's CPU backend, with its gradients.

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
        let out = if winograd::pays(&window, [x.count, height, width], [x.channels, out_channels]) {
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
        // The images themselves have no gradient: the first layer of a network skips it.
        if let Some(node) = x_node {
            let ([count, channels, height, width], weight) = (shape_of(&x), weight.to_contiguous());
            let (dy, weight) = (dy.images(), values_of(&weight));
            let dx = if winograd::pays(&window, [count, height, width], [dy.channels, channels]) {
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
