//! Measures each feature on one thread: `cargo bench --bench features`.
//!
//! Clips take 3 s at 22050 Hz and are already decoded. The floor is the time of the Fourier transforms alone on this machine, with
//! the same library at the same precision; the rest is windowing, filters, logarithms and copies.

use std::hint::black_box;
use std::time::Instant;

use timbre_fft::RealPlannerF64;
use timbre_inputs::features::{ClipAnalysis, Extractor, FeatureSpec};
use timbre_signal::audio::Clip;

const RATE: u32 = 22050;
const SAMPLES: usize = 66_150;
const FRAMES: usize = 130;
const N_FFT: usize = 2048;

fn main() {
    // `cargo bench` adds arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [kind, file] = &arguments[..] {
        return one_feature(kind, file);
    }
    let clip = Clip { samples: noise(SAMPLES), sample_rate: RATE };
    let floor = transform_seconds(N_FFT) * FRAMES as f64;
    let whole = transform_seconds(SAMPLES);
    println!(
        "floor: {FRAMES} transforms of {N_FFT} take {:.3} ms, one of {SAMPLES} {:.3} ms",
        floor * 1e3,
        whole * 1e3
    );
    // `concat` and `stack` are nothing by themselves.
    let kinds = FeatureSpec::KINDS.iter().filter(|kind| !["concat", "stack"].contains(*kind));
    let kinds = kinds.map(|kind| (*kind, format!(r#"{{"kind": "{kind}"}}"#)));
    let large = ("mel 256 x 156", r#"{"kind": "mel", "n_mels": 256, "resize": [256, 156]}"#.to_owned());
    for (name, spec) in kinds.chain([large]) {
        let floor = match name {
            // No transform, or others.
            "raw" | "cqt" | "vqt" | "chroma_cqt" | "tonnetz_cqt" | "kaldi_fbank" => None,
            "fft" => Some(whole),
            _ => Some(floor),
        };
        let extractor = build(&spec);
        let seconds = median_seconds(|| {
            black_box(extractor.extract(&ClipAnalysis::new(&clip)).unwrap());
        });
        let share = floor.map_or(String::new(), |floor| format!(", {:.2} x the floor", seconds / floor));
        println!("{name:14} {:9.0} clips/s  {:8.4} ms{share}", 1.0 / seconds, seconds * 1e3);
    }
    let together: Vec<_> =
        ["mel", "centroid", "bandwidth"].iter().map(|kind| build(&format!(r#"{{"kind": "{kind}"}}"#))).collect();
    let seconds = median_seconds(|| {
        let analysis = ClipAnalysis::new(&clip);
        together.iter().for_each(|extractor| _ = black_box(extractor.extract(&analysis).unwrap()));
    });
    println!(
        "{:14} {:9.0} clips/s  {:8.4} ms, {:.2} x the floor (mel, centroid and bandwidth, one transform)",
        "three",
        1.0 / seconds,
        seconds * 1e3,
        seconds / floor
    );
}

/// The median of one feature, a kind or its table as JSON, over the clips in a file (f32, one after the other), for `benches/peers`.
fn one_feature(kind: &str, file: &str) {
    let bytes = std::fs::read(file).expect("a readable file of samples");
    let samples: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let clips: Vec<Clip> =
        samples.chunks_exact(SAMPLES).map(|c| Clip { samples: c.to_vec(), sample_rate: RATE }).collect();
    let is_table = kind.starts_with('{');
    let extractor = build(&if is_table { kind.to_owned() } else { format!(r#"{{"kind": "{kind}"}}"#) });
    let mut next = clips.iter().cycle();
    let seconds = median_seconds(|| {
        let clip = next.next().expect("a cycle never ends");
        black_box(extractor.extract(&ClipAnalysis::new(clip)).unwrap());
    });
    println!("{seconds}");
}

fn build(spec: &str) -> Box<dyn Extractor> {
    serde_json::from_str::<FeatureSpec>(spec).unwrap().as_kind().build(RATE).unwrap()
}

/// White noise, the same on every machine.
fn noise(samples: usize) -> Vec<f32> {
    (0..samples as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.1).collect()
}

/// The median over 400 calls.
fn median_seconds(mut work: impl FnMut()) -> f64 {
    (0..20).for_each(|_| work());
    let mut seconds: Vec<f64> = (0..400)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The time of one transform, including the copy of its input, which it overwrites.
fn transform_seconds(length: usize) -> f64 {
    let fft = RealPlannerF64::new().forward(length);
    let source: Vec<f64> = noise(length).into_iter().map(f64::from).collect();
    let (mut input, mut output, mut scratch) = (fft.make_input_vec(), fft.make_output_vec(), fft.make_scratch_vec());
    let calls = 1 + 100_000 / length;
    median_seconds(|| {
        for _ in 0..calls {
            input.copy_from_slice(&source);
            fft.process_with_scratch(&mut input, &mut output, &mut scratch).unwrap();
            black_box(&output);
        }
    }) / calls as f64
}
