//! Tremolo, chorus, flanger and phaser: slow sine modulation of the gain, of a delay, and of the frequency of all-pass filters.

use std::f64::consts::TAU;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Multiplies by `1 - depth (1 - cos(2π hz t + phase)) / 2`, which is between 1 and `1 - depth`.
pub fn tremolo(samples: &mut [f32], hz: f64, depth: f64, phase: f64, sample_rate: u32) {
    const LANES: usize = 16;
    let step = TAU * hz / f64::from(sample_rate);
    let (turn_cos, turn_sin) = (libm::cos(LANES as f64 * step) as f32, libm::sin(LANES as f64 * step) as f32);
    let (middle, swing) = (1.0 - 0.5 * depth as f32, 0.5 * depth as f32);
    // A rotating phasor per lane, restarted every few samples before rounding errors accumulate.
    for (index, block) in samples.chunks_mut(64 * LANES).enumerate() {
        let angle = |lane: usize| phase + step * (index * 64 * LANES + lane) as f64;
        let mut cos: [f32; LANES] = std::array::from_fn(|lane| libm::cos(angle(lane)) as f32);
        let mut sin: [f32; LANES] = std::array::from_fn(|lane| libm::sin(angle(lane)) as f32);
        for samples in block.chunks_mut(LANES) {
            for (sample, cos) in samples.iter_mut().zip(&cos) {
                *sample *= middle + swing * cos;
            }
            for (cos, sin) in cos.iter_mut().zip(&mut sin) {
                (*cos, *sin) = (*cos * turn_cos - *sin * turn_sin, *cos * turn_sin + *sin * turn_cos);
            }
        }
    }
}

/// A delayed copy of the clip whose delay oscillates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChorusVoice {
    /// Mean delay in seconds, and the amplitude of its oscillation (kept so small that the copy never reads ahead of the clip
    /// or backwards).
    pub delay: f64,
    pub depth: f64,
    pub hz: f64,
    /// Radians.
    pub phase: f64,
}

/// Samples over which a delay is a straight line.
const STRAIGHT: usize = 64;

impl ChorusVoice {
    /// The delay of the sample `n`, in samples.
    fn delay_at(&self, n: usize, rate: f64) -> f64 {
        let depth = self.depth.min(self.delay).min(1.0 / (TAU * self.hz));
        (self.delay + depth * libm::sin(self.phase + TAU * self.hz * n as f64 / rate)).max(0.0) * rate
    }

    /// Samples that a delay line needs before the first sample.
    fn reach(&self, rate: f64) -> usize {
        (2.0 * self.delay * rate).ceil() as usize + 4
    }
}

/// Reads a delay line over [`STRAIGHT`] samples, while the delay goes `from` one number of samples `to` another. Between samples it
/// interpolates by the cubic through four neighbours (Catmull and Rom).
struct Reader {
    /// The first sample of the line that is read.
    origin: usize,
    /// The reading position relative to the sample after `origin`, and its step: small numbers, resolved by f32.
    offset: f32,
    pace: f32,
}

impl Reader {
    /// `now` is the place in the line of the first sample without delay.
    fn new(now: usize, from: f64, to: f64) -> Reader {
        let start = now as f64 - from;
        let below = start.floor();
        Reader {
            origin: below as usize - 1,
            offset: (start - below) as f32,
            pace: (1.0 - (to - from) / STRAIGHT as f64) as f32,
        }
    }

    /// The delayed sample `n`; `around` is the line from `origin` on.
    #[inline(always)]
    fn read(&self, around: &[f32], n: usize) -> f32 {
        let place = self.offset + self.pace * n as f32;
        let whole = place as i32;
        let t = place - whole as f32;
        let whole = whole as usize;
        let [a, b, c, d] = [around[whole], around[whole + 1], around[whole + 2], around[whole + 3]];
        b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
    }
}

/// Mixes `(1 - wet)` times the clip and `wet` times the mean of its voices. Before the clip is silence.
pub fn chorus(samples: &mut [f32], voices: &[ChorusVoice], wet: f64, sample_rate: u32) {
    let rate = f64::from(sample_rate);
    let Some(longest) = voices.iter().map(|voice| voice.reach(rate)).max().filter(|_| !samples.is_empty()) else {
        return;
    };
    // Room at the end for the line that extends beyond the last sample.
    let mut dry = vec![0.0f32; longest + samples.len() + 4];
    dry[longest..longest + samples.len()].copy_from_slice(samples);
    crate::dsp::level::scale(samples, (1.0 - wet) as f32);
    let share = (wet / voices.len() as f64) as f32;
    for voice in voices {
        let mut from = voice.delay_at(0, rate);
        for (index, block) in samples.chunks_mut(STRAIGHT).enumerate() {
            let first = index * STRAIGHT;
            let to = voice.delay_at(first + STRAIGHT, rate);
            let reader = Reader::new(longest + first, from, to);
            let around = &dry[reader.origin..];
            for (n, sample) in block.iter_mut().enumerate() {
                *sample += share * reader.read(around, n);
            }
            from = to;
        }
    }
}

/// Mixes `(1 - wet)` times the clip and `wet` times a delay line, into which go the clip and `feedback` times what comes out of it.
/// Before the clip is silence. The delay is at least three samples, which the interpolation needs.
pub fn flanger(samples: &mut [f32], voice: &ChorusVoice, feedback: f64, wet: f64, sample_rate: u32) {
    const LEAST: f64 = 3.0;
    let rate = f64::from(sample_rate);
    let longest = voice.reach(rate).max(LEAST as usize + 4);
    let mut line = vec![0.0f32; longest + samples.len() + 4];
    let (dry, wet, feedback) = ((1.0 - wet) as f32, wet as f32, feedback as f32);
    let mut from = voice.delay_at(0, rate).max(LEAST);
    for (index, block) in samples.chunks_mut(STRAIGHT).enumerate() {
        let now = longest + index * STRAIGHT;
        let to = voice.delay_at((index + 1) * STRAIGHT, rate).max(LEAST);
        let reader = Reader::new(now, from, to);
        for (n, sample) in block.iter_mut().enumerate() {
            let delayed = reader.read(&line[reader.origin..], n);
            line[now + n] = *sample + feedback * delayed;
            *sample = dry * *sample + wet * delayed;
        }
        from = to;
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaserSettings {
    /// The number of first-order all-pass filters.
    pub stages: usize,
    /// The middle of the sweep, in Hz, and its width.
    pub centre_hz: f64,
    pub octaves: f64,
    /// The frequency of the sweep.
    pub hz: f64,
    /// Radians.
    pub phase: f64,
    pub wet: f64,
}

/// Mixes `(1 - wet)` times the clip and `wet` times the clip through the all-pass filters, which all have the same frequency.
pub fn phaser(samples: &mut [f32], settings: &PhaserSettings, sample_rate: u32) {
    /// Samples with one frequency.
    const BLOCK: usize = 32;
    let PhaserSettings { stages, centre_hz, octaves, hz, phase, wet } = *settings;
    let rate = f64::from(sample_rate);
    // Input and output before the current sample.
    let mut states = vec![(0.0f64, 0.0f64); stages];
    for (index, block) in samples.chunks_mut(BLOCK).enumerate() {
        let sweep = libm::sin(phase + TAU * hz * (index * BLOCK) as f64 / rate);
        let corner = (centre_hz * libm::exp2(0.5 * octaves * sweep) / rate).clamp(1e-5, 0.49);
        let tangent = libm::tan(0.5 * TAU * corner);
        let coefficient = (tangent - 1.0) / (tangent + 1.0);
        for sample in block {
            let mut x = f64::from(*sample);
            for (input, output) in &mut states {
                let y = coefficient * (x - *output) + *input;
                (*input, *output) = (x, y);
                x = y;
            }
            *sample = ((1.0 - wet) * f64::from(*sample) + wet * x) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tremolo_equals_its_formula(n in 0usize..5000, hz in 0.1f64..20.0, depth in 0.0f64..1.0, phase in 0.0f64..7.0) {
            let mut samples = vec![1.0f32; n];
            tremolo(&mut samples, hz, depth, phase, 8000);
            for (n, sample) in samples.iter().enumerate() {
                let exact = 1.0 - depth * (1.0 - (TAU * hz * n as f64 / 8000.0 + phase).cos()) / 2.0;
                prop_assert!((f64::from(*sample) - exact).abs() < 2e-6, "sample {}", n);
            }
        }

        #[test]
        fn a_chorus_stays_finite_and_within_the_overshoot_of_the_cubic(
            samples in prop::collection::vec(-1.0f32..1.0, 0..700), delay in 0.0f64..0.05, depth in 0.0f64..0.05, hz in 0.0f64..50.0, phase in 0.0f64..TAU
        ) {
            let mut output = samples;
            chorus(&mut output, &[ChorusVoice { delay, depth, hz, phase }; 2], 0.5, 8000);
            prop_assert!(output.iter().all(|x| x.abs() < 1.5));
        }

        #[test]
        fn without_feedback_a_flanger_is_a_chorus_of_one_voice(
            samples in prop::collection::vec(-1.0f32..1.0, 0..700), delay in 0.001f64..0.05, hz in 0.01f64..50.0, phase in 0.0f64..TAU
        ) {
            // Never shorter than four samples.
            let voice = ChorusVoice { delay, depth: 0.5 * delay, hz, phase };
            let (mut one, mut other) = (samples.clone(), samples);
            flanger(&mut one, &voice, 0.0, 0.4, 8000);
            chorus(&mut other, &[voice], 0.4, 8000);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn a_flanger_stays_finite_at_any_delay(
            samples in prop::collection::vec(-1.0f32..1.0, 0..700), delay in 0.0f64..0.01, depth in 0.0f64..0.01, hz in 0.0f64..50.0,
            phase in 0.0f64..TAU, feedback in -0.95f64..0.95
        ) {
            let mut output = samples;
            flanger(&mut output, &ChorusVoice { delay, depth, hz, phase }, feedback, 1.0, 8000);
            prop_assert!(output.iter().all(|x| x.abs() < 30.0));
        }
    }

    #[test]
    fn a_flanger_repeats_a_click_with_the_feedback() {
        let mut samples = vec![0.0f32; 40];
        samples[2] = 1.0;
        flanger(&mut samples, &ChorusVoice { delay: 0.01, depth: 0.0, hz: 1.0, phase: 0.0 }, -0.5, 0.5, 1000);
        for (n, &sample) in samples.iter().enumerate() {
            let expected = match n {
                2 | 12 => 0.5,
                22 => -0.25,
                32 => 0.125,
                _ => 0.0,
            };
            assert!((sample - expected).abs() < 1e-6, "{n}: {sample}");
        }
    }

    #[test]
    fn a_voice_with_constant_delay_is_a_delay() {
        let tone: Vec<f32> = (0..2000).map(|n| (f64::from(n) * 0.05).sin() as f32).collect();
        let mut output = tone.clone();
        chorus(&mut output, &[ChorusVoice { delay: 0.0105, depth: 0.0, hz: 1.0, phase: 0.0 }], 1.0, 1000);
        // 10.5 samples.
        for (n, &output) in output.iter().enumerate().skip(20) {
            let exact = ((n as f64 - 10.5) * 0.05).sin() as f32;
            assert!((output - exact).abs() < 1e-4, "{n}: {output} {exact}");
        }
        assert!(output[..9].iter().all(|&x| x == 0.0), "before the clip lies silence");
    }

    #[test]
    fn a_voice_reads_at_the_delay_of_its_sine() {
        let (rate, tone) = (22_050, |t: f64| (TAU * 300.0 * t).sin());
        let mut output: Vec<f32> = (0..22_050).map(|n| tone(f64::from(n) / f64::from(rate)) as f32).collect();
        let voice = ChorusVoice { delay: 0.015, depth: 0.003, hz: 1.3, phase: 0.4 };
        chorus(&mut output, &[voice], 1.0, rate);
        for n in (1000..22_050).step_by(7) {
            let t = f64::from(n) / f64::from(rate);
            let exact = tone(t - voice.delay - voice.depth * (TAU * voice.hz * t + voice.phase).sin());
            assert!((f64::from(output[n as usize]) - exact).abs() < 2e-3, "{n}");
        }
    }
}
