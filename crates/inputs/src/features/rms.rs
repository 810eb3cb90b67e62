//! `rms`: the root mean square of the samples of each frame, `librosa.feature.rms`.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::{Frames, Normalize, PostProcess, Statistic};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};

/// The root mean square of each frame: one row, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rms {
    /// Length of a frame in samples. Default 2048.
    #[schemars(range(min = 2, max = 1048576))]
    pub frame_length: usize,
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// Whether frame t is centred at sample t × hop_length (the clip is padded with zeros) or starts there. Default true.
    pub center: bool,
    /// Normalisation within each clip to zero mean and unit variance: "clip" or "row", which are the same here. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for Rms {
    fn default() -> Self {
        Rms { frame_length: 2048, hop_length: 512, center: true, normalize: None, summary: Vec::new() }
    }
}

impl Rms {
    fn frames(&self) -> Frames {
        Frames { frame_length: self.frame_length, hop_length: self.hop_length, center: self.center }
    }

    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }
}

impl Kind for Rms {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let mut faults = self.frames().faults();
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for Rms {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(1, self.frames().count(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.frame_length)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("rms", self.faults(sample_rate))?;
        Ok(Box::new(Levels { frames: self.frames(), post: self.post() }))
    }
}

struct Levels {
    frames: Frames,
    post: PostProcess,
}

impl Extractor for Levels {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let samples = clip.samples()?;
        let length = samples.len() as isize;
        let level = |[start, end]: [isize; 2]| {
            let inside = &samples[start.clamp(0, length) as usize..end.clamp(0, length) as usize];
            (sum_of_squares(inside) / self.frames.frame_length as f64).sqrt() as f32
        };
        let levels: Vec<f32> = self.frames.spans(samples.len())?.map(level).collect();
        Ok(self.post.apply(1, levels.len(), levels))
    }
}

fn sum_of_squares(samples: &[f32]) -> f64 {
    let (lanes, rest) = samples.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for lane in lanes {
        (0..8).for_each(|i| sums[i] += f64::from(lane[i]) * f64::from(lane[i]));
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn the_level_of_a_frame_is_its_root_mean_square_with_zeros_beyond_the_ends() {
        let clip = Clip { samples: vec![3.0, 4.0, 0.0, 0.0, 2.0, 2.0], sample_rate: 8000 };
        let levels = |center| {
            let spec = Rms { frame_length: 4, hop_length: 2, center, ..Rms::default() };
            spec.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap().values
        };
        assert_eq!(levels(false), [2.5, 2f32.sqrt()]);
        assert_eq!(levels(true), [2.5, 2.5, 2f32.sqrt(), 2f32.sqrt()]);
    }
}
