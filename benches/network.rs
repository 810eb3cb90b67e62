//! The speed of networks: `cargo bench --bench network [-- --device cuda]`.
//!
//! It measures clips per second of an epoch of the program's training loop (Adam, images in memory) and of prediction. The limit
//! `floor` is the multiply-adds of the layer table at the speed of a matrix product of the CPU. With the argument `serve` it
//! reads lines from standard input and answers each with a line of JSON, for `benches/peers/network.py` and
//! `benches/gpu/measure.py`, which alternate with another program. A line has what to measure (`train`, `infer`, `product`,
//! `floor`), and where they are not the usual ones a network, the size of a batch, the number of clips, rows and columns of an
//! image, and the precision of the training: `train ast 16 64 128 1024 bf16`.

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
use timbre_models::{
    Classifier, Epoch, FitContext, ModelSpec, TrainingCallback,
    device::{Device, DeviceChoice},
    networks::InputShape,
};

const CLASSES: usize = 11;
const REPETITIONS: usize = 5;

/// What to measure: a network, its batches and its images.
struct Case {
    spec: ModelSpec,
    clips: usize,
    shape: [usize; 2],
}

impl Case {
    /// From the words after the first of a line.
    fn parse(words: &[&str]) -> Case {
        let number = |at: usize, usual: usize| words.get(at).map_or(usual, |word| word.parse().expect("a number"));
        let spec = serde_json::json!({
            "kind": words.first().unwrap_or(&"resnet18"), "epochs": 2, "batch_size": number(1, 16), "optimizer": "adam",
            "weight_decay": 0.0, "restore_best": false, "precision": words.get(5).unwrap_or(&"f32"),
        });
        let spec = serde_json::from_value(spec).expect("the keys of a network");
        Case { spec, clips: number(2, 64), shape: [number(3, 256), number(4, 156)] }
    }

    /// Images with values between -1 and 1 and one label each.
    fn noise(&self, clips: usize) -> FeatureSet {
        let mut state = 1u32;
        let values = (0..clips * self.shape[0] * self.shape[1]).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        });
        let labels = (0..clips).map(|clip| vec![clip % CLASSES]).collect();
        FeatureSet::from_matrices(values.collect(), self.shape, labels, CLASSES)
    }
}

fn main() {
    allocator::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().collect();
    let device = arguments.iter().position(|argument| argument == "--device").and_then(|at| arguments.get(at + 1));
    let choice: DeviceChoice = device.map_or("cpu", String::as_str).parse().expect("a device");
    let device = choice.choose().expect("the device works").device;
    if arguments.iter().any(|argument| argument == "serve") {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("a line on standard input");
            let words: Vec<&str> = line.split_whitespace().collect();
            println!("{}", measure(words[0], &Case::parse(&words[1..]), &device));
            std::io::stdout().flush().expect("an answer can be written");
        }
        return;
    }
    let case = Case::parse(&[]);
    for word in ["product", "train", "infer", "floor"] {
        let mut numbers: Vec<f64> = (0..REPETITIONS).map(|_| measure(word, &case, &device)).collect();
        numbers.sort_by(f64::total_cmp);
        println!("{}", serde_json::json!({ "what": word, "median": numbers[REPETITIONS / 2], "all": numbers }));
    }
}

/// Clips per second, or GFlop/s for a matrix product.
fn measure(word: &str, case: &Case, device: &Device) -> f64 {
    match word {
        "train" => fit(case, case.clips, device).1,
        "infer" => {
            let (model, _) = fit(case, 16, device);
            let set = case.noise(case.clips);
            black_box(model.predict(&set).expect("a prediction"));
            let start = Instant::now();
            black_box(model.predict(&set).expect("a prediction"));
            case.clips as f64 / start.elapsed().as_secs_f64()
        }
        "product" => product_speed(),
        "floor" => product_speed() * 1e9 / training_operations(case),
        other => panic!("`{other}` is not train, infer, product or floor"),
    }
}

/// The model, and the clips per second of its last epoch.
fn fit(case: &Case, clips: usize, device: &Device) -> (Box<dyn Classifier>, f64) {
    struct Last(Mutex<f64>);
    impl TrainingCallback for Last {
        fn on_epoch_end(&self, history: &[Epoch]) -> anyhow::Result<()> {
            *self.0.lock().expect("no other thread") = history.last().map_or(0.0, |epoch| epoch.clips_per_second);
            Ok(())
        }
    }
    static NEVER: AtomicBool = AtomicBool::new(false);
    let callback = Last(Mutex::new(0.0));
    let decision_rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
    let context = FitContext {
        name: "network",
        seed: Seed::new(1),
        decision_rule,
        classes: FitContext::standalone(Seed::new(1)).classes,
        metric: "accuracy",
        validation: None,
        device,
        checkpoints: None,
        stop: &NEVER,
        printer: Printer::Quiet,
        callback: &callback,
    };
    let model = case.spec.as_kind().fit(&case.noise(clips), &context).expect("the network is trained");
    let speed = *callback.0.lock().expect("no other thread");
    (model, speed)
}

/// Additions and multiplications for one clip: forward, and twice as many backward, but for the gradient of the image.
fn training_operations(case: &Case) -> f64 {
    let input = InputShape { channels: 1, height: case.shape[0], width: case.shape[1] };
    let network = case.spec.as_network().expect("a network");
    let rows = network.layers(input, CLASSES).expect("the image is large enough");
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
