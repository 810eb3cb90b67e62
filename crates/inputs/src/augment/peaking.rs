//! `peaking`: boosts or cuts the frequencies around a centre (peaking filter).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{Filter, Section};

augment_spec! {
    /// Boosts or cuts the frequencies around a centre.
    pub struct Peaking {
        /// Centre frequency in Hz. Default: 100 to 8,000, log-uniform.
        pub centre_hz: Amount = Amount::Log(100.0, 8000.0),
        /// Gain at the centre in decibels. Default: -12 to 12.
        pub gain_db: Amount = Amount::Range(-12.0, 12.0),
        /// Centre frequency divided by the bandwidth at half the decibels. Default: 0.5 to 5.
        pub q: Amount = Amount::Range(0.5, 5.0),
    }

    pub struct PeakingDraw {
        pub centre_hz: f64,
        pub gain_db: f64,
        pub q: f64,
    }
}

impl Kind for Peaking {
    fn faults(&self, sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("centre_hz", self.centre_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
            ("gain_db", self.gain_db.fault(-60.0, 60.0)),
            ("q", self.q.fault(0.05, 50.0)),
        ])
    }
}

impl AugmentKind for Peaking {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let (centre_hz, gain_db, q) = (self.centre_hz.draw(rng), self.gain_db.draw(rng), self.q.draw(rng));
        Ok(vec![PeakingDraw { centre_hz, gain_db, q }.into()])
    }
}

impl Effect for PeakingDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let section = Section::peaking(self.centre_hz, self.q, self.gain_db, clip.sample_rate);
        Filter::from_sections(vec![section]).run(&mut clip.samples);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::gain_at;

    #[test]
    fn the_gain_is_full_at_the_centre_and_half_at_the_band_edges() {
        let draw = PeakingDraw { centre_hz: 1000.0, gain_db: 12.0, q: 2.0 };
        // Bandwidth 500 Hz: half the decibels at f with f - 1000²/f = ±500, as for analogue filters.
        let (low, high) = ((-500.0 + 4.25e6f64.sqrt()) / 2.0, (500.0 + 4.25e6f64.sqrt()) / 2.0);
        for (hz, expected) in [(1000.0, 12.0), (low, 6.0), (high, 6.0), (20.0, 0.0), (10_900.0, 0.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.15, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
    }
}
