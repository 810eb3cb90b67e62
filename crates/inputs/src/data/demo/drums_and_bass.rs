//! Drums and bass: accompaniment that is never a label.

use super::composition::{Excerpt, Harmony, Note};
use super::filter::{Biquad, RATE, hertz, sine};
use super::plucked_string::{Pluck, pluck};
use super::rng::DemoRng;

/// A part of a drum kit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drum {
    Kick,
    Snare,
    Hat,
}

/// A drum kit and its pattern, in sixteenths of a bar.
pub struct Drums {
    kick: [bool; 16],
    snare: [bool; 16],
    hat: [bool; 16],
    kick_hertz: f64,
    snare_hertz: f64,
    snare_seconds: f64,
    hat_seconds: f64,
    levels: [f64; 3],
}

impl Drums {
    pub fn draw(rng: &mut DemoRng) -> Self {
        let at = |steps: &[usize]| {
            let mut pattern = [false; 16];
            steps.iter().for_each(|&step| pattern[step] = true);
            pattern
        };
        let kicks: [&[usize]; 5] = [&[0, 8], &[0, 6, 8], &[0, 4, 8, 12], &[0, 10], &[0, 3, 8, 11]];
        let snares: [&[usize]; 4] = [&[4, 12], &[8], &[4, 12, 15], &[]];
        let hats: [&[usize]; 4] =
            [&[0, 2, 4, 6, 8, 10, 12, 14], &[0, 4, 8, 12], &[2, 6, 10, 14], &[0, 4, 6, 8, 12, 14]];
        Drums {
            kick: at(rng.pick(&kicks)),
            snare: at(rng.pick(&snares)),
            hat: at(rng.pick(&hats)),
            kick_hertz: rng.between(45.0, 65.0),
            snare_hertz: rng.between(170.0, 240.0),
            snare_seconds: rng.between(0.08, 0.2),
            hat_seconds: rng.between(0.025, 0.09),
            levels: [1.0, rng.between(0.5, 0.9), rng.between(0.15, 0.4)],
        }
    }

    pub fn play(&self, harmony: &Harmony, excerpt: Excerpt, rng: &mut DemoRng, out: &mut [f32]) {
        let seconds = self.hat_seconds.min(harmony.beat / 4.0);
        self.strike(harmony, excerpt, rng, |drum, start, level, rng| match drum {
            Drum::Kick => self.kick(start, level, out),
            Drum::Snare => self.snare(start, level, rng, out),
            Drum::Hat => burst(start, seconds, level, Biquad::high_pass(7000.0, 0.8), rng, out),
        });
    }

    /// Calls `hit` with every drum of the excerpt, its time in seconds and its level.
    pub fn strike(
        &self,
        harmony: &Harmony,
        excerpt: Excerpt,
        rng: &mut DemoRng,
        mut hit: impl FnMut(Drum, f64, f64, &mut DemoRng),
    ) {
        let mut step = (excerpt.first_beat * 4.0).floor() as i64 - 2;
        loop {
            let start = (step as f64 / 4.0 - excerpt.first_beat) * harmony.beat + rng.between(-0.004, 0.004);
            if start > excerpt.seconds {
                break;
            }
            let place = step.rem_euclid(16) as usize;
            let force = rng.between(0.75, 1.0);
            let drums = [(Drum::Kick, &self.kick), (Drum::Snare, &self.snare), (Drum::Hat, &self.hat)];
            for ((drum, pattern), level) in drums.into_iter().zip(self.levels) {
                if pattern[place] {
                    hit(drum, start, force * level, rng);
                }
            }
            step += 1;
        }
    }

    fn kick(&self, start: f64, level: f64, out: &mut [f32]) {
        let length = (0.28 * RATE) as usize;
        let mut turns = 0.0f64;
        for i in 0..length {
            let left = 1.0 - i as f64 / length as f64;
            let left4 = left * left * left * left;
            turns += (self.kick_hertz + 110.0 * left4 * left4 * left4) / RATE;
            let begin = (i as f64 / 60.0).min(1.0);
            add(out, start, i, f64::from(sine(turns as f32)) * left4.sqrt() * begin * level * 1.6);
        }
    }

    fn snare(&self, start: f64, level: f64, rng: &mut DemoRng, out: &mut [f32]) {
        burst(start, self.snare_seconds, level, Biquad::band_pass(2600.0, 0.5), rng, out);
        let length = (0.1 * RATE) as usize;
        for i in 0..length {
            let left = 1.0 - i as f64 / length as f64;
            let begin = (i as f64 / 40.0).min(1.0);
            let turns = i as f64 * self.snare_hertz / RATE;
            add(out, start, i, f64::from(sine(turns as f32)) * left * left * begin * level * 0.7);
        }
    }
}

fn burst(start: f64, seconds: f64, level: f64, mut filter: Biquad, rng: &mut DemoRng, out: &mut [f32]) {
    let mut noise = rng.noise();
    let length = (seconds * RATE) as usize;
    for i in 0..length {
        let left = 1.0 - i as f64 / length as f64;
        let begin = (i as f64 / 20.0).min(1.0);
        add(out, start, i, f64::from(filter.next(noise.next())) * left * left * left * begin * level);
    }
}

fn add(out: &mut [f32], start: f64, i: usize, y: f64) {
    let at = (start * RATE) as i64 + i as i64;
    if (0..out.len() as i64).contains(&at) {
        out[at as usize] += y as f32;
    }
}

/// A bass: a thick, softly plucked string.
pub struct Bass(Pluck);

impl Bass {
    pub fn draw(rng: &mut DemoRng) -> Self {
        Bass(Pluck {
            position: rng.between(0.15, 0.4),
            softness: rng.between(0.85, 0.95),
            ring: rng.between(1.5, 4.0),
            damping: rng.between(0.35, 0.5),
            release: rng.between(0.08, 0.2),
        })
    }

    pub fn play(&self, notes: &[Note], rng: &mut DemoRng, out: &mut [f32]) {
        for note in notes {
            pluck(&self.0, hertz(note.midi), note.start, note.seconds, note.velocity, rng, out);
        }
    }
}
