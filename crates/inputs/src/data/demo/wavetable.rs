//! Sustained notes: wavetables of harmonics with attack, vibrato, breath noise and release.
//!
//! A note blends between two tables, a soft and a bright one (or two ranks of an organ), with its loudness, so that a crescendo
//! changes the spectrum as on a real instrument. Harmonics stop below half the sample rate to avoid aliasing.

use super::filter::{Biquad, RATE, SINE, SINE_LENGTH, db, sine};
use super::rng::{DemoRng, Noise};

/// Samples between updates of pitch and loudness, which are interpolated linearly.
const STEP: usize = 32;

/// Highest harmonic in Hz.
const HIGHEST: f64 = 17000.0;

const MAX_HARMONICS: usize = 120;

/// The way a player shapes every note.
#[derive(Clone, Debug)]
pub struct Articulation {
    pub attack: f64,
    pub release: f64,
    /// Level after the attack, 0 to 1.
    pub sustain: f64,
    pub vibrato_hertz: f64,
    pub vibrato_cents: f64,
    /// Seconds until the vibrato has its full depth.
    pub vibrato_after: f64,
    /// Modulation of the loudness by the vibrato, 0 to 1.
    pub tremolo: f64,
    /// Cents below the pitch at which a note starts, and the time to reach the pitch.
    pub scoop_cents: f64,
    pub scoop_seconds: f64,
    /// Level of the breath or bow noise, and the centre of its band in Hz.
    pub breath_db: f64,
    pub breath_hertz: f64,
    /// Detuning of the second table.
    pub detune_cents: f64,
    /// How much loudness moves the tone towards the bright table; below 0, the blend is fixed at the middle.
    pub brightness: f64,
}

/// A soft and a bright period of the same pitch.
pub struct Wavetables {
    soft: Vec<f32>,
    bright: Vec<f32>,
}

impl Wavetables {
    /// `amplitude(h, frequency, bright)` is the level of harmonic `h`.
    pub fn new(f0: f64, amplitude: impl Fn(usize, f64, bool) -> f64) -> Self {
        let count = ((HIGHEST / f0) as usize).clamp(1, MAX_HARMONICS);
        let length = if count <= 14 { 512 } else { SINE_LENGTH };
        let table = |bright: bool| {
            let mut table = vec![0.0f32; length];
            let mut power = 0.0;
            for h in 1..=count {
                let level = amplitude(h, h as f64 * f0, bright);
                if level < 1e-5 {
                    continue;
                }
                power += level * level;
                // Phases that avoid a high peak in the period.
                let stride = SINE_LENGTH / length * h;
                let mut at = h * h * 37;
                let level = level as f32;
                for value in &mut table {
                    *value += level * SINE[at & (SINE_LENGTH - 1)];
                    at += stride;
                }
            }
            let scale = (1.0 / power.max(1e-12).sqrt()) as f32;
            table.iter_mut().for_each(|value| *value *= scale);
            table
        };
        Wavetables { soft: table(false), bright: table(true) }
    }
}

/// A note to render.
pub struct SustainedNote<'a> {
    pub tables: &'a Wavetables,
    pub shape: &'a Articulation,
    pub f0: f64,
    pub start: f64,
    pub seconds: f64,
    pub velocity: f64,
    /// Start of the slide of a slurred note in cents, which ends at 0.
    pub slide_cents: f64,
}

impl SustainedNote<'_> {
    /// Adds the note to `out`, which may cover only a part of it.
    pub fn render(&self, rng: &mut DemoRng, out: &mut [f32]) {
        let shape = self.shape;
        let attack = shape.attack * rng.between(0.8, 1.25);
        let vibrato_from = rng.between(0.0, 1.0);
        let vibrato_hertz = shape.vibrato_hertz * rng.between(0.94, 1.06);
        let drift = rng.between(-3.0, 3.0);
        let mut noise = rng.noise();
        let mut breath = Biquad::band_pass(shape.breath_hertz, 1.0);
        let breath_level = db(shape.breath_db);
        let length = self.tables.soft.len();
        let mask = length - 1;
        let mut phases = [0.0f32, rng.between(0.0, 1.0) as f32 * length as f32];
        if shape.detune_cents == 0.0 {
            phases[1] = phases[0];
        }
        let second = libm::exp2(shape.detune_cents / 1200.0) as f32;
        let samples = ((self.seconds + shape.release) * RATE) as usize;
        let first = (self.start * RATE) as i64;
        let mut last: Option<[f32; 3]> = None;
        for step in 0..samples.div_ceil(STEP) {
            let t = (step * STEP) as f64 / RATE;
            let level = self.level(t, attack);
            let fade_in = ((t - 0.5 * shape.vibrato_after) / shape.vibrato_after.max(0.02)).clamp(0.0, 1.0);
            let wave = f64::from(sine((t * vibrato_hertz + vibrato_from) as f32)) * fade_in;
            let cents = wave * shape.vibrato_cents + drift - shape.scoop_cents * fall(t, shape.scoop_seconds)
                + self.slide_cents * fall(t, 0.045);
            let increment = self.f0 * (1.0 + cents * (std::f64::consts::LN_2 / 1200.0)) / RATE * length as f64;
            let amplitude = level * self.velocity * (1.0 + shape.tremolo * wave);
            let mix = if shape.brightness < 0.0 {
                0.5
            } else {
                (shape.brightness * amplitude.min(1.0) * (1.0 + shape.tremolo * wave)).clamp(0.0, 1.0)
            };
            let target = [amplitude as f32, mix as f32, increment as f32];
            let from = last.unwrap_or(target);
            last = Some(target);
            let at = first + (step * STEP) as i64;
            let end = out.len() as i64;
            if at >= end {
                break;
            }
            let slope = [0, 1, 2].map(|k| (target[k] - from[k]) * (1.0 / STEP as f32));
            let mut now = from;
            for i in at..at + STEP as i64 {
                let value = |table: &[f32], phase: f32| {
                    let k = phase as usize;
                    let (a, b) = (table[k & mask], table[(k + 1) & mask]);
                    a + (b - a) * (phase - k as f32)
                };
                let soft = value(&self.tables.soft, phases[0]);
                let bright = value(&self.tables.bright, phases[1]);
                let mut sample = soft + (bright - soft) * now[1];
                if breath_level > 2e-3 {
                    sample += breathe(&mut breath, &mut noise) * breath_level as f32;
                }
                if (0..end).contains(&i) {
                    out[i as usize] += sample * now[0];
                }
                (0..3).for_each(|k| now[k] += slope[k]);
                phases[0] += now[2];
                phases[1] += now[2] * second;
                let whole = length as f32;
                (0..2).for_each(|k| phases[k] -= if phases[k] >= whole { whole } else { 0.0 });
            }
        }
    }

    fn level(&self, t: f64, attack: f64) -> f64 {
        let shape = self.shape;
        let rise = (t / attack).min(1.0);
        let rise = rise * rise * (3.0 - 2.0 * rise);
        let settled = shape.sustain + (1.0 - shape.sustain) * fall((t - attack).max(0.0), 0.12);
        let left = ((self.seconds + shape.release - t) / shape.release).clamp(0.0, 1.0);
        // A long note swells a little towards its middle.
        let swell = 0.85 + 0.15 * f64::from(sine((0.5 * (t / (self.seconds + shape.release)).min(1.0)) as f32));
        rise * settled * swell * left * left * (3.0 - 2.0 * left)
    }
}

/// A cheap decay from 1 towards 0 in about `seconds`.
fn fall(t: f64, seconds: f64) -> f64 {
    let x = 1.0 + t / (2.0 * seconds.max(1e-4));
    1.0 / (x * x * x * x)
}

#[inline]
fn breathe(band: &mut Biquad, noise: &mut Noise) -> f32 {
    // The band passes a third of the power or less: raised to about the level of the tone.
    3.0 * band.next(noise.next())
}
