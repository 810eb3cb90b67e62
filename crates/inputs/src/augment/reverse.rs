//! The wave played backwards: turned round in time, not upside down.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};

augment_spec! {
    /// The clip is played backwards.
    pub struct Reverse {}
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseDraw {}

impl AugmentKind for Reverse {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Vec::new()
    }

    fn draw(&self, _scene: &AugmentContext, _rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![ReverseDraw {}.into()])
    }
}

impl Effect for ReverseDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        sound.samples.reverse();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{alone, sound};

    #[test]
    fn the_last_sample_comes_first_and_keeps_its_sign() {
        let mut heard = sound(&[0.5, -0.25, 0.125]);
        ReverseDraw {}.on_sound(&mut heard, &alone()).unwrap();
        assert_eq!(heard.samples, [0.125, -0.25, 0.5], "turned round, not upside down");
    }
}
