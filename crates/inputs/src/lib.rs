//! Inputs of models: recordings become feature matrices, feature sets and training examples.

// Hashes of contents and recipes.
pub mod hash;
// Recordings by URL: their mirrors on this machine.
pub mod remote;
// Data sets and splits: `ClipRecord`s.
pub mod data;
// Downloads published data sets.
pub mod download;
// Checks of the recordings: `timbre data check`.
pub mod audit;
// Measurements of the recordings: `timbre data describe --html`.
pub mod sound_survey;
// Augmentations of clips and images.
pub mod augment;
// Features: a `Clip` to a `FeatureMatrix`; extraction and cache.
pub mod features;
// Feature sets, and training examples for networks.
pub mod dataset;
#[cfg(test)]
mod fingerprint;
