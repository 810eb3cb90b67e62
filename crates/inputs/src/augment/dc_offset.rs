//! `dc_offset`: adds a constant to every sample, as `dcshift` in SoX. Inaudible; a spectrogram shows it in the lowest band.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::limiter::DbReference;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};

augment_spec! {
    /// Adds a constant to every sample.
    pub struct DcOffset {
        /// The constant, -2 to 2, as a share of the reference. Default: -0.1 to 0.1.
        pub shift: Amount = Amount::Range(-0.1, 0.1),
        /// Reference: "peak" of the clip, or "full_scale". Default: peak.
        pub of: DbReference = DbReference::Peak,
    }

    pub struct DcOffsetDraw {
        pub shift: f64,
        pub of: DbReference,
    }
}

impl Kind for DcOffset {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("shift", self.shift.fault(-2.0, 2.0))])
    }
}

impl AugmentKind for DcOffset {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![DcOffsetDraw { shift: self.shift.draw(rng), of: self.of }.into()])
    }
}

impl Effect for DcOffsetDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let offset = self.shift as f32 * self.of.of(&clip.samples);
        clip.samples.iter_mut().for_each(|sample| *sample += offset);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::kind_tests::apply;

    #[test]
    fn every_sample_is_shifted_by_a_share_of_the_reference() {
        let shifted = |of| apply(&DcOffsetDraw { shift: -0.25, of }, &[0.5, -0.25, 0.0]);
        assert_eq!(shifted(DbReference::Peak), [0.375, -0.375, -0.125]);
        assert_eq!(shifted(DbReference::FullScale), [0.25, -0.5, -0.25]);
    }

    #[test]
    fn a_share_of_the_peak_leaves_silence_silent() {
        assert_eq!(apply(&DcOffsetDraw { shift: 1.0, of: DbReference::Peak }, &[0.0; 9]), [0.0; 9]);
        assert!(apply(&DcOffsetDraw { shift: 1.0, of: DbReference::FullScale }, &[]).is_empty());
    }
}
