//! Measures each augmentation on one thread: `cargo bench --bench augment`.
//!
//! Prints a line of JSON per kind: the median of the milliseconds for one draw and its application to a clip of 3 s in memory.
//! `benches/peers/augment.py` calls it with `-- RATE FILE SPEC…` (a sample rate, clips as f32 one after the other, specs as JSON).
//! Without arguments it measures the defaults of every kind on noise at 22050 Hz, and the Fourier transforms alone of the two
//! kinds that consist of them.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail};
use timbre_core::seed::Seed;
use timbre_fft::{Complex, PlannerF32};
use timbre_inputs::augment::{AugmentContext, AugmentSpec, Backgrounds, ClipInfo, ClipPool, Waveform};
use timbre_signal::dsp::vocoder::frame_sizes::FrameSizes;

const SECONDS: usize = 3;
/// Calls before the measured ones.
const WARM: usize = 10;
const MAX_CALLS: usize = 200;
const MAX_SECONDS: f64 = 2.0;

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

/// The other clips, for augmentations that need one.
struct Clips<'a> {
    clips: &'a [Vec<f32>],
    labels: timbre_core::labels::Labels,
    tags: BTreeMap<String, String>,
    backgrounds: Backgrounds,
}

impl ClipPool for Clips<'_> {
    fn len(&self) -> usize {
        self.clips.len()
    }

    fn info(&self, _row: usize) -> ClipInfo<'_> {
        ClipInfo { id: "clip", labels: &self.labels, song: "song", tags: &self.tags }
    }

    fn waveform(&self, row: usize, _cut: u64) -> Result<Vec<f32>> {
        Ok(self.clips[row].clone())
    }

    fn image(&self, _row: usize, _channel: usize, _out: &mut [f32]) -> Result<()> {
        bail!("clips have no images here")
    }

    fn backgrounds(&self) -> &Backgrounds {
        &self.backgrounds
    }
}

fn report(spec: &str, sample_rate: u32, clips: &[Vec<f32>]) {
    let spec: AugmentSpec = serde_json::from_str(spec).expect("the spec of an augmentation");
    let pool = Clips { labels: vec![0].into(), clips, tags: BTreeMap::new(), backgrounds: Backgrounds::default() };
    let mut rng = Seed::new(1).rng();
    let mut milliseconds = Vec::new();
    let start = Instant::now();
    for (count, row) in (0..clips.len()).cycle().enumerate() {
        let context = AugmentContext { sample_rate, samples: clips[row].len(), row, pool: &pool };
        // The copy of the clip is not part of the augmentation.
        let mut clip = Waveform { samples: clips[row].clone(), sample_rate, targets: vec![1.0] };
        let clock = Instant::now();
        let draws = match spec.as_kind().draw(&context, &mut rng) {
            Ok(draws) if !draws.is_empty() && draws.iter().all(|draw| !draw.as_kind().changes_image()) => draws,
            _ => return eprintln!("{}: does not change a waveform", spec.kind()),
        };
        for draw in &draws {
            draw.as_kind().apply_to_waveform(&mut clip, &pool).expect("every draw can be applied");
        }
        black_box(&clip);
        if count >= WARM {
            milliseconds.push(clock.elapsed().as_secs_f64() * 1e3);
        }
        if count + 1 == WARM + MAX_CALLS || (count > 2 * WARM && start.elapsed().as_secs_f64() > MAX_SECONDS) {
            break;
        }
    }
    let line = serde_json::json!({ "spec": spec, "sample_rate": sample_rate, "milliseconds": median(milliseconds) });
    println!("{line}");
}

/// The cost of the transforms of a stretch or shift to `share` of the samples: two frames in one, forward and inverse.
fn floor(sample_rate: u32, what: &str, shape: FrameSizes, share: f64) {
    let mut planner = PlannerF32::new();
    let plans = [planner.forward(shape.analysis), planner.inverse(shape.synthesis)];
    let pairs = (share * (SECONDS * sample_rate as usize) as f64 / shape.hop as f64 / 2.0).ceil();
    let each = plans.map(|plan| {
        let source = vec![Complex::new(0.1f32, 0.2); plan.len()];
        let (mut frame, mut scratch) = (source.clone(), vec![Complex::default(); plan.get_inplace_scratch_len()]);
        let times = (0..WARM + MAX_CALLS).map(|_| {
            let clock = Instant::now();
            for _ in 0..50 {
                frame.copy_from_slice(&source);
                plan.process_with_scratch(&mut frame, &mut scratch);
                black_box(&frame);
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

/// White noise, the same on every machine.
fn noise(samples: usize) -> Vec<f32> {
    (0..samples as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.1).collect()
}

fn read(file: &str, samples: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(file).expect("a readable file of samples");
    let samples_of =
        |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    bytes.chunks_exact(4 * samples).map(samples_of).collect()
}
