//! A piano: struck, stiff strings with stretched partials, two per note, each partial with its own decay.

use super::filter::{Biquad, RATE, decay, hertz};
use super::rng::DemoRng;

const LANES: usize = 8;

/// Partials below this level are dropped.
const SILENT: f32 = 1e-5;

/// Parameters that vary from piano to piano.
#[derive(Clone, Copy, Debug)]
pub struct Piano {
    /// Inharmonicity at middle C: partial h is at h f0 sqrt(1 + B h²).
    pub stiffness: f64,
    /// Striking position as a share of the string.
    pub strike: f64,
    /// Hardness of the hammer: treble of a loud note.
    pub hardness: f64,
    /// Seconds in which the lowest partial of middle C decays by 60 dB.
    pub ring: f64,
    /// Detuning of the two strings of a note.
    pub unison_cents: f64,
    pub damper: f64,
}

/// Eight decaying partials, rotated together, one per lane.
#[derive(Clone, Copy)]
struct Bank {
    re: [f32; LANES],
    im: [f32; LANES],
    cos: [f32; LANES],
    sin: [f32; LANES],
}

impl Bank {
    const EMPTY: Bank = Bank { re: [0.0; LANES], im: [0.0; LANES], cos: [0.0; LANES], sin: [0.0; LANES] };

    fn render(&mut self, out: &mut [f32], gain: f32, slope: f32) {
        let mut gain = gain;
        for y in out {
            let mut sum = [0.0f32; LANES];
            for (k, sum) in sum.iter_mut().enumerate() {
                let re = self.re[k] * self.cos[k] - self.im[k] * self.sin[k];
                self.im[k] = self.re[k] * self.sin[k] + self.im[k] * self.cos[k];
                self.re[k] = re;
                *sum = self.im[k];
            }
            let pairs = [sum[0] + sum[4], sum[1] + sum[5], sum[2] + sum[6], sum[3] + sum[7]];
            *y += gain * ((pairs[0] + pairs[2]) + (pairs[1] + pairs[3]));
            gain += slope;
        }
    }

    fn level(&self) -> f32 {
        (0..LANES).map(|k| self.re[k].abs() + self.im[k].abs()).sum()
    }
}

/// Adds a note to `out`.
pub fn strike(piano: &Piano, midi: f64, start: f64, seconds: f64, velocity: f64, rng: &mut DemoRng, out: &mut [f32]) {
    let f0 = hertz(midi);
    let mut banks = banks(piano, midi, f0, velocity, rng);
    let gate = (seconds * RATE) as usize;
    let release = (piano.damper * RATE) as usize;
    let first = (start * RATE) as i64;
    let mut block = [0.0f32; 128];
    let mut done = 0;
    while done < gate + release {
        let at = first + done as i64;
        if at >= out.len() as i64 {
            break;
        }
        // The damper fades the string linearly, with a soft end.
        let gain = |i: usize| {
            let left = 1.0 - i.saturating_sub(gate) as f32 / release as f32;
            left.max(0.0) * left.max(0.0)
        };
        let size = block.len();
        block.fill(0.0);
        let slope = (gain(done + size) - gain(done)) / size as f32;
        banks.retain(|bank| bank.level() > SILENT);
        banks.iter_mut().for_each(|bank| bank.render(&mut block, gain(done), slope));
        for (i, y) in block.iter().enumerate() {
            let to = at + i as i64;
            if (0..out.len() as i64).contains(&to) {
                out[to as usize] += y;
            }
        }
        done += size;
    }
    thump(first, velocity, rng, out);
}

fn banks(piano: &Piano, midi: f64, f0: f64, velocity: f64, rng: &mut DemoRng) -> Vec<Bank> {
    let stiffness = piano.stiffness * libm::exp2((midi - 60.0) / 14.0);
    let ring = piano.ring * libm::exp2((60.0 - midi) / 16.0);
    // A harder strike is shorter: its spectrum reaches higher.
    let reach = (500.0 + 3200.0 * piano.hardness * velocity * velocity) + 1.2 * f0;
    let mut partials: Vec<(f64, f64, f64)> = Vec::new();
    let mut power = 0.0;
    for h in 1..=24 {
        let stretched = f64::from(h) * f0 * (1.0 + stiffness * f64::from(h * h)).sqrt();
        if stretched > 15000.0 {
            break;
        }
        let node = libm::sin(std::f64::consts::PI * f64::from(h) * piano.strike).abs() + 0.05;
        let x = stretched / reach;
        let level = node / (1.0 + x * x * x) / libm::pow(f64::from(h), 0.6) * rng.between(0.6, 1.4);
        let seconds = ring / (1.0 + 0.10 * f64::from(h) + stretched / 4000.0);
        power += level * level;
        if h <= 8 {
            let apart = libm::exp2(piano.unison_cents / 1200.0);
            partials.push((stretched, 0.6 * level, seconds));
            partials.push((stretched * apart, 0.4 * level, 1.6 * seconds));
        } else {
            partials.push((stretched, level, seconds));
        }
    }
    let scale = velocity / power.max(1e-9).sqrt() * 2.0;
    partials
        .chunks(LANES)
        .map(|chunk| {
            let mut bank = Bank::EMPTY;
            for (k, &(frequency, level, seconds)) in chunk.iter().enumerate() {
                let turn = 2.0 * std::f64::consts::PI * frequency / RATE;
                let shrink = decay(seconds);
                bank.cos[k] = (shrink * libm::cos(turn)) as f32;
                bank.sin[k] = (shrink * libm::sin(turn)) as f32;
                // Starts at a zero crossing, without a click.
                bank.re[k] = (level * scale) as f32 * if k % 2 == 0 { 1.0 } else { -1.0 };
            }
            bank
        })
        .collect()
}

/// The knock of the hammer.
fn thump(first: i64, velocity: f64, rng: &mut DemoRng, out: &mut [f32]) {
    let mut noise = rng.noise();
    let mut low = Biquad::low_pass(rng.between(250.0, 600.0), 0.7);
    let length = (0.03 * RATE) as usize;
    for i in 0..length {
        let to = first + i as i64;
        let left = (length - i) as f32 / length as f32;
        let y = low.next(noise.next()) * left * left * velocity as f32 * 0.5;
        if (0..out.len() as i64).contains(&to) {
            out[to as usize] += y;
        }
    }
}
