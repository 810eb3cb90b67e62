//! Writes the tables of a run into its folder.

use std::collections::HashMap;

use anyhow::Result;
use indexmap::IndexMap;
use polars_core::prelude::DataFrame;

use super::prepare::PreparedDataset;
use super::scoring::{self, FinishedTrials};
use super::{by_labels, importances};
use timbre_core::labels::Task;
use timbre_experiment::Experiment;
use timbre_inputs::data::{DataSpec, several::SET_TAG, split::Splits};
use timbre_models::Epoch;
use timbre_runs::{
    exports::dvc,
    run_dir::{ResultRow, RunDir, Table, Trial, TrialRecord},
    tables::{self, ScoreGrid},
};

/// Writes `results.csv` and `grid.csv` of the finished trials.
pub fn write_results(dir: &RunDir, experiment: &Experiment, done: &FinishedTrials) -> Result<Vec<ResultRow>> {
    let rows = done.rows(experiment);
    write_csv(dir, experiment, Table::ResultsCsv, tables::results(&rows)?)?;
    let grid = ScoreGrid::new(&rows, experiment.evaluate.metric().name());
    write_csv(dir, experiment, Table::Grid, grid.frame()?)?;
    Ok(rows)
}

/// Writes a table, and its means over the seeds if there are several: in a cross-validation each seed is a fold.
fn write_csv(dir: &RunDir, experiment: &Experiment, table: Table, frame: DataFrame) -> Result<()> {
    let write = |table, frame| {
        let frame = marked(experiment, frame)?;
        dir.write_table(table, |out| tables::write_csv(frame, out))
    };
    if let Some(means) = table.means().filter(|_| experiment.seeds.len() > 1) {
        write(means, tables::means(&frame, table.number_key())?)?;
    }
    write(table, frame)
}

/// A table of a run with a split that divides songs says so in every row.
fn marked(experiment: &Experiment, frame: DataFrame) -> Result<DataFrame> {
    if experiment.split.is_leaky() { tables::mark_leaky(frame) } else { Ok(frame) }
}

/// Writes every table of the finished run.
pub fn write_all(
    dir: &RunDir,
    experiment: &Experiment,
    data: &PreparedDataset,
    done: &FinishedTrials,
) -> Result<Vec<ResultRow>> {
    let classes = &data.set.classes;
    let rows = write_results(dir, experiment, done)?;
    let trials = &done.trials;
    let parquet = |table: Table, frames: &mut dyn Iterator<Item = Result<DataFrame>>| {
        let frames = frames.map(|frame| marked(experiment, frame?));
        dir.write_table(table, |out| tables::write_parquet(frames, out))
    };
    parquet(Table::ResultsParquet, &mut std::iter::once(tables::results(&rows)))?;
    parquet(Table::Predictions, &mut tables::predictions(trials, classes))?;
    if experiment.evaluate.windows().is_some() {
        parquet(Table::Windows, &mut tables::windows(trials, classes))?;
    }
    if done.decision_rule().task == Task::MultiLabel {
        let rows = by_labels::rows(experiment, done.decision_rule(), trials);
        write_csv(dir, experiment, Table::ByLabels, tables::by_labels(&rows)?)?;
    }
    let wanted = match experiment.data {
        DataSpec::Several(_) if experiment.evaluate.by_tag.is_empty() => &[SET_TAG.to_owned()][..],
        _ => &experiment.evaluate.by_tag,
    };
    if !wanted.is_empty() {
        let rows = by_labels::rows_by_tag(experiment, done.decision_rule(), trials, wanted, &data.tags(wanted));
        write_csv(dir, experiment, Table::ByTag, tables::by_tag(&rows)?)?;
    }
    let scored = scoring::scored(trials, done.decision_rule());
    write_csv(dir, experiment, Table::PerClass, tables::per_class(&scored, classes)?)?;
    write_csv(dir, experiment, Table::Confusion, tables::confusion(&scored, classes)?)?;
    write_csv(dir, experiment, Table::Hardest, tables::hardest(&scored, classes)?)?;
    if trials.iter().any(|u| u.splits.iter().any(|s| !s.curve.is_empty())) {
        write_csv(dir, experiment, Table::Curves, tables::curves(trials)?)?;
    }
    if trials.iter().any(|trial| trial.search.is_some()) {
        write_csv(dir, experiment, Table::CvResults, tables::cv_results(trials)?)?;
    }
    let importances = importances::rows(dir, experiment, trials)?;
    if !importances.is_empty() {
        write_csv(dir, experiment, Table::Importances, tables::importances(&importances, classes)?)?;
    }
    write_csv(dir, experiment, Table::ThresholdCurves, tables::threshold_curves(&scored, classes)?)?;
    write_epochs(dir, experiment, trials, None)?;
    let mut metrics = dvc::metrics(&rows);
    if experiment.split.is_leaky() {
        metrics["leaky"] = true.into();
    }
    dir.write_table(Table::Metrics, |out| Ok(writeln!(out, "{metrics:#}")?))?;
    Ok(rows)
}

/// Writes `recordings.csv`: the recordings that the experiment can use. A comparison of two runs reads it. Once the usable
/// recordings (`clips`) and their splits are known, it says which subset each is in.
pub fn write_recordings(
    dir: &RunDir,
    experiment: &Experiment,
    data: &PreparedDataset,
    splits: Option<(&[usize], &IndexMap<u64, Splits>)>,
) -> Result<()> {
    let subsets = splits.map_or_else(Vec::new, |(clips, splits)| subset_columns(&data.eligible, clips, splits));
    write_csv(dir, experiment, Table::Recordings, tables::recordings(&data.recordings(), &subsets)?)
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
pub fn write_epochs(
    dir: &RunDir,
    experiment: &Experiment,
    done: &[TrialRecord],
    current: Option<(&Trial, &[Epoch])>,
) -> Result<()> {
    let finished = done.iter().map(|record| (&record.trial, record.epochs.as_slice()));
    let curves: Vec<(&Trial, &[Epoch])> = finished.chain(current).filter(|(_, epochs)| !epochs.is_empty()).collect();
    if curves.is_empty() {
        return Ok(());
    }
    write_csv(dir, experiment, Table::Epochs, tables::epochs(&curves)?)
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
