pub mod turns;
pub mod lengths;
pub mod map;
pub mod attacks;
pub mod lock;
pub mod frames;

use attacks::attacks;
use lengths::Shape;
use map::TimeMap;

pub fn time_stretch(samples: &[f32], sample_rate: u32, rate: f64) -> Vec<f32> {
    let output = (samples.len() as f64 / rate).round_ties_even() as usize;
    if rate == 1.0 { return samples.to_vec(); }
    vocode(samples, sample_rate, output, 1.0)
}
pub fn pitch_shift(samples: &[f32], sample_rate: u32, semitones: f64) -> Vec<f32> {
    if semitones == 0.0 { return samples.to_vec(); }
    vocode(samples, sample_rate, samples.len(), (semitones / 12.0).exp2())
}
pub fn vocode(samples: &[f32], sample_rate: u32, output: usize, pitch: f64) -> Vec<f32> {
    if samples.is_empty() || output == 0 { return vec![0.0; output]; }
    let shape = Shape::new(sample_rate, samples.len() as f64 / output as f64, pitch);
    let found = attacks(samples, sample_rate);
    let reach = shape.synthesis / 2;
    let map = TimeMap::new(samples.len(), output, &found, pitch, reach);
    let before = (reach - 1) / shape.hop;
    let frames = before + (output + reach).div_ceil(shape.hop);
    let first = -((before * shape.hop) as isize);
    let places = map.places((0..frames).map(|u| first + (u * shape.hop) as isize));
    frames::run(samples, &shape, &places, first, output)
}
