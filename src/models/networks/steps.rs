//! Layers one after the other, under the numbers that PyTorch's `Sequential` gives them (`features.3.weight`).
//!
//! A list of [`Plan`]s is a description: rows of the layer table follow from it, and the layers themselves.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::layers::{
    BatchNorm, BatchNormConfig, Conv2d, Conv2dConfig, Dropout, DropoutConfig, Linear, LinearConfig, MaxPool2d,
    MaxPool2dConfig, PaddingConfig2d, Relu,
};
use super::rows::{Table, Window};

/// A layer, before it is built.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
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
pub enum Step {
    Conv(Conv2d),
    Norm(BatchNorm),
    Relu(Relu),
    MaxPool(MaxPool2d),
    Dropout(Dropout),
    Linear(Linear),
}

/// The rows of these layers; activations and dropouts have none.
pub fn rows(plans: &[Plan], of: &str, table: &mut Table) -> Result<()> {
    for (number, plan) in plans.iter().enumerate() {
        let name = format!("{of}.{number}");
        match *plan {
            Plan::Conv(filters, window) => table.conv(&name, filters, window, true)?,
            Plan::Norm => table.norm(&name),
            Plan::MaxPool(window) => table.max_pool(&name, window)?,
            Plan::Linear(features) => table.linear(&name, features, true),
            Plan::Relu | Plan::Dropout(_) => {}
        }
    }
    Ok(())
}

/// The layers behind an input of so many channels (or values, where the first layer is linear).
pub fn build(plans: &[Plan], mut channels: usize, device: &Device) -> Vec<Step> {
    let layers = plans.iter().map(|plan| match *plan {
        Plan::Conv(filters, window) => {
            let before = std::mem::replace(&mut channels, filters);
            let config = Conv2dConfig::new([before, filters], window.kernel).with_stride(window.stride);
            Step::Conv(config.with_padding(padding_of(window)).init(device))
        }
        Plan::Norm => Step::Norm(BatchNormConfig::new(channels).init(device)),
        Plan::Relu => Step::Relu(Relu::new()),
        Plan::MaxPool(window) => {
            let config = MaxPool2dConfig::new(window.kernel).with_strides(window.stride);
            Step::MaxPool(config.with_padding(padding_of(window)).init())
        }
        Plan::Dropout(share) => Step::Dropout(DropoutConfig::new(share).init()),
        Plan::Linear(features) => {
            let before = std::mem::replace(&mut channels, features);
            Step::Linear(LinearConfig::new(before, features).init(device))
        }
    });
    layers.collect()
}

pub fn padding_of(window: Window) -> PaddingConfig2d {
    let [down, along] = window.padding;
    PaddingConfig2d::Explicit(down, along, down, along)
}

/// Through all layers. Linear ones want their values along the last axis.
pub fn forward(steps: &[Step], x: Tensor<4>) -> Tensor<4> {
    steps.iter().fold(x, |x, step| match step {
        Step::Conv(layer) => layer.forward(x),
        Step::Norm(layer) => layer.forward(x),
        Step::Relu(layer) => layer.forward(x),
        Step::MaxPool(layer) => layer.forward(x),
        Step::Dropout(layer) => layer.forward(x),
        Step::Linear(layer) => layer.forward(x),
    })
}

/// Through a classifier: a row of values a clip becomes its logits.
pub fn classify(steps: &[Step], map: Tensor<4>) -> Tensor<2> {
    let [clips, channels, height, width] = map.dims();
    let logits = forward(steps, map.reshape([clips, 1, 1, channels * height * width]));
    let classes = logits.dims()[3];
    logits.reshape([clips, classes])
}
