//! What masks have in common: what an area is filled with, and stripes across an image.
//!
//! Stripes are drawn as torchaudio draws them: a width v uniform over its range, a start uniform from 0 to the size less v,
//! both rounded down. A stripe may so be empty.

use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Amount, Fault, Image};
use timbre_core::seed::uniform;

/// What takes the place of what was there. Images are masked before a network scales them: in decibels 0 is loud, and the mean
/// is what scaling brings near zero.
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

/// A stripe: its first line, and how many it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stripe {
    pub start: usize,
    pub width: usize,
}

/// Draws stripes across `size` lines: `width` in lines, or `share` of all.
pub fn draw(masks: &Amount, width: Option<&Amount>, share: &Amount, size: usize, rng: &mut ChaCha8Rng) -> Vec<Stripe> {
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

/// What is wrong with the keys of a mask.
pub fn faults(masks: &Amount, width: Option<&Amount>, share: &Amount) -> Vec<Fault> {
    let masks = masks.whole_fault(0.0, 100.0).map(|why| ("masks".to_owned(), why));
    let width = width.and_then(|width| width.fault(0.0, 1e6)).map(|why| ("width".to_owned(), why));
    let share = share.fault(0.0, 1.0).map(|why| ("share".to_owned(), why));
    [masks, width, share].into_iter().flatten().collect()
}

/// Rows `stripe` of an image.
pub fn fill_rows(image: &mut Image, stripes: &[Stripe], fill: Fill) {
    let value = fill.of(image.values);
    for stripe in stripes {
        let (start, end) = (stripe.start.min(image.rows), (stripe.start + stripe.width).min(image.rows));
        image.values[start * image.cols..end * image.cols].fill(value);
    }
}

/// Columns `stripe` of an image.
pub fn fill_columns(image: &mut Image, stripes: &[Stripe], fill: Fill) {
    let value = fill.of(image.values);
    for stripe in stripes {
        let (start, end) = (stripe.start.min(image.cols), (stripe.start + stripe.width).min(image.cols));
        image.values.chunks_exact_mut(image.cols.max(1)).for_each(|row| row[start..end].fill(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::Seed;

    #[test]
    fn widths_and_places_are_distributed_as_in_torchaudio() {
        // v ~ U(0, 30) of 100 lines: mean width 14.5 once rounded down, mean start (100 - 15) / 2 less half a line.
        let mut rng = Seed::new(4).rng();
        let n = 20_000;
        let (mut widths, mut starts) = (0, 0);
        for _ in 0..n {
            let drawn = draw(&Amount::Fixed(1.0), Some(&Amount::Range(0.0, 30.0)), &Amount::Fixed(0.0), 100, &mut rng);
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
        let masked = |fill: Fill, rows: bool| {
            let (mut values, mut targets) = (values.clone(), []);
            let mut image = Image { rows: 3, cols: 4, values: &mut values, targets: &mut targets };
            let stripes = [Stripe { start: 1, width: 1 }, Stripe { start: 2, width: 9 }];
            if rows {
                fill_rows(&mut image, &stripes, fill)
            } else {
                fill_columns(&mut image, &stripes, fill)
            }
            values
        };
        assert_eq!(masked(Fill::Mean, true), [&values[..4], &[3.5; 8]].concat());
        assert_eq!(masked(Fill::Min, true), [&values[..4], &[-2.0; 8]].concat());
        let columns = masked(Fill::Zero, false);
        assert!(columns.chunks(4).zip(values.chunks(4)).all(|(now, was)| now[0] == was[0] && now[1..] == [0.0; 3]));
    }
}
