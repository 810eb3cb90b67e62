//! Generates the impulse response of a random room.
//!
//! The room is a shoebox with a source and a listener. Early reflections are image sources (Allen and Berkley 1979); all
//! walls absorb the same share, from Eyring's formula for the reverberation time. After the mixing time (Polack: the square
//! root of the volume in cubic metres, in milliseconds) the reflections are too dense to distinguish and are replaced by
//! Gaussian noise with the power of the image sources, so the transition is continuous: 4 π c³ t² / V of them arrive per
//! second on average, each with a power of exp(-13.8 t / RT60) / (c t)².
//!
//! The direct sound is a single pulse at sample 0: there is no delay. All reflections pass a one-pole low-pass, because walls
//! and air absorb more treble; it changes their colour and not their decay time.

use std::f64::consts::{PI, TAU};

use rand_chacha::ChaCha8Rng;

use crate::dsp::noise::GaussianNoise;
use timbre_core::seed::{Seed, uniform};

/// Speed of sound in metres per second.
const SOUND: f64 = 343.0;
/// Decay of the power per RT60: ln(10^6).
const DECAY: f64 = 13.815_510_557_964_274;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// Seconds until the reflections have decayed by 60 dB.
    pub rt60: f64,
    /// Cube root of the volume, in metres.
    pub size: f64,
    /// Cutoff of the low-pass on the reflections, in Hz.
    pub cutoff: f64,
    /// Share of the energy in the reflections, 0 to 1.
    pub wet: f64,
    /// Seed of the proportions, the positions and the noise.
    pub seed: u64,
}

impl Room {
    /// The impulse response, with unit energy, at most `longest` samples long.
    pub fn response(&self, sample_rate: u32, longest: usize) -> Vec<f32> {
        let rate = f64::from(sample_rate);
        let length = ((self.rt60 * rate).ceil() as usize).clamp(1, longest.max(1));
        let mut rng = Seed::new(self.seed).child("room").rng();
        let shape = Shape::draw(self.size, &mut rng);
        let mixing = (1e-3 * shape.volume().sqrt()).min(self.rt60 / 4.0);
        let mut response = vec![0.0f32; length];
        self.add_tail(&shape, mixing, rate, &mut response);
        self.add_images(&shape, mixing, rate, &mut response);
        low_pass(&mut response, self.cutoff, rate);
        response[0] = 0.0;
        let energy = crate::dsp::level::energy(&response);
        let factor = if energy > 0.0 { (self.wet / energy).sqrt() as f32 } else { 0.0 };
        crate::dsp::level::scale(&mut response, factor);
        response[0] = (1.0 - self.wet).sqrt() as f32;
        response
    }

    /// Adds the noise that replaces the dense reflections. Amplitudes are those at one metre.
    fn add_tail(&self, shape: &Shape, mixing: f64, rate: f64, response: &mut [f32]) {
        GaussianNoise::new(self.seed).fill(response);
        let direct = shape.direct() / SOUND;
        let power = 4.0 * PI * SOUND / (shape.volume() * rate);
        let step = (-0.5 * DECAY / (self.rt60 * rate)).exp() as f32;
        for (index, block) in response.chunks_mut(64).enumerate() {
            let time = direct + (64 * index) as f64 / rate;
            let mut amplitude = (power * (-DECAY * time / self.rt60).exp()).sqrt() as f32;
            let whole = time >= mixing;
            for (n, sample) in block.iter_mut().enumerate() {
                let weight = if whole { 1.0 } else { tail_share(time + n as f64 / rate, mixing).sqrt() as f32 };
                *sample *= amplitude * weight;
                amplitude *= step;
            }
        }
    }

    fn add_images(&self, shape: &Shape, mixing: f64, rate: f64, response: &mut [f32]) {
        // Eyring: RT60 = 0.161 V / (-S ln(1 - absorbed)); a reflection keeps the square root of the remaining power.
        let kept = (-0.5 * 24.0 * 10f64.ln() / SOUND * shape.volume() / (shape.surface() * self.rt60)).exp();
        let direct = shape.direct();
        let reach = |axis: usize| (SOUND * mixing / shape.sides[axis]).ceil() as i32 + 1;
        for x in -reach(0)..=reach(0) {
            for y in -reach(1)..=reach(1) {
                for z in -reach(2)..=reach(2) {
                    let bounces = x.abs() + y.abs() + z.abs();
                    let distance = shape.distance([x, y, z]);
                    let time = distance / SOUND;
                    if bounces == 0 || time >= mixing {
                        continue;
                    }
                    let amplitude = kept.powi(bounces) / distance * (1.0 - tail_share(time, mixing)).sqrt();
                    let place = (distance - direct) / SOUND * rate;
                    let (whole, part) = (place.floor() as usize, place.fract());
                    for (at, share) in [(whole, 1.0 - part), (whole + 1, part)] {
                        if let Some(sample) = response.get_mut(at) {
                            *sample += (amplitude * share) as f32;
                        }
                    }
                }
            }
        }
    }
}

/// Share of the reflections' power in the noise: 0 until half the mixing time, 1 from the mixing time on.
fn tail_share(time: f64, mixing: f64) -> f64 {
    (2.0 * time / mixing - 1.0).clamp(0.0, 1.0)
}

/// A one-pole low-pass.
fn low_pass(samples: &mut [f32], cutoff: f64, rate: f64) {
    let pole = (-TAU * (cutoff / rate).min(1.0)).exp() as f32;
    let mut kept = 0.0;
    for sample in samples {
        kept = (1.0 - pole) * *sample + pole * kept;
        *sample = kept;
    }
}

struct Shape {
    sides: [f64; 3],
    source: [f64; 3],
    listener: [f64; 3],
}

impl Shape {
    fn draw(size: f64, rng: &mut ChaCha8Rng) -> Shape {
        let between = |low: f64, high: f64, rng: &mut ChaCha8Rng| low + (high - low) * uniform(rng);
        let proportions = [1.0, between(0.7, 1.3, rng), between(0.5, 0.9, rng)];
        let scale = size / proportions.iter().product::<f64>().cbrt();
        let sides = proportions.map(|side| side * scale);
        let mut place = |from: f64, to: f64| sides.map(|side| side * between(from, to, rng));
        // Two regions that do not overlap on any axis keep source and listener apart.
        Shape { sides, source: place(0.1, 0.45), listener: place(0.55, 0.9) }
    }

    fn volume(&self) -> f64 {
        self.sides.iter().product()
    }

    fn surface(&self) -> f64 {
        let [x, y, z] = self.sides;
        2.0 * (x * y + y * z + z * x)
    }

    fn direct(&self) -> f64 {
        self.distance([0, 0, 0])
    }

    /// Distance from the listener to the image of the source that is `rooms` rooms away along each axis.
    fn distance(&self, rooms: [i32; 3]) -> f64 {
        let along = |axis: usize| {
            let (side, source) = (self.sides[axis], self.source[axis]);
            let image = if rooms[axis] % 2 == 0 { source } else { side - source };
            f64::from(rooms[axis]) * side + image - self.listener[axis]
        };
        (0..3).map(|axis| along(axis).powi(2)).sum::<f64>().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dsp::level;

    /// Schroeder's backward integration: the slope between -5 and -35 dB of the reflections, extrapolated to 60 dB.
    fn measured_rt60(response: &[f32], rate: f64) -> f64 {
        let mut left: Vec<f64> = response[1..].iter().map(|&x| f64::from(x) * f64::from(x)).collect();
        for n in (0..left.len() - 1).rev() {
            left[n] += left[n + 1];
        }
        let whole = left[0];
        let points: Vec<(f64, f64)> = left
            .iter()
            .enumerate()
            .map(|(n, &energy)| (n as f64 / rate, 10.0 * (energy / whole).max(1e-12).log10()))
            .filter(|(_, db)| (-35.0..-5.0).contains(db))
            .collect();
        let n = points.len() as f64;
        let (mean_t, mean_db) =
            (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
        let slope = points.iter().map(|(t, db)| (t - mean_t) * (db - mean_db)).sum::<f64>()
            / points.iter().map(|(t, _)| (t - mean_t).powi(2)).sum::<f64>();
        -60.0 / slope
    }

    proptest! {
        #[test]
        fn a_room_has_the_specified_reverberation_time(rt60 in 0.2f64..1.5, size in 2.5f64..12.0, cutoff in 2000.0f64..10000.0, seed: u64) {
            let room = Room { rt60, size, cutoff, wet: 0.5, seed };
            let response = room.response(22050, usize::MAX);
            let measured = measured_rt60(&response, 22050.0);
            prop_assert!((measured / rt60 - 1.0).abs() < 0.1, "{} s instead of {}", measured, rt60);
        }

        #[test]
        fn the_direct_sound_is_at_sample_0_and_the_walls_have_their_share(wet in 0.0f64..1.0, size in 2.5f64..12.0, seed: u64) {
            let response = Room { rt60: 0.5, size, cutoff: 6000.0, wet, seed }.response(16000, usize::MAX);
            prop_assert!((f64::from(response[0]).powi(2) - (1.0 - wet)).abs() < 1e-5);
            prop_assert!((level::energy(&response[1..]) - wet).abs() < 1e-4);
            prop_assert!(response.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn first_reflections_arrive_at_their_computed_times() {
        // One image per wall: mirrored at 0 and at the end of the side.
        let shape = Shape { sides: [5.0, 4.0, 3.0], source: [1.0, 1.0, 1.0], listener: [4.0, 1.0, 1.0] };
        assert!((shape.distance([-1, 0, 0]) - 5.0).abs() < 1e-12, "by way of the wall at 0: 1 + 4");
        assert!((shape.distance([1, 0, 0]) - 5.0).abs() < 1e-12, "by way of the wall at 5: 4 + 1");
        assert!((shape.distance([0, -1, 0]) - 13f64.sqrt()).abs() < 1e-12);
        assert!((shape.distance([2, 0, 0]) - 7.0).abs() < 1e-12, "both walls: the source repeats every 10 m");
    }

    #[test]
    fn tiny_rooms_and_clips_stay_finite() {
        for (rt60, longest) in [(1e-4, 100), (0.5, 1), (0.5, 0), (5.0, 3000)] {
            let response = Room { rt60, size: 0.5, cutoff: 1e9, wet: 0.7, seed: 1 }.response(8000, longest);
            assert!(!response.is_empty() && response.iter().all(|x| x.is_finite()), "{rt60} {longest}");
        }
    }
}
