//! The tables of a run into its folder.

use anyhow::Result;

use super::by_labels;
use super::material::Material;
use super::scoring::{self, Done};
use timbre_core::labels::{Classes, Task};
use timbre_experiment::Experiment;
use timbre_models::Epoch;
use timbre_runs::exports::dvc;
use timbre_runs::run_dir::{ResultRow, RunDir, Table, Trial, TrialRecord};
use timbre_runs::tables::{self, ScoreGrid};

/// `results.csv` and `grid.csv` of the units done so far.
pub fn write_results(dir: &RunDir, experiment: &Experiment, done: &Done) -> Result<Vec<ResultRow>> {
    let rows = done.rows(experiment);
    dir.write_table(Table::ResultsCsv, |out| tables::write_csv(tables::results(&rows)?, out))?;
    let grid = ScoreGrid::new(&rows, experiment.evaluate.metric().name());
    dir.write_table(Table::Grid, |out| tables::write_csv(grid.frame()?, out))?;
    Ok(rows)
}

/// Every table of the finished run.
pub fn write_all(dir: &RunDir, experiment: &Experiment, classes: &Classes, done: &Done) -> Result<Vec<ResultRow>> {
    let rows = write_results(dir, experiment, done)?;
    let units = &done.units;
    dir.write_table(Table::ResultsParquet, |out| tables::write_parquet(tables::results(&rows)?, out))?;
    dir.write_table(Table::Predictions, |out| tables::write_parquet(tables::predictions(units, classes)?, out))?;
    if experiment.evaluate.windows().is_some() {
        dir.write_table(Table::Windows, |out| tables::write_parquet(tables::windows(units, classes)?, out))?;
    }
    if done.decision_rule().task == Task::MultiLabel {
        let rows = by_labels::rows(experiment, done.decision_rule(), units);
        dir.write_table(Table::ByLabels, |out| tables::write_csv(tables::by_labels(&rows)?, out))?;
    }
    let scored = scoring::scored(units, done.decision_rule());
    dir.write_table(Table::PerClass, |out| tables::write_csv(tables::per_class(&scored, classes)?, out))?;
    dir.write_table(Table::Confusion, |out| tables::write_csv(tables::confusion(&scored, classes)?, out))?;
    dir.write_table(Table::Hardest, |out| tables::write_csv(tables::hardest(&scored, classes)?, out))?;
    if units.iter().any(|u| u.splits.iter().any(|s| !s.curve.is_empty())) {
        dir.write_table(Table::Curves, |out| tables::write_csv(tables::curves(units)?, out))?;
    }
    write_epochs(dir, units, None)?;
    dir.write_table(Table::Metrics, |out| Ok(writeln!(out, "{:#}", dvc::metrics(&rows))?))?;
    Ok(rows)
}

/// `recordings.csv`: what the experiment may use, by which two runs know whether they heard the same.
pub fn write_recordings(dir: &RunDir, material: &Material) -> Result<()> {
    dir.write_table(Table::Recordings, |out| tables::write_csv(tables::recordings(&material.recordings())?, out))
}

/// `epochs.csv`: the learning curves of the units that are done, and of the one in hand.
pub fn write_epochs(dir: &RunDir, done: &[TrialRecord], current: Option<(&Trial, &[Epoch])>) -> Result<()> {
    let finished = done.iter().map(|record| (&record.trial, record.epochs.as_slice()));
    let curves: Vec<(&Trial, &[Epoch])> = finished.chain(current).filter(|(_, epochs)| !epochs.is_empty()).collect();
    if curves.is_empty() {
        return Ok(());
    }
    dir.write_table(Table::Epochs, |out| tables::write_csv(tables::epochs(&curves)?, out))
}
