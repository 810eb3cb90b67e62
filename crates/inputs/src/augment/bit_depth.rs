//! `bit_depth`: the quantisation of a clip that was stored with fewer bits.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};

augment_spec! {
    /// Rounds the samples to a bit depth, as in a file of that depth; values beyond full scale are clipped.
    pub struct BitDepth {
        /// Bits per sample. Default: 5 to 12.
        pub bits: Amount = Amount::Range(5.0, 12.0),
    }

    pub struct BitDepthDraw {
        pub bits: u32,
    }
}

/// More bits exceed the precision of the rounding below and of f32 just below full scale.
pub const MAX_BITS: u32 = 22;

impl Kind for BitDepth {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("bits", self.bits.whole_fault(1.0, f64::from(MAX_BITS)))])
    }
}

pub(super) fn draw_bits(bits: &Amount, rng: &mut ChaCha8Rng) -> u32 {
    bits.draw_whole(rng).clamp(1, i64::from(MAX_BITS)) as u32
}

impl AugmentKind for BitDepth {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![BitDepthDraw { bits: draw_bits(&self.bits, rng) }.into()])
    }
}

impl Effect for BitDepthDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        // Adding and subtracting this number rounds to the nearest whole number, halves to even.
        const ROUNDER: f32 = 12_582_912.0;
        let steps = (1u32 << (self.bits.clamp(1, MAX_BITS) - 1)) as f32;
        let inverse = 1.0 / steps;
        for sample in &mut clip.samples {
            let scaled = (*sample * steps).clamp(-steps, steps - 1.0);
            *sample = ((scaled + ROUNDER) - ROUNDER) * inverse;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::augment::kind_tests::{apply, tone};

    #[test]
    fn the_output_has_no_more_levels_than_the_bits_encode() {
        let values: BTreeSet<i32> =
            apply(&BitDepthDraw { bits: 4 }, &tone(5000)).iter().map(|x| (x * 8.0).round() as i32).collect();
        assert_eq!(values, (-8..8).collect());
        for (output, sample) in apply(&BitDepthDraw { bits: 9 }, &tone(500)).iter().zip(tone(500)) {
            assert!((output - sample).abs() <= 0.5 / 256.0 || sample > 255.0 / 256.0);
            assert_eq!(output * 256.0, (output * 256.0).round());
        }
    }

    #[test]
    fn full_precision_changes_nothing_and_silence_stays_silent() {
        let samples = [0.5, -1.0, 0.25, 3.0 / 65536.0];
        assert_eq!(apply(&BitDepthDraw { bits: 22 }, &samples), samples);
        assert_eq!(apply(&BitDepthDraw { bits: 1 }, &[0.0; 3]), [0.0; 3]);
    }
}
