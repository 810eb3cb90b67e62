//! The training recordings in the memory of a device: cut there, transformed there, scaled there. Between the start of a
//! training and its end no sample crosses the bus but the numbers of where to cut.
//!
//! Only for devices other than the CPU, whose images come from the same crops by way of the feature cache's own code; the
//! two agree within a thousandth of the range of an image (see [`DeviceMel`]).

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::inputs::Normalization;
use crate::dataset::{FeatureSet, WaveSource};
use crate::features::FeatureSpec;
use crate::features::device_mel::{DeviceMel, Precision};

/// What waves may take of a device's memory; a larger set is fed by the CPU.
const HELD_BYTES: usize = 8 << 30;

/// Recordings that are decoded before they go to the device together.
const DECODED_AT_ONCE: usize = 64;

/// The waves of a training set on a device.
pub struct DeviceWaves<'a> {
    source: &'a dyn WaveSource,
    /// One after the other.
    samples: Tensor<1>,
    /// Where each wave begins, and at the end where the last one ends.
    bounds: Vec<usize>,
    /// 0, 1, 2, … to the length of a clip.
    ramp: Tensor<1, Int>,
    mel: DeviceMel,
    mean: Tensor<3>,
    deviation: Tensor<3>,
}

impl<'a> DeviceWaves<'a> {
    /// Brings the waves of `set` to the device, if it has waves, their feature can be computed there, and they fit.
    pub fn hold(
        set: &'a FeatureSet,
        normalization: &Normalization,
        device: &Device,
        precision: Precision,
    ) -> Result<Option<DeviceWaves<'a>>> {
        let Some(source) = set.waves() else { return Ok(None) };
        let FeatureSpec::Mel(spec) = source.feature() else { return Ok(None) };
        let clip = source.clip_samples();
        let mel = match DeviceMel::new(spec, source.sample_rate(), clip, device, precision) {
            Ok(mel) if mel.shape() == set.shape() => mel,
            Ok(_) => return Ok(None),
            Err(why) => {
                tracing::info!("images are made by the CPU: {why:#}");
                return Ok(None);
            }
        };
        let (mut bounds, mut pieces) = (vec![0], Vec::new());
        let rows: Vec<usize> = (0..set.len()).collect();
        for rows in rows.chunks(DECODED_AT_ONCE) {
            let waves: Vec<Vec<f32>> = rows
                .par_iter()
                .map(|&row| source.wave(row))
                .collect::<Result<_>>()
                .context("cannot bring the training recordings to the device")?;
            waves.iter().for_each(|wave| bounds.push(bounds.last().expect("it begins with 0") + wave.len()));
            let total = *bounds.last().expect("it begins with 0");
            if 4 * total > HELD_BYTES || i32::try_from(total).is_err() {
                tracing::info!("images are made by the CPU: the recordings are too large for the device");
                return Ok(None);
            }
            let piece = waves.concat();
            let length = piece.len();
            pieces.push(Tensor::<1>::from_data(TensorData::new(piece, [length]), device));
        }
        let (mean, deviation) = normalization.on_device(device);
        Ok(Some(DeviceWaves {
            source,
            samples: Tensor::cat(pieces, 0),
            bounds,
            ramp: Tensor::arange(0..clip as i64, device),
            mel,
            mean,
            deviation,
        }))
    }

    /// The images of these rows in an epoch: `[rows, 1, bands, frames]`.
    pub fn images(&self, rows: &[usize], epoch: usize) -> Tensor<4> {
        let start = |&row: &usize| {
            let (begin, end) = (self.bounds[row], self.bounds[row + 1]);
            (begin + self.source.start(row, epoch, end - begin)) as i32
        };
        let starts: Vec<i32> = rows.iter().map(start).collect();
        let (clips, device) = (rows.len(), self.samples.device());
        let starts = Tensor::<2, Int>::from_data(TensorData::new(starts, [clips, 1]), &device);
        let seen = starts + self.ramp.clone().unsqueeze::<2>();
        let [clips, samples] = seen.dims();
        let waves = self.samples.clone().select(0, seen.reshape([clips * samples])).reshape([clips, samples]);
        let images = self.mel.forward(waves);
        ((images - self.mean.clone()) / self.deviation.clone()).unsqueeze_dim(1)
    }
}
