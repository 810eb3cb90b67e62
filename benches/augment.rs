//! How long each augmentation takes on one thread: `cargo bench --bench augment`.
//!
//! Prints a line of JSON for each kind: the median of the milliseconds it takes to do one draw to a clip of 3 s that is in memory. Called with
//! `-- RATE FILE SPEC…` (a sample rate, clips as f32 one after the other, specs as JSON) it does that for `benches/peers/augment.py`;
//! alone it takes the defaults of every kind on noise at 22050 Hz, and says what the transforms alone of the two that have many cost.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use timbre_core::seed::Seed;
use timbre_inputs::augment::{AugmentContext, AugmentSpec, ClipInfo, ClipPool, Sound};
use timbre_signal::dsp::vocoder::frame_sizes::FrameSizes;

const SECONDS: usize = 3;
/// Calls before the clock counts.
const WARM: usize = 10;
const MOST_CALLS: usize = 200;
const MOST_SECONDS: f64 = 2.0;

fn main() {
    // `cargo bench` adds arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match &arguments[..] {
        [rate, file, specs @ ..] if !specs.is_empty() => {
            let rate: u32 = rate.parse().expect("a sample rate");
            let clips = read(file, SECONDS * rate as usize);
            for spec in specs {
                report(spec, rate, &clips);
            }
        }
        _ => {
            for rate in [22050, 44100] {
                floor(rate, "time_stretch by 1.25", FrameSizes::new(rate, 1.25, 1.0), 0.8);
                floor(rate, "pitch_shift by 3", FrameSizes::new(rate, 1.0, libm::exp2(0.25)), 1.0);
                let clips = vec![noise(SECONDS * rate as usize)];
                report(r#"{"kind": "time_stretch", "rate": 1.25}"#, rate, &clips);
                report(r#"{"kind": "pitch_shift", "semitones": 3}"#, rate, &clips);
            }
            for kind in AugmentSpec::KINDS {
                report(&format!(r#"{{"kind": "{kind}"}}"#), 22050, &[noise(SECONDS * 22050)]);
            }
        }
    }
}

/// The other clips, for what needs one.
struct Clips<'a>(&'a [Vec<f32>]);

impl ClipPool for Clips<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn companion(&self, _row: usize) -> ClipInfo<'_> {
        static TAGS: std::sync::LazyLock<std::collections::BTreeMap<String, String>> =
            std::sync::LazyLock::new(Default::default);
        ClipInfo { id: "clip", labels: &[0], song: "song", tags: &TAGS }
    }

    fn waveform(&self, row: usize, _cut: u64) -> Result<Vec<f32>> {
        Ok(self.0[row].clone())
    }

    fn image(&self, _row: usize, _out: &mut [f32]) -> Result<()> {
        bail!("clips have no images here")
    }
}

fn report(spec: &str, sample_rate: u32, clips: &[Vec<f32>]) {
    let spec: AugmentSpec = serde_json::from_str(spec).expect("the spec of an augmentation");
    let company = Clips(clips);
    let mut rng = Seed::new(1).rng();
    let mut milliseconds = Vec::new();
    let begun = Instant::now();
    for (count, row) in (0..clips.len()).cycle().enumerate() {
        let scene = AugmentContext { sample_rate, samples: clips[row].len(), row, company: &company };
        // The clip is handed over: the copy is not the augmentation's.
        let mut sound = Sound { samples: clips[row].clone(), sample_rate, targets: vec![1.0] };
        let clock = Instant::now();
        let draws = match spec.as_kind().draw(&scene, &mut rng) {
            Ok(draws) if !draws.is_empty() && draws.iter().all(|draw| !draw.as_kind().is_on_image()) => draws,
            _ => return eprintln!("{}: nothing is done to a wave alone", spec.kind()),
        };
        for draw in &draws {
            draw.as_kind().on_sound(&mut sound, &company).expect("what was drawn can be done");
        }
        black_box(&sound);
        if count >= WARM {
            milliseconds.push(clock.elapsed().as_secs_f64() * 1e3);
        }
        if count + 1 == WARM + MOST_CALLS || (count > 2 * WARM && begun.elapsed().as_secs_f64() > MOST_SECONDS) {
            break;
        }
    }
    let line = serde_json::json!({ "spec": spec, "sample_rate": sample_rate, "milliseconds": median(milliseconds) });
    println!("{line}");
}

/// What the transforms of a stretch or a shift to `share` of the samples cost: two frames in one, there and back.
fn floor(sample_rate: u32, what: &str, shape: FrameSizes, share: f64) {
    let mut planner = FftPlanner::<f32>::new();
    let plans = [planner.plan_fft_forward(shape.analysis), planner.plan_fft_inverse(shape.synthesis)];
    let pairs = (share * (SECONDS * sample_rate as usize) as f64 / shape.hop as f64 / 2.0).ceil();
    let each = plans.map(|plan| {
        let source = vec![Complex::new(0.1f32, 0.2); plan.len()];
        let (mut wave, mut scratch) = (source.clone(), vec![Complex::default(); plan.get_inplace_scratch_len()]);
        let times = (0..WARM + MOST_CALLS).map(|_| {
            let clock = Instant::now();
            for _ in 0..50 {
                wave.copy_from_slice(&source);
                plan.process_with_scratch(&mut wave, &mut scratch);
                black_box(&wave);
            }
            clock.elapsed().as_secs_f64() * 1e3 / 50.0
        });
        median(times.skip(WARM).collect())
    });
    let line = serde_json::json!({
        "floor": what, "sample_rate": sample_rate, "analysis": shape.analysis, "synthesis": shape.synthesis, "hop": shape.hop,
        "milliseconds": pairs * (each[0] + each[1]),
    });
    println!("{line}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// White enough, and the same everywhere.
fn noise(samples: usize) -> Vec<f32> {
    (0..samples as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.1).collect()
}

fn read(file: &str, samples: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(file).expect("the file of samples can be read");
    let samples_of =
        |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    bytes.chunks_exact(4 * samples).map(samples_of).collect()
}
