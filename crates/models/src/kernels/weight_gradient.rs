//! The gradient of a convolution with respect to its weights: a sum over pixels of outer products.
//!
//! The channels of both factors are contiguous, so rows are read in place. Pixels are split into parts by sizes alone; each part
//! sums its own copy of a block of the gradient, and the copies are added in the order of the parts.

use std::ops::Range;

use rayon::prelude::*;

use super::gather::{FEW_CHANNELS, copy_run, load, store};
use super::images::{Images, Window};
use super::simd::{Kernel, Vector, on_best, panel_width};
use super::tiles::Tiles;
use super::winograd::{self, GradientBlock};

/// Output channels whose gradients a task holds.
const GROUP: usize = 64;
/// The approximate number of pixels of a part.
const PART_PIXELS: usize = 2500;
/// Pixels whose factors stay in the first-level cache.
const CACHED_PIXELS: usize = 80;

/// The gradient with respect to the weights: `[out, in, row, column]`.
pub fn weight_gradient(x: &Images, dy: &Images, window: &Window) -> Vec<f32> {
    let (taps, channels) = (window.taps(), x.channels);
    if channels < FEW_CHANNELS {
        return from_patches(x, dy, window);
    }
    let width = panel_width(channels);
    let padded;
    let x = if channels % width == 0 {
        x
    } else {
        padded = with_zeros(x, channels.next_multiple_of(width));
        &Images { values: &padded, channels: channels.next_multiple_of(width), ..*x }
    };
    let tiles = winograd::supports_gradient(window, [x.channels, dy.channels], width)
        .then(|| Tiles::new([dy.height, dy.width], window.padding));
    // Rows of pixels, or tiles.
    let lines = tiles.map_or(dy.count * dy.height, |tiles| tiles.count(dy.count));
    let parts = (dy.pixels() / PART_PIXELS).clamp(1, 16).min(lines.max(1));
    let lines_of_part = lines.div_ceil(parts).max(1);
    let parts = lines.div_ceil(lines_of_part);
    let (panels, groups) = (x.channels / width, dy.channels.div_ceil(GROUP));
    let sums: Vec<Vec<f32>> = (0..parts * panels * groups)
        .into_par_iter()
        .map(|task| {
            let (part, panel, group) = (task / (panels * groups), task / groups % panels, task % groups);
            let lines = part * lines_of_part..((part + 1) * lines_of_part).min(lines);
            let (first_in, first_out) = (panel * width, group * GROUP);
            match tiles {
                Some(tiles) => {
                    let outs = first_out..(first_out + GROUP).min(dy.channels);
                    on_best(channels, GradientBlock { x, dy, tiles, these: lines, first_in, outs })
                }
                None => on_best(channels, Block { x, dy, window, rows: lines, first_in, first_out }),
            }
        })
        .collect();
    let mut gradient = vec![0.0; dy.channels * channels * taps];
    gradient.par_chunks_mut(channels * taps).enumerate().for_each(|(out, gradient)| {
        let (group, out) = (out / GROUP, out % GROUP);
        let size = GROUP.min(dy.channels - group * GROUP);
        for part in 0..parts {
            for panel in 0..panels {
                let sums = &sums[(part * panels + panel) * groups + group];
                let columns = width.min(channels - panel * width);
                for tap in 0..taps {
                    let sums = &sums[(tap * size + out) * width..][..columns];
                    for (column, sum) in sums.iter().enumerate() {
                        gradient[(panel * width + column) * taps + tap] += sum;
                    }
                }
            }
        }
    });
    gradient
}

/// Rows of pixels in the output, all taps, a group of output channels, a panel of input channels.
struct Block<'a> {
    x: &'a Images<'a>,
    dy: &'a Images<'a>,
    window: &'a Window,
    rows: Range<usize>,
    first_in: usize,
    first_out: usize,
}

/// Adjacent pixels of both factors.
struct Run {
    dy: usize,
    x: usize,
    pixels: usize,
}

impl Kernel for Block<'_> {
    /// `[tap][output channel of the group][column of the panel]`.
    type Result = Vec<f32>;

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) -> Vec<f32> {
        let width = P * V::LANES;
        let size = GROUP.min(self.dy.channels - self.first_out);
        let mut sums = vec![0.0; self.window.taps() * size * width];
        let rows_at_once = CACHED_PIXELS.div_ceil(self.dy.width);
        let mut runs = Vec::with_capacity(rows_at_once);
        for first in self.rows.clone().step_by(rows_at_once) {
            let rows = first..(first + rows_at_once).min(self.rows.end);
            for (tap, sums) in sums.chunks_exact_mut(size * width).enumerate() {
                self.runs(rows.clone(), tap, &mut runs);
                add_all::<V, P>(self.dy, self.x, self.window.stride[1], &runs, self.first_out, sums);
            }
        }
        sums
    }
}

impl Block<'_> {
    /// The pixels of these rows for which this tap reads inside the input.
    fn runs(&self, rows: Range<usize>, tap: usize, runs: &mut Vec<Run>) {
        runs.clear();
        let [down, right] = self.window.offset(tap);
        let step = self.window.stride[1] as isize;
        let first = (-right).max(0).div_euclid(step) + isize::from((-right).max(0) % step != 0);
        let end = ((self.x.width as isize - right + step - 1).div_euclid(step)).min(self.dy.width as isize);
        if first >= end {
            return;
        }
        for row in rows {
            let (image, above) = (row / self.dy.height, row % self.dy.height * self.window.stride[0]);
            if let Some(x) = self.x.at(image, above as isize + down, first * step + right) {
                let dy = (row * self.dy.width + first as usize) * self.dy.channels;
                runs.push(Run { dy, x: x + self.first_in, pixels: (end - first) as usize });
            }
        }
    }
}

/// All rows of a block, six at a time.
#[inline(always)]
fn add_all<V: Vector, const P: usize>(
    dy: &Images,
    x: &Images,
    step: usize,
    runs: &[Run],
    first_out: usize,
    sums: &mut [f32],
) {
    let width = P * V::LANES;
    let mut out = first_out;
    for sums in sums.chunks_mut(6 * width) {
        match sums.len() / width {
            6 => add_outer::<V, 6, P>(dy, x, step, runs, out, sums),
            4 => add_outer::<V, 4, P>(dy, x, step, runs, out, sums),
            2 => add_outer::<V, 2, P>(dy, x, step, runs, out, sums),
            _ => {
                for (r, sums) in sums.chunks_exact_mut(width).enumerate() {
                    add_outer::<V, 1, P>(dy, x, step, runs, out + r, sums);
                }
            }
        }
        out += sums.len() / width;
    }
}

/// `sums[r][column] += Σ dy[pixel][out + r] · x[pixel][column]`; pixels of `x` are `step` apart.
#[inline(always)]
fn add_outer<V: Vector, const R: usize, const P: usize>(
    dy: &Images,
    x: &Images,
    step: usize,
    runs: &[Run],
    out: usize,
    sums: &mut [f32],
) {
    let width = P * V::LANES;
    let mut held = [[V::splat(0.0); P]; R];
    for r in 0..R {
        held[r] = load(&sums[r * width..], width);
    }
    for run in runs {
        let dy = dy.values[run.dy + out..].chunks(dy.channels);
        let x = x.values[run.x..].chunks(x.channels * step);
        for (dy, x) in dy.zip(x).take(run.pixels) {
            let (dy, x) = (&dy[..R], load::<V, P>(x, width));
            for r in 0..R {
                let factor = V::splat(dy[r]);
                for p in 0..P {
                    held[r][p] = factor.times_plus(x[p], held[r][p]);
                }
            }
        }
    }
    for (r, held) in held.into_iter().enumerate() {
        store(held, &mut sums[r * width..], width);
    }
}

fn with_zeros(x: &Images, channels: usize) -> Vec<f32> {
    let mut padded = vec![0.0; x.pixels() * channels];
    padded.par_chunks_mut(channels).zip(x.values.par_chunks(x.channels)).for_each(|(to, from)| {
        to[..x.channels].copy_from_slice(from);
    });
    padded
}

/// For few channels: the taps of a pixel side by side are the columns.
fn from_patches(x: &Images, dy: &Images, window: &Window) -> Vec<f32> {
    let depth = window.taps() * x.channels;
    let width = panel_width(depth);
    let rows = dy.count * dy.height;
    let parts = (dy.pixels() / PART_PIXELS).clamp(1, 16).min(rows.max(1));
    let rows_of_part = rows.div_ceil(parts).max(1);
    let sums: Vec<Vec<f32>> = (0..rows.div_ceil(rows_of_part))
        .into_par_iter()
        .map(|part| {
            let rows = part * rows_of_part..((part + 1) * rows_of_part).min(rows);
            on_best(depth, Patches { x, dy, window, rows })
        })
        .collect();
    let (wide, taps, channels) = (depth.next_multiple_of(width), window.taps(), x.channels);
    let mut gradient = Vec::with_capacity(dy.channels * depth);
    for out in 0..dy.channels {
        for at in (0..channels).flat_map(|channel| (0..taps).map(move |tap| tap * channels + channel)) {
            let (panel, column) = (at / width, at % width);
            let sum = |part: &Vec<f32>| part[(panel * dy.channels + out) * width + column];
            debug_assert!(at < wide);
            gradient.push(sums.iter().map(sum).sum());
        }
    }
    gradient
}

struct Patches<'a> {
    x: &'a Images<'a>,
    dy: &'a Images<'a>,
    window: &'a Window,
    rows: Range<usize>,
}

impl Kernel for Patches<'_> {
    /// `[panel][output channel][column of the panel]`, where a column is a channel of a tap.
    type Result = Vec<f32>;

    #[inline(always)]
    fn with<V: Vector, const P: usize>(self) -> Vec<f32> {
        let width = P * V::LANES;
        let wide = (self.window.taps() * self.x.channels).next_multiple_of(width);
        let mut sums = vec![0.0; wide * self.dy.channels];
        let mut patches = vec![0.0; self.dy.width * wide];
        for row in self.rows.clone() {
            self.fill(row, wide, &mut patches);
            let patches = Images { values: &patches, channels: wide, count: 1, height: 1, width: self.dy.width };
            for (panel, sums) in sums.chunks_exact_mut(self.dy.channels * width).enumerate() {
                let run = Run { dy: row * self.dy.width * self.dy.channels, x: panel * width, pixels: self.dy.width };
                add_all::<V, P>(self.dy, &patches, 1, &[run], 0, sums);
            }
        }
        sums
    }
}

impl Patches<'_> {
    /// The patches of a row of output pixels.
    fn fill(&self, row: usize, wide: usize, patches: &mut [f32]) {
        patches.fill(0.0);
        let (image, above) = (row / self.dy.height, row % self.dy.height * self.window.stride[0]);
        let [rows, columns] = self.window.kernel;
        let together = if self.window.dilation[1] == 1 { columns } else { 1 };
        for (column, patch) in patches.chunks_exact_mut(wide).enumerate() {
            let left = (column * self.window.stride[1]) as isize;
            for (run, to) in
                patch.chunks_exact_mut(together * self.x.channels).take(rows * columns / together).enumerate()
            {
                let [down, right] = self.window.offset(run * together);
                copy_run(self.x, image, [above as isize + down, left + right], to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::twins::*;
    use super::*;

    #[test]
    fn the_weight_gradient_equals_the_sum_over_pixels() {
        let long = Case { shape: [9, 40, 33, 64], out_channels: 48, window: square(3, 1, 1) };
        let long_stride = Case { shape: [18, 40, 33, 16], out_channels: 23, window: square(3, 2, 1) };
        let long_patches = Case { shape: [9, 40, 33, 2], out_channels: 23, window: square(3, 1, 1) };
        for case in cases().into_iter().chain([long, long_stride, long_patches]) {
            let (x, dy) = (case.x(), case.dy());
            let (x, dy) = (Images::new(&x, case.shape), Images::new(&dy, case.out_shape()));
            let difference = difference(&weight_gradient(&x, &dy, &case.window), &slow_weight_gradient(&case));
            assert!(difference < 2e-5, "{:?} to {}, {:?}: {difference}", case.shape, case.out_channels, case.window);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for (channels, stride) in [(64, 1), (64, 2), (1, 2)] {
            let case = Case { shape: [9, 40, 33, channels], out_channels: 64, window: square(3, stride, 1) };
            let (x, dy) = (case.x(), case.dy());
            let (x, dy) = (Images::new(&x, case.shape), Images::new(&dy, case.out_shape()));
            ensure_same_on_any_number_of_threads(|| weight_gradient(&x, &dy, &case.window));
        }
    }
}
