//! `frequency_warp`: warps the bands of an image (vocal tract length perturbation) and shifts them.
//!
//! The warp is that of Jaitly and Hinton (2013) on band indices: band b of the result is read at b · factor up to a
//! boundary, and from there on along a straight line to the last band, so that both ends stay in place. Values between
//! two bands are interpolated; a shift fills from beyond the ends with the outermost band. An image of one band does
//! not change.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image, Kind};

/// The share of the bands up to which the warp is a factor.
const BOUNDARY: f64 = 0.8;

augment_spec! {
    /// Compresses, stretches or shifts the bands of the image along the frequency axis, as a different vocal tract
    /// would.
    pub struct FrequencyWarp {
        /// Warp factor: band b is read at b times this. Default: 0.9 to 1.1.
        pub factor: Amount = Amount::Range(0.9, 1.1),
        /// Shift in bands after the warp; positive values shift upwards. Default: 0.
        pub shift: Amount = Amount::Fixed(0.0),
    }

    pub struct FrequencyWarpDraw {
        pub factor: f64,
        pub shift: f64,
    }
}

impl Kind for FrequencyWarp {
    fn version(&self) -> u32 {
        2
    }

    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        Fault::of_keys([("factor", self.factor.fault(0.5, 2.0)), ("shift", self.shift.fault(-1e4, 1e4))])
    }
}

impl AugmentKind for FrequencyWarp {
    fn draw(&self, _context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
        Ok(vec![FrequencyWarpDraw { factor: self.factor.draw(rng), shift: self.shift.draw(rng) }.into()])
    }

    fn changes_waveform(&self) -> bool {
        false
    }
}

impl FrequencyWarpDraw {
    /// The position at which band `band` of `rows` is read.
    fn source(&self, band: usize, rows: usize) -> f64 {
        let top = rows.saturating_sub(1) as f64;
        let band = band as f64 - self.shift;
        let boundary = BOUNDARY * top * self.factor.min(1.0) / self.factor;
        let read = if band <= boundary {
            band * self.factor
        } else {
            let at_boundary = boundary * self.factor;
            at_boundary + (band - boundary) * (top - at_boundary) / (top - boundary)
        };
        read.clamp(0.0, top)
    }
}

impl Effect for FrequencyWarpDraw {
    fn changes_image(&self) -> bool {
        true
    }

    fn apply_to_image(&self, image: &mut Image, _pool: &dyn ClipPool) -> Result<()> {
        // A single band cannot move.
        if image.rows < 2 {
            return Ok(());
        }
        let before = image.values.to_vec();
        let (rows, cols) = (image.rows, image.cols);
        for (band, out) in image.values.chunks_exact_mut(cols.max(1)).enumerate() {
            let at = self.source(band, rows);
            let (low, share) = (at as usize, at.fract() as f32);
            let high = (low + 1).min(rows - 1);
            let (low, high) = (&before[low * cols..][..cols], &before[high * cols..][..cols]);
            out.iter_mut().zip(low).zip(high).for_each(|((out, low), high)| *out = low + share * (high - low));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::augment::tests::empty_pool;

    fn warped(draw: FrequencyWarpDraw, values: &[f32]) -> Vec<f32> {
        let (mut values, mut targets) = (values.to_vec(), []);
        let mut image = Image { rows: values.len(), cols: 1, channel: 0, values: &mut values, targets: &mut targets };
        draw.apply_to_image(&mut image, &empty_pool()).unwrap();
        values
    }

    #[test]
    fn a_factor_moves_a_line_and_the_ends_stay() {
        let mut line = vec![0.0; 101];
        line[50] = 1.0;
        let loudest = |values: Vec<f32>| (0..101).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
        // Band b shows the former band 1.25 b: the line moves from 50 to 40.
        assert_eq!(loudest(warped(FrequencyWarpDraw { factor: 1.25, shift: 0.0 }, &line)), 40);
        assert_eq!(loudest(warped(FrequencyWarpDraw { factor: 1.0, shift: 7.0 }, &line)), 57);
        let ramp: Vec<f32> = (0..101).map(|band| band as f32).collect();
        assert_eq!(warped(FrequencyWarpDraw { factor: 1.0, shift: 0.0 }, &ramp), ramp);
    }

    #[test]
    fn an_image_of_one_band_does_not_change() {
        for (factor, shift) in [(1.0, 0.0), (0.9, 0.0), (1.1, 3.0), (1.0, -0.5)] {
            assert_eq!(warped(FrequencyWarpDraw { factor, shift }, &[0.25]), [0.25]);
        }
    }

    proptest! {
        #[test]
        fn bands_keep_their_order_and_the_ends_their_place(factor in 0.5f64..2.0, rows in 2usize..200) {
            let draw = FrequencyWarpDraw { factor, shift: 0.0 };
            let read: Vec<f64> = (0..rows).map(|band| draw.source(band, rows)).collect();
            prop_assert!(read.is_sorted() && read[0] == 0.0);
            prop_assert!((read[rows - 1] - (rows - 1) as f64).abs() < 1e-9);
        }
    }
}
