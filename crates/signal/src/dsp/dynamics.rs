//! Dynamics: a compressor and a limiter.
//!
//! Conventions: levels are peak levels of single samples in decibels of full scale. The compressor follows the level by one
//! pole with the attack's time constant upwards and the release's downwards (63 % of the way in that time), starts from
//! silence, and applies the usual gain curve with a quadratic knee. The limiter looks ahead without delay: no sample exceeds
//! the ceiling, and the gain falls over the attack time before the peak.

use crate::dsp::decibel::{db_to_amplitude, decibels};
use crate::dsp::level;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompressorSettings {
    pub threshold_db: f64,
    /// Input decibels above the threshold per decibel of output.
    pub ratio: f64,
    pub knee_db: f64,
    pub attack_seconds: f64,
    pub release_seconds: f64,
    pub makeup_db: f64,
}

/// Remaining share of a change after one sample.
fn decay_per_sample(seconds: f64, sample_rate: u32) -> f32 {
    (-1.0 / (seconds * f64::from(sample_rate)).max(1e-3)).exp() as f32
}

pub fn compress(samples: &mut [f32], settings: &CompressorSettings, sample_rate: u32) {
    let attack = decay_per_sample(settings.attack_seconds, sample_rate);
    let release = decay_per_sample(settings.release_seconds, sample_rate);
    let curve = Curve::new(settings);
    let mut level = 0.0f32;
    let mut levels = [0.0f32; 256];
    for block in samples.chunks_mut(levels.len()) {
        // Of the two possible next levels, the faster time constant gives the higher one upwards and the lower one downwards.
        // So the larger is right if the attack is faster, and the smaller otherwise. This avoids a branch that would often be
        // mispredicted.
        level = if attack <= release {
            follow(
                block,
                &mut levels,
                level,
                attack,
                release,
                |rising, falling| if rising > falling { rising } else { falling },
            )
        } else {
            follow(
                block,
                &mut levels,
                level,
                attack,
                release,
                |rising, falling| if rising < falling { rising } else { falling },
            )
        };
        for (sample, &level) in block.iter_mut().zip(&levels) {
            *sample *= curve.gain(level);
        }
        // Below this level the tail of a release would only be slow.
        if level < 1e-15 {
            level = 0.0;
        }
    }
}

/// Writes the level after each sample, starting from `level`; returns the last one.
#[inline(always)]
fn follow(
    samples: &[f32],
    levels: &mut [f32],
    mut level: f32,
    attack: f32,
    release: f32,
    choose: impl Fn(f32, f32) -> f32,
) -> f32 {
    for (followed, sample) in levels.iter_mut().zip(samples) {
        let now = sample.abs();
        level = choose((1.0 - attack) * now + attack * level, (1.0 - release) * now + release * level);
        *followed = level;
    }
    level
}

struct Curve {
    /// Start of the knee in decibels.
    from: f32,
    width: f32,
    /// Decibels of gain per decibel above the threshold.
    slope: f32,
    bend: f32,
    makeup: f32,
}

impl Curve {
    fn new(settings: &CompressorSettings) -> Curve {
        let slope = 1.0 / settings.ratio - 1.0;
        let width = settings.knee_db.max(1e-3);
        Curve {
            from: (settings.threshold_db - width / 2.0) as f32,
            width: width as f32,
            slope: slope as f32,
            bend: (slope / (2.0 * width)) as f32,
            makeup: settings.makeup_db as f32,
        }
    }

    #[inline(always)]
    fn gain(&self, level: f32) -> f32 {
        // Silence counts as -160 dB.
        let power = level * level;
        let power = if power > 1e-16 { power } else { 1e-16 };
        let above = decibels(power) - self.from;
        let above = if above > 0.0 { above } else { 0.0 };
        // A parabola within the knee, a straight line beyond it.
        let within = if above < self.width { above } else { self.width };
        db_to_amplitude(self.bend * within * within + self.slope * (above - within) + self.makeup)
    }
}

/// Limits to `ceiling`. The gain falls over `attack` seconds and recovers with the time constant `release` in seconds.
///
/// ```
/// let mut samples = [0.1, 0.9, -1.2, 0.1];
/// timbre_signal::dsp::dynamics::limit(&mut samples, 0.5, 0.001, 0.05, 22050);
/// assert!(samples.iter().all(|x| x.abs() <= 0.5));
/// ```
pub fn limit(samples: &mut [f32], ceiling: f32, attack: f64, release: f64, sample_rate: u32) {
    if level::peak(samples) <= ceiling {
        return;
    }
    let ahead = ((attack * f64::from(sample_rate)).round() as usize).clamp(1, samples.len());
    // The gain that each sample needs; the minimum over the attack time ahead; then a slow recovery.
    let mut gains: Vec<f32> = samples
        .iter()
        .map(|x| {
            let most = if x.abs() > ceiling { x.abs() } else { ceiling };
            ceiling / most
        })
        .collect();
    minimum_ahead(&mut gains, ahead);
    let left = decay_per_sample(release, sample_rate);
    let mut loss = 0.0f32;
    for value in &mut gains {
        let (wanted, fading) = (1.0 - *value, loss * left);
        loss = if wanted > fading { wanted } else { fading };
        *value = 1.0 - loss;
    }
    // The mean over the attack time turns steps into ramps. Each averaged gain is low enough for the current sample, so the
    // mean is, too.
    let mut sum = ahead as f64 * f64::from(gains[0]);
    for n in 0..samples.len() {
        sum += f64::from(gains[n]) - f64::from(gains[n.saturating_sub(ahead)]);
        let limited = samples[n] * (sum / ahead as f64) as f32;
        samples[n] = limited.clamp(-ceiling, ceiling);
    }
}

/// Replaces each value by the minimum of the next `width` values (van Herk: two passes over blocks, whatever the width).
fn minimum_ahead(values: &mut [f32], width: usize) {
    let less = |a: f32, b: f32| if b < a { b } else { a };
    let n = values.len();
    let mut backwards = values.to_vec();
    for block in backwards.chunks_mut(width) {
        for i in (0..block.len().saturating_sub(1)).rev() {
            block[i] = less(block[i], block[i + 1]);
        }
    }
    for block in values.chunks_mut(width) {
        for i in 1..block.len() {
            block[i] = less(block[i], block[i - 1]);
        }
    }
    for start in (0..n).step_by(width) {
        let next = start + width;
        // `values` is written from the left and read only to the right of that.
        for i in start..next.min(n) {
            let last = (i + width - 1).min(n - 1);
            values[i] = if last >= next { less(backwards[i], values[last]) } else { backwards[i] };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compression() -> CompressorSettings {
        CompressorSettings {
            threshold_db: -20.0,
            ratio: 4.0,
            knee_db: 6.0,
            attack_seconds: 0.005,
            release_seconds: 0.05,
            makeup_db: 0.0,
        }
    }

    proptest! {
        #[test]
        fn the_gain_curve_is_the_textbook_formula(level_db in -100.0f64..6.0, knee_db in 0.0f64..12.0, ratio in 1.0f64..20.0) {
            let settings = CompressorSettings { knee_db, ratio, makeup_db: 3.0, ..compression() };
            let gain = 20.0 * f64::from(Curve::new(&settings).gain(10f64.powf(level_db / 20.0) as f32)).log10();
            let over = level_db + 20.0;
            let bent = if 2.0 * over.abs() <= knee_db { over + knee_db / 2.0 } else { 0.0 };
            let expected = if 2.0 * over > knee_db {
                over / ratio - over
            } else if bent > 0.0 {
                (1.0 / ratio - 1.0) * bent * bent / (2.0 * knee_db)
            } else {
                0.0
            };
            prop_assert!((gain - expected - 3.0).abs() < 2e-3, "{} dB, not {}", gain, expected + 3.0);
        }

        #[test]
        fn no_sample_exceeds_the_ceiling(
            samples in prop::collection::vec(-4.0f32..4.0, 0..600), ceiling in 0.01f32..3.0, attack in 0.0f64..0.02, release in 0.001f64..0.1
        ) {
            let mut limited = samples.clone();
            limit(&mut limited, ceiling, attack, release, 8000);
            for (limited, sample) in limited.iter().zip(&samples) {
                prop_assert!(limited.abs() <= ceiling && limited.abs() <= sample.abs() * 1.000_001, "{} {}", limited, sample);
                prop_assert!(limited * sample >= 0.0);
            }
        }

        #[test]
        fn the_least_ahead_is_that_of_the_plain_search(values in prop::collection::vec(0.0f32..1.0, 1..200), width in 1usize..40) {
            let slow: Vec<f32> =
                (0..values.len()).map(|i| values[i..].iter().take(width).fold(f32::MAX, |a, &b| a.min(b))).collect();
            let mut fast = values;
            minimum_ahead(&mut fast, width);
            prop_assert_eq!(fast, slow);
        }
    }

    #[test]
    fn a_steady_level_settles_at_the_compressed_level() {
        // 12 dB above the threshold, 4 to 1: 9 dB down.
        let level = 10f64.powf(-8.0 / 20.0) as f32;
        let mut samples: Vec<f32> = (0..8000).map(|n| if n % 2 == 0 { level } else { -level }).collect();
        compress(&mut samples, &compression(), 8000);
        let gain = 20.0 * (samples[7998] / level).log10();
        assert!((gain + 9.0).abs() < 0.01, "{gain} dB");
        assert!(samples[0] > 0.9 * level, "an attack takes its time");
    }

    #[test]
    fn the_level_follows_with_the_specified_time_constants() {
        // From 0 dB down to silence, read from the gain on a quiet tone after it.
        let settings = CompressorSettings { ratio: 1e9, knee_db: 0.0, ..compression() };
        let mut samples = vec![1.0f32; 8000];
        samples.extend(vec![1e-4; 8000]);
        compress(&mut samples, &settings, 8000);
        // One release time later the level has fallen by 8.69 dB, and the gain has risen by as much.
        let gain = |n: usize| 20.0 * (samples[n] / 1e-4).log10();
        assert!((gain(8000) + 20.0).abs() < 0.1, "{}", gain(8000));
        assert!((gain(8000 + 400) - gain(8000) - 8.69).abs() < 0.1, "{}", gain(8400));
    }

    #[test]
    fn an_attack_may_be_slower_than_the_release() {
        let settings = CompressorSettings {
            attack_seconds: 0.1,
            release_seconds: 0.01,
            ratio: 1e9,
            knee_db: 0.0,
            ..compression()
        };
        let mut samples = vec![1.0f32; 1600];
        samples.extend(vec![1e-4; 800]);
        compress(&mut samples, &settings, 8000);
        // Two attack times: 1 - exp(-2) of the way up; a release time later 8.69 dB below that.
        let gain = |n: usize| 20.0 * (samples[n] / if n < 1600 { 1.0 } else { 1e-4 }).log10();
        assert!((gain(1599) + 20.0 - 1.263).abs() < 0.05, "{}", gain(1599));
        assert!((gain(1600 + 80) - gain(1600) - 8.69).abs() < 0.1, "{}", gain(1680));
    }

    #[test]
    fn samples_below_the_ceiling_and_silence_stay_unchanged() {
        let mut samples = vec![0.5, -0.4, 0.0];
        limit(&mut samples, 0.5, 0.01, 0.1, 8000);
        assert_eq!(samples, [0.5, -0.4, 0.0]);
        let mut silence = vec![0.0f32; 500];
        compress(&mut silence, &compression(), 8000);
        assert!(silence.iter().all(|&x| x == 0.0));
        limit(&mut [], 0.5, 0.01, 0.1, 8000);
    }
}
