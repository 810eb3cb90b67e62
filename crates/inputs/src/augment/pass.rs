//! `low_pass` and `high_pass`: Butterworth filters with one cut-off frequency.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{BandType, Filter};

macro_rules! pass_filter {
    ($(#[$meta:meta])* $Spec:ident, $Draw:ident, $band:expr, $(#[$cutoff_meta:meta])* cutoff_hz = $cutoff:expr) => {
        augment_spec! {
            $(#[$meta])*
            pub struct $Spec {
                $(#[$cutoff_meta])*
                pub cutoff_hz: Amount = $cutoff,
                /// Order of the Butterworth filter, 1 to 16: 6 decibels per octave each. Default: 2.
                pub order: Amount = Amount::Fixed(2.0),
            }

            pub struct $Draw {
                pub cutoff_hz: f64,
                pub order: usize,
            }
        }

        impl Kind for $Spec {
            fn faults(&self, sample_rate: u32) -> Vec<Fault> {
                Fault::of_keys([
                    ("cutoff_hz", self.cutoff_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
                    ("order", self.order.whole_fault(1.0, 16.0)),
                ])
            }
        }

        impl AugmentKind for $Spec {
            fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
                let cutoff_hz = self.cutoff_hz.draw(rng);
                Ok(vec![$Draw { cutoff_hz, order: self.order.draw_whole(rng).max(1) as usize }.into()])
            }
        }

        impl Effect for $Draw {
            fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
                let filter = Filter::butterworth(self.order.max(1), $band(self.cutoff_hz), clip.sample_rate);
                filter.run(&mut clip.samples);
                Ok(())
            }
        }
    };
}

pass_filter! {
    /// Attenuates frequencies above a cut-off.
    LowPass, LowPassDraw, BandType::LowPass,
    /// Frequency in Hz at which the filter attenuates by 3 decibels. Default: 500 to 8,000, log-uniform.
    cutoff_hz = Amount::Log(500.0, 8000.0)
}

pass_filter! {
    /// Attenuates frequencies below a cut-off.
    HighPass, HighPassDraw, BandType::HighPass,
    /// Frequency in Hz at which the filter attenuates by 3 decibels. Default: 20 to 2,000, log-uniform.
    cutoff_hz = Amount::Log(20.0, 2000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::gain_at;

    #[test]
    fn a_low_pass_falls_by_six_decibels_per_octave_and_order() {
        let draw = LowPassDraw { cutoff_hz: 500.0, order: 3 };
        assert!((gain_at(&draw, 500.0) + 3.01).abs() < 0.02);
        assert!(gain_at(&draw, 60.0).abs() < 0.01);
        // The bilinear transform steepens the slope towards half the sample rate, hardly at these frequencies.
        assert!((gain_at(&draw, 2000.0) - gain_at(&draw, 1000.0) + 18.0).abs() < 1.0);
    }

    #[test]
    fn a_high_pass_falls_by_six_decibels_per_octave_and_order() {
        let draw = HighPassDraw { cutoff_hz: 1000.0, order: 2 };
        assert!((gain_at(&draw, 1000.0) + 3.01).abs() < 0.02);
        assert!(gain_at(&draw, 8000.0).abs() < 0.01);
        assert!((gain_at(&draw, 100.0) - gain_at(&draw, 200.0) + 12.0).abs() < 0.2);
    }
}
