//! Acoustic fingerprints: 32 bits per step of 23 ms that stay nearly the same under gain, resampling and lossy codecs.
//!
//! As in Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System" (ISMIR 2002): the energy in 33 bands of equal
//! width on a logarithmic scale, over frames of 0.37 s; a bit says whether the difference of two adjacent bands grew since an
//! earlier frame. Other than there, the bands reach from 200 to 2,500 Hz and the earlier frame is `LAG` steps back, because
//! isolated notes change little from one step to the next. Frames lie on a grid in seconds, so recordings of different sample
//! rates have comparable frames. Steps without sound have no bits: silence would equal any silence.

use std::f64::consts::PI;
use std::sync::Arc;

use timbre_fft::{Complex, RealPlannerF32, RealToComplex};

use crate::dsp::window::Window;

/// Seconds from one step to the next: 256 samples at 11,025 Hz.
pub const STEP_SECONDS: f64 = 256.0 / 11025.0;
const FRAME_SECONDS: f64 = 16.0 * STEP_SECONDS;
const BANDS: usize = 33;
const LOW_HZ: f64 = 200.0;
const HIGH_HZ: f64 = 2500.0;
/// Steps between the two frames that a bit compares.
const LAG: usize = 4;
/// A recording is decimated to at least this rate, and to less than twice of it.
const LEAST_RATE: f64 = 5500.0;
/// A frame this far below the loudest frame of its recording has no sound, -50 dB, nor has one below -90 dB of full scale.
const QUIET: f32 = 1e-5;
const SILENT: f32 = 1e-9;
/// Samples that are filtered together.
const BLOCK: usize = 1 << 14;

/// The bits of a recording, one word per step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcousticFingerprint {
    /// `None` where there is no sound.
    pub steps: Vec<Option<u32>>,
}

impl AcousticFingerprint {
    /// The fingerprint of samples in memory.
    ///
    /// ```
    /// use timbre_signal::dsp::acoustic_fingerprint::AcousticFingerprint;
    ///
    /// let chirp: Vec<f32> = (0..32000).map(|n| (n as f32 * n as f32 * 1e-5).sin()).collect();
    /// let half: Vec<f32> = chirp.iter().map(|x| 0.5 * x).collect();
    /// let of = |samples: &[f32]| AcousticFingerprint::of(samples, 16000);
    /// assert_eq!(of(&chirp), of(&half));
    /// assert!(of(&chirp).steps.iter().flatten().count() > 50);
    /// ```
    pub fn of(samples: &[f32], sample_rate: u32) -> AcousticFingerprint {
        let mut fingerprinter = Fingerprinter::new(sample_rate);
        fingerprinter.push(samples);
        fingerprinter.finish()
    }

    /// The share of equal bits where this fingerprint, moved by `offset` steps, overlaps another one, and the number of steps
    /// in which both have bits: step `n` of this one is compared with step `n + offset` of the other.
    pub fn similarity(&self, other: &AcousticFingerprint, offset: isize) -> (f64, usize) {
        let own = self.steps.get(offset.min(0).unsigned_abs()..).unwrap_or_default();
        let others = other.steps.get(offset.max(0) as usize..).unwrap_or_default();
        let (different, steps) = different_bits(own, others);
        if steps == 0 { (0.0, 0) } else { (1.0 - different as f64 / (32 * steps) as f64, steps) }
    }
}

/// How many bits differ in the steps that have bits on both sides, and the number of these steps.
pub fn different_bits(one: &[Option<u32>], other: &[Option<u32>]) -> (usize, usize) {
    let both = one.iter().zip(other).filter_map(|(a, b)| Some((*a)? ^ (*b)?));
    both.fold((0, 0), |(bits, n), x| (bits + x.count_ones() as usize, n + 1))
}

/// Computes a fingerprint from blocks of samples.
pub struct Fingerprinter {
    decimator: Decimator,
    /// Rate after decimation.
    rate: f64,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// The borders of the bands in bins.
    edges: [f64; BANDS + 1],
    /// Decimated samples from `first` on.
    pending: Vec<f32>,
    first: usize,
    /// Per frame the energy of each band.
    frames: Vec<[f32; BANDS]>,
    buffers: (Vec<f32>, Vec<Complex<f32>>, Vec<Complex<f32>>),
}

impl Fingerprinter {
    pub fn new(sample_rate: u32) -> Fingerprinter {
        let decimator = Decimator::new(sample_rate);
        let rate = f64::from(sample_rate) / decimator.factor as f64;
        let length = smooth_even((FRAME_SECONDS * rate).round() as usize);
        let fft = RealPlannerF32::new().forward(length);
        let ratio = HIGH_HZ / LOW_HZ;
        let edges =
            std::array::from_fn(|band| LOW_HZ * libm::pow(ratio, band as f64 / BANDS as f64) * length as f64 / rate);
        Fingerprinter {
            decimator,
            rate,
            window: Window::Hann.periodic(length).into_iter().map(|w| w as f32).collect(),
            edges,
            pending: Vec::new(),
            first: 0,
            frames: Vec::new(),
            buffers: (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec()),
            fft,
        }
    }

    pub fn push(&mut self, samples: &[f32]) {
        for block in samples.chunks(BLOCK) {
            self.decimator.push(block, &mut self.pending);
            self.take_frames();
        }
    }

    /// The fingerprint of everything that was pushed.
    pub fn finish(mut self) -> AcousticFingerprint {
        self.decimator.finish(&mut self.pending);
        self.take_frames();
        let loudest = self.frames.iter().map(total).fold(0.0, f32::max);
        let has_sound = |frame: &[f32; BANDS]| total(frame) > (loudest * QUIET).max(SILENT);
        let word = |pair: &[[f32; BANDS]]| {
            let (before, now) = (&pair[0], &pair[LAG]);
            let bit = |band: usize| (now[band] - now[band + 1]) - (before[band] - before[band + 1]) > 0.0;
            let bits = (0..BANDS - 1).fold(0, |bits, band| (bits << 1) | u32::from(bit(band)));
            (has_sound(before) || has_sound(now)).then_some(bits)
        };
        AcousticFingerprint { steps: self.frames.windows(LAG + 1).map(word).collect() }
    }

    fn take_frames(&mut self) {
        let length = self.window.len();
        let scale = 4.0 / (length as f32 * length as f32);
        loop {
            let begin = (self.frames.len() as f64 * STEP_SECONDS * self.rate).round() as usize - self.first;
            let Some(samples) = self.pending.get(begin..begin + length) else {
                let done = begin.min(self.pending.len());
                self.pending.drain(..done);
                self.first += done;
                return;
            };
            let (frame, spectrum, scratch) = &mut self.buffers;
            for ((out, x), w) in frame.iter_mut().zip(samples).zip(&self.window) {
                *out = x * w;
            }
            self.fft.process_with_scratch(frame, spectrum, scratch).expect("buffers of the plan's lengths");
            // The sum of the power below each bin; a border between two bins divides the bin.
            let mut sums = Vec::with_capacity(spectrum.len() + 1);
            let mut sum = 0.0f32;
            sums.push(0.0);
            sums.extend(spectrum.iter().map(|z| {
                sum += scale * z.norm_sqr();
                sum
            }));
            let below = |edge: f64| {
                let place = edge.min(spectrum.len() as f64);
                let (bin, share) = (place as usize, place.fract() as f32);
                let rest = sums.get(bin + 1).map_or(0.0, |next| share * (next - sums[bin]));
                sums[bin] + rest
            };
            let borders = self.edges.map(below);
            self.frames.push(std::array::from_fn(|band| borders[band + 1] - borders[band]));
        }
    }
}

fn total(frame: &[f32; BANDS]) -> f32 {
    frame.iter().sum()
}

/// The nearest even number of at least `n` whose half has no prime factor above 5, for a fast transform.
fn smooth_even(n: usize) -> usize {
    let is_smooth = |mut n: usize| {
        for factor in [2, 3, 5] {
            while n.is_multiple_of(factor) {
                n /= factor;
            }
        }
        n == 1
    };
    2 * (n.div_ceil(2).max(1)..).find(|&half| is_smooth(half)).expect("there is a power of two")
}

/// Keeps every n-th sample after a low-pass that leaves the bands alone.
struct Decimator {
    factor: usize,
    taps: Vec<f32>,
    /// Samples from `first` on, the index of the first sample; it may begin before the recording.
    held: Vec<f32>,
    first: isize,
    /// Number of samples that were output.
    made: usize,
}

impl Decimator {
    fn new(sample_rate: u32) -> Decimator {
        let rate = f64::from(sample_rate);
        let factor = ((rate / LEAST_RATE) as usize).max(1);
        if factor == 1 {
            return Decimator { factor, taps: vec![1.0], held: Vec::new(), first: 0, made: 0 };
        }
        // What lies above `rate / factor - HIGH_HZ` would be mirrored into the bands. A Blackman window needs 5.5 / width taps.
        let stop = rate / factor as f64 - HIGH_HZ;
        let (cutoff, width) = ((HIGH_HZ + stop) / 2.0 / rate, (stop - HIGH_HZ) / rate);
        let reach = (5.5 / width / 2.0).ceil() as isize;
        let tap = |n: isize| {
            let (x, phase) = (2.0 * cutoff * n as f64, PI * n as f64 / reach as f64);
            let sinc = if n == 0 { 1.0 } else { libm::sin(PI * x) / (PI * x) };
            2.0 * cutoff * sinc * (0.42 + 0.5 * libm::cos(phase) + 0.08 * libm::cos(2.0 * phase))
        };
        let taps: Vec<f32> = (-reach..=reach).map(|n| tap(n) as f32).collect();
        Decimator { factor, held: vec![0.0; reach as usize], first: -reach, taps, made: 0 }
    }

    fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.held.extend_from_slice(samples);
        let reach = (self.taps.len() / 2) as isize;
        loop {
            let centre = (self.made * self.factor) as isize;
            let begin = (centre - reach - self.first) as usize;
            let Some(around) = self.held.get(begin..begin + self.taps.len()) else {
                let done = begin.min(self.held.len());
                self.held.drain(..done);
                self.first += done as isize;
                return;
            };
            out.push(dot(around, &self.taps));
            self.made += 1;
        }
    }

    /// The last samples, with silence behind the recording.
    fn finish(&mut self, out: &mut Vec<f32>) {
        self.push(&vec![0.0; self.taps.len() / 2], out);
    }
}

/// The sum of products, in lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0f32; 16];
    for (x, y) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f32>() + rest_a.iter().zip(rest_b).map(|(x, y)| x * y).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{ResampleFilter, resample};
    use crate::dsp::codec;

    /// Plucked notes of changing pitch with decaying harmonics, and a little noise.
    fn melody(seed: u32, rate: u32, seconds: f64) -> Vec<f32> {
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let mut samples = vec![0.0f32; (seconds * f64::from(rate)) as usize];
        let note = rate as usize / 4;
        for part in samples.chunks_mut(note) {
            let (pitch, decay) = (110.0 * 2f64.powf(random() * 3.0), 2.0 + 6.0 * random());
            let strengths: Vec<f64> = (0..8).map(|_| random()).collect();
            for (n, sample) in part.iter_mut().enumerate() {
                let t = n as f64 / f64::from(rate);
                let tone: f64 = (1..=8).map(|k| strengths[k - 1] * (2.0 * PI * pitch * k as f64 * t).sin()).sum();
                *sample = (0.1 * tone * (-decay * t).exp()) as f32 + 0.002 * (random() as f32 - 0.5);
            }
        }
        samples
    }

    fn of(samples: &[f32], rate: u32) -> AcousticFingerprint {
        AcousticFingerprint::of(samples, rate)
    }

    #[test]
    fn blocks_give_the_fingerprint_of_the_whole() {
        for rate in [44100, 8000, 5000] {
            let samples = melody(1, rate, 3.0);
            let mut parts = Fingerprinter::new(rate);
            samples.chunks(777).for_each(|block| parts.push(block));
            assert_eq!(parts.finish(), of(&samples, rate));
        }
    }

    #[test]
    fn gain_changes_no_bit_and_resampling_and_a_codec_few() {
        let samples = melody(2, 44100, 5.0);
        let original = of(&samples, 44100);
        assert!(original.steps.len() > 180 && original.steps.iter().all(Option::is_some));
        let half: Vec<f32> = samples.iter().map(|x| 0.5 * x).collect();
        assert_eq!(of(&half, 44100), original);
        for rate in [48000, 22050, 16000, 11025, 8000] {
            let other = of(&resample(&samples, 44100, rate, ResampleFilter::BlackmanHarris), rate);
            let (same, steps) = original.similarity(&other, 0);
            assert!(same > 0.93 && steps > 180, "{rate}: {same} of {steps}");
        }
        let mut coded = samples.clone();
        codec::encode_decode(&mut coded, 64.0, 44100);
        let (same, _) = original.similarity(&of(&coded, 44100), 0);
        assert!(same > 0.85, "{same}");
    }

    #[test]
    fn other_recordings_have_half_of_the_bits() {
        let originals: Vec<AcousticFingerprint> = (0..12).map(|seed| of(&melody(seed, 16000, 5.0), 16000)).collect();
        for (n, one) in originals.iter().enumerate() {
            for other in &originals[..n] {
                let (same, _) = one.similarity(other, 0);
                assert!((0.3..0.7).contains(&same), "{same}");
            }
        }
    }

    #[test]
    fn a_part_is_found_at_its_offset() {
        let samples = melody(3, 22050, 8.0);
        let (whole, part) = (of(&samples, 22050), of(&samples[3 * 22050..6 * 22050], 22050));
        let best = (-100..400).max_by(|&a, &b| part.similarity(&whole, a).0.total_cmp(&part.similarity(&whole, b).0));
        let best = best.unwrap();
        assert!((best as f64 * STEP_SECONDS - 3.0).abs() < STEP_SECONDS, "{best}");
        assert!(part.similarity(&whole, best).0 > 0.9);
        assert!(whole.similarity(&part, -best).0 > 0.9);
    }

    #[test]
    fn silence_and_very_short_recordings_have_no_bits() {
        assert!(of(&vec![0.0; 44100], 44100).steps.iter().all(Option::is_none));
        assert_eq!(of(&[0.5; 100], 44100).steps, []);
        let mut samples = melody(4, 16000, 2.0);
        samples.resize(16000 * 5, 0.0);
        let steps = of(&samples, 16000).steps;
        assert!(steps[..60].iter().all(Option::is_some) && steps[100..].iter().all(Option::is_none));
    }
}
