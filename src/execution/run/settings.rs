//! Where a run reads and writes, and when it stops.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use timbre_core::cancel::Cancelled;
use timbre_core::progress::{Printer, Progress};
use timbre_inputs::data::DataDirs;
use timbre_inputs::features::cache::FeatureCache;
use timbre_models::device::Device;

/// Where a run reads and writes, and how it behaves; nothing here changes what is asked for (on another device a network rounds
/// differently).
#[derive(Clone)]
pub struct Settings {
    pub runs: PathBuf,
    pub cache: PathBuf,
    pub data_dir: PathBuf,
    /// Run again even if this very run is finished.
    pub fresh: bool,
    /// What networks compute on.
    pub device: Device,
    pub printer: Printer,
    /// Set by a signal: the unit in hand is finished, then the run ends.
    pub stop: Arc<AtomicBool>,
}

impl Settings {
    pub fn places(&self) -> DataDirs {
        DataDirs { data_dir: self.data_dir.clone(), cache_dir: self.cache.clone() }
    }

    pub fn feature_cache(&self) -> Result<FeatureCache> {
        FeatureCache::open(&self.cache.join("features"))
    }

    /// Counts a step of a job, or ends it after a signal.
    pub fn step(&self, progress: &Progress) -> Result<()> {
        progress.step();
        if self.stopped() { Err(Cancelled.into()) } else { Ok(()) }
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
