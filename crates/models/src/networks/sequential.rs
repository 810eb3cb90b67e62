//! Layers in sequence, numbered like those of PyTorch's `Sequential` (`features.3.weight`), and the network that torchvision's
//! VGG and AlexNet share.
//!
//! A list of [`LayerSpec`]s describes the layers; the rows of the layer table and the layers themselves follow from it.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::dropout::Dropout;
use super::head::{self, HeadKind, Output};
use super::layer_table::{LayerTable, Window};
use super::layers::{
    AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Linear, LinearConfig,
    MaxPool2d, MaxPool2dConfig, PaddingConfig2d, Relu,
};
use super::onnx::{Graph, Value};
use super::training_pass::TrainingPass;
use super::{InputShape, LayerRow, repeat_channels, repeat_channels_graph};

/// A layer before it is built.
#[derive(Clone, Copy, Debug)]
pub enum LayerSpec {
    /// A number of filters, with bias.
    Conv(usize, Window),
    Norm,
    Relu,
    MaxPool(Window),
    Dropout(f64),
    /// The output of the layer before is flattened.
    Linear(usize),
}

#[derive(Module, Debug)]
pub enum Layer {
    Conv(Conv2d),
    Norm(BatchNorm),
    Relu(Relu),
    MaxPool(MaxPool2d),
    Dropout(Dropout),
    Linear(Linear),
}

/// Adds the rows of these layers to the table; activations and dropouts have none.
fn rows(specs: &[LayerSpec], parent: &str, table: &mut LayerTable) -> Result<()> {
    for (number, spec) in specs.iter().enumerate() {
        let name = format!("{parent}.{number}");
        match *spec {
            LayerSpec::Conv(filters, window) => table.conv(&name, filters, window, true)?,
            LayerSpec::Norm => table.norm(&name),
            LayerSpec::MaxPool(window) => table.max_pool(&name, window)?,
            LayerSpec::Linear(features) => table.linear(&name, features, true),
            LayerSpec::Relu | LayerSpec::Dropout(_) => {}
        }
    }
    Ok(())
}

/// Builds the layers for an input with this number of channels (or of values, if the first layer is linear).
fn build(specs: &[LayerSpec], mut channels: usize, device: &Device) -> Vec<Layer> {
    let layers = specs.iter().map(|spec| match *spec {
        LayerSpec::Conv(filters, window) => {
            let before = std::mem::replace(&mut channels, filters);
            let config = Conv2dConfig::new([before, filters], window.kernel).with_stride(window.stride);
            Layer::Conv(config.with_padding(padding_of(window)).init(device))
        }
        LayerSpec::Norm => Layer::Norm(BatchNormConfig::new(channels).init(device)),
        LayerSpec::Relu => Layer::Relu(Relu::new()),
        LayerSpec::MaxPool(window) => {
            let config = MaxPool2dConfig::new(window.kernel).with_strides(window.stride);
            Layer::MaxPool(config.with_padding(padding_of(window)).init())
        }
        LayerSpec::Dropout(share) => Layer::Dropout(Dropout::new(share)),
        LayerSpec::Linear(features) => {
            let before = std::mem::replace(&mut channels, features);
            Layer::Linear(LinearConfig::new(before, features).init(device))
        }
    });
    layers.collect()
}

pub fn padding_of(window: Window) -> PaddingConfig2d {
    let [vertical, horizontal] = window.padding;
    PaddingConfig2d::Explicit(vertical, horizontal, vertical, horizontal)
}

/// Runs all layers. Linear layers expect their values along the last axis.
fn forward(layers: &[Layer], x: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<4> {
    layers.iter().fold(x, |x, layer| match layer {
        Layer::Conv(layer) => layer.forward(x),
        Layer::Norm(layer) => layer.forward(x),
        Layer::Relu(layer) => layer.forward(x),
        Layer::MaxPool(layer) => layer.forward(x),
        Layer::Dropout(layer) => layer.forward(x, pass),
        Layer::Linear(layer) => layer.forward(x),
    })
}

/// [`forward`] as nodes; rows of a linear layer have two axes.
fn graph_of(layers: &[Layer], graph: &mut Graph, x: Value) -> Value {
    layers.iter().fold(x, |x, layer| match layer {
        Layer::Conv(layer) => layer.graph(graph, &x),
        Layer::Norm(layer) => layer.graph(graph, &x),
        Layer::Relu(_) => graph.relu(&x),
        Layer::MaxPool(layer) => layer.graph(graph, &x),
        Layer::Dropout(_) => x,
        Layer::Linear(layer) => graph.linear(layer, &x),
    })
}

/// A network of torchvision's form: convolutions in sequence, an average pool to a fixed size, and a classifier in sequence.
pub struct Plan<'a> {
    pub channels: usize,
    pub features: &'a [LayerSpec],
    /// Filters of the last convolution.
    pub filters: usize,
    /// Height and width of the classifier's input, whatever the size of the image.
    pub pooled: [usize; 2],
    pub classifier: &'a [LayerSpec],
    pub head: HeadKind,
}

impl Plan<'_> {
    pub fn rows(&self, input: InputShape, n_classes: usize) -> Result<Vec<LayerRow>> {
        let mut table = LayerTable::new(input, self.channels)?;
        rows(self.features, "features", &mut table)?;
        self.head.rows(&mut table, n_classes, |table| {
            table.average_pool("avgpool", self.pooled);
            rows(self.classifier, "classifier", table).expect("a classifier has no windows");
        });
        Ok(table.into_rows())
    }

    pub fn build(&self, n_classes: usize, device: &Device) -> Net {
        let inputs = self.filters * self.pooled[0] * self.pooled[1];
        Net {
            channels: self.channels,
            features: build(self.features, self.channels, device),
            output: Output::new(self.head, self.filters, n_classes, device, || Classifier {
                avgpool: AdaptiveAvgPool2dConfig::new(self.pooled).init(),
                classifier: build(self.classifier, inputs, device),
            }),
        }
    }
}

/// The parameter group of a tensor: features before the layer `second`, the other features, the classifier or head.
pub fn group_of(path: &str, second: usize) -> usize {
    if head::is_head(path) {
        return 2;
    }
    let number = path.strip_prefix("features.").and_then(|rest| rest.split('.').next()?.parse().ok());
    usize::from(number.is_some_and(|number: usize| number >= second))
}

#[derive(Module, Debug)]
pub struct Net {
    channels: usize,
    features: Vec<Layer>,
    output: Output<Classifier>,
}

#[derive(Module, Debug)]
pub struct Classifier {
    avgpool: AdaptiveAvgPool2d,
    classifier: Vec<Layer>,
}

impl Net {
    /// The input of the last linear layer, flattened.
    pub fn penultimate(&self, images: Tensor<4>) -> Option<Tensor<2>> {
        let Output::Own(own) = &self.output else { return None };
        let map = own.avgpool.forward(forward(&self.features, repeat_channels(images, self.channels), None));
        let [clips, channels, height, width] = map.dims();
        let values = channels * height * width;
        let before_last = &own.classifier[..own.classifier.len() - 1];
        let rows = forward(before_last, map.reshape([clips, 1, 1, values]), None);
        let values = rows.dims()[3];
        Some(rows.reshape([clips, values]))
    }

    pub fn forward(&self, images: Tensor<4>, pass: Option<&TrainingPass>) -> Tensor<2> {
        let map = forward(&self.features, repeat_channels(images, self.channels), pass);
        match &self.output {
            Output::Own(own) => {
                let map = own.avgpool.forward(map);
                let [clips, channels, height, width] = map.dims();
                let rows = map.reshape([clips, 1, 1, channels * height * width]);
                let logits = forward(&own.classifier, rows, pass);
                let classes = logits.dims()[3];
                logits.reshape([clips, classes])
            }
            Output::Head(head) => head.forward(map, pass),
        }
    }

    pub fn graph(&self, graph: &mut Graph, images: &Value) -> Value {
        let x = repeat_channels_graph(graph, images, self.channels);
        let map = graph_of(&self.features, graph, x);
        match &self.output {
            Output::Own(own) => {
                let map = graph.adaptive_average_pool(&own.avgpool, &map);
                let rows = graph.flatten(&map);
                graph_of(&own.classifier, graph, rows)
            }
            Output::Head(head) => head.graph(graph, &map),
        }
    }
}
