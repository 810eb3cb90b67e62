//! Mixes tracks to a stereo recording: panning, reverberation, microphone, 16 bits.

use super::filter::{Biquad, RATE, chain, db, decay};
use super::rng::DemoRng;

/// The room and the recording chain of a song, shared by its excerpts.
pub struct MixingChain {
    /// Level of the reverberation relative to the direct sound.
    wet: f32,
    seconds: f64,
    size: f64,
    dull: f32,
    tilt_db: f64,
    low_cut: f64,
    high_cut: f64,
    hiss_db: f64,
    /// Peak level as a share of full scale.
    peak: f64,
}

/// A track of one musician and its position: 0 left, 1 right.
pub struct Track {
    pub samples: Vec<f32>,
    pub pan: f32,
}

/// Delays of the comb filters per channel, in samples of a room of size 1: without common factors, so that echoes do not coincide.
const COMBS: [[usize; 4]; 2] = [[1116, 1277, 1422, 1617], [1139, 1300, 1445, 1640]];
const ALL_PASSES: [[usize; 2]; 2] = [[556, 225], [579, 248]];

impl MixingChain {
    pub fn draw(rng: &mut DemoRng) -> Self {
        MixingChain {
            wet: db(rng.between(-26.0, -11.0)) as f32,
            seconds: rng.about(0.7, 1.0),
            size: rng.between(0.7, 1.6),
            dull: rng.between(0.2, 0.7) as f32,
            tilt_db: rng.between(-1.5, 1.5),
            low_cut: rng.about(50.0, 0.5),
            high_cut: rng.about(13000.0, 0.3),
            hiss_db: rng.between(-84.0, -74.0),
            peak: db(rng.between(-6.0, -0.8)),
        }
    }

    /// Sets the level of the hiss, in decibels of full scale.
    pub fn set_hiss(&mut self, decibels: f64) {
        self.hiss_db = decibels;
    }

    /// Mixes the tracks and returns interleaved stereo from frame `from` on.
    pub fn record(&self, tracks: &[Track], from: usize, frames: usize, rng: &mut DemoRng) -> Vec<i16> {
        let length = from + frames;
        let mut sides = [vec![0.0f32; length], vec![0.0f32; length]];
        let mut sent = vec![0.0f32; length];
        for track in tracks {
            // Equal power, with square roots only.
            let gains = [(1.0 - track.pan).sqrt(), track.pan.sqrt()];
            for (side, gain) in sides.iter_mut().zip(gains) {
                side.iter_mut().zip(&track.samples).for_each(|(y, x)| *y += gain * x);
            }
            sent.iter_mut().zip(&track.samples).for_each(|(y, x)| *y += x);
        }
        for (k, side) in sides.iter_mut().enumerate() {
            self.reverberate(&sent, k, side);
            let microphone = [
                Biquad::high_shelf(2500.0, self.tilt_db),
                Biquad::high_pass(self.low_cut, 0.7),
                Biquad::low_pass(self.high_cut, 0.7),
            ];
            chain(microphone, side);
        }
        let loudest = sides.iter().flat_map(|side| &side[from..]).fold(1e-9f32, |m, x| m.max(x.abs()));
        let scale = (self.peak * 32767.0) as f32 / loudest;
        let hiss = (db(self.hiss_db) * 32767.0) as f32;
        let mut noise = rng.noise();
        let mut samples = Vec::with_capacity(2 * frames);
        for i in from..length {
            for side in &sides {
                let y = side[i] * scale + noise.next() * hiss;
                samples.push(y.round().clamp(-32768.0, 32767.0) as i16);
            }
        }
        samples
    }

    fn reverberate(&self, sent: &[f32], side: usize, out: &mut [f32]) {
        let scaled = |delay: usize| (delay as f64 * self.size) as usize;
        let mut combs = COMBS[side].map(|delay| {
            let delay = scaled(delay);
            Comb {
                line: vec![0.0; delay],
                at: 0,
                state: 0.0,
                back: libm::pow(decay(self.seconds), delay as f64) as f32,
            }
        });
        let mut all_passes = ALL_PASSES[side].map(|delay| (vec![0.0f32; delay], 0usize));
        let (level, dull) = (0.5 * self.wet, self.dull);
        for (y, x) in out.iter_mut().zip(sent) {
            let mut wet: f32 = combs.iter_mut().map(|comb| comb.next(*x + 1e-18, dull)).sum();
            for (line, at) in &mut all_passes {
                let delayed = line[*at];
                let fed = wet + 0.5 * delayed;
                line[*at] = fed;
                wet = delayed - 0.5 * fed;
                *at = if *at + 1 == line.len() { 0 } else { *at + 1 };
            }
            *y += level * wet;
        }
    }
}

struct Comb {
    line: Vec<f32>,
    at: usize,
    state: f32,
    back: f32,
}

impl Comb {
    #[inline]
    fn next(&mut self, x: f32, dull: f32) -> f32 {
        let y = self.line[self.at];
        self.state = y + dull * (self.state - y);
        self.line[self.at] = x + self.back * self.state;
        self.at = if self.at + 1 == self.line.len() { 0 } else { self.at + 1 };
        y
    }
}

/// Scales a track to a level: root mean square over the parts that sound.
pub fn level_to(samples: &mut [f32], level_db: f64) {
    let block = (0.05 * RATE) as usize;
    let powers: Vec<f32> =
        samples.chunks(block).map(|chunk| chunk.iter().map(|x| x * x).sum::<f32>() / chunk.len() as f32).collect();
    let highest = powers.iter().fold(0.0f32, |m, p| m.max(*p));
    let sounding: Vec<f32> = powers.into_iter().filter(|p| *p > 0.01 * highest).collect();
    let power = sounding.iter().sum::<f32>() / sounding.len().max(1) as f32;
    let gain = db(level_db) as f32 / power.sqrt().max(1e-9);
    samples.iter_mut().for_each(|x| *x *= gain);
}
