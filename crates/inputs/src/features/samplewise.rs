//! What the features of samples share, which need no transform: the keys of the frames, and the last steps.

use anyhow::{Result, ensure};

use super::framewise::{MAX_FRAME_LENGTH, PostProcess};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureMatrix};

/// A feature of the samples of each frame, without a transform: one row.
pub(super) trait OfSamples {
    /// One value for each frame.
    fn row(&self, samples: &[f32]) -> Result<Vec<f32>>;
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
            fn frames(&self) -> $crate::features::samplewise::Frames {
                let $Spec { frame_length, hop_length, center, .. } = *self;
                $crate::features::samplewise::Frames { frame_length, hop_length, center }
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
                Ok(Box::new($crate::features::samplewise::SampleRow { spec: self.clone(), post: self.post() }))
            }
        }
    };
}

/// The extractor of an [`OfSamples`].
pub(super) struct SampleRow<S> {
    pub(super) spec: S,
    pub(super) post: PostProcess,
}

impl<S: OfSamples + Send + Sync> Extractor for SampleRow<S> {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let row = self.spec.row(clip.samples()?)?;
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
