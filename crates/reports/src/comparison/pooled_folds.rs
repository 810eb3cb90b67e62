//! Pools the folds of a cross-validation: seed k tests fold k, so the predictions of all seeds together are those of one model for
//! every recording, and are compared as such.

use super::run::TrialPredictions;
use timbre_evaluation::predictions::WindowPredictions;
use timbre_runs::run_dir::SplitRecord;

/// One trial per model, with the predictions of all its seeds on `split`. Other splits of the seeds overlap and are dropped.
pub fn pooled(trials: Vec<TrialPredictions>, split: &str) -> Vec<TrialPredictions> {
    let mut all: Vec<TrialPredictions> = Vec::new();
    for (trial, splits) in trials {
        let own: Vec<SplitRecord> = splits.into_iter().filter(|record| record.split == split).collect();
        let same =
            |(known, _): &&mut TrialPredictions| (&known.features, &known.model) == (&trial.features, &trial.model);
        match all.iter_mut().find(same) {
            None => all.push((trial, own)),
            Some((_, pooled)) => {
                for record in own {
                    match pooled.first_mut() {
                        Some(first) => append(first, record),
                        None => pooled.push(record),
                    }
                }
            }
        }
    }
    all
}

/// Appends the recordings of `other`.
fn append(record: &mut SplitRecord, other: SplitRecord) {
    record.clips.extend(other.clips);
    record.predictions.probabilities.extend(other.predictions.probabilities);
    record.windows = match (record.windows.take(), other.windows) {
        (Some(mut own), Some(other)) => {
            let WindowPredictions { probabilities, bounds, starts, .. } = other;
            let before = own.starts.len();
            own.bounds.extend(bounds.iter().skip(1).map(|bound| before + bound));
            own.probabilities.extend(probabilities);
            own.starts.extend(starts);
            Some(own)
        }
        _ => None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::labels::Labels;
    use timbre_evaluation::predictions::Predictions;
    use timbre_runs::run_dir::{ClipTruth, Trial};

    fn fold(seed: u64, split: &str, clips: &[&str], windows: &[usize]) -> TrialPredictions {
        let clip = |path: &&str| ClipTruth { path: (*path).into(), song: (*path).into(), truth: Labels::from(vec![0]) };
        let starts: Vec<Vec<f64>> = windows.iter().map(|&n| (0..n).map(|at| at as f64).collect()).collect();
        let rows = |n: usize| Predictions { n_classes: 2, probabilities: vec![seed as f32 / 10.0; 2 * n] };
        let record = SplitRecord {
            split: split.into(),
            clips: clips.iter().map(clip).collect(),
            predictions: rows(clips.len()),
            windows: Some(WindowPredictions::new(rows(windows.iter().sum()), &starts)),
            curve: Vec::new(),
        };
        (Trial { features: "mel".into(), model: "knn".into(), seed }, vec![record])
    }

    #[test]
    fn folds_become_one_trial_with_every_recording_and_its_windows() {
        let trials = vec![fold(1, "test", &["a", "b"], &[2, 1]), fold(2, "test", &["c"], &[3])];
        let all = pooled(trials, "test");
        assert_eq!(all.len(), 1);
        let record = &all[0].1[0];
        let paths: Vec<&str> = record.clips.iter().map(|clip| clip.path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "c"]);
        assert_eq!(record.predictions.probabilities, [0.1, 0.1, 0.1, 0.1, 0.2, 0.2]);
        let windows = record.windows.as_ref().unwrap();
        assert_eq!(windows.bounds, [0, 2, 3, 6]);
        assert_eq!((windows.starts.len(), windows.probabilities.len()), (6, 12));
        assert!(pooled(vec![fold(1, "validation", &["a"], &[1])], "test")[0].1.is_empty());
    }
}
