//! The unit of an ensemble: what its members said becomes one. Nothing is fitted again, and no recording is read.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;
use serde_json::json;

use super::Work;
use super::scoring::{Done, headline};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_experiment::members;
use timbre_models::ModelKind;
use timbre_models::classic::ensemble::{Ensemble, EnsembleWeights, Fuse};
use timbre_models::classic::fusion::{Fusion, Reference, normalize_weights};
use timbre_runs::run_dir::{self, EnsembleRecord, SplitRecord, Trial, TrialRecord};

/// The side on which weights are searched and ranks are taken.
const VALIDATION: &str = "validation";

impl Work<'_> {
    /// Fuses what the members of an ensemble said with the same seed. They are `done`, or have failed.
    pub(super) fn fuse(&self, unit: &Trial, spec: &Ensemble, done: &Done) -> Result<TrialRecord> {
        let clock = Instant::now();
        let members = self.members(unit, spec, done)?;
        let (fusion, mut notes) = self.fusion(spec, &members)?;
        let fit_seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let splits: Vec<SplitRecord> = members[0]
            .splits
            .iter()
            .map(|first| {
                let fused = fusion.fuse(&said(&sides(&members, &first.split)?).iter().collect::<Vec<_>>());
                let windows = windows_of(first, &fused);
                let predictions = self.decision_rule().decide_recordings(&fused, windows.as_ref()).scores;
                let (split, clips) = (first.split.clone(), first.clips.clone());
                Ok(SplitRecord { split, clips, predictions, windows, curve: Vec::new() })
            })
            .collect::<Result<_>>()?;
        let weights = members.iter().zip(&fusion.weights);
        notes.extend(weights.map(|(member, weight)| (format!("weight of {}", member.trial), format!("{weight:.4}"))));
        if self.experiment.save_models {
            self.save_ensemble(unit, spec, &members, &fusion)?;
        }
        let finished = TrialRecord {
            trial: unit.clone(),
            trained_on: members[0].trained_on.clone(),
            windows_hash: self.dir.write_windows(unit, &splits)?,
            splits,
            epochs: Vec::new(),
            notes,
            fit_seconds,
            predict_seconds: clock.elapsed().as_secs_f64(),
        };
        self.dir.write_trial(&finished)?;
        self.dir.log("unit", json!({ "unit": unit.to_string(), "fit_seconds": fit_seconds, "notes": finished.notes }));
        Ok(finished)
    }

    /// Ensembles of a unit that is about to be made anew are fused again, by a later start if this one is killed before. They
    /// come after it in `units`, and theirs after them.
    pub(super) fn forget_ensembles_of(&self, unit: &Trial, units: &[Trial]) -> Result<()> {
        let holds = |other: &&Trial| {
            let spec = self.experiment.models[&other.model].as_kind().as_ensemble();
            spec.is_some_and(|spec| self.member_units(other, spec).contains(unit))
        };
        units.iter().filter(holds).try_for_each(|other| self.dir.forget_trial(other))
    }

    fn member_units(&self, unit: &Trial, spec: &Ensemble) -> Vec<Trial> {
        let places = self.experiment.models_on_features();
        let member = |name: &String| {
            let place = members::find_member(name, &places).expect("a checked experiment has the members it names");
            Trial { features: place.features.clone(), model: place.model.clone(), seed: unit.seed }
        };
        spec.members.iter().map(member).collect()
    }

    fn members<'a>(&self, unit: &Trial, spec: &Ensemble, done: &'a Done) -> Result<Vec<&'a TrialRecord>> {
        let record = |wanted: &Trial| {
            let found = done.units.iter().find(|record| record.trial == *wanted);
            found.with_context(|| format!("its member {wanted} has failed, so there is nothing to fuse"))
        };
        self.member_units(unit, spec).iter().map(record).collect()
    }

    /// The weights and ranks of an ensemble, and what is to be told of the search.
    fn fusion(&self, spec: &Ensemble, members: &[&TrialRecord]) -> Result<(Fusion, IndexMap<String, String>)> {
        let decision_rule = self.decision_rule();
        let references = match spec.fuse {
            Fuse::RankMean => said(&sides(members, VALIDATION)?).iter().map(Reference::new).collect(),
            _ => Vec::new(),
        };
        let weights = match &spec.weights {
            EnsembleWeights::Given(weights) => {
                let total: f64 = weights.iter().sum();
                weights.iter().map(|weight| weight / total).collect()
            }
            _ => normalize_weights(&vec![1; members.len()]),
        };
        let mut fusion = Fusion { fuse: spec.fuse, task: decision_rule.task, weights, references };
        let mut notes = IndexMap::new();
        if spec.weights == EnsembleWeights::Search {
            let sides = sides(members, VALIDATION)?;
            let truth = sides[0].truth();
            let metric = self.experiment.evaluate.metric().name();
            let score = |fused: &Predictions| {
                let verdict = decision_rule.decide_recordings(fused, windows_of(sides[0], fused).as_ref());
                // Undefined on these recordings for all weights alike, if at all.
                headline(self.experiment, &decision_rule, &truth, &verdict).unwrap_or(f64::NEG_INFINITY)
            };
            let said = said(&sides);
            let (best, tried) = fusion.search(&said.iter().collect::<Vec<_>>(), score);
            notes.insert("weights looked at".to_owned(), tried.to_string());
            notes.insert(format!("{metric} on the validation split"), format!("{best:.4}"));
        }
        Ok((fusion, notes))
    }

    fn save_ensemble(&self, unit: &Trial, spec: &Ensemble, members: &[&TrialRecord], fusion: &Fusion) -> Result<()> {
        let record = EnsembleRecord {
            schema: run_dir::SCHEMA,
            classes: self.material.set.classes.clone(),
            members: members.iter().map(|member| member.trial.to_string()).collect(),
            fuse: fusion.fuse,
            weights: fusion.weights.clone(),
            decision_rule: self.decision_rule(),
            window: self.experiment.evaluate.windows(),
            version: spec.version(),
        };
        self.dir.write_ensemble(unit, &fusion.tensors(), &record)
    }
}

/// One side of the split as each member saw it.
fn sides<'a>(members: &[&'a TrialRecord], split: &str) -> Result<Vec<&'a SplitRecord>> {
    let side = |member: &&'a TrialRecord| {
        let found = member.splits.iter().find(|side| side.split == split);
        found.with_context(|| format!("{} has no {split} split: run with --fresh", member.trial))
    };
    let sides: Vec<&SplitRecord> = members.iter().map(side).collect::<Result<_>>()?;
    let starts = |side: &SplitRecord| side.windows.as_ref().map(|windows| windows.starts.clone());
    let alike = sides.iter().all(|side| side.clips == sides[0].clips && starts(side) == starts(sides[0]));
    ensure!(alike, "the members were asked about different recordings of the {split} split: run with --fresh");
    Ok(sides)
}

/// What each member said: of every window where recordings were heard in windows, else of every recording.
fn said(sides: &[&SplitRecord]) -> Vec<Predictions> {
    let rows = |side: &&SplitRecord| match &side.windows {
        Some(windows) => Predictions { n_classes: windows.n_classes, probabilities: windows.probabilities.clone() },
        None => side.predictions.clone(),
    };
    sides.iter().map(rows).collect()
}

/// Fused windows, put together by recording as those of `side` are; nothing where recordings were not heard in windows.
fn windows_of(side: &SplitRecord, fused: &Predictions) -> Option<WindowPredictions> {
    let WindowPredictions { bounds, starts, .. } = side.windows.as_ref()?;
    let (n_classes, probabilities) = (fused.n_classes, fused.probabilities.clone());
    Some(WindowPredictions { n_classes, probabilities, bounds: bounds.clone(), starts: starts.clone() })
}
