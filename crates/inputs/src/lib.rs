//! Inputs of models: recordings become feature matrices, feature sets and training examples.

pub mod data;
pub mod download;
pub mod features;
pub mod augment;
pub mod dataset;
pub mod audit;
pub mod sound_survey;
#[cfg(test)]
mod fingerprint;
