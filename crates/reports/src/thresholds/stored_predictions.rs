//! Reads the predictions of a finished run from `predictions.parquet`, and from `windows.parquet` if it exists.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use polars_core::prelude::DataFrame;
use polars_io::prelude::{ParquetReader, SerReader};

use timbre_core::{
    error::UserError,
    labels::{Classes, Labels},
};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_runs::{
    run_dir::{ClipTruth, SplitRecord, Table, Trial},
    tables::class_column,
};

/// Reads every trial with its splits, in the order of the tables.
pub fn read_trials(run: &Path, classes: &Classes) -> Result<Vec<(Trial, Vec<SplitRecord>)>> {
    let path = run.join(Table::Predictions.file());
    let mut trials = predictions(&path, classes).with_context(|| format!("cannot read {}", path.display()))?;
    let path = run.join(Table::Windows.file());
    if path.is_file() {
        windows(&path, classes, &mut trials).with_context(|| format!("cannot read {}", path.display()))?;
    }
    if trials.is_empty() {
        bail!(UserError::usage(format!("{} has no trained model", run.display())));
    }
    Ok(trials)
}

struct Rows {
    height: usize,
    features: Vec<String>,
    model: Vec<String>,
    seed: Vec<u64>,
    split: Vec<String>,
    path: Vec<String>,
    /// One column per class.
    probabilities: Vec<Vec<f32>>,
    frame: DataFrame,
}

fn rows(path: &Path, classes: &Classes) -> Result<Rows> {
    let frame = ParquetReader::new(File::open(path)?).finish()?;
    let probabilities = classes
        .names()
        .iter()
        .map(|name| Ok(frame.column(&class_column(name))?.f32()?.iter().map(|p| p.unwrap_or(f32::NAN)).collect()))
        .collect::<Result<_>>()?;
    Ok(Rows {
        height: frame.height(),
        features: text_column(&frame, "features")?,
        model: text_column(&frame, "model")?,
        seed: frame.column("seed")?.u64()?.iter().map(Option::unwrap_or_default).collect(),
        split: text_column(&frame, "split")?,
        path: text_column(&frame, "path")?,
        probabilities,
        frame,
    })
}

fn text_column(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    Ok(frame.column(name)?.str()?.iter().map(|word| word.unwrap_or_default().to_owned()).collect())
}

impl Rows {
    fn trial(&self, row: usize) -> Trial {
        Trial { features: self.features[row].clone(), model: self.model[row].clone(), seed: self.seed[row] }
    }

    fn row(&self, row: usize) -> impl Iterator<Item = f32> {
        self.probabilities.iter().map(move |column| column[row])
    }
}

fn predictions(path: &Path, classes: &Classes) -> Result<Vec<(Trial, Vec<SplitRecord>)>> {
    let rows = rows(path, classes)?;
    let (songs, truths) = (text_column(&rows.frame, "song")?, text_column(&rows.frame, "truth")?);
    let has_unknown = rows.frame.get_column_index("truth_unknown").is_some();
    let unknown = has_unknown.then(|| text_column(&rows.frame, "truth_unknown")).transpose()?;
    let mut trials: Vec<(Trial, Vec<SplitRecord>)> = Vec::new();
    for at in 0..rows.height {
        let (trial, split) = (rows.trial(at), &rows.split[at]);
        if trials.last().is_none_or(|(last, _)| *last != trial) {
            trials.push((trial, Vec::new()));
        }
        let splits = &mut trials.last_mut().expect("just pushed").1;
        if splits.last().is_none_or(|last| last.split != *split) {
            splits.push(SplitRecord {
                split: split.clone(),
                clips: Vec::new(),
                predictions: Predictions { n_classes: classes.len(), probabilities: Vec::new() },
                windows: None,
                curve: Vec::new(),
            });
        }
        let own = splits.last_mut().expect("just pushed");
        let label = |name: &str| classes.index(name).with_context(|| format!("`{name}` is not a class of the run"));
        let labels =
            |list: &str| list.split(';').filter(|name| !name.is_empty()).map(label).collect::<Result<Vec<usize>>>();
        let unknown = unknown.as_ref().map_or(Ok(Vec::new()), |unknown| labels(&unknown[at]))?;
        let truth = Labels::new(labels(&truths[at])?, unknown);
        own.clips.push(ClipTruth { path: rows.path[at].clone(), song: songs[at].clone(), truth });
        own.predictions.probabilities.extend(rows.row(at));
    }
    Ok(trials)
}

/// Adds the windows to the recordings, in the order of the recordings.
fn windows(path: &Path, classes: &Classes, trials: &mut [(Trial, Vec<SplitRecord>)]) -> Result<()> {
    let rows = rows(path, classes)?;
    let starts: Vec<f64> = rows.frame.column("start")?.f64()?.iter().map(Option::unwrap_or_default).collect();
    let mut of_recording: HashMap<(Trial, &str, &str), Vec<usize>> = HashMap::new();
    for at in 0..rows.height {
        let key = (rows.trial(at), rows.split[at].as_str(), rows.path[at].as_str());
        of_recording.entry(key).or_default().push(at);
    }
    for (trial, splits) in trials {
        for split in splits {
            let mut predictions = WindowPredictions {
                n_classes: classes.len(),
                probabilities: Vec::new(),
                bounds: vec![0],
                starts: Vec::new(),
            };
            for clip in &split.clips {
                let own = of_recording
                    .get(&(trial.clone(), split.split.as_str(), clip.path.as_str()))
                    .with_context(|| format!("no window of {} ({trial}, {})", clip.path, split.split))?;
                for &at in own {
                    predictions.probabilities.extend(rows.row(at));
                    predictions.starts.push(starts[at]);
                }
                predictions.bounds.push(predictions.starts.len());
            }
            split.windows = Some(predictions);
        }
    }
    Ok(())
}
