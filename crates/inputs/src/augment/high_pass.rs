//! What lies below a frequency is taken away: a Butterworth high-pass.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{BandType, Filter};

augment_spec! {
    /// What lies below a frequency is taken away.
    pub struct HighPass {
        /// Where the filter takes 3 decibels, in Hz. Default: 20 to 2,000, every ratio as likely as its equals.
        pub cutoff_hz: Amount = Amount::Log(20.0, 2000.0),
        /// Order of the Butterworth filter, 1 to 16: 6 decibels an octave each. Default: 2.
        pub order: Amount = Amount::Fixed(2.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HighPassDraw {
    pub cutoff_hz: f64,
    pub order: usize,
}

impl AugmentKind for HighPass {
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
        Ok(vec![HighPassDraw { cutoff_hz, order: self.order.draw_whole(rng).max(1) as usize }.into()])
    }
}

impl Effect for HighPassDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let filter = Filter::butterworth(self.order.max(1), BandType::HighPass(self.cutoff_hz), sound.sample_rate);
        filter.run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::gain_at;

    #[test]
    fn the_bass_falls_by_six_decibels_an_octave_and_order() {
        let draw = HighPassDraw { cutoff_hz: 1000.0, order: 2 };
        assert!((gain_at(&draw, 1000.0) + 3.01).abs() < 0.02);
        assert!(gain_at(&draw, 8000.0).abs() < 0.01);
        assert!((gain_at(&draw, 100.0) - gain_at(&draw, 200.0) + 12.0).abs() < 0.2);
    }
}
