//! Reads frames of the clip, rotates their phases, and overlap-adds them.
//!
//! One complex transform processes two frames, as its real and its imaginary part: half the cost of two real transforms.
//! Hann windows on both sides; the sum of their products over four overlapping frames is constant, so frames without rotation
//! reconstruct the clip.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::rc::Rc;
use std::sync::Arc;

use timbre_fft::{Complex, Fft, PlannerF32};

use super::frame_sizes::FrameSizes;
use super::phase_lock::{MARGIN, Peaks, Rotations, Spectrum, Step, lock_phases};
use super::time_map::FramePosition;

type Transform = Arc<dyn Fft<f32>>;

/// Plans and buffers that a thread keeps from clip to clip.
#[derive(Default)]
struct ThreadState {
    plans: Plans,
    buffers: Buffers,
}

#[derive(Default)]
struct Plans {
    planner: Option<PlannerF32>,
    windows: BTreeMap<usize, Rc<[f32]>>,
}

/// Number of windows, and so about of transforms, that a thread keeps: random pitches give about 150 lengths per sample rate.
const WINDOWS_KEPT: usize = 400;

impl Plans {
    fn window(&mut self, length: usize) -> Rc<[f32]> {
        if self.windows.len() == WINDOWS_KEPT && !self.windows.contains_key(&length) {
            *self = Plans::default();
        }
        let hann = |n: usize| (0.5 - 0.5 * (TAU * n as f64 / length as f64).cos()) as f32;
        Rc::clone(self.windows.entry(length).or_insert_with(|| (0..length).map(hann).collect()))
    }

    fn transforms(&mut self, sizes: &FrameSizes) -> (Transform, Transform) {
        let planner = self.planner.get_or_insert_with(PlannerF32::new);
        (planner.forward(sizes.analysis), planner.inverse(sizes.synthesis))
    }
}

/// Real and imaginary parts.
type Parts = (Vec<f32>, Vec<f32>);

/// Buffers of a frame.
#[derive(Default)]
struct Buffers {
    frame: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// The previous frame and the current two.
    spectra: [Spectrum; 3],
    rotations: [Rotations; 3],
    peaks: Peaks,
    energies: Vec<f32>,
    rotated: [Parts; 2],
    shifted: [Parts; 2],
}

impl Buffers {
    fn resize(&mut self, sizes: &FrameSizes, scratch: usize) {
        let (bins, zero) = (sizes.bins(), Complex::default());
        self.frame.clear();
        self.frame.resize(sizes.analysis.max(sizes.synthesis), zero);
        self.scratch.resize(self.scratch.len().max(scratch), zero);
        self.spectra.iter_mut().for_each(|spectrum| spectrum.resize(bins));
        self.rotations.iter_mut().for_each(|rotations| rotations.resize(bins));
        self.peaks.resize(bins);
        for (re, im) in self.rotated.iter_mut().chain(&mut self.shifted) {
            re.resize(bins, 0.0);
            im.resize(bins, 0.0);
        }
    }
}

thread_local! {
    static THREAD_STATE: RefCell<ThreadState> = RefCell::default();
}

/// Returns `output` samples from frames centred on `positions` of the recording and, from `first` on, one hop apart in the output.
pub fn run(samples: &[f32], sizes: &FrameSizes, positions: &[FramePosition], first: isize, output: usize) -> Vec<f32> {
    let mut out = vec![0.0; output];
    THREAD_STATE.with_borrow_mut(|ThreadState { plans, buffers }| {
        let windows = (plans.window(sizes.analysis), plans.window(sizes.synthesis));
        let (forward, inverse) = plans.transforms(sizes);
        buffers.resize(sizes, forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len()));
        let job = Job { samples, sizes, windows: (&windows.0, &windows.1), forward: &*forward, inverse: &*inverse };
        job.run(buffers, positions, first, &mut out);
    });
    out
}

struct Job<'a> {
    samples: &'a [f32],
    sizes: &'a FrameSizes,
    windows: (&'a [f32], &'a [f32]),
    forward: &'a dyn Fft<f32>,
    inverse: &'a dyn Fft<f32>,
}

impl Job<'_> {
    fn run(&self, buffers: &mut Buffers, positions: &[FramePosition], first: isize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor was just checked for these instructions.
            return unsafe { self.run_on_avx2(buffers, positions, first, out) };
        }
        self.frames(buffers, positions, first, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_on_avx2(&self, buffers: &mut Buffers, positions: &[FramePosition], first: isize, out: &mut [f32]) {
        self.frames(buffers, positions, first, out);
    }

    #[inline(always)]
    fn frames(&self, buffers: &mut Buffers, positions: &[FramePosition], first: isize, out: &mut [f32]) {
        let FrameSizes { analysis, synthesis, hop, pitch } = *self.sizes;
        let mut middle = first;
        buffers.energies.clear();
        // Relative error of the frequency of a bin at its new position.
        let off = pitch * synthesis as f64 / analysis as f64 - 1.0;
        let mut was = None;
        for two in positions.chunks(2) {
            self.read(two, &mut buffers.frame[..analysis]);
            self.forward.process_with_scratch(&mut buffers.frame[..analysis], &mut buffers.scratch);
            let [before, one, other] = &mut buffers.spectra;
            split(&buffers.frame[..analysis], one, other);
            for (i, position) in two.iter().enumerate() {
                // The first frame is not rotated: it counts as one hop after another.
                let read = was.map_or(hop as f64 * pitch, |was| (position.sample - was) as f64);
                was = Some(position.sample);
                let step = Step { read, write: hop as f64 * pitch, analysis, before_onset: position.before_onset };
                let (now, before) = if i == 0 { (&*one, &*before) } else { (&*other, &*one) };
                let [zeroth, first, second] = &mut buffers.rotations;
                let (old, new) = if i == 0 { (&*zeroth, first) } else { (&*first, second) };
                let (re, im) = &mut buffers.rotated[i];
                lock_phases(now, before, step, old, new, &mut buffers.peaks, (re, im));
                buffers.energies.push(energy(&now.power[MARGIN..]));
            }
            if two.len() == 1 {
                buffers.rotated[1].0.fill(0.0);
                buffers.rotated[1].1.fill(0.0);
            }
            let Buffers { rotated, shifted, .. } = buffers;
            let [one, other] = if off.abs() * (rotated[0].0.len() as f64) < EXACT {
                &*rotated
            } else {
                for (from, to) in rotated.iter().zip(shifted.iter_mut()) {
                    shift(&from.0, &mut to.0, off as f32);
                    shift(&from.1, &mut to.1, off as f32);
                }
                &*shifted
            };
            join((&one.0, &one.1), (&other.0, &other.1), &mut buffers.frame[..synthesis]);
            self.inverse.process_with_scratch(&mut buffers.frame[..synthesis], &mut buffers.scratch);
            self.write(&buffers.frame[..synthesis], middle, out);
            buffers.spectra.rotate_right(1);
            buffers.rotations.rotate_right(1);
            middle += 2 * hop as isize;
        }
        self.keep_level(&buffers.energies, positions, first, out);
    }

    /// Restores the level of noise. Partials keep their level, but stretched frames of noise do not add up as they did in the
    /// recording; the average loss is compensated where time is stretched.
    #[inline(always)]
    fn keep_level(&self, energies: &[f32], positions: &[FramePosition], first: isize, out: &mut [f32]) {
        let FrameSizes { analysis, synthesis, hop, .. } = *self.sizes;
        // By Parseval, over bins of both signs.
        let scale = 2.0 * synthesis as f32 / (analysis as f32 * analysis as f32);
        let (mut wanted, mut have) = (0.0f64, 0.0f64);
        let mut middle = first;
        // Every second frame is enough.
        for (position, energy) in positions.iter().zip(energies).step_by(2) {
            let start = middle - (synthesis / 2) as isize;
            if position.free && start >= 0 && start as usize + synthesis <= out.len() {
                wanted += f64::from(energy * scale);
                have += f64::from(windowed_energy(&out[start as usize..][..synthesis], self.windows.1));
            }
            middle += 2 * hop as isize;
        }
        if !(have > 0.0 && wanted > 0.0) {
            return;
        }
        let gain = ((wanted / have).sqrt() as f32).clamp(1.0 / MAX_GAIN, MAX_GAIN);
        let gain_at = |position: &FramePosition| if position.free { gain } else { 1.0 };
        let mut start = first;
        for two in positions.windows(2) {
            let (from, to) = (gain_at(&two[0]), gain_at(&two[1]));
            let slope = (to - from) / hop as f32;
            let (begin, end) =
                (start.clamp(0, out.len() as isize), (start + hop as isize).clamp(0, out.len() as isize));
            for (i, x) in out[begin as usize..end as usize].iter_mut().enumerate() {
                *x *= from + slope * (i as isize + begin - start) as f32;
            }
            start += hop as isize;
        }
    }

    /// Loads two frames as real and imaginary parts, windowed and halved (for `split`).
    #[inline(always)]
    fn read(&self, two: &[FramePosition], frame: &mut [Complex<f32>]) {
        let half = (frame.len() / 2) as isize;
        let window = &self.windows.0[..frame.len()];
        let (one, other) = (two[0].sample - half, two.last().expect("one or two").sample - half);
        let inside = |start: isize| start >= 0 && start as usize + frame.len() <= self.samples.len();
        if inside(one) && inside(other) {
            let n = frame.len();
            let (a, b) = (&self.samples[one as usize..][..n], &self.samples[other as usize..][..n]);
            for i in 0..n {
                let w = 0.5 * window[i];
                frame[i] = Complex::new(a[i] * w, b[i] * w);
            }
        } else {
            let sample =
                |at: isize| usize::try_from(at).ok().and_then(|at| self.samples.get(at)).copied().unwrap_or(0.0);
            for (i, (z, w)) in frame.iter_mut().zip(window).enumerate() {
                let i = i as isize;
                *z = Complex::new(0.5 * w * sample(one + i), 0.5 * w * sample(other + i));
            }
        }
    }

    /// Overlap-adds two frames, the first centred on `middle`.
    #[inline(always)]
    fn write(&self, frame: &[Complex<f32>], middle: isize, out: &mut [f32]) {
        let FrameSizes { analysis, synthesis, hop, .. } = *self.sizes;
        // The inverse transform does not divide, and the products of the windows sum to 3/8 of their number.
        let scale = (8 * hop) as f32 / (3.0 * (analysis * synthesis) as f32);
        for i in 0..2 {
            let start = middle + (i * hop) as isize - (synthesis / 2) as isize;
            let skipped = (-start).clamp(0, synthesis as isize) as usize;
            let end = (out.len() as isize - start).clamp(skipped as isize, synthesis as isize) as usize;
            if skipped == end {
                continue;
            }
            let to = &mut out[(start + skipped as isize) as usize..(start + end as isize) as usize];
            let (from, window) = (&frame[skipped..end], &self.windows.1[skipped..end]);
            if i == 0 {
                to.iter_mut().zip(from).zip(window).for_each(|((to, z), w)| *to += z.re * (w * scale));
            } else {
                to.iter_mut().zip(from).zip(window).for_each(|((to, z), w)| *to += z.im * (w * scale));
            }
        }
    }
}

/// The spectra of the two frames (times two) from the spectrum of their complex sum.
#[inline(always)]
fn split(frame: &[Complex<f32>], one: &mut Spectrum, other: &mut Spectrum) {
    let bins = one.re.len();
    let tail = &frame[frame.len() + 1 - bins..];
    let (one_re, one_im) = (&mut one.re[..bins], &mut one.im[..bins]);
    let (other_re, other_im) = (&mut other.re[..bins], &mut other.im[..bins]);
    (one_re[0], one_im[0], other_re[0], other_im[0]) = (2.0 * frame[0].re, 0.0, 2.0 * frame[0].im, 0.0);
    for k in 1..bins {
        let (z, mirrored) = (frame[k], tail[bins - 1 - k]);
        one_re[k] = z.re + mirrored.re;
        one_im[k] = z.im - mirrored.im;
        other_re[k] = z.im + mirrored.im;
        other_im[k] = mirrored.re - z.re;
    }
    for spectrum in [one, other] {
        let (re, im) = (&spectrum.re[..bins], &spectrum.im[..bins]);
        let power = &mut spectrum.power[MARGIN..][..bins];
        for k in 0..bins {
            power[k] = re[k] * re[k] + im[k] * im[k];
        }
        for k in 1..=MARGIN {
            spectrum.power[MARGIN - k] = spectrum.power[MARGIN + k];
        }
    }
}

/// The spectrum of a frame with these two as real and imaginary part.
#[inline(always)]
fn join(one: (&[f32], &[f32]), other: (&[f32], &[f32]), frame: &mut [Complex<f32>]) {
    let bins = one.0.len();
    let length = frame.len();
    let (one_re, one_im, other_re, other_im) = (&one.0[..bins], &one.1[..bins], &other.0[..bins], &other.1[..bins]);
    let (low, high) = frame.split_at_mut(bins);
    let tail_start = high.len() - (bins - 1);
    let (between, tail) = high.split_at_mut(tail_start);
    between.fill(Complex::default());
    low[0] = Complex::new(one_re[0], other_re[0]);
    for k in 1..bins {
        low[k] = Complex::new(one_re[k] - other_im[k], one_im[k] + other_re[k]);
        tail[bins - 1 - k] = Complex::new(one_re[k] + other_im[k], other_re[k] - one_im[k]);
    }
    debug_assert_eq!(length, bins + between.len() + bins - 1);
}

/// Maximum displacement of the highest bin, in bins, that is left uncorrected.
const EXACT: f64 = 0.01;

/// Moves every bin `k` up by `k off`, as if the frame were multiplied by `exp(i d sin)` with `d = k off`, which is equal near
/// its middle. The taps are the first terms of the Bessel functions 0 to 2 of `d`.
#[inline(always)]
fn shift(from: &[f32], to: &mut [f32], off: f32) {
    let bins = from.len();
    let inner = bins - 4;
    let at = |i: usize| &from[i..][..inner];
    let (below2, below, here, above, above2) = (at(0), at(1), at(2), at(3), at(4));
    to[..2].copy_from_slice(&from[..2]);
    to[bins - 2..bins].copy_from_slice(&from[bins - 2..]);
    for (i, to) in to[2..bins - 2].iter_mut().enumerate() {
        let h = 0.5 * off * (i + 2) as i32 as f32;
        let h2 = h * h;
        *to = here[i] * (1.0 - h2) + h * (1.0 - 0.5 * h2) * (above[i] - below[i]) + 0.5 * h2 * (above2[i] + below2[i]);
    }
}

/// The sum of the powers above 0 Hz and half of that at 0 Hz.
#[inline(always)]
fn energy(power: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let chunks = power.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for i in 0..8 {
            sums[i] += chunk[i];
        }
    }
    sums.iter().sum::<f32>() + rest - 0.5 * power[0]
}

/// Maximum correction of the level: the loss of uncorrelated frames.
const MAX_GAIN: f32 = 1.44;

/// The sum of the squares under a window.
#[inline(always)]
fn windowed_energy(samples: &[f32], window: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (x, w) in samples.chunks_exact(8).zip(window.chunks_exact(8)) {
        for i in 0..8 {
            sums[i] += (x[i] * w[i]) * (x[i] * w[i]);
        }
    }
    let rest = samples.len() - samples.len() % 8;
    let tail: f32 = samples[rest..].iter().zip(&window[rest..]).map(|(x, w)| (x * w) * (x * w)).sum();
    sums.iter().sum::<f32>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectorised_loop_equals_the_plain_loop() {
        let samples: Vec<f32> = (0..30_000).map(|n| (n as f32 * 0.1).sin() * (n as f32 * 0.0003).cos()).collect();
        let sizes = FrameSizes::new(22050, 1.0, 1.3);
        let count = 30_000 / sizes.hop as isize;
        let positions: Vec<FramePosition> = (0..count)
            .map(|u| FramePosition { sample: u * sizes.hop as isize, before_onset: u % 7 == 3, free: u % 5 != 0 })
            .collect();
        let fast = run(&samples, &sizes, &positions, 0, 30_000);
        let mut plans = Plans::default();
        let windows = (plans.window(sizes.analysis), plans.window(sizes.synthesis));
        let (forward, inverse) = plans.transforms(&sizes);
        let mut buffers = Buffers::default();
        buffers.resize(&sizes, forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len()));
        let job = Job {
            samples: &samples,
            sizes: &sizes,
            windows: (&windows.0, &windows.1),
            forward: &*forward,
            inverse: &*inverse,
        };
        let mut plain = vec![0.0; 30_000];
        job.frames(&mut buffers, &positions, 0, &mut plain);
        assert_eq!(fast, plain);
    }

    #[test]
    fn two_spectra_are_split_and_joined_again() {
        let length = 96;
        let frame: Vec<Complex<f32>> =
            (0..length).map(|n| Complex::new((n as f32).sin(), (3.0 * n as f32).cos())).collect();
        let (mut one, mut other) = (Spectrum::default(), Spectrum::default());
        one.resize(length / 2);
        other.resize(length / 2);
        split(&frame, &mut one, &mut other);
        let mut back = vec![Complex::default(); length];
        join((&one.re, &one.im), (&other.re, &other.im), &mut back);
        for k in (0..length).filter(|&k| k != length / 2) {
            assert!((back[k] - frame[k] * 2.0).norm() < 1e-6, "bin {k}");
        }
    }

    #[test]
    fn a_shift_by_a_part_of_a_bin_is_a_slow_modulation() {
        // A Hann window, moved from bin 20 by a tenth of a bin: 20 times 1/200.
        let hann = |x: f64| {
            if x.abs() < 1e-9 {
                1.0
            } else {
                (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) / (1.0 - x * x)
            }
        };
        let at = |k: usize, middle: f64| {
            let x = k as f64 - middle;
            // Relative to the start of the frame, the signs alternate.
            (if k.is_multiple_of(2) { 1.0 } else { -1.0 }) * if (x.abs() - 1.0).abs() < 1e-9 { 0.5 } else { hann(x) }
        };
        let from: Vec<f32> = (0..40).map(|k| at(k, 20.0) as f32).collect();
        let mut to = vec![0.0; 40];
        shift(&from, &mut to, 0.005);
        for (k, &found) in to.iter().enumerate().take(23).skip(18) {
            assert!((f64::from(found) - at(k, 20.1)).abs() < 0.03, "bin {k}: {found} for {}", at(k, 20.1));
        }
    }
}
