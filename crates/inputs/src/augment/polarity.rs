//! The wave turned upside down. No ear hears it, and no power spectrogram either; a network on the raw wave does.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Sound};

augment_spec! {
    /// The wave is turned upside down.
    pub struct Polarity {}
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolarityDraw {}

impl AugmentKind for Polarity {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Vec::new()
    }

    fn draw(&self, _scene: &AugmentContext, _rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![PolarityDraw {}.into()])
    }
}

impl Effect for PolarityDraw {
    fn on_sound(&self, sound: &mut Sound, _company: &dyn ClipPool) -> Result<()> {
        sound.samples.iter_mut().for_each(|sample| *sample = -*sample);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{alone, sound};

    #[test]
    fn up_is_down_and_the_order_stays() {
        let mut heard = sound(&[0.5, -0.25, 0.0]);
        PolarityDraw {}.on_sound(&mut heard, &alone()).unwrap();
        assert_eq!(heard.samples, [-0.5, 0.25, 0.0]);
    }
}
