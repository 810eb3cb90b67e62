//! The features of all points at once: each is computed once, and how much is left is told of the whole grid.

use indexmap::IndexMap;
use serde_json::json;

use anyhow::Result;

use super::point::Candidate;
use crate::execution::run::Settings;
use crate::execution::run::prepare::PreparedDataset;
use timbre_core::cancel::Cancelled;
use timbre_experiment::Experiment;
use timbre_inputs::features::FeatureSpec;
use timbre_inputs::features::extraction::Extraction;
use timbre_runs::run_dir::CacheRecord;

/// Points that hear the same recordings in the same way, and every feature that any of them asks for.
pub struct Group<'a> {
    pub experiment: Experiment,
    pub dataset: &'a PreparedDataset,
}

/// The fewest groups that cover these points.
pub fn groups<'a>(candidates: &[&'a Candidate]) -> Vec<Group<'a>> {
    let mut groups: IndexMap<String, Group> = IndexMap::new();
    for candidate in candidates {
        let Ok((dataset, _)) = &candidate.dataset else { continue };
        let experiment = candidate.experiment();
        // Which recordings are heard in windows depends on the split.
        let windows = experiment.evaluate.windows().map(|spec| json!([spec, experiment.split, experiment.seeds]));
        let key = json!([dataset.data_hash, experiment.data, experiment.audio, windows]).to_string();
        let group = groups.entry(key).or_insert_with(|| {
            let experiment = Experiment { features: IndexMap::new(), ..experiment.clone() };
            Group { experiment, dataset }
        });
        experiment.features.iter().for_each(|(name, spec)| add(&mut group.experiment.features, name, spec));
    }
    groups.into_values().collect()
}

/// The same spec is the same feature, whatever it is called.
fn add(features: &mut IndexMap<String, FeatureSpec>, name: &str, spec: &FeatureSpec) {
    if features.values().any(|known| known == spec) {
        return;
    }
    let names = std::iter::once(name.to_owned()).chain((2..).map(|n| format!("{name}_{n}")));
    let free = names.into_iter().find(|name| !features.contains_key(name)).expect("some name is free");
    features.insert(free, spec.clone());
}

/// Computes what the cache lacks. Returns hits, misses and how many recordings could not be used. What goes wrong here goes
/// wrong for a point, too, and is told there.
pub fn compute(candidates: &[&Candidate], settings: &Settings) -> Result<(CacheRecord, usize)> {
    let (mut cache, mut unusable) = (CacheRecord::default(), 0);
    for group in groups(candidates) {
        match of_group(&group, settings) {
            Ok((own, left_out)) => {
                cache = CacheRecord { hits: cache.hits + own.hits, misses: cache.misses + own.misses };
                unusable = unusable.max(left_out);
            }
            Err(error) if error.is::<Cancelled>() => return Err(error),
            Err(error) => tracing::debug!("features of a grid: {error:#}"),
        }
    }
    Ok((cache, unusable))
}

fn of_group(group: &Group, settings: &Settings) -> Result<(CacheRecord, usize)> {
    let experiment = &group.experiment;
    let extraction = Extraction::new(&experiment.audio, &experiment.features, experiment.evaluate.windows())?;
    let selection = group.dataset.select(experiment, &extraction, &settings.feature_cache()?, settings)?;
    Ok((selection.cache(), selection.unusable.len()))
}
