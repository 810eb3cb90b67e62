//! `translate`: rotates the clip in time. Samples that leave at the end enter at the beginning.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};

augment_spec! {
    /// Rotates the clip in time: samples that leave at the end enter at the beginning.
    pub struct Translate {
        /// Shift as a share of the clip, -1 to 1; positive values shift to the right. Default: 0 to 1.
        pub share: Amount = Amount::Range(0.0, 1.0),
    }

    pub struct TranslateDraw {
        /// Samples to the right.
        pub samples: i64,
    }
}

impl Kind for Translate {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("share", self.share.fault(-1.0, 1.0))])
    }
}

impl AugmentKind for Translate {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let samples = (self.share.draw(rng) * context.samples as f64).round() as i64;
        Ok(vec![TranslateDraw { samples }.into()])
    }
}

impl Effect for TranslateDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        if !clip.samples.is_empty() {
            let right = self.samples.rem_euclid(clip.samples.len() as i64) as usize;
            clip.samples.rotate_right(right);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{empty_pool, waveform};

    fn rotated(samples: i64) -> Vec<f32> {
        let mut output = waveform(&[1.0, 2.0, 3.0, 4.0]);
        TranslateDraw { samples }.apply_to_waveform(&mut output, &empty_pool()).unwrap();
        output.samples
    }

    #[test]
    fn samples_that_leave_at_the_end_enter_at_the_beginning() {
        assert_eq!(rotated(1), [4.0, 1.0, 2.0, 3.0]);
        assert_eq!(rotated(-1), [2.0, 3.0, 4.0, 1.0]);
        assert_eq!(rotated(5), rotated(1));
        assert_eq!(rotated(0), [1.0, 2.0, 3.0, 4.0]);
    }
}
