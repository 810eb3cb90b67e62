//! The models that are served, each under a name of its own.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::inference::{Prediction, PredictionCallback, Predictor, RecordingSource, WeightedEnsemble};
use timbre_core::error::UserError;
use timbre_inputs::features::extraction::RecordingError;
use timbre_signal::audio::DecodeLimits;

/// What the models with weights are called together.
pub const ENSEMBLE: &str = "ensemble";

/// A model, or several that are heard as one.
pub struct ServedModel {
    pub id: String,
    speaker: Speaker,
}

enum Speaker {
    Model(Arc<Predictor>),
    WeightedEnsemble(WeightedEnsemble),
}

/// The models, and before them all the ensemble of those with a weight: the first is asked unless told. What one clip of a
/// recording is cut from is held as a whole, so clips have bounds of their own.
pub fn voices(
    models: Vec<(Predictor, Option<f64>)>,
    windows: DecodeLimits,
    clips: DecodeLimits,
) -> Result<Vec<ServedModel>> {
    ensure!(!models.is_empty(), UserError::usage("no model is named: name a run".to_owned()));
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
    let (mut voices, mut weighted) = (Vec::new(), Vec::new());
    for ((predictor, weight), id) in models.into_iter().zip(ids) {
        ensure!(
            voices.iter().all(|voice: &ServedModel| voice.id != id),
            UserError::usage(format!("{id} is named twice"))
        );
        let bounds = if predictor.window().is_some() { windows } else { clips };
        let predictor = Arc::new(predictor.within(bounds).with_micro_batching()?);
        weighted.extend(weight.map(|weight| (predictor.clone(), weight)));
        voices.push(ServedModel { id, speaker: Speaker::Model(predictor) });
    }
    if !weighted.is_empty() {
        voices.insert(
            0,
            ServedModel {
                id: ENSEMBLE.to_owned(),
                speaker: Speaker::WeightedEnsemble(WeightedEnsemble::new(weighted)?),
            },
        );
    }
    Ok(voices)
}

impl ServedModel {
    /// The model itself, or the one by whose rule the ensemble decides.
    pub fn lead(&self) -> &Predictor {
        match &self.speaker {
            Speaker::Model(predictor) => predictor,
            Speaker::WeightedEnsemble(panel) => panel.first(),
        }
    }

    /// The models of the ensemble with their weights; none of a model.
    pub fn members(&self) -> &[(Arc<Predictor>, f64)] {
        match &self.speaker {
            Speaker::Model(_) => &[],
            Speaker::WeightedEnsemble(panel) => panel.members(),
        }
    }

    pub fn is_ensemble(&self) -> bool {
        matches!(self.speaker, Speaker::WeightedEnsemble(_))
    }

    pub fn predict(
        &self,
        bytes: &[u8],
        extension: Option<&str>,
        mut onlooker: impl PredictionCallback,
    ) -> Result<Prediction, RecordingError> {
        match &self.speaker {
            Speaker::Model(predictor) => {
                predictor.predict_recording(RecordingSource::Bytes { bytes, extension }, Some(&mut onlooker))
            }
            Speaker::WeightedEnsemble(panel) => panel.predict(bytes, extension, onlooker),
        }
    }
}
