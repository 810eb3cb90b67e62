//! Times the resampler on one thread, for `benches/peers/resample.py`: `cargo bench -p timbre-signal --bench resample`. Prints, for each pair of rates and each
//! filter, the median milliseconds of a recording of 3 s.

use std::hint::black_box;
use std::time::Instant;

use timbre_signal::audio::{ResampleFilter, resample};

const PAIRS: [(u32, u32); 8] = [
    (44100, 22050),
    (48000, 22050),
    (44100, 16000),
    (22050, 44100),
    (44099, 22050),
    (22050, 44099),
    (44100, 44101),
    (96001, 44100),
];

fn main() {
    for (from, to) in PAIRS {
        let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        let input: Vec<f32> = (0..3 * from).map(noise).collect();
        let of = |filter| {
            let run = || {
                let start = Instant::now();
                black_box(resample(&input, from, to, filter));
                start.elapsed().as_secs_f64()
            };
            // The first builds the engine.
            run();
            let mut seconds: Vec<f64> = (0..60).map(|_| run()).collect();
            seconds.sort_by(f64::total_cmp);
            seconds[seconds.len() / 2] * 1e3
        };
        println!("{from} {to} {} {}", of(ResampleFilter::BlackmanHarris), of(ResampleFilter::SoxrHq));
    }
}
