//! Measures how many training clips per second the augmentations of an experiment make. Decoding is done before; every example is
//! made from its waveform, by as many threads as feed a network.
//!
//! `cargo bench --bench chain -- EXP [--data NAME] [--model NAME] [--threads 1,2] [--set KEY=VALUE]…` prints one JSON object per line:
//! the median of several passes over all training clips, and the CPU time per clip, which a busy machine affects less than the
//! wall clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use timbre::execution::run::augmentation_preview::{AugmentationPreview, preview_augmentation};
use timbre::execution::run::{NoArtifacts, Settings};
use timbre_core::progress::Printer;
use timbre_experiment::{Request, resolve};
use timbre_inputs::dataset::row_source::ExampleGenerator;
use timbre_models::device::Device;

const PASSES: usize = 5;

struct Arguments {
    request: Request,
    model: Option<String>,
    threads: Vec<usize>,
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments {
        request: Request { root: PathBuf::from("."), ..Request::default() },
        model: None,
        threads: vec![1, 2],
    };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--data" => parsed.request.data = Some(value()?),
            "--model" => parsed.model = Some(value()?),
            "--set" => parsed.request.set.push(value()?),
            "--threads" => parsed.threads = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
            _ => parsed.request.exp = argument,
        }
    }
    Ok(parsed)
}

/// Seconds that `threads` threads take for one pass over all clips.
fn pass(preview: &AugmentationPreview, epoch: usize, threads: usize) -> f64 {
    let (next, clock) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut image = vec![0.0; preview.shape[0] * preview.shape[1]];
                let mut targets = vec![0.0; preview.classes.len()];
                loop {
                    let row = next.fetch_add(1, Ordering::Relaxed);
                    if row >= preview.examples.len() {
                        break;
                    }
                    preview.examples.example(row, epoch, &mut image, &mut targets).expect("an example of every clip");
                }
            });
        }
    });
    clock.elapsed().as_secs_f64()
}

/// CPU seconds of this process, if the system reports them (Linux, in steps of 10 ms).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may contain any character and ends with the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let resolved = resolve(&arguments.request).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let cache = std::env::var_os("TIMBRE_CACHE").map_or(PathBuf::from("data/.cache"), PathBuf::from);
    let settings = Settings {
        runs: PathBuf::from("runs"),
        cache,
        shared_cache: None,
        data_dir: PathBuf::from("data"),
        fresh: false,
        device: Device::cpu(),
        printer: Printer::Quiet,
        artifacts: &NoArtifacts,
        has_media: false,
        stop: Arc::new(AtomicBool::new(false)),
    };
    let preview = preview_augmentation(&resolved.experiment, &settings, arguments.model.as_deref(), None)?;
    let clips = preview.examples.len();
    // The first pass decodes the recordings.
    pass(&preview, 0, *arguments.threads.iter().max().context("name a number of threads")?);
    for &threads in &arguments.threads {
        let cpu = cpu_seconds();
        let mut seconds: Vec<f64> = (1..=PASSES).map(|epoch| pass(&preview, epoch, threads)).collect();
        let cpu = cpu.zip(cpu_seconds()).map(|(before, after)| 1000.0 * (after - before) / (clips * PASSES) as f64);
        seconds.sort_by(f64::total_cmp);
        let median = seconds[PASSES / 2];
        println!(
            "{}",
            json!({
                "experiment": resolved.experiment.name, "model": preview.trial.model, "clips": clips, "threads": threads,
                "clips_per_second": clips as f64 / median, "best": clips as f64 / seconds[0],
                "cpu_milliseconds_a_clip": cpu,
            })
        );
    }
    Ok(())
}
