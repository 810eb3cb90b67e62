//! The tables of a run as polars frames, and the score grid.
//!
//! Floats are written in the shortest form that reads back as the same number, so equal results are equal bytes.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use indexmap::IndexMap;
use polars_core::prelude::{Column, DataFrame, DataType, IdxSize, PlSmallStr};
use polars_io::prelude::{CsvReadOptions, CsvWriter, ParquetWriter, SerReader, SerWriter};
use serde_json::Value;

use crate::run_dir::{ResultRow, SplitRecord, Trial, TrialRecord};
use timbre_core::{labels::Classes, text::csv_text};
use timbre_evaluation::metrics::replicates;
use timbre_models::{CandidateScores, Epoch, SearchResults, mean_and_deviation};
use timbre_signal::audio::Excerpt;

mod score_grid;
mod scored_split;

pub use score_grid::{ScoreGrid, TERMINAL, aligned, cell, fit};
pub use scored_split::{ScoredSplit, confusion, hardest, per_class, threshold_curves};

/// `gel`, `gel;voi`, or empty.
pub fn class_list(classes: &Classes, labels: &[usize]) -> String {
    labels.iter().map(|&label| classes.name(label)).collect::<Vec<_>>().join(";")
}

/// The key columns: trial and split.
pub fn keys<'a>(rows: impl Iterator<Item = (&'a Trial, &'a str)> + Clone) -> Vec<Column> {
    vec![
        Column::new("features".into(), rows.clone().map(|(u, _)| u.features.as_str()).collect::<Vec<_>>()),
        Column::new("model".into(), rows.clone().map(|(u, _)| u.model.as_str()).collect::<Vec<_>>()),
        Column::new("seed".into(), rows.clone().map(|(u, _)| u.seed).collect::<Vec<_>>()),
        Column::new("split".into(), rows.map(|(_, s)| s).collect::<Vec<_>>()),
    ]
}

pub fn frame(height: usize, columns: Vec<Column>) -> Result<DataFrame> {
    DataFrame::new(height, columns).context("cannot build a table")
}

/// One row per (feature, model, seed, split), one column per metric. A missing metric is an empty cell.
pub fn results(rows: &[ResultRow]) -> Result<DataFrame> {
    let rows: Vec<&ResultRow> = rows.iter().collect();
    scores(&rows, Vec::new())
}

/// [`results`] by the number of labels of the recordings.
pub fn by_labels(rows: &[(String, ResultRow)]) -> Result<DataFrame> {
    let labels = Column::new("labels".into(), rows.iter().map(|(labels, _)| labels.as_str()).collect::<Vec<_>>());
    scores(&rows.iter().map(|(_, row)| row).collect::<Vec<_>>(), vec![labels])
}

/// [`results`] by the values of tags: pairs of tag and value.
pub fn by_tag(rows: &[((String, String), ResultRow)]) -> Result<DataFrame> {
    let column = |name: &str, of: fn(&(String, String)) -> &str| {
        Column::new(name.into(), rows.iter().map(|(pair, _)| of(pair)).collect::<Vec<_>>())
    };
    let more = vec![column("tag", |pair| &pair.0), column("value", |pair| &pair.1)];
    scores(&rows.iter().map(|(_, row)| row).collect::<Vec<_>>(), more)
}

/// The means of a table over its seeds, with `_sd` (sample standard deviation) behind each: one row for rows that differ in the seed
/// alone. A number that is missing with one seed has no mean, because the mean of the others would refer to other data. `number_key` is a
/// column of numbers that identifies a row, too.
pub fn means(table: &DataFrame, number_key: Option<&str>) -> Result<DataFrame> {
    let is_key = |column: &&Column| *column.dtype() == DataType::String || Some(column.name().as_str()) == number_key;
    let keys: Vec<&Column> = table.columns().iter().filter(is_key).collect();
    let is_number = |column: &&Column| column.dtype().is_primitive_numeric() && column.name() != "seed";
    let numbers: Vec<&Column> = table.columns().iter().filter(|c| !is_key(c) && is_number(c)).collect();
    let mut groups: IndexMap<Vec<String>, Vec<usize>> = IndexMap::new();
    let texts: Vec<Vec<String>> = keys
        .iter()
        .map(|column| {
            let texts = column.cast(&DataType::String)?;
            Ok(texts.str()?.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
        })
        .collect::<Result<_>>()?;
    for row in 0..table.height() {
        groups.entry(texts.iter().map(|column| column[row].clone()).collect()).or_default().push(row);
    }
    let first: Vec<IdxSize> = groups.values().map(|rows| rows[0] as IdxSize).collect();
    let mut columns = keys.iter().map(|key| Ok(key.take_slice(&first)?)).collect::<Result<Vec<Column>>>()?;
    columns.push(Column::new("seeds".into(), groups.values().map(|rows| rows.len() as u64).collect::<Vec<_>>()));
    for column in numbers {
        let numbers = column.cast(&DataType::Float64)?;
        let numbers: Vec<Option<f64>> = numbers.f64()?.iter().collect();
        let of = |rows: &Vec<usize>| rows.iter().map(|&row| numbers[row]).collect::<Option<Vec<f64>>>();
        let mean: Vec<Option<f64>> = groups.values().map(|rows| replicates::mean(&of(rows)?)).collect();
        let deviation: Vec<Option<f64>> = groups.values().map(|rows| replicates::deviation(&of(rows)?)).collect();
        columns.push(Column::new(column.name().clone(), mean));
        // The ends of an interval have a mean and no spread of their own.
        if replicates::metric_of_interval_bound(column.name()).is_none() {
            // A class may have the name of another with `_sd`.
            let name = format!("{}_sd", column.name());
            let is_taken = table.column(&name).is_ok();
            let name = if is_taken { format!("{name} (deviation)") } else { name };
            columns.push(Column::new(name.into(), deviation));
        }
    }
    frame(groups.len(), columns)
}

/// A column that says in every row that the split divides songs.
pub fn mark_leaky(table: DataFrame) -> Result<DataFrame> {
    let height = table.height();
    let mut columns = table.columns().to_vec();
    columns.push(Column::new("leaky".into(), vec![true; height]));
    frame(height, columns)
}

/// `more` columns are placed between the keys and the scores.
fn scores(rows: &[&ResultRow], more: Vec<Column>) -> Result<DataFrame> {
    let mut columns = keys(rows.iter().map(|r| (&r.trial, r.split.as_str())));
    columns.extend(more);
    columns.push(Column::new("n".into(), rows.iter().map(|r| r.n as u64).collect::<Vec<_>>()));
    let mut names: Vec<&String> = Vec::new();
    for name in rows.iter().flat_map(|r| r.metrics.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in names {
        let values: Vec<Option<f64>> = rows.iter().map(|r| r.metrics.get(name).copied()).collect();
        columns.push(Column::new(name.as_str().into(), values));
    }
    frame(rows.len(), columns)
}

/// A row of `recordings.csv`: a recording that an experiment can use.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub path: String,
    pub song: String,
    /// Classes, joined by `;`.
    pub labels: String,
    /// The unknown classes.
    pub unknown: String,
    /// The data set, where it is one of several.
    pub set: String,
    /// How much it counts in a fit.
    pub weight: f64,
    /// BLAKE3 of its bytes as hexadecimal digits, or `unreadable`.
    pub content: String,
}

/// Whether these recordings have no songs (pairs of path and song): every file then counts as a song of its own.
pub fn have_no_songs<'a>(recordings: impl IntoIterator<Item = (&'a str, &'a str)>) -> bool {
    let mut recordings = recordings.into_iter().peekable();
    recordings.peek().is_some() && recordings.all(|(path, song)| Excerpt::split_name(path).0 == song)
}

/// The word for what a bootstrap draws.
pub fn resampled(no_songs: bool) -> &'static str {
    if no_songs { "files" } else { "songs" }
}

/// `subsets`: more columns, each with the subset of every recording.
pub fn recordings(rows: &[Recording], subsets: &[(String, Vec<&str>)]) -> Result<DataFrame> {
    let column =
        |name: &str, of: fn(&Recording) -> &str| Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>());
    let mut columns = vec![
        column("path", |r| &r.path),
        column("song", |r| &r.song),
        column("labels", |r| &r.labels),
        column("content", |r| &r.content),
    ];
    // polars writes an empty text as two quotes, and no text as an empty cell.
    let cells = |texts: &mut dyn Iterator<Item = &str>| {
        texts.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty())).collect::<Vec<_>>()
    };
    for (name, subsets) in subsets {
        columns.push(Column::new(name.as_str().into(), cells(&mut subsets.iter().copied())));
    }
    if rows.iter().any(|row| !row.unknown.is_empty()) {
        let unknown = cells(&mut rows.iter().map(|row| row.unknown.as_str()));
        columns.push(Column::new("labels_unknown".into(), unknown));
    }
    if rows.iter().any(|row| !row.set.is_empty()) {
        columns.push(Column::new("set".into(), cells(&mut rows.iter().map(|row| row.set.as_str()))));
    }
    if rows.iter().any(|row| row.weight != 1.0) {
        columns.push(Column::new("weight".into(), rows.iter().map(|row| row.weight).collect::<Vec<_>>()));
    }
    frame(rows.len(), columns)
}

/// Reads a CSV file as texts by column. An empty cell is an empty text.
pub fn read_csv(path: &Path) -> Result<IndexMap<String, Vec<String>>> {
    let cannot = || format!("cannot read {}", path.display());
    let options = CsvReadOptions::default().with_infer_schema_length(Some(0));
    let file = std::fs::File::open(path).with_context(cannot)?;
    let frame = options.into_reader_with_file_handle(file).finish().with_context(cannot)?;
    let texts = |column: &Column| {
        let texts = column.str()?.iter().map(|text| text.unwrap_or_default().to_owned()).collect();
        Ok((column.name().to_string(), texts))
    };
    frame.columns().iter().map(texts).collect()
}

/// The column of a class: its name, with ` (class)` after it if a key column has this name.
pub fn class_column(name: &str) -> PlSmallStr {
    let taken =
        ["features", "model", "seed", "split", "path", "song", "truth", "truth_unknown", "start", "seeds", "leaky"];
    if taken.contains(&name) { format!("{name} (class)").into() } else { name.into() }
}

/// The predictions of every clip.
pub fn predictions<'a>(
    trials: &'a [TrialRecord],
    classes: &'a Classes,
) -> impl Iterator<Item = Result<DataFrame>> + 'a {
    let mut truths = trials.iter().flat_map(|trial| &trial.splits).flat_map(|split| &split.clips);
    let with_unknown = truths.any(|clip| !clip.truth.unknown().is_empty());
    parts(trials).into_iter().map(move |part| predictions_of(part, classes, with_unknown))
}

/// The trials in parts of many rows: one part for all of a usual run.
fn parts(trials: &[TrialRecord]) -> Vec<&[TrialRecord]> {
    const ROWS: usize = 1 << 18;
    let rows = |trial: &TrialRecord| -> usize {
        let of = |split: &SplitRecord| split.windows.as_ref().map_or(split.clips.len(), |windows| windows.starts.len());
        trial.splits.iter().map(of).sum()
    };
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
    for (at, trial) in trials.iter().enumerate() {
        if sum > 0 && sum + rows(trial) > ROWS {
            parts.push(&trials[start..at]);
            (start, sum) = (at, 0);
        }
        sum += rows(trial);
    }
    parts.push(&trials[start..]);
    parts
}

fn predictions_of(trials: &[TrialRecord], classes: &Classes, with_unknown: bool) -> Result<DataFrame> {
    let rows = trials
        .iter()
        .flat_map(|u| u.splits.iter().flat_map(move |s| (0..s.clips.len()).map(move |clip| (&u.trial, s, clip))));
    let mut columns = keys(rows.clone().map(|(u, s, _)| (u, s.split.as_str())));
    columns
        .push(Column::new("path".into(), rows.clone().map(|(_, s, c)| s.clips[c].path.as_str()).collect::<Vec<_>>()));
    columns
        .push(Column::new("song".into(), rows.clone().map(|(_, s, c)| s.clips[c].song.as_str()).collect::<Vec<_>>()));
    columns.push(Column::new(
        "truth".into(),
        rows.clone().map(|(_, s, c)| class_list(classes, &s.clips[c].truth)).collect::<Vec<_>>(),
    ));
    if with_unknown {
        let unknown = rows.clone().map(|(_, s, c)| class_list(classes, s.clips[c].truth.unknown()));
        columns.push(Column::new("truth_unknown".into(), unknown.collect::<Vec<_>>()));
    }
    for (class, name) in classes.names().iter().enumerate() {
        let values: Vec<f32> = rows.clone().map(|(_, s, c)| s.predictions.row(c)[class]).collect();
        columns.push(Column::new(class_column(name), values));
    }
    frame(rows.count(), columns)
}

/// The predictions of every window, where recordings were predicted in windows.
pub fn windows<'a>(trials: &'a [TrialRecord], classes: &'a Classes) -> impl Iterator<Item = Result<DataFrame>> + 'a {
    parts(trials).into_iter().map(|part| windows_of(part, classes))
}

fn windows_of(trials: &[TrialRecord], classes: &Classes) -> Result<DataFrame> {
    let splits_with_windows =
        trials.iter().flat_map(|u| u.splits.iter().filter_map(move |s| Some((&u.trial, s, s.windows.as_ref()?))));
    let recordings = splits_with_windows.flat_map(|(u, s, w)| (0..w.len()).map(move |recording| (u, s, w, recording)));
    let rows = recordings.flat_map(|(u, s, w, r)| w.windows_of(r).map(move |window| (u, s, w, r, window)));
    let mut columns = keys(rows.clone().map(|(u, s, ..)| (u, s.split.as_str())));
    let path = rows.clone().map(|(_, s, _, recording, _)| s.clips[recording].path.as_str());
    columns.push(Column::new("path".into(), path.collect::<Vec<_>>()));
    columns.push(Column::new("start".into(), rows.clone().map(|(_, _, w, _, n)| w.starts[n]).collect::<Vec<f64>>()));
    for (class, name) in classes.names().iter().enumerate() {
        let values: Vec<f32> = rows.clone().map(|(_, _, w, _, n)| w.row(n)[class]).collect();
        columns.push(Column::new(class_column(name), values));
    }
    frame(rows.count(), columns)
}

/// A metric along a parameter of a model, in long form.
pub fn curves(trials: &[TrialRecord]) -> Result<DataFrame> {
    let rows = trials
        .iter()
        .flat_map(|u| u.splits.iter().flat_map(move |s| s.curve.iter().map(move |point| (&u.trial, s, point))));
    let mut columns = keys(rows.clone().map(|(u, s, _)| (u, s.split.as_str())));
    columns.push(Column::new("parameter".into(), rows.clone().map(|(.., p)| p.parameter.as_str()).collect::<Vec<_>>()));
    columns.push(Column::new("value".into(), rows.clone().map(|(.., p)| p.value).collect::<Vec<_>>()));
    columns.push(Column::new("n".into(), rows.clone().map(|(_, s, _)| s.clips.len() as u64).collect::<Vec<_>>()));
    // All trials of a run have the same metric.
    let metric = rows.clone().next().map_or("accuracy", |(.., p)| p.metric.as_str());
    columns.push(Column::new(metric.into(), rows.clone().map(|(.., p)| p.score).collect::<Vec<_>>()));
    if rows.clone().any(|(.., p)| p.interval.is_some()) {
        let bound = |of: fn((f64, f64)) -> f64| rows.clone().map(|(.., p)| p.interval.map(of)).collect::<Vec<_>>();
        columns.push(Column::new(format!("{metric}_low").into(), bound(|ends| ends.0)));
        columns.push(Column::new(format!("{metric}_high").into(), bound(|ends| ends.1)));
    }
    frame(rows.count(), columns)
}

/// What the searches within models tried, with the columns of scikit-learn's `cv_results_`: one row per combination of values.
pub fn cv_results(trials: &[TrialRecord]) -> Result<DataFrame> {
    let searches = trials.iter().filter_map(|trial| Some((&trial.trial, trial.search.as_ref()?)));
    let rows = searches.flat_map(|(trial, search)| {
        search.candidates.iter().zip(search.ranks()).map(move |(own, rank)| (trial, search, own, rank))
    });
    let rows: Vec<(&Trial, &SearchResults, &CandidateScores, usize)> = rows.collect();
    let text = |name: &str, of: &dyn Fn(&Trial) -> String| {
        Column::new(name.into(), rows.iter().map(|(trial, ..)| of(trial)).collect::<Vec<_>>())
    };
    let mut columns =
        vec![text("features", &|trial| trial.features.clone()), text("model", &|trial| trial.model.clone())];
    columns.push(Column::new("seed".into(), rows.iter().map(|(trial, ..)| trial.seed).collect::<Vec<_>>()));
    columns.push(Column::new(
        "metric".into(),
        rows.iter().map(|(_, search, ..)| search.metric.as_str()).collect::<Vec<_>>(),
    ));
    let number = |name: &str, of: &dyn Fn(&CandidateScores) -> Option<f64>| {
        Column::new(name.into(), rows.iter().map(|(_, _, own, _)| of(own)).collect::<Vec<_>>())
    };
    let times = [("fit_time", true), ("score_time", false)];
    for (name, fit) in times {
        let of = |own: &CandidateScores| mean_and_deviation(if fit { &own.fit_seconds } else { &own.score_seconds });
        columns.push(number(&format!("mean_{name}"), &|own| Some(of(own).0)));
        columns.push(number(&format!("std_{name}"), &|own| Some(of(own).1)));
    }
    let mut keys: Vec<&String> = Vec::new();
    for key in rows.iter().flat_map(|(_, _, own, _)| own.params.keys()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for key in keys {
        let values = rows.iter().map(|(_, _, own, _)| own.params.get(key).map(short));
        columns.push(Column::new(format!("param_{key}").into(), values.collect::<Vec<_>>()));
    }
    let params: Vec<String> = rows.iter().map(|(_, _, own, _)| serde_json::json!(own.params).to_string()).collect();
    columns.push(Column::new("params".into(), params));
    let folds = rows.iter().map(|(_, _, own, _)| own.scores.len()).max().unwrap_or(0);
    for fold in 0..folds {
        columns.push(number(&format!("split{fold}_test_score"), &|own| own.scores.get(fold).copied().flatten()));
    }
    columns.push(number("mean_test_score", &|own| Some(own.mean()?.0)));
    columns.push(number("std_test_score", &|own| Some(own.mean()?.1)));
    columns.push(Column::new("rank_test_score".into(), rows.iter().map(|row| row.3 as u64).collect::<Vec<_>>()));
    frame(rows.len(), columns)
}

/// The coefficient or importance of a column in a model.
pub struct Importance<'a> {
    pub trial: &'a Trial,
    /// None if it is the same for all classes.
    pub class: Option<usize>,
    /// The index of the column of the feature, or of the principal component.
    pub column: usize,
    pub name: String,
    pub value: f32,
}

/// `importances.csv`.
pub fn importances(rows: &[Importance], classes: &Classes) -> Result<DataFrame> {
    let text = |name: &str, of: &dyn Fn(&Importance) -> Option<String>| {
        Column::new(name.into(), rows.iter().map(of).collect::<Vec<_>>())
    };
    let columns = vec![
        text("features", &|row| Some(row.trial.features.clone())),
        text("model", &|row| Some(row.trial.model.clone())),
        Column::new("seed".into(), rows.iter().map(|row| row.trial.seed).collect::<Vec<_>>()),
        text("class", &|row| row.class.map(|class| classes.name(class).to_owned())),
        Column::new("column".into(), rows.iter().map(|row| row.column as u64).collect::<Vec<_>>()),
        text("name", &|row| Some(row.name.clone())),
        Column::new("value".into(), rows.iter().map(|row| row.value).collect::<Vec<_>>()),
    ];
    frame(rows.len(), columns)
}

/// A value without the quotes of a word.
fn short(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Learning curves: one row per epoch.
pub fn epochs(curves: &[(&Trial, &[Epoch])]) -> Result<DataFrame> {
    let rows = curves.iter().flat_map(|(trial, epochs)| epochs.iter().map(move |epoch| (*trial, epoch)));
    let n = rows.clone().count();
    let mut names: Vec<&String> = Vec::new();
    for name in rows.clone().flat_map(|(_, e)| e.metrics.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let number = |name: &str, of: &dyn Fn(&Epoch) -> Option<f64>| {
        Column::new(name.into(), rows.clone().map(|(_, e)| of(e)).collect::<Vec<_>>())
    };
    let mut columns = vec![
        Column::new("features".into(), rows.clone().map(|(u, _)| u.features.as_str()).collect::<Vec<_>>()),
        Column::new("model".into(), rows.clone().map(|(u, _)| u.model.as_str()).collect::<Vec<_>>()),
        Column::new("seed".into(), rows.clone().map(|(u, _)| u.seed).collect::<Vec<_>>()),
        Column::new("epoch".into(), rows.clone().map(|(_, e)| e.epoch as u64).collect::<Vec<_>>()),
        number("learning_rate", &|e| Some(e.learning_rate)),
        number("train_loss", &|e| Some(e.train_loss)),
        number("validation_loss", &|e| e.validation_loss),
    ];
    columns.extend(names.iter().map(|name| number(name, &|e| e.metrics.get(*name).copied())));
    columns.push(Column::new("best".into(), rows.clone().map(|(_, e)| e.best).collect::<Vec<_>>()));
    columns.push(number("seconds", &|e| Some(e.seconds)));
    columns.push(number("clips_per_second", &|e| Some(e.clips_per_second)));
    columns.push(number("waited", &|e| Some(e.waited)));
    frame(n, columns)
}

pub fn write_csv(frame: DataFrame, out: &mut dyn Write) -> Result<()> {
    let height = frame.height();
    let columns = frame.columns().iter().map(|column| {
        let name = PlSmallStr::from(csv_text(column.name()).as_ref());
        Ok(match column.str() {
            Ok(texts) => Column::new(name, texts.iter().map(|text| text.map(csv_text)).collect::<Vec<_>>()),
            Err(_) => column.clone().with_name(name),
        })
    });
    let mut frame = self::frame(height, columns.collect::<Result<_>>()?)?;
    CsvWriter::new(out).finish(&mut frame).context("cannot write CSV")
}

/// Writes frames with the same columns one below the other; one of them is in memory at a time.
pub fn write_parquet(frames: impl IntoIterator<Item = Result<DataFrame>>, out: &mut dyn Write) -> Result<()> {
    let mut frames = frames.into_iter();
    let first = frames.next().context("a table has columns")??;
    let mut writer = ParquetWriter::new(out).batched(first.schema())?;
    writer.write_batch(&first)?;
    drop(first);
    for frame in frames {
        writer.write_batch(&frame?)?;
    }
    writer.finish().context("cannot write Parquet").map(|_| ())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row with one score on the test split.
    pub fn row(features: &str, model: &str, seed: u64, accuracy: f64) -> ResultRow {
        ResultRow {
            trial: Trial { features: features.into(), model: model.into(), seed },
            split: "test".into(),
            n: 10,
            metrics: [("accuracy".to_owned(), accuracy)].into(),
        }
    }

    #[test]
    fn a_class_can_have_the_name_of_a_column() {
        let classes = Classes::new(["song", "truth"]);
        let trial = Trial { features: "mel".into(), model: "knn".into(), seed: 1 };
        let clip = crate::run_dir::ClipTruth { path: "a".into(), song: "s".into(), truth: vec![1].into() };
        let predictions = timbre_evaluation::predictions::Predictions { n_classes: 2, probabilities: vec![0.25, 0.75] };
        let split = crate::run_dir::SplitRecord {
            split: "test".into(),
            clips: vec![clip],
            predictions,
            windows: None,
            curve: vec![],
        };
        let trial = TrialRecord {
            trial,
            trained_on: vec![1, 1],
            windows_hash: None,
            epochs: vec![],
            splits: vec![split],
            search: None,
            notes: Default::default(),
            fit_seconds: 0.0,
            predict_seconds: 0.0,
        };
        let mut csv = Vec::new();
        write_csv(predictions_of(std::slice::from_ref(&trial), &classes, false).unwrap(), &mut csv).unwrap();
        let expected = "features,model,seed,split,path,song,truth,song (class),truth (class)\nmel,knn,1,test,a,s,truth,0.25,0.75\n";
        assert_eq!(String::from_utf8(csv).unwrap(), expected);
    }

    #[test]
    fn an_epoch_is_a_row_and_missing_values_are_empty() {
        let epoch = |epoch: usize, metric: &str| Epoch {
            epoch,
            learning_rate: 0.001,
            train_loss: 0.5,
            validation_loss: (metric == "accuracy").then_some(0.75),
            metrics: [(metric.to_owned(), 0.25)].into(),
            best: epoch == 1,
            seconds: 2.5,
            clips_per_second: 40.0,
            waited: 0.125,
        };
        let trial = |model: &str| Trial { features: "mel".into(), model: model.into(), seed: 3 };
        let (small, large) = (trial("small"), trial("large"));
        let one = [epoch(1, "accuracy"), epoch(2, "accuracy")];
        let two = [epoch(1, "f1_micro")];
        let mut csv = Vec::new();
        write_csv(epochs(&[(&small, &one[..]), (&large, &two[..])]).unwrap(), &mut csv).unwrap();
        let expected = "features,model,seed,epoch,learning_rate,train_loss,validation_loss,accuracy,f1_micro,best,seconds,\
             clips_per_second,waited\n\
             mel,small,3,1,0.001,0.5,0.75,0.25,,true,2.5,40.0,0.125\n\
             mel,small,3,2,0.001,0.5,0.75,0.25,,false,2.5,40.0,0.125\n\
             mel,large,3,1,0.001,0.5,,,0.25,true,2.5,40.0,0.125\n";
        assert_eq!(String::from_utf8(csv).unwrap(), expected);
    }

    #[test]
    fn a_missing_metric_is_an_empty_cell() {
        let mut other = row("mel", "knn", 1, 0.5);
        other.metrics.insert("f1_macro".into(), 0.25);
        let mut csv = Vec::new();
        write_csv(results(&[row("raw", "knn", 1, 0.1), other]).unwrap(), &mut csv).unwrap();
        let expected =
            "features,model,seed,split,n,accuracy,f1_macro\nraw,knn,1,test,10,0.1,\nmel,knn,1,test,10,0.5,0.25\n";
        assert_eq!(String::from_utf8(csv).unwrap(), expected);
    }

    #[test]
    fn classes_may_be_called_like_the_columns_of_means() {
        let text = |name: &str, of: &str| Column::new(name.into(), vec![of; 2]);
        let number = |name: &str, values: [u64; 2]| Column::new(name.into(), values.to_vec());
        let mut columns =
            vec![text("features", "mel"), text("model", "knn"), text("split", "test"), text("truth", "a")];
        columns.extend([number("seed", [1, 2]), number("epoch", [1, 3]), number("a", [2, 4]), number("a_sd", [0, 2])]);
        let table = frame(2, columns).unwrap();
        let of_counts = means(&table, None).unwrap();
        let names: Vec<&str> = of_counts.columns().iter().map(|column| column.name().as_str()).skip(4).collect();
        assert_eq!(names, ["seeds", "epoch", "epoch_sd", "a", "a_sd (deviation)", "a_sd", "a_sd_sd"]);
        assert_eq!((of_counts.height(), means(&table, Some("epoch")).unwrap().height()), (1, 2));
        assert_eq!(class_column("seeds"), "seeds (class)");
    }

    #[test]
    fn the_means_of_a_table_are_over_the_seeds_alone() {
        let mut rows = vec![row("mel", "knn", 1, 0.5), row("mel", "knn", 2, 0.75), row("raw", "knn", 1, 0.25)];
        rows[0].metrics.insert("accuracy_low".into(), 0.25);
        rows[1].metrics.insert("accuracy_low".into(), 0.5);
        rows[0].metrics.insert("f1".into(), 1.0);
        let mut csv = Vec::new();
        write_csv(mark_leaky(means(&results(&rows).unwrap(), None).unwrap()).unwrap(), &mut csv).unwrap();
        let expected = "features,model,split,seeds,n,n_sd,accuracy,accuracy_sd,accuracy_low,f1,f1_sd,leaky\n\
                        mel,knn,test,2,10.0,0.0,0.625,0.1767766952966369,0.375,,,true\n\
                        raw,knn,test,1,10.0,,0.25,,,,,true\n";
        assert_eq!(String::from_utf8(csv).unwrap(), expected);
    }
}
