//! `time_warp`: the time warp of SpecAugment, piecewise linear instead of a spline. One moment moves; the frames before
//! and after it are compressed and stretched.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image, Kind};
use timbre_core::seed::uniform;

augment_spec! {
    /// Moves one moment of the image; the frames before and after it are compressed and stretched.
    pub struct TimeWarp {
        /// Distance as a share of the clip; positive values move the moment later. Default: -0.1 to 0.1.
        pub share: Amount = Amount::Range(-0.1, 0.1),
    }

    pub struct TimeWarpDraw {
        /// The moment as a share of the clip, and its new position.
        pub from: f64,
        pub to: f64,
    }
}

impl Kind for TimeWarp {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("share", self.share.fault(-0.45, 0.45))])
    }
}

impl AugmentKind for TimeWarp {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        let by = self.share.draw(rng);
        // The moment stays further from both ends than it moves.
        let margin = by.abs() + 0.02;
        let from = margin + uniform(rng) * (1.0 - 2.0 * margin);
        Ok(vec![TimeWarpDraw { from, to: from + by }.into()])
    }

    fn changes_waveform(&self) -> bool {
        false
    }
}

impl TimeWarpDraw {
    /// The position at which the result is read at `at`; both are shares of the clip.
    fn source(&self, at: f64) -> f64 {
        if at <= self.to {
            at * self.from / self.to.max(f64::MIN_POSITIVE)
        } else {
            self.from + (at - self.to) * (1.0 - self.from) / (1.0 - self.to)
        }
    }
}

impl Effect for TimeWarpDraw {
    fn changes_image(&self) -> bool {
        true
    }

    fn apply_to_image(&self, image: &mut Image, _pool: &dyn ClipPool) -> Result<()> {
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
    use crate::augment::tests::empty_pool;

    #[test]
    fn the_moment_moves_and_the_ends_stay() {
        let mut values: Vec<f32> = (0..101).map(|frame| frame as f32).collect();
        let mut image = Image { rows: 1, cols: 101, channel: 0, values: &mut values, targets: &mut [] };
        TimeWarpDraw { from: 0.4, to: 0.5 }.apply_to_image(&mut image, &empty_pool()).unwrap();
        assert!(
            (values[50] - 40.0).abs() < 1e-3 && (values[25] - 20.0).abs() < 1e-3 && (values[75] - 70.0).abs() < 1e-3
        );
        assert!(values[0] == 0.0 && (values[100] - 100.0).abs() < 1e-3 && values.is_sorted());
    }
}
