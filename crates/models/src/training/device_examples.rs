//! Computes training examples on a device: it holds the recordings in its memory and crops, transforms and normalizes them there.
//! During a training only the positions of the crops are sent to the device.
//!
//! It is used only for devices other than the CPU. The CPU computes the same crops with the code of the feature cache; the two agree
//! within a thousandth of the range of an image (see [`DeviceMel`]).

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::inputs::Normalization;
use crate::device::MatmulPrecision;
use crate::training::device_mel::DeviceMel;
use timbre_inputs::{
    dataset::{feature_set::FeatureSet, row_source::WaveformSource},
    features::FeatureSpec,
};

/// The most device memory for recordings; for a larger set the CPU computes the examples.
const MAX_BYTES: usize = 8 << 30;

/// Recordings that are decoded and sent to the device together.
const DECODE_BATCH: usize = 64;

/// The recordings of a training set in the memory of a device.
pub struct DeviceExamples<'a> {
    source: &'a dyn WaveformSource,
    /// Recording after recording.
    samples: Tensor<1>,
    /// Where each recording begins, and finally where the last one ends.
    bounds: Vec<usize>,
    /// 0, 1, 2, … up to the length of a clip.
    ramp: Tensor<1, Int>,
    mel: DeviceMel,
    mean: Tensor<3>,
    deviation: Tensor<3>,
}

impl<'a> DeviceExamples<'a> {
    /// Sends the recordings of `set` to the device. `None` if the set has none, their feature cannot be computed there, or they do
    /// not fit.
    pub fn load(
        set: &'a FeatureSet,
        normalization: &Normalization,
        device: &Device,
        precision: MatmulPrecision,
    ) -> Result<Option<DeviceExamples<'a>>> {
        let Some(source) = set.waveforms() else { return Ok(None) };
        let FeatureSpec::Mel(spec) = source.feature() else { return Ok(None) };
        if spec.pcen.is_some() {
            return Ok(None);
        }
        let clip = source.clip_samples();
        let mel = match DeviceMel::new(spec, source.sample_rate(), clip, device, precision) {
            Ok(mel) if mel.shape() == set.shape() => mel,
            Ok(_) => return Ok(None),
            Err(why) => {
                tracing::info!("the CPU computes the examples: {why:#}");
                return Ok(None);
            }
        };
        let (mut bounds, mut pieces) = (vec![0], Vec::new());
        let rows: Vec<usize> = (0..set.len()).collect();
        for rows in rows.chunks(DECODE_BATCH) {
            let recordings: Vec<Vec<f32>> = rows
                .par_iter()
                .map(|&row| source.waveform(row))
                .collect::<Result<_>>()
                .context("cannot send the training recordings to the device")?;
            recordings.iter().for_each(|samples| bounds.push(bounds.last().expect("it starts with 0") + samples.len()));
            let total = *bounds.last().expect("it starts with 0");
            if 4 * total > MAX_BYTES || i32::try_from(total).is_err() {
                tracing::info!("the CPU computes the examples: the recordings are too large for the device");
                return Ok(None);
            }
            let piece = recordings.concat();
            let length = piece.len();
            pieces.push(Tensor::<1>::from_data(TensorData::new(piece, [length]), device));
        }
        let (mean, deviation) = normalization.on_device(device);
        Ok(Some(DeviceExamples {
            source,
            samples: Tensor::cat(pieces, 0),
            bounds,
            ramp: Tensor::arange(0..clip as i64, device),
            mel,
            mean,
            deviation,
        }))
    }

    /// The normalized images of these rows in an epoch: `[rows, 1, bands, frames]`.
    pub fn images(&self, rows: &[usize], epoch: usize) -> Tensor<4> {
        let start = |&row: &usize| {
            let (begin, end) = (self.bounds[row], self.bounds[row + 1]);
            (begin + self.source.start(row, epoch, end - begin)) as i32
        };
        let starts: Vec<i32> = rows.iter().map(start).collect();
        let (clips, device) = (rows.len(), self.samples.device());
        let starts = Tensor::<2, Int>::from_data(TensorData::new(starts, [clips, 1]), &device);
        let indices = starts + self.ramp.clone().unsqueeze::<2>();
        let [clips, length] = indices.dims();
        let samples = self.samples.clone().select(0, indices.reshape([clips * length])).reshape([clips, length]);
        let images = self.mel.forward(samples);
        ((images - self.mean.clone()) / self.deviation.clone()).unsqueeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hyperparameters::Normalize;
    use timbre_core::seed::{Seed, uniform};
    use timbre_inputs::{
        augment::Chain,
        dataset::examples::{ExampleSource, ExampleSpec, TrainingExamples},
    };
    use timbre_signal::audio::{AudioSpec, Crop, wav_write::write_pcm16};

    #[test]
    fn images_computed_on_the_device_equal_those_of_the_cpu() {
        let folder = tempfile::tempdir().unwrap();
        let audio =
            AudioSpec { sample_rate: 8000, clip_seconds: Some(1.0), crop: Crop::Centre, ..AudioSpec::default() };
        let feature: FeatureSpec = serde_json::from_value(
            serde_json::json!({ "kind": "mel", "n_mels": 24, "n_fft": 512, "hop_length": 256, "resize": [32, 20] }),
        )
        .unwrap();
        let mut rng = Seed::new(5).rng();
        let sources: Vec<ExampleSource> = [0.7, 1.0, 2.4, 3.1]
            .iter()
            .enumerate()
            .map(|(n, seconds)| {
                let path = folder.path().join(format!("{n}.wav"));
                let tone = 200.0 * (n + 1) as f64;
                let sample = |i: usize| {
                    let wave = (std::f64::consts::TAU * tone * i as f64 / 11025.0).sin() * (i as f64 / 4000.0).cos();
                    ((0.6 * wave + 0.1 * (uniform(&mut rng) - 0.5)) * 32767.0) as i16
                };
                let samples: Vec<i16> = (0..(seconds * 11025.0) as usize).map(sample).collect();
                write_pcm16(&path, &samples, 1, 11025).unwrap();
                let content = *blake3::hash(&std::fs::read(&path).unwrap()).as_bytes();
                ExampleSource { path, id: n.to_string(), content, ..ExampleSource::default() }
            })
            .collect();
        let extractor = feature.as_kind().build(audio.sample_rate).unwrap();
        let cached: Vec<f32> = sources
            .iter()
            .flat_map(|source| {
                let clip = timbre_signal::audio::load_file(&source.path, None, &audio).unwrap();
                extractor.extract(&timbre_inputs::features::ClipAnalysis::new(&clip)).unwrap().values
            })
            .collect();
        let labels = vec![vec![0]; sources.len()];
        let set = FeatureSet::from_matrices(cached, [32, 20], labels, 1);
        let cuts = ExampleSpec { random_crop: true, chain: Chain::default(), copies: vec![], replay: None };
        let examples =
            TrainingExamples::new(&set, sources, &audio, &feature, Seed::new(3), cuts, Arc::default()).unwrap();
        let set = set.with_generator(Arc::new(examples));
        let normalization = Normalization::fit(Normalize::Rows, &set).unwrap();
        let device = Device::flex();
        let on_device = DeviceExamples::load(&set, &normalization, &device, MatmulPrecision::F32).unwrap().unwrap();
        let mut differ = false;
        for epoch in 0..3 {
            let rows = [3, 0, 2, 1, 2];
            let images = on_device.images(&rows, epoch).into_data();
            let images = images.as_slice::<f32>().unwrap();
            for (&row, image) in rows.iter().zip(images.chunks_exact(set.dims())) {
                let mut ours = vec![0.0; set.dims()];
                set.read_example(row, epoch, &mut ours, &mut [0.0]).unwrap();
                let unscaled = ours.clone();
                normalization.apply(&mut ours);
                let apart = ours.iter().zip(image).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 1e-3, "row {row} of epoch {epoch}: {apart}");
                let mut before = vec![0.0; set.dims()];
                set.read_example(row, epoch + 1, &mut before, &mut [0.0]).unwrap();
                differ |= before != unscaled;
            }
        }
        assert!(differ, "long recordings are cropped at another position in each epoch");
    }
}
