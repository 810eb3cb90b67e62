//! Plucked strings after Karplus and Strong: a noise burst circulates in a delay line and loses its treble.

use super::filter::{RATE, decay};
use super::rng::DemoRng;

/// Parameters of a plucked string.
#[derive(Clone, Copy, Debug)]
pub struct Pluck {
    /// Plucking position as a share of the string: harmonics with a node there are missing.
    pub position: f64,
    /// Softness of the finger or pick, 0 (hard) to below 1.
    pub softness: f64,
    /// Seconds of the decay of a held note by 60 dB.
    pub ring: f64,
    /// Loss of treble per round, 0 to 0.5.
    pub damping: f64,
    /// Seconds of the decay of a released note by 60 dB.
    pub release: f64,
}

/// Adds a note to `out`.
pub fn pluck(string: &Pluck, f0: f64, start: f64, seconds: f64, velocity: f64, rng: &mut DemoRng, out: &mut [f32]) {
    let period = RATE / f0;
    // The loop filter delays by `damping` samples, and an all-pass by the remaining fraction, so the pitch is exact.
    let whole = (period - string.damping - 0.1).floor();
    let fraction = period - string.damping - whole;
    let n = whole as usize;
    let all_pass = ((1.0 - fraction) / (1.0 + fraction)) as f32;
    let mut line = excitation(string, n, velocity, rng);
    let first = (start * RATE) as i64;
    let gate = (seconds * RATE) as usize;
    let length = gate + (1.2 * string.release * RATE) as usize;
    let ringing = libm::pow(decay(string.ring), period) as f32;
    let stopping = libm::pow(decay(string.release), period) as f32;
    let keep = (1.0 - string.damping) as f32;
    let lose = string.damping as f32;
    let (mut before, mut ap_in, mut ap_out) = (0.0f32, 0.0f32, 0.0f32);
    let mut at = 0;
    let fade = 64.min(length);
    for i in 0..length {
        let to = first + i as i64;
        if to >= out.len() as i64 {
            break;
        }
        let x = line[at];
        let ring = if i < gate { ringing } else { stopping };
        let softened = (keep * x + lose * before) * ring;
        before = x;
        ap_out = all_pass * (softened - ap_out) + ap_in;
        ap_in = softened;
        line[at] = ap_out + 1e-20;
        at += 1;
        if at == n {
            at = 0;
        }
        if to >= 0 {
            let last = (length - i).min(fade) as f32 / fade as f32;
            let begin = (i + 1).min(16) as f32 / 16.0;
            out[to as usize] += x * last * begin;
        }
    }
}

fn excitation(string: &Pluck, n: usize, velocity: f64, rng: &mut DemoRng) -> Vec<f32> {
    let mut noise = rng.noise();
    let soft = (string.softness + (1.0 - string.softness) * 0.4 * (1.0 - velocity)).min(0.97) as f32;
    let mut line: Vec<f32> = (0..n).map(|_| noise.next()).collect();
    // Two rounds, so that the end of the burst continues at its beginning without a step.
    let mut state = 0.0;
    for _ in 0..2 {
        for x in &mut line {
            state += (1.0 - soft) * (*x - state);
            *x = state;
        }
    }
    let comb = ((string.position * n as f64) as usize).clamp(1, n - 1);
    let mut burst: Vec<f32> = (0..n).map(|i| line[i] - line[(i + n - comb) % n]).collect();
    let mean = burst.iter().sum::<f32>() / n as f32;
    let power = burst.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n as f32;
    let scale = velocity as f32 / power.max(1e-9).sqrt();
    burst.iter_mut().for_each(|x| *x = (*x - mean) * scale);
    burst
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::Seed;

    #[test]
    fn a_string_has_its_pitch() {
        for f0 in [82.4, 220.0, 659.3, 1046.5] {
            let string = Pluck { position: 0.2, softness: 0.6, ring: 6.0, damping: 0.3, release: 0.2 };
            let mut out = vec![0.0f32; 44100];
            pluck(&string, f0, 0.0, 1.0, 0.8, &mut DemoRng::new(Seed::new(1)), &mut out);
            // The strongest of the pitches around f0, by correlation with a complex sine.
            let power = |hertz: f64| {
                let turn = 2.0 * std::f64::consts::PI * hertz / RATE;
                let (mut re, mut im) = (0.0, 0.0);
                for (i, x) in out.iter().enumerate() {
                    re += f64::from(*x) * libm::cos(turn * i as f64);
                    im += f64::from(*x) * libm::sin(turn * i as f64);
                }
                re * re + im * im
            };
            let best = (-40..=40).max_by(|a, b| {
                let at = |k: &i32| power(f0 * libm::exp2(f64::from(*k) / 1200.0));
                at(a).total_cmp(&at(b))
            });
            assert!(best.unwrap().abs() <= 4, "{f0} Hz is off by {best:?} cents");
        }
    }
}
