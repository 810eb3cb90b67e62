//! `all_pass`: shifts the phase around a frequency and keeps the level of every frequency. Inaudible, and almost invisible in a power
//! spectrogram; a network on raw samples sees it.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// Shifts the phase around a frequency and keeps the level of every frequency.
    pub struct AllPass {
        /// Frequency in Hz at which the phase is inverted. Default: 100 to 8,000, log-uniform.
        pub centre_hz: Amount = Amount::Log(100.0, 8000.0),
        /// Quality factor: the larger, the narrower the change. Default: 0.5 to 5.
        pub q: Amount = Amount::Range(0.5, 5.0),
    }

    pub struct AllPassDraw {
        pub centre_hz: f64,
        pub q: f64,
    }
}

impl Kind for AllPass {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("centre_hz", self.centre_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("q", self.q.fault(0.05, 50.0)),
        ])
    }
}

impl AugmentKind for AllPass {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![AllPassDraw { centre_hz: self.centre_hz.draw(rng), q: self.q.draw(rng) }.into()])
    }
}

impl Effect for AllPassDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let section = Section::all_pass(self.centre_hz, self.q, clip.sample_rate);
        Filter::from_sections(vec![section]).run(&mut clip.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone_of};

    #[test]
    fn every_frequency_keeps_its_level_and_the_centre_is_inverted() {
        let draw = AllPassDraw { centre_hz: 1000.0, q: 1.0 };
        for hz in [100.0, 700.0, 1000.0, 4000.0] {
            assert!(gain_at(&draw, hz).abs() < 0.01, "{hz}");
        }
        let tone = tone_of(1000.0, 4000, 8000);
        let output = apply(&draw, &tone);
        assert!((2000..4000).all(|n| (output[n] + tone[n]).abs() < 1e-3));
    }
}
