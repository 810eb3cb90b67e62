//! What all features of frames share: the keys of the short-time Fourier transform, and resizing, normalisation and summary
//! at the end. A feature that is a function of one spectrogram implements `OfSpectrogram` and calls `of_spectrogram!`.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{ClipAnalysis, Extractor, Fault, FeatureMatrix};
use timbre_signal::dsp::{
    resize::bilinear,
    stft::{Spectrogram, StftPlan, StftSpec},
    transpose,
};

/// The longest frame that a spec may ask for.
pub(super) const MAX_FRAME_LENGTH: usize = 1 << 20;
/// The longest side of a resized image.
const MAX_SIDE: usize = 1 << 14;

/// A statistic that replaces the frames of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    Mean,
    /// The population standard deviation (divided by the number of frames, as in numpy).
    Std,
    /// The population variance.
    Var,
    Sum,
    Min,
    Max,
    Median,
    /// The lower quartile, interpolated linearly as in numpy.
    Q25,
    /// The upper quartile.
    Q75,
    /// The third standardized moment (`scipy.stats.skew`); 0 for a constant row.
    Skewness,
    /// The fourth standardized moment minus 3 (`scipy.stats.kurtosis`); 0 for a constant row.
    Kurtosis,
}

/// What is subtracted and divided by within a clip, before the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// The mean and standard deviation of the whole matrix.
    Clip,
    /// The mean and standard deviation of each row over time (cepstral mean and variance normalisation).
    Row,
}

/// Declares the spec of a feature of frames: the keys of the transform, its own keys with their defaults, then
/// `summary`. A shared struct would need serde's `flatten`, which lets misspelt keys pass.
macro_rules! framewise_spec {
    ($(#[$meta:meta])* pub struct $Spec:ident {
        $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// Length of a frame and of its Fourier transform in samples. Default 2048.
            #[schemars(range(min = 2, max = 1048576))]
            pub n_fft: usize,
            /// Samples from one frame to the next. Default 512.
            #[schemars(range(min = 1))]
            pub hop_length: usize,
            /// Length of the window, which is centred in the frame, in samples. Default: `n_fft`.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1))]
            pub win_length: Option<usize>,
            /// Window function. Default "hann".
            pub window: timbre_signal::dsp::window::Window,
            /// Whether frame t is centred at sample t × hop_length (the clip is padded) or starts there. Default true.
            pub center: bool,
            /// Padding of centred frames beyond the ends of the clip: "constant" (zeros, the default) or "reflect".
            pub pad_mode: timbre_signal::dsp::stft::PadMode,
            $($(#[$key_meta])* pub $key: $Type,)*
            /// Normalisation within each clip to zero mean and unit variance: "clip" (all values together) or "row" (each row
            /// over time). Default: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub normalize: Option<$crate::features::framewise::Normalize>,
            /// Statistics over time that replace the frames, in one column: "mean", "std", "var", "sum", "min", "max",
            /// "median", "q25", "q75", "skewness", "kurtosis"; all rows of the first, then of the second, and so on.
            /// Default: none, the frames are kept.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub summary: Vec<$crate::features::framewise::Statistic>,
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec {
                    n_fft: 2048,
                    hop_length: 512,
                    win_length: None,
                    window: timbre_signal::dsp::window::Window::Hann,
                    center: true,
                    pad_mode: timbre_signal::dsp::stft::PadMode::Constant,
                    $($key: $default,)*
                    normalize: None,
                    summary: Vec::new(),
                }
            }
        }

        impl $Spec {
            /// The transform that these keys describe.
            pub fn stft(&self) -> timbre_signal::dsp::stft::StftSpec {
                timbre_signal::dsp::stft::StftSpec {
                    n_fft: self.n_fft,
                    hop_length: self.hop_length,
                    win_length: self.win_length.unwrap_or(self.n_fft),
                    window: self.window,
                    center: self.center,
                    pad_mode: self.pad_mode,
                }
            }

            fn post_of(&self, resize: Option<[usize; 2]>) -> $crate::features::framewise::PostProcess {
                $crate::features::framewise::PostProcess::new(resize, self.normalize, &self.summary)
            }
        }
    };
}

/// A feature that is a function of one spectrogram.
pub(super) trait OfSpectrogram {
    /// The number of rows.
    fn rows(&self) -> usize {
        1
    }

    /// The size of the image, if it is resized.
    fn resize(&self) -> Option<[usize; 2]> {
        None
    }

    /// The faults of the feature's own keys.
    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Vec::new()
    }

    /// Computes tables once; the function makes the band-major image of a spectrogram.
    fn image(&self, sample_rate: u32) -> Image;
}

/// From a spectrogram to a band-major image with one column per frame.
pub(super) type Image = Box<dyn Fn(&Spectrogram) -> Vec<f32> + Send + Sync>;

/// Implements the traits of a feature for an [`OfSpectrogram`] made by `framewise_spec!`.
macro_rules! of_spectrogram {
    ($kind:literal, $Spec:ident) => {
        impl $crate::features::Kind for $Spec {
            fn faults(&self, sample_rate: u32) -> Vec<$crate::features::Fault> {
                let mut faults = $crate::features::framewise::stft_faults(&self.stft());
                faults.extend(self.post_of(self.resize()).faults());
                faults.extend(self.own_faults(sample_rate));
                faults
            }
        }

        impl $crate::features::FeatureKind for $Spec {
            fn shape(&self, samples: usize) -> Option<[usize; 2]> {
                self.post_of(self.resize()).shape(self.rows(), self.stft().frames(samples))
            }

            fn frame_length(&self) -> Option<usize> {
                Some(self.n_fft)
            }

            fn build(&self, sample_rate: u32) -> anyhow::Result<Box<dyn $crate::features::Extractor>> {
                $crate::features::ensure_valid($kind, $crate::features::Kind::faults(self, sample_rate))?;
                Ok(Box::new($crate::features::framewise::SpectrogramImage {
                    plan: timbre_signal::dsp::stft::StftPlan::new(self.stft()),
                    image: self.image(sample_rate),
                    rows: self.rows(),
                    sample_rate,
                    post: self.post_of(self.resize()),
                }))
            }
        }
    };
}

/// The extractor of an [`OfSpectrogram`].
pub(super) struct SpectrogramImage {
    pub(super) plan: StftPlan,
    pub(super) image: Image,
    pub(super) rows: usize,
    pub(super) sample_rate: u32,
    pub(super) post: PostProcess,
}

impl Extractor for SpectrogramImage {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let spectrogram = clip.spectrogram(&self.plan)?;
        Ok(self.post.apply(self.rows, spectrogram.frames, (self.image)(&spectrogram)))
    }
}

/// The band-major image whose columns `column` writes, each from the magnitudes of a frame.
pub(super) fn from_magnitudes(
    spectrogram: &Spectrogram,
    rows: usize,
    mut column: impl FnMut(&[f32], &mut [f32]),
) -> Vec<f32> {
    let mut magnitudes = vec![0.0; spectrogram.bins];
    from_powers(spectrogram, rows, |powers, out| {
        magnitudes.iter_mut().zip(powers).for_each(|(magnitude, power)| *magnitude = power.sqrt());
        column(&magnitudes, out);
    })
}

/// [`from_magnitudes`] with the powers of a frame.
pub(super) fn from_powers(
    spectrogram: &Spectrogram,
    rows: usize,
    mut column: impl FnMut(&[f32], &mut [f32]),
) -> Vec<f32> {
    let mut columns = vec![0.0; rows * spectrogram.frames];
    for (frame, out) in spectrogram.power.chunks_exact(spectrogram.bins).zip(columns.chunks_exact_mut(rows)) {
        column(frame, out);
    }
    if rows == 1 { columns } else { transpose(&columns, spectrogram.frames, rows) }
}

/// The faults of the keys of the transform.
pub(super) fn stft_faults(stft: &StftSpec) -> Vec<Fault> {
    let StftSpec { n_fft, hop_length, win_length, .. } = *stft;
    let mut faults = Vec::new();
    let frame_is_valid = (2..=MAX_FRAME_LENGTH).contains(&n_fft);
    if !frame_is_valid {
        let sentence =
            format!("a frame of {n_fft} samples is not possible; choose 2 to {MAX_FRAME_LENGTH}, such as 2048");
        faults.push(Fault::new("n_fft", sentence));
    }
    if hop_length == 0 {
        faults.push(Fault::new(
            "hop_length",
            "a hop of 0 samples is not possible; choose a quarter of win_length, such as 512",
        ));
    }
    // Without its own key the window is as long as the frame, whose fault is listed already.
    if frame_is_valid && win_length == 0 {
        faults.push(Fault::new("win_length", "a window of 0 samples is not possible; leave the key out for n_fft"));
    } else if frame_is_valid && win_length > n_fft {
        let sentence =
            format!("the window of {win_length} samples is longer than the frame (n_fft = {n_fft}); shorten it");
        faults.push(Fault::new("win_length", sentence));
    }
    faults
}

/// A feature of the samples of each frame, without a transform: one row.
pub(super) trait OfSamples {
    /// One value for each frame.
    fn row(&self, samples: &[f32], frames: Frames) -> Result<Vec<f32>>;
}

/// Declares the spec of an [`OfSamples`] and implements the traits of a feature for it. `center` has its own documentation, which says how
/// the clip is padded.
macro_rules! samplewise_spec {
    ($kind:literal, $(#[$meta:meta])* pub struct $Spec:ident { $(#[$center_meta:meta])* center }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// Length of a frame in samples. Default 2048.
            #[schemars(range(min = 2, max = 1048576))]
            pub frame_length: usize,
            /// Samples from one frame to the next. Default 512.
            #[schemars(range(min = 1))]
            pub hop_length: usize,
            $(#[$center_meta])*
            pub center: bool,
            /// Normalisation within each clip to zero mean and unit variance: "clip" or "row", which are the same here. Default: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub normalize: Option<$crate::features::framewise::Normalize>,
            /// Statistics over time that replace the frames. Default: none, the frames are kept.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub summary: Vec<$crate::features::framewise::Statistic>,
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec { frame_length: 2048, hop_length: 512, center: true, normalize: None, summary: Vec::new() }
            }
        }

        impl $Spec {
            fn frames(&self) -> $crate::features::framewise::Frames {
                let $Spec { frame_length, hop_length, center, .. } = *self;
                $crate::features::framewise::Frames { frame_length, hop_length, center }
            }

            fn post(&self) -> $crate::features::framewise::PostProcess {
                $crate::features::framewise::PostProcess::new(None, self.normalize, &self.summary)
            }
        }

        impl $crate::features::Kind for $Spec {
            fn faults(&self, _sample_rate: u32) -> Vec<$crate::features::Fault> {
                let mut faults = self.frames().faults();
                faults.extend(self.post().faults());
                faults
            }
        }

        impl $crate::features::FeatureKind for $Spec {
            fn shape(&self, samples: usize) -> Option<[usize; 2]> {
                self.post().shape(1, self.frames().count(samples))
            }

            fn frame_length(&self) -> Option<usize> {
                Some(self.frame_length)
            }

            fn build(&self, sample_rate: u32) -> anyhow::Result<Box<dyn $crate::features::Extractor>> {
                $crate::features::ensure_valid($kind, $crate::features::Kind::faults(self, sample_rate))?;
                let (frames, post) = (self.frames(), self.post());
                Ok(Box::new($crate::features::framewise::SampleRow { spec: self.clone(), frames, post }))
            }
        }
    };
}

/// The extractor of an [`OfSamples`].
pub(super) struct SampleRow<S> {
    pub(super) spec: S,
    pub(super) frames: Frames,
    pub(super) post: PostProcess,
}

impl<S: OfSamples + Send + Sync> Extractor for SampleRow<S> {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let row = self.spec.row(clip.samples()?, self.frames)?;
        Ok(self.post.apply(1, row.len(), row))
    }
}

/// The frames of a feature that needs no transform.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    pub(super) frame_length: usize,
    pub(super) hop_length: usize,
    pub(super) center: bool,
}

impl Frames {
    fn padding(&self) -> usize {
        if self.center { self.frame_length / 2 } else { 0 }
    }

    /// The number of frames of a clip of `samples` samples.
    pub(super) fn count(&self, samples: usize) -> usize {
        let padded = samples + 2 * self.padding();
        if samples == 0 || padded < self.frame_length { 0 } else { 1 + (padded - self.frame_length) / self.hop_length }
    }

    /// The first sample of each frame and the one after its last, which may lie outside of the clip.
    pub(super) fn spans(self, samples: usize) -> Result<impl Iterator<Item = [isize; 2]>> {
        let count = self.count(samples);
        ensure!(
            count > 0,
            "compute a feature: the clip has {samples} samples but a frame needs {}; set center = true, a smaller frame_length, or longer clips",
            self.frame_length
        );
        let start = move |t: usize| (t * self.hop_length) as isize - self.padding() as isize;
        Ok((0..count).map(move |t| [start(t), start(t) + self.frame_length as isize]))
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let frame = (!(2..=MAX_FRAME_LENGTH).contains(&self.frame_length)).then(|| {
            let length = self.frame_length;
            format!("a frame of {length} samples is not possible; choose 2 to {MAX_FRAME_LENGTH}, such as 2048")
        });
        let hop = (self.hop_length == 0)
            .then(|| "a hop of 0 samples is not possible; choose a quarter of frame_length, such as 512".to_owned());
        Fault::of_keys([("frame_length", frame), ("hop_length", hop)])
    }
}

/// The last steps of every feature of frames: resizing, then statistics over time.
#[derive(Clone, Debug)]
pub(super) struct PostProcess {
    resize: Option<[usize; 2]>,
    normalize: Option<Normalize>,
    summary: Vec<Statistic>,
}

impl PostProcess {
    pub(super) fn new(resize: Option<[usize; 2]>, normalize: Option<Normalize>, summary: &[Statistic]) -> Self {
        PostProcess { resize, normalize, summary: summary.to_vec() }
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some([height, width]) = self.resize
            && !((1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width))
        {
            let sentence =
                format!("an image of {height} x {width} is not possible; both sides must be 1 to {MAX_SIDE}");
            faults.push(Fault::new("resize", sentence));
        }
        if (1..self.summary.len()).any(|i| self.summary[..i].contains(&self.summary[i])) {
            faults.push(Fault::new("summary", "a statistic is repeated; name each once"));
        }
        faults
    }

    /// The shape of the final matrix of an image of this shape; `None` if it has no frames.
    pub(super) fn shape(&self, rows: usize, frames: usize) -> Option<[usize; 2]> {
        let [rows, cols] = self.resize.unwrap_or([rows, frames]);
        let shape = if self.summary.is_empty() { [rows, cols] } else { [self.summary.len() * rows, 1] };
        (frames > 0).then_some(shape)
    }

    /// Makes the final matrix of a band-major image.
    pub(super) fn apply(&self, rows: usize, cols: usize, values: Vec<f32>) -> FeatureMatrix {
        let mut matrix = FeatureMatrix { rows, cols, values };
        if let Some([height, width]) = self.resize {
            let values = bilinear(&matrix.values, (rows, cols), (height, width));
            matrix = FeatureMatrix { rows: height, cols: width, values };
        }
        match self.normalize {
            Some(Normalize::Clip) => standardize(&mut matrix.values),
            Some(Normalize::Row) => matrix.values.chunks_exact_mut(matrix.cols).for_each(standardize),
            None => {}
        }
        if self.summary.is_empty() {
            return matrix;
        }
        let mut sorted = Vec::new();
        let mut values = vec![0.0; self.summary.len() * matrix.rows];
        for (r, row) in matrix.values.chunks_exact(matrix.cols).enumerate() {
            let moments = Moments::of(row);
            for (s, statistic) in self.summary.iter().enumerate() {
                values[s * matrix.rows + r] = moments.statistic(*statistic, row, &mut sorted) as f32;
            }
        }
        FeatureMatrix { rows: values.len(), cols: 1, values }
    }
}

/// The mean of a row and its central moments.
struct Moments {
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(row: &[f32]) -> Self {
        let n = row.len() as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        Moments { mean, variance: row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n }
    }

    fn statistic(&self, statistic: Statistic, row: &[f32], sorted: &mut Vec<f32>) -> f64 {
        match statistic {
            Statistic::Mean => self.mean,
            Statistic::Std => self.variance.sqrt(),
            Statistic::Var => self.variance,
            Statistic::Sum => row.iter().map(|&x| f64::from(x)).sum(),
            Statistic::Min => f64::from(row.iter().copied().fold(f32::INFINITY, f32::min)),
            Statistic::Max => f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max)),
            Statistic::Median => quantile(row, 0.5, sorted),
            Statistic::Q25 => quantile(row, 0.25, sorted),
            Statistic::Q75 => quantile(row, 0.75, sorted),
            Statistic::Skewness => self.standardized(row, 3),
            Statistic::Kurtosis => match self.standardized(row, 4) {
                0.0 => 0.0,
                moment => moment - 3.0,
            },
        }
    }

    /// The mean of a power of the standardized values; 0 for a row that is constant but for rounding.
    fn standardized(&self, row: &[f32], power: i32) -> f64 {
        if self.variance <= (f64::from(f32::EPSILON) * self.mean).powi(2) {
            return 0.0;
        }
        let sum: f64 = row.iter().map(|&x| (f64::from(x) - self.mean).powi(power)).sum();
        sum / row.len() as f64 / self.variance.sqrt().powi(power)
    }
}

/// The quantile of a row, interpolated linearly.
fn quantile(row: &[f32], share: f64, sorted: &mut Vec<f32>) -> f64 {
    sorted.clear();
    sorted.extend_from_slice(row);
    sorted.sort_unstable_by(f32::total_cmp);
    let at = share * (row.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    f64::from(low) + (f64::from(high) - f64::from(low)) * at.fract()
}

/// Scales values to zero mean and unit variance; constant values become 0.
fn standardize(values: &mut [f32]) {
    let Moments { mean, variance } = Moments::of(values);
    let std = variance.sqrt();
    // What rounding leaves in constant values.
    let constant = std <= f64::from(f32::EPSILON) * mean.abs();
    for value in values {
        *value = if constant { 0.0 } else { ((f64::from(*value) - mean) / std) as f32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_column_of_means_and_then_deviations() {
        let post = PostProcess::new(None, None, &[Statistic::Mean, Statistic::Std]);
        let matrix = post.apply(2, 4, vec![1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 4, cols: 1, values: vec![2.0, 5.0, 1.0, 0.0] });
    }

    #[test]
    fn an_image_is_resized_before_its_summary() {
        let post = PostProcess::new(Some([1, 2]), None, &[Statistic::Std]);
        let matrix = post.apply(2, 2, vec![0.0, 2.0, 2.0, 4.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 1, values: vec![1.0] });
    }

    #[test]
    fn without_resize_and_summary_nothing_changes() {
        let matrix = PostProcess::new(None, None, &[]).apply(1, 3, vec![1.0, 2.0, 3.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 3, values: vec![1.0, 2.0, 3.0] });
    }

    #[test]
    fn every_statistic_of_a_row_is_its_definition() {
        use Statistic::*;
        let row = vec![4.0, 1.0, 2.0, 9.0];
        let statistics = [Mean, Std, Var, Sum, Min, Max, Median, Q25, Q75, Skewness, Kurtosis];
        let found = PostProcess::new(None, None, &statistics).apply(1, 4, row).values;
        // numpy and scipy: [4, 1, 2, 9] has mean 4 and deviations 0, -3, -2, 5.
        let variance = 9.5f32;
        let skewness = (-27.0 - 8.0 + 125.0) / 4.0 / variance.powf(1.5);
        let kurtosis = (81.0 + 16.0 + 625.0) / 4.0 / variance.powi(2) - 3.0;
        let expected = [4.0, variance.sqrt(), variance, 16.0, 1.0, 9.0, 3.0, 1.75, 5.25, skewness, kurtosis];
        for ((found, expected), statistic) in found.iter().zip(expected).zip(statistics) {
            assert!((found - expected).abs() < 1e-6, "{statistic:?}: {found} is not {expected}");
        }
    }

    #[test]
    fn a_constant_row_has_no_skewness_and_no_kurtosis() {
        let post = PostProcess::new(None, None, &[Statistic::Skewness, Statistic::Kurtosis]);
        assert_eq!(post.apply(1, 3, vec![0.1; 3]).values, [0.0, 0.0]);
    }

    #[test]
    fn normalization_removes_mean_and_scale_of_the_clip_or_of_each_row() {
        let image = vec![1.0, 3.0, 10.0, 30.0, 5.0, 5.0];
        let rows = PostProcess::new(None, Some(Normalize::Row), &[]).apply(3, 2, image.clone());
        assert_eq!(rows.values, [-1.0, 1.0, -1.0, 1.0, 0.0, 0.0]);
        let clip = PostProcess::new(None, Some(Normalize::Clip), &[]).apply(3, 2, image);
        let Moments { mean, variance } = Moments::of(&clip.values);
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6 && clip.values[0] < clip.values[1]);
    }
}
