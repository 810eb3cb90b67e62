//! `low_shelf` and `high_shelf`: shelving filters that boost or cut the bass or the treble.

use std::f64::consts::FRAC_1_SQRT_2;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{Filter, Section};

macro_rules! shelf_filter {
    ($(#[$meta:meta])* $Spec:ident, $Draw:ident, $section:expr, $(#[$corner_meta:meta])* corner_hz = $corner:expr) => {
        augment_spec! {
            $(#[$meta])*
            pub struct $Spec {
                $(#[$corner_meta])*
                pub corner_hz: Amount = $corner,
                /// Gain of the shelf in decibels. Default: -12 to 12.
                pub gain_db: Amount = Amount::Range(-12.0, 12.0),
                /// Quality factor: the steepness; above 0.7071 the corner overshoots. Default: 0.7071.
                pub q: Amount = Amount::Fixed(FRAC_1_SQRT_2),
            }

            pub struct $Draw {
                pub corner_hz: f64,
                pub gain_db: f64,
                pub q: f64,
            }
        }

        impl Kind for $Spec {
            fn faults(&self, sample_rate: u32) -> Vec<Fault> {
                Fault::of_keys([
                    ("corner_hz", self.corner_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
                    ("gain_db", self.gain_db.fault(-60.0, 60.0)),
                    ("q", self.q.fault(0.05, 50.0)),
                ])
            }
        }

        impl AugmentKind for $Spec {
            fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
                let (corner_hz, gain_db, q) = (self.corner_hz.draw(rng), self.gain_db.draw(rng), self.q.draw(rng));
                Ok(vec![$Draw { corner_hz, gain_db, q }.into()])
            }
        }

        impl Effect for $Draw {
            fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
                let section = $section(self.corner_hz, self.q, self.gain_db, clip.sample_rate);
                Filter::from_sections(vec![section]).run(&mut clip.samples);
                Ok(())
            }
        }
    };
}

shelf_filter! {
    /// Boosts or cuts frequencies below a corner.
    LowShelf, LowShelfDraw, Section::low_shelf,
    /// Frequency in Hz at half of the decibels. Default: 50 to 500, log-uniform.
    corner_hz = Amount::Log(50.0, 500.0)
}

shelf_filter! {
    /// Boosts or cuts frequencies above a corner.
    HighShelf, HighShelfDraw, Section::high_shelf,
    /// Frequency in Hz at half of the decibels. Default: 1,000 to 8,000, log-uniform.
    corner_hz = Amount::Log(1000.0, 8000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::gain_at;

    #[test]
    fn a_low_shelf_boosts_the_bass_alone() {
        let draw = LowShelfDraw { corner_hz: 500.0, gain_db: 6.0, q: FRAC_1_SQRT_2 };
        for (hz, expected) in [(40.0, 6.0), (500.0, 3.0), (6000.0, 0.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.05, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
    }

    #[test]
    fn a_high_shelf_cuts_the_treble_alone() {
        let draw = HighShelfDraw { corner_hz: 1500.0, gain_db: -9.0, q: FRAC_1_SQRT_2 };
        for (hz, expected) in [(100.0, 0.0), (1500.0, -4.5), (10_500.0, -9.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.05, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
    }
}
