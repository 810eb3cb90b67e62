//! Timbre: a batch pipeline and experiment runner for audio classification, musical instruments first.

pub mod execution;
pub mod inference;
pub mod serve;
pub mod cli;
