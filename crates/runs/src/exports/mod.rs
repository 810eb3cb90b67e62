//! What other tools read: `metrics.json` for DVC, the file store of MLflow.

pub mod dvc;
pub mod mlflow;
mod names;
pub mod tensorboard;
