//! The tables of a run into its folder.

use anyhow::Result;

use super::scoring::{self, Done};
use crate::experiment::Experiment;
use crate::labels::Classes;
use crate::run_dir::{ResultRow, RunDir, Table};
use crate::tables::{self, Grid};

/// `results.csv` and `grid.csv` of the units done so far.
pub fn write_results(dir: &RunDir, experiment: &Experiment, done: &Done) -> Result<Vec<ResultRow>> {
    let rows = done.rows(experiment);
    dir.write_table(Table::ResultsCsv, |out| tables::write_csv(tables::results(&rows)?, out))?;
    let grid = Grid::new(&rows, experiment.evaluate.metric.name());
    dir.write_table(Table::Grid, |out| tables::write_csv(grid.frame()?, out))?;
    Ok(rows)
}

/// Every table of the finished run.
pub fn write_all(dir: &RunDir, experiment: &Experiment, classes: &Classes, done: &Done) -> Result<Vec<ResultRow>> {
    let rows = write_results(dir, experiment, done)?;
    let units = &done.units;
    dir.write_table(Table::ResultsParquet, |out| tables::write_parquet(tables::results(&rows)?, out))?;
    dir.write_table(Table::Predictions, |out| tables::write_parquet(tables::predictions(units, classes)?, out))?;
    let scored = scoring::scored(units);
    dir.write_table(Table::PerClass, |out| tables::write_csv(tables::per_class(&scored, classes)?, out))?;
    dir.write_table(Table::Confusion, |out| tables::write_csv(tables::confusion(&scored, classes)?, out))?;
    dir.write_table(Table::Hardest, |out| tables::write_csv(tables::hardest(units, classes)?, out))?;
    if units.iter().any(|u| u.splits.iter().any(|s| !s.curve.is_empty())) {
        dir.write_table(Table::Curves, |out| tables::write_csv(tables::curves(units)?, out))?;
    }
    Ok(rows)
}
