//! `tremolo`: modulates the amplitude periodically.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform;
use timbre_signal::dsp::modulation;

augment_spec! {
    /// Modulates the amplitude periodically.
    pub struct Tremolo {
        /// Frequency of the modulation in Hz. Default: 1 to 8.
        pub rate_hz: Amount = Amount::Range(1.0, 8.0),
        /// Depth of the modulation: 1 reaches silence. Default: 0.2 to 0.8.
        pub depth: Amount = Amount::Range(0.2, 0.8),
    }

    pub struct TremoloDraw {
        pub rate_hz: f64,
        pub depth: f64,
        /// Phase in radians; 0 starts at full amplitude.
        pub phase: f64,
    }
}

impl Kind for Tremolo {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("rate_hz", self.rate_hz.fault(0.001, 1000.0)), ("depth", self.depth.fault(0.0, 1.0))])
    }
}

impl AugmentKind for Tremolo {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (rate_hz, depth) = (self.rate_hz.draw(rng), self.depth.draw(rng));
        Ok(vec![TremoloDraw { rate_hz, depth, phase: std::f64::consts::TAU * uniform(rng) }.into()])
    }
}

impl Effect for TremoloDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        modulation::tremolo(&mut clip.samples, self.rate_hz, self.depth, self.phase, clip.sample_rate);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::apply;

    #[test]
    fn the_amplitude_falls_by_the_depth_and_returns() {
        let output = apply(&TremoloDraw { rate_hz: 4.0, depth: 0.6, phase: 0.0 }, &[1.0; 2001]);
        for (n, expected) in [(0, 1.0), (1000, 0.4), (2000, 1.0), (500, 0.7)] {
            assert!((output[n] - expected).abs() < 1e-5, "{n}: {}", output[n]);
        }
    }
}
