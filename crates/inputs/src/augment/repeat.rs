//! A piece of the clip again and again, until the clip is full.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// A piece of the clip is played again and again, until the clip is full.
    pub struct Repeat {
        /// Length of the piece as a share of the clip. Default: 0.1 to 0.5.
        pub share: Amount = Amount::Range(0.1, 0.5),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatDraw {
    /// The piece, in samples.
    pub from: usize,
    pub length: usize,
}

impl AugmentKind for Repeat {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("share", self.share.fault(0.001, 1.0))])
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let length = ((self.share.draw(rng) * scene.samples as f64).round() as usize).min(scene.samples);
        let from = uniform_below(rng, (scene.samples - length) as u64 + 1) as usize;
        Ok(vec![RepeatDraw { from, length }.into()])
    }
}

impl Effect for RepeatDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let samples = &mut sound.samples;
        let from = self.from.min(samples.len());
        let length = self.length.min(samples.len() - from);
        if length == 0 {
            return Ok(());
        }
        samples.copy_within(from..from + length, 0);
        // Each copy doubles what is there.
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
    use crate::augment::probe::heard;

    proptest! {
        #[test]
        fn every_sample_is_that_of_the_piece(n in 0usize..200, from in 0usize..100, length in 1usize..100) {
            let clip: Vec<f32> = (0..n).map(|n| n as f32).collect();
            let heard = heard(&RepeatDraw { from, length }, &clip);
            let (from, length) = (from.min(n), length.min(n - from.min(n)));
            for (at, &sample) in heard.iter().enumerate() {
                let expected = if length == 0 { at } else { from + at % length };
                prop_assert_eq!(sample, expected as f32);
            }
        }
    }
}
