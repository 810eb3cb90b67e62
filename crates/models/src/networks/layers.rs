//! The layers of networks. Networks import layers only from here, so that a faster implementation is added in one place.
//!
//! 2-D convolutions, batch norms and max pools are our own: on the CPU they call our kernels; on other devices, and where the
//! kernels do not apply, they call burn's. Parameters have burn's names. Running variances are PyTorch's,
//! divided by the number of pixels minus one; burn divides by the number of pixels.

pub use burn::nn::conv::{Conv1d, Conv1dConfig};
pub use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool1d, MaxPool1dConfig};
pub use burn::nn::{PaddingConfig2d, Relu};

use burn::module::{Flag, Module, Param, RunningState};
use burn::nn::conv as burn_conv;
use burn::tensor::activation::{self, relu, softmax};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, module};

use super::onnx::{Attribute, Graph, Value};
use super::precision;
use crate::kernels::{self, Window, attention, batch_norm, convolution, max_pool};

/// The epsilon of PyTorch and burn.
const EPSILON: f64 = 1e-5;
/// The default weight of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// The zero padding: top, left, bottom, right.
fn zeros(padding: &PaddingConfig2d) -> [usize; 4] {
    match *padding {
        PaddingConfig2d::Valid => [0; 4],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [top, left, bottom, right],
        PaddingConfig2d::Same => panic!("a layer states its padding in numbers"),
    }
}

/// The configuration of a 2-D convolution.
pub struct Conv2dConfig {
    inner: burn_conv::Conv2dConfig,
}

impl Conv2dConfig {
    pub fn new(channels: [usize; 2], kernel: [usize; 2]) -> Conv2dConfig {
        Conv2dConfig { inner: burn_conv::Conv2dConfig::new(channels, kernel) }
    }

    pub fn with_stride(self, stride: [usize; 2]) -> Conv2dConfig {
        Conv2dConfig { inner: self.inner.with_stride(stride) }
    }

    pub fn with_padding(self, padding: PaddingConfig2d) -> Conv2dConfig {
        Conv2dConfig { inner: self.inner.with_padding(padding) }
    }

    /// The input channels of each output channel are one of so many groups.
    pub fn with_groups(self, groups: usize) -> Conv2dConfig {
        Conv2dConfig { inner: self.inner.with_groups(groups) }
    }

    pub fn with_bias(self, bias: bool) -> Conv2dConfig {
        Conv2dConfig { inner: self.inner.with_bias(bias) }
    }

    pub fn init(self, device: &Device) -> Conv2d {
        let built = self.inner.init(device);
        let padding = zeros(&self.inner.padding);
        Conv2d { weight: built.weight, bias: built.bias, stride: built.stride, padding, groups: built.groups }
    }
}

#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, row, column]`
    weight: Param<Tensor<4>>,
    bias: Option<Param<Tensor<1>>>,
    stride: [usize; 2],
    /// Top, left, bottom, right.
    padding: [usize; 4],
    groups: usize,
}

impl Conv2d {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let [_, _, rows, columns] = weight.dims();
        let bias = self.bias.as_ref().map(Param::val);
        let [top, left, bottom, right] = self.padding;
        if self.groups > 1 || !kernels::supports(&x) {
            let padding = [(top, bottom), (left, right)];
            let options = ConvOptions::new_with_padding(self.stride, padding, [1, 1], self.groups);
            if precision::is_full() {
                return module::conv2d(x, weight, bias, options);
            }
            let out = precision::product(x, weight, |x, weight| module::conv2d(x, weight, None, options));
            return plus_bias(out, bias);
        }
        let kernel = [rows, columns];
        let is_even = top == bottom && left == right;
        let (x, padding) = if is_even { (x, [top, left]) } else { (padded(x, self.padding), [0, 0]) };
        let window = Window { kernel, stride: self.stride, padding, dilation: [1, 1] };
        plus_bias(precision::product(x, weight, |x, weight| convolution::convolve(x, weight, window)), bias)
    }
}

/// Adds a bias for each channel.
fn plus_bias(x: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    match bias {
        Some(bias) => x + bias.reshape([1, -1, 1, 1]),
        None => x,
    }
}

impl Conv2d {
    pub fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let weight = graph.weights(self.weight.val());
        let bias = self.bias.as_ref().map(|bias| graph.weights(bias.val()));
        graph.conv([x, &weight], bias.as_ref(), &self.stride, &before_and_after(self.padding), self.groups)
    }
}

/// Padding of the rows and the columns.
fn before_and_after([top, left, bottom, right]: [usize; 4]) -> [[usize; 2]; 2] {
    [[top, bottom], [left, right]]
}

/// Zeros around images: top, left, bottom, right.
fn padded(x: Tensor<4>, [top, left, bottom, right]: [usize; 4]) -> Tensor<4> {
    let along = |x: Tensor<4>, axis: usize, [before, after]: [usize; 2]| {
        let zeros = |count: usize| {
            let mut shape = x.dims();
            shape[axis] = count;
            (count > 0).then(|| Tensor::zeros(shape, &x.device()))
        };
        let (before, after) = (zeros(before), zeros(after));
        Tensor::cat(before.into_iter().chain([x]).chain(after).collect(), axis)
    };
    along(along(x, 2, [top, bottom]), 3, [left, right])
}

/// The configuration of a linear layer.
pub struct LinearConfig {
    inner: burn::nn::LinearConfig,
}

impl LinearConfig {
    pub fn new(inputs: usize, outputs: usize) -> LinearConfig {
        LinearConfig { inner: burn::nn::LinearConfig::new(inputs, outputs) }
    }

    pub fn with_bias(self, bias: bool) -> LinearConfig {
        LinearConfig { inner: self.inner.with_bias(bias) }
    }

    pub fn init(self, device: &Device) -> Linear {
        let built = self.inner.init(device);
        Linear { weight: built.weight, bias: built.bias }
    }
}

/// A linear layer of the last axis.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[in, out]`
    pub weight: Param<Tensor<2>>,
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        // A clip of one row would have another order of sums alone than in a batch.
        let has_tokens = x.dims()[..D - 1].iter().skip(1).product::<usize>() > 1;
        match bias {
            Some(bias) if has_tokens && precision::is_full() && kernels::supports(&x) => {
                return kernels::linear::linear(x, weight, bias);
            }
            bias if precision::is_full() => return module::linear(x, weight, bias),
            _ => {}
        }
        let out = precision::product(x, weight, |x, weight| module::linear(x, weight, None));
        match bias {
            Some(bias) => out + bias.unsqueeze(),
            None => out,
        }
    }
}

/// GELU by the error function.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if kernels::supports(&x) { kernels::gelu::gelu(x) } else { activation::gelu(x) }
}

/// Attention of each token to all tokens of its clip. The rows of `[clip, token, column]` hold queries, keys and values of all heads.
pub fn attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    if precision::is_full() && kernels::supports(&qkv) {
        return attention::attend(qkv, heads);
    }
    let [clips, tokens, columns] = qkv.dims();
    let each = columns / (3 * heads);
    let qkv = qkv.reshape([clips, tokens, 3 * heads, each]).swap_dims(1, 2);
    let [query, key, value] = [0, 1, 2].map(|part| qkv.clone().narrow(1, part * heads, heads));
    let weights = precision::product(query, key.swap_dims(2, 3), Tensor::matmul) * (each as f64).powf(-0.5);
    let mixed = precision::product(softmax(weights, 3), value, Tensor::matmul);
    mixed.swap_dims(1, 2).reshape([clips, tokens, heads * each])
}

/// The configuration of a layer norm.
pub struct LayerNormConfig {
    columns: usize,
    epsilon: f64,
}

impl LayerNormConfig {
    pub fn new(columns: usize) -> LayerNormConfig {
        LayerNormConfig { columns, epsilon: EPSILON }
    }

    pub fn with_epsilon(self, epsilon: f64) -> LayerNormConfig {
        LayerNormConfig { epsilon, ..self }
    }

    pub fn init(self, device: &Device) -> LayerNorm {
        LayerNorm {
            gamma: burn::nn::Initializer::Ones.init([self.columns], device),
            beta: burn::nn::Initializer::Zeros.init([self.columns], device),
            epsilon: self.epsilon,
        }
    }
}

/// A layer norm of the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    pub gamma: Param<Tensor<1>>,
    pub beta: Param<Tensor<1>>,
    pub epsilon: f64,
}

impl LayerNorm {
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        match kernels::supports(&x) {
            true => kernels::layer_norm::layer_norm(x, gamma, beta, self.epsilon),
            false => module::layer_norm(x, gamma, Some(beta), self.epsilon),
        }
    }
}

pub struct BatchNormConfig {
    channels: usize,
    epsilon: f64,
    momentum: f64,
}

impl BatchNormConfig {
    pub fn new(channels: usize) -> BatchNormConfig {
        BatchNormConfig { channels, epsilon: EPSILON, momentum: MOMENTUM }
    }

    pub fn with_epsilon(self, epsilon: f64) -> BatchNormConfig {
        BatchNormConfig { epsilon, ..self }
    }

    /// The weight of a batch in the running statistics.
    pub fn with_momentum(self, momentum: f64) -> BatchNormConfig {
        BatchNormConfig { momentum, ..self }
    }

    pub fn init(self, device: &Device) -> BatchNorm {
        let shape = [self.channels];
        BatchNorm {
            gamma: burn::nn::Initializer::Ones.init(shape, device),
            beta: burn::nn::Initializer::Zeros.init(shape, device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros(shape, device)),
            running_var: RunningState::new(Tensor::ones(shape, device)),
            epsilon: self.epsilon,
            momentum: self.momentum,
        }
    }
}

/// Batch norm of images or rows of features, fused with the ReLU and the shortcut that often follow it.
#[derive(Module, Debug)]
pub struct BatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    /// Off in a frozen layer, whose statistics do not change.
    training: Param<Flag>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
    epsilon: f64,
    momentum: f64,
}

impl BatchNorm {
    /// Normalizes `[batch, channels, …]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if D == 4 {
            // Cast without a reshape, which would copy a tensor whose axes are permuted in memory.
            let out = self.run(Tensor::from_dispatch(x.into_dispatch()), None, false);
            return Tensor::from_dispatch(out.into_dispatch());
        }
        let shape = x.dims();
        let rest = shape[2..].iter().product();
        self.run(x.reshape([shape[0], shape[1], rest, 1]), None, false).reshape(shape)
    }

    /// `relu(norm(x))`
    pub fn forward_relu(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, None, true)
    }

    /// `relu(norm(x) + shortcut)`
    pub fn forward_add_relu(&self, x: Tensor<4>, shortcut: Tensor<4>) -> Tensor<4> {
        self.run(x, Some(shortcut), true)
    }

    fn run(&self, x: Tensor<4>, shortcut: Option<Tensor<4>>, with_relu: bool) -> Tensor<4> {
        let device = x.device();
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        let (ours, in_training) = (kernels::supports(&x), device.is_autodiff() && self.training.is_enabled());
        if ours && in_training {
            let pixels = x.shape().num_elements() / gamma.dims()[0];
            let (out, mean, variance) = batch_norm::normalize_batch(x, gamma, beta, shortcut, self.epsilon, with_relu);
            self.update_statistics(mean, variance, pixels, &device);
            return out;
        }
        if ours && !device.is_autodiff() {
            let statistics = [gamma, beta, self.running_mean.value(), self.running_var.value()];
            return batch_norm::normalize(x, statistics, shortcut, self.epsilon, with_relu);
        }
        let out = if in_training {
            let pixels = x.shape().num_elements() / gamma.dims()[0];
            let result = module::batch_norm_train(x, gamma, beta, self.epsilon);
            self.update_statistics(result.mean, result.variance, pixels, &device);
            result.output
        } else {
            let statistics = [&self.running_mean, &self.running_var].map(|state| state.value().to_device(&device));
            let [mean, variance] = statistics;
            module::batch_norm(x, gamma, beta, mean, variance, self.epsilon)
        };
        let out = match shortcut {
            Some(shortcut) => out + shortcut,
            None => out,
        };
        if with_relu { relu(out) } else { out }
    }

    pub fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        let parameters = [self.gamma.val(), self.beta.val(), self.running_mean.value(), self.running_var.value()];
        let [gamma, beta, mean, variance] = parameters.map(|tensor| graph.weights(tensor));
        let epsilon = [Attribute::Float("epsilon", self.epsilon)];
        graph.node("BatchNormalization", &[x, &gamma, &beta, &mean, &variance], &epsilon, &x.shape)
    }

    pub fn graph_relu(&self, graph: &mut Graph, x: &Value) -> Value {
        let x = self.graph(graph, x);
        graph.relu(&x)
    }

    fn update_statistics(&self, mean: Tensor<1>, variance: Tensor<1>, pixels: usize, device: &Device) {
        let unbiased = pixels as f64 / (pixels as f64 - 1.0).max(1.0);
        let keep = |state: &RunningState<Tensor<1>>, new: Tensor<1>| {
            let kept = state.value_sync().to_device(device).mul_scalar(1.0 - self.momentum);
            state.update((kept + new.detach().mul_scalar(self.momentum)).detach());
        };
        keep(&self.running_mean, mean);
        keep(&self.running_var, variance.mul_scalar(unbiased));
    }
}

/// The mean of adjacent windows of this size; a remainder is left out.
pub fn average_pool(x: Tensor<4>, window: [usize; 2]) -> Tensor<4> {
    module::avg_pool2d(x, AvgPoolOptions::new(window))
}

pub struct MaxPool2dConfig {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: PaddingConfig2d,
}

impl MaxPool2dConfig {
    /// Adjacent windows without padding.
    pub fn new(kernel: [usize; 2]) -> MaxPool2dConfig {
        MaxPool2dConfig { kernel, stride: kernel, padding: PaddingConfig2d::Valid }
    }

    pub fn with_strides(self, stride: [usize; 2]) -> MaxPool2dConfig {
        MaxPool2dConfig { stride, ..self }
    }

    pub fn with_padding(self, padding: PaddingConfig2d) -> MaxPool2dConfig {
        MaxPool2dConfig { padding, ..self }
    }

    pub fn init(self) -> MaxPool2d {
        MaxPool2d { kernel: self.kernel, stride: self.stride, padding: zeros(&self.padding) }
    }
}

#[derive(Module, Debug)]
pub struct MaxPool2d {
    kernel: [usize; 2],
    stride: [usize; 2],
    /// Top, left, bottom, right.
    padding: [usize; 4],
}

impl MaxPool2d {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [top, left, bottom, right] = self.padding;
        if kernels::supports(&x) && top == bottom && left == right {
            let window = Window { kernel: self.kernel, stride: self.stride, padding: [top, left], dilation: [1, 1] };
            return max_pool::max_pool(x, window);
        }
        let options = MaxPoolOptions::new(self.kernel)
            .with_stride(self.stride)
            .with_padding_pairs([(top, bottom), (left, right)]);
        module::max_pool2d(x, options)
    }
}

impl MaxPool2d {
    pub fn graph(&self, graph: &mut Graph, x: &Value) -> Value {
        graph.pool("MaxPool", x, &self.kernel, &self.stride, &before_and_after(self.padding))
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
