//! Reuses trials that another run has finished.
//!
//! Two runs have equal trials if everything that decides the predictions is equal: recordings, split, features, models, seeds,
//! how validation decisions are taken during training, and the version of every stage. Only what is done with finished trials may
//! differ (`evaluate.search`, `evaluate.bootstrap`, and `evaluate.metric` unless a model uses it), and what no signature contains
//! (name, description, `max_unusable`, `save_models`). Such trials are copied instead of fitted again.

use anyhow::Result;

use super::{Run, trials_of};
use timbre_runs::run_dir::{self, ReusedTrials, RunRecord, Trial};

impl Run<'_> {
    /// Copies the missing trials from the newest finished run that has some of them; none with `--fresh`.
    pub(super) fn reuse_trials(&self, record: &RunRecord) -> Result<Option<ReusedTrials>> {
        let Some(training) = record.training.as_deref().filter(|_| !self.settings.fresh) else { return Ok(None) };
        let all = trials_of(self.experiment);
        let missing: Vec<&Trial> = all.iter().filter(|trial| self.finished(trial).is_none()).collect();
        let mut runs = run_dir::all(&self.settings.runs);
        // The name of a run folder begins with its time, in every experiment.
        runs.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
        for run in runs {
            let Some(other) = run_dir::read_record_containing(&run, training) else { continue };
            if other.training.as_deref() != Some(training)
                || !other.status.is_final()
                || other.signature == record.signature
            {
                continue;
            }
            let is_complete = |trial: &&&Trial| {
                let has_model = !self.experiment.save_models || run_dir::has_model(&run, trial);
                has_model && run_dir::read_trial(&run, trial).is_some_and(|found| found.trial == ***trial)
            };
            let trials: Vec<&&Trial> = missing.iter().filter(is_complete).collect();
            if trials.is_empty() {
                continue;
            }
            for trial in &trials {
                self.dir.copy_trial(&run, trial)?;
            }
            self.settings.printer.message(&format!(
                "Reusing {} of {} models from {} (--fresh fits them again)",
                trials.len(),
                all.len(),
                run.display()
            ));
            let trials = trials.iter().map(ToString::to_string).collect();
            return Ok(Some(ReusedTrials { run, signature: other.signature, trials }));
        }
        Ok(None)
    }
}
