//! CutMix (Yun et al. 2019): a rectangle of the image is that of another clip, and the targets are weighed by the areas.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mixup::{beta, row_of, weigh};
use super::random_erasing::Area;
use super::{AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image};

augment_spec! {
    /// CutMix: a rectangle of the image comes from another clip; the targets are weighed by the areas.
    pub struct Cutmix {
        /// The share of the clip itself is drawn from Beta(alpha, alpha). Default: 1, any share as likely as another.
        #[schemars(range(min = 0.01, max = 100.0))]
        pub alpha: f64 = 1.0,
        /// Whether the rectangle is as high as the image: a stretch of time, not a band of it. Default: false.
        pub whole_height: bool = false,
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutmixDraw {
    /// The other clip.
    pub partner: String,
    pub area: Area,
}

impl AugmentKind for Cutmix {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let usable = (0.01..=100.0).contains(&self.alpha);
        if usable { Vec::new() } else { vec![("alpha".into(), "it lies from 0.01 to 100".into())] }
    }

    fn draw(&self, scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let Some(row) = scene.another(rng) else { return Ok(Vec::new()) };
        let partner = scene.company.companion(row).id.to_owned();
        let shape = scene.company.shape();
        let (rows, cols, share) = (shape[0] as f64, shape[1] as f64, 1.0 - beta(self.alpha, rng));
        let side = share.sqrt();
        let (height, width) = if self.whole_height { (rows, share * cols) } else { (side * rows, side * cols) };
        Ok(vec![CutmixDraw { partner, area: Area::draw(height, width, shape, rng) }.into()])
    }

    fn is_on_sound(&self) -> bool {
        false
    }
}

impl Effect for CutmixDraw {
    fn is_on_image(&self) -> bool {
        true
    }

    fn on_image(&self, image: &mut Image, company: &dyn ClipPool) -> Result<()> {
        let row = row_of(company, &self.partner)?;
        let mut other = vec![0.0; image.values.len()];
        company.image(row, &mut other)?;
        let mut taken = 0;
        for piece in self.area.pieces(image) {
            taken += piece.len();
            image.values[piece.clone()].copy_from_slice(&other[piece]);
        }
        let weight = 1.0 - taken as f32 / image.values.len() as f32;
        weigh(image.targets, weight, company.companion(row).labels);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{IMAGE, friends};
    use timbre_core::seed::Seed;

    #[test]
    fn targets_are_weighed_by_what_is_seen() {
        let company = friends();
        let scene = AugmentContext { sample_rate: 8000, samples: 800, row: 0, company: &company };
        let [rows, cols] = IMAGE;
        for seed in 0..100 {
            let spec = Cutmix { whole_height: seed % 2 == 0, ..Cutmix::default() };
            let Draw::CutmixDraw(draw) = spec.draw(&scene, &mut Seed::new(seed).rng()).unwrap().remove(0) else {
                unreachable!()
            };
            let partner = company.row_of(&draw.partner).unwrap();
            let (mut values, mut targets) = (vec![-1.0; rows * cols], vec![1.0, 0.0, 0.0]);
            draw.on_image(&mut Image { rows, cols, values: &mut values, targets: &mut targets }, &company).unwrap();
            let own = values.iter().filter(|value| **value == -1.0).count();
            assert!(values.iter().all(|value| *value == -1.0 || *value == partner as f32));
            let share = own as f32 / (rows * cols) as f32;
            let expected = if company.companion(partner).labels.contains(&0) { 1.0 } else { share };
            assert!((targets[0] - expected).abs() < 1e-6, "{draw:?}");
            assert!(seed % 2 == 1 || draw.area.height == rows);
        }
    }
}
