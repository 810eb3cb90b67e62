//! The memory that a trial of each model takes for each clip: `cargo bench --bench memory`, with names of kinds behind `--` for those
//! alone.
//!
//! A trial fits on n clips and predicts n others, both in the feature cache; one class in ten, 80 values per clip, for networks the
//! smallest image that they take. An allocator that counts gives the largest sum of live allocations, and two sizes of n give its
//! growth per clip. It includes the features that a model holds: 320 bytes per clip in f32 until a block is full (64 MiB), 640 in f64,
//! where a model keeps its rows (logistic). Networks hold a batch. Ensembles fit nothing.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::json;
use timbre_core::seed::{Seed, uniform};
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::features::{FeatureMatrix, cache::CachedMatrix, cache::FeatureCache};
use timbre_models::networks::{InputShape, NetworkModel};
use timbre_models::{FitContext, ModelSpec};

const DIMS: usize = 80;
const CLASSES: usize = 10;
const SIZES: [usize; 2] = [4_000, 16_000];
/// An epoch of the largest networks takes seconds per hundred clips.
const NETWORK_SIZES: [usize; 2] = [64, 192];

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = FeatureCache::open(folder.path()).expect("a new cache");
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let rows = clips(&cache, [1, DIMS], 2 * SIZES[1]);
    println!("{:24} {:>14} {:>22} {:>14}", "model", "clips", "largest sum", "bytes per clip");
    for kind in ModelSpec::KINDS.iter().filter(|kind| named.is_empty() || named.iter().any(|name| name == **kind)) {
        // An ensemble needs members.
        let Ok(spec) = serde_json::from_value::<ModelSpec>(json!({ "kind": kind })) else { continue };
        let (spec, sizes, rows) = match spec.as_network() {
            None => (spec, SIZES, rows.clone()),
            Some(network) => {
                let rows = clips(&cache, smallest_image(network), 2 * NETWORK_SIZES[1]);
                let spec = serde_json::from_value(json!({ "kind": kind, "epochs": 1 })).expect("a network");
                (spec, NETWORK_SIZES, rows)
            }
        };
        let peaks = sizes.map(|n| trial(&spec, &rows[..n], &rows[sizes[1]..][..n]));
        let growth = (peaks[1] as f64 - peaks[0] as f64) / (sizes[1] - sizes[0]) as f64;
        let [few, many] = peaks.map(|peak| format!("{:.1}", peak as f64 / 1e6));
        let sizes = format!("{}, {}", sizes[0], sizes[1]);
        println!("{kind:24} {sizes:>14} {:>22} {growth:>14.0}", format!("{few}, {many} MB"));
    }
}

/// A square image, or the shortest one of 96 bands.
fn smallest_image(network: &dyn NetworkModel) -> [usize; 2] {
    let accepts = |height, width| network.layers(InputShape { channels: 1, height, width }, CLASSES).is_ok();
    if accepts(32, 32) { [32, 32] } else { [96, (96..).find(|&width| accepts(96, width)).expect("some width")] }
}

/// Clips of noise in the cache, around another mean in each class.
fn clips(cache: &FeatureCache, [rows, cols]: [usize; 2], n: usize) -> Vec<CachedMatrix> {
    let put = |clip: usize| {
        let mut rng = Seed::new(clip as u64).rng();
        let offset = (clip % CLASSES) as f32;
        let values = (0..rows * cols).map(|_| offset + uniform(&mut rng) as f32).collect();
        let mut content = [0; 32];
        for (place, number) in [clip, rows, cols].into_iter().enumerate() {
            content[8 * place..][..8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        cache.put(&content, &[0; 32], &FeatureMatrix { rows, cols, values }).expect("room on the disk")
    };
    (0..n).map(put).collect()
}

/// The largest sum of live allocations during a trial, beyond what was live before.
fn trial(spec: &ModelSpec, train: &[CachedMatrix], test: &[CachedMatrix]) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let set = |rows: &[CachedMatrix]| {
        let labels = (0..rows.len()).map(|row| vec![row % CLASSES].into()).collect();
        FeatureSet::from_cache("noise", rows.to_vec(), labels, CLASSES).expect("clips of one shape")
    };
    let model = spec.as_kind().fit(&set(train), &FitContext::standalone(Seed::new(1))).expect("a model");
    let predicted = Arc::new(model.predict(&set(test)).expect("predictions"));
    assert_eq!(predicted.probabilities.len(), test.len() * CLASSES);
    PEAK.load(Relaxed) - before
}
