//! The training loss of an epoch, and the error for a loss that is not finite.

use anyhow::{Result, bail};
use burn::tensor::Tensor;

use super::inputs::Normalization;
use super::nonfinite_batch::NonfiniteBatch;
use crate::FitContext;
use crate::device::read;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Sums the losses of an epoch. Each loss is read one step late, so that the device can compute the next step meanwhile.
pub struct EpochLoss<'a> {
    pub context: &'a FitContext<'a>,
    pub train: &'a FeatureSet,
    pub normalization: &'a Normalization,
    pub batch_size: usize,
    /// From 0.
    pub epoch: usize,
    pub order: &'a [usize],
    /// A loss on its device, the number of its batch, and its clips.
    pub pending: Option<(Tensor<1>, usize, usize)>,
    /// The sum over clips.
    pub sum: f64,
}

impl EpochLoss<'_> {
    /// Adds the loss of a batch and reads the one before it.
    pub fn push(&mut self, loss: Tensor<1>, number: usize, clips: usize) -> Result<()> {
        self.flush()?;
        self.pending = Some((loss, number, clips));
        Ok(())
    }

    /// Reads the pending loss. A loss that is not finite saves its batch and fails.
    pub fn flush(&mut self) -> Result<()> {
        let Some((loss, number, clips)) = self.pending.take() else { return Ok(()) };
        let loss = scalar(loss);
        if loss.is_finite() {
            self.sum += loss * clips as f64;
            return Ok(());
        }
        let start = number * self.batch_size;
        let batch = NonfiniteBatch {
            rows: &self.order[start..start + clips],
            epoch: self.epoch,
            number,
            set: self.train,
            normalization: self.normalization,
        };
        let saved = match self.context.checkpoints {
            Some(folder) => format!("its inputs and labels are saved in {}", batch.save(folder)?.display()),
            None => "its inputs and labels were not saved because there is no checkpoint folder".to_owned(),
        };
        bail!(
            "the loss became {loss} in epoch {} at batch {} with clips {:?}: {saved}; try a lower `learning_rate` or \
             `clip_norm = 1.0`, and look for features that are not finite",
            self.epoch + 1,
            number + 1,
            batch.rows
        )
    }
}

/// Reads a loss from its device.
pub fn scalar(loss: Tensor<1>) -> f64 {
    f64::from(read(loss)[0])
}
