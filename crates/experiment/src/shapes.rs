//! What a feature of an experiment looks like before any recording is read: for networks, which are built for one shape.

use timbre_inputs::features::{ClipAnalysis, FeatureSpec};
use timbre_models::networks::InputShape;
use timbre_signal::audio::{AudioSpec, Clip};

/// Longer clips are not computed just to learn a shape.
const LONGEST: f64 = 600.0;

/// Bands and frames of the feature of a clip; nothing where clips differ in length, or the feature cannot be computed.
pub fn feature_shape(audio: &AudioSpec, feature: &FeatureSpec) -> Option<InputShape> {
    let seconds = audio.clip_seconds.filter(|&seconds| seconds > 0.0 && seconds <= LONGEST)?;
    let kind = feature.as_kind();
    if !kind.faults(audio.sample_rate).is_empty() {
        return None;
    }
    let frames = (seconds * f64::from(audio.sample_rate)).round() as usize;
    let silence = Clip { samples: vec![0.0; frames], sample_rate: audio.sample_rate };
    let matrix = kind.build(audio.sample_rate).ok()?.extract(&ClipAnalysis::new(&silence)).ok()?;
    Some(InputShape { channels: 1, height: matrix.rows, width: matrix.cols })
}
