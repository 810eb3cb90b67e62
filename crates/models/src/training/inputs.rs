//! The inputs of a network: images of clips, normalized by the statistics of the training clips.

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::hyperparameters::Normalize;
use crate::networks::{InputShape, onnx};
use crate::tensor::{Tensor as Saved, chunk_ranges, take_shaped, take_tensor};
use timbre_inputs::dataset::feature_set::{BLOCK_BYTES, FeatureSet};

/// The input shape for the images of a set.
pub fn shape_of(set: &FeatureSet) -> InputShape {
    let [height, width] = set.image_shape();
    InputShape { channels: set.channels(), height, width }
}

/// Mean and standard deviation of the training clips: one of each, or one per row (band) of the image.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Normalization {
    /// Sums are in f64, clip by clip in the order of the set, so the number of threads does not change a bit.
    pub fn fit(how: Normalize, set: &FeatureSet) -> Result<Normalization> {
        let [height, width] = set.shape();
        let bands = match how {
            Normalize::None => return Ok(Normalization { mean: vec![0.0], deviation: vec![1.0] }),
            Normalize::Global | Normalize::GlobalHalf => 1,
            Normalize::Rows => height,
        };
        let length = height * width / bands;
        let mut all = vec![Moments::default(); bands];
        let mut block = Vec::new();
        for rows in chunk_ranges(set.len(), set.block_rows()) {
            set.read_rows(rows, &mut block)?;
            let clips: Vec<Vec<Moments>> = block
                .par_chunks_exact(set.dims())
                .map(|clip| clip.chunks_exact(length).map(Moments::of).collect())
                .collect();
            clips.iter().for_each(|clip| all.iter_mut().zip(clip).for_each(|(all, clip)| all.merge(clip)));
        }
        let mean: Vec<f32> = all.iter().map(|moments| moments.mean as f32).collect();
        ensure!(
            mean.iter().all(|mean| mean.is_finite()),
            "normalize the inputs of a network: the features contain values that are not finite; compute them again with \
             `timbre features --fresh`, and look for a damaged recording"
        );
        let scale = if how == Normalize::GlobalHalf { 2.0 } else { 1.0 };
        Ok(Normalization { mean, deviation: all.iter().map(|moments| scale * moments.deviation()).collect() })
    }

    /// Normalizes the image of a clip in place.
    pub fn apply(&self, image: &mut [f32]) {
        let length = image.len() / self.mean.len();
        for (band, (&mean, &deviation)) in image.chunks_exact_mut(length).zip(self.mean.iter().zip(&self.deviation)) {
            band.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
        }
    }

    /// Means and standard deviations for images on a device, `[1, 1 or bands, 1]`.
    pub fn on_device(&self, device: &Device) -> (Tensor<3>, Tensor<3>) {
        let tensor = |values: &[f32]| Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len(), 1]), device);
        (tensor(&self.mean), tensor(&self.deviation))
    }

    /// The normalization of images as nodes of an ONNX graph.
    pub fn graph(&self, graph: &mut onnx::Graph, images: &onnx::Value) -> onnx::Value {
        let shape = if self.mean.len() == 1 { [1; 4] } else { [1, images.shape[1], images.shape[2], 1] };
        let [mean, deviation] = [&self.mean, &self.deviation].map(|values| graph.constant(values, &shape));
        let shifted = graph.pair("Sub", images, &mean);
        graph.pair("Div", &shifted, &deviation)
    }

    /// The tensors that are saved with a model.
    pub fn tensors(&self) -> Vec<Saved> {
        let tensor = |name: &str, values: &[f32]| Saved::new(name, vec![values.len()], values.to_vec());
        vec![tensor(MEAN, &self.mean), tensor(DEVIATION, &self.deviation)]
    }

    pub fn restore(tensors: &mut Vec<Saved>, shape: InputShape) -> Result<Normalization> {
        let (mean, deviation) = (take_tensor(tensors, MEAN)?, take_tensor(tensors, DEVIATION)?);
        let rows = shape.channels * shape.height;
        ensure!(
            mean.len() == deviation.len() && (mean.len() == 1 || mean.len() == rows),
            "`{MEAN}` has {} values and `{DEVIATION}` {}: expected one of each, or {}",
            mean.len(),
            deviation.len(),
            rows
        );
        Ok(Normalization { mean, deviation })
    }
}

const MEAN: &str = "input.mean";
const DEVIATION: &str = "input.deviation";
const SHAPE: &str = "input.shape";

/// The input shape as a tensor that is saved with a model.
pub fn shape_tensor(shape: InputShape) -> Saved {
    let sizes = [shape.channels, shape.height, shape.width].map(|size| size as f32);
    Saved::new(SHAPE, vec![3], sizes.to_vec())
}

pub fn restore_shape(tensors: &mut Vec<Saved>) -> Result<InputShape> {
    let (_, sizes) = take_shaped(tensors, SHAPE)?;
    let whole = |size: &f32| *size >= 1.0 && size.fract() == 0.0;
    let [channels, height, width] = sizes[..] else { bail!("`{SHAPE}` has {} values, not 3", sizes.len()) };
    ensure!(sizes.iter().all(whole), "`{SHAPE}` is {sizes:?}, not three integers");
    let pixels: f64 = sizes.iter().map(|&size| f64::from(size)).product();
    ensure!(pixels <= (BLOCK_BYTES / 4) as f64, "`{SHAPE}` is {sizes:?}, more than a clip can have");
    Ok(InputShape { channels: channels as usize, height: height as usize, width: width as usize })
}

/// The images of a batch on a device.
pub fn image_batch(inputs: Vec<f32>, shape: InputShape, device: &Device) -> Result<Tensor<4>> {
    let pixels = shape.values();
    let clips = inputs.len().checked_div(pixels).context("the images have no pixels")?;
    let sizes = [clips, shape.channels, shape.height, shape.width];
    Ok(Tensor::from_data(TensorData::new(inputs, sizes), device))
}

/// Count, mean, and sum of squared deviations.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    spread: f64,
}

impl Moments {
    fn of(values: &[f32]) -> Moments {
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let spread = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
        Moments { count, mean, spread }
    }

    fn merge(&mut self, other: &Moments) {
        let (count, apart) = (self.count + other.count, other.mean - self.mean);
        self.mean += apart * other.count / count;
        self.spread += other.spread + apart * apart * self.count * other.count / count;
        self.count = count;
    }

    /// The population standard deviation; 1 if all values are equal, so that they are only shifted.
    fn deviation(&self) -> f32 {
        let deviation = (self.spread / self.count).sqrt() as f32;
        if deviation > 0.0 { deviation } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clips of two bands and two frames.
    fn set() -> FeatureSet {
        let values = vec![1.0, 3.0, 10.0, 10.0, 5.0, 7.0, 10.0, 10.0, 9.0, 11.0, 10.0, 10.0];
        FeatureSet::from_matrices(values, [2, 2], vec![vec![0]; 3], 1)
    }

    fn scaled(how: Normalize) -> Vec<f32> {
        let mut values = Vec::new();
        set().read_rows(0..3, &mut values).unwrap();
        let normalization = Normalization::fit(how, &set()).unwrap();
        values.chunks_exact_mut(4).for_each(|image| normalization.apply(image));
        values
    }

    fn moments(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
        let n = values.clone().count() as f32;
        let mean = values.clone().sum::<f32>() / n;
        (mean, (values.map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt())
    }

    #[test]
    fn normalized_clips_have_mean_zero_and_standard_deviation_one() {
        let (mean, deviation) = moments(scaled(Normalize::Global).into_iter());
        assert!(mean.abs() < 1e-6 && (deviation - 1.0).abs() < 1e-6, "{mean} {deviation}");
        let (mean, deviation) = moments(scaled(Normalize::GlobalHalf).into_iter());
        assert!(mean.abs() < 1e-5 && (deviation - 0.5).abs() < 1e-5, "{mean} {deviation}");
        let rows = scaled(Normalize::Rows);
        let band = |band: usize| rows.chunks_exact(2).skip(band).step_by(2).flatten().copied().collect::<Vec<f32>>();
        let (mean, deviation) = moments(band(0).into_iter());
        assert!(mean.abs() < 1e-6 && (deviation - 1.0).abs() < 1e-6, "{mean} {deviation}");
        // A constant band does not cause a division by zero.
        assert_eq!(band(1), [0.0; 6]);
        let mut values = Vec::new();
        set().read_rows(0..3, &mut values).unwrap();
        assert_eq!(scaled(Normalize::None), values);
    }

    #[test]
    fn the_deviation_of_values_far_from_zero_is_accurate() {
        let values: Vec<f32> = (0..4000).map(|i| 1e6 + (i % 2) as f32).collect();
        let set = FeatureSet::from_matrices(values, [1, 4], vec![vec![0]; 1000], 1);
        let normalization = Normalization::fit(Normalize::Global, &set).unwrap();
        assert!((normalization.deviation[0] - 0.5).abs() < 1e-6, "{:?}", normalization);
    }

    #[test]
    fn saved_statistics_are_restored() {
        for how in [Normalize::None, Normalize::Global, Normalize::Rows] {
            let fitted = Normalization::fit(how, &set()).unwrap();
            let mut tensors = fitted.tensors();
            tensors.push(shape_tensor(shape_of(&set())));
            let shape = restore_shape(&mut tensors).unwrap();
            assert_eq!(shape, InputShape { channels: 1, height: 2, width: 2 });
            assert_eq!(Normalization::restore(&mut tensors, shape).unwrap(), fitted);
            assert!(tensors.is_empty());
        }
    }

    #[test]
    fn a_shape_larger_than_any_clip_is_refused() {
        for sizes in [[1.0, 1e30, 1.0], [1.0, 16_384.0, 16_384.0]] {
            let refused = restore_shape(&mut vec![Saved::new(SHAPE, vec![3], sizes.to_vec())]).unwrap_err();
            assert!(refused.to_string().contains("more than a clip"), "{refused}");
        }
    }

    #[test]
    fn features_that_are_not_finite_are_refused() {
        let set = FeatureSet::from_matrices(vec![1.0, f32::NAN], [1, 2], vec![vec![0]], 1);
        assert!(Normalization::fit(Normalize::Global, &set).unwrap_err().to_string().contains("not finite"));
    }
}
