//! What decides the parts of a feature cache: the recordings by their paths, the recipes of all features, and the number of shards.
//!
//! Two processes work for the same plan if their plans have equal hashes. The contents of the recordings are not part of it,
//! because a shard reads only its own recordings; a manifest lists them, and `merge` compares them.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::shard::{Shard, shard_of};
use crate::execution::run::{Settings, prepare::PreparedDataset, select::extraction_of};
use crate::execution::sweep::features::{Group, groups};
use crate::execution::sweep::point::{PointLoader, SweepPoint};
use crate::execution::sweep::unshared;
use timbre_experiment::{ExpandedGrid, Experiment};
use timbre_inputs::features::extraction::ExtractionInput;

/// The points of an experiment whose features do not depend on the scores of others. Of a shard, only its own recordings are
/// hashed where nothing else is needed.
pub fn load<'g>(grid: &'g ExpandedGrid, settings: &Settings, shard: Option<Shard>) -> Result<Vec<SweepPoint<'g>>> {
    // Windows and copies of a recording depend on its subset, and byte-identical recordings share one.
    let needs_all = grid.points.iter().any(|point| depends_on_subsets(&point.rounds[0].experiment));
    let mut loader = match shard.filter(|_| !needs_all) {
        Some(shard) => PointLoader::prepared_by(settings, move |experiment, settings| {
            PreparedDataset::of_some(experiment, settings, &|path| shard.holds(path))
        }),
        None => PointLoader::new(settings),
    };
    let points = loader.round(grid, 1, &grid.first_points())?;
    // It shares the errors.
    drop(loader);
    readable(points)
}

/// [`load`] without generating a data set.
pub fn load_planned<'g>(grid: &'g ExpandedGrid, settings: &Settings) -> Result<Vec<SweepPoint<'g>>> {
    let points = PointLoader::planned(settings).round(grid, 1, &grid.first_points())?;
    readable(points)
}

/// The points, or the first error.
fn readable(points: Vec<SweepPoint>) -> Result<Vec<SweepPoint>> {
    if points.iter().all(|point| point.dataset.is_ok()) {
        return Ok(points);
    }
    let error = points.into_iter().find_map(|point| point.dataset.err()).expect("a point has an error");
    Err(unshared(error))
}

fn depends_on_subsets(experiment: &Experiment) -> bool {
    experiment.evaluate.windows().is_some() || experiment.augment.iter().any(|spec| spec.as_kind().copies() > 0)
}

/// The features of an experiment, divided into shards.
pub struct FeaturePlan<'a> {
    pub groups: Vec<Group<'a>>,
    pub shards: usize,
    /// What the hash is of.
    pub description: Value,
    pub hash: String,
}

impl<'a> FeaturePlan<'a> {
    pub fn new(points: &'a [SweepPoint<'a>], shards: usize) -> Result<FeaturePlan<'a>> {
        let groups = groups(&points.iter().collect::<Vec<_>>());
        let (mut data, mut features) = (Map::new(), Map::new());
        for (n, group) in groups.iter().enumerate() {
            data.insert(n.to_string(), describe_data(group));
            features.insert(n.to_string(), extraction_of(&group.experiment)?.recipes());
        }
        let description = json!({ "shards": shards, "data": data, "features": features });
        let hash = blake3::hash(description.to_string().as_bytes()).to_hex().to_string();
        Ok(FeaturePlan { groups, shards, description, hash })
    }

    /// What a shard extracts, group by group.
    pub fn inputs(&self, shard: Shard) -> Result<Vec<Vec<ExtractionInput<'_>>>> {
        let mut inputs = self.all_inputs()?;
        inputs.iter_mut().for_each(|of_group| of_group.retain(|input| shard.holds(&input.record.id)));
        Ok(inputs)
    }

    /// [`inputs`](Self::inputs) of every shard.
    pub fn inputs_by_shard(&self) -> Result<Vec<Vec<Vec<ExtractionInput<'_>>>>> {
        let no_inputs = || self.groups.iter().map(|_| Vec::new()).collect::<Vec<_>>();
        let mut shards: Vec<_> = (0..self.shards).map(|_| no_inputs()).collect();
        for (group, inputs) in self.all_inputs()?.into_iter().enumerate() {
            for input in inputs {
                shards[shard_of(&input.record.id, self.shards)][group].push(input);
            }
        }
        Ok(shards)
    }

    fn all_inputs(&self) -> Result<Vec<Vec<ExtractionInput<'_>>>> {
        let mut all = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let extraction = extraction_of(&group.experiment)?;
            all.push(group.dataset.expected_inputs(&group.experiment, &extraction)?);
        }
        Ok(all)
    }
}

fn describe_data(group: &Group) -> Value {
    let (experiment, set) = (&group.experiment, &group.dataset.set);
    let in_subsets = depends_on_subsets(experiment);
    let mut listing: Vec<String> = group
        .dataset
        .expected_clips(experiment)
        .into_iter()
        .map(|clip| {
            let record = &set.records[clip];
            match in_subsets {
                true => {
                    let labels: Vec<&str> = record.labels.iter().map(|&label| set.classes.name(label)).collect();
                    json!([record.id, labels, record.group, format!("{:?}", record.subset), record.fold]).to_string()
                }
                false => record.id.clone(),
            }
        })
        .collect();
    listing.sort_unstable();
    let mut described = json!({
        "set": set.name, "recordings": listing.len(),
        "listing": blake3::hash(json!(listing).to_string().as_bytes()).to_hex().to_string(),
    });
    if in_subsets {
        described["split"] = json!(experiment.split);
        described["seeds"] = json!(experiment.seeds);
    }
    described
}
