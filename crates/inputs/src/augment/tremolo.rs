//! Tremolo: the level swings.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform;
use timbre_signal::dsp::modulation;

augment_spec! {
    /// The level swings.
    pub struct Tremolo {
        /// Swings a second. Default: 1 to 8.
        pub rate_hz: Amount = Amount::Range(1.0, 8.0),
        /// By how much the level goes down: 1 is down to silence. Default: 0.2 to 0.8.
        pub depth: Amount = Amount::Range(0.2, 0.8),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TremoloDraw {
    pub rate_hz: f64,
    pub depth: f64,
    /// Radians; 0 begins at full level.
    pub phase: f64,
}

impl AugmentKind for Tremolo {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("rate_hz", self.rate_hz.fault(0.001, 1000.0)), ("depth", self.depth.fault(0.0, 1.0))])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (rate_hz, depth) = (self.rate_hz.draw(rng), self.depth.draw(rng));
        Ok(vec![TremoloDraw { rate_hz, depth, phase: std::f64::consts::TAU * uniform(rng) }.into()])
    }
}

impl Effect for TremoloDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        modulation::tremolo(&mut sound.samples, self.rate_hz, self.depth, self.phase, sound.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::heard;

    #[test]
    fn the_level_goes_down_by_the_depth_and_comes_back() {
        let heard = heard(&TremoloDraw { rate_hz: 4.0, depth: 0.6, phase: 0.0 }, &[1.0; 2001]);
        for (n, expected) in [(0, 1.0), (1000, 0.4), (2000, 1.0), (500, 0.7)] {
            assert!((heard[n] - expected).abs() < 1e-5, "{n}: {}", heard[n]);
        }
    }
}
