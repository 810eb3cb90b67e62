//! Writes the tables of a run into its folder.

use std::collections::HashMap;

use anyhow::Result;
use indexmap::IndexMap;

use super::by_labels;
use super::prepare::PreparedDataset;
use super::scoring::{self, FinishedTrials};
use timbre_core::labels::{Classes, Task};
use timbre_experiment::Experiment;
use timbre_inputs::data::split::Splits;
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

/// Writes `recordings.csv`: the recordings that the experiment can use. A comparison of two runs reads it. Once the usable
/// recordings (`clips`) and their splits are known, it says which subset each is in.
pub fn write_recordings(
    dir: &RunDir,
    data: &PreparedDataset,
    splits: Option<(&[usize], &IndexMap<u64, Splits>)>,
) -> Result<()> {
    let subsets = splits.map_or_else(Vec::new, |(clips, splits)| subset_columns(&data.eligible, clips, splits));
    dir.write_table(Table::Recordings, |out| tables::write_csv(tables::recordings(&data.recordings(), &subsets)?, out))
}

/// The subset of each eligible recording, empty if it is not used: a column `split`, or one `split_sSEED` per seed if the seeds
/// split differently.
pub(super) fn subset_columns(
    eligible: &[usize],
    clips: &[usize],
    splits: &IndexMap<u64, Splits>,
) -> Vec<(String, Vec<&'static str>)> {
    let column = |split: &Splits| {
        let mut subset_of: HashMap<usize, &'static str> = HashMap::new();
        let training = std::iter::once(("training", split.train.as_slice()));
        for (name, rows) in training.chain(split.evaluated()) {
            subset_of.extend(rows.iter().map(|&row| (clips[row], name)));
        }
        eligible.iter().map(|clip| subset_of.get(clip).copied().unwrap_or_default()).collect::<Vec<_>>()
    };
    let mut columns: Vec<(String, Vec<&str>)> =
        splits.iter().map(|(seed, split)| (format!("split_s{seed}"), column(split))).collect();
    if columns.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        columns.truncate(1);
        columns.iter_mut().for_each(|(name, _)| *name = "split".to_owned());
    }
    columns
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subset_of_a_recording_is_one_column_unless_the_seeds_differ() {
        let split = |train: &[usize], test: &[usize]| Splits {
            train: train.to_vec(),
            test: test.to_vec(),
            ..Splits::default()
        };
        // Recording 11 is not used; the rows of a split are indices into the used ones.
        let (eligible, clips) = ([10, 11, 12, 13], [10, 12, 13]);
        let same = IndexMap::from([(1, split(&[0, 2], &[1])), (2, split(&[0, 2], &[1]))]);
        let columns = subset_columns(&eligible, &clips, &same);
        assert_eq!(columns, [("split".to_owned(), vec!["training", "", "test", "training"])]);
        let other = IndexMap::from([(1, split(&[0, 2], &[1])), (7, split(&[1, 2], &[0]))]);
        let columns = subset_columns(&eligible, &clips, &other);
        assert_eq!(columns[0], ("split_s1".to_owned(), vec!["training", "", "test", "training"]));
        assert_eq!(columns[1], ("split_s7".to_owned(), vec!["test", "", "training", "training"]));
    }
}
