//! `gain`: makes the clip louder or softer. Samples are f32 and may exceed -1 to 1; nothing is clipped.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};

augment_spec! {
    /// Makes the clip louder or softer.
    pub struct Gain {
        /// Gain in decibels. Default: -6 to 6.
        pub db: Amount = Amount::Range(-6.0, 6.0),
    }

    pub struct GainDraw {
        pub db: f64,
    }
}

impl Kind for Gain {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("db", self.db.fault(-120.0, 120.0))])
    }
}

impl AugmentKind for Gain {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![GainDraw { db: self.db.draw(rng) }.into()])
    }
}

impl Effect for GainDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let factor = libm::pow(10.0, self.db / 20.0) as f32;
        clip.samples.iter_mut().for_each(|sample| *sample *= factor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    #[test]
    fn a_gain_of_six_decibels_doubles_the_samples() {
        let mut output = waveform(&[0.5, -0.25]);
        GainDraw { db: 20.0 * 2f64.log10() }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        assert!((output.samples[0] - 1.0).abs() < 1e-6 && (output.samples[1] + 0.5).abs() < 1e-6);
    }
}
