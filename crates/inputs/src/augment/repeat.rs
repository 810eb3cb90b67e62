//! `repeat`: fills the clip with repetitions of one of its parts.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Fills the clip with repetitions of one of its parts.
    pub struct Repeat {
        /// Length of the part as a share of the clip. Default: 0.1 to 0.5.
        pub share: Amount = Amount::Range(0.1, 0.5),
    }

    pub struct RepeatDraw {
        /// Start and length of the part, in samples.
        pub from: usize,
        pub length: usize,
    }
}

impl Kind for Repeat {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("share", self.share.fault(0.001, 1.0))])
    }
}

impl AugmentKind for Repeat {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let length = ((self.share.draw(rng) * context.samples as f64).round() as usize).min(context.samples);
        let from = uniform_below(rng, (context.samples - length) as u64 + 1) as usize;
        Ok(vec![RepeatDraw { from, length }.into()])
    }
}

impl Effect for RepeatDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let samples = &mut clip.samples;
        let from = self.from.min(samples.len());
        let length = self.length.min(samples.len() - from);
        if length == 0 {
            return Ok(());
        }
        samples.copy_within(from..from + length, 0);
        // Each copy doubles the filled length.
        let mut there = length;
        while there < samples.len() {
            let more = there.min(samples.len() - there);
            samples.copy_within(..more, there);
            there += more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::kind_tests::apply;

    proptest! {
        #[test]
        fn every_sample_comes_from_the_repeated_part(n in 0usize..200, from in 0usize..100, length in 1usize..100) {
            let clip: Vec<f32> = (0..n).map(|n| n as f32).collect();
            let output = apply(&RepeatDraw { from, length }, &clip);
            let (from, length) = (from.min(n), length.min(n - from.min(n)));
            for (at, &sample) in output.iter().enumerate() {
                let expected = if length == 0 { at } else { from + at % length };
                prop_assert_eq!(sample, expected as f32);
            }
        }
    }
}
