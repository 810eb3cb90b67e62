//! Computes the features of all points of a sweep at once: each feature once, with one progress bar.

use anyhow::Result;
use indexmap::IndexMap;
use serde_json::json;

use super::point::SweepPoint;
use crate::execution::run::Settings;
use crate::execution::run::{prepare::PreparedDataset, select::extraction_of};
use timbre_core::cancel::Cancelled;
use timbre_experiment::Experiment;
use timbre_inputs::features::FeatureSpec;
use timbre_runs::run_dir::CacheRecord;

/// Points with equal recordings and audio settings, and all their features.
pub struct Group<'a> {
    pub experiment: Experiment,
    pub dataset: &'a PreparedDataset,
}

/// The smallest number of groups that cover these points.
pub fn groups<'a>(points: &[&'a SweepPoint]) -> Vec<Group<'a>> {
    let mut groups: IndexMap<String, Group> = IndexMap::new();
    for point in points {
        let Ok((dataset, _)) = &point.dataset else { continue };
        let experiment = point.experiment();
        // The split decides which recordings are evaluated in windows, and which are trained on with copies.
        let split = json!([experiment.split, experiment.seeds]);
        let windows = experiment.evaluate.windows().map(|spec| json!([spec, split]));
        let makes_copies = experiment.augment.iter().any(|spec| spec.as_kind().copies() > 0);
        let copies = makes_copies.then(|| json!([experiment.augment, split]));
        let key = json!([dataset.data_hash, experiment.data, experiment.audio, windows, copies]).to_string();
        let group = groups.entry(key).or_insert_with(|| {
            let experiment = Experiment { features: IndexMap::new(), ..experiment.clone() };
            Group { experiment, dataset }
        });
        experiment.features.iter().for_each(|(name, spec)| add(&mut group.experiment.features, name, spec));
    }
    groups.into_values().collect()
}

/// Adds a feature unless an equal spec exists under another name.
fn add(features: &mut IndexMap<String, FeatureSpec>, name: &str, spec: &FeatureSpec) {
    if features.values().any(|known| known == spec) {
        return;
    }
    let names = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}_{n}")));
    let free = names.into_iter().find(|name| !features.contains_key(name)).expect("some name is free");
    features.insert(free, spec.clone());
}

/// Computes the features that the cache lacks. Returns hits and misses, and the number of unusable recordings. An error is ignored
/// here: it occurs again in the run of a point, which reports it.
pub fn compute(points: &[&SweepPoint], settings: &Settings) -> Result<(CacheRecord, usize)> {
    let (mut cache, mut unusable) = (CacheRecord::default(), 0);
    for group in groups(points) {
        match compute_group(&group, settings) {
            Ok((own, own_unusable)) => {
                cache = CacheRecord { hits: cache.hits + own.hits, misses: cache.misses + own.misses };
                unusable = unusable.max(own_unusable);
            }
            Err(error) if error.is::<Cancelled>() => return Err(error),
            Err(error) => tracing::debug!("features of a sweep: {error:#}"),
        }
    }
    Ok((cache, unusable))
}

fn compute_group(group: &Group, settings: &Settings) -> Result<(CacheRecord, usize)> {
    let experiment = &group.experiment;
    let extraction = extraction_of(experiment)?;
    let selection =
        group.dataset.select(experiment, &extraction, &settings.feature_cache_of(&extraction)?, settings)?;
    Ok((selection.cache(), selection.unusable.len()))
}
