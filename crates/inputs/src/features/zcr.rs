//! `zcr`: the zero-crossing rate, `librosa.feature.zero_crossing_rate`: the share of the samples of a frame whose sign differs
//! from that of the sample before.
//!
//! As in librosa, the sign of a sample of at most 1e-10 is that of zero, the first sample of a frame is not counted, and a
//! centred clip is continued by its first and last sample.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::{Frames, Normalize, PostProcess, Statistic};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};

/// The zero-crossing rate of each frame: one row, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Zcr {
    /// Length of a frame in samples. Default 2048.
    #[schemars(range(min = 2, max = 1048576))]
    pub frame_length: usize,
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// Whether frame t is centred at sample t × hop_length (the clip is padded) or starts there. Default true.
    pub center: bool,
    /// Normalisation within each clip to zero mean and unit variance: "clip" or "row", which are the same here. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for Zcr {
    fn default() -> Self {
        Zcr { frame_length: 2048, hop_length: 512, center: true, normalize: None, summary: Vec::new() }
    }
}

impl Zcr {
    fn frames(&self) -> Frames {
        Frames { frame_length: self.frame_length, hop_length: self.hop_length, center: self.center }
    }

    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }
}

impl Kind for Zcr {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let mut faults = self.frames().faults();
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for Zcr {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(1, self.frames().count(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.frame_length)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("zcr", self.faults(sample_rate))?;
        Ok(Box::new(Rates { frames: self.frames(), post: self.post() }))
    }
}

/// Samples of at most this size count as zero.
const THRESHOLD: f32 = 1e-10;

struct Rates {
    frames: Frames,
    post: PostProcess,
}

impl Extractor for Rates {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let samples = clip.samples()?;
        // crossings[i]: how many of the samples 1 to i have another sign than the one before.
        let is_negative = |x: f32| x < -THRESHOLD;
        let mut count = 0u32;
        let crossings: Vec<u32> = std::iter::once(0)
            .chain(samples.windows(2).map(|pair| {
                count += u32::from(is_negative(pair[0]) != is_negative(pair[1]));
                count
            }))
            .collect();
        let rate = |[start, end]: [isize; 2]| {
            let at = |i: isize| crossings[i.clamp(0, samples.len() as isize - 1) as usize];
            (f64::from(at(end - 1) - at(start)) / self.frames.frame_length as f64) as f32
        };
        let rates: Vec<f32> = self.frames.spans(samples.len())?.map(rate).collect();
        Ok(self.post.apply(1, rates.len(), rates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    fn rates(spec: &Zcr, samples: &[f32]) -> Vec<f32> {
        let clip = Clip { samples: samples.to_vec(), sample_rate: 8000 };
        spec.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap().values
    }

    #[test]
    fn every_change_of_sign_within_a_frame_counts() {
        let spec = Zcr { frame_length: 4, hop_length: 2, center: false, ..Zcr::default() };
        assert_eq!(rates(&spec, &[1.0, -1.0, 1.0, 1.0, -1.0, -1.0]), [0.5, 0.25]);
        // Zero has the sign of positive samples, and so have samples next to it.
        assert_eq!(rates(&spec, &[1.0, 0.0, -1e-11, 1.0]), [0.0]);
    }

    #[test]
    fn a_centred_clip_continues_with_its_first_and_last_sample() {
        let spec = Zcr { frame_length: 4, hop_length: 2, center: true, ..Zcr::default() };
        assert_eq!(rates(&spec, &[1.0, -1.0, 1.0]), [0.25, 0.5]);
    }
}
