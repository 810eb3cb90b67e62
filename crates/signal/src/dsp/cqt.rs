//! The constant-Q and the variable-Q transform: magnitudes at frequencies with equal steps in pitch.
//!
//! Conventions: librosa's `vqt`, of which `cqt` is the case `gamma = 0`, with `norm=1` and `scale=True`: each frequency has a kernel, a windowed
//! complex sinusoid of Q periods (fewer with `gamma`) whose absolute values sum to one; a value is the magnitude of the sum of kernel times clip,
//! times the root of the kernel's length. As in librosa, the negative frequencies of a kernel are left out, and the clip is followed by zeros.
//! Difference: librosa halves the sample rate from octave to octave with a resampler and leaves out the smallest hundredth of each kernel. Here
//! low octaves are computed at a lower rate, too, but the clip is brought to it by leaving out the upper part of its spectrum, as far above the octave as its
//! kernels have nothing left (see `DISTANCE`). docs/features.md says by how much the two differ.

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex};

use timbre_fft::{Complex, ComplexToReal, RealPlannerF64, RealToComplex};

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
/// The least distance of a frequency to half the rate at which it is computed, in bandwidths of its kernel: there the side lobes of a
/// Hann window are below 1e-6 of its main lobe.
const DISTANCE: f64 = 60.0;
/// The least number of periods of a kernel that is computed at a lower rate.
const LEAST_PERIODS: f64 = 15.0;
/// Samples of the transform that brings a clip to lower rates. Longer clips are divided.
const BLOCK: usize = 1 << 18;

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

    /// The largest power of two by which the rate can be divided for a kernel. Windows whose side lobes hardly decay have their full rate.
    fn divisor(&self, hz: f64, length: f64) -> usize {
        if !matches!(self.window, Window::Hann | Window::Blackman) {
            return 1;
        }
        let bandwidth = f64::from(self.sample_rate) / length;
        // A kernel that reaches to 0 Hz is cut there, and what is cut depends on the rate.
        if hz < LEAST_PERIODS * bandwidth {
            return 1;
        }
        let fits = |divisor: &usize| f64::from(self.sample_rate) / (2 * divisor) as f64 >= hz + DISTANCE * bandwidth;
        let most = 1 << self.hop_length.trailing_zeros().min(16);
        std::iter::successors(Some(1), |divisor| Some(divisor * 2))
            .take_while(|&d| d <= most)
            .filter(fits)
            .last()
            .unwrap_or(1)
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
    planner: Mutex<RealPlannerF64>,
}

/// Kernels that share a rate and the length of their transforms.
struct Group {
    /// By how much the rate of the clip is divided.
    divisor: usize,
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
        let mut planner = RealPlannerF64::new();
        let mut groups: Vec<Group> = Vec::new();
        for (bin, (hz, length)) in spec.frequencies().into_iter().zip(spec.lengths()).enumerate() {
            // The kernel runs from -ceil(length / 2) to floor(length / 2), which is left out.
            let before = (length / 2.0).ceil() as usize;
            let count = (before + (length / 2.0).floor() as usize).max(1);
            let whole = count.next_power_of_two().max(2);
            let divisor = spec.divisor(hz, length).min(whole / 2);
            let size = whole / divisor;
            if groups.last().is_none_or(|group| (group.divisor, group.fft.len()) != (divisor, size)) {
                groups.push(Group { divisor, fft: planner.forward(size), kernels: Vec::new() });
            }
            let group = groups.last_mut().expect("just added");
            let scale = length.sqrt() / spec.window.sum(count) * divisor as f64 / size as f64;
            let (mut real, mut imaginary) = (group.fft.make_input_vec(), group.fft.make_input_vec());
            // The samples whose distance from the middle is a multiple of the divisor.
            let (first, lead) = (before % divisor, (size / 2).saturating_sub(before / divisor));
            let radians = TAU * hz / f64::from(spec.sample_rate);
            let turn = Complex::from_polar(1.0, radians * divisor as f64);
            let mut wave = Complex::from_polar(scale, radians * (first as f64 - before as f64));
            for (at, weight) in (lead..size).zip(spec.window.periodic_steps(count, first, divisor)) {
                (real[at], imaginary[at]) = (weight * wave.re, weight * wave.im);
                wave *= turn;
            }
            let mut parts = [group.fft.make_output_vec(), group.fft.make_output_vec()];
            let [re, im] = &mut parts;
            group.fft.process(&mut real, re).expect("buffers of the plan");
            group.fft.process(&mut imaginary, im).expect("buffers of the plan");
            let values: Vec<Complex<f64>> =
                re.iter().zip(im.iter()).map(|(re, im)| (re + Complex::<f64>::i() * im).conj()).collect();
            let least = LEAST * values.iter().map(|value| value.norm()).fold(0.0, f64::max);
            let first = values.iter().position(|value| value.norm() >= least).unwrap_or(0);
            let last = values.iter().rposition(|value| value.norm() >= least).unwrap_or(0);
            group.kernels.push(Kernel { bin, first, values: values[first..=last].to_vec() });
        }
        CqtPlan { spec, groups, planner: Mutex::new(planner) }
    }

    pub fn spec(&self) -> &CqtSpec {
        &self.spec
    }

    /// The magnitudes, band-major, and the number of frames.
    pub fn magnitudes(&self, samples: &[f32]) -> (Vec<f32>, usize) {
        let frames = self.spec.frames(samples.len());
        let mut image = vec![0.0f32; self.spec.n_bins * frames];
        let hop = self.spec.hop_length;
        // The samples before and after a frame that its longest kernel takes.
        let reach = self.groups.iter().map(|group| group.fft.len() * group.divisor).max().unwrap_or(2);
        let size = transform_length(samples.len() + reach).min(BLOCK.max(4 * reach));
        let per_block = ((size - reach) / hop).max(1);
        for begin in (0..frames).step_by(per_block) {
            let block = Block {
                begin,
                end: frames.min(begin + per_block),
                from: (begin * hop) as isize - (reach / 2) as isize,
            };
            self.block(samples, size, &block, frames, &mut image);
        }
        (image, frames)
    }

    fn block(&self, samples: &[f32], size: usize, block: &Block, frames: usize, image: &mut [f32]) {
        let inside = |at: isize| usize::try_from(at).ok().and_then(|at| samples.get(at)).map_or(0.0, |&x| f64::from(x));
        let mut clip: Vec<f64> = (block.from..).take(size).map(inside).collect();
        let divisors = || self.groups.iter().map(|group| group.divisor);
        let mut slower: Vec<(usize, Vec<f64>)> = Vec::new();
        if divisors().any(|divisor| divisor > 1) {
            let forward = self.planner.lock().expect("no thread panics here").forward(size);
            let (mut input, mut spectrum) = (clip.clone(), forward.make_output_vec());
            forward.process(&mut input, &mut spectrum).expect("buffers of the plan");
            for divisor in divisors().filter(|&divisor| divisor > 1) {
                if slower.iter().all(|(known, _)| *known != divisor) {
                    let inverse = self.planner.lock().expect("no thread panics here").inverse(size / divisor);
                    slower.push((divisor, lower_rate(&spectrum, size, inverse.as_ref())));
                }
            }
        }
        slower.push((1, std::mem::take(&mut clip)));
        for Group { divisor, fft, kernels } in &self.groups {
            let (_, clip) = slower.iter().find(|(known, _)| known == divisor).expect("a clip of each rate");
            let (mut frame, mut spectrum, mut scratch) =
                (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
            for t in block.begin..block.end {
                let middle = ((t * self.spec.hop_length) as isize - block.from) as usize / divisor;
                // The block reaches as far as the longest kernel to both sides.
                frame.copy_from_slice(&clip[middle - fft.len() / 2..middle + fft.len() / 2]);
                fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).expect("buffers of the plan");
                for Kernel { bin, first, values } in kernels {
                    let sum: Complex<f64> = values.iter().zip(&spectrum[*first..]).map(|(kernel, z)| kernel * z).sum();
                    image[bin * frames + t] = sum.norm() as f32;
                }
            }
        }
    }
}

/// A length of at least `least` with a fast transform, that every divisor divides.
fn transform_length(least: usize) -> usize {
    let octave = least.next_power_of_two().max(32) / 16;
    [9, 10, 12, 15, 16].into_iter().map(|part| part * octave).find(|&length| length >= least).unwrap_or(16 * octave)
}

/// Frames that are computed together, and the sample with which their part of the clip begins.
struct Block {
    begin: usize,
    end: usize,
    from: isize,
}

/// The clip at a lower rate: the lower part of its spectrum, transformed back.
fn lower_rate(spectrum: &[Complex<f64>], size: usize, inverse: &dyn ComplexToReal<f64>) -> Vec<f64> {
    let mut kept = spectrum[..inverse.len() / 2 + 1].to_vec();
    // What is exactly at half the rate has no phase there.
    *kept.last_mut().expect("a spectrum has a first bin") = Complex::default();
    let mut samples = inverse.make_output_vec();
    inverse.process(&mut kept, &mut samples).expect("buffers of the plan");
    samples.iter_mut().for_each(|sample| *sample /= size as f64);
    samples
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
