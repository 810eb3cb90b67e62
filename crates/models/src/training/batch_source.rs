//! The batches of an epoch on the device: either loaded ahead of time by the data loader, or computed on the device itself if it
//! holds the recordings in its memory.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::{Device as BurnDevice, Tensor};

use super::data_loader::{self, DataLoader, LoaderSpec};
use super::device_examples::DeviceExamples;
use super::inputs::{self, Normalization};
use super::trained_network::PREFETCH;
use crate::device::Device;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// A batch on the device, for training.
pub struct DeviceBatch {
    /// Rows of the training set.
    pub rows: Vec<usize>,
    /// Normalized, clips × channels × bands × frames.
    pub images: Tensor<4>,
    /// The target of each class for each clip, row-major; then those beside the classes, and what a teacher predicts.
    pub targets: Vec<f32>,
    /// How much each clip counts; None: all the same.
    pub weights: Option<Vec<f32>>,
}

pub struct BatchSource<'a> {
    set: &'a FeatureSet,
    normalization: Normalization,
    batch_size: usize,
    device: BurnDevice,
    on_device: Option<DeviceExamples<'a>>,
}

impl<'a> BatchSource<'a> {
    pub fn new(
        set: &'a FeatureSet,
        normalization: Normalization,
        batch_size: usize,
        device: &Device,
    ) -> Result<BatchSource<'a>> {
        let on_device = match device.is_cpu() {
            true => None,
            false => DeviceExamples::load(set, &normalization, &device.burn(), device.precision())?,
        };
        Ok(BatchSource { set, normalization, batch_size, device: device.burn().autodiff(), on_device })
    }

    pub fn normalization(&self) -> &Normalization {
        &self.normalization
    }

    fn weights(&self, rows: &[usize]) -> Option<Vec<f32>> {
        self.set.weights().map(|weights| rows.iter().map(|&row| weights[row] as f32).collect())
    }

    /// Calls `each` with every batch of an epoch and its number until it returns false. Returns the time spent waiting for
    /// batches.
    pub fn for_each(
        &self,
        order: &[usize],
        epoch: usize,
        mut each: impl FnMut(DeviceBatch, usize) -> Result<bool>,
    ) -> Result<Duration> {
        if let Some(examples) = &self.on_device {
            let mut waited = Duration::ZERO;
            for (number, rows) in order.chunks(self.batch_size).enumerate() {
                let clock = Instant::now();
                let images = examples.images(rows, epoch).autodiff();
                waited += clock.elapsed();
                let columns = self.set.n_targets();
                let mut targets = vec![0.0; rows.len() * columns];
                let clips = targets.chunks_exact_mut(columns.max(1)).zip(rows);
                clips.for_each(|(targets, &row)| self.set.write_targets(row, targets));
                let weights = self.weights(rows);
                if !each(DeviceBatch { rows: rows.to_vec(), images, targets, weights }, number)? {
                    break;
                }
            }
            return Ok(waited);
        }
        let transform = |image: &mut [f32]| self.normalization.apply(image);
        let spec = LoaderSpec {
            set: self.set,
            order,
            batch_size: self.batch_size,
            epoch,
            prefetch: PREFETCH,
            workers: data_loader::worker_threads(self.set),
            transform: &transform,
        };
        thread::scope(|scope| {
            let mut loader = DataLoader::start(scope, spec)?;
            for (number, batch) in loader.by_ref().enumerate() {
                let batch = batch?;
                let images = inputs::image_batch(batch.inputs, inputs::shape_of(self.set), &self.device)?;
                let weights = self.weights(&batch.rows);
                if !each(DeviceBatch { rows: batch.rows, images, targets: batch.targets, weights }, number)? {
                    break;
                }
            }
            Ok(loader.waited())
        })
    }
}
