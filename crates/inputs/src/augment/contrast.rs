//! `contrast`: makes a clip sound louder and brighter without a higher peak, as the effect of the same name in SoX.

use std::f32::consts::{FRAC_PI_2, TAU};

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::level;

augment_spec! {
    /// Distorts the waveform by a sine curve: it sounds louder, without a higher peak.
    pub struct Contrast {
        /// Strength, 0 to 100. Even 0 distorts the waveform a little. Default: 20 to 100.
        pub amount: Amount = Amount::Range(20.0, 100.0),
    }

    pub struct ContrastDraw {
        pub amount: f64,
    }
}

impl Kind for Contrast {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("amount", self.amount.fault(0.0, 100.0))])
    }
}

impl AugmentKind for Contrast {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![ContrastDraw { amount: self.amount.draw(rng) }.into()])
    }
}

impl Effect for ContrastDraw {
    /// SoX distorts relative to full scale; here it is the peak of the clip, so that the level does not matter.
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let peak = level::peak(&clip.samples);
        if peak < 1e-30 {
            return Ok(());
        }
        let strength = (self.amount / 750.0) as f32;
        for sample in &mut clip.samples {
            let x = *sample / peak;
            *sample = peak * libm::sinf(x * FRAC_PI_2 + strength * libm::sinf(x * TAU));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    #[test]
    fn the_level_rises_and_the_peak_stays() {
        let clip: Vec<f32> = tone(8000).iter().map(|x| 0.3 * x).collect();
        let output = apply(&ContrastDraw { amount: 75.0 }, &clip);
        assert!((level::peak(&output) - level::peak(&clip)).abs() < 1e-6);
        assert!(level::rms(&output) > 1.05 * level::rms(&clip));
    }

    #[test]
    fn values_are_those_of_the_formula_of_sox() {
        // sin(x π/2 + a/750 sin(2 π x)) for a = 75 at x = 0.25 and -0.5.
        let output = apply(&ContrastDraw { amount: 75.0 }, &[1.0, 0.25, -0.5]);
        for (found, expected) in output.iter().zip([1.0, 0.473_006, -std::f32::consts::FRAC_1_SQRT_2]) {
            assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
        }
    }
}
