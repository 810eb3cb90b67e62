//! Reuses trials that another run has finished.
//!
//! Two runs have equal trials if everything that decides the predictions is equal: recordings, split, features, models, seeds,
//! how validation decisions are taken during training, and the version of every stage. Only what is done with finished trials may
//! differ (`evaluate.search`, `evaluate.bootstrap`, and `evaluate.metric` unless a model uses it), and what no signature contains
//! (name, description, `max_unusable`, `save_models`). Such trials are copied instead of fitted again.
//!
//! Where only the evaluation differs (thresholds, windows, aggregation), or where an experiment has gained other models or features, the
//! saved models of the other run predict again: [`Run::earlier_fit`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use anyhow::Result;
use indexmap::IndexMap;

use super::select::Selection;
use super::{Run, trials_of};
use timbre_inputs::data::split::Splits;
use timbre_models::Classifier;
use timbre_runs::run_dir::{self, ReusedTrials, RunRecord, Table, Trial, TrialRecord};
use timbre_runs::tables;

/// What other runs may have done for this one.
pub struct EarlierWork {
    /// The signature of all trials.
    training: String,
    /// The signatures of the fits, by trial.
    fits: IndexMap<String, String>,
    /// The runs with one of these signatures, the newest first; read once, when the first is needed.
    related: OnceLock<Vec<(PathBuf, RunRecord)>>,
    /// The runs whose models were used, by trial.
    used: Mutex<IndexMap<String, PathBuf>>,
}

impl EarlierWork {
    pub fn new(training: String, fits: IndexMap<String, String>) -> EarlierWork {
        EarlierWork { training, fits, related: OnceLock::new(), used: Mutex::default() }
    }

    pub fn training(&self) -> &str {
        &self.training
    }

    pub fn fits(&self) -> &IndexMap<String, String> {
        &self.fits
    }

    pub fn used(&self) -> IndexMap<String, PathBuf> {
        self.used.lock().expect("no trial panics here").clone()
    }

    fn is_related(&self, record: &str) -> bool {
        record.contains(&self.training) || self.fits.values().any(|fit| record.contains(fit))
    }
}

/// A model that another run fitted, and what that run recorded about the fit.
pub struct EarlierFit {
    pub model: Box<dyn Classifier>,
    pub record: TrialRecord,
}

impl Run<'_> {
    /// Copies the missing trials from the newest finished run that has some of them; none with `--fresh`.
    pub(super) fn reuse_trials(&self, record: &RunRecord) -> Result<Option<ReusedTrials>> {
        if self.settings.fresh {
            return Ok(None);
        }
        let all = trials_of(self.experiment);
        let missing: Vec<&Trial> = all.iter().filter(|trial| self.finished(trial).is_none()).collect();
        for (run, other) in self.related_runs() {
            if other.training.as_ref() != Some(&self.earlier.training)
                || !other.status.is_final()
                || other.signature == record.signature
            {
                continue;
            }
            let is_complete = |trial: &&&Trial| {
                let has_model = !self.experiment.save_models || run_dir::has_model(run, trial);
                has_model && run_dir::read_trial(run, trial).is_some_and(|found| found.trial == ***trial)
            };
            let trials: Vec<&&Trial> = missing.iter().filter(is_complete).collect();
            if trials.is_empty() {
                continue;
            }
            for trial in &trials {
                self.dir.copy_trial(run, trial)?;
            }
            self.settings.printer.message(&format!(
                "Reusing {} of {} models from {} (--fresh fits them again)",
                trials.len(),
                all.len(),
                run.display()
            ));
            let trials = trials.iter().map(ToString::to_string).collect();
            let (run, signature) = (run.clone(), other.signature.clone());
            return Ok(Some(ReusedTrials { run, signature, trials }));
        }
        Ok(None)
    }

    /// The other runs that may have done some of the work, the newest first.
    fn related_runs(&self) -> &[(PathBuf, RunRecord)] {
        self.earlier.related.get_or_init(|| {
            let mut runs = run_dir::all(&self.settings.runs);
            // The name of a run folder begins with its time, in every experiment.
            runs.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
            runs.retain(|run| run != self.dir.path());
            let read = |run: PathBuf| {
                run_dir::read_record_if(&run, |text| self.earlier.is_related(text)).map(|record| (run, record))
            };
            runs.into_iter().filter_map(read).collect()
        })
    }

    /// The model of this trial from the newest run that fitted it with the same configuration on the same recordings; none with
    /// `--fresh`.
    pub(super) fn earlier_fit(
        &self,
        trial: &Trial,
        splits: &Splits,
        selection: &Selection,
    ) -> Result<Option<EarlierFit>> {
        let name = trial.to_string();
        let Some(wanted) = self.earlier.fits.get(&name).filter(|_| !self.settings.fresh) else { return Ok(None) };
        for (run, other) in self.related_runs() {
            if other.fits.get(&name) != Some(wanted) || !run_dir::has_model(run, trial) {
                continue;
            }
            // Unusable recordings of another feature or of windows can change what a model is trained on.
            let is_same = self.is_trained_on_the_same(run, trial, splits, selection).unwrap_or(false);
            let Some(record) = run_dir::read_trial(run, trial).filter(|_| is_same) else { continue };
            let Ok((saved, tensors)) = run_dir::read_model(run, &name) else { continue };
            let model = saved.model.restore(tensors, self.data.set.classes.len(), &self.settings.device)?;
            self.dir.copy_network_files(run, trial)?;
            let mut used = self.earlier.used.lock().expect("no trial panics here");
            if !used.values().any(|before| before == run) {
                let sentence = "Using models of {} that were fitted in the same way (--fresh fits them again)";
                self.settings.printer.message(&sentence.replace("{}", &run.display().to_string()));
            }
            used.insert(name, run.clone());
            return Ok(Some(EarlierFit { model, record }));
        }
        Ok(None)
    }

    /// Whether the other run has the training subset and the validation subset of this trial.
    fn is_trained_on_the_same(
        &self,
        run: &Path,
        trial: &Trial,
        splits: &Splits,
        selection: &Selection,
    ) -> Result<bool> {
        let columns = tables::read_csv(&run.join(Table::Recordings.file()))?;
        let of_seed = columns.get(&format!("split_s{}", trial.seed)).or(columns.get("split"));
        let (Some(paths), Some(subsets)) = (columns.get("path"), of_seed) else { return Ok(false) };
        let same = |subset: &str, rows: &[usize]| {
            let there = paths.iter().zip(subsets).filter(|(_, of)| *of == subset).map(|(path, _)| path.as_str());
            let here = rows.iter().map(|&row| self.data.set.records[selection.clips[row]].id.as_str());
            there.collect::<BTreeSet<_>>() == here.collect::<BTreeSet<_>>()
        };
        Ok(same("training", &splits.train) && same("validation", &splits.validation))
    }
}
