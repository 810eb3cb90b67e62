//! `resample_loss`: the loss of a clip that was stored at a lower sample rate.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_signal::dsp::rate_reduction;

augment_spec! {
    /// Resamples the clip to a lower sample rate and back: the treble is removed, or aliased.
    pub struct ResampleLoss {
        /// The lower sample rate in Hz. Default: 4,000 to 16,000, log-uniform.
        pub rate_hz: Amount = Amount::Log(4000.0, 16_000.0),
        /// Whether to resample without an anti-aliasing filter, so that frequencies above half the lower rate are
        /// mirrored below it. Default: false.
        pub aliasing: bool = false,
    }

    pub struct ResampleLossDraw {
        pub rate_hz: f64,
        pub aliasing: bool,
    }
}

impl Kind for ResampleLoss {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("rate_hz", self.rate_hz.fault(100.0, 384_000.0))])
    }
}

impl AugmentKind for ResampleLoss {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![ResampleLossDraw { rate_hz: self.rate_hz.draw(rng), aliasing: self.aliasing }.into()])
    }
}

impl Effect for ResampleLossDraw {
    /// A rate that is not lower than that of the clip changes nothing.
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        match self.aliasing {
            false => rate_reduction::band_limited(&mut clip.samples, self.rate_hz, clip.sample_rate),
            true => rate_reduction::aliased(&mut clip.samples, self.rate_hz, clip.sample_rate),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::{apply, gain_at, tone};

    #[test]
    fn the_treble_is_removed_without_aliasing_and_mirrored_with_it() {
        let clean = ResampleLossDraw { rate_hz: 8000.0, aliasing: false };
        assert!(gain_at(&clean, 3000.0).abs() < 0.01 && gain_at(&clean, 6000.0) < -80.0);
        let rough = ResampleLossDraw { rate_hz: 8000.0, aliasing: true };
        assert!(gain_at(&rough, 6000.0) > -12.0);
    }

    #[test]
    fn a_higher_rate_changes_nothing() {
        for aliasing in [false, true] {
            let draw = ResampleLossDraw { rate_hz: 8000.0, aliasing };
            assert_eq!(apply(&draw, &tone(100)), tone(100));
        }
    }
}
