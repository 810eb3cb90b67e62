//! The shape of a feature before any recording is read: networks are built for one input shape.

use timbre_inputs::features::FeatureSpec;
use timbre_models::networks::InputShape;
use timbre_signal::audio::AudioSpec;

/// Channels, bands and frames of the feature of a clip; `None` if clips differ in length, or if the feature cannot be computed.
pub fn feature_shape(audio: &AudioSpec, feature: &FeatureSpec) -> Option<InputShape> {
    let samples = audio.clip_samples().filter(|&samples| samples > 0)?;
    let kind = feature.as_kind();
    if !kind.faults(audio.sample_rate).is_empty() {
        return None;
    }
    InputShape::of(feature, samples)
}
