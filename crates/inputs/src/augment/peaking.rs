//! A bell of frequencies louder or softer.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// A bell of frequencies becomes louder or softer.
    pub struct Peaking {
        /// The top of the bell, in Hz. Default: 100 to 8,000, every ratio as likely as its equals.
        pub centre_hz: Amount = Amount::Log(100.0, 8000.0),
        /// Decibels. Default: -12 to 12.
        pub gain_db: Amount = Amount::Range(-12.0, 12.0),
        /// How narrow the bell is: its centre by its width at half of the decibels. Default: 0.5 to 5.
        pub q: Amount = Amount::Range(0.5, 5.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeakingDraw {
    pub centre_hz: f64,
    pub gain_db: f64,
    pub q: f64,
}

impl AugmentKind for Peaking {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("centre_hz", self.centre_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("gain_db", self.gain_db.fault(-60.0, 60.0)),
            ("q", self.q.fault(0.05, 50.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (centre_hz, gain_db, q) = (self.centre_hz.draw(rng), self.gain_db.draw(rng), self.q.draw(rng));
        Ok(vec![PeakingDraw { centre_hz, gain_db, q }.into()])
    }
}

impl Effect for PeakingDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let section = Section::peaking(self.centre_hz, self.q, self.gain_db, sound.sample_rate);
        Filter::from_sections(vec![section]).run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::gain_at;

    #[test]
    fn the_bell_has_its_height_at_its_centre_and_half_of_it_at_its_width() {
        let draw = PeakingDraw { centre_hz: 1000.0, gain_db: 12.0, q: 2.0 };
        // Width 500 Hz: half the decibels at f with f - 1000²/f = ±500, as analogue filters have it.
        let (low, high) = ((-500.0 + 4.25e6f64.sqrt()) / 2.0, (500.0 + 4.25e6f64.sqrt()) / 2.0);
        for (hz, expected) in [(1000.0, 12.0), (low, 6.0), (high, 6.0), (20.0, 0.0), (10_900.0, 0.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.15, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
    }
}
