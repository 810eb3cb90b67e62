//! Reads and writes window predictions: `units/<trial>.windows`, a binary file beside the record of a trial.
//!
//! A few million numbers take no time in binary, and most of a minute as text. For each subset, in little-endian: the numbers of
//! classes, recordings and windows (u64), the bounds of each recording in the list of windows (u64), the start of each window in
//! seconds (f64), the probabilities (f32). The record of the trial holds the hash of the file and is written after it: a file
//! without such a record is ignored.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{RunDir, SplitRecord, Trial, TrialRecord, trial_file, trials_folder};
use timbre_core::files;
use timbre_evaluation::predictions::WindowPredictions;

impl RunDir {
    fn windows_path(&self, trial: &Trial) -> PathBuf {
        windows_path(self.path(), trial)
    }

    /// Writes the window predictions, before the record of the trial. Returns the hash for the record; None where recordings
    /// were not predicted in windows.
    pub fn write_windows(&self, trial: &Trial, splits: &[SplitRecord]) -> Result<Option<String>> {
        let predicted: Vec<&WindowPredictions> = splits.iter().filter_map(|split| split.windows.as_ref()).collect();
        if predicted.is_empty() {
            return Ok(None);
        }
        // An older record must not refer to newer windows.
        let _ = fs::remove_file(trial_file(self.path(), trial));
        let mut bytes = Vec::new();
        for windows in predicted {
            let sizes = [windows.n_classes, windows.len(), windows.starts.len()];
            let whole = sizes.iter().chain(&windows.bounds).map(|&n| n as u64);
            whole.for_each(|n| bytes.extend(n.to_le_bytes()));
            windows.starts.iter().for_each(|start| bytes.extend(start.to_le_bytes()));
            windows.probabilities.iter().for_each(|p| bytes.extend(p.to_le_bytes()));
        }
        files::write_bytes(&self.windows_path(trial), &bytes)?;
        Ok(Some(blake3::hash(&bytes).to_hex().to_string()))
    }
}

fn windows_path(run: &Path, trial: &Trial) -> PathBuf {
    trials_folder(run).join(format!("{trial}.windows"))
}

/// Adds the window predictions to a record; None if the file does not have the hash of the record.
pub(super) fn with_windows(run: &Path, mut record: TrialRecord) -> Option<TrialRecord> {
    let Some(hash) = &record.windows_hash else { return Some(record) };
    let bytes = fs::read(windows_path(run, &record.trial)).ok()?;
    if blake3::hash(&bytes).to_hex().as_str() != hash {
        return None;
    }
    let mut left = bytes.as_slice();
    for split in &mut record.splits {
        split.windows = Some(parse(&mut left).filter(|windows| windows.len() == split.clips.len())?);
    }
    left.is_empty().then_some(record)
}

fn parse(left: &mut &[u8]) -> Option<WindowPredictions> {
    let n_classes = take(left, 1, u64::from_le_bytes)?[0] as usize;
    let [recordings, windows] = take(left, 2, u64::from_le_bytes)?[..] else { return None };
    let (recordings, windows) = (recordings as usize, windows as usize);
    let bounds = take(left, recordings.checked_add(1)?, u64::from_le_bytes)?.into_iter().map(|n| n as usize).collect();
    let starts = take(left, windows, f64::from_le_bytes)?;
    let probabilities = take(left, windows.checked_mul(n_classes)?, f32::from_le_bytes)?;
    Some(WindowPredictions { n_classes, probabilities, bounds, starts })
}

/// Takes the next `n` numbers.
fn take<const SIZE: usize, T>(left: &mut &[u8], n: usize, number: fn([u8; SIZE]) -> T) -> Option<Vec<T>> {
    let (head, rest) = left.split_at_checked(n.checked_mul(SIZE)?)?;
    *left = rest;
    let (words, _) = head.as_chunks::<SIZE>();
    Some(words.iter().map(|&word| number(word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::{ClipTruth, Opened, read_trial};
    use timbre_evaluation::predictions::Predictions;

    fn trial() -> Trial {
        Trial { features: "mel".into(), model: "knn".into(), seed: 1 }
    }

    fn split(name: &str, counts: &[usize]) -> SplitRecord {
        let clip = |n: usize| ClipTruth { path: n.to_string(), song: n.to_string(), truth: vec![0].into() };
        let starts: Vec<Vec<f64>> = counts.iter().map(|&n| (0..n).map(|w| w as f64 / 3.0).collect()).collect();
        let probabilities = (0..2 * counts.iter().sum::<usize>()).map(|n| 1.0 / (n as f32 + 1.0)).collect();
        let windows = WindowPredictions::new(Predictions { n_classes: 2, probabilities }, &starts);
        SplitRecord {
            split: name.to_owned(),
            clips: (0..counts.len()).map(clip).collect(),
            predictions: Predictions { n_classes: 2, probabilities: vec![0.5; 2 * counts.len()] },
            windows: Some(windows),
            curve: Vec::new(),
        }
    }

    /// A run folder with one trial.
    fn written() -> (tempfile::TempDir, RunDir, TrialRecord) {
        let runs = tempfile::tempdir().unwrap();
        let Opened::ToDo(dir) = RunDir::open(runs.path(), "x", "0123456789abcdef", false).unwrap() else {
            panic!("the folder is new")
        };
        let splits = vec![split("validation", &[1, 1]), split("test", &[3, 1, 18])];
        let record = TrialRecord {
            trial: trial(),
            trained_on: vec![1, 1],
            windows_hash: dir.write_windows(&trial(), &splits).unwrap(),
            splits,
            epochs: Vec::new(),
            search: None,
            notes: Default::default(),
            fit_seconds: 0.0,
            predict_seconds: 0.0,
        };
        dir.write_trial(&record).unwrap();
        (runs, dir, record)
    }

    #[test]
    fn window_predictions_are_read_back_to_the_bit() {
        let (_runs, dir, record) = written();
        assert_eq!(read_trial(dir.path(), &trial()), Some(record));
    }

    #[test]
    fn a_trial_with_missing_or_damaged_windows_is_not_finished() {
        let (_runs, dir, record) = written();
        let path = dir.windows_path(&trial());
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &[]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(dir.read_trial(&trial()), None);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(dir.read_trial(&trial()), None);
        fs::write(&path, whole).unwrap();
        assert_eq!(dir.read_trial(&trial()), Some(record.clone()));
        // A kill between the windows and the record leaves no record: the old one is gone.
        dir.write_windows(&trial(), &record.splits).unwrap();
        assert_eq!(dir.read_trial(&trial()), None);
    }
}
