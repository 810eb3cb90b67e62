//! `beat_frames`: where the beats of a clip are, `librosa.beat.beat_track` with its defaults: dynamic programming over the onset strength, with one
//! tempo for the whole clip.
//!
//! Without `summary` one row with 1 at the frame of each beat and 0 elsewhere, as librosa's `sparse=False`; with it the statistics of the frame numbers of the
//! beats, of which studies make a feature (0 without beats). The onset strength is the median over the bands, as librosa's for beats.
//!
//! Differences: sums are f64 where librosa's are f32, so beats of equal score may differ by a frame.

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::{Image, OfSpectrogram, PostProcess, Statistic};
use crate::features::onset_strength::{Aggregate, OnsetStrength};
use crate::features::tempogram::{BestLag, Tempo, onsets};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid};
use timbre_signal::dsp::stft::StftPlan;

/// The beats of the clip: one row with 1 at each beat, one column per frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BeatFrames {
    /// Samples from one frame to the next. Default 512.
    #[schemars(range(min = 1))]
    pub hop_length: usize,
    /// The tempo in beats per minute. Default: estimated from each clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub bpm: Option<f64>,
    /// The most likely tempo of the estimate. Default 120.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub start_bpm: f64,
    /// How strictly beats keep the tempo. Default 100.
    #[schemars(range(min = 0.001, max = 1000000.0))]
    pub tightness: f64,
    /// Whether to leave out weak beats at both ends. Default true.
    pub trim: bool,
    /// Statistics of the frame numbers of the beats, in one column, instead of the row. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Statistic>,
}

impl Default for BeatFrames {
    fn default() -> Self {
        BeatFrames { hop_length: 512, bpm: None, start_bpm: 120.0, tightness: 100.0, trim: true, summary: Vec::new() }
    }
}

impl BeatFrames {
    fn post(&self) -> PostProcess {
        PostProcess::new(None, None, &self.summary)
    }

    fn onsets(&self) -> OnsetStrength {
        OnsetStrength { aggregate: Aggregate::Median, ..onsets(self.hop_length) }
    }

    fn tempo(&self) -> Tempo {
        Tempo { hop_length: self.hop_length, start_bpm: self.start_bpm, ..Tempo::default() }
    }
}

impl Kind for BeatFrames {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        let mut faults = self.tempo().faults(sample_rate);
        faults.retain(|fault| ["hop_length", "start_bpm"].contains(&fault.key.as_str()));
        let bpm = self.bpm.filter(|bpm| !(*bpm > 0.0 && bpm.is_finite()));
        let tightness = !(self.tightness > 0.0 && self.tightness.is_finite());
        faults.extend(Fault::of_keys([
            ("bpm", bpm.map(|bpm| format!("a tempo of {bpm} is not possible; choose a positive number"))),
            ("tightness", tightness.then(|| format!("{} is not possible; choose 100", self.tightness))),
        ]));
        faults.extend(self.post().faults());
        faults
    }
}

impl FeatureKind for BeatFrames {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.post().shape(1, self.onsets().stft().frames(samples))
    }

    fn frame_length(&self) -> Option<usize> {
        Some(self.onsets().n_fft)
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("beat_frames", self.faults(sample_rate))?;
        Ok(Box::new(BeatTracker {
            spec: self.clone(),
            plan: StftPlan::new(self.onsets().stft()),
            onsets: self.onsets().image(sample_rate),
            tempo: BestLag::new(&self.tempo(), sample_rate),
            sample_rate,
        }))
    }
}

struct BeatTracker {
    spec: BeatFrames,
    plan: StftPlan,
    onsets: Image,
    tempo: BestLag,
    sample_rate: u32,
}

impl Extractor for BeatTracker {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let envelope = (self.onsets)(&*clip.spectrogram(&self.plan)?);
        let mut beats = Vec::new();
        if envelope.iter().any(|&x| x != 0.0) {
            let bpm = match self.spec.bpm {
                Some(bpm) => bpm,
                None => self.tempo.of_envelope(&envelope)?,
            };
            let frames_per_beat =
                (60.0 * f64::from(self.sample_rate) / self.spec.hop_length as f64 / bpm).round_ties_even();
            beats = track(&envelope, frames_per_beat.max(1.0), self.spec.tightness, self.spec.trim);
        }
        if self.spec.summary.is_empty() {
            let mut row = vec![0.0; envelope.len()];
            beats.into_iter().for_each(|frame| row[frame] = 1.0);
            return Ok(FeatureMatrix { rows: 1, cols: row.len(), values: row });
        }
        let numbers: Vec<f32> = match beats.is_empty() {
            true => vec![0.0],
            false => beats.into_iter().map(|frame| frame as f32).collect(),
        };
        Ok(self.spec.post().apply(1, numbers.len(), numbers))
    }
}

/// The frames of the beats of an onset strength.
fn track(envelope: &[f32], frames_per_beat: f64, tightness: f64, trim: bool) -> Vec<usize> {
    let scores = local_scores(envelope, frames_per_beat);
    let (links, sums) = chains(&scores, frames_per_beat, tightness);
    let mut beats = Vec::new();
    let mut next = last_beat(&sums);
    while let Some(frame) = next {
        beats.push(frame);
        next = links[frame];
    }
    beats.reverse();
    trimmed(&scores, beats, trim)
}

/// The envelope in units of its deviation, smoothed over a thirty-second of a beat.
fn local_scores(envelope: &[f32], frames_per_beat: f64) -> Vec<f64> {
    let n = envelope.len();
    let mean = envelope.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
    let squares: f64 = envelope.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    let deviation = (squares / (n.max(2) - 1) as f64).sqrt() + f64::from(f32::MIN_POSITIVE);
    let reach = frames_per_beat as usize;
    let window: Vec<f64> =
        (0..=2 * reach).map(|k| (-0.5 * ((k as f64 - reach as f64) * 32.0 / frames_per_beat).powi(2)).exp()).collect();
    (0..n)
        .map(|i| {
            // As in librosa, the last value of the window has no part.
            let from = (i + reach + 1).saturating_sub(n);
            let to = (i + reach).min(window.len());
            (from..to).map(|k| window[k] * f64::from(envelope[i + reach - k]) / deviation).sum()
        })
        .collect()
}

/// For each frame the beat before it, and the sum of scores of the best chain of beats that ends there.
fn chains(scores: &[f64], frames_per_beat: f64, tightness: f64) -> (Vec<Option<usize>>, Vec<f64>) {
    let least = 0.01 * scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (nearest, farthest) = ((frames_per_beat / 2.0).round_ties_even() as usize, 2 * frames_per_beat as usize);
    let mut links = vec![None; scores.len()];
    let mut sums = vec![0.0; scores.len()];
    let mut is_first = true;
    for (i, &score) in scores.iter().enumerate() {
        let mut best: Option<(f64, usize)> = None;
        for distance in nearest.max(1)..=farthest.min(i) {
            let away = (distance as f64).ln() - frames_per_beat.ln();
            let sum = sums[i - distance] - tightness * away * away;
            if best.is_none_or(|(most, _)| sum > most) {
                best = Some((sum, i - distance));
            }
        }
        sums[i] = score + best.map_or(0.0, |(sum, _)| sum);
        if !(is_first && score < least) {
            links[i] = best.map(|(_, frame)| frame);
            is_first = false;
        }
    }
    (links, sums)
}

/// The last peak that has at least half the median sum of the peaks.
fn last_beat(sums: &[f64]) -> Option<usize> {
    let is_peak = |i: usize| (i == 0 || sums[i] > sums[i - 1]) && (i + 1 == sums.len() || sums[i] >= sums[i + 1]);
    // librosa's local maxima begin at the second frame.
    let peaks: Vec<usize> = (1..sums.len()).filter(|&i| is_peak(i)).collect();
    let mut heights: Vec<f64> = peaks.iter().map(|&i| sums[i]).collect();
    heights.sort_unstable_by(f64::total_cmp);
    let Some(last) = heights.len().checked_sub(1) else { return sums.len().checked_sub(1) };
    let least = 0.5 * 0.5 * (heights[last / 2] + heights[heights.len() / 2]);
    peaks.into_iter().rev().find(|&i| sums[i] >= least).or(sums.len().checked_sub(1))
}

/// Without the beats before the first and after the last frame whose score is above a threshold.
fn trimmed(scores: &[f64], beats: Vec<usize>, trim: bool) -> Vec<usize> {
    let of_beats: Vec<f64> = beats.iter().map(|&beat| scores[beat]).collect();
    let window = [0.0, 0.5, 1.0, 0.5, 0.0];
    let smooth =
        |i: usize| -> f64 { (0..5).filter_map(|k| Some(window[k] * of_beats.get((i + 2).checked_sub(k)?)?)).sum() };
    // A convolution of the length of the beats and two more, as far as the scores are long.
    let length = (of_beats.len() + 2).min(scores.len());
    let power = (0..length).map(|i| smooth(i).powi(2)).sum::<f64>() / length.max(1) as f64;
    let least = if trim { 0.5 * power.sqrt() } else { 0.0 };
    let first = scores.iter().position(|&score| score > least).unwrap_or(scores.len());
    let last = scores.iter().rposition(|&score| score > least).unwrap_or(0);
    beats.into_iter().filter(|beat| (first..=last).contains(beat)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    #[test]
    fn clicks_are_beats_at_their_frames() {
        let mut samples = vec![0.0f32; 8 * 22050];
        for beat in 0..16 {
            (0..400).for_each(|n| samples[beat * 11025 + n] = (-(n as f32) / 100.0).exp());
        }
        let clip = Clip { samples, sample_rate: 22050 };
        let extract = |spec: BeatFrames| spec.build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        let row = extract(BeatFrames::default());
        let beats: Vec<usize> = (0..row.cols).filter(|&t| row.values[t] == 1.0).collect();
        assert!(beats.len() >= 14, "{beats:?}");
        for pair in beats.windows(2) {
            assert!((20..=23).contains(&(pair[1] - pair[0])), "{beats:?}");
        }
        let summary = extract(BeatFrames { summary: vec![Statistic::Min, Statistic::Max], ..BeatFrames::default() });
        assert_eq!(summary.values, [beats[0] as f32, beats[beats.len() - 1] as f32]);
    }

    #[test]
    fn silence_has_no_beats() {
        let clip = Clip { samples: vec![0.0; 22050], sample_rate: 22050 };
        let matrix = BeatFrames::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
        assert!(matrix.values.iter().all(|value| *value == 0.0));
    }
}
