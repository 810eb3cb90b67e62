//! An ensemble of models of any runs: the weighted mean of their probabilities.
//!
//! An experiment's own ensemble is fused and scored in its run (`classic/ensemble.rs`); this one is defined by the command line
//! of `timbre serve` and has no scores. Each model predicts the recording with its own features, and the probabilities of the
//! same window are averaged. The decision rule is that of the first model.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::{Prediction, PredictionCallback, Predictor, Timings, UsedPart};
use timbre_core::error::UserError;
use timbre_evaluation::predictions::WindowPredictions;
use timbre_inputs::features::extraction::RecordingError;
use timbre_signal::audio::RecordingSource;

/// Two or more models with weights.
pub struct WeightedEnsemble {
    /// The weights sum to 1.
    members: Vec<(Arc<Predictor>, f64)>,
}

impl WeightedEnsemble {
    pub fn new(members: Vec<(Arc<Predictor>, f64)>) -> Result<WeightedEnsemble> {
        ensure!(members.len() > 1, UserError::usage("an ensemble needs two models or more: give a weight to each"));
        let sum: f64 = members.iter().map(|(_, weight)| weight).sum();
        ensure!(
            members.iter().all(|(_, weight)| weight.is_finite() && *weight >= 0.0) && sum > 0.0 && sum.is_finite(),
            UserError::usage("weights must be 0 or more, and at least one more than 0")
        );
        let first = &members[0].0;
        for (other, _) in &members[1..] {
            let differ = |what: &str| UserError::usage(format!("{} and {} {what}", first.name(), other.name()));
            ensure!(other.classes == first.classes, differ("have different classes: they cannot form an ensemble"));
            ensure!(
                (other.window, other.audio.sample_rate) == (first.window, first.audio.sample_rate),
                differ("have different windows or sample rates: they cannot form an ensemble")
            );
        }
        Ok(WeightedEnsemble { members: members.into_iter().map(|(member, weight)| (member, weight / sum)).collect() })
    }

    /// The models with their weights, which sum to 1.
    pub fn members(&self) -> &[(Arc<Predictor>, f64)] {
        &self.members
    }

    /// The first model, whose decision rule the ensemble uses.
    pub fn first(&self) -> &Predictor {
        &self.members[0].0
    }

    /// [`Predictor::predict_recording`] with each model in turn.
    pub fn predict(
        &self,
        bytes: &[u8],
        extension: Option<&str>,
        mut callback: impl PredictionCallback,
    ) -> Result<Prediction, RecordingError> {
        let mut all = Vec::with_capacity(self.members.len());
        for (member, weight) in &self.members {
            let recording = RecordingSource::Bytes { bytes, extension };
            all.push((member.predict_recording(recording, Some(&mut callback))?, *weight));
        }
        Ok(self.average(&all))
    }

    fn average(&self, all: &[(Prediction, f64)]) -> Prediction {
        let first = &all[0].0;
        let windows = first.windows.as_ref().map(|windows| {
            let probabilities = mean(all.iter().map(|(prediction, weight)| {
                let windows = prediction.windows.as_ref().expect("all members use the same windows");
                (&windows.probabilities[..], *weight)
            }));
            WindowPredictions { probabilities, ..windows.clone() }
        });
        let probabilities = match &windows {
            Some(windows) => self.first().decision_rule_for(Some(windows)).decide_windows(windows).scores.probabilities,
            None => mean(all.iter().map(|(prediction, weight)| (&prediction.probabilities[..], *weight))),
        };
        let sum = |stage: fn(&Timings) -> f64| all.iter().map(|(prediction, _)| stage(&prediction.timings)).sum();
        let timings = Timings { decode: sum(|t| t.decode), features: sum(|t| t.features), model: sum(|t| t.model) };
        // Members may have clips of different lengths.
        let longest = |a: UsedPart, b: UsedPart| if b.seconds > a.seconds { b } else { a };
        let used = all.iter().map(|(prediction, _)| prediction.used).reduce(longest).expect("there are members");
        // As in an ensemble of one run: the recording is like what one of the members knows.
        let training_distance = all.iter().filter_map(|(prediction, _)| prediction.training_distance).reduce(f64::min);
        Prediction {
            probabilities,
            windows,
            seconds: first.seconds,
            cut_off: first.cut_off,
            used,
            training_distance,
            timings,
        }
    }
}

/// The element-wise weighted mean, summed in f64.
fn mean<'a>(rows: impl Iterator<Item = (&'a [f32], f64)>) -> Vec<f32> {
    let mut sums: Vec<f64> = Vec::new();
    for (row, weight) in rows {
        sums.resize(row.len(), 0.0);
        sums.iter_mut().zip(row).for_each(|(sum, &p)| *sum += weight * f64::from(p));
    }
    // The weights sum to 1 only up to rounding.
    sums.into_iter().map(|sum| (sum as f32).clamp(0.0, 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_mean_lies_between_its_rows(
            rows in prop::collection::vec(prop::collection::vec(0.0f32..=1.0, 3), 1..5), share in 0.0f64..=1.0,
        ) {
            let n = rows.len() as f64;
            let weights: Vec<f64> = if rows.len() == 2 { vec![share, 1.0 - share] } else { vec![1.0 / n; rows.len()] };
            let found = mean(rows.iter().map(|row| &row[..]).zip(weights.iter().copied()));
            for (class, p) in found.iter().enumerate() {
                let column = rows.iter().map(|row| row[class]);
                let (least, most) = column.fold((1.0f32, 0.0f32), |(a, b), p| (a.min(p), b.max(p)));
                prop_assert!((least - 1e-6..=most + 1e-6).contains(p), "{p} in {rows:?}");
                let slow: f64 = rows.iter().zip(&weights).map(|(row, weight)| weight * f64::from(row[class])).sum();
                prop_assert!((f64::from(*p) - slow).abs() < 1e-6);
            }
        }
    }
}
