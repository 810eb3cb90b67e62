//! `tonnetz` and `tonnetz_cqt`: the tonal centroid, `librosa.feature.tonnetz`: the pitch classes projected on the circles of fifths,
//! minor thirds and major thirds. The pitch classes are those of `chroma_stft`, or of `chroma_cqt`, librosa's default.

use std::f64::consts::PI;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::chroma::{Chroma, FrameNorm, tuning_fault};
use crate::features::cqt::ChromaCqt;
use crate::features::framewise::{Image, Normalize, OfSpectrogram, PostProcess, Statistic};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};

framewise_spec! {
    /// The tonal centroid: six rows (fifths, minor thirds, major thirds; x and y each), one column per frame.
    pub struct Tonnetz {
        /// Deviation of the tuning from A = 440 Hz, in semitones (-0.5 to 0.5). Default: estimated from each clip.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tuning: Option<f64> = None,
    }
}

of_spectrogram!("tonnetz", Tonnetz);

const CLASSES: usize = 12;
/// Half turns per pitch class of each circle, whether it is the sine, and its radius.
const CIRCLES: [(f64, f64, f64); 6] = [
    (7.0 / 6.0, 0.5, 1.0),
    (7.0 / 6.0, 0.0, 1.0),
    (3.0 / 2.0, 0.5, 1.0),
    (3.0 / 2.0, 0.0, 1.0),
    (2.0 / 3.0, 0.5, 0.5),
    (2.0 / 3.0, 0.0, 0.5),
];

impl OfSpectrogram for Tonnetz {
    fn rows(&self) -> usize {
        CIRCLES.len()
    }

    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("tuning", tuning_fault(self.tuning))])
    }

    fn image(&self, sample_rate: u32) -> Image {
        let chroma = Chroma {
            n_fft: self.n_fft,
            hop_length: self.hop_length,
            win_length: self.win_length,
            window: self.window,
            center: self.center,
            pad_mode: self.pad_mode,
            tuning: self.tuning,
            norm: FrameNorm::Inf,
            ..Chroma::default()
        };
        let chroma = chroma.image(sample_rate);
        Box::new(move |spectrogram| {
            let classes = chroma(spectrogram);
            project(&classes, spectrogram.frames)
        })
    }
}

/// The pitch classes of each frame on the circles.
fn project(classes: &[f32], frames: usize) -> Vec<f32> {
    let mut image = vec![0.0; CIRCLES.len() * frames];
    for t in 0..frames {
        let mut shares: [f64; CLASSES] = std::array::from_fn(|class| f64::from(classes[class * frames + t]));
        FrameNorm::L1.apply(&mut shares);
        for (row, (turns, shift, radius)) in CIRCLES.iter().enumerate() {
            let on_circle = |(class, share): (usize, &f64)| share * (PI * (turns * class as f64 - shift)).cos();
            image[row * frames + t] = (radius * shares.iter().enumerate().map(on_circle).sum::<f64>()) as f32;
        }
    }
    image
}

/// The tonal centroid of the pitch classes of a constant-Q transform: six rows, as `tonnetz`, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TonnetzCqt {
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// Deviation of the tuning from A = 440 Hz, in bins of a third of a semitone (-0.5 to 0.5). Default: estimated from each clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<f64>,
    /// Normalisation within each clip to zero mean and unit variance: "clip" (all values together) or "row" (each row over
    /// time). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for TonnetzCqt {
    fn default() -> Self {
        TonnetzCqt { hop_length: 512, tuning: None, normalize: None, summary: Vec::new() }
    }
}

impl TonnetzCqt {
    fn chroma(&self) -> ChromaCqt {
        ChromaCqt { hop_length: self.hop_length, tuning: self.tuning, ..ChromaCqt::default() }
    }

    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }
}

impl Kind for TonnetzCqt {
    fn version(&self) -> u32 {
        self.chroma().version()
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = self.chroma().faults(sample_rate);
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for TonnetzCqt {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        let [_, frames] = self.chroma().shape(samples)?;
        self.post().shape(CIRCLES.len(), frames)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("tonnetz_cqt", self.faults(sample_rate))?;
        Ok(Box::new(OfChroma { chroma: self.chroma().build(sample_rate)?, post: self.post() }))
    }
}

struct OfChroma {
    chroma: Box<dyn Extractor>,
    post: PostProcess,
}

impl Extractor for OfChroma {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let classes = self.chroma.extract(clip)?;
        Ok(self.post.apply(CIRCLES.len(), classes.cols, project(&classes.values, classes.cols)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::dsp::stft::Spectrogram;

    #[test]
    fn silence_lies_in_the_centre_of_every_circle() {
        let spectrogram = Spectrogram { bins: 1025, frames: 2, power: vec![0.0; 2050] };
        assert_eq!(Tonnetz::default().image(22050)(&spectrogram), vec![0.0; 12]);
    }
}
