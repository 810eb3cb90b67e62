//! The threshold search at the end of a run: `[evaluate.search]`.

use anyhow::{Result, bail};

use super::Work;
use timbre_core::error::UserError;
use timbre_evaluation::threshold_search::TuneOn;
use timbre_reports::thresholds::{ThresholdSearch, TrialThresholds, summary_text};
use timbre_runs::run_dir::TrialRecord;

impl Work<'_> {
    /// Told before anything is computed or fitted: a search that chooses on validation recordings needs some of these.
    pub(super) fn can_search(&self, clips: &[usize]) -> Result<()> {
        let Some(search) = &self.experiment.evaluate.search else { return Ok(()) };
        for &seed in &self.experiment.seeds {
            let split = self.material.split(self.experiment, clips, seed)?;
            if search.tune_on == TuneOn::Validation && split.validation.is_empty() {
                bail!(UserError::usage(format!(
                    "evaluate.search chooses on the validation split, and there is none: set split.validation, such as 0.1"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn search(&self, units: &[TrialRecord]) -> Result<()> {
        let Some(spec) = &self.experiment.evaluate.search else { return Ok(()) };
        let classes = &self.material.set.classes;
        let evaluate = &self.experiment.evaluate;
        let search = ThresholdSearch {
            spec,
            metric: spec.metric(evaluate.metric()),
            decision_rule: evaluate.decision_rule(classes),
            classes,
        };
        let found: Vec<TrialThresholds> =
            units.iter().map(|unit| search.search_trial(&unit.trial, &unit.splits)).collect::<Result<_>>()?;
        if found.is_empty() {
            return Ok(());
        }
        search.write(self.dir, &found)?;
        found.iter().for_each(|own| self.settings.printer.message(summary_text(&search, own).trim_end()));
        Ok(())
    }
}
