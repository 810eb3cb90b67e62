//! The speed of ResNet18 on the CPU: `cargo bench --bench network`.
//!
//! It measures clips per second of an epoch of the program's training loop (Adam, batches of 16 images of 256 × 156 in memory)
//! and of prediction. The limit `floor` is the multiply-adds of the layer table at the speed of a matrix product. With the
//! argument `serve` it reads words from standard input (`train`, `infer`, `product`, `floor`) and answers each with a line of
//! JSON, for `benches/peers/network.py`, which alternates with another program.

#![allow(unsafe_code, reason = "calls gemm directly")]

#[path = "../src/allocator.rs"]
mod allocator;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use gemm::{Parallelism, gemm};
use timbre_core::{labels::Task, progress::Printer, seed::Seed};
use timbre_evaluation::metrics::DecisionRule;
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_models::{Classifier, Epoch, FitContext, ModelSpec, TrainingCallback, device::Device, networks::InputShape};

const SHAPE: [usize; 2] = [256, 156];
const CLASSES: usize = 11;
const CLIPS: usize = 64;
const REPETITIONS: usize = 5;

fn main() {
    allocator::keep_freed_memory();
    let set = noise(CLIPS);
    let spec: ModelSpec = serde_json::from_value(serde_json::json!({
        "kind": "resnet18", "epochs": 2, "batch_size": 16, "optimizer": "adam", "weight_decay": 0.0, "restore_best": false,
    }))
    .expect("the keys of a ResNet18");
    if std::env::args().any(|argument| argument == "serve") {
        for line in std::io::stdin().lock().lines() {
            let word = line.expect("a word on standard input");
            println!("{}", measure(&word, &spec, &set));
            std::io::stdout().flush().expect("an answer can be written");
        }
        return;
    }
    for word in ["product", "train", "infer", "floor"] {
        let mut numbers: Vec<f64> = (0..REPETITIONS).map(|_| measure(word, &spec, &set)).collect();
        numbers.sort_by(f64::total_cmp);
        println!("{}", serde_json::json!({ "what": word, "median": numbers[REPETITIONS / 2], "all": numbers }));
    }
}

/// Clips per second, or GFlop/s for a matrix product.
fn measure(word: &str, spec: &ModelSpec, set: &FeatureSet) -> f64 {
    match word {
        "train" => fit(spec, set).1,
        "infer" => {
            let (model, _) = fit(spec, &noise(16));
            let start = Instant::now();
            black_box(model.predict(set).expect("a prediction"));
            CLIPS as f64 / start.elapsed().as_secs_f64()
        }
        "product" => product_speed(),
        "floor" => product_speed() * 1e9 / training_operations(spec),
        other => panic!("`{other}` is not train, infer, product or floor"),
    }
}

/// The model, and the clips per second of its last epoch.
fn fit(spec: &ModelSpec, set: &FeatureSet) -> (Box<dyn Classifier>, f64) {
    struct Last(Mutex<f64>);
    impl TrainingCallback for Last {
        fn on_epoch_end(&self, history: &[Epoch]) -> anyhow::Result<()> {
            *self.0.lock().expect("no other thread") = history.last().map_or(0.0, |epoch| epoch.clips_per_second);
            Ok(())
        }
    }
    static NEVER: AtomicBool = AtomicBool::new(false);
    let (device, callback) = (Device::cpu(), Last(Mutex::new(0.0)));
    let decision_rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
    let context = FitContext {
        name: "resnet18",
        seed: Seed::new(1),
        decision_rule,
        classes: FitContext::standalone(Seed::new(1)).classes,
        metric: "accuracy",
        validation: None,
        device: &device,
        checkpoints: None,
        stop: &NEVER,
        printer: Printer::Quiet,
        callback: &callback,
    };
    let model = spec.as_kind().fit(set, &context).expect("a ResNet18 is trained");
    let speed = *callback.0.lock().expect("no other thread");
    (model, speed)
}

/// Images with values between -1 and 1 and one label each.
fn noise(clips: usize) -> FeatureSet {
    let mut state = 1u32;
    let values = (0..clips * SHAPE[0] * SHAPE[1]).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    FeatureSet::from_matrices(values.collect(), SHAPE, (0..clips).map(|clip| vec![clip % CLASSES]).collect(), CLASSES)
}

/// Additions and multiplications for one clip: forward, and twice as many backward, but for the gradient of the image.
fn training_operations(spec: &ModelSpec) -> f64 {
    let input = InputShape { channels: 1, height: SHAPE[0], width: SHAPE[1] };
    let rows =
        spec.as_kind().as_network().expect("a network").layers(input, CLASSES).expect("the image is large enough");
    let of = |rows: &[timbre_models::networks::LayerRow]| rows.iter().map(|row| row.multiply_adds).sum::<u64>() as f64;
    2.0 * (3.0 * of(&rows) - of(&rows[..1]))
}

/// GFlop/s of a product of two matrices of f32, 1024 × 1024, on all threads: the best of ten.
fn product_speed() -> f64 {
    const N: usize = 1024;
    let (a, b, mut out) = (vec![0.5f32; N * N], vec![0.25f32; N * N], vec![0.0f32; N * N]);
    let best = (0..10)
        .map(|_| {
            let start = Instant::now();
            // SAFETY: three matrices of N × N, row after row; the one written to is another than the ones read.
            unsafe {
                let (step, n) = (N as isize, N);
                gemm(
                    n,
                    n,
                    n,
                    out.as_mut_ptr(),
                    1,
                    step,
                    false,
                    a.as_ptr(),
                    1,
                    step,
                    b.as_ptr(),
                    1,
                    step,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::Rayon(0),
                );
            }
            black_box(&out);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    2.0 * (N * N * N) as f64 / best / 1e9
}
