//! Batch norm with an optional residual addition and ReLU, as one operation of burn's CPU backend.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::bridge::{ChannelsLast, channels_last, dense, shape_of, values_of};
use super::images::Images;
use super::norm::{self, Affine, Statistics};

/// The operations after a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    pub epsilon: f64,
    /// Whether a shortcut is added. If not, the shortcut argument of the operations below is `x` and ignored: burn has no optional
    /// tensor arguments.
    pub add: bool,
    pub relu: bool,
}

#[backend_extension(Flex, Autodiff)]
pub trait Normalize: Backend {
    /// With the statistics of the batch. Returns the output, and mean and variance over the pixels.
    fn normalize_batch(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        epilogue: Epilogue,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// With given statistics. Has no gradient.
    fn normalize(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        epilogue: Epilogue,
    ) -> FloatTensor<Self>;
}

/// Output, mean and variance of a batch norm in training.
pub fn normalize_batch(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    shortcut: Option<Tensor<4>>,
    epsilon: f64,
    relu: bool,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let epilogue = Epilogue { epsilon, add: shortcut.is_some(), relu };
    let shortcut = shortcut.unwrap_or_else(|| x.clone()).into_dispatch();
    let (out, mean, variance) =
        Dispatch::normalize_batch(x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch(), shortcut, epilogue);
    (Tensor::from_dispatch(out), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}

/// A batch norm with given statistics, outside of training.
pub fn normalize(
    x: Tensor<4>,
    [gamma, beta, mean, variance]: [Tensor<1>; 4],
    shortcut: Option<Tensor<4>>,
    epsilon: f64,
    relu: bool,
) -> Tensor<4> {
    let epilogue = Epilogue { epsilon, add: shortcut.is_some(), relu };
    let shortcut = shortcut.unwrap_or_else(|| x.clone()).into_dispatch();
    Tensor::from_dispatch(Dispatch::normalize(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        mean.into_dispatch(),
        variance.into_dispatch(),
        shortcut,
        epilogue,
    ))
}

impl Normalize for Flex {
    fn normalize_batch(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        shortcut: FlexTensor,
        epilogue: Epilogue,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let x = ChannelsLast::of(&x);
        let x = x.images();
        let statistics = norm::statistics(&x);
        let affine = Affine::new(&vector(&gamma), &vector(&beta), &statistics, epilogue.epsilon);
        let out = apply(&x, &affine, &shortcut, epilogue);
        (out, dense(statistics.mean, [x.channels]), dense(statistics.variance, [x.channels]))
    }

    fn normalize(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        shortcut: FlexTensor,
        epilogue: Epilogue,
    ) -> FlexTensor {
        let statistics = Statistics { mean: vector(&mean), variance: vector(&variance) };
        let affine = Affine::new(&vector(&gamma), &vector(&beta), &statistics, epilogue.epsilon);
        apply(&ChannelsLast::of(&x).images(), &affine, &shortcut, epilogue)
    }
}

fn apply(x: &Images, affine: &Affine, shortcut: &FlexTensor, epilogue: Epilogue) -> FlexTensor {
    let shortcut = epilogue.add.then(|| ChannelsLast::of(shortcut));
    let out = norm::apply(x, affine, shortcut.as_ref().map(|shortcut| shortcut.images()).as_ref(), epilogue.relu);
    channels_last(out, [x.count, x.height, x.width, x.channels])
}

fn vector(tensor: &FlexTensor) -> Vec<f32> {
    values_of(&tensor.to_contiguous()).to_vec()
}

#[derive(Debug)]
struct NormalizeBackward;

#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    gamma: FlexTensor,
    mean: FlexTensor,
    variance: FlexTensor,
    out: FlexTensor,
    epilogue: Epilogue,
}

impl State {
    fn gradients(self, dy: FlexTensor, with_shortcut: bool) -> ([FlexTensor; 3], FlexTensor) {
        let [count, channels, height, width] = shape_of(&self.x);
        let shape = [count, height, width, channels];
        let y = self.epilogue.relu.then(|| ChannelsLast::of(&self.out));
        let statistics = Statistics { mean: vector(&self.mean), variance: vector(&self.variance) };
        let gradients = norm::gradients(
            &ChannelsLast::of(&dy).images(),
            &ChannelsLast::of(&self.x).images(),
            y.as_ref().map(|y| y.images()).as_ref(),
            &vector(&self.gamma),
            &statistics,
            self.epilogue.epsilon,
            with_shortcut,
        );
        let own =
            [channels_last(gradients.x, shape), dense(gradients.gamma, [channels]), dense(gradients.beta, [channels])];
        (own, gradients.shortcut.map_or(dy, |shortcut| channels_last(shortcut, shape)))
    }
}

impl Backward<Flex, 3> for NormalizeBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let (own, _) = ops.state.gradients(dy, false);
        for (node, gradient) in ops.parents.into_iter().zip(own) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl Backward<Flex, 4> for NormalizeBackward {
    type State = State;

    fn backward(self, ops: Ops<State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node);
        let ([x, gamma, beta], shortcut) = ops.state.gradients(dy, ops.parents[3].is_some());
        for (node, gradient) in ops.parents.into_iter().zip([x, gamma, beta, shortcut]) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

impl<C: CheckpointStrategy> Normalize for Autodiff<Flex, C> {
    fn normalize_batch(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        shortcut: FloatTensor<Self>,
        epilogue: Epilogue,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (gamma, gamma_node), (beta, beta_node)) =
            (x.into_parts(), gamma.into_parts(), beta.into_parts());
        let (shortcut, shortcut_node) = shortcut.into_parts();
        let (out, mean, variance) = Flex::normalize_batch(x.clone(), gamma.clone(), beta, shortcut, epilogue);
        let state = State { x, gamma, mean: mean.clone(), variance: variance.clone(), out: out.clone(), epilogue };
        let out = if epilogue.add {
            finish::<C, 4>([x_node, gamma_node, beta_node, shortcut_node], state, out)
        } else {
            finish::<C, 3>([x_node, gamma_node, beta_node], state, out)
        };
        (out, <Self as AutodiffBackend>::from_inner(mean), <Self as AutodiffBackend>::from_inner(variance))
    }

    fn normalize(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Epilogue,
    ) -> FloatTensor<Self> {
        unreachable!("layers that need a gradient through fixed statistics call burn's own batch norm")
    }
}

fn finish<C: CheckpointStrategy, const N: usize>(
    nodes: [burn::backend::autodiff::ops::NodeGuard; N],
    state: State,
    out: FlexTensor,
) -> FloatTensor<Autodiff<Flex, C>>
where
    NormalizeBackward: Backward<Flex, N, State = State>,
{
    match NormalizeBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(state, out),
        OpsKind::UnTracked(prep) => prep.finish(out),
    }
}
