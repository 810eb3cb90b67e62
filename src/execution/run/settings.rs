//! The settings of a run that change no result: folders, device, output, cancellation.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use super::RunArtifacts;
use timbre_core::{
    cancel::Cancelled,
    progress::{Printer, Progress},
};
use timbre_inputs::data::DataDirs;
use timbre_inputs::features::cache::{FeatureCache, shared::SharedCache};
use timbre_inputs::features::extraction::{Extraction, ExtractionInput};
use timbre_models::device::Device;

/// Where a run reads and writes, and how it behaves. Nothing here changes a result, except that a network rounds differently on
/// another device.
#[derive(Clone)]
pub struct Settings {
    pub runs: PathBuf,
    pub cache: PathBuf,
    /// The feature cache by URL, in front of which is that of the folder `cache`.
    pub shared_cache: Option<SharedCache>,
    pub data_dir: PathBuf,
    /// Run again even if the run is finished.
    pub fresh: bool,
    /// The device of networks.
    pub device: Device,
    pub printer: Printer,
    /// What the run leaves beside its tables.
    pub artifacts: &'static dyn RunArtifacts,
    /// Whether reports have the spectrograms and players of recordings. Those of the points of a sweep have none: every point would have
    /// the same ones.
    pub has_media: bool,
    /// Set by a signal: the run finishes the current trial, then stops.
    pub stop: Arc<AtomicBool>,
}

impl Settings {
    pub fn data_dirs(&self) -> DataDirs {
        DataDirs { data_dir: self.data_dir.clone(), cache_dir: self.cache.clone() }
    }

    pub fn feature_cache(&self) -> Result<FeatureCache> {
        FeatureCache::open(&self.feature_folder())
    }

    /// The feature cache with what other machines have shared of this extraction.
    pub fn feature_cache_of(&self, extraction: &Extraction) -> Result<FeatureCache> {
        self.bring_shared(extraction)?;
        self.feature_cache()
    }

    /// Downloads what other machines have shared of this extraction.
    pub fn bring_shared(&self, extraction: &Extraction) -> Result<()> {
        let Some(shared) = &self.shared_cache else { return Ok(()) };
        let packs = shared.bring(&self.feature_folder(), extraction.all_recipes())?;
        tracing::info!("{packs} packs of features downloaded from {shared}");
        Ok(())
    }

    /// Uploads what no machine has shared of these recordings. The features are on this machine, so a failure is a message.
    pub fn share(&self, extraction: &Extraction, inputs: &[ExtractionInput]) -> Result<()> {
        let Some(shared) = &self.shared_cache else { return Ok(()) };
        let cache = self.feature_cache()?;
        let keys = inputs.iter().flat_map(|input| extraction.keys_by_recipe(input, &cache)).collect();
        match shared.share(&self.feature_folder(), keys) {
            Ok(records) => tracing::info!("{records} features uploaded to {shared}"),
            Err(error) => self.printer.message(&format!("the features are on this machine only: {error:#}")),
        }
        Ok(())
    }

    pub fn feature_folder(&self) -> PathBuf {
        self.cache.join("features")
    }

    /// Counts one step of a job; fails with [`Cancelled`] after a signal.
    pub fn step(&self, progress: &Progress) -> Result<()> {
        progress.step();
        if self.is_cancelled() { Err(Cancelled.into()) } else { Ok(()) }
    }

    pub fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
