//! Layers as nodes of an ONNX graph.

use super::layers::{AdaptiveAvgPool2d, Conv1d, LayerNorm, Linear, MaxPool1d};
use super::onnx::{Attribute, Graph, Value};

impl Graph {
    /// A linear layer over the last axis.
    pub fn linear(&mut self, layer: &Linear, x: &Value) -> Value {
        let weight = self.weights(layer.weight.val());
        let x = self.matmul(x, &weight);
        match &layer.bias {
            Some(bias) => {
                let bias = self.weights(bias.val());
                self.add(&x, &bias)
            }
            None => x,
        }
    }

    /// A layer norm over the last axis.
    pub fn layer_norm(&mut self, layer: &LayerNorm, x: &Value) -> Value {
        let (gamma, beta) = (self.weights(layer.gamma.val()), self.weights(layer.beta.val()));
        self.node("LayerNormalization", &[x, &gamma, &beta], &[Attribute::Float("epsilon", layer.epsilon)], &x.shape)
    }

    /// A convolution over time without padding.
    pub fn conv1d(&mut self, layer: &Conv1d, x: &Value) -> Value {
        let weight = self.weights(layer.weight.val());
        let bias = layer.bias.as_ref().map(|bias| self.weights(bias.val()));
        self.conv([x, &weight], bias.as_ref(), &[layer.stride], &[[0, 0]], layer.groups)
    }

    pub fn max_pool1d(&mut self, layer: &MaxPool1d, x: &Value) -> Value {
        self.pool("MaxPool", x, &[layer.kernel_size], &[layer.stride], &[[0, 0]])
    }

    /// The average pool to a fixed size as two matrix products: ONNX has no such operator.
    pub fn adaptive_average_pool(&mut self, layer: &AdaptiveAvgPool2d, x: &Value) -> Value {
        let [height, width] = layer.output_size;
        let down = averages(x.shape[2], height);
        let down = self.constant(&down, &[height, x.shape[2]]);
        let mut along = vec![0.0; x.shape[3] * width];
        for (at, value) in averages(x.shape[3], width).into_iter().enumerate() {
            along[at % x.shape[3] * width + at / x.shape[3]] = value;
        }
        let along = self.constant(&along, &[x.shape[3], width]);
        let rows = self.node("MatMul", &[&down, x], &[], &[1, x.shape[1], height, x.shape[3]]);
        self.matmul(&rows, &along)
    }
}

/// The matrix, `to` × `from`, that averages values over `to` windows as PyTorch's adaptive pool does.
fn averages(from: usize, to: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; to * from];
    for window in 0..to {
        let (start, end) = (window * from / to, ((window + 1) * from).div_ceil(to));
        matrix[window * from + start..window * from + end].fill(1.0 / (end - start) as f32);
    }
    matrix
}
