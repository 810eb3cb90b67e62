//! Only a part of the clip is left.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::faults_of;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Only a part of the clip is left, where it was or elsewhere.
    pub struct Crop {
        /// Share of the clip that is left. Default: 0.5 to 1.
        pub share: Amount = Amount::Range(0.5, 1.0),
        /// Where it goes: "stay", to the "start", or to a "random" place. Default: stay.
        pub place: Place = Place::Stay,
        /// What the rest becomes: "zeros", or the part again and again ("repeat"). Default: zeros.
        pub rest: Rest = Rest::Zeros,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Where it was.
    Stay,
    Start,
    Random,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    Zeros,
    /// The part, again and again, before and after it.
    Repeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CropDraw {
    /// The part, in samples.
    pub from: usize,
    pub length: usize,
    /// Where its first sample goes.
    pub to: usize,
    pub rest: Rest,
}

impl AugmentKind for Crop {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        faults_of([("share", self.share.fault(0.0, 1.0))])
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let length = ((self.share.draw(rng) * scene.samples as f64).round() as usize).min(scene.samples);
        let mut start = || uniform_below(rng, (scene.samples - length) as u64 + 1) as usize;
        let from = start();
        let to = match self.place {
            Place::Stay => from,
            Place::Start => 0,
            Place::Random => start(),
        };
        Ok(vec![CropDraw { from, length, to, rest: self.rest }.into()])
    }
}

impl Effect for CropDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        let samples = &mut sound.samples;
        let n = samples.len();
        let from = self.from.min(n);
        let length = self.length.min(n - from);
        let to = self.to.min(n - length);
        samples.copy_within(from..from + length, to);
        match self.rest {
            Rest::Repeat if length > 0 => {
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
    use crate::augment::probe::{drawn, heard};

    const CLIP: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn a_part_is_left_where_it_was_or_elsewhere() {
        let crop = |to, rest| heard(&CropDraw { from: 2, length: 2, to, rest }, &CLIP);
        assert_eq!(crop(2, Rest::Zeros), [0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        assert_eq!(crop(0, Rest::Zeros), [3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(crop(4, Rest::Zeros), [0.0, 0.0, 0.0, 0.0, 3.0, 4.0]);
        assert_eq!(crop(1, Rest::Repeat), [4.0, 3.0, 4.0, 3.0, 4.0, 3.0]);
    }

    proptest! {
        #[test]
        fn what_is_drawn_lies_within_the_clip(samples in 0usize..300, place in 0usize..3, seed: u64) {
            let place = [Place::Stay, Place::Start, Place::Random][place];
            let spec = Crop { share: Amount::Range(0.0, 1.0), place, ..Default::default() };
            let Draw::CropDraw(draw) = drawn(&spec, samples, seed).remove(0) else { panic!("one draw") };
            prop_assert!(draw.from + draw.length <= samples && draw.to + draw.length <= samples);
            prop_assert_eq!(heard(&draw, &vec![1.0; samples]).iter().filter(|&&x| x == 1.0).count(), draw.length);
        }
    }
}
