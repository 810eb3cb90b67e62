//! Max pooling as an operation of burn's CPU backend.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::bridge::{ChannelsLast, channels_last, shape_of};
use super::images::Window;
use super::pool;

#[backend_extension(Flex, Autodiff)]
pub trait Pool: Backend {
    fn max_pool(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;
}

/// The maximum of each window, on the CPU.
pub fn max_pool(x: Tensor<4>, window: Window) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::max_pool(x.into_dispatch(), window))
}

fn with_taps(x: &FlexTensor, window: &Window) -> (FlexTensor, Vec<u8>) {
    let x = ChannelsLast::of(x);
    let x = x.images();
    let [height, width] = window.output(x.height, x.width);
    let (out, taps) = pool::forward(&x, window);
    (channels_last(out, [x.count, height, width, x.channels]), taps)
}

impl Pool for Flex {
    fn max_pool(x: FlexTensor, window: Window) -> FlexTensor {
        with_taps(&x, &window).0
    }
}

#[derive(Debug)]
struct PoolBackward;

impl Backward<Flex, 1> for PoolBackward {
    /// The taps of the maxima, rows and columns of the input, the window.
    type State = (Arc<Vec<u8>>, [usize; 2], Window);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = ChannelsLast::of(&grads.consume::<Flex>(&ops.node));
        let ([node], (taps, size, window), dy) = (ops.parents, ops.state, dy.images());
        if let Some(node) = node {
            let dx = pool::backward(&dy, &taps, size, &window);
            grads.register::<Flex>(node.id, channels_last(dx, [dy.count, size[0], size[1], dy.channels]));
        }
    }
}

impl<C: CheckpointStrategy> Pool for Autodiff<Flex, C> {
    fn max_pool(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (out, taps) = with_taps(&x, &window);
        let [.., height, width] = shape_of::<4>(&x);
        match PoolBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((Arc::new(taps), [height, width], window), out),
            OpsKind::UnTracked(prep) => prep.finish(out),
        }
    }
}
