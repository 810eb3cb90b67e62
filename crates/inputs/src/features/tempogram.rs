//! `tempogram`: the local autocorrelation of the onset strength, `librosa.feature.tempogram`, and `tempo`, the tempo of the
//! whole clip in beats per minute, `librosa.feature.tempo`.
//!
//! The onset strength is that of librosa's defaults (frames of 2048 samples, 128 bands). A centred envelope goes down to 0 along
//! a line over half a window before its start and after its end. The tempo of a clip is a lag of its mean tempogram, so its
//! steps are coarse: 60 · sample rate / (hop_length · lag).

use std::sync::Arc;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use timbre_fft::{Complex, ComplexToReal, RealPlannerF64, RealToComplex};

use crate::features::chroma::FrameNorm;
use crate::features::framewise::{Image, Normalize, OfSpectrogram, PostProcess, Statistic};
use crate::features::onset_strength::OnsetStrength;
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::stft::StftPlan;
use timbre_signal::dsp::{transpose, window::Window};

/// The tempogram: one row per lag from 0, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tempogram {
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// Length of the window of the autocorrelation in frames. Default 384.
    #[schemars(range(min = 1, max = 65536))]
    pub win_length: usize,
    /// Whether a window is centred at its frame or starts there. Default true.
    pub center: bool,
    /// Window function of the autocorrelation. Default "hann".
    pub window: Window,
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

impl Default for Tempogram {
    fn default() -> Self {
        Tempogram {
            hop_length: 512,
            win_length: 384,
            center: true,
            window: Window::Hann,
            norm: FrameNorm::Inf,
            normalize: None,
            summary: Vec::new(),
        }
    }
}

/// The longest window of an autocorrelation.
const MAX_WINDOW: usize = 1 << 16;

pub(super) fn onsets(hop_length: usize) -> OnsetStrength {
    OnsetStrength { hop_length, ..OnsetStrength::default() }
}

impl Tempogram {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, self.normalize, &self.summary)
    }

    /// The number of windows in an envelope of `frames` frames.
    fn windows(&self, frames: usize) -> usize {
        if self.center { frames } else { (frames + 1).saturating_sub(self.win_length) }
    }
}

impl Kind for Tempogram {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = onsets(self.hop_length).faults(sample_rate);
        faults.retain(|fault| fault.key == "hop_length");
        faults.extend(self.post().faults());
        if !(1..=MAX_WINDOW).contains(&self.win_length) {
            let sentence = format!("a window of {} frames is not possible; choose 1 to {MAX_WINDOW}", self.win_length);
            faults.push(Fault::new("win_length", sentence));
        }
        faults
    }
}

impl FeatureKind for Tempogram {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(self.win_length, self.windows(onsets(self.hop_length).stft().frames(samples)))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(onsets(self.hop_length).n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("tempogram", self.faults(sample_rate))?;
        Ok(Box::new(Autocorrelations::new(self, sample_rate)))
    }
}

pub(super) struct Autocorrelations {
    spec: Tempogram,
    plan: StftPlan,
    onsets: Image,
    window: Vec<f64>,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
    sample_rate: u32,
}

impl Autocorrelations {
    fn new(spec: &Tempogram, sample_rate: u32) -> Self {
        let onsets = onsets(spec.hop_length);
        // Long enough that no lag wraps around.
        let length = (2 * spec.win_length).next_power_of_two();
        let mut planner = RealPlannerF64::new();
        Autocorrelations {
            spec: spec.clone(),
            plan: StftPlan::new(onsets.stft()),
            onsets: onsets.image(sample_rate),
            window: spec.window.periodic(spec.win_length),
            forward: planner.forward(length),
            inverse: planner.inverse(length),
            sample_rate,
        }
    }

    /// The windows, one after the other, each with its lags.
    fn of(&self, clip: &ClipAnalysis) -> Result<(usize, Vec<f32>)> {
        clip.ensure_sample_rate(self.sample_rate)?;
        self.of_envelope(&(self.onsets)(&*clip.spectrogram(&self.plan)?))
    }

    fn of_envelope(&self, envelope: &[f32]) -> Result<(usize, Vec<f32>)> {
        let lags = self.spec.win_length;
        let count = self.spec.windows(envelope.len());
        ensure!(
            count > 0,
            "compute a tempogram: the clip has {} frames but a window needs {lags}; set center = true, a smaller win_length, or longer clips",
            envelope.len()
        );
        let padded = if self.spec.center {
            with_ramps(envelope, lags / 2)
        } else {
            envelope.iter().map(|&x| x.into()).collect()
        };
        let length = self.forward.len();
        let mut buffer = vec![0.0f64; length];
        let mut spectrum = vec![Complex::default(); self.forward.complex_len()];
        let mut scratch = vec![Complex::default(); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())];
        let mut values = Vec::with_capacity(count * lags);
        for window in padded.windows(lags).take(count) {
            buffer[lags..].fill(0.0);
            buffer.iter_mut().zip(window.iter().zip(&self.window)).for_each(|(out, (x, w))| *out = x * w);
            self.forward.process_with_scratch(&mut buffer, &mut spectrum, &mut scratch).expect("buffers of the plan");
            spectrum.iter_mut().for_each(|z| *z = Complex::new(z.norm_sqr() / length as f64, 0.0));
            self.inverse.process_with_scratch(&mut spectrum, &mut buffer, &mut scratch).expect("buffers of the plan");
            self.spec.norm.apply(&mut buffer[..lags]);
            values.extend(buffer[..lags].iter().map(|&x| x as f32));
        }
        Ok((count, values))
    }
}

/// The envelope with a line from 0 before it and one to 0 after it.
fn with_ramps(envelope: &[f32], length: usize) -> Vec<f64> {
    let (first, last) = (f64::from(envelope[0]), f64::from(envelope[envelope.len() - 1]));
    let share = |i: usize| i as f64 / length as f64;
    let before = (0..length).map(|i| first * share(i));
    let after = (0..length).rev().map(|i| last * share(i));
    before.chain(envelope.iter().map(|&x| f64::from(x))).chain(after).collect()
}

impl Extractor for Autocorrelations {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let (count, values) = self.of(clip)?;
        let lags = self.spec.win_length;
        Ok(self.spec.post().apply(lags, count, transpose(&values, count, lags)))
    }
}

/// The tempo of the clip in beats per minute: one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tempo {
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// The most likely tempo. Default 120.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub start_bpm: f64,
    /// The width of the distribution of tempos about `start_bpm`, in octaves. Default 1.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub std_bpm: f64,
    /// Length of the window of the autocorrelation in seconds. Default 8.
    #[schemars(range(min = 0.1, max = 600.0))]
    pub ac_size: f64,
    /// The highest tempo. Default 320.
    #[schemars(range(min = 1.0, max = 100000.0))]
    pub max_tempo: f64,
}

impl Default for Tempo {
    fn default() -> Self {
        Tempo { hop_length: 512, start_bpm: 120.0, std_bpm: 1.0, ac_size: 8.0, max_tempo: 320.0 }
    }
}

impl Tempo {
    fn tempogram(&self, sample_rate: u32) -> Tempogram {
        let frames = self.ac_size * f64::from(sample_rate) / self.hop_length.max(1) as f64;
        Tempogram { hop_length: self.hop_length, win_length: frames as usize, ..Tempogram::default() }
    }
}

impl Kind for Tempo {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = onsets(self.hop_length).faults(sample_rate);
        faults.retain(|fault| fault.key == "hop_length");
        let positive = |value: f64, example: &str| {
            (!(value > 0.0 && value.is_finite()))
                .then(|| format!("{value} is not possible; choose a positive number, such as {example}"))
        };
        faults.extend(Fault::of_keys([
            ("start_bpm", positive(self.start_bpm, "120")),
            ("std_bpm", positive(self.std_bpm, "1")),
            ("ac_size", positive(self.ac_size, "8")),
            ("max_tempo", positive(self.max_tempo, "320")),
        ]));
        if faults.is_empty() {
            let lags = self.tempogram(sample_rate).win_length;
            let slowest = 60.0 * f64::from(sample_rate) / (self.hop_length * lags.saturating_sub(1).max(1)) as f64;
            if !(2..=MAX_WINDOW).contains(&lags) || slowest >= self.max_tempo {
                let sentence = format!(
                    "{} s are {lags} frames, which is not enough, or too many, for a tempo; choose 8",
                    self.ac_size
                );
                faults.push(Fault::new("ac_size", sentence));
            }
        }
        faults
    }
}

impl FeatureKind for Tempo {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        (onsets(self.hop_length).stft().frames(samples) > 0).then_some([1, 1])
    }

    fn frame_length(&self) -> Option<usize> {
        Some(onsets(self.hop_length).n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("tempo", self.faults(sample_rate))?;
        Ok(Box::new(BestLag::new(self, sample_rate)))
    }
}

/// Finds the tempo of an onset strength.
pub(super) struct BestLag {
    spec: Tempo,
    tempogram: Autocorrelations,
}

impl BestLag {
    pub(super) fn new(spec: &Tempo, sample_rate: u32) -> Self {
        let tempogram = Autocorrelations::new(&spec.tempogram(sample_rate), sample_rate);
        BestLag { spec: spec.clone(), tempogram }
    }

    /// The tempo in beats per minute.
    pub(super) fn of_envelope(&self, envelope: &[f32]) -> Result<f64> {
        let (count, values) = self.tempogram.of_envelope(envelope)?;
        Ok(self.best(count, &values))
    }

    fn best(&self, count: usize, values: &[f32]) -> f64 {
        let lags = self.tempogram.spec.win_length;
        let mut mean = vec![0.0f64; lags];
        for window in values.chunks_exact(lags) {
            mean.iter_mut().zip(window).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let bpm = |lag: usize| 60.0 * f64::from(self.tempogram.sample_rate) / (self.spec.hop_length * lag) as f64;
        let score = |lag: usize| {
            let octaves = (bpm(lag) / self.spec.start_bpm).log2() / self.spec.std_bpm;
            (1e6 * mean[lag] / count as f64).ln_1p() - 0.5 * octaves * octaves
        };
        let lags = (1..lags).filter(|&lag| bpm(lag) < self.spec.max_tempo).map(|lag| (lag, score(lag)));
        let (best, _) =
            lags.reduce(|best, next| if next.1 > best.1 { next } else { best }).expect("a lag below max_tempo");
        bpm(best)
    }
}

impl Extractor for BestLag {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let (count, values) = self.tempogram.of(clip)?;
        Ok(FeatureMatrix { rows: 1, cols: 1, values: vec![self.best(count, &values) as f32] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn clicks_have_their_tempo_up_to_the_step_of_a_lag() {
        for tempo in [100.0, 120.0, 150.0] {
            let mut samples = vec![0.0f32; 8 * 22050];
            for beat in 0..(8.0 * tempo / 60.0) as usize {
                let start = (beat as f64 * 60.0 / tempo * 22050.0) as usize;
                (0..400.min(samples.len() - start)).for_each(|n| samples[start + n] = (-(n as f32) / 100.0).exp());
            }
            let clip = Clip { samples, sample_rate: 22050 };
            let matrix = Tempo::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
            assert!((f64::from(matrix.values[0]) / tempo - 1.0).abs() < 0.03, "{} for {tempo}", matrix.values[0]);
        }
    }

    #[test]
    fn ramps_lead_from_zero_and_to_zero() {
        assert_eq!(with_ramps(&[2.0, 4.0], 2), [0.0, 1.0, 2.0, 4.0, 2.0, 0.0]);
    }
}
