//! The memory that a trial of each classic model takes for each clip: `cargo bench --bench memory`.
//!
//! A trial fits on n clips and predicts n others, both in the feature cache; one class in ten, 80 values per clip. An allocator
//! that counts gives the largest sum of live allocations, and two sizes of n give its growth per clip. It includes the blocks of
//! features that a model reads, 320 bytes per clip until a block is full (64 MiB).

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use timbre_core::seed::{Seed, uniform};
use timbre_inputs::dataset::feature_set::FeatureSet;
use timbre_inputs::features::{FeatureMatrix, cache::CachedMatrix, cache::FeatureCache};
use timbre_models::{FitContext, ModelSpec};

const DIMS: usize = 80;
const CLASSES: usize = 10;
const SIZES: [usize; 2] = [4_000, 16_000];

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
    let rows: Vec<CachedMatrix> = (0..2 * SIZES[1]).map(|clip| put(&cache, clip)).collect();
    println!("{:12} {:>12} {:>12} {:>14}", "model", "4,000 clips", "16,000 clips", "bytes per clip");
    for (name, spec) in [
        ("average", r#"{"kind": "average"}"#),
        ("knn", r#"{"kind": "knn"}"#),
        ("logistic", r#"{"kind": "logistic", "max_iterations": 3}"#),
    ] {
        let spec: ModelSpec = serde_json::from_str(spec).expect("a model");
        let peaks = SIZES.map(|n| trial(&spec, &rows[..n], &rows[SIZES[1]..][..n]));
        let growth = (peaks[1] as f64 - peaks[0] as f64) / (SIZES[1] - SIZES[0]) as f64;
        let megabytes = peaks.map(|peak| format!("{:.1} MB", peak as f64 / 1e6));
        println!("{name:12} {:>12} {:>12} {growth:>14.0}", megabytes[0], megabytes[1]);
    }
}

fn put(cache: &FeatureCache, clip: usize) -> CachedMatrix {
    let mut rng = Seed::new(clip as u64).rng();
    let offset = (clip % CLASSES) as f32;
    let values = (0..DIMS).map(|_| offset + uniform(&mut rng) as f32).collect();
    let mut content = [0; 32];
    content[..8].copy_from_slice(&(clip as u64).to_le_bytes());
    cache.put(&content, &[0; 32], &FeatureMatrix { rows: 1, cols: DIMS, values }).expect("room on the disk")
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
