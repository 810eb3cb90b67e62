//! What is left of a clip that was stored at a lower sample rate.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::rate_reduction;

augment_spec! {
    /// The clip is brought down to a lower sample rate and back: its treble is lost, or mirrored into what remains.
    pub struct ResampleLoss {
        /// The lower rate in Hz. Default: 4,000 to 16,000, every ratio as likely as its equals.
        pub rate_hz: Amount = Amount::Log(4000.0, 16_000.0),
        /// Whether it is done without a filter, so that what lies above half the lower rate is mirrored below it. Default: false.
        pub aliasing: bool = false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResampleLossDraw {
    pub rate_hz: f64,
    pub aliasing: bool,
}

impl AugmentKind for ResampleLoss {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("rate_hz", self.rate_hz.fault(100.0, 384_000.0))])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![ResampleLossDraw { rate_hz: self.rate_hz.draw(rng), aliasing: self.aliasing }.into()])
    }
}

impl Effect for ResampleLossDraw {
    /// At a rate that is not lower, nothing is lost.
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        match self.aliasing {
            false => rate_reduction::band_limited(&mut sound.samples, self.rate_hz, sound.sample_rate),
            true => rate_reduction::aliased(&mut sound.samples, self.rate_hz, sound.sample_rate),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::{gain_at, heard, tone};

    #[test]
    fn the_treble_is_lost_without_aliasing_and_comes_back_elsewhere_with_it() {
        let clean = ResampleLossDraw { rate_hz: 8000.0, aliasing: false };
        assert!(gain_at(&clean, 3000.0).abs() < 0.01 && gain_at(&clean, 6000.0) < -80.0);
        let rough = ResampleLossDraw { rate_hz: 8000.0, aliasing: true };
        assert!(gain_at(&rough, 6000.0) > -12.0);
    }

    #[test]
    fn a_higher_rate_loses_nothing() {
        for aliasing in [false, true] {
            let draw = ResampleLossDraw { rate_hz: 8000.0, aliasing };
            assert_eq!(heard(&draw, &tone(100)), tone(100));
        }
    }
}
