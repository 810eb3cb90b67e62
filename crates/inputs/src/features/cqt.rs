//! `cqt` and `vqt`: the magnitudes of `librosa.cqt` and `librosa.vqt`, optionally in decibels; `chroma_cqt`: the pitch classes of a
//! constant-Q transform, `librosa.feature.chroma_cqt`.
//!
//! The transform (`dsp/cqt.rs`) is computed at the rate of the clip, which differs from librosa's by its resampling. Without `tuning`, `chroma_cqt`
//! estimates the deviation from A = 440 Hz from each clip, to a hundredth of a bin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::chroma::{FrameNorm, estimate_tuning, tuning_fault};
use crate::features::framewise::{MAX_FRAME_LENGTH, Normalize, PostProcess, Statistic};
use crate::features::stft::{Stft, top_db, top_db_fault};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::{
    cqt::{CqtPlan, CqtSpec, c1},
    decibel::power_to_db,
    stft::{Spectrogram, StftPlan},
    window::Window,
};

/// Increase when the transform gives other numbers.
pub(super) const VERSION: u32 = 2;

/// Declares the spec of a transform: the keys that both have, with those of its own after `filter_scale`.
macro_rules! transform_spec {
    ($(#[$meta:meta])* pub struct $Spec:ident {
        $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// Samples from one frame to the next. Default 512.
            #[schemars(range(min = 1))]
            pub hop_length: usize,
            /// The lowest frequency in Hz. Default: C1, 32.7 Hz.
            #[serde(skip_serializing_if = "Option::is_none")]
            #[schemars(range(min = 1.0))]
            pub fmin: Option<f64>,
            /// The number of frequencies. Default 84, seven octaves.
            #[schemars(range(min = 1, max = 1024))]
            pub n_bins: usize,
            /// The number of frequencies in an octave. Default 12.
            #[schemars(range(min = 1, max = 120))]
            pub bins_per_octave: usize,
            /// Deviation of the tuning from A = 440 Hz, in bins. Default 0.
            pub tuning: f64,
            /// The factor of the lengths of the kernels: smaller values have finer time and coarser frequency. Default 1.
            #[schemars(range(min = 0.01, max = 10.0))]
            pub filter_scale: f64,
            $($(#[$key_meta])* pub $key: $Type,)*
            /// Window function of the kernels. Default "hann".
            pub window: Window,
            /// Whether to convert magnitudes to decibels (relative to 1, at least -100). Default false.
            pub db: bool,
            /// With `db`: the dynamic range in dB. Values further below the largest value are raised to it; 0 keeps all.
            /// Default 80.
            #[schemars(range(min = 0.0))]
            pub top_db: f64,
            /// Height and width in pixels to which the image is resized (bilinear, antialiased). Default: not resized.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub resize: Option<[usize; 2]>,
            /// Normalisation within each clip to zero mean and unit variance: "clip" (all values together) or "row" (each row over
            /// time). Default: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub normalize: Option<Normalize>,
            /// Statistics over time that replace the frames. Default: none, the frames are kept.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub summary: Vec<Statistic>,
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec {
                    hop_length: 512,
                    fmin: None,
                    n_bins: 84,
                    bins_per_octave: 12,
                    tuning: 0.0,
                    filter_scale: 1.0,
                    $($key: $default,)*
                    window: Window::Hann,
                    db: false,
                    top_db: 80.0,
                    resize: None,
                    normalize: None,
                    summary: Vec::new(),
                }
            }
        }

        impl $Spec {
            fn post(&self) -> PostProcess {
                PostProcess::new(self.resize, self.normalize, &self.summary)
            }

            fn transform(&self, sample_rate: u32, gamma: Option<f64>) -> CqtSpec {
                let step = self.tuning / self.bins_per_octave.max(1) as f64;
                CqtSpec {
                    sample_rate,
                    hop_length: self.hop_length,
                    fmin: self.fmin.unwrap_or_else(c1) * step.exp2(),
                    n_bins: self.n_bins,
                    bins_per_octave: self.bins_per_octave,
                    gamma,
                    filter_scale: self.filter_scale,
                    window: self.window,
                }
            }
        }

        impl Kind for $Spec {
        fn version(&self) -> u32 {
            VERSION
        }

            fn faults(&self, sample_rate: u32) -> Vec<Fault> {
                let mut faults = transform_faults(&self.transform(sample_rate, self.gamma()));
                faults.extend(self.post().faults());
                faults.extend(top_db_fault(self.top_db));
                faults
            }
        }

        impl FeatureKind for $Spec {
            fn shape(&self, samples: usize) -> Option<[usize; 2]> {
                self.post().shape(self.n_bins, self.transform(1, self.gamma()).frames(samples))
            }

            fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
                ensure_valid("cqt", self.faults(sample_rate))?;
                Ok(Box::new(Magnitudes {
                    plan: CqtPlan::new(self.transform(sample_rate, self.gamma())),
                    decibels: self.db.then(|| top_db(self.top_db)),
                    post: self.post(),
                }))
            }
        }
    };
}

transform_spec! {
    /// The magnitude of the constant-Q transform: one row per frequency, one column per frame.
    pub struct Cqt {}
}

impl Cqt {
    fn gamma(&self) -> Option<f64> {
        Some(0.0)
    }
}

transform_spec! {
    /// The magnitude of the variable-Q transform, whose kernels at low frequencies are shorter: one row per frequency, one column per
    /// frame.
    pub struct Vqt {
        /// What widens the bands at low frequencies, in Hz; 0 is the constant-Q transform. Default: as wide as the bands of the ear
        /// (equivalent rectangular bandwidths).
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0.0, max = 1000.0))]
        pub gamma: Option<f64> = None,
    }
}

impl Vqt {
    fn gamma(&self) -> Option<f64> {
        self.gamma
    }
}

fn transform_faults(spec: &CqtSpec) -> Vec<Fault> {
    let CqtSpec { sample_rate, hop_length, fmin, n_bins, bins_per_octave, gamma, filter_scale, .. } = *spec;
    let hop = (hop_length == 0).then(|| "a hop of 0 samples is not possible; choose 512".to_owned());
    let bins =
        (!(1..=1024).contains(&n_bins)).then(|| format!("{n_bins} frequencies are not possible; choose 1 to 1024"));
    let octave = (!(1..=120).contains(&bins_per_octave))
        .then(|| format!("{bins_per_octave} frequencies in an octave are not possible; choose 1 to 120, such as 12"));
    let scale = (!(0.01..=10.0).contains(&filter_scale))
        .then(|| format!("a factor of {filter_scale} is not possible; choose 1"));
    let width =
        gamma.filter(|gamma| !(0.0..=1000.0).contains(gamma)).map(|gamma| format!("{gamma} Hz are not possible"));
    let mut faults = Fault::of_keys([
        ("hop_length", hop),
        ("n_bins", bins),
        ("bins_per_octave", octave),
        ("filter_scale", scale),
        ("gamma", width),
    ]);
    if !(fmin >= 0.5 && fmin.is_finite()) {
        faults.push(Fault::new("fmin", format!("a lowest frequency of {fmin} Hz is not possible; choose 1 or more")));
    }
    if faults.is_empty() {
        let nyquist = f64::from(sample_rate) / 2.0;
        if spec.cutoff() > nyquist {
            let sentence = format!(
                "the highest band ends at {:.0} Hz, above half the sample rate ({nyquist} Hz); choose fewer bins or a lower fmin",
                spec.cutoff()
            );
            faults.push(Fault::new("n_bins", sentence));
        }
        let longest = spec.lengths().into_iter().fold(0.0, f64::max);
        if longest > MAX_FRAME_LENGTH as f64 {
            let sentence =
                format!("the longest kernel has {longest:.0} samples; the maximum is {MAX_FRAME_LENGTH}; raise it");
            faults.push(Fault::new("fmin", sentence));
        }
    }
    faults
}

struct Magnitudes {
    plan: CqtPlan,
    /// The `top_db` of the conversion, if the output is in decibels.
    decibels: Option<Option<f32>>,
    post: PostProcess,
}

impl Extractor for Magnitudes {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.plan.spec().sample_rate)?;
        let (mut image, frames) = self.plan.magnitudes(clip.samples()?);
        if let Some(top_db) = self.decibels {
            image.iter_mut().for_each(|value| *value *= *value);
            power_to_db(&mut image, top_db);
        }
        Ok(self.post.apply(self.plan.spec().n_bins, frames, image))
    }
}

/// The energy of each pitch class, from a constant-Q transform: one row per class, C first, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChromaCqt {
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// The lowest frequency in Hz. Default: C1, 32.7 Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0))]
    pub fmin: Option<f64>,
    /// Number of pitch classes per octave. Default 12.
    #[schemars(range(min = 1, max = 96))]
    pub n_chroma: usize,
    /// The number of octaves. Default 7.
    #[schemars(range(min = 1, max = 12))]
    pub n_octaves: usize,
    /// The number of frequencies in an octave, a multiple of `n_chroma`. Default 36.
    #[schemars(range(min = 1, max = 120))]
    pub bins_per_octave: usize,
    /// Deviation of the tuning from A = 440 Hz, in bins (-0.5 to 0.5). Default: estimated from each clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<f64>,
    /// What the values of a frame are divided by: "inf" (the largest, the default), "l1", "l2" or "none".
    pub norm: FrameNorm,
    /// Normalisation within each clip to zero mean and unit variance: "clip" (all values together) or "row" (each row over
    /// time). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for ChromaCqt {
    fn default() -> Self {
        ChromaCqt {
            hop_length: 512,
            fmin: None,
            n_chroma: 12,
            n_octaves: 7,
            bins_per_octave: 36,
            tuning: None,
            norm: FrameNorm::Inf,
            normalize: None,
            summary: Vec::new(),
        }
    }
}

impl ChromaCqt {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }

    fn transform(&self, sample_rate: u32, tuning: f64) -> CqtSpec {
        let cqt = Cqt {
            hop_length: self.hop_length,
            fmin: self.fmin,
            n_bins: self.n_octaves.saturating_mul(self.bins_per_octave),
            bins_per_octave: self.bins_per_octave,
            tuning,
            ..Cqt::default()
        };
        cqt.transform(sample_rate, Some(0.0))
    }

    /// The class of each bin.
    fn classes(&self) -> Vec<usize> {
        let merged = self.bins_per_octave / self.n_chroma;
        // The note of the first bin, in semitones from C.
        let first = (69.0 + 12.0 * (self.fmin.unwrap_or_else(c1) / 440.0).log2()).rem_euclid(12.0);
        let roll = (first * self.n_chroma as f64 / 12.0).round() as usize;
        (0..self.n_octaves * self.bins_per_octave)
            .map(|bin| ((bin % self.bins_per_octave + merged / 2) / merged + roll) % self.n_chroma)
            .collect()
    }
}

impl Kind for ChromaCqt {
    fn version(&self) -> u32 {
        VERSION
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = transform_faults(&self.transform(sample_rate, self.tuning.unwrap_or(0.5)));
        let n_chroma = (!(1..=96).contains(&self.n_chroma) || !self.bins_per_octave.is_multiple_of(self.n_chroma))
            .then(|| {
                format!(
                    "{} frequencies in an octave cannot be shared among {} classes",
                    self.bins_per_octave, self.n_chroma
                )
            });
        faults.extend(Fault::of_keys([("n_chroma", n_chroma), ("tuning", tuning_fault(self.tuning))]));
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for ChromaCqt {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.n_chroma, self.transform(1, 0.0).frames(samples))
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("chroma_cqt", self.faults(sample_rate))?;
        Ok(Box::new(PitchClasses {
            spec: self.clone(),
            sample_rate,
            classes: self.classes(),
            plans: Mutex::default(),
            stft: StftPlan::new(Stft::default().stft()),
        }))
    }
}

struct PitchClasses {
    spec: ChromaCqt,
    sample_rate: u32,
    classes: Vec<usize>,
    /// The transforms by their tuning, in hundredths of a bin.
    plans: Mutex<HashMap<i64, Arc<CqtPlan>>>,
    /// The spectrogram that determines the tuning.
    stft: StftPlan,
}

impl PitchClasses {
    fn plan(&self, tuning: f64) -> Arc<CqtPlan> {
        let key = (tuning * 1e6).round() as i64;
        let known = self.plans.lock().expect("no thread panics here").get(&key).cloned();
        known.unwrap_or_else(|| {
            let plan = Arc::new(CqtPlan::new(self.spec.transform(self.sample_rate, tuning)));
            self.plans.lock().expect("no thread panics here").entry(key).or_insert(plan).clone()
        })
    }
}

impl Extractor for PitchClasses {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let tuning = match self.spec.tuning {
            Some(tuning) => tuning,
            None => {
                let spectrogram = clip.spectrogram(&self.stft)?;
                let power = spectrogram.power.iter().map(|power| power.sqrt()).collect();
                let magnitudes = Spectrogram { power, ..*spectrogram };
                estimate_tuning(&magnitudes, self.stft.spec(), self.sample_rate, self.spec.bins_per_octave)
            }
        };
        let (magnitudes, frames) = self.plan(tuning).magnitudes(clip.samples()?);
        let mut sums = vec![0.0f64; self.spec.n_chroma * frames];
        for (row, &class) in magnitudes.chunks_exact(frames).zip(&self.classes) {
            let sums = &mut sums[class * frames..(class + 1) * frames];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        let mut column = vec![0.0; self.spec.n_chroma];
        let mut image = vec![0.0f32; sums.len()];
        for t in 0..frames {
            column.iter_mut().enumerate().for_each(|(class, value)| *value = sums[class * frames + t]);
            self.spec.norm.apply(&mut column);
            column.iter().enumerate().for_each(|(class, value)| image[class * frames + t] = *value as f32);
        }
        Ok(self.spec.post().apply(self.spec.n_chroma, frames, image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn a_tone_is_strongest_in_its_pitch_class_whatever_the_first_note() {
        for (hz, class) in [(440.0, 9), (523.25, 0), (1318.5, 4)] {
            let samples =
                (0..22050).map(|n| (std::f64::consts::TAU * hz * f64::from(n) / 22050.0).sin() as f32).collect();
            let clip = Clip { samples, sample_rate: 22050 };
            for fmin in [None, Some(55.0)] {
                let spec = ChromaCqt { fmin, n_octaves: 6, ..ChromaCqt::default() };
                let matrix = spec.build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
                let column = |row: usize| matrix.values[row * matrix.cols + 20];
                assert!((0..12).all(|row| (column(row) == 1.0) == (row == class)), "{hz} Hz {fmin:?}");
            }
        }
    }

    #[test]
    fn bands_above_half_the_sample_rate_are_refused() {
        let keys = |spec: Cqt, rate| spec.faults(rate).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        assert!(keys(Cqt::default(), 22050).is_empty());
        assert_eq!(keys(Cqt::default(), 8000), ["n_bins"]);
        assert_eq!(keys(Cqt { fmin: Some(0.0), hop_length: 0, ..Cqt::default() }, 22050), ["hop_length", "fmin"]);
    }
}
