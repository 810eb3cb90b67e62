//! Exports for other tools: `metrics.json` for DVC, the file store of MLflow, ONNX files, TensorBoard events.

pub mod dvc;
pub mod mlflow;
mod names;
pub mod onnx;
pub mod tensorboard;
