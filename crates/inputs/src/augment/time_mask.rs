//! SpecAugment: stretches of time are blanked.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stripes::{self, Fill, Stripe};
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image};

augment_spec! {
    /// SpecAugment: stretches of time are blanked.
    pub struct TimeMask {
        /// How many. Default: 2.
        pub masks: Amount = Amount::Fixed(2.0),
        /// How wide, in frames: `width = [0, 48]` is torchaudio's mask with the parameter 48. Left out: `share`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub width: Option<Amount> = None,
        /// How wide, as a share of all frames, where `width` does not say it. Default: 0 to 0.15.
        pub share: Amount = Amount::Range(0.0, 0.15),
        /// What takes their place: "mean" or "min" of the image, or "zero". Default: "mean".
        pub value: Fill = Fill::Mean,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeMaskDraw {
    pub masks: Vec<Stripe>,
    pub value: Fill,
}

impl AugmentKind for TimeMask {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        stripes::faults(&self.masks, self.width.as_ref(), &self.share)
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let size = scene.company.shape()[1];
        let masks = stripes::draw(&self.masks, self.width.as_ref(), &self.share, size, rng);
        Ok(vec![TimeMaskDraw { masks, value: self.value }.into()])
    }

    fn is_on_sound(&self) -> bool {
        false
    }
}

impl Effect for TimeMaskDraw {
    fn is_on_image(&self) -> bool {
        true
    }

    fn on_image(&self, image: &mut Image, _company: &dyn ClipPool) -> Result<()> {
        stripes::fill_columns(image, &self.masks, self.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{IMAGE, alone, friends};
    use timbre_core::seed::Seed;

    #[test]
    fn whole_columns_are_blanked_and_the_others_left() {
        let company = friends();
        let scene = AugmentContext { sample_rate: 8000, samples: 800, row: 0, company: &company };
        let spec = TimeMask {
            width: Some(Amount::Fixed(2.0)),
            masks: Amount::Fixed(1.0),
            value: Fill::Zero,
            ..Default::default()
        };
        let [rows, cols] = IMAGE;
        for seed in 0..20 {
            let draws = spec.draw(&scene, &mut Seed::new(seed).rng()).unwrap();
            let (mut values, mut targets) = (vec![1.0; rows * cols], [1.0]);
            let mut image = Image { rows, cols, values: &mut values, targets: &mut targets };
            draws[0].as_kind().on_image(&mut image, &alone()).unwrap();
            let blank = |column: usize| {
                (0..rows * cols)
                    .filter(|place| [place / cols, place % cols][1] == column)
                    .all(|place| values[place] == 0.0)
            };
            assert_eq!((0..IMAGE[1]).filter(|&column| blank(column)).count(), 2);
            assert_eq!(values.iter().filter(|value| **value == 0.0).count(), 2 * IMAGE[0]);
        }
    }
}
