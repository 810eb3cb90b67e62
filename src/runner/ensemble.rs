//! The unit of an ensemble: what its members said becomes one. Nothing is fitted again, and no recording is read.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;
use serde_json::json;

use super::Work;
use super::scoring::Done;
use crate::experiment::members;
use crate::models::ModelKind;
use crate::models::ensemble::{Ensemble, Fuse, Weights};
use crate::models::fusion::{Fusion, Reference, normalized};
use crate::predictions::Predictions;
use crate::run_dir::{self, EnsembleRecord, SplitRecord, Unit, UnitRecord};

/// The side on which weights are searched and ranks are taken.
const VALIDATION: &str = "validation";

impl Work<'_> {
    /// Fuses what the members of an ensemble said with the same seed. They are `done`, or have failed.
    pub(super) fn fuse(&self, unit: &Unit, spec: &Ensemble, done: &Done) -> Result<UnitRecord> {
        let clock = Instant::now();
        let members = self.members(unit, spec, done)?;
        let (fusion, mut notes) = self.fusion(spec, &members)?;
        let fit_seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let splits: Vec<SplitRecord> = members[0]
            .splits
            .iter()
            .map(|first| {
                let sides = sides(&members, &first.split)?;
                Ok(SplitRecord {
                    split: first.split.clone(),
                    clips: first.clips.clone(),
                    predictions: fusion.fuse(&said(&sides)),
                    curve: Vec::new(),
                })
            })
            .collect::<Result<_>>()?;
        let weights = members.iter().zip(&fusion.weights);
        notes.extend(weights.map(|(member, weight)| (format!("weight of {}", member.unit), format!("{weight:.4}"))));
        if self.experiment.save_models {
            self.save_ensemble(unit, spec, &members, &fusion)?;
        }
        let finished = UnitRecord {
            unit: unit.clone(),
            trained_on: members[0].trained_on.clone(),
            splits,
            epochs: Vec::new(),
            notes,
            fit_seconds,
            predict_seconds: clock.elapsed().as_secs_f64(),
        };
        self.dir.write_unit(&finished)?;
        self.dir.log("unit", json!({ "unit": unit.to_string(), "fit_seconds": fit_seconds, "notes": finished.notes }));
        Ok(finished)
    }

    fn members<'a>(&self, unit: &Unit, spec: &Ensemble, done: &'a Done) -> Result<Vec<&'a UnitRecord>> {
        let places = self.experiment.places();
        let record = |name: &String| {
            let place = members::member(name, &places).expect("a checked experiment has the members it names");
            let wanted = Unit { features: place.features.clone(), model: place.model.clone(), seed: unit.seed };
            let found = done.units.iter().find(|record| record.unit == wanted);
            found.with_context(|| format!("its member {wanted} has failed, so there is nothing to fuse"))
        };
        spec.members.iter().map(record).collect()
    }

    /// The weights and ranks of an ensemble, and what is to be told of the search.
    fn fusion(&self, spec: &Ensemble, members: &[&UnitRecord]) -> Result<(Fusion, IndexMap<String, String>)> {
        let judge = self.experiment.evaluate.judge();
        let references = match spec.fuse {
            Fuse::RankMean => said(&sides(members, VALIDATION)?).into_iter().map(Reference::new).collect(),
            _ => Vec::new(),
        };
        let weights = match &spec.weights {
            Weights::Given(weights) => {
                let total: f64 = weights.iter().sum();
                weights.iter().map(|weight| weight / total).collect()
            }
            _ => normalized(&vec![1; members.len()]),
        };
        let mut fusion = Fusion { fuse: spec.fuse, task: judge.task, weights, references };
        let mut notes = IndexMap::new();
        if spec.weights == Weights::Search {
            let sides = sides(members, VALIDATION)?;
            let truth: Vec<Vec<usize>> = sides[0].clips.iter().map(|clip| clip.truth.clone()).collect();
            let metric = self.experiment.evaluate.metric().name();
            let score = |said: &Predictions| judge.scores(&truth, said).metrics[metric];
            let (best, tried) = fusion.search(&said(&sides), score);
            notes.insert("weights looked at".to_owned(), tried.to_string());
            notes.insert(format!("{metric} on the validation split"), format!("{best:.4}"));
        }
        Ok((fusion, notes))
    }

    fn save_ensemble(&self, unit: &Unit, spec: &Ensemble, members: &[&UnitRecord], fusion: &Fusion) -> Result<()> {
        let record = EnsembleRecord {
            schema: run_dir::SCHEMA,
            classes: self.material.set.classes.clone(),
            members: members.iter().map(|member| member.unit.to_string()).collect(),
            fuse: fusion.fuse,
            weights: fusion.weights.clone(),
            judge: self.experiment.evaluate.judge(),
            version: spec.version(),
        };
        self.dir.write_ensemble(unit, &fusion.tensors(), &record)
    }
}

/// One side of the split as each member saw it.
fn sides<'a>(members: &[&'a UnitRecord], split: &str) -> Result<Vec<&'a SplitRecord>> {
    let side = |member: &&'a UnitRecord| {
        let found = member.splits.iter().find(|side| side.split == split);
        found.with_context(|| format!("{} has no {split} split: run with --fresh", member.unit))
    };
    let sides: Vec<&SplitRecord> = members.iter().map(side).collect::<Result<_>>()?;
    let alike = sides.iter().all(|side| side.clips == sides[0].clips);
    ensure!(alike, "the members were asked about different recordings of the {split} split: run with --fresh");
    Ok(sides)
}

fn said<'a>(sides: &[&'a SplitRecord]) -> Vec<&'a Predictions> {
    sides.iter().map(|side| &side.predictions).collect()
}
