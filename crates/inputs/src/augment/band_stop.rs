//! A band of frequencies is taken away: a Butterworth band-stop.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_signal::dsp::iir::{BandType, Filter};

augment_spec! {
    /// A band of frequencies is taken away.
    pub struct BandStop {
        /// The middle of the band (of the logarithm of frequency), in Hz. Default: 200 to 4,000, every ratio as likely as its equals.
        pub centre_hz: Amount = Amount::Log(200.0, 4000.0),
        /// Octaves from corner to corner, where the filter takes 3 decibels. Default: 0.5 to 2.
        pub octaves: Amount = Amount::Range(0.5, 2.0),
        /// Order of the Butterworth filter, 1 to 16: 6 decibels an octave each, on both sides. Default: 2.
        pub order: Amount = Amount::Fixed(2.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BandStopDraw {
    pub centre_hz: f64,
    pub octaves: f64,
    pub order: usize,
}

impl AugmentKind for BandStop {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        faults_of([
            ("centre_hz", self.centre_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("octaves", self.octaves.fault(0.01, 12.0)),
            ("order", self.order.whole_fault(1.0, 16.0)),
        ])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (centre_hz, octaves) = (self.centre_hz.draw(rng), self.octaves.draw(rng));
        Ok(vec![BandStopDraw { centre_hz, octaves, order: self.order.draw_whole(rng).max(1) as usize }.into()])
    }
}

impl Effect for BandStopDraw {
    /// A corner beyond half the sample rate is kept just below it.
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let half = libm::exp2(self.octaves / 2.0);
        let pass = BandType::BandStop(self.centre_hz / half, self.centre_hz * half);
        Filter::butterworth(self.order.max(1), pass, sound.sample_rate).run(&mut sound.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::probe::gain_at;

    #[test]
    fn a_band_is_missing_and_its_corners_are_three_decibels_down() {
        let draw = BandStopDraw { centre_hz: 1000.0, octaves: 1.0, order: 2 };
        let corner = 2f64.sqrt();
        for (hz, expected) in [(1000.0 / corner, -3.01), (1000.0 * corner, -3.01), (60.0, 0.0), (8000.0, 0.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.1, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
        assert!(gain_at(&draw, 1000.0) < -40.0);
    }
}
