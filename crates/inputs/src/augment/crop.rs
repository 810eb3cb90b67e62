//! `crop`: keeps only a part of the clip.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Kind, Waveform};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Keeps only a part of the clip, in place or moved.
    pub struct Crop {
        /// Share of the clip that is kept. Default: 0.5 to 1.
        pub share: Amount = Amount::Range(0.5, 1.0),
        /// Position of the kept part: "stay" (unchanged), "start", or "random". Default: stay.
        pub place: CropPosition = CropPosition::Stay,
        /// Filling of the rest: "zeros", or repetitions of the kept part ("repeat"). Default: zeros.
        pub rest: CropFill = CropFill::Zeros,
    }

    pub struct CropDraw {
        /// Start and length of the kept part, in samples.
        pub from: usize,
        pub length: usize,
        /// New position of its first sample.
        pub to: usize,
        pub rest: CropFill,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CropPosition {
    /// The position is unchanged.
    Stay,
    Start,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CropFill {
    Zeros,
    /// Repetitions of the part before and after it.
    Repeat,
}

impl Kind for Crop {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("share", self.share.fault(0.0, 1.0))])
    }
}

impl AugmentKind for Crop {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let length = ((self.share.draw(rng) * context.samples as f64).round() as usize).min(context.samples);
        let mut start = || uniform_below(rng, (context.samples - length) as u64 + 1) as usize;
        let from = start();
        let to = match self.place {
            CropPosition::Stay => from,
            CropPosition::Start => 0,
            CropPosition::Random => start(),
        };
        Ok(vec![CropDraw { from, length, to, rest: self.rest }.into()])
    }
}

impl Effect for CropDraw {
    fn apply_to_waveform(&self, clip: &mut Waveform, _pool: &dyn ClipPool) -> Result<()> {
        let samples = &mut clip.samples;
        let n = samples.len();
        let from = self.from.min(n);
        let length = self.length.min(n - from);
        let to = self.to.min(n - length);
        samples.copy_within(from..from + length, to);
        match self.rest {
            CropFill::Repeat if length > 0 => {
                for at in to + length..n {
                    samples[at] = samples[at - length];
                }
                for at in (0..to).rev() {
                    samples[at] = samples[at + length];
                }
            }
            _ => {
                samples[..to].fill(0.0);
                samples[to + length..].fill(0.0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::kind_tests::{apply, drawn};

    const CLIP: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn the_part_stays_or_moves_and_the_rest_is_filled() {
        let crop = |to, rest| apply(&CropDraw { from: 2, length: 2, to, rest }, &CLIP);
        assert_eq!(crop(2, CropFill::Zeros), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(crop(0, CropFill::Zeros), [3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(crop(4, CropFill::Zeros), [0.0, 0.0, 0.0, 0.0, 3.0, 4.0]);
        assert_eq!(crop(1, CropFill::Repeat), [4.0, 3.0, 4.0, 3.0, 4.0, 3.0]);
    }

    proptest! {
        #[test]
        fn the_part_lies_within_the_clip_before_and_after(samples in 0usize..300, place in 0usize..3, seed: u64) {
            let place = [CropPosition::Stay, CropPosition::Start, CropPosition::Random][place];
            let spec = Crop { share: Amount::Range(0.0, 1.0), place, ..Default::default() };
            let Draw::CropDraw(draw) = drawn(&spec, samples, seed).remove(0) else { panic!("one draw") };
            prop_assert!(draw.from + draw.length <= samples && draw.to + draw.length <= samples);
            prop_assert_eq!(apply(&draw, &vec![1.0; samples]).iter().filter(|&&x| x == 1.0).count(), draw.length);
        }
    }
}
