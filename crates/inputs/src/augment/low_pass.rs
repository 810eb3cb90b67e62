//! What lies above a frequency is taken away: a Butterworth low-pass.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{BandType, Filter};

augment_spec! {
    /// What lies above a frequency is taken away.
    pub struct LowPass {
        /// Where the filter takes 3 decibels, in Hz. Default: 500 to 8,000, every ratio as likely as its equals.
        pub cutoff_hz: Amount = Amount::Log(500.0, 8000.0),
        /// Order of the Butterworth filter, 1 to 16: 6 decibels an octave each. Default: 2.
        pub order: Amount = Amount::Fixed(2.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LowPassDraw {
    pub cutoff_hz: f64,
    pub order: usize,
}

impl AugmentKind for LowPass {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("cutoff_hz", self.cutoff_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("order", self.order.whole_fault(1.0, 16.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let cutoff_hz = self.cutoff_hz.draw(rng);
        Ok(vec![LowPassDraw { cutoff_hz, order: self.order.draw_whole(rng).max(1) as usize }.into()])
    }
}

impl Effect for LowPassDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let filter = Filter::butterworth(self.order.max(1), BandType::LowPass(self.cutoff_hz), sound.sample_rate);
        filter.run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::gain_at;

    #[test]
    fn the_treble_falls_by_six_decibels_an_octave_and_order() {
        let draw = LowPassDraw { cutoff_hz: 500.0, order: 3 };
        assert!((gain_at(&draw, 500.0) + 3.01).abs() < 0.02);
        assert!(gain_at(&draw, 60.0).abs() < 0.01);
        // The bilinear transform bends the slope down towards half the sample rate, hardly here.
        assert!((gain_at(&draw, 2000.0) - gain_at(&draw, 1000.0) + 18.0).abs() < 1.0);
    }
}
