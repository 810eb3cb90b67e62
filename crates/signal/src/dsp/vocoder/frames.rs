//! Reads frames of the clip, turns their phases, and lays them over each other again.
//!
//! Two frames go through one complex transform, one as its real and one as its imaginary part: that is half the price of two
//! real transforms.
//! Hann windows on both sides; their product, four on each other, sums up to a constant, so whatever is not turned comes out as it went in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::rc::Rc;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::frame_sizes::FrameSizes;
use super::phase_lock::{MARGIN, Peaks, Rotations, Spectrum, Step, lock};
use super::time_map::FramePosition;

type Transform = Arc<dyn Fft<f32>>;

/// What a thread keeps from clip to clip.
#[derive(Default)]
struct Bench {
    plans: Plans,
    work: Work,
}

#[derive(Default)]
struct Plans {
    planner: Option<FftPlanner<f32>>,
    windows: BTreeMap<usize, Rc<[f32]>>,
}

/// How many windows, and so about how many transforms, a thread keeps: with random pitches there are about 150 lengths for a sample rate.
const WINDOWS_KEPT: usize = 400;

impl Plans {
    fn window(&mut self, length: usize) -> Rc<[f32]> {
        if self.windows.len() == WINDOWS_KEPT && !self.windows.contains_key(&length) {
            *self = Plans::default();
        }
        let hann = |n: usize| (0.5 - 0.5 * (TAU * n as f64 / length as f64).cos()) as f32;
        Rc::clone(self.windows.entry(length).or_insert_with(|| (0..length).map(hann).collect()))
    }

    fn transforms(&mut self, shape: &FrameSizes) -> (Transform, Transform) {
        let planner = self.planner.get_or_insert_with(FftPlanner::new);
        (planner.plan_fft_forward(shape.analysis), planner.plan_fft_inverse(shape.synthesis))
    }
}

/// Real and imaginary parts.
type Parts = (Vec<f32>, Vec<f32>);

/// Everything that a frame is worked on in.
#[derive(Default)]
struct Work {
    waves: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// The frame before the two, and the two.
    spectra: [Spectrum; 3],
    turns: [Rotations; 3],
    peaks: Peaks,
    energies: Vec<f32>,
    turned: [Parts; 2],
    shifted: [Parts; 2],
}

impl Work {
    fn resize(&mut self, shape: &FrameSizes, scratch: usize) {
        let (bins, zero) = (shape.bins(), Complex::default());
        self.waves.clear();
        self.waves.resize(shape.analysis.max(shape.synthesis), zero);
        self.scratch.resize(self.scratch.len().max(scratch), zero);
        self.spectra.iter_mut().for_each(|spectrum| spectrum.resize(bins));
        self.turns.iter_mut().for_each(|turns| turns.resize(bins));
        self.peaks.resize(bins);
        for (re, im) in self.turned.iter_mut().chain(&mut self.shifted) {
            re.resize(bins, 0.0);
            im.resize(bins, 0.0);
        }
    }
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::default();
}

/// `output` samples, of frames whose middles lie at `positions` of the recording and, one hop after the other from `first` on, of the output.
pub fn run(samples: &[f32], shape: &FrameSizes, positions: &[FramePosition], first: isize, output: usize) -> Vec<f32> {
    let mut out = vec![0.0; output];
    BENCH.with_borrow_mut(|Bench { plans, work }| {
        let windows = (plans.window(shape.analysis), plans.window(shape.synthesis));
        let (forward, inverse) = plans.transforms(shape);
        work.resize(shape, forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len()));
        let job = Job { samples, shape, windows: (&windows.0, &windows.1), forward: &*forward, inverse: &*inverse };
        job.run(work, positions, first, &mut out);
    });
    out
}

struct Job<'a> {
    samples: &'a [f32],
    shape: &'a FrameSizes,
    windows: (&'a [f32], &'a [f32]),
    forward: &'a dyn Fft<f32>,
    inverse: &'a dyn Fft<f32>,
}

impl Job<'_> {
    fn run(&self, work: &mut Work, positions: &[FramePosition], first: isize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has just said that it knows these instructions.
            return unsafe { self.run_on_avx2(work, positions, first, out) };
        }
        self.frames(work, positions, first, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn run_on_avx2(&self, work: &mut Work, positions: &[FramePosition], first: isize, out: &mut [f32]) {
        self.frames(work, positions, first, out);
    }

    #[inline(always)]
    fn frames(&self, work: &mut Work, positions: &[FramePosition], first: isize, out: &mut [f32]) {
        let FrameSizes { analysis, synthesis, hop, pitch } = *self.shape;
        let mut middle = first;
        work.energies.clear();
        // By how much of its number a bin lies too low where it is laid down.
        let off = pitch * synthesis as f64 / analysis as f64 - 1.0;
        let mut was = None;
        for two in positions.chunks(2) {
            self.read(two, &mut work.waves[..analysis]);
            self.forward.process_with_scratch(&mut work.waves[..analysis], &mut work.scratch);
            let [before, one, other] = &mut work.spectra;
            split(&work.waves[..analysis], one, other);
            for (i, place) in two.iter().enumerate() {
                // The first frame is not turned, as if it followed another at the pace of the frames.
                let read = was.map_or(hop as f64 * pitch, |was| (place.sample - was) as f64);
                was = Some(place.sample);
                let step = Step { read, write: hop as f64 * pitch, analysis, before_onset: place.before_onset };
                let (now, before) = if i == 0 { (&*one, &*before) } else { (&*other, &*one) };
                let [zeroth, first, second] = &mut work.turns;
                let (old, new) = if i == 0 { (&*zeroth, first) } else { (&*first, second) };
                let (re, im) = &mut work.turned[i];
                lock(now, before, step, old, new, &mut work.peaks, (re, im));
                work.energies.push(energy(&now.power[MARGIN..]));
            }
            if two.len() == 1 {
                work.turned[1].0.fill(0.0);
                work.turned[1].1.fill(0.0);
            }
            let Work { turned, shifted, .. } = work;
            let [one, other] = if off.abs() * (turned[0].0.len() as f64) < EXACT {
                &*turned
            } else {
                for (from, to) in turned.iter().zip(shifted.iter_mut()) {
                    shift(&from.0, &mut to.0, off as f32);
                    shift(&from.1, &mut to.1, off as f32);
                }
                &*shifted
            };
            join((&one.0, &one.1), (&other.0, &other.1), &mut work.waves[..synthesis]);
            self.inverse.process_with_scratch(&mut work.waves[..synthesis], &mut work.scratch);
            self.write(&work.waves[..synthesis], middle, out);
            work.spectra.rotate_right(1);
            work.turns.rotate_right(1);
            middle += 2 * hop as isize;
        }
        self.keep_level(&work.energies, positions, first, out);
    }

    /// Partials keep their level, but where time is stretched, frames of noise do not add up as they did in the recording: what they lose
    /// on the whole is given back there.
    #[inline(always)]
    fn keep_level(&self, energies: &[f32], positions: &[FramePosition], first: isize, out: &mut [f32]) {
        let FrameSizes { analysis, synthesis, hop, .. } = *self.shape;
        // By Parseval, over bins of both signs.
        let scale = 2.0 * synthesis as f32 / (analysis as f32 * analysis as f32);
        let (mut wanted, mut have) = (0.0f64, 0.0f64);
        let mut middle = first;
        // Every second one says enough.
        for (place, energy) in positions.iter().zip(energies).step_by(2) {
            let start = middle - (synthesis / 2) as isize;
            if place.free && start >= 0 && start as usize + synthesis <= out.len() {
                wanted += f64::from(energy * scale);
                have += f64::from(windowed_energy(&out[start as usize..][..synthesis], self.windows.1));
            }
            middle += 2 * hop as isize;
        }
        if !(have > 0.0 && wanted > 0.0) {
            return;
        }
        let gain = ((wanted / have).sqrt() as f32).clamp(1.0 / MOST_GAIN, MOST_GAIN);
        let gain_at = |place: &FramePosition| if place.free { gain } else { 1.0 };
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

    /// Two frames as real and imaginary parts, windowed and halved (which `split` would have to do otherwise).
    #[inline(always)]
    fn read(&self, two: &[FramePosition], waves: &mut [Complex<f32>]) {
        let half = (waves.len() / 2) as isize;
        let window = &self.windows.0[..waves.len()];
        let (one, other) = (two[0].sample - half, two.last().expect("one or two").sample - half);
        let inside = |start: isize| start >= 0 && start as usize + waves.len() <= self.samples.len();
        if inside(one) && inside(other) {
            let n = waves.len();
            let (a, b) = (&self.samples[one as usize..][..n], &self.samples[other as usize..][..n]);
            for i in 0..n {
                let w = 0.5 * window[i];
                waves[i] = Complex::new(a[i] * w, b[i] * w);
            }
        } else {
            let sample =
                |at: isize| usize::try_from(at).ok().and_then(|at| self.samples.get(at)).copied().unwrap_or(0.0);
            for (i, (z, w)) in waves.iter_mut().zip(window).enumerate() {
                let i = i as isize;
                *z = Complex::new(0.5 * w * sample(one + i), 0.5 * w * sample(other + i));
            }
        }
    }

    /// The two frames, the first with its middle at `middle`, laid over what is there.
    #[inline(always)]
    fn write(&self, waves: &[Complex<f32>], middle: isize, out: &mut [f32]) {
        let FrameSizes { analysis, synthesis, hop, .. } = *self.shape;
        // The inverse transform does not divide, and the products of the windows sum up to 3/8 of their number.
        let scale = (8 * hop) as f32 / (3.0 * (analysis * synthesis) as f32);
        for i in 0..2 {
            let start = middle + (i * hop) as isize - (synthesis / 2) as isize;
            let skipped = (-start).clamp(0, synthesis as isize) as usize;
            let end = (out.len() as isize - start).clamp(skipped as isize, synthesis as isize) as usize;
            if skipped == end {
                continue;
            }
            let to = &mut out[(start + skipped as isize) as usize..(start + end as isize) as usize];
            let (from, window) = (&waves[skipped..end], &self.windows.1[skipped..end]);
            if i == 0 {
                to.iter_mut().zip(from).zip(window).for_each(|((to, z), w)| *to += z.re * (w * scale));
            } else {
                to.iter_mut().zip(from).zip(window).for_each(|((to, z), w)| *to += z.im * (w * scale));
            }
        }
    }
}

/// The spectra of the two frames (times two) from that of their sum.
#[inline(always)]
fn split(waves: &[Complex<f32>], one: &mut Spectrum, other: &mut Spectrum) {
    let bins = one.re.len();
    let tail = &waves[waves.len() + 1 - bins..];
    let (one_re, one_im) = (&mut one.re[..bins], &mut one.im[..bins]);
    let (other_re, other_im) = (&mut other.re[..bins], &mut other.im[..bins]);
    (one_re[0], one_im[0], other_re[0], other_im[0]) = (2.0 * waves[0].re, 0.0, 2.0 * waves[0].im, 0.0);
    for k in 1..bins {
        let (z, mirrored) = (waves[k], tail[bins - 1 - k]);
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
fn join(one: (&[f32], &[f32]), other: (&[f32], &[f32]), waves: &mut [Complex<f32>]) {
    let bins = one.0.len();
    let length = waves.len();
    let (one_re, one_im, other_re, other_im) = (&one.0[..bins], &one.1[..bins], &other.0[..bins], &other.1[..bins]);
    let (low, high) = waves.split_at_mut(bins);
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

/// The highest bin may lie so far from its place, in bins, before something is done about it.
const EXACT: f64 = 0.01;

/// Moves every bin up by `off` of its number `k`: as if the frame were multiplied by `exp(i d sin)` with `d = k off`, which near its
/// middle is the same. The taps are the Bessel functions 0 to 2 of `d`, by their first terms.
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

/// How far the level may be corrected: as far as that of frames that have nothing to do with each other sinks.
const MOST_GAIN: f32 = 1.44;

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
    fn the_loop_in_vectors_and_the_plain_loop_give_the_same_samples() {
        let samples: Vec<f32> = (0..30_000).map(|n| (n as f32 * 0.1).sin() * (n as f32 * 0.0003).cos()).collect();
        let shape = FrameSizes::new(22050, 1.0, 1.3);
        let count = 30_000 / shape.hop as isize;
        let positions: Vec<FramePosition> = (0..count)
            .map(|u| FramePosition { sample: u * shape.hop as isize, before_onset: u % 7 == 3, free: u % 5 != 0 })
            .collect();
        let fast = run(&samples, &shape, &positions, 0, 30_000);
        let mut plans = Plans::default();
        let windows = (plans.window(shape.analysis), plans.window(shape.synthesis));
        let (forward, inverse) = plans.transforms(&shape);
        let mut work = Work::default();
        work.resize(&shape, forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len()));
        let job = Job {
            samples: &samples,
            shape: &shape,
            windows: (&windows.0, &windows.1),
            forward: &*forward,
            inverse: &*inverse,
        };
        let mut plain = vec![0.0; 30_000];
        job.frames(&mut work, &positions, 0, &mut plain);
        assert_eq!(fast, plain);
    }

    #[test]
    fn two_spectra_are_split_and_joined_again() {
        let length = 96;
        let waves: Vec<Complex<f32>> =
            (0..length).map(|n| Complex::new((n as f32).sin(), (3.0 * n as f32).cos())).collect();
        let (mut one, mut other) = (Spectrum::default(), Spectrum::default());
        one.resize(length / 2);
        other.resize(length / 2);
        split(&waves, &mut one, &mut other);
        let mut back = vec![Complex::default(); length];
        join((&one.re, &one.im), (&other.re, &other.im), &mut back);
        for k in (0..length).filter(|&k| k != length / 2) {
            assert!((back[k] - waves[k] * 2.0).norm() < 1e-6, "bin {k}");
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
            // Counted from the start of the frame, the signs alternate.
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
