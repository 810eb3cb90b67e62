//! Searches the thresholds of a run from its stored predictions and writes the chosen points, tables and plots into its folder.
//!
//! The point that is chosen on one split is also scored on the others, so that an unbiased score is shown beside the best one.
//! The search needs no model and no feature.

use anyhow::Result;

use timbre_core::{error::UserError, labels::Classes, seed::Seed};
use timbre_evaluation::threshold_search::{
    ClassCutoffs, Point, SearchSpec, SelectionBias, Surface, ThresholdGrid, best_point, coordinate_ascent,
    selection_bias,
};
use timbre_evaluation::{
    aggregation::Aggregate,
    metrics::{DecisionRule, Metric, decision_scores, tally::Tally},
};
use timbre_runs::{
    run_dir::{RunDir, SplitRecord, Trial},
    tables::have_no_songs,
};

mod csv_tables;
mod heat_map;
mod report;
mod stored_predictions;

pub use report::{is_written, report, summary_text};
pub use stored_predictions::read_trials;

/// The specification of a search, and the decision rule of the run.
pub struct ThresholdSearch<'a> {
    pub spec: &'a SearchSpec,
    pub metric: Metric,
    /// The rule of the run itself.
    pub decision_rule: DecisionRule,
    pub classes: &'a Classes,
    /// Whether the split of the run divided songs.
    pub is_leaky: bool,
}

/// The decision metrics, in the order of [`decision_scores::NAMES`].
pub type DecisionScores = [f64; decision_scores::NAMES.len()];

/// The result of a search for one trial.
pub struct TrialThresholds {
    pub trial: Trial,
    pub cutoffs: Vec<f64>,
    /// Empty if recordings are not decided by window votes.
    pub fractions: Vec<f64>,
    pub surface: Surface,
    pub chosen: Point,
    pub bias: Option<SelectionBias>,
    pub per_class: Option<ClassCutoffs>,
    /// Songs of the split that was tuned on.
    pub songs: usize,
    /// Whether they are files, because the data set names no songs.
    pub no_songs: bool,
    /// Recordings of this split with more than one window.
    pub multi_window_recordings: usize,
    /// The split that was tuned on comes first.
    pub splits: Vec<SplitScores>,
}

/// The scores on one split: at the thresholds of the run, at the chosen point, and with thresholds by class.
pub struct SplitScores {
    pub split: String,
    pub n: usize,
    pub as_run: DecisionScores,
    pub chosen: DecisionScores,
    pub per_class: Option<DecisionScores>,
}

impl TrialThresholds {
    pub fn cutoff(&self) -> f64 {
        self.cutoffs[self.chosen.cutoff]
    }

    pub fn fraction(&self) -> Option<f64> {
        self.fractions.get(self.chosen.fraction).copied()
    }

    pub fn class_cutoffs(&self) -> Option<Vec<f64>> {
        Some(self.per_class.as_ref()?.cutoffs.iter().map(|&at| self.cutoffs[at]).collect())
    }
}

impl ThresholdSearch<'_> {
    pub fn tuned_on(&self) -> &'static str {
        self.spec.tune_on.name()
    }

    /// Index in [`decision_scores::NAMES`] of the metric that is optimized.
    pub fn metric_at(&self) -> usize {
        decision_scores::position(self.metric.name()).expect("the configuration allows only decision metrics")
    }

    /// Searches on one split and scores all splits.
    pub fn search_trial(&self, trial: &Trial, splits: &[SplitRecord]) -> Result<TrialThresholds> {
        let Some(own) = splits.iter().find(|split| split.split == self.tuned_on() && !split.clips.is_empty()) else {
            let available: Vec<&str> = splits.iter().map(|split| split.split.as_str()).collect();
            return Err(UserError::usage(format!(
                "the run has no {} split to tune on, only: {}. Add a validation split (split.validation), or tune on the test \
                 split with --on-test; the scores are then no test result",
                self.tuned_on(),
                available.join(", ")
            ))
            .into());
        };
        let truth = own.truth();
        let sweep = match &own.windows {
            Some(windows) if self.decision_rule.aggregate == Aggregate::Vote => {
                ThresholdGrid::of_windows(windows, &truth, self.spec.cutoffs(), self.spec.window_fractions())
            }
            _ => ThresholdGrid::of_scores(&own.predictions, &truth, self.spec.cutoffs()),
        };
        let (metric, once) = (self.metric_at(), vec![1; truth.len()]);
        let surface = sweep.surface(&once);
        let scores = surface.of(metric);
        let chosen = best_point(&scores, sweep.cutoffs.len());
        let per_class =
            self.spec.per_class.then(|| coordinate_ascent(&sweep, chosen.fraction, chosen.cutoff, metric, &once));
        let songs: Vec<&str> = own.clips.iter().map(|clip| clip.song.as_str()).collect();
        let mut distinct = songs.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let seed = Seed::new(trial.seed).child("thresholds").child(&own.split);
        let bias = selection_bias(&sweep, metric, &songs, &scores, self.spec.per_class, self.spec.resamples, seed);
        let multi_window_recordings = own.windows.as_ref().map_or(0, |windows| {
            (0..windows.len()).filter(|&recording| windows.windows_of(recording).len() > 1).count()
        });
        let (cutoffs, fractions) = (sweep.cutoffs.clone(), sweep.fractions.clone());
        let mut result = TrialThresholds {
            trial: trial.clone(),
            cutoffs,
            fractions,
            surface,
            chosen,
            bias,
            per_class,
            songs: distinct.len(),
            no_songs: have_no_songs(own.clips.iter().map(|clip| (clip.path.as_str(), clip.song.as_str()))),
            multi_window_recordings,
            splits: Vec::new(),
        };
        let others = splits.iter().filter(|split| split.split != own.split);
        result.splits = std::iter::once(own).chain(others).map(|split| self.scores(split, &result)).collect();
        Ok(result)
    }

    fn scores(&self, split: &SplitRecord, found: &TrialThresholds) -> SplitScores {
        let window_fraction = found.fraction().unwrap_or(self.decision_rule.window_fraction);
        let common =
            DecisionRule { cutoff: found.cutoff(), cutoffs: Vec::new(), window_fraction, ..self.decision_rule.clone() };
        let own = found.class_cutoffs().map(|cutoffs| DecisionRule { cutoffs, ..common.clone() });
        SplitScores {
            split: split.split.clone(),
            n: split.clips.len(),
            as_run: score(&self.decision_rule, split),
            chosen: score(&common, split),
            per_class: own.map(|decision_rule| score(&decision_rule, split)),
        }
    }

    /// Writes all files of the search and removes those of an earlier one. The long table is written last, because its presence means
    /// that the search is complete.
    pub fn write(&self, dir: &RunDir, found: &[TrialThresholds]) -> Result<()> {
        dir.remove_thresholds()?;
        csv_tables::write(self, dir, found)?;
        heat_map::write(self, dir, found)?;
        report::write(self, dir, found)?;
        csv_tables::write_long(self, dir, found)
    }
}

/// The trial with the best score on the split that was tuned on. The first of equal ones.
pub fn best_trial(found: &[TrialThresholds], metric: usize) -> Option<&TrialThresholds> {
    let score = |found: &TrialThresholds| found.surface.at(found.chosen)[metric];
    found.iter().reduce(|best, own| if score(own) > score(best) { own } else { best })
}

fn score(decision_rule: &DecisionRule, split: &SplitRecord) -> DecisionScores {
    let mut tally = Tally::new(split.predictions.n_classes);
    split
        .clips
        .iter()
        .zip(split.decided(decision_rule))
        .for_each(|(clip, decided)| tally.count(&clip.truth, &decided, 1));
    tally.scores()
}
