//! The threshold search beside numpy: `cargo bench --bench thresholds`.
//!
//! 2,874 recordings of 18 windows and 11 classes, the size of the test part of IRMAS, and 100 cut-offs × 100 window fractions. Timed
//! is everything from probabilities in memory to every score of decisions at every point. `benches/peers/thresholds.py` runs this
//! and numpy on the same numbers and prints the ratio: it hands over a file of the probabilities and one of the truths.
//!
//! The floor: every probability has to be read and placed among the cut-offs (here: looked up one by one, nothing else), and the
//! scores of every point have to be computed from counts.

use std::hint::black_box;
use std::time::Instant;

use timbre_core::labels::Labels;
use timbre_core::seed::{Seed, uniform};
use timbre_evaluation::metrics::decision_scores::NAMES;
use timbre_evaluation::metrics::tally::{ClassCounts, Tally};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_evaluation::threshold_search::{ThresholdGrid, best_point, parse_axis, selection_bias};

const RECORDINGS: usize = 2874;
const WINDOWS: usize = 18;
const CLASSES: usize = 11;

fn main() {
    // `cargo bench` adds arguments of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (probabilities, truth) = match &arguments[..] {
        [probabilities, truth] => (numbers(probabilities), indicators(truth)),
        _ => made(),
    };
    let truth: Vec<Labels> = truth.into_iter().map(Labels::from).collect();
    let starts = vec![vec![0.0; WINDOWS]; RECORDINGS];
    let windows = WindowPredictions::new(Predictions { n_classes: CLASSES, probabilities }, &starts);
    let cutoffs = parse_axis("0.00..0.99/0.01").expect("an axis");
    let fractions: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
    let once = vec![1; RECORDINGS];
    let search = || {
        let sweep = ThresholdGrid::of_windows(&windows, &truth, cutoffs.clone(), fractions.clone());
        let surface = sweep.surface(&once);
        (sweep, surface)
    };
    let one = median_seconds(9, || {
        rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread").install(|| black_box(search()));
    });
    let all = median_seconds(9, || {
        black_box(search());
    });
    let (sweep, surface) = search();
    let metric = NAMES.iter().position(|name| *name == "f1_micro").expect("a score");
    let scores = surface.of(metric);
    let chosen = best_point(&scores, cutoffs.len());
    let read = median_seconds(9, || {
        let passed = |&p: &f32| cutoffs.partition_point(|&cutoff| f64::from(p) > cutoff);
        black_box(windows.probabilities.iter().map(passed).sum::<usize>());
    });
    let counts = ClassCounts { support: 400, predicted: 500, hits: 300, unknown: 0 };
    let tally = Tally { n: 2874, classes: vec![counts; CLASSES], exact: 100, samples: [1 << 40; 4] };
    let score = median_seconds(9, || {
        (0..scores.len()).for_each(|_| {
            black_box(black_box(&tally).scores());
        });
    });
    let points = scores.len();
    println!("{points} points, {} scores each: {:.1} ms, on one thread {:.1} ms", NAMES.len(), all * 1e3, one * 1e3);
    println!(
        "floor {:.1} ms on one thread: {:.1} ms to place the probabilities, {:.1} ms to score the points; ratio {:.1}",
        (read + score) * 1e3,
        read * 1e3,
        score * 1e3,
        one / (read + score)
    );
    let songs: Vec<usize> = (0..RECORDINGS).map(|recording| recording * 208 / RECORDINGS).collect();
    let clock = Instant::now();
    black_box(selection_bias(&sweep, metric, &songs, &scores, false, 200, Seed::new(1)));
    println!("200 resamples of songs around the whole choice: {:.2} s", clock.elapsed().as_secs_f64());
    println!(
        "f1_micro best at {} {} = {} sum {:.9} exact {:.9} samples {:.9} seconds {all}",
        cutoffs[chosen.cutoff],
        fractions[chosen.fraction],
        scores[chosen.fraction * cutoffs.len() + chosen.cutoff],
        scores.iter().sum::<f64>(),
        surface.of(1).iter().sum::<f64>(),
        surface.of(16).iter().sum::<f64>(),
    );
}

fn median_seconds(times: usize, mut work: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..times)
        .map(|_| {
            let clock = Instant::now();
            work();
            clock.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[times / 2]
}

/// Windows of a recording are alike, and a present class is louder.
fn made() -> (Vec<f32>, Vec<Vec<usize>>) {
    let mut rng = Seed::new(1).rng();
    let mut draw = || uniform(&mut rng);
    let (mut probabilities, mut truth) = (Vec::new(), Vec::new());
    for _ in 0..RECORDINGS {
        let present: Vec<usize> = (0..CLASSES).filter(|_| draw() < 0.156).collect();
        let level: Vec<f64> =
            (0..CLASSES).map(|class| draw() * 0.6 + if present.contains(&class) { 0.25 } else { 0.0 }).collect();
        for _ in 0..WINDOWS {
            probabilities.extend(level.iter().map(|level| (level + (draw() - 0.5) * 0.3).clamp(0.0, 1.0) as f32));
        }
        truth.push(present);
    }
    (probabilities, truth)
}

fn numbers(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("a file of f32");
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

fn indicators(path: &str) -> Vec<Vec<usize>> {
    let bytes = std::fs::read(path).expect("a file of bytes");
    bytes.chunks_exact(CLASSES).map(|row| (0..CLASSES).filter(|&class| row[class] != 0).collect()).collect()
}
