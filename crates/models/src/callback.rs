//! What a fit reports while it trains: epochs and the learning-rate curve.

use anyhow::Result;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Receives the progress of a network's training, for example to write it to the folder of the run.
pub trait TrainingCallback: Sync {
    /// Called after every epoch, and once after a checkpoint was read, with all epochs so far.
    fn on_epoch_end(&self, _history: &[Epoch]) -> Result<()> {
        Ok(())
    }

    /// Called with the result of the learning-rate finder.
    fn on_rates_found(&self, _curve: &RateCurve) -> Result<()> {
        Ok(())
    }
}

/// Ignores everything.
pub struct NoCallback;

impl TrainingCallback for NoCallback {}

/// A line of `epochs.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// At the end of the epoch.
    pub learning_rate: f64,
    pub train_loss: f64,
    pub validation_loss: Option<f64>,
    /// On the validation split.
    pub metrics: IndexMap<String, f64>,
    /// Whether it is the best epoch so far.
    pub best: bool,
    pub seconds: f64,
    pub clips_per_second: f64,
    /// The share of the time that the device waited for data.
    pub waited: f64,
}

/// The loss at increasing learning rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateCurve {
    /// (learning rate, smoothed loss), ascending.
    pub points: Vec<(f64, f64)>,
    pub suggestion: f64,
}
