//! Brings the parts of all shards into one feature cache, or says which shards are missing.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, bail};
use rayon::prelude::*;

use super::feature_plan::{FeaturePlan, load};
use super::manifest::{Inputs, Manifest, PartsFolder, listed};
use crate::execution::run::{Settings, select::extraction_of};
use timbre_core::{
    cancel::Cancelled,
    error::{ExitStatus, UserError},
    files,
};
use timbre_experiment::ExpandedGrid;

/// The parts in the cache, or what is missing.
pub enum Merged {
    Done {
        parts: usize,
        /// Records of all parts, and how many of them the cache lacked.
        records: usize,
        taken: usize,
        unusable: usize,
        /// Features that no part has: those of recordings that replace unusable ones, or are in another subset without them.
        left: usize,
    },
    /// Shards without a valid part, and why, where there is a manifest.
    Missing { shards: Vec<usize>, of: usize, why: BTreeMap<usize, &'static str> },
}

/// Verifies all parts, and takes them into the cache if none is missing.
pub fn merge(grid: &ExpandedGrid, settings: &Settings, folder: &PartsFolder) -> Result<Merged> {
    let points = load(grid, settings, None)?;
    let manifests = folder.read_all()?;
    let Some(first) = manifests.first() else {
        bail!(UserError::new(
            ExitStatus::NothingSelected,
            format!(
                "no part of `{}` in {}: `timbre features … --shard 0/n` computes the first of n",
                grid.name,
                folder.path().display()
            )
        ));
    };
    let plan = FeaturePlan::new(&points, first.shards)?;
    manifests.iter().try_for_each(|manifest| manifest.ensure_of(&plan, folder))?;
    files::remove_temp_files(folder.path());
    let (valid, mut why) = examined(&plan, manifests, folder)?;
    let shards: Vec<usize> = (0..plan.shards).filter(|shard| !valid.contains_key(shard)).collect();
    if !shards.is_empty() {
        // Without their commit marks they are computed again.
        for &shard in why.keys() {
            folder.forget(shard)?;
        }
        why.retain(|shard, _| shards.contains(shard));
        return Ok(Merged::Missing { shards, of: plan.shards, why });
    }
    for group in &plan.groups {
        settings.bring_shared(&extraction_of(&group.experiment)?)?;
    }
    let mut cache = settings.feature_cache()?;
    for group in &plan.groups {
        extraction_of(&group.experiment)?.save_recipes(&cache)?;
    }
    let progress = settings.printer.start("parts", valid.len());
    let (mut records, mut taken, mut unusable) = (0, 0, 0);
    for manifest in valid.values() {
        if settings.is_cancelled() {
            cache.close()?;
            return Err(Cancelled.into());
        }
        records += manifest.part.rows;
        taken += cache.take_in(folder.path(), &manifest.part)?;
        unusable += manifest.unusable.len();
        progress.step();
    }
    progress.finish();
    cache.close()?;
    let unusable_paths: HashSet<&str> =
        valid.values().flat_map(|manifest| &manifest.unusable).filter_map(|line| line["path"].as_str()).collect();
    let mut left = 0;
    for group in &plan.groups {
        let extraction = extraction_of(&group.experiment)?;
        let is_usable = |path: &str| !unusable_paths.contains(path);
        let inputs = group.dataset.usable_inputs(&group.experiment, &extraction, is_usable)?;
        left += extraction.count_cached(&inputs, &cache).1;
        settings.share(&extraction, &inputs)?;
    }
    Ok(Merged::Done { parts: valid.len(), records, taken, unusable, left })
}

type Examined = (BTreeMap<usize, Manifest>, BTreeMap<usize, &'static str>);

/// The manifests whose shards are done, and why others are not. Reads every part.
fn examined(plan: &FeaturePlan, manifests: Vec<Manifest>, folder: &PartsFolder) -> Result<Examined> {
    let expected: Vec<Vec<Inputs>> = plan.inputs_by_shard()?.iter().map(|inputs| listed(inputs)).collect();
    let fault = |manifest: &Manifest| match expected.get(manifest.shard) {
        Some(inputs) if *inputs != manifest.inputs => Some("its recordings have changed since"),
        Some(_) if !manifest.part.is_intact(folder.path()) => Some("its part is missing or damaged"),
        Some(_) => None,
        None => Some("there is no such shard"),
    };
    let (mut valid, mut why) = (BTreeMap::new(), BTreeMap::new());
    let faults: Vec<Option<&'static str>> = manifests.par_iter().map(fault).collect();
    for (manifest, fault) in manifests.into_iter().zip(faults) {
        if let Some(fault) = fault {
            why.insert(manifest.shard, fault);
        } else {
            valid.insert(manifest.shard, manifest);
        }
    }
    Ok((valid, why))
}

/// The shards that are not done, by their manifests alone. Reads no part.
pub fn missing(plan: &FeaturePlan, folder: &PartsFolder) -> Result<Vec<usize>> {
    let mut missing = Vec::new();
    for (shard, inputs) in plan.inputs_by_shard()?.iter().enumerate() {
        let manifest = folder.read(shard);
        if let Some(manifest) = &manifest {
            manifest.ensure_of(plan, folder)?;
        }
        if !manifest.is_some_and(|manifest| manifest.is_current(&listed(inputs), folder)) {
            missing.push(shard);
        }
    }
    Ok(missing)
}
