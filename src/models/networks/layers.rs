//! The layers that networks are built of. Networks name layers from here only, so that a faster one has one place to go.

pub use super::dropout::{Dropout, DropoutConfig};
pub use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
pub use burn::nn::pool::{
    AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool1d, MaxPool1dConfig, MaxPool2d, MaxPool2dConfig,
};
pub use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
