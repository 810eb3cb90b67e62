//! Units that another run has fitted already.
//!
//! Two runs have the same units if everything that decides what a unit says is the same: recordings, split, features, models, seeds,
//! how decisions are judged while networks are trained, and the version of every stage. What may differ is done with finished units
//! alone: `evaluate.search`, `evaluate.bootstrap`, `evaluate.metric` (unless a model asks for it), and what is no part of any
//! signature (name, description, `max_unusable`, `save_models`). Then the units are copied instead of fitted again.

use anyhow::Result;

use super::{Work, trials_of};
use timbre_runs::run_dir::{self, ReusedTrials, RunRecord, Trial};

impl Work<'_> {
    /// Takes over what a finished run of the same units has; with `fresh` nothing. Of several runs the youngest.
    pub(super) fn take_over(&self, record: &RunRecord) -> Result<Option<ReusedTrials>> {
        let Some(training) = record.training.as_deref().filter(|_| !self.settings.fresh) else { return Ok(None) };
        let missing: Vec<Trial> = trials_of(self.experiment).into_iter().filter(|unit| !self.is_done(unit)).collect();
        let mut runs = run_dir::all(&self.settings.runs);
        // A folder is named by its time, whatever the experiment is called.
        runs.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
        for run in runs {
            let Some(other) = run_dir::read_record_with(&run, training) else { continue };
            if other.training.as_deref() != Some(training)
                || !other.status.is_final()
                || other.signature == record.signature
            {
                continue;
            }
            let whole = |unit: &&Trial| {
                let has_model = !self.experiment.save_models || run_dir::has_model(&run, unit);
                has_model && run_dir::read_trial(&run, unit).is_some_and(|found| found.trial == **unit)
            };
            let units: Vec<&Trial> = missing.iter().filter(whole).collect();
            if units.is_empty() {
                continue;
            }
            for unit in &units {
                self.dir.take_over(&run, unit)?;
            }
            self.settings.printer.message(&format!(
                "{} of {} models were fitted before, in {}: taken over, not fitted again (--fresh fits them again)",
                units.len(),
                trials_of(self.experiment).len(),
                run.display()
            ));
            let units = units.iter().map(ToString::to_string).collect();
            return Ok(Some(ReusedTrials { run, signature: other.signature, units }));
        }
        Ok(None)
    }

    fn is_done(&self, unit: &Trial) -> bool {
        self.is_saved(unit) && self.dir.read_trial(unit).is_some_and(|record| record.trial == *unit)
    }
}
