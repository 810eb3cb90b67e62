//! `harmonic` and `percussive`: another feature of the harmonic or the percussive part of the clip, `librosa.effects.harmonic` and `percussive`
//! before any feature.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::MAX_FRAME_LENGTH;
use crate::features::stft::Stft;
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, FeatureSpec, Kind, ensure_valid};
use timbre_signal::audio::Clip;
use timbre_signal::dsp::hpss::{self, HpssSpec, Part};

/// Declares the spec of a part.
macro_rules! part_spec {
    ($(#[$meta:meta])* $Spec:ident, $kind:literal, $Part:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// The feature, a table with its `kind` and keys, or the name of another feature of the experiment. Several share one separation as the
            /// parts of a `concat` or `stack`. Default: `stft`.
            #[schemars(schema_with = "super::concat::part_schema")]
            pub of: Box<FeatureSpec>,
            /// Length of a frame of the separation in samples. Default 2048.
            #[schemars(range(min = 2, max = 1048576))]
            pub n_fft: usize,
            /// Samples from one frame of the separation to the next, at most half a frame. Default 512.
            #[schemars(range(min = 1))]
            pub hop_length: usize,
            /// Frames and bins of the medians, an odd number. Default 31.
            #[schemars(range(min = 1, max = 1001))]
            pub kernel_size: usize,
            /// Exponent of the mask. Default 2.
            #[schemars(range(min = 0.01, max = 100.0))]
            pub power: f64,
            /// How much larger this part must be than the other for half of the sound; above 1 some belongs to neither. Default 1.
            #[schemars(range(min = 1.0, max = 1000.0))]
            pub margin: f64,
        }

        impl Default for $Spec {
            fn default() -> Self {
                let of = Box::new(FeatureSpec::Stft(Stft::default()));
                $Spec { of, n_fft: 2048, hop_length: 512, kernel_size: 31, power: 2.0, margin: 1.0 }
            }
        }

        impl $Spec {
            fn separation(&self) -> HpssSpec {
                let $Spec { n_fft, hop_length, kernel_size, power, margin, .. } = *self;
                HpssSpec { n_fft, hop_length, kernel_size, power, margin }
            }
        }

        impl Kind for $Spec {
            /// Raised with the version of the other feature.
            fn version(&self) -> u32 {
                self.of.as_kind().version()
            }

            fn faults(&self, sample_rate: u32) -> Vec<Fault> {
                let of_other = |Fault { key, sentence }: Fault| Fault::new("of", format!("`{key}`: {sentence}"));
                let mut faults: Vec<Fault> = self.of.as_kind().faults(sample_rate).into_iter().map(of_other).collect();
                faults.extend(faults_of(&self.separation()));
                faults
            }
        }

        impl FeatureKind for $Spec {
            fn shape(&self, samples: usize) -> Option<[usize; 2]> {
                self.of.as_kind().shape(samples)
            }

            fn frame_length(&self) -> Option<usize> {
                self.of.as_kind().frame_length()
            }

            fn files(&self) -> Vec<std::path::PathBuf> {
                self.of.as_kind().files()
            }

            fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
                ensure_valid($kind, self.faults(sample_rate))?;
                Ok(Box::new(OfPart {
                    of: self.of.as_kind().build(sample_rate)?,
                    separation: self.separation(),
                    part: $Part,
                    sample_rate,
                }))
            }
        }
    };
}

part_spec! {
    /// Another feature of the harmonic part of the clip: what lasts.
    Harmonic, "harmonic", Part::Harmonic
}

part_spec! {
    /// Another feature of the percussive part of the clip: what is short.
    Percussive, "percussive", Part::Percussive
}

fn faults_of(spec: &HpssSpec) -> Vec<Fault> {
    let HpssSpec { n_fft, hop_length, kernel_size, power, margin } = *spec;
    let frame = (!(2..=MAX_FRAME_LENGTH).contains(&n_fft))
        .then(|| format!("a frame of {n_fft} samples is not possible; choose 2 to {MAX_FRAME_LENGTH}, such as 2048"));
    let hop = (hop_length == 0 || hop_length > n_fft / 2)
        .then(|| format!("a hop of {hop_length} samples is not possible; choose at most half of n_fft, such as 512"));
    let kernel = (kernel_size.is_multiple_of(2) || kernel_size > 1001).then(|| {
        format!("a median of {kernel_size} values is not possible; choose an odd number up to 1001, such as 31")
    });
    let exponent =
        (!(power > 0.0 && power <= 100.0)).then(|| format!("an exponent of {power} is not possible; choose 2"));
    let margin =
        (!(1.0..=1000.0).contains(&margin)).then(|| format!("a margin of {margin} is not possible; choose 1 or more"));
    Fault::of_keys([
        ("n_fft", frame),
        ("hop_length", hop),
        ("kernel_size", kernel),
        ("power", exponent),
        ("margin", margin),
    ])
}

struct OfPart {
    of: Box<dyn Extractor>,
    separation: HpssSpec,
    part: Part,
    sample_rate: u32,
}

impl Extractor for OfPart {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let samples = hpss::part(clip.samples()?, &self.separation, self.part);
        self.of.extract(&ClipAnalysis::new(&Clip { samples, sample_rate: self.sample_rate }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::rms::Rms;

    #[test]
    fn a_feature_of_each_part_sees_that_part_alone() {
        let mut samples: Vec<f32> = (0..30_000).map(|n| 0.2 * (n as f32 * 0.3).sin()).collect();
        samples[15_000] = 1.0;
        let clip = Clip { samples, sample_rate: 22050 };
        let of = || Box::new(FeatureSpec::Rms(Rms::default()));
        let level = |extractor: Box<dyn Extractor>| extractor.extract(&ClipAnalysis::new(&clip)).unwrap();
        let harmonic = level(Harmonic { of: of(), ..Harmonic::default() }.build(22050).unwrap());
        let percussive = level(Percussive { of: of(), ..Percussive::default() }.build(22050).unwrap());
        let at = 15_000 / 512;
        assert!(
            harmonic.values[10] > 0.1 && percussive.values[10] < 0.01,
            "{} {}",
            harmonic.values[10],
            percussive.values[10]
        );
        assert!(percussive.values[at] > 5.0 * percussive.values[10]);
    }
}
