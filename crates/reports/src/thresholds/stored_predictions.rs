//! What the units of a finished run said, from its tables: `predictions.parquet`, and `windows.parquet` where there is one.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use polars::prelude::{DataFrame, ParquetReader, SerReader};

use timbre_core::error::UserError;
use timbre_core::labels::Classes;
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_runs::run_dir::{ClipTruth, SplitRecord, Table, Trial};
use timbre_runs::tables::class_column;

/// Every unit with its sides, in the order of the tables.
pub fn read_trials(run: &Path, classes: &Classes) -> Result<Vec<(Trial, Vec<SplitRecord>)>> {
    let path = run.join(Table::Predictions.file());
    let mut units = predictions(&path, classes).with_context(|| format!("cannot read {}", path.display()))?;
    let path = run.join(Table::Windows.file());
    if path.is_file() {
        windows(&path, classes, &mut units).with_context(|| format!("cannot read {}", path.display()))?;
    }
    if units.is_empty() {
        bail!(UserError::usage(format!("{} has no unit that was fitted", run.display())));
    }
    Ok(units)
}

struct Rows {
    height: usize,
    features: Vec<String>,
    model: Vec<String>,
    seed: Vec<u64>,
    split: Vec<String>,
    path: Vec<String>,
    /// A column a class.
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
        features: words(&frame, "features")?,
        model: words(&frame, "model")?,
        seed: frame.column("seed")?.u64()?.iter().map(Option::unwrap_or_default).collect(),
        split: words(&frame, "split")?,
        path: words(&frame, "path")?,
        probabilities,
        frame,
    })
}

fn words(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    Ok(frame.column(name)?.str()?.iter().map(|word| word.unwrap_or_default().to_owned()).collect())
}

impl Rows {
    fn unit(&self, row: usize) -> Trial {
        Trial { features: self.features[row].clone(), model: self.model[row].clone(), seed: self.seed[row] }
    }

    fn row(&self, row: usize) -> impl Iterator<Item = f32> {
        self.probabilities.iter().map(move |column| column[row])
    }
}

fn predictions(path: &Path, classes: &Classes) -> Result<Vec<(Trial, Vec<SplitRecord>)>> {
    let rows = rows(path, classes)?;
    let (songs, truths) = (words(&rows.frame, "song")?, words(&rows.frame, "truth")?);
    let mut units: Vec<(Trial, Vec<SplitRecord>)> = Vec::new();
    for at in 0..rows.height {
        let (unit, split) = (rows.unit(at), &rows.split[at]);
        if units.last().is_none_or(|(last, _)| *last != unit) {
            units.push((unit, Vec::new()));
        }
        let splits = &mut units.last_mut().expect("just pushed").1;
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
        let label = |name: &str| classes.index(name).with_context(|| format!("`{name}` is no class of the run"));
        let truth = truths[at].split(';').filter(|name| !name.is_empty()).map(label).collect::<Result<_>>()?;
        own.clips.push(ClipTruth { path: rows.path[at].clone(), song: songs[at].clone(), truth });
        own.predictions.probabilities.extend(rows.row(at));
    }
    Ok(units)
}

/// Puts the windows beside the recordings, whose order they follow whatever theirs is.
fn windows(path: &Path, classes: &Classes, units: &mut [(Trial, Vec<SplitRecord>)]) -> Result<()> {
    let rows = rows(path, classes)?;
    let starts: Vec<f64> = rows.frame.column("start")?.f64()?.iter().map(Option::unwrap_or_default).collect();
    let mut of_recording: HashMap<(Trial, &str, &str), Vec<usize>> = HashMap::new();
    for at in 0..rows.height {
        let key = (rows.unit(at), rows.split[at].as_str(), rows.path[at].as_str());
        of_recording.entry(key).or_default().push(at);
    }
    for (unit, splits) in units {
        for split in splits {
            let mut heard = WindowPredictions {
                n_classes: classes.len(),
                probabilities: Vec::new(),
                bounds: vec![0],
                starts: Vec::new(),
            };
            for clip in &split.clips {
                let own = of_recording
                    .get(&(unit.clone(), split.split.as_str(), clip.path.as_str()))
                    .with_context(|| format!("there is no window of {} ({unit}, {})", clip.path, split.split))?;
                for &at in own {
                    heard.probabilities.extend(rows.row(at));
                    heard.starts.push(starts[at]);
                }
                heard.bounds.push(heard.starts.len());
            }
            split.windows = Some(heard);
        }
    }
    Ok(())
}
