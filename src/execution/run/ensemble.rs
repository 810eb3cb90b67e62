//! Runs the trial of an ensemble: fuses the predictions of its members. Fits no model and reads no recording.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indexmap::IndexMap;
use serde_json::json;

use super::Run;
use super::scoring::{FinishedTrials, headline};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_experiment::members;
use timbre_models::ModelKind;
use timbre_models::classic::ensemble::{Ensemble, EnsembleWeights, Fuse};
use timbre_models::classic::fusion::{Fusion, Reference, normalize_weights};
use timbre_runs::run_dir::{self, EnsembleRecord, SplitRecord, Trial, TrialRecord};

/// The subset for the search of weights and for the ranks.
const VALIDATION: &str = "validation";

impl Run<'_> {
    /// Fuses the predictions of the members with the same seed. A member that is not in `done` has failed.
    pub(super) fn fuse(&self, trial: &Trial, spec: &Ensemble, done: &FinishedTrials) -> Result<TrialRecord> {
        let clock = Instant::now();
        let members = self.members(trial, spec, done)?;
        let (fusion, mut notes) = match &self.data.models_from {
            Some(source) => source.fusion(trial).map(|(fusion, record)| (fusion, record.notes))?,
            None => self.fusion(spec, &members)?,
        };
        let fit_seconds = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let splits: Vec<SplitRecord> = members[0]
            .splits
            .iter()
            .map(|first| {
                let fused =
                    fusion.fuse(&predictions_of(&splits_of(&members, &first.split)?).iter().collect::<Vec<_>>());
                let windows = windows_of(first, &fused);
                let predictions = self.decision_rule().decide_recordings(&fused, windows.as_ref()).scores;
                let (split, clips) = (first.split.clone(), first.clips.clone());
                Ok(SplitRecord { split, clips, predictions, windows, curve: Vec::new() })
            })
            .collect::<Result<_>>()?;
        let weights = members.iter().zip(&fusion.weights);
        notes.extend(weights.map(|(member, weight)| (format!("weight of {}", member.trial), format!("{weight:.4}"))));
        if self.experiment.save_models {
            self.save_ensemble(trial, spec, &members, &fusion)?;
        }
        let finished = TrialRecord {
            trial: trial.clone(),
            trained_on: members[0].trained_on.clone(),
            windows_hash: self.dir.write_windows(trial, &splits)?,
            splits,
            epochs: Vec::new(),
            search: None,
            notes,
            fit_seconds,
            predict_seconds: clock.elapsed().as_secs_f64(),
        };
        self.dir.write_trial(&finished)?;
        self.dir.log("unit", json!({ "unit": trial.to_string(), "fit_seconds": fit_seconds, "notes": finished.notes }));
        Ok(finished)
    }

    /// Removes the records of ensembles that contain a trial which is about to be fitted again: they must be fused again, by a
    /// later start if this one is killed. They come after the trial in `trials`.
    pub(super) fn forget_ensembles_of(&self, trial: &Trial, trials: &[Trial]) -> Result<()> {
        let holds = |other: &&Trial| {
            let spec = self.experiment.models[&other.model].as_ensemble();
            spec.is_some_and(|spec| self.member_trials(other, spec).contains(trial))
        };
        trials.iter().filter(holds).try_for_each(|other| self.dir.forget_trial(other))
    }

    fn member_trials(&self, trial: &Trial, spec: &Ensemble) -> Vec<Trial> {
        let pairs = self.experiment.models_on_features();
        let member = |name: &String| {
            let member = members::find_member(name, &pairs).expect("a checked experiment has the members it names");
            Trial { features: member.features.clone(), model: member.model.clone(), seed: trial.seed }
        };
        spec.members.iter().map(member).collect()
    }

    fn members<'a>(&self, trial: &Trial, spec: &Ensemble, done: &'a FinishedTrials) -> Result<Vec<&'a TrialRecord>> {
        let record = |wanted: &Trial| {
            let found = done.trials.iter().find(|record| record.trial == *wanted);
            found.with_context(|| format!("its member {wanted} has failed"))
        };
        self.member_trials(trial, spec).iter().map(record).collect()
    }

    /// The weights and ranks of an ensemble, and notes on the search.
    fn fusion(&self, spec: &Ensemble, members: &[&TrialRecord]) -> Result<(Fusion, IndexMap<String, String>)> {
        let decision_rule = self.decision_rule();
        let references = match spec.fuse {
            Fuse::RankMean => predictions_of(&splits_of(members, VALIDATION)?).iter().map(Reference::new).collect(),
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
            let splits = splits_of(members, VALIDATION)?;
            let truth = splits[0].truth();
            let metric = self.experiment.evaluate.metric().name();
            let score = |fused: &Predictions| {
                let decisions = decision_rule.decide_recordings(fused, windows_of(splits[0], fused).as_ref());
                // If the metric is undefined on these recordings, it is so for all weights.
                headline(self.experiment, &decision_rule, &truth, &decisions).unwrap_or(f64::NEG_INFINITY)
            };
            let predictions = predictions_of(&splits);
            let (best, tried) = fusion.search(&predictions.iter().collect::<Vec<_>>(), score);
            notes.insert("weights tried".to_owned(), tried.to_string());
            notes.insert(format!("{metric} on the validation split"), format!("{best:.4}"));
        }
        Ok((fusion, notes))
    }

    fn save_ensemble(&self, trial: &Trial, spec: &Ensemble, members: &[&TrialRecord], fusion: &Fusion) -> Result<()> {
        let record = EnsembleRecord {
            schema: run_dir::SCHEMA,
            classes: self.data.set.classes.clone(),
            members: members.iter().map(|member| member.trial.to_string()).collect(),
            fuse: fusion.fuse,
            weights: fusion.weights.clone(),
            decision_rule: self.decision_rule(),
            window: self.experiment.evaluate.windows(),
            version: spec.version(),
        };
        self.dir.write_ensemble(trial, &fusion.tensors(), &record)
    }
}

/// The predictions of each member on one subset.
fn splits_of<'a>(members: &[&'a TrialRecord], split: &str) -> Result<Vec<&'a SplitRecord>> {
    let of_member = |member: &&'a TrialRecord| {
        let found = member.splits.iter().find(|record| record.split == split);
        found.with_context(|| format!("{} has no {split} split: run with --fresh", member.trial))
    };
    let records: Vec<&SplitRecord> = members.iter().map(of_member).collect::<Result<_>>()?;
    let starts = |record: &SplitRecord| record.windows.as_ref().map(|windows| windows.starts.clone());
    let alike = records.iter().all(|record| record.clips == records[0].clips && starts(record) == starts(records[0]));
    ensure!(alike, "the members predicted different recordings of the {split} split: run with --fresh");
    Ok(records)
}

/// The predictions of each member: of every window where recordings were predicted in windows, otherwise of every recording.
fn predictions_of(splits: &[&SplitRecord]) -> Vec<Predictions> {
    let rows = |split: &&SplitRecord| match &split.windows {
        Some(windows) => Predictions { n_classes: windows.n_classes, probabilities: windows.probabilities.clone() },
        None => split.predictions.clone(),
    };
    splits.iter().map(rows).collect()
}

/// Fused predictions grouped by recording as the windows of `split` are; None where recordings were not predicted in windows.
fn windows_of(split: &SplitRecord, fused: &Predictions) -> Option<WindowPredictions> {
    let WindowPredictions { bounds, starts, .. } = split.windows.as_ref()?;
    let (n_classes, probabilities) = (fused.n_classes, fused.probabilities.clone());
    Some(WindowPredictions { n_classes, probabilities, bounds: bounds.clone(), starts: starts.clone() })
}
