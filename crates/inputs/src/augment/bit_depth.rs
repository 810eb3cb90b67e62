//! What is left of a clip that was stored with fewer bits.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};

augment_spec! {
    /// The clip is rounded to so many bits, as a file of that depth would have it; what lies beyond full scale is cut off.
    pub struct BitDepth {
        /// Bits of a sample. Default: 5 to 12.
        pub bits: Amount = Amount::Range(5.0, 12.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BitDepthDraw {
    pub bits: u32,
}

/// More would be finer than what can be rounded here, and than f32 just below full scale.
const MOST_BITS: u32 = 22;

impl AugmentKind for BitDepth {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("bits", self.bits.whole_fault(1.0, f64::from(MOST_BITS)))])
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![BitDepthDraw { bits: self.bits.draw_whole(rng).clamp(1, i64::from(MOST_BITS)) as u32 }.into()])
    }
}

impl Effect for BitDepthDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        // Added and taken away, it rounds to the nearest whole number, halves to the even one.
        const ROUNDER: f32 = 12_582_912.0;
        let steps = (1u32 << (self.bits.clamp(1, MOST_BITS) - 1)) as f32;
        let inverse = 1.0 / steps;
        for sample in &mut sound.samples {
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
    use crate::augment::probe::{heard, tone};

    #[test]
    fn no_more_values_are_left_than_the_bits_can_tell_apart() {
        let values: BTreeSet<i32> =
            heard(&BitDepthDraw { bits: 4 }, &tone(5000)).iter().map(|x| (x * 8.0).round() as i32).collect();
        assert_eq!(values, (-8..8).collect());
        for (heard, sample) in heard(&BitDepthDraw { bits: 9 }, &tone(500)).iter().zip(tone(500)) {
            assert!((heard - sample).abs() <= 0.5 / 256.0 || sample > 255.0 / 256.0);
            assert_eq!(heard * 256.0, (heard * 256.0).round());
        }
    }

    #[test]
    fn as_many_bits_as_a_sample_has_change_nothing_and_silence_stays() {
        let samples = [0.5, -1.0, 0.25, 3.0 / 65536.0];
        assert_eq!(heard(&BitDepthDraw { bits: 22 }, &samples), samples);
        assert_eq!(heard(&BitDepthDraw { bits: 1 }, &[0.0; 3]), [0.0; 3]);
    }
}
