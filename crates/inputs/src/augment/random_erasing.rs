//! `random_erasing`: fills random rectangles of an image (Zhong et al. 2017).

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mask::Fill;
use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image, Kind};
use timbre_core::seed::uniform_below;

augment_spec! {
    /// Fills random rectangles of the image.
    pub struct RandomErasing {
        /// Number of rectangles. Default: 1.
        pub areas: Amount = Amount::Fixed(1.0),
        /// Share of the image that each rectangle covers; less where it would exceed an edge. Default: 0.02 to 0.2.
        pub share: Amount = Amount::Range(0.02, 0.2),
        /// Height divided by width, in pixels. Default: 0.3 to 3.3, log-uniform.
        pub ratio: Amount = Amount::Log(0.3, 3.3),
        /// Fill value: "mean" or "min" of the image, or "zero". Default: "mean".
        pub value: Fill = Fill::Mean,
    }

    pub struct RandomErasingDraw {
        pub areas: Vec<Rectangle>,
        pub value: Fill,
    }
}

/// A rectangle of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rectangle {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Rectangle {
    /// A rectangle of that size at a random position within the image.
    pub fn draw(height: f64, width: f64, [rows, cols]: [usize; 2], rng: &mut ChaCha8Rng) -> Rectangle {
        let (height, width) = ((height.round() as usize).min(rows), (width.round() as usize).min(cols));
        let top = uniform_below(rng, (rows - height) as u64 + 1) as usize;
        let left = uniform_below(rng, (cols - width) as u64 + 1) as usize;
        Rectangle { top, left, height, width }
    }

    /// The columns of each row that the rectangle covers, as index ranges of the values of an image.
    pub fn row_ranges(self, image: &Image) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (cols, bottom) = (image.cols, (self.top + self.height).min(image.rows));
        let (left, right) = (self.left.min(cols), (self.left + self.width).min(cols));
        (self.top.min(bottom)..bottom).map(move |row| row * cols + left..row * cols + right)
    }
}

impl Kind for RandomErasing {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([
            ("areas", self.areas.whole_fault(0.0, 100.0)),
            ("share", self.share.fault(0.0, 1.0)),
            ("ratio", self.ratio.fault(0.01, 100.0)),
        ])
    }
}

impl AugmentKind for RandomErasing {
    fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let shape = context.pool.shape();
        let pixels = (shape[0] * shape[1]) as f64;
        let area = |rng: &mut ChaCha8Rng| {
            let (area, ratio) = (self.share.draw(rng) * pixels, self.ratio.draw(rng));
            Rectangle::draw((area * ratio).sqrt(), (area / ratio).sqrt(), shape, rng)
        };
        let areas = (0..self.areas.draw_whole(rng)).map(|_| area(rng)).collect();
        Ok(vec![RandomErasingDraw { areas, value: self.value }.into()])
    }

    fn changes_waveform(&self) -> bool {
        false
    }
}

impl Effect for RandomErasingDraw {
    fn changes_image(&self) -> bool {
        true
    }

    fn apply_to_image(&self, image: &mut Image, _pool: &dyn ClipPool) -> Result<()> {
        let value = self.value.of(image.values);
        for area in &self.areas {
            area.row_ranges(image).for_each(|piece| image.values[piece].fill(value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{context, empty_pool, five_clips};
    use timbre_core::seed::Seed;

    #[test]
    fn a_rectangle_within_the_image_is_filled() {
        let (mut values, mut targets) = (vec![1.0; 20], []);
        let mut image = Image { rows: 4, cols: 5, channel: 0, values: &mut values, targets: &mut targets };
        let areas = vec![
            Rectangle { top: 1, left: 2, height: 2, width: 3 },
            Rectangle { top: 9, left: 9, height: 1, width: 1 },
        ];
        RandomErasingDraw { areas, value: Fill::Zero }.apply_to_image(&mut image, &empty_pool()).unwrap();
        let blank: Vec<usize> = (0..20).filter(|&place| values[place] == 0.0).collect();
        assert_eq!(blank, [7, 8, 9, 12, 13, 14]);
    }

    #[test]
    fn rectangles_never_exceed_the_image() {
        let pool = five_clips();
        let context = context(&pool, 0);
        let spec = RandomErasing { share: Amount::Range(0.0, 1.0), ..Default::default() };
        let [rows, cols] = pool.shape();
        for seed in 0..300 {
            let Draw::RandomErasingDraw(draw) = spec.draw(&context, &mut Seed::new(seed).rng()).unwrap().remove(0)
            else {
                unreachable!()
            };
            assert!(draw.areas.iter().all(|a| a.top + a.height <= rows && a.left + a.width <= cols), "{draw:?}");
        }
    }
}
