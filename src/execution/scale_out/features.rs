//! Computes the features of one shard, and leaves them as a part with its manifest.
//!
//! The features go through the feature cache of this machine (`--cache`), so that a shard that was killed continues where it was.

use std::time::Instant;

use anyhow::Result;

use super::feature_plan::{FeaturePlan, load};
use super::manifest::{Manifest, PartsFolder, SCHEMA, listed, part_name};
use super::shard::Shard;
use crate::execution::run::{
    Settings, environment,
    select::{extraction_of, unusable_line},
};
use timbre_experiment::ExpandedGrid;
use timbre_runs::run_dir;

/// A shard that is done.
pub struct ShardOutcome {
    pub manifest: Manifest,
    /// It was done before.
    pub skipped: bool,
}

/// Computes a shard, unless its manifest is valid.
pub fn compute(grid: &ExpandedGrid, settings: &Settings, shard: Shard, folder: &PartsFolder) -> Result<ShardOutcome> {
    let started = Instant::now();
    let attempt_began = run_dir::now();
    let points = load(grid, settings, Some(shard))?;
    let plan = FeaturePlan::new(&points, shard.count)?;
    let inputs = plan.inputs(shard)?;
    let list = listed(&inputs);
    if let Some(manifest) = folder.read(shard.index) {
        manifest.ensure_of(&plan, folder)?;
        if manifest.is_current(&list, folder) {
            return Ok(ShardOutcome { manifest, skipped: true });
        }
    }
    folder.create()?;
    let (mut unusable, mut computed) = (Vec::new(), 0);
    for (group, inputs) in plan.groups.iter().zip(&inputs) {
        let extraction = extraction_of(&group.experiment)?;
        let progress = settings.printer.start(&format!("shard {shard}"), inputs.len());
        let (results, stats) =
            extraction.run(inputs, &settings.feature_cache_of(&extraction)?, &settings.stop, || progress.step())?;
        progress.finish();
        settings.share(&extraction, inputs)?;
        computed += stats.misses;
        let failed = inputs.iter().zip(results).filter_map(|(input, result)| Some((input, result.err()?)));
        unusable.extend(failed.map(|(input, why)| unusable_line(&input.record.id, &why)));
    }
    // Opened again, it has what was just written.
    let cache = settings.feature_cache()?;
    let mut keys = Vec::new();
    for (group, inputs) in plan.groups.iter().zip(&inputs) {
        let extraction = extraction_of(&group.experiment)?;
        keys.extend(inputs.iter().flat_map(|input| extraction.keys(input, &cache)));
    }
    let part = cache.write_part(keys, folder.path(), &part_name(shard.index))?;
    let host = environment::host();
    let attempt = format!("{}-{}-{attempt_began}", host.as_deref().unwrap_or("unknown"), std::process::id());
    let manifest = Manifest {
        schema: SCHEMA,
        plan_hash: plan.hash,
        plan: plan.description,
        shard: shard.index,
        shards: shard.count,
        part,
        inputs: list,
        unusable,
        computed,
        host,
        attempt,
        seconds: started.elapsed().as_secs_f64(),
        ended: run_dir::now(),
        timbre: env!("CARGO_PKG_VERSION").to_owned(),
    };
    folder.write(&manifest)?;
    Ok(ShardOutcome { manifest, skipped: false })
}
