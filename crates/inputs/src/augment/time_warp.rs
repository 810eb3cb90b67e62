//! SpecAugment's time warp, with straight lines in the place of its splines: a moment moves, and what lies before and after it is
//! squeezed and stretched.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image};
use timbre_core::seed::uniform;

augment_spec! {
    /// A moment of the image moves; what lies before and after it is squeezed and stretched.
    pub struct TimeWarp {
        /// How far, as a share of the clip; later where it is positive. Default: -0.1 to 0.1.
        pub share: Amount = Amount::Range(-0.1, 0.1),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeWarpDraw {
    /// The moment, as a share of the clip, and where it moves to.
    pub from: f64,
    pub to: f64,
}

impl AugmentKind for TimeWarp {
    fn version(&self) -> u32 {
        1
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        self.share.fault(-0.45, 0.45).map(|why| ("share".to_owned(), why)).into_iter().collect()
    }

    fn draw(&self, _scene: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let by = self.share.draw(rng);
        // As far from either end as it moves, and a little more.
        let margin = by.abs() + 0.02;
        let from = margin + uniform(rng) * (1.0 - 2.0 * margin);
        Ok(vec![TimeWarpDraw { from, to: from + by }.into()])
    }

    fn is_on_sound(&self) -> bool {
        false
    }
}

impl TimeWarpDraw {
    /// Where the place `at` of the result is read; both are shares.
    fn source(&self, at: f64) -> f64 {
        if at <= self.to {
            at * self.from / self.to.max(f64::MIN_POSITIVE)
        } else {
            self.from + (at - self.to) * (1.0 - self.from) / (1.0 - self.to)
        }
    }
}

impl Effect for TimeWarpDraw {
    fn is_on_image(&self) -> bool {
        true
    }

    fn on_image(&self, image: &mut Image, _company: &dyn ClipPool) -> Result<()> {
        let last = image.cols.saturating_sub(1) as f64;
        let read: Vec<(usize, f32)> = (0..image.cols)
            .map(|col| {
                let at = (self.source(col as f64 / last.max(1.0)) * last).clamp(0.0, last);
                (at as usize, at.fract() as f32)
            })
            .collect();
        let mut before = vec![0.0; image.cols];
        for row in image.values.chunks_exact_mut(image.cols.max(1)) {
            before.copy_from_slice(row);
            for (out, &(low, share)) in row.iter_mut().zip(&read) {
                let high = before[(low + 1).min(before.len() - 1)];
                *out = before[low] + share * (high - before[low]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::alone;

    #[test]
    fn the_moment_moves_and_the_ends_stay() {
        let mut values: Vec<f32> = (0..101).map(|frame| frame as f32).collect();
        let mut image = Image { rows: 1, cols: 101, values: &mut values, targets: &mut [] };
        TimeWarpDraw { from: 0.4, to: 0.5 }.on_image(&mut image, &alone()).unwrap();
        assert!(
            (values[50] - 40.0).abs() < 1e-3 && (values[25] - 20.0).abs() < 1e-3 && (values[75] - 70.0).abs() < 1e-3
        );
        assert!(values[0] == 0.0 && (values[100] - 100.0).abs() < 1e-3 && values.is_sorted());
    }
}
