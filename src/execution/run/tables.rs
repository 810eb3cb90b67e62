//! Writes the tables of a run into its folder.

use anyhow::Result;

use super::by_labels;
use super::prepare::PreparedDataset;
use super::scoring::{self, FinishedTrials};
use timbre_core::labels::{Classes, Task};
use timbre_experiment::Experiment;
use timbre_models::Epoch;
use timbre_runs::{
    exports::dvc,
    run_dir::{ResultRow, RunDir, Table, Trial, TrialRecord},
    tables::{self, ScoreGrid},
};

/// Writes `results.csv` and `grid.csv` of the finished trials.
pub fn write_results(dir: &RunDir, experiment: &Experiment, done: &FinishedTrials) -> Result<Vec<ResultRow>> {
    let rows = done.rows(experiment);
    dir.write_table(Table::ResultsCsv, |out| tables::write_csv(tables::results(&rows)?, out))?;
    let grid = ScoreGrid::new(&rows, experiment.evaluate.metric().name());
    dir.write_table(Table::Grid, |out| tables::write_csv(grid.frame()?, out))?;
    Ok(rows)
}

/// Writes every table of the finished run.
pub fn write_all(
    dir: &RunDir,
    experiment: &Experiment,
    classes: &Classes,
    done: &FinishedTrials,
) -> Result<Vec<ResultRow>> {
    let rows = write_results(dir, experiment, done)?;
    let trials = &done.trials;
    dir.write_table(Table::ResultsParquet, |out| tables::write_parquet(tables::results(&rows)?, out))?;
    dir.write_table(Table::Predictions, |out| tables::write_parquet(tables::predictions(trials, classes)?, out))?;
    if experiment.evaluate.windows().is_some() {
        dir.write_table(Table::Windows, |out| tables::write_parquet(tables::windows(trials, classes)?, out))?;
    }
    if done.decision_rule().task == Task::MultiLabel {
        let rows = by_labels::rows(experiment, done.decision_rule(), trials);
        dir.write_table(Table::ByLabels, |out| tables::write_csv(tables::by_labels(&rows)?, out))?;
    }
    let scored = scoring::scored(trials, done.decision_rule());
    dir.write_table(Table::PerClass, |out| tables::write_csv(tables::per_class(&scored, classes)?, out))?;
    dir.write_table(Table::Confusion, |out| tables::write_csv(tables::confusion(&scored, classes)?, out))?;
    dir.write_table(Table::Hardest, |out| tables::write_csv(tables::hardest(&scored, classes)?, out))?;
    if trials.iter().any(|u| u.splits.iter().any(|s| !s.curve.is_empty())) {
        dir.write_table(Table::Curves, |out| tables::write_csv(tables::curves(trials)?, out))?;
    }
    write_epochs(dir, trials, None)?;
    dir.write_table(Table::Metrics, |out| Ok(writeln!(out, "{:#}", dvc::metrics(&rows))?))?;
    Ok(rows)
}

/// Writes `recordings.csv`: the recordings that the experiment can use. A comparison of two runs reads it.
pub fn write_recordings(dir: &RunDir, data: &PreparedDataset) -> Result<()> {
    dir.write_table(Table::Recordings, |out| tables::write_csv(tables::recordings(&data.recordings())?, out))
}

/// Writes `epochs.csv`: the learning curves of the finished trials and of the current one.
pub fn write_epochs(dir: &RunDir, done: &[TrialRecord], current: Option<(&Trial, &[Epoch])>) -> Result<()> {
    let finished = done.iter().map(|record| (&record.trial, record.epochs.as_slice()));
    let curves: Vec<(&Trial, &[Epoch])> = finished.chain(current).filter(|(_, epochs)| !epochs.is_empty()).collect();
    if curves.is_empty() {
        return Ok(());
    }
    dir.write_table(Table::Epochs, |out| tables::write_csv(tables::epochs(&curves)?, out))
}
