//! `band_pass` and `band_stop`: Butterworth filters that keep or remove a band.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::iir::{BandType, Filter};

macro_rules! band_filter {
    ($(#[$meta:meta])* $Spec:ident, $Draw:ident, $band:expr, $(#[$octaves_meta:meta])* octaves = $octaves:expr) => {
        augment_spec! {
            $(#[$meta])*
            pub struct $Spec {
                /// Centre of the band in Hz, on a logarithmic axis. Default: 200 to 4,000, log-uniform.
                pub centre_hz: Amount = Amount::Log(200.0, 4000.0),
                $(#[$octaves_meta])*
                pub octaves: Amount = $octaves,
                /// Order of the Butterworth filter, 1 to 16: 6 decibels per octave each, on both sides. Default: 2.
                pub order: Amount = Amount::Fixed(2.0),
            }

            pub struct $Draw {
                pub centre_hz: f64,
                pub octaves: f64,
                pub order: usize,
            }
        }

        impl Kind for $Spec {
            fn faults(&self, sample_rate: u32) -> Vec<Fault> {
                Fault::of_keys([
                    ("centre_hz", self.centre_hz.fault(1.0, f64::from(sample_rate) / 2.0)),
                    ("octaves", self.octaves.fault(0.01, 12.0)),
                    ("order", self.order.whole_fault(1.0, 16.0)),
                ])
            }
        }

        impl AugmentKind for $Spec {
            fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
                let (centre_hz, octaves) = (self.centre_hz.draw(rng), self.octaves.draw(rng));
                Ok(vec![$Draw { centre_hz, octaves, order: self.order.draw_whole(rng).max(1) as usize }.into()])
            }
        }

        impl Effect for $Draw {
            /// A band edge beyond half the sample rate is moved just below it.
            fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
                let half = libm::exp2(self.octaves / 2.0);
                let band = $band(self.centre_hz / half, self.centre_hz * half);
                Filter::butterworth(self.order.max(1), band, clip.sample_rate).run(&mut clip.samples);
                Ok(())
            }
        }
    };
}

band_filter! {
    /// Keeps a band of frequencies.
    BandPass, BandPassDraw, BandType::BandPass,
    /// Width in octaves between the points at -3 decibels. Default: 1 to 4.
    octaves = Amount::Range(1.0, 4.0)
}

band_filter! {
    /// Removes a band of frequencies.
    BandStop, BandStopDraw, BandType::BandStop,
    /// Width in octaves between the points at -3 decibels. Default: 0.5 to 2.
    octaves = Amount::Range(0.5, 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::gain_at;

    #[test]
    fn a_band_pass_keeps_the_band_with_edges_at_minus_three_decibels() {
        let draw = BandPassDraw { centre_hz: 1000.0, octaves: 2.0, order: 2 };
        for (hz, expected) in [(1000.0, 0.0), (500.0, -3.01), (2000.0, -3.01)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.05, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
        assert!(gain_at(&draw, 100.0) < -30.0 && gain_at(&draw, 9000.0) < -30.0);
    }

    #[test]
    fn a_band_stop_removes_the_band_with_edges_at_minus_three_decibels() {
        let draw = BandStopDraw { centre_hz: 1000.0, octaves: 1.0, order: 2 };
        let edge = 2f64.sqrt();
        for (hz, expected) in [(1000.0 / edge, -3.01), (1000.0 * edge, -3.01), (60.0, 0.0), (8000.0, 0.0)] {
            assert!((gain_at(&draw, hz) - expected).abs() < 0.1, "{hz} Hz: {} dB", gain_at(&draw, hz));
        }
        assert!(gain_at(&draw, 1000.0) < -40.0);
    }
}
