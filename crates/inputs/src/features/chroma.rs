//! `chroma`: the energy of each pitch class, `librosa.feature.chroma_stft`.
//!
//! As in librosa: each bin contributes to all pitch classes by a Gaussian around it; bins count less the farther they are from
//! the octave `ctroct`; without `tuning`, the deviation from A = 440 Hz is estimated from the peaks of the clip itself, to a
//! hundredth of a bin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::Fault;
use crate::features::centroid::sum_of;
use crate::features::framewise::{Image, OfSpectrogram, from_powers};
use timbre_signal::dsp::stft::{Spectrogram, StftSpec};

/// What the values of a frame are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrameNorm {
    /// Their largest absolute value.
    Inf,
    /// The sum of their absolute values.
    L1,
    /// The root of the sum of their squares.
    L2,
    /// No normalisation.
    None,
}

impl FrameNorm {
    /// Divides by the norm, unless it is almost 0.
    pub(super) fn apply(self, values: &mut [f64]) {
        let norm = match self {
            FrameNorm::Inf => values.iter().fold(0.0, |most: f64, value| most.max(value.abs())),
            FrameNorm::L1 => values.iter().map(|value| value.abs()).sum(),
            FrameNorm::L2 => values.iter().map(|value| value * value).sum::<f64>().sqrt(),
            FrameNorm::None => 1.0,
        };
        if norm >= f64::from(f32::MIN_POSITIVE) {
            values.iter_mut().for_each(|value| *value /= norm);
        }
    }
}

framewise_spec! {
    /// The energy of each pitch class: one row per class, C first, one column per frame.
    pub struct Chroma {
        /// Number of pitch classes per octave. Default 12.
        #[schemars(range(min = 1, max = 96))]
        pub n_chroma: usize = 12,
        /// Deviation of the tuning from A = 440 Hz, in pitch classes (-0.5 to 0.5). Default: estimated from each clip.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tuning: Option<f64> = None,
        /// The octave whose bins count most; A = 27.5 Hz begins octave 0. Default 5.
        #[schemars(range(min = 0.0, max = 16.0))]
        pub ctroct: f64 = 5.0,
        /// Width of the Gaussian over octaves around `ctroct`; 0 weights all bins equally. Default 2.
        #[schemars(range(min = 0.0, max = 100.0))]
        pub octwidth: f64 = 2.0,
        /// Whether the first class is C rather than A. Default true.
        pub base_c: bool = true,
        /// What the values of a frame are divided by: "inf" (the largest, the default), "l1", "l2" or "none".
        pub norm: FrameNorm = FrameNorm::Inf,
    }
}

of_spectrogram!("chroma", Chroma);

impl OfSpectrogram for Chroma {
    fn rows(&self) -> usize {
        self.n_chroma
    }

    fn own_faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let n_chroma = (!(1..=96).contains(&self.n_chroma))
            .then(|| format!("{} pitch classes are not possible; choose 1 to 96, such as 12", self.n_chroma));
        let octave =
            |value: f64| (!(0.0..=100.0).contains(&value)).then(|| format!("{value} octaves are not possible"));
        Fault::of_keys([
            ("n_chroma", n_chroma),
            ("tuning", tuning_fault(self.tuning)),
            ("ctroct", octave(self.ctroct)),
            ("octwidth", octave(self.octwidth)),
        ])
    }

    fn image(&self, sample_rate: u32) -> Image {
        let spec = self.clone();
        let known = spec.tuning.map(|tuning| spec.bank(sample_rate, tuning));
        Box::new(move |spectrogram| {
            let estimated = match known {
                Some(_) => None,
                None => {
                    Some(spec.bank(sample_rate, estimate_tuning(spectrogram, &spec.stft(), sample_rate, spec.n_chroma)))
                }
            };
            let bank = known.as_ref().or(estimated.as_ref()).expect("one of them");
            let mut values = vec![0.0; spec.n_chroma];
            from_powers(spectrogram, spec.n_chroma, |powers, out| {
                for (value, weights) in values.iter_mut().zip(bank) {
                    *value = sum_of(powers, weights, |weight| weight);
                }
                spec.norm.apply(&mut values);
                out.iter_mut().zip(&values).for_each(|(out, value)| *out = *value as f32);
            })
        })
    }
}

pub(super) fn tuning_fault(tuning: Option<f64>) -> Option<String> {
    let tuning = tuning.filter(|tuning| !(-1.0..=1.0).contains(tuning))?;
    Some(format!(
        "a deviation of {tuning} classes is not possible; choose -0.5 to 0.5, or leave the key out to estimate it"
    ))
}

impl Chroma {
    /// The weights of the bins for each pitch class.
    fn bank(&self, sample_rate: u32, tuning: f64) -> Vec<Vec<f64>> {
        let n = self.n_chroma as f64;
        let bins = self.n_fft / 2 + 1;
        let reference = 440.0 * 2f64.powf(tuning / n) / 16.0;
        // One bin more than needed, whose distance gives the width of the last.
        let mut positions: Vec<f64> = (1..=bins)
            .map(|k| n * (k as f64 * f64::from(sample_rate) / self.n_fft as f64 / reference).log2())
            .collect();
        // As in librosa, 0 Hz lies one and a half octaves below the first bin.
        positions.insert(0, positions[0] - 1.5 * n);
        let half = (n / 2.0).round_ties_even();
        let mut bank = vec![vec![0.0; bins]; self.n_chroma];
        let mut column = vec![0.0; self.n_chroma];
        for bin in 0..bins {
            let position = positions[bin];
            // The transform has n_fft bins, of which the last has width 1.
            let width = if bin + 1 == self.n_fft { 1.0 } else { (positions[bin + 1] - position).max(1.0) };
            for (class, weight) in column.iter_mut().enumerate() {
                let distance = (position - class as f64 + half + 10.0 * n).rem_euclid(n) - half;
                *weight = (-0.5 * (2.0 * distance / width).powi(2)).exp();
            }
            FrameNorm::L2.apply(&mut column);
            let octave = if self.octwidth > 0.0 {
                (-0.5 * ((position / n - self.ctroct) / self.octwidth).powi(2)).exp()
            } else {
                1.0
            };
            let first = if self.base_c { 3 * (self.n_chroma / 12) } else { 0 };
            for (class, weights) in bank.iter_mut().enumerate() {
                weights[bin] = octave * column[(class + first) % self.n_chroma];
            }
        }
        bank
    }
}

/// The range of pitches that determine the tuning, in Hz.
const PITCHES: std::ops::Range<f64> = 150.0..4000.0;
/// Peaks below this share of the largest bin of their frame do not count.
const PEAK_SHARE: f32 = 0.1;
/// The number of distinct deviations.
const STEPS: usize = 100;

/// The deviation of the tuning in pitch classes: that of the most peaks that are at least as high as their median.
pub(super) fn estimate_tuning(spectrogram: &Spectrogram, stft: &StftSpec, sample_rate: u32, n_chroma: usize) -> f64 {
    let frequencies = stft.frequencies(sample_rate);
    let hz_per_bin = f64::from(sample_rate) / stft.n_fft as f64;
    let mut peaks: Vec<(f64, f64)> = Vec::new();
    for frame in spectrogram.power.chunks_exact(spectrogram.bins) {
        let least = PEAK_SHARE * frame.iter().copied().fold(0.0, f32::max);
        let above = |x: f32| if x > least { x } else { 0.0 };
        for k in 1..spectrogram.bins - 1 {
            let [before, here, after] = [frame[k - 1], frame[k], frame[k + 1]];
            let is_peak = here > least && above(here) > above(before) && above(here) >= above(after);
            if !is_peak || !PITCHES.contains(&frequencies[k]) {
                continue;
            }
            let [before, here, after] = [before, here, after].map(f64::from);
            // The vertex of the parabola through the three bins.
            let (bend, slope) = (after + before - 2.0 * here, 0.5 * (after - before));
            let aside = if slope.abs() >= bend.abs() { 0.0 } else { -slope / bend };
            peaks.push(((k as f64 + aside) * hz_per_bin, here + 0.5 * slope * aside));
        }
    }
    if peaks.is_empty() {
        return 0.0;
    }
    let mut heights: Vec<f64> = peaks.iter().map(|&(_, height)| height).collect();
    heights.sort_unstable_by(f64::total_cmp);
    let median = 0.5 * (heights[(heights.len() - 1) / 2] + heights[heights.len() / 2]);
    let mut counts = [0u32; STEPS];
    for &(hz, _) in peaks.iter().filter(|&&(_, height)| height >= median) {
        let deviation = (n_chroma as f64 * (hz / 27.5).log2()).rem_euclid(1.0);
        let deviation = if deviation >= 0.5 { deviation - 1.0 } else { deviation };
        counts[(((deviation + 0.5) * STEPS as f64) as usize).min(STEPS - 1)] += 1;
    }
    // The first of equals.
    let best = (0..STEPS).rev().max_by_key(|&step| counts[step]).expect("some step");
    best as f64 / STEPS as f64 - 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{ClipAnalysis, FeatureKind};
    use timbre_signal::audio::Clip;

    fn tone(hz: f64) -> Clip {
        let samples = (0..22050).map(|n| (std::f64::consts::TAU * hz * f64::from(n) / 22050.0).sin() as f32);
        Clip { samples: samples.collect(), sample_rate: 22050 }
    }

    #[test]
    fn a_tone_is_strongest_in_its_pitch_class() {
        for (hz, class) in [(440.0, 9), (523.25, 0), (1318.5, 4)] {
            let clip = tone(hz);
            let matrix = Chroma::default().build(22050).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap();
            assert_eq!((matrix.rows, matrix.cols), (12, 44));
            let column = |row: usize| matrix.values[row * 44 + 20];
            assert!((0..12).all(|row| (column(row) == 1.0) == (row == class)), "{hz} Hz");
        }
    }

    #[test]
    fn the_tuning_of_a_tone_is_its_deviation_from_the_nearest_class() {
        let stft = Chroma { n_fft: 8192, ..Chroma::default() }.stft();
        let plan = timbre_signal::dsp::stft::StftPlan::new(stft);
        for deviation in [-0.3, 0.0, 0.2] {
            let spectrogram = plan.power(&tone(440.0 * 2f64.powf(deviation / 12.0)).samples);
            let found = estimate_tuning(&spectrogram, &stft, 22050, 12);
            assert!((found - deviation).abs() <= 0.02, "{found} for {deviation}");
        }
        assert_eq!(estimate_tuning(&plan.power(&[0.0; 9000]), &stft, 22050, 12), 0.0);
    }
}
