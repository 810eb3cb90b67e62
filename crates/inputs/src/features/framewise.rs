//! What all features of frames have in common: the keys of the transform, and resizing and summary at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::{Fault, FeatureMatrix};
use timbre_signal::dsp::resize::bilinear;
use timbre_signal::dsp::stft::StftSpec;

/// The longest frame that a spec may ask for.
pub(super) const LONGEST_FRAME: usize = 1 << 20;
/// The longest side of a resized image.
const LONGEST_SIDE: usize = 1 << 14;

/// A number that stands for the whole row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    Mean,
    /// The standard deviation of the frames themselves (divided by their number, as numpy does).
    Std,
}

/// Makes the spec of a feature of frames: the keys of the transform first, then its own with their defaults, then `summary`.
/// Serde could flatten a shared struct, but then a misspelt key would pass.
macro_rules! framewise_spec {
    ($(#[$meta:meta])* pub struct $Spec:ident {
        $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// Length of a frame and of its Fourier transform, in samples. Default 2048.
            #[schemars(range(min = 2, max = 1048576))]
            pub n_fft: usize,
            /// Samples from one frame to the next. Default 512.
            #[schemars(range(min = 1))]
            pub hop_length: usize,
            /// Length of the window, which lies in the middle of the frame, in samples. Default: `n_fft`.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1))]
            pub win_length: Option<usize>,
            /// The shape of the window. Default "hann".
            pub window: timbre_signal::dsp::window::Window,
            /// Whether frame t has sample t × hop_length in its middle (the clip is padded) or begins there. Default true.
            pub center: bool,
            /// What a centred frame sees beyond the ends of the clip: "constant" (zeros, the default) or "reflect".
            pub pad_mode: timbre_signal::dsp::stft::PadMode,
            $($(#[$key_meta])* pub $key: $Type,)*
            /// Statistics over time that replace the frames: all the means, then all the deviations, in the order given, make
            /// one column. Default: none, the frames are kept.
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
            /// The transform that these keys ask for.
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

pub(super) fn fault(key: &str, sentence: impl Into<String>) -> Fault {
    (key.to_owned(), sentence.into())
}

/// What is wrong with the keys of the transform.
pub(super) fn stft_faults(stft: &StftSpec) -> Vec<Fault> {
    let StftSpec { n_fft, hop_length, win_length, .. } = *stft;
    let mut faults = Vec::new();
    let frame_is_sound = (2..=LONGEST_FRAME).contains(&n_fft);
    if !frame_is_sound {
        let sentence = format!("a frame of {n_fft} samples cannot be; choose 2 to {LONGEST_FRAME}, such as 2048");
        faults.push(fault("n_fft", sentence));
    }
    if hop_length == 0 {
        faults
            .push(fault("hop_length", "a hop of 0 samples never arrives; choose a quarter of win_length, such as 512"));
    }
    // Without a key of its own the window is as long as the frame, and the frame has its fault already.
    if frame_is_sound && win_length == 0 {
        faults.push(fault("win_length", "a window of 0 samples sees nothing; leave it out for n_fft"));
    } else if frame_is_sound && win_length > n_fft {
        let sentence =
            format!("the window of {win_length} samples is longer than the frame (n_fft = {n_fft}); shorten it");
        faults.push(fault("win_length", sentence));
    }
    faults
}

/// What happens to the matrix last: resizing, then statistics over time.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    resize: Option<[usize; 2]>,
    summary: Vec<Statistic>,
}

impl Finish {
    pub(super) fn new(resize: Option<[usize; 2]>, summary: &[Statistic]) -> Self {
        Finish { resize, summary: summary.to_vec() }
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some([height, width]) = self.resize
            && !((1..=LONGEST_SIDE).contains(&height) && (1..=LONGEST_SIDE).contains(&width))
        {
            let sentence = format!("an image of {height} x {width} cannot be; both sides are 1 to {LONGEST_SIDE}");
            faults.push(fault("resize", sentence));
        }
        if (1..self.summary.len()).any(|i| self.summary[..i].contains(&self.summary[i])) {
            faults.push(fault("summary", "a statistic is named twice; name each once"));
        }
        faults
    }

    /// A band-major image becomes the final matrix.
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
        let finish = Finish::new(None, &[Statistic::Mean, Statistic::Std]);
        let matrix = finish.apply(2, 4, vec![1.0, 3.0, 1.0, 3.0, 5.0, 5.0, 5.0, 5.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 4, cols: 1, values: vec![2.0, 5.0, 1.0, 0.0] });
    }

    #[test]
    fn an_image_is_resized_before_it_is_summed_up() {
        let finish = Finish::new(Some([1, 2]), &[Statistic::Std]);
        let matrix = finish.apply(2, 2, vec![0.0, 2.0, 2.0, 4.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 1, values: vec![1.0] });
    }

    #[test]
    fn without_resize_and_summary_nothing_changes() {
        let matrix = Finish::new(None, &[]).apply(1, 3, vec![1.0, 2.0, 3.0]);
        assert_eq!(matrix, FeatureMatrix { rows: 1, cols: 3, values: vec![1.0, 2.0, 3.0] });
    }
}
