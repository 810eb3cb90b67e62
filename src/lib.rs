//! Timbre: a batch pipeline and experiment runner for audio classification, musical instruments first.
//!
//! The order of the `mod` lines is the order of the layers: a module imports only from modules above it
//! (`tests/layering.rs` holds us to it; `docs/architecture.md` is the map).

// words
pub mod seed;
pub mod labels;
#[macro_use]
pub mod registry;
pub mod files;
pub mod progress;
// signal
pub mod audio;
pub mod dsp;
// stages
pub mod windows;
pub mod features;
pub mod augment;
pub mod data;
// tensors
pub mod store;
pub mod precompute;
pub mod dataset;
pub mod waves;
// learning
pub mod predictions;
pub mod aggregation;
pub mod timeline;
pub mod metrics;
pub mod search;
pub mod models;
// experiments
pub mod experiment;
pub mod run_dir;
pub mod housekeeping;
pub mod tensorboard;
pub mod tables;
pub mod exports;
pub mod plot;
pub mod thresholds;
pub mod compare;
pub mod report;
pub mod runner;
pub mod reproduce;
pub mod grid;
pub mod predictor;
pub mod gate;
pub mod listing;
// doors
pub mod serve;
pub mod cli;
pub mod commands;
