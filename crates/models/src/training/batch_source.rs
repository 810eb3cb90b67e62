//! The training clips of an epoch on their way to the device: images that feeders make ahead of it, or, where the recordings
//! lie in its memory, images that it makes itself.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::{Device as BurnDevice, Tensor};

use super::data_loader::{self, DataLoader, LoaderSpec};
use super::device_examples::DeviceExamples;
use super::inputs::{self, Normalization};
use super::trained_network::AHEAD;
use crate::device::Device;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The clips of a step, on the device and for training.
pub struct DeviceBatch {
    /// Rows of the training set.
    pub rows: Vec<usize>,
    /// Scaled, clips × channels × bands × frames.
    pub images: Tensor<4>,
    /// How much of each class is in each clip, row-major.
    pub targets: Vec<f32>,
}

pub struct BatchSource<'a> {
    set: &'a FeatureSet,
    normalization: Normalization,
    batch_size: usize,
    device: BurnDevice,
    waves: Option<DeviceExamples<'a>>,
}

impl<'a> BatchSource<'a> {
    pub fn new(
        set: &'a FeatureSet,
        normalization: Normalization,
        batch_size: usize,
        device: &Device,
    ) -> Result<BatchSource<'a>> {
        let waves = match device.is_cpu() {
            true => None,
            false => DeviceExamples::hold(set, &normalization, &device.burn(), device.precision())?,
        };
        Ok(BatchSource { set, normalization, batch_size, device: device.burn().autodiff(), waves })
    }

    pub fn normalization(&self) -> &Normalization {
        &self.normalization
    }

    /// Hands the clips of an epoch to `each`, batch by batch with their numbers, until that says false; says how long that
    /// waited for them.
    pub fn feed(
        &self,
        order: &[usize],
        epoch: usize,
        mut each: impl FnMut(DeviceBatch, usize) -> Result<bool>,
    ) -> Result<Duration> {
        if let Some(waves) = &self.waves {
            let mut waited = Duration::ZERO;
            for (number, rows) in order.chunks(self.batch_size).enumerate() {
                let clock = Instant::now();
                let images = waves.images(rows, epoch).autodiff();
                waited += clock.elapsed();
                let classes = self.set.n_classes();
                let mut targets = vec![0.0; rows.len() * classes];
                let of_each = targets.chunks_exact_mut(classes.max(1)).zip(rows);
                of_each.for_each(|(targets, &row)| self.set.write_targets(row, targets));
                if !each(DeviceBatch { rows: rows.to_vec(), images, targets }, number)? {
                    break;
                }
            }
            return Ok(waited);
        }
        let prepare = |image: &mut [f32]| self.normalization.apply(image);
        let feed = LoaderSpec {
            set: self.set,
            order,
            batch_size: self.batch_size,
            epoch,
            ahead: AHEAD,
            threads: data_loader::worker_threads(self.set),
            prepare: &prepare,
        };
        thread::scope(|scope| {
            let mut feeder = DataLoader::start(scope, feed)?;
            for (number, batch) in feeder.by_ref().enumerate() {
                let batch = batch?;
                let images = inputs::images(batch.inputs, inputs::shape_of(self.set), &self.device)?;
                if !each(DeviceBatch { rows: batch.rows, images, targets: batch.targets }, number)? {
                    break;
                }
            }
            Ok(feeder.waited())
        })
    }
}
