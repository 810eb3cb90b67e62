//! What all features of frames share: the keys of the short-time Fourier transform, and resizing and summary at the
//! end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{Fault, FeatureMatrix};
use timbre_signal::dsp::{resize::bilinear, stft::StftSpec};

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
            /// Statistics over time that replace the frames: all means, then all deviations, in the given order, in one
            /// column. Default: none, the frames are kept.
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
        }
    };
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

/// The last steps of every feature of frames: resizing, then statistics over time.
#[derive(Clone, Debug)]
pub(super) struct PostProcess {
    resize: Option<[usize; 2]>,
    summary: Vec<Statistic>,
}

impl PostProcess {
    pub(super) fn new(resize: Option<[usize; 2]>, summary: &[Statistic]) -> Self {
        PostProcess { resize, summary: summary.to_vec() }
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
        if self.summary.is_empty() {
            return matrix;
        }
        let moments: Vec<(f64, f64)> = matrix.values.chunks_exact(matrix.cols).map(mean_and_std).collect();
        let mut values = Vec::with_capacity(self.summary.len() * matrix.rows);
        for statistic in &self.summary {
            match statistic {
                Statistic::Mean => values.extend(moments.iter().map(|&(mean, _)| mean as f32)),
                Statistic::Std => values.extend(moments.iter().map(|&(_, std)| std as f32)),
            }
        }
        FeatureMatrix { rows: values.len(), cols: 1, values }
    }
}

fn mean_and_std(row: &[f32]) -> (f64, f64) {
    let n = row.len() as f64;
    let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_one_column_of_means_and_then_deviations() {
        let post = PostProcess::new(None, &[Statistic::Mean, Statistic::Std]);
        let matrix = post.apply(2, 4, vec![1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 4, cols: 1, values: vec![2.0, 5.0, 1.0, 0.0] });
    }

    #[test]
    fn an_image_is_resized_before_its_summary() {
        let post = PostProcess::new(Some([1, 2]), &[Statistic::Std]);
        let matrix = post.apply(2, 2, vec![0.0, 2.0, 2.0, 4.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 1, values: vec![1.0] });
    }

    #[test]
    fn without_resize_and_summary_nothing_changes() {
        let matrix = PostProcess::new(None, &[]).apply(1, 3, vec![1.0, 2.0, 3.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 3, values: vec![1.0, 2.0, 3.0] });
    }
}
