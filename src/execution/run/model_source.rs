//! The run whose saved models an experiment evaluates instead of fitting its own (`models_from`).

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::trials_of;
use timbre_core::error::UserError;
use timbre_core::labels::{Classes, Labels, Task};
use timbre_core::text::count;
use timbre_experiment::Experiment;
use timbre_inputs::{data::DataSet, dataset::tags::TagValues};
use timbre_models::Classifier;
use timbre_models::classic::fusion::Fusion;
use timbre_models::device::Device;
use timbre_runs::run_dir::{self, RunRecord, Table, Trial, TrialRecord};
use timbre_runs::tables;

/// A finished run with models.
pub struct ModelSource {
    run: PathBuf,
    record: RunRecord,
    /// The subset of each recording, by its content (BLAKE3, hexadecimal), for each column of `recordings.csv`: `split`, or one per seed.
    subsets: HashMap<String, HashMap<String, String>>,
    /// One hash over the models of the experiment.
    hash: String,
}

/// The recordings that a set has for the classes of the models.
pub struct KnownRecordings {
    /// For each recording of the set, whether the models know its classes.
    pub is_known: Vec<bool>,
    pub warning: Option<String>,
}

impl ModelSource {
    /// Opens the run that `experiment` names. All models of the experiment must be there.
    pub fn open(experiment: &Experiment, runs: &std::path::Path) -> Result<Option<ModelSource>> {
        let Some(name) = &experiment.models_from else { return Ok(None) };
        let run = run_dir::find(runs, name).map_err(UserError::from_cause)?;
        let record = run_dir::read_record(&run)?;
        let mut hasher = blake3::Hasher::new();
        for trial in trials_of(experiment) {
            if !run_dir::has_model(&run, &trial) {
                let sentence = format!("models_from: {} has no saved model {trial}", run.display());
                bail!(UserError::usage(sentence));
            }
            for file in run_dir::model_files(&run, &trial) {
                hasher.update(&fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
            }
        }
        let columns = tables::read_csv(&run.join(Table::Recordings.file()))?;
        let contents = columns.get("content").context("recordings.csv has no column `content`")?;
        let of_column = |of: &Vec<String>| contents.iter().cloned().zip(of.iter().cloned()).collect();
        let is_split = |name: &str| name == "split" || name.starts_with("split_s");
        let subsets: HashMap<String, HashMap<String, String>> =
            columns.iter().filter(|(name, _)| is_split(name)).map(|(name, of)| (name.clone(), of_column(of))).collect();
        ensure!(
            !subsets.is_empty(),
            UserError::usage(format!(
                "models_from: {} does not say which recordings it was trained on: run its experiment again with this version",
                run.display()
            ))
        );
        Ok(Some(ModelSource { run, record, subsets, hash: hasher.finalize().to_hex().to_string() }))
    }

    /// One hash over the models.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Gives the set the classes of the models, in their order. Labels that the models do not know are dropped; a recording with no other
    /// label is left out.
    pub fn name_classes(&self, set: &mut DataSet, task: Task) -> KnownRecordings {
        let classes = Classes::new(self.record.classes.iter());
        let new_label: Vec<Option<usize>> = set.classes.names().iter().map(|name| classes.index(name)).collect();
        let unknown: Vec<&str> = set
            .classes
            .names()
            .iter()
            .zip(&new_label)
            .filter(|(_, new)| new.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let mut is_known = Vec::with_capacity(set.records.len());
        let mut dropped = 0;
        for record in &mut set.records {
            let had = record.labels.len();
            let renamed = |labels: &[usize]| labels.iter().filter_map(|&label| new_label[label]).collect();
            record.labels = Labels::new(renamed(record.labels.present()), renamed(record.labels.unknown()));
            let lost = had - record.labels.len();
            dropped += lost;
            is_known.push(match task {
                Task::SingleLabel => lost == 0,
                Task::MultiLabel => had == 0 || !record.labels.is_empty(),
            });
        }
        let left_out = is_known.iter().filter(|known| !**known).count();
        let warning = (dropped > 0).then(|| {
            let names = timbre_inputs::data::some_of(10, unknown);
            let left = count(left_out, "recording");
            format!(
                "the models do not know {names}: these labels are ignored, and {left} without another label left out"
            )
        });
        set.classes = classes;
        KnownRecordings { is_known, warning }
    }

    /// Whether the models of a seed were neither trained on a recording with this content nor chosen on it: their epochs, weights and
    /// thresholds on the validation subset.
    pub fn may_test(&self, content: &str, seed: u64) -> bool {
        !matches!(self.subset(content, seed), Some("training" | "validation"))
    }

    /// Whether the models of a seed were not trained on a recording with this content.
    pub fn may_validate(&self, content: &str, seed: u64) -> bool {
        self.subset(content, seed) != Some("training")
    }

    fn subset(&self, content: &str, seed: u64) -> Option<&str> {
        let of_seed = self.subsets.get(&format!("split_s{seed}")).or(self.subsets.get("split"))?;
        of_seed.get(content).map(String::as_str)
    }

    /// The model of a trial, and what the run recorded about its fit.
    pub fn model(&self, trial: &Trial, device: &Device) -> Result<(Box<dyn Classifier>, TrialRecord)> {
        let record = self.trial(trial)?;
        let (saved, tensors) = run_dir::read_model(&self.run, &trial.to_string())?;
        Ok((saved.model.restore(tensors, self.record.classes.len(), device)?, record))
    }

    /// The values of the tags that the network of a trial sees.
    pub fn tags(&self, trial: &Trial) -> Result<TagValues> {
        Ok(run_dir::read_model(&self.run, &trial.to_string())?.0.tags)
    }

    fn trial(&self, trial: &Trial) -> Result<TrialRecord> {
        run_dir::read_trial(&self.run, trial)
            .with_context(|| format!("{} has no record of {trial}", self.run.display()))
    }

    /// The weights of an ensemble, and its notes.
    pub fn fusion(&self, trial: &Trial) -> Result<(Fusion, TrialRecord)> {
        let name = trial.to_string();
        let (saved, tensors) =
            run_dir::read_ensemble(&self.run, &name)?.with_context(|| format!("{name} is no ensemble"))?;
        let task = saved.decision_rule.task;
        let fusion = Fusion::restore(saved.fuse, task, saved.weights, tensors, saved.classes.len())?;
        Ok((fusion, self.trial(trial)?))
    }

    /// The name for people.
    pub fn name(&self) -> String {
        self.run.display().to_string()
    }
}
