//! Mel filter banks as in librosa's `filters.mel`.
//!
//! Filters are triangles that are linear in Hz, at equal steps in mel. The Slaney scale is linear below 1000 Hz and
//! logarithmic above; the HTK scale is `2595 log10(1 + f / 700)`. With Slaney's norm a triangle has unit area over Hz,
//! without it a peak of at most one. Kaldi differs: its triangles are linear in mel. Weights are f32, rounded before and
//! after the norm as in librosa.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dsp::stft::Spectrogram;

/// Normalisation of the triangles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MelNorm {
    /// To unit area.
    Slaney,
    /// No normalisation.
    None,
}

/// Parameters of a filter bank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MelSpec {
    pub sample_rate: u32,
    pub n_fft: usize,
    pub n_mels: usize,
    /// Lowest and highest frequency of the bank in Hz.
    pub fmin: f64,
    pub fmax: f64,
    pub htk: bool,
    pub norm: MelNorm,
}

const HZ_PER_MEL: f64 = 200.0 / 3.0;
const LOG_FROM_HZ: f64 = 1000.0;
const LOG_FROM_MEL: f64 = LOG_FROM_HZ / HZ_PER_MEL;

/// The natural logarithm of the frequency ratio of one Slaney mel: 27 steps make a factor of 6.4.
fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

pub fn hz_to_mel(hz: f64, htk: bool) -> f64 {
    if htk {
        2595.0 * (1.0 + hz / 700.0).log10()
    } else if hz < LOG_FROM_HZ {
        hz / HZ_PER_MEL
    } else {
        LOG_FROM_MEL + (hz / LOG_FROM_HZ).ln() / log_step()
    }
}

pub fn mel_to_hz(mel: f64, htk: bool) -> f64 {
    if htk {
        700.0 * (10f64.powf(mel / 2595.0) - 1.0)
    } else if mel < LOG_FROM_MEL {
        mel * HZ_PER_MEL
    } else {
        LOG_FROM_HZ * (log_step() * (mel - LOG_FROM_MEL)).exp()
    }
}

impl MelSpec {
    /// Corner frequencies of the triangles in Hz: band `i` rises from corner `i` to `i + 1` and falls to `i + 2`.
    pub fn corners(&self) -> Vec<f64> {
        let (low, high) = (hz_to_mel(self.fmin, self.htk), hz_to_mel(self.fmax, self.htk));
        let step = (high - low) / (self.n_mels + 1) as f64;
        (0..self.n_mels + 2)
            .map(|i| mel_to_hz(if i == self.n_mels + 1 { high } else { low + i as f64 * step }, self.htk))
            .collect()
    }

    /// First bin and weights of a band.
    fn band(&self, corners: &[f64], band: usize) -> (usize, Vec<f32>) {
        let [low, peak, high] = [corners[band], corners[band + 1], corners[band + 2]];
        let hz_per_bin = f64::from(self.sample_rate) / self.n_fft as f64;
        let scale = if self.norm == MelNorm::Slaney { 2.0 / (high - low) } else { 1.0 };
        let weight = |bin: usize| {
            let hz = bin as f64 * hz_per_bin;
            let height = ((hz - low) / (peak - low)).min((high - hz) / (high - peak)).max(0.0) as f32;
            (f64::from(height) * scale) as f32
        };
        let first = (low / hz_per_bin).max(0.0) as usize;
        let last = ((high / hz_per_bin).ceil() as usize).min(self.n_fft / 2);
        let mut bins = (first..=last).skip_while(|&bin| weight(bin) == 0.0);
        let Some(start) = bins.next() else { return (0, Vec::new()) };
        (start, (start..=last).map(weight).take_while(|&w| w > 0.0).collect())
    }

    /// Bands without a bin, whose rows would always be zero. As in librosa, a band that begins at 0 Hz is accepted.
    pub fn empty_bands(&self) -> Vec<usize> {
        let corners = self.corners();
        (0..self.n_mels).filter(|&i| corners[i] != 0.0 && self.band(&corners, i).1.is_empty()).collect()
    }
}

/// The weights of a band from bin `start` on, padded to a multiple of [`LANES`] where the spectrum is long enough.
struct Band {
    start: usize,
    weights: Vec<f32>,
}

/// Number of products summed in parallel.
const LANES: usize = 4;

/// A sparse mel filter bank.
///
/// ```
/// use timbre_signal::dsp::mel::{MelBank, MelNorm, MelSpec};
///
/// let spec = MelSpec {
///     sample_rate: 22050,
///     n_fft: 2048,
///     n_mels: 40,
///     fmin: 0.0,
///     fmax: 11025.0,
///     htk: false,
///     norm: MelNorm::Slaney,
/// };
/// assert_eq!(MelBank::new(&spec).dense().len(), 40 * 1025);
/// assert!(spec.empty_bands().is_empty());
/// ```
pub struct MelBank {
    bins: usize,
    bands: Vec<Band>,
}

impl MelBank {
    pub fn new(spec: &MelSpec) -> Self {
        let corners = spec.corners();
        let bins = spec.n_fft / 2 + 1;
        let bands = (0..spec.n_mels)
            .map(|i| {
                let (start, weights) = spec.band(&corners, i);
                // Zeros fill the last lane; they follow the triangle, or precede it at the top of the spectrum.
                let padded = weights.len().next_multiple_of(LANES);
                if padded > bins {
                    return Band { start, weights };
                }
                let moved = start.min(bins - padded);
                let mut lanes = vec![0.0; padded];
                lanes[start - moved..start - moved + weights.len()].copy_from_slice(&weights);
                Band { start: moved, weights: lanes }
            })
            .collect();
        MelBank { bins, bands }
    }

    /// All weights including zeros: a row per band, a column per bin.
    pub fn dense(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.bands.len() * self.bins];
        for (row, band) in matrix.chunks_exact_mut(self.bins).zip(&self.bands) {
            row[band.start..band.start + band.weights.len()].copy_from_slice(&band.weights);
        }
        matrix
    }

    /// The energy of each band, band-major.
    pub fn apply(&self, spectrogram: &Spectrogram) -> Vec<f32> {
        assert_eq!(spectrogram.bins, self.bins, "a spectrogram of this bank's n_fft");
        // A strip of frames at a time, so that its columns are written as whole cache lines. Within it four frames at a time:
        // a band is a dozen products, and switching to the next band costs as much as they do.
        const STRIP: usize = 16;
        const ABREAST: usize = 4;
        let (bins, frames) = (self.bins, spectrogram.frames);
        let mut output = vec![0.0; self.bands.len() * frames];
        let mut strip = vec![[0.0; STRIP]; self.bands.len()];
        for (index, chunk) in spectrogram.power.chunks(STRIP * bins).enumerate() {
            let (first, wide) = (index * STRIP, chunk.len() / bins);
            let abreast = wide / ABREAST * ABREAST;
            for t in (0..abreast).step_by(ABREAST) {
                let power: [&[f32]; ABREAST] = std::array::from_fn(|n| &chunk[(t + n) * bins..(t + n + 1) * bins]);
                for (band, cells) in self.bands.iter().zip(&mut strip) {
                    cells[t..t + ABREAST].copy_from_slice(&band.energies(power));
                }
            }
            for t in abreast..wide {
                for (band, cells) in self.bands.iter().zip(&mut strip) {
                    [cells[t]] = band.energies([&chunk[t * bins..(t + 1) * bins]]);
                }
            }
            for (row, cells) in output.chunks_exact_mut(frames).zip(&strip) {
                row[first..first + wide].copy_from_slice(&cells[..wide]);
            }
        }
        output
    }
}

impl Band {
    /// The weighted sums of several frames; each result is independent of the frames beside it.
    #[inline]
    fn energies<const FRAMES: usize>(&self, power: [&[f32]; FRAMES]) -> [f32; FRAMES] {
        let (whole, rest) = self.weights.as_chunks::<LANES>();
        let power = power.map(|frame| frame[self.start..self.start + self.weights.len()].as_chunks::<LANES>());
        let mut lanes = [[0.0f32; LANES]; FRAMES];
        for (at, weights) in whole.iter().enumerate() {
            for (lanes, power) in lanes.iter_mut().zip(&power) {
                for ((lane, weight), value) in lanes.iter_mut().zip(weights).zip(&power.0[at]) {
                    *lane += weight * value;
                }
            }
        }
        std::array::from_fn(|n| {
            let rest: f32 = rest.iter().zip(power[n].1).map(|(w, v)| w * v).sum();
            (lanes[n][0] + lanes[n][2]) + (lanes[n][1] + lanes[n][3]) + rest
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_spec() -> impl Strategy<Value = MelSpec> {
        (4usize..600, 1usize..60, 0.0..0.4f64, 0.5..1.0f64, any::<bool>(), any::<bool>()).prop_map(
            |(n_fft, n_mels, low, high, htk, slaney)| MelSpec {
                sample_rate: 22050,
                n_fft,
                n_mels,
                fmin: low * 11025.0,
                fmax: high * 11025.0,
                htk,
                norm: if slaney { MelNorm::Slaney } else { MelNorm::None },
            },
        )
    }

    /// The whole matrix with its zeros.
    fn dense(spec: &MelSpec) -> Vec<Vec<f64>> {
        let corners = spec.corners();
        corners
            .windows(3)
            .map(|c| {
                let scale = if spec.norm == MelNorm::Slaney { 2.0 / (c[2] - c[0]) } else { 1.0 };
                (0..=spec.n_fft / 2)
                    .map(|k| {
                        let hz = k as f64 * 22050.0 / spec.n_fft as f64;
                        scale * ((hz - c[0]) / (c[1] - c[0])).min((c[2] - hz) / (c[2] - c[1])).max(0.0)
                    })
                    .collect()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn the_sparse_bank_equals_the_dense_product(spec in any_spec(), frames in 1usize..40, seed in any::<u32>()) {
            let bins = spec.n_fft / 2 + 1;
            let power: Vec<f32> = (0..bins * frames)
                .map(|i| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
                .collect();
            let fast = MelBank::new(&spec).apply(&Spectrogram { bins, frames, power: power.clone() });
            for (band, weights) in dense(&spec).iter().enumerate() {
                for t in 0..frames {
                    let slow: f64 = weights.iter().zip(&power[t * bins..]).map(|(w, &p)| w * f64::from(p)).sum();
                    let fast = f64::from(fast[band * frames + t]);
                    prop_assert!((fast - slow).abs() <= 1e-5 * slow + 1e-9, "band {band}: {fast} is not {slow}");
                }
            }
        }

        #[test]
        fn a_band_is_empty_exactly_when_its_row_is_zero(spec in any_spec()) {
            let corners = spec.corners();
            let zero_rows: Vec<usize> = dense(&spec).iter().enumerate()
                .filter(|(band, row)| corners[*band] != 0.0 && row.iter().all(|&w| w as f32 == 0.0))
                .map(|(band, _)| band).collect();
            prop_assert_eq!(spec.empty_bands(), zero_rows);
        }

        #[test]
        fn every_bin_between_the_outer_peaks_belongs_to_two_triangles_that_sum_to_one(spec in any_spec()) {
            let spec = MelSpec { norm: MelNorm::None, ..spec };
            let corners = spec.corners();
            let matrix = dense(&spec);
            for bin in 0..=spec.n_fft / 2 {
                let hz = bin as f64 * 22050.0 / spec.n_fft as f64;
                if hz > corners[1] && hz < corners[spec.n_mels] {
                    let sum: f64 = matrix.iter().map(|row| row[bin]).sum();
                    prop_assert!((sum - 1.0).abs() < 1e-9, "{hz} Hz: {sum}");
                }
            }
        }

        #[test]
        fn hertz_to_mel_and_back_is_the_identity(hz in 0.0..40000.0f64, htk in any::<bool>()) {
            prop_assert!((mel_to_hz(hz_to_mel(hz, htk), htk) - hz).abs() < 1e-6);
        }
    }

    #[test]
    fn a_thousand_hertz_is_fifteen_slaney_mels_and_a_thousand_htk_mels() {
        assert!((hz_to_mel(1000.0, false) - 15.0).abs() < 1e-12);
        assert!((hz_to_mel(1000.0, true) - 1000.0).abs() < 0.02);
        assert!((hz_to_mel(6400.0, false) - 42.0).abs() < 1e-12);
    }

    #[test]
    fn too_many_bands_for_the_spectrum_leave_some_empty() {
        let spec = MelSpec {
            sample_rate: 22050,
            n_fft: 2048,
            n_mels: 128,
            fmin: 0.0,
            fmax: 11025.0,
            htk: false,
            norm: MelNorm::Slaney,
        };
        assert!(spec.empty_bands().is_empty());
        assert!(!MelSpec { n_fft: 256, ..spec }.empty_bands().is_empty());
    }
}
