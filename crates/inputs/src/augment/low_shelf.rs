//! The bass louder or softer: a shelf.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// What lies below a frequency becomes louder or softer.
    pub struct LowShelf {
        /// Where half of the decibels are reached, in Hz. Default: 50 to 500, every ratio as likely as its equals.
        pub corner_hz: Amount = Amount::Log(50.0, 500.0),
        /// Decibels. Default: -12 to 12.
        pub gain_db: Amount = Amount::Range(-12.0, 12.0),
        /// Steepness; above 0.7071 the corner overshoots. Default: 0.7071.
        pub q: Amount = Amount::Fixed(std::f64::consts::FRAC_1_SQRT_2),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LowShelfDraw {
    pub corner_hz: f64,
    pub gain_db: f64,
    pub q: f64,
}

impl AugmentKind for LowShelf {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("corner_hz", self.corner_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("gain_db", self.gain_db.fault(-60.0, 60.0)),
            ("q", self.q.fault(0.05, 50.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (corner_hz, gain_db, q) = (self.corner_hz.draw(rng), self.gain_db.draw(rng), self.q.draw(rng));
        Ok(vec![LowShelfDraw { corner_hz, gain_db, q }.into()])
    }
}

impl Effect for LowShelfDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let section = Section::low_shelf(self.corner_hz, self.q, self.gain_db, sound.sample_rate);
        Filter::from_sections(vec![section]).run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::gain_at;

    #[test]
    fn the_bass_is_lifted_and_the_treble_is_not() {
        let draw = LowShelfDraw { corner_hz: 500.0, gain_db: 6.0, q: std::f64::consts::FRAC_1_SQRT_2 };
        for (hz, expected) in [(40.0, 6.0), (500.0, 3.0), (6000.0, 0.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.05, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
    }
}
