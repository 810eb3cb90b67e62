//! `cutmix`: replaces a rectangle of the image by that of another clip, and weights the targets by area (Yun et al.
//! 2019).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::mixup::{beta, row_of, weigh};
use super::random_erasing::Rectangle;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image, Kind};

augment_spec! {
    /// CutMix: a rectangle of the image comes from another clip; the targets are weighted by area.
    pub struct Cutmix {
        /// The share of the clip itself is drawn from Beta(alpha, alpha). Default: 1, which is uniform.
        #[schemars(range(min = 0.01, max = 100.0))]
        pub alpha: f64 = 1.0,
        /// Whether the rectangle has the height of the image: an interval of time instead of a rectangle. Default:
        /// false.
        pub whole_height: bool = false,
    }

    pub struct CutmixDraw {
        /// Id of the other clip.
        pub partner: String,
        pub area: Rectangle,
    }
}

impl Kind for Cutmix {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("alpha", Amount::Fixed(self.alpha).fault(0.01, 100.0))])
    }
}

impl AugmentKind for Cutmix {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let Some(row) = context.another(rng) else { return Ok(Vec::new()) };
        let partner = context.pool.info(row).id.to_owned();
        let shape = context.pool.shape();
        let (rows, cols, share) = (shape[0] as f64, shape[1] as f64, 1.0 - beta(self.alpha, rng));
        let side = share.sqrt();
        let (height, width) = if self.whole_height { (rows, share * cols) } else { (side * rows, side * cols) };
        Ok(vec![CutmixDraw { partner, area: Rectangle::draw(height, width, shape, rng) }.into()])
    }

    fn changes_waveform(&self) -> bool {
        false
    }
}

impl Effect for CutmixDraw {
    fn changes_image(&self) -> bool {
        true
    }

    fn apply_to_image(&self, image: &mut Image, pool: &dyn ClipPool) -> Result<()> {
        let row = row_of(pool, &self.partner)?;
        let mut other = vec![0.0; image.values.len()];
        pool.image(row, image.channel, &mut other)?;
        let mut taken = 0;
        for piece in self.area.row_ranges(image) {
            taken += piece.len();
            image.values[piece.clone()].copy_from_slice(&other[piece]);
        }
        let weight = 1.0 - taken as f32 / image.values.len() as f32;
        weigh(image.targets, weight, pool.info(row).labels);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{IMAGE_SHAPE, context, five_clips};
    use timbre_core::seed::Seed;

    #[test]
    fn targets_are_weighted_by_visible_area() {
        let pool = five_clips();
        let context = context(&pool, 0);
        let [rows, cols] = IMAGE_SHAPE;
        for seed in 0..100 {
            let spec = Cutmix { whole_height: seed % 2 == 0, ..Cutmix::default() };
            let Draw::CutmixDraw(draw) = spec.draw(&context, &mut Seed::new(seed).rng()).unwrap().remove(0) else {
                unreachable!()
            };
            let partner = pool.row_of(&draw.partner).unwrap();
            let (mut values, mut targets) = (vec![-1.0; rows * cols], vec![1.0, 0.0, 0.0]);
            draw.apply_to_image(
                &mut Image { rows, cols, channel: 0, values: &mut values, targets: &mut targets },
                &pool,
            )
            .unwrap();
            let own = values.iter().filter(|value| **value == -1.0).count();
            assert!(values.iter().all(|value| *value == -1.0 || *value == partner as f32));
            let share = own as f32 / (rows * cols) as f32;
            let expected = if pool.info(partner).labels.contains(&0) { 1.0 } else { share };
            assert!((targets[0] - expected).abs() < 1e-6, "{draw:?}");
            assert!(seed % 2 == 1 || draw.area.height == rows);
        }
    }
}
