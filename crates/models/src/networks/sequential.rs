//! Layers one after the other, under the numbers that PyTorch's `Sequential` gives them (`features.3.weight`).
//!
//! A list of [`LayerSpec`]s is a description: rows of the layer table follow from it, and the layers themselves.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::layer_table::{LayerTable, Window};
use super::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Dropout, DropoutConfig, Linear, LinearConfig, MaxPool2d,
    MaxPool2dConfig, PaddingConfig2d, Relu,
};

/// A layer, before it is built.
#[derive(Clone, Copy, Debug)]
pub enum LayerSpec {
    /// So many filters, with bias.
    Conv(usize, Window),
    Norm,
    Relu,
    MaxPool(Window),
    Dropout(f64),
    /// Everything that came before is one row of values.
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

/// The rows of these layers; activations and dropouts have none.
pub fn rows(plans: &[LayerSpec], of: &str, table: &mut LayerTable) -> Result<()> {
    for (number, plan) in plans.iter().enumerate() {
        let name = format!("{of}.{number}");
        match *plan {
            LayerSpec::Conv(filters, window) => table.conv(&name, filters, window, true)?,
            LayerSpec::Norm => table.norm(&name),
            LayerSpec::MaxPool(window) => table.max_pool(&name, window)?,
            LayerSpec::Linear(features) => table.linear(&name, features, true),
            LayerSpec::Relu | LayerSpec::Dropout(_) => {}
        }
    }
    Ok(())
}

/// The layers behind an input of so many channels (or values, where the first layer is linear).
pub fn build(plans: &[LayerSpec], mut channels: usize, device: &Device) -> Vec<Layer> {
    let layers = plans.iter().map(|plan| match *plan {
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
        LayerSpec::Dropout(share) => Layer::Dropout(DropoutConfig::new(share).init()),
        LayerSpec::Linear(features) => {
            let before = std::mem::replace(&mut channels, features);
            Layer::Linear(LinearConfig::new(before, features).init(device))
        }
    });
    layers.collect()
}

pub fn padding_of(window: Window) -> PaddingConfig2d {
    let [down, along] = window.padding;
    PaddingConfig2d::Explicit(down, along, down, along)
}

/// Through all layers. Linear ones want their values along the last axis.
pub fn forward(steps: &[Layer], x: Tensor<4>) -> Tensor<4> {
    steps.iter().fold(x, |x, step| match step {
        Layer::Conv(layer) => layer.forward(x),
        Layer::Norm(layer) => layer.forward(x),
        Layer::Relu(layer) => layer.forward(x),
        Layer::MaxPool(layer) => layer.forward(x),
        Layer::Dropout(layer) => layer.forward(x),
        Layer::Linear(layer) => layer.forward(x),
    })
}

/// Through a classifier: a row of values a clip becomes its logits.
pub fn classify(steps: &[Layer], map: Tensor<4>) -> Tensor<2> {
    let [clips, channels, height, width] = map.dims();
    let logits = forward(steps, map.reshape([clips, 1, 1, channels * height * width]));
    let classes = logits.dims()[3];
    logits.reshape([clips, classes])
}
