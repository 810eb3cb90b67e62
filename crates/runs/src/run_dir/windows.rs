//! What models said of windows, in a binary file beside the record of a unit: `units/<unit>.windows`.
//!
//! A few million numbers are nothing in f32, and most of a minute as text. For each side of the split: the numbers of classes,
//! recordings and windows (u64), where the windows of each recording begin and end in the list (u64), where they begin in their
//! recordings in seconds (f64), the probabilities (f32); all little-endian. The record of the unit holds the hash of the
//! file, and is written after it: a file without a record that names it counts for nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{RunDir, SplitRecord, Trial, TrialRecord};
use timbre_core::files;
use timbre_evaluation::predictions::WindowPredictions;

impl RunDir {
    fn windows_path(&self, unit: &Trial) -> PathBuf {
        windows_path(self.path(), unit)
    }

    /// Writes what was said of windows, before the record of the unit, and gives the hash that the record keeps; nothing where
    /// recordings were not heard in windows.
    pub fn write_windows(&self, unit: &Trial, splits: &[SplitRecord]) -> Result<Option<String>> {
        let heard: Vec<&WindowPredictions> = splits.iter().filter_map(|split| split.windows.as_ref()).collect();
        if heard.is_empty() {
            return Ok(None);
        }
        // An older record must not come to stand beside newer windows.
        let _ = fs::remove_file(self.trial_path(unit));
        let mut bytes = Vec::new();
        for windows in heard {
            let sizes = [windows.n_classes, windows.len(), windows.starts.len()];
            let whole = sizes.iter().chain(&windows.bounds).map(|&n| n as u64);
            whole.for_each(|n| bytes.extend(n.to_le_bytes()));
            windows.starts.iter().for_each(|start| bytes.extend(start.to_le_bytes()));
            windows.probabilities.iter().for_each(|p| bytes.extend(p.to_le_bytes()));
        }
        files::write_bytes(&self.windows_path(unit), &bytes)?;
        Ok(Some(blake3::hash(&bytes).to_hex().to_string()))
    }
}

fn windows_path(run: &Path, unit: &Trial) -> PathBuf {
    run.join("units").join(format!("{unit}.windows"))
}

/// Puts the windows back into a record that was read; nothing where the file is not the one that it names.
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

/// The next `n` numbers.
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

    fn unit() -> Trial {
        Trial { features: "mel".into(), model: "knn".into(), seed: 1 }
    }

    fn heard(name: &str, counts: &[usize]) -> SplitRecord {
        let clip = |n: usize| ClipTruth { path: n.to_string(), song: n.to_string(), truth: vec![0] };
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

    /// A folder with one unit in it, and the unit.
    fn written() -> (tempfile::TempDir, RunDir, TrialRecord) {
        let runs = tempfile::tempdir().unwrap();
        let Opened::ToDo(dir) = RunDir::open(runs.path(), "x", "0123456789abcdef", false).unwrap() else {
            panic!("the folder is new")
        };
        let splits = vec![heard("validation", &[1, 1]), heard("test", &[3, 1, 18])];
        let record = TrialRecord {
            trial: unit(),
            trained_on: vec![1, 1],
            windows_hash: dir.write_windows(&unit(), &splits).unwrap(),
            splits,
            epochs: Vec::new(),
            notes: Default::default(),
            fit_seconds: 0.0,
            predict_seconds: 0.0,
        };
        dir.write_trial(&record).unwrap();
        (runs, dir, record)
    }

    #[test]
    fn what_was_said_of_windows_is_read_back_to_the_bit() {
        let (_runs, dir, record) = written();
        assert_eq!(read_trial(dir.path(), &unit()), Some(record));
    }

    #[test]
    fn a_unit_without_its_windows_or_with_damaged_ones_is_not_done() {
        let (_runs, dir, record) = written();
        let path = dir.windows_path(&unit());
        let whole = fs::read(&path).unwrap();
        for damaged in [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &[]] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(dir.read_trial(&unit()), None);
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(dir.read_trial(&unit()), None);
        fs::write(&path, whole).unwrap();
        assert_eq!(dir.read_trial(&unit()), Some(record.clone()));
        // Killed between the windows and the record: the old record is gone, and cannot name the new windows.
        dir.write_windows(&unit(), &record.splits).unwrap();
        assert_eq!(dir.read_trial(&unit()), None);
    }
}
