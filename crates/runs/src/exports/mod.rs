//! Exports for other tools: `metrics.json` for DVC, the file store of MLflow, TensorBoard events.

pub mod dvc;
pub mod mlflow;
mod names;
pub mod tensorboard;
