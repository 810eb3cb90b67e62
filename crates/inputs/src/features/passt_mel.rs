//! `passt_mel`: the mel spectrogram on which PaSST was trained, `AugmentMelSTFT` of the package `hear21passt` without augmentation.
//!
//! Conventions: pre-emphasis by 0.97 without the first sample, frames around their middle with the clip reflected at its ends, a
//! symmetric Hann window, powers, Kaldi's triangles up to 1000 Hz below half the sample rate (as the package's models have it; the class
//! alone has 500), the natural logarithm of the energy plus 1e-5, then (x + 4.5) / 5. At 32 kHz a clip
//! of 10 s has 1000 frames. Differences: a clip shorter than half a transform, which PyTorch refuses, is reflected several times.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::{MAX_FRAME_LENGTH, PostProcess, Statistic};
use crate::features::kaldi_fbank::{FilterBank, KaldiWindow};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::stft::{PadMode, mirrored};

/// The mel spectrogram of PaSST: one row per band, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PasstMel {
    /// Length of the transform in samples; it holds the window. Default 1024.
    #[schemars(range(min = 2, max = 1048576))]
    pub n_fft: usize,
    /// Length of the window in samples. Default 800, 25 ms at 32 kHz.
    #[schemars(range(min = 2, max = 1048576))]
    pub win_length: usize,
    /// Samples from one frame to the next. Default 320, 10 ms at 32 kHz.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// Number of bands. Default 128.
    #[schemars(range(min = 1, max = 4096))]
    pub n_mels: usize,
    /// Lower edge of the lowest band in Hz. Default 0.
    #[schemars(range(min = 0.0))]
    pub fmin: f64,
    /// Upper edge of the highest band in Hz. Default: 1000 Hz below half the sample rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmax: Option<f64>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for PasstMel {
    fn default() -> Self {
        PasstMel {
            n_fft: 1024,
            win_length: 800,
            hop_length: 320,
            n_mels: 128,
            fmin: 0.0,
            fmax: None,
            summary: Vec::new(),
        }
    }
}

const EMPHASIS: f64 = 0.97;
/// How far below half the sample rate the bands end.
const MARGIN: f64 = 1000.0;
const FLOOR: f64 = 1e-5;

impl PasstMel {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, None, &self.summary)
    }

    fn frames(&self, samples: usize) -> usize {
        if samples == 0 { 0 } else { 1 + (samples - 1) / self.hop_length }
    }

    fn fmax(&self, sample_rate: u32) -> f64 {
        self.fmax.unwrap_or(f64::from(sample_rate) / 2.0 - MARGIN)
    }
}

impl Kind for PasstMel {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let (nyquist, fmax) = (f64::from(sample_rate) / 2.0, self.fmax(sample_rate));
        let size = (!(2..=MAX_FRAME_LENGTH).contains(&self.n_fft))
            .then(|| format!("a transform of {} samples is not possible; choose 2 to {MAX_FRAME_LENGTH}", self.n_fft));
        let window = (!(2..=self.n_fft).contains(&self.win_length))
            .then(|| format!("a window of {} samples is not possible; choose 2 to `n_fft`", self.win_length));
        let step = (self.hop_length == 0).then(|| "a hop of 0 samples is not possible; choose 320".to_owned());
        let bands = (!(1..=4096).contains(&self.n_mels))
            .then(|| format!("{} bands are not possible; choose 1 to 4096, such as 128", self.n_mels));
        let low = (!(self.fmin >= 0.0 && self.fmin < fmax))
            .then(|| format!("the bands begin at {} Hz but end at {fmax} Hz (fmax)", self.fmin));
        let high = (fmax > nyquist || fmax.is_nan())
            .then(|| format!("{fmax} Hz is above half the sample rate ({nyquist} Hz)"));
        let mut faults = Fault::of_keys([
            ("n_fft", size),
            ("win_length", window),
            ("hop_length", step),
            ("n_mels", bands),
            ("fmin", low),
            ("fmax", high),
        ]);
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for PasstMel {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.n_mels, self.frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("passt_mel", self.faults(sample_rate))?;
        Ok(Box::new(Bands {
            spec: self.clone(),
            sample_rate,
            bank: FilterBank::new(
                KaldiWindow::Hanning.values(self.win_length),
                self.n_fft,
                self.n_mels,
                [self.fmin, self.fmax(sample_rate)],
                sample_rate,
            ),
        }))
    }
}

struct Bands {
    spec: PasstMel,
    sample_rate: u32,
    bank: FilterBank,
}

impl Extractor for Bands {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let samples = clip.samples()?;
        let frames = self.spec.frames(samples.len());
        // A clip of one sample has nothing to emphasize.
        let mut emphasized: Vec<f64> =
            samples.windows(2).map(|pair| f64::from(pair[1]) - EMPHASIS * f64::from(pair[0])).collect();
        emphasized.resize(emphasized.len().max(1), 0.0);
        let (size, length) = (self.spec.n_fft, self.bank.window.len());
        let lead = (size - length) / 2;
        let fill = |t: usize, frame: &mut [f64]| {
            let start = (t * self.spec.hop_length + lead) as isize - (size / 2) as isize;
            for ((at, x), weight) in (start..).zip(&mut frame[lead..lead + length]).zip(&self.bank.window) {
                *x = weight * mirrored(at, emphasized.len(), PadMode::Reflect).map_or(0.0, |at| emphasized[at]);
            }
        };
        let level = |energy: f64| (((energy + FLOOR).ln() + 4.5) / 5.0) as f32;
        let values = self.bank.bands(frames, fill, |z| z.norm_sqr(), level);
        Ok(self.spec.post().apply(self.spec.n_mels, frames, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn ten_seconds_have_a_thousand_frames_and_silence_is_at_the_floor() {
        let extract = |samples: usize| {
            let clip = Clip { samples: vec![0.0; samples], sample_rate: 32_000 };
            PasstMel::default().build(32_000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap()
        };
        assert_eq!(PasstMel::default().shape(320_000), Some([128, 1000]));
        for samples in [1, 2, 100, 32_000] {
            let matrix = extract(samples);
            assert_eq!((matrix.rows, matrix.cols), (128, 1 + (samples - 1) / 320));
            assert!(matrix.values.iter().all(|value| (value - (1e-5f32.ln() + 4.5) / 5.0).abs() < 1e-6));
        }
    }
}
