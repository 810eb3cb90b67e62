//! The models that are served, each under a name of its own.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::audio::Bounds;
use crate::precompute::LeftOut;
use crate::predictor::{Heard, Onlooker, Panel, Predictor, Recording, WhichModel};

/// What the models with weights are called together.
pub const ENSEMBLE: &str = "ensemble";

/// A model, or several that are heard as one.
pub struct Voice {
    pub id: String,
    speaker: Speaker,
}

enum Speaker {
    Model(Arc<Predictor>),
    Panel(Panel),
}

/// The models, and before them all the ensemble of those with a weight: the first is asked unless told. What one clip of a
/// recording is cut from is held as a whole, so clips have bounds of their own.
pub fn voices(models: Vec<(Predictor, Option<f64>)>, windows: Bounds, clips: Bounds) -> Result<Vec<Voice>> {
    ensure!(!models.is_empty(), WhichModel("no model is named: name a run".to_owned()));
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
        ensure!(voices.iter().all(|voice: &Voice| voice.id != id), WhichModel(format!("{id} is named twice")));
        let bounds = if predictor.window().is_some() { windows } else { clips };
        let predictor = Arc::new(predictor.within(bounds).asked_together()?);
        weighted.extend(weight.map(|weight| (predictor.clone(), weight)));
        voices.push(Voice { id, speaker: Speaker::Model(predictor) });
    }
    if !weighted.is_empty() {
        voices.insert(0, Voice { id: ENSEMBLE.to_owned(), speaker: Speaker::Panel(Panel::new(weighted)?) });
    }
    Ok(voices)
}

impl Voice {
    /// The model itself, or the one by whose rule the ensemble decides.
    pub fn lead(&self) -> &Predictor {
        match &self.speaker {
            Speaker::Model(predictor) => predictor,
            Speaker::Panel(panel) => panel.first(),
        }
    }

    /// The models of the ensemble with their weights; none of a model.
    pub fn members(&self) -> &[(Arc<Predictor>, f64)] {
        match &self.speaker {
            Speaker::Model(_) => &[],
            Speaker::Panel(panel) => panel.members(),
        }
    }

    pub fn is_ensemble(&self) -> bool {
        matches!(self.speaker, Speaker::Panel(_))
    }

    pub fn hear(&self, bytes: &[u8], extension: Option<&str>, mut onlooker: impl Onlooker) -> Result<Heard, LeftOut> {
        match &self.speaker {
            Speaker::Model(predictor) => {
                predictor.hear_recording(Recording::Bytes { bytes, extension }, Some(&mut onlooker))
            }
            Speaker::Panel(panel) => panel.hear(bytes, extension, onlooker),
        }
    }
}
