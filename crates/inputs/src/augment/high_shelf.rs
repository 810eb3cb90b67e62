//! The treble louder or softer: a shelf.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// What lies above a frequency becomes louder or softer.
    pub struct HighShelf {
        /// Where half of the decibels are reached, in Hz. Default: 1,000 to 8,000, every ratio as likely as its equals.
        pub corner_hz: Amount = Amount::Log(1000.0, 8000.0),
        /// Decibels. Default: -12 to 12.
        pub gain_db: Amount = Amount::Range(-12.0, 12.0),
        /// Steepness; above 0.7071 the corner overshoots. Default: 0.7071.
        pub q: Amount = Amount::Fixed(std::f64::consts::FRAC_1_SQRT_2),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HighShelfDraw {
    pub corner_hz: f64,
    pub gain_db: f64,
    pub q: f64,
}

impl AugmentKind for HighShelf {
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
        Ok(vec![HighShelfDraw { corner_hz, gain_db, q }.into()])
    }
}

impl Effect for HighShelfDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let section = Section::high_shelf(self.corner_hz, self.q, self.gain_db, sound.sample_rate);
        Filter::from_sections(vec![section]).run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::gain_at;

    #[test]
    fn the_treble_is_lowered_and_the_bass_is_not() {
        let draw = HighShelfDraw { corner_hz: 1500.0, gain_db: -9.0, q: std::f64::consts::FRAC_1_SQRT_2 };
        for (hz, expected) in [(100.0, 0.0), (1500.0, -4.5), (10_500.0, -9.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.05, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
    }
}
