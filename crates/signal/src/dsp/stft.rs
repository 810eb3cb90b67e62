//! The short-time Fourier transform as a power spectrogram.
//!
//! Conventions (librosa 0.11): `1 + n_fft / 2` bins, no scaling; a window shorter than the frame is centred in it; with
//! `center`, frame `t` is centred on sample `t * hop_length` and the ends are padded with `n_fft / 2` values, otherwise it
//! begins there. Frames that would need more padding do not exist. Reflection does not repeat the end sample, and reflects
//! repeatedly on clips shorter than the padding (numpy's rule; librosa itself reflects a shortened tail, which differs in
//! the last frames when `hop_length > n_fft / 2`).
//!
//! The transform runs in f64, as in librosa, and its power is rounded to f32: next to a loud partial, the rounding noise of
//! an f32 transform (about 1e-8 of the peak) hides the far bins, which determine the bandwidth of a tone. Powers below 1e-38
//! of full scale squared round to zero.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use timbre_fft::{RealPlannerF64, RealToComplex};

use crate::dsp::window::Window;

/// How a clip continues beyond its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// Zeros.
    Constant,
    /// The clip, reflected.
    Reflect,
}

/// Parameters of a spectrogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StftSpec {
    pub n_fft: usize,
    pub hop_length: usize,
    pub win_length: usize,
    pub window: Window,
    pub center: bool,
    pub pad_mode: PadMode,
}

impl StftSpec {
    pub fn bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    fn padding(&self) -> usize {
        if self.center { self.n_fft / 2 } else { 0 }
    }

    /// Number of frames of a clip with `samples` samples; 0 if it is shorter than the first frame.
    pub fn frames(&self, samples: usize) -> usize {
        let padded = samples + 2 * self.padding();
        if samples == 0 || padded < self.n_fft { 0 } else { 1 + (padded - self.n_fft) / self.hop_length }
    }

    /// Index of the sample at position `n` of frame `t`; `None` in the zero padding.
    pub fn sample_at(&self, t: usize, n: usize, samples: usize) -> Option<usize> {
        mirrored((t * self.hop_length + n) as isize - self.padding() as isize, samples, self.pad_mode)
    }

    /// Centre frequency of each bin in Hz.
    pub fn frequencies(&self, sample_rate: u32) -> Vec<f64> {
        (0..self.bins()).map(|k| k as f64 * f64::from(sample_rate) / self.n_fft as f64).collect()
    }
}

/// Squared magnitudes, frame-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrogram {
    pub bins: usize,
    pub frames: usize,
    pub power: Vec<f32>,
}

/// A planned transform for any number of clips.
///
/// ```
/// use timbre_signal::dsp::stft::{PadMode, StftPlan, StftSpec};
/// use timbre_signal::dsp::window::Window;
///
/// let spec = StftSpec {
///     n_fft: 512,
///     hop_length: 256,
///     win_length: 512,
///     window: Window::Hann,
///     center: true,
///     pad_mode: PadMode::Reflect,
/// };
/// let tone: Vec<f32> = (0..8000).map(|n| (std::f32::consts::TAU * 1000.0 * n as f32 / 16000.0).sin()).collect();
/// let spectrogram = StftPlan::new(spec).power(&tone);
/// assert_eq!((spectrogram.bins, spectrogram.frames), (257, 32));
/// let frame = &spectrogram.power[16 * 257..17 * 257];
/// assert_eq!((0..257).max_by(|&a, &b| frame[a].total_cmp(&frame[b])), Some(32));
/// ```
pub struct StftPlan {
    spec: StftSpec,
    window: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
}

impl StftPlan {
    /// Panics if the window is longer than the frame, or frame or hop are 0: the caller validates its keys.
    pub fn new(spec: StftSpec) -> Self {
        assert!(
            (1..=spec.n_fft).contains(&spec.win_length) && spec.hop_length > 0,
            "a window within the frame: {spec:?}"
        );
        StftPlan { spec, window: spec.window.periodic(spec.win_length), fft: RealPlannerF64::new().forward(spec.n_fft) }
    }

    pub fn spec(&self) -> &StftSpec {
        &self.spec
    }

    /// The power spectrogram; without frames if the clip is too short.
    pub fn power(&self, samples: &[f32]) -> Spectrogram {
        self.power_into(Vec::new(), samples)
    }

    /// Like [`power`](Self::power), reusing the memory of `power`.
    pub fn power_into(&self, power: Vec<f32>, samples: &[f32]) -> Spectrogram {
        self.frames_in(power, samples, |_| None)
    }

    /// [`power_into`](Self::power_into) of a window of a longer clip that begins at sample `start` (a multiple of the hop), given
    /// the spectrogram of the `whole` clip. Frames inside the window are copied, since they are equal bit for bit; only frames
    /// that reach beyond it are computed.
    pub fn power_of_window_into(
        &self,
        power: Vec<f32>,
        window: &[f32],
        whole: &Spectrogram,
        start: usize,
    ) -> Spectrogram {
        let StftSpec { n_fft, hop_length, .. } = self.spec;
        assert!(start.is_multiple_of(hop_length), "frames of the window are frames of the whole");
        let (first, bins) = (start / hop_length, self.spec.bins());
        let lead = (n_fft - self.window.len()) / 2;
        self.frames_in(power, window, |t| {
            let begin = (t * hop_length + lead).checked_sub(self.spec.padding())?;
            let inside = begin + self.window.len() <= window.len();
            inside.then(|| &whole.power[(first + t) * bins..(first + t + 1) * bins])
        })
    }

    fn frames_in<'a>(
        &self,
        mut power: Vec<f32>,
        samples: &[f32],
        known: impl Fn(usize) -> Option<&'a [f32]>,
    ) -> Spectrogram {
        let StftSpec { n_fft, hop_length, .. } = self.spec;
        let (bins, frames) = (self.spec.bins(), self.spec.frames(samples.len()));
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        let lead = (n_fft - self.window.len()) / 2;
        let span = lead..lead + self.window.len();
        power.clear();
        power.reserve_exact(bins * frames);
        for t in 0..frames {
            if let Some(frame) = known(t) {
                power.extend_from_slice(frame);
                continue;
            }
            // The transform uses its input as scratch, so the margins of a short window are cleared each time.
            frame[..span.start].fill(0.0);
            frame[span.end..].fill(0.0);
            let start = (t * hop_length + lead) as isize - self.spec.padding() as isize;
            self.load(samples, start, &mut frame[span.clone()]);
            self.fft
                .process_with_scratch(&mut frame, &mut spectrum, &mut scratch)
                .expect("buffers of the plan's lengths");
            power.extend(spectrum.iter().map(|z| (z.re * z.re + z.im * z.im) as f32));
        }
        Spectrogram { bins, frames, power }
    }

    /// Loads the windowed samples from `start` on, which may begin before the clip or end after it.
    fn load(&self, samples: &[f32], start: isize, out: &mut [f64]) {
        let end = start + out.len() as isize;
        if start >= 0 && end <= samples.len() as isize {
            let inside = &samples[start as usize..end as usize];
            for ((out, &x), &w) in out.iter_mut().zip(inside).zip(&self.window) {
                *out = f64::from(x) * w;
            }
        } else {
            for ((i, out), &w) in (start..).zip(out.iter_mut()).zip(&self.window) {
                *out = f64::from(sample_or_padding(samples, i, self.spec.pad_mode)) * w;
            }
        }
    }
}

fn sample_or_padding(samples: &[f32], i: isize, pad_mode: PadMode) -> f32 {
    mirrored(i, samples.len(), pad_mode).map_or(0.0, |i| samples[i])
}

/// Index of the sample at position `i`, which may be outside the clip; None in zero padding.
pub fn mirrored(i: isize, samples: usize, pad_mode: PadMode) -> Option<usize> {
    let last = samples as isize - 1;
    if (0..=last).contains(&i) {
        return Some(i as usize);
    }
    match pad_mode {
        PadMode::Constant => None,
        PadMode::Reflect if last == 0 => Some(0),
        PadMode::Reflect => {
            let along = i.rem_euclid(2 * last);
            Some(along.min(2 * last - along) as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    fn spec(n_fft: usize, hop_length: usize, win_length: usize) -> StftSpec {
        StftSpec { n_fft, hop_length, win_length, window: Window::Hann, center: true, pad_mode: PadMode::Constant }
    }

    /// The definition: pad, cut, multiply, sum.
    fn slow_power(samples: &[f32], spec: &StftSpec) -> Vec<f64> {
        let pad = if spec.center { spec.n_fft / 2 } else { 0 };
        let mut padded: Vec<f64> = Vec::new();
        for i in -(pad as isize)..(samples.len() + pad) as isize {
            padded.push(f64::from(if spec.pad_mode == PadMode::Constant {
                if i < 0 { 0.0 } else { samples.get(i as usize).copied().unwrap_or(0.0) }
            } else {
                // Walk back and forth, one step at a time.
                let (mut at, mut step) = (0usize, 1isize);
                for _ in 0..i.unsigned_abs() {
                    if samples.len() > 1 {
                        if at == samples.len() - 1 {
                            step = -1;
                        } else if at == 0 {
                            step = 1;
                        }
                        at = (at as isize + step) as usize;
                    }
                }
                samples[at]
            }));
        }
        let mut window = vec![0.0; (spec.n_fft - spec.win_length) / 2];
        window.extend(spec.window.periodic(spec.win_length));
        window.resize(spec.n_fft, 0.0);
        let mut power = Vec::new();
        let mut start = 0;
        while start + spec.n_fft <= padded.len() {
            for k in 0..=spec.n_fft / 2 {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..spec.n_fft {
                    let angle = TAU * ((k * n) % spec.n_fft) as f64 / spec.n_fft as f64;
                    re += padded[start + n] * window[n] * angle.cos();
                    im -= padded[start + n] * window[n] * angle.sin();
                }
                power.push(re * re + im * im);
            }
            start += spec.hop_length;
        }
        power
    }

    fn any_spec() -> impl Strategy<Value = StftSpec> {
        (2usize..48, 1usize..40, 0.1..=1.0f64, 0usize..4, any::<bool>(), any::<bool>()).prop_map(
            |(n_fft, hop_length, share, window, center, reflect)| StftSpec {
                n_fft,
                hop_length,
                win_length: ((n_fft as f64 * share) as usize).max(1),
                window: [Window::Hann, Window::Hamming, Window::Blackman, Window::Boxcar][window],
                center,
                pad_mode: if reflect { PadMode::Reflect } else { PadMode::Constant },
            },
        )
    }

    proptest! {
        #[test]
        fn the_fast_transform_equals_the_definition(
            spec in any_spec(),
            samples in prop::collection::vec(-1.0f32..1.0, 1..150),
        ) {
            let fast = StftPlan::new(spec).power(&samples);
            let slow = slow_power(&samples, &spec);
            prop_assert_eq!(fast.power.len(), slow.len());
            prop_assert_eq!(fast.frames * fast.bins, slow.len());
            let peak = slow.iter().copied().fold(0.0, f64::max);
            for (a, b) in fast.power.iter().zip(&slow) {
                prop_assert!((f64::from(*a) - b).abs() <= 1e-6 * b + 1e-14 * peak, "{a} is not {b}");
            }
        }

        #[test]
        fn a_window_of_a_known_clip_equals_the_window_alone_bit_for_bit(
            spec in any_spec(),
            samples in prop::collection::vec(-1.0f32..1.0, 1..300),
            (hops, length) in (0usize..12, 1usize..120),
        ) {
            let plan = StftPlan::new(spec);
            let start = hops * spec.hop_length;
            prop_assume!(start + length <= samples.len());
            let window = &samples[start..start + length];
            let cut = plan.power_of_window_into(Vec::new(), window, &plan.power(&samples), start);
            prop_assert_eq!(cut, plan.power(window));
        }

        #[test]
        fn twice_the_amplitude_gives_four_times_the_power(samples in prop::collection::vec(-1.0f32..1.0, 100..400)) {
            let plan = StftPlan::new(spec(64, 16, 48));
            let loud: Vec<f32> = samples.iter().map(|x| 2.0 * x).collect();
            for (a, b) in plan.power(&loud).power.iter().zip(plan.power(&samples).power) {
                prop_assert_eq!(*a, 4.0 * b);
            }
        }

        #[test]
        fn the_energy_of_a_frame_is_its_mean_power(samples in prop::collection::vec(-1.0f32..1.0, 64)) {
            // Parseval: inner bins count twice.
            let spec = StftSpec { window: Window::Boxcar, center: false, ..spec(64, 64, 64) };
            let power = StftPlan::new(spec).power(&samples).power;
            let spectral: f64 = power.iter().enumerate()
                .map(|(k, &p)| f64::from(p) * if k == 0 || k == 32 { 1.0 } else { 2.0 }).sum::<f64>() / 64.0;
            let temporal: f64 = samples.iter().map(|&x| f64::from(x).powi(2)).sum();
            prop_assert!((spectral - temporal).abs() < 1e-5 * temporal);
        }
    }

    #[test]
    fn a_440_hz_tone_peaks_in_its_own_bin() {
        let samples: Vec<f32> = (0..22050).map(|n| (TAU * 440.0 * f64::from(n) / 22050.0).sin() as f32).collect();
        let spec = spec(2048, 512, 2048);
        let spectrogram = StftPlan::new(spec).power(&samples);
        let middle = &spectrogram.power[20 * 1025..21 * 1025];
        let peak = (0..1025).max_by(|&a, &b| middle[a].total_cmp(&middle[b])).unwrap();
        assert_eq!(peak, 41);
        assert!((spec.frequencies(22050)[peak] - 440.0).abs() < 22050.0 / 2048.0 / 2.0);
    }

    #[test]
    fn three_seconds_at_22050_hz_have_130_frames() {
        assert_eq!(spec(2048, 512, 2048).frames(66150), 130);
        assert_eq!(StftSpec { center: false, ..spec(2048, 512, 2048) }.frames(2047), 0);
        assert_eq!(StftSpec { center: false, ..spec(2048, 512, 2048) }.frames(2048), 1);
        assert_eq!(spec(2048, 512, 2048).frames(1), 1);
        assert_eq!(spec(2048, 512, 2048).frames(0), 0);
    }

    #[test]
    fn a_silent_frame_has_zero_power() {
        let mut samples = vec![0.0f32; 8192];
        samples[7000] = 1.0;
        let spectrogram = StftPlan::new(spec(1024, 256, 1024)).power(&samples);
        assert!(spectrogram.power[..513 * 20].iter().all(|&p| p == 0.0));
        assert!(spectrogram.power.iter().any(|&p| p > 0.5));
    }
}
