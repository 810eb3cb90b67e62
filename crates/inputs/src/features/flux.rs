//! `flux`: the spectral flux, the norm of the change of the magnitudes from one frame to the next. The first frame, which has
//! no predecessor, gets 0. librosa has only `onset_strength`, which measures the rise in decibels of mel bands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::framewise::{Image, OfSpectrogram};
use timbre_signal::dsp::stft::Spectrogram;

/// How the changes of the bins are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// The sum of absolute changes.
    L1,
    /// The root of the sum of squared changes.
    L2,
}

framewise_spec! {
    /// The spectral flux: one row, one column per frame.
    pub struct Flux {
        /// How the changes of the bins are added: "l1" (absolute values) or "l2" (root of the sum of squares, the default).
        pub norm: Norm = Norm::L2,
        /// Whether only rises count, so that ends of sounds do not. Default false.
        pub half_rectify: bool = false,
    }
}

of_spectrogram!("flux", Flux);

impl OfSpectrogram for Flux {
    fn image(&self, _sample_rate: u32) -> Image {
        let (norm, half_rectify) = (self.norm, self.half_rectify);
        Box::new(move |spectrogram| flux(spectrogram, norm, half_rectify))
    }
}

fn flux(spectrogram: &Spectrogram, norm: Norm, half_rectify: bool) -> Vec<f32> {
    let mut before = vec![0.0f32; spectrogram.bins];
    let least = if half_rectify { 0.0 } else { f64::NEG_INFINITY };
    let frames = spectrogram.power.chunks_exact(spectrogram.bins).enumerate();
    let of_frame = |(t, frame): (usize, &[f32])| {
        let mut sum = 0.0f64;
        for (before, power) in before.iter_mut().zip(frame) {
            let now = power.sqrt();
            let change = (f64::from(now) - f64::from(*before)).max(least);
            sum += if norm == Norm::L1 { change.abs() } else { change * change };
            *before = now;
        }
        let sum = if norm == Norm::L1 { sum } else { sum.sqrt() };
        if t == 0 { 0.0 } else { sum as f32 }
    };
    frames.map(of_frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flux_is_the_norm_of_the_change() {
        let spectrogram = Spectrogram { bins: 2, frames: 3, power: vec![1.0, 1.0, 16.0, 25.0, 0.0, 25.0] };
        assert_eq!(flux(&spectrogram, Norm::L2, false), [0.0, 5.0, 4.0]);
        assert_eq!(flux(&spectrogram, Norm::L1, false), [0.0, 7.0, 4.0]);
        assert_eq!(flux(&spectrogram, Norm::L1, true), [0.0, 7.0, 0.0]);
    }
}
