//! `kaldi_fbank`: the logarithm of Kaldi's mel filter bank, as `torchaudio.compliance.kaldi.fbank` without dither.
//!
//! Conventions: each frame without its mean, pre-emphasized, windowed, and followed by zeros up to a power of two. Bands are triangles in
//! mel, 1127 ln(1 + f/700), over the bins below half the sample rate. The natural logarithm; energies below 1.19e-7 (the epsilon of f32) are raised to it.
//! With `snip_edges` a frame lies within the clip, otherwise the clip is reflected, its ends repeated. Samples have a full scale of 1, as in torchaudio; Kaldi
//! itself has 32768, which adds 20.79. Differences: there is no dither, since equal clips have equal features; a clip shorter than a
//! frame is one frame, with zeros after it, where Kaldi has none.

use std::sync::Arc;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use timbre_fft::{Complex, RealPlannerF64, RealToComplex};

use crate::features::framewise::{MAX_FRAME_LENGTH, Normalize, PostProcess, Statistic};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::transpose;

/// Kaldi's window functions, symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KaldiWindow {
    /// A Hann window to the power of 0.85.
    Povey,
    Hanning,
    Hamming,
    Rectangular,
}

impl KaldiWindow {
    pub(super) fn values(self, length: usize) -> Vec<f64> {
        let step = std::f64::consts::TAU / (length.max(2) - 1) as f64;
        let value = |n: usize| {
            let cosine = (step * n as f64).cos();
            match self {
                KaldiWindow::Povey => (0.5 - 0.5 * cosine).powf(0.85),
                KaldiWindow::Hanning => 0.5 - 0.5 * cosine,
                KaldiWindow::Hamming => 0.54 - 0.46 * cosine,
                KaldiWindow::Rectangular => 1.0,
            }
        };
        (0..length).map(value).collect()
    }
}

/// The log-mel filter bank of Kaldi: one row per band, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KaldiFbank {
    /// Length of a frame in samples; the transform has the next power of two. Default 400, Kaldi's 25 ms at 16 kHz.
    #[schemars(range(min = 2, max = 524288))]
    pub win_length: usize,
    /// Samples from one frame to the next. Default 160, Kaldi's 10 ms at 16 kHz.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// Number of bands. Default 23.
    #[schemars(range(min = 4, max = 4096))]
    pub num_mel_bins: usize,
    /// Lower edge of the lowest band in Hz. Default 20.
    #[schemars(range(min = 0.0))]
    pub low_freq: f64,
    /// Upper edge of the highest band in Hz; 0 or less counts from half the sample rate. Default 0.
    pub high_freq: f64,
    /// How much of the sample before is subtracted from each sample. Default 0.97.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub preemphasis_coefficient: f64,
    /// Whether to subtract the mean of each frame. Default true.
    pub remove_dc_offset: bool,
    /// Window function: "povey" (the default), "hanning", "hamming" or "rectangular".
    pub window_type: KaldiWindow,
    /// Whether bands are sums of powers rather than of magnitudes. Default true.
    pub use_power: bool,
    /// Whether frames lie within the clip, rather than reflecting it at its ends. Default true.
    pub snip_edges: bool,
    /// Normalisation within each clip to zero mean and unit variance: "clip" (all values together) or "row" (each row over
    /// time). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
    /// Statistics over time that replace the frames. Default: none, the frames are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for KaldiFbank {
    fn default() -> Self {
        KaldiFbank {
            win_length: 400,
            hop_length: 160,
            num_mel_bins: 23,
            low_freq: 20.0,
            high_freq: 0.0,
            preemphasis_coefficient: 0.97,
            remove_dc_offset: true,
            window_type: KaldiWindow::Povey,
            use_power: true,
            snip_edges: true,
            normalize: None,
            summary: Vec::new(),
        }
    }
}

impl KaldiFbank {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }

    fn frames(&self, samples: usize) -> usize {
        let (length, shift) = (self.win_length, self.hop_length);
        match (samples, self.snip_edges) {
            (0, _) => 0,
            (_, true) if samples < length => 1,
            (_, true) => 1 + (samples - length) / shift,
            (_, false) => ((samples + shift / 2) / shift).max(1),
        }
    }

    fn high(&self, sample_rate: u32) -> f64 {
        if self.high_freq > 0.0 { self.high_freq } else { f64::from(sample_rate) / 2.0 + self.high_freq }
    }
}

impl Kind for KaldiFbank {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let (length, shift) = (self.win_length, self.hop_length);
        let (high, nyquist) = (self.high(sample_rate), f64::from(sample_rate) / 2.0);
        let frame = (!(2..=MAX_FRAME_LENGTH / 2).contains(&length)).then(|| {
            format!("a frame of {length} samples is not possible; choose 2 to {}, such as 400", MAX_FRAME_LENGTH / 2)
        });
        let step = (shift == 0).then(|| "a hop of 0 samples is not possible; choose 160".to_owned());
        let bins = (!(4..=4096).contains(&self.num_mel_bins))
            .then(|| format!("{} bands are not possible; choose 4 to 4096, such as 23", self.num_mel_bins));
        let low = (!(self.low_freq >= 0.0 && self.low_freq < high))
            .then(|| format!("the bands begin at {} Hz but end at {high} Hz (high_freq)", self.low_freq));
        let above = (high > nyquist || high.is_nan())
            .then(|| format!("{high} Hz is above half the sample rate ({nyquist} Hz)"));
        let emphasis = (!(0.0..=1.0).contains(&self.preemphasis_coefficient))
            .then(|| format!("{} is not possible; choose 0.97, or 0 for none", self.preemphasis_coefficient));
        let mut faults = Fault::of_keys([
            ("win_length", frame),
            ("hop_length", step),
            ("num_mel_bins", bins),
            ("low_freq", low),
            ("high_freq", above),
            ("preemphasis_coefficient", emphasis),
        ]);
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for KaldiFbank {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.num_mel_bins, self.frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.win_length)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("kaldi_fbank", self.faults(sample_rate))?;
        let length = self.win_length;
        let size = length.next_power_of_two();
        Ok(Box::new(Bands {
            spec: self.clone(),
            sample_rate,
            bank: FilterBank::new(
                self.window_type.values(length),
                size,
                self.num_mel_bins,
                [self.low_freq, self.high(sample_rate)],
                sample_rate,
            ),
        }))
    }
}

/// For each band its first bin and its weights: triangles in mel from the lower to the upper edge.
fn triangles(bands: usize, edges: [f64; 2], size: usize, sample_rate: u32) -> Vec<(usize, Vec<f64>)> {
    let mel = |hz: f64| 1127.0 * (hz / 700.0).ln_1p();
    let [low, high] = edges.map(mel);
    let step = (high - low) / (bands + 1) as f64;
    let places: Vec<f64> = (0..size / 2).map(|bin| mel(bin as f64 * f64::from(sample_rate) / size as f64)).collect();
    let band = |band: usize| {
        let left = low + band as f64 * step;
        let weight = |place: &f64| ((place - left) / step).min((left + 2.0 * step - place) / step).max(0.0);
        let weights: Vec<f64> = places.iter().map(weight).collect();
        let first = weights.iter().position(|weight| *weight > 0.0).unwrap_or(0);
        let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
        (first, weights[first..=last].to_vec())
    };
    (0..bands).map(band).collect()
}

/// Kaldi's bands of frames.
pub(super) struct FilterBank {
    pub(super) window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
    bands: Vec<(usize, Vec<f64>)>,
}

impl FilterBank {
    /// So many bands between the edges, over transforms of `size` samples.
    pub(super) fn new(window: Vec<f64>, size: usize, bands: usize, edges: [f64; 2], sample_rate: u32) -> FilterBank {
        let fft = RealPlannerF64::new().forward(size);
        FilterBank { window, fft, bands: triangles(bands, edges, size, sample_rate) }
    }

    /// The bands of all frames, band by band. `fill` writes a windowed frame over zeros; `of_bin` is what the bands sum, and `level` what
    /// becomes of the sum.
    pub(super) fn bands(
        &self,
        frames: usize,
        fill: impl Fn(usize, &mut [f64]),
        of_bin: impl Fn(&Complex<f64>) -> f64,
        level: impl Fn(f64) -> f32,
    ) -> Vec<f32> {
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let mut values = Vec::with_capacity(frames * self.bands.len());
        for t in 0..frames {
            frame.fill(0.0);
            fill(t, &mut frame);
            self.fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).expect("buffers of the plan");
            for (first, weights) in &self.bands {
                let bins = weights.iter().zip(&spectrum[*first..]);
                values.push(level(bins.map(|(weight, z)| weight * of_bin(z)).sum()));
            }
        }
        transpose(&values, frames, self.bands.len())
    }
}

struct Bands {
    spec: KaldiFbank,
    sample_rate: u32,
    bank: FilterBank,
}

impl Extractor for Bands {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let (samples, length, shift) = (clip.samples()?, self.bank.window.len(), self.spec.hop_length);
        let frames = self.spec.frames(samples.len());
        let last = samples.len() as isize;
        // Without snip_edges the middle of frame t is at (t + 1/2) shifts.
        let lead = if self.spec.snip_edges { 0 } else { (shift / 2) as isize - (length / 2) as isize };
        let reflected = |at: isize| {
            let along = at.rem_euclid(2 * last);
            samples[if along < last { along } else { 2 * last - 1 - along } as usize]
        };
        let fill = |t: usize, frame: &mut [f64]| {
            let start = (t * shift) as isize + lead;
            for (n, x) in frame[..length].iter_mut().enumerate() {
                let at = start + n as isize;
                *x = match self.spec.snip_edges {
                    true => samples.get(at as usize).map_or(0.0, |&x| f64::from(x)),
                    false => f64::from(reflected(at)),
                };
            }
            if self.spec.remove_dc_offset {
                let mean = frame[..length].iter().sum::<f64>() / length as f64;
                frame[..length].iter_mut().for_each(|x| *x -= mean);
            }
            for n in (0..length).rev() {
                frame[n] -= self.spec.preemphasis_coefficient * frame[n.saturating_sub(1)];
            }
            frame.iter_mut().zip(&self.bank.window).for_each(|(x, weight)| *x *= weight);
        };
        let of_bin = |z: &Complex<f64>| if self.spec.use_power { z.norm_sqr() } else { z.norm() };
        let level = |energy: f64| energy.max(f64::from(f32::EPSILON)).ln() as f32;
        let values = self.bank.bands(frames, fill, of_bin, level);
        Ok(self.spec.post().apply(self.spec.num_mel_bins, frames, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn one_second_at_16_khz_has_98_frames_or_100_with_its_edges() {
        let clip = Clip { samples: (0..16000).map(|n| (n as f32 * 0.1).sin()).collect(), sample_rate: 16000 };
        let extract = |spec: KaldiFbank| spec.build(16000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!(extract(KaldiFbank::default()).cols, 98);
        assert_eq!(extract(KaldiFbank { snip_edges: false, ..KaldiFbank::default() }).cols, 100);
    }

    #[test]
    fn silence_is_at_the_floor() {
        let clip = Clip { samples: vec![0.0; 100], sample_rate: 16000 };
        let matrix = KaldiFbank::default().build(16000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert_eq!((matrix.rows, matrix.cols), (23, 1));
        assert!(matrix.values.iter().all(|value| *value == f32::EPSILON.ln()));
    }
}
