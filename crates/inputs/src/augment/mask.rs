//! `time_mask` and `frequency_mask`: fill random stripes of an image (SpecAugment), and the fill values of all masks.
//!
//! Stripes are drawn as in torchaudio: a width v uniform over its range, a start uniform from 0 to the size minus v, both
//! rounded down. A stripe may therefore be empty.

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, AugmentContext, AugmentKind, ClipPool, Draw, Effect, Fault, Image, Kind};
use timbre_core::seed::uniform;

/// The value that fills a mask. Images are masked before a network scales them: in decibels 0 is loud, and the mean becomes
/// about zero after scaling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// The mean of the image.
    #[default]
    Mean,
    /// The smallest value of the image.
    Min,
    /// Zero.
    Zero,
}

impl Fill {
    pub fn of(self, values: &[f32]) -> f32 {
        match self {
            Fill::Zero => 0.0,
            Fill::Min => values.iter().copied().fold(f32::INFINITY, f32::min),
            Fill::Mean => (values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64) as f32,
        }
    }
}

/// A stripe of rows or columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stripe {
    /// The first row or column.
    pub start: usize,
    /// The number of rows or columns.
    pub width: usize,
}

impl Stripe {
    /// Draws stripes across `size` lines: `width` in lines, or `share` of all lines.
    fn draw_all(
        masks: &Amount,
        width: Option<&Amount>,
        share: &Amount,
        size: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Stripe> {
        let draw = |rng: &mut ChaCha8Rng| {
            let lines = match width {
                Some(width) => width.draw(rng),
                None => share.draw(rng) * size as f64,
            };
            let lines = lines.clamp(0.0, size as f64);
            let start = uniform(rng) * (size as f64 - lines);
            Stripe { start: start as usize, width: lines as usize }
        };
        (0..masks.draw_whole(rng)).map(|_| draw(rng)).collect()
    }

    /// The lines of the stripe that an image of `size` lines has.
    fn within(self, size: usize) -> std::ops::Range<usize> {
        self.start.min(size)..(self.start + self.width).min(size)
    }
}

fn fill_rows(image: &mut Image, stripes: &[Stripe], fill: Fill) {
    let value = fill.of(image.values);
    for stripe in stripes {
        let rows = stripe.within(image.rows);
        image.values[rows.start * image.cols..rows.end * image.cols].fill(value);
    }
}

fn fill_columns(image: &mut Image, stripes: &[Stripe], fill: Fill) {
    let value = fill.of(image.values);
    for stripe in stripes {
        let columns = stripe.within(image.cols);
        image.values.chunks_exact_mut(image.cols.max(1)).for_each(|row| row[columns.clone()].fill(value));
    }
}

macro_rules! mask {
    ($(#[$meta:meta])* $Spec:ident, $Draw:ident, axis $axis:literal, $fill:ident, $(#[$width_meta:meta])* width, $(#[$share_meta:meta])* share) => {
        augment_spec! {
            $(#[$meta])*
            pub struct $Spec {
                /// Number of masks. Default: 2.
                pub masks: Amount = Amount::Fixed(2.0),
                $(#[$width_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub width: Option<Amount> = None,
                $(#[$share_meta])*
                pub share: Amount = Amount::Range(0.0, 0.15),
                /// Fill value: "mean" or "min" of the image, or "zero". Default: "mean".
                pub value: Fill = Fill::Mean,
            }

            pub struct $Draw {
                pub masks: Vec<Stripe>,
                pub value: Fill,
            }
        }

        impl Kind for $Spec {
            fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
                Fault::of_keys([
                    ("masks", self.masks.whole_fault(0.0, 100.0)),
                    ("width", self.width.as_ref().and_then(|width| width.fault(0.0, 1e6))),
                    ("share", self.share.fault(0.0, 1.0)),
                ])
            }
        }

        impl AugmentKind for $Spec {
            fn draw(&self, context: &AugmentContext, rng: &mut ChaCha8Rng) -> Result<Vec<Draw>> {
                let size = context.pool.shape()[$axis];
                let masks = Stripe::draw_all(&self.masks, self.width.as_ref(), &self.share, size, rng);
                Ok(vec![$Draw { masks, value: self.value }.into()])
            }

            fn changes_waveform(&self) -> bool {
                false
            }
        }

        impl Effect for $Draw {
            fn changes_image(&self) -> bool {
                true
            }

            fn apply_to_image(&self, image: &mut Image, _pool: &dyn ClipPool) -> Result<()> {
                $fill(image, &self.masks, self.value);
                Ok(())
            }
        }
    };
}

mask! {
    /// SpecAugment: masks intervals of time.
    TimeMask, TimeMaskDraw, axis 1, fill_columns,
    /// Width of each mask in frames: `width = [0, 48]` is torchaudio's mask with the parameter 48. Default: by `share`.
    width,
    /// Width of each mask as a share of all frames, if `width` is not set. Default: 0 to 0.15.
    share
}

mask! {
    /// SpecAugment: masks bands of frequency.
    FrequencyMask, FrequencyMaskDraw, axis 0, fill_rows,
    /// Width of each mask in bands: `width = [0, 48]` is torchaudio's mask with the parameter 48. Default: by `share`.
    width,
    /// Width of each mask as a share of all bands, if `width` is not set. Default: 0 to 0.15.
    share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::tests::{IMAGE_SHAPE, context, empty_pool, five_clips};
    use timbre_core::seed::Seed;

    #[test]
    fn widths_and_positions_are_distributed_as_in_torchaudio() {
        // v ~ U(0, 30) of 100 lines: mean width 14.5 after rounding down, mean start (100 - 15) / 2 minus half a line.
        let mut rng = Seed::new(4).rng();
        let n = 20_000;
        let (mut widths, mut starts) = (0, 0);
        for _ in 0..n {
            let (one, width) = (Amount::Fixed(1.0), Amount::Range(0.0, 30.0));
            let drawn = Stripe::draw_all(&one, Some(&width), &Amount::Fixed(0.0), 100, &mut rng);
            assert!(drawn[0].width < 30 && drawn[0].start + drawn[0].width <= 100);
            widths += drawn[0].width;
            starts += drawn[0].start;
        }
        let mean = |sum: usize| sum as f64 / f64::from(n);
        assert!((mean(widths) - 14.5).abs() < 0.2, "{}", mean(widths));
        assert!((mean(starts) - 42.0).abs() < 0.6, "{}", mean(starts));
    }

    #[test]
    fn only_the_stripes_are_filled() {
        let values: Vec<f32> = (0..12).map(|value| value as f32 - 2.0).collect();
        let masked = |fill: Fill, mask: fn(&mut Image, &[Stripe], Fill)| {
            let (mut values, mut targets) = (values.clone(), []);
            let mut image = Image { rows: 3, cols: 4, channel: 0, values: &mut values, targets: &mut targets };
            mask(&mut image, &[Stripe { start: 1, width: 1 }, Stripe { start: 2, width: 9 }], fill);
            values
        };
        assert_eq!(masked(Fill::Mean, fill_rows), [&values[..4], &[3.5; 8]].concat());
        assert_eq!(masked(Fill::Min, fill_rows), [&values[..4], &[-2.0; 8]].concat());
        let columns = masked(Fill::Zero, fill_columns);
        assert!(columns.chunks(4).zip(values.chunks(4)).all(|(now, was)| now[0] == was[0] && now[1..] == [0.0; 3]));
    }

    #[test]
    fn whole_rows_or_columns_are_masked() {
        let pool = five_clips();
        let (width, masks) = (Some(Amount::Fixed(2.0)), Amount::Fixed(1.0));
        let of_time = TimeMask { width: width.clone(), masks: masks.clone(), value: Fill::Zero, ..Default::default() };
        let of_bands = FrequencyMask { width, masks, value: Fill::Zero, ..Default::default() };
        let specs: [&dyn AugmentKind; 2] = [&of_bands, &of_time];
        let [rows, cols] = IMAGE_SHAPE;
        for (axis, spec) in specs.into_iter().enumerate() {
            for seed in 0..20 {
                let draws = spec.draw(&context(&pool, 0), &mut Seed::new(seed).rng()).unwrap();
                let (mut values, mut targets) = (vec![1.0; rows * cols], [1.0]);
                let mut image = Image { rows, cols, channel: 0, values: &mut values, targets: &mut targets };
                draws[0].as_kind().apply_to_image(&mut image, &empty_pool()).unwrap();
                let line_of = |place: usize| [place / cols, place % cols][axis];
                let is_masked =
                    |line: &usize| (0..rows * cols).all(|place| line_of(place) != *line || values[place] == 0.0);
                assert_eq!((0..IMAGE_SHAPE[axis]).filter(is_masked).count(), 2);
                assert_eq!(values.iter().filter(|value| **value == 0.0).count(), 2 * IMAGE_SHAPE[1 - axis]);
            }
        }
    }
}
