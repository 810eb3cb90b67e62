//! What all features of frames share: the keys of the short-time Fourier transform, and resizing, normalisation and summary
//! at the end. A feature that is a function of one spectrogram implements `OfSpectrogram` and calls `of_spectrogram!`.

use anyhow::Result;

pub(super) use super::post_process::PostProcess;
pub use super::post_process::{Normalize, Statistic};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureMatrix};
use timbre_signal::dsp::{
    stft::{Spectrogram, StftPlan, StftSpec},
    transpose,
};

/// The longest frame that a spec may ask for.
pub(super) const MAX_FRAME_LENGTH: usize = 1 << 20;

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
