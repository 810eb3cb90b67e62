//! Rotation in time: what leaves at the end comes in at the beginning.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};

augment_spec! {
    /// The clip is rotated: what leaves at the end comes in at the beginning.
    pub struct Translate {
        /// By which share of the clip, -1 to 1; to the right where it is positive. Default: 0 to 1.
        pub share: Amount = Amount::Range(0.0, 1.0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TranslateDraw {
    /// Samples to the right.
    pub samples: i64,
}

impl AugmentKind for Translate {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        self.share.fault(-1.0, 1.0).map(|why| ("share".to_owned(), why)).into_iter().collect()
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let samples = (self.share.draw(rng) * scene.samples as f64).round() as i64;
        Ok(vec![TranslateDraw { samples }.into()])
    }
}

impl Effect for TranslateDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        if !sound.samples.is_empty() {
            let right = self.samples.rem_euclid(sound.samples.len() as i64) as usize;
            sound.samples.rotate_right(right);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{alone, sound};

    fn rotated(samples: i64) -> Vec<f32> {
        let mut heard = sound(&[1.0, 2.0, 3.0, 4.0]);
        TranslateDraw { samples }.on_sound(&mut heard, &alone()).unwrap();
        heard.samples
    }

    #[test]
    fn the_end_comes_round_to_the_beginning() {
        assert_eq!(rotated(1), [4.0, 1.0, 2.0, 3.0]);
        assert_eq!(rotated(-1), [2.0, 3.0, 4.0, 1.0]);
        assert_eq!(rotated(5), rotated(1));
        assert_eq!(rotated(0), [1.0, 2.0, 3.0, 4.0]);
    }
}
