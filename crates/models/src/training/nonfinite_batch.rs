//! Saves a batch whose loss was not finite, for debugging.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use super::inputs::Normalization;
use crate::Tensor;
use crate::tensor_file::write_safetensors;
use timbre_core::files;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// A batch whose loss was not finite.
pub struct NonfiniteBatch<'a> {
    pub rows: &'a [usize],
    /// From 0.
    pub epoch: usize,
    /// Within the epoch, from 0.
    pub number: usize,
    pub set: &'a FeatureSet,
    pub normalization: &'a Normalization,
}

impl NonfiniteBatch<'_> {
    /// Loads the batch again, since examples are reproducible, and writes it: the normalized `inputs`, `labels` (the targets after
    /// mixing) with a column per class, and epoch, batch and rows as texts.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let [height, width] = self.set.shape();
        let n_outputs = self.set.n_outputs();
        let mut inputs = vec![0.0; self.rows.len() * self.set.dims()];
        let mut labels = vec![0.0; self.rows.len() * n_outputs];
        for (place, &row) in self.rows.iter().enumerate() {
            let image = &mut inputs[place * self.set.dims()..][..self.set.dims()];
            let targets = &mut labels[place * n_outputs..][..n_outputs];
            let read = self.set.read_example(row, self.epoch, image, targets);
            read.context("read the clips of the batch again")?;
            self.normalization.apply(image);
        }
        let tensors = [
            Tensor::new("inputs", vec![self.rows.len(), 1, height, width], inputs),
            Tensor::new("labels", vec![self.rows.len(), n_outputs], labels),
        ];
        let texts = [
            ("epoch", (self.epoch + 1).to_string()),
            ("batch", (self.number + 1).to_string()),
            ("rows", json!(self.rows).to_string()),
        ];
        let path = folder.join(format!("faulty-epoch{}-batch{}.safetensors", self.epoch + 1, self.number + 1));
        files::write_atomically(&path, |out| write_safetensors(&tensors, &texts, out))?;
        Ok(path)
    }
}
