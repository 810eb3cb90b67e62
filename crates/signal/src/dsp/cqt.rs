//! The constant-Q and the variable-Q transform: magnitudes at frequencies with equal steps in pitch.
//!
//! Conventions: librosa's `vqt`, of which `cqt` is the case `gamma = 0`, with `norm=1` and `scale=True`: each frequency has a kernel, a windowed
//! complex sinusoid of Q periods (fewer with `gamma`) whose absolute values sum to one; a value is the magnitude of the sum of kernel times clip,
//! times the root of the kernel's length. As in librosa, the negative frequencies of a kernel are left out, and the clip is followed by zeros.
//! Difference: librosa halves the sample rate from octave to octave and leaves out the smallest hundredth of each kernel; here every octave is computed
//! at the rate of the clip, from transforms of the length of its kernels. docs/features.md says by how much the two differ.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use crate::dsp::window::Window;

/// Parameters of a transform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CqtSpec {
    pub sample_rate: u32,
    pub hop_length: usize,
    /// The lowest frequency in Hz.
    pub fmin: f64,
    pub n_bins: usize,
    pub bins_per_octave: usize,
    /// What widens the bands at low frequencies, in Hz; None: that of the ear (equivalent rectangular bandwidths).
    pub gamma: Option<f64>,
    /// The factor of the lengths of the kernels.
    pub filter_scale: f64,
    pub window: Window,
}

/// Kernel values below this share of the largest are left out.
const LEAST: f64 = 1e-6;

impl CqtSpec {
    pub fn frequencies(&self) -> Vec<f64> {
        (0..self.n_bins).map(|bin| self.fmin * (bin as f64 / self.bins_per_octave as f64).exp2()).collect()
    }

    /// The bandwidth of a bin as a share of its frequency.
    fn relative_bandwidth(&self) -> f64 {
        let ratio = (2.0 / self.bins_per_octave as f64).exp2();
        (ratio - 1.0) / (ratio + 1.0)
    }

    /// The length of the kernel of each bin, in samples.
    pub fn lengths(&self) -> Vec<f64> {
        let alpha = self.relative_bandwidth();
        let gamma = self.gamma.unwrap_or(alpha * 24.7 / 0.108);
        let q = self.filter_scale / alpha;
        self.frequencies().iter().map(|hz| q * f64::from(self.sample_rate) / (hz + gamma / alpha)).collect()
    }

    /// The upper edge of the highest band, where its main lobe has decayed by 3 dB.
    pub fn cutoff(&self) -> f64 {
        let alpha = self.relative_bandwidth();
        let gamma = self.gamma.unwrap_or(alpha * 24.7 / 0.108);
        // The bandwidths of the windows in bins, as librosa has them.
        let width = match self.window {
            Window::Hann => 1.50018310546875,
            Window::Hamming => 1.3629455320350348,
            Window::Blackman => 1.7269681554262326,
            Window::Boxcar => 1.0,
        };
        let top = self.fmin * ((self.n_bins.max(1) - 1) as f64 / self.bins_per_octave as f64).exp2();
        top * (1.0 + 0.5 * width * alpha / self.filter_scale) + 0.5 * gamma
    }

    /// The number of frames of a clip.
    pub fn frames(&self, samples: usize) -> usize {
        if samples == 0 { 0 } else { 1 + samples / self.hop_length }
    }
}

/// A planned transform for any number of clips.
pub struct CqtPlan {
    spec: CqtSpec,
    /// From the longest kernels to the shortest.
    groups: Vec<Group>,
}

/// Kernels that share transforms of one length.
struct Group {
    fft: Arc<dyn RealToComplex<f64>>,
    kernels: Vec<Kernel>,
}

struct Kernel {
    bin: usize,
    /// The first bin of the transform in which it is not zero.
    first: usize,
    /// Conjugated.
    values: Vec<Complex<f64>>,
}

impl CqtPlan {
    pub fn new(spec: CqtSpec) -> Self {
        let mut planner = RealFftPlanner::new();
        let mut groups: Vec<Group> = Vec::new();
        for (bin, (hz, length)) in spec.frequencies().into_iter().zip(spec.lengths()).enumerate() {
            // The kernel runs from -ceil(length / 2) to floor(length / 2), which is left out.
            let before = (length / 2.0).ceil();
            let count = (before + (length / 2.0).floor()).max(1.0) as usize;
            let size = count.next_power_of_two().max(2);
            if groups.last().is_none_or(|group| group.fft.len() != size) {
                groups.push(Group { fft: planner.plan_fft_forward(size), kernels: Vec::new() });
            }
            let group = groups.last_mut().expect("just added");
            let window = spec.window.periodic(count);
            let sum: f64 = window.iter().sum();
            let lead = size / 2 - (before as usize).min(size / 2);
            let (mut real, mut imaginary) = (group.fft.make_input_vec(), group.fft.make_input_vec());
            for (n, weight) in window.iter().enumerate() {
                let angle = TAU * hz * (n as f64 - before) / f64::from(spec.sample_rate);
                let weight = weight / sum * length.sqrt();
                (real[lead + n], imaginary[lead + n]) = (weight * angle.cos(), weight * angle.sin());
            }
            let mut parts = [group.fft.make_output_vec(), group.fft.make_output_vec()];
            let [re, im] = &mut parts;
            group.fft.process(&mut real, re).expect("buffers of the plan");
            group.fft.process(&mut imaginary, im).expect("buffers of the plan");
            let scale = 1.0 / size as f64;
            let values: Vec<Complex<f64>> =
                re.iter().zip(im.iter()).map(|(re, im)| (re + Complex::<f64>::i() * im).conj() * scale).collect();
            let least = LEAST * values.iter().map(|value| value.norm()).fold(0.0, f64::max);
            let first = values.iter().position(|value| value.norm() >= least).unwrap_or(0);
            let last = values.iter().rposition(|value| value.norm() >= least).unwrap_or(0);
            group.kernels.push(Kernel { bin, first, values: values[first..=last].to_vec() });
        }
        CqtPlan { spec, groups }
    }

    pub fn spec(&self) -> &CqtSpec {
        &self.spec
    }

    /// The magnitudes, band-major, and the number of frames.
    pub fn magnitudes(&self, samples: &[f32]) -> (Vec<f32>, usize) {
        let frames = self.spec.frames(samples.len());
        let mut image = vec![0.0f32; self.spec.n_bins * frames];
        for Group { fft, kernels } in &self.groups {
            let size = fft.len();
            let (mut frame, mut spectrum, mut scratch) =
                (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
            for t in 0..frames {
                let start = (t * self.spec.hop_length) as isize - (size / 2) as isize;
                let inside = |at: isize| usize::try_from(at).ok().filter(|&at| at < samples.len());
                for (out, at) in frame.iter_mut().zip(start..) {
                    *out = inside(at).map_or(0.0, |at| f64::from(samples[at]));
                }
                fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).expect("buffers of the plan");
                for Kernel { bin, first, values } in kernels {
                    let sum: Complex<f64> = values.iter().zip(&spectrum[*first..]).map(|(kernel, z)| kernel * z).sum();
                    image[bin * frames + t] = sum.norm() as f32;
                }
            }
        }
        (image, frames)
    }
}

/// The lowest C of a piano, librosa's default.
pub fn c1() -> f64 {
    440.0 * ((24.0 - 69.0) / 12.0f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CqtSpec {
        CqtSpec {
            sample_rate: 22050,
            hop_length: 512,
            fmin: c1(),
            n_bins: 84,
            bins_per_octave: 12,
            gamma: Some(0.0),
            filter_scale: 1.0,
            window: Window::Hann,
        }
    }

    #[test]
    fn a_tone_is_largest_in_its_own_bin() {
        for bin in [12, 33, 60, 83] {
            let hz = spec().frequencies()[bin];
            let samples: Vec<f32> = (0..22050).map(|n| (TAU * hz * f64::from(n) / 22050.0).sin() as f32).collect();
            let (image, frames) = CqtPlan::new(spec()).magnitudes(&samples);
            let column = |bin: usize| image[bin * frames + frames / 2];
            assert_eq!((0..84).max_by(|&a, &b| column(a).total_cmp(&column(b))), Some(bin), "{hz} Hz");
            // Half the amplitude, times the root of the length.
            let expected = 0.5 * spec().lengths()[bin].sqrt();
            assert!((f64::from(column(bin)) / expected - 1.0).abs() < 1e-2, "{} {expected}", column(bin));
        }
    }

    #[test]
    fn the_sum_over_transforms_is_the_sum_over_samples() {
        // The definition without its negative frequencies, which a high bin hardly has.
        let samples: Vec<f32> =
            (0..9000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect();
        let (image, frames) = CqtPlan::new(spec()).magnitudes(&samples);
        for bin in [50, 70] {
            let (hz, length) = (spec().frequencies()[bin], spec().lengths()[bin]);
            let before = (length / 2.0).ceil() as isize;
            let count = before + (length / 2.0).floor() as isize;
            let window: Vec<f64> = (0..count).map(|n| 0.5 - 0.5 * (TAU * n as f64 / count as f64).cos()).collect();
            let sum: f64 = window.iter().sum();
            for t in [0, 3, frames - 1] {
                let value: Complex<f64> = (0..count)
                    .filter_map(|n| {
                        let at = (t * 512) as isize + n - before;
                        let x = f64::from(*samples.get(usize::try_from(at).ok()?)?);
                        let angle = -TAU * hz * (n - before) as f64 / 22050.0;
                        Some(Complex::from_polar(x * window[n as usize] / sum * length.sqrt(), angle))
                    })
                    .sum();
                let found = f64::from(image[bin * frames + t]);
                assert!((found - value.norm()).abs() < 2e-4, "{bin} {t}: {found} {}", value.norm());
            }
        }
    }
}
