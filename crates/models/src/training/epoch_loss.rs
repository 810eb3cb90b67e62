//! The losses of an epoch, and what is done about one that is no number.

use anyhow::{Result, bail};
use burn::tensor::Tensor;

use super::inputs::Normalization;
use super::nonfinite_batch;
use crate::FitContext;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// Each loss is read a step late, so that a device can work on the next while it is waited for.
pub struct EpochLoss<'a> {
    pub context: &'a FitContext<'a>,
    pub train: &'a FeatureSet,
    pub normalization: &'a Normalization,
    pub batch_size: usize,
    /// From 0.
    pub epoch: usize,
    pub order: &'a [usize],
    /// A loss on its device, the number of its batch, and the clips of that.
    pub pending: Option<(Tensor<1>, usize, usize)>,
    /// Over clips.
    pub sum: f64,
}

impl EpochLoss<'_> {
    /// Takes the loss of a batch, and reads the one before it.
    pub fn push(&mut self, loss: Tensor<1>, number: usize, clips: usize) -> Result<()> {
        self.settle()?;
        self.pending = Some((loss, number, clips));
        Ok(())
    }

    /// Reads the loss that is pending; one that is no number ends the training with its batch saved.
    pub fn settle(&mut self) -> Result<()> {
        let Some((loss, number, clips)) = self.pending.take() else { return Ok(()) };
        let loss = number_of(loss);
        if loss.is_finite() {
            self.sum += loss * clips as f64;
            return Ok(());
        }
        let start = number * self.batch_size;
        let batch = nonfinite_batch::Batch {
            rows: &self.order[start..start + clips],
            epoch: self.epoch,
            number,
            set: self.train,
            normalization: self.normalization,
        };
        let saved = match self.context.checkpoints {
            Some(folder) => format!("its inputs and labels lie in {}", batch.save(folder)?.display()),
            None => "its inputs and labels were not saved, as no folder was named for checkpoints".to_owned(),
        };
        bail!(
            "the loss became {loss} in epoch {} at batch {} of clips {:?}: {saved}; try a lower `learning_rate`, or \
             `clip_norm = 1.0`, and look for features that are no numbers",
            self.epoch + 1,
            number + 1,
            batch.rows
        )
    }
}

/// A loss from its device.
pub fn number_of(loss: Tensor<1>) -> f64 {
    f64::from(loss.into_scalar::<f32>())
}
