//! The served models, each with a unique id.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::inference::{Prediction, PredictionCallback, Predictor, WeightedEnsemble};
use timbre_core::error::UserError;
use timbre_inputs::features::extraction::RecordingError;
use timbre_signal::audio::{DecodeLimits, RecordingSource};

/// The id of the ensemble of the models with weights.
pub const ENSEMBLE: &str = "ensemble";

/// A model or an ensemble.
pub struct ServedModel {
    pub id: String,
    source: Source,
}

enum Source {
    Model(Arc<Predictor>),
    Ensemble(WeightedEnsemble),
}

/// The models; the ensemble of those with a weight, if any, comes first. The first is the default. A model that uses one clip keeps
/// the whole recording in memory, so it has limits of its own.
pub fn served_models(
    models: Vec<(Predictor, Option<f64>)>,
    windows: DecodeLimits,
    clips: DecodeLimits,
) -> Result<Vec<ServedModel>> {
    ensure!(!models.is_empty(), UserError::usage("no model: name a run".to_owned()));
    let names: Vec<_> = models.iter().map(|(predictor, _)| predictor.name().clone()).collect();
    let short = |at: usize| format!("{}:{}", names[at].experiment, names[at].model);
    let long = |at: usize| {
        let signature: String = names[at].signature.chars().take(8).collect();
        format!("{}@{signature}:{}", names[at].experiment, names[at].model)
    };
    let ids: Vec<String> =
        (0..names.len())
            .map(|at| {
                if (0..names.len()).any(|other| other != at && short(other) == short(at)) {
                    long(at)
                } else {
                    short(at)
                }
            })
            .collect();
    let (mut served, mut weighted) = (Vec::new(), Vec::new());
    for ((predictor, weight), id) in models.into_iter().zip(ids) {
        ensure!(
            served.iter().all(|model: &ServedModel| model.id != id),
            UserError::usage(format!("{id} is named twice"))
        );
        let limits = if predictor.window().is_some() { windows } else { clips };
        let predictor = Arc::new(predictor.with_limits(limits).with_micro_batching()?);
        weighted.extend(weight.map(|weight| (predictor.clone(), weight)));
        served.push(ServedModel { id, source: Source::Model(predictor) });
    }
    if !weighted.is_empty() {
        served.insert(
            0,
            ServedModel { id: ENSEMBLE.to_owned(), source: Source::Ensemble(WeightedEnsemble::new(weighted)?) },
        );
    }
    Ok(served)
}

impl ServedModel {
    /// The model, or the member whose decision rule the ensemble uses.
    pub fn primary(&self) -> &Predictor {
        match &self.source {
            Source::Model(predictor) => predictor,
            Source::Ensemble(ensemble) => ensemble.first(),
        }
    }

    /// The members of an ensemble with their weights; empty for a model.
    pub fn members(&self) -> &[(Arc<Predictor>, f64)] {
        match &self.source {
            Source::Model(_) => &[],
            Source::Ensemble(ensemble) => ensemble.members(),
        }
    }

    pub fn is_ensemble(&self) -> bool {
        matches!(self.source, Source::Ensemble(_))
    }

    pub fn predict(
        &self,
        bytes: &[u8],
        extension: Option<&str>,
        mut callback: impl PredictionCallback,
    ) -> Result<Prediction, RecordingError> {
        match &self.source {
            Source::Model(predictor) => {
                predictor.predict_recording(RecordingSource::Bytes { bytes, extension }, Some(&mut callback))
            }
            Source::Ensemble(ensemble) => ensemble.predict(bytes, extension, callback),
        }
    }
}
